//! The packet backend of a proxy: chosen once at its start, unknown to everything after.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::ValueEnum;
use weir_dataplane::Counters;
use weir_dataplane::io::open::{Backend, OpenConfig, Opened, Queues, Wish, open as open_backend};
use weir_dataplane::mediate::SlaveCounters;
use weir_dataplane::worker::{ProxyMail, ProxyWorker, ProxyWorkerConfig, WorkerHandle};

use crate::error::Error;
use crate::packet_path::SOCKET_BUFFER_BYTES;

/// Outgoing messages that a backend holds at a time.
const FRAMES: usize = 8_192;

/// Exporters whose own sockets the unprivileged backend keeps open.
const BOUND_SOCKETS: usize = 256;

/// Which backend is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Io {
    /// AF_XDP where the device and the user's rights allow it, else sockets
    #[default]
    Auto,
    /// AF_XDP, or fail
    Afxdp,
    /// UDP sockets in, a raw socket out (or, without CAP_NET_RAW, the exporter's own local address)
    Socket,
}

/// How the backend is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendChoice {
    /// Which.
    pub io: Io,
    /// The network device that exporters' packets come in at.
    pub device: Option<String>,
}

/// What a proxy's worker is started with, beside its backend.
pub struct WorkerParts {
    /// The worker.
    pub config: ProxyWorkerConfig,
    /// The worker's page of counters.
    pub counters: Arc<Counters>,
    /// The page of each slave.
    pub slaves: Arc<Vec<SlaveCounters>>,
}

/// Opens the backend on the listening addresses and says in the log what it became, and why.
///
/// # Errors
/// [`Error::Backend`].
pub fn open(choice: &BackendChoice, listen: &[SocketAddr]) -> Result<Opened, Error> {
    let wish = match choice.io {
        Io::Auto => Wish::Auto,
        Io::Afxdp => Wish::Afxdp,
        Io::Socket => Wish::Sockets,
    };
    let config = OpenConfig {
        wish,
        device: choice.device.clone(),
        queues: Queues::List(vec![0]),
        egress: Vec::new(),
        listen: listen.to_vec(),
        buffer_bytes: SOCKET_BUFFER_BYTES,
        frames: FRAMES,
        exporters: BOUND_SOCKETS,
        busy_poll: None,
        sources: 131_072,
        forward: false,
    };
    let opened = open_backend(&config)
        .map_err(|error| Error::Backend { backend: "proxy's", reason: error.to_string() })?;
    tracing::info!("packets: {}", opened.sentence);
    Ok(opened)
}

/// Starts the worker on the backend.
///
/// # Errors
/// [`Error::Start`].
pub fn spawn(backend: Backend, parts: WorkerParts) -> Result<WorkerHandle<ProxyMail>, Error> {
    let WorkerParts { config, counters, slaves } = parts;
    let spawned = match backend {
        Backend::Afxdp(rx, tx) => ProxyWorker::spawn(config, (rx, tx), counters, slaves),
        Backend::Raw(rx, tx) => ProxyWorker::spawn(config, (rx, tx), counters, slaves),
        Backend::Bound(rx, tx) => ProxyWorker::spawn(config, (rx, tx), counters, slaves),
    };
    spawned.map_err(|source| Error::Start { what: "the packet path", source })
}
