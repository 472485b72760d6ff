//! `weir proxy`: receives from exporters, deals to slaves, and asks them on the master's behalf.
//!
//! `settings` says how it is started, `slaves` holds what it keeps of its slaves while they come and
//! go, `told` what it hears from the packet path and its neighbourhood.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use futures::future::{join, join_all, join3};
use tokio::task::JoinSet;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::mediate::{Distribution as Dealing, MediatorConfig};
use weir_dataplane::news::News;
use weir_dataplane::remembered::Remembered;
use weir_dataplane::session::SessionLimits;
use weir_dataplane::worker::ProxyMail;
use weir_store::query::Question;
use weir_tuning::plan::plan;
use weir_tuning::{Probe, Profile};

use crate::backend::{self, Opened, WorkerParts};
use crate::devices::Devices;
use crate::error::Error;
use crate::fanout::{self, Behind};
use crate::journal::{Journal, Writer};
use crate::kernel::Kernel;
use crate::neighbour;
use crate::reload::{Changes, Reloads};
use crate::service::query::{Answered, Answers};
use crate::status::UnitStatus;
use crate::streams::Streams;
use crate::topology::{
    Distribution, PORT_OFFSET, ProxyGroup, Role, StreamSettings, Topology, Unit,
};
use crate::unit::{Running, Stop};
use crate::workers::Workers;

mod settings;
mod slaves;
mod told;

pub use settings::ProxySettings;
use slaves::Slaves;

/// How long a record may wait in an open message, ms.
const FLUSH_MS: u64 = 50;

/// Messages that may be open at a time, of all sessions and slaves.
const OPEN_MESSAGES: usize = 4_096;

/// Readings of the counters until they fit.
const READINGS: u32 = 25;

/// News that may wait for the control plane.
const NEWS: usize = 1_024;

/// Sessions recalled in one letter.
const RECALLED: usize = 256;

/// Runs a proxy until it is told to stop.
///
/// # Errors
/// What could not be opened, or what broke while it ran.
pub async fn run(settings: ProxySettings) -> Result<(), Error> {
    let mut stop = Stop::listen()?;
    let mut reloads = Reloads::listen()?;
    let topology = settings.topology.clone();
    let unit = topology.own(&settings.name, Role::Proxy)?;
    let group = group_of(&topology, &unit.name)?;
    let running = Running::new(unit);
    let ports = running.bind().await?;
    advise(&settings.backend.devices());
    let devices = Devices::new(settings.backend.devices()).await;
    let (journal, recalled) = open_journal(&settings)?;
    let streams = open_streams(unit, group)?;
    let (streams, outlet) = streams.unzip();
    let opened = backend::open(&settings.backend, &listening(unit, group), group.distribution)?;
    let (news, newsletter) = bounded(NEWS);
    let slaves = Slaves::new(&topology, group);
    let parts = WorkerParts {
        mediator: mediator(group, &slaves),
        cores: settings.cores.clone(),
        news,
        first: Box::new(|| first_letters(&recalled, &slaves)),
    };
    let Opened { name, sentence, lanes, kernel } = opened;
    let workers = Workers::new(backend::spawn(lanes, parts)?);
    if let Some(outlet) = outlet {
        workers.tell_first(ProxyMail::Connections(outlet));
    }
    drop(recalled);
    tracing::info!(
        unit = %unit.name, address = %unit.address, listen = ?group.listen, backend = name,
        distribution = %group.distribution, slaves = ?group.slaves, "proxy runs"
    );
    let proxy = Rc::new(Proxy {
        listen: group.listen.clone(),
        served: served(group),
        streams,
        settings,
        backend: name,
        sentence,
        workers,
        kernel,
        slaves,
        devices,
        running,
    });
    if let Some(kernel) = &proxy.kernel {
        kernel.configure(&proxy.slaves.group(), &proxy.listen, |name| proxy.slaves.slot(name));
    }
    let journal = journal.map(Rc::new);
    let working = proxy.work(newsletter, journal.clone());
    let serving = ports.serve(Rc::clone(&proxy), reloads.reloader());
    proxy.running.ready();
    loop {
        tokio::select! {
            () = stop.wait() => break,
            () = proxy.workers.ended() => {
                tracing::error!("the packet path has ended; stopping");
                break;
            }
            asked = reloads.next() => asked.answer(proxy.reload()),
        }
    }
    drop((serving, working));
    if let Some(streams) = &proxy.streams {
        // The workers still take what comes by connections until they are closed.
        let streams = Arc::clone(streams);
        fanout::beside_rpc(move || {
            streams.stop();
            Ok(())
        })
        .await?;
    }
    proxy.slaves.leave();
    if let Some(journal) = journal {
        told::remember_all(&proxy.workers, &journal).await;
        let thread = journal.close();
        // A thread that panicked has said so.
        let ended = move || Ok(thread.map(std::thread::JoinHandle::join).is_some());
        fanout::beside_rpc(ended).await?;
    }
    proxy.workers.stop().await
}

