//! A whole topology in the lab: one master, one proxy, its slaves, and what one can ask of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::process::is_running;
use super::{Error, Network, Process, tool, wait_for};
use crate::coverage::Coverage;
use crate::generate::Totals;
use crate::status::{Discarded, Traffic, UnitStatus};
use crate::topology::{Distribution, PORT_OFFSET};

/// The site where the master runs, and its unit's name.
pub const MASTER: &str = "master";
/// The site where the proxy runs, and its unit's name.
pub const PROXY: &str = "proxy";
/// The site from which exporters send.
pub const EXPORTERS: &str = "exporters";

/// What kind of group the lab runs.
#[derive(Clone, Debug)]
pub struct Group {
    /// How the proxy deals.
    pub distribution: Distribution,
    /// The proxy's `--io`: auto, afxdp or socket.
    pub io: &'static str,
    /// The UDP port that exporters send to.
    pub listen: u16,
    /// Sites of weir's own slaves.
    pub slaves: Vec<String>,
    /// Sites of foreign collectors in a slave's place; the caller runs them.
    pub external: Vec<String>,
    /// Where slaves put their stores; a folder of the lab when `None`.
    pub stores: Option<PathBuf>,
    /// Further words of the slaves' command lines.
    pub slave_words: Vec<String>,
    /// Further words of the proxy's command line.
    pub proxy_words: Vec<String>,
    /// Further words of the group's table in the topology.
    pub group_words: String,
}

impl Group {
    /// Weir's own slaves at these sites; the rest as it usually is.
    pub fn new(distribution: Distribution, io: &'static str, listen: u16, slaves: &[&str]) -> Self {
        Group {
            distribution,
            io,
            listen,
            slaves: slaves.iter().map(|&name| name.into()).collect(),
            external: Vec::new(),
            stores: None,
            slave_words: Vec::new(),
            proxy_words: Vec::new(),
            group_words: String::new(),
        }
    }
}

/// Running units.
#[derive(Debug)]
pub struct Units {
    // Dropped in this order: processes before the network and the files that they use.
    processes: BTreeMap<String, Process>,
    network: Network,
    folder: tempfile::TempDir,
    group: Group,
    weir: PathBuf,
}

/// `weir query --json`, what the lab needs of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// Sums over the flows found.
    pub totals: Sums,
    /// Who answered.
    pub coverage: Coverage,
    /// The table.
    pub rows: Vec<BTreeMap<String, serde_json::Value>>,
}

/// Flows, packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Sums {
    /// Flow records.
    pub flows: u64,
    /// Their packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl From<Totals> for Sums {
    fn from(totals: Totals) -> Self {
        Sums { flows: totals.flows, packets: totals.packets, bytes: totals.bytes }
    }
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Sums) {
        self.flows += other.flows;
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// The unit of this name, at or below this one.
pub fn unit<'a>(status: &'a UnitStatus, name: &str) -> Option<&'a UnitStatus> {
    if status.name == name {
        return Some(status);
    }
    status.units.iter().find_map(|below| unit(below, name))
}

/// Units that do not conserve what they took, or did not say.
pub fn unconserved(status: &UnitStatus) -> Vec<&str> {
    let own = (status.conserved == Some(false) || !status.up).then_some(status.name.as_str());
    own.into_iter().chain(status.units.iter().flat_map(unconserved)).collect()
}

/// How often something ended for this reason.
pub fn discarded(traffic: &Traffic, reason: &str) -> u64 {
    let Discarded { datagram, set, record } = &traffic.discarded;
    [datagram, set, record].iter().filter_map(|reasons| reasons.get(reason)).sum()
}

