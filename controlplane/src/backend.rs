//! The packet backend of a proxy: chosen once at its start, unknown to everything after.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::ValueEnum;
use crossbeam_channel::Sender;
use weir_dataplane::Counters;
use weir_dataplane::forward::ForwardHandles;
use weir_dataplane::handover;
use weir_dataplane::io::open::{self, Backend, BusyPoll, OpenConfig, Wish};
use weir_dataplane::mediate::{MediatorConfig, SlaveCounters};
use weir_dataplane::news::News;
use weir_dataplane::worker::{ProxyMail, ProxyWorker, ProxyWorkerConfig};

use crate::error::Error;
use crate::kernel::{Kernel, SOURCES_MAX};
use crate::packet_path::SOCKET_BUFFER_BYTES;
use crate::topology::Distribution;
use crate::workers::Started;

/// Outgoing messages that a backend holds at a time.
const FRAMES: usize = 8_192;

/// Exporters whose own sockets the unprivileged backend keeps open.
const BOUND_SOCKETS: usize = 256;

/// Packets that one busy poll takes at most.
const BUSY_BUDGET: u32 = 64;

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

/// Which receive queues of the device are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Queues {
    /// Every one that the device has.
    #[default]
    All,
    /// These.
    List(Vec<u32>),
}

/// How the backend is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendChoice {
    /// Which.
    pub io: Io,
    /// The network device that exporters' packets come in at.
    pub device: Option<String>,
    /// Its queues.
    pub queues: Queues,
    /// Further devices to send by.
    pub egress: Vec<String>,
    /// Busy polling, microseconds.
    pub busy_poll_us: Option<u32>,
    /// Whether the kernel may send forwarded packets back out of a virtual device.
    pub bounce: bool,
}

impl BackendChoice {
    /// The devices in use.
    pub fn devices(&self) -> Vec<String> {
        let mut devices: Vec<String> = self.device.iter().chain(&self.egress).cloned().collect();
        devices.sort();
        devices.dedup();
        devices
    }
}

/// An opened backend.
pub struct Opened {
    /// A short name for status and logs.
    pub name: &'static str,
    /// What it became, and why nothing better.
    pub sentence: String,
    /// What each worker serves.
    pub lanes: Vec<Lane>,
    /// Forwarding in the kernel, where there is such.
    pub kernel: Option<Kernel>,
}

/// What one worker serves.
pub struct Lane {
    name: String,
    backend: Backend,
    forward: Option<ForwardHandles>,
}

/// What a proxy's workers are started with, beside their backends.
pub struct WorkerParts<'a> {
    /// The mediation.
    pub mediator: MediatorConfig,
    /// The processor cores, one for each worker; workers beyond them are pinned to none.
    pub cores: Vec<usize>,
    /// Where news go.
    pub news: Sender<News>,
    /// What a worker reads before its first datagram.
    pub first: Box<dyn Fn() -> Vec<ProxyMail> + 'a>,
}

/// Opens the backend on the listening addresses and says in the log what it became, and why.
///
/// # Errors
/// [`Error::Backend`].
pub fn open(
    choice: &BackendChoice,
    listen: &[SocketAddr],
    distribution: Distribution,
) -> Result<Opened, Error> {
    let wish = match choice.io {
        Io::Auto => Wish::Auto,
        Io::Afxdp => Wish::Afxdp,
        Io::Socket => Wish::Sockets,
    };
    let config = OpenConfig {
        wish,
        device: choice.device.clone(),
        queues: match &choice.queues {
            Queues::All => open::Queues::Auto,
            Queues::List(queues) => open::Queues::List(queues.clone()),
        },
        egress: choice.egress.clone(),
        listen: listen.to_vec(),
        buffer_bytes: SOCKET_BUFFER_BYTES,
        frames: FRAMES,
        exporters: BOUND_SOCKETS,
        busy_poll: choice.busy_poll_us.map(|us| BusyPoll { us, budget: BUSY_BUDGET }),
        sources: SOURCES_MAX,
        forward: distribution == Distribution::FlowSource,
        bounce: choice.bounce,
    };
    let opened = open::open(&config)
        .map_err(|error| Error::Backend { backend: "proxy's", reason: error.to_string() })?;
    let open::Opened { lanes, kernel, forward, sentence } = opened;
    tracing::info!("packets: {sentence}");
    let name = lanes.first().map_or("none", Backend::name);
    let kernel = kernel.map(|kernel| Kernel::new(kernel, listen, forward.as_ref()));
    let mut forward = forward;
    let lanes = (lanes.into_iter().enumerate())
        .map(|(at, backend)| Lane {
            name: lane_name(&backend, &choice.queues, at),
            backend,
            // The first worker steers the kernel.
            forward: forward.take(),
        })
        .collect();
    Ok(Opened { name, sentence, lanes, kernel })
}

fn lane_name(backend: &Backend, queues: &Queues, at: usize) -> String {
    match (backend, queues) {
        (Backend::Afxdp(..), Queues::List(queues)) if at < queues.len() => {
            format!("queue {}", queues[at])
        }
        (Backend::Afxdp(..), _) => format!("queue {at}"),
        (Backend::Raw(..) | Backend::Bound(..), _) => "sockets".to_owned(),
    }
}

/// Starts a worker on each lane.
///
/// # Errors
/// [`Error::Start`].
pub fn spawn(lanes: Vec<Lane>, parts: WorkerParts<'_>) -> Result<Vec<Started>, Error> {
    let mut exchange: Vec<_> = match lanes.len() {
        1 => vec![None],
        many => handover::exchange(many).into_iter().map(Some).collect(),
    };
    let mut started = Vec::new();
    for (lane, Lane { name, backend, forward }) in lanes.into_iter().enumerate() {
        let (counters, slaves) = (Arc::new(Counters::default()), SlaveCounters::page());
        let core = parts.cores.get(lane).copied();
        let config = ProxyWorkerConfig {
            mediator: parts.mediator.clone(),
            core,
            lane,
            exchange: exchange[lane].take(),
            forward,
            news: parts.news.clone(),
            first: (parts.first)(),
        };
        let pages = (Arc::clone(&counters), Arc::clone(&slaves));
        let handle = match backend {
            Backend::Afxdp(rx, tx) => ProxyWorker::spawn(config, (rx, tx), pages.0, pages.1),
            Backend::Raw(rx, tx) => ProxyWorker::spawn(config, (rx, tx), pages.0, pages.1),
            Backend::Bound(rx, tx) => ProxyWorker::spawn(config, (rx, tx), pages.0, pages.1),
        };
        let handle = handle.map_err(|source| Error::Start { what: "the packet path", source })?;
        started.push(Started { name, core, handle, counters, slaves });
    }
    Ok(started)
}
