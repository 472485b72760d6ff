//! A part of an answer: what one store found, or what several found together.
//!
//! Merging is associative and commutative, so that slave, proxy and master merge in whatever order
//! the parts arrive. A partial holds every group and no rates: percentages, rates and the first n
//! exist only after the last merge, in [`Partial::finish`].

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::query::answer::Answer;
use crate::query::dictionary::Dictionary;
use crate::query::groups::SortedGroups;
use crate::query::plan::{Limits, Plan};
use crate::query::question::{Question, View};
use crate::query::row::FlowRow;
use crate::query::totals::Totals;

/// The most bytes that a partial may take on the wire.
pub const MAX_PARTIAL_BYTES: usize = 128 << 20;

/// The version of the wire form.
const WIRE_VERSION: u8 = 3;

/// The most names of damaged segments that a partial carries.
const MAX_DAMAGED: usize = 1000;

/// A part of an answer; see the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    /// Sums over every flow that matched.
    pub totals: Totals,
    /// What was read for it.
    pub coverage: Coverage,
    /// What exporters call the things that it speaks of.
    names: Dictionary,
    body: Body,
}

/// What was read for a partial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Rows that were looked at.
    pub rows: u64,
    /// Segments that were read.
    pub segments_scanned: u64,
    /// Segments that the time window ruled out.
    pub segments_skipped: u64,
    /// Segments that could not be read, with the reason, sorted; at most 1,000 are named.
    pub damaged: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Body {
    /// The earliest `limit` flows by [`FlowRow::listing_order`].
    Flows { limit: usize, rows: Vec<FlowRow> },
    /// All groups.
    Groups(SortedGroups),
}

impl Coverage {
    fn merge(&mut self, other: Coverage) {
        self.rows = self.rows.saturating_add(other.rows);
        self.segments_scanned = self.segments_scanned.saturating_add(other.segments_scanned);
        self.segments_skipped = self.segments_skipped.saturating_add(other.segments_skipped);
        self.damaged.extend(other.damaged);
        self.damaged.sort();
        self.damaged.truncate(MAX_DAMAGED);
    }
}

impl Partial {
    /// The answer of no store: merging it changes nothing.
    pub fn empty(plan: &Plan) -> Partial {
        let body = match plan.view() {
            View::Flows { limit } => Body::Flows { limit: *limit, rows: Vec::new() },
            View::Statistic { .. } => Body::Groups(SortedGroups::new(plan.key_width())),
        };
        let names = Dictionary::default();
        Partial { totals: Totals::default(), coverage: Coverage::default(), names, body }
    }

    /// A listing; `rows` in listing order, no more than the view's limit.
    pub(crate) fn of_flows(
        limit: usize,
        rows: Vec<FlowRow>,
        totals: Totals,
        coverage: Coverage,
        names: Dictionary,
    ) -> Self {
        Partial { totals, coverage, names, body: Body::Flows { limit, rows } }
    }

    /// A statistic.
    pub(crate) fn of_groups(
        groups: SortedGroups,
        totals: Totals,
        coverage: Coverage,
        names: Dictionary,
    ) -> Self {
        Partial { totals, coverage, names, body: Body::Groups(groups) }
    }