/// A folder for this lab; what labs left that were killed goes at the same time.
fn folder() -> Result<tempfile::TempDir, Error> {
    const PREFIX: &str = "weir-lab-";
    let place = std::env::temp_dir();
    for entry in std::fs::read_dir(&place).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.and_then(|owner| owner.parse().ok()).is_some_and(|owner| !is_running(owner)) {
            // Another user's folder stays, and does no harm.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let prefix = format!("{PREFIX}{}-", std::process::id());
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(&place);
    folder.map_err(|reason| Error::File { path: place.display().to_string(), reason })
}

/// Whether every record decoded has ended.
fn is_at_rest(traffic: &Traffic) -> bool {
    traffic.records_in_flight == 0 && traffic.is_conserved()
}

impl Units {
    /// Starts slaves, proxy and master, and returns when every slave of weir's gets records.
    ///
    /// # Errors
    /// When a unit does not start; its log is in the error.
    pub fn start(network: Network, weir: &Path, group: Group) -> Result<Units, Error> {
        let folder = folder()?;
        let weir = weir.to_owned();
        let mut units = Units { processes: BTreeMap::new(), network, folder, group, weir };
        units.write_topology(&units.topology())?;
        let names: Vec<_> = units.group.slaves.iter().map(String::as_str).collect();
        let names: Vec<String> =
            names.into_iter().chain([PROXY, MASTER]).map(str::to_owned).collect();
        for name in &names {
            units.launch(name)?;
        }
        for process in units.processes.values_mut() {
            process.wait_ready()?;
        }
        units.wait_healthy()?;
        Ok(units)
    }

    /// Starts one unit (again) and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self, unit: &str) -> Result<(), Error> {
        self.processes.remove(unit);
        self.launch(unit)?;
        self.process(unit).wait_ready()
    }

    /// The topology file's text, as the lab's group has it.
    pub fn topology_text(&self) -> String {
        self.topology()
    }

    /// Writes the topology file; no unit knows yet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_topology(&self, text: &str) -> Result<(), Error> {
        let path = self.topology_path();
        std::fs::write(&path, text)
            .map_err(|reason| Error::File { path: path.display().to_string(), reason })
    }

    /// `weir reload` of one unit; what it says.
    ///
    /// # Errors
    /// When the unit refuses the file.
    pub fn reload(&self, unit: &str) -> Result<String, Error> {
        let topology = self.topology_path().display().to_string();
        self.weir(MASTER, &["reload", "--topology", &topology, unit])
    }

    /// What the lab runs; slaves that are added here are in the next topology text.
    pub fn group_mut(&mut self) -> &mut Group {
        &mut self.group
    }

    /// The unit's process.
    ///
    /// # Panics
    /// When there is no such unit: the names are the caller's own.
    pub fn process(&mut self, unit: &str) -> &mut Process {
        self.processes.get_mut(unit).expect("a unit of this lab")
    }

    /// The network that the units stand in.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// A folder that goes with the lab.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where a slave's store is.
    pub fn store(&self, slave: &str) -> PathBuf {
        self.group.stores.as_deref().unwrap_or(self.folder()).join(format!("{slave}.store"))
    }

    /// Where exporters of this IP version send to, as `HOST:PORT`.
    pub fn target(&self, v6: bool) -> String {
        let proxy = self.network.site(PROXY);
        match proxy.v6 {
            Some(address) if v6 => format!("[{address}]:{}", self.group.listen),
            _ => format!("{}:{}", proxy.v4, self.group.listen),
        }
    }

    /// Runs `weir` with these words at a site, to its end; returns its stdout.
    ///
    /// # Errors
    /// When it ends with another code than 0.
    pub fn weir(&self, site: &str, words: &[&str]) -> Result<String, Error> {
        tool::run(self.network.site(site).command(&self.weir).args(words))
    }

    /// Starts `weir` with these words at a site.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_weir(&self, name: &str, site: &str, words: &[&str]) -> Result<Process, Error> {
        let mut command = self.network.site(site).command(&self.weir);
        Process::start(name, command.args(words), self.folder())
    }

    /// The master's address.
    pub fn master(&self) -> IpAddr {
        self.network.site(MASTER).v4.into()
    }

    /// `weir status` of the whole topology.
    ///
    /// # Errors
    /// When the master does not answer.
    pub fn status(&self) -> Result<UnitStatus, Error> {
        let master = self.master().to_string();
        self.json(&["status", "-M", &master, "--json"])
    }

    /// `weir query` with these words; also when only some units answered.
    ///
    /// # Errors
    /// When the master does not answer.
    pub fn query(&self, words: &[&str]) -> Result<Answer, Error> {
        let master = self.master().to_string();
        self.json(&[&["query", "-M", &master, "--json"], words].concat())
    }

    /// Flows, packets and bytes that this filter finds.
    ///
    /// # Errors
    /// When the master does not answer.
    pub fn sums(&self, filter: &str) -> Result<Sums, Error> {
        self.query(&[filter, "-s", "proto/flows", "-n", "1"]).map(|answer| answer.totals)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, words: &[&str]) -> Result<T, Error> {
        let mut command = self.network.site(MASTER).command(&self.weir);
        command.args(words);
        let typed = tool::typed(&command);
        // A partial answer ends with code 3 and is an answer all the same.
        let output = command.stdin(std::process::Stdio::null()).output();
        let output = output
            .map_err(|error| Error::Tool { command: typed.clone(), reason: error.to_string() })?;
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let said = String::from_utf8_lossy(&output.stderr);
            let reason = if output.stdout.is_empty() { said.into() } else { error.to_string() };
            Error::Answer { command: typed, reason }
        })
    }

    /// Waits until the proxy deals to every slave.
    ///
    /// # Errors
    /// When one does not become healthy.
    pub fn wait_healthy(&self) -> Result<(), Error> {
        wait_for("the proxy to reach its slaves", 30, || {
            // Refused while units are still finding each other.
            let Ok(status) = self.status() else { return Ok(None) };
            let proxy = unit(&status, PROXY);
            let healthy = proxy.is_some_and(|p| p.slaves.iter().all(|slave| slave.healthy));
            Ok((healthy && proxy.is_some_and(|p| !p.slaves.is_empty())).then_some(()))
        })
    }

    /// Waits until all of `datagrams` have gone the whole way: received by the proxy since its
    /// start, their records delivered, received and stored by weir's own slaves.
    ///
    /// # Errors
    /// When that does not happen; the last status is in the message.
    pub fn wait_settled(&self, datagrams: u64) -> Result<UnitStatus, Error> {
        let mut last = None;
        let settled = wait_for("the flows to arrive", 30, || {
            let status = self.status()?;
            let done = self.is_settled(&status, datagrams).unwrap_or(false);
            last = Some(status.clone());
            Ok(done.then_some(status))
        });
        settled.map_err(|error| match error {
            Error::Timeout { seconds, .. } => Error::Timeout {
                what: format!("{datagrams} datagrams to arrive; the last status was {last:#?}"),
                seconds,
            },
            other => other,
        })
    }

    fn is_settled(&self, status: &UnitStatus, datagrams: u64) -> Option<bool> {
        let proxy = unit(status, PROXY)?;
        let traffic = proxy.traffic.as_ref()?;
        let arrived = traffic.datagrams_received + traffic.datagrams_dropped >= datagrams;
        let mut settled = arrived && is_at_rest(traffic);
        for slave in &self.group.slaves {
            let delivery = proxy.slaves.iter().find(|delivery| delivery.name == *slave)?;
            let unit = unit(status, slave)?;
            let (collected, stored) = (unit.traffic.as_ref()?, unit.storing.as_ref()?);
            settled &= collected.datagrams_received + collected.datagrams_dropped
                >= delivery.messages + delivery.forwarded
                && is_at_rest(collected)
                && is_at_rest(stored)
                && stored.records_decoded == collected.records_delivered;
        }
        Some(settled)
    }

    fn topology_path(&self) -> PathBuf {
        self.folder().join("weir.toml")
    }

    /// Starts a unit's process.
    fn launch(&mut self, unit: &str) -> Result<(), Error> {
        let site = self.network.site(unit);
        let mut command = site.command(&self.weir);
        let role = match unit {
            MASTER | PROXY => unit,
            _ => "slave",
        };
        command.arg(role).arg("--topology").arg(self.topology_path()).args(["--unit", unit]);
        match role {
            "slave" => {
                command.arg("--dir").arg(self.store(unit)).args(&self.group.slave_words);
            }
            "proxy" => {
                command.args(["--io", self.group.io]).args(&self.group.proxy_words);
                if let Some(device) = site.device().filter(|_| self.group.io != "socket") {
                    command.args(["--device", device]);
                }
            }
            _ => {}
        }
        let process = Process::start(unit, &mut command, self.folder())?;
        self.processes.insert(unit.into(), process);
        Ok(())
    }

    /// The topology file's text.
    fn topology(&self) -> String {
        let unit = |name: &String, role: &str, external: bool| {
            let site = self.network.site(name);
            let v6 = site.v6.map_or(String::new(), |v6| format!("address6 = \"{v6}\"\n"));
            let external = if external { "external = true\n" } else { "" };
            format!(
                "[[unit]]\nname = \"{name}\"\nrole = \"{role}\"\naddress = \"{}\"\n{v6}{external}\n",
                site.v4
            )
        };
        let Group { distribution, listen, slaves, external, group_words, .. } = &self.group;
        let mut text = unit(&MASTER.into(), "master", false) + &unit(&PROXY.into(), "proxy", false);
        text.extend(slaves.iter().map(|name| unit(name, "slave", false)));
        text.extend(external.iter().map(|name| unit(name, "slave", true)));
        let all: Vec<_> = slaves.iter().chain(external).collect();
        text + &format!(
            "[[proxy_group]]\nname = \"group\"\nproxy = \"{PROXY}\"\nslaves = {all:?}\n\
             listen = [{listen}]\ndistribution = \"{distribution}\"\n{group_words}\n\
             [[source_group]]\nname = \"site\"\nproxy_groups = [\"group\"]\nprimary = \"group\"\n"
        )
    }

    /// Where the slaves receive.
    pub fn slave_port(&self) -> u16 {
        self.group.listen + PORT_OFFSET
    }
}
