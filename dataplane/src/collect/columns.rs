//! Records of one length into columns: a loop for each column, no decision inside it.
//!
//! Every column that the plan names gets one value for each record; the others are left to
//! `Batch::fill`. A record of variable length comes alone, as one record of its own length.

use weir_store::overflow::{VARIABLE_LENGTH, write_variable};
use weir_store::{Address, Batch, Column, for_each_column};

use super::header::Header;
use super::moment::{Uptime, ntp_ms};
use crate::element::{Clock, Meaning};
use crate::template::{FieldPlan, Icmp, Moment, OverflowPlan, Place, TimePlan};
use crate::told::application;

/// Records of one length, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Records<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) stride: usize,
}

impl<'a> Records<'a> {
    /// The whole records at the head of a data set's body; what is left is padding.
    pub(super) fn new(body: &'a [u8], stride: usize) -> Self {
        Records { bytes: &body[..body.len() - body.len() % stride], stride }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.stride
    }

    /// Each record alone.
    fn each(self) -> impl ExactSizeIterator<Item = Records<'a>> {
        let stride = self.stride;
        self.bytes.chunks_exact(stride).map(move |bytes| Records { bytes, stride })
    }

    /// The record at this place alone, and those behind it.
    pub(super) fn split(self, at: usize) -> (Self, Self) {
        let (start, end) = (at * self.stride, (at + 1) * self.stride);
        let part = |bytes| Records { bytes, ..self };
        (part(&self.bytes[start..end]), part(&self.bytes[end..]))
    }

    /// The number at `place` of the first record.
    pub(super) fn number(self, place: Place) -> u64 {
        let mut found = 0;
        Records { bytes: &self.bytes[..self.stride], ..self }.numbers(place, |value| found = value);
        found
    }

    /// The `N` bytes at `offset` of each record.
    #[inline]
    fn values<const N: usize>(self, offset: u32) -> impl ExactSizeIterator<Item = [u8; N]> {
        let offset = offset as usize;
        self.bytes.chunks_exact(self.stride).map(move |record| {
            *record[offset..].first_chunk().expect("a plan's places lie in the record")
        })
    }

    /// Hands on the number at `place` of each record, in network order, of any size up to eight
    /// bytes (RFC 7011, Section 6.2); one of no size, or of more, counts as zero.
    #[inline]
    fn numbers(self, place: Place, mut each: impl FnMut(u64)) {
        let Place { offset, length } = place;
        match length {
            1 => self.values::<1>(offset).for_each(|[byte]| each(byte.into())),
            2 => self.values(offset).for_each(|bytes| each(u16::from_be_bytes(bytes).into())),
            4 => self.values(offset).for_each(|bytes| each(u32::from_be_bytes(bytes).into())),
            8 => self.values(offset).for_each(|bytes| each(u64::from_be_bytes(bytes))),
            3 | 5..=7 => {
                let range = offset as usize..offset as usize + usize::from(length);
                for record in self.bytes.chunks_exact(self.stride) {
                    let wide = |value, &byte| value << 8 | u64::from(byte);
                    each(record[range.clone()].iter().fold(0, wide));
                }
            }
            _ => (0..self.len()).for_each(|_| each(0)),
        }
    }
}

/// A value that a column holds.
trait Cell: Copy + Default {
    /// This value and that of the column's next source, as one.
    fn merge(self, next: Self) -> Self;

