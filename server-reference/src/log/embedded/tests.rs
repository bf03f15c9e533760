use super::{
    engine::{Engine, Settings},
    store::Fault,
};
use crate::log::{
    Intent, Number, Outcome, Reply, Request, Retention, Step, Stepped, Ticket, Unavailable,
    suite::{self, Subject, do_step, log_suite, new_entry, number, own, room, send},
};
use std::{
    io::{Read, Write},
    path::Path,
};

const NOW: u64 = 1_700_000_000_000;

fn settings(path: &Path) -> Settings {
    Settings {
        path: path.to_owned(),
        retention: Retention::uniform(suite::TTL),
        cache_bytes: 1 << 20,
        cached: 1000,
        seed: 1,
    }
}

/// A log in a directory of its own.
struct Fresh {
    log: Engine,
    directory: tempfile::TempDir,
}

impl Fresh {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { log: Engine::open(settings(directory.path())).unwrap(), directory }
    }

    /// Closes the log and opens it again.
    fn again(self) -> Self {
        let Self { log, directory } = self;
        drop(log);
        Self { log: Engine::open(settings(directory.path())).unwrap(), directory }
    }
}

impl Subject for Fresh {
    fn ask(&mut self, request: Request, now: u64) -> Vec<Reply> {
        self.log.turn(vec![(0, request)], now).into_iter().map(|(_, reply)| reply).collect()
    }

    fn expire(&mut self, now: u64) {
        while self.log.expire(now) {}
    }
}

mod warm {
    use super::*;
    log_suite!(Fresh::new());
}

/// Forgets everything in memory before each request.
struct Cold(Fresh);

impl Subject for Cold {
    fn ask(&mut self, request: Request, now: u64) -> Vec<Reply> {
        self.0.log.memory.rooms.clear();
        // A use is told to the store once an hour; where the suite looks closer, it moves the time.
        if now == NOW {
            self.0.log.memory.producers.clear();
        }
        self.0.ask(request, now)
    }

    fn expire(&mut self, now: u64) {
        self.0.expire(now);
    }
}

mod cold {
    use super::*;
    log_suite!(Cold(Fresh::new()));
}

#[test]
fn a_second_server_cannot_open_the_directory() {
    let log = Fresh::new();
    let second = Engine::open(settings(log.directory.path()));
    assert!(matches!(second.err(), Some(super::StoreError::Locked)));
}

#[test]
fn everything_is_there_after_reopening() {
    let mut log = Fresh::new();
    let (room, ann) = (room("a"), suite::producer(1));
    let mut told = Vec::new();
    for n in 1..=100 {
        told.extend(do_step(&mut log, send(&room, number(&ann, 0, n, n.into())), NOW).0);
    }
    let extent = suite::prove(&mut log, &room, None).0;
    let empty = suite::prove(&mut log, &suite::room("empty"), None).0;
    let record = suite::record(&mut log, &ann, NOW);
    let mut log = log.again();
    assert_eq!(suite::read_all(&mut log, &room), told);
    assert_eq!(suite::prove(&mut log, &room, None).0, extent);
    assert_eq!(suite::prove(&mut log, &suite::room("empty"), None).0, empty);
    assert_eq!(suite::record(&mut log, &ann, NOW), record);
    let next = do_step(&mut log, send(&room, number(&ann, 0, 101, 101)), NOW);
    assert_eq!(next.1, Stepped::New(Outcome::Accepted(Some(101).into())));
    assert_eq!(next.0[0].before(), extent.head);
}

#[test]
fn a_room_that_is_only_joined_leaves_nothing_behind() {
    let mut log = Fresh::new();
    let commits = log.log.store.as_ref().unwrap().commits;
    let names: Vec<_> = (0..500).map(|n| room(&format!("joined-{n}"))).collect();
    let starts: Vec<_> = names.iter().map(|name| suite::prove(&mut log, name, None).0).collect();
    assert_eq!(log.log.store.as_ref().unwrap().commits, commits, "nothing was written");
    log.expire(NOW);
    let mut log = log.again();
    for (name, start) in names.iter().zip(starts) {
        assert_eq!(suite::prove(&mut log, name, Some(start.head)), (start, true));
    }
}

