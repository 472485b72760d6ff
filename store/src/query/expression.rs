//! The compiled filter: which rows of a source are selected.
//!
//! Every test is one loop over one or two columns and gives a [`Selection`], a bit a row; `and`,
//! `or` and `not` combine selections sixty-four rows at a time. A column is decoded only when a
//! test needs it; `and` stops reading columns as soon as no row is left, `or` as soon as all are
//! selected.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::column::{ColumnSource, Values};
use crate::error::Error;
use crate::names::{Span, Table};
use crate::query::element::ElementTest;
use crate::query::named::{self, NamePattern};
use crate::query::stop::Stop;
use crate::query::totals::{bits_per_second, per_second};
use crate::{Address, Column};

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Every row.
    All,
    /// The rows that pass one test.
    Test(Test),
    /// The rows that the inner one leaves.
    Not(Box<Expression>),
    /// The rows that all select.
    And(Vec<Expression>),
    /// The rows that any selects.
    Or(Vec<Expression>),
}

/// A test of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// A column's number compared.
    Number {
        /// The column; not an address.
        column: Column,
        /// How.
        compare: Compare,
        /// With what.
        value: u64,
    },
    /// A column's number is one of these, ascending.
    NumberIn {
        /// The column; not an address.
        column: Column,
        /// The numbers.
        values: Vec<u64>,
    },
    /// A column's address lies in one of these ranges, which ascend and do not touch.
    AddressIn {
        /// The column; an address.
        column: Column,
        /// First and last address of each range.
        ranges: Vec<(Address, Address)>,
    },
    /// A column's address has one of these codes of a segment's dictionary; see
    /// [`Expression::bind`].
    CodeIn {
        /// The column; an address.
        column: Column,
        /// The codes, ascending.
        codes: Vec<Range<u32>>,
        /// The segment's blocks that hold any of them, a bit each.
        blocks: u64,
    },
    /// All of these TCP flags are set.
    Flags(u16),
    /// Any of these TCP flags is set.
    AnyFlag(u16),
    /// A column's number is one that its exporter called by a name when the flow came.
    Named {
        /// The column; one of those whose numbers exporters name.
        column: Column,
        /// The name.
        name: NamePattern,
        /// What had it; empty until [`Expression::named_by`] has looked.
        spans: Arc<[Span]>,
    },
    /// An element's value.
    Element(Box<ElementTest>),
    /// A number that several columns make.
    Measure {
        /// Which.
        measure: Measure,
        /// How.
        compare: Compare,
        /// With what.
        value: u64,
    },
}

/// A comparison of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less.
    Less,
    /// Less or equal.
    AtMost,
    /// Greater.
    Greater,
    /// Greater or equal.
    AtLeast,
}

/// A number of a flow that several columns make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// From first to last, in ms.
    Duration,
    /// Packets a second; 0 when there is no duration.
    Pps,
    /// Bits a second; 0 when there is no duration.
    Bps,
    /// Bytes a packet; 0 without packets.
    Bpp,
    /// Packets of the other direction, and as they left the exporter: nfdump's outward ones.
    OutPackets,
    /// Bytes of the other direction, and as they left the exporter: nfdump's outward ones.
    OutBytes,
}

impl Compare {
    /// Whether `left` stands so to `right`.
    pub fn holds<T: Ord>(self, left: T, right: T) -> bool {
        match self {
            Compare::Equal => left == right,
            Compare::NotEqual => left != right,
            Compare::Less => left < right,
            Compare::AtMost => left <= right,
            Compare::Greater => left > right,
            Compare::AtLeast => left >= right,
        }
    }
}

/// The rows that are selected, a bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    rows: usize,
    words: Vec<u64>,
}

impl Selection {
    /// Every row.
    pub fn all(rows: usize) -> Self {
        Selection::of(rows, |_| true)
    }

    /// The rows for which `test` holds.
    pub(crate) fn of(rows: usize, test: impl Fn(usize) -> bool) -> Self {
        let word = |first: usize| {
            (first..rows.min(first + 64))
                .fold(0, |word, row| word | u64::from(test(row)) << (row - first))
        };
        Selection { rows, words: (0..rows).step_by(64).map(word).collect() }
    }