    /// Hands on the value of each record.
    fn read(records: Records<'_>, meaning: Meaning, place: Place, each: impl FnMut(Self));
}

macro_rules! impl_cell_for_numbers {
    ($($kind:ty),*) => {$(
        impl Cell for $kind {
            #[inline]
            fn merge(self, next: Self) -> Self {
                if self == 0 { next } else { self }
            }

            /// A number too wide for the column keeps its low bytes; the plan keeps it in the
            /// overflow as well.
            #[inline]
            fn read(
                records: Records<'_>,
                meaning: Meaning,
                place: Place,
                mut each: impl FnMut(Self),
            ) {
                match meaning {
                    Meaning::Flags(_) => {
                        records.numbers(place, |value| each((value & 0x0fff) as $kind));
                    }
                    Meaning::Dscp(_) => {
                        records.numbers(place, |value| each((value << 2) as $kind));
                    }
                    Meaning::Application(_) => {
                        let start = place.offset as usize;
                        let range = start..start + usize::from(place.length);
                        for record in records.each() {
                            let id = application(&record.bytes[range.clone()]);
                            each(id.unwrap_or(0) as $kind);
                        }
                    }
                    Meaning::Word(_, at) => {
                        let place = Place { offset: place.offset + u32::from(at) * 4, length: 4 };
                        records.numbers(place, |value| each(value as $kind));
                    }
                    _ => records.numbers(place, |value| each(value as $kind)),
                }
            }
        }
    )*};
}

impl_cell_for_numbers!(u8, u16, u32, u64);

impl Cell for Address {
    /// A dual-stack record bears both versions' addresses, the other's as zeroes.
    #[inline]
    fn merge(self, next: Self) -> Self {
        let is_absent = |a| a == Address::ABSENT || a == Address::from_v4([0; 4]);
        if is_absent(self) && !is_absent(next) { next } else { self }
    }

    #[inline]
    fn read(records: Records<'_>, meaning: Meaning, place: Place, mut each: impl FnMut(Self)) {
        match (meaning, place.length) {
            (Meaning::AddressV4(_), 4) => {
                records.values(place.offset).for_each(|bytes| each(Address::from_v4(bytes)));
            }
            (Meaning::AddressV6(_), 16) => {
                records.values(place.offset).for_each(|bytes| each(Address(bytes)));
            }
            _ => (0..records.len()).for_each(|_| each(Address::ABSENT)),
        }
    }
}

/// Appends the columns that the plan names, one value a record. The rows are complete but for what
/// the message says of all its records, and the batch is not settled.
pub(super) fn append(
    batch: &mut Batch,
    records: Records<'_>,
    plan: &FieldPlan,
    places: &[Place],
    header: &Header,
) {
    let begin = batch.rows();
    macro_rules! append_columns {
        ($($field:ident: $kind:ident = $number:literal, $name:ident, $form:ident, $title:literal,
       $word:literal, $elements:literal, $meaning:literal;)*) => {
            for column in &plan.columns {
                let sources = column.sources.iter().map(|s| (s.meaning, places[usize::from(s.place)]));
                match column.column {
                    $(Column::$name => append_column(&mut batch.$field, begin, records, sources),)*
                }
            }
        };
    }
    for_each_column!(append_columns);
    if !plan.icmp.is_empty() {
        batch.destination_port.resize(begin + records.len(), 0);
        fill_icmp(&mut batch.destination_port[begin..], records, &plan.icmp, places);
    }
    append_times(batch, records, &plan.times, places, header);
    if let Some(overflow) = &plan.overflow {
        append_overflow(batch, records, overflow, places);
    }
    batch.grow(begin + records.len());
}

/// Appends the first source's values behind the `begin` rows before, and merges the later ones' into
/// them.
#[inline]
fn append_column<T: Cell>(
    out: &mut Vec<T>,
    begin: usize,
    records: Records<'_>,
    mut sources: impl Iterator<Item = (Meaning, Place)>,
) {
    let Some((meaning, place)) = sources.next() else { return };
    // Rows of templates that do not know the column may stand between.
    out.resize(begin, T::default());
    out.reserve(records.len());
    T::read(records, meaning, place, |value| out.push(value));
    for (meaning, place) in sources {
        let mut cells = out[begin..].iter_mut();
        T::read(records, meaning, place, |next| {
            if let Some(cell) = cells.next() {
                *cell = cell.merge(next);
            }
        });
    }
}

/// Appends what no column takes, behind the batch's complete rows.
fn append_overflow(batch: &mut Batch, records: Records<'_>, plan: &OverflowPlan, places: &[Place]) {
    let begin = batch.rows();
    if let Some(runs) = &plan.runs {
        batch.overflow.extend(begin, &plan.shape, records.bytes, records.stride, runs);
        return;
    }
    batch.overflow.push(begin, &plan.shape, |out| {
        for (field, &place) in plan.shape.fields().iter().zip(&plan.places) {
            let Place { offset, length } = places[usize::from(place)];
            let value = &records.bytes[offset as usize..][..usize::from(length)];
            if field.length == VARIABLE_LENGTH {
                write_variable(out, value);
            } else {
                out.extend_from_slice(value);
            }
        }
    });
}

/// Puts ICMP's type * 256 + code where there is no destination port.
fn fill_icmp(ports: &mut [u16], records: Records<'_>, plan: &[Icmp], places: &[Place]) {
    for icmp in plan {
        for (port, record) in ports.iter_mut().zip(records.each()) {
            if *port == 0 {
                let kind = record.number(places[usize::from(icmp.kind)]);
                let code = icmp.code.map_or(0, |code| record.number(places[usize::from(code)]));
                *port = (kind as u16) << 8 | code as u16;
            }
        }
    }
}

/// Appends when the flows began and ended. An end that the template lacks is worked out from the
/// other and the duration; a template without any time means the export time.
fn append_times(
    batch: &mut Batch,
    records: Records<'_>,
    plan: &TimePlan,
    places: &[Place],
    header: &Header,
) {
    let (first, last) = (&mut batch.first_ms, &mut batch.last_ms);
    let begin = first.len();
    let moments = Moments { boot: plan.boot.map(|at| places[usize::from(at)]), records, header };
    let duration = |record: Records<'_>| match plan.duration {
        Some((place, per_ms)) => record.number(places[usize::from(place)]) / per_ms,
        None => 0,
    };
    let place = |moment: Moment| (moment.clock, places[usize::from(moment.place)]);
    match (plan.start.map(place), plan.end.map(place)) {
        (Some(start), Some(end)) => {
            moments.append(first, start);
            moments.append(last, end);
        }
        (Some(start), None) => {
            moments.append(first, start);
            let pairs = first[begin..].iter().zip(records.each());
            last.extend(pairs.map(|(at, record)| at.saturating_add(duration(record))));
        }
        (None, Some(end)) => {
            moments.append(last, end);
            let pairs = last[begin..].iter().zip(records.each());
            first.extend(pairs.map(|(at, record)| at.saturating_sub(duration(record))));
        }
        (None, None) => {
            first.resize(begin + records.len(), header.export_ms);
            last.resize(begin + records.len(), header.export_ms);
        }
    }
}

