//! Options data that is worth telling again: the newest record of each scope.
//!
//! Sampler tables, interface names and the like say what flow records mean, and exporters send them
//! seldom. A proxy tells them to a slave that is new or has come back, after their templates and
//! before its first record. A record's scope is what it speaks of (RFC 7011, Section 3.4.2), so a
//! newer one of the same template and scope takes the place of the older.
//!
//! Bounded for each session, for each exporter's address and in all; a session that is full forgets
//! what was said longest ago. Every step takes constant time for a record.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::budget::{Budget, Purse, heap};
use crate::list::{Links, List};
use crate::template::Template;

/// What a session's exporter last said in options data.
#[derive(Debug)]
pub struct Options {
    limit: usize,
    purse: Purse,
    /// Most sessions have none.
    memory: Option<Box<Memory>>,
    changed: bool,
}

#[derive(Debug)]
struct Entry {
    template: u16,
    /// Bytes of the record's head that are its scope.
    scope: u16,
    record: Box<[u8]>,
}

impl Entry {
    fn key(&self) -> (u16, &[u8]) {
        (self.template, &self.record[..usize::from(self.scope)])
    }

    /// Bytes of memory for a record of this length: itself, its place with two links, and its part
    /// of the index; the tables double, so that half of them may be empty.
    const fn memory(length: usize) -> usize {
        let place = size_of::<Entry>() + 2 * size_of::<u64>() + size_of::<u32>();
        heap(length) + 2 * place + 4 * (size_of::<u32>() + 1)
    }
}

/// Bytes of a session's memory before the first record.
const BASE: usize = heap(size_of::<Memory>()) + 512;

#[derive(Debug, Default)]
struct Memory {
    hasher: DefaultHashBuilder,
    /// Bytes taken of the purse.
    bytes: usize,
    entries: Vec<Entry>,
    free: Vec<u32>,
    index: HashTable<u32>,
    by_age: List,
    age_links: Links,
    /// The records of each template, by its id.
    by_template: Vec<(u16, List)>,
    template_links: Links,
}

impl Options {
    /// A memory of at most `limit` bytes, paid from `purse`.
    pub fn new(limit: usize, purse: Purse) -> Self {
        Options { limit, purse, memory: None, changed: false }
    }

    /// Remembers a record of this template, in place of what was said of the same scope before;
    /// whether there was room for it.
    ///
    /// # Panics
    /// When [`Template::records`] has not given `record`.
    pub fn note(&mut self, template: &Template, record: &[u8]) -> bool {
        let scope = template.scope(record);
        if let Some(memory) = &mut self.memory
            && let Some(place) = memory.find(template.id, scope)
        {
            memory.by_age.renew(&mut memory.age_links, place);
            let known = &mut memory.entries[place as usize].record;
            if **known == *record {
                return true;
            }
            self.changed = true;
            if known.len() == record.len() {
                known.copy_from_slice(record);
                return true;
            }
            self.remove(place);
        }
        let noted = self.make_room(record.len());
        if noted {
            let memory = self.memory.as_mut().expect("there is one where there is room");
            let record: Box<[u8]> = record.into();
            memory.insert(Entry { template: template.id, scope: scope.len() as u16, record });
            self.changed = true;
        }
        noted
    }

    /// Forgets what was said with this template, which has changed or is gone.
    pub fn forget(&mut self, template: u16) {
        let Some(memory) = &mut self.memory else { return };
        let at = memory.by_template.binary_search_by_key(&template, |(id, _)| *id);
        let Ok(at) = at else { return };
        self.changed = true;
        for _ in 0..memory.by_template[at].1.len() {
            let Some(memory) = &self.memory else { return };
            self.remove(memory.by_template[at].1.first());
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.purse.give_back(memory.bytes);
            self.changed = true;
        }
    }

