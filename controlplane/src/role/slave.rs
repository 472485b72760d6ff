//! `weir slave`: collects, stores, answers.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::sync::Semaphore;
use weir_dataplane::Counters;
use weir_dataplane::collect::{CollectorConfig, Sampling};
use weir_dataplane::connection::Outlet;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::udp::UdpReceive;
use weir_dataplane::sampling::{Override, Overrides};
use weir_dataplane::session::SessionLimits;
use weir_dataplane::worker::{SlaveMail, SlaveWorker, SlaveWorkerConfig, WorkerHandle};
use weir_store::query::{self, Limits, Plan, Question, answer_until};
use weir_store::{Reader, StoreConfig};

use crate::change;
use crate::coverage::{Coverage, UnitAnswer};
use crate::error::Error;
use crate::fanout::beside_rpc;
use crate::packet_path;
use crate::reload::{Changes, Reloads};
use crate::service::QUESTIONS_AT_ONCE;
use crate::service::query::{Answered, Answers};
use crate::status::{Traffic, UnitStatus};
use crate::storing::Storing;
use crate::streams::Streams;
use crate::topology::{DEFAULT_LISTEN, Role, StreamSettings, Topology, Unit};
use crate::unit::{Running, Stop};

/// The packet backend's name in status and log.
const BACKEND: &str = "udp";

/// Rows of a batch on its way to the store.
const BATCH_ROWS: usize = 8_192;

/// How long a row may wait before queries see it, ms.
const HAND_OVER_MS: u64 = 100;

/// Readings of the counters until they fit.
const READINGS: u32 = 25;

/// How a slave is started.
#[derive(Clone, Debug)]
pub struct SlaveSettings {
    /// The whole topology.
    pub topology: Topology,
    /// The file that it was read from, and is read from again.
    pub file: PathBuf,
    /// This unit's name in it.
    pub name: String,
    /// Ports to listen on directly, as a standalone slave does.
    pub listen: Vec<u16>,
    /// Ports that exporters can connect to directly.
    pub stream: StreamSettings,
    /// The store.
    pub store: StoreConfig,
    /// The processor core of the packet path.
    pub core: Option<usize>,
}

