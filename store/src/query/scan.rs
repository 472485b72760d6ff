//! Asking a plan of a snapshot: filter, then only the columns that the view needs.
//!
//! A source (a block of a segment or a batch in memory) is read completely before anything of it is
//! counted, so that a damaged block is left out as a whole and named, and the answer is right for
//! the others. Blocks that the dictionary or a zone map rules out are not read at all.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::column::{ColumnSource, Values};
use crate::element::DataType;
use crate::error::Error;
use crate::names::Names;
use crate::overflow::ElementReader;
use crate::query::dictionary::{Dictionary, Exporters};
use crate::query::element;
use crate::query::expression::{Expression, Selection};
use crate::query::groups::Groups;
use crate::query::partial::{Coverage, Partial};
use crate::query::picked::Picked;
use crate::query::plan::{Limits, Plan};
use crate::query::question::{Key, View};
use crate::query::row::{FlowRow, RowSource};
use crate::query::stop::Stop;
use crate::query::totals::Totals;
use crate::reader::{Segment, Snapshot};
use crate::segment::Block;
use crate::{Column, TimeRange};

/// What `plan` finds in `snapshot`.
///
/// # Errors
/// [`Error::TooManyGroups`] and [`Error::TooManyRows`]. A segment that cannot be read is no error:
/// it is named in [`Coverage::damaged`].
pub fn answer(snapshot: &Snapshot, plan: &Plan, limits: &Limits) -> Result<Partial, Error> {
    answer_until(snapshot, plan, limits, &Stop::never())
}

/// [`answer`] that can be ended early.
///
/// # Errors
/// What [`answer`] says; [`Error::Abandoned`] when `stop` ended it.
pub fn answer_until(
    snapshot: &Snapshot,
    plan: &Plan,
    limits: &Limits,
    stop: &Stop,
) -> Result<Partial, Error> {
    let mut scan = Scan::new(plan, &snapshot.names, limits, stop);
    scan.coverage.damaged.extend_from_slice(&snapshot.damaged);
    for segment in snapshot.segments.iter() {
        if !segment.entry.range.may_lie_within(plan.from_ms(), plan.until_ms()) {
            scan.coverage.segments_skipped += 1;
            continue;
        }
        stop.check()?;
        scan.segment(segment)?;
    }
    let filter = scan.filter.clone();
    for memory in snapshot.memory.iter() {
        if memory.range.may_lie_within(plan.from_ms(), plan.until_ms()) {
            stop.check()?;
            scan.source(&memory.batch, &memory.range, &filter)?;
        }
    }
    scan.finish()
}

/// When fewer than one row in so many is selected, only those are looked up.
const FEW: usize = 8;

/// What was found so far.
struct Scan<'a> {
    plan: &'a Plan,
    /// The plan's, with the names that it asks for.
    filter: Cow<'a, Expression>,
    names: &'a Names,
    exporters: Exporters,
    limits: &'a Limits,
    stop: &'a Stop,
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
struct Listed(Box<FlowRow>);

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
    /// What else counts, where a row says it: packets and bytes as they left the exporter, and those
    /// of the other direction. So nfdump totals a flow.
    more_packets: Vec<Values<'a>>,
    more_bytes: Vec<Values<'a>>,
    first: Values<'a>,
    last: Values<'a>,
    /// At which rate packets were looked at, and flow records kept; where neither is said, neither
    /// is read.
    rates: [Option<Values<'a>>; 2],
}

impl<'a> Counters<'a> {
    fn open(source: &'a impl ColumnSource) -> Result<Self, Error> {
        let said = |column| source.has(column).then(|| source.values(column)).transpose();
        let more = |columns: [Column; 2]| {
            let present = columns.into_iter().filter(|&column| source.has(column));
            present.map(|column| source.values(column)).collect::<Result<Vec<_>, Error>>()
        };
        Ok(Counters {
            packets: source.values(Column::Packets)?,
            bytes: source.values(Column::Bytes)?,
            more_packets: more([Column::OutputPackets, Column::ReversePackets])?,
            more_bytes: more([Column::OutputBytes, Column::ReverseBytes])?,
            first: source.values(Column::First)?,
            last: source.values(Column::Last)?,
            rates: [said(Column::SamplingRate)?, said(Column::KeptOneIn)?],
        })
    }

