//! One flow as a row: what a listing carries to the place where it is merged and printed.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::column::{ColumnSource, Values};
use crate::error::Error;
use crate::for_each_column;
use crate::{Address, Batch, Column};

macro_rules! define_row {
    ($($field:ident: $kind:ident = $number:literal, $name:ident, $meaning:literal;)*) => {
        /// One flow with all columns of the schema.
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct FlowRow {
            $(#[doc = $meaning] pub $field: $kind,)*
        }

        /// All columns of a source, for listing some of its rows.
        pub(crate) struct RowSource<'a> {
            $($field: Values<'a>,)*
        }

        impl<'a> RowSource<'a> {
            pub(crate) fn open(source: &'a impl ColumnSource) -> Result<Self, Error> {
                Ok(RowSource { $($field: source.values(Column::$name)?,)* })
            }

            pub(crate) fn row(&self, row: usize) -> FlowRow {
                FlowRow { $($field: <$kind as Cell>::at(&self.$field, row),)* }
            }
        }

        impl Batch {
            /// Appends one row.
            pub fn push(&mut self, row: &FlowRow) {
                let rows = self.rows();
                $(self.$field.push(row.$field);)*
                self.fill(rows + 1);
            }
        }
    };
}

/// The value of one row in a column of this type.
trait Cell {
    fn at(values: &Values<'_>, row: usize) -> Self;
}

impl Cell for Address {
    fn at(values: &Values<'_>, row: usize) -> Self {
        values.as_addresses()[row]
    }
}

macro_rules! number_cell {
    ($($type:ident => $variant:ident),*) => {$(
        impl Cell for $type {
            fn at(values: &Values<'_>, row: usize) -> Self {
                match values {
                    Values::$variant(values) => values[row],
                    _ => unreachable!("the schema gives every column its type"),
                }
            }
        }
    )*};
}

number_cell!(u8 => U8, u16 => U16, u32 => U32, u64 => U64);

for_each_column!(define_row);

impl FlowRow {
    /// The order of a listing: by beginning, and then by everything else, so that it is the same
    /// whatever order the rows were merged in.
    pub fn listing_order(&self, other: &FlowRow) -> Ordering {
        self.first_ms.cmp(&other.first_ms).then_with(|| self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_pushed_to_a_batch_comes_back() {
        let row = FlowRow { first_ms: 7, source_port: 80, ..FlowRow::default() };
        let mut batch = Batch::default();
        batch.push(&FlowRow::default());
        batch.push(&row);
        assert_eq!(RowSource::open(&batch).unwrap().row(1), row);
    }
}
