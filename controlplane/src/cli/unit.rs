//! `weir master`, `weir proxy` and `weir slave`: from options to a running role.

use std::path::PathBuf;
use std::time::Duration;

use weir_store::StoreConfig;

use super::exit::{Outcome, UsageError};
use crate::backend::{BackendChoice, Io, Queues};
use crate::error::Error;
use crate::role::master::{self, MasterSettings};
use crate::role::proxy::{self, ProxySettings};
use crate::role::slave::{self, SlaveSettings};
use crate::topology::{StreamSettings, TlsFiles, Topology};
use crate::unit::on_rpc_thread;

/// Who the unit is.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// The topology file, the same for every unit
    #[arg(long, value_name = "FILE")]
    topology: PathBuf,
    /// This unit's name in it
    #[arg(long, value_name = "NAME")]
    unit: String,
}

/// `weir master --help`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  weir master --topology weir.toml --unit m1")]
pub struct MasterArguments {
    #[command(flatten)]
    place: Place,
}

/// `weir proxy --help`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  weir proxy --topology weir.toml --unit p1 --device eth0
  weir proxy --topology weir.toml --unit p1 --device eth0 --egress eth1 --cores 2,3 \\
             --state /var/lib/weir-proxy
  weir proxy --topology weir.toml --unit p1 --io socket

SIGHUP (or `weir reload`) reads the topology file again.")]
pub struct ProxyArguments {
    #[command(flatten)]
    place: Place,
    /// The network device that exporters' packets come in at, for AF_XDP
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// How packets are received and sent
    #[arg(long, value_enum, default_value_t)]
    io: Io,
    /// The device's receive queues to serve by AF_XDP, a worker each: `all`, or numbers as 0,1
    #[arg(long, value_name = "QUEUES", default_value = "all", value_parser = queues)]
    queues: Queues,
    /// A further network device that leads to slaves; may be repeated
    #[arg(long, value_name = "DEVICE")]
    egress: Vec<String>,
    /// Run the workers on these processor cores, in the order of their queues [default: any]
    #[arg(long, visible_alias = "core", value_name = "CORES", value_delimiter = ',', value_parser = core)]
    cores: Vec<usize>,
    /// Poll the device's queues for so many microseconds before sleeping
    #[arg(long, value_name = "USEC", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    busy_poll: Option<u32>,
    /// Let the kernel send what it forwards (flow source) straight back out of a virtual device too,
    /// as it does on real ones; the other end of a veth must then run an XDP program
    #[arg(long)]
    bounce: bool,
    /// Keep templates in this folder, so that after a restart the first data record is understood
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// `weir slave --help`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  weir slave --topology weir.toml --unit s1 --dir /var/lib/weir
  weir slave --topology weir.toml --unit s1 --dir /var/lib/weir --listen 2055
  weir slave --topology weir.toml --unit s1 --dir /var/lib/weir --tcp 4739 \\
             --tls 4740 --certificate s1.pem --key s1.key --client-ca exporters.pem")]
pub struct SlaveArguments {
    #[command(flatten)]
    place: Place,
    /// The folder of the flow store; made when it is not there
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The length of a time slice, and so of a segment file: 500ms, 60s, 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    slice: Duration,
    /// Compress segments with zstd: about a fifth smaller, and several times slower to scan
    #[arg(long)]
    compress: bool,
    /// Append rows that are not sealed yet to disk so often, so that a process that is killed loses
    /// no more
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    spill: Duration,
    /// Make them durable so often, so that a power cut loses no more
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = duration)]
    sync: Duration,
    /// Receive from exporters directly at this UDP port too; may be repeated [default of a slave
    /// behind no proxy: 2055]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    listen: Vec<u16>,
    /// Let exporters connect at this port, for IPFIX over TCP; may be repeated [usual: 4739]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    tcp: Vec<u16>,
    /// Let exporters connect at this port, for IPFIX over TLS; may be repeated [usual: 4740]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), requires_all = ["certificate", "key"])]
    tls: Vec<u16>,
    /// The certificate for TLS and those behind it up to its authority, in PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls", "key"])]
    certificate: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls", "certificate"])]
    key: Option<PathBuf>,
    /// Exporters must show a certificate of one of these authorities, in PEM
    #[arg(long, value_name = "FILE", requires = "tls")]
    client_ca: Option<PathBuf>,
    /// Exporters' certificates must bear one of these names; may be repeated
    #[arg(long, value_name = "NAME", requires = "client_ca")]
    client_name: Vec<String>,
    /// Run the packet path on this processor core
    #[arg(long, value_name = "CORE", value_parser = core)]
    core: Option<usize>,
}

impl SlaveArguments {
    fn stream(&self) -> StreamSettings {
        let ascending = |ports: &[u16]| {
            let mut ports = ports.to_vec();
            ports.sort_unstable();
            ports.dedup();
            ports
        };
        let files = self.certificate.clone().zip(self.key.clone());
        StreamSettings {
            tcp: ascending(&self.tcp),
            tls: ascending(&self.tls),
            files: files.map(|(certificate, key)| TlsFiles {
                certificate,
                key,
                client_ca: self.client_ca.clone(),
                client_names: self.client_name.clone(),
            }),
            ..StreamSettings::default()
        }
    }
}

