//! Reading files of format version 2: blocks of columns and one dictionary of addresses.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

use super::attribute::{self, Table};
use super::dictionary::Dictionary;
use super::fields::Fields;
use super::footer::{ColumnEntry, Footer, Layout};
use super::number::{self, unzigzag};
use super::pack::Number;
use super::zone::Zone;
use super::{Damage, OVERFLOW, Whole, opaque};
use crate::column::{self, Values};
use crate::overflow::Overflow;
use crate::{Address, Column};

/// What an opened file of version 2 says, and what was decoded of it so far.
pub(super) struct Columns {
    pub(super) footer: Footer,
    dictionary: OnceLock<Dictionary>,
    zones: Vec<OnceLock<Vec<Zone>>>,
    tables: Vec<OnceLock<Table>>,
}

/// The value in a lock, made when it is not there yet.
fn get_or_make<T>(lock: &OnceLock<T>, make: impl FnOnce() -> Whole<T>) -> Whole<&T> {
    if let Some(made) = lock.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(lock.get_or_init(|| made))
}

impl Columns {
    /// Reads a directory whose checksum was right.
    pub(super) fn read(directory: &[u8]) -> Whole<Columns> {
        let footer = Footer::read(directory)?;
        Ok(Columns {
            dictionary: OnceLock::new(),
            zones: footer.columns.iter().map(|_| OnceLock::new()).collect(),
            tables: footer.tables.iter().map(|_| OnceLock::new()).collect(),
            footer,
        })
    }

    /// The rows of a block.
    pub(super) fn rows(&self, block: usize) -> usize {
        let first = block * self.footer.block_rows;
        self.footer.rows.saturating_sub(first).min(self.footer.block_rows)
    }

    /// Whether some row may say something in this column.
    pub(super) fn has(&self, column: Column) -> bool {
        self.find(column as u16).is_some()
    }

    fn find(&self, number: u16) -> Option<usize> {
        self.footer.columns.iter().position(|entry| entry.number == number)
    }

    /// What each column takes of the file, in bytes, and the dictionary and tables together.
    pub(super) fn sizes(&self) -> Vec<(Option<Column>, u64)> {
        let column = |entry: &ColumnEntry| {
            let column = u8::try_from(entry.number).ok().and_then(Column::from_number)?;
            Some((Some(column), entry.stored + u64::from(entry.zones.length)))
        };
        self.footer.columns.iter().filter_map(column).collect()
    }

    fn dictionary(&self, file: &[u8]) -> Whole<&Dictionary> {
        get_or_make(&self.dictionary, || {
            Dictionary::read(file, self.footer.dictionary, self.footer.addresses)
        })
    }

    fn zone(&self, file: &[u8], at: usize, block: usize) -> Whole<Zone> {
        let entry = &self.footer.columns[at];
        let zones = get_or_make(&self.zones[at], || {
            Zone::read_all(entry.zones.of(file)?, self.footer.blocks())
        })?;
        zones.get(block).copied().ok_or("it has no such block")
    }

    /// The numbers, or the codes, of a block of the column at `at`.
    fn numbers<T: Number>(&self, file: &[u8], at: usize, block: usize) -> Whole<Vec<T>> {
        let entry = &self.footer.columns[at];
        let rows = self.rows(block);
        let mut values: Vec<T> = Vec::with_capacity(rows);
        if entry.layout == Layout::Constant {
            values.resize(rows, T::cut(entry.min));
            return Ok(values);
        }
        let bytes = self.zone(file, at, block)?.place.of(file)?;
        match entry.layout {
            Layout::Constant | Layout::Blocks => {
                let mut fields = Fields(bytes);
                number::read(&mut fields, rows, &mut values)?;
                fields.end()?;
            }
            Layout::Differences => {
                let mut fields = Fields(bytes);
                let mut differences: Vec<u64> = Vec::with_capacity(rows);
                number::read(&mut fields, rows, &mut differences)?;
                fields.end()?;
                let others: Vec<u64> = self.numbers(file, self.told_by(at)?, block)?;
                values.extend(others.into_iter().zip(differences).map(sum::<T>));
            }
            Layout::Attributes => {
                let codes: Vec<u32> = self.numbers(file, self.told_by(at)?, block)?;
                values = self.table(file, entry)?.values(file, &codes)?;
                attribute::patch(bytes, &mut values)?;
            }
            Layout::Opaque => return Err("it holds no numbers"),
        }
        Ok(values)
    }

