//! The topology file: which units there are, and who deals to whom.
//!
//! Every unit reads the same file and finds its own part by name. What [`Topology::parse`] returns
//! is consistent: names resolve, addresses are distinct, ports fit. It deliberately lacks versions
//! and authorship: a replicated state will hold those, and this stays its validated form.
//!
//! `gate` is what a listening port lets in and copies, `file` the form on disk, `check` what must
//! hold.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;

mod check;
mod check_stream;
mod file;
pub mod gate;
mod stream;
#[cfg(test)]
mod tests;

pub use gate::{CopySource, CopyTo, Format, Gate, Prefix};
pub use stream::{StreamSettings, TlsFiles};

/// A slave behind a proxy receives at the listening port plus this.
pub const PORT_OFFSET: u16 = 30_000;

/// The listening port where none is given: what exporters use for NetFlow.
pub const DEFAULT_LISTEN: u16 = 2055;

/// The largest packet on a path where none is given, bytes.
const DEFAULT_MTU: u16 = 1500;

/// Slaves of one proxy.
pub const SLAVES_MAX: usize = 64;

/// Sources of one proxy group that can be assigned by hand.
pub const ASSIGNED_MAX: usize = 65_536;

/// Sampling rates that can be given by hand.
pub const SAMPLINGS_MAX: usize = 4_096;

/// The most flow records of which a slave keeps one.
pub const KEEP_ONE_IN_MAX: u32 = 1_000_000;

/// The largest weight of a slave.
pub const WEIGHT_MAX: u16 = 100;

/// What a unit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Asks the proxies and answers the console.
    Master,
    /// Receives from exporters and deals to slaves.
    Proxy,
    /// Collects, stores and answers.
    Slave,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Master => "master",
            Role::Proxy => "proxy",
            Role::Slave => "slave",
        })
    }
}

/// How a proxy deals records to its slaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// One record each, in turn.
    #[default]
    RoundRobin,
    /// All that an exporter sends to one slave.
    FlowSource,
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Distribution::RoundRobin => "round-robin",
            Distribution::FlowSource => "flow-source",
        })
    }
}

/// A unit of the topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name, unique.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Where it serves control and queries, and receives flows of this IP version.
    pub address: IpAddr,
    /// Where it receives flows of IPv6 when `address` is IPv4.
    pub address6: Option<Ipv6Addr>,
    /// A foreign collector: gets flows, and is never asked.
    pub external: bool,
    /// Largest IP packet on the path to it, bytes.
    pub mtu: u16,
    /// A slave's share beside the others' of its group, 1 to [`WEIGHT_MAX`].
    pub weight: u16,
    /// A slave that gets no new records, but is told templates and answers questions.
    pub drain: bool,
    /// Whether an external slave's ports are probed with empty datagrams.
    pub probe: bool,
    /// Of so many flow records a slave keeps one, 1 to [`KEEP_ONE_IN_MAX`].
    pub keep_one_in: u32,
}

impl Unit {
    /// All its addresses, the one for control first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(self.address).chain(self.address6.map(IpAddr::V6))
    }
}

/// A proxy and the slaves it deals to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyGroup {
    /// Its name, unique among proxy groups.
    pub name: String,
    /// The proxy's name.
    pub proxy: String,
    /// The slaves' names.
    pub slaves: Vec<String>,
    /// UDP ports that exporters send to, ascending.
    pub listen: Vec<u16>,
    /// Ports that exporters connect to; `None` without any.
    pub stream: Option<StreamSettings>,
    /// What is let in and copied, of the ports where something is said; ascending by port.
    pub gates: Vec<Gate>,
    /// How records are dealt.
    pub distribution: Distribution,
    /// Exporters that belong to a certain slave, under flow source.
    pub assigned: BTreeMap<IpAddr, String>,
}

impl ProxyGroup {
    /// The UDP ports that the group's slaves receive at, ascending.
    pub fn slave_ports(&self) -> Vec<u16> {
        let streams = self.stream.iter().flat_map(StreamSettings::ports);
        let listen = self.listen.iter().copied().chain(streams);
        let mut ports: Vec<u16> = listen.map(|port| port + PORT_OFFSET).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// Proxy groups that receive the same flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceGroup {
    /// Its name, unique among source groups.
    pub name: String,
    /// The proxy groups in the order in which they are asked: the primary first.
    pub proxy_groups: Vec<String>,
}

/// How exporters sample, whatever they say themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// The exporters.
    pub source: Prefix,
    /// Only of flows seen at the interface with this SNMP index.
    pub interface: Option<u32>,
    /// One packet in so many is looked at.
    pub rate: u32,
}

/// A consistent topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Units in the order of the file.
    pub units: Vec<Unit>,
    /// Proxy groups in the order of the file.
    pub proxy_groups: Vec<ProxyGroup>,
    /// Source groups in the order of the file.
    pub source_groups: Vec<SourceGroup>,
    /// Sampling rates in the order of the file.
    pub samplings: Vec<Sampling>,
}

/// Something in the file that cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl Topology {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::TopologySyntax`], or [`Error::Topology`] with everything found.
    pub fn load(path: &Path) -> Result<Topology, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::File { path: path.into(), source })?;
        Topology::parse(&text, path)
    }

    /// Checks a text; `path` is only for messages.
    ///
    /// # Errors
    /// [`Error::TopologySyntax`], or [`Error::Topology`] with everything found.
    pub fn parse(text: &str, path: &Path) -> Result<Topology, Error> {
        let file: file::File = toml::from_str(text).map_err(|source| Error::TopologySyntax {
            path: path.into(),
            source: Box::new(source),
        })?;
        let problems = check::problems(&file, text);
        if problems.is_empty() {
            let folder = path.parent().unwrap_or(Path::new(""));
            return Ok(file.into_topology(folder));
        }
        Err(Error::Topology { path: path.into(), problems })
    }

    /// The unit of this name.
    pub fn unit(&self, name: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.name == name)
    }

    /// The unit of this name, which must play this role.
    ///
    /// # Errors
    /// [`Error::UnknownUnit`] and [`Error::WrongRole`].
    pub fn own(&self, name: &str, role: Role) -> Result<&Unit, Error> {
        let unit = self.unit(name).ok_or_else(|| {
            let known: Vec<_> = self.units.iter().map(|unit| unit.name.as_str()).collect();
            Error::UnknownUnit { name: name.into(), known: known.join(", ") }
        })?;
        if unit.role != role {
            return Err(Error::WrongRole { name: name.into(), has: unit.role, wanted: role });
        }
        Ok(unit)
    }

    /// The proxy group of this name.
    pub fn proxy_group(&self, name: &str) -> Option<&ProxyGroup> {
        self.proxy_groups.iter().find(|group| group.name == name)
    }

    /// The group that a proxy or slave belongs to.
    pub fn group_of(&self, unit: &str) -> Option<&ProxyGroup> {
        self.proxy_groups
            .iter()
            .find(|group| group.proxy == unit || group.slaves.iter().any(|slave| slave == unit))
    }

    /// A group's slaves, in its order.
    pub fn slaves_of<'a>(&'a self, group: &'a ProxyGroup) -> impl Iterator<Item = &'a Unit> {
        group.slaves.iter().filter_map(|name| self.unit(name))
    }

    /// Slaves that no proxy deals to.
    pub fn standalone_slaves(&self) -> impl Iterator<Item = &Unit> {
        self.units
            .iter()
            .filter(|unit| unit.role == Role::Slave && self.group_of(&unit.name).is_none())
    }
}
