//! The topology file: which units there are, and who deals to whom.
//!
//! Every unit reads the same file and finds its own part by name. What [`Topology::parse`] returns
//! is consistent: names resolve, addresses are distinct, ports fit. It deliberately lacks versions
//! and authorship: a replicated state will hold those, and this stays its validated form.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::error::Error;

/// A slave behind a proxy receives at the listening port plus this.
pub const PORT_OFFSET: u16 = 30_000;

/// The listening port where none is given: what exporters use for NetFlow.
pub const DEFAULT_LISTEN: u16 = 2055;

const DEFAULT_MTU: u16 = 1500;
const SMALLEST_MTU: u16 = 576;

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
    /// A foreign collector: gets flows, is never asked, counts as always healthy.
    pub external: bool,
    /// Largest IP packet on the path to it, bytes.
    pub mtu: u16,
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
    /// UDP ports that exporters send to.
    pub listen: Vec<u16>,
    /// How records are dealt.
    pub distribution: Distribution,
}

/// Proxy groups that receive the same flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceGroup {
    /// Its name, unique among source groups.
    pub name: String,
    /// The proxy groups in the order in which they are asked: the primary first.
    pub proxy_groups: Vec<String>,
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
        let file: File = toml::from_str(text).map_err(|source| Error::TopologySyntax {
            path: path.into(),
            source: Box::new(source),
        })?;
        let mut check = Check { text, problems: Vec::new() };
        check.file(&file);
        if check.problems.is_empty() {
            return Ok(file.into_topology());
        }
        check.problems.sort_by_key(|problem| problem.line);
        Err(Error::Topology { path: path.into(), problems: check.problems })
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    unit: Vec<UnitEntry>,
    #[serde(default)]
    proxy_group: Vec<ProxyGroupEntry>,
    #[serde(default)]
    source_group: Vec<SourceGroupEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnitEntry {
    name: Spanned<String>,
    role: Role,
    address: Spanned<IpAddr>,
    address6: Option<Spanned<Ipv6Addr>>,
    #[serde(default)]
    external: bool,
    mtu: Option<Spanned<u16>>,
}

impl UnitEntry {
    fn has_v4(&self) -> bool {
        self.address.get_ref().is_ipv4()
    }

