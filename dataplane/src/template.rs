//! Templates: what a data set's bytes mean, worked out once when the template arrives.
//!
//! A [`Template`] keeps its record verbatim, so that a proxy can emit it again, and a [`FieldPlan`]
//! that says which bytes belong to which column, so that a slave decodes without looking at field
//! specifiers. Both are bounded: a template has at most [`MAX_FIELDS`] fields, a [`TemplateStore`]
//! at most as many templates as it was made for, and what they take is paid from a
//! [`Purse`](crate::budget::Purse).
//!
//! Deliberately absent: the lifetime of RFC 7011, Section 8.4. A template lives as long as its
//! session, until it is redefined or withdrawn, since exporters that refresh too seldom are common
//! and a data set without its template is lost.

use std::ops::Range;
use std::sync::Arc;

use weir_store::Column;
use weir_store::element::ElementId;
use weir_store::overflow::{Field, Shape};
use weir_store::schema::Form;

use crate::Discard;
use crate::budget::heap;
use crate::element::{self, Clock, Meaning};
use crate::told;
use crate::wire::set::{FieldSpecifier, TemplateRecord};
use crate::wire::{Protocol, fixed, ipfix};

mod store;

pub use store::{Change, TemplateStore};

/// The most fields that a template may have; a record of so many is far over any real one.
pub const MAX_FIELDS: usize = 1_024;

/// Where a value stands in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// Bytes from the record's first.
    pub(crate) offset: u32,
    /// Bytes of the value.
    pub(crate) length: u16,
}

/// A value to read: an index into a plan's places, and what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) place: u16,
    pub(crate) meaning: Meaning,
}

/// Where one column's values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnPlan {
    pub(crate) column: Column,
    /// The first is read; each next one is put where the value is still zero.
    pub(crate) sources: Box<[Source]>,
}

/// Where ICMP's type and code come from, when they have fields of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Icmp {
    /// The type's place.
    pub(crate) kind: u16,
    /// The code's place.
    pub(crate) code: Option<u16>,
}

/// Where a moment comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) place: u16,
    pub(crate) clock: Clock,
}

/// Where a record's times come from; without either it is the export time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct TimePlan {
    pub(crate) start: Option<Moment>,
    pub(crate) end: Option<Moment>,
    /// The place of the duration, and its units in a millisecond.
    pub(crate) duration: Option<(u16, u64)>,
    /// The place of the exporter's start, milliseconds since 1970.
    pub(crate) boot: Option<u16>,
}

impl TimePlan {
    /// Whether a record's times depend on the header it came under.
    fn bound_to_header(&self, protocol: Protocol) -> bool {
        let bound = |moment: Option<Moment>| match moment.map(|m| m.clock) {
            Some(Clock::Seconds | Clock::Milliseconds | Clock::Ntp) => false,
            Some(Clock::Uptime) => protocol != Protocol::Ipfix || self.boot.is_none(),
            Some(Clock::DeltaMicroseconds) => true,
            // The other end stands in for the one that is missing.
            None => self.start.is_none() && self.end.is_none(),
        };
        bound(self.start) || bound(self.end)
    }
}

/// How to turn a template's records into rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldPlan {
    /// Where the values stand, in the order of the record. In a template with variable-length
    /// fields the offsets count from the last of those before, and [`Layout::locate`] gives the
    /// real ones.
    pub(crate) places: Box<[Place]>,
    /// The columns that the record has values for, but for its times.
    pub(crate) columns: Box<[ColumnPlan]>,
    /// What the destination port is where it is still zero.
    pub(crate) icmp: Box<[Icmp]>,
    /// The record's times.
    pub(crate) times: TimePlan,
    /// What no column takes.
    pub(crate) overflow: Option<OverflowPlan>,
}

/// What a record says beside its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OverflowPlan {
    /// Which elements.
    pub(crate) shape: Arc<Shape>,
    /// Their places, in the order of the shape.
    pub(crate) places: Box<[u16]>,
    /// The bytes of a record that they are, where every record has the same length.
    pub(crate) runs: Option<Box<[Range<usize>]>>,
}

