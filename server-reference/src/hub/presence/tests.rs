//! Presence on a clock the tests move.

use super::*;
use wardline::time::UnixMillis;

const PRESENT: Membership = Membership { present: true, watch: false, meta: None };
const WATCH: Membership = Membership { present: false, watch: true, meta: None };

fn at(ms: u64) -> Now {
    Now { mono: Instant::new(Duration::from_millis(ms)), wall: UnixMillis(ms) }
}

fn key() -> RoomKey {
    RoomKey { tenant: "t".into(), room: "alerts/tenant:t".parse().unwrap() }
}

fn presence() -> Presence {
    let config = Config {
        restart_grace: Duration::ZERO,
        restart_spread: Duration::ZERO,
        ..Config::default()
    };
    Presence::new(config, 1)
}

fn drain(presence: &mut Presence) -> Vec<Told> {
    std::iter::from_fn(|| presence.poll_output()).collect()
}

/// The changes told to connection 9, as (user, status), `gone` as none.
fn changes(presence: &mut Presence) -> Vec<(String, Option<Status>)> {
    let told = drain(presence).into_iter().filter(|told| told.to.contains(&ConnId(9)));
    told.flat_map(|told| told.frame.changes)
        .map(|change| (change.user.to_string(), change.status.filter(|_| !change.gone)))
        .collect()
}

fn joined(presence: &mut Presence, conn: u64, user: &str, now: u64) {
    presence.join(ConnId(conn), &key(), &user.into(), PRESENT, at(now)).unwrap();
}

fn watched() -> Presence {
    let mut presence = presence();
    presence.join(ConnId(9), &key(), &"w".into(), WATCH, at(0)).unwrap();
    assert_eq!(drain(&mut presence)[0].frame.members, Some(vec![]));
    presence
}

#[test]
fn p_p1_status_is_the_last_set_else_away_if_all_are_hidden() {
    let mut p = watched();
    joined(&mut p, 1, "u", 1000);
    joined(&mut p, 2, "u", 1000);
    assert_eq!(changes(&mut p), [("u".into(), Some(Status::Online))]);
    let hidden = |hidden| SetStatus { hidden: Some(hidden), ..SetStatus::default() };
    p.set(ConnId(1), hidden(true), at(3000)).unwrap();
    assert_eq!(changes(&mut p), []);
    p.set(ConnId(2), hidden(true), at(4000)).unwrap();
    assert_eq!(changes(&mut p), [("u".into(), Some(Status::Away))]);
    let busy = SetStatus { status: Some(Status::Busy), ..SetStatus::default() };
    p.set(ConnId(1), busy, at(6000)).unwrap();
    p.set(ConnId(2), hidden(false), at(8000)).unwrap();
    assert_eq!(changes(&mut p), [("u".into(), Some(Status::Busy))]);
    p.handle_timeout(at(10_000));
    assert_eq!(changes(&mut p), []);
}

