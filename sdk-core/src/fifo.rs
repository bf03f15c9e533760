//! Queues whose code is one for all types.
//!
//! The standard library's ring is compiled once per type; a client has a dozen types of queues in its
//! download. This one is a list of addresses, whose code all types share.

/// A first-in, first-out queue. What was taken from the front leaves the list when it is the half.
#[derive(Clone, Debug)]
pub struct Fifo<T> {
    items: Vec<Option<Box<T>>>,
    /// How many of them were taken from the front.
    gone: usize,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Fifo<T> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { items: Vec::new(), gone: 0 }
    }

    /// How many wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.items.len() - self.gone
    }

    /// Whether none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds one behind all others.
    pub fn push_back(&mut self, item: T) {
        self.items.push(Some(Box::new(item)));
    }

    /// Adds one before all others.
    pub fn push_front(&mut self, item: T) {
        let item = Some(Box::new(item));
        if self.gone == 0 {
            return self.items.insert(0, item);
        }
        self.gone -= 1;
        if let Some(place) = self.items.get_mut(self.gone) {
            *place = item;
        }
    }

    /// Takes the first.
    pub fn pop_front(&mut self) -> Option<T> {
        let item = self.items.get_mut(self.gone)?.take()?;
        self.gone += 1;
        if self.gone * 2 >= self.items.len() {
            self.forget_gone();
        }
        Some(*item)
    }

    fn forget_gone(&mut self) {
        self.items = self.items.split_off(std::mem::take(&mut self.gone));
    }

    /// The first.
    #[must_use]
    pub fn front(&self) -> Option<&T> {
        self.items.get(self.gone)?.as_deref()
    }

    /// The last.
    #[must_use]
    pub fn back(&self) -> Option<&T> {
        self.items.last()?.as_deref()
    }

    /// All, the first first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().flat_map(|item| item.as_deref())
    }

    /// Takes out the first that passes.
    pub fn remove_first(&mut self, mut pass: impl FnMut(&T) -> bool) -> Option<T> {
        let at = self.items.iter().position(|item| item.as_deref().is_some_and(&mut pass))?;
        self.items.remove(at).map(|item| *item)
    }

    /// Keeps what passes.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.gone = 0;
        for item in std::mem::take(&mut self.items).into_iter().flatten() {
            if keep(&item) {
                self.items.push(Some(item));
            }
        }
    }

    /// Takes everything away.
    pub fn clear(&mut self) {
        *self = Self::new();
    }
}

impl<T> Extend<T> for Fifo<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for item in items {
            self.push_back(item);
        }
    }
}

impl<T> Iterator for Fifo<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn it_does_what_the_standard_one_does() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut mine, mut model) = (Fifo::new(), VecDeque::new());
        for step in 0..20_000 {
            match rng.u32(..100) {
                0..40 => {
                    mine.push_back(step);
                    model.push_back(step);
                }
                40..50 => {
                    mine.push_front(step);
                    model.push_front(step);
                }
                50..88 => assert_eq!(mine.pop_front(), model.pop_front()),
                88..94 => {
                    let least = step - rng.i32(..40);
                    let at = model.iter().position(|item| *item >= least);
                    let theirs = at.and_then(|at| model.remove(at));
                    assert_eq!(mine.remove_first(|item| *item >= least), theirs);
                }
                94..98 => {
                    let odd = rng.i32(2..5);
                    mine.retain(|item| item % odd != 0);
                    model.retain(|item| item % odd != 0);
                }
                _ if model.len() > 200 => {
                    mine.clear();
                    model.clear();
                }
                _ => assert!(mine.clone().eq(model.clone())),
            }
            assert_eq!(mine.len(), model.len());
            assert_eq!(mine.is_empty(), model.is_empty());
            assert_eq!(mine.front(), model.front());
            assert_eq!(mine.back(), model.back());
            assert!(mine.iter().eq(model.iter()));
        }
    }

    #[test]
    fn what_was_taken_does_not_stay() {
        let mut queue = Fifo::new();
        for item in 0..100_000 {
            queue.push_back(item);
            queue.push_back(item);
            queue.pop_front();
        }
        assert_eq!(queue.len(), 100_000);
        assert!(queue.items.len() <= 2 * queue.len() + 2);
    }
}
