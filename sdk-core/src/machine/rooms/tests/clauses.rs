//! One test a rule.

use super::{
    rig::{ROOM, World, address, event, only},
    *,
};

const MS: Duration = Duration::from_millis(1);

fn live() -> Subscribe {
    Subscribe::default()
}

fn first() -> Subscribe {
    Subscribe { from: Start::First, ..Subscribe::default() }
}

fn durable(name: &str) -> Subscribe {
    Subscribe { durable: Some(name.into()), from: Start::First, ..Subscribe::default() }
}

fn filtered(events: &[&str]) -> Subscribe {
    Subscribe { filter: only(events), ..Subscribe::default() }
}

#[test]
fn p_r1_live_begins_at_the_head_and_first_at_the_first_entry() {
    let mut world = World::connected(1);
    world.append("e");
    world.append("e");
    let new = world.subscribe(live());
    world.flow();
    world.append("e");
    world.flow();
    assert_eq!(world.seqs(new), [3]);
    assert_eq!(world.watches[&new].lives, 1);
    let old = world.subscribe(first());
    world.flow();
    assert_eq!(world.seqs(old), [1, 2, 3]);
    assert_eq!(world.seqs(new), [3], "the replay is not for it");
}

#[test]
fn p_r1_events_between_a_join_and_its_answer_are_ignored() {
    let mut world = World::connected(1);
    let sub = world.subscribe(filtered(&["e"]));
    world.flow();
    // On the way already, of the membership that the next join replaces.
    world.append("e");
    let other = world.subscribe(filtered(&["x"]));
    world.receive_one();
    assert!(world.seqs(sub).is_empty());
    world.serve_one();
    world.append("x");
    world.flow();
    assert_eq!((world.seqs(sub), world.seqs(other)), (vec![1], vec![2]));
}

#[test]
fn p_r2_duplicates_are_dropped_and_a_hole_joins_again_from_the_last_event() {
    let mut world = World::connected(1);
    let sub = world.subscribe(live());
    world.flow();
    world.append("e");
    let frame = world.conn.as_ref().unwrap().down.front().cloned().unwrap();
    world.flow();
    world.receive(frame);
    assert_eq!(world.seqs(sub), [1]);
    world.append("e");
    world.conn.as_mut().unwrap().down.clear();
    world.append("e");
    world.flow();
    assert_eq!(world.seqs(sub), [1, 2, 3]);
    assert_eq!(world.joins(), 2);
}

#[test]
fn p_r2_the_second_hole_within_ten_seconds_waits() {
    let mut world = World::connected(1);
    let sub = world.subscribe(live());
    world.flow();
    for hole in 0..2 {
        world.append("e");
        world.conn.as_mut().unwrap().down.clear();
        world.append("e");
        world.receive_one();
        assert_eq!(world.joins(), 2, "at once the first time only: {hole}");
        world.flow();
    }
    world.pass(50 * MS);
    assert_eq!(world.joins(), 2);
    world.pass(2000 * MS);
    assert_eq!(world.joins(), 3);
    world.flow();
    assert_eq!(world.seqs(sub), [1, 2, 3, 4]);
}

#[test]
fn p_r2_prev_names_the_event_before_in_this_view() {
    let mut world = World::connected(1);
    let sub = world.subscribe(filtered(&["a"]));
    world.flow();
    for name in ["a", "b", "b", "a", "b", "a"] {
        world.append(name);
    }
    world.flow();
    assert_eq!(world.seqs(sub), [1, 4, 6]);
    assert_eq!(world.joins(), 1);
}

#[test]
fn p_r3_after_a_reconnect_it_goes_on_from_the_wires_position_not_from_what_is_done() {
    let mut world = World::connected(1);
    let sub = world.subscribe(live());
    world.flow();
    world.append("e");
    world.flow();
    world.cut();
    world.append("e");
    world.connect();
    world.flow();
    assert_eq!(world.seqs(sub), [1, 2]);
}