    /// The values of a block.
    pub(super) fn values(
        &self,
        file: &[u8],
        column: Column,
        block: usize,
    ) -> Result<Values<'static>, Damage> {
        let Some(at) = self.find(column as u16) else {
            return Ok(column::zeroes(column, self.rows(block)));
        };
        self.decode(file, column, at, block, None).map_err(|reason| damage(column, block, reason))
    }

    /// The values of some rows of a block.
    pub(super) fn pick(
        &self,
        file: &[u8],
        column: Column,
        block: usize,
        rows: &[u32],
    ) -> Result<Values<'static>, Damage> {
        let Some(at) = self.find(column as u16) else {
            return Ok(column::zeroes(column, rows.len()));
        };
        self.decode(file, column, at, block, Some(rows))
            .map_err(|reason| damage(column, block, reason))
    }

    fn decode(
        &self,
        file: &[u8],
        column: Column,
        at: usize,
        block: usize,
        rows: Option<&[u32]>,
    ) -> Whole<Values<'static>> {
        let addresses = self.footer.columns[at].width == 16;
        if addresses != (column.width() == size_of::<Address>()) {
            return Err("its values are of another kind");
        }
        if self.footer.columns[at].width as usize > column.width() {
            return Err("its values have more bytes than this program's");
        }
        Ok(match column.width() {
            1 => Values::U8(Cow::Owned(self.some_numbers(file, at, block, rows)?)),
            2 => Values::U16(Cow::Owned(self.some_numbers(file, at, block, rows)?)),
            4 => Values::U32(Cow::Owned(self.some_numbers(file, at, block, rows)?)),
            8 => Values::U64(Cow::Owned(self.some_numbers(file, at, block, rows)?)),
            _ => {
                let codes: Vec<u32> = self.some_numbers(file, at, block, rows)?;
                Values::Address(Cow::Owned(self.dictionary(file)?.addresses(file, &codes)?))
            }
        })
    }

    /// [`Columns::numbers`] of these rows only, or of all.
    fn some_numbers<T: Number>(
        &self,
        file: &[u8],
        at: usize,
        block: usize,
        rows: Option<&[u32]>,
    ) -> Whole<Vec<T>> {
        let Some(rows) = rows else { return self.numbers(file, at, block) };
        let entry = &self.footer.columns[at];
        if entry.layout == Layout::Constant {
            return Ok(vec![T::cut(entry.min); rows.len()]);
        }
        let bytes = self.zone(file, at, block)?.place.of(file)?;
        let (mut fields, count) = (Fields(bytes), self.rows(block));
        let mut values: Vec<T> = Vec::with_capacity(rows.len());
        match entry.layout {
            Layout::Constant | Layout::Blocks => {
                number::pick(&mut fields, count, rows, &mut values)?;
                fields.end()?;
            }
            Layout::Differences => {
                let mut steps: Vec<u64> = Vec::with_capacity(rows.len());
                number::pick(&mut fields, count, rows, &mut steps)?;
                fields.end()?;
                let others: Vec<u64> =
                    self.some_numbers(file, self.told_by(at)?, block, Some(rows))?;
                values.extend(others.into_iter().zip(steps).map(sum::<T>));
            }
            Layout::Attributes => {
                let codes = self.some_numbers(file, self.told_by(at)?, block, Some(rows))?;
                values = self.table(file, entry)?.values(file, &codes)?;
                attribute::patch_some(bytes, count, rows, &mut values)?;
            }
            Layout::Opaque => return Err("it holds no numbers"),
        }
        Ok(values)
    }

    /// Where the column stands that tells the one at `at`.
    fn told_by(&self, at: usize) -> Whole<usize> {
        self.find(self.footer.columns[at].other).ok_or("the column that tells it is not there")
    }

    fn table(&self, file: &[u8], entry: &ColumnEntry) -> Whole<&Table> {
        let table = usize::from(entry.table);
        get_or_make(&self.tables[table], || {
            Table::read(file, self.footer.tables[table], self.footer.addresses)
        })
    }

    /// What the rows of a block say beside their columns; none when none says anything.
    pub(super) fn overflow(&self, file: &[u8], block: usize) -> Result<Option<Overflow>, Damage> {
        let Some(at) = self.find(OVERFLOW) else { return Ok(None) };
        let read = || {
            if self.footer.columns[at].layout != Layout::Opaque {
                return Err("it is kept as numbers");
            }
            let bytes = self.zone(file, at, block)?.place.of(file)?;
            Overflow::read(self.rows(block), &opaque::read(bytes)?)
        };
        read().map(|overflow| Some(overflow).filter(|overflow| !overflow.is_empty())).map_err(
            |reason| Damage {
                part: format!("column overflow, block {block}"),
                reason: reason.to_owned(),
            },
        )
    }

    /// The values of all blocks.
    pub(super) fn all_values(
        &self,
        file: &[u8],
        column: Column,
    ) -> Result<Values<'static>, Damage> {
        let mut all = column::zeroes(column, 0);
        for block in 0..self.footer.blocks() {
            all.append(self.values(file, column, block)?);
        }
        Ok(all)
    }

    /// The codes of a block of a column of addresses; none when no row has an address.
    pub(super) fn codes(
        &self,
        file: &[u8],
        column: Column,
        block: usize,
    ) -> Result<Option<Vec<u32>>, Damage> {
        let Some(at) = self.find(column as u16) else { return Ok(None) };
        let codes =
            self.numbers(file, at, block).map_err(|reason| damage(column, block, reason))?;
        Ok(Some(codes))
    }

    /// The smallest and largest number, or code, of a block; none when no row says anything.
    pub(super) fn extremes(
        &self,
        file: &[u8],
        column: Column,
        block: usize,
    ) -> Result<Option<(u64, u64)>, Damage> {
        let Some(at) = self.find(column as u16) else {
            // Absent numbers are zero; an absent address has no code.
            let zero = (column.width() != size_of::<Address>()).then_some((0, 0));
            return Ok(zero);
        };
        let entry = &self.footer.columns[at];
        if entry.layout == Layout::Constant {
            return Ok(Some((entry.min, entry.max)));
        }
        let zone = self.zone(file, at, block).map_err(|reason| damage(column, block, reason))?;
        Ok(Some((zone.min, zone.max)))
    }

    /// The codes of the addresses from `first` to `last`, both inclusive.
    pub(super) fn search(
        &self,
        file: &[u8],
        first: Address,
        last: Address,
    ) -> Result<Range<u32>, Damage> {
        let codes = self.dictionary(file).and_then(|all| all.codes(file, first, last));
        codes.map_err(of_dictionary)
    }

    /// The blocks that hold any of the addresses with these codes, a bit each.
    pub(super) fn blocks_of(&self, file: &[u8], codes: Range<u32>) -> Result<u64, Damage> {
        self.dictionary(file).and_then(|all| all.blocks(file, codes)).map_err(of_dictionary)
    }

    /// Checks what no block needs.
    pub(super) fn check(&self, file: &[u8]) -> Result<(), Damage> {
        self.dictionary(file).and_then(|dictionary| dictionary.check(file)).map_err(of_dictionary)
    }
}

/// A number that another one and the step to it tell.
fn sum<T: Number>((other, step): (u64, u64)) -> T {
    T::cut(other.wrapping_add(unzigzag(step)))
}

fn of_dictionary(reason: &'static str) -> Damage {
    Damage { part: "the dictionary of addresses".to_owned(), reason: reason.to_owned() }
}

fn damage(column: Column, block: usize, reason: &'static str) -> Damage {
    Damage { part: format!("column {}, block {block}", column.name()), reason: reason.to_owned() }
}
