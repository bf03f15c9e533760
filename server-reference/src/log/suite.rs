//! One suite for every log: what P-S2, P-R3 and P-R4 ask of it, whatever it stands on.

use super::{
    Entry, Extent, Intent, NewEntry, Number, Outcome, ProducerKey, Record, Reply, Request, RoomKey,
    Step, Stepped, Ticket,
};
use std::sync::Arc;
use wardline::{
    model::ids::{ItemId, ProducerId},
    protocol::{Code, Cursor, Json, Mark, limits},
};

/// A log under test: asked one request, it answers when everything is durable.
pub(crate) trait Subject {
    fn ask(&mut self, request: Request, now: u64) -> Vec<Reply>;
    fn expire(&mut self, now: u64);
}

/// The entries are kept as long in every log under test: this many ms.
pub(crate) const TTL: u64 = 1000;
const NOW: u64 = 1_700_000_000_000;

pub(crate) fn room(name: &str) -> RoomKey {
    RoomKey { tenant: "acme".into(), room: format!("alerts/{name}").parse().unwrap() }
}

pub(crate) fn producer(number: u128) -> ProducerKey {
    ProducerKey { tenant: "acme".into(), user: "ann".into(), producer: ProducerId(number) }
}

pub(crate) fn new_entry(room: &RoomKey, id: u128, data: &str) -> NewEntry {
    NewEntry {
        room: room.clone(),
        id: ItemId(id),
        from: "ann".into(),
        event: "e".into(),
        key: None,
        gone: false,
        data: Json::parse(data).unwrap(),
    }
}

pub(crate) fn number(producer: &ProducerKey, lane: u8, n: u64, id: u128) -> Number {
    Number { key: producer.clone(), lane, n, id: ItemId(id), base: None }
}

pub(crate) fn send(room: &RoomKey, number: Number) -> Step {
    let entry = new_entry(room, number.id.0, &format!("{{\"n\":{}}}", number.n));
    Step { producer: Some(number), once: None, intent: Intent::Append(vec![entry]) }
}

pub(crate) fn own(entries: Vec<NewEntry>) -> Step {
    Step { producer: None, once: None, intent: Intent::Append(entries) }
}

/// The entries told and how the step ended.
pub(crate) fn do_step(log: &mut dyn Subject, step: Step, now: u64) -> (Vec<Arc<Entry>>, Stepped) {
    let mut replies = log.ask(Request::Step(Ticket(1), step), now);
    let Some(Reply::Stepped(Ticket(1), stepped)) = replies.pop() else { panic!("no answer") };
    let told = replies.into_iter().map(|reply| match reply {
        Reply::Entry(_, entry) => entry,
        other => panic!("{other:?}"),
    });
    (told.collect(), stepped)
}

