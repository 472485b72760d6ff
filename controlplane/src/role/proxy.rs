//! `weir proxy`: receives from exporters, deals to slaves, and asks them on the master's behalf.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use futures::future::join_all;
use tokio::task::JoinSet;
use weir_dataplane::Counters;
use weir_dataplane::configuration::{Configuration, SlaveConfig};
use weir_dataplane::encode::Path;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::open::Backend;
use weir_dataplane::mediate::{Distribution as Dealing, MediatorConfig, SlaveCounters};
use weir_dataplane::session::SessionLimits;
use weir_dataplane::worker::{ProxyMail, ProxyWorkerConfig, WorkerHandle};
use weir_rpc::{CONTROL_PORT, QUERY_PORT};
use weir_store::query::Question;
use weir_tuning::plan::plan;
use weir_tuning::{Probe, Profile};

use crate::backend::{self, BackendChoice, WorkerParts};
use crate::error::Error;
use crate::fanout::{self, Behind, Target};
use crate::lease::Lease;
use crate::neighbour;
use crate::packet_path;
use crate::service::query::{Answered, Answers};
use crate::status::{Delivery, Traffic, UnitStatus};
use crate::topology::{Distribution, PORT_OFFSET, ProxyGroup, Role, Topology, Unit};
use crate::unit::{Running, Stop};

/// How long a record may wait in an open message, ms.
const FLUSH_MS: u64 = 50;

/// Messages that may be open at a time, of all sessions and slaves.
const OPEN_MESSAGES: usize = 4_096;

/// Readings of the counters until they fit.
const READINGS: u32 = 25;

/// How a proxy is started.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// The whole topology.
    pub topology: Topology,
    /// This unit's name in it.
    pub name: String,
    /// The packet backend.
    pub backend: BackendChoice,
    /// The processor core of the packet path.
    pub core: Option<usize>,
}

/// Runs a proxy until it is told to stop.
///
/// # Errors
/// What could not be opened, or what broke while it ran.
pub async fn run(settings: ProxySettings) -> Result<(), Error> {
    let mut stop = Stop::listen()?;
    let topology = &settings.topology;
    let unit = topology.own(&settings.name, Role::Proxy)?;
    let group = topology
        .group_of(&unit.name)
        .ok_or_else(|| Error::Configuration(format!("proxy {} is in no proxy group", unit.name)))?;
    let slaves: Vec<Unit> = topology.slaves_of(group).cloned().collect();
    let running = Running::new(unit);
    let ports = running.bind().await?;
    advise(settings.backend.device.as_deref());
    let mut opened = backend::open(&settings.backend, &listening(unit, group))?;
    let lane = opened.lanes.swap_remove(0);
    let name = lane.name();
    // Only AF_XDP writes frames itself, and needs to know whom to.
    let device = match &lane {
        Backend::Afxdp(..) => settings.backend.device.clone(),
        Backend::Raw(..) | Backend::Bound(..) => None,
    };
    let (counters, page) = (Arc::new(Counters::default()), SlaveCounters::page());
    let external = (0_u16..).zip(&slaves).filter(|(_, slave)| slave.external);
    let parts = WorkerParts {
        config: ProxyWorkerConfig {
            mediator: mediator(group, &slaves),
            core: settings.core,
            lane: 0,
            exchange: None,
            forward: None,
            // Nobody reads them yet: they are lost, and counted as such.
            news: bounded(0).0,
            first: external.map(|(slave, _)| healthy(slave)).collect(),
        },
        counters: Arc::clone(&counters),
        slaves: Arc::clone(&page),
    };
    let worker = backend::spawn(lane, parts)?;
    tracing::info!(
        unit = %unit.name, address = %unit.address, listen = ?group.listen, backend = name,
        distribution = %group.distribution, slaves = ?group.slaves,
        "proxy runs"
    );
    let proxy = Rc::new(Proxy {
        listen: group.listen.clone(),
        backend: name,
        counters,
        page,
        mailbox: worker.mailbox.clone(),
        slaves: slaves.into_iter().map(Slave::new).collect(),
        running,
    });
    let watching = proxy.watch(device);
    let serving = ports.serve(Rc::clone(&proxy));
    proxy.running.ready();
    tokio::select! {
        () = stop.wait() => {}
        () = packet_path::ended(&worker) => tracing::error!("the packet path has ended; stopping"),
    }
    drop((serving, watching));
    end(worker).await
}

/// Says in the log what the host is and how it could be set for this work; changes nothing.
fn advise(device: Option<&str>) {
    let Some(device) = device else { return };
    let probe = Probe::read(&[device]);
    for line in probe.lines() {
        tracing::info!("host: {line}");
    }
    match Profile::named("default") {
        Ok(profile) => {
            for change in plan(&profile, &probe).changes {
                tracing::info!("could be tuned: {change}");
            }
        }
        Err(error) => tracing::warn!(%error, "no advice on tuning"),
    }
}

async fn end(worker: WorkerHandle<ProxyMail>) -> Result<(), Error> {
    fanout::beside_rpc(move || packet_path::stop(worker, ProxyMail::Stop)).await
}