    fn has_v6(&self) -> bool {
        self.address.get_ref().is_ipv6() || self.address6.is_some()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxyGroupEntry {
    name: Spanned<String>,
    proxy: Spanned<String>,
    slaves: Spanned<Vec<Spanned<String>>>,
    listen: Option<Spanned<Vec<Spanned<u16>>>>,
    #[serde(default)]
    distribution: Distribution,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceGroupEntry {
    name: Spanned<String>,
    proxy_groups: Spanned<Vec<Spanned<String>>>,
    primary: Option<Spanned<String>>,
}

impl File {
    fn into_topology(self) -> Topology {
        let units = self.unit.into_iter().map(|entry| Unit {
            name: entry.name.into_inner(),
            role: entry.role,
            address: entry.address.into_inner(),
            address6: entry.address6.map(Spanned::into_inner),
            external: entry.external,
            mtu: entry.mtu.map_or(DEFAULT_MTU, Spanned::into_inner),
        });
        let proxy_groups = self.proxy_group.into_iter().map(|entry| ProxyGroup {
            name: entry.name.into_inner(),
            proxy: entry.proxy.into_inner(),
            slaves: plain(entry.slaves),
            listen: entry.listen.map_or_else(|| vec![DEFAULT_LISTEN], plain),
            distribution: entry.distribution,
        });
        let source_groups = self.source_group.into_iter().map(|entry| {
            let mut proxy_groups = plain(entry.proxy_groups);
            if let Some(primary) = entry.primary {
                // Stable: the others keep the order of the file.
                proxy_groups.sort_by_key(|name| name != primary.get_ref());
            }
            SourceGroup { name: entry.name.into_inner(), proxy_groups }
        });
        Topology {
            units: units.collect(),
            proxy_groups: proxy_groups.collect(),
            source_groups: source_groups.collect(),
        }
    }
}

fn plain<T>(list: Spanned<Vec<Spanned<T>>>) -> Vec<T> {
    list.into_inner().into_iter().map(Spanned::into_inner).collect()
}

/// Collects what is wrong with a file, all of it, so that one edit can repair it.
struct Check<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem<T>(&mut self, at: &Spanned<T>, message: String) {
        let line = 1 + self.text[..at.span().start].matches('\n').count();
        self.problems.push(Problem { line, message });
    }

    fn file(&mut self, file: &File) {
        let roles: HashMap<&str, &UnitEntry> =
            file.unit.iter().map(|unit| (unit.name.get_ref().as_str(), unit)).collect();
        self.names("unit", file.unit.iter().map(|unit| &unit.name));
        self.names("proxy group", file.proxy_group.iter().map(|group| &group.name));
        self.names("source group", file.source_group.iter().map(|group| &group.name));
        self.addresses(&file.unit);
        let mut member_of = HashMap::new();
        for group in &file.proxy_group {
            self.proxy_group(group, &roles, &mut member_of);
        }
        self.units_without_a_place(&file.unit, &member_of);
        self.somebody_to_ask(&file.unit);
        self.source_groups(file);
    }

    fn names<'n>(&mut self, what: &str, names: impl Iterator<Item = &'n Spanned<String>>) {
        let mut seen = BTreeSet::new();
        for name in names {
            let text = name.get_ref();
            let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if text.is_empty() || text.len() > 64 || !text.chars().all(good) {
                self.problem(
                    name,
                    format!("{what} {text:?}: a name has 1 to 64 letters, digits, '.', '_' or '-'"),
                );
            }
            if !seen.insert(text) {
                self.problem(name, format!("{what} {text} is defined twice"));
            }
        }
    }

    fn addresses(&mut self, units: &[UnitEntry]) {
        let mut owners: BTreeMap<IpAddr, &str> = BTreeMap::new();
        for unit in units {
            let name = unit.name.get_ref().as_str();
            self.address(name, &unit.address, *unit.address.get_ref(), &mut owners);
            if let Some(address6) = &unit.address6 {
                self.address(name, address6, IpAddr::V6(*address6.get_ref()), &mut owners);
                if unit.address.get_ref().is_ipv6() {
                    self.problem(address6, format!("unit {name}: address is IPv6 already, so address6 says nothing more; give address in IPv4, or leave address6 out"));
                }
            }
            if let Some(mtu) = &unit.mtu
                && *mtu.get_ref() < SMALLEST_MTU
            {
                self.problem(
                    mtu,
                    format!(
                        "unit {name}: an MTU of {} bytes is under {SMALLEST_MTU}",
                        mtu.get_ref()
                    ),
                );
            }
            if unit.external && unit.role != Role::Slave {
                self.problem(
                    &unit.name,
                    format!(
                        "unit {name}: only a slave can be external, and this is a {}",
                        unit.role
                    ),
                );
            }
        }
    }

    fn address<'u, T>(
        &mut self,
        name: &'u str,
        at: &Spanned<T>,
        address: IpAddr,
        owners: &mut BTreeMap<IpAddr, &'u str>,
    ) {
        if address.is_unspecified() || address.is_multicast() {
            self.problem(
                at,
                format!("unit {name}: {address} is no address that other units can reach"),
            );
        } else if let Some(owner) = owners.insert(address, name) {
            self.problem(at, format!("unit {name}: {address} is the address of unit {owner} too; each unit needs its own"));
        }
    }

