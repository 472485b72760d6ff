//! Making a segment's bytes from batches.

use std::collections::BTreeMap;
use std::ops::Range;

use super::attribute::{self, ATTRIBUTES};
use super::checksum::{Place, Sections};
use super::codec::Codec;
use super::footer::{BLOCK_ROWS, ColumnEntry, Footer, Layout, MAX_BLOCKS};
use super::number::{self, zigzag};
use super::zone::Zone;
use super::{Encoded, MAGIC, MAX_ROWS, OVERFLOW, Options, VERSION, dictionary, opaque, write_end};
use crate::column::Values;
use crate::overflow::Overflow;
use crate::range::TimeRange;
use crate::{Address, Batch, Column};

/// Times that lie near another one, which must be written before them.
const DIFFERENCES: [(Column, Column); 2] =
    [(Column::Last, Column::Received), (Column::First, Column::Last)];

/// Encodes the rows of `batches`, in their order.
///
/// # Panics
/// When they have more than [`MAX_ROWS`] rows: the store seals long before.
pub(crate) fn encode(slice_ms: u64, batches: &[&Batch], options: &Options) -> Encoded {
    let rows: usize = batches.iter().map(|batch| batch.rows()).sum();
    assert!(rows <= MAX_ROWS, "a segment is sealed before it has {MAX_ROWS} rows");
    let mut range = TimeRange::default();
    batches.iter().for_each(|batch| range.cover(batch));
    let mut block_rows = BLOCK_ROWS;
    while rows > block_rows * MAX_BLOCKS {
        block_rows *= 2;
    }
    let footer =
        Footer { rows, slice_ms, range, block_rows, spill: options.spill, ..Footer::default() };
    let mut bytes = Vec::with_capacity(4096 + rows * 32);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let mut writer = Writer {
        batches,
        footer,
        codec: Codec::new(options.compress),
        out: Sections { bytes },
        codes: BTreeMap::new(),
        scratch: Vec::new(),
    };
    writer.columns();
    let Writer { footer, out: Sections { mut bytes }, .. } = writer;
    let mut directory = Vec::new();
    footer.write(&mut directory);
    write_end(&mut bytes, &directory);
    Encoded { bytes, rows, range }
}

struct Writer<'a> {
    batches: &'a [&'a Batch],
    footer: Footer,
    codec: Codec,
    out: Sections,
    /// The code of every row in each column of addresses.
    codes: BTreeMap<Column, Vec<u32>>,
    scratch: Vec<u64>,
}

