//! A question, checked and compiled, ready to be asked of any number of stores.

use crate::query::expression::Expression;
use crate::query::filter::{self, FilterError};
use crate::query::question::{Key, Question, View};

/// The most keys that a statistic may have.
pub const MAX_KEYS: usize = 16;

/// What a query may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most groups of a statistic.
    pub groups: usize,
    /// The most flows of a listing.
    pub rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { groups: 1_000_000, rows: 200_000 }
    }
}

/// A compiled question.
#[derive(Clone, Debug)]
pub struct Plan {
    filter: Expression,
    from_ms: Option<u64>,
    until_ms: Option<u64>,
    view: View,
    key_width: usize,
}

impl Plan {
    /// Compiles a question.
    ///
    /// # Errors
    /// What the filter's text or the statistic lacks, and where.
    pub fn compile(question: &Question) -> Result<Plan, FilterError> {
        let filter = filter::parse(&question.filter)?;
        let refused = |message| FilterError { message, position: 0, length: 0 };
        let key_width = match &question.view {
            View::Flows { .. } => 0,
            View::Statistic { keys, .. } if keys.len() > MAX_KEYS => {
                let count = keys.len();
                return Err(refused(format!(
                    "a statistic has at most {MAX_KEYS} keys, not {count}"
                )));
            }
            View::Statistic { keys, .. } => {
                Key::check_distinct(keys).map_err(|error| refused(error.to_string()))?;
                keys.iter().map(|key| key.width()).sum()
            }
        };
        Ok(Plan {
            filter,
            from_ms: question.from_ms,
            until_ms: question.until_ms,
            view: question.view.clone(),
            key_width,
        })
    }

    /// The compiled filter.
    pub fn filter(&self) -> &Expression {
        &self.filter
    }

    /// The first moment that a flow may begin at, ms since 1970.
    pub fn from_ms(&self) -> u64 {
        self.from_ms.unwrap_or(0)
    }

    /// The last moment that a flow may end at, ms since 1970.
    pub fn until_ms(&self) -> u64 {
        self.until_ms.unwrap_or(u64::MAX)
    }

    /// What is asked of the flows.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The keys of a statistic; none for a listing.
    pub fn keys(&self) -> &[Key] {
        match &self.view {
            View::Flows { .. } => &[],
            View::Statistic { keys, .. } => keys,
        }
    }

    /// Bytes of a group's key.
    pub(crate) fn key_width(&self) -> usize {
        self.key_width
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::question::Order;

    #[test]
    fn a_key_that_stands_twice_is_refused_however_it_came() {
        let view =
            View::Statistic { keys: vec![Key::Port, Key::Port], order: Order::Flows, limit: 1 };
        let question = Question { filter: String::new(), from_ms: None, until_ms: None, view };
        assert!(Plan::compile(&question).unwrap_err().message.contains("'port' twice"));
    }
}
