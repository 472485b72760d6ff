//! A column batch: what a decoder appends to and the store seals.

use crate::column::{ColumnSource, Element, Values};
use crate::error::Error;
use crate::for_each_column;
use crate::{Address, Column};

macro_rules! define_batch {
    ($($field:ident: $kind:ident = $number:literal, $name:ident, $meaning:literal;)*) => {
        /// Rows as columns; every vector has [`Batch::rows`] values.
        ///
        /// A decoder pushes to the columns that it knows and then calls [`Batch::fill`], which
        /// pads the others with zeroes: no row struct stands between the wire and the column.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Batch {
            rows: usize,
            $(#[doc = $meaning] pub $field: Vec<$kind>,)*
        }

        impl Batch {
            /// An empty batch with room for `rows` rows, so that appending does not allocate.
            pub fn with_capacity(rows: usize) -> Self {
                Batch { rows: 0, $($field: Vec::with_capacity(rows),)* }
            }

            /// Completes the batch to `rows` rows: shorter columns are padded with zeroes.
            ///
            /// # Panics
            /// When a column is already longer: the decoder's invariant is broken.
            pub fn fill(&mut self, rows: usize) {
                $(
                    assert!(self.$field.len() <= rows, concat!("column ", stringify!($field), " is too long"));
                    self.$field.resize(rows, Default::default());
                )*
                self.rows = rows;
            }

            /// Drops the rows from `rows` on, so that a decoder can take back what it began.
            pub fn truncate(&mut self, rows: usize) {
                $(self.$field.truncate(rows);)*
                self.rows = self.rows.min(rows);
            }

            /// Appends the rows of `other`.
            pub fn append(&mut self, other: &Batch) {
                $(self.$field.extend_from_slice(&other.$field);)*
                self.rows += other.rows;
            }

            /// A copy of the rows in `range`.
            ///
            /// # Panics
            /// When the range exceeds the batch.
            pub fn range(&self, range: std::ops::Range<usize>) -> Batch {
                Batch { rows: range.len(), $($field: self.$field[range.clone()].to_vec(),)* }
            }

            /// The values of a column, borrowed.
            pub fn column(&self, column: Column) -> Values<'_> {
                match column { $(Column::$name => Element::borrowed(&self.$field),)* }
            }

            /// Appends the little-endian bytes of a column to `bytes`, as a plain column stores
            /// them.
            pub(crate) fn write_plain(&self, column: Column, bytes: &mut Vec<u8>) {
                match column { $(Column::$name => Element::write_plain(&self.$field, bytes),)* }
            }

            /// Empties the batch and keeps its memory.
            pub fn clear(&mut self) {
                $(self.$field.clear();)*
                self.rows = 0;
            }
        }
    };
}

for_each_column!(define_batch);

impl Batch {
    /// Complete rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

impl ColumnSource for Batch {
    fn rows(&self) -> usize {
        self.rows
    }

    fn values(&self, column: Column) -> Result<Values<'_>, Error> {
        Ok(self.column(column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_columns_are_padded_with_zeroes() {
        let mut batch = Batch::with_capacity(2);
        batch.bytes.extend([10, 20]);
        batch.fill(2);
        assert_eq!(batch.rows(), 2);
        assert_eq!(batch.packets, [0, 0]);
        assert_eq!(batch.source_address, [Address::ABSENT; 2]);
    }

    #[test]
    fn a_half_decoded_set_can_be_taken_back() {
        let mut batch = Batch::default();
        batch.bytes.push(1);
        batch.fill(1);
        batch.bytes.push(2);
        batch.truncate(1);
        assert_eq!((batch.rows(), batch.bytes.len()), (1, 1));
    }
}
