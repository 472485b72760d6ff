//! `weir topology`: looks at a topology file without running anything.

use std::path::PathBuf;

use super::exit::Outcome;
use super::out::out;
use super::unit::usage;
use crate::topology::{PORT_OFFSET, Topology};

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
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    for source in &topology.source_groups {
        line(format!("source group {}", source.name));
        for (at, name) in source.proxy_groups.iter().enumerate() {
            let Some(group) = topology.proxy_group(name) else { continue };
            let Some(proxy) = topology.unit(&group.proxy) else { continue };
            let primary = if at == 0 { ", primary" } else { "" };
            let ports: Vec<_> = group.listen.iter().map(u16::to_string).collect();
            line(format!("  proxy group {name} ({}{primary})", group.distribution));
            line(format!(
                "    proxy {} at {}, udp {}",
                proxy.name,
                proxy.address,
                ports.join(", ")
            ));
            for slave in topology.slaves_of(group) {
                let kind = if slave.external { "external slave" } else { "slave" };
                let ports: Vec<_> =
                    group.listen.iter().map(|port| (port + PORT_OFFSET).to_string()).collect();
                line(format!(
                    "      {kind} {} at {}, udp {}, mtu {} bytes",
                    slave.name,
                    slave.address,
                    ports.join(", "),
                    slave.mtu
                ));
            }
        }
    }
    for slave in topology.standalone_slaves() {
        line(format!("standalone slave {} at {}", slave.name, slave.address));
    }
    let masters = topology.units.iter().filter(|unit| unit.role == crate::topology::Role::Master);
    for master in masters {
        line(format!("master {} at {}", master.name, master.address));
    }
    line(format!("ok: {} units", topology.units.len()));
    text
}
