//! Templates: what a data set's bytes mean, worked out once when the template arrives.
//!
//! A [`Template`] keeps its record verbatim, so that a proxy can emit it again, and a [`FieldPlan`]
//! that says which bytes belong to which column, so that a slave decodes without looking at field
//! specifiers. Both are bounded: a template has at most [`MAX_FIELDS`] fields, a [`TemplateStore`]
//! at most as many templates as it was made for.
//!
//! Deliberately absent: the lifetime of RFC 7011, Section 8.4. A template lives as long as its
//! session, until it is redefined or withdrawn, since exporters that refresh too seldom are common
//! and a data set without its template is lost.

use std::collections::BTreeMap;

use weir_store::Column;

use crate::Discard;
use crate::element::{self, Clock, Meaning};
use crate::wire::set::{FieldSpecifier, TemplateRecord};
use crate::wire::{Protocol, ipfix, netflow5};

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
    /// The first is read. Each next one is added to a counter; to any other column it is put where
    /// the value is still zero.
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
    /// Where the values stand, in the order of the record; of a template with variable-length
    /// fields the offsets and variable lengths hold only after [`Template::locate`].
    pub(crate) places: Box<[Place]>,
    /// The columns that the record has values for, but for its times.
    pub(crate) columns: Box<[ColumnPlan]>,
    /// What the destination port is where it is still zero.
    pub(crate) icmp: Box<[Icmp]>,
    /// The record's times.
    pub(crate) times: TimePlan,
}

/// Fields that have a meaning, while a plan is being made.
#[derive(Default)]
struct Planner {
    places: Vec<Place>,
    /// Index of the field behind each place.
    fields: Vec<u16>,
    /// What, its rank, its place; one entry for each pair of the first two.
    found: Vec<(Meaning, u8, u16)>,
}

impl Planner {
    fn add(&mut self, index: u16, place: Place, meaning: Meaning, rank: u8) {
        if !fits(meaning, place.length)
            || self.found.iter().any(|&(m, r, _)| (m, r) == (meaning, rank))
        {
            return;
        }
        self.found.push((meaning, rank, self.places.len() as u16));
        self.places.push(place);
        self.fields.push(index);
    }

    fn finish(mut self) -> FieldPlan {
        self.found.sort_by_key(|&(_, rank, _)| rank);
        let columns = Column::ALL.iter().filter_map(|&column| self.column(column)).collect();
        let (icmp, times) = (self.icmp(), self.times());
        FieldPlan { places: self.places.into(), columns, icmp, times }
    }

