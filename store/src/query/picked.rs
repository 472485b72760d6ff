//! Late materialisation: the few rows of a source that a filter selected, as a source of their own.

use std::borrow::Cow;

use crate::Column;
use crate::column::{ColumnSource, Values};
use crate::error::Error;
use crate::overflow::Overflow;

/// Some rows of a source.
pub(crate) struct Picked<'a, S> {
    pub(crate) source: &'a S,
    /// Ascending.
    pub(crate) rows: &'a [u32],
}

impl<S: ColumnSource> ColumnSource for Picked<'_, S> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn values(&self, column: Column) -> Result<Values<'_>, Error> {
        self.source.pick(column, self.rows)
    }

    fn has(&self, column: Column) -> bool {
        self.source.has(column)
    }

    fn overflow(&self) -> Result<Option<Cow<'_, Overflow>>, Error> {
        let overflow = self.source.overflow()?;
        Ok(overflow.map(|overflow| Cow::Owned(overflow.pick(self.rows))))
    }
}
