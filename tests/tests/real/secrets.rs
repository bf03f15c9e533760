//! No token and no key is ever seen where it does not belong.

use super::{SECRET, Site, soon};
use std::{fs, path::Path, time::Duration};
use wardline::client::{Client, Incoming};

/// Every file below a folder, searched as bytes.
fn search(folder: &Path, secrets: &[&str]) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += search(&path, secrets);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for secret in secrets {
            assert!(!text.contains(secret), "{} holds {secret:?}", path.display());
        }
        files += 1;
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_in_any_log_line_event_error_or_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("server");
    let site = Site::start(&[("log", "embedded"), ("data", data.to_str().unwrap())]).await;
    let first = site.token("ann", Duration::from_secs(3600));
    let second = site.token("ann", Duration::from_secs(7200));
    let store = folder.path().join("client").join("wardline.db");
    fs::create_dir_all(store.parent().unwrap()).unwrap();
    let client = Client::builder(site.server.url()).token(first.as_str());
    let client = client.storage(&store).build().unwrap();
    soon("connect", client.connect()).await.unwrap();
    let mut room = soon("join", client.room("desk").durable("main").join()).await.unwrap();
    for n in 0..20 {
        let sent = soon("send", room.send("note", &n)).await.unwrap();
        soon("outcome", sent.accepted()).await.unwrap();
        if n == 10 {
            client.set_token(second.as_str());
        }
    }
    let mut handed = 0;
    while handed < 20 {
        let next = soon("event", room.next_event()).await.unwrap();
        wardline_tests::watch::scan("an event", &format!("{next:?}"));
        handed += u32::from(matches!(next, Incoming::Event(_)));
    }
    let refused = soon("refusal", client.room("tenant:other").join()).await.unwrap_err();
    wardline_tests::watch::scan("an error", &format!("{refused} {refused:?}"));
    wardline_tests::watch::scan("the client", &format!("{client:?}"));
    // While the files are open, and once they are closed.
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let (one, two) = (signature(&first), signature(&second));
    let secrets = [SECRET, "eyJ", one.as_str(), two.as_str()];
    assert!(search(folder.path(), &secrets) >= 2);
    soon("disconnect", client.disconnect()).await.unwrap();
    drop((room, client));
    assert!(search(folder.path(), &secrets) >= 2);
}
