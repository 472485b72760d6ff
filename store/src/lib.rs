//! weir's flow store: column segments on disk, and nfdump's questions over them.
//!
//! The store knows files and queries and nothing of networks: decoders append to a [`Batch`], the
//! store seals batches into immutable segments, a [`query::Question`] becomes a
//! [`query::Partial`], and partials merge in any order.

pub mod address;
pub mod batch;
pub mod column;
pub mod directory;
pub mod element;
pub mod error;
mod files;
pub mod manifest;
mod map;
pub mod names;
pub mod overflow;
pub mod query;
pub mod range;
pub mod reader;
pub mod schema;
pub mod segment;
mod spill;
pub mod store;

pub use address::Address;
pub use batch::Batch;
pub use directory::Recovery;
pub use error::Error;
pub use range::TimeRange;
pub use reader::{Reader, Snapshot, StoreHealth};
pub use schema::Column;
pub use store::{Full, Store, StoreConfig};