impl Writer<'_> {
    fn columns(&mut self) {
        let present = |column: &Column| self.batches.iter().any(|batch| batch.has(*column));
        let present: Vec<Column> = Column::ALL.iter().copied().filter(present).collect();
        let (addresses, numbers): (Vec<Column>, Vec<Column>) =
            present.iter().partition(|column| column.width() == size_of::<Address>());
        let told = |column: &Column| self.batches.iter().any(|batch| has_address(batch, *column));
        let addresses: Vec<Column> = addresses.into_iter().filter(told).collect();
        self.addresses(&addresses);
        let mut done: Vec<Column> = Vec::new();
        for pair in ATTRIBUTES {
            done.extend(self.attributes(pair));
        }
        let mut numbers: Vec<Column> =
            numbers.into_iter().filter(|column| !done.contains(column)).collect();
        // A column stands after the one that it is told by.
        let told = |column: &Column| DIFFERENCES.iter().position(|(told, _)| told == column);
        numbers.sort_by_key(|column| told(column).map_or(0, |at| at + 1));
        for column in numbers {
            self.numbers(column);
        }
        if self.batches.iter().any(|batch| !batch.overflow.is_empty()) {
            self.overflow();
        }
    }

    /// Encodes what the rows say beside their columns.
    fn overflow(&mut self) {
        let mut entry =
            ColumnEntry { number: OVERFLOW, layout: Layout::Opaque, ..ColumnEntry::default() };
        let mut zones = Vec::with_capacity(self.footer.blocks());
        let mut plain = Vec::new();
        for range in block_ranges(&self.footer) {
            plain.clear();
            overflow_of(self.batches, range.clone()).write(range.len(), &mut plain);
            let codec = &mut self.codec;
            let place = self.out.add(|out| opaque::write(&plain, codec, out));
            entry.stored += u64::from(place.length);
            zones.push(Zone { place, min: 0, max: 0 });
        }
        entry.zones = write_zones(&zones, &mut self.out);
        self.footer.columns.push(entry);
    }

    /// Encodes the columns of addresses and their dictionary.
    fn addresses(&mut self, columns: &[Column]) {
        let mut builder = dictionary::Builder::default();
        for &column in columns {
            let mut codes = Vec::with_capacity(self.footer.rows);
            let mut last = (Address::ABSENT, None);
            let mut code_of = |address: Address| match last {
                (known, Some(code)) if known == address => code,
                _ => {
                    let code = builder.number(address);
                    last = (address, Some(code));
                    code
                }
            };
            for batch in self.batches {
                match batch.column(column) {
                    Values::Address(values) => codes.extend(values.iter().map(|a| code_of(*a))),
                    _ => unreachable!("the schema gives this column addresses"),
                }
            }
            self.codes.insert(column, codes);
        }
        let sorted = builder.sort();
        let mut masks = vec![0_u64; sorted.addresses.len()];
        let block_rows = self.footer.block_rows;
        for codes in self.codes.values_mut() {
            for (block, codes) in codes.chunks_mut(block_rows).enumerate() {
                for code in codes {
                    *code = sorted.codes[*code as usize];
                    masks[*code as usize] |= 1 << block;
                }
            }
        }
        self.footer.addresses = sorted.addresses.len();
        self.footer.dictionary =
            dictionary::write(&sorted.addresses, &masks, &mut self.codec, &mut self.out);
        for &column in columns {
            let codes = std::mem::take(self.codes.get_mut(&column).expect("it was just made"));
            let (min, max) = extremes(&codes);
            let entry = entry_of(column, min.into(), max.into());
            self.blocks(entry, |_, range, values| {
                values.extend(codes[range].iter().map(|code| u64::from(*code)));
            });
            self.codes.insert(column, codes);
        }
    }

    /// Encodes the two columns of a pair by their addresses, where that pays; those it did come back.
    fn attributes(&mut self, pair: [(Column, Column); 2]) -> Vec<Column> {
        let rows = self.footer.rows;
        let mut builder = attribute::Builder::new(self.footer.addresses);
        let mut fitting: Vec<(Column, Column, Vec<u64>)> = Vec::new();
        for (column, by) in pair {
            let mut values = Vec::new();
            append_numbers(self.batches, column, 0..rows, &mut values);
            let written = self.footer.columns.iter().any(|entry| entry.number == by as u16);
            let (min, max) = extremes(&values);
            if !written || min == max {
                continue;
            }
            let different = builder.note(&self.codes[&by], &values);
            if different <= rows / 16 {
                fitting.push((column, by, values));
            }
        }
        if fitting.is_empty() {
            return Vec::new();
        }
        let table = self.footer.tables.len() as u16;
        for (column, by, values) in &fitting {
            let (min, max) = extremes(values);
            let mut entry = ColumnEntry {
                layout: Layout::Attributes,
                other: *by as u16,
                table,
                ..entry_of(*column, min, max)
            };
            let codes = &self.codes[by];
            let mut zones = Vec::new();
            for range in block_ranges(&self.footer) {
                let (codes, values) = (&codes[range.clone()], &values[range]);
                let (min, max) = extremes(values);
                let codec = &mut self.codec;
                let place = self.out.add(|out| builder.write_block(codes, values, codec, out));
                entry.stored += u64::from(place.length);
                zones.push(Zone { place, min, max });
            }
            entry.zones = write_zones(&zones, &mut self.out);
            self.footer.columns.push(entry);
        }
        self.footer.tables.push(builder.write(&mut self.codec, &mut self.out));
        fitting.into_iter().map(|(column, ..)| column).collect()
    }

    /// Encodes a column of numbers, as differences from another one where that is shorter.
    fn numbers(&mut self, column: Column) {
        let batches = self.batches;
        let (mut min, mut max) = (u64::MAX, 0);
        for batch in batches {
            let (least, most) = extremes_of(&batch.column(column));
            (min, max) = (min.min(least), max.max(most));
        }
        if max == 0 {
            return;
        }
        let mut entry = entry_of(column, min, max);
        let told_by = DIFFERENCES.iter().find(|(told, _)| *told == column).map(|(_, by)| *by);
        let written =
            |by: &Column| self.footer.columns.iter().any(|entry| entry.number == *by as u16);
        if let Some(by) = told_by.filter(written).filter(|by| self.tells(column, *by)) {
            (entry.layout, entry.other) = (Layout::Differences, by as u16);
        }
        self.blocks(entry, |other, range, values| {
            append_numbers(batches, column, range.clone(), values);
            if let Some(by) = other {
                let mut others = Vec::with_capacity(range.len());
                append_numbers(batches, by, range, &mut others);
                let pairs = values.iter_mut().zip(others);
                pairs.for_each(|(value, other)| *value = zigzag(value.wrapping_sub(other)));
            }
        });
    }

    /// Whether `column` is shorter as differences from `by`, judged by a block in the middle.
    fn tells(&mut self, column: Column, by: Column) -> bool {
        let Some(range) = block_ranges(&self.footer).nth(self.footer.blocks() / 2) else {
            return false;
        };
        let (mut values, mut others, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        append_numbers(self.batches, column, range.clone(), &mut values);
        append_numbers(self.batches, by, range, &mut others);
        number::write(&values, &mut self.codec, &mut bytes);
        let direct = bytes.len();
        bytes.clear();
        let pairs = values.iter_mut().zip(others);
        pairs.for_each(|(value, other)| *value = zigzag(value.wrapping_sub(other)));
        number::write(&values, &mut self.codec, &mut bytes);
        bytes.len() < direct
    }

    /// Writes a column's blocks, whose values `fill` gives, and its entry.
    fn blocks(
        &mut self,
        mut entry: ColumnEntry,
        fill: impl Fn(Option<Column>, Range<usize>, &mut Vec<u64>),
    ) {
        if entry.min == entry.max {
            entry.layout = Layout::Constant;
            entry.other = 0;
            return self.footer.columns.push(entry);
        }
        let by = match entry.layout {
            Layout::Differences => Column::ALL.iter().copied().find(|c| *c as u16 == entry.other),
            _ => {
                entry.layout = Layout::Blocks;
                None
            }
        };
        let column = Column::ALL.iter().copied().find(|column| *column as u16 == entry.number);
        let mut zones = Vec::with_capacity(self.footer.blocks());
        let mut values = std::mem::take(&mut self.scratch);
        for range in block_ranges(&self.footer) {
            values.clear();
            fill(by, range.clone(), &mut values);
            let codec = &mut self.codec;
            let (mut min, mut max) = (0, 0);
            let place = self.out.add(|out| (min, max) = number::write(&values, codec, out));
            if let (Some(_), Some(column)) = (by, column) {
                values.clear();
                append_numbers(self.batches, column, range, &mut values);
                (min, max) = extremes(&values);
            }
            entry.stored += u64::from(place.length);
            zones.push(Zone { place, min, max });
        }
        self.scratch = values;
        entry.zones = write_zones(&zones, &mut self.out);
        self.footer.columns.push(entry);
    }
}

