//! P-C: connecting, losing, waiting, leaving.

use super::{
    rig::{Rig, config, secs, welcome},
    tokens::with_provider,
};
use crate::{
    machine::{
        ApiEvent, Command, Config, Error, Input, NewItem, Outcome, Output, ReplyValue, Signal,
        Status, UnixMillis,
    },
    model::ids::ItemId,
    protocol::{
        ClientFrame, Code, Json, close,
        frames::{Accepted, Drain, Lanes, Pong, Refused},
    },
};
use std::time::Duration;

pub(super) fn item(id: u128) -> NewItem {
    NewItem {
        id: ItemId(id),
        lane: 4,
        room: "alerts/tenant:acme".parse().unwrap(),
        event: "note".into(),
        data: Json::parse("{}").unwrap(),
        key: None,
        persist: true,
        ttl: None,
        command: false,
    }
}

// ── Opening.

#[test]
fn p_c1_hello_is_a_frame_of_its_own_and_connect_answers_at_the_welcome() {
    let mut rig = Rig::new(config());
    assert_eq!(rig.loads, [None]);
    assert!(rig.out.is_empty(), "nothing happens before connect: {:?}", rig.out);
    let call = rig.command(Command::Connect);
    let dialled = rig
        .out
        .iter()
        .any(|output| matches!(output, Output::Dial(_, url) if url == "ws://server/wardline"));
    assert!(dialled);
    assert_eq!(rig.statuses()[0].0, Status::Connecting);
    rig.open();
    let hello = rig.hello();
    assert_eq!(hello.token, Some("t0".into()));
    assert_eq!(rig.reply(call), None);
    rig.say(welcome("ann"));
    assert_eq!(rig.reply(call), Some(&Ok(ReplyValue::Done)));
    let events = rig.events();
    assert!(matches!(events[0], ApiEvent::Status { status: Status::Connected, .. }));
    assert!(matches!(&events[1], ApiEvent::Established { user, .. } if user.as_str() == "ann"));
    let again = rig.command(Command::Connect);
    assert_eq!(rig.reply(again), Some(&Ok(ReplyValue::Done)));
}

#[test]
fn a_host_that_never_ends_a_dial_is_given_up_on() {
    let mut rig = Rig::connecting(config());
    let first = rig.generation();
    rig.pass(secs(25));
    rig.wait_for_dial();
    assert_ne!(rig.generation(), first);
}

#[test]
fn a_bad_url_is_refused_with_a_reason() {
    let mut rig = Rig::new(Config { url: "http://server".into(), ..config() });
    let call = rig.command(Command::Connect);
    let Some(Err(Error { code, text })) = rig.reply(call) else { panic!() };
    assert!(*code == Code::BAD_CONFIG && text.contains("ws://"));
}

// ── Generations, backoff (P-C5).

#[test]
fn p_c5_a_ghost_of_an_old_transport_changes_nothing() {
    let mut rig = Rig::connected(config());
    let ghost = rig.generation();
    rig.close(1006, "");
    rig.wait_for_dial();
    rig.open();
    rig.out.clear();
    for input in [
        Input::Text(ghost, crate::protocol::ServerFrame::from(welcome("eve")).encode()),
        Input::Closed(ghost, crate::machine::Close { code: 4201, reason: String::new() }),
        Input::Unsent(ghost, 1 << 30),
        Input::Opened(ghost),
    ] {
        rig.input(input);
    }
    assert!(rig.out.is_empty() && !rig.machine.is_welcomed(), "{:?}", rig.out);
    rig.say(welcome("ann"));
    assert!(rig.machine.is_welcomed());
}

#[test]
fn p_c5_delays_stay_within_their_caps_and_begin_anew_10_s_after_a_welcome() {
    let mut rig = Rig::connecting(config());
    for cap in [1, 2, 4, 8, 16, 20, 20] {
        rig.fail_dial(None, None);
        let waited = rig.wait_for_dial();
        assert!(waited >= Duration::from_millis(50) && waited <= secs(cap), "{waited:?} of {cap}");
    }
    rig.accept();
    rig.pass(secs(9));
    rig.close(1006, "");
    assert_eq!(rig.machine.failed_attempts(), 8);
    rig.wait_for_dial();
    rig.accept();
    rig.pass(Duration::from_millis(9_900));
    rig.say(Pong {});
    rig.pass(Duration::from_millis(100));
    rig.close(1006, "");
    assert_eq!(rig.machine.failed_attempts(), 1);
    assert!(rig.wait_for_dial() <= secs(1));
}