/// Reads the topology; a file that makes no sense is a mistake of usage.
fn topology(place: &Place) -> anyhow::Result<Topology> {
    Topology::load(&place.topology).map_err(usage)
}

/// Mistakes in what the operator wrote end in [`Outcome::Usage`].
pub(super) fn usage(error: Error) -> anyhow::Error {
    match error {
        Error::Topology { .. }
        | Error::TopologySyntax { .. }
        | Error::UnknownUnit { .. }
        | Error::WrongRole { .. }
        | Error::Tls { .. }
        | Error::Configuration(_) => UsageError(error.to_string()).into(),
        other => other.into(),
    }
}

/// Runs a master until it is told to stop.
///
/// # Errors
/// Why it could not run.
pub fn run_master(arguments: MasterArguments) -> anyhow::Result<Outcome> {
    let settings = MasterSettings {
        topology: topology(&arguments.place)?,
        file: arguments.place.topology,
        name: arguments.place.unit,
    };
    on_rpc_thread(master::run(settings)).map_err(usage)?;
    Ok(Outcome::Done)
}

/// Runs a proxy until it is told to stop.
///
/// # Errors
/// Why it could not run.
pub fn run_proxy(arguments: ProxyArguments) -> anyhow::Result<Outcome> {
    let settings = ProxySettings {
        topology: topology(&arguments.place)?,
        file: arguments.place.topology,
        name: arguments.place.unit,
        backend: BackendChoice {
            io: arguments.io,
            device: arguments.device,
            queues: arguments.queues,
            egress: arguments.egress,
            busy_poll_us: arguments.busy_poll,
            bounce: arguments.bounce,
        },
        cores: arguments.cores,
        state: arguments.state,
    };
    on_rpc_thread(proxy::run(settings)).map_err(usage)?;
    Ok(Outcome::Done)
}

/// Runs a slave until it is told to stop.
///
/// # Errors
/// Why it could not run.
pub fn run_slave(arguments: SlaveArguments) -> anyhow::Result<Outcome> {
    let stream = arguments.stream();
    let mut store = StoreConfig::new(arguments.dir);
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    store.slice_ms = ms(arguments.slice);
    store.spill_ms = ms(arguments.spill);
    store.sync_ms = ms(arguments.sync);
    store.compress = arguments.compress;
    let settings = SlaveSettings {
        topology: topology(&arguments.place)?,
        file: arguments.place.topology,
        name: arguments.place.unit,
        listen: arguments.listen,
        stream,
        store,
        core: arguments.core,
    };
    on_rpc_thread(slave::run(settings)).map_err(usage)?;
    Ok(Outcome::Done)
}

/// Reads `all`, or numbers of queues.
fn queues(text: &str) -> Result<Queues, String> {
    if text == "all" {
        return Ok(Queues::All);
    }
    let number = |word: &str| word.trim().parse::<u32>();
    let mut queues = text
        .split(',')
        .map(number)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| "write `all`, or the numbers of queues as 0,1".to_owned())?;
    queues.sort_unstable();
    queues.dedup();
    Ok(Queues::List(queues))
}

/// Reads the number of a processor core that this machine has.
fn core(text: &str) -> Result<usize, String> {
    let core = text.parse().map_err(|_| "a core is a number, from 0".to_owned())?;
    match last_core() {
        Some(last) if core > last => Err(format!("this machine's cores are 0 to {last}")),
        _ => Ok(core),
    }
}

/// The highest core that is online. The system's list, as `0-3` or `0,2-3`, holds for the whole
/// machine; what this process may use now can be fewer, and is no bound on where it can be put.
fn last_core() -> Option<usize> {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    online.trim().rsplit(['-', ',']).next()?.parse().ok()
}

/// Reads `500ms`, `60s`, `5m`, `1h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 =
        number.parse().map_err(|_| "write it as 500ms, 60s, 5m, 1h or 7d".to_owned())?;
    let ms = match unit {
        "ms" => number,
        "s" => number.saturating_mul(1_000),
        "m" => number.saturating_mul(60_000),
        "h" => number.saturating_mul(3_600_000),
        "d" => number.saturating_mul(86_400_000),
        "" => return Err(format!("a unit is missing: did you mean {number}s?")),
        other => return Err(format!("no unit of time {other:?}: use ms, s, m, h or d")),
    };
    if ms == 0 {
        return Err("must be longer than nothing".to_owned());
    }
    Ok(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_its_unit() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("60").unwrap_err().contains("60s"));
        assert!(duration("0s").is_err() && duration("5y").is_err() && duration("").is_err());
    }

    #[test]
    fn queues_are_all_or_numbers() {
        assert_eq!(queues("all"), Ok(Queues::All));
        assert_eq!(queues("3,0, 3"), Ok(Queues::List(vec![0, 3])));
        assert!(queues("first").unwrap_err().contains("0,1"));
        assert!(queues("").is_err());
    }

    #[test]
    fn a_core_is_one_of_this_machine() {
        let last = last_core().unwrap();
        assert_eq!(core(&last.to_string()), Ok(last));
        assert!(core(&(last + 1).to_string()).unwrap_err().contains(&format!("0 to {last}")));
        assert!(core("first").is_err());
    }
}
