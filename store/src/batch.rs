//! A column batch: what a decoder appends to and the store seals.

use std::borrow::Cow;

use crate::column::{ColumnSource, Element, Values};
use crate::error::Error;
use crate::for_each_column;
use crate::overflow::Overflow;
use crate::{Address, Column};

macro_rules! define_batch {
    ($($field:ident: $kind:ident = $number:literal, $name:ident, $form:ident, $title:literal,
       $word:literal, $elements:literal, $meaning:literal;)*) => {
        /// Rows as columns.
        ///
        /// A decoder pushes to the columns that it knows and then calls [`Batch::fill`]: no row
        /// struct stands between the wire and the column. A column of which no row says anything
        /// stays empty and is *absent*; every other one has [`Batch::rows`] values. The three
        /// times are never absent.
        ///
        /// A decoder that adds rows in many small steps may say [`Batch::grow`] instead of
        /// [`Batch::fill`]: then a column may be shorter than the rows, and is brought up to them
        /// when somebody appends to it again, or by [`Batch::settle`] in the end.
        #[derive(Clone, Debug, Default)]
        pub struct Batch {
            rows: usize,
            /// What the rows say beside their columns.
            pub overflow: Overflow,
            $(#[doc = $meaning] pub $field: Vec<$kind>,)*
        }

        impl Batch {
            /// An empty batch with room for `rows` rows of the columns that every flow has, so
            /// that appending them does not allocate.
            pub fn with_capacity(rows: usize) -> Self {
                let room = |column: Column| if column.is_common() { rows } else { 0 };
                Batch {
                    rows: 0,
                    overflow: Overflow::default(),
                    $($field: Vec::with_capacity(room(Column::$name)),)*
                }
            }

            /// An empty batch with room for `rows` rows of the columns that this one has.
            #[must_use]
            pub fn another(&self, rows: usize) -> Self {
                let room = |column: Column, present: bool| {
                    if present || column.is_common() { rows } else { 0 }
                };
                Batch {
                    rows: 0,
                    overflow: self.overflow.another(),
                    $($field: Vec::with_capacity(room(Column::$name, !self.$field.is_empty())),)*
                }
            }

            /// Completes the batch to `rows` rows: columns that have some values are padded with
            /// zeroes.
            ///
            /// # Panics
            /// When a column is already longer: the decoder's invariant is broken.
            pub fn fill(&mut self, rows: usize) {
                self.rows = rows;
                self.settle();
            }

            /// Brings every column that has some values up to the batch's rows.
            ///
            /// # Panics
            /// When a column is longer: the decoder's invariant is broken.
            pub fn settle(&mut self) {
                let rows = self.rows;
                assert!(self.overflow.rows() <= rows, "the overflow is too long");
                $(
                    assert!(self.$field.len() <= rows, concat!("column ", stringify!($field), " is too long"));
                    if !self.$field.is_empty() || Column::$name.is_time() {
                        self.$field.resize(rows, Default::default());
                    }
                )*
            }

            /// Drops the rows from `rows` on, so that a decoder can take back what it began.
            pub fn truncate(&mut self, rows: usize) {
                $(self.$field.truncate(rows);)*
                self.overflow.truncate(rows);
                self.rows = self.rows.min(rows);
            }

            /// Appends the rows of `other`. Both must be settled.
            pub fn append(&mut self, other: &Batch) {
                let rows = self.rows + other.rows;
                self.overflow.append(self.rows, &other.overflow, 0..other.rows);
                $(
                    if !other.$field.is_empty() {
                        self.$field.resize(self.rows, Default::default());
                        self.$field.extend_from_slice(&other.$field);
                    } else if !self.$field.is_empty() {
                        self.$field.resize(rows, Default::default());
                    }
                )*
                self.rows = rows;
            }

            /// A copy of the rows in `range`.
            ///
            /// # Panics
            /// When the range exceeds the batch.
            pub fn range(&self, range: std::ops::Range<usize>) -> Batch {
                assert!(range.end <= self.rows, "the batch has {} rows", self.rows);
                let mut overflow = Overflow::default();
                overflow.append(0, &self.overflow, range.clone());
                Batch {
                    rows: range.len(),
                    overflow,
                    $($field: self.$field.get(range.clone()).unwrap_or_default().to_vec(),)*
                }
            }

            /// The values of a column; those of an absent one are zeroes that are made for it.
            pub fn column(&self, column: Column) -> Values<'_> {
                match column {
                    $(Column::$name => {
                        if self.$field.len() == self.rows {
                            Element::borrowed(&self.$field)
                        } else {
                            let mut values = self.$field.clone();
                            values.resize(self.rows, Default::default());
                            Element::owned(values)
                        }
                    })*
                }
            }

            /// Whether some row may say something in this column.
            pub fn has(&self, column: Column) -> bool {
                match column { $(Column::$name => !self.$field.is_empty(),)* }
            }

            /// Sets the values of a column, whose number is that of the rows to be.
            ///
            /// # Panics
            /// When they have another type than the column.
            pub(crate) fn put(&mut self, column: Column, values: Values<'static>) {
                match column { $(Column::$name => self.$field = Element::taken(values),)* }
            }

            /// Empties the batch and keeps its memory.
            pub fn clear(&mut self) {
                $(self.$field.clear();)*
                self.overflow.clear();
                self.rows = 0;
            }
        }

        impl PartialEq for Batch {
            /// Whether the rows say the same; an absent column equals one of zeroes.
            fn eq(&self, other: &Batch) -> bool {
                self.rows == other.rows
                    && self.overflow == other.overflow
                    $(&& same(&self.$field, &other.$field))*
            }
        }
    };
}