    fn column(&self, column: Column) -> Option<ColumnPlan> {
        let of = |wanted: fn(Meaning) -> Option<Column>| {
            let found = self.found.iter().filter(move |&&(m, ..)| wanted(m) == Some(column));
            found.map(|&(meaning, _, place)| Source { place, meaning })
        };
        let own = of(|meaning| match meaning {
            Meaning::Number(c) | Meaning::AddressV4(c) | Meaning::AddressV6(c) => Some(c),
            _ => None,
        });
        let other = of(|meaning| match meaning {
            Meaning::Other(c) => Some(c),
            _ => None,
        });
        let sources: Box<[Source]> = match column {
            // A counter of zero is a count, not an absent value.
            Column::Bytes | Column::Packets => own.take(1).chain(other.take(1)).collect(),
            _ => own.collect(),
        };
        (!sources.is_empty()).then_some(ColumnPlan { column, sources })
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

/// Whether a value of this length can bear this meaning; variable lengths are checked by record.
fn fits(meaning: Meaning, length: u16) -> bool {
    let variable = length == ipfix::VARIABLE_LENGTH;
    match meaning {
        Meaning::AddressV4(_) => variable || length == 4,
        Meaning::AddressV6(_) => variable || length == 16,
        Meaning::Start(Clock::Ntp) | Meaning::End(Clock::Ntp) | Meaning::Observed(Clock::Ntp) => {
            length == 8
        }
        _ => variable || (1..=8).contains(&length),
    }
}

/// The plan of NetFlow v5's one record.
pub(crate) fn netflow5_plan() -> FieldPlan {
    use netflow5::record as at;
    let table = [
        (at::SOURCE_ADDRESS, 8),
        (at::DESTINATION_ADDRESS, 12),
        (at::NEXT_HOP, 15),
        (at::INPUT, 10),
        (at::OUTPUT, 14),
        (at::PACKETS, 2),
        (at::BYTES, 1),
        (at::FIRST, 22),
        (at::LAST, 21),
        (at::SOURCE_PORT, 7),
        (at::DESTINATION_PORT, 11),
        (at::TCP_FLAGS, 6),
        (at::PROTOCOL, 4),
        (at::TOS, 5),
        (at::SOURCE_AS, 16),
        (at::DESTINATION_AS, 17),
        (at::SOURCE_MASK, 9),
        (at::DESTINATION_MASK, 13),
    ];
    let mut planner = Planner::default();
    for (range, element) in table {
        let place = Place { offset: range.start as u32, length: range.len() as u16 };
        let field = FieldSpecifier { element, enterprise: 0, length: place.length };
        let (meaning, rank) = element::meaning(&field).expect("every v5 field has a column");
        planner.add(0, place, meaning, rank);
    }
    planner.finish()
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
    /// Every field's length, when one of them is variable; else empty.
    lengths: Box<[u16]>,
    /// Index of the field behind each of the plan's places, when a field is variable.
    planned: Box<[u16]>,
    plan: FieldPlan,
}

impl Template {
    /// Works out what a template record says.
    ///
    /// # Errors
    /// [`Discard::TemplateMalformed`] when it withdraws, when its records would have no length, or
    /// when it has more than [`MAX_FIELDS`] fields.
    pub fn compile(protocol: Protocol, record: &TemplateRecord<'_>) -> Result<Template, Discard> {
        let mut planner = Planner::default();
        let (mut fixed, mut variable, mut count) = (0usize, 0usize, 0usize);
        for field in record.fields() {
            if count == MAX_FIELDS {
                return Err(Discard::TemplateMalformed);
            }
            if let Some((meaning, rank)) =
                element::meaning(&field).filter(|_| count >= record.scope_count.into())
            {
                let place = Place { offset: fixed as u32, length: field.length };
                planner.add(count as u16, place, meaning, rank);
            }
            if field.is_variable() {
                variable += 1;
            } else {
                fixed += usize::from(field.length);
            }
            count += 1;
        }
        let min_length = fixed + variable;
        if record.withdrawal || min_length == 0 {
            return Err(Discard::TemplateMalformed);
        }
        let (lengths, planned) = if variable == 0 {
            Default::default()
        } else {
            (record.fields().map(|field| field.length).collect(), planner.fields.clone().into())
        };
        let plan = planner.finish();
        Ok(Template {
            id: record.id,
            options: record.options,
            record: record.bytes.into(),
            min_length,
            fixed_length: (variable == 0).then_some(fixed),
            bound_to_header: record.options || plan.times.bound_to_header(protocol),
            lengths,
            planned,
            plan,
        })
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

    /// Writes where the plan's values stand in `record`, which [`Template::records`] has given.
    /// `places` keeps its capacity from record to record.
    pub(crate) fn locate(&self, record: &[u8], places: &mut Vec<Place>) {
        places.clear();
        let mut planned = self.planned.iter().peekable();
        let mut at = 0;
        for (index, &length) in self.lengths.iter().enumerate() {
            let Some((start, end)) = value_range(record, at, length) else { break };
            if planned.next_if(|&&field| usize::from(field) == index).is_some() {
                places.push(Place { offset: start as u32, length: (end - start) as u16 });
            }
            at = end;
        }
        places.resize(self.planned.len(), Place::default());
    }
}

/// Where the value that stands at `at` begins and ends (RFC 7011, Section 7), if it is all there.
#[inline]
fn value_range(bytes: &[u8], at: usize, length: u16) -> Option<(usize, usize)> {
    let (start, length) = if length != ipfix::VARIABLE_LENGTH {
        (at, usize::from(length))
    } else {
        match *bytes.get(at..)? {
            [0xff, high, low, ..] => (at + 3, usize::from(u16::from_be_bytes([high, low]))),
            [0xff, ..] | [] => return None,
            [length, ..] => (at + 1, usize::from(length)),
        }
    };
    let end = start + length;
    (end <= bytes.len()).then_some((start, end))
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
        let length = match self.template.fixed_length {
            Some(length) => length,
            None => match self.variable_length() {
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

impl Records<'_> {
    fn variable_length(&self) -> Option<usize> {
        let step = |at, &length: &u16| value_range(self.rest, at, length).map(|(_, end)| end);
        self.template.lengths.iter().try_fold(0, step)
    }
}

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

/// The live templates of one session, by id; options templates among them, since they share the
/// ids (RFC 7011, Section 3.4.1).
#[derive(Debug)]
pub struct TemplateStore {
    limit: usize,
    by_id: BTreeMap<u16, Box<Template>>,
}

impl TemplateStore {
    /// An empty store for at most `limit` templates.
    pub fn new(limit: usize) -> Self {
        TemplateStore { limit, by_id: BTreeMap::new() }
    }

    /// Keeps a template, in place of one with the same id.
    ///
    /// # Errors
    /// [`Discard::TemplateTableFull`] when it is new and there is no room.
    pub fn insert(&mut self, template: Template) -> Result<Change, Discard> {
        if let Some(known) = self.by_id.get_mut(&template.id) {
            if **known == template {
                return Ok(Change::Same);
            }
            **known = template;
            return Ok(Change::Changed);
        }
        if self.by_id.len() >= self.limit {
            return Err(Discard::TemplateTableFull);
        }
        self.by_id.insert(template.id, Box::new(template));
        Ok(Change::New)
    }

    /// Keeps what a template record says; one that is known byte for byte, as most are, is not
    /// compiled again.
    ///
    /// # Errors
    /// Those of [`Template::compile`] and [`TemplateStore::insert`].
    pub fn learn(
        &mut self,
        protocol: Protocol,
        record: &TemplateRecord<'_>,
    ) -> Result<Change, Discard> {
        match self.by_id.get(&record.id) {
            Some(known) if known.options == record.options && *known.record == *record.bytes => {
                Ok(Change::Same)
            }
            _ => self.insert(Template::compile(protocol, record)?),
        }
    }

    /// The template with this id.
    #[inline]
    pub fn get(&self, id: u16) -> Option<&Template> {
        self.by_id.get(&id).map(|template| &**template)
    }

    /// Forgets a template; whether there was one.
    pub fn withdraw(&mut self, id: u16) -> bool {
        self.by_id.remove(&id).is_some()
    }

    /// Forgets all templates, or all options templates.
    pub fn withdraw_all(&mut self, options: bool) {
        self.by_id.retain(|_, template| template.options != options);
    }

    /// All templates in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Template> {
        self.by_id.values().map(|template| &**template)
    }

    /// Templates in the store.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