    /// Rows or groups that it holds.
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Flows { rows, .. } => rows.len(),
            Body::Groups(groups) => groups.len(),
        }
    }

    /// Whether no flow matched.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds what `other` found, which must be of the same question and of other flows.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is of another question; [`Error::TooManyGroups`] or
    /// [`Error::TooManyRows`] when together they are too many. Then `self` holds no groups or rows
    /// any more and must be dropped.
    pub fn merge(&mut self, other: Partial, limits: &Limits) -> Result<(), Error> {
        let body = std::mem::replace(&mut self.body, Body::Flows { limit: 0, rows: Vec::new() });
        self.body = match (body, other.body) {
            (Body::Flows { limit, rows: left }, Body::Flows { limit: same, rows: right })
                if limit == same =>
            {
                Body::Flows { limit, rows: merge_rows(left, right, limit, limits)? }
            }
            (Body::Groups(left), Body::Groups(right)) => {
                Body::Groups(left.merge(&right, limits.groups)?)
            }
            _ => return Err(Error::Malformed("two answers to different questions".to_owned())),
        };
        self.totals.add(&other.totals);
        self.coverage.merge(other.coverage);
        self.names.merge(other.names);
        Ok(())
    }

    /// The wire form: a version byte and postcard.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when it exceeds [`MAX_PARTIAL_BYTES`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let bytes = postcard::to_extend(self, vec![WIRE_VERSION])
            .map_err(|error| Error::Malformed(error.to_string()))?;
        if bytes.len() > MAX_PARTIAL_BYTES {
            return Err(Error::TooLarge { bytes: bytes.len(), bound: MAX_PARTIAL_BYTES });
        }
        Ok(bytes)
    }

    /// Reads the wire form of an answer to `plan`; whatever the bytes are, it is a partial that
    /// merges and finishes, or an error.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Malformed`].
    pub fn from_bytes(bytes: &[u8], plan: &Plan) -> Result<Partial, Error> {
        if bytes.len() > MAX_PARTIAL_BYTES {
            return Err(Error::TooLarge { bytes: bytes.len(), bound: MAX_PARTIAL_BYTES });
        }
        let malformed = |reason: &str| Err(Error::Malformed(reason.to_owned()));
        let body = match bytes.split_first() {
            None => return malformed("no bytes"),
            Some((&WIRE_VERSION, body)) => body,
            Some((version, _)) => {
                let reason = format!("version {version}, this program reads {WIRE_VERSION}");
                return Err(Error::Malformed(reason));
            }
        };
        let (partial, rest): (Partial, _) =
            postcard::take_from_bytes(body).map_err(|error| Error::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return malformed("bytes after its end");
        }
        partial.check(plan)?;
        Ok(partial)
    }

    fn check(&self, plan: &Plan) -> Result<(), Error> {
        let malformed = |reason: &str| Err(Error::Malformed(reason.to_owned()));
        if !self.names.is_sound() {
            return malformed("the names are not in order");
        }
        match (&self.body, plan.view()) {
            (Body::Flows { limit, rows }, View::Flows { limit: asked }) => {
                if limit != asked || (*limit != 0 && rows.len() > *limit) {
                    return malformed("another number of flows than asked for");
                }
                if !rows.is_sorted_by(|a, b| a.listing_order(b).is_le()) {
                    return malformed("the flows are not in order");
                }
                Ok(())
            }
            (Body::Groups(groups), View::Statistic { .. }) => {
                if groups.width() != plan.key_width() {
                    return malformed("another key than asked for");
                }
                groups.check()
            }
            _ => malformed("an answer to another question"),
        }
    }

    /// The answer: sorted, cut to the limit, with rates and shares.
    ///
    /// # Panics
    /// When the partial is not of `question`: [`Partial::from_bytes`] and [`Partial::merge`] see
    /// to it that it is.
    pub fn finish(self, question: &Question) -> Answer {
        match (self.body, &question.view) {
            (Body::Flows { rows, .. }, View::Flows { .. }) => {
                Answer::of_flows(&rows, &self.names, self.totals, self.coverage)
            }
            (Body::Groups(groups), View::Statistic { keys, order, limit }) => {
                let statistic = (&keys[..], *order, *limit);
                Answer::of_groups(&groups, statistic, &self.names, self.totals, self.coverage)
            }
            _ => unreachable!("a partial is finished by its own question"),
        }
    }
}

fn merge_rows(
    mut left: Vec<FlowRow>,
    right: Vec<FlowRow>,
    limit: usize,
    limits: &Limits,
) -> Result<Vec<FlowRow>, Error> {
    left.extend(right);
    left.sort_by(FlowRow::listing_order);
    if limit != 0 {
        left.truncate(limit);
    }
    if left.len() > limits.rows {
        return Err(Error::TooManyRows { bound: limits.rows });
    }
    Ok(left)
}
