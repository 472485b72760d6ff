//! The live templates of one session.

use std::sync::Arc;

use super::Template;
use crate::Discard;
use crate::budget::{Budget, Lacking, Purse};
use crate::wire::Protocol;
use crate::wire::set::TemplateRecord;

/// What a template did to its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not known before.
    New,
    /// It was known, byte for byte.
    Same,
    /// Its id meant something else before.
    Changed,
}

/// A template and what was paid for it.
#[derive(Debug)]
struct Entry {
    id: u16,
    bytes: u32,
    template: Box<Template>,
}

/// Bytes of memory that a place in a store's table takes: the table doubles as it grows, and shrinks
/// by half when three quarters are empty.
const PLACE: usize = 4 * size_of::<Entry>();
/// In a table of at most so many, a look at each is cheaper than halving.
const FEW: usize = 8;

/// The live templates of one session, by id; options templates among them, since they share the
/// ids (RFC 7011, Section 3.4.1).
///
/// The two kinds stand apart, each in the order of the ids: so withdrawing all of a kind costs a
/// step for each that goes, however often an exporter asks for it.
#[derive(Debug)]
pub struct TemplateStore {
    limit: usize,
    purse: Purse,
    flows: Vec<Entry>,
    options: Vec<Entry>,
    memory: usize,
    changed: bool,
}

impl TemplateStore {
    /// An empty store for at most `limit` templates, paid from `purse`.
    pub fn new(limit: usize, purse: Purse) -> Self {
        let (flows, options) = (Vec::new(), Vec::new());
        TemplateStore { limit, purse, flows, options, memory: 0, changed: false }
    }

    /// Keeps a template, in place of one with the same id.
    ///
    /// # Errors
    /// [`Discard::TemplateTableFull`] when there is no room, [`Discard::SourceTemplatesFull`] when
    /// the exporter's address has used its share. One with the same id is gone all the same: it no
    /// longer says what the data is.
    pub fn insert(&mut self, template: Template) -> Result<Change, Discard> {
        let id = template.id;
        if self.get(id).is_some_and(|known| *known == template) {
            return Ok(Change::Same);
        }
        let change = if self.withdraw(id) { Change::Changed } else { Change::New };
        let bytes = template.memory() + PLACE;
        if self.len() >= self.limit {
            return Err(Discard::TemplateTableFull);
        }
        self.purse.take(bytes).map_err(|lacking| match lacking {
            Lacking::Source => Discard::SourceTemplatesFull,
            Lacking::All => Discard::TemplateTableFull,
        })?;
        self.memory += bytes;
        self.changed = true;
        let entry = Entry { id, bytes: bytes as u32, template: Box::new(template) };
        let kind = if entry.template.options { &mut self.options } else { &mut self.flows };
        let at = kind.partition_point(|known| known.id < id);
        kind.insert(at, entry);
        Ok(change)
    }

    /// Keeps what a template record says; one that is known byte for byte, as most are, is not
    /// compiled again. A known one is gone even when the new one is refused.
    ///
    /// # Errors
    /// Those of [`Template::compile`] and [`TemplateStore::insert`].
    pub fn learn(
        &mut self,
        protocol: Protocol,
        record: &TemplateRecord<'_>,
    ) -> Result<Change, Discard> {
        match self.get(record.id) {
            Some(known) if known.options == record.options && *known.record == *record.bytes => {
                return Ok(Change::Same);
            }
            None if self.len() >= self.limit => return Err(Discard::TemplateTableFull),
            _ => {}
        }
        match Template::compile(protocol, record) {
            Ok(template) => self.insert(template),
            Err(reason) => {
                self.withdraw(record.id);
                Err(reason)
            }
        }
    }

    /// The template with this id.
    #[inline]
    pub fn get(&self, id: u16) -> Option<&Template> {
        let at = |kind: &[Entry]| {
            if kind.len() <= FEW {
                kind.iter().position(|entry| entry.id == id)
            } else {
                kind.binary_search_by_key(&id, |entry| entry.id).ok()
            }
        };
        match at(&self.flows) {
            Some(place) => Some(&self.flows[place].template),
            None => at(&self.options).map(|place| &*self.options[place].template),
        }
    }

    /// Forgets a template; whether there was one.
    pub fn withdraw(&mut self, id: u16) -> bool {
        let gone = remove(&mut self.flows, id).or_else(|| remove(&mut self.options, id));
        if let Some(entry) = &gone {
            self.give_back(entry.bytes as usize);
        }
        gone.is_some()
    }

    /// Forgets all templates, or all options templates; whether there was one.
    pub fn withdraw_all(&mut self, options: bool) -> bool {
        let kind = if options { &mut self.options } else { &mut self.flows };
        let gone = std::mem::take(kind);
        let bytes = gone.iter().map(|entry| entry.bytes as usize).sum();
        if !gone.is_empty() {
            self.give_back(bytes);
        }
        !gone.is_empty()
    }

    /// All templates, those of options data behind the others, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.flows.iter().chain(&self.options).map(|entry| &*entry.template)
    }

    /// Templates in the store.
    pub fn len(&self) -> usize {
        self.flows.len() + self.options.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty() && self.options.is_empty()
    }

    /// Bytes that were paid for the templates.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Whether anything has changed since last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Pays from another budget for all from now on, if that has room.
    pub(crate) fn move_to(&mut self, all: &Arc<Budget>) -> bool {
        self.purse.move_to(all, self.memory)
    }

    fn give_back(&mut self, bytes: usize) {
        self.purse.give_back(bytes);
        self.memory -= bytes;
        self.changed = true;
    }
}