#[test]
fn p_c5_online_and_foreground_shorten_a_delay_once_in_10_s() {
    let mut rig = Rig::connecting(config());
    for _ in 0..8 {
        rig.fail_dial(None, None);
        rig.wait_for_dial();
    }
    let mut shortened = 0;
    for _ in 0..20 {
        rig.fail_dial(None, None);
        let before = rig.deadline;
        rig.input(Input::Signal(Signal::Online));
        if rig.deadline != before {
            shortened += 1;
            let after = rig.deadline;
            rig.input(Input::Signal(Signal::Visible));
            assert_eq!(rig.deadline, after, "twice in 10 s");
            assert!(rig.wait_for_dial() <= secs(1));
        } else {
            rig.wait_for_dial();
        }
        rig.fail_dial(None, None);
        rig.wait_for_dial();
    }
    assert!(shortened > 3);
}

#[test]
fn p_c5_a_delay_the_server_asked_for_is_not_shortened() {
    let mut rig = Rig::connected(config());
    rig.close(4302, "after=60000 busy");
    rig.input(Input::Signal(Signal::Online));
    let waited = rig.wait_for_dial();
    assert!((60..=90).contains(&waited.as_secs()), "{waited:?}");
}

#[test]
fn attempts_end_where_the_configuration_says() {
    let mut rig = Rig::connecting(Config { max_attempts: Some(2), ..config() });
    for _ in 0..2 {
        rig.fail_dial(None, None);
        rig.wait_for_dial();
    }
    rig.out.clear();
    rig.fail_dial(None, None);
    assert_eq!(rig.statuses().last().unwrap().0, Status::Disconnected);
    assert_eq!(rig.deadline, None);
}

#[test]
fn without_auto_reconnect_a_loss_is_the_end() {
    let mut rig = Rig::connected(Config { auto_reconnect: false, ..config() });
    rig.close(1006, "");
    assert_eq!(rig.statuses().last().unwrap().0, Status::Disconnected);
    rig.pass(secs(3600));
    assert!(!rig.is_dialing());
    rig.command(Command::Connect);
    assert!(rig.is_dialing());
}

// ── Probes (P-C4).

#[test]
fn p_c4_a_dead_idle_link_is_found_within_15_s() {
    let mut rig = Rig::connected(config());
    rig.pass(secs(10));
    assert_eq!(rig.kinds(), ["ping"]);
    rig.pass(Duration::from_millis(4_999));
    assert!(rig.closes().is_empty());
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.closes(), [close::PROBE_FAILED]);
    assert_eq!(rig.machine.status(), Status::Reconnecting);
}

#[test]
fn p_c4_a_link_that_answers_is_kept_for_ever() {
    let mut rig = Rig::connected(config());
    for _ in 0..100 {
        rig.pass(secs(10));
        if rig.kinds().contains(&"ping".into()) {
            rig.say(Pong {});
        }
    }
    assert!(rig.closes().is_empty() && rig.machine.is_welcomed());
}

#[test]
fn p_c4_a_dead_link_is_found_within_2_s_of_a_wake() {
    for signal in [Signal::Woke, Signal::Online, Signal::Visible, Signal::NetworkChanged] {
        let mut rig = Rig::connected(config());
        rig.pass(secs(3));
        rig.input(Input::Signal(signal));
        assert_eq!(rig.kinds(), ["ping"]);
        rig.pass(secs(2));
        assert_eq!(rig.closes(), [close::PROBE_FAILED], "{signal:?}");
    }
}

#[test]
fn p_c4_offline_is_not_believed() {
    let mut rig = Rig::connected(config());
    rig.input(Input::Signal(Signal::Offline));
    assert!(rig.out.is_empty());
}

#[test]
fn p_c4_a_deadline_noticed_late_or_a_jump_of_the_wall_clock_makes_the_link_suspect() {
    let mut rig = Rig::connected(config());
    rig.jump(secs(3600));
    rig.input(Input::Timeout);
    assert!(rig.kinds().contains(&"ping".into()));
    assert!(rig.closes().is_empty(), "suspicion never closes");
    rig.pass(secs(2));
    assert_eq!(rig.closes(), [close::PROBE_FAILED]);

    let mut rig = Rig::connected(config());
    rig.pass(secs(1));
    rig.now.wall = UnixMillis(rig.now.wall.0 + 5_500);
    rig.input(Input::Unsent(rig.generation(), 0));
    assert_eq!(rig.kinds(), ["ping"]);
}