pub(crate) fn prove(
    log: &mut dyn Subject,
    room: &RoomKey,
    cursor: Option<Cursor>,
) -> (Extent, bool) {
    match &log.ask(Request::Prove(Ticket(2), room.clone(), cursor), NOW)[..] {
        [Reply::Proved(Ticket(2), Ok(proof))] => *proof,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn read(log: &mut dyn Subject, room: &RoomKey, after: u64) -> (Vec<Arc<Entry>>, Extent) {
    match &log.ask(Request::Read(Ticket(3), room.clone(), after), NOW)[..] {
        [Reply::Page(Ticket(3), Ok(page))] => page.clone(),
        other => panic!("{other:?}"),
    }
}

fn keys(log: &mut dyn Subject, room: &RoomKey, after: u64) -> Vec<Arc<Entry>> {
    match &log.ask(Request::Keys(Ticket(4), room.clone(), after), NOW)[..] {
        [Reply::Page(Ticket(4), Ok((entries, _)))] => entries.clone(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn record(log: &mut dyn Subject, producer: &ProducerKey, now: u64) -> Record {
    match &log.ask(Request::Producer(Ticket(5), producer.clone()), now)[..] {
        [Reply::Producer(Ticket(5), Ok(record))] => record.clone(),
        other => panic!("{other:?}"),
    }
}

/// All entries of a room, page by page; checks that each is chained from the one before.
pub(crate) fn read_all(log: &mut dyn Subject, room: &RoomKey) -> Vec<Arc<Entry>> {
    let (_, extent) = read(log, room, 0);
    let (mut at, mut all) = (extent.first, Vec::new());
    loop {
        let (page, extent) = read(log, room, at.seq);
        if page.is_empty() {
            assert_eq!(at, extent.head, "the last page ends at the head");
            return all;
        }
        for entry in page {
            assert_eq!(entry.before(), at, "a hole in {room:?}");
            at = entry.cursor();
            all.push(entry);
        }
    }
}

pub(crate) fn numbers_follow_p_s2(log: &mut dyn Subject) {
    let (room, ann) = (room("numbers"), producer(1));
    let accepted = |seq| Stepped::New(Outcome::Accepted(Some(seq).into()));
    assert_eq!(record(log, &ann, NOW), Record::default());
    let (told, stepped) = do_step(log, send(&room, number(&ann, 0, 1, 11)), NOW);
    assert_eq!(stepped, accepted(1));
    assert_eq!((told[0].seq, told[0].id, told[0].time), (1, ItemId(11), NOW));
    assert_eq!(do_step(log, send(&room, number(&ann, 0, 2, 12)), NOW).1, accepted(2));

    let early = do_step(log, send(&room, number(&ann, 0, 4, 14)), NOW);
    assert_eq!(early, (vec![], Stepped::Early { accepted: 2 }));
    let again = do_step(log, send(&room, number(&ann, 0, 1, 11)), NOW);
    assert_eq!(again, (vec![], Stepped::Repeated(Outcome::Accepted(Some(1).into()))));
    let other = do_step(log, send(&room, number(&ann, 0, 2, 99)), NOW);
    assert_eq!(other, (vec![], Stepped::Forked));
    assert_eq!(do_step(log, send(&room, number(&ann, 0, 0, 9)), NOW).1, Stepped::Forked);

    // Lanes count apart, producers too.
    assert_eq!(do_step(log, send(&room, number(&ann, 7, 1, 71)), NOW).1, accepted(3));
    assert_eq!(do_step(log, send(&room, number(&producer(2), 0, 1, 21)), NOW).1, accepted(4));

    let refuse = Intent::Refuse(Code::FORBIDDEN, "no".into());
    let refused = Outcome::Refused(Code::FORBIDDEN, "no".into());
    let step = Step { producer: Some(number(&ann, 0, 3, 13)), once: None, intent: refuse };
    assert_eq!(do_step(log, step.clone(), NOW), (vec![], Stepped::New(refused.clone())));
    assert_eq!(do_step(log, step, NOW), (vec![], Stepped::Repeated(refused.clone())));
    let step = Step { producer: Some(number(&ann, 0, 4, 14)), once: None, intent: Intent::Accept };
    assert_eq!(do_step(log, step, NOW).1, Stepped::New(Outcome::Accepted(None.into())));

    let record = record(log, &ann, NOW);
    assert_eq!(record.accepted, Some([(0, 4), (7, 1)].into()));
    let told: Vec<_> = record.outcomes.iter().map(|(lane, n, id, _)| (*lane, *n, id.0)).collect();
    assert_eq!(told, [(0, 1, 11), (0, 2, 12), (0, 3, 13), (0, 4, 14), (7, 1, 71)]);
    assert_eq!(record.outcomes[2].3, refused);
    assert_eq!(read_all(log, &room).len(), 4);
}

pub(crate) fn base_raises_the_accepted_number(log: &mut dyn Subject) {
    let (room, ann) = (room("base"), producer(3));
    // A server that lost the record learns from the client where it stood.
    let based = |n, id, base| Number { base: Some(base), ..number(&ann, 0, n, id) };
    let (_, stepped) = do_step(log, send(&room, based(7, 7, 6)), NOW);
    assert_eq!(stepped, Stepped::New(Outcome::Accepted(Some(1).into())));
    // A lower base changes nothing.
    assert_eq!(
        do_step(log, send(&room, based(7, 7, 3)), NOW).1,
        Stepped::Repeated(Outcome::Accepted(Some(1).into()))
    );
    // Base is raised even where the number is early, and stays.
    assert_eq!(
        do_step(log, send(&room, based(12, 12, 10)), NOW).1,
        Stepped::Early { accepted: 10 }
    );
    assert_eq!(record(log, &ann, NOW).accepted, Some([(0, 10)].into()));
    // Below base nothing is held but what was answered.
    assert_eq!(do_step(log, send(&room, number(&ann, 0, 9, 9)), NOW).1, Stepped::Forked);
    assert_eq!(
        do_step(log, send(&room, number(&ann, 0, 11, 11)), NOW).1,
        Stepped::New(Outcome::Accepted(Some(2).into()))
    );
}

pub(crate) fn a_record_holds_32_outcomes(log: &mut dyn Subject) {
    let (room, ann) = (room("window"), producer(4));
    for n in 1..=40 {
        do_step(log, send(&room, number(&ann, 2, n, u128::from(n))), NOW);
    }
    let record = record(log, &ann, NOW);
    let held: Vec<_> = record.outcomes.iter().map(|(_, n, ..)| *n).collect();
    assert_eq!(held, (9..=40).collect::<Vec<_>>());
    let repeated = do_step(log, send(&room, number(&ann, 2, 9, 9)), NOW).1;
    assert_eq!(repeated, Stepped::Repeated(Outcome::Accepted(Some(9).into())));
    assert_eq!(do_step(log, send(&room, number(&ann, 2, 8, 8)), NOW).1, Stepped::Forked);
}

pub(crate) fn a_user_has_64_producers_and_the_least_recently_used_goes(log: &mut dyn Subject) {
    let room = room("producers");
    let key = |i: u64| producer(1000 + u128::from(i));
    for i in 0..limits::PRODUCERS as u64 {
        do_step(log, send(&room, number(&key(i), 0, 1, u128::from(i))), NOW + i);
    }
    let later = NOW + 1000;
    assert!(record(log, &key(0), later).accepted.is_some(), "asking is a use");
    do_step(log, send(&room, number(&key(999), 0, 1, 999)), later);
    assert!(record(log, &key(0), later).accepted.is_some());
    assert_eq!(record(log, &key(1), later).accepted, None);
    assert!(record(log, &key(2), later).accepted.is_some());
}

pub(crate) fn a_step_is_atomic_over_rooms(log: &mut dyn Subject) {
    let (a, b) = (room("several-a"), room("several-b"));
    let entries = vec![new_entry(&a, 1, "1"), new_entry(&b, 2, "2"), new_entry(&a, 3, "3")];
    let (told, stepped) = do_step(log, own(entries), NOW);
    assert_eq!(stepped, Stepped::New(Outcome::Accepted([1, 1, 2].into_iter().collect())));
    assert_eq!(told.iter().map(|e| (e.seq, e.id.0)).collect::<Vec<_>>(), [(1, 1), (1, 2), (2, 3)]);
    assert_eq!(told[2].prev_mark, told[0].mark);
    assert_ne!(told[0].prev_mark, told[1].prev_mark, "each log begins with its own random mark");
    assert_eq!(read_all(log, &a).len(), 2);
    assert_eq!(read_all(log, &b), [told[1].clone()]);
}

pub(crate) fn an_id_alone_is_remembered_for_ten_minutes(log: &mut dyn Subject) {
    let room = room("once");
    let step = |id| Step {
        once: Some(("acme".into(), ItemId(id))),
        ..own(vec![new_entry(&room, id, "1")])
    };
    assert_eq!(do_step(log, step(5), NOW).1, Stepped::New(Outcome::Accepted(Some(1).into())));
    let again = do_step(log, step(5), NOW + 9 * 60_000);
    assert_eq!(again, (vec![], Stepped::Repeated(Outcome::Accepted(Some(1).into()))));
    assert_eq!(do_step(log, step(6), NOW).1, Stepped::New(Outcome::Accepted(Some(2).into())));
    let elsewhere = Step { once: Some(("other".into(), ItemId(5))), ..step(5) };
    assert_eq!(do_step(log, elsewhere, NOW).1, Stepped::New(Outcome::Accepted(Some(3).into())));
}

pub(crate) fn cursors_are_proved_by_marks(log: &mut dyn Subject) {
    let room = room("proof");
    let (start, _) = prove(log, &room, None);
    assert_eq!((start.first, start.head.seq), (start.head, 0));
    assert!(prove(log, &room, Some(start.head)).1, "an empty log proves its start");
    let mut at = vec![start.head];
    for id in 1..=5 {
        let (told, _) = do_step(log, own(vec![new_entry(&room, id, "1")]), NOW);
        assert_eq!(told[0].before(), *at.last().unwrap());
        at.push(told[0].cursor());
    }
    for cursor in &at {
        assert!(prove(log, &room, Some(*cursor)).1, "{cursor:?}");
        let wrong = Cursor { mark: Mark(cursor.mark.0 ^ 1), ..*cursor };
        assert!(!prove(log, &room, Some(wrong)).1, "{wrong:?}");
    }
    let beyond = Cursor { seq: 6, ..at[5] };
    assert!(!prove(log, &room, Some(beyond)).1);
    assert!(!prove(log, &room, Some(Cursor { seq: u64::MAX, ..at[5] })).1);
    assert_eq!(prove(log, &room, None).0, Extent { first: at[0], head: at[5] });
}

pub(crate) fn pages_are_bounded(log: &mut dyn Subject) {
    let (small, large) = (room("small"), room("large"));
    let entries = (0..600).map(|id| new_entry(&small, id, "1")).collect();
    do_step(log, own(entries), NOW);
    assert_eq!(read(log, &small, 0).0.len(), limits::READ_ENTRIES);
    assert_eq!(read(log, &small, 500).0.len(), 100);
    assert_eq!(read(log, &small, 600).0.len(), 0);
    assert_eq!(read(log, &small, u64::MAX).0.len(), 0);
    assert_eq!(read_all(log, &small).len(), 600);

    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    for (id, bytes) in [(1, 30_000), (2, 30_000), (3, 30_000), (4, 500_000), (5, 10)] {
        do_step(log, own(vec![new_entry(&large, id, &text(bytes))]), NOW);
    }
    let sizes = |after, log: &mut dyn Subject| read(log, &large, after).0.len();
    assert_eq!([0, 2, 3, 4].map(|after| sizes(after, log)), [2, 1, 1, 1]);
    assert_eq!(read_all(log, &large).len(), 5);
}

pub(crate) fn the_newest_entry_of_each_key_is_found(log: &mut dyn Subject) {
    let room = room("latest");
    let keyed = |id, key: &str, gone, now, log: &mut dyn Subject| {
        let entry = NewEntry { key: Some(key.into()), gone, ..new_entry(&room, id, "1") };
        do_step(log, own(vec![entry]), now);
    };
    keyed(1, "a", false, NOW, log);
    keyed(2, "b", false, NOW, log);
    keyed(3, "c", false, NOW, log);
    keyed(4, "a", false, NOW, log);
    keyed(5, "b", true, NOW, log);
    let found = |after, log: &mut dyn Subject| {
        let found = keys(log, &room, after);
        found
            .iter()
            .map(|e| (e.seq, e.key.as_deref().unwrap().to_owned(), e.gone))
            .collect::<Vec<_>>()
    };
    let (a, b, c) = ((4, "a".into(), false), (5, "b".into(), true), (3, "c".into(), false));
    assert_eq!(found(0, log), [c.clone(), a.clone(), b.clone()]);
    assert_eq!(found(3, log), [a.clone(), b.clone()]);
    assert_eq!(found(5, log), []);
    // What is not replaced outlives the entries; what is gone goes with them.
    log.expire(NOW + 10 * TTL);
    assert_eq!(read(log, &room, 0).0.len(), 0);
    assert_eq!(found(0, log), [c.clone(), a]);
    keyed(6, "a", false, NOW + 10 * TTL, log);
    assert_eq!(found(0, log), [c, (6, "a".into(), false)]);
}

pub(crate) fn retention_takes_entries_and_leaves_the_head(log: &mut dyn Subject) {
    let room = room("retention");
    for id in 1..=3 {
        do_step(log, own(vec![new_entry(&room, id, "1")]), NOW);
    }
    let before = prove(log, &room, None).0;
    log.expire(NOW + TTL / 2);
    assert_eq!(read_all(log, &room).len(), 3, "kept as long as promised");
    let late = NOW + 10 * TTL;
    let (told, _) = do_step(log, own(vec![new_entry(&room, 4, "1")]), late);
    log.expire(late);
    let left = read_all(log, &room);
    assert_eq!(left, told);
    let extent = prove(log, &room, None).0;
    assert_eq!(extent, Extent { first: before.head, head: told[0].cursor() });
    assert!(prove(log, &room, Some(before.head)).1, "the entry behind it is chained from it");
    assert!(!prove(log, &room, Some(before.first)).1, "overtaken");

    log.expire(late + 10 * TTL);
    let extent = prove(log, &room, None).0;
    assert_eq!(extent, Extent { first: told[0].cursor(), head: told[0].cursor() });
    assert!(prove(log, &room, Some(extent.head)).1, "a quiet room is not lost");
    let (told, _) = do_step(log, own(vec![new_entry(&room, 5, "1")]), late + 20 * TTL);
    assert_eq!(told[0].before(), extent.head, "the chain goes on");
}

pub(crate) fn a_room_without_entries_stands_where_it_began(log: &mut dyn Subject) {
    let room = room("never");
    let start = prove(log, &room, None).0;
    log.expire(NOW + (1 << 40));
    assert_eq!(read(log, &room, 0), (Vec::new(), start));
    assert!(prove(log, &room, Some(start.head)).1, "a quiet room is not lost, however long");
    let (told, _) = do_step(log, own(vec![new_entry(&room, 1, "1")]), NOW);
    assert_eq!(told[0].before(), start.head);
    assert!(prove(log, &room, Some(start.head)).1);
}

pub(crate) fn heads_and_records_outlive_their_use_by_30_days(log: &mut dyn Subject) {
    const DAY: u64 = 24 * 3600 * 1000;
    let (room, ann) = (room("days"), producer(6));
    do_step(log, send(&room, number(&ann, 0, 1, 1)), NOW);
    let Extent { first: start, head } = prove(log, &room, None).0;
    log.expire(NOW + 29 * DAY);
    assert_eq!(prove(log, &room, None).0.head, head);
    log.expire(NOW + 29 * DAY + 1000);
    assert_eq!(record(log, &ann, NOW + DAY).accepted, Some([(0, 1)].into()));
    log.expire(NOW + 40 * DAY);
    let anew = prove(log, &room, None).0.head;
    assert_eq!(anew.seq, 0);
    assert!(anew.mark != head.mark && anew.mark != start.mark, "a new log has a new mark");
    assert!(!prove(log, &room, Some(start)).1, "who joined before the first entry missed all");
    let (told, _) = do_step(log, own(vec![new_entry(&room, 2, "1")]), NOW + 40 * DAY);
    assert_eq!(told[0].before(), anew);
    assert!(!prove(log, &room, Some(start)).1);
    assert_eq!(record(log, &ann, NOW + 40 * DAY).accepted, None);
}

/// Instantiates the suite for a log; `$make` makes an empty one.
macro_rules! log_suite {
    ($make:expr) => {
        $crate::log::suite::log_suite!(@ $make;
            numbers_follow_p_s2, base_raises_the_accepted_number, a_record_holds_32_outcomes,
            a_user_has_64_producers_and_the_least_recently_used_goes, a_step_is_atomic_over_rooms,
            an_id_alone_is_remembered_for_ten_minutes, cursors_are_proved_by_marks,
            pages_are_bounded, the_newest_entry_of_each_key_is_found,
            retention_takes_entries_and_leaves_the_head,
            a_room_without_entries_stands_where_it_began,
            heads_and_records_outlive_their_use_by_30_days,
        );
    };
    (@ $make:expr; $($case:ident),+ $(,)?) => {$(
        #[test]
        fn $case() {
            $crate::log::suite::$case(&mut $make);
        }
    )+};
}
pub(crate) use log_suite;
