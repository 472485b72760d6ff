//! One flow as a row: what a listing carries to the place where it is merged and printed.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::column::{ColumnSource, Values};
use crate::error::Error;
use crate::for_each_column;
use crate::overflow::{Extra, Overflow};
use crate::query::totals::Totals;
use crate::{Address, Batch, Column};

macro_rules! define_row {
    ($($field:ident: $kind:ident = $number:literal, $name:ident, $form:ident, $title:literal,
       $word:literal, $elements:literal, $meaning:literal;)*) => {
        /// One flow with all columns of the schema.
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "Sparse", into = "Sparse")]
        pub struct FlowRow {
            /// What it says beside its columns.
            pub elements: Vec<Extra>,
            $(#[doc = $meaning] pub $field: $kind,)*
        }

        impl FlowRow {
            /// The value in a column.
            pub fn cell(&self, column: Column) -> Cell {
                match column { $(Column::$name => self.$field.into(),)* }
            }

            /// Sets the value of a column; false, and nothing is set, when it does not fit there.
            pub fn set(&mut self, column: Column, cell: Cell) -> bool {
                match column {
                    $(Column::$name => match cell.try_into() {
                        Ok(value) => self.$field = value,
                        Err(Unfit) => return false,
                    },)*
                }
                true
            }
        }

        impl Batch {
            /// Appends one row.
            pub fn push(&mut self, row: &FlowRow) {
                let rows = self.rows();
                $(
                    if row.$field != <$kind>::default() {
                        self.$field.resize(rows, <$kind>::default());
                        self.$field.push(row.$field);
                    }
                )*
                if !row.elements.is_empty() {
                    self.overflow.push_extras(rows, &row.elements);
                }
                self.fill(rows + 1);
            }
        }
    };
}

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    /// Of a column of numbers.
    Number(u64),
    /// Of a column of addresses.
    Address(Address),
}

/// A value that its column cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit;

impl From<Address> for Cell {
    fn from(address: Address) -> Cell {
        Cell::Address(address)
    }
}

impl TryFrom<Cell> for Address {
    type Error = Unfit;

    fn try_from(cell: Cell) -> Result<Address, Unfit> {
        match cell {
            Cell::Address(address) => Ok(address),
            Cell::Number(_) => Err(Unfit),
        }
    }
}

macro_rules! number_cell {
    ($($type:ident),*) => {$(
        impl From<$type> for Cell {
            fn from(number: $type) -> Cell {
                Cell::Number(number.into())
            }
        }

        impl TryFrom<Cell> for $type {
            type Error = Unfit;

            fn try_from(cell: Cell) -> Result<$type, Unfit> {
                match cell {
                    Cell::Number(number) => number.try_into().map_err(|_| Unfit),
                    Cell::Address(_) => Err(Unfit),
                }
            }
        }
    )*};
}

number_cell!(u8, u16, u32, u64);

for_each_column!(define_row);

impl Cell {
    /// Whether the record said nothing.
    pub fn is_absent(self) -> bool {
        matches!(self, Cell::Number(0) | Cell::Address(Address::ABSENT))
    }
}

/// A row as it crosses the network: what it says, by column number.
#[derive(Serialize, Deserialize)]
struct Sparse {
    numbers: Vec<(u8, u64)>,
    addresses: Vec<(u8, Address)>,
    elements: Vec<Extra>,
}

impl From<FlowRow> for Sparse {
    fn from(mut row: FlowRow) -> Sparse {
        let elements = std::mem::take(&mut row.elements);
        let mut sparse = Sparse { numbers: Vec::new(), addresses: Vec::new(), elements };
        for &column in Column::ALL {
            match row.cell(column) {
                Cell::Number(0) | Cell::Address(Address::ABSENT) => {}
                Cell::Number(number) => sparse.numbers.push((column as u8, number)),
                Cell::Address(address) => sparse.addresses.push((column as u8, address)),
            }
        }
        sparse
    }
}

impl TryFrom<Sparse> for FlowRow {
    type Error = String;