/// What turns the records' moments into milliseconds since 1970.
struct Moments<'a> {
    /// Where each record says when the exporter started.
    boot: Option<Place>,
    records: Records<'a>,
    header: &'a Header,
}

impl Moments<'_> {
    fn append(&self, out: &mut Vec<u64>, (clock, place): (Clock, Place)) {
        let (records, export_ms) = (self.records, self.header.export_ms);
        out.reserve(records.len());
        match clock {
            Clock::Seconds => records.numbers(place, |s| out.push(s.saturating_mul(1000))),
            Clock::Milliseconds => records.numbers(place, |ms| out.push(ms)),
            Clock::Ntp => records.numbers(place, |ntp| out.push(ntp_ms(ntp))),
            Clock::DeltaMicroseconds => {
                records.numbers(place, |us| out.push(export_ms.saturating_sub(us / 1000)));
            }
            Clock::Uptime => match self.boot {
                None => {
                    let uptime = self.header.uptime;
                    records
                        .numbers(place, |at_ms| out.push(uptime.moment(export_ms, at_ms as u32)));
                }
                Some(boot) => out.extend(records.each().map(|record| {
                    let uptime = Uptime::Boot(record.number(boot));
                    uptime.moment(export_ms, record.number(place) as u32)
                })),
            },
        }
    }
}
