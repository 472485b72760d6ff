//! The names of the things that an answer speaks of, as far as exporters have told them.
//!
//! Numbers are grouped, merged and sorted; names only stand beside them in the end. So a partial
//! carries the names of its own numbers, by exporter and time, and merging unites them.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::names::{NameKind, Naming, Table};
use crate::query::question::Key;
use crate::query::row::{Cell, FlowRow};
use crate::{Address, Column};

/// The most names that an answer carries.
const MAX_NAMES: usize = 100_000;
/// The most exporters whose names stand beside the groups of a statistic.
const MAX_EXPORTERS: usize = 4_096;
/// Of different names of one number so many are shown.
const SHOWN: usize = 3;

/// Names by what they name, then by exporter, then by time; ascending, and none twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dictionary(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Entry {
    kind: NameKind,
    id: u64,
    exporter: Address,
    since_ms: u64,
    name: String,
}

impl Entry {
    fn of(naming: &Naming<'_>) -> Self {
        let name = if naming.name.is_empty() { &naming.description } else { &naming.name };
        Entry {
            kind: naming.kind,
            id: naming.id,
            exporter: naming.exporter,
            since_ms: naming.since_ms,
            name: name.clone().into_owned(),
        }
    }
}

impl Column {
    /// The columns whose numbers exporters name.
    pub(crate) const NAMED: [Column; 5] = [
        Column::InputInterface,
        Column::OutputInterface,
        Column::Application,
        Column::InputVrf,
        Column::OutputVrf,
    ];

    /// What the column's numbers are numbers of, where exporters name that.
    pub fn name_kind(self) -> Option<NameKind> {
        match self {
            Column::InputInterface | Column::OutputInterface => Some(NameKind::Interface),
            Column::Application => Some(NameKind::Application),
            Column::InputVrf | Column::OutputVrf => Some(NameKind::Vrf),
            _ => None,
        }
    }
}

impl Key {
    /// What the key's numbers are numbers of, where exporters name that.
    pub(crate) fn name_kind(self) -> Option<NameKind> {
        self.sides().and_then(|(source, _)| source.name_kind())
    }
}

/// Whose flows a statistic counts, as far as that says whose names its numbers have.
#[derive(Debug, Default)]
pub(crate) struct Exporters {
    seen: BTreeSet<Address>,
    last: Option<Address>,
}

impl Exporters {
    /// Flows of one exporter often come one after the other.
    #[inline]
    pub(crate) fn note(&mut self, exporter: Address) {
        if self.last != Some(exporter) {
            self.last = Some(exporter);
            if self.seen.len() < MAX_EXPORTERS {
                self.seen.insert(exporter);
            }
        }
    }
}

impl Dictionary {
    /// The names of what these flows went by.
    pub(crate) fn of_flows(rows: &[FlowRow], table: &Table) -> Self {
        let mut things = BTreeSet::new();
        for row in rows {
            for column in Column::NAMED {
                if let (Some(kind), Cell::Number(id)) = (column.name_kind(), row.cell(column)) {
                    things.insert((row.exporter, kind, id));
                }
            }
        }
        let of = |&(exporter, kind, id): &(Address, NameKind, u64)| table.of(exporter, kind, [id]);
        Dictionary::from(things.iter().flat_map(of))
    }

    /// The names that these exporters have for these things.
    pub(crate) fn of_things(
        things: &HashSet<(NameKind, u64)>,
        exporters: &Exporters,
        table: &Table,
    ) -> Self {
        let namings = exporters.seen.iter().flat_map(|&exporter| table.of_exporter(exporter));
        Dictionary::from(namings.filter(|naming| things.contains(&(naming.kind, naming.id))))
    }