    /// The records with the ids of their templates; what was said longest ago first.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let of = |memory: &'_ Memory| memory.by_age.iter(&memory.age_links).collect::<Vec<_>>();
        let places = self.memory.as_deref().map(of).unwrap_or_default();
        places.into_iter().filter_map(|place| {
            let entry = self.memory.as_ref()?.entries.get(place as usize)?;
            Some((entry.template, &*entry.record))
        })
    }

    /// Records remembered.
    pub fn len(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.by_age.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.memory.is_none()
    }

    /// Whether anything has changed since last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Pays from another budget for all from now on, if that has room.
    pub(crate) fn move_to(&mut self, all: &Arc<Budget>) -> bool {
        let held = self.memory.as_ref().map_or(0, |memory| memory.bytes);
        self.purse.move_to(all, held)
    }

    /// Makes room for a record of this length by forgetting older ones of this session, and pays
    /// for it.
    fn make_room(&mut self, length: usize) -> bool {
        let bytes = Entry::memory(length);
        if BASE + bytes > self.limit || usize::from(u16::MAX) < length {
            return false;
        }
        while let Some(memory) = &self.memory
            && memory.bytes + bytes > self.limit
        {
            self.remove(memory.by_age.first());
        }
        let base = if self.memory.is_none() { BASE } else { 0 };
        let mut paid = self.purse.take(base + bytes).is_ok();
        if !paid && let Some(memory) = &self.memory {
            // What others hold is not ours to take; what this session said longest ago is.
            self.remove(memory.by_age.first());
            let base = if self.memory.is_none() { BASE } else { 0 };
            paid = self.purse.take(base + bytes).is_ok();
        }
        if paid {
            let memory = self.memory.get_or_insert_default();
            memory.bytes += bytes + if memory.bytes == 0 { BASE } else { 0 };
        }
        paid
    }

    fn remove(&mut self, place: u32) {
        let memory = self.memory.as_mut().expect("the caller's place");
        let bytes = Entry::memory(memory.remove(place));
        memory.bytes -= bytes;
        self.purse.give_back(bytes);
        if memory.by_age.len() == 0 {
            // Its tables have grown to what they held.
            self.purse.give_back(memory.bytes);
            self.memory = None;
        }
    }
}

impl Memory {
    fn hash(hasher: &DefaultHashBuilder, key: (u16, &[u8])) -> u64 {
        hasher.hash_one(key)
    }

    fn find(&self, template: u16, scope: &[u8]) -> Option<u32> {
        let key = (template, scope);
        let is = |&place: &u32| self.entries[place as usize].key() == key;
        self.index.find(Self::hash(&self.hasher, key), is).copied()
    }

    fn insert(&mut self, entry: Entry) {
        let (template, hash) = (entry.template, Self::hash(&self.hasher, entry.key()));
        let place = self.free.pop().unwrap_or(self.entries.len() as u32);
        if place as usize == self.entries.len() {
            self.entries.push(entry);
            self.age_links.push();
            self.template_links.push();
        } else {
            self.entries[place as usize] = entry;
        }
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index
            .insert_unique(hash, place, |&place| Self::hash(hasher, entries[place as usize].key()));
        self.by_age.append(&mut self.age_links, place);
        let at = self.by_template.binary_search_by_key(&template, |(id, _)| *id);
        let at = at.unwrap_or_else(|at| {
            self.by_template.insert(at, (template, List::EMPTY));
            at
        });
        self.by_template[at].1.append(&mut self.template_links, place);
    }

