//! `weir master`: asks the proxies and the standalone slaves, and answers the console.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use weir_rpc::QUERY_PORT;
use weir_store::query::Question;

use crate::change;
use crate::error::Error;
use crate::fanout::{self, Behind, Target};
use crate::reload::{Changes, Reloads};
use crate::service::query::{Answered, Answers};
use crate::status::UnitStatus;
use crate::topology::{ProxyGroup, Role, Topology};
use crate::unit::{Running, Stop};

/// How a master is started.
#[derive(Clone, Debug)]
pub struct MasterSettings {
    /// The whole topology.
    pub topology: Topology,
    /// The file that it was read from, and is read from again.
    pub file: PathBuf,
    /// This unit's name in it.
    pub name: String,
}

/// Runs a master until it is told to stop.
///
/// # Errors
/// What could not be opened.
pub async fn run(settings: MasterSettings) -> Result<(), Error> {
    let mut stop = Stop::listen()?;
    let mut reloads = Reloads::listen()?;
    let unit = settings.topology.own(&settings.name, Role::Master)?;
    let running = Running::new(unit);
    let ports = running.bind().await?;
    tracing::info!(
        unit = %unit.name, address = %unit.address,
        source_groups = settings.topology.source_groups.len(),
        standalone_slaves = settings.topology.standalone_slaves().count(),
        "master runs"
    );
    let known = RefCell::new(Rc::new(Known::new(settings.topology)));
    let master = Rc::new(Master { running, file: settings.file, known });
    let serving = ports.serve(Rc::clone(&master), reloads.reloader());
    master.running.ready();
    loop {
        tokio::select! {
            () = stop.wait() => break,
            asked = reloads.next() => asked.answer(master.reload()),
        }
    }
    drop(serving);
    Ok(())
}

/// A running master.
struct Master {
    running: Running,
    file: PathBuf,
    /// Replaced whole; a question that is under way ends with what it began with.
    known: RefCell<Rc<Known>>,
}

impl Master {
    fn reload(&self) -> Result<Changes, Error> {
        let topology = Topology::load(&self.file)?;
        let own = topology.own(&self.running.identity.name, Role::Master)?;
        let mut changes = change::of_units(&self.known().topology, &topology);
        if self.running.addresses().next() != Some(own.address) {
            changes.push("this unit's own address has changed: it needs a restart".to_owned());
        }
        if !changes.is_empty() {
            *self.known.borrow_mut() = Rc::new(Known::new(topology));
        }
        Ok(changes)
    }

    fn known(&self) -> Rc<Known> {
        Rc::clone(&self.known.borrow())
    }
}

/// The units that a master knows.
struct Known {
    topology: Topology,
    proxies: BTreeMap<String, Target>,
    standalone: Vec<Target>,
}

impl Known {
    fn new(topology: Topology) -> Self {
        let proxies = topology
            .proxy_groups
            .iter()
            .filter_map(|group| topology.unit(&group.proxy))
            .map(|unit| (unit.name.clone(), Target::new(unit, QUERY_PORT)))
            .collect();
        let standalone =
            topology.standalone_slaves().map(|unit| Target::new(unit, QUERY_PORT)).collect();
        Known { topology, proxies, standalone }
    }

    /// Asks the groups of a source group in their order until one answers completely; they hold the
    /// same flows, so of incomplete answers the best one counts, and never two.
    async fn ask_source(
        &self,
        groups: &[String],
        question: &Question,
        deadline: Duration,
    ) -> Answered {
        let began = Instant::now();
        let mut best: Option<Answered> = None;
        for group in groups.iter().filter_map(|name| self.topology.proxy_group(name)) {
            let left = deadline.saturating_sub(began.elapsed());
            let answered = self.ask_group(group, question, left).await;
            let complete = answered.coverage.is_complete();
            if best.as_ref().is_none_or(|best| answered.coverage.is_better_than(&best.coverage)) {
                best = Some(answered);
            }
            if complete {
                break;
            }
        }
        best.unwrap_or_default()
    }

    async fn ask_group(
        &self,
        group: &ProxyGroup,
        question: &Question,
        deadline: Duration,
    ) -> Answered {
        let slaves = self.topology.slaves_of(group).filter(|slave| !slave.external);
        let behind = Behind::Slaves(slaves.map(|slave| slave.name.clone()).collect());
        match self.proxies.get(&group.proxy) {
            Some(proxy) => proxy.ask(question, deadline, &behind).await,
            None => Answered::default(),
        }
    }
}

impl Answers for Master {
    async fn ask(&self, question: Question, deadline: Duration) -> Result<Answered, Error> {
        let known = self.known();
        let sources = known.topology.source_groups.iter();
        let sources = join_all(
            sources.map(|source| known.ask_source(&source.proxy_groups, &question, deadline)),
        );
        let itself = Behind::Itself { through: String::new() };
        let standalone =
            join_all(known.standalone.iter().map(|slave| slave.ask(&question, deadline, &itself)));
        let (mut parts, more) = futures::future::join(sources, standalone).await;
        parts.extend(more);
        fanout::merge(question, parts).await
    }

    async fn status(&self, deadline: Duration) -> UnitStatus {
        let known = self.known();
        let targets = known.proxies.values().chain(&known.standalone);
        let mut status = self.running.status();
        status.units = join_all(targets.map(|target| target.status(deadline))).await;
        status
    }
}
