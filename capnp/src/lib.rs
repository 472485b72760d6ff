//! weir's Cap'n Proto schemas (`capnp/schema`) as Rust, and the ports they are spoken on.
//!
//! The generated files are checked in, so that a build needs no `capnp` compiler; `generate.sh`
//! renews them and a test compares. No logic lives here: it belongs to the control plane.

#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
#[allow(clippy::undocumented_unsafe_blocks, clippy::uninlined_format_args)]
#[allow(clippy::semicolon_if_nothing_returned, clippy::unwrap_used)]
pub mod control_capnp;
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
#[allow(clippy::undocumented_unsafe_blocks, clippy::uninlined_format_args)]
#[allow(clippy::semicolon_if_nothing_returned, clippy::unwrap_used)]
pub mod query_capnp;

/// The version of the schemas that this build speaks; it rises when adding fields does not suffice.
pub const PROTOCOL: u32 = 1;

/// TCP port of configuration and control.
pub const CONTROL_PORT: u16 = 2210;

/// TCP port of questions and status.
pub const QUERY_PORT: u16 = 4210;