#[test]
fn p_r3_every_position_of_its_own_is_proved_by_a_join_of_its_own() {
    let mut world = World::connected(1);
    world.append("e");
    let old = world.log.head();
    world.append("e");
    let sub = world.subscribe(live());
    world.flow();
    world.append("e");
    world.flow();
    // A cursor of another history, above all others.
    let alien = Cursor { seq: 3, mark: Mark(7) };
    let wrong = world.subscribe(Subscribe { cursor: Some(alien), ..live() });
    let right = world.subscribe(Subscribe { cursor: Some(old), ..live() });
    world.flow();
    world.append("e");
    world.flow();
    assert_eq!(world.watches[&wrong].gaps, 1);
    assert_eq!(world.seqs(right), [2, 3, 4]);
    assert_eq!(world.seqs(sub), [3, 4]);
}

#[test]
fn p_r5_credit_is_given_when_every_subscription_is_done() {
    let mut world = World::connected(1);
    world.page_every = 2;
    let a = world.subscribe(live());
    let b = world.subscribe(live());
    world.flow();
    for _ in 0..10 {
        world.append("e");
    }
    world.flow();
    assert_eq!(world.seqs(a), [1, 2, 3, 4], "two pages unanswered");
    world.done(a, 4);
    world.flow();
    assert_eq!(world.seqs(a).len(), 4, "the other one is not done");
    world.done(b, 2);
    world.flow();
    assert_eq!(world.seqs(a), [1, 2, 3, 4, 5, 6]);
    world.unsubscribe(b);
    world.flow();
    assert_eq!(world.seqs(a).len(), 8, "who left owes nothing");
}

#[test]
fn p_r6_a_gap_is_told_first_then_it_goes_on_from_the_first_entry() {
    let mut world = World::connected(1);
    let sub = world.subscribe(live());
    world.flow();
    world.append("e");
    world.flow();
    world.cut();
    for _ in 0..5 {
        world.append("e");
    }
    world.retain(2);
    world.connect();
    world.flow();
    assert_eq!(world.watches[&sub].gaps, 1);
    assert_eq!(world.seqs(sub), [1, 5, 6]);
}

#[test]
fn p_r6_the_hook_is_asked_within_five_seconds_and_its_cursor_is_where_it_goes_on() {
    let mut world = World::connected(1);
    let sub = world.subscribe(Subscribe { hook: true, ..live() });
    world.flow();
    world.append("e");
    world.append("e");
    world.flow();
    world.lose_tail(1);
    world.append("e");
    world.flow();
    assert_eq!(world.watches[&sub].gaps, 1);
    world.pass(5000 * MS);
    assert_eq!(world.wanted.len(), 1);
    assert!(world.answer_hook(false));
    assert!(world.wanted.is_empty());
    world.pass(2000 * MS);
    world.append("e");
    assert!(world.answer_hook(true));
    world.append("e");
    world.flow();
    assert_eq!(world.seqs(sub), [1, 2, 4], "the state holds 1 to 3");
}

#[test]
fn p_r6_what_a_snapshot_holds_owes_no_credit() {
    let mut world = World::connected(1);
    world.page_every = 2;
    let sub = world.subscribe(Subscribe { hook: true, ..live() });
    world.flow();
    world.append("e");
    world.append("e");
    world.flow();
    assert_eq!(world.seqs(sub), [1, 2], "handed over, and never done");
    world.lose_tail(1);
    for _ in 0..7 {
        world.append("e");
    }
    world.flow();
    world.pass(5000 * MS);
    assert!(world.answer_hook(true));
    world.flow();
    let reader = world.subscribe(Subscribe { from: Start::First, ..live() });
    world.flow();
    for seq in 1..=8 {
        world.done(reader, seq);
        world.flow();
    }
    assert_eq!(world.seqs(reader), (1..=8).collect::<Vec<_>>());
}

#[test]
fn p_r6_at_most_four_hooks_run_at_once() {
    let mut world = World::connected(1);
    for _ in 0..10 {
        world.subscribe(Subscribe { hook: true, ..live() });
    }
    world.flow();
    world.append("e");
    world.flow();
    world.lose_tail(1);
    world.flow();
    world.pass(6000 * MS);
    assert_eq!(world.wanted.len(), 4);
    for left in (0..10).rev() {
        assert!(world.answer_hook(true));
        world.flow();
        assert_eq!(world.wanted.len(), left.min(4));
    }
}

