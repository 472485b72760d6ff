//! `weir reload`: has units read their topology file again.

use std::net::SocketAddr;
use std::path::PathBuf;

use weir_rpc::CONTROL_PORT;

use super::exit::{Outcome, UsageError};
use super::out::line;
use super::unit::usage;
use crate::service::control::{ControlClient, Identity};
use crate::topology::{Topology, Unit};
use crate::unit::on_rpc_thread;

/// `weir reload --help`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each unit reads the file that it was started with, on its own host: bring the new one there first.
A unit refuses a file that cannot work, and goes on with the old one. SIGHUP does the same.

Examples:
  weir reload --topology weir.toml
  weir reload --topology weir.toml p1

Exit codes: 0 done; 1 no unit took the file; 2 the file here cannot work; 3 not all units took it.")]
pub struct Arguments {
    /// The topology file, for the units' addresses
    #[arg(long, value_name = "FILE")]
    topology: PathBuf,
    /// Only these units [default: all]
    #[arg(value_name = "UNIT")]
    units: Vec<String>,
}

/// Asks each unit, and prints what it says.
///
/// # Errors
/// When the file cannot work, or names no such unit.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let topology = Topology::load(&arguments.topology).map_err(usage)?;
    let units = chosen(&topology, &arguments.units)?;
    on_rpc_thread(async {
        let mut taken = 0;
        for unit in &units {
            match ask(unit).await {
                Ok(changes) => {
                    taken += 1;
                    for said in told(&unit.name, &changes) {
                        if let Err(error) = line(&said) {
                            return Ok(Err(error));
                        }
                    }
                }
                Err(error) => eprintln!("{}: {error}", unit.name),
            }
        }
        Ok(Ok(match taken {
            0 => Outcome::Failed,
            all if all == units.len() => Outcome::Done,
            _ => Outcome::Partial,
        }))
    })?
}

/// The units of these names; all of weir's own where none is named.
fn chosen<'t>(topology: &'t Topology, names: &[String]) -> anyhow::Result<Vec<&'t Unit>> {
    if names.is_empty() {
        return Ok(topology.units.iter().filter(|unit| !unit.external).collect());
    }
    let find = |name: &String| {
        let unit = topology.unit(name).filter(|unit| !unit.external);
        unit.ok_or_else(|| {
            let known = topology.units.iter().filter(|unit| !unit.external);
            let known: Vec<_> = known.map(|unit| unit.name.as_str()).collect();
            UsageError(format!("no unit {name:?} to tell; there are: {}", known.join(", "))).into()
        })
    };
    names.iter().map(find).collect()
}

async fn ask(unit: &Unit) -> Result<Vec<String>, crate::error::Error> {
    let address = SocketAddr::new(unit.address, CONTROL_PORT);
    let console = Identity::of_this_process("", None);
    ControlClient::attach(address, &console).await?.reload().await
}

fn told(unit: &str, changes: &[String]) -> Vec<String> {
    if changes.is_empty() {
        return vec![format!("{unit}: nothing has changed")];
    }
    changes.iter().map(|change| format!("{unit}: {change}")).collect()
}