#[test]
fn p_p1_metadata_has_a_bound_and_travels() {
    let mut p = watched();
    let large = Json::of(&"x".repeat(META_BYTES)).unwrap();
    let how = Membership { present: true, watch: false, meta: Some(large.clone()) };
    assert_eq!(p.join(ConnId(1), &key(), &"u".into(), how, at(1)), Err(BadStatus));
    assert_eq!(p.members(&key()).count(), 0);
    joined(&mut p, 1, "u", 1000);
    let set = |meta| SetStatus { meta: Some(meta), ..SetStatus::default() };
    assert_eq!(p.set(ConnId(1), set(large), at(2000)), Err(BadStatus));
    drain(&mut p);
    let small = Json::parse(r#"{"seat":4}"#).unwrap();
    p.set(ConnId(1), set(small.clone()), at(3000)).unwrap();
    assert_eq!(drain(&mut p)[0].frame.changes[0].meta, Some(small));
}

#[test]
fn p_p1_versions_rise_by_one_and_changes_are_batched() {
    let mut p = watched();
    joined(&mut p, 1, "a", 1000);
    for n in 2..50 {
        joined(&mut p, n + 10, &format!("u{n}"), 1001 + n);
    }
    p.handle_timeout(at(1249));
    let first = drain(&mut p);
    assert_eq!((first.len(), first[0].frame.version, first[0].frame.changes.len()), (1, 1, 1));
    assert_eq!(p.poll_timeout(), Some(at(1250).mono));
    p.handle_timeout(at(1250));
    let second = drain(&mut p);
    assert_eq!((second.len(), second[0].frame.version, second[0].frame.changes.len()), (1, 2, 48));
}

#[test]
fn p_p1_a_snapshot_comes_in_pages_and_changes_follow_it() {
    let mut p = presence();
    for n in 0..600 {
        joined(&mut p, n + 10, &format!("u{n:03}"), 0);
    }
    p.join(ConnId(9), &key(), &"w".into(), WATCH, at(5000)).unwrap();
    let pages = drain(&mut p);
    let sizes: Vec<_> = pages.iter().map(|t| t.frame.members.as_ref().unwrap().len()).collect();
    assert_eq!(sizes, [256, 256, 88]);
    assert_eq!(pages.iter().map(|t| t.frame.more).collect::<Vec<_>>(), [true, true, false]);
    let version = pages[0].frame.version;
    p.leave(ConnId(10), &key(), at(9000));
    assert_eq!(drain(&mut p)[0].frame.version, version + 1);
}

#[test]
fn p_p1_one_who_comes_and_goes_within_a_batch_is_no_change() {
    let mut p = watched();
    joined(&mut p, 1, "a", 1000);
    drain(&mut p);
    joined(&mut p, 2, "b", 1010);
    p.leave(ConnId(2), &key(), at(1020));
    p.leave(ConnId(1), &key(), at(1030));
    joined(&mut p, 3, "a", 1040);
    p.handle_timeout(at(2000));
    assert_eq!(changes(&mut p), []);
}

#[test]
fn p_p2_a_lost_lease_is_graced_and_a_return_is_silent() {
    let mut p = watched();
    joined(&mut p, 1, "u", 1000);
    drain(&mut p);
    p.closed(ConnId(1), End::Lost, at(2000));
    p.handle_timeout(at(16_999));
    assert_eq!((changes(&mut p), p.members(&key()).count()), (vec![], 1));
    joined(&mut p, 2, "u", 16_999);
    p.handle_timeout(at(60_000));
    assert_eq!(changes(&mut p), []);
    p.closed(ConnId(2), End::Lost, at(60_000));
    assert_eq!(p.poll_timeout(), Some(at(75_000).mono));
    p.handle_timeout(at(75_000));
    assert_eq!(changes(&mut p), [("u".into(), None)]);
}

#[test]
fn p_p2_close_1000_leave_and_revocation_are_gone_at_once_but_only_with_the_last_lease() {
    let mut p = watched();
    for (conn, user) in [(1, "u"), (2, "u"), (3, "v")] {
        joined(&mut p, conn, user, 1000);
    }
    p.handle_timeout(at(2000));
    drain(&mut p);
    p.closed(ConnId(1), End::Left, at(3000));
    assert_eq!(changes(&mut p), []);
    p.closed(ConnId(2), End::Left, at(4000));
    assert_eq!(changes(&mut p), [("u".into(), None)]);
    p.leave(ConnId(3), &key(), at(5000));
    assert_eq!(changes(&mut p), [("v".into(), None)]);
}

#[test]
fn p_p2_a_room_may_have_its_own_grace_up_to_two_minutes() {
    let mut p = watched();
    p.config.rooms.insert(key().room, Duration::from_secs(600));
    joined(&mut p, 1, "u", 1000);
    p.closed(ConnId(1), End::Lost, at(2000));
    assert_eq!(p.poll_timeout(), Some(at(122_000).mono));
}

#[test]
fn v1_a_namespace_gives_its_rooms_a_grace() {
    let grace = [("*", 30), ("gate", 60), ("gate:4", 90)];
    let space = Namespace {
        grace: grace.map(|(room, secs)| (room.to_owned(), Duration::from_secs(secs))).into(),
        ..Namespace::default()
    };
    let config = Config { namespaces: [("plant".to_owned(), space)].into(), ..Config::default() };
    let presence = Presence::new(config, 1);
    let grace = |room: &str| {
        presence.grace(&RoomKey { tenant: "t".into(), room: room.parse().unwrap() }).as_secs()
    };
    let all = ["plant/yard", "plant/gate:5", "plant/gate:4", "alerts/gate:4"].map(grace);
    assert_eq!(all, [30, 60, 90, 15]);
}

#[test]
fn p_p3_after_a_start_snapshots_are_partial_until_a_whole_one_comes() {
    for seed in 0..50 {
        let mut p = Presence::new(Config::default(), seed);
        p.join(ConnId(9), &key(), &"w".into(), WATCH, at(10)).unwrap();
        assert!(drain(&mut p)[0].frame.partial);
        let end = p.poll_timeout().unwrap();
        assert!((at(45_010).mono..=at(60_010).mono).contains(&end));
        joined(&mut p, 1, "u", 30_000);
        assert_eq!(changes(&mut p).len(), 1);
        p.handle_timeout(Now { mono: end, wall: UnixMillis(0) });
        let whole = drain(&mut p);
        assert_eq!(whole.len(), 1);
        assert!(!whole[0].frame.partial && whole[0].frame.members.as_ref().unwrap().len() == 1);
    }
}

#[test]
fn a_join_replaces_the_membership_before_it() {
    let mut p = watched();
    joined(&mut p, 1, "u", 1000);
    drain(&mut p);
    p.join(ConnId(1), &key(), &"u".into(), WATCH, at(2000)).unwrap();
    assert_eq!(changes(&mut p), [("u".into(), None)]);
    p.join(ConnId(1), &key(), &"u".into(), Membership::default(), at(3000)).unwrap();
    joined(&mut p, 3, "x", 9000);
    assert!(drain(&mut p).iter().all(|told| *told.to == [ConnId(9)]));
}

#[test]
fn nothing_is_kept_of_who_is_gone() {
    let mut p = presence();
    for n in 0..100 {
        joined(&mut p, n, &format!("u{n}"), 0);
        p.join(ConnId(n + 1000), &key(), &"w".into(), WATCH, at(1)).unwrap();
    }
    for n in 0..100 {
        p.closed(ConnId(n), if n % 2 == 0 { End::Left } else { End::Lost }, at(5000));
        p.closed(ConnId(n + 1000), End::Lost, at(5000));
    }
    p.handle_timeout(at(60_000));
    p.handle_timeout(at(120_000));
    assert!(p.rooms.is_empty() && p.connections.is_empty() && p.deadlines.is_empty());
}
