//! The values of one column, borrowed from a batch or decoded from a segment.
//!
//! A scan asks a [`ColumnSource`] for the columns that it needs and loops over slices of plain
//! numbers; where they came from is decided once a column, never once a row.

use std::borrow::Cow;

use crate::error::Error;
use crate::overflow::Overflow;
use crate::{Address, Column};

/// Rows that can be scanned: a [`crate::Batch`] in memory or an opened segment file.
pub trait ColumnSource {
    /// Rows of every column.
    fn rows(&self) -> usize;

    /// All values of a column; those of an absent one are zeroes.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the column's bytes are not what was written.
    fn values(&self, column: Column) -> Result<Values<'_>, Error>;

    /// Whether some row may say something in this column. Of an absent one a reader knows every
    /// value, and need not ask for them.
    fn has(&self, column: Column) -> bool;

    /// The values of some rows of a column, ascending; where a source can give them without the
    /// others, it does.
    ///
    /// # Errors
    /// What [`ColumnSource::values`] says.
    fn pick(&self, column: Column, rows: &[u32]) -> Result<Values<'static>, Error> {
        Ok(self.values(column)?.pick(rows))
    }

    /// The codes of a column of addresses in the segment's dictionary; none when the source has no
    /// codes for it.
    ///
    /// # Errors
    /// What [`ColumnSource::values`] says.
    fn codes(&self, _column: Column) -> Result<Option<Vec<u32>>, Error> {
        Ok(None)
    }

    /// What the rows say beside their columns; `None` when no row says anything there.
    ///
    /// # Errors
    /// [`Error::Damaged`] when its bytes are not what was written.
    fn overflow(&self) -> Result<Option<Cow<'_, Overflow>>, Error>;
}

/// The values of one column by the width of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values<'a> {
    /// One byte each: protocol, flags, masks.
    U8(Cow<'a, [u8]>),
    /// Two bytes each: ports, VLANs.
    U16(Cow<'a, [u16]>),
    /// Four bytes each: interfaces, autonomous systems.
    U32(Cow<'a, [u32]>),
    /// Eight bytes each: counters and times.
    U64(Cow<'a, [u64]>),
    /// Sixteen bytes each.
    Address(Cow<'a, [Address]>),
}

impl Values<'_> {
    /// How many values there are.
    pub fn rows(&self) -> usize {
        match self {
            Values::U8(values) => values.len(),
            Values::U16(values) => values.len(),
            Values::U32(values) => values.len(),
            Values::U64(values) => values.len(),
            Values::Address(values) => values.len(),
        }
    }

    /// The values of these rows.
    ///
    /// # Panics
    /// When there is no such row.
    pub(crate) fn pick(&self, rows: &[u32]) -> Values<'static> {
        fn pick<T: Copy>(values: &[T], rows: &[u32]) -> Cow<'static, [T]> {
            Cow::Owned(rows.iter().map(|row| values[*row as usize]).collect())
        }
        match self {
            Values::U8(values) => Values::U8(pick(values, rows)),
            Values::U16(values) => Values::U16(pick(values, rows)),
            Values::U32(values) => Values::U32(pick(values, rows)),
            Values::U64(values) => Values::U64(pick(values, rows)),
            Values::Address(values) => Values::Address(pick(values, rows)),
        }
    }

    /// Appends the values of `other`.
    ///
    /// # Panics
    /// When it has another type: the caller chose by the schema.
    pub(crate) fn append(&mut self, other: Values<'_>) {
        match (self, other) {
            (Values::U8(all), Values::U8(more)) => all.to_mut().extend_from_slice(&more),
            (Values::U16(all), Values::U16(more)) => all.to_mut().extend_from_slice(&more),
            (Values::U32(all), Values::U32(more)) => all.to_mut().extend_from_slice(&more),
            (Values::U64(all), Values::U64(more)) => all.to_mut().extend_from_slice(&more),
            (Values::Address(all), Values::Address(more)) => all.to_mut().extend_from_slice(&more),
            _ => unreachable!("the schema gives every column one type"),
        }
    }

    /// The value at `row` as a number.
    ///
    /// # Panics
    /// When the column holds addresses, or has no such row: the caller chose by the schema.
    pub fn number(&self, row: usize) -> u64 {
        match self {
            Values::U8(values) => values[row].into(),
            Values::U16(values) => values[row].into(),
            Values::U32(values) => values[row].into(),
            Values::U64(values) => values[row],
            Values::Address(_) => unreachable!("an address column is never read as numbers"),
        }
    }

    /// The column as eight-byte numbers.
    ///
    /// # Panics
    /// When the column has another type: the caller chose by the schema.
    pub fn as_u64(&self) -> &[u64] {
        match self {
            Values::U64(values) => values,
            _ => unreachable!("the schema gives this column eight bytes"),
        }
    }

    /// The column as addresses.
    ///
    /// # Panics
    /// When the column has another type: the caller chose by the schema.
    pub fn as_addresses(&self) -> &[Address] {
        match self {
            Values::Address(values) => values,
            _ => unreachable!("the schema gives this column addresses"),
        }
    }

    /// Writes the value at `row` in network order to `key`, whose length is the column's width;
    /// so the byte order of keys is the order of their values.
    pub(crate) fn write_key(&self, row: usize, key: &mut [u8]) {
        match self {
            Values::U8(values) => key[0] = values[row],
            Values::U16(values) => key.copy_from_slice(&values[row].to_be_bytes()),
            Values::U32(values) => key.copy_from_slice(&values[row].to_be_bytes()),
            Values::U64(values) => key.copy_from_slice(&values[row].to_be_bytes()),
            Values::Address(values) => key.copy_from_slice(&values[row].0),
        }
    }
}

/// A type that a column can hold, and its way to and from little-endian bytes.
pub(crate) trait Element: Copy + PartialEq + Sized {
    /// The values without a copy.
    fn borrowed(values: &[Self]) -> Values<'_>;
    /// The values, given away.
    fn owned(values: Vec<Self>) -> Values<'static>;
    /// The values of this type, taken back.
    ///
    /// # Panics
    /// When they have another.
    fn taken(values: Values<'static>) -> Vec<Self>;
    /// The values of little-endian bytes, whose length is a multiple of the width.
    fn read_plain(bytes: &[u8]) -> Values<'static>;
    /// The same value, `rows` times; `bytes` are those of one value.
    fn repeat(bytes: &[u8], rows: usize) -> Values<'static>;
}

macro_rules! number_element {
    ($($type:ident => $variant:ident),*) => {$(
        impl Element for $type {
            fn borrowed(values: &[Self]) -> Values<'_> {
                Values::$variant(Cow::Borrowed(values))
            }

            fn owned(values: Vec<Self>) -> Values<'static> {
                Values::$variant(Cow::Owned(values))
            }

            fn taken(values: Values<'static>) -> Vec<Self> {
                match values {
                    Values::$variant(values) => values.into_owned(),
                    _ => unreachable!("the schema gives every column one type"),
                }
            }

            fn read_plain(bytes: &[u8]) -> Values<'static> {
                let (values, _) = bytes.as_chunks::<{ size_of::<$type>() }>();
                let values = values.iter().map(|value| $type::from_le_bytes(*value)).collect();
                Values::$variant(Cow::Owned(values))
            }

            fn repeat(bytes: &[u8], rows: usize) -> Values<'static> {
                let value = bytes.as_array().map_or(0, |value| $type::from_le_bytes(*value));
                Values::$variant(Cow::Owned(vec![value; rows]))
            }
        }
    )*};
}

