//! What happened, in order: a digest always, the words of the last events when asked for.

use std::{collections::VecDeque, time::Duration};

/// Events kept.
const RING: usize = 4000;

/// The trace of one world.
#[derive(Debug, Default)]
pub struct Trace {
    digest: u64,
    events: u64,
    ring: Option<VecDeque<String>>,
}

impl Trace {
    /// A trace that keeps words when `keep`.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self { digest: 0xcbf2_9ce4_8422_2325, events: 0, ring: keep.then(VecDeque::new) }
    }

    /// Takes bytes into the digest.
    pub fn mix(&mut self, now: Duration, bytes: &[u8]) {
        self.events += 1;
        let mut digest = self.digest ^ now.as_nanos() as u64;
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            digest = (digest ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            digest ^= digest >> 29;
        }
        for byte in chunks.remainder() {
            digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.digest = digest;
    }

    /// Keeps an event's words, if words are kept.
    pub fn note(&mut self, now: Duration, words: impl FnOnce() -> String) {
        let Some(ring) = &mut self.ring else { return };
        if ring.len() == RING {
            ring.pop_front();
        }
        let mut words = words();
        if words.len() > 600 {
            let cut = (0..=600).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
            words.truncate(cut);
            words.push('…');
        }
        ring.push_back(format!("{:>10.3} {words}", now.as_secs_f64()));
    }

    /// A number that equal runs share.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The words kept.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.ring.iter().flatten().map(String::as_str)
    }
}
