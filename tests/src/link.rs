//! A seeded network path without sockets: bytes of two directions with delay, bandwidth, stalls,
//! half-open silence, and a cut at any byte.

use std::{collections::VecDeque, time::Duration};

/// Bytes the sender's system takes although nothing arrives any more.
const SYSTEM_BUFFER: usize = 64 * 1024;
/// Steps in which a slow direction reports progress, in bytes.
const GRAIN: usize = 8 * 1024;
/// What a WebSocket frame adds to its payload, roughly.
const FRAME_OVERHEAD: usize = 8;

/// How a direction behaves.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Time each byte is under way.
    pub latency: Duration,
    /// Random addition to it, at most. Order is kept all the same, as TCP does.
    pub jitter: Duration,
    /// Bytes per second; none: no limit.
    pub rate: Option<u64>,
}

impl Default for Path {
    fn default() -> Self {
        Self { latency: Duration::from_millis(10), jitter: Duration::ZERO, rate: None }
    }
}

/// One direction: what was written, byte by byte on its way.
#[derive(Clone, Debug)]
pub struct Pipe<T> {
    path: Path,
    /// Written, not yet taken by the network.
    queue: VecDeque<Parcel<T>>,
    /// Under way, with the time of arrival.
    flight: VecDeque<(Duration, usize, T)>,
    /// Up to when bytes were moved.
    moved: Duration,
    stalled_until: Duration,
    last_arrival: Duration,
    /// Half-open: what the sender's system still takes.
    swallow: Option<usize>,
    /// Cut: nothing written now arrives.
    dead: bool,
}

#[derive(Clone, Debug)]
struct Parcel<T> {
    item: T,
    size: usize,
    left: usize,
}

impl<T> Pipe<T> {
    /// An open direction from world time `now`.
    #[must_use]
    pub fn new(path: Path, now: Duration) -> Self {
        Self {
            path,
            queue: VecDeque::new(),
            flight: VecDeque::new(),
            moved: now,
            stalled_until: Duration::ZERO,
            last_arrival: now,
            swallow: None,
            dead: false,
        }
    }

    /// Writes a frame of `size` bytes.
    pub fn write(&mut self, item: T, size: usize, now: Duration, rng: &mut fastrand::Rng) {
        let size = size + FRAME_OVERHEAD;
        self.queue.push_back(Parcel { item, size, left: size });
        self.advance(now, rng);
    }

