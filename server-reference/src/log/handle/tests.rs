//! The log behind its handle.

use super::*;
use crate::log::{
    Stepped, Ticket,
    suite::{number, producer, room, send},
};

fn collecting() -> (Sink, mpsc::Receiver<(Option<usize>, Reply)>) {
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    let sink: Sink = Arc::new(move |replies| {
        replies.into_iter().for_each(|reply| sender.lock().unwrap().send(reply).unwrap());
    });
    (sink, receiver)
}

fn steps(log: &Log, shard: usize, from: u64, to: u64) -> Vec<Reply> {
    let key = producer(shard as u128 + 1);
    let step = |n| Request::Step(Ticket(n), send(&room("a"), number(&key, 0, n, n.into())));
    log.submit(shard, (from..=to).map(step).collect())
}

#[test]
fn replies_come_in_order_to_the_shard_that_asked_and_closing_answers_what_waits() {
    let directory = tempfile::tempdir().unwrap();
    for level in [Level::Memory, Level::Fsync(directory.path().to_owned())] {
        let (log, opened) = Log::open(Options::new(level, 1)).unwrap();
        let (sink, told) = collecting();
        assert_eq!(steps(&log, 0, 1, 300), []);
        log.start(opened, sink).unwrap();
        assert_eq!(steps(&log, 1, 1, 300), []);
        log.close();
        let told: Vec<_> = told.try_iter().collect();
        let mut next = [1, 1];
        let mut seq = 0;
        for (shard, reply) in told {
            match (shard, reply) {
                (None, Reply::Entry(_, entry)) => {
                    seq += 1;
                    assert_eq!(entry.seq, seq);
                }
                (Some(shard), Reply::Stepped(Ticket(n), Stepped::New(_))) => {
                    assert_eq!(n, next[shard]);
                    next[shard] += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((next, seq), ([301, 301], 600));
        assert_eq!(log.figures().answered, 600);
        let late = steps(&log, 0, 301, 301);
        let no = Stepped::Unavailable { accepted: 300 };
        assert_eq!(late, [Reply::Stepped(Ticket(301), no)]);
    }
}

#[test]
fn what_the_queue_cannot_hold_is_refused_at_once() {
    let (log, opened) = Log::open(Options::new(Level::Memory, 1)).unwrap();
    let refused = steps(&log, 0, 1, QUEUE as u64 + 10);
    assert_eq!(refused.len(), 10);
    assert_eq!(log.figures().overrun, 10);
    let (sink, told) = collecting();
    log.start(opened, sink).unwrap();
    log.close();
    assert_eq!(told.try_iter().count(), 2 * QUEUE);
}

#[test]
fn many_pages_are_all_read_and_closing_waits_for_them() {
    let (log, opened) = Log::open(Options::new(Level::Memory, 1)).unwrap();
    let page = |ticket| Request::Read(Ticket(ticket), room("a"), 0);
    assert_eq!(log.submit(3, (0..100).map(page).collect()), []);
    assert_eq!(steps(&log, 0, 1, 1), []);
    let (sink, told) = collecting();
    log.start(opened, sink).unwrap();
    log.close();
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(told.len(), 102);
    assert!(matches!(told[0], (None, Reply::Entry(..))), "a step goes before pages");
    let full = told.iter().filter(
        |(_, reply)| matches!(reply, Reply::Page(_, Ok((entries, _))) if entries.len() == 1),
    );
    assert_eq!(full.count(), 100);
}

#[test]
fn a_full_disk_holds_appends_back_and_nothing_else() {
    let (log, opened) = Log::open(Options::new(Level::Memory, 1)).unwrap();
    assert_eq!(steps(&log, 0, 1, 1), []);
    log.set_full(true);
    assert_eq!(log.figures().trouble(), Some("disk full"));
    let no = Reply::Stepped(Ticket(2), Stepped::Unavailable { accepted: 1 });
    assert_eq!(steps(&log, 0, 2, 2), [no]);
    assert_eq!(log.submit(0, vec![Request::Read(Ticket(9), room("a"), 0)]), []);
    log.set_full(false);
    assert_eq!(log.figures().trouble(), None);
    assert_eq!(steps(&log, 0, 2, 2), []);
    let (sink, told) = collecting();
    log.start(opened, sink).unwrap();
    log.close();
    let entries = told.try_iter().filter(|(_, reply)| matches!(reply, Reply::Entry(..)));
    assert_eq!(entries.count(), 2);
}

#[test]
fn a_turn_that_hangs_is_trouble() {
    let well = Figures { available: true, turn_millis: 9_999, ..Figures::default() };
    assert_eq!(well.trouble(), None);
    let hangs = Figures { turn_millis: 10_000, ..well };
    assert_eq!(hangs.trouble(), Some("log stuck"));
    assert_eq!(Figures { available: false, ..well }.trouble(), Some("log unavailable"));
}

#[test]
fn a_directory_in_use_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(Level::Fsync(directory.path().to_owned()), 1);
    let _first = Log::open(options.clone()).unwrap();
    let second = Log::open(options).err().map(|error| error.to_string());
    assert!(second.is_some_and(|text| text.contains("another process")));
}