#[test]
fn p_c4_limits_double_after_a_death_until_a_link_lived_60_s() {
    let mut rig = Rig::connected(config());
    rig.pass(secs(15));
    assert_eq!(rig.closes(), [close::PROBE_FAILED]);
    rig.wait_for_dial();
    rig.accept();
    rig.pass(secs(15));
    assert!(rig.closes().is_empty());
    rig.pass(secs(5));
    assert_eq!(rig.closes(), [close::PROBE_FAILED]);
    rig.wait_for_dial();
    rig.accept();
    for _ in 0..8 {
        rig.pass(secs(9));
        rig.say(Pong {});
    }
    rig.pass(secs(15));
    assert_eq!(rig.closes(), [close::PROBE_FAILED]);
}

#[test]
fn p_c4_an_unanswered_item_has_the_link_probed_after_3_s() {
    let mut rig = Rig::connected(config());
    rig.pass(secs(1));
    rig.command(|call| Command::Submit(call, item(1)));
    assert_eq!(rig.kinds(), ["send"]);
    rig.pass(secs(3));
    assert_eq!(rig.kinds(), ["ping"]);
    rig.pass(secs(5));
    assert_eq!(rig.closes(), [close::PROBE_FAILED]);
}

// ── Close codes (P-C7).

#[test]
fn p_c7_a_stop_is_silent_until_the_application_connects_again() {
    for code in [4200, 4201, 4202, 4205, 4250] {
        let mut rig = Rig::connected(config());
        rig.close(code, "");
        assert_eq!(rig.statuses().last().unwrap().0, Status::Disconnected);
        rig.pass(secs(100_000));
        rig.input(Input::Signal(Signal::Online));
        assert!(!rig.is_dialing() && rig.deadline.is_none());
        rig.command(Command::Connect);
        rig.accept();
    }
}

#[test]
fn p_c7_classes_have_their_delays() {
    for (code, reason, low, high) in [
        (1006, "", 50, 1_000),
        (4009, "", 50, 1_000),
        (4999, "", 50, 1_000),
        (1009, "", 10_000, 20_000),
        (4300, "", 10_000, 15_000),
        (4301, "after=5000 full", 5_000, 7_500),
        (4000, "after=2000", 2_000, 3_000),
    ] {
        let mut rig = Rig::connected(config());
        rig.close(code, reason);
        let waited = rig.wait_for_dial().as_millis();
        assert!((low..=high).contains(&waited), "{code}: {waited}");
    }
    for (status, after, low, high) in [
        (Some(500), None, 50, 1_000),
        (Some(404), None, 10_000, 20_000),
        (Some(503), Some(secs(4)), 4_000, 6_000),
        (Some(429), None, 10_000, 15_000),
    ] {
        let mut rig = Rig::connecting(config());
        rig.fail_dial(status, after);
        let waited = rig.wait_for_dial().as_millis();
        assert!((low..=high).contains(&waited), "{status:?}: {waited}");
    }
    let mut rig = Rig::connecting(with_provider());
    rig.fail_dial(Some(401), None);
    assert_eq!(rig.fetches(), 1);
}

#[test]
fn p_c7_three_times_replaced_in_a_minute_draws_another_producer() {
    let mut rig = Rig::connecting(config());
    rig.open();
    let first = rig.hello().producer;
    for round in 1..=3 {
        rig.say(welcome("ann"));
        rig.pass(secs(5));
        rig.close(close::REPLACED, "");
        rig.wait_for_dial();
        rig.frames();
        rig.open();
        let producer = rig.hello().producer;
        assert_eq!(producer == first, round < 3, "round {round}");
    }
}

#[test]
fn p_c7_a_fork_draws_another_producer() {
    let mut rig = Rig::connecting(config());
    rig.open();
    let first = rig.hello().producer;
    rig.say(welcome("ann"));
    rig.close(close::FORKED, "");
    rig.wait_for_dial();
    rig.open();
    assert_ne!(rig.hello().producer, first);
}

