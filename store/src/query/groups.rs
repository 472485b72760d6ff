//! The groups of a statistic: a hash table from key bytes to sums.
//!
//! A group's key is the values of its keys in network order, one after the other, so every
//! statistic has keys of one length, they lie in one vector, and their byte order is the order of
//! their values. On the wire the groups are sorted, which makes equal partials equal bytes.

use std::collections::HashSet;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::names::NameKind;
use crate::query::question::Key;
use crate::query::totals::Totals;

/// Groups with keys of one length, at most as many as allowed.
pub(crate) struct Groups {
    width: usize,
    bound: usize,
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
    keys: Vec<u8>,
    totals: Vec<Totals>,
}

/// Groups at rest: keys ascending, sums beside them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SortedGroups {
    width: usize,
    keys: Vec<u8>,
    totals: Vec<Totals>,
}

impl Groups {
    /// No groups yet; `width` is the key's length in bytes, `bound` the most groups allowed.
    pub(crate) fn new(width: usize, bound: usize) -> Self {
        Groups {
            width,
            bound: bound.min(u32::MAX as usize),
            hasher: DefaultHashBuilder::default(),
            table: HashTable::new(),
            keys: Vec::new(),
            totals: Vec::new(),
        }
    }

    /// Adds `totals` to the group of `key`.
    ///
    /// # Errors
    /// [`Error::TooManyGroups`] when it would be a group too many.
    pub(crate) fn add(&mut self, key: &[u8], totals: &Totals) -> Result<(), Error> {
        debug_assert_eq!(key.len(), self.width, "a statistic's keys have one length");
        let width = self.width;
        let hash = self.hasher.hash_one(key);
        let at = |index: u32| index as usize * width..(index as usize + 1) * width;
        if let Some(&index) = self.table.find(hash, |&index| self.keys[at(index)] == *key) {
            self.totals[index as usize].add(totals);
            return Ok(());
        }
        if self.totals.len() >= self.bound {
            return Err(Error::TooManyGroups { bound: self.bound });
        }
        let index = u32::try_from(self.totals.len()).expect("the bound fits 32 bits");
        self.keys.extend_from_slice(key);
        self.totals.push(*totals);
        let (hasher, keys) = (&self.hasher, &self.keys);
        self.table.insert_unique(hash, index, |&index| hasher.hash_one(&keys[at(index)]));
        Ok(())
    }

    /// The groups by ascending key.
    pub(crate) fn sort(self) -> SortedGroups {
        let width = self.width;
        let key = |index: u32| &self.keys[index as usize * width..][..width];
        let count = u32::try_from(self.totals.len()).expect("the bound fits 32 bits");
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_unstable_by_key(|&index| key(index));
        let mut sorted = SortedGroups {
            width,
            keys: Vec::with_capacity(self.keys.len()),
            totals: Vec::with_capacity(self.totals.len()),
        };
        for index in order {
            sorted.keys.extend_from_slice(key(index));
            sorted.totals.push(self.totals[index as usize]);
        }
        sorted
    }
}

/// The number that a key's bytes are, in network order.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl SortedGroups {
    /// No groups.
    pub(crate) fn new(width: usize) -> Self {
        SortedGroups { width, keys: Vec::new(), totals: Vec::new() }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn len(&self) -> usize {
        self.totals.len()
    }

    /// Keys and sums by ascending key; a statistic without keys has one group with an empty key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Totals)> {
        let width = self.width;
        self.totals
            .iter()
            .enumerate()
            .map(move |(index, totals)| (&self.keys[index * width..(index + 1) * width], totals))
    }

    /// The numbers among the keys that exporters have names for.
    pub(crate) fn things(&self, keys: &[Key]) -> HashSet<(NameKind, u64)> {
        let mut things = HashSet::new();
        let mut begin = 0;
        for key in keys {
            let place = begin..begin + key.width();
            begin = place.end;
            let Some(kind) = key.name_kind() else { continue };
            things.extend(self.iter().map(|(bytes, _)| (kind, number(&bytes[place.clone()]))));
        }
        things
    }

    /// The groups of both.
    ///
    /// # Errors
    /// [`Error::TooManyGroups`] when they are more than `bound`; [`Error::Malformed`] when the
    /// keys are of different lengths.
    pub(crate) fn merge(self, other: &SortedGroups, bound: usize) -> Result<SortedGroups, Error> {
        if self.width != other.width {
            return Err(Error::Malformed("two statistics by different keys".to_owned()));
        }
        let mut merged = SortedGroups::new(self.width);
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        loop {
            let take_left = match (left.peek(), right.peek()) {
                (Some((a, _)), Some((b, _))) => a <= b,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => return Ok(merged),
            };
            let next = if take_left { left.next() } else { right.next() };
            let (key, totals) = next.expect("a peeked group is there");
            merged.append(key, totals, bound)?;
        }
    }

    /// Adds a group whose key is not below the last.
    fn append(&mut self, key: &[u8], totals: &Totals, bound: usize) -> Result<(), Error> {
        let same = !self.totals.is_empty() && self.keys[self.keys.len() - self.width..] == *key;
        if let (true, Some(last)) = (same, self.totals.last_mut()) {
            last.add(totals);
            return Ok(());
        }
        if self.totals.len() >= bound {
            return Err(Error::TooManyGroups { bound });
        }
        self.keys.extend_from_slice(key);
        self.totals.push(*totals);
        Ok(())
    }

    /// Whether lengths agree and keys ascend; what came over the network may say anything.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let malformed = |reason: &str| Err(Error::Malformed(reason.to_owned()));
        if self.width.checked_mul(self.totals.len()) != Some(self.keys.len()) {
            return malformed("the groups' keys and sums differ in number");
        }
        if self.width == 0 {
            return if self.totals.len() <= 1 { Ok(()) } else { malformed("equal groups") };
        }
        if !self.keys.chunks_exact(self.width).is_sorted_by(|a, b| a < b) {
            return malformed("the groups are not in order");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Totals {
        Totals::of_flow(1, 1, 1, 1)
    }

    #[test]
    fn groups_come_out_sorted_with_their_sums() {
        let mut groups = Groups::new(1, 10);
        for key in [3, 1, 3] {
            groups.add(&[key], &one()).unwrap();
        }
        let sorted = groups.sort();
        let flows: Vec<_> = sorted.iter().map(|(key, totals)| (key[0], totals.flows)).collect();
        assert_eq!(flows, [(1, 1), (3, 2)]);
        sorted.check().unwrap();
    }

    #[test]
    fn a_group_too_many_is_refused_and_names_the_bound() {
        let mut groups = Groups::new(1, 1);
        groups.add(&[1], &one()).unwrap();
        groups.add(&[1], &one()).unwrap();
        let error = groups.add(&[2], &one()).unwrap_err().to_string();
        assert!(error.contains("more than 1 groups"), "{error}");
    }

    #[test]
    fn groups_out_of_order_are_malformed() {
        let groups =
            SortedGroups { width: 1, keys: vec![2, 1], totals: vec![Totals::default(); 2] };
        assert!(groups.check().is_err());
    }

    #[test]
    fn a_statistic_without_keys_has_one_group() {
        let mut groups = Groups::new(0, 1);
        groups.add(&[], &one()).unwrap();
        groups.add(&[], &one()).unwrap();
        let sorted = groups.sort();
        let merged = sorted.clone().merge(&sorted, 1).unwrap();
        assert_eq!(merged.iter().map(|(_, totals)| totals.flows).collect::<Vec<_>>(), [4]);
    }
}
