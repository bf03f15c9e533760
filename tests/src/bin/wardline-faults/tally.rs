//! What was accepted, what each reader was handed, and what that means.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A message: its sender and its number there, from 1.
pub(crate) type Message = (u32, u64);

/// Everything the readers and senders said.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    accepted: BTreeSet<Message>,
    readers: BTreeMap<u32, Reader>,
    gaps: u64,
}

#[derive(Debug, Default)]
struct Reader {
    seen: BTreeSet<Message>,
    newest: BTreeMap<u32, u64>,
    doubled: u64,
    reordered: u64,
}

/// The verdict.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) accepted: usize,
    /// Messages that every reader was handed.
    pub(crate) delivered: usize,
    /// Accepted messages that some reader was not handed.
    pub(crate) lost: usize,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
    pub(crate) gaps: u64,
}

impl Tally {
    pub(crate) fn new(readers: impl IntoIterator<Item = u32>) -> Self {
        let readers = readers.into_iter().map(|reader| (reader, Reader::default())).collect();
        Self { readers, ..Self::default() }
    }

    pub(crate) fn accept(&mut self, message: Message) {
        self.accepted.insert(message);
    }

    pub(crate) fn deliver(&mut self, reader: u32, message: Message) {
        let reader = self.readers.entry(reader).or_default();
        if !reader.seen.insert(message) {
            reader.doubled += 1;
            return;
        }
        let newest = reader.newest.entry(message.0).or_default();
        if message.1 < *newest {
            reader.reordered += 1;
        }
        *newest = message.1.max(*newest);
    }

    pub(crate) fn gap(&mut self) {
        self.gaps += 1;
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.len()
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let everywhere =
            |message: &Message| self.readers.values().all(|r| r.seen.contains(message));
        let seen: BTreeSet<_> = self.readers.values().flat_map(|reader| &reader.seen).collect();
        Verdict {
            accepted: self.accepted.len(),
            delivered: seen.into_iter().filter(|message| everywhere(message)).count(),
            lost: self.accepted.iter().filter(|message| !everywhere(message)).count(),
            doubled: self.readers.values().map(|reader| reader.doubled).sum(),
            reordered: self.readers.values().map(|reader| reader.reordered).sum(),
            gaps: self.gaps,
        }
    }
}

impl Verdict {
    /// Whether nothing went wrong, and anything happened at all.
    pub(crate) fn is_good(&self) -> bool {
        self.accepted > 0
            && self.lost == 0
            && self.doubled == 0
            && self.reordered == 0
            && self.gaps == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accepted {}, delivered {}, lost {}, doubled {}, reordered {}",
            self.accepted, self.delivered, self.lost, self.doubled, self.reordered
        )?;
        if self.gaps > 0 {
            write!(f, ", gaps {}", self.gaps)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_wrong_is_told() {
        let mut tally = Tally::new([1, 2]);
        for n in 1..=4 {
            tally.accept((7, n));
        }
        [1, 2, 3, 4].into_iter().for_each(|n| tally.deliver(1, (7, n)));
        [1, 3, 2, 3].into_iter().for_each(|n| tally.deliver(2, (7, n)));
        let verdict = tally.verdict();
        assert_eq!(
            (verdict.delivered, verdict.lost, verdict.doubled, verdict.reordered),
            (3, 1, 1, 1)
        );
        assert!(!verdict.is_good());
        tally.deliver(2, (7, 4));
        assert_eq!(tally.verdict().lost, 0);
        assert!(!Tally::new([1]).verdict().is_good());
    }
}
