//! weir's flow store: column segments on disk, and nfdump's questions over them.
//!
//! The store knows files and queries and nothing of networks: decoders append to a [`Batch`], the
//! store seals batches into immutable segments, a [`query::Question`] becomes a
//! [`query::Partial`], and partials merge in any order.

pub mod address;
pub mod batch;
pub mod schema;

pub use address::Address;
pub use batch::Batch;
pub use schema::Column;
