//! What the server sends, hostile or not; queries, presence and media on the wire.

use super::rig::{Rig, config, secs, welcome};
use crate::{
    machine::{ApiEvent, Command, Config, Input, PresenceChange, ReplyValue, SubId, Subscribe},
    model::presence::Status,
    protocol::{
        ClientFrame, Code, Cursor, Json, Mark, ServerFrame,
        frames::{self, Cast, Member, Ping, Reply, Stream},
        media::{Chunk, FIRST, KIND_JPEG, LAST},
    },
};
use bytes::Bytes;
use proptest::prelude::*;
use std::time::Duration;

fn cast() -> Cast {
    let data = Json::parse("1").unwrap();
    Cast { room: "a/b".into(), event: "typing".into(), data }
}

#[test]
fn p_c3_a_ping_is_answered_and_an_unknown_type_counted() {
    let mut rig = Rig::connected(config());
    rig.say(Ping::default());
    assert_eq!(rig.kinds(), ["pong"]);
    rig.say(ServerFrame::Unknown { kind: "novelty".into(), id: None });
    assert_eq!(rig.machine.ignored_frames(), 1);
    assert!(rig.machine.is_welcomed());
}

#[test]
fn p_f2_a_broken_envelope_closes_and_waits_at_the_cap() {
    for text in ["nonsense", "[]", "{\"type\":7}", "{\"type\":\"event\",\"room\":3}"] {
        let mut rig = Rig::connected(config());
        let generation = rig.generation();
        rig.input(Input::Text(generation, text.into()));
        assert_eq!(rig.closes(), [4200], "{text}");
        assert!(rig.wait_for_dial() >= secs(10));
    }
}

#[test]
fn p_f3_an_object_of_more_than_2_mib_closes() {
    let mut rig = Rig::connected(config());
    let generation = rig.generation();
    let text = format!("{{\"type\":\"x\",\"pad\":\"{}\"}}", "y".repeat(2 << 20));
    rig.input(Input::Text(generation, text));
    assert_eq!(rig.closes(), [1009]);
}

#[test]
fn frames_before_the_welcome_and_a_second_welcome_change_nothing() {
    let mut rig = Rig::connecting(config());
    rig.open();
    rig.frames();
    rig.say(Reply { id: Json::parse("1").unwrap(), result: None, error: None });
    rig.say(Ping::default());
    assert_eq!(rig.kinds(), ["pong"]);
    rig.say(welcome("ann"));
    rig.out.clear();
    rig.say(welcome("bob"));
    assert!(rig.out.is_empty());
    assert_eq!(rig.machine.ignored_frames(), 2);
}

#[test]
fn p_s7_a_query_made_while_connecting_waits_and_is_asked_again_after_a_loss() {
    let mut rig = Rig::connecting(config());
    let call = rig.command(|call| Command::Query(call, "rooms".into(), Json::null()));
    rig.accept();
    assert!(rig.kinds().contains(&"call".into()));
    rig.close(1006, "");
    assert!(rig.wait_for_dial() < secs(2));
    rig.accept();
    let frames = rig.frames();
    let Some(ClientFrame::Call(asked)) = frames.last() else { panic!("{frames:?}") };
    let id = Json::of(&asked.id).unwrap();
    rig.say(Reply { id, result: Some(Json::parse("[]").unwrap()), error: None });
    let value = ReplyValue::Json(Json::parse("[]").unwrap());
    assert_eq!(rig.reply(call), Some(&Ok(value)));
}

#[test]
fn p_s7_a_query_ends_by_its_deadline_or_with_the_client() {
    let mut rig = Rig::connecting(config());
    let late = rig.command(|call| Command::Query(call, "rooms".into(), Json::null()));
    rig.pass(secs(10));
    assert!(matches!(rig.reply(late), Some(Err(error)) if error.code == Code::TIMEOUT));
    let cut = rig.command(|call| Command::Query(call, "rooms".into(), Json::null()));
    rig.command(Command::Disconnect);
    assert!(matches!(rig.reply(cut), Some(Err(error)) if error.code == Code::DISCONNECTED));
    let never = rig.command(|call| Command::Query(call, "rooms".into(), Json::null()));
    assert!(matches!(rig.reply(never), Some(Err(error)) if error.code == Code::DISCONNECTED));
    assert_eq!(rig.machine.pending_calls(), 0);
}

