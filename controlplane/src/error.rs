//! What can go wrong in the control plane, in words for the person who has to repair it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::topology::{Problem, Role};

/// An error of the control plane: what was attempted, on what, why it failed, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A unit's state on disk cannot be used.
    #[error("cannot keep state in {}: {source}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The topology is no TOML, or has fields that weir does not know.
    #[error("the topology {} cannot be read: {source}", path.display())]
    TopologySyntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The topology contradicts itself.
    #[error("the topology {} cannot work:{}", path.display(), Problems(problems))]
    Topology {
        /// The file.
        path: PathBuf,
        /// Everything that was found, in the order of the file.
        problems: Vec<Problem>,
    },
    /// `--unit` names nothing in the topology.
    #[error("no unit {name:?} in the topology; there are: {known}")]
    UnknownUnit {
        /// The name.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// `--unit` names a unit that plays another role.
    #[error(
        "unit {name} is a {has} in the topology: start it with `weir {has}`, not `weir {wanted}`"
    )]
    WrongRole {
        /// The unit.
        name: String,
        /// Its role.
        has: Role,
        /// The role it was started in.
        wanted: Role,
    },
    /// A certificate or key of a listening port cannot be used.
    #[error("cannot use {} for TLS: {reason}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A unit that cannot run as the topology has it.
    #[error("{0}")]
    Configuration(String),
    /// A listener could not be opened.
    #[error("cannot listen on {address} for {what}: {source}; {}", bind_advice(source))]
    Bind {
        /// What it is for.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A packet backend could not be opened.
    #[error("cannot open the {backend} packet backend: {reason}")]
    Backend {
        /// Which.
        backend: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// A unit cannot be reached.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// A call took too long.
    #[error("{what}: no answer within {} ms", after.as_millis())]
    Deadline {
        /// What was called.
        what: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// The connection broke while a call was under way.
    #[error("{what}: connection lost: {reason}")]
    Lost {
        /// What was called.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The peer understood the call and refused it.
    #[error("{0}")]
    Refused(String),
    /// The peer's answer makes no sense.
    #[error("{what}: the answer makes no sense: {reason}")]
    Malformed {
        /// What was called.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] weir_store::Error),
    /// A question's filter or statistic makes no sense.
    #[error("the question makes no sense: {0}")]
    Filter(#[from] weir_store::query::FilterError),
    /// A thread or runtime could not be started.
    #[error("cannot start {what}: {source}")]
    Start {
        /// Which.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// The reason alone, short enough for `1 of 2 slaves answered (s2: …)`.
    pub fn brief(&self) -> String {
        match self {
            Error::Connect { reason, .. } => reason.clone(),
            Error::Deadline { after, .. } => format!("no answer within {} ms", after.as_millis()),
            Error::Lost { reason, .. } => format!("connection lost: {reason}"),
            other => other.to_string(),
        }
    }

    /// Whether another attempt on a new connection may succeed.
    pub fn is_lost_connection(&self) -> bool {
        matches!(self, Error::Lost { .. })
    }
}

/// A system error in a few words, without its number.
pub fn brief_io(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".into(),
        ErrorKind::ConnectionReset => "connection reset".into(),
        ErrorKind::HostUnreachable => "host unreachable".into(),
        ErrorKind::NetworkUnreachable => "network unreachable".into(),
        ErrorKind::TimedOut => "timed out".into(),
        _ => error.to_string(),
    }
}

fn bind_advice(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::AddrInUse => {
            "another process has the port: stop it, or give the unit another address"
        }
        ErrorKind::AddrNotAvailable => {
            "no interface of this host bears the address: correct it in the topology, or add it with `ip address add`"
        }
        ErrorKind::PermissionDenied => {
            "the user may not: run as root, or grant CAP_NET_BIND_SERVICE"
        }
        _ => "check the unit's address in the topology",
    }
}

struct Problems<'a>(&'a [Problem]);

impl fmt::Display for Problems<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