fn remove(kind: &mut Vec<Entry>, id: u16) -> Option<Entry> {
    let at = kind.binary_search_by_key(&id, |entry| entry.id).ok()?;
    let entry = kind.remove(at);
    if kind.len() < kind.capacity() / 4 {
        kind.shrink_to(kind.len() * 2);
    }
    Some(entry)
}

impl Drop for TemplateStore {
    fn drop(&mut self) {
        self.purse.give_back(self.memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::tests::{body, ipfix, with_record};

    fn purse(source: usize, all: usize) -> Purse {
        Purse::new(Budget::new(source), Budget::new(all))
    }

    fn store(limit: usize) -> TemplateStore {
        TemplateStore::new(limit, purse(1 << 20, 1 << 20))
    }

    fn learn(store: &mut TemplateStore, fields: &[(u16, u16)]) -> Result<Change, Discard> {
        with_record(&body(fields), |record| store.learn(Protocol::Ipfix, record))
    }

    fn learn_id(store: &mut TemplateStore, id: u16) -> Result<Change, Discard> {
        let mut body = body(&[(1, 4)]);
        body[..2].copy_from_slice(&id.to_be_bytes());
        with_record(&body, |record| store.learn(Protocol::Ipfix, record))
    }

    fn one() -> usize {
        ipfix(&[(1, 4)]).memory() + PLACE
    }

    #[test]
    fn a_template_sent_again_is_the_same() {
        let mut store = store(8);
        assert_eq!(learn(&mut store, &[(1, 4)]), Ok(Change::New));
        assert!(store.take_changed());
        assert_eq!(learn(&mut store, &[(1, 4)]), Ok(Change::Same));
        assert!(!store.take_changed());
        assert_eq!(learn(&mut store, &[(1, 8)]), Ok(Change::Changed));
        assert!(store.take_changed());
        assert_eq!(store.get(256).unwrap().fixed_length, Some(8));
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn a_refused_redefinition_takes_the_old_one_with_it() {
        let mut store = store(8);
        learn(&mut store, &[(1, 4)]).unwrap();
        assert_eq!(learn(&mut store, &[(1, 0)]), Err(Discard::TemplateMalformed));
        assert!(store.get(256).is_none());
    }

    #[test]
    fn a_full_store_still_redefines() {
        let mut store = store(1);
        learn(&mut store, &[(1, 4)]).unwrap();
        assert_eq!(learn_id(&mut store, 257), Err(Discard::TemplateTableFull));
        assert_eq!(learn(&mut store, &[(2, 4)]), Ok(Change::Changed));
    }

    #[test]
    fn stores_share_a_budget_and_give_it_back() {
        let purse = purse(1 << 20, one());
        let mut first = TemplateStore::new(8, purse.clone());
        let mut second = TemplateStore::new(8, purse.clone());
        assert_eq!(learn(&mut first, &[(1, 4)]), Ok(Change::New));
        assert_eq!(learn(&mut second, &[(1, 4)]), Err(Discard::TemplateTableFull));
        assert!(first.withdraw(256));
        assert_eq!(learn(&mut second, &[(1, 4)]), Ok(Change::New));
        drop(second);
        assert_eq!(learn(&mut first, &[(1, 4)]), Ok(Change::New));
    }

    #[test]
    fn an_address_has_a_share_and_no_more() {
        let purse = purse(one(), 1 << 20);
        let mut first = TemplateStore::new(8, purse.clone());
        let mut second = TemplateStore::new(8, purse);
        assert_eq!(learn(&mut first, &[(1, 4)]), Ok(Change::New));
        assert_eq!(learn(&mut second, &[(1, 4)]), Err(Discard::SourceTemplatesFull));
    }

    #[test]
    fn withdrawing_all_spares_the_other_kind() {
        let mut store = store(8);
        learn(&mut store, &[(1, 4)]).unwrap();
        assert!(!store.withdraw_all(true));
        assert_eq!(store.len(), 1);
        assert!(store.withdraw_all(false));
        assert!(store.is_empty());
        assert_eq!(store.memory(), 0);
    }

    #[test]
    fn every_id_is_found_however_many_there_are() {
        let mut store = store(1_000);
        for id in (256..456).rev() {
            learn_id(&mut store, id).unwrap();
            assert!((id..456).all(|id| store.get(id).is_some_and(|t| t.id == id)));
        }
        assert!(store.iter().map(|template| template.id).eq(256..456));
        for id in (256..456).step_by(2) {
            assert!(store.withdraw(id));
        }
        assert!(store.iter().map(|template| template.id).eq((257..456).step_by(2)));
        assert_eq!(store.memory(), 100 * one());
    }

    #[test]
    fn an_emptied_store_keeps_no_table() {
        let mut store = store(1_000);
        for id in 256..1_256 {
            learn_id(&mut store, id).unwrap();
        }
        for id in 256..1_256 {
            store.withdraw(id);
            assert!(store.flows.capacity() * size_of::<Entry>() <= store.len() * PLACE + 64);
        }
        assert_eq!(store.memory(), 0);
    }
}
