//! `weir topology`: looks at a topology file without running anything.

use std::path::PathBuf;

use super::exit::Outcome;
use super::out::out;
use super::unit::usage;
use crate::topology::{Gate, ProxyGroup, Role, Sampling, StreamSettings, Topology, Unit};

/// `weir topology --help`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do with the file.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say whether a topology file can work, and what it means
    #[command(after_help = "Example:\n  weir topology check weir.toml")]
    Check {
        /// The topology file
        file: PathBuf,
    },
}

/// Checks the file and prints what it means.
///
/// # Errors
/// What is wrong with the file, all of it.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let Command::Check { file } = &arguments.command;
    let topology = Topology::load(file).map_err(usage)?;
    out(&describe(&topology))?;
    Ok(Outcome::Done)
}

fn describe(topology: &Topology) -> String {
    let mut lines = Vec::new();
    for source in &topology.source_groups {
        lines.push(format!("source group {}", source.name));
        for (at, name) in source.proxy_groups.iter().enumerate() {
            let Some(group) = topology.proxy_group(name) else { continue };
            let primary = if at == 0 { ", primary" } else { "" };
            lines.push(format!("  proxy group {name} ({}{primary})", group.distribution));
            describe_group(topology, group, &mut lines);
        }
    }
    for slave in topology.standalone_slaves() {
        lines.push(format!("standalone slave {} at {}{}", slave.name, slave.address, valve(slave)));
    }
    for Sampling { source, interface, rate } in &topology.samplings {
        let at = interface.map_or_else(String::new, |index| format!(", interface {index}"));
        lines.push(format!("sampling of {source}{at}: one packet in {rate}"));
    }
    let masters = topology.units.iter().filter(|unit| unit.role == Role::Master);
    lines.extend(masters.map(|master| format!("master {} at {}", master.name, master.address)));
    lines.push(format!("ok: {} units", topology.units.len()));
    lines.join("\n") + "\n"
}

fn describe_group(topology: &Topology, group: &ProxyGroup, lines: &mut Vec<String>) {
    let Some(proxy) = topology.unit(&group.proxy) else { return };
    let ports = listed(&group.listen);
    lines.push(format!("    proxy {} at {}, udp {ports}", proxy.name, proxy.address));
    lines.extend(group.stream.iter().flat_map(describe_stream));
    lines.extend(group.gates.iter().flat_map(describe_gate));
    let at_slaves = group.slave_ports();
    for slave in topology.slaves_of(group) {
        let kind = if slave.external { "external slave" } else { "slave" };
        let share = match (slave.drain, slave.weight) {
            (true, _) => ", drained: no new records".to_owned(),
            (false, 1) => String::new(),
            (false, weight) => format!(", weight {weight}"),
        };
        lines.push(format!(
            "      {kind} {} at {}, udp {}, mtu {} bytes{share}{}",
            slave.name,
            slave.address,
            listed(&at_slaves),
            slave.mtu,
            valve(slave)
        ));
        let own = |(source, owner): (_, &String)| (*owner == slave.name).then_some(source);
        let assigned: Vec<_> = group.assigned.iter().filter_map(own).collect();
        if !assigned.is_empty() {
            lines.push(format!("        assigned: {}", listed(&assigned)));
        }
    }
}

fn valve(slave: &Unit) -> String {
    match slave.keep_one_in {
        1 => String::new(),
        one_in => format!(", keeps one flow record in {one_in}"),
    }
}

fn describe_stream(stream: &StreamSettings) -> Vec<String> {
    let per_source = stream.connections_per_source;
    let mut lines = Vec::new();
    if !stream.tcp.is_empty() {
        lines.push(format!("      IPFIX over tcp {}", listed(&stream.tcp)));
    }
    if let Some(files) = stream.files.as_ref().filter(|_| !stream.tls.is_empty()) {
        let who = match (&files.client_ca, files.client_names.is_empty()) {
            (None, _) => "from everyone".to_owned(),
            (Some(path), true) => format!("with a certificate of {}", path.display()),
            (Some(path), false) => format!(
                "with a certificate of {} for {}",
                path.display(),
                listed(&files.client_names)
            ),
        };
        lines.push(format!("      IPFIX over tls {}, {who}", listed(&stream.tls)));
    }
    lines.push(format!(
        "        {} connections at most, {per_source} of an address",
        stream.connections
    ));
    lines
}

fn describe_gate(gate: &Gate) -> Vec<String> {
    let everyone = || "everyone".to_owned();
    let who = gate.allow.as_deref().map_or_else(everyone, listed);
    let what = gate.formats.as_deref().map_or_else(|| "every format".to_owned(), listed);
    let mut lines = vec![format!("      port {} lets in {who}: {what}", gate.port)];
    lines.extend(gate.copies.iter().map(|copy| format!("        copies to {copy}")));
    lines
}

fn listed(words: &[impl ToString]) -> String {
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
