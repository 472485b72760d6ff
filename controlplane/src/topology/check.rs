//! What must hold in a topology file; everything that does not is told at once, each with its line.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use toml::Spanned;

use super::file::{CopyEntry, File, PortEntry, ProxyGroupEntry, SamplingEntry, UnitEntry};
use super::gate::Prefix;
use super::{
    ASSIGNED_MAX, DEFAULT_LISTEN, Distribution, KEEP_ONE_IN_MAX, PORT_OFFSET, Problem, Role,
    SAMPLINGS_MAX, SLAVES_MAX, WEIGHT_MAX,
};

/// The smallest packet that every IPv4 host takes (RFC 791, Section 3.1).
const SMALLEST_MTU: u16 = 576;

/// Copies of one listening port: each costs a frame.
const COPIES_MAX: usize = 16;

/// What is wrong with a file, in the order of its lines; `text` is what it was read from.
pub(super) fn problems(file: &File, text: &str) -> Vec<Problem> {
    let mut check = Check { text, problems: Vec::new() };
    check.file(file);
    check.problems.sort_by_key(|problem| problem.line);
    check.problems
}

/// Collects what is wrong with a file, all of it, so that one edit can repair it.
pub(super) struct Check<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Check<'_> {
    pub(super) fn problem<T>(&mut self, at: &Spanned<T>, message: String) {
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
        self.samplings(&file.sampling);
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
            self.mtu(&format!("unit {name}"), unit.mtu.as_ref());
            self.slave_words(unit);
        }
    }

    fn mtu(&mut self, whose: &str, mtu: Option<&Spanned<u16>>) {
        if let Some(mtu) = mtu
            && *mtu.get_ref() < SMALLEST_MTU
        {
            let bytes = mtu.get_ref();
            self.problem(mtu, format!("{whose}: an MTU of {bytes} bytes is under {SMALLEST_MTU}"));
        }
    }

    /// What may be said of slaves alone.
    fn slave_words(&mut self, unit: &UnitEntry) {
        let (name, role) = (unit.name.get_ref(), unit.role);
        if let Some(weight) = &unit.weight
            && !(1..=WEIGHT_MAX).contains(weight.get_ref())
        {
            let instead = if *weight.get_ref() == 0 {
                "; for a slave that gets no new records say drain = true"
            } else {
                ""
            };
            self.problem(
                weight,
                format!(
                    "unit {name}: weight {} is not from 1 to {WEIGHT_MAX}{instead}",
                    weight.get_ref()
                ),
            );
        }
        if role != Role::Slave {
            if unit.external {
                let only = format!("only a slave can be external, and this is a {role}");
                self.problem(&unit.name, format!("unit {name}: {only}"));
            }
            if let Some(weight) = &unit.weight {
                self.problem(weight, format!("unit {name}: only a slave has a weight"));
            }
            if let Some(drain) = &unit.drain {
                self.problem(drain, format!("unit {name}: only a slave can be drained"));
            }
        }
        self.valve(unit);
        if let Some(probe) = &unit.probe
            && !unit.external
        {
            self.problem(probe, format!("unit {name}: only an external slave is probed; weir's own are known by their control connection"));
        }
    }

    fn valve(&mut self, unit: &UnitEntry) {
        let Some(valve) = &unit.keep_one_in else { return };
        let (name, one_in) = (unit.name.get_ref(), *valve.get_ref());
        if unit.role != Role::Slave || unit.external {
            self.problem(
                valve,
                format!("unit {name}: only weir's own slaves keep one flow record in so many"),
            );
        } else if !(1..=KEEP_ONE_IN_MAX).contains(&one_in) {
            self.problem(
                valve,
                format!("unit {name}: keep_one_in {one_in} is not from 1, which keeps all, to {KEEP_ONE_IN_MAX}"),
            );
        }
    }

    fn samplings(&mut self, samplings: &[SamplingEntry]) {
        if let Some(sampling) = samplings.get(SAMPLINGS_MAX) {
            self.problem(
                &sampling.source,
                format!("there are more than {SAMPLINGS_MAX} sampling rates"),
            );
        }
        let mut seen = BTreeSet::new();
        for sampling in samplings {
            if *sampling.rate.get_ref() == 0 {
                let instead = "one packet in `rate` is looked at, so it is at least 1";
                self.problem(&sampling.rate, format!("sampling: a rate of 0: {instead}"));
            }
            match sampling.source.get_ref().parse::<Prefix>() {
                Err(reason) => self.problem(&sampling.source, format!("sampling: {reason}")),
                Ok(source) if !seen.insert((source, sampling.interface)) => {
                    let at = sampling
                        .interface
                        .map_or_else(String::new, |interface| format!(", interface {interface},"));
                    self.problem(
                        &sampling.source,
                        format!("sampling: the rate of {source}{at} is given twice"),
                    );
                }
                Ok(_) => {}
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
        self.shares(group, units);
        self.listen(name, group.listen.as_ref());
        self.gates(group, units);
        self.stream(group);
        self.assigned(group, units);
    }

    /// How many slaves there are, and that one of them gets records.
    fn shares(&mut self, group: &ProxyGroupEntry, units: &HashMap<&str, &UnitEntry>) {
        let (name, slaves) = (group.name.get_ref(), group.slaves.get_ref());
        if slaves.len() > SLAVES_MAX {
            let many = slaves.len();
            self.problem(
                &group.slaves,
                format!("proxy group {name} has {many} slaves; a proxy deals to {SLAVES_MAX} at most: make a second group"),
            );
        }
        let drained = |slave: &Spanned<String>| {
            let unit = units.get(slave.get_ref().as_str());
            unit.is_some_and(|unit| unit.drain.as_ref().is_some_and(|drain| *drain.get_ref()))
        };
        if !slaves.is_empty() && slaves.iter().all(drained) {
            self.problem(
                &group.slaves,
                format!("every slave of proxy group {name} is drained: its records would have nowhere to go"),
            );
        }
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
            self.port(group, port);
            if !seen.insert(number) {
                self.problem(port, format!("proxy group {group} names port {number} twice"));
            }
        }
    }

    pub(super) fn port(&mut self, group: &str, port: &Spanned<u16>) {
        let (number, most) = (*port.get_ref(), u16::MAX - PORT_OFFSET);
        if !(1..=most).contains(&number) {
            self.problem(port, format!(
                "proxy group {group}: listening port {number} is not from 1 to {most}, so that slaves can receive at port + {PORT_OFFSET}"
            ));
        }
    }

    fn gates(&mut self, group: &ProxyGroupEntry, units: &HashMap<&str, &UnitEntry>) {
        let name = group.name.get_ref();
        let mut seen = BTreeSet::new();
        for gate in &group.port {
            let port = *gate.port.get_ref();
            self.port(name, &gate.port);
            if !seen.insert(port) {
                self.problem(&gate.port, format!("proxy group {name} describes port {port} twice"));
            }
            self.let_in(gate);
            if gate.copies.len() > COPIES_MAX {
                let many = gate.copies.len();
                self.problem(
                    &gate.port,
                    format!("port {port} has {many} copies; {COPIES_MAX} are the most"),
                );
            }
            for copy in &gate.copies {
                self.copy(group, port, copy, units);
            }
        }
    }

    fn let_in(&mut self, gate: &PortEntry) {
        let port = gate.port.get_ref();
        if let Some(allow) = &gate.allow {
            if allow.get_ref().is_empty() {
                self.problem(
                    allow,
                    format!("port {port} lets nobody in: leave `allow` out to let everyone in"),
                );
            }
            for network in allow.get_ref() {
                if let Err(reason) = network.get_ref().parse::<Prefix>() {
                    self.problem(network, format!("port {port}: {reason}"));
                }
            }
        }
        if let Some(formats) = &gate.formats
            && formats.get_ref().is_empty()
        {
            self.problem(
                formats,
                format!("port {port} lets no format in: leave `formats` out to let all in"),
            );
        }
    }

    /// A copy goes in its datagram's IP version, because it may bear the exporter's address.
    fn copy(
        &mut self,
        group: &ProxyGroupEntry,
        port: u16,
        copy: &CopyEntry,
        units: &HashMap<&str, &UnitEntry>,
    ) {
        let to = *copy.to.get_ref();
        self.mtu(&format!("port {port}, copy to {to}"), copy.mtu.as_ref());
        if to.port() == 0 || to.ip().is_unspecified() {
            self.problem(&copy.to, format!("port {port}: {to} is nowhere to send copies to"));
        }
        let Some(proxy) = units.get(group.proxy.get_ref().as_str()) else { return };
        let (version, has) =
            if to.is_ipv4() { ("IPv4", proxy.has_v4()) } else { ("IPv6", proxy.has_v6()) };
        if !has {
            self.problem(&copy.to, format!(
                "port {port}: a copy to {to} goes by {version}, but proxy {} has no {version} address, so no such datagram reaches it",
                proxy.name.get_ref()
            ));
        }
        let own = *proxy.address.get_ref() == to.ip()
            || proxy.address6.as_ref().is_some_and(|v6| IpAddr::V6(*v6.get_ref()) == to.ip());
        if own && group.ports().contains(&to.port()) {
            self.problem(&copy.to, format!("port {port}: a copy to {to} comes back to this proxy"));
        }
    }

    fn assigned(&mut self, group: &ProxyGroupEntry, units: &HashMap<&str, &UnitEntry>) {
        let name = group.name.get_ref();
        let Some((first, _)) = group.assign.first_key_value() else { return };
        if group.distribution != Distribution::FlowSource {
            self.problem(first, format!("proxy group {name}: sources are assigned to slaves under distribution = \"flow-source\" only"));
        }
        if group.assign.len() > ASSIGNED_MAX {
            self.problem(
                first,
                format!("proxy group {name} assigns more than {ASSIGNED_MAX} sources"),
            );
        }
        let mut seen = BTreeSet::new();
        for (source, slave) in &group.assign {
            let Ok(address) = source.get_ref().parse::<IpAddr>() else {
                let text = source.get_ref();
                self.problem(
                    source,
                    format!("proxy group {name}: {text:?} is no address of an exporter"),
                );
                continue;
            };
            if !seen.insert(address.to_canonical()) {
                self.problem(source, format!("proxy group {name} assigns {address} twice"));
            }
            let slave_name = slave.get_ref().as_str();
            if !group.slaves.get_ref().iter().any(|member| member.get_ref() == slave_name) {
                let slaves: Vec<_> =
                    group.slaves.get_ref().iter().map(|slave| slave.get_ref().as_str()).collect();
                self.problem(slave, format!(
                    "proxy group {name}: {address} is assigned to {slave_name:?}, which is none of its slaves: {}",
                    slaves.join(", ")
                ));
            } else if let Some(unit) = units.get(slave_name) {
                let (version, has) = if address.to_canonical().is_ipv4() {
                    ("IPv4", unit.has_v4())
                } else {
                    ("IPv6", unit.has_v6())
                };
                if !has {
                    self.problem(slave, format!("proxy group {name}: {address} is assigned to {slave_name}, which has no {version} address"));
                }
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
