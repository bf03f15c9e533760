//! A bounded cache in two generations: what was not used since the last turn-over goes.

use std::{collections::HashMap, hash::Hash};

/// Holds what was used last, at least `half` and after [`trim`](Self::trim) at most twice as many.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Hash + Eq + Clone, V> Cache<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1) }
    }

    pub(super) fn find(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.young.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// Looks without counting it as a use.
    pub(super) fn peek(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(super) fn insert(&mut self, key: &K, value: V) -> &mut V {
        self.old.remove(key);
        self.young.entry(key.clone()).insert_entry(value).into_mut()
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    /// Lets go of what is too much. Not while anything relies on what it has put in.
    pub(super) fn trim(&mut self) {
        if self.young.len() > self.half {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cache;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut cache = Cache::new(8);
        for i in 0..1000 {
            cache.insert(&i, i);
            assert!(cache.find(&0).is_some(), "used all the time");
            cache.trim();
            assert!(cache.young.len() + cache.old.len() <= 9);
        }
        assert!(cache.peek(&999).is_some());
        assert!(cache.peek(&500).is_none());
    }
}
