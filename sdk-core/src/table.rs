//! Maps and sets kept as sorted lists.
//!
//! For what is small, or is asked more often than it grows; the code of one takes a tenth of what
//! a tree takes, and a client has dozens of them in its download. Iteration is in order of keys.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Borrow, collections::BTreeMap, ops::RangeBounds};

/// A map as a sorted list.
///
/// The list holds each entry apart: its own code is then one for all types, and moving entries moves
/// addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::vec_box)]
pub struct Table<K, V>(Vec<Box<(K, V)>>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> Table<K, V> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|entry| entry.0.borrow().cmp(key))
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    /// The value of a key, to change.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.find(key).ok().map(|at| &mut self.0[at].1)
    }

    /// Whether there is a value for a key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).is_ok()
    }

    /// Sets a value.
    pub fn insert(&mut self, key: K, value: V) {
        let entry = Box::new((key, value));
        match self.find(&entry.0) {
            Ok(at) => self.0[at] = entry,
            Err(at) => self.0.insert(at, entry),
        }
    }

    /// The value of a key; where there is none, the one that is made now.
    pub fn or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.find(&key) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, Box::new((key, make())));
                at
            }
        };
        &mut self.0[at].1
    }

    /// Takes a value away.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }

    /// The lowest key.
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.0.first().map(|entry| pair(entry))
    }

    /// The entries from a key on.
    pub fn from_key(&self, least: &K) -> impl DoubleEndedIterator<Item = (&K, &V)> + use<'_, K, V> {
        let at = self.find(least).unwrap_or_else(|at| at);
        self.0[at..].iter().map(|entry| pair(entry))
    }

    /// All, in order of keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + Clone {
        self.0.iter().map(|entry| pair(entry))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.0.iter().map(|entry| &entry.0)
    }

    /// The values, in order of keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.0.iter().map(|entry| &entry.1)
    }

    /// The values, to change, in order of keys.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> {
        self.0.iter_mut().map(|entry| &mut entry.1)
    }

    /// The values, in order of keys.
    pub fn into_values(self) -> impl DoubleEndedIterator<Item = V> {
        self.0.into_iter().map(|entry| entry.1)
    }

    /// Keeps what passes.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        for mut entry in std::mem::take(&mut self.0) {
            let (key, value) = &mut *entry;
            if keep(key, value) {
                self.0.push(entry);
            }
        }
    }

    /// The keys whose entries pass, in order. The condition is called through an address, so that the
    /// code is one for all of them.
    pub fn keys_where(&self, pass: &dyn Fn(&K, &V) -> bool) -> Vec<K>
    where
        K: Clone,
    {
        let mut keys = Vec::new();
        for entry in &self.0 {
            if pass(&entry.0, &entry.1) {
                keys.push(entry.0.clone());
            }
        }
        keys
    }

    /// Takes everything away.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// A list of all items. `collect` reserves by the first item and goes on with another piece of code;
/// this is one loop.
pub(crate) fn list<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut list = Vec::new();
    for item in items {
        list.push(item);
    }
    list
}

fn pair<K, V>((key, value): &(K, V)) -> (&K, &V) {
    (key, value)
}

impl<K: Ord, V> Extend<(K, V)> for Table<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Table<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut table = Self::new();
        table.extend(entries);
        table
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for Table<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K, V> IntoIterator for Table<K, V> {
    type Item = (K, V);
    type IntoIter = std::iter::Map<std::vec::IntoIter<Box<(K, V)>>, fn(Box<(K, V)>) -> (K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().map(|entry| *entry)
    }
}

impl<'a, K, V> IntoIterator for &'a Table<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter =
        std::iter::Map<std::slice::Iter<'a, Box<(K, V)>>, fn(&'a Box<(K, V)>) -> (&'a K, &'a V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|entry| pair(entry))
    }
}

impl<'a, K, V> IntoIterator for &'a mut Table<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = std::iter::Map<
        std::slice::IterMut<'a, Box<(K, V)>>,
        fn(&'a mut Box<(K, V)>) -> (&'a K, &'a mut V),
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut().map(|entry| {
            let (key, value) = &mut **entry;
            (&*key, value)
        })
    }
}

impl<K: Serialize, V: Serialize> Serialize for Table<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Table<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(|map| map.into_iter().collect())
    }
}

