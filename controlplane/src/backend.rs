//! The packet backend of a proxy: chosen once at its start, unknown to everything after.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::ValueEnum;
use weir_dataplane::Counters;
use weir_dataplane::io::bound::BoundTransmit;
use weir_dataplane::io::raw::RawTransmit;
use weir_dataplane::io::udp::UdpReceive;
use weir_dataplane::mediate::{MediatorConfig, SlaveCounters};
use weir_dataplane::worker::{ProxyMail, ProxyWorker, WorkerHandle};

use crate::error::Error;
use crate::packet_path::SOCKET_BUFFER_BYTES;

/// The name of the AF_XDP backend in status and log.
pub const AFXDP: &str = "afxdp";

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

/// An opened backend.
pub enum Backend {
    /// Raw sending: any exporter's address.
    Raw(UdpReceive, RawTransmit),
    /// Sending from local addresses only.
    Bound(UdpReceive, BoundTransmit),
}

/// What a proxy's worker is started with, beside its backend.
pub struct WorkerParts<'a> {
    /// The mediation.
    pub config: MediatorConfig,
    /// The processor core.
    pub core: Option<usize>,
    /// The slaves' first health.
    pub healthy: &'a [bool],
    /// The worker's page of counters.
    pub counters: Arc<Counters>,
    /// The page of each slave.
    pub slaves: Arc<Vec<SlaveCounters>>,
}

impl Backend {
    /// Opens the backend on the listening addresses.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub fn open(choice: &BackendChoice, listen: &[SocketAddr]) -> Result<Backend, Error> {
        if choice.io == Io::Afxdp {
            let reason = "this build has none: use --io socket".to_owned();
            return Err(Error::Backend { backend: AFXDP, reason });
        }
        open_sockets(listen)
    }

    /// Its name in status and log.
    pub fn name(&self) -> &'static str {
        match self {
            Backend::Raw(..) => "udp+raw",
            Backend::Bound(..) => "udp+bound",
        }
    }

    /// Starts the worker on it.
    ///
    /// # Errors
    /// [`Error::Start`].
    pub fn spawn(self, parts: WorkerParts<'_>) -> Result<WorkerHandle<ProxyMail>, Error> {
        let WorkerParts { config, core, healthy, counters, slaves } = parts;
        let spawned = match self {
            Backend::Raw(rx, tx) => {
                ProxyWorker::spawn(config, core, healthy, (rx, tx), counters, slaves)
            }
            Backend::Bound(rx, tx) => {
                ProxyWorker::spawn(config, core, healthy, (rx, tx), counters, slaves)
            }
        };
        spawned.map_err(|source| Error::Start { what: "the packet path", source })
    }
}

fn open_sockets(listen: &[SocketAddr]) -> Result<Backend, Error> {
    let failed = |backend| {
        move |error: std::io::Error| Error::Backend { backend, reason: error.to_string() }
    };
    let receive = UdpReceive::open(listen, SOCKET_BUFFER_BYTES).map_err(failed("udp"))?;
    match RawTransmit::open(FRAMES) {
        Ok(transmit) => Ok(Backend::Raw(receive, transmit)),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            tracing::warn!(
                "no CAP_NET_RAW: only exporters with an address of this host can be passed on; \
                 run as root or grant the capability for others"
            );
            let transmit =
                BoundTransmit::open(FRAMES, BOUND_SOCKETS).map_err(failed("udp+bound"))?;
            Ok(Backend::Bound(receive, transmit))
        }
        Err(error) => Err(failed("udp+raw")(error)),
    }
}
