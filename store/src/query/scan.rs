//! Asking a plan of a snapshot: filter, then only the columns that the view needs.
//!
//! A source (a segment or a batch in memory) is read completely before anything of it is counted,
//! so that a damaged segment is left out as a whole and named, and the answer is right for the
//! others.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::column::{ColumnSource, Values};
use crate::error::Error;
use crate::query::expression::Selection;
use crate::query::groups::Groups;
use crate::query::partial::{Coverage, Partial};
use crate::query::plan::{Limits, Plan};
use crate::query::question::View;
use crate::query::row::{FlowRow, RowSource};
use crate::query::totals::Totals;
use crate::reader::Snapshot;
use crate::{Column, TimeRange};

/// What `plan` finds in `snapshot`.
///
/// # Errors
/// [`Error::TooManyGroups`] and [`Error::TooManyRows`]. A segment that cannot be read is no error:
/// it is named in [`Coverage::damaged`].
pub fn answer(snapshot: &Snapshot, plan: &Plan, limits: &Limits) -> Result<Partial, Error> {
    let mut scan = Scan::new(plan, limits);
    for segment in snapshot.segments.iter() {
        if !segment.entry.range.may_lie_within(plan.from_ms(), plan.until_ms()) {
            scan.coverage.segments_skipped += 1;
            continue;
        }
        let read = segment.open().and_then(|file| scan.source(&file, file.range()));
        match read {
            Ok(()) => scan.coverage.segments_scanned += 1,
            Err(error @ (Error::TooManyGroups { .. } | Error::TooManyRows { .. })) => {
                return Err(error);
            }
            Err(error) => scan.coverage.damaged.push(error.to_string()),
        }
    }
    for memory in snapshot.memory.iter() {
        if memory.range.may_lie_within(plan.from_ms(), plan.until_ms()) {
            scan.source(&memory.batch, &memory.range)?;
        }
    }
    scan.finish()
}

/// What was found so far.
struct Scan<'a> {
    plan: &'a Plan,
    limits: &'a Limits,
    totals: Totals,
    coverage: Coverage,
    found: Found,
}

enum Found {
    /// The earliest rows so far, the latest of them on top.
    Flows {
        keep: usize,
        rows: BinaryHeap<Listed>,
    },
    Groups(Groups),
}

/// A row in listing order.
#[derive(PartialEq, Eq)]
struct Listed(FlowRow);

impl Ord for Listed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.listing_order(&other.0)
    }
}

impl PartialOrd for Listed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The columns that every sum needs.
struct Counters<'a> {
    packets: Values<'a>,
    bytes: Values<'a>,
    first: Values<'a>,
    last: Values<'a>,
}

impl<'a> Counters<'a> {
    fn open(source: &'a impl ColumnSource) -> Result<Self, Error> {
        Ok(Counters {
            packets: source.values(Column::Packets)?,
            bytes: source.values(Column::Bytes)?,
            first: source.values(Column::First)?,
            last: source.values(Column::Last)?,
        })
    }

    /// One row's sums at a time, by a closure over plain slices.
    fn rows(&self) -> impl Fn(usize) -> Totals {
        let (packets, bytes) = (self.packets.as_u64(), self.bytes.as_u64());
        let (first, last) = (self.first.as_u64(), self.last.as_u64());
        move |row| Totals {
            flows: 1,
            packets: packets[row],
            bytes: bytes[row],
            first_ms: first[row],
            last_ms: last[row],
        }
    }
}

impl<'a> Scan<'a> {
    fn new(plan: &'a Plan, limits: &'a Limits) -> Self {
        let found = match plan.view() {
            View::Flows { limit } => {
                // One more than allowed, so that too many can be told from just enough.
                let keep = if *limit == 0 { usize::MAX } else { *limit };
                Found::Flows { keep: keep.min(limits.rows + 1), rows: BinaryHeap::new() }
            }
            View::Statistic { .. } => Found::Groups(Groups::new(plan.key_width(), limits.groups)),
        };
        let (totals, coverage) = (Totals::default(), Coverage::default());
        Scan { plan, limits, totals, coverage, found }
    }