/// A set as a sorted list, cheap at both ends.
#[derive(Clone, Debug)]
pub struct Set<K> {
    keys: Vec<K>,
    /// How many of them were taken from the low end: they go when they are the half.
    gone: usize,
}

impl<K> Default for Set<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), gone: 0 }
    }
}

impl<K: Ord + Clone> Set<K> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { keys: Vec::new(), gone: 0 }
    }

    fn keys(&self) -> &[K] {
        self.keys.get(self.gone..).unwrap_or_default()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys().is_empty()
    }

    /// Whether it is there.
    pub fn contains(&self, key: &K) -> bool {
        self.keys().binary_search(key).is_ok()
    }

    /// Adds it; false where it is there.
    pub fn insert(&mut self, key: K) -> bool {
        match self.keys().binary_search(&key) {
            Ok(_) => false,
            Err(at) => {
                self.keys.insert(self.gone + at, key);
                true
            }
        }
    }

    /// Takes it away; false where it is not there.
    pub fn remove(&mut self, key: &K) -> bool {
        match self.keys().binary_search(key) {
            Ok(0) => self.pop_first().is_some(),
            Ok(at) => {
                self.keys.remove(self.gone + at);
                true
            }
            Err(_) => false,
        }
    }

    /// The lowest.
    pub fn first(&self) -> Option<&K> {
        self.keys().first()
    }

    /// Takes the lowest away.
    pub fn pop_first(&mut self) -> Option<K> {
        let first = self.first().cloned();
        if first.is_some() {
            self.gone += 1;
            if self.gone * 2 >= self.keys.len() {
                self.forget_gone();
            }
        }
        first
    }

    fn forget_gone(&mut self) {
        self.keys = self.keys.split_off(std::mem::take(&mut self.gone));
    }

    /// All, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.keys().iter()
    }

    /// Those of a range, in order.
    pub fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = &K> {
        self.iter().filter(move |key| range.contains(key))
    }

    /// Keeps what passes.
    pub fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        for key in std::mem::take(&mut self.keys).into_iter().skip(std::mem::take(&mut self.gone)) {
            if keep(&key) {
                self.keys.push(key);
            }
        }
    }

    /// Takes everything away.
    pub fn clear(&mut self) {
        *self = Self::new();
    }
}

impl<K: Ord + Clone> PartialEq for Set<K> {
    fn eq(&self, other: &Self) -> bool {
        self.keys() == other.keys()
    }
}

impl<K: Ord + Clone> Eq for Set<K> {}

impl<K: Ord + Clone> Extend<K> for Set<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, keys: I) {
        for key in keys {
            self.insert(key);
        }
    }
}

impl<K: Ord + Clone> FromIterator<K> for Set<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut set = Self::new();
        set.extend(keys);
        set
    }
}

impl<K: Ord + Clone> IntoIterator for Set<K> {
    type Item = K;
    type IntoIter = std::vec::IntoIter<K>;

    fn into_iter(mut self) -> Self::IntoIter {
        self.forget_gone();
        self.keys.into_iter()
    }
}

/// Sorts what is short, and leaves repeats out.
pub fn sort_short<T: Ord>(list: &mut Vec<T>) {
    let mut sorted: Vec<T> = Vec::with_capacity(list.len());
    for item in list.drain(..) {
        if let Err(at) = sorted.binary_search(&item) {
            sorted.insert(at, item);
        }
    }
    *list = sorted;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    proptest::proptest! {
        #[test]
        fn a_table_is_a_map_and_a_set_a_set(steps: Vec<(u8, u8, bool)>) {
            let (mut table, mut map) = (Table::new(), BTreeMap::new());
            let (mut set, mut tree) = (Set::new(), BTreeSet::new());
            for (key, value, add) in steps {
                if value == 0 {
                    assert_eq!(set.pop_first(), tree.pop_first());
                }
                if add {
                    table.insert(key, value);
                    map.insert(key, value);
                    assert_eq!(set.insert(key), tree.insert(key));
                } else {
                    assert_eq!(table.remove(&key), map.remove(&key));
                    assert_eq!(set.remove(&key), tree.remove(&key));
                }
                assert!(table.from_key(&value).eq(map.range(value..)));
                assert!(set.range(..=value).eq(tree.range(..=value)));
                assert_eq!(table.get(&value), map.get(&value));
            }
            assert!(table.iter().eq(map.iter()));
            assert!(set.iter().eq(tree.iter()));
        }
    }
}
