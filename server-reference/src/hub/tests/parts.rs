//! The parts through the hub: presence, media, limits, revocations end to end.

use super::*;
use bytes::Bytes;
use wardline::{
    model::{ids::ItemId, presence::Status},
    protocol::{
        Code, Json, close,
        frames::{self, CommandResult},
        media::{Chunk, KIND_JPEG, LAST, chunks},
    },
};

pub(super) const SERVICE: &str = "1/site/service";

/// A text that nests one level deeper than may be, one with a key twice, one with white space.
pub(super) const DEEP: &str = "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]";
pub(super) const TWICE: &str = r#"{"a":1,"\u0061":2}"#;

impl Bench {
    /// Sends an event on lane 1 under a fresh id; returns the id.
    pub(super) fn command(
        &mut self,
        conn: ConnId,
        n: u64,
        room: &str,
        event: &str,
        data: &str,
    ) -> ItemId {
        let id = ItemId(u128::from(conn.0) << 64 | u128::from(n));
        let base = if n == 1 { r#""base":0,"# } else { "" };
        self.text(
            conn,
            &format!(
                r#"{{"type":"send","lane":1,"n":{n},"id":"{id}",{base}"room":"{room}","event":"{event}","persist":true,"data":{data}}}"#
            ),
        );
        id
    }

    pub(super) fn answer(&mut self, conn: ConnId, room: &str, seq: u64, result: &str) {
        self.text(
            conn,
            &format!(r#"{{"type":"answer","room":"{room}","seq":{seq},"result":{result}}}"#),
        );
    }

    pub(super) fn events(&mut self, conn: ConnId) -> Vec<frames::Event> {
        let events = self.take(conn).into_iter().filter_map(|frame| match frame {
            ServerFrame::Event(event) => Some(event),
            _ => None,
        });
        events.collect()
    }

    pub(super) fn presences(&mut self, conn: ConnId) -> Vec<frames::Presence> {
        let told = self.take(conn).into_iter().filter_map(|frame| match frame {
            ServerFrame::Presence(presence) => Some(presence),
            _ => None,
        });
        told.collect()
    }

    pub(super) fn results(&mut self, conn: ConnId) -> Vec<CommandResult> {
        let results = self.take(conn).into_iter().filter_map(|frame| match frame {
            ServerFrame::Result(result) => Some(result),
            _ => None,
        });
        results.collect()
    }

    pub(super) fn refusals(&mut self, conn: ConnId) -> Vec<Code> {
        let refused = self.take(conn).into_iter().filter_map(|frame| match frame {
            ServerFrame::Refused(refused) => Some(refused.code),
            _ => None,
        });
        refused.collect()
    }

    /// Another hub over the same log.
    pub(super) fn restart(&mut self) {
        self.restart_with(HubConfig::default());
    }

    pub(super) fn restart_with(&mut self, config: HubConfig) {
        self.hub = Hub::new(config, 9);
        self.written.clear();
        self.closed.clear();
    }

    pub(super) fn join_as(&mut self, conn: ConnId, room: &str, more: &str) {
        self.text(conn, &format!(r#"{{"type":"join","id":1,"room":"{room}"{more}}}"#));
    }
}

/// Past the time in which snapshots are partial.
pub(super) fn settled() -> Bench {
    let mut bench = Bench::new();
    let early = bench.welcome("9/early");
    bench.join_as(early, "alerts/x", r#","watch":true"#);
    bench.pass(Duration::from_secs(61));
    bench.feed(Input::Closed(early, Some(1000)));
    bench
}

#[test]
fn p_p1_presence_through_the_hub() {
    let mut bench = settled();
    let watcher = bench.welcome("1/watcher");
    let ann = bench.welcome("1/ann");
    bench.join_as(watcher, "alerts/site", r#","watch":true"#);
    let frames = bench.take(watcher);
    let kinds: Vec<_> = frames.iter().map(ServerFrame::kind).collect();
    assert_eq!(kinds, ["welcome", "joined", "live", "presence"]);
    bench.pass(Duration::from_secs(2));
    bench.join_as(ann, "alerts/site", r#","present":true,"meta":{"desk":4}"#);
    let told = bench.presences(watcher);
    assert_eq!(told[0].changes[0].meta, Some(Json::parse(r#"{"desk":4}"#).unwrap()));
    bench.pass(Duration::from_secs(2));
    bench.text(ann, r#"{"type":"status","status":"busy"}"#);
    let changed = bench.presences(watcher);
    assert_eq!(changed[0].changes[0].status, Some(Status::Busy));
    assert_eq!(changed[0].version, told[0].version + 1);
    bench.pass(Duration::from_secs(2));
    // A join of a joined room is an update: nobody leaves.
    bench.join_as(ann, "alerts/site", r#","present":true,"meta":{"desk":5}"#);
    let update = bench.presences(watcher);
    assert_eq!((update.len(), update[0].changes.len(), update[0].changes[0].gone), (1, 1, false));
    bench.text(
        watcher,
        r#"{"type":"call","id":4,"method":"presence","params":{"room":"alerts/site"}}"#,
    );
    let frames = bench.take(watcher);
    let [ServerFrame::Reply(reply)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(
        reply.result.as_ref().unwrap().get(),
        r#"{"presence":[{"user":"ann","status":"busy","meta":{"desk":5}}]}"#
    );
}

#[test]
fn p_p1_in_a_public_room_one_hears_of_ones_own_tenant_alone() {
    let mut bench = settled();
    let room = "alerts/public:news";
    let (watcher, ann) = (bench.welcome("1/watcher"), bench.welcome("1/ann"));
    let (stranger, other) = (bench.welcome("2/watcher"), bench.welcome("2/ann"));
    for conn in [watcher, stranger] {
        bench.join_as(conn, room, r#","watch":true"#);
        bench.presences(conn);
    }
    bench.pass(Duration::from_secs(2));
    bench.join_as(ann, room, r#","present":true,"meta":{"desk":1}"#);
    bench.join_as(other, room, r#","present":true,"meta":{"desk":2}"#);
    bench.text(other, r#"{"type":"status","status":"busy"}"#);
    bench.pass(Duration::from_secs(2));
    let meta = |told: &[frames::Presence]| -> Vec<(String, String)> {
        let changes = told.iter().flat_map(|told| &told.changes);
        changes
            .map(|change| (change.user.to_string(), change.meta.as_ref().unwrap().get().to_owned()))
            .collect()
    };
    assert_eq!(meta(&bench.presences(watcher)), [("ann".to_owned(), r#"{"desk":1}"#.to_owned())]);
    // The same name in another tenant is another person.
    let told = bench.presences(stranger);
    assert!(told.iter().flat_map(|told| &told.changes).all(|change| change.user.as_str() == "ann"));
    for (conn, status) in [(watcher, "online"), (stranger, "busy")] {
        let call =
            format!(r#"{{"type":"call","id":4,"method":"presence","params":{{"room":"{room}"}}}}"#);
        bench.text(conn, &call);
        let frames = bench.take(conn);
        let [ServerFrame::Reply(reply)] = &frames[..] else { panic!("{frames:?}") };
        let result = reply.result.as_ref().unwrap().get();
        assert_eq!(result.matches("\"user\"").count(), 1, "{result}");
        assert!(result.contains(status), "{result}");
    }
    // Who goes, goes from their own tenant's list.
    bench.feed(Input::Closed(other, Some(1000)));
    bench.pass(Duration::from_secs(2));
    assert!(bench.presences(watcher).is_empty());
    let told = bench.presences(stranger);
    assert!(told.iter().flat_map(|told| &told.changes).any(|change| change.gone), "{told:?}");
}

#[test]
fn p_p2_a_cut_is_graced_and_a_goodbye_is_not() {
    let mut bench = settled();
    let watcher = bench.welcome("1/watcher");
    bench.join_as(watcher, "alerts/site", r#","watch":true"#);
    let ann = bench.welcome("1/ann");
    bench.join_as(ann, "alerts/site", r#","present":true"#);
    bench.pass(Duration::from_secs(2));
    bench.take(watcher);
    bench.feed(Input::Closed(ann, Some(1006)));
    bench.pass(Duration::from_secs(10));
    let ann = bench.welcome("1/ann");
    bench.join_as(ann, "alerts/site", r#","present":true"#);
    bench.pass(Duration::from_secs(20));
    assert_eq!(bench.presences(watcher), [], "back within the grace");
    bench.feed(Input::Closed(ann, Some(1001)));
    bench.pass(Duration::from_secs(14));
    assert_eq!(bench.presences(watcher), []);
    bench.pass(Duration::from_secs(2));
    assert!(bench.presences(watcher)[0].changes[0].gone);
    let ann = bench.welcome("1/ann");
    bench.join_as(ann, "alerts/site", r#","present":true"#);
    bench.pass(Duration::from_secs(2));
    bench.take(watcher);
    bench.feed(Input::Closed(ann, Some(1000)));
    assert!(bench.presences(watcher)[0].changes[0].gone, "at once");
}

#[test]
fn p_p3_after_a_start_a_whole_snapshot_follows_the_partial_one() {
    let mut bench = Bench::new();
    let watcher = bench.welcome("1/watcher");
    bench.join_as(watcher, "alerts/site", r#","watch":true"#);
    assert!(bench.presences(watcher)[0].partial);
    bench.pass(Duration::from_secs(44));
    assert_eq!(bench.presences(watcher), []);
    bench.pass(Duration::from_secs(17));
    let whole = bench.presences(watcher);
    assert_eq!((whole.len(), whole[0].partial, whole[0].members.clone()), (1, false, Some(vec![])));
}

#[test]
fn p_v_pictures_reach_the_viewers_and_the_taps() {
    let mut bench = Bench::new();
    let (camera, viewer) = (bench.welcome(SERVICE), bench.welcome("1/ann"));
    let room = "video/camera:7";
    bench.join(viewer, room);
    bench.take(viewer);
    bench.take(camera);
    bench.text(camera, r#"{"type":"stream","stream":3,"room":"video/camera:7","codec":"jpeg","width":64,"height":48}"#);
    let frames = bench.take(camera);
    assert!(matches!(&frames[..], [ServerFrame::Demand(d)] if (d.stream, d.viewers) == (3, 1)));
    let frames = bench.take(viewer);
    let [ServerFrame::Stream(stream)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((stream.room.as_str(), stream.width), (room, 64));
    let ann = Arc::new(verify(&"1/ann".into()).unwrap());
    bench.feed(Input::Tap(media::TapId(1), Tap::Open(ann, room.parse().unwrap())));
    for seq in 1..=9 {
        let picture = Bytes::from(vec![seq as u8; 20_000]);
        for chunk in chunks(KIND_JPEG, true, 3, seq, 0, &picture) {
            bench.feed(Input::Binary(camera, chunk.encode()));
        }
    }
    let last = |bench: &Bench| -> Vec<u32> {
        let all = bench.media.iter().map(|(conn, bytes)| (conn, Chunk::decode(bytes).unwrap()));
        all.filter(|(conn, chunk)| **conn == viewer && chunk.has(LAST))
            .map(|(_, c)| c.seq)
            .collect()
    };
    assert_eq!(last(&bench), [1, 2]);
    bench.text(viewer, &format!(r#"{{"type":"seen","stream":{},"seq":1}}"#, stream.stream));
    assert_eq!(last(&bench), [1, 2, 9]);
    let (tap, picture) = bench.pictures[0].clone();
    bench.feed(Input::Tap(tap, Tap::Seen(picture)));
    assert_eq!(bench.pictures.iter().map(|(_, p)| p.seq).collect::<Vec<_>>(), [1, 2, 9]);
    let snapshot = bench.hub.snapshot(&"1".into(), &room.parse().unwrap()).unwrap();
    assert_eq!(snapshot, vec![9; 20_000]);
    bench.feed(Input::Closed(camera, None));
    let frames = bench.take(viewer);
    assert!(matches!(&frames[..], [ServerFrame::Stream(end)] if end.codec.is_empty()));
    bench.feed(Input::Binary(viewer, Bytes::from_static(&[1; 5])));
    assert_eq!(bench.closed[&viewer].0, close::BAD_FRAME);
}

#[test]
fn v6_a_sender_past_its_rate_is_held_not_lost() {
    let mut config = HubConfig::default();
    config.parts.buckets = buckets::Config::default();
    let mut bench = Bench::with(config);
    let ann = bench.welcome("1/ann");
    for n in 1..=110 {
        bench.send(ann, n, "alerts/tenant:1");
    }
    let frames = bench.take(ann);
    let oks = frames.iter().filter(|frame| matches!(frame, ServerFrame::Accepted(_))).count();
    let Some(ServerFrame::Hold(hold)) = frames.last() else { panic!() };
    assert_eq!(
        (oks, hold.accepted, hold.code.clone(), hold.after),
        (100, 100, Code::RATE, Some(600))
    );
    bench.pass(Duration::from_millis(600));
    bench.text(ann, r#"{"type":"send","lane":1,"n":101,"id":"00000000000000000000000000000101","base":100,"room":"alerts/tenant:1","event":"e","persist":true,"data":1}"#);
    assert_eq!(bench.kinds(ann), ["ok"]);
    let site = bench.welcome(SERVICE);
    for n in 1..=500 {
        bench.send(site, n, "alerts/tenant:1");
    }
    assert!(!bench.kinds(site).contains(&"hold".to_owned()));
}

#[test]
fn p_c6a_a_revocation_cuts_now_and_after_a_restart() {
    let mut bench = settled();
    let watcher = bench.welcome("1/watcher");
    bench.join_as(watcher, "alerts/site", r#","watch":true"#);
    let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    bench.join_as(ann, "alerts/site", r#","present":true"#);
    bench.pass(Duration::from_secs(2));
    bench.take(watcher);
    let cut = Revocation {
        tenant: "1".into(),
        user: Some("ann".into()),
        token_id: None,
        not_before: START,
    };
    bench.feed(Input::Revoke(None, cut));
    assert_eq!(bench.closed[&ann].0, close::TOKEN_REVOKED);
    assert!(!bench.closed.contains_key(&bob));
    assert!(bench.presences(watcher)[0].changes[0].gone, "it leaves presence at once");
    let again = bench.welcome("1/ann");
    assert_eq!(bench.closed[&again].0, close::TOKEN_REVOKED);
    bench.restart();
    let again = bench.welcome("1/ann");
    assert_eq!(bench.closed[&again].0, close::TOKEN_REVOKED);
    let bob = bench.welcome("1/bob");
    assert_eq!(bench.kinds(bob), ["welcome"]);
}

#[test]
fn p_c6a_nobody_is_welcomed_before_the_revocations_are_read() {
    let mut bench = Bench::new();
    bench.held = Some(VecDeque::new());
    let ann = bench.welcome("1/ann");
    let asked = bench.held.as_ref().unwrap();
    assert!(
        matches!(asked.iter().collect::<Vec<_>>()[..], [Request::Read(_, key, 0)] if key.room.as_str() == revocations::ROOM)
    );
    bench.release();
    assert_eq!(bench.kinds(ann), ["welcome"]);
}

#[test]
fn p_p_a_rejoin_a_lost_cursor_and_a_reconnect_do_not_flap() {
    let mut bench = Bench::new();
    let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    let join = |rest: &str| format!(r#"{{"type":"join","id":1,"room":"alerts/a"{rest}}}"#);
    let changes = |bench: &mut Bench| -> Vec<_> {
        bench
            .take(ann)
            .into_iter()
            .filter_map(|frame| match frame {
                ServerFrame::Presence(presence) => Some(presence.changes),
                _ => None,
            })
            .flatten()
            .collect()
    };
    bench.text(ann, &join(r#","watch":true"#));
    bench.text(bob, &join(r#","present":true"#));
    bench.pass(Duration::from_secs(2));
    changes(&mut bench);
    bench.text(bob, &join(r#","present":true"#));
    bench.take(bob);
    bench.text(bob, &join(r#","present":true,"cursor":{"seq":9,"mark":"0000000000000009"}"#));
    assert!(bench.kinds(bob).contains(&"lost".to_owned()));
    bench.pass(Duration::from_secs(20));
    bench.text(bob, &join(r#","present":true"#));
    bench.feed(Input::Closed(bob, Some(1001)));
    let again = bench.welcome("1/bob");
    bench.text(again, &join(r#","present":true"#));
    bench.pass(Duration::from_secs(20));
    assert_eq!(changes(&mut bench), []);
    // Lost, and then left: gone at once.
    bench.text(again, &join(r#","present":true,"cursor":{"seq":9,"mark":"0000000000000009"}"#));
    bench.text(again, r#"{"type":"leave","id":2,"room":"alerts/a"}"#);
    bench.pass(Duration::from_secs(2));
    assert!(changes(&mut bench)[0].gone);
}

#[test]
fn p_f1_metadata_of_a_join_is_checked_and_minified() {
    let mut bench = settled();
    let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
    bench.join_as(bob, "default/a", r#","watch":true"#);
    bench.take(bob);
    bench.take(ann);
    for bad in [DEEP, TWICE] {
        bench.join_as(ann, "default/a", &format!(r#","present":true,"meta":{bad}"#));
        let frames = bench.take(ann);
        let [ServerFrame::Left(left)] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!(left.code, Some(Code::BAD_DATA));
    }
    bench.join_as(ann, "default/a", r#","present":true,"meta":{ "desk" : 4 }"#);
    bench.pass(Duration::from_secs(1));
    let told = bench.presences(bob);
    let metas: Vec<_> =
        told.iter().flat_map(|p| p.changes.iter()).filter_map(|c| c.meta.clone()).collect();
    assert_eq!(metas.iter().map(Json::get).collect::<Vec<_>>(), [r#"{"desk":4}"#]);
}

#[test]
fn p_f1_a_status_with_bad_metadata_closes_before_anyone_is_told() {
    let large = format!("\"{}\"", "x".repeat(wardline::protocol::limits::META_BYTES));
    for bad in [DEEP, TWICE, &large] {
        let mut bench = settled();
        let (ann, bob) = (bench.welcome("1/ann"), bench.welcome("1/bob"));
        bench.join_as(ann, "default/a", r#","present":true"#);
        bench.join_as(bob, "default/a", r#","watch":true"#);
        bench.pass(Duration::from_secs(1));
        bench.take(bob);
        bench.text(ann, &format!(r#"{{"type":"status","status":"busy","meta":{bad}}}"#));
        assert_eq!(bench.closed[&ann].0, wardline::protocol::close::BAD_FRAME);
        bench.pass(Duration::from_secs(1));
        assert_eq!(bench.presences(bob), [], "graced, and nothing shown");
    }
}