#[test]
fn p_r7_heads_move_the_cursor_of_a_quiet_view_and_reveal_a_lost_tail() {
    let mut world = World::connected(1);
    let sub = world.subscribe(filtered(&["a"]));
    world.flow();
    for _ in 0..5 {
        world.append("b");
    }
    world.ping();
    world.flow();
    // Retention may pass what this view never held.
    world.retain(0);
    world.cut();
    world.connect();
    world.flow();
    assert_eq!(world.watches[&sub].gaps, 0);
    world.append("a");
    world.conn.as_mut().unwrap().down.clear();
    world.ping();
    world.flow();
    assert_eq!(world.seqs(sub), [6]);
}

#[test]
fn p_r8_ephemeral_events_pass_without_a_number_by_each_filter() {
    let mut world = World::connected(1);
    let a = world.subscribe(filtered(&["a"]));
    let b = world.subscribe(filtered(&["b"]));
    world.flow();
    world.cast("a");
    world.cast("a");
    world.cast("b");
    world.flow();
    assert_eq!((world.watches[&a].casts, world.watches[&b].casts), (2, 1));
}

#[test]
fn p_r10_the_membership_has_the_or_of_the_filters() {
    let mut world = World::connected(1);
    let a = world.subscribe(filtered(&["a"]));
    let b = world.subscribe(filtered(&["b"]));
    world.flow();
    assert_eq!(world.member().unwrap().filter, only(&["a"]).union(&only(&["b"])).unwrap());
    for name in ["a", "b", "c", "a"] {
        world.append(name);
    }
    world.flow();
    assert_eq!((world.seqs(a), world.seqs(b)), (vec![1, 4], vec![2]));
    world.unsubscribe(a);
    world.flow();
    assert_eq!(world.member().unwrap().filter, only(&["b"]), "intent after quiescence");
    world.append("b");
    world.flow();
    assert_eq!(world.seqs(b), [2, 5]);
}

#[test]
fn p_t1_a_subscription_that_the_membership_serves_already_needs_no_join() {
    let mut world = World::connected(1);
    world.subscribe(live());
    world.flow();
    world.append("e");
    world.flow();
    let second = world.subscribe(live());
    assert_eq!(world.joins(), 1);
    assert_eq!(world.watches[&second].lives, 1);
    world.append("e");
    world.flow();
    assert_eq!(world.seqs(second), [2]);
}

#[test]
fn p_r11_only_what_is_done_is_stored_and_at_most_every_250_ms() {
    let mut world = World::connected(1);
    let sub = world.subscribe(durable("d"));
    world.flow();
    let name = ("d".to_owned(), address());
    for _ in 0..5 {
        world.append("e");
    }
    world.flow();
    world.pass(1000 * MS);
    assert_eq!(world.stored.get(&name).unwrap().seq, 0);
    let before = world.commits;
    for _ in 0..3 {
        world.done(sub, 1);
    }
    assert_eq!(world.commits, before + 1, "the first goes at once");
    world.pass(250 * MS);
    assert_eq!(world.commits, before + 2);
    assert_eq!(world.stored.get(&name).unwrap().seq, 3);
    world.restart();
    world.connect();
    let sub = world.subscribe(durable("d"));
    world.flow();
    assert_eq!(world.seqs(sub), [4, 5]);
}

#[test]
fn p_r11_suspending_stores_now_and_a_failed_write_is_repeated() {
    let mut world = World::connected(1);
    let sub = world.subscribe(durable("d"));
    world.flow();
    world.append("e");
    world.append("e");
    world.flow();
    world.done(sub, 1);
    world.done(sub, 1);
    world.rooms.handle_suspending(world.now);
    world.pump();
    let name = ("d".to_owned(), address());
    assert_eq!(world.stored.get(&name).unwrap().seq, 2);
    world.append("e");
    world.flow();
    world.store_fails = true;
    world.done(sub, 1);
    world.pass(500 * MS);
    world.store_fails = false;
    world.pass(1500 * MS);
    assert_eq!(world.stored.get(&name).unwrap().seq, 3);
}

#[test]
fn p_r11_a_durable_subscription_waits_for_the_stored_cursors() {
    let mut world = World::new(1);
    world.rooms = Rooms::new(&rig::config(1));
    world.connect();
    world.append("e");
    world.append("e");
    let cursor = world.log.entries[0].0;
    let sub = world.subscribe(durable("d"));
    world.flow();
    assert_eq!(world.joins(), 0);
    let stored = Table::from([(("d".to_owned(), address()), cursor)]);
    world.rooms.handle_loaded(stored, world.now);
    world.pump();
    world.flow();
    assert_eq!(world.seqs(sub), [2]);
}