/// A template's fields, while a plan is being made.
#[derive(Default)]
struct Planner {
    places: Vec<Place>,
    /// The run of each place; see [`Layout`].
    runs: Vec<u16>,
    /// What, its rank, its place; one entry for each pair of the first two.
    found: Vec<(Meaning, u8, u16)>,
    /// The element of each place.
    elements: Vec<ElementId>,
}

impl Planner {
    /// Of several fields with the same element the last is taken: their order is that of the
    /// packet's headers, and the innermost ones are those of the flow that people ask for.
    fn add(&mut self, run: u16, place: Place, field: &FieldSpecifier) {
        let element = ElementId::new(field.enterprise, field.element).canonical();
        if element == element::PADDING {
            return;
        }
        let at = self.places.len() as u16;
        self.places.push(place);
        self.runs.push(run);
        self.elements.push(element);
        for (meaning, rank) in element::meanings(field) {
            if !fits(meaning, place.length) {
                continue;
            }
            match self.found.iter_mut().find(|(m, r, _)| (*m, *r) == (meaning, rank)) {
                Some((.., place)) => *place = at,
                None => self.found.push((meaning, rank, at)),
            }
        }
    }

    /// `overflow` says whether what no column takes is to be kept.
    fn finish(mut self, overflow: bool, is_fixed: bool) -> FieldPlan {
        self.found.sort_by_key(|&(_, rank, _)| rank);
        let columns: Box<[ColumnPlan]> =
            Column::ALL.iter().filter_map(|&column| self.column(column)).collect();
        let (icmp, times) = (self.icmp(), self.times());
        let plan = FieldPlan { places: Box::default(), columns, icmp, times, overflow: None };
        let overflow = if overflow { self.overflow(&plan, is_fixed) } else { None };
        FieldPlan { places: self.places.into(), overflow, ..plan }
    }

    fn column(&self, column: Column) -> Option<ColumnPlan> {
        let own = self.found.iter().filter(|(meaning, ..)| meaning.column() == Some(column));
        let mut sources: Vec<Source> =
            own.clone().map(|&(meaning, _, place)| Source { place, meaning }).collect();
        match column.form() {
            // A counter of zero is a count, not an absent value.
            Form::Bytes | Form::Packets => sources.truncate(1),
            // Prefixes stand for addresses that the template lacks.
            Form::Address => {
                let addresses = own.filter(|&&(_, rank, _)| rank < PREFIX_RANK).count();
                sources.truncate(if addresses > 0 { addresses } else { sources.len() });
            }
            _ => {}
        }
        (!sources.is_empty()).then(|| ColumnPlan { column, sources: sources.into() })
    }