fn entry_of(column: Column, min: u64, max: u64) -> ColumnEntry {
    ColumnEntry {
        number: column as u16,
        width: column.width() as u8,
        min,
        max,
        ..ColumnEntry::default()
    }
}

/// Whether some row has an address in this column.
fn has_address(batch: &Batch, column: Column) -> bool {
    batch.has(column)
        && match batch.column(column) {
            Values::Address(values) => values.iter().any(|address| *address != Address::ABSENT),
            _ => unreachable!("the schema gives this column addresses"),
        }
}

/// The rows of each block.
fn block_ranges(footer: &Footer) -> impl Iterator<Item = Range<usize>> + use<> {
    let (rows, block_rows) = (footer.rows, footer.block_rows);
    (0..rows).step_by(block_rows).map(move |first| first..rows.min(first + block_rows))
}

fn write_zones(zones: &[Zone], out: &mut Sections) -> Place {
    out.add(|bytes| zones.iter().for_each(|zone| zone.write(bytes)))
}

/// Smallest and largest; the largest and smallest there can be without values.
fn extremes<T: Copy + Ord + Default>(values: &[T]) -> (T, T) {
    let first = values.first().copied().unwrap_or_default();
    values.iter().fold((first, first), |(min, max), value| (min.min(*value), max.max(*value)))
}

