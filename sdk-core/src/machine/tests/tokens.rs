//! P-C6: the token and its provider.

use super::rig::{Rig, config, secs, welcome};
use crate::{
    machine::{Command, Config, DialError, Input, Status},
    protocol::{
        ClientFrame, Code, Json, close,
        frames::{Authorized, Pong},
    },
};

pub(super) fn with_provider() -> Config {
    Config { has_token_provider: true, ..config() }
}

#[test]
fn p_c6_a_token_is_refreshed_once_at_80_percent() {
    let mut rig = Rig::connected(with_provider());
    let mut waited = 0;
    while rig.fetches() == 0 {
        rig.pass(secs(5));
        rig.say(Pong {});
        waited += 5;
        assert!(waited < 900);
    }
    assert!((720..=885).contains(&waited), "{waited}");
    rig.frames();
    rig.token(Some("t1"));
    assert!(matches!(&rig.frames()[..], [ClientFrame::Auth(auth)] if auth.token == "t1".into()));
    rig.say(Authorized { expires_in: Some(10_000) });
    rig.pass(secs(9));
    assert_eq!(rig.fetches(), 1);
}

#[test]
fn p_c6_a_refresh_without_a_new_token_is_tried_again_while_the_old_one_lasts() {
    let mut rig = Rig::connected(with_provider());
    rig.say(Authorized { expires_in: Some(100_000) });
    let mut asked = 0;
    for _ in 0..100 {
        rig.pass(secs(1));
        rig.say(Pong {});
        if rig.fetches() > 0 {
            asked += 1;
            rig.token(None);
        }
    }
    assert!((3..=6).contains(&asked), "{asked}");
    assert!(rig.machine.is_welcomed());
}

#[test]
fn p_c6_a_token_set_by_the_application_is_used_at_once_and_overtakes_the_provider() {
    let mut rig = Rig::connected(with_provider());
    rig.say(Authorized { expires_in: Some(5_000) });
    rig.pass(secs(5));
    assert_eq!(rig.fetches(), 1);
    rig.frames();
    rig.input(Input::Command(Command::SetToken("set".into())));
    assert!(matches!(&rig.frames()[..], [ClientFrame::Auth(auth)] if auth.token == "set".into()));
    rig.token(Some("asked"));
    assert!(rig.frames().is_empty());
}

#[test]
fn p_c6_a_token_set_while_hello_is_under_way_follows_the_welcome() {
    let mut rig = Rig::connecting(config());
    rig.open();
    rig.input(Input::Command(Command::SetToken("t1".into())));
    rig.hello();
    rig.say(welcome("ann"));
    assert!(matches!(&rig.frames()[..], [ClientFrame::Auth(auth)] if auth.token == "t1".into()));
}

#[test]
fn p_c6_a_refused_token_has_the_provider_asked_at_once_then_with_delay() {
    let mut rig = Rig::connected(with_provider());
    rig.close(close::TOKEN_EXPIRED, "");
    assert_eq!(rig.fetches(), 1);
    assert!(!rig.is_dialing());
    rig.token(Some("t1"));
    assert!(rig.is_dialing(), "a new token needs no delay");
    rig.open();
    assert_eq!(rig.hello().token, Some("t1".into()));
    rig.close(close::TOKEN_INVALID, "");
    rig.token(Some("t2"));
    assert!(!rig.is_dialing(), "the second refusal in a row counts as a failed attempt");
    assert!(rig.wait_for_dial() <= secs(1));
    rig.accept();
    rig.close(close::TOKEN_EXPIRED, "");
    rig.token(Some("t2"));
    assert!(!rig.is_dialing(), "the same token counts as a failed attempt");
    rig.wait_for_dial();
}

#[test]
fn p_c6_without_a_token_there_are_no_attempts_until_one_is_set() {
    for provider in [true, false] {
        let mut rig = Rig::connecting(Config { has_token_provider: provider, ..config() });
        rig.open();
        rig.close(close::TOKEN_REVOKED, "");
        if provider {
            rig.token(None);
        }
        let failed = Some(Code::TOKEN_REVOKED).filter(|_| !provider);
        let reply = rig.reply(crate::machine::CallId(1)).unwrap().clone().unwrap_err();
        assert_eq!(reply.code, failed.unwrap_or(Code::TOKEN_MISSING));
        assert_eq!(rig.statuses().last().unwrap().0, Status::Unauthenticated);
        rig.pass(secs(3600));
        assert!(!rig.is_dialing());
        let query = rig.command(|call| Command::Query(call, "rooms".into(), Json::null()));
        assert!(
            matches!(rig.reply(query), Some(Err(error)) if error.code == Code::UNAUTHENTICATED)
        );
        rig.input(Input::Command(Command::SetToken("t9".into())));
        assert!(rig.is_dialing());
        rig.accept();
    }
}

#[test]
fn p_c6_with_a_provider_and_no_token_it_is_asked_before_the_first_dial() {
    let mut rig = Rig::connecting(Config { token: None, ..with_provider() });
    assert!(!rig.is_dialing());
    assert_eq!(rig.fetches(), 1);
    rig.token(Some("t1"));
    rig.open();
    assert_eq!(rig.hello().token, Some("t1".into()));
}

#[test]
fn p_c6_a_provider_that_does_not_answer_is_asked_again_with_the_next_attempt() {
    let mut rig = Rig::connecting(Config { token: None, ..with_provider() });
    assert_eq!(rig.fetches(), 1);
    rig.statuses();
    rig.pass(secs(29));
    assert!(rig.fetches() == 0 && rig.statuses().is_empty());
    rig.pass(secs(1));
    let (status, reason) = rig.statuses().pop().unwrap();
    assert_eq!((status, reason.code), (Status::Connecting, close::TOKEN_MISSING));
    rig.pass(secs(1));
    assert_eq!(rig.fetches(), 1);
    rig.token(Some("t1"));
    rig.accept();
}

#[test]
fn p_c6_a_refresh_that_is_not_answered_does_not_hold_up_the_next() {
    let mut rig = Rig::connected(with_provider());
    rig.say(Authorized { expires_in: Some(200_000) });
    let mut asked = 0;
    for _ in 0..200 {
        rig.pass(secs(1));
        rig.say(Pong {});
        asked += rig.fetches();
    }
    assert!(asked >= 2, "{asked}");
}

#[test]
fn no_token_in_what_the_application_is_told() {
    let mut rig = Rig::connected(Config { token: Some("s3cret".into()), ..config() });
    rig.close(1006, "bad token s3cret here");
    rig.wait_for_dial();
    let error =
        DialError { status: None, retry_after: None, message: "ws://x?token=s3cret".into() };
    rig.input(Input::DialFailed(rig.generation(), error));
    let text = format!("{:?} {:?}", rig.out, rig.machine);
    assert!(!text.contains("s3cret"), "{text}");
}
