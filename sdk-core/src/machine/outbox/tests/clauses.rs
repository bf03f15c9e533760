//! One test a rule.

use super::{
    rig::{World, item, owner},
    *,
};
use crate::protocol::ServerFrame;

const SECOND: Duration = Duration::from_secs(1);

fn sends(world: &World) -> Vec<(u8, u64, Option<u64>)> {
    let sent = world.up().into_iter().filter_map(|frame| match frame {
        ClientFrame::Send(send) => Some((send.lane, send.n, send.base)),
        ClientFrame::Skip(skip) => Some((skip.lane, skip.n, skip.base)),
        _ => None,
    });
    sent.collect()
}

#[test]
fn p_s1_an_item_is_stored_before_queued_is_told_and_has_no_number_yet() {
    let mut world = World::new(1);
    world.pump();
    world.prompt = false;
    let call = world.submit(item(1, 0));
    assert!(!world.replies.contains_key(&call));
    assert!(world.store_one());
    world.pump();
    assert_eq!(world.replies[&call], Ok(ReplyValue::Queued(ItemId(1))));
    assert_eq!(world.stored(1).unwrap().n, None);
}

#[test]
fn p_s1_a_frame_is_written_only_after_its_number_is_committed() {
    let mut world = World::connected(1);
    world.prompt = false;
    world.submit(item(1, 0));
    assert!(world.up().is_empty());
    assert!(world.store_one());
    world.pump();
    assert_eq!(world.stored(1).unwrap().n, Some(1));
    assert_eq!(sends(&world), [(0, 1, Some(0))]);
}

#[test]
fn p_s1_numbers_run_at_most_32_ahead() {
    let mut world = World::connected(1);
    for id in 1..=100 {
        world.submit(item(id, 3));
    }
    assert_eq!(sends(&world).len(), 32);
    let numbered = world.disk.current().items.iter().filter(|stored| stored.n.is_some()).count();
    assert_eq!(numbered, 32);
    world.flow();
    assert_eq!(world.logged(), (1..=100).collect::<Vec<_>>());
    assert!(world.outbox.is_empty());
    assert!(world.disk.current().items.is_empty());
}

#[test]
fn p_s3_at_most_256_kib_are_in_flight_and_a_larger_item_travels_alone() {
    let mut world = World::connected(1);
    let large = |id, bytes: usize| NewItem {
        data: Json::parse(&format!("\"{}\"", "x".repeat(bytes))).unwrap(),
        ..item(id, 0)
    };
    for id in 1..=8 {
        world.submit(large(id, 60_000));
    }
    world.submit(large(9, 600_000));
    world.submit(large(10, 600_000));
    assert_eq!(sends(&world).len(), 4);
    let mut most = 0;
    while world.serve_one() || world.receive_one() {
        let bytes: usize = world.outbox.lanes[0].flight.values().map(|flying| flying.bytes).sum();
        most = most.max(bytes);
        assert!(bytes <= 256 * 1024 || world.outbox.lanes[0].flight.len() == 1);
    }
    assert!(most > 600_000);
    assert_eq!(world.logged(), (1..=10).collect::<Vec<_>>());
}

#[test]
fn p_s10_the_lowest_lane_goes_first_and_a_full_socket_waits() {
    let mut world = World::connected(1);
    world.prompt = false;
    for (id, lane) in [(1, 7), (2, 3), (3, 0)] {
        world.outbox.handle_submit(CallId(id), item(u128::from(id), lane), world.now);
    }
    assert_eq!(world.outbox.poll_transmit(world.now, 0), None);
    world.pump();
    while world.store_one() {
        world.pump();
    }
    let lanes: Vec<_> = sends(&world).into_iter().map(|sent| sent.0).collect();
    assert_eq!(lanes, [0, 3, 7]);
}

