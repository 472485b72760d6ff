//! What RFC 7011 and RFC 5471 ask of a Collecting Process, section by section: README.md beside this
//! file says which test holds what, and `table.rs` that it says so of every section and every test.
//!
//! Each case goes straight to a collector, and through a proxy in both models to collectors: what
//! they read must be the same.

#![allow(clippy::unwrap_used, reason = "a test ends where its setting cannot be made")]

mod collecting;
mod encoding;
mod lab;
mod message;
mod options;
mod table;
mod templates;

#[path = "../mediation/harness.rs"]
#[expect(dead_code, reason = "the mediation's tests use the rest of it")]
mod harness;
