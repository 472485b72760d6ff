//! What a new topology file changes for one unit, in sentences for the log and the console.

use std::collections::BTreeSet;

use crate::topology::{ProxyGroup, Topology, Unit};

/// What changes for a proxy whose group is `old` in the one and `new` in the other topology.
pub fn of_proxy(from: &Topology, old: &ProxyGroup, to: &Topology, new: &ProxyGroup) -> Vec<String> {
    let mut said = Vec::new();
    let proxy = |topology: &Topology, group: &ProxyGroup| {
        topology.unit(&group.proxy).map(|unit| (unit.address, unit.address6))
    };
    if proxy(from, old) != proxy(to, new) {
        said.push(format!("the address of {} has changed: it needs a restart", new.proxy));
    }
    if old.distribution != new.distribution {
        said.push(format!(
            "distribution {} -> {}: it needs a restart",
            old.distribution, new.distribution
        ));
    }
    ports(old, new, &mut said);
    slaves(from, old, to, new, &mut said);
    gates(old, new, &mut said);
    assigned(old, new, &mut said);
    said
}

/// What changes for a master or a slave, which only knows of the units around it.
pub fn of_units(from: &Topology, to: &Topology) -> Vec<String> {
    let mut said = Vec::new();
    for unit in &to.units {
        match from.unit(&unit.name) {
            None => said.push(format!("{} {} added", unit.role, unit.name)),
            Some(before) if before.address != unit.address => said.push(format!(
                "{} {} has moved from {} to {}",
                unit.role, unit.name, before.address, unit.address
            )),
            Some(_) => {}
        }
    }
    let gone = from.units.iter().filter(|unit| to.unit(&unit.name).is_none());
    said.extend(gone.map(|unit| format!("{} {} removed", unit.role, unit.name)));
    if from.proxy_groups != to.proxy_groups || from.source_groups != to.source_groups {
        said.push("the groups have changed".to_owned());
    }
    said
}

/// What changes of sampling for a slave that is `before` in the one and `after` in the other
/// topology.
pub fn of_sampling(from: &Topology, before: &Unit, to: &Topology, after: &Unit) -> Vec<String> {
    let mut said = Vec::new();
    if before.keep_one_in != after.keep_one_in {
        said.push(match after.keep_one_in {
            1 => "every flow record is kept again".to_owned(),
            one_in => format!("one flow record in {one_in} is kept"),
        });
    }
    if from.samplings != to.samplings {
        let count = to.samplings.len();
        said.push(format!("the topology's sampling rates have changed: {count} now"));
    }
    said
}

/// Whether two units are the same slave, which may keep its slot, connection and templates.
pub fn is_same_slave(one: &Unit, other: &Unit) -> bool {
    one.name == other.name
        && one.address == other.address
        && one.address6 == other.address6
        && one.external == other.external
}

fn ports(old: &ProxyGroup, new: &ProxyGroup, said: &mut Vec<String>) {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) =
        (old.listen.iter().collect(), new.listen.iter().collect());
    let added = after.difference(&before).map(|port| format!("port {port} added"));
    let removed = before.difference(&after).map(|port| format!("port {port} removed"));
    said.extend(added.chain(removed).map(|change| format!("{change}: it needs a restart")));
    streams(old, new, said);
}

fn streams(old: &ProxyGroup, new: &ProxyGroup, said: &mut Vec<String>) {
    let ports = |group: &ProxyGroup| {
        let stream = group.stream.as_ref();
        stream.map_or_else(Default::default, |stream| (stream.tcp.clone(), stream.tls.clone()))
    };
    if ports(old) != ports(new) {
        said.push("ports for connections have changed: it needs a restart".to_owned());
    } else if old.stream != new.stream {
        said.push("TLS or the bounds of connections have changed".to_owned());
    }
}

fn slaves(
    from: &Topology,
    old: &ProxyGroup,
    to: &Topology,
    new: &ProxyGroup,
    said: &mut Vec<String>,
) {
    let before = |name: &str| from.slaves_of(old).find(|unit| unit.name == name);
    for slave in to.slaves_of(new) {
        match before(&slave.name) {
            None => said.push(format!("slave {} added", slave.name)),
            Some(before) if !is_same_slave(before, slave) => {
                said.push(format!("slave {} is another one now: it begins anew", slave.name));
            }
            Some(before) => share(before, slave, said),
        }
    }
    let gone = from.slaves_of(old).filter(|slave| !new.slaves.contains(&slave.name));
    said.extend(gone.map(|slave| format!("slave {} removed", slave.name)));
}

fn share(before: &Unit, slave: &Unit, said: &mut Vec<String>) {
    let name = &slave.name;
    match (before.drain, slave.drain) {
        (false, true) => said.push(format!("slave {name} drained: it gets no new records")),
        (true, false) => said.push(format!("slave {name} gets records again")),
        _ => {}
    }
    if before.weight != slave.weight {
        said.push(format!("weight of {name} {} -> {}", before.weight, slave.weight));
    }
    if before.mtu != slave.mtu {
        said.push(format!("MTU towards {name} {} -> {} bytes", before.mtu, slave.mtu));
    }
    if before.probe != slave.probe {
        let now = if slave.probe { "probed again" } else { "no longer probed" };
        said.push(format!("slave {name} is {now}"));
    }
}