#[test]
fn p_s2_only_the_first_frame_of_a_lane_carries_base() {
    let mut world = World::connected(1);
    for id in 1..=3 {
        world.submit(item(id, 1));
    }
    assert_eq!(sends(&world), [(1, 1, Some(0)), (1, 2, None), (1, 3, None)]);
    world.serve_one();
    world.receive_one();
    world.cut();
    assert!(world.connect());
    assert_eq!(sends(&world), [(1, 2, Some(1)), (1, 3, None)]);
}

#[test]
fn p_s4_a_hold_waits_and_resends_from_the_first_unanswered() {
    let mut world = World::connected(1);
    world.server.unavailable = 1;
    for id in 1..=3 {
        world.submit(item(id, 1));
    }
    world.flow();
    assert!(world.logged().is_empty());
    world.pass(Duration::from_millis(999));
    assert!(sends(&world).is_empty());
    world.pass(Duration::from_millis(502));
    assert_eq!(sends(&world), [(1, 1, Some(0)), (1, 2, None), (1, 3, None)]);
    world.flow();
    assert_eq!(world.logged(), [1, 2, 3]);
}

#[test]
fn p_s4_holds_without_after_double_up_to_thirty_seconds() {
    let mut world = World::connected(1);
    world.server.unavailable = u32::MAX;
    world.submit(item(1, 1));
    let mut waits = Vec::new();
    for _ in 0..8 {
        world.flow();
        let wait = world.outbox.deadline().unwrap().since(world.now.mono);
        waits.push(wait);
        world.pass(wait);
    }
    for (k, wait) in waits.iter().enumerate() {
        let base = SECOND.saturating_mul(1 << k).min(30 * SECOND);
        assert!(*wait >= base && *wait <= base + base / 2, "{k}: {wait:?}");
    }
}

#[test]
fn p_s4_a_stop_lane_has_one_in_flight_and_waits_after_a_refusal() {
    let mut world = World::connected(1);
    world.server.forbidden.insert(ItemId(2));
    for id in 1..=3 {
        world.submit(item(id, 6));
    }
    assert_eq!(sends(&world).len(), 1);
    world.flow();
    assert_eq!(world.logged(), [1]);
    assert_eq!(world.outcome(2), Some(&Outcome::Refused(Code::FORBIDDEN, String::new())));
    world.outbox.handle_resume(6, world.now);
    world.pump();
    world.flow();
    assert_eq!(world.logged(), [1, 3]);
}

#[test]
fn p_s5_an_item_without_a_number_is_cancelled_here_and_its_end_survives_a_crash() {
    let mut world = World::new(1);
    world.pump();
    world.submit(item(1, 0));
    world.prompt = false;
    let cancel = world.cancel(1);
    assert!(!world.replies.contains_key(&cancel), "told only once the store knows");
    world.store_one();
    world.pump();
    assert_eq!(world.replies[&cancel], Ok(ReplyValue::Outcome(Outcome::Cancelled)));
    assert_eq!(world.outcome(1), Some(&Outcome::Cancelled));
    // Before the removal is written.
    world.prompt = true;
    world.restart();
    assert!(world.connect());
    world.flow();
    assert!(world.logged().is_empty());
    assert_eq!(world.outcome(1), Some(&Outcome::Cancelled));
}

#[test]
fn p_s5_the_answer_decides_about_a_numbered_item() {
    let mut world = World::connected(1);
    world.submit(item(1, 0));
    let cancel = world.cancel(1);
    world.flow();
    let accepted = Outcome::Accepted(Some(1));
    assert_eq!(world.replies[&cancel], Ok(ReplyValue::Outcome(accepted.clone())));
    assert_eq!(world.outcome(1), Some(&accepted));

    world.submit(item(2, 0));
    let cancel = world.cancel(2);
    world.cut();
    assert!(world.connect());
    assert!(matches!(&world.up()[..], [ClientFrame::Skip(skip)] if skip.code == Code::CANCELLED));
    world.flow();
    assert_eq!(world.replies[&cancel], Ok(ReplyValue::Outcome(Outcome::Cancelled)));
    assert_eq!(world.logged(), [1]);
}

