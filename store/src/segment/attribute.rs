//! Attributes of addresses: what the same address nearly always has, such as its autonomous system,
//! is kept once for each address of the dictionary, and per row only where it differs.

use std::sync::OnceLock;

use super::checksum::{Place, Sections};
use super::codec::Codec;
use super::dictionary::CHUNK;
use super::fields::Fields;
use super::pack::Number;
use super::{Whole, array, number};
use crate::Column;

/// Columns that go by an address: of the source, and the same of the destination.
pub(super) const ATTRIBUTES: [[(Column, Column); 2]; 2] = [
    [
        (Column::SourceAs, Column::SourceAddress),
        (Column::DestinationAs, Column::DestinationAddress),
    ],
    [
        (Column::SourceMask, Column::SourceAddress),
        (Column::DestinationMask, Column::DestinationAddress),
    ],
];

/// What stands in a table for an address of which no row has told anything.
const UNTOLD: u64 = u64::MAX;

/// A table that is being made: the first value that each address had.
pub(super) struct Builder {
    values: Vec<u64>,
}

impl Builder {
    /// For a dictionary of so many addresses.
    pub(super) fn new(addresses: usize) -> Self {
        Builder { values: vec![UNTOLD; addresses] }
    }

    /// Notes the rows' values; how many differ from what is known of their address comes back.
    pub(super) fn note(&mut self, codes: &[u32], values: &[u64]) -> usize {
        let mut different = 0;
        for (code, value) in codes.iter().zip(values) {
            let known = &mut self.values[*code as usize];
            if *known == UNTOLD {
                *known = *value;
            }
            different += usize::from(*known != *value);
        }
        different
    }

    /// Appends a block's rows that differ from the table.
    pub(super) fn write_block(
        &self,
        codes: &[u32],
        values: &[u64],
        codec: &mut Codec,
        out: &mut Vec<u8>,
    ) {
        let (mut positions, mut different) = (Vec::new(), Vec::new());
        for (at, (code, value)) in codes.iter().zip(values).enumerate() {
            if self.values[*code as usize] != *value {
                positions.push(at as u64);
                different.push(*value);
            }
        }
        out.extend_from_slice(&(positions.len() as u32).to_le_bytes());
        array::write(&positions, codec, out);
        array::write(&different, codec, out);
    }

    /// Writes the table's chunks, and where they are.
    pub(super) fn write(mut self, codec: &mut Codec, out: &mut Sections) -> Place {
        // An untold address takes its neighbour's value, so that runs go on.
        let mut last = 0;
        for value in &mut self.values {
            last = if *value == UNTOLD { last } else { *value };
            *value = last;
        }
        let mut index = Vec::new();
        for chunk in self.values.chunks(CHUNK) {
            let place = out.add(|bytes| {
                number::write(chunk, codec, bytes);
            });
            place.write(&mut index);
        }
        out.add(|bytes| bytes.extend_from_slice(&index))
    }
}

/// A table in a file; chunks are decoded when they are first needed.
pub(super) struct Table {
    chunks: Vec<(Place, OnceLock<Box<[u64]>>)>,
    addresses: usize,
}

impl Table {
    /// The table for `addresses` addresses whose index is at `index`.
    pub(super) fn read(file: &[u8], index: Place, addresses: usize) -> Whole<Table> {
        let bytes = index.of(file)?;
        if addresses.div_ceil(CHUNK).checked_mul(Place::BYTES) != Some(bytes.len()) {
            return Err("its table has another number of addresses");
        }
        let place = |entry| Ok((Place::read(&mut Fields(entry))?, OnceLock::new()));
        let chunks = bytes.chunks_exact(Place::BYTES).map(place).collect::<Whole<_>>()?;
        Ok(Table { chunks, addresses })
    }

    fn chunk<'a>(&'a self, file: &[u8], number: usize) -> Whole<&'a [u64]> {
        let (place, decoded) = &self.chunks[number];
        if let Some(decoded) = decoded.get() {
            return Ok(decoded);
        }
        let mut fields = Fields(place.of(file)?);
        let mut values = Vec::new();
        let count = (self.addresses - number * CHUNK).min(CHUNK);
        number::read(&mut fields, count, &mut values)?;
        fields.end()?;
        Ok(decoded.get_or_init(|| values.into()))
    }

    /// The values that the table has for these codes.
    pub(super) fn values<T: Number>(&self, file: &[u8], codes: &[u32]) -> Whole<Vec<T>> {
        let mut chunks: Vec<Option<&[u64]>> = vec![None; self.chunks.len()];
        let mut values = Vec::with_capacity(codes.len());
        for &code in codes {
            let number = code as usize / CHUNK;
            let chunk = match chunks.get(number) {
                Some(Some(chunk)) => chunk,
                Some(None) => *chunks[number].insert(self.chunk(file, number)?),
                None => return Err("a code is beyond the dictionary"),
            };
            let value =
                chunk.get(code as usize % CHUNK).ok_or("a code is beyond the dictionary")?;
            values.push(T::cut(*value));
        }
        Ok(values)
    }
}

/// Puts a block's own values in the place of the table's.
pub(super) fn patch<T: Number>(bytes: &[u8], values: &mut [T]) -> Whole<()> {
    let (positions, different) = exceptions(bytes, values.len())?;
    for (at, value) in positions.into_iter().zip(different) {
        *values.get_mut(at as usize).ok_or("it patches a row that is not there")? = value;
    }
    Ok(())
}

/// [`patch`] for `values` of some `rows` of a block of `count`.
pub(super) fn patch_some<T: Number>(
    bytes: &[u8],
    count: usize,
    rows: &[u32],
    values: &mut [T],
) -> Whole<()> {
    let (positions, different) = exceptions::<T>(bytes, count)?;
    if positions.is_empty() {
        return Ok(());
    }
    for (row, value) in rows.iter().zip(values) {
        if let Ok(at) = positions.binary_search(row) {
            *value = different[at];
        }
    }
    Ok(())
}

/// The rows that differ from the table, ascending, and their values.
fn exceptions<T: Number>(bytes: &[u8], rows: usize) -> Whole<(Vec<u32>, Vec<T>)> {
    let mut fields = Fields(bytes);
    let count = fields.u32()? as usize;
    if count > rows {
        return Err("it claims more exceptions than rows");
    }
    let (mut positions, mut different) = (Vec::new(), Vec::new());
    array::read(&mut fields, count, &mut positions)?;
    array::read(&mut fields, count, &mut different)?;
    fields.end()?;
    Ok((positions, different))
}