    /// The fields that columns and times do not take, or not wholly.
    fn overflow(&self, plan: &FieldPlan, is_fixed: bool) -> Option<OverflowPlan> {
        let mut whole = vec![false; self.places.len()];
        for column in &plan.columns {
            let alternatives =
                column.sources.iter().take(if column.has_alternatives() { 2 } else { 1 });
            for source in alternatives {
                let length = self.places[usize::from(source.place)].length;
                whole[usize::from(source.place)] = is_whole(source.meaning, length);
            }
            // ICMP's type and code stand for a port that is zero.
            if column.column == Column::DestinationPort {
                let at = |id| self.elements.iter().position(|e| *e == ElementId::new(0, id));
                [at(32), at(139)].into_iter().flatten().for_each(|place| whole[place] = true);
            }
        }
        let icmp = plan.icmp.iter().flat_map(|icmp| [Some(icmp.kind), icmp.code]).flatten();
        let times = &plan.times;
        let ends = [times.start, times.end].into_iter().flatten().map(|moment| moment.place);
        let duration = times.duration.filter(|_| times.start.is_none() || times.end.is_none());
        let others = duration.map(|(place, _)| place).into_iter().chain(times.boot);
        for place in icmp.chain(ends).chain(others) {
            whole[usize::from(place)] = true;
        }
        let rest = || (0..self.places.len()).filter(|&at| !whole[at] && self.places[at].length > 0);
        let field =
            |at: usize| Field { element: self.elements[at], length: self.places[at].length };
        let shape = Shape::new(rest().map(field));
        if shape.fields().is_empty() {
            return None;
        }
        let runs = is_fixed.then(|| {
            let mut runs: Vec<Range<usize>> = Vec::new();
            for Place { offset, length } in rest().map(|at| self.places[at]) {
                let (start, end) = (offset as usize, offset as usize + usize::from(length));
                match runs.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => runs.push(start..end),
                }
            }
            runs.into()
        });
        let places = rest().map(|at| at as u16).collect();
        Some(OverflowPlan { shape: Arc::new(shape), places, runs })
    }

    /// Type and code in fields of their own, IPv4's first.
    fn icmp(&self) -> Box<[Icmp]> {
        let find = |wanted, rank| {
            self.found.iter().find(|&&(m, r, _)| (m, r) == (wanted, rank)).map(|&(.., place)| place)
        };
        [0, 1]
            .into_iter()
            .filter_map(|rank| {
                let kind = find(Meaning::IcmpType, rank)?;
                Some(Icmp { kind, code: find(Meaning::IcmpCode, rank) })
            })
            .collect()
    }

    fn times(&self) -> TimePlan {
        let mut times = TimePlan::default();
        let mut observed = None;
        for &(meaning, _, place) in &self.found {
            match meaning {
                Meaning::Start(clock) => _ = times.start.get_or_insert(Moment { place, clock }),
                Meaning::End(clock) => _ = times.end.get_or_insert(Moment { place, clock }),
                Meaning::Observed(clock) => _ = observed.get_or_insert(Moment { place, clock }),
                Meaning::DurationMilliseconds => _ = times.duration.get_or_insert((place, 1)),
                Meaning::DurationMicroseconds => _ = times.duration.get_or_insert((place, 1000)),
                Meaning::Boot => _ = times.boot.get_or_insert(place),
                _ => {}
            }
        }
        times.start = times.start.or(observed);
        times.end = times.end.or(observed);
        times
    }
}

impl OverflowPlan {
    /// Bytes of memory that this takes beside itself.
    fn memory(&self) -> usize {
        heap(size_of_val(&*self.places))
            + self.runs.as_ref().map_or(0, |runs| heap(size_of_val(&**runs)))
            + heap(size_of::<Shape>())
            + heap(size_of_val(self.shape.fields()))
    }
}

/// The first rank of prefixes among addresses.
const PREFIX_RANK: u8 = 2;

impl ColumnPlan {
    /// Whether the second source says the same of the other IP version, so that one of the two is
    /// zero in every record.
    fn has_alternatives(&self) -> bool {
        let both = |of: fn(Meaning) -> bool| self.sources.iter().take(2).any(|s| of(s.meaning));
        let versions = both(|meaning| matches!(meaning, Meaning::AddressV4(_)))
            && both(|meaning| matches!(meaning, Meaning::AddressV6(_)));
        versions || matches!(self.column, Column::SourceMask | Column::DestinationMask)
    }
}

/// Whether a column holds all that a value of this length says.
fn is_whole(meaning: Meaning, length: u16) -> bool {
    match meaning {
        Meaning::Number(column) | Meaning::Flags(column) => usize::from(length) <= column.width(),
        Meaning::Dscp(_) => length == 1,
        _ => length != ipfix::VARIABLE_LENGTH,
    }
}