#[test]
fn what_began_anew_is_remembered_up_to_a_bound() {
    const DAY: u64 = 24 * 3600 * 1000;
    let mut log = Fresh::new();
    log.log.sweep.remember(2);
    let fill = |log: &mut Fresh, name: &str, now| {
        let name = room(name);
        let start = suite::prove(log, &name, None).0.head;
        do_step(log, own(vec![new_entry(&name, 1, "1")]), now);
        start
    };
    let quiet = suite::prove(&mut log, &room("quiet"), None).0.head;
    let old = ["a", "b"].map(|name| fill(&mut log, name, NOW));
    log.expire(NOW + 40 * DAY);
    log.expire(NOW + 41 * DAY);
    assert!(suite::prove(&mut log, &room("quiet"), Some(quiet)).1);
    let anew = suite::prove(&mut log, &room("a"), None).0.head;
    let third = fill(&mut log, "c", NOW + 41 * DAY);
    // A third room is forgotten: all of them begin elsewhere, and nothing old is proved.
    log.expire(NOW + 80 * DAY);
    log.expire(NOW + 81 * DAY);
    for restarted in [false, true] {
        if restarted {
            log = log.again();
            log.expire(NOW + 82 * DAY);
        }
        for (name, old) in
            [("quiet", quiet), ("a", old[0]), ("a", anew), ("b", old[1]), ("c", third)]
        {
            assert!(!suite::prove(&mut log, &room(name), Some(old)).1, "{name}");
            let now = suite::prove(&mut log, &room(name), None).0.head;
            assert_eq!(suite::prove(&mut log, &room(name), Some(now)).0.head, now);
        }
    }
    // The rows are swept, and where the rooms stand does not change by that.
    let heads = ["a", "b", "c"].map(|name| suite::prove(&mut log, &room(name), None).0.head);
    log.expire(NOW + 200 * DAY);
    let mut log = log.again();
    assert_eq!(heads, ["a", "b", "c"].map(|name| suite::prove(&mut log, &room(name), None).0.head));
}

#[test]
fn one_commit_serves_a_turn() {
    let mut log = Fresh::new();
    let (room, ann) = (room("a"), suite::producer(1));
    let step = |n: u64| (3, Request::Step(Ticket(n), send(&room, number(&ann, 0, n, n.into()))));
    let before = log.log.store.as_ref().unwrap().commits;
    let told = log.log.turn((1..=200).map(step).collect(), NOW);
    assert_eq!(log.log.store.as_ref().unwrap().commits, before + 1);
    assert_eq!(told.len(), 400);
    assert_eq!(suite::read_all(&mut log, &room).len(), 200);
    let record = suite::record(&mut log, &ann, NOW);
    assert_eq!(record.outcomes.len(), 32);
    let mut log = log.again();
    assert_eq!(suite::record(&mut log, &ann, NOW), record);
}

#[test]
fn a_commit_that_fails_is_never_an_ok_and_the_log_comes_back() {
    let (room, ann) = (room("a"), suite::producer(1));
    for fault in [Fault::Before, Fault::After] {
        let mut log = Fresh::new();
        do_step(&mut log, send(&room, number(&ann, 0, 1, 1)), NOW);
        log.log.store.as_mut().unwrap().fault = Some(fault);
        let step =
            |n: u64| (0, Request::Step(Ticket(n), send(&room, number(&ann, 0, n, n.into()))));
        let mut asked = vec![step(2), step(3)];
        asked.push((0, Request::Prove(Ticket(9), room.clone(), None)));
        let told = log.log.turn(asked, NOW);
        let no = Stepped::Unavailable { accepted: 1 };
        assert_eq!(
            told,
            [
                (0, Reply::Stepped(Ticket(2), no.clone())),
                (0, Reply::Stepped(Ticket(3), no.clone())),
                (0, Reply::Proved(Ticket(9), Err(Unavailable))),
            ]
        );
        // Not open again yet: still no ok, and what was accepted is still known.
        assert_eq!(do_step(&mut log, send(&room, number(&ann, 0, 2, 2)), NOW + 10).1, no);
        // Open again: what had been written was kept, what had not was not.
        let (told, stepped) = do_step(&mut log, send(&room, number(&ann, 0, 2, 2)), NOW + 1000);
        let outcome = Outcome::Accepted(Some(2).into());
        match fault {
            Fault::Before => assert_eq!((told.len(), stepped), (1, Stepped::New(outcome))),
            Fault::After => assert_eq!((told.len(), stepped), (0, Stepped::Repeated(outcome))),
        }
        do_step(&mut log, send(&room, number(&ann, 0, 3, 3)), NOW + 1000);
        assert_eq!(suite::read_all(&mut log, &room).len(), 3);
    }
}

