//! Transport sessions: whose message this is, which templates it may use, and what was lost.
//!
//! RFC 7011, Section 3.1: templates and sequence numbers belong to a transport session and an
//! observation domain. Over UDP a session is the exporter's address *and port*, the listening port,
//! the protocol and the domain; it ends when its room is needed, and takes its templates with it.
//!
//! Exporters are untrusted, and over UDP their addresses may be invented: [`SessionTable`] says
//! which sessions give way to which.

use std::net::SocketAddr;

use crate::connection::Connection;
use crate::options::Options;
use crate::template::{Change, TemplateStore};
use crate::wire::Protocol;
use crate::wire::set::TemplateRecord;
use crate::{Counters, Discard, Timestamp};

mod recall;
mod sequence;
mod source;
mod table;

pub use sequence::{Observation, Sequence};
pub use table::{Inserted, SessionTable};

/// A place in a [`SessionTable`]; it names the next session there after an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u32);

/// What carries a session's messages. State is never taken from one to another (RFC 7011,
/// Section 10), so that it is part of a session's identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    #[default]
    Udp,
    /// A connection.
    Tcp,
    /// A connection secured by TLS.
    Tls,
}

impl Transport {
    /// The name as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }

    /// Whether messages come whole, in order and all of them, and sessions have an end.
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp)
    }
}

/// What tells one transport session from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The exporter's address and port.
    pub source: SocketAddr,
    /// The listening port.
    pub port: u16,
    /// The protocol of its messages.
    pub protocol: Protocol,
    /// The observation domain.
    pub domain: u32,
    /// What carries its messages.
    pub transport: Transport,
}

impl SessionKey {
    /// Of a connection's session with this domain.
    pub fn of_connection(connection: &Connection, domain: u32) -> Self {
        SessionKey {
            source: connection.source,
            port: connection.destination.port(),
            protocol: Protocol::Ipfix,
            domain,
            transport: connection.transport,
        }
    }
}

/// The bounds of a [`SessionTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions at one time.
    pub sessions: usize,
    /// Sessions of one exporter's address.
    pub sessions_per_source: usize,
    /// Templates of one session.
    pub templates_per_session: usize,
    /// Memory of the templates of all sessions together, in bytes; an eighth of it is for sessions
    /// that are not established.
    pub template_bytes: usize,
    /// Memory of the templates of one exporter's address.
    pub template_bytes_per_source: usize,
    /// Memory of the options data of all sessions together, divided likewise.
    pub option_bytes: usize,
    /// Memory of the options data of one exporter's address.
    pub option_bytes_per_source: usize,
    /// Memory of the options data of one session.
    pub option_bytes_per_session: usize,
    /// A session is established when it has sent so many datagrams ...
    pub established_datagrams: u64,
    /// ... and so much time lies between its first and its last one.
    pub established_ms: u64,
    /// After this long without a message an established session may give way.
    pub idle_ms: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        SessionLimits {
            sessions: 131_072,
            sessions_per_source: 4_096,
            templates_per_session: 1_024,
            template_bytes: 512 << 20,
            template_bytes_per_source: 32 << 20,
            option_bytes: 64 << 20,
            option_bytes_per_source: 4 << 20,
            option_bytes_per_session: 64 << 10,
            established_datagrams: 3,
            established_ms: 10_000,
            idle_ms: 30 * 60 * 1000,
        }
    }
}

/// One transport session, with what its user keeps of it.
#[derive(Debug)]
pub struct Session<X> {
    /// What tells it from the others.
    pub key: SessionKey,
    /// Its live templates. [`Session::take`] keeps the options data in step with them.
    pub templates: TemplateStore,
    /// The newest of its options data.
    pub options: Options,
    /// Its sequence numbers.
    pub sequence: Sequence,
    /// When its first message came.
    pub first_seen: Timestamp,
    /// When its last message came; written by [`SessionTable::touch`].
    pub last_seen: Timestamp,
    /// Messages received; written by [`SessionTable::touch`].
    pub datagrams: u64,
    /// Flow data records decoded.
    pub records: u64,
    /// Units lost on the way here, by the sequence numbers.
    pub lost: u64,
    /// Restarts of the exporter, by the sequence numbers.
    pub resets: u64,
    /// Templates that were used against the rules of its transport: an id redefined without a
    /// withdrawal, a withdrawal of nothing, any withdrawal over UDP.
    pub misuses: u64,
    /// Its connection has ended; it is a new one when something comes again.
    pub ended: bool,
    /// The user's own.
    pub extra: X,
}

/// What a template record did to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It described an id for the first time, or again after a withdrawal: data that was held for
    /// it can be read now.
    New,
    /// It was known, byte for byte.
    Same,
    /// Its id meant something else before.
    Changed,
    /// It withdrew one template or more.
    Withdrawn,
    /// It withdrew what was not there.
    Nothing,
}

impl Taken {
    /// Whether an id that meant something has lost its meaning.
    pub fn ends_a_meaning(self) -> bool {
        matches!(self, Taken::Changed | Taken::Withdrawn)
    }
}

impl<X> Session<X> {
    /// Learns a template or withdraws what the record says; options data goes with its template.
    ///
    /// # Errors
    /// Those of [`TemplateStore::learn`]; a template with the same id is gone then.
    pub fn take(&mut self, record: &TemplateRecord<'_>) -> Result<Taken, Discard> {
        if record.withdrawal && !self.key.transport.is_reliable() {
            // RFC 7011, Section 8.4: a late withdrawal could end the template that came after it.
            self.misuses += 1;
            return Ok(Taken::Nothing);
        }
        if record.withdraws_all() {
            let any = self.templates.withdraw_all(record.options);
            if any && record.options {
                self.options.clear();
            }
            self.misuses += u64::from(!any);
            return Ok(if any { Taken::Withdrawn } else { Taken::Nothing });
        }
        if record.withdrawal {
            let any = self.templates.withdraw(record.id);
            self.options.forget(record.id);
            self.misuses += u64::from(!any);
            return Ok(if any { Taken::Withdrawn } else { Taken::Nothing });
        }
        let learned = self.templates.learn(self.key.protocol, record);
        if learned != Ok(Change::Same) {
            self.options.forget(record.id);
        }
        if learned == Ok(Change::Changed) && self.key.transport.is_reliable() {
            self.misuses += 1;
        }
        learned.map(|change| match change {
            Change::New => Taken::New,
            Change::Same => Taken::Same,
            Change::Changed => Taken::Changed,
        })
    }

    /// Takes note of a message's sequence number and of the units it adds, and counts what it says
    /// of those before: here and in the worker's `counters`.
    pub fn observe(&mut self, got: u32, units: Option<u32>, counters: &Counters) {
        match self.sequence.observe(got, units) {
            Observation::InOrder | Observation::Late => {}
            Observation::Lost(units) => {
                self.lost += u64::from(units);
                counters.sequence_lost.add(u64::from(units));
            }
            Observation::Reset => {
                self.resets += 1;
                counters.sequence_resets.add(1);
            }
        }
    }
}