    /// Returns the record's length.
    fn remove(&mut self, place: u32) -> usize {
        let entry = &self.entries[place as usize];
        let (template, hash) = (entry.template, Self::hash(&self.hasher, entry.key()));
        let found = self.index.find_entry(hash, |&other| other == place);
        found.expect("every record is in the index").remove();
        self.by_age.remove(&mut self.age_links, place);
        let at = self.by_template.binary_search_by_key(&template, |(id, _)| *id);
        let at = at.expect("every record's template has a list");
        self.by_template[at].1.remove(&mut self.template_links, place);
        if self.by_template[at].1.len() == 0 {
            self.by_template.remove(at);
        }
        self.free.push(place);
        std::mem::take(&mut self.entries[place as usize].record).len()
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::set::{Set, TemplateRecords};
    use crate::wire::{Protocol, ipfix};

    /// An options template with this id: a scope of two fields, then one value.
    fn template(id: u16, scope: [(u16, u16); 2], value: (u16, u16)) -> Template {
        let mut body = [id, 3, 2].map(u16::to_be_bytes).concat();
        for (element, length) in [scope[0], scope[1], value] {
            body.extend([element, length].map(u16::to_be_bytes).concat());
        }
        let set = Set { id: ipfix::SET_OPTIONS_TEMPLATES, body: &body };
        let record = TemplateRecords::new(Protocol::Ipfix, &set).next().unwrap().unwrap();
        Template::compile(Protocol::Ipfix, &record).unwrap()
    }

    fn sampler(id: u16) -> Template {
        template(id, [(149, 1), (48, 1)], (50, 2))
    }

    fn purse(bytes: usize) -> (Purse, Arc<Budget>) {
        let all = Budget::new(bytes);
        (Purse::new(Budget::new(1 << 20), Arc::clone(&all)), all)
    }

    fn options(limit: usize) -> Options {
        Options::new(limit, purse(1 << 20).0)
    }

    fn all(options: &Options) -> Vec<(u16, Vec<u8>)> {
        options.iter().map(|(id, record)| (id, record.to_vec())).collect()
    }

    #[test]
    fn the_newest_record_of_a_scope_stands() {
        let mut options = options(1 << 16);
        let (one, two) = (sampler(256), sampler(257));
        for record in [[1, 1, 0, 10], [1, 2, 0, 20], [1, 1, 0, 11]] {
            assert!(options.note(&one, &record));
        }
        assert!(options.note(&two, &[1, 1, 0, 99]));
        let expected = [(256, [1, 2, 0, 20]), (256, [1, 1, 0, 11]), (257, [1, 1, 0, 99])];
        assert_eq!(all(&options), expected.map(|(id, record)| (id, record.to_vec())));
    }

    #[test]
    fn a_scope_of_variable_length_is_told_from_the_value() {
        let mut options = options(1 << 16);
        let names = template(256, [(82, u16::MAX), (10, 1)], (83, u16::MAX));
        options.note(&names, &[2, b'e', b'0', 7, 1, b'x']);
        options.note(&names, &[2, b'e', b'0', 7, 3, b'n', b'e', b'w']);
        options.note(&names, &[2, b'e', b'0', 8, 1, b'y']);
        let expected =
            [vec![2, b'e', b'0', 7, 3, b'n', b'e', b'w'], vec![2, b'e', b'0', 8, 1, b'y']];
        assert_eq!(all(&options), expected.map(|record| (256, record)));
    }

    #[test]
    fn only_what_is_new_is_a_change() {
        let mut options = options(1 << 16);
        options.note(&sampler(256), &[1, 1, 0, 10]);
        assert!(options.take_changed());
        options.note(&sampler(256), &[1, 1, 0, 10]);
        options.forget(257);
        assert!(!options.take_changed());
        options.note(&sampler(256), &[1, 1, 0, 11]);
        assert!(options.take_changed());
    }

    #[test]
    fn what_was_said_with_a_template_goes_with_it() {
        let (purse, budget) = purse(1 << 20);
        let mut options = Options::new(1 << 16, purse);
        for n in 0..9 {
            options.note(&sampler(256), &[1, n, 0, 0]);
            options.note(&sampler(257), &[1, n, 0, 0]);
        }
        options.forget(256);
        assert_eq!(options.len(), 9);
        assert!(all(&options).iter().all(|(id, _)| *id == 257));
        options.forget(257);
        assert!(options.is_empty());
        assert_eq!(budget.left(), 1 << 20);
    }

    #[test]
    fn a_full_session_forgets_what_was_said_longest_ago() {
        let room = 10;
        let mut options = options(BASE + room * Entry::memory(4));
        for n in 0..100 {
            assert!(options.note(&sampler(256), &[1, n, 0, 0]));
            assert!(options.note(&sampler(256), &[1, 0, 0, 0]));
        }
        assert_eq!(options.len(), room);
        let scopes: Vec<u8> = options.iter().map(|(_, record)| record[1]).collect();
        assert_eq!(scopes, [91, 92, 93, 94, 95, 96, 97, 98, 99, 0]);
    }

    #[test]
    fn what_others_hold_stays_theirs() {
        let (purse, budget) = purse(2 * (BASE + Entry::memory(4)));
        let mut first = Options::new(1 << 16, purse.clone());
        let mut second = Options::new(1 << 16, purse.clone());
        let mut third = Options::new(1 << 16, purse);
        assert!(first.note(&sampler(256), &[1, 1, 0, 0]));
        assert!(second.note(&sampler(256), &[1, 1, 0, 0]));
        assert!(!third.note(&sampler(256), &[1, 1, 0, 0]));
        assert!(third.is_empty());
        assert!(first.note(&sampler(256), &[1, 2, 0, 0]), "its own older one gives way");
        assert_eq!(all(&first), [(256, vec![1, 2, 0, 0])]);
        drop(second);
        assert!(third.note(&sampler(256), &[1, 1, 0, 0]));
        drop((first, third));
        assert_eq!(budget.left(), 2 * (BASE + Entry::memory(4)));
    }
}
