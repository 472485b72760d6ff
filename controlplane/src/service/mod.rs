//! The RPC interfaces: Cap'n Proto over TCP, with a bound on everything that a peer can make us hold.
//!
//! capnp-rpc itself bounds a message and nothing else. What it would let a peer do, and what stops it:
//!
//! | a peer that … | meets |
//! |---|---|
//! | opens connections | [`Limits::connections`], further ones are closed at once |
//! | announces a large message | [`Limits::message_bytes`] |
//! | makes calls and never finishes them | [`Limits::calls`] questions open at a time |
//! | never reads its answers | no more of its calls are read while [`UNSENT_BYTES`] wait; closed when they wait for [`STALL`] |
//! | says nothing, or half a message | [`Limits::idle`] |
//! | vanishes | TCP keepalive and user timeout, [`DEAD_PEER`] |
//!
//! Each of these ends its connection, is counted and logged; other connections do not notice.

use std::time::Duration;

pub mod client;
pub mod control;
mod guard;
mod listener;
pub mod query;
mod words;

pub use listener::{Listener, ServiceCounters};

/// Bytes of answers that may wait for a peer before its next call is read.
pub const UNSENT_BYTES: usize = 4 << 20;

/// How long bytes may wait for a peer without any being taken.
pub const STALL: Duration = Duration::from_secs(10);

/// After this long without a TCP acknowledgement a connection is dead.
pub const DEAD_PEER: Duration = Duration::from_secs(10);

/// The largest message that a client takes from 4210: a status of many sessions. Answers come in
/// chunks of [`CHUNK_BYTES`] and are bounded by [`weir_store::query::MAX_PARTIAL_BYTES`] together.
pub const ANSWER_MESSAGE_BYTES: usize = 16 << 20;

/// Bytes of a partial answer in one message.
pub const CHUNK_BYTES: usize = 1 << 20;

/// MiB of partial answers that may wait for their peers to fetch the rest, all together; each is
/// given up after [`FETCH_DEADLINE`] without a fetch.
pub const WAITING_MIB: usize = 512;

/// Questions that a unit works on at a time; others wait for their turn within their deadline.
pub const QUESTIONS_AT_ONCE: usize = 8;

/// How long the rest of an answer waits to be fetched.
pub const FETCH_DEADLINE: Duration = Duration::from_secs(30);

/// The deadline of every call but a question.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// The deadline of a question where the person who asks gives none.
pub const QUERY_DEADLINE: Duration = Duration::from_secs(60);

/// The longest deadline that a unit accepts, so that no call is open for ever.
pub const LONGEST_DEADLINE: Duration = Duration::from_secs(600);

/// How long connecting may take: a host that does not answer costs a query this much.
pub const CONNECT_DEADLINE: Duration = Duration::from_millis(800);

/// How often a unit that works on an answer is asked whether it lives.
pub const PULSE: Duration = Duration::from_millis(250);

/// A unit that works on an answer and is silent for so long is given up.
pub const SILENCE: Duration = Duration::from_secs(1);

/// What a listener lets a peer do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Bytes of one message that comes in.
    pub message_bytes: usize,
    /// Questions open at a time on one connection: called, and not finished by the peer.
    pub calls: usize,
    /// How long a connection may be silent while none of its calls is open.
    pub idle: Duration,
}

impl Limits {
    /// Of port 2210: pings come five times a second, and nothing is long.
    pub const CONTROL: Limits = Limits {
        connections: 64,
        message_bytes: 1 << 20,
        calls: 16,
        idle: Duration::from_secs(10),
    };

    /// Of port 4210: a question is a filter of at most 1 MiB; what is long are the answers, and
    /// those go out. All connections together can make a unit hold 256 MiB of messages.
    pub const QUERY: Limits = Limits {
        connections: 64,
        message_bytes: 4 << 20,
        calls: 64,
        idle: Duration::from_secs(60),
    };
}

/// How a message of at most `bytes` bytes is read; words, as capnp counts.
fn reader_options(bytes: usize) -> capnp::message::ReaderOptions {
    let mut options = capnp::message::ReaderOptions::new();
    options.traversal_limit_in_words(Some(bytes / 8)).nesting_limit(32);
    options
}
