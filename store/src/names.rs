//! What exporters call things: interfaces, applications, VRFs, and elements of their own.
//!
//! Exporters tell names in options data, seldom, and change them. A name holds from the moment at
//! which it was first told until another one is told for the same thing; the first one holds for
//! what came before it too, because flows are sent earlier than the options data that names them.
//! Names are kept for each exporter, within bounds, and on disk ([`journal`]), so that a restart
//! forgets none. Queries read them beside the flows; nothing of them is written into segments.
//!
//! Exporters are untrusted: an exporter has a share of the memory, and when all is taken the exporter
//! that has been silent longest is forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};

use crate::Address;

pub(crate) mod journal;
mod told;

pub use journal::Learning;
pub use told::{Naming, Told};

/// What a name is a name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NameKind {
    /// An interface, by its SNMP index.
    Interface,
    /// An application, by its id (RFC 6759).
    Application,
    /// A VRF, by its id.
    Vrf,
    /// An enterprise's information element (RFC 5610), by `enterprise << 16 | element`.
    Element,
}

/// The bounds of a table of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameLimits {
    /// Memory of all names, bytes.
    pub bytes: usize,
    /// Memory of one exporter's names, bytes.
    pub bytes_per_exporter: usize,
    /// Names that one thing has had, of which the newest are kept.
    pub history: usize,
}

impl Default for NameLimits {
    fn default() -> Self {
        NameLimits { bytes: 64 << 20, bytes_per_exporter: 8 << 20, history: 16 }
    }
}

/// What became of a name that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// It is what the thing was called already.
    Same,
    /// It is new.
    New,
    /// Its exporter has all the memory that it may have.
    Refused,
}

/// A name and since when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    since_ms: u64,
    name: Box<str>,
    description: Box<str>,
}

impl Held {
    /// Bytes of memory, with its place in the tables.
    fn memory(name: &str, description: &str) -> usize {
        const PLACE: usize = 128;
        PLACE + name.len() + description.len()
    }
}

#[derive(Debug, Default)]
struct Exporter {
    heard_ms: u64,
    bytes: usize,
    /// Each thing's names, the oldest first; never empty.
    things: BTreeMap<(NameKind, u64), Vec<Held>>,
}

/// A thing that has had a certain name, and when: from `from_ms` to before `until_ms`, by the moment
/// at which the collector received a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Whose name it is.
    pub exporter: Address,
    /// The thing's number.
    pub id: u64,
    /// The first moment, ms since 1970; 0 of a thing's first name.
    pub from_ms: u64,
    /// The moment of its next name; `u64::MAX` of its last.
    pub until_ms: u64,
}

/// All names, by exporter.
#[derive(Debug, Default)]
pub struct Table {
    limits: NameLimits,
    bytes: usize,
    exporters: HashMap<Address, Exporter>,
    /// Exporters by when they were last heard.
    by_age: BTreeSet<(u64, Address)>,
}

impl Table {
    /// A table without names.
    pub fn new(limits: NameLimits) -> Self {
        Table { limits, ..Table::default() }
    }

    /// Takes what an exporter has told.
    pub fn learn(&mut self, naming: &Naming<'_>) -> Learned {
        let learned = self.note(naming);
        self.hear(naming.exporter, naming.since_ms);
        while self.bytes > self.limits.bytes {
            let Some(&(_, silent)) = self.by_age.first() else { break };
            self.forget(silent);
        }
        learned
    }

    fn note(&mut self, naming: &Naming<'_>) -> Learned {
        /// Bytes of memory of an exporter without names.
        const EXPORTER: usize = 256;
        let memory = Held::memory(&naming.name, &naming.description);
        let limits = self.limits;
        let exporter = self.exporters.entry(naming.exporter).or_insert_with(|| {
            self.bytes += EXPORTER;
            Exporter { bytes: EXPORTER, ..Exporter::default() }
        });
        let names = exporter.things.get(&(naming.kind, naming.id));
        let newest = names.and_then(|names| names.last());
        if newest.is_some_and(|held| {
            *held.name == *naming.name && *held.description == *naming.description
        }) {
            return Learned::Same;
        }
        if exporter.bytes + memory > limits.bytes_per_exporter {
            return Learned::Refused;
        }
        let names = exporter.things.entry((naming.kind, naming.id)).or_default();
        // A clock that was set back must not put a name before an older one.
        let since_ms = names.last().map_or(0, |held| held.since_ms).max(naming.since_ms);
        names.push(Held {
            since_ms,
            name: (*naming.name).into(),
            description: (*naming.description).into(),
        });
        let mut bytes = memory;
        if names.len() > limits.history.max(1) {
            let gone = names.remove(0);
            bytes = bytes.wrapping_sub(Held::memory(&gone.name, &gone.description));
        }
        exporter.bytes = exporter.bytes.wrapping_add(bytes);
        self.bytes = self.bytes.wrapping_add(bytes);
        Learned::New
    }