// ── Owners (P-S1a).

#[test]
fn p_s1a_the_store_is_bound_at_the_first_welcome_and_another_owner_gets_a_store_of_his_own() {
    let mut rig = Rig::connected(config());
    let bound = rig.writes.iter().any(
        |op| matches!(op, crate::machine::StoreOp::Bind(owner) if owner.user.as_str() == "ann"),
    );
    assert!(bound);
    rig.close(1006, "");
    rig.wait_for_dial();
    rig.command(|call| Command::Submit(call, item(1)));
    rig.open();
    rig.frames();
    rig.say(welcome("bob"));
    assert!(!rig.machine.is_welcomed());
    assert!(rig.frames().is_empty(), "nothing of ann's travels under bob's token");
    assert_eq!(rig.loads.last().unwrap().as_ref().unwrap().user.as_str(), "bob");
    rig.wait_for_dial();
    rig.open();
    rig.say(welcome("bob"));
    assert!(rig.machine.is_welcomed());
    assert!(!rig.kinds().contains(&"send".into()));
}

// ── Drain (P-C8).

#[test]
fn p_c8_each_client_leaves_at_its_own_moment_of_the_window() {
    let mut seen = Vec::new();
    for seed in 0..20 {
        let mut rig = Rig::connected(Config { seed, ..config() });
        rig.say(Drain { spread: [1_000, 9_000], reason: "upgrade".into() });
        let events = rig.events();
        let [ApiEvent::Restart { reason, reconnect_in }] = &events[..] else { panic!() };
        assert_eq!(reason, "upgrade");
        rig.pass(*reconnect_in - Duration::from_millis(1));
        assert!(rig.closes().is_empty());
        rig.pass(Duration::from_millis(1));
        assert_eq!(rig.closes(), [close::SHUTDOWN]);
        assert!((1_000..=9_000).contains(&reconnect_in.as_millis()));
        assert!(rig.wait_for_dial() <= secs(1));
        seen.push(*reconnect_in);
    }
    seen.sort();
    assert!(seen[0] < secs(3) && seen[19] > secs(7), "{seen:?}");
}

// ── Leaving.

#[test]
fn disconnect_closes_normally_and_is_the_end() {
    let mut rig = Rig::connected(config());
    let call = rig.command(Command::Disconnect);
    assert_eq!(rig.closes(), [close::NORMAL]);
    assert_eq!(rig.reply(call), Some(&Ok(ReplyValue::Done)));
    assert_eq!(rig.statuses().last().unwrap().0, Status::Disconnected);
    rig.pass(secs(3600));
    assert!(!rig.is_dialing());
    let again = rig.command(Command::Disconnect);
    assert_eq!(rig.reply(again), Some(&Ok(ReplyValue::Done)));
}

#[test]
fn disconnect_waits_for_what_was_submitted_before_it() {
    let mut rig = Rig::connecting(config());
    rig.command(|call| Command::Submit(call, item(1)));
    let call = rig.command(Command::Disconnect);
    assert_eq!(rig.reply(call), None);
    rig.open();
    rig.frames();
    rig.say(welcome("ann"));
    let frames = rig.frames();
    let Some(ClientFrame::Send(send)) =
        frames.iter().find(|frame| matches!(frame, ClientFrame::Send(_)))
    else {
        panic!("{frames:?}")
    };
    assert_eq!(rig.reply(call), None);
    rig.say(Accepted { lane: send.lane, n: send.n, id: send.id, seq: Some(1) });
    assert_eq!(rig.reply(call), Some(&Ok(ReplyValue::Done)));
    assert_eq!(rig.closes(), [close::NORMAL]);
    assert!(rig.events().contains(&ApiEvent::Settled(ItemId(1), Outcome::Accepted(Some(1)))));
}

#[test]
fn disconnect_does_not_wait_for_ever() {
    let mut rig = Rig::connected(config());
    rig.command(|call| Command::Submit(call, item(1)));
    let call = rig.command(Command::Disconnect);
    rig.pass(Duration::from_millis(4_999));
    assert_eq!(rig.reply(call), None);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.reply(call), Some(&Ok(ReplyValue::Done)));
    assert_eq!(rig.closes(), [close::NORMAL]);

    let mut rig = Rig::connecting(config());
    rig.command(|call| Command::Submit(call, item(1)));
    rig.fail_dial(None, None);
    let call = rig.command(Command::Disconnect);
    assert_eq!(rig.reply(call), Some(&Ok(ReplyValue::Done)));
}