#[test]
fn a_permanent_refusal_goes_to_the_call_and_is_not_repeated() {
    let mut world = World::connected(1);
    world.refuse = Some((Code::FORBIDDEN, None));
    let sub = world.subscribe(live());
    let call = CallId(sub.0);
    world.flow();
    assert_eq!(world.replies[&call].as_ref().unwrap_err().code, Code::FORBIDDEN);
    world.pass(60_000 * MS);
    assert_eq!(world.joins(), 1);
    assert_eq!(world.rooms.room_of(sub), None);
}

#[test]
fn p_c6_what_was_taken_away_is_asked_for_again_after_authorized() {
    let mut world = World::connected(1);
    let sub = world.subscribe(live());
    world.flow();
    world.evict(Code::FORBIDDEN);
    world.append("e");
    world.flow();
    assert_eq!(world.watches[&sub].left, Some(Code::FORBIDDEN));
    world.pass(60_000 * MS);
    assert_eq!(world.joins(), 1);
    world.rooms.handle_authorized(world.now);
    world.pump();
    world.flow();
    assert_eq!(world.seqs(sub), [1], "nothing is missing");
}

#[test]
fn rate_and_unavailable_are_asked_for_again_later() {
    let mut world = World::connected(1);
    world.refuse = Some((Code::RATE, Some(3000)));
    let sub = world.subscribe(live());
    world.flow();
    world.refuse = None;
    world.pass(2999 * MS);
    assert_eq!(world.joins(), 1);
    world.pass(1502 * MS);
    assert_eq!(world.joins(), 2);
    world.flow();
    assert!(matches!(world.replies[&CallId(sub.0)], Ok(ReplyValue::Joined { .. })));
}

#[test]
fn a_newcomers_refusal_does_not_end_the_others() {
    let mut world = World::connected(1);
    let old = world.subscribe(filtered(&["a"]));
    world.flow();
    world.refuse = Some((Code::FILTERS, None));
    let new = world.subscribe(filtered(&["b"]));
    world.serve_one();
    world.refuse = None;
    world.flow();
    assert_eq!(world.replies[&CallId(new.0)].as_ref().unwrap_err().code, Code::FILTERS);
    assert_eq!(world.watches[&old].left, None);
    world.append("a");
    world.flow();
    assert_eq!(world.seqs(old), [1]);
}

#[test]
fn the_last_unsubscribe_leaves_and_is_answered_when_gone() {
    let mut world = World::connected(1);
    let (a, b) = (world.subscribe(live()), world.subscribe(live()));
    world.flow();
    let call = world.unsubscribe(a);
    assert_eq!(world.replies[&call], Ok(ReplyValue::Done));
    let call = world.unsubscribe(b);
    assert!(!world.replies.contains_key(&call));
    let again = world.subscribe(live());
    world.flow();
    assert_eq!(world.replies[&call], Ok(ReplyValue::Done));
    assert!(matches!(world.replies[&CallId(again.0)], Ok(ReplyValue::Joined { .. })));
    world.cut();
    let call = world.unsubscribe(again);
    assert_eq!(world.replies[&call], Ok(ReplyValue::Done), "at once without a connection");
}

#[test]
fn unsubscribing_before_the_answer_cancels_the_call_and_leaves() {
    let mut world = World::connected(1);
    let sub = world.subscribe(live());
    world.unsubscribe(sub);
    assert_eq!(world.replies[&CallId(sub.0)].as_ref().unwrap_err().code, Code::CANCELLED);
    world.flow();
    assert!(world.member().is_none());
    assert_eq!(world.rooms.joined().count(), 0);
}

#[test]
fn p_s1a_another_owner_has_no_rooms() {
    let mut world = World::connected(1);
    let sub = world.subscribe(live());
    world.flow();
    world.cut();
    world.rooms.handle_owner_changed(world.now);
    world.pump();
    assert_eq!(world.watches[&sub].left, Some(Code::FORBIDDEN));
    world.connect();
    assert_eq!(world.joins(), 1);
}

fn keyed(seq: u64, key: &str, gone: bool) -> Event {
    let cursor = Cursor { seq, mark: Mark(seq) };
    Event { key: Some(key.into()), gone, ..event(Some(cursor), None, "e") }
}