impl SlaveSettings {
    /// The UDP ports: those of its proxy group at their offset, and those to listen on directly.
    fn ports(&self) -> Vec<u16> {
        let group = self.topology.group_of(&self.name);
        let mut ports: Vec<u16> = group.iter().flat_map(|group| group.slave_ports()).collect();
        ports.extend(&self.listen);
        if ports.is_empty() {
            ports.push(DEFAULT_LISTEN);
        }
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// Runs a slave until it is told to stop; then everything is sealed.
///
/// # Errors
/// What could not be opened, or what broke while it ran.
pub async fn run(mut settings: SlaveSettings) -> Result<(), Error> {
    let mut stop = Stop::listen()?;
    let mut reloads = Reloads::listen()?;
    let unit = settings.topology.own(&settings.name, Role::Slave)?.clone();
    if unit.external {
        return Err(Error::Configuration(format!(
            "unit {} is external in the topology: a foreign collector stands there; \
             remove `external` to run weir in its place",
            unit.name
        )));
    }
    let running = Running::new(&unit);
    let ports = running.bind().await?;
    let listen = settings.ports();
    let receive = open_sockets(&unit, &listen)?;
    let (streams, outlet) = open_streams(&unit, &settings.stream)?.unzip();
    let (storing, store) = Storing::start(settings.store.clone())?;
    let counters = Arc::new(Counters::default());
    let config = SlaveWorkerConfig {
        collector: CollectorConfig {
            sessions: SessionLimits::default(),
            hold: HoldLimits::default(),
            batch_rows: BATCH_ROWS,
        },
        sampling: Arc::new(sampling(&settings.topology, &unit)),
        hand_over_ms: HAND_OVER_MS,
        core: settings.core,
    };
    let worker = SlaveWorker::spawn(config, receive, store, Arc::clone(&counters))
        .map_err(|source| Error::Start { what: "the packet path", source })?;
    tracing::info!(
        unit = %unit.name, address = %unit.address, listen = ?listen, backend = BACKEND,
        "slave runs"
    );
    let mailbox = worker.mailbox.clone();
    if let Some(outlet) = outlet {
        // Its first letter: there is room, and a worker that has ended is noticed.
        let _ = mailbox.try_send(SlaveMail::Connections(outlet));
    }
    let scans = Arc::new(Semaphore::new(QUESTIONS_AT_ONCE));
    let slave = Rc::new(Slave { running, listen, streams, counters, mailbox, storing, scans });
    let serving = ports.serve(Rc::clone(&slave), reloads.reloader());
    slave.running.ready();
    loop {
        tokio::select! {
            () = stop.wait() => break,
            () = slave.broken(&worker) => {
                tracing::error!("a thread of the packet path has ended; stopping");
                break;
            }
            asked = reloads.next() => asked.answer(slave.reread(&mut settings, &unit)),
        }
    }
    drop(serving);
    if let Some(streams) = &slave.streams {
        let streams = Arc::clone(streams);
        beside_rpc(move || {
            streams.stop();
            Ok(())
        })
        .await?;
    }
    slave.end(worker)
}

/// What the topology says of sampling to this slave's collector.
fn sampling(topology: &Topology, unit: &Unit) -> Sampling {
    let entries = topology.samplings.iter().map(|sampling| Override {
        source: sampling.source.address,
        length: sampling.source.length,
        interface: sampling.interface,
        rate: sampling.rate,
    });
    let overrides = Overrides::new(&entries.collect::<Vec<_>>());
    Sampling { overrides, keep_one_in: unit.keep_one_in }
}

/// Opens the ports for connections, where there are such.
fn open_streams(
    unit: &Unit,
    settings: &StreamSettings,
) -> Result<Option<(Arc<Streams>, Outlet)>, Error> {
    if settings.ports().is_empty() {
        return Ok(None);
    }
    let addresses: Vec<IpAddr> = unit.addresses().collect();
    let (streams, outlet) = Streams::start(settings, &addresses, &[])?;
    tracing::info!(tcp = ?settings.tcp, tls = ?settings.tls, "exporters can connect");
    Ok(Some((Arc::new(streams), outlet)))
}

fn open_sockets(unit: &Unit, ports: &[u16]) -> Result<UdpReceive, Error> {
    let binds: Vec<SocketAddr> = unit
        .addresses()
        .flat_map(|address| ports.iter().map(move |&port| SocketAddr::new(address, port)))
        .collect();
    UdpReceive::open(&binds, packet_path::SOCKET_BUFFER_BYTES)
        .map_err(|error| Error::Backend { backend: BACKEND, reason: error.to_string() })
}

/// A running slave.
struct Slave {
    running: Running,
    listen: Vec<u16>,
    streams: Option<Arc<Streams>>,
    counters: Arc<Counters>,
    mailbox: Sender<SlaveMail>,
    storing: Storing,
    /// Turns of scans. A scan that is given up runs on to its end and keeps its turn until then,
    /// so that askers with short deadlines cannot pile up scans.
    scans: Arc<Semaphore>,
}

impl Slave {
    /// Reads the topology again. A slave only follows what it is dealt; how it samples changes at
    /// once, and what concerns its own sockets waits for a restart.
    fn reread(&self, settings: &mut SlaveSettings, unit: &Unit) -> Result<Changes, Error> {
        let topology = Topology::load(&settings.file)?;
        let own = topology.own(&settings.name, Role::Slave)?;
        if let Some(streams) = &self.streams {
            // Certificates and keys are read again with it.
            streams.change(&settings.stream, &[])?;
        }
        let mut changes = change::of_units(&settings.topology, &topology);
        if (own.address, own.address6) != (unit.address, unit.address6) {
            changes.push("this unit's own address has changed: it needs a restart".to_owned());
        }
        let before = settings.topology.own(&settings.name, Role::Slave)?;
        let sampled = change::of_sampling(&settings.topology, before, &topology, own);
        if !sampled.is_empty() {
            let sampling = Arc::new(sampling(&topology, own));
            self.mailbox
                .try_send(SlaveMail::Sampling(sampling))
                .map_err(|_| Error::Refused("the packet path is too busy; ask again".to_owned()))?;
            changes.extend(sampled);
        }
        let listened = settings.ports();
        settings.topology = topology;
        if settings.ports() != listened {
            changes.push("this unit's ports have changed: it needs a restart".to_owned());
        }
        Ok(changes)
    }

    async fn broken(&self, worker: &WorkerHandle<SlaveMail>) {
        while !self.storing.is_finished() && !worker.is_finished() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Collector first, so that the store's ring ends; then the store, which seals.
    fn end(&self, worker: WorkerHandle<SlaveMail>) -> Result<(), Error> {
        let collected = packet_path::stop(worker, SlaveMail::Stop);
        self.storing.join()?;
        tracing::info!("sealed");
        collected
    }
}

impl Answers for Slave {
    async fn ask(&self, question: Question, deadline: Duration) -> Result<Answered, Error> {
        let reader = self.storing.reader().clone();
        let asked = Asked(query::Stop::new(Some(Instant::now() + deadline)));
        let stop = asked.0.clone();
        let scan = async {
            let turn =
                Arc::clone(&self.scans).acquire_owned().await.expect("scans are never closed");
            beside_rpc(move || {
                let scanned = scan(&reader, &question, &stop);
                drop(turn);
                scanned
            })
            .await
        };
        let partial = tokio::time::timeout(deadline, scan)
            .await
            .map_err(|_| Error::Deadline { what: "the scan", after: deadline })??;
        let unit = UnitAnswer {
            name: self.running.identity.name.clone(),
            through: String::new(),
            answered: true,
            reason: String::new(),
            elapsed_ms: 0,
        };
        Ok(Answered { partial, coverage: Coverage { units: vec![unit] } })
    }

    async fn status(&self, _deadline: Duration) -> UnitStatus {
        let mut status = self.running.status();
        status.backend = BACKEND.to_owned();
        status.listen = self.listen.clone();
        status.streams = self.streams.as_ref().map(|streams| streams.status());
        status.traffic = Some(Traffic::settled(&self.counters, READINGS).await);
        status.storing = Some(Traffic::settled(&self.storing.counters, READINGS).await);
        let sessions = packet_path::report(&self.mailbox, SlaveMail::Report).await;
        status.set_sessions(sessions.iter().flatten().map(packet_path::session).collect());
        status.store = Some(self.storing.status());
        status.judge();
        status
    }
}

/// A question that somebody waits for: its scan ends when nobody does any more, be it that the
/// caller went or that the deadline passed.
struct Asked(query::Stop);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn scan(reader: &Reader, question: &Question, stop: &query::Stop) -> Result<Vec<u8>, Error> {
    let plan = Plan::compile(question)?;
    Ok(answer_until(&reader.snapshot(), &plan, &Limits::default(), stop)?.to_bytes()?)
}