fn listening(unit: &Unit, group: &ProxyGroup) -> Vec<SocketAddr> {
    let at = |address| group.listen.iter().map(move |&port| SocketAddr::new(address, port));
    unit.addresses().flat_map(at).collect()
}

/// Slaves of others are taken as healthy: nobody asks them.
fn healthy(slave: u16) -> ProxyMail {
    ProxyMail::Health { slave, healthy: true, greet: true }
}

fn mediator(group: &ProxyGroup, slaves: &[Unit]) -> MediatorConfig {
    let path = |slave: &Unit| {
        let addresses = || slave.addresses();
        Path {
            v4: addresses().find_map(|address| match address {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            }),
            v6: addresses().find_map(|address| match address {
                IpAddr::V4(_) => None,
                IpAddr::V6(v6) => Some(v6),
            }),
            mtu: slave.mtu,
        }
    };
    let slave = |unit: &Unit| SlaveConfig { identity: unit.address, path: path(unit), weight: 1 };
    let configuration = Configuration {
        slaves: slaves.iter().map(|unit| Some(slave(unit))).collect(),
        ..Configuration::default()
    };
    MediatorConfig {
        distribution: match group.distribution {
            Distribution::RoundRobin => Dealing::RoundRobin,
            Distribution::FlowSource => Dealing::FlowSource,
        },
        configuration: Arc::new(configuration),
        port_offset: PORT_OFFSET,
        sessions: SessionLimits::default(),
        hold: HoldLimits::default(),
        flush_ms: FLUSH_MS,
        messages: OPEN_MESSAGES,
    }
}

/// A slave as its proxy sees it.
struct Slave {
    unit: Unit,
    target: Target,
    lease: Rc<Lease>,
}

impl Slave {
    fn new(unit: Unit) -> Self {
        let control = SocketAddr::new(unit.address, CONTROL_PORT);
        Slave {
            target: Target::new(&unit, QUERY_PORT),
            lease: Rc::new(Lease::new(&unit.name, control, unit.external)),
            unit,
        }
    }
}

/// A running proxy.
struct Proxy {
    running: Running,
    listen: Vec<u16>,
    backend: &'static str,
    counters: Arc<Counters>,
    page: Arc<Vec<SlaveCounters>>,
    mailbox: Sender<ProxyMail>,
    slaves: Vec<Slave>,
}

impl Proxy {
    /// Watches the slaves' leases, and their next hops where the backend sends by `device` itself.
    fn watch(self: &Rc<Self>, device: Option<String>) -> JoinSet<()> {
        let mut watching = JoinSet::new();
        for (at, slave) in (0_u16..).zip(&self.slaves).filter(|(_, slave)| !slave.unit.external) {
            let (lease, identity) = (slave.lease.clone(), self.running.identity.clone());
            let mailbox = self.mailbox.clone();
            watching.spawn_local(async move {
                lease
                    .keep(&identity, async |healthy| {
                        let letter = ProxyMail::Health { slave: at, healthy, greet: healthy };
                        packet_path::post(&mailbox, letter).await;
                    })
                    .await;
            });
        }
        if let Some(device) = device {
            let addresses = self.slaves.iter().flat_map(|slave| slave.unit.addresses()).collect();
            watching.spawn_local(neighbour::watch(device, addresses, self.mailbox.clone()));
        }
        watching
    }

    fn own_slaves(&self) -> impl Iterator<Item = &Slave> {
        self.slaves.iter().filter(|slave| !slave.unit.external)
    }

    fn deliveries(&self) -> Vec<Delivery> {
        let delivery = |(slave, page): (&Slave, &SlaveCounters)| Delivery {
            name: slave.unit.name.clone(),
            address: slave.unit.address.to_string(),
            external: slave.unit.external,
            healthy: slave.lease.is_held(),
            reason: slave.lease.reason(),
            messages: page.messages.get(),
            records: page.records.get(),
            options: page.options.get(),
            changed_ms: slave.lease.changed_ms(),
            losses: slave.lease.losses(),
        };
        self.slaves.iter().zip(self.page.iter()).map(delivery).collect()
    }
}

impl Answers for Proxy {
    async fn ask(&self, question: Question, deadline: Duration) -> Result<Answered, Error> {
        let itself = Behind::Itself { through: self.running.identity.name.clone() };
        let asked = self.own_slaves().map(|slave| slave.target.ask(&question, deadline, &itself));
        let parts = join_all(asked).await;
        fanout::merge(question, parts).await
    }

    async fn status(&self, deadline: Duration) -> UnitStatus {
        let asked = join_all(self.own_slaves().map(|slave| slave.target.status(deadline)));
        let report = packet_path::report(&self.mailbox, ProxyMail::Report);
        let traffic = Traffic::settled(&self.counters, READINGS);
        let (units, report, traffic) = futures::future::join3(asked, report, traffic).await;
        let mut status = self.running.status();
        status.backend = self.backend.to_owned();
        status.listen = self.listen.clone();
        status.traffic = Some(traffic);
        status.slaves = self.deliveries();
        let sessions = report.iter().flat_map(|report| &report.sessions);
        status.set_sessions(sessions.map(packet_path::session).collect());
        status.units = units;
        status.judge();
        status
    }
}