    /// How many rows are selected.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no row is selected.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The selected rows, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let rest = |left: &u64| Some(left & (left - 1)).filter(|left| *left != 0);
            std::iter::successors(Some(word).filter(|word| *word != 0), rest)
                .map(move |left| index * 64 + left.trailing_zeros() as usize)
        })
    }

    /// Whether every row is selected.
    pub fn is_full(&self) -> bool {
        self.count() == self.rows
    }

    /// Keeps the rows that `other` selects as well.
    pub fn and(&mut self, other: &Selection) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    /// Adds the rows that `other` selects.
    pub fn or(&mut self, other: &Selection) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Selects the other rows.
    pub fn not(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        let used = self.rows % 64;
        if let (Some(last), true) = (self.words.last_mut(), used != 0) {
            *last &= (1 << used) - 1;
        }
    }
}

impl Expression {
    /// This filter with what the names in it stand for.
    pub(crate) fn named_by(&self, table: &Table) -> Cow<'_, Expression> {
        let all = |parts: &[Expression]| {
            let named: Vec<_> = parts.iter().map(|part| part.named_by(table)).collect();
            let any = named.iter().any(|part| matches!(part, Cow::Owned(_)));
            any.then(|| named.into_iter().map(Cow::into_owned).collect::<Vec<_>>())
        };
        let named = match self {
            Expression::Test(Test::Named { column, name, .. }) => {
                let kind = column.name_kind().expect("the parser chose a column with names");
                let spans = table.spans(kind, |told| name.matches(told)).into();
                Some(Expression::Test(Test::Named { column: *column, name: name.clone(), spans }))
            }
            Expression::Not(inner) => match inner.named_by(table) {
                Cow::Owned(inner) => Some(Expression::Not(Box::new(inner))),
                Cow::Borrowed(_) => None,
            },
            Expression::And(parts) => all(parts).map(Expression::And),
            Expression::Or(parts) => all(parts).map(Expression::Or),
            Expression::All | Expression::Test(_) => None,
        };
        named.map_or(Cow::Borrowed(self), Cow::Owned)
    }

    /// The rows of `source` that the filter selects.
    ///
    /// # Errors
    /// What reading a column says.
    pub fn select(&self, source: &impl ColumnSource) -> Result<Selection, Error> {
        self.select_until(source, &Stop::never())
    }

    /// [`Expression::select`] that can be ended early.
    ///
    /// # Errors
    /// What reading a column says; [`Error::Abandoned`].
    pub fn select_until(
        &self,
        source: &impl ColumnSource,
        stop: &Stop,
    ) -> Result<Selection, Error> {
        let rows = source.rows();
        match self {
            Expression::All => Ok(Selection::all(rows)),
            Expression::Test(test) => test.select(source),
            Expression::Not(inner) => {
                let mut selection = inner.select_until(source, stop)?;
                selection.not();
                Ok(selection)
            }
            Expression::And(parts) => {
                let mut selection = Selection::all(rows);
                for part in parts {
                    if selection.is_empty() {
                        break;
                    }
                    stop.check()?;
                    selection.and(&part.select_until(source, stop)?);
                }
                Ok(selection)
            }
            Expression::Or(parts) => {
                let mut selection = Selection::of(rows, |_| false);
                for part in parts {
                    if selection.is_full() {
                        break;
                    }
                    stop.check()?;
                    selection.or(&part.select_until(source, stop)?);
                }
                Ok(selection)
            }
        }
    }

    /// How many tests a row may have to pass through.
    pub(crate) fn tests(&self) -> usize {
        match self {
            Expression::All => 0,
            Expression::Test(_) => 1,
            Expression::Not(inner) => inner.tests(),
            Expression::And(parts) | Expression::Or(parts) => {
                parts.iter().map(Expression::tests).sum()
            }
        }
    }

    /// All of `parts`.
    pub(crate) fn all_of(mut parts: Vec<Expression>) -> Expression {
        if parts.len() == 1 { parts.remove(0) } else { Expression::And(parts) }
    }

    /// Any of `parts`, with tests of one column against lists made one test, so that a long chain
    /// of addresses costs one look-up a row.
    pub(crate) fn any_of(parts: Vec<Expression>) -> Expression {
        let mut merged: Vec<Expression> = Vec::new();
        let mut addresses: Lists<(Address, Address)> = Vec::new();
        let mut numbers: Lists<u64> = Vec::new();
        let mut queue: Vec<Expression> = parts;
        queue.reverse();
        while let Some(part) = queue.pop() {
            match part {
                Expression::Or(inner) => queue.extend(inner.into_iter().rev()),
                Expression::Test(Test::AddressIn { column, ranges }) => {
                    extend(&mut addresses, column, ranges);
                }
                Expression::Test(Test::NumberIn { column, values }) => {
                    extend(&mut numbers, column, values);
                }
                Expression::Test(Test::Number { column, compare: Compare::Equal, value }) => {
                    extend(&mut numbers, column, vec![value]);
                }
                other => merged.push(other),
            }
        }
        merged.extend(addresses.into_iter().map(|(column, ranges)| {
            Expression::Test(Test::AddressIn { column, ranges: disjoint(ranges) })
        }));
        merged.extend(numbers.into_iter().map(|(column, mut values)| {
            values.sort_unstable();
            values.dedup();
            Expression::Test(match values[..] {
                [value] => Test::Number { column, compare: Compare::Equal, value },
                _ => Test::NumberIn { column, values },
            })
        }));
        if merged.len() == 1 { merged.remove(0) } else { Expression::Or(merged) }
    }
}