#[test]
fn retention_gives_buckets_back() {
    let mut log = Fresh::new();
    let room = room("a");
    let mut most = 0;
    for i in 0..200 {
        let now = NOW + i * suite::TTL / 10;
        do_step(&mut log, own(vec![new_entry(&room, i.into(), "1")]), now);
        log.expire(now);
        most = most.max(log.log.store.as_ref().unwrap().bucket_count());
        let held = suite::read_all(&mut log, &room);
        assert!(held.iter().all(|entry| entry.time + 2 * suite::TTL > now), "kept too long");
        let kept = held.iter().filter(|entry| entry.time + suite::TTL > now).count();
        assert_eq!(kept as u64, (i + 1).min(10), "kept too short");
    }
    assert!(most <= 7, "{most} buckets");
}

#[test]
fn a_clock_that_was_set_back_does_not_stop_retention() {
    let mut log = Fresh::new();
    let room = room("a");
    let year = 365 * 24 * 3600 * 1000;
    do_step(&mut log, own(vec![new_entry(&room, 1, "1")]), NOW + year);
    do_step(&mut log, own(vec![new_entry(&room, 2, "1")]), NOW);
    assert_eq!(suite::read_all(&mut log, &room).len(), 2);
    log.expire(NOW + 3 * suite::TTL);
    assert_eq!(suite::read_all(&mut log, &room).len(), 0);
}

#[test]
fn ten_thousand_rooms_open_quickly() {
    let mut log = Fresh::new();
    let rooms: Vec<_> = (0..10_000).map(|i| room(&format!("r{i}"))).collect();
    for (chunk, rooms) in rooms.chunks(1000).enumerate() {
        let step = |(i, room): (usize, &crate::log::RoomKey)| {
            let step = own(vec![new_entry(room, (chunk * 1000 + i) as u128, "1")]);
            (0, Request::Step(Ticket(0), step))
        };
        log.log.turn(rooms.iter().enumerate().map(step).collect(), NOW);
    }
    let start = std::time::Instant::now();
    let mut log = log.again();
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    let prove = |room: &crate::log::RoomKey| (0, Request::Prove(Ticket(0), room.clone(), None));
    let told = log.log.turn(rooms.iter().map(prove).collect(), NOW);
    let ones = told.iter().filter(
        |(_, reply)| matches!(reply, Reply::Proved(_, Ok((extent, true))) if extent.head.seq == 1),
    );
    assert_eq!(ones.count(), 10_000);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn the_same_id_twice_in_one_turn_is_done_once() {
    let mut log = Fresh::new();
    let room = room("a");
    let once = Some(("acme".into(), wardline::model::ids::ItemId(5)));
    let step = Step { once, ..own(vec![new_entry(&room, 5, "1")]) };
    let asked =
        vec![(0, Request::Step(Ticket(1), step.clone())), (0, Request::Step(Ticket(2), step))];
    let told = log.log.turn(asked, NOW);
    assert!(matches!(told[2].1, Reply::Stepped(Ticket(2), Stepped::Repeated(_))));
    assert_eq!(suite::read_all(&mut log, &room).len(), 1);
}

/// Copies a store as the disk would hold it if it lost power now.
fn image(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            image(&file.path(), &target);
        } else if is_journal(&file.path()) {
            write_journal(&target, &read_journal(&file.path()));
        } else {
            std::fs::copy(file.path(), target).unwrap();
        }
    }
}

fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "jnl")
}

/// What was written of a journal, whose file is allocated ahead.
fn read_journal(path: &Path) -> Vec<u8> {
    let mut file = std::fs::File::open(path).unwrap();
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        Read::by_ref(&mut file).take(1 << 16).read_to_end(&mut bytes).unwrap();
        if bytes[before..].iter().all(|byte| *byte == 0) {
            bytes.truncate(before);
            return bytes;
        }
    }
}

fn write_journal(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_len(64 << 20).unwrap();
}

/// `kill -9` proves nothing, as the page cache survives it. So the disk is copied after each
/// commit, and the copy of the last one, with a torn part of the next behind it, must hold
/// everything that was answered up to then.
#[test]
fn durable_means_durable_after_a_crash_at_any_commit() {
    let mut log = Fresh::new();
    let rooms = [room("a"), room("b"), room("c")];
    let producers = [suite::producer(1), suite::producer(2)];
    let mut rng = fastrand::Rng::with_seed(7);
    let mut numbers = [0_u64; 2];
    let mut told: Vec<(crate::log::RoomKey, std::sync::Arc<crate::log::Entry>)> = Vec::new();
    for turn in 0..6_u64 {
        let images = tempfile::tempdir().unwrap();
        let [synced, torn, holed] =
            ["synced", "torn", "holed"].map(|name| images.path().join(name));
        image(log.directory.path(), &synced);
        let (known, accepted) = (told.len(), numbers);

        let mut asked = Vec::new();
        for _ in 0..rng.usize(1..20) {
            let who = rng.usize(..2);
            numbers[who] += 1;
            let number = number(&producers[who], 0, numbers[who], rng.u128(..));
            let text: String = (0..rng.usize(1..12_000)).map(|_| rng.alphanumeric()).collect();
            let mut entry = new_entry(&rooms[rng.usize(..3)], number.id.0, "1");
            entry.data = wardline::protocol::Json::parse(&format!("\"{text}\"")).unwrap();
            let intent = Intent::Append(vec![entry]);
            let step = Step { producer: Some(number), once: None, intent };
            asked.push((0, Request::Step(Ticket(turn), step)));
        }
        for (_, reply) in log.log.turn(asked, NOW + turn) {
            match reply {
                Reply::Entry(room, entry) => told.push((room, entry)),
                Reply::Stepped(_, Stepped::New(_)) => {}
                other => panic!("{other:?}"),
            }
        }

        // A crash while the last commit was on its way: its beginning is on the disk, or all but
        // a page.
        image(&synced, &torn);
        image(&synced, &holed);
        tear(log.directory.path(), &torn, &mut rng, false);
        tear(log.directory.path(), &holed, &mut rng, true);
        for path in [&synced, &torn, &holed] {
            let mut found = Fresh {
                log: Engine::open(settings(path)).unwrap(),
                directory: tempfile::tempdir().unwrap(),
            };
            check(&mut found, &rooms, &producers, &told[..known], accepted, path == &synced);
        }
    }
    // And a crash after the last answer.
    let last = tempfile::tempdir().unwrap();
    image(log.directory.path(), last.path());
    let mut found = Fresh { log: Engine::open(settings(last.path())).unwrap(), directory: last };
    check(&mut found, &rooms, &producers, &told, numbers, true);
}

/// Writes a random part of what the journal got since into the copy's journal.
fn tear(now: &Path, copy: &Path, rng: &mut fastrand::Rng, hole: bool) {
    for file in std::fs::read_dir(now).unwrap() {
        let file = file.unwrap();
        if is_journal(&file.path()) {
            let target = copy.join(file.file_name());
            let (mut new, old) = (read_journal(&file.path()), read_journal(&target));
            let same = new.iter().zip(&old).take_while(|(new, old)| new == old).count();
            let end = new.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            if same < end && hole {
                let page = rng.usize(same..end) & !4095;
                let to = (page + 4096).min(end + 1);
                // What was durable before stays: a disk does not take a page back.
                new[page.max(same)..to].fill(0);
                write_journal(&target, &new);
            } else if same < end {
                write_journal(&target, &new[..rng.usize(same..end)]);
            }
        }
    }
}

