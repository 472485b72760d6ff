//! The footer: what a segment says of itself, and where its columns are.

use super::checksum::Place;
use super::fields::Fields;
use super::{MAX_ROWS, Whole};
use crate::range::TimeRange;

/// The most blocks: an address's blocks are a bit each of one word.
pub(super) const MAX_BLOCKS: usize = 64;

/// Rows of a block, unless that makes more than [`MAX_BLOCKS`].
pub(super) const BLOCK_ROWS: usize = 1 << 14;

/// What stands in a footer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) rows: usize,
    pub(super) slice_ms: u64,
    pub(super) range: TimeRange,
    /// Rows of every block but the last.
    pub(super) block_rows: usize,
    /// The spill that the rows were in, and how many of its rows are sealed with these.
    pub(super) spill: Spilled,
    /// Addresses in the dictionary, and its index.
    pub(super) addresses: usize,
    pub(super) dictionary: Place,
    pub(super) columns: Vec<ColumnEntry>,
    /// Where the chunks of each table of attributes are.
    pub(super) tables: Vec<Place>,
}

/// How far a spill is sealed; see [`crate::spill`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spilled {
    /// The spill's number; 0 when the rows were in none.
    pub(crate) number: u64,
    /// Rows from its beginning that are sealed, in this segment or an earlier one.
    pub(crate) rows: u64,
}

/// How a column is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Layout {
    /// Every row has the smallest value; there are no blocks.
    #[default]
    Constant = 0,
    /// Blocks of numbers, or of codes of addresses.
    Blocks = 1,
    /// Blocks of differences from another column.
    Differences = 2,
    /// A table by address, and blocks of the rows that differ from it.
    Attributes = 3,
    /// Blocks of bytes that another module makes and reads.
    Opaque = 4,
}

/// A column in the footer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ColumnEntry {
    pub(super) number: u16,
    /// Bytes of a value; 16 for an address, 0 for bytes of another module's.
    pub(super) width: u8,
    pub(super) layout: Layout,
    /// The column that this one is told by; 0 without.
    pub(super) other: u16,
    /// Which table of attributes.
    pub(super) table: u16,
    pub(super) min: u64,
    pub(super) max: u64,
    /// The zone map.
    pub(super) zones: Place,
    /// Bytes of all blocks.
    pub(super) stored: u64,
}

impl Layout {
    fn read(byte: u8) -> Whole<Layout> {
        Ok(match byte {
            0 => Layout::Constant,
            1 => Layout::Blocks,
            2 => Layout::Differences,
            3 => Layout::Attributes,
            4 => Layout::Opaque,
            _ => return Err("a column has an unknown layout"),
        })
    }
}

