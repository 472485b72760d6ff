//! Reading files of format version 1: whole columns, constant, plain or LZ4.

use super::fields::Fields;
use super::{Damage, MAX_ROWS, Whole};
use crate::Column;
use crate::column::{self, Values};
use crate::range::TimeRange;
use crate::schema::Form;

const ENTRY_BYTES: usize = 24;

const CONSTANT: u8 = 0;
const PLAIN: u8 = 1;
const LZ4: u8 = 2;

/// What the directory of a file says.
pub(super) struct Columns {
    pub(super) rows: usize,
    pub(super) slice_ms: u64,
    pub(super) range: TimeRange,
    entries: Vec<Entry>,
}

/// Where a column is in the file.
#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u8,
    encoding: u8,
    width: u8,
    checksum: u32,
    offset: u64,
    length: u64,
}

impl Columns {
    /// Reads a directory whose checksum was right.
    pub(super) fn read(directory: &[u8]) -> Whole<Columns> {
        let mut fields = Fields(directory);
        let rows = fields.u64()?;
        let slice_ms = fields.u64()?;
        let range = TimeRange {
            first_min_ms: fields.u64()?,
            first_max_ms: fields.u64()?,
            last_min_ms: fields.u64()?,
            last_max_ms: fields.u64()?,
            received_min_ms: fields.u64()?,
            received_max_ms: fields.u64()?,
        };
        let columns = fields.size()?;
        let rows = usize::try_from(rows).ok().filter(|rows| *rows <= MAX_ROWS);
        let rows = rows.ok_or("it claims an impossible number of rows")?;
        if columns.checked_mul(ENTRY_BYTES) != Some(fields.0.len()) {
            return Err("its length contradicts its number of columns");
        }
        let entries = fields.0.chunks_exact(ENTRY_BYTES).map(Entry::read).collect::<Whole<_>>()?;
        Ok(Columns { rows, slice_ms, range, entries })
    }

    /// Whether some row may say something in this column.
    pub(super) fn has(&self, column: Column) -> bool {
        self.entries.iter().any(|entry| entry.number == column as u8)
    }

    /// What each column takes of the file, in bytes.
    pub(super) fn sizes(&self) -> Vec<(Option<Column>, u64)> {
        let size = |entry: &Entry| Some((Some(Column::from_number(entry.number)?), entry.length));
        self.entries.iter().filter_map(size).collect()
    }

    /// All values of a column.
    pub(super) fn values(&self, file: &[u8], column: Column) -> Result<Values<'static>, Damage> {
        self.decode(file, column)
            .map_err(|reason| Damage { part: format!("column {}", column.name()), reason })
    }

    fn decode(&self, file: &[u8], column: Column) -> Result<Values<'static>, String> {
        let found = self.entries.iter().find(|entry| entry.number == column as u8);
        let Some(entry) = found else {
            // No row says anything, or it was written before the column existed.
            return Ok(column::zeroes(column, self.rows));
        };
        let width = usize::from(entry.width);
        let narrower = width > 0 && width < column.width() && column.form() != Form::Address;
        if width != column.width() && !narrower {
            return Err(format!("its values have {width} bytes"));
        }
        let stored = entry.stored(file)?;
        let right = |length: usize, right: usize| {
            if length == right {
                Ok(())
            } else {
                Err(format!("it has {length} bytes instead of {right}"))
            }
        };
        // Written before the column became wider; a number's low bytes come first.
        let wide = |plain: &[u8]| {
            let mut wide = vec![0; plain.len() / width * column.width()];
            let values = wide.chunks_exact_mut(column.width()).zip(plain.chunks_exact(width));
            values.for_each(|(wide, value)| wide[..width].copy_from_slice(value));
            wide
        };
        let read = |plain: &[u8]| {
            if narrower {
                column::read_plain(column, &wide(plain))
            } else {
                column::read_plain(column, plain)
            }
        };
        let bytes = self.rows * width;
        match entry.encoding {
            CONSTANT if self.rows == 0 => Ok(column::read_plain(column, &[])),
            CONSTANT => {
                right(stored.len(), width)?;
                Ok(column::repeat(column, &wide(stored), self.rows))
            }
            PLAIN => {
                right(stored.len(), bytes)?;
                Ok(read(stored))
            }
            LZ4 => {
                let mut plain = vec![0; bytes];
                let length = lz4_flex::block::decompress_into(stored, &mut plain)
                    .map_err(|error| error.to_string())?;
                right(length, bytes)?;
                Ok(read(&plain))
            }
            other => Err(format!("unknown encoding {other}")),
        }
    }
}

impl Entry {
    fn read(bytes: &[u8]) -> Whole<Entry> {
        let mut fields = Fields(bytes);
        let (number, encoding, width, _) = (fields.u8()?, fields.u8()?, fields.u8()?, fields.u8()?);
        let checksum = fields.u32()?;
        Ok(Entry {
            number,
            encoding,
            width,
            checksum,
            offset: fields.u64()?,
            length: fields.u64()?,
        })
    }

    /// The stored bytes, checked.
    fn stored<'a>(&self, file: &'a [u8]) -> Result<&'a [u8], String> {
        let stored = usize::try_from(self.offset)
            .ok()
            .zip(usize::try_from(self.length).ok())
            .and_then(|(offset, length)| file.get(offset..offset.checked_add(length)?))
            .ok_or("it lies outside of the file")?;
        let checksum = crc32fast::hash(stored);
        if checksum != self.checksum {
            return Err(format!("checksum {checksum:08x} instead of {:08x}", self.checksum));
        }
        Ok(stored)
    }
}