    fn try_from(sparse: Sparse) -> Result<FlowRow, String> {
        let mut row = FlowRow { elements: sparse.elements, ..FlowRow::default() };
        let numbers = sparse.numbers.into_iter().map(|(at, number)| (at, Cell::Number(number)));
        let addresses = sparse.addresses.into_iter().map(|(at, a)| (at, Cell::Address(a)));
        for (number, cell) in numbers.chain(addresses) {
            let fits = Column::from_number(number).is_some_and(|column| row.set(column, cell));
            if !fits {
                return Err(format!("a value that column {number} cannot hold"));
            }
        }
        Ok(row)
    }
}

/// The columns of a source that say something, for listing some of its rows.
pub(crate) struct RowSource<'a> {
    columns: Vec<(Column, Values<'a>)>,
    overflow: Option<Cow<'a, Overflow>>,
}

impl<'a> RowSource<'a> {
    pub(crate) fn open(source: &'a impl ColumnSource) -> Result<Self, Error> {
        let present = Column::ALL.iter().filter(|&&column| source.has(column));
        let values = present.map(|&column| Ok((column, source.values(column)?)));
        let columns = values.collect::<Result<_, Error>>()?;
        Ok(RowSource { columns, overflow: source.overflow()? })
    }

    pub(crate) fn row(&self, row: usize) -> FlowRow {
        let mut flow = FlowRow::default();
        for (column, values) in &self.columns {
            let cell = match values {
                Values::Address(values) => Cell::Address(values[row]),
                values => Cell::Number(values.number(row)),
            };
            let fits = flow.set(*column, cell);
            debug_assert!(fits, "the schema gives every column its type");
        }
        if let Some(overflow) = &self.overflow {
            let extra = |(element, value): (_, &[u8])| Extra { element, value: value.into() };
            flow.elements = overflow.elements(row).map(extra).collect();
        }
        flow
    }
}

impl FlowRow {
    /// Its counts, and what they stand for.
    pub fn totals(&self) -> Totals {
        let sum = |counts: [u64; 3]| counts.into_iter().fold(0, u64::saturating_add);
        let packets = sum([self.packets, self.output_packets, self.reverse_packets]);
        let bytes = sum([self.bytes, self.output_bytes, self.reverse_bytes]);
        Totals::of_flow(packets, bytes, self.first_ms, self.last_ms)
            .sampled(self.sampling_rate, self.kept_one_in)
    }

    /// The order of a listing: by beginning, and then by everything else, so that it is the same
    /// whatever order the rows were merged in.
    pub fn listing_order(&self, other: &FlowRow) -> Ordering {
        self.first_ms.cmp(&other.first_ms).then_with(|| self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::ElementId;

    #[test]
    fn a_row_pushed_to_a_batch_comes_back() {
        let row = FlowRow { first_ms: 7, source_port: 80, ..FlowRow::default() };
        let mut batch = Batch::default();
        batch.push(&FlowRow::default());
        batch.push(&row);
        assert_eq!(RowSource::open(&batch).unwrap().row(1), row);
    }

    #[test]
    fn a_row_crosses_the_network_by_what_it_says() {
        let mut row = FlowRow { first_ms: 7, tcp_flags: 0x112, ..FlowRow::default() };
        row.nat_source_address = Address::from_v4([192, 0, 2, 1]);
        let element = ElementId::new(9, 12235);
        row.elements.push(Extra { element, value: Box::from(*b"a") });
        let bytes = postcard::to_allocvec(&row).unwrap();
        assert!(bytes.len() < 40, "{} bytes", bytes.len());
        assert_eq!(postcard::from_bytes::<FlowRow>(&bytes).unwrap(), row);
        let unknown =
            Sparse { numbers: vec![(255, 1)], addresses: Vec::new(), elements: Vec::new() };
        let bytes = postcard::to_allocvec(&unknown).unwrap();
        postcard::from_bytes::<FlowRow>(&bytes).unwrap_err();
    }
}