fn group_of<'t>(topology: &'t Topology, name: &str) -> Result<&'t ProxyGroup, Error> {
    let none = || Error::Configuration(format!("proxy {name} is in no proxy group"));
    topology.group_of(name).ok_or_else(none)
}

/// Says in the log what the host is and how it could be set for this work; changes nothing.
fn advise(devices: &[String]) {
    if devices.is_empty() {
        return;
    }
    let names: Vec<&str> = devices.iter().map(String::as_str).collect();
    let probe = Probe::read(&names);
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

/// Opens the journal of templates, if there is a folder for it; its thread, and what it held.
fn open_journal(settings: &ProxySettings) -> Result<(Option<Writer>, Vec<Remembered>), Error> {
    let Some(folder) = &settings.state else {
        tracing::info!(
            "templates are not kept over a restart; name a folder with --state to keep them"
        );
        return Ok((None, Vec::new()));
    };
    let (journal, recalled) = Journal::open(folder)?;
    tracing::info!(
        folder = %folder.display(), sessions = recalled.sessions.len(),
        damaged = recalled.damaged, torn = recalled.torn, "templates recalled"
    );
    Ok((Some(Writer::start(journal)?), recalled.sessions))
}

/// Opens the ports for connections, where the group has such.
fn open_streams(
    unit: &Unit,
    group: &ProxyGroup,
) -> Result<Option<(Arc<Streams>, weir_dataplane::connection::Outlet)>, Error> {
    let Some(settings) = &group.stream else { return Ok(None) };
    let addresses: Vec<IpAddr> = unit.addresses().collect();
    let (streams, outlet) = Streams::start(settings, &addresses, &group.gates)?;
    tracing::info!(tcp = ?settings.tcp, tls = ?settings.tls, "exporters can connect");
    Ok(Some((Arc::new(streams), outlet)))
}

/// All listening ports, of datagrams and of connections.
fn served(group: &ProxyGroup) -> Vec<u16> {
    group.slave_ports().iter().map(|port| port - PORT_OFFSET).collect()
}

fn listening(unit: &Unit, group: &ProxyGroup) -> Vec<SocketAddr> {
    let at = |address| group.listen.iter().map(move |&port| SocketAddr::new(address, port));
    unit.addresses().flat_map(at).collect()
}

/// What a worker reads before its first datagram: what was recalled, so that a slave that is greeted
/// is told it, and who is taken as healthy.
fn first_letters(recalled: &[Remembered], slaves: &Slaves) -> Vec<ProxyMail> {
    let recalled = recalled.chunks(RECALLED).map(|part| ProxyMail::Recall(part.to_vec()));
    let healthy = slaves.healthy().into_iter().map(|slave| ProxyMail::Health {
        slave,
        healthy: true,
        greet: true,
    });
    recalled.chain(healthy).collect()
}

fn mediator(group: &ProxyGroup, slaves: &Slaves) -> MediatorConfig {
    MediatorConfig {
        distribution: match group.distribution {
            Distribution::RoundRobin => Dealing::RoundRobin,
            Distribution::FlowSource => Dealing::FlowSource,
        },
        configuration: Arc::new(slaves.configuration(&served(group))),
        port_offset: PORT_OFFSET,
        sessions: SessionLimits::default(),
        hold: HoldLimits::default(),
        flush_ms: FLUSH_MS,
        messages: OPEN_MESSAGES,
    }
}

/// A running proxy.
struct Proxy {
    running: Running,
    settings: ProxySettings,
    /// What it listens on until it is started again: UDP ports ...
    listen: Vec<u16>,
    /// ... and those for connections among them.
    served: Vec<u16>,
    streams: Option<Arc<Streams>>,
    backend: &'static str,
    sentence: String,
    workers: Rc<Workers>,
    kernel: Option<Kernel>,
    slaves: Slaves,
    devices: Devices,
}

impl Proxy {
    /// Everything that goes on beside answering.
    fn work(self: &Rc<Self>, news: Receiver<News>, journal: Option<Rc<Writer>>) -> JoinSet<()> {
        let mut working = JoinSet::new();
        self.slaves.attend(self);
        let proxy = Rc::clone(self);
        working.spawn_local(async move { neighbour::watch(&*proxy).await });
        working.spawn_local(told::hear(Rc::clone(self), news));
        if let Some(journal) = journal {
            working.spawn_local(told::remember(Rc::clone(&self.workers), journal));
        }
        if self.kernel.is_some() {
            working.spawn_local(told::tend(Rc::clone(self)));
        }
        working
    }

    /// Reads the topology again and changes what can be changed at once.
    fn reload(self: &Rc<Self>) -> Result<Changes, Error> {
        let topology = Topology::load(&self.settings.file)?;
        topology.own(&self.settings.name, Role::Proxy)?;
        let group = group_of(&topology, &self.settings.name)?;
        if let Some(streams) = &self.streams {
            // Also when nothing has changed here: the certificate may be a new one.
            streams.change(
                group.stream.as_ref().unwrap_or(&StreamSettings::default()),
                &group.gates,
            )?;
        }
        let changes = self.slaves.change(&topology, group);
        if changes.is_empty() {
            return Ok(changes);
        }
        let configuration = Arc::new(self.slaves.configuration(&self.served));
        self.workers.tell(|| ProxyMail::Configure(Arc::clone(&configuration)));
        for slave in self.slaves.newly_healthy() {
            self.workers.tell(|| ProxyMail::Health { slave, healthy: true, greet: true });
        }
        self.slaves.attend(self);
        if let Some(kernel) = &self.kernel {
            kernel.configure(group, &self.listen, |name| self.slaves.slot(name));
            let proxy = Rc::clone(self);
            tokio::task::spawn_local(async move {
                if let Some(kernel) = &proxy.kernel {
                    kernel.review().await;
                }
            });
        }
        Ok(changes)
    }

    fn takes(&self, address: IpAddr) -> bool {
        self.running.addresses().any(|own| own.is_ipv4() == address.is_ipv4())
    }
}

impl Answers for Proxy {
    async fn ask(&self, question: Question, deadline: Duration) -> Result<Answered, Error> {
        let itself = Behind::Itself { through: self.running.identity.name.clone() };
        let own = self.slaves.own();
        let asked = own.iter().map(|slave| slave.target.ask(&question, deadline, &itself));
        let parts = join_all(asked).await;
        fanout::merge(question, parts).await
    }

    async fn status(&self, deadline: Duration) -> UnitStatus {
        let own = self.slaves.own();
        let asked = join_all(own.iter().map(|slave| slave.target.status(deadline)));
        let path = join3(asked, self.workers.report(), self.workers.traffic(READINGS));
        let ((units, report, mut traffic), devices) = join(path, self.devices.lost()).await;
        let mut status = self.running.status();
        if let Some(kernel) = &self.kernel {
            let seen = kernel.seen();
            let dropped = [
                ("source_not_allowed", seen.refused_source),
                ("format_not_allowed", seen.refused_format),
            ];
            traffic.add_kernel(seen.forwarded, &dropped);
            status.verdicts = seen.verdicts;
            status.set_sources(kernel.sources(|slot| self.slaves.name(slot)).await);
        }
        status.backend = self.backend.to_owned();
        status.backend_sentence = self.sentence.clone();
        status.listen = self.listen.clone();
        status.streams = self.streams.as_ref().map(|streams| streams.status());
        status.traffic = Some(traffic);
        status.workers = self.workers.lines();
        status.latency = report.latency;
        status.devices = devices;
        status.slaves = self.slaves.deliveries(&self.workers, self.kernel.as_ref());
        status.set_sessions(report.sessions);
        status.units = units;
        status.judge();
        status
    }
}