for_each_column!(define_batch);

impl Eq for Batch {}

/// Whether two columns agree where both have values, and the rest of the longer one is zeroes.
fn same<T: PartialEq + Default>(a: &[T], b: &[T]) -> bool {
    let common = a.len().min(b.len());
    let zero = T::default();
    a[..common] == b[..common] && a[common..].iter().chain(&b[common..]).all(|v| *v == zero)
}

impl Batch {
    /// Complete rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Says that there are `rows` rows now, and leaves the columns that are shorter as they are;
    /// see the type.
    pub fn grow(&mut self, rows: usize) {
        debug_assert!(self.rows <= rows, "rows are only added");
        self.rows = rows;
    }

    /// The columns in which some row may say something.
    pub fn present(&self) -> impl Iterator<Item = Column> {
        Column::ALL.iter().copied().filter(|&column| self.has(column))
    }
}

impl ColumnSource for Batch {
    fn rows(&self) -> usize {
        self.rows
    }

    fn values(&self, column: Column) -> Result<Values<'_>, Error> {
        Ok(self.column(column))
    }

    fn has(&self, column: Column) -> bool {
        Batch::has(self, column)
    }

    fn overflow(&self) -> Result<Option<Cow<'_, Overflow>>, Error> {
        Ok((!self.overflow.is_empty()).then_some(Cow::Borrowed(&self.overflow)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_columns_read_as_zeroes_and_hold_no_memory() {
        let mut batch = Batch::with_capacity(2);
        batch.bytes.extend([10, 20]);
        batch.fill(2);
        assert_eq!(batch.rows(), 2);
        assert_eq!(batch.column(Column::Packets), Values::U64(Cow::Owned(vec![0, 0])));
        assert_eq!(batch.column(Column::NatSourceAddress).as_addresses(), [Address::ABSENT; 2]);
        assert!(!batch.has(Column::Packets) && batch.has(Column::Bytes));
        assert_eq!(batch.nat_source_address.capacity(), 0);
    }

    #[test]
    fn the_times_are_never_absent() {
        let mut batch = Batch::default();
        batch.fill(3);
        assert_eq!(batch.received_ms, [0, 0, 0]);
        assert_eq!((batch.first_ms.len(), batch.last_ms.len()), (3, 3));
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

    #[test]
    fn a_column_that_only_one_of_two_batches_has_is_padded() {
        let (mut left, mut right) = (Batch::default(), Batch::default());
        left.source_port.extend([1, 2]);
        left.fill(2);
        right.vlan.extend([7]);
        right.fill(1);
        left.append(&right);
        assert_eq!((&left.source_port[..], &left.vlan[..]), (&[1, 2, 0][..], &[0, 0, 7][..]));
        let middle = left.range(1..3);
        assert_eq!((&middle.source_port[..], &middle.vlan[..]), (&[2, 0][..], &[0, 7][..]));
        assert!(!middle.has(Column::Tos));
    }

    #[test]
    fn a_batch_that_grew_is_settled_later() {
        let mut batch = Batch::default();
        batch.tos.push(5);
        batch.grow(3);
        assert_eq!(batch.column(Column::Tos), Values::U8(Cow::Owned(vec![5, 0, 0])));
        batch.settle();
        assert_eq!(batch.tos, [5, 0, 0]);
    }

    #[test]
    fn an_absent_column_equals_one_of_zeroes() {
        let (mut left, mut right) = (Batch::default(), Batch::default());
        left.tos.push(0);
        left.fill(1);
        right.fill(1);
        assert_eq!(left, right);
        right.tos.push(1);
        assert_ne!(left, right);
    }
}
