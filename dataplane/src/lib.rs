//! weir's packet path: no async, no lock, no allocation per packet.
//!
//! The way of a packet: `io` gives a [`Datagram`](io::Datagram), `wire` checks and views it,
//! `session` says whose it is, `template` what its data sets mean; then a proxy's `mediate` and
//! `encode` deal its records to the slaves, and a slave's `collect` turns them into columns.

pub mod budget;
pub mod clock;
pub mod collect;
pub mod configuration;
pub mod connection;
pub mod counter;
mod deal;
pub mod describe;
pub mod element;
pub mod encode;
pub mod forward;
pub mod gate;
pub mod handover;
pub mod hold;
pub mod io;
mod lane;
pub mod latency;
mod list;
pub mod mediate;
pub mod names;
pub mod news;
pub mod options;
pub mod remembered;
pub mod sampling;
pub mod session;
pub mod steer;
mod table;
pub mod template;
mod told;
pub mod valve;
pub mod wire;
pub mod worker;

pub use clock::Timestamp;
pub use counter::{Counters, Discard};