impl Footer {
    /// How many blocks the rows make.
    pub(super) fn blocks(&self) -> usize {
        self.rows.div_ceil(self.block_rows.max(1))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let range = &self.range;
        for number in [
            self.rows as u64,
            self.slice_ms,
            range.first_min_ms,
            range.first_max_ms,
            range.last_min_ms,
            range.last_max_ms,
            range.received_min_ms,
            range.received_max_ms,
            self.block_rows as u64,
            self.spill.number,
            self.spill.rows,
            self.addresses as u64,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.dictionary.write(out);
        out.extend_from_slice(&(self.columns.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.tables.len() as u32).to_le_bytes());
        self.columns.iter().for_each(|column| column.write(out));
        self.tables.iter().for_each(|table| table.write(out));
    }

    /// Reads a footer whose checksum was right, and checks that it contradicts itself nowhere.
    pub(super) fn read(bytes: &[u8]) -> Whole<Footer> {
        let mut fields = Fields(bytes);
        let mut footer = Footer {
            rows: fields.size()?,
            slice_ms: fields.u64()?,
            range: TimeRange {
                first_min_ms: fields.u64()?,
                first_max_ms: fields.u64()?,
                last_min_ms: fields.u64()?,
                last_max_ms: fields.u64()?,
                received_min_ms: fields.u64()?,
                received_max_ms: fields.u64()?,
            },
            block_rows: fields.size()?,
            spill: Spilled { number: fields.u64()?, rows: fields.u64()? },
            addresses: fields.size()?,
            dictionary: Place::read(&mut fields)?,
            ..Footer::default()
        };
        let (columns, tables) = (fields.u32()?, fields.u32()?);
        for _ in 0..columns {
            footer.columns.push(ColumnEntry::read(&mut fields)?);
        }
        for _ in 0..tables {
            footer.tables.push(Place::read(&mut fields)?);
        }
        fields.end()?;
        footer.check()?;
        Ok(footer)
    }

    fn check(&self) -> Whole<()> {
        if self.rows > MAX_ROWS {
            return Err("it claims an impossible number of rows");
        }
        if self.block_rows == 0 || self.blocks() > MAX_BLOCKS {
            return Err("it claims an impossible number of blocks");
        }
        if self.addresses > u32::MAX as usize {
            return Err("it claims an impossible number of addresses");
        }
        for (at, column) in self.columns.iter().enumerate() {
            let told_by = self.columns[..at].iter().find(|other| other.number == column.other);
            match column.layout {
                Layout::Constant | Layout::Blocks | Layout::Opaque => {}
                Layout::Differences => match told_by {
                    Some(other) if (1..=8).contains(&other.width) => {}
                    _ => return Err("a column differs from one that does not stand before it"),
                },
                Layout::Attributes => match told_by {
                    Some(other) if other.width == 16 && column.width != 16 => {}
                    _ => return Err("a column is told by no column of addresses before it"),
                },
            }
            let table = usize::from(column.table);
            if column.layout == Layout::Attributes && table >= self.tables.len() {
                return Err("a column is told by a table that is not there");
            }
            if !matches!(column.width, 0 | 1 | 2 | 4 | 8 | 16)
                || (column.width == 0) != (column.layout == Layout::Opaque)
            {
                return Err("a column has values of an impossible width");
            }
        }
        Ok(())
    }
}

impl ColumnEntry {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&[self.width, self.layout as u8]);
        out.extend_from_slice(&self.other.to_le_bytes());
        out.extend_from_slice(&self.table.to_le_bytes());
        out.extend_from_slice(&self.min.to_le_bytes());
        out.extend_from_slice(&self.max.to_le_bytes());
        self.zones.write(out);
        out.extend_from_slice(&self.stored.to_le_bytes());
    }

    fn read(fields: &mut Fields<'_>) -> Whole<ColumnEntry> {
        Ok(ColumnEntry {
            number: fields.u16()?,
            width: fields.u8()?,
            layout: Layout::read(fields.u8()?)?,
            other: fields.u16()?,
            table: fields.u16()?,
            min: fields.u64()?,
            max: fields.u64()?,
            zones: Place::read(fields)?,
            stored: fields.u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Footer {
        let address =
            ColumnEntry { number: 4, width: 16, layout: Layout::Blocks, ..Default::default() };
        let system = ColumnEntry {
            number: 16,
            width: 4,
            layout: Layout::Attributes,
            other: 4,
            ..Default::default()
        };
        Footer {
            rows: 100_000,
            block_rows: BLOCK_ROWS,
            spill: Spilled { number: 7, rows: 5 },
            columns: vec![address, system],
            tables: vec![Place::default()],
            ..Footer::default()
        }
    }

    #[test]
    fn a_footer_comes_back() {
        let mut bytes = Vec::new();
        sample().write(&mut bytes);
        assert_eq!(Footer::read(&bytes).unwrap(), sample());
        assert_eq!(sample().blocks(), 7);
        for length in 0..bytes.len() {
            Footer::read(&bytes[..length]).unwrap_err();
        }
    }

    #[test]
    fn a_footer_that_contradicts_itself_is_refused() {
        let wrong = |change: &dyn Fn(&mut Footer)| {
            let (mut footer, mut bytes) = (sample(), Vec::new());
            change(&mut footer);
            footer.write(&mut bytes);
            Footer::read(&bytes).unwrap_err();
        };
        wrong(&|footer| footer.rows = MAX_ROWS + 1);
        wrong(&|footer| footer.block_rows = 0);
        wrong(&|footer| footer.block_rows = 10);
        wrong(&|footer| footer.columns.swap(0, 1));
        wrong(&|footer| footer.columns[1].table = 1);
        wrong(&|footer| footer.columns[0].width = 3);
        wrong(&|footer| footer.columns[0].layout = Layout::Opaque);
        wrong(&|footer| footer.columns[1].layout = Layout::Differences);
    }
}