    /// Bytes the network has not taken.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.queue.iter().map(|parcel| parcel.left).sum()
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.flight.is_empty()
    }

    /// Moves bytes up to `now`. Returns whether any moved.
    pub fn advance(&mut self, now: Duration, rng: &mut fastrand::Rng) -> bool {
        let from = self.moved.max(self.stalled_until);
        if now < from {
            return false;
        }
        if self.dead || self.swallow.is_some() {
            self.moved = now;
            return self.vanish();
        }
        let mut budget = match self.path.rate {
            None => usize::MAX,
            Some(rate) => {
                let bytes = now.saturating_sub(from).as_micros() * u128::from(rate) / 1_000_000;
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }
        };
        let mut any = false;
        while let Some(front) = self.queue.front_mut() {
            let step = front.left.min(budget);
            if step == 0 && front.left > 0 {
                break;
            }
            any = true;
            front.left -= step;
            budget = budget.saturating_sub(step);
            if front.left > 0 {
                break;
            }
            if let Some(parcel) = self.queue.pop_front() {
                let jitter = crate::clock::part(self.path.jitter, rng.f64());
                let arrival = (now + self.path.latency + jitter).max(self.last_arrival);
                self.last_arrival = arrival;
                self.flight.push_back((arrival, parcel.size, parcel.item));
            }
        }
        // A rest of less than one byte's time stays for the next turn.
        if any || self.queue.is_empty() || self.path.rate.is_none() {
            self.moved = now;
        }
        any
    }

    /// Takes the next frame that has arrived.
    pub fn arrived(&mut self, now: Duration) -> Option<T> {
        let (arrival, ..) = self.flight.front()?;
        if *arrival > now { None } else { self.flight.pop_front().map(|(.., item)| item) }
    }

    /// When something happens next without being touched.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        let arrival = self.flight.front().map(|(at, ..)| *at);
        let progress = match (self.queue.front(), self.path.rate) {
            (Some(front), Some(rate)) if !self.dead && self.swallow.is_none() => {
                let bytes = front.left.clamp(1, GRAIN) as u64;
                let micros = (bytes * 1_000_000).div_ceil(rate.max(1));
                Some(self.moved.max(self.stalled_until) + Duration::from_micros(micros))
            }
            (Some(_), None) if !self.dead && self.swallow.is_none() => Some(self.stalled_until),
            _ => None,
        };
        [arrival, progress].into_iter().flatten().min()
    }

    /// Nothing moves before `until`; what is under way comes later too.
    pub fn stall(&mut self, until: Duration) {
        self.stalled_until = self.stalled_until.max(until);
        for (arrival, ..) in &mut self.flight {
            *arrival = (*arrival).max(until);
        }
        self.last_arrival = self.last_arrival.max(until);
    }

    /// From now on bytes vanish although the sender is told nothing.
    pub fn deafen(&mut self) {
        self.flight.clear();
        self.swallow.get_or_insert(SYSTEM_BUFFER);
    }

    /// Cuts behind `bytes` more bytes: frames wholly before the cut arrive, the others never.
    pub fn cut(&mut self, bytes: usize, now: Duration, rng: &mut fastrand::Rng) {
        let mut left = bytes;
        let mut whole = 0;
        for (_, size, _) in &self.flight {
            if *size > left {
                break;
            }
            left -= size;
            whole += 1;
        }
        if whole < self.flight.len() {
            self.flight.truncate(whole);
        } else if !self.dead && self.swallow.is_none() {
            // Behind bytes that were lost nothing arrives any more.
            while self.queue.front().is_some_and(|front| front.left <= left) {
                if let Some(parcel) = self.queue.pop_front() {
                    left -= parcel.left;
                    let jitter = crate::clock::part(self.path.jitter, rng.f64());
                    let arrival = (now + self.path.latency + jitter).max(self.last_arrival);
                    self.last_arrival = arrival;
                    self.flight.push_back((arrival, parcel.size, parcel.item));
                }
            }
        }
        self.dead = true;
    }

    /// Sets the bandwidth from now on.
    pub fn set_rate(&mut self, rate: Option<u64>) {
        self.path.rate = rate;
    }

    /// Bytes written or under way.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.unsent() + self.flight.iter().map(|(_, size, _)| size).sum::<usize>()
    }

    /// Copies of what is under way or waits, for ghosts that arrive later.
    pub fn contents(&self) -> impl Iterator<Item = &T> {
        self.flight.iter().map(|(.., item)| item).chain(self.queue.iter().map(|p| &p.item))
    }

    /// The last moment at which something under way arrives.
    #[must_use]
    pub fn last_arrival(&self) -> Duration {
        self.last_arrival
    }

    /// A dead direction keeps what its sender could not hand to its system.
    fn vanish(&mut self) -> bool {
        let Some(room) = &mut self.swallow else { return false };
        let mut any = false;
        while let Some(front) = self.queue.front_mut() {
            let step = front.left.min(*room);
            any |= step > 0;
            front.left -= step;
            *room -= step;
            if front.left > 0 {
                break;
            }
            self.queue.pop_front();
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn rng() -> fastrand::Rng {
        fastrand::Rng::with_seed(7)
    }

    #[test]
    fn a_mebibyte_on_100_kbit_takes_its_time_and_reports_progress() {
        let path = Path { rate: Some(12_500), ..Path::default() };
        let mut pipe = Pipe::new(path, Duration::ZERO);
        pipe.write("big", 1024 * 1024, Duration::ZERO, &mut rng());
        let mut reports = 0;
        let mut last = pipe.unsent();
        loop {
            let at = pipe.next().unwrap();
            pipe.advance(at, &mut rng());
            if pipe.arrived(at).is_some() {
                assert!((83..86).contains(&at.as_secs()), "{at:?}");
                break;
            }
            assert!(pipe.unsent() <= last);
            last = pipe.unsent();
            reports += 1;
        }
        assert!(reports > 100);
    }

    #[test]
    fn a_cut_keeps_whole_frames_before_it_and_loses_the_rest() {
        for cut in 0..60 {
            let mut pipe = Pipe::new(Path::default(), Duration::ZERO);
            for i in 0..4 {
                pipe.write(i, 4, Duration::ZERO, &mut rng());
            }
            pipe.cut(cut, Duration::ZERO, &mut rng());
            pipe.write(9, 1, MS, &mut rng());
            let mut got = Vec::new();
            while let Some(i) = pipe.arrived(Duration::from_secs(9)) {
                got.push(i);
            }
            assert_eq!(got, (0..4.min(cut / 12)).collect::<Vec<_>>(), "{cut}");
        }
    }

    #[test]
    fn behind_lost_bytes_nothing_arrives_whatever_happens_next() {
        for deafened in [false, true] {
            let mut pipe = Pipe::new(Path::default(), Duration::ZERO);
            pipe.write("lost", 100, Duration::ZERO, &mut rng());
            if deafened {
                pipe.deafen()
            } else {
                pipe.cut(0, MS, &mut rng())
            }
            pipe.write("behind it", 200_000, MS, &mut rng());
            pipe.cut(300_000, 2 * MS, &mut rng());
            assert_eq!(pipe.arrived(Duration::from_secs(9)), None);
        }
    }

    #[test]
    fn order_holds_under_jitter_and_stalls() {
        let path = Path { jitter: 50 * MS, ..Path::default() };
        let mut pipe = Pipe::new(path, Duration::ZERO);
        let mut rng = rng();
        for i in 0..50_u32 {
            pipe.write(i, 10, i * MS, &mut rng);
            if i == 20 {
                pipe.stall(500 * MS);
            }
        }
        let mut got = Vec::new();
        while let Some(at) = pipe.next() {
            pipe.advance(at, &mut rng);
            while let Some(i) = pipe.arrived(at) {
                assert!(at >= 500 * MS || i < 20);
                got.push(i);
            }
        }
        assert_eq!(got, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn a_half_open_direction_fills_the_sender() {
        let mut pipe = Pipe::new(Path::default(), Duration::ZERO);
        pipe.deafen();
        pipe.write((), 40_000, MS, &mut rng());
        assert_eq!(pipe.unsent(), 0);
        pipe.write((), 40_000, MS, &mut rng());
        assert!(pipe.unsent() > 10_000);
        assert_eq!(pipe.next(), None);
    }
}