#[test]
fn p_s5_ttl_ends_here_without_a_number_and_by_skip_with_one() {
    let mut world = World::new(1);
    world.pump();
    let brief = |id| NewItem { ttl: Some(SECOND), ..item(id, 0) };
    world.submit(brief(1));
    world.pass(2 * SECOND);
    assert_eq!(world.outcome(1), Some(&Outcome::Expired));
    assert!(world.connect());
    world.submit(brief(2));
    assert!(matches!(&world.up()[..], [ClientFrame::Send(send)] if send.ttl == Some(1000)));
    world.cut();
    world.pass(2 * SECOND);
    assert!(world.connect());
    assert!(matches!(&world.up()[..], [ClientFrame::Skip(skip)] if skip.code == Code::EXPIRED));
    world.flow();
    assert_eq!(world.outcome(2), Some(&Outcome::Expired));
    assert!(world.logged().is_empty());
}

#[test]
fn p_s6a_items_live_seven_days_across_restarts() {
    let mut world = World::new(1);
    world.pump();
    world.submit(item(1, 0));
    world.now.wall.0 += 6 * 24 * 3_600_000;
    world.restart();
    assert_eq!(world.outbox.len(), 1);
    world.now.wall.0 += 24 * 3_600_000;
    world.restart();
    assert_eq!(world.outcome(1), Some(&Outcome::Expired));
}

#[test]
fn p_s6_outcomes_behind_welcome_settle_by_id_and_the_rest_is_sent_again() {
    let mut world = World::connected(1);
    for id in 1..=3 {
        world.submit(item(id, 0));
    }
    world.serve_one();
    world.serve_one();
    world.restart();
    assert!(world.connect());
    assert!(sends(&world).is_empty(), "nothing before the outcomes");
    world.flow();
    assert_eq!(world.logged(), [1, 2, 3]);
    for (id, seq) in [(1, 1), (2, 2), (3, 3)] {
        assert_eq!(world.outcome(id), Some(&Outcome::Accepted(Some(seq))));
    }
}

#[test]
fn p_s6_a_lost_record_makes_what_was_sent_uncertain_and_nothing_else() {
    let mut world = World::connected(1);
    world.submit(item(1, 0));
    world.flow();
    world.submit(item(2, 0));
    world.cut();
    world.submit(item(3, 0));
    world.server.records.clear();
    world.heal();
    assert_eq!(world.outcome(2), Some(&Outcome::Uncertain));
    assert_eq!(world.outcome(3), Some(&Outcome::Accepted(Some(2))));
}

#[test]
fn p_s6_no_record_and_nothing_done_is_a_first_connection() {
    let mut world = World::connected(1);
    world.submit(item(1, 0));
    world.cut();
    world.heal();
    assert_eq!(world.outcome(1), Some(&Outcome::Accepted(Some(1))));
}