fn check(
    log: &mut Fresh,
    rooms: &[crate::log::RoomKey],
    producers: &[crate::log::ProducerKey],
    told: &[(crate::log::RoomKey, std::sync::Arc<crate::log::Entry>)],
    accepted: [u64; 2],
    exactly: bool,
) {
    let mut entries = 0;
    for room in rooms {
        let held = suite::read_all(log, room);
        let of_room = told.iter().filter(|(of, _)| of == room).map(|(_, entry)| entry);
        assert!(of_room.eq(held.iter().take(told.iter().filter(|(of, _)| of == room).count())));
        entries += held.len();
    }
    assert!(!exactly || entries == told.len(), "an entry that was never told");
    for (key, accepted) in producers.iter().zip(accepted) {
        let record = suite::record(log, key, NOW);
        let found = record.accepted.map_or(0, |lanes| lanes.get(&0).copied().unwrap_or(0));
        if exactly {
            assert_eq!(found, accepted);
        } else {
            assert!(found >= accepted, "{found} < {accepted}");
        }
    }
}

#[test]
fn base_survives_reopening() {
    let mut log = Fresh::new();
    let (room, ann) = (room("a"), suite::producer(1));
    let early = Number { base: Some(50), ..number(&ann, 0, 60, 60) };
    assert_eq!(do_step(&mut log, send(&room, early), NOW).1, Stepped::Early { accepted: 50 });
    let mut log = log.again();
    assert_eq!(suite::record(&mut log, &ann, NOW).accepted, Some([(0, 50)].into()));
}

/// A disk that writes pages in any order may leave one out of the middle of a commit.
#[test]
fn a_commit_with_a_page_missing_is_left_out() {
    let mut log = Fresh::new();
    let room = room("a");
    let (told, _) = do_step(&mut log, own(vec![new_entry(&room, 1, "1")]), NOW);
    let mut rng = fastrand::Rng::with_seed(1);
    let text: String = (0..50_000).map(|_| rng.alphanumeric()).collect();
    do_step(&mut log, own(vec![new_entry(&room, 2, &format!("\"{text}\""))]), NOW);
    let journal = log.directory.path().join("0.jnl");
    let mut bytes = read_journal(&journal);
    let directory = tempfile::tempdir().unwrap();
    image(log.directory.path(), directory.path());
    bytes[8192..12288].fill(0);
    write_journal(&directory.path().join("0.jnl"), &bytes);
    let mut found = Fresh { log: Engine::open(settings(directory.path())).unwrap(), directory };
    assert_eq!(suite::read_all(&mut found, &room), told);
    // What is damaged before the last commit is not cut off silently.
    drop(found);
    do_step(&mut log, own(vec![new_entry(&room, 3, "3")]), NOW);
    let mut bytes = read_journal(&journal);
    let directory = tempfile::tempdir().unwrap();
    image(log.directory.path(), directory.path());
    bytes[8192..12288].fill(0);
    write_journal(&directory.path().join("0.jnl"), &bytes);
    assert!(Engine::open(settings(directory.path())).is_err());
}

fn journal_bytes(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| is_journal(path)).map(|path| path.metadata().unwrap().len()).sum()
}

#[test]
fn the_journal_does_not_grow_without_end() {
    let mut log = Fresh::new();
    let room = room("a");
    let mut rng = fastrand::Rng::with_seed(1);
    let text: String = (0..1 << 19).map(|_| rng.alphanumeric()).collect();
    let entry = new_entry(&room, 1, &format!("\"{text}\""));
    for i in 0..700 {
        // Each bucket gets a few MiB and is dropped before its table is large.
        let now = NOW + i * suite::TTL / 20;
        do_step(&mut log, own(vec![entry.clone()]), now);
        if i % 20 == 0 {
            log.expire(now);
        }
    }
    let written = 700 << 19;
    let start = std::time::Instant::now();
    while journal_bytes(log.directory.path()) > written / 2 {
        assert!(start.elapsed().as_secs() < 60, "{}", journal_bytes(log.directory.path()));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