/// Whether a value of this length can bear this meaning; variable lengths are checked by record.
fn fits(meaning: Meaning, length: u16) -> bool {
    let variable = length == ipfix::VARIABLE_LENGTH;
    match meaning {
        Meaning::AddressV4(_) => variable || length == 4,
        Meaning::AddressV6(_) => variable || length == 16,
        Meaning::Word(..) => length == 12,
        Meaning::Application(_) => variable || (1..=9).contains(&length),
        Meaning::Label(_) => length == 3,
        Meaning::Start(Clock::Ntp) | Meaning::End(Clock::Ntp) | Meaning::Observed(Clock::Ntp) => {
            length == 8
        }
        _ => variable || (1..=8).contains(&length),
    }
}

/// The plan of a record whose layout its version fixes.
pub(crate) fn fixed_plan(layout: &fixed::Layout) -> FieldPlan {
    let mut planner = Planner::default();
    for field in layout.fields {
        let place = Place { offset: field.at.start as u32, length: field.at.len() as u16 };
        let element = field.element;
        let field = FieldSpecifier { element, enterprise: 0, length: place.length };
        planner.add(0, place, &field);
    }
    planner.finish(true, true)
}

/// How a record with variable-length fields is laid out: runs of fixed-length fields, each but the
/// last followed by one field of variable length. Walking it costs a step for each such field, and
/// so never more steps than the record has bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layout {
    /// Bytes of each run.
    runs: Box<[u32]>,
    /// The run of each of the plan's places; a variable-length one belongs to the run before it.
    run_of_place: Box<[u16]>,
}

impl Layout {
    /// The length of the record at the head of `bytes`, if it is all there.
    #[inline]
    fn record_length(&self, bytes: &[u8]) -> Option<usize> {
        let (last, runs) = self.runs.split_last().expect("there is a run after the last field");
        let step = |at, &run: &u32| variable_value(bytes, at + run as usize).map(|value| value.end);
        let end = runs.iter().try_fold(0, step)? + *last as usize;
        (end <= bytes.len()).then_some(end)
    }

    /// Where a run begins in this record.
    fn run_start(&self, record: &[u8], run: usize) -> usize {
        let step = |at, &length: &u32| {
            let end = at + length as usize;
            variable_value(record, end).map_or(end, |value| value.end)
        };
        self.runs[..run].iter().fold(0, step)
    }

    /// Writes where the plan's values stand in this record.
    fn locate(&self, record: &[u8], plan: &[Place], places: &mut Vec<Place>) {
        places.clear();
        let mut planned = plan.iter().zip(&self.run_of_place).peekable();
        let mut at = 0;
        for (run, &length) in self.runs.iter().enumerate() {
            let end = at + length as usize;
            let value = variable_value(record, end).unwrap_or(end..end);
            while let Some((place, _)) = planned.next_if(|&(_, &of)| usize::from(of) == run) {
                places.push(if place.length == ipfix::VARIABLE_LENGTH {
                    Place { offset: value.start as u32, length: value.len() as u16 }
                } else {
                    Place { offset: at as u32 + place.offset, length: place.length }
                });
            }
            at = value.end;
        }
    }
}

/// Where the value lies whose length stands at `at` (RFC 7011, Section 7), if it is all there.
#[inline]
pub(crate) fn variable_value(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let (start, length) = match *bytes.get(at..)? {
        [0xff, high, low, ..] => (at + 3, usize::from(u16::from_be_bytes([high, low]))),
        [0xff, ..] | [] => return None,
        [length, ..] => (at + 1, usize::from(length)),
    };
    let end = start + length;
    (end <= bytes.len()).then_some(start..end)
}

/// A template of one session, ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The template id.
    pub id: u16,
    /// Whether its records are options data.
    pub options: bool,
    /// The template record as it stood on the wire.
    pub record: Box<[u8]>,
    /// The least bytes that a record has; at least one.
    pub min_length: usize,
    /// The bytes that every record has, when no field is of variable length.
    pub fixed_length: Option<usize>,
    /// Whether a record's times mean something only under the header that it came under.
    pub bound_to_header: bool,
    /// Where the scope ends: so many bytes behind the beginning of this run of the layout.
    scope_end: (u16, u32),
    /// Of records with variable-length fields.
    layout: Option<Layout>,
    plan: FieldPlan,
    /// Of an options template that tells of samplers or names.
    told: Option<Box<told::Plan>>,
}