fn joined(world: &World, cursor: u64, full: bool) -> Joined {
    let id = world.sent.iter().rev().find_map(|frame| match frame {
        ClientFrame::Join(join) => Some(join.id),
        _ => None,
    });
    let cursor = Cursor { seq: cursor, mark: Mark(cursor) };
    let (id, room, head) = (id.unwrap(), ROOM.to_owned(), Cursor { seq: 9, mark: Mark(9) });
    Joined { id, room, cursor, head, mode: RoomMode::Latest, full }
}

/// What a subscription of a `latest` room was told: numbers, or a gap.
fn told(rooms: &mut Rooms) -> Vec<Option<u64>> {
    let mut told = Vec::new();
    while let Some(output) = rooms.poll_output() {
        match output {
            RoomsOutput::Event(ApiEvent::Event(_, event)) => told.push(event.seq),
            RoomsOutput::Event(ApiEvent::Gap { .. }) => told.push(None),
            _ => {}
        }
    }
    told
}

#[test]
fn p_r9_a_latest_room_hands_over_what_is_newer_than_its_key() {
    let mut world = World::connected(1);
    world.subscribe(live());
    let now = world.now;
    world.rooms.handle_joined(joined(&world, 0, true), now);
    for frame in [keyed(5, "a", false), keyed(3, "b", false), keyed(4, "a", false)] {
        world.rooms.handle_event(frame, now);
    }
    world.rooms.handle_event(keyed(6, "b", true), now);
    assert_eq!(told(&mut world.rooms), [Some(5), Some(3), Some(6)]);
}

#[test]
fn p_r9_a_position_counts_only_once_every_key_has_come() {
    let mut world = World::connected(1);
    world.subscribe(live());
    let now = world.now;
    world.rooms.handle_joined(joined(&world, 9, true), now);
    world.rooms.handle_event(keyed(5, "a", false), now);
    let _ = told(&mut world.rooms);
    world.cut();
    let joins = world.rooms.joins_for_hello(now);
    assert_eq!(joins[0].cursor, None, "some keys never came");
    world.sent.push(ClientFrame::Join(joins[0].clone()));
    world.rooms.handle_joined(joined(&world, 9, true), now);
    world.rooms.handle_event(keyed(5, "a", false), now);
    world.rooms.handle_live(&Live { room: ROOM.into(), seq: 9, mark: Mark(9) }, now);
    assert_eq!(told(&mut world.rooms), [], "handed over once");
    world.rooms.handle_link_down(now);
    let joins = world.rooms.joins_for_hello(now);
    assert_eq!(joins[0].cursor, Some(Cursor { seq: 9, mark: Mark(9) }));
    // Not proved: all keys again, and the application is told to begin anew.
    world.sent.push(ClientFrame::Join(joins[0].clone()));
    world.rooms.handle_joined(joined(&world, 2, true), now);
    world.rooms.handle_event(keyed(1, "a", false), now);
    assert_eq!(told(&mut world.rooms), [None, Some(1)]);
}

#[test]
fn p_s8_after_a_reconnect_a_handler_goes_on_from_its_groups_position() {
    let mut rooms = Rooms::new(&rig::config(1));
    let now = Now::default();
    let room = "video/commands";
    rooms.handle_loaded(Table::new(), now);
    rooms.handle_subscribe(CallId(1), SubId(1), room.parse().unwrap(), live(), now);
    for handed in [[Some(1), Some(2), Some(3)], [Some(2), Some(3), Some(4)]] {
        let joins = rooms.joins_for_hello(now);
        assert_eq!(joins[0].cursor, None, "its own position says nothing");
        let before = handed[0].unwrap() - 1;
        let cursor = Cursor { seq: before, mark: Mark(before) };
        let (id, room) = (joins[0].id, room.to_owned());
        let mode = RoomMode::Log;
        rooms.handle_joined(Joined { id, room, cursor, head: cursor, mode, full: false }, now);
        for seq in handed.into_iter().flatten() {
            let event = event(Some(Cursor { seq, mark: Mark(seq) }), Some(seq - 1), "stream:start");
            rooms.handle_event(Event { room: "video/commands".into(), ..event }, now);
        }
        assert_eq!(told(&mut rooms), handed, "what was not answered comes again");
        rooms.handle_link_down(now);
    }
}