    /// One row's sums at a time, by a closure over plain slices.
    fn rows(&self) -> impl Fn(usize) -> Totals {
        let (packets, bytes) = (self.packets.as_u64(), self.bytes.as_u64());
        let (first, last) = (self.first.as_u64(), self.last.as_u64());
        let (more_packets, more_bytes) = (&self.more_packets[..], &self.more_bytes[..]);
        let sum = |own: u64, more: &[Values<'_>], row: usize| {
            more.iter().fold(own, |sum, values| sum.saturating_add(values.number(row)))
        };
        let sampled = self.rates.iter().any(Option::is_some);
        let [packet_rates, flow_rates] = self.rates.each_ref().map(Option::as_ref);
        let rate = |rates: Option<&Values<'_>>, row| {
            // The columns of rates have four bytes.
            rates.map_or(0, |rates| rates.number(row) as u32)
        };
        move |row| {
            let sums = Totals::of_flow(
                sum(packets[row], more_packets, row),
                sum(bytes[row], more_bytes, row),
                first[row],
                last[row],
            );
            match sampled {
                false => sums,
                true => sums.sampled(rate(packet_rates, row), rate(flow_rates, row)),
            }
        }
    }
}

impl<'a> Scan<'a> {
    fn new(plan: &'a Plan, names: &'a Names, limits: &'a Limits, stop: &'a Stop) -> Self {
        let found = match plan.view() {
            View::Flows { limit } => {
                // One more than allowed, so that too many can be told from just enough.
                let keep = if *limit == 0 { usize::MAX } else { *limit };
                Found::Flows { keep: keep.min(limits.rows + 1), rows: BinaryHeap::new() }
            }
            View::Statistic { .. } => Found::Groups(Groups::new(plan.key_width(), limits.groups)),
        };
        let (totals, coverage) = (Totals::default(), Coverage::default());
        let filter = plan.filter().named_by(&names.read());
        let exporters = Exporters::default();
        Scan { plan, filter, names, exporters, limits, stop, totals, coverage, found }
    }

    /// Reads the blocks of a segment that may hold what is asked for. One that is damaged is named
    /// and left out.
    fn segment(&mut self, segment: &Segment) -> Result<(), Error> {
        let opened = segment.open().and_then(|file| {
            let filter = self.filter.bind(&file)?;
            Ok((file, filter))
        });
        let (file, filter) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.leave_out(error),
        };
        let mut read = false;
        for block in file.blocks() {
            match self.block(&block, &filter) {
                Ok(within) => read |= within,
                Err(error) => self.leave_out(error)?,
            }
        }
        self.coverage.segments_scanned += u64::from(read);
        self.coverage.segments_skipped += u64::from(!read);
        Ok(())
    }

    /// Whether the block had to be read.
    fn block(&mut self, block: &Block<'_>, filter: &Expression) -> Result<bool, Error> {
        if filter.selects_nothing() || !filter.may_select(block)? {
            return Ok(false);
        }
        let range = block.range()?;
        if !range.may_lie_within(self.plan.from_ms(), self.plan.until_ms()) {
            return Ok(false);
        }
        self.stop.check()?;
        self.source(block, &range, filter)?;
        Ok(true)
    }

    /// Names what is damaged; any other error ends the query.
    fn leave_out(&mut self, error: Error) -> Result<(), Error> {
        match error {
            Error::TooManyGroups { .. } | Error::TooManyRows { .. } | Error::Abandoned => {
                Err(error)
            }
            error => {
                self.coverage.damaged.push(error.to_string());
                Ok(())
            }
        }
    }

    fn source(
        &mut self,
        source: &impl ColumnSource,
        range: &TimeRange,
        filter: &Expression,
    ) -> Result<(), Error> {
        let mut selection = filter.select_until(source, self.stop)?;
        if !range.lies_within(self.plan.from_ms(), self.plan.until_ms()) && !selection.is_empty() {
            selection.and(&self.window(source)?);
        }
        let selected = selection.count();
        if selected * FEW < source.rows() && selected > 0 {
            let rows: Vec<u32> = selection.iter().map(|row| row as u32).collect();
            self.take(&Picked { source, rows: &rows }, &Selection::all(selected))?;
        } else if selected > 0 {
            self.take(source, &selection)?;
        }
        self.coverage.rows += source.rows() as u64;
        Ok(())
    }

    fn take(&mut self, source: &impl ColumnSource, selection: &Selection) -> Result<(), Error> {
        match self.found {
            Found::Flows { .. } => self.list(source, selection),
            Found::Groups(_) => self.group(source, selection),
        }
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
                rows.push(Listed(Box::new(columns.row(row))));
            } else if sums.first_ms <= latest {
                rows.push(Listed(Box::new(columns.row(row))));
                rows.pop();
            }
        }
        Ok(())
    }

    fn group(&mut self, source: &impl ColumnSource, selection: &Selection) -> Result<(), Error> {
        let Found::Groups(groups) = &mut self.found else { unreachable!("a statistic") };
        let keys = self.plan.keys();
        let counters = Counters::open(source)?;
        let by_element = keys.iter().any(|key| matches!(key, Key::Element(_)));
        let overflow = if by_element { source.overflow()? } else { None };
        let side = |side: fn((Column, Column)) -> Column| {
            let columns = keys.iter().map(|key| match (key, key.sides()) {
                (Key::Element(element), _) => Ok(KeySource::Element(
                    element.kind(),
                    overflow.as_deref().map(|overflow| overflow.reader(*element)),
                )),
                (_, Some(sides)) if source.has(side(sides)) => {
                    source.values(side(sides)).map(KeySource::Column)
                }
                // Every row has the key of zeroes.
                _ => Ok(KeySource::Absent),
            });
            columns.collect::<Result<Vec<_>, Error>>()
        };
        let sources = side(|(source, _)| source)?;
        // A key of both sides counts every flow for both, which is nfdump's way.
        let both = keys.iter().any(|key| key.sides().is_some_and(|sides| sides.0 != sides.1));
        let destinations = if both { side(|(_, destination)| destination)? } else { Vec::new() };
        let totals = counters.rows();
        let named = keys.iter().any(|key| key.name_kind().is_some());
        let exporters = named.then(|| source.values(Column::Exporter)).transpose()?;
        let exporters = exporters.as_ref().map(|exporters| exporters.as_addresses());
        let mut key = vec![0; self.plan.key_width()];
        for row in selection.iter() {
            let sums = totals(row);
            if let Some(exporters) = exporters {
                self.exporters.note(exporters[row]);
            }
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
                let rows = rows.into_sorted_vec().into_iter().map(|listed| *listed.0);
                let rows: Vec<FlowRow> = rows.collect();
                let names = Dictionary::of_flows(&rows, &self.names.read());
                Ok(Partial::of_flows(limit, rows, self.totals, self.coverage, names))
            }
            Found::Groups(groups) => {
                let groups = groups.sort();
                let things = groups.things(self.plan.keys());
                let names = Dictionary::of_things(&things, &self.exporters, &self.names.read());
                Ok(Partial::of_groups(groups, self.totals, self.coverage, names))
            }
        }
    }
}