impl Template {
    /// Works out what a template record says.
    ///
    /// # Errors
    /// [`Discard::TemplateMalformed`] when it withdraws, when its records would have no length, or
    /// when it has more than [`MAX_FIELDS`] fields.
    pub fn compile(protocol: Protocol, record: &TemplateRecord<'_>) -> Result<Template, Discard> {
        if record.fields().nth(MAX_FIELDS).is_some() {
            return Err(Discard::TemplateMalformed);
        }
        let mut planner = Planner::default();
        let mut runs = vec![0u32];
        let mut scope_end = (0, 0);
        for (index, field) in record.fields().enumerate() {
            let run = runs.len() - 1;
            let is_scope = index < usize::from(record.scope_count);
            if !is_scope {
                let place = Place { offset: runs[run], length: field.length };
                planner.add(run as u16, place, &field);
            }
            if field.is_variable() {
                runs.push(0);
            } else {
                runs[run] += u32::from(field.length);
            }
            if is_scope {
                let run = runs.len() - 1;
                scope_end = (run as u16, runs[run]);
            }
        }
        let variable = runs.len() - 1;
        let min_length = runs.iter().sum::<u32>() as usize + variable;
        if record.withdrawal || min_length == 0 {
            return Err(Discard::TemplateMalformed);
        }
        let run_of_place = planner.runs.as_slice().into();
        let layout = (variable > 0).then(|| Layout { runs: runs.into(), run_of_place });
        let plan = planner.finish(!record.options, variable == 0);
        Ok(Template {
            id: record.id,
            options: record.options,
            record: record.bytes.into(),
            min_length,
            fixed_length: layout.is_none().then_some(min_length),
            bound_to_header: record.options || plan.times.bound_to_header(protocol),
            scope_end,
            layout,
            plan,
            told: record.options.then(|| told::Plan::compile(protocol, record)).flatten(),
        })
    }

    /// The head of an options data record that says what the rest speaks of.
    ///
    /// # Panics
    /// When [`Template::records`] has not given `record`.
    pub fn scope<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        let (run, within) = self.scope_end;
        let start = self.layout.as_ref().map_or(0, |layout| layout.run_start(record, run.into()));
        &record[..start + within as usize]
    }

    /// The records of a data set's body. What is left at its end and is shorter than the shortest
    /// record is padding (RFC 7011, Section 3.3.1).
    pub fn records<'a>(&'a self, body: &'a [u8]) -> Records<'a> {
        Records { template: self, rest: body }
    }

    /// How to turn the records into rows.
    pub(crate) fn plan(&self) -> &FieldPlan {
        &self.plan
    }

    /// How to read what its records tell of samplers and names, if they do.
    pub(crate) fn told(&self) -> Option<&told::Plan> {
        self.told.as_deref()
    }

    /// Where the plan's values stand in `record`, which [`Template::records`] has given. `scratch`
    /// keeps its memory from record to record.
    pub(crate) fn places<'a>(&'a self, record: &[u8], scratch: &'a mut Vec<Place>) -> &'a [Place] {
        match &self.layout {
            None => &self.plan.places,
            Some(layout) => {
                layout.locate(record, &self.plan.places, scratch);
                scratch
            }
        }
    }

    /// Bytes of memory that this takes, in a box of its own.
    fn memory(&self) -> usize {
        let plan = &self.plan;
        let layout = self.layout.as_ref().map_or(0, |layout| {
            heap(size_of_val(&*layout.runs)) + heap(size_of_val(&*layout.run_of_place))
        });
        let sources = plan.columns.iter().map(|column| heap(size_of_val(&*column.sources)));
        heap(size_of::<Template>())
            + heap(self.record.len())
            + heap(size_of_val(&*plan.places))
            + heap(size_of_val(&*plan.columns))
            + heap(size_of_val(&*plan.icmp))
            + sources.sum::<usize>()
            + plan.overflow.as_ref().map_or(0, OverflowPlan::memory)
            + layout
            + self.told.as_ref().map_or(0, |plan| plan.memory())
    }
}