#[test]
fn p_s6_accepted_that_is_lost_is_told_and_the_unanswered_is_sent_again() {
    let mut world = World::connected(1);
    for id in 1..=5 {
        world.submit(item(id, 2));
    }
    world.flow();
    world.submit(item(6, 2));
    world.cut();
    let record = world.server.records.values_mut().next().unwrap().get_mut(&2).unwrap();
    record.accepted = 3;
    record.outcomes.truncate(3);
    world.heal();
    assert!(world.events.contains(&ApiEvent::AcceptedLost { lane: 2, from: 4, to: 5 }));
    assert_eq!(world.logged(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn p_s6_an_older_store_is_recognised() {
    let mut world = World::connected(1);
    world.submit(item(1, 0));
    world.flow();
    world.cut();
    for id in 2..=3 {
        world.submit(item(id, 0));
    }
    let older = world.disk.clone();
    assert!(world.connect());
    world.flow();
    for id in 4..=50 {
        world.submit(item(id, 0));
        world.flow();
    }
    // Outcomes of 2 and 3 are no longer held: they are uncertain. What is new goes out.
    world.disk = older.clone();
    world.restart();
    world.submit(item(99, 0));
    world.heal();
    assert_eq!(world.outcome(2), Some(&Outcome::Uncertain));
    assert_eq!(world.outcome(3), Some(&Outcome::Uncertain));
    assert_eq!(world.outcome(99), Some(&Outcome::Accepted(Some(51))));
    let mut unique = world.logged();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), world.server.log.len(), "one append per id");
}

#[test]
fn p_s6_an_older_store_whose_outcomes_are_all_known_loses_nothing() {
    let mut world = World::connected(1);
    world.submit(item(1, 0));
    world.flow();
    world.cut();
    world.submit(item(2, 0));
    let older = world.disk.clone();
    world.heal();
    world.disk = older;
    world.restart();
    world.submit(item(3, 0));
    world.heal();
    assert_eq!(world.outcome(2), Some(&Outcome::Accepted(Some(2))));
    assert_eq!(world.outcome(3), Some(&Outcome::Accepted(Some(3))));
    assert_eq!(world.logged(), [1, 2, 3]);
}

#[test]
fn p_s6_after_a_fork_everything_settles_and_a_new_producer_is_drawn() {
    let mut world = World::connected(1);
    let before = world.conn.as_ref().unwrap().producer;
    // The copy sends under the same numbers.
    let mut copy = world.clone();
    copy.submit(item(101, 0));
    copy.flow();
    world.server = copy.server;
    world.submit(item(1, 0));
    world.submit(item(2, 0));
    world.flow();
    assert!(world.conn.is_none(), "closed 4010");
    world.submit(item(3, 0));
    world.heal();
    assert_eq!(world.logged(), [101, 1, 2, 3]);
    assert_ne!(world.conn.as_ref().unwrap().producer, before);
    assert_eq!(world.disk.current().producer, Some(world.conn.as_ref().unwrap().producer));
    for id in 1..=3 {
        assert!(matches!(world.outcome(id), Some(Outcome::Accepted(_))));
    }
}

#[test]
fn p_s9_poison_travels_alone_and_is_skipped_at_last() {
    let mut world = World::connected(1);
    world.submit(item(1, 4));
    world.submit(item(2, 4));
    for death in 1..=9 {
        world.cut();
        assert!(world.connect());
        let expected = if death < 5 { 2 } else { 1 };
        assert_eq!(sends(&world).len(), expected, "after {death} deaths");
    }
    world.cut();
    assert!(world.connect());
    assert!(matches!(&world.up()[0], ClientFrame::Skip(skip) if skip.code == Code::POISON));
    world.flow();
    assert_eq!(world.outcome(1), Some(&Outcome::Refused(Code::POISON, String::new())));
    assert_eq!(world.outcome(2), Some(&Outcome::Accepted(Some(1))));
}

#[test]
fn p_s9_a_close_with_another_reason_is_no_death() {
    let mut world = World::connected(1);
    world.submit(item(1, 4));
    for _ in 0..20 {
        world.drop_link(false);
        assert!(world.connect());
    }
    assert_eq!(world.stored(1).unwrap().deaths, 0);
}

#[test]
fn p_s9_too_large_is_refused_here() {
    let mut world = World::new(1);
    world.pump();
    let large = |id, bytes| NewItem {
        data: Json::parse(&format!("\"{}\"", "x".repeat(bytes))).unwrap(),
        ..item(id, 0)
    };
    let call = world.submit(large(1, 1 << 20));
    assert_eq!(world.replies[&call].as_ref().unwrap_err().code, Code::TOO_LARGE);
    // A server with a smaller limit.
    world.submit(large(2, 10_000));
    world.submit(item(3, 0));
    world.limits.message = 4096;
    assert!(world.connect());
    world.flow();
    assert_eq!(world.outcome(2), Some(&Outcome::Refused(Code::TOO_LARGE, String::new())));
    assert_eq!(world.logged(), [3]);
}

#[test]
fn the_queue_has_bounds() {
    let mut config = rig::config(1);
    config.max_items = 2;
    let mut world = World::new(1);
    world.outbox = Outbox::new(&config);
    world.pump();
    world.submit(item(1, 0));
    world.submit(item(2, 0));
    let third = world.submit(item(3, 0));
    assert_eq!(world.replies[&third].as_ref().unwrap_err().code, Code::QUEUE_FULL);
    let again = world.submit(item(1, 0));
    assert_eq!(world.replies[&again].as_ref().unwrap_err().code, Code::CONFLICT);
}

#[test]
fn a_failing_store_tells_the_caller_and_sends_nothing() {
    let mut world = World::connected(1);
    world.disk.failing = Some(StoreError::Io("full".into()));
    let call = world.submit(item(1, 0));
    assert_eq!(world.replies[&call].as_ref().unwrap_err().code, Code::STORAGE);
    assert!(sends(&world).is_empty());
    world.pass(60 * SECOND);
    world.heal();
    assert!(world.logged().is_empty());
    assert!(world.outcome(1).is_none(), "the error was its outcome");
}

#[test]
fn numbering_that_fails_is_tried_again() {
    let mut world = World::new(1);
    world.pump();
    world.submit(item(1, 0));
    world.submit(item(2, 0));
    world.prompt = false;
    assert!(world.connect());
    world.disk.failing = Some(StoreError::Io("full".into()));
    while world.store_one() {
        world.pump();
    }
    assert!(sends(&world).is_empty());
    world.disk.failing = None;
    world.prompt = true;
    world.pass(SECOND);
    world.flow();
    assert_eq!(world.logged(), [1, 2]);
}

#[test]
fn p_s1_without_the_lock_items_are_stored_and_not_sent_until_it_is_ours() {
    let mut world = World::connected(1);
    world.submit(item(1, 0));
    world.disk.locked = true;
    let call = world.submit(item(2, 0));
    assert_eq!(world.replies[&call], Ok(ReplyValue::Queued(ItemId(2))), "stored all the same");
    assert_eq!(world.reconnects, 1, "hello must not name this producer any more");
    assert!(world.connect());
    world.submit(item(3, 0));
    world.flow();
    assert!(!world.logged().contains(&2) && !world.logged().contains(&3));
    world.disk.locked = false;
    world.heal();
    let mut logged = world.logged();
    logged.dedup();
    assert_eq!(logged, [1, 2, 3]);
}

#[test]
fn p_t1_a_poke_brings_what_another_tab_added() {
    let mut world = World::connected(1);
    let stored = StoredItem {
        order: 1,
        item: item(7, 0),
        n: None,
        expires: UnixMillis(world.now.wall.0 + 60_000),
        deaths: 0,
        skip: None,
    };
    world.disk.commit(&[StoreOp::Put(Box::new(stored))]).unwrap();
    world.outbox.handle_poked(world.now);
    world.pump();
    world.flow();
    assert_eq!(world.logged(), [7]);
    assert_eq!(world.outcome(7), Some(&Outcome::Accepted(Some(1))));
}

#[test]
fn p_s1a_another_owners_items_are_kept_and_not_sent() {
    let mut world = World::connected(1);
    assert_eq!(world.outbox.owner(), Some(&owner("u")));
    let first = world.conn.as_ref().unwrap().producer;
    world.submit(item(1, 0));
    world.cut();
    world.user = "v";
    assert!(!world.connect(), "welcome named another owner");
    assert!(world.connect());
    assert_ne!(world.conn.as_ref().unwrap().producer, first);
    world.submit(item(2, 0));
    world.flow();
    assert_eq!(world.logged(), [2]);
    world.cut();
    world.user = "u";
    world.heal();
    assert_eq!(world.logged(), [2, 1]);
}

#[test]
fn p_s1a_what_was_told_is_not_told_again_when_its_owner_comes_back() {
    let mut world = World::connected(1);
    world.submit(item(1, 0));
    world.disk.failing = Some(StoreError::Io("full".into()));
    world.flow();
    assert_eq!(world.outcome(1), Some(&Outcome::Accepted(Some(1))));
    world.cut();
    world.user = "v";
    assert!(!world.connect(), "welcome named another owner");
    world.disk.failing = None;
    world.heal();
    world.cut();
    world.user = "u";
    world.heal();
    assert_eq!(world.told[&ItemId(1)].len(), 1);
    assert!(world.stored(1).is_none());
}

#[test]
fn p_s1a_while_the_next_owners_store_does_not_load_nothing_is_written_into_the_one_before() {
    let mut world = World::connected(1);
    world.cut();
    world.user = "v";
    world.disk.failing = Some(StoreError::Io("no".into()));
    assert!(!world.connect(), "welcome named another owner");
    world.pump();
    assert_eq!(world.outbox.owner(), Some(&owner("v")));
    // It would take writes again, but has not been opened for this owner yet.
    world.disk.failing = None;
    let refused = world.submit(item(1, 0));
    assert_eq!(world.replies[&refused].as_ref().unwrap_err().code, Code::STORAGE);
    assert!(world.stored(1).is_none());
    world.heal();
    world.submit(item(2, 0));
    world.flow();
    assert_eq!(world.logged(), [2]);
    assert_eq!(world.outbox.owner(), Some(&owner("v")));
}

#[test]
fn what_is_submitted_before_the_store_is_loaded_waits_for_it() {
    let mut world = World::new(1);
    world.prompt = false;
    let first = world.submit(item(1, 0));
    let second = world.submit(item(2, 0));
    let cancel = world.cancel(2);
    assert_eq!(world.replies[&cancel], Ok(ReplyValue::Outcome(Outcome::Cancelled)));
    assert_eq!(world.replies[&second].as_ref().unwrap_err().code, Code::CANCELLED);
    world.heal();
    assert_eq!(world.replies[&first], Ok(ReplyValue::Queued(ItemId(1))));
    assert_eq!(world.logged(), [1]);
}

#[test]
fn a_broken_store_is_asked_again() {
    let mut world = World::new(1);
    world.disk.failing = Some(StoreError::Io("no".into()));
    world.pump();
    assert!(world.outbox.is_ready(), "rooms need no outbox");
    assert!(world.connect());
    world.disk.failing = None;
    world.submit(item(1, 0));
    world.heal();
    assert_eq!(world.logged(), [1]);
}

#[test]
fn writes_of_one_moment_share_a_commit() {
    let mut world = World::new(1);
    world.pump();
    world.prompt = false;
    let before = world.disk.commits;
    for id in 1..=1000 {
        world.outbox.handle_submit(CallId(id), item(u128::from(id), 0), world.now);
    }
    world.pump();
    while world.store_one() {
        world.pump();
    }
    assert!(world.disk.commits - before <= 3, "{}", world.disk.commits);
}

#[test]
fn ten_thousand_items_cost_no_more_each_than_ten() {
    // Counted in work, not in time: the store's ops per item stay the same.
    let mut world = World::new(1);
    world.pump();
    for id in 1..=10_000 {
        world.outbox.handle_submit(CallId(id), item(u128::from(id), 5), world.now);
    }
    let mut ops = 0;
    let mut sent = 0;
    let (producer, lanes) = world.outbox.hello();
    assert!(lanes.is_empty());
    assert!(world.outbox.handle_welcome(owner("u"), None, &Limits::default(), world.now));
    let _ = producer;
    let mut n = 0;
    while sent < 10_000 {
        while let Some(output) = world.outbox.poll_output() {
            if let OutboxOutput::Store(ticket, batch) = output {
                ops += batch.len();
                world.outbox.handle_stored(ticket, Ok(()), world.now);
            }
        }
        while let Some(text) = world.outbox.poll_transmit(world.now, 65_536) {
            let Ok(ClientFrame::Send(send)) = ClientFrame::decode(&text) else { panic!("{text}") };
            sent += 1;
            n += 1;
            assert_eq!(send.n, n);
            let frame = Accepted { lane: 5, n, id: send.id, seq: Some(n) };
            world.outbox.handle_accepted(frame, world.now);
        }
    }
    assert!(ops < 50_000, "{ops}");
}

#[test]
fn p_s6_settling_ends_without_the_last_outcome_by_the_answer_to_a_ping() {
    let mut world = World::connected(1);
    world.submit(item(1, 0));
    world.flow();
    world.submit(item(2, 0));
    world.serve_one();
    world.restart();
    // The outcome itself was dropped from the record.
    let record = world.server.records.values_mut().next().unwrap().get_mut(&0).unwrap();
    record.outcomes.clear();
    world.submit(item(3, 0));
    assert!(world.connect());
    assert!(matches!(&world.up()[..], [ClientFrame::Ping(_)]));
    world.flow();
    assert_eq!(world.outcome(2), Some(&Outcome::Uncertain));
    assert_eq!(world.logged(), [1, 2, 3]);
    assert!(world.conn.as_ref().unwrap().down.iter().all(|f| !matches!(f, ServerFrame::Hold(_))));
}

#[test]
fn stored_lanes_are_what_a_restart_needs() {
    let mut world = World::connected(1);
    for id in 1..=4 {
        world.submit(item(id, 2));
    }
    world.flow();
    world.submit(item(5, 2));
    assert_eq!(world.disk.current().lanes.get(&2), Some(&StoredLane { given: 5, done: 4 }));
    world.restart();
    assert_eq!(world.outbox.hello().1, Lanes::from([(2, 4)]));
}

#[test]
fn p_s1_a_replaced_connection_asks_the_store_whether_the_lock_is_still_ours() {
    let mut world = World::connected(1);
    world.disk.locked = true;
    world.outbox.handle_replaced(world.now);
    world.drop_link(false);
    world.pump();
    assert!(!world.outbox.is_ours());
    assert!(world.connect());
    let producer = world.disk.current().producer;
    assert!(producer.is_some());
    assert_ne!(producer, Some(world.conn.as_ref().unwrap().producer));
}

#[test]
fn p_s1_who_lost_the_lock_settles_and_sends_nothing_on_its_next_connection() {
    let mut world = World::connected(70);
    world.submit(item(1, 3));
    world.cut();
    // Another process took the lock, and may have settled the item, or given it another number.
    world.disk.locked = true;
    assert!(!world.connect(), "its hello does not speak for the store");
    assert!(!world.outbox.is_ours() && world.server.seen.is_empty());
    assert_eq!(world.outcome(1), None, "whoever holds the store tells its end");
    world.heal();
    assert_eq!(world.outcome(1), Some(&Outcome::Accepted(Some(1))));
}

#[test]
fn p_s1_a_connection_waits_for_the_stores_word_before_it_settles_and_sends() {
    let mut world = World::connected(71);
    world.submit(item(1, 3));
    world.submit(item(2, 3));
    world.serve_one();
    world.cut();
    world.prompt = false;
    assert!(world.connect());
    // The outcome of the first follows `welcome`.
    world.flow();
    assert_eq!((sends(&world), world.outcome(1)), (vec![], None));
    while world.store_one() {
        world.pump();
    }
    assert_eq!(world.outcome(1), Some(&Outcome::Accepted(Some(1))));
    world.flow();
    assert_eq!(world.outcome(2), Some(&Outcome::Accepted(Some(2))));
}

#[test]
fn p_s1a_a_load_under_way_for_one_owner_is_not_taken_for_the_next_ones() {
    let mut world = World::connected(72);
    let producer = world.disk.current().producer;
    world.cut();
    world.prompt = false;
    // Another process pokes, and the token names another owner while the store is read.
    world.outbox.handle_poked(world.now);
    world.pump();
    world.user = "v";
    assert!(!world.connect());
    assert_eq!(world.asked.len(), 1, "one load at a time");
    world.prompt = true;
    world.pump();
    assert_eq!(world.outbox.owner(), Some(&owner("v")));
    assert_ne!(world.disk.current().producer, producer);
    assert_eq!(Some(world.outbox.hello().0), world.disk.current().producer);
}
