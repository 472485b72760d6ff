//! A filter bound to a segment: what the segment's dictionary and zone maps say of it before any row
//! is read.
//!
//! Ranges of addresses become ranges of codes, and a search that the dictionary denies becomes a
//! test that selects nothing. Of each block it is then asked whether a row may pass; a block that
//! cannot hold one is never read. What is pruned so is what a naive scan would have found empty.

use std::ops::Range;

use crate::column::ColumnSource;
use crate::error::Error;
use crate::query::expression::{Compare, Expression, Test};
use crate::segment::{Block, SegmentFile};
use crate::{Address, Column};

/// With more codes than this the blocks that hold them are not worth finding.
const FEW_CODES: usize = 4096;

impl Expression {
    /// The same filter for the blocks of `segment`.
    ///
    /// # Errors
    /// What reading the dictionary says.
    pub(crate) fn bind(&self, segment: &SegmentFile) -> Result<Expression, Error> {
        Ok(match self {
            Expression::Test(Test::AddressIn { column, ranges }) => {
                bind_addresses(*column, ranges, segment)?
            }
            Expression::All | Expression::Test(_) => self.clone(),
            Expression::Not(inner) => Expression::Not(Box::new(inner.bind(segment)?)),
            Expression::And(parts) => {
                let parts = parts.iter().map(|part| part.bind(segment));
                let parts = parts.collect::<Result<Vec<_>, Error>>()?;
                if parts.iter().any(Expression::selects_nothing) {
                    nothing()
                } else {
                    Expression::And(parts)
                }
            }
            Expression::Or(parts) => {
                let parts = parts.iter().map(|part| part.bind(segment));
                let mut parts = parts.collect::<Result<Vec<_>, Error>>()?;
                parts.retain(|part| !part.selects_nothing());
                Expression::Or(parts)
            }
        })
    }

    /// Whether it is known to select no row.
    pub(crate) fn selects_nothing(&self) -> bool {
        matches!(self, Expression::Or(parts) if parts.is_empty())
    }

    /// Whether a row of `block` may be selected, by what is known without reading its rows.
    ///
    /// # Errors
    /// What reading a zone map says.
    pub(crate) fn may_select(&self, block: &Block<'_>) -> Result<bool, Error> {
        match self {
            Expression::All | Expression::Not(_) => Ok(true),
            Expression::Test(test) => test.may_select(block),
            Expression::And(parts) => {
                parts.iter().try_fold(true, |may, part| Ok(may && part.may_select(block)?))
            }
            Expression::Or(parts) => {
                parts.iter().try_fold(false, |may, part| Ok(may || part.may_select(block)?))
            }
        }
    }
}

fn nothing() -> Expression {
    Expression::Or(Vec::new())
}

/// The test as one of codes; a segment without codes keeps it as it is.
fn bind_addresses(
    column: Column,
    ranges: &[(Address, Address)],
    segment: &SegmentFile,
) -> Result<Expression, Error> {
    if !segment.has(column) {
        let absent = ranges.iter().any(|(first, _)| *first == Address::ABSENT);
        return Ok(if absent { Expression::All } else { nothing() });
    }
    let mut codes: Vec<Range<u32>> = Vec::new();
    for (first, last) in ranges {
        match segment.codes_within(*first, *last)? {
            None => return Ok(Expression::Test(Test::AddressIn { column, ranges: ranges.into() })),
            Some(found) if found.is_empty() => {}
            Some(found) => codes.push(found),
        }
    }
    if codes.is_empty() {
        return Ok(nothing());
    }
    let blocks = if codes.iter().map(Range::len).sum::<usize>() > FEW_CODES {
        u64::MAX
    } else {
        let blocks = codes.iter().map(|codes| segment.blocks_of(codes.clone()));
        blocks.sum_of()?
    };
    Ok(Expression::Test(Test::CodeIn { column, codes, blocks }))
}

/// The union of words that may fail.
trait SumOf {
    fn sum_of(self) -> Result<u64, Error>;
}

impl<I: Iterator<Item = Result<u64, Error>>> SumOf for I {
    fn sum_of(mut self) -> Result<u64, Error> {
        self.try_fold(0, |all, word| Ok(all | word?))
    }
}

impl Test {
    fn may_select(&self, block: &Block<'_>) -> Result<bool, Error> {
        let within = |column: Column, test: &dyn Fn(u64, u64) -> bool| {
            Ok(block.extremes(column)?.is_none_or(|(min, max)| test(min, max)))
        };
        match self {
            Test::Number { column, compare, value } => {
                within(*column, &|min, max| may_hold(*compare, *value, min, max))
            }
            Test::NumberIn { column, values } => within(*column, &|min, max| {
                values.get(values.partition_point(|value| *value < min)).is_some_and(|v| *v <= max)
            }),
            Test::CodeIn { column, codes, blocks } => {
                if blocks >> block.number() & 1 == 0 {
                    return Ok(false);
                }
                within(*column, &|min, max| {
                    let at = codes.partition_point(|codes| u64::from(codes.end) <= min);
                    codes.get(at).is_some_and(|codes| u64::from(codes.start) <= max)
                })
            }
            Test::Flags(all) => within(Column::TcpFlags, &|_, max| max >= u64::from(*all)),
            Test::AnyFlag(_) => within(Column::TcpFlags, &|_, max| max > 0),
            Test::AddressIn { .. }
            | Test::Element(_)
            | Test::Named { .. }
            | Test::Measure { .. } => Ok(true),
        }
    }
}

/// Whether a number from `min` to `max` may stand so to `value`.
fn may_hold(compare: Compare, value: u64, min: u64, max: u64) -> bool {
    match compare {
        Compare::Equal => (min..=max).contains(&value),
        Compare::NotEqual => min != value || max != value,
        Compare::Less => min < value,
        Compare::AtMost => min <= value,
        Compare::Greater => max > value,
        Compare::AtLeast => max >= value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_rules_out_what_none_of_its_numbers_can_pass() {
        for (min, max) in [(3, 3), (3, 5)] {
            for value in 0..8 {
                for compare in [
                    Compare::Equal,
                    Compare::NotEqual,
                    Compare::Less,
                    Compare::AtMost,
                    Compare::Greater,
                    Compare::AtLeast,
                ] {
                    let any = (min..=max).any(|number| compare.holds(number, value));
                    assert_eq!(may_hold(compare, value, min, max), any, "{compare:?} {value}");
                }
            }
        }
    }
}