/// The records of one data set. After an error it ends.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    template: &'a Template,
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<&'a [u8], Discard>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < self.template.min_length {
            return None;
        }
        let length = match &self.template.layout {
            None => self.template.min_length,
            Some(layout) => match layout.record_length(self.rest) {
                Some(length) => length,
                None => {
                    self.rest = &[];
                    return Some(Err(Discard::RecordMalformed));
                }
            },
        };
        let (record, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(Ok(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::set::{Set, TemplateRecords};
    use crate::wire::{netflow1, netflow5, netflow8};

    const VARIABLE: u16 = ipfix::VARIABLE_LENGTH;

    /// A template set's body: id 256 and these elements and lengths.
    pub(super) fn body(fields: &[(u16, u16)]) -> Vec<u8> {
        let mut body = vec![1, 0];
        body.extend((fields.len() as u16).to_be_bytes());
        for (element, length) in fields {
            body.extend(element.to_be_bytes());
            body.extend(length.to_be_bytes());
        }
        body
    }

    pub(super) fn with_record<T>(body: &[u8], use_it: impl FnOnce(&TemplateRecord<'_>) -> T) -> T {
        let set = Set { id: ipfix::SET_TEMPLATES, body };
        let record = TemplateRecords::new(Protocol::Ipfix, &set).next().unwrap().unwrap();
        use_it(&record)
    }

    fn compile(protocol: Protocol, fields: &[(u16, u16)]) -> Result<Template, Discard> {
        with_record(&body(fields), |record| Template::compile(protocol, record))
    }

    pub(super) fn ipfix(fields: &[(u16, u16)]) -> Template {
        compile(Protocol::Ipfix, fields).unwrap()
    }

    fn records(template: &Template, body: &[u8]) -> Vec<Result<Vec<u8>, Discard>> {
        template.records(body).map(|record| record.map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn padding_shorter_than_a_record_is_no_record() {
        let template = ipfix(&[(8, 4)]);
        assert_eq!(template.fixed_length, Some(4));
        assert_eq!(records(&template, &[1, 2, 3, 4, 0, 0, 0]), [Ok(vec![1, 2, 3, 4])]);
    }

    #[test]
    fn records_of_no_length_are_refused() {
        let refused = compile(Protocol::Netflow9, &[(8, 0), (12, 0)]);
        assert_eq!(refused.unwrap_err(), Discard::TemplateMalformed);
    }

    #[test]
    fn a_field_of_no_length_takes_no_place() {
        let template = ipfix(&[(1, 0), (4, 1)]);
        assert_eq!(template.fixed_length, Some(1));
        let columns: Vec<_> = template.plan.columns.iter().map(|plan| plan.column).collect();
        assert_eq!(columns, [Column::Protocol]);
    }

    #[test]
    fn too_many_fields_are_refused() {
        assert!(compile(Protocol::Ipfix, &[(1, 4); MAX_FIELDS]).is_ok());
        let refused = compile(Protocol::Ipfix, &[(1, 4); MAX_FIELDS + 1]);
        assert_eq!(refused.unwrap_err(), Discard::TemplateMalformed);
    }

    #[test]
    fn lengths_of_one_byte_and_of_three_are_walked() {
        let template = ipfix(&[(82, VARIABLE), (4, 1)]);
        assert_eq!((template.fixed_length, template.min_length), (None, 2));
        let body = [2, 9, 9, 6, 255, 0, 1, 9, 17, 0, 6];
        let expected = [vec![2, 9, 9, 6], vec![255, 0, 1, 9, 17], vec![0, 6]].map(Ok);
        assert_eq!(records(&template, &body), expected);
    }

    #[test]
    fn a_variable_length_that_leaves_the_set_ends_it() {
        let template = ipfix(&[(82, VARIABLE), (4, 1)]);
        for lie in [&[9, 0, 0, 0][..], &[255, 1, 0, 0], &[255, 0], &[1, 0]] {
            let mut body = vec![0, 6];
            body.extend(lie);
            let expected = [Ok(vec![0, 6]), Err(Discard::RecordMalformed)];
            assert_eq!(records(&template, &body), expected);
        }
    }

    #[test]
    fn values_behind_variable_lengths_are_found() {
        let template = ipfix(&[(4, 1), (82, VARIABLE), (7, 2), (1, VARIABLE), (11, 2)]);
        let record = [6, 2, 0, 0, 0x1f, 0x90, 255, 0, 3, 1, 2, 3, 0, 80];
        let mut scratch = Vec::new();
        let places: Vec<_> = template.places(&record, &mut scratch).to_vec();
        let place = |offset, length| Place { offset, length };
        assert_eq!(places, [place(0, 1), place(2, 2), place(4, 2), place(9, 3), place(12, 2)]);
    }

    #[test]
    fn a_walk_costs_no_step_for_fields_of_no_length() {
        let mut fields = vec![(210, 0); MAX_FIELDS - 1];
        fields.push((82, VARIABLE));
        let template = ipfix(&fields);
        assert_eq!(template.layout.as_ref().unwrap().runs.len(), 2);
        assert_eq!(template.records(&[0; 1000]).count(), 1000);
    }

    #[test]
    fn times_that_need_the_header_bind_the_record_to_it() {
        let bound =
            |protocol, fields: &[(u16, u16)]| compile(protocol, fields).unwrap().bound_to_header;
        use Protocol::{Ipfix, Netflow9};
        assert!(bound(Netflow9, &[(22, 4), (21, 4)]));
        assert!(bound(Netflow9, &[(1, 4)]), "without times it is the export time");
        assert!(bound(Netflow9, &[(152, 8), (21, 4)]));
        assert!(!bound(Netflow9, &[(152, 8), (153, 8), (22, 4), (21, 4)]));
        assert!(!bound(Ipfix, &[(150, 4)]), "the start stands for the end");
        assert!(!bound(Ipfix, &[(323, 8)]));
        assert!(bound(Ipfix, &[(158, 4), (159, 4)]));
        assert!(bound(Ipfix, &[(22, 4), (21, 4)]));
        assert!(!bound(Ipfix, &[(22, 4), (21, 4), (160, 8)]));
    }

    #[test]
    fn options_are_bound_to_their_header() {
        let body = [1, 0, 0, 2, 0, 1, 0, 149, 0, 4, 0, 152, 0, 8];
        let set = Set { id: ipfix::SET_OPTIONS_TEMPLATES, body: &body };
        let record = TemplateRecords::new(Protocol::Ipfix, &set).next().unwrap().unwrap();
        let template = Template::compile(Protocol::Ipfix, &record).unwrap();
        assert!(template.options && template.bound_to_header);
        assert_eq!(*template.record, body);
    }

    #[test]
    fn a_fixed_layout_has_a_place_for_every_field_that_has_a_column() {
        let columns = |layout: &fixed::Layout| fixed_plan(layout).columns.len();
        assert_eq!(columns(&netflow5::LAYOUT), 16);
        assert_eq!(columns(&netflow1::LAYOUT), 12);
        let schemes: Vec<_> = netflow8::LAYOUTS.iter().map(columns).collect();
        assert_eq!(schemes, [7, 6, 7, 7, 11, 6, 8, 11, 8, 9, 8, 8, 12, 13]);
        for layout in fixed::LAYOUTS {
            let times = fixed_plan(layout).times;
            assert_eq!(times.start.map(|start| start.clock), Some(Clock::Uptime));
            assert_eq!(times.end.map(|end| end.clock), Some(Clock::Uptime));
        }
    }
}
