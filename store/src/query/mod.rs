//! nfdump's questions over a store's rows.
//!
//! A [`Question`] compiles to a [`Plan`], a plan is asked of a [`Snapshot`](crate::Snapshot) and
//! gives a [`Partial`], partials merge in any order, and the merged one finishes to an [`Answer`].

pub mod answer;
mod bound;
mod dictionary;
pub mod element;
pub mod expression;
pub mod filter;
pub mod format;
mod groups;
mod lexer;
pub mod named;
pub mod partial;
mod picked;
pub mod plan;
mod prefix;
mod protocol;
pub mod question;
pub mod row;
mod scan;
pub mod stop;
pub mod totals;
pub mod window;

pub use answer::{Answer, Value};
pub use filter::FilterError;
pub use partial::{Coverage, MAX_PARTIAL_BYTES, Partial};
pub use plan::{Limits, Plan};
pub use question::{Key, Order, Question, View};
pub use row::{Cell, FlowRow};
pub use scan::{answer, answer_until};
pub use stop::Stop;
pub use totals::Totals;