#[test]
fn p_r8_an_ephemeral_message_goes_now_or_not_at_all() {
    let mut rig = Rig::connecting(config());
    let early = rig.command(|call| Command::Cast(call, cast()));
    assert!(matches!(rig.reply(early), Some(Err(error)) if error.code == Code::DISCONNECTED));
    rig.accept();
    rig.frames();
    let call = rig.command(|call| Command::Cast(call, cast()));
    assert_eq!(rig.frames(), [ClientFrame::from(cast())]);
    assert_eq!(rig.reply(call), Some(&Ok(ReplyValue::Done)));
    let data = Json::of(&"x".repeat(2 << 20)).unwrap();
    let large = rig.command(|call| Command::Cast(call, Cast { data, ..cast() }));
    assert!(matches!(rig.reply(large), Some(Err(error)) if error.code == Code::TOO_LARGE));
}

#[test]
fn p_p1_status_is_kept_while_offline_and_told_on_each_connection() {
    let mut rig = Rig::new(config());
    rig.command(|call| Command::SetStatus(call, Some(Status::Busy), None));
    rig.input(Input::Signal(crate::machine::Signal::Hidden));
    rig.command(Command::Connect);
    for _ in 0..2 {
        rig.open();
        assert!(rig.hello().hidden);
        rig.say(welcome("ann"));
        let told = rig.frames();
        let [ClientFrame::Status(status)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(status.status, Some(Status::Busy));
        rig.close(1006, "");
        rig.wait_for_dial();
        rig.frames();
    }
    rig.open();
    rig.say(welcome("ann"));
    rig.frames();
    rig.input(Input::Signal(crate::machine::Signal::Visible));
    let told = rig.frames();
    assert!(matches!(&told[0], ClientFrame::Status(s) if s.hidden == Some(false)), "{told:?}");
}

#[test]
fn p_p1_presence_reaches_the_subscriptions_that_watch() {
    let mut rig = Rig::connected(config());
    let room: crate::protocol::Address = "chat/r".parse().unwrap();
    let watch = Subscribe { watch: true, ..Subscribe::default() };
    rig.command(|call| Command::Subscribe(call, SubId(1), room.clone(), watch));
    let frames = rig.frames();
    let [ClientFrame::Join(join)] = &frames[..] else { panic!("{frames:?}") };
    assert!(join.watch);
    let cursor = Cursor { seq: 0, mark: Mark(1) };
    rig.say(frames::Joined {
        id: join.id,
        room: join.room.clone(),
        cursor,
        head: cursor,
        mode: frames::RoomMode::Log,
        full: false,
    });
    let bob = Member { user: "bob".into(), status: Status::Online, meta: None };
    rig.say(frames::Presence {
        room: join.room.clone(),
        version: 3,
        members: Some(vec![bob.clone()]),
        ..frames::Presence::default()
    });
    rig.say(frames::Presence {
        room: join.room.clone(),
        version: 5,
        ..frames::Presence::default()
    });
    let told = ApiEvent::Presence(SubId(1), PresenceChange::Snapshot(vec![bob]));
    assert!(rig.events().contains(&told));
    let frames = rig.frames();
    assert!(
        matches!(&frames[..], [ClientFrame::Call(call)] if call.method == "presence"),
        "{frames:?}"
    );
    rig.command(|call| Command::Unsubscribe(call, SubId(1)));
    assert_eq!(rig.machine.mirrored_rooms(), 0);
}

#[test]
fn p_c1_joins_follow_hello_in_the_same_flight_and_p_s1a_another_owner_has_no_rooms() {
    let mut rig = Rig::new(config());
    let room: crate::protocol::Address = "chat/r".parse().unwrap();
    rig.command(|call| Command::Subscribe(call, SubId(1), room.clone(), Subscribe::default()));
    rig.command(Command::Connect);
    rig.open();
    assert_eq!(rig.kinds(), ["hello", "join"]);
    rig.say(welcome("ann"));
    rig.out.clear();
    let subscribed = crate::machine::CallId(1);
    rig.close(4203, "");
    assert!(matches!(rig.reply(subscribed), Some(Err(error)) if error.code == Code::FORBIDDEN));
    // What is subscribed to from here on is the next owner's.
    rig.command(|call| Command::Subscribe(call, SubId(2), room.clone(), Subscribe::default()));
    rig.wait_for_dial();
    rig.open();
    rig.say(welcome("bob"));
    assert!(!rig.machine.is_welcomed());
    rig.wait_for_dial();
    rig.frames();
    rig.open();
    assert_eq!(rig.kinds(), ["hello", "join"]);
    rig.say(welcome("bob"));
    assert!(rig.machine.is_welcomed());
}

#[test]
fn p_s1a_another_owner_has_no_rooms_also_behind_a_disconnect_before_the_welcome() {
    let mut rig = Rig::connected(config());
    let room: crate::protocol::Address = "chat/r".parse().unwrap();
    let subscribed =
        rig.command(|call| Command::Subscribe(call, SubId(1), room.clone(), Subscribe::default()));
    rig.close(1006, "");
    // What waits to be sent keeps the connection until it is answered.
    rig.command(|call| Command::Submit(call, super::connection::item(1)));
    rig.wait_for_dial();
    rig.open();
    let left = rig.command(Command::Disconnect);
    rig.say(welcome("bob"));
    assert_eq!(rig.reply(left), Some(&Ok(ReplyValue::Done)));
    assert!(matches!(rig.reply(subscribed), Some(Err(error)) if error.code == Code::FORBIDDEN));
    rig.frames();
    rig.command(Command::Connect);
    rig.wait_for_dial();
    rig.open();
    assert_eq!(rig.kinds(), ["hello"], "no join of the last owner's");
}

#[test]
fn p_s1a_a_stored_position_of_another_owner_is_not_resumed_from() {
    let room: crate::protocol::Address = "chat/r".parse().unwrap();
    let position = |seq| {
        crate::table::Table::from([(
            ("reader".to_owned(), room.clone()),
            Cursor { seq, mark: Mark(seq) },
        )])
    };
    let owner = |user: &str| crate::machine::Owner {
        server: "ws://server/wardline".into(),
        tenant: "acme".into(),
        user: user.into(),
    };
    let mut rig = Rig::unloaded(config());
    rig.stored.owner = Some(owner("ann"));
    rig.stored.cursors = position(9);
    rig.load();
    let durable = Subscribe { durable: Some("reader".into()), ..Subscribe::default() };
    rig.command(|call| Command::Subscribe(call, SubId(1), room.clone(), durable));
    rig.command(Command::Connect);
    rig.open();
    rig.stored.owner = None;
    rig.stored.cursors = position(4);
    rig.say(welcome("bob"));
    rig.wait_for_dial();
    rig.frames();
    rig.open();
    let frames = rig.frames();
    assert!(
        matches!(&frames[1], ClientFrame::Join(join) if join.cursor.unwrap().seq == 4),
        "{frames:?}"
    );
}

#[test]
fn p_s1a_the_same_owner_again_after_4203_gets_his_positions_back() {
    let mut rig = Rig::connected(config());
    rig.close(4203, "");
    let room: crate::protocol::Address = "chat/r".parse().unwrap();
    let durable = Subscribe { durable: Some("reader".into()), ..Subscribe::default() };
    rig.command(|call| Command::Subscribe(call, SubId(1), room.clone(), durable));
    rig.wait_for_dial();
    rig.accept();
    assert!(rig.kinds().contains(&"join".into()));
}

fn chunk(flags: u8) -> Chunk {
    let payload = Bytes::from_static(b"jpeg");
    Chunk { kind: KIND_JPEG, flags, stream: 1, seq: 0, pts_us: 0, payload }
}

fn stream() -> Stream {
    let (room, codec) = ("video/camera:1".into(), "jpeg".into());
    Stream { stream: 1, room, codec, width: 4, height: 3 }
}

#[test]
fn p_v1_pictures_of_a_told_stream_reach_the_application() {
    let mut rig = Rig::connected(config());
    let generation = rig.generation();
    rig.input(Input::Binary(generation, chunk(FIRST | LAST).encode()));
    assert!(rig.events().is_empty());
    rig.say(stream());
    rig.input(Input::Binary(generation, chunk(FIRST | LAST).encode()));
    rig.input(Input::Binary(generation, Bytes::from_static(b"short")));
    let told = [ApiEvent::Stream(stream()), ApiEvent::Media(chunk(FIRST | LAST))];
    assert_eq!(rig.events(), told);
    rig.close(1006, "");
    let ended = ApiEvent::Stream(Stream { codec: String::new(), ..stream() });
    assert!(rig.events().contains(&ended));
}

#[test]
fn p_v2_own_pictures_follow_their_announcement_and_are_dropped_when_the_socket_is_full() {
    let mut rig = Rig::connected(config());
    rig.fast = false;
    rig.command(|call| Command::Stream(call, stream()));
    for _ in 0..10 {
        rig.input(Input::Command(Command::Media(Chunk {
            payload: Bytes::from(vec![0; 16_000]),
            ..chunk(FIRST | LAST)
        })));
    }
    let is_binary =
        |output: &crate::machine::Output| matches!(output, crate::machine::Output::Binary(..));
    rig.out.retain(|output| !matches!(output, crate::machine::Output::Reply(..)));
    assert!(matches!(rig.out[0], crate::machine::Output::Text(..)), "the announcement first");
    assert_eq!(rig.out.iter().filter(|output| is_binary(output)).count(), 5);
    assert_eq!(rig.machine.dropped_chunks(), 5);
    rig.close(1006, "");
    rig.wait_for_dial();
    rig.fast = true;
    rig.accept();
    assert!(rig.kinds().contains(&"stream".into()));
}

fn some_frame() -> impl Strategy<Value = String> {
    let kinds = prop::sample::select(vec![
        "welcome",
        "authorized",
        "joined",
        "live",
        "left",
        "lost",
        "event",
        "page",
        "ok",
        "refused",
        "hold",
        "reply",
        "result",
        "presence",
        "stream",
        "demand",
        "drain",
        "ping",
        "pong",
        "novelty",
    ]);
    let values = prop::sample::select(vec![
        "0",
        "1",
        "9007199254740991",
        "18446744073709551615",
        "-1",
        "\"a/b\"",
        "\"\"",
        "null",
        "[]",
        "{}",
        "[0,18446744073709551615]",
        "\"0123456789abcdef\"",
        "\"00000000000000000000000000000001\"",
        "{\"seq\":1,\"mark\":\"0123456789abcdef\"}",
        "\"rate\"",
        "true",
        "{\"4\":18446744073709551615}",
        "{\"message\":0,\"rooms\":0,\"depth\":0}",
        "[{\"user\":\"u\",\"status\":\"busy\"}]",
    ]);
    let fields = prop::sample::select(vec![
        "id",
        "room",
        "seq",
        "mark",
        "lane",
        "n",
        "prev",
        "cursor",
        "head",
        "first",
        "code",
        "after",
        "accepted",
        "members",
        "changes",
        "version",
        "spread",
        "heads",
        "stream",
        "codec",
        "width",
        "height",
        "expires_in",
        "connection",
        "tenant",
        "user",
        "ping",
        "time",
        "limits",
        "event",
        "result",
        "key",
        "viewers",
        "last",
    ]);
    (kinds, prop::collection::vec((fields, values), 0..14)).prop_map(|(kind, fields)| {
        let fields: std::collections::BTreeMap<_, _> = fields.into_iter().collect();
        let body: String =
            fields.iter().map(|(field, value)| format!(",\"{field}\":{value}")).collect();
        format!("{{\"type\":\"{kind}\"{body}}}")
    })
}

/// Frames that decode: a bare envelope with every field they need.
fn good_frame() -> impl Strategy<Value = String> {
    let n = prop::sample::select(vec![0u64, 1, 2, 33, (1 << 53) - 1, u64::MAX]);
    (0..12u8, n.clone(), n, 0..3u8).prop_map(|(kind, a, b, lane)| {
        let id = format!("{a:032x}");
        let cursor = |n: u64| format!("{{\"seq\":{n},\"mark\":\"{n:016x}\"}}");
        match kind {
            0 => format!("{{\"type\":\"ok\",\"lane\":{lane},\"n\":{a},\"id\":\"{id}\",\"seq\":{b}}}"),
            1 => format!("{{\"type\":\"refused\",\"lane\":{lane},\"n\":{a},\"id\":\"{id}\",\"code\":\"x\"}}"),
            2 => format!("{{\"type\":\"hold\",\"lane\":{lane},\"accepted\":{a},\"code\":\"rate\",\"after\":{b}}}"),
            3 => format!(
                "{{\"type\":\"joined\",\"id\":{a},\"room\":\"chat/r\",\"cursor\":{},\"head\":{}}}",
                cursor(a), cursor(b)
            ),
            4 => format!(
                "{{\"type\":\"lost\",\"id\":{lane},\"room\":\"chat/r\",\"first\":{},\"head\":{}}}",
                cursor(a), cursor(b)
            ),
            5 => format!(
                "{{\"type\":\"event\",\"room\":\"chat/r\",\"seq\":{a},\"prev\":{b},\"mark\":\"{a:016x}\",\"event\":\"e\"}}"
            ),
            6 => format!("{{\"type\":\"live\",\"room\":\"chat/r\",\"seq\":{a},\"mark\":\"{b:016x}\"}}"),
            7 => format!("{{\"type\":\"left\",\"id\":{lane},\"room\":\"chat/r\",\"code\":\"forbidden\",\"after\":{b}}}"),
            8 => format!("{{\"type\":\"page\",\"room\":\"chat/r\",\"seq\":{a}}}"),
            9 => format!("{{\"type\":\"authorized\",\"expires_in\":{a}}}"),
            10 => format!("{{\"type\":\"drain\",\"spread\":[{a},{b}]}}"),
            _ => format!(
                "{{\"type\":\"ping\",\"heads\":[{{\"room\":\"chat/r\",\"last\":{a},\"seq\":{b},\"mark\":\"{a:016x}\"}}]}}"
            ),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_a_server_sends_panics(
        frames in prop::collection::vec(prop_oneof![
            some_frame(), good_frame(), good_frame(), ".{0,40}",
        ], 1..40),
        seed in any::<u64>(),
    ) {
        let mut rig = Rig::connecting(Config { seed, has_token_provider: true, ..config() });
        let room: crate::protocol::Address = "chat/r".parse().unwrap();
        let watch = Subscribe { watch: true, present: true, ..Subscribe::default() };
        rig.command(|call| Command::Subscribe(call, SubId(1), room.clone(), watch));
        for frame in frames {
            if rig.machine.generation().is_none() {
                rig.token(Some("t"));
                rig.pass(secs(500));
            }
            let Some(generation) = rig.machine.generation() else { break };
            rig.input(Input::Opened(generation));
            if !rig.machine.is_welcomed() && rig.machine.generation() == Some(generation) {
                rig.say(welcome("ann"));
            }
            rig.input(Input::Text(generation, frame));
            rig.pass(Duration::from_millis(700));
        }
    }
}