number_element!(u8 => U8, u16 => U16, u32 => U32, u64 => U64);

impl Element for Address {
    fn borrowed(values: &[Self]) -> Values<'_> {
        Values::Address(Cow::Borrowed(values))
    }

    fn owned(values: Vec<Self>) -> Values<'static> {
        Values::Address(Cow::Owned(values))
    }

    fn taken(values: Values<'static>) -> Vec<Self> {
        match values {
            Values::Address(values) => values.into_owned(),
            _ => unreachable!("the schema gives every column one type"),
        }
    }

    fn read_plain(bytes: &[u8]) -> Values<'static> {
        let (values, _) = bytes.as_chunks::<16>();
        Values::Address(Cow::Owned(values.iter().map(|value| Address(*value)).collect()))
    }

    fn repeat(bytes: &[u8], rows: usize) -> Values<'static> {
        let value = bytes.as_array().map_or(Address::ABSENT, |value| Address(*value));
        Values::Address(Cow::Owned(vec![value; rows]))
    }
}

macro_rules! define_decode {
    ($($field:ident: $kind:ident = $number:literal, $name:ident, $form:ident, $title:literal,
       $word:literal, $elements:literal, $meaning:literal;)*) => {
        /// The values of a plain column's little-endian bytes.
        pub(crate) fn read_plain(column: Column, bytes: &[u8]) -> Values<'static> {
            match column { $(Column::$name => <$kind as Element>::read_plain(bytes),)* }
        }

        /// Zeroes, `rows` of them.
        pub fn zeroes(column: Column, rows: usize) -> Values<'static> {
            match column {
                $(Column::$name => <$kind as Element>::owned(vec![Default::default(); rows]),)*
            }
        }

        /// A column of `rows` equal values; `bytes` are those of one.
        pub(crate) fn repeat(column: Column, bytes: &[u8], rows: usize) -> Values<'static> {
            match column { $(Column::$name => <$kind as Element>::repeat(bytes, rows),)* }
        }
    };
}

crate::for_each_column!(define_decode);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_bytes_come_back_as_the_values_they_were() {
        assert_eq!(
            read_plain(Column::SourcePort, &[1, 0, 0xfe, 0xff]),
            Values::U16(Cow::Owned(vec![1, 0xfffe]))
        );
    }

    #[test]
    fn keys_sort_as_their_values_do() {
        let values = Values::U32(Cow::Owned(vec![255, 256]));
        let (mut low, mut high) = ([0; 4], [0; 4]);
        values.write_key(0, &mut low);
        values.write_key(1, &mut high);
        assert!(low < high);
    }
}