#[test]
fn connect_after_disconnect_wins() {
    let mut rig = Rig::connected(config());
    rig.command(|call| Command::Submit(call, item(1)));
    let left = rig.command(Command::Disconnect);
    let call = rig.command(Command::Connect);
    assert_eq!(rig.reply(left), Some(&Ok(ReplyValue::Done)));
    assert_eq!(rig.reply(call), Some(&Ok(ReplyValue::Done)));
    rig.say(Pong {});
    rig.pass(secs(6));
    assert!(rig.machine.is_welcomed());
}

// ── Sends on the wire.

#[test]
fn p_s1_sends_wait_for_the_welcome_and_their_number_is_stored_first() {
    let mut rig = Rig::new(config());
    let call = rig.command(|call| Command::Submit(call, item(1)));
    assert_eq!(rig.reply(call), Some(&Ok(ReplyValue::Queued(ItemId(1)))));
    rig.command(Command::Connect);
    rig.open();
    assert_eq!(rig.kinds(), ["hello"]);
    rig.say(welcome("ann"));
    let numbered = |op: &crate::machine::StoreOp| {
        matches!(op, crate::machine::StoreOp::Number(ItemId(1), Some(1)))
    };
    assert!(rig.writes.iter().any(numbered));
    assert!(matches!(&rig.frames()[..], [.., ClientFrame::Send(send)] if send.n == 1));
}

#[test]
fn p_s10_at_most_64_kib_wait_in_the_socket_and_an_alarm_passes_bulk() {
    let mut rig = Rig::connected(Config { max_bytes: 1 << 24, ..config() });
    rig.fast = false;
    let data = Json::of(&"x".repeat(20_000)).unwrap();
    for id in 1..=8 {
        rig.command(|call| Command::Submit(call, NewItem { data: data.clone(), ..item(id) }));
    }
    let sent = rig.frames();
    assert!((3..=4).contains(&sent.len()), "{}", sent.len());
    let data = Json::of(&"x".repeat(10_000)).unwrap();
    rig.command(|call| Command::Submit(call, NewItem { lane: 0, data, ..item(99) }));
    assert!(rig.frames().is_empty());
    rig.input(Input::Unsent(rig.generation(), 1_000));
    let next = rig.frames();
    assert!(matches!(&next[0], ClientFrame::Send(send) if send.id == ItemId(99)), "{next:?}");
}

#[test]
fn a_refused_command_awaits_no_result_and_an_accepted_one_is_asked_for() {
    let mut rig = Rig::connected(config());
    for id in [1, 2] {
        rig.command(|call| Command::Submit(call, NewItem { command: true, ..item(id) }));
    }
    let sends = rig.frames();
    let [ClientFrame::Send(one), ClientFrame::Send(two)] = &sends[..] else { panic!("{sends:?}") };
    assert_eq!(one.ttl, Some(30_000));
    rig.say(Accepted { lane: one.lane, n: one.n, id: one.id, seq: Some(1) });
    rig.say(Refused {
        lane: two.lane,
        n: two.n,
        id: two.id,
        code: Code::NO_HANDLER,
        message: String::new(),
    });
    rig.close(1006, "");
    rig.wait_for_dial();
    rig.open();
    rig.frames();
    rig.say(crate::protocol::frames::Welcome {
        accepted: Some(Lanes::from([(4, 2)])),
        ..welcome("ann")
    });
    let calls: Vec<_> = rig
        .frames()
        .into_iter()
        .filter_map(|frame| match frame {
            ClientFrame::Call(call) => Some((call.method, call.params)),
            _ => None,
        })
        .collect();
    let ids = Json::parse(&format!(r#"{{"ids":["{}"]}}"#, ItemId(1))).unwrap();
    assert_eq!(calls, [("results".into(), ids)]);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = || {
        let mut rig = Rig::connecting(config());
        for _ in 0..5 {
            rig.fail_dial(None, None);
            rig.wait_for_dial();
        }
        rig.accept();
        rig.command(|call| Command::Submit(call, item(1)));
        rig.pass(secs(60));
        format!("{:?} {:?}", rig.out, rig.machine)
    };
    assert_eq!(run(), run());
}
