//! Connections of exporters: IPFIX over TCP and TLS.

use serde::{Deserialize, Serialize};

use super::{MOST_SESSIONS, Reasons};

/// The connections of a unit, and what came by them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Streams {
    /// Listening ports.
    pub ports: Vec<StreamPort>,
    /// Connections accepted: those open and those ended.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections ended: reason → count, without the zeroes.
    pub ended: Reasons,
    /// Whole messages handed to the packet path, which counts each as a datagram.
    pub messages: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Bytes that came and were no whole message.
    pub bytes_cut: u64,
    /// The open connections, the busiest first.
    pub connections: Vec<StreamConnection>,
    /// Open connections over [`MOST_SESSIONS`].
    pub connections_omitted: u32,
}

impl Streams {
    /// Keeps the busiest connections, and counts the others.
    pub fn set_connections(&mut self, mut connections: Vec<StreamConnection>) {
        connections
            .sort_by(|a, b| b.messages.cmp(&a.messages).then_with(|| a.exporter.cmp(&b.exporter)));
        self.connections_omitted =
            u32::try_from(connections.len().saturating_sub(MOST_SESSIONS)).unwrap_or(u32::MAX);
        connections.truncate(MOST_SESSIONS);
        self.connections = connections;
    }

    /// Whether every connection is accounted for: accepted = open + Σ ended. The numbers move while
    /// they are read, so that it holds for certain only when no connection comes or goes.
    pub fn is_conserved(&self) -> bool {
        self.accepted == self.open + self.ended.values().sum::<u64>()
    }
}

/// A listening port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamPort {
    /// Its number.
    pub port: u16,
    /// Whether it takes TLS and nothing else.
    pub tls: bool,
}

/// An open connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamConnection {
    /// The exporter's address and port.
    pub exporter: String,
    /// The name that its certificate bears, where the topology asks for one.
    pub name: String,
    /// The listening port.
    pub port: u16,
    /// `tcp` or `tls`.
    pub transport: String,
    /// Whole messages.
    pub messages: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Templates used against the rules (RFC 7011, Section 8.1).
    pub misuses: u64,
    /// Since when it is open, ms since 1970.
    pub since_ms: u64,
    /// When its last message came, ms since 1970; 0 for never.
    pub last_ms: u64,
}