fn gates(old: &ProxyGroup, new: &ProxyGroup, said: &mut Vec<String>) {
    let of =
        |group: &ProxyGroup, port: u16| group.gates.iter().find(|gate| gate.port == port).cloned();
    for &port in old.listen.iter().filter(|port| new.listen.contains(port)) {
        match (of(old, port), of(new, port)) {
            (None, Some(_)) => said.push(format!("port {port} has a gate")),
            (Some(_), None) => said.push(format!("port {port} has no gate any more")),
            (before, after) if before != after => {
                said.push(format!("the gate of port {port} has changed"));
            }
            _ => {}
        }
    }
}

fn assigned(old: &ProxyGroup, new: &ProxyGroup, said: &mut Vec<String>) {
    /// Sources that are named one by one; of more, their number is told.
    const NAMED: usize = 20;
    let mut all = Vec::new();
    for (source, slave) in &new.assigned {
        if old.assigned.get(source) != Some(slave) {
            all.push(format!("source {source} assigned to {slave}"));
        }
    }
    let gone = old.assigned.keys().filter(|source| !new.assigned.contains_key(source));
    all.extend(gone.map(|source| format!("source {source} no longer assigned")));
    if all.len() > NAMED {
        all = vec![format!("{} sources assigned anew, or no longer", all.len())];
    }
    said.extend(all);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn topology(slaves: &str, words: &str, listed: &str) -> Topology {
        let text = format!(
            "[[unit]]\nname = \"m1\"\nrole = \"master\"\naddress = \"10.0.0.1\"\n\
             [[unit]]\nname = \"p1\"\nrole = \"proxy\"\naddress = \"10.0.0.2\"\n{slaves}\
             [[proxy_group]]\nname = \"g\"\nproxy = \"p1\"\nslaves = [{listed}]\n{words}\n\
             [[source_group]]\nname = \"s\"\nproxy_groups = [\"g\"]\n"
        );
        Topology::parse(&text, Path::new("weir.toml")).unwrap()
    }

    fn slave(n: u8, words: &str) -> String {
        format!("[[unit]]\nname = \"s{n}\"\nrole = \"slave\"\naddress = \"10.0.1.{n}\"\n{words}\n")
    }

    fn said(from: &Topology, to: &Topology) -> Vec<String> {
        let group = |topology: &Topology| topology.proxy_group("g").unwrap().clone();
        of_proxy(from, &group(from), to, &group(to))
    }

    #[test]
    fn slaves_that_come_go_drain_or_weigh_are_named() {
        let old = topology(
            &(slave(1, "") + &slave(2, "") + &slave(3, "") + &slave(4, "")),
            "",
            "\"s1\", \"s2\", \"s3\", \"s4\"",
        );
        let new = topology(
            &(slave(1, "drain = true")
                + &slave(2, "weight = 3")
                + &slave(5, "")
                + &slave(4, "").replace("10.0.1.4", "10.0.1.9")),
            "",
            "\"s1\", \"s2\", \"s5\", \"s4\"",
        );
        assert_eq!(
            said(&old, &new),
            [
                "slave s1 drained: it gets no new records",
                "weight of s2 1 -> 3",
                "slave s5 added",
                "slave s4 is another one now: it begins anew",
                "slave s3 removed",
            ]
        );
        assert_eq!(said(&old, &old), Vec::<String>::new());
    }

    #[test]
    fn what_needs_a_restart_says_so() {
        let old = topology(&slave(1, ""), "listen = [2055, 9995]", "\"s1\"");
        let new = topology(
            &slave(1, ""),
            "distribution = \"flow-source\"\nlisten = [2055, 4739]\nassign = { \"192.0.2.1\" = \"s1\" }",
            "\"s1\"",
        );
        assert_eq!(
            said(&old, &new),
            [
                "distribution round-robin -> flow-source: it needs a restart",
                "port 4739 added: it needs a restart",
                "port 9995 removed: it needs a restart",
                "source 192.0.2.1 assigned to s1",
            ]
        );
    }

    #[test]
    fn a_gate_that_changes_is_named_by_its_port() {
        let gate = |words: &str| {
            topology(
                &slave(1, ""),
                &format!("[[proxy_group.port]]\nport = 2055\n{words}"),
                "\"s1\"",
            )
        };
        let (plain, allow) =
            (topology(&slave(1, ""), "", "\"s1\""), gate("allow = [\"10.0.0.0/8\"]"));
        assert_eq!(said(&plain, &allow), ["port 2055 has a gate"]);
        assert_eq!(
            said(&allow, &gate("formats = [\"ipfix\"]")),
            ["the gate of port 2055 has changed"]
        );
        assert_eq!(said(&allow, &plain), ["port 2055 has no gate any more"]);
    }

    #[test]
    fn what_changes_of_sampling_is_told_to_the_slave() {
        let plain = topology(&slave(1, ""), "", "\"s1\"");
        let valve = topology(&slave(1, "keep_one_in = 10"), "", "\"s1\"");
        let rates = "[[sampling]]\nsource = \"192.0.2.1\"\nrate = 100\n";
        let rates = topology(&(rates.to_owned() + &slave(1, "")), "", "\"s1\"");
        let said = |from: &Topology, to: &Topology| {
            of_sampling(from, from.unit("s1").unwrap(), to, to.unit("s1").unwrap())
        };
        assert_eq!(said(&plain, &valve), ["one flow record in 10 is kept"]);
        assert_eq!(said(&valve, &plain), ["every flow record is kept again"]);
        assert_eq!(said(&plain, &rates), ["the topology's sampling rates have changed: 1 now"]);
        assert_eq!(said(&plain, &plain), Vec::<String>::new());
    }
}
