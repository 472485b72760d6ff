//! What every running unit has: an identity, two TCP ports, a clock of its start, and an end.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use weir_dataplane::Timestamp;
use weir_rpc::{CONTROL_PORT, QUERY_PORT};

use crate::error::Error;
use crate::reload::Reloader;
use crate::service::control::{ControlService, Identity};
use crate::service::query::{Answers, QueryService};
use crate::service::{Limits, Listener, ServiceCounters};
use crate::status::{Service, UnitStatus};
use crate::topology::{Role, Unit};

/// Threads for scans, merges and encodings; more questions than these wait.
const WORKING_THREADS: usize = 8;

/// Who a running unit is.
pub struct Running {
    /// As it tells its peers.
    pub identity: Identity,
    role: Role,
    address: IpAddr,
    address6: Option<Ipv6Addr>,
    started_ms: u64,
    service: Rc<ServiceCounters>,
}

impl Running {
    /// The unit of the topology, started now.
    pub fn new(unit: &Unit) -> Self {
        Running {
            identity: Identity::of_this_process(&unit.name, Some(unit.role)),
            role: unit.role,
            address: unit.address,
            address6: unit.address6,
            started_ms: Timestamp::now().0,
            service: Rc::default(),
        }
    }

    /// All its addresses, the one for control first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(self.address).chain(self.address6.map(IpAddr::V6))
    }

    /// A status with everything that is the same for all roles.
    pub fn status(&self) -> UnitStatus {
        let number = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        UnitStatus {
            name: self.identity.name.clone(),
            role: Some(self.role),
            address: self.address.to_string(),
            up: true,
            version: self.identity.version.clone(),
            instance: self.identity.instance,
            started_ms: self.started_ms,
            service: Service {
                connections: u32::try_from(number(&self.service.connections)).unwrap_or(u32::MAX),
                accepted: number(&self.service.accepted),
                refused: number(&self.service.refused),
                broken: number(&self.service.broken),
            },
            ..UnitStatus::default()
        }
    }

    /// Binds both ports on the unit's address.
    ///
    /// # Errors
    /// [`Error::Bind`].
    pub async fn bind(&self) -> Result<Ports, Error> {
        let at = |port| SocketAddr::new(self.address, port);
        let counters = || self.service.clone();
        Ok(Ports {
            control: Listener::bind("control", at(CONTROL_PORT), Limits::CONTROL, counters())
                .await?,
            query: Listener::bind("query", at(QUERY_PORT), Limits::QUERY, counters()).await?,
            identity: self.identity.clone(),
        })
    }

    /// Tells whoever started the process that every socket is bound: one line on stdout.
    pub fn ready(&self) {
        let line = format!("ready: {} {} on {}\n", self.role, self.identity.name, self.address);
        let mut out = std::io::stdout();
        // Nobody may be listening, which is no reason not to run.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

/// The bound ports of a unit.
pub struct Ports {
    control: Listener,
    query: Listener,
    identity: Identity,
}

impl Ports {
    /// Serves both ports until the set is dropped.
    pub fn serve<U: Answers>(self, unit: Rc<U>, reloader: Reloader) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        serving.spawn_local(self.control.serve(ControlService::bootstrap(self.identity, reloader)));
        serving.spawn_local(self.query.serve(QueryService::bootstrap(unit)));
        serving
    }
}

/// The signals that end a unit in good order.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Takes SIGTERM and SIGINT over from their defaults.
    ///
    /// # Errors
    /// [`Error::Start`].
    pub fn listen() -> Result<Self, Error> {
        let take =
            |kind| signal(kind).map_err(|source| Error::Start { what: "signal handling", source });
        Ok(Stop {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them.
    pub async fn wait(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
    }
}

/// Runs a future on the RPC thread: this thread, with a `LocalSet`, because capnp-rpc is not `Send`.
///
/// # Errors
/// The future's own, and [`Error::Start`].
pub fn on_rpc_thread<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(WORKING_THREADS)
        .build()
        .map_err(|source| Error::Start { what: "the runtime", source })?;
    let outcome = tokio::task::LocalSet::new().block_on(&runtime, work);
    // A scan that is still running must not hold the process.
    runtime.shutdown_background();
    outcome
}