    fn proxy_group<'f>(
        &mut self,
        group: &'f ProxyGroupEntry,
        units: &HashMap<&str, &UnitEntry>,
        member_of: &mut HashMap<&'f str, &'f str>,
    ) {
        let name = group.name.get_ref();
        if group.slaves.get_ref().is_empty() {
            self.problem(
                &group.slaves,
                format!("proxy group {name} has no slaves: name at least one"),
            );
        }
        let members = std::iter::once((&group.proxy, Role::Proxy))
            .chain(group.slaves.get_ref().iter().map(|slave| (slave, Role::Slave)));
        for (member, role) in members {
            let unit = member.get_ref().as_str();
            match units.get(unit) {
                None => self.problem(member, format!("proxy group {name}: no unit {unit:?} is defined")),
                Some(entry) if entry.role != role => self.problem(
                    member,
                    format!("proxy group {name}: unit {unit} is a {}, but stands where a {role} belongs", entry.role),
                ),
                Some(_) => {}
            }
            if let Some(other) = member_of.insert(unit, name) {
                let message = if other == name {
                    format!("proxy group {name} names unit {unit} twice")
                } else {
                    format!("unit {unit} is in proxy group {other} and in {name}; it can be in one")
                };
                self.problem(member, message);
            }
        }
        self.versions(group, units);
        self.listen(name, group.listen.as_ref());
    }

    /// Records go on in their exporter's IP version, because the packet bears its address.
    fn versions(&mut self, group: &ProxyGroupEntry, units: &HashMap<&str, &UnitEntry>) {
        let Some(proxy) = units.get(group.proxy.get_ref().as_str()) else { return };
        for member in group.slaves.get_ref() {
            let Some(slave) = units.get(member.get_ref().as_str()) else { continue };
            for (version, takes, has) in
                [("IPv4", proxy.has_v4(), slave.has_v4()), ("IPv6", proxy.has_v6(), slave.has_v6())]
            {
                if takes && !has {
                    self.problem(member, format!(
                        "slave {} has no {version} address, but proxy {} takes {version} exporters: their records could not go there",
                        member.get_ref(),
                        group.proxy.get_ref()
                    ));
                }
            }
        }
    }

    fn somebody_to_ask(&mut self, units: &[UnitEntry]) {
        let message = if units.is_empty() {
            "no unit is defined: describe each in a [[unit]] of its own"
        } else if units.iter().all(|unit| unit.role != Role::Master) {
            "no unit is a master, so there is nobody to ask: give one the role \"master\""
        } else {
            return;
        };
        // What is missing stands in no line.
        self.problems.push(Problem { line: 1, message: message.into() });
    }

    fn listen(&mut self, group: &str, listen: Option<&Spanned<Vec<Spanned<u16>>>>) {
        let Some(listen) = listen else { return };
        if listen.get_ref().is_empty() {
            self.problem(listen, format!("proxy group {group} listens on no port: leave `listen` out for {DEFAULT_LISTEN}"));
        }
        let mut seen = BTreeSet::new();
        for port in listen.get_ref() {
            let number = *port.get_ref();
            if number == 0 || number > u16::MAX - PORT_OFFSET {
                self.problem(port, format!(
                    "proxy group {group}: listening port {number} is not from 1 to {}, so that slaves can receive at port + {PORT_OFFSET}",
                    u16::MAX - PORT_OFFSET
                ));
            }
            if !seen.insert(number) {
                self.problem(port, format!("proxy group {group} names port {number} twice"));
            }
        }
    }

    fn units_without_a_place(&mut self, units: &[UnitEntry], member_of: &HashMap<&str, &str>) {
        for unit in units {
            let name = unit.name.get_ref();
            if member_of.contains_key(name.as_str()) {
                continue;
            }
            if unit.role == Role::Proxy {
                self.problem(
                    &unit.name,
                    format!("proxy {name} is in no proxy group, so it has no slaves"),
                );
            } else if unit.external {
                self.problem(
                    &unit.name,
                    format!("external unit {name} is in no proxy group, so it gets no flows"),
                );
            }
        }
    }

    fn source_groups(&mut self, file: &File) {
        let known: BTreeSet<&str> =
            file.proxy_group.iter().map(|group| group.name.get_ref().as_str()).collect();
        let mut member_of: HashMap<&str, &str> = HashMap::new();
        for group in &file.source_group {
            let name = group.name.get_ref();
            if group.proxy_groups.get_ref().is_empty() {
                self.problem(
                    &group.proxy_groups,
                    format!("source group {name} has no proxy groups: name at least one"),
                );
            }
            for member in group.proxy_groups.get_ref() {
                let member_name = member.get_ref().as_str();
                if !known.contains(member_name) {
                    self.problem(
                        member,
                        format!("source group {name}: no proxy group {member_name:?} is defined"),
                    );
                }
                if let Some(other) = member_of.insert(member_name, name) {
                    self.problem(member, format!("proxy group {member_name} is in source group {other} and in {name}: its flows would count twice"));
                }
            }
            let Some(primary) = &group.primary else { continue };
            if !group
                .proxy_groups
                .get_ref()
                .iter()
                .any(|member| member.get_ref() == primary.get_ref())
            {
                self.problem(
                    primary,
                    format!(
                        "source group {name}: the primary {:?} is not among its proxy_groups",
                        primary.get_ref()
                    ),
                );
            }
        }
        for group in &file.proxy_group {
            let name = group.name.get_ref();
            if !member_of.contains_key(name.as_str()) {
                self.problem(
                    &group.name,
                    format!("proxy group {name} is in no source group, so no query would ask it"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[[unit]]
name = "m1"
role = "master"
address = "10.0.0.1"
[[unit]]
name = "p1"
role = "proxy"
address = "10.0.0.2"
[[unit]]
name = "s1"
role = "slave"
address = "10.0.0.3"
address6 = "fd00::3"
[[unit]]
name = "s2"
role = "slave"
address = "10.0.0.4"
external = true
[[unit]]
name = "alone"
role = "slave"
address = "10.0.0.5"
[[proxy_group]]
name = "g1"
proxy = "p1"
slaves = ["s1", "s2"]
[[source_group]]
name = "site"
proxy_groups = ["g1"]
primary = "g1"
"#;

    fn parse(text: &str) -> Result<Topology, Error> {
        Topology::parse(text, Path::new("weir.toml"))
    }

    /// The one problem of the good file after replacing `from` with `to`.
    fn problem(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from:?} is not in the file");
        match parse(&GOOD.replacen(from, to, 1)) {
            Err(Error::Topology { problems, .. }) => {
                problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
            }
            other => panic!("expected problems, got {other:?}"),
        }
    }

    #[test]
    fn a_good_file_is_read_with_its_defaults() {
        let topology = parse(GOOD).unwrap();
        let group = topology.proxy_group("g1").unwrap();
        assert_eq!(group.listen, [2055]);
        assert_eq!(group.distribution, Distribution::RoundRobin);
        assert_eq!(topology.unit("s1").unwrap().mtu, 1500);
        assert_eq!(topology.unit("s1").unwrap().addresses().count(), 2);
        assert_eq!(topology.slaves_of(group).count(), 2);
        let alone: Vec<_> = topology.standalone_slaves().map(|unit| &unit.name).collect();
        assert_eq!(alone, ["alone"]);
    }

    #[test]
    fn an_unknown_field_is_an_error_with_its_line() {
        let Err(Error::TopologySyntax { source, .. }) =
            parse(&GOOD.replacen("external", "extrenal", 1))
        else {
            panic!("accepted");
        };
        let text = source.to_string();
        assert!(text.contains("extrenal") && text.contains("line"), "{text}");
    }

    #[test]
    fn a_slave_that_is_not_defined_is_named_with_its_line() {
        let text = problem("\"s1\", \"s2\"", "\"s1\", \"s2\", \"s9\"");
        assert_eq!(text, "line 27: proxy group g1: no unit \"s9\" is defined");
    }

    #[test]
    fn two_units_cannot_share_an_address() {
        let text = problem("10.0.0.5", "10.0.0.3");
        assert!(text.contains("line 23: unit alone: 10.0.0.3 is the address of unit s1"), "{text}");
    }

    #[test]
    fn a_slave_is_in_one_group_only() {
        let more = "[[proxy_group]]\nname = \"g2\"\nproxy = \"p2\"\nslaves = [\"s1\"]\n[[unit]]\nname = \"p2\"\nrole = \"proxy\"\naddress = \"10.0.0.9\"\n[[source_group]]\nname = \"site\"\nproxy_groups = [\"g1\", \"g2\"]";
        let text = problem("[[source_group]]\nname = \"site\"\nproxy_groups = [\"g1\"]", more);
        assert_eq!(text, "line 31: unit s1 is in proxy group g1 and in g2; it can be in one");
    }

    #[test]
    fn a_group_needs_slaves() {
        let text = problem("[\"s1\", \"s2\"]", "[]");
        assert!(text.contains("proxy group g1 has no slaves"), "{text}");
    }

    #[test]
    fn the_primary_is_one_of_the_groups() {
        let text = problem("primary = \"g1\"", "primary = \"g7\"");
        assert_eq!(
            text,
            "line 31: source group site: the primary \"g7\" is not among its proxy_groups"
        );
    }

    #[test]
    fn a_slave_has_an_address_of_each_version_that_its_proxy_takes() {
        let text = problem("10.0.0.2\"", "10.0.0.2\"\naddress6 = \"fd00::2\"");
        assert_eq!(
            text,
            "line 28: slave s2 has no IPv6 address, but proxy p1 takes IPv6 exporters: \
             their records could not go there"
        );
        let text = problem("10.0.0.4", "fd00::4");
        assert!(text.contains("slave s2 has no IPv4 address, but proxy p1"), "{text}");
    }

    #[test]
    fn there_is_a_master_to_ask() {
        let alone = "[[unit]]\nname = \"s1\"\nrole = \"slave\"\naddress = \"10.0.0.3\"\n";
        for (file, told) in [("", "no unit is defined"), (alone, "no unit is a master")] {
            let refused = parse(file).unwrap_err().to_string();
            assert!(refused.contains(&format!("line 1: {told}")), "{refused}");
        }
    }

    #[test]
    fn a_listening_port_leaves_room_for_the_offset() {
        let text = problem("slaves = [", "listen = [35536]\nslaves = [");
        assert!(text.starts_with("line 27: proxy group g1: listening port 35536"), "{text}");
    }

    #[test]
    fn a_proxy_group_outside_every_source_group_would_never_be_asked() {
        let text = problem("proxy_groups = [\"g1\"]\nprimary = \"g1\"", "proxy_groups = []");
        assert!(text.contains("proxy group g1 is in no source group"), "{text}");
    }

    #[test]
    fn a_role_must_fit_its_place() {
        let text = problem("proxy = \"p1\"", "proxy = \"m1\"");
        assert!(text.contains("unit m1 is a master, but stands where a proxy belongs"), "{text}");
        assert!(text.contains("proxy p1 is in no proxy group"), "{text}");
    }

    #[test]
    fn a_unit_is_asked_for_by_name_and_role() {
        let topology = parse(GOOD).unwrap();
        let unknown = topology.own("s7", Role::Slave).unwrap_err().to_string();
        assert!(unknown.contains("m1, p1, s1, s2, alone"), "{unknown}");
        let wrong = topology.own("s1", Role::Proxy).unwrap_err().to_string();
        assert!(wrong.contains("start it with `weir slave`"), "{wrong}");
    }
}
