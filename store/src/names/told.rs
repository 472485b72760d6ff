//! Names on their way from a decoder to the store: many in two vectors, so that telling one costs no
//! allocation of its own.

use std::borrow::Cow;
use std::ops::Range;

use super::NameKind;
use crate::Address;

/// What an exporter calls one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming<'a> {
    /// Who says it.
    pub exporter: Address,
    /// What is named.
    pub kind: NameKind,
    /// Its number.
    pub id: u64,
    /// Since when it is called so, ms since 1970.
    pub since_ms: u64,
    /// Its name.
    pub name: Cow<'a, str>,
    /// What else is said of it; often empty.
    pub description: Cow<'a, str>,
}

/// Names that were told, in their order; bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    most: usize,
    entries: Vec<Entry>,
    text: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    exporter: Address,
    kind: NameKind,
    id: u64,
    since_ms: u64,
    name: Range<u32>,
    /// Ends where the description does.
    description_end: u32,
}

impl Told {
    /// The longest name or description, bytes; what is longer is cut.
    pub const LONGEST: usize = 255;

    /// Room for `most` names.
    pub fn with_capacity(most: usize) -> Self {
        // Real names are short: most have a dozen bytes, and few a description.
        let first = most.min(64);
        Told { most, entries: Vec::with_capacity(first), text: Vec::with_capacity(first * 32) }
    }

    /// Names told.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether there is no room for another one.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.most
    }

    /// Adds a name; whether there was room for it. The bytes may be anything: they are read as UTF-8
    /// as far as they are.
    pub fn push(
        &mut self,
        (exporter, kind, id): (Address, NameKind, u64),
        since_ms: u64,
        name: &[u8],
        description: &[u8],
    ) -> bool {
        if self.is_full() {
            return false;
        }
        let cut = |bytes: &[u8]| bytes.len().min(Self::LONGEST);
        let start = self.text.len() as u32;
        self.text.extend_from_slice(&name[..cut(name)]);
        let end = self.text.len() as u32;
        self.text.extend_from_slice(&description[..cut(description)]);
        let description_end = self.text.len() as u32;
        let name = start..end;
        self.entries.push(Entry { exporter, kind, id, since_ms, name, description_end });
        true
    }

    /// The names in the order in which they were told.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Naming<'_>> {
        self.entries.iter().map(|entry| {
            let text = |range: Range<u32>| {
                String::from_utf8_lossy(&self.text[range.start as usize..range.end as usize])
            };
            Naming {
                exporter: entry.exporter,
                kind: entry.kind,
                id: entry.id,
                since_ms: entry.since_ms,
                name: text(entry.name.clone()),
                description: text(entry.name.end..entry.description_end),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_comes_back_cut_to_its_length() {
        let mut told = Told::with_capacity(2);
        let of = |id| (Address::from_v4([192, 0, 2, 1]), NameKind::Vrf, id);
        assert!(told.push(of(1), 5, b"red", b"customers"));
        assert!(told.push(of(2), 6, &[0xff; 300], b""));
        assert!(!told.push(of(3), 7, b"blue", b""), "there is no room");
        let names: Vec<_> = told.iter().collect();
        assert_eq!((&*names[0].name, &*names[0].description), ("red", "customers"));
        assert_eq!((names[1].id, names[1].name.chars().count()), (2, Told::LONGEST));
        assert_eq!(names[1].description, "");
    }
}