/// Where the values of a key come from.
enum KeySource<'a> {
    Absent,
    Column(Values<'a>),
    Element(DataType, Option<ElementReader<'a>>),
}

fn write_key(columns: &[KeySource<'_>], keys: &[Key], row: usize, bytes: &mut [u8]) {
    let mut rest = bytes;
    for (column, key) in columns.iter().zip(keys) {
        let (here, after) = rest.split_at_mut(key.width());
        match column {
            KeySource::Absent => here.fill(0),
            KeySource::Column(values) => values.write_key(row, here),
            KeySource::Element(kind, reader) => {
                let value = reader.as_ref().and_then(|reader| reader.value(row));
                element::write_key(*kind, value, here);
            }
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::question::{Order, Question};
    use crate::query::{Answer, Value};
    use crate::{Address, Batch, Store, StoreConfig};

    fn flow(first_ms: u64, last_ms: u64, source: u8, destination: u8, bytes: u64) -> FlowRow {
        FlowRow {
            received_ms: last_ms,
            first_ms,
            last_ms,
            source_address: Address::from_v4([10, 0, 0, source]),
            destination_address: Address::from_v4([10, 0, 0, destination]),
            packets: 1,
            bytes,
            ..FlowRow::default()
        }
    }

    fn store(folder: &std::path::Path, slices: &[&[FlowRow]]) -> Store {
        let (mut store, _) = Store::open(StoreConfig::new(folder)).unwrap();
        for rows in slices {
            let mut batch = Batch::default();
            rows.iter().for_each(|row| batch.push(row));
            store.append(batch).unwrap();
            store.seal_all().unwrap();
        }
        store
    }

    fn question(view: View, window: (Option<u64>, Option<u64>)) -> Question {
        Question { filter: String::new(), from_ms: window.0, until_ms: window.1, view }
    }

    fn ask(store: &Store, question: &Question, limits: &Limits) -> Result<Partial, Error> {
        let plan = Plan::compile(question).unwrap();
        answer(&store.reader().snapshot(), &plan, limits)
    }

    fn by_address(limit: usize) -> View {
        View::Statistic { keys: vec![Key::Address], order: Order::Flows, limit }
    }

    fn firsts(answer: &Answer) -> Vec<Value> {
        answer.rows.iter().map(|row| row[0].clone()).collect()
    }

    #[test]
    fn a_flow_to_its_own_address_counts_twice_as_in_nfdump() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), &[&[flow(0, 1, 1, 1, 1000), flow(0, 1, 1, 2, 500)]]);
        let question = question(by_address(0), (None, None));
        let answer = ask(&store, &question, &Limits::default()).unwrap().finish(&question);
        let flows = answer.column("flows").unwrap();
        let bytes = answer.column("bytes").unwrap();
        assert_eq!(answer.rows[0][flows], Value::Number(3));
        assert_eq!(answer.rows[0][bytes], Value::Number(2500));
        assert_eq!((answer.totals.flows, answer.totals.bytes), (2, 1500));
    }

    #[test]
    fn a_window_holds_the_flows_that_lie_wholly_in_it_and_skips_segments() {
        let folder = tempfile::tempdir().unwrap();
        let early = [flow(0, 10, 1, 2, 1), flow(5, 25, 1, 2, 2)];
        let store = store(folder.path(), &[&early, &[flow(50, 60, 1, 2, 4)]]);
        let question = question(View::Flows { limit: 9 }, (Some(0), Some(20)));
        let partial = ask(&store, &question, &Limits::default()).unwrap();
        assert_eq!((partial.totals.flows, partial.totals.bytes), (1, 1));
        assert_eq!((partial.coverage.segments_scanned, partial.coverage.segments_skipped), (1, 1));
    }

    #[test]
    fn a_listing_holds_the_earliest_flows_and_sums_over_all() {
        let folder = tempfile::tempdir().unwrap();
        let late = [flow(30, 31, 1, 2, 1), flow(10, 11, 1, 2, 1)];
        let store = store(folder.path(), &[&late, &[flow(20, 21, 1, 2, 1)]]);
        let question = question(View::Flows { limit: 2 }, (None, None));
        let answer = ask(&store, &question, &Limits::default()).unwrap().finish(&question);
        assert_eq!(firsts(&answer), [Value::Number(10), Value::Number(20)]);
        assert_eq!((answer.totals.flows, answer.available), (3, 3));
    }

    #[test]
    fn too_many_groups_or_rows_are_refused_with_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), &[&[flow(0, 1, 1, 2, 1), flow(0, 1, 3, 4, 1)]]);
        let limits = Limits { groups: 3, rows: 1 };
        let groups = ask(&store, &question(by_address(1), (None, None)), &limits).unwrap_err();
        assert!(matches!(groups, Error::TooManyGroups { bound: 3 }), "{groups}");
        let all = question(View::Flows { limit: 0 }, (None, None));
        let rows = ask(&store, &all, &limits).unwrap_err();
        assert!(matches!(rows, Error::TooManyRows { bound: 1 }), "{rows}");
        ask(&store, &question(View::Flows { limit: 1 }, (None, None)), &limits).unwrap();
    }

    #[test]
    fn a_query_that_is_stopped_is_abandoned_and_no_segment_is_called_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path(), &[&[flow(0, 1, 1, 2, 1)]]);
        let question = Question {
            filter: "bytes 1 and packets 1".to_owned(),
            ..question(View::Flows { limit: 9 }, (None, None))
        };
        let (plan, limits) = (Plan::compile(&question).unwrap(), Limits::default());
        let stop = Stop::new(None);
        let ask = |store: &Store| answer_until(&store.reader().snapshot(), &plan, &limits, &stop);
        assert_eq!(ask(&store).unwrap().totals.flows, 1);
        stop.stop();
        assert!(matches!(ask(&store), Err(Error::Abandoned)));
        let names = Names::default();
        let mut scan = Scan::new(&plan, &names, &limits, &stop);
        let segment = store.reader().snapshot().segments()[0].open().unwrap();
        let within = scan.source(&segment, segment.range(), plan.filter());
        assert!(matches!(within, Err(Error::Abandoned)), "between the parts of a filter");
        let mut batch = Batch::default();
        batch.push(&flow(0, 1, 1, 2, 1));
        store.append(batch).unwrap();
        let memory = Snapshot { segments: Default::default(), ..store.reader().snapshot() };
        assert!(matches!(answer_until(&memory, &plan, &limits, &stop), Err(Error::Abandoned)));
    }

    #[test]
    fn a_damaged_segment_is_named_and_the_others_answer() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path(), &[&[flow(0, 1, 1, 2, 1)], &[flow(0, 1, 1, 2, 4)]]);
        let path = store.reader().snapshot().segments()[0].path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 0xff;
        std::fs::write(&path, bytes).unwrap();
        let question = question(View::Flows { limit: 9 }, (None, None));
        let partial = ask(&store, &question, &Limits::default()).unwrap();
        assert_eq!((partial.totals.flows, partial.totals.bytes), (1, 4));
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(partial.coverage.damaged[0].contains(&name), "{:?}", partial.coverage.damaged);
    }
}
