//! `weir master`: asks the proxies and the standalone slaves, and answers the console.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use weir_rpc::QUERY_PORT;
use weir_store::query::Question;

use crate::error::Error;
use crate::fanout::{self, Behind, Target};
use crate::service::query::{Answered, Answers};
use crate::status::UnitStatus;
use crate::topology::{ProxyGroup, Role, Topology};
use crate::unit::{Running, Stop};

/// How a master is started.
#[derive(Clone, Debug)]
pub struct MasterSettings {
    /// The whole topology.
    pub topology: Topology,
    /// This unit's name in it.
    pub name: String,
}

/// Runs a master until it is told to stop.
///
/// # Errors
/// What could not be opened.
pub async fn run(settings: MasterSettings) -> Result<(), Error> {
    let mut stop = Stop::listen()?;
    let unit = settings.topology.own(&settings.name, Role::Master)?;
    let running = Running::new(unit);
    let ports = running.bind().await?;
    tracing::info!(
        unit = %unit.name, address = %unit.address,
        source_groups = settings.topology.source_groups.len(),
        standalone_slaves = settings.topology.standalone_slaves().count(),
        "master runs"
    );
    let master = Rc::new(Master::new(running, settings.topology));
    let serving = ports.serve(Rc::clone(&master));
    master.running.ready();
    stop.wait().await;
    drop(serving);
    Ok(())
}

/// A running master.
struct Master {
    running: Running,
    topology: Topology,
    proxies: BTreeMap<String, Target>,
    standalone: Vec<Target>,
}

impl Master {
    fn new(running: Running, topology: Topology) -> Self {
        let proxies = topology
            .proxy_groups
            .iter()
            .filter_map(|group| topology.unit(&group.proxy))
            .map(|unit| (unit.name.clone(), Target::new(unit, QUERY_PORT)))
            .collect();
        let standalone =
            topology.standalone_slaves().map(|unit| Target::new(unit, QUERY_PORT)).collect();
        Master { running, topology, proxies, standalone }
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
        let sources = self.topology.source_groups.iter();
        let sources = join_all(
            sources.map(|source| self.ask_source(&source.proxy_groups, &question, deadline)),
        );
        let itself = Behind::Itself { through: String::new() };
        let standalone =
            join_all(self.standalone.iter().map(|slave| slave.ask(&question, deadline, &itself)));
        let (mut parts, more) = futures::future::join(sources, standalone).await;
        parts.extend(more);
        fanout::merge(question, parts).await
    }

    async fn status(&self, deadline: Duration) -> UnitStatus {
        let targets = self.proxies.values().chain(&self.standalone);
        let mut status = self.running.status();
        status.units = join_all(targets.map(|target| target.status(deadline))).await;
        status
    }
}