    fn hear(&mut self, address: Address, now_ms: u64) {
        let Some(exporter) = self.exporters.get_mut(&address) else { return };
        self.by_age.remove(&(exporter.heard_ms, address));
        exporter.heard_ms = exporter.heard_ms.max(now_ms);
        self.by_age.insert((exporter.heard_ms, address));
    }

    fn forget(&mut self, address: Address) {
        let Some(exporter) = self.exporters.remove(&address) else { return };
        self.by_age.remove(&(exporter.heard_ms, address));
        self.bytes -= exporter.bytes;
    }

    /// What a thing was called when a flow of its exporter was received at `at_ms`: name and
    /// description, of which one may be empty.
    pub fn at(
        &self,
        exporter: Address,
        kind: NameKind,
        id: u64,
        at_ms: u64,
    ) -> Option<(&str, &str)> {
        let names = self.exporters.get(&exporter)?.things.get(&(kind, id))?;
        let next = names.partition_point(|held| held.since_ms <= at_ms);
        let held = names.get(next.saturating_sub(1))?;
        Some((&held.name, &held.description))
    }

    /// The things of this kind whose name or description passes `test`, and when; by exporter, then
    /// id, then time.
    pub fn spans(&self, kind: NameKind, test: impl Fn(&str) -> bool) -> Vec<Span> {
        let mut spans = Vec::new();
        for (&address, exporter) in &self.exporters {
            for (&(_, id), names) in exporter.things.range((kind, 0)..=(kind, u64::MAX)) {
                for (at, held) in names.iter().enumerate() {
                    if !test(&held.name) && !test(&held.description) {
                        continue;
                    }
                    let from_ms = if at == 0 { 0 } else { held.since_ms };
                    let until_ms = names.get(at + 1).map_or(u64::MAX, |next| next.since_ms);
                    spans.push(Span { exporter: address, id, from_ms, until_ms });
                }
            }
        }
        spans.sort_unstable();
        spans
    }

    /// The names that the things of one exporter with these ids have had; the oldest first.
    pub fn of<'a>(
        &'a self,
        exporter: Address,
        kind: NameKind,
        ids: impl IntoIterator<Item = u64> + 'a,
    ) -> impl Iterator<Item = Naming<'a>> + 'a {
        let things = self.exporters.get(&exporter).map(|exporter| &exporter.things);
        ids.into_iter().flat_map(move |id| {
            let names = things.and_then(|things| things.get(&(kind, id)));
            names.into_iter().flatten().map(move |held| held.naming(exporter, kind, id))
        })
    }

    /// All names that an exporter has told: by kind and id, the oldest of each thing first.
    pub fn of_exporter(&self, exporter: Address) -> impl Iterator<Item = Naming<'_>> {
        let things = self.exporters.get(&exporter).map(|exporter| exporter.things.iter());
        things.into_iter().flatten().flat_map(move |(&(kind, id), names)| {
            names.iter().map(move |held| held.naming(exporter, kind, id))
        })
    }

    /// All names: by exporter, those that were silent longest first, then by kind and id, the oldest
    /// name of each thing first.
    pub fn iter(&self) -> impl Iterator<Item = Naming<'_>> {
        self.by_age.iter().flat_map(|&(_, address)| self.of_exporter(address))
    }

    /// Names in the table.
    pub fn len(&self) -> usize {
        self.exporters.values().flat_map(|exporter| exporter.things.values()).map(Vec::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.exporters.is_empty()
    }
}

impl Held {
    fn naming(&self, exporter: Address, kind: NameKind, id: u64) -> Naming<'_> {
        Naming {
            exporter,
            kind,
            id,
            since_ms: self.since_ms,
            name: (&*self.name).into(),
            description: (&*self.description).into(),
        }
    }
}

/// The names of a store, shared between the one who learns and those who ask.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<RwLock<Table>>);

impl Names {
    pub(crate) fn new(table: Table) -> Self {
        Names(Arc::new(RwLock::new(table)))
    }