    fn source(&mut self, source: &impl ColumnSource, range: &TimeRange) -> Result<(), Error> {
        let mut selection = self.plan.filter().select(source)?;
        if !range.lies_within(self.plan.from_ms(), self.plan.until_ms()) && !selection.is_empty() {
            selection.and(&self.window(source)?);
        }
        if !selection.is_empty() {
            match self.found {
                Found::Flows { .. } => self.list(source, &selection)?,
                Found::Groups(_) => self.group(source, &selection)?,
            }
        }
        self.coverage.rows += source.rows() as u64;
        Ok(())
    }

    /// The rows that lie wholly in the time window.
    fn window(&self, source: &impl ColumnSource) -> Result<Selection, Error> {
        let (first, last) = (source.values(Column::First)?, source.values(Column::Last)?);
        let (first, last) = (first.as_u64(), last.as_u64());
        let (from, until) = (self.plan.from_ms(), self.plan.until_ms());
        Ok(Selection::of(source.rows(), |row| first[row] >= from && last[row] <= until))
    }

    fn list(&mut self, source: &impl ColumnSource, selection: &Selection) -> Result<(), Error> {
        let Found::Flows { keep, rows } = &mut self.found else { unreachable!("a listing") };
        let counters = Counters::open(source)?;
        let columns = RowSource::open(source)?;
        let totals = counters.rows();
        for row in selection.iter() {
            let sums = totals(row);
            self.totals.add(&sums);
            let latest = rows.peek().map_or(u64::MAX, |latest| latest.0.first_ms);
            if rows.len() < *keep {
                rows.push(Listed(columns.row(row)));
            } else if sums.first_ms <= latest {
                rows.push(Listed(columns.row(row)));
                rows.pop();
            }
        }
        Ok(())
    }

    fn group(&mut self, source: &impl ColumnSource, selection: &Selection) -> Result<(), Error> {
        let Found::Groups(groups) = &mut self.found else { unreachable!("a statistic") };
        let keys = self.plan.keys();
        let counters = Counters::open(source)?;
        let side = |side: fn((Column, Column)) -> Column| {
            let columns = keys.iter().map(|key| source.values(side(key.sides())));
            columns.collect::<Result<Vec<_>, Error>>()
        };
        let sources = side(|(source, _)| source)?;
        // A key of both sides counts every flow for both, which is nfdump's way.
        let both = keys.iter().any(|key| key.sides().0 != key.sides().1);
        let destinations = if both { side(|(_, destination)| destination)? } else { Vec::new() };
        let totals = counters.rows();
        let mut key = vec![0; self.plan.key_width()];
        for row in selection.iter() {
            let sums = totals(row);
            self.totals.add(&sums);
            write_key(&sources, keys, row, &mut key);
            groups.add(&key, &sums)?;
            if both {
                write_key(&destinations, keys, row, &mut key);
                groups.add(&key, &sums)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Partial, Error> {
        self.coverage.damaged.sort();
        let limit = match self.plan.view() {
            View::Flows { limit } => *limit,
            View::Statistic { .. } => 0,
        };
        match self.found {
            Found::Flows { rows, .. } => {
                if rows.len() > self.limits.rows {
                    return Err(Error::TooManyRows { bound: self.limits.rows });
                }
                let rows = rows.into_sorted_vec().into_iter().map(|listed| listed.0).collect();
                Ok(Partial::of_flows(limit, rows, self.totals, self.coverage))
            }
            Found::Groups(groups) => {
                Ok(Partial::of_groups(groups.sort(), self.totals, self.coverage))
            }
        }
    }
}

fn write_key(
    columns: &[Values<'_>],
    keys: &[crate::query::question::Key],
    row: usize,
    bytes: &mut [u8],
) {
    let mut rest = bytes;
    for (column, key) in columns.iter().zip(keys) {
        let (here, after) = rest.split_at_mut(key.width());
        column.write_key(row, here);
        rest = after;
    }
}