/// What is collected for each column.
type Lists<T> = Vec<(Column, Vec<T>)>;

fn extend<T>(lists: &mut Lists<T>, column: Column, values: Vec<T>) {
    match lists.iter_mut().find(|(known, _)| *known == column) {
        Some((_, all)) => all.extend(values),
        None => lists.push((column, values)),
    }
}

/// The same addresses as ascending ranges that do not overlap.
pub(crate) fn disjoint(mut ranges: Vec<(Address, Address)>) -> Vec<(Address, Address)> {
    ranges.sort_unstable();
    let mut merged: Vec<(Address, Address)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

impl Test {
    fn select(&self, source: &impl ColumnSource) -> Result<Selection, Error> {
        if let Some(passes) = self.without(source) {
            return Ok(Selection::of(source.rows(), |_| passes));
        }
        Ok(match self {
            Test::Number { column, compare, value } => {
                numbers(&source.values(*column)?, compare_with(*compare, *value))
            }
            Test::NumberIn { column, values } => {
                numbers(&source.values(*column)?, |number| values.binary_search(&number).is_ok())
            }
            Test::AddressIn { column, ranges } => {
                addresses(source.values(*column)?.as_addresses(), ranges)
            }
            Test::Named { column, spans, .. } => named::select(source, *column, spans)?,
            Test::CodeIn { column, codes, .. } => {
                let found = source.codes(*column)?;
                coded(&found.expect("a filter is asked of the segment that it is bound to"), codes)
            }
            Test::Flags(all) => {
                let all = u64::from(*all);
                numbers(&source.values(Column::TcpFlags)?, |flags| flags & all == all)
            }
            Test::AnyFlag(any) => {
                let any = u64::from(*any);
                numbers(&source.values(Column::TcpFlags)?, |flags| flags & any != 0)
            }
            Test::Element(test) => test.select(source)?,
            Test::Measure { measure, compare, value } => {
                measures(source, *measure, compare_with(*compare, *value))?
            }
        })
    }
}

impl Test {
    /// Whether every row of a source that lacks the column passes, or none; `None` when its values
    /// must be looked at.
    fn without(&self, source: &impl ColumnSource) -> Option<bool> {
        let absent = |column: &Column| !source.has(*column);
        match self {
            Test::Number { column, compare, value } => {
                absent(column).then(|| compare.holds(0, *value))
            }
            Test::NumberIn { column, values } => absent(column).then(|| values.first() == Some(&0)),
            Test::AddressIn { column, ranges } => absent(column)
                .then(|| ranges.first().is_some_and(|(first, _)| *first == Address::ABSENT)),
            Test::Flags(all) => absent(&Column::TcpFlags).then_some(*all == 0),
            Test::AnyFlag(_) => absent(&Column::TcpFlags).then_some(false),
            Test::Element(_) | Test::Named { .. } | Test::CodeIn { .. } | Test::Measure { .. } => {
                None
            }
        }
    }
}

fn compare_with(compare: Compare, value: u64) -> impl Fn(u64) -> bool {
    move |number| compare.holds(number, value)
}

/// Tests the numbers of a column in a loop of its own for each width.
fn numbers(values: &Values<'_>, test: impl Fn(u64) -> bool) -> Selection {
    match values {
        Values::U8(values) => Selection::of(values.len(), |row| test(values[row].into())),
        Values::U16(values) => Selection::of(values.len(), |row| test(values[row].into())),
        Values::U32(values) => Selection::of(values.len(), |row| test(values[row].into())),
        Values::U64(values) => Selection::of(values.len(), |row| test(values[row])),
        Values::Address(_) => unreachable!("the parser tests addresses with ranges"),
    }
}

pub(crate) fn addresses(values: &[Address], ranges: &[(Address, Address)]) -> Selection {
    let number = |address: &Address| u128::from_be_bytes(address.0);
    if let [(first, last)] = ranges {
        let (first, last) = (number(first), number(last));
        return Selection::of(values.len(), |row| (first..=last).contains(&number(&values[row])));
    }
    Selection::of(values.len(), |row| {
        let value = values[row];
        let after = ranges.partition_point(|(first, _)| *first <= value);
        after.checked_sub(1).is_some_and(|index| value <= ranges[index].1)
    })
}

/// Tests codes against ascending ranges of them.
fn coded(codes: &[u32], ranges: &[Range<u32>]) -> Selection {
    if let [range] = ranges {
        let (start, length) = (range.start, range.end - range.start);
        return Selection::of(codes.len(), |row| codes[row].wrapping_sub(start) < length);
    }
    Selection::of(codes.len(), |row| {
        let at = ranges.partition_point(|range| range.end <= codes[row]);
        ranges.get(at).is_some_and(|range| range.start <= codes[row])
    })
}

fn measures(
    source: &impl ColumnSource,
    measure: Measure,
    test: impl Fn(u64) -> bool,
) -> Result<Selection, Error> {
    let rows = source.rows();
    let outward = match measure {
        Measure::OutPackets => Some((Column::OutputPackets, Column::ReversePackets)),
        Measure::OutBytes => Some((Column::OutputBytes, Column::ReverseBytes)),
        _ => None,
    };
    if let Some((output, reverse)) = outward {
        let (output, reverse) = (source.values(output)?, source.values(reverse)?);
        let (output, reverse) = (output.as_u64(), reverse.as_u64());
        return Ok(Selection::of(rows, |row| test(output[row].saturating_add(reverse[row]))));
    }
    if measure == Measure::Bpp {
        let (packets, bytes) = (source.values(Column::Packets)?, source.values(Column::Bytes)?);
        let (packets, bytes) = (packets.as_u64(), bytes.as_u64());
        let bpp = |row: usize| bytes[row].checked_div(packets[row]).unwrap_or(0);
        return Ok(Selection::of(rows, |row| test(bpp(row))));
    }
    let (first, last) = (source.values(Column::First)?, source.values(Column::Last)?);
    let (first, last) = (first.as_u64(), last.as_u64());
    let duration = |row: usize| last[row].saturating_sub(first[row]);
    Ok(match measure {
        Measure::Duration | Measure::Bpp | Measure::OutPackets | Measure::OutBytes => {
            Selection::of(rows, |row| test(duration(row)))
        }
        Measure::Pps => {
            let packets = source.values(Column::Packets)?;
            let packets = packets.as_u64();
            Selection::of(rows, |row| test(per_second(packets[row], duration(row))))
        }
        Measure::Bps => {
            let bytes = source.values(Column::Bytes)?;
            let bytes = bytes.as_u64();
            Selection::of(rows, |row| test(bits_per_second(bytes[row], duration(row))))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::overflow::Overflow;

    #[test]
    fn not_leaves_no_bit_beyond_the_rows() {
        let mut selection = Selection::of(70, |row| row == 3);
        selection.not();
        assert_eq!(selection.count(), 69);
        assert_eq!(selection.iter().last(), Some(69));
        selection.not();
        assert_eq!(selection.iter().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn or_reads_no_column_once_every_row_is_selected() {
        struct NoColumns;
        impl ColumnSource for NoColumns {
            fn rows(&self) -> usize {
                70
            }
            fn overflow(&self) -> Result<Option<Cow<'_, Overflow>>, Error> {
                unreachable!("no part of the filter asks for an element")
            }

            fn has(&self, _: Column) -> bool {
                unreachable!("the other parts of the filter decide nothing any more")
            }

            fn values(&self, column: Column) -> Result<Values<'_>, Error> {
                panic!("{column:?} is read")
            }
        }
        let parts = vec![Expression::All, Expression::Test(Test::Flags(1))];
        assert!(Expression::Or(parts).select(&NoColumns).unwrap().is_full());
    }

    #[test]
    fn overlapping_ranges_become_one() {
        let address = |last| Address::from_v4([10, 0, 0, last]);
        let ranges = vec![(address(5), address(9)), (address(1), address(6))];
        assert_eq!(disjoint(ranges), [(address(1), address(9))]);
    }
}