    fn from<'a>(namings: impl Iterator<Item = Naming<'a>>) -> Self {
        let mut entries: Vec<Entry> =
            namings.take(MAX_NAMES).map(|naming| Entry::of(&naming)).collect();
        entries.sort_unstable();
        entries.dedup();
        Dictionary(entries)
    }

    /// Adds what another part of the answer knows.
    pub(crate) fn merge(&mut self, other: Dictionary) {
        if other.0.is_empty() {
            return;
        }
        self.0.extend(other.0);
        self.0.sort_unstable();
        self.0.dedup();
        self.0.truncate(MAX_NAMES);
    }

    /// Whether it is in order; what came over the network may say anything.
    pub(crate) fn is_sound(&self) -> bool {
        self.0.len() <= MAX_NAMES && self.0.is_sorted_by(|a, b| a < b)
    }

    /// What a thing was called at a moment: by one exporter, or by any, and then different names
    /// stand one behind the other. The first name of a thing holds for what came before it, too.
    pub(crate) fn name(
        &self,
        (kind, id): (NameKind, u64),
        exporter: Option<Address>,
        at_ms: u64,
    ) -> Option<String> {
        let thing = |entry: &Entry| (entry.kind, entry.id);
        let begin = self.0.partition_point(|entry| thing(entry) < (kind, id));
        let end = self.0.partition_point(|entry| thing(entry) <= (kind, id));
        let mut names: Vec<&str> = Vec::new();
        for own in self.0[begin..end].chunk_by(|a, b| a.exporter == b.exporter) {
            if exporter.is_some_and(|wanted| own[0].exporter != wanted) {
                continue;
            }
            let next = own.partition_point(|entry| entry.since_ms <= at_ms);
            let name = own[next.saturating_sub(1)].name.as_str();
            if !names.contains(&name) {
                names.push(name);
            }
            if names.len() > SHOWN {
                break;
            }
        }
        match names.len() {
            0 => None,
            1..=SHOWN => Some(names.join(", ")),
            _ => Some(names[..SHOWN].join(", ") + ", …"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERFACE: NameKind = NameKind::Interface;

    fn router(n: u8) -> Address {
        Address::from_v4([192, 0, 2, n])
    }

    fn table(names: &[(u8, u64, u64, &str)]) -> Table {
        let mut table = Table::default();
        for &(exporter, id, since_ms, name) in names {
            let (exporter, kind) = (router(exporter), INTERFACE);
            let (name, description) = (name.into(), "".into());
            table.learn(&Naming { exporter, kind, id, since_ms, name, description });
        }
        table
    }

    fn things(names: &[(u8, u64, u64, &str)], ids: &[u64]) -> Dictionary {
        let mut exporters = Exporters::default();
        (1..9).for_each(|n| exporters.note(router(n)));
        let ids = ids.iter().map(|&id| (INTERFACE, id)).collect();
        Dictionary::of_things(&ids, &exporters, &table(names))
    }

    #[test]
    fn a_number_has_the_name_of_its_exporter_and_time() {
        let known = things(&[(1, 7, 10, "old"), (1, 7, 20, "new"), (2, 7, 10, "other")], &[7, 8]);
        let name = |exporter, at_ms| known.name((INTERFACE, 7), exporter, at_ms);
        assert_eq!(name(Some(router(1)), 0).as_deref(), Some("old"));
        assert_eq!(name(Some(router(1)), 20).as_deref(), Some("new"));
        assert_eq!(name(Some(router(3)), 20), None);
        assert_eq!(name(None, 15).as_deref(), Some("old, other"));
        assert_eq!(known.name((INTERFACE, 8), None, 0), None);
        assert_eq!(known.name((NameKind::Vrf, 7), None, 0), None);
    }

    #[test]
    fn many_names_of_one_number_are_cut_and_equal_ones_stand_once() {
        let same = things(&[(1, 7, 1, "a"), (2, 7, 1, "a")], &[7]);
        assert_eq!(same.name((INTERFACE, 7), None, 9).as_deref(), Some("a"));
        let many = [(1, 7, 1, "a"), (2, 7, 1, "b"), (3, 7, 1, "c"), (4, 7, 1, "d")];
        let many = things(&many, &[7]);
        assert_eq!(many.name((INTERFACE, 7), None, 9).as_deref(), Some("a, b, c, …"));
    }

    #[test]
    fn merging_unites_whatever_the_order() {
        let (left, right) = (things(&[(1, 7, 1, "a")], &[7]), things(&[(2, 7, 1, "b")], &[7]));
        let merge = |mut one: Dictionary, other: &Dictionary| {
            one.merge(other.clone());
            one
        };
        let merged = merge(left.clone(), &right);
        assert_eq!(merged, merge(right.clone(), &left));
        assert_eq!(merged, merge(merged.clone(), &left));
        assert!(merged.is_sound());
        assert!(!Dictionary(merged.0.iter().rev().cloned().collect()).is_sound());
    }

    #[test]
    fn of_flows_only_the_names_are_taken_that_they_went_by() {
        let table = table(&[(1, 7, 1, "in"), (1, 8, 1, "out"), (1, 9, 1, "none"), (2, 7, 1, "no")]);
        let row = FlowRow {
            exporter: router(1),
            input_interface: 7,
            output_interface: 8,
            ..FlowRow::default()
        };
        let known = Dictionary::of_flows(&[row], &table);
        let names: Vec<_> = known.0.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["in", "out"]);
    }
}