    /// The table as it is now; who learns waits meanwhile, so this is to be dropped soon.
    pub fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Address = Address::from_v4([192, 0, 2, 1]);

    fn naming(id: u64, since_ms: u64, name: &str) -> Naming<'_> {
        Naming {
            exporter: ROUTER,
            kind: NameKind::Interface,
            id,
            since_ms,
            name: name.into(),
            description: "".into(),
        }
    }

    fn at(table: &Table, id: u64, at_ms: u64) -> Option<&str> {
        table.at(ROUTER, NameKind::Interface, id, at_ms).map(|(name, _)| name)
    }

    #[test]
    fn a_name_holds_until_the_next_and_the_first_for_what_came_before() {
        let mut table = Table::default();
        assert_eq!(table.learn(&naming(7, 1_000, "ge-0")), Learned::New);
        assert_eq!(table.learn(&naming(7, 1_500, "ge-0")), Learned::Same);
        assert_eq!(table.learn(&naming(7, 2_000, "uplink")), Learned::New);
        let seen = [0, 1_000, 1_999, 2_000, u64::MAX].map(|ms| at(&table, 7, ms).unwrap());
        assert_eq!(seen, ["ge-0", "ge-0", "ge-0", "uplink", "uplink"]);
        assert_eq!(at(&table, 8, 2_000), None);
        assert_eq!(table.at(Address::ABSENT, NameKind::Interface, 7, 0), None);
        assert_eq!(table.at(ROUTER, NameKind::Vrf, 7, 0), None);
    }

    #[test]
    fn things_are_found_by_their_name_with_the_time_in_which_they_had_it() {
        let mut table = Table::default();
        for (id, since_ms, name) in
            [(7, 10, "uplink"), (7, 20, "spare"), (7, 30, "uplink"), (9, 40, "uplink")]
        {
            table.learn(&naming(id, since_ms, name));
        }
        let spans = table.spans(NameKind::Interface, |name| name == "uplink");
        let times: Vec<_> =
            spans.iter().map(|span| (span.id, span.from_ms, span.until_ms)).collect();
        assert_eq!(times, [(7, 0, 20), (7, 30, u64::MAX), (9, 0, u64::MAX)]);
        assert_eq!(table.spans(NameKind::Vrf, |_| true), []);
        assert_eq!(table.iter().count(), 4);
        assert_eq!(table.of(ROUTER, NameKind::Interface, [9, 8]).count(), 1);
    }

    #[test]
    fn of_many_names_of_a_thing_the_newest_are_kept() {
        let limits = NameLimits { history: 3, ..NameLimits::default() };
        let mut table = Table::new(limits);
        for n in 0..9 {
            table.learn(&naming(7, n * 10, &n.to_string()));
        }
        assert_eq!((table.len(), at(&table, 7, 0), at(&table, 7, 75)), (3, Some("6"), Some("7")));
        let bytes = table.bytes;
        table.learn(&naming(7, 1_000, "x"));
        assert_eq!(table.bytes, bytes, "one comes, one goes");
    }

    #[test]
    fn an_exporter_has_a_share_and_the_longest_silent_one_gives_way() {
        let name = "n".repeat(72);
        let memory = Held::memory(&name, "");
        let limits = NameLimits {
            bytes: 2 * (256 + 4 * memory),
            bytes_per_exporter: 256 + 4 * memory,
            history: 4,
        };
        let mut table = Table::new(limits);
        let exporter = |n: u8| Address::from_v4([192, 0, 2, n]);
        let learned: Vec<_> = (0..6).map(|id| table.learn(&naming(id, 10, &name))).collect();
        use Learned::{New, Refused};
        assert_eq!(learned, [New, New, New, New, Refused, Refused]);
        for n in 2..5 {
            for id in 0..4 {
                let told = Naming { exporter: exporter(n), ..naming(id, u64::from(n) * 10, &name) };
                assert_eq!(table.learn(&told), New);
            }
        }
        assert!(table.bytes <= limits.bytes);
        let of = |n: u8| table.of(exporter(n), NameKind::Interface, 0..9).count();
        assert_eq!([of(1), of(2), of(3), of(4)], [0, 0, 4, 4]);
        assert_eq!(table.by_age.len(), table.exporters.len());
    }

    #[test]
    fn a_clock_set_back_keeps_the_order() {
        let mut table = Table::default();
        table.learn(&naming(7, 1_000, "old"));
        table.learn(&naming(7, 500, "new"));
        assert_eq!(at(&table, 7, 1_000), Some("new"));
    }
}
