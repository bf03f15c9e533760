//! What listens to the log finds what it is there for; alone in its process.

use wardline_tests::watch::{begin, expect, findings, scan, secret};

#[test]
fn errors_and_secrets_are_found_and_what_is_expected_is_not() {
    begin();
    secret("aaaaaaaa.bbbbbbbb.a-signature");
    expect("foreseen:");
    tracing::error!(why = "foreseen: it does", "words");
    tracing::info!(token = "nothing here", "words");
    assert_eq!(findings(), Vec::<String>::new());
    tracing::error!("out of the blue");
    tracing::trace!(target: "wardline_server::edge", token = ?"xx a-signature xx");
    let _ = tracing::info_span!("span", token = "eyJhbGciOi");
    scan("an answer", "nothing");
    scan("an answer", "aaaaaaaa.bbbbbbbb.a-signature");
    let found = findings();
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].contains("out of the blue") && found[1].contains("a log line"), "{found:?}");
    assert_eq!(findings(), Vec::<String>::new());
}