fn extremes_of(values: &Values<'_>) -> (u64, u64) {
    fn widen<T: Copy + Ord + Default + Into<u64>>(values: &[T]) -> (u64, u64) {
        let (min, max) = extremes(values);
        (min.into(), max.into())
    }
    match values {
        Values::U8(values) => widen(values),
        Values::U16(values) => widen(values),
        Values::U32(values) => widen(values),
        Values::U64(values) => extremes(values),
        Values::Address(_) => unreachable!("the schema gives this column numbers"),
    }
}

/// What `rows` say beside their columns; rows are counted through the batches.
pub(super) fn overflow_of(batches: &[&Batch], rows: Range<usize>) -> Overflow {
    let mut overflow = Overflow::default();
    let mut start = 0;
    for batch in batches {
        let end = start + batch.rows();
        let within = rows.start.max(start)..rows.end.min(end);
        if within.start < within.end {
            let own = within.start - start..within.end - start;
            overflow.append(within.start - rows.start, &batch.overflow, own);
        }
        start = end;
    }
    overflow
}

/// Appends the numbers of `rows` of a column to `out`; rows are counted through the batches.
pub(super) fn append_numbers(
    batches: &[&Batch],
    column: Column,
    rows: Range<usize>,
    out: &mut Vec<u64>,
) {
    let mut start = 0;
    for batch in batches {
        let end = start + batch.rows();
        let within = rows.start.max(start)..rows.end.min(end);
        if within.start < within.end {
            if batch.has(column) {
                append(&batch.column(column), within.start - start..within.end - start, out);
            } else {
                out.resize(out.len() + within.len(), 0);
            }
        }
        start = end;
    }
}

/// Appends the addresses of `rows` of a column to `out`; rows are counted through the batches.
pub(super) fn append_addresses(
    batches: &[&Batch],
    column: Column,
    rows: Range<usize>,
    out: &mut Vec<Address>,
) {
    let mut start = 0;
    for batch in batches {
        let end = start + batch.rows();
        let within = rows.start.max(start)..rows.end.min(end);
        if within.start < within.end {
            if batch.has(column) {
                let values = batch.column(column);
                out.extend(&values.as_addresses()[within.start - start..within.end - start]);
            } else {
                out.resize(out.len() + within.len(), Address::ABSENT);
            }
        }
        start = end;
    }
}

fn append(values: &Values<'_>, rows: Range<usize>, out: &mut Vec<u64>) {
    match values {
        Values::U8(values) => out.extend(values[rows].iter().map(|value| u64::from(*value))),
        Values::U16(values) => out.extend(values[rows].iter().map(|value| u64::from(*value))),
        Values::U32(values) => out.extend(values[rows].iter().map(|value| u64::from(*value))),
        Values::U64(values) => out.extend_from_slice(&values[rows]),
        Values::Address(_) => unreachable!("the schema gives this column numbers"),
    }
}
