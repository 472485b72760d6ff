//! `weir replay`: sends exporters' packets again, from captures or generated.

use std::io::IsTerminal;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;

use super::exit::{Outcome, UsageError};
use super::out::{line, out};
use crate::generate::{Dialect, Generator, Plan};
use crate::replay::{Given, Load, Replay, Report, Sources};

const EXAMPLES: &str = "\
Examples:
  weir replay routers.pcap --to 10.0.0.2:2055 --keep-source
  weir replay routers.pcap --to 10.0.0.2:2055 --source 10.1.0.1 --source 10.1.0.2 --rate 2000
  weir replay --generate v9 --flows 100000 --to 127.0.0.1:2055 --rate 500

Files: pcap, pcapng, IPFIX (RFC 5655), or one bare payload; told by content.
Flows, packets and bytes are counted by weir's own collector over what was sent: a collector that
loses nothing must come to the same sums.";

/// `weir replay --help`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Captures to send, in this order
    #[arg(value_name = "FILE", required_unless_present = "generate")]
    files: Vec<PathBuf>,

    /// Send generated flows instead of a capture
    #[arg(long, value_name = "PROTOCOL", requires = "flows", conflicts_with = "files")]
    generate: Option<Dialect>,

    /// How many flows to generate, for each --source
    #[arg(long, value_name = "N", requires = "generate")]
    flows: Option<u64>,

    /// Where the generator's random numbers start
    #[arg(long, value_name = "N", default_value_t = 1, requires = "generate")]
    seed: u64,

    /// Where to send; give a second one for exporters of the other IP version
    #[arg(long, value_name = "HOST:PORT", required = true)]
    to: Vec<String>,

    /// Datagrams a second, in small bursts; 0 = as fast as possible
    #[arg(long, value_name = "PPS", default_value_t = 1_000.0)]
    rate: f64,

    /// Send as if from ADDRESS; with several, exporters take them in turn. Without a port an
    /// exporter keeps its own. An address that is not this host's needs root
    #[arg(long, value_name = "ADDRESS[:PORT]", conflicts_with = "keep_source")]
    source: Vec<Given>,

    /// Send from the addresses in the capture (needs root)
    #[arg(long)]
    keep_source: bool,

    /// Send the whole N times over
    #[arg(long = "loop", value_name = "N", default_value_t = 1, conflicts_with = "generate")]
    times: u64,

    /// Largest IP packet on the way, bytes; larger ones leave in fragments
    #[arg(long, value_name = "BYTES", default_value_t = 1_500, value_parser = clap::value_parser!(u16).range(576..))]
    mtu: u16,

    /// Report in JSON
    #[arg(long)]
    json: bool,
}

/// Sends, then reports what was sent.
///
/// # Errors
/// When a capture cannot be read, a target not be resolved, or an address not be sent from.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let replay = Replay {
        load: load(arguments),
        sources: sources(arguments),
        to: targets(&arguments.to)?,
        rate: (arguments.rate > 0.0).then_some(arguments.rate),
        mtu: arguments.mtu,
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("listening for signals")?;
    }
    let began = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let report = replay.run(|datagrams| {
        let seconds = began.elapsed().as_secs_f64();
        if terminal && seconds >= 2.0 {
            eprint!("\r{datagrams} datagrams sent, {:.0} a second ", datagrams as f64 / seconds);
        }
        !stop.load(Ordering::Relaxed)
    })?;
    if terminal && began.elapsed().as_secs() >= 2 {
        eprintln!();
    }
    if arguments.json {
        line(&serde_json::to_string(&report)?)?;
    } else {
        out(&table(&report))?;
    }
    let complete = !stop.load(Ordering::Relaxed) && report.refused == 0;
    Ok(if complete { Outcome::Done } else { Outcome::Failed })
}

fn load(arguments: &Arguments) -> Load {
    let Some(dialect) = arguments.generate else {
        return Load::Captures { files: arguments.files.clone(), times: arguments.times };
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let start_secs = u32::try_from(now).unwrap_or(u32::MAX);
    let flows = arguments.flows.unwrap_or_default();
    let exporters = arguments.source.len().max(1) as u64;
    let generators = (0..exporters).map(|n| {
        let seed = arguments.seed.wrapping_add(n);
        Generator::new(Plan { dialect, flows, start_secs, domain: 1, seed })
    });
    Load::Generated(generators.collect())
}

fn sources(arguments: &Arguments) -> Sources {
    match arguments.source.as_slice() {
        _ if arguments.keep_source => Sources::Kept,
        [] => Sources::Own,
        given => Sources::mapped(given.to_vec()),
    }
}

/// The targets' addresses.
fn targets(names: &[String]) -> anyhow::Result<Vec<SocketAddr>> {
    let resolve = |name: &String| {
        let found = name.to_socket_addrs().map_err(|error| {
            UsageError(format!("--to {name}: {error}; it is HOST:PORT, such as 10.0.0.2:2055"))
        })?;
        Ok(found.collect::<Vec<_>>())
    };
    let all: anyhow::Result<Vec<_>> = names.iter().map(resolve).collect();
    Ok(all?.concat())
}

fn table(report: &Report) -> String {
    let totals = report.totals;
    let mut lines = Vec::new();
    lines.push(format!(
        "{:<30} {:>10} {:>10} {:>14} {:>18}",
        "exporter", "datagrams", "flows", "packets", "bytes"
    ));
    for (exporter, sum) in &report.exporters {
        lines.push(format!(
            "{exporter:<30} {:>10} {:>10} {:>14} {:>18}",
            sum.datagrams, sum.flows, sum.packets, sum.bytes
        ));
    }
    lines.push(format!(
        "{:<30} {:>10} {:>10} {:>14} {:>18}",
        "sent", totals.datagrams, totals.flows, totals.packets, totals.bytes
    ));
    let rate = totals.datagrams as f64 / report.seconds.max(1e-9);
    lines.push(format!(
        "in {:.1} s, {rate:.0} datagrams a second; flows as weir's own collector counts them",
        report.seconds
    ));
    if report.options > 0 {
        lines.push(format!("{} options data records besides", report.options));
    }
    for (reason, count) in &report.discarded {
        lines.push(format!("not counted: {count} × {reason}"));
    }
    let skipped = report.skipped;
    let frames = [
        (skipped.not_ip, "no IP"),
        (skipped.not_udp, "IP but no UDP"),
        (skipped.cut_short, "cut short in the capture"),
        (skipped.malformed, "malformed IP or UDP headers"),
        (skipped.fragments, "fragments without the rest of their packet"),
    ];
    for (count, what) in frames.iter().filter(|(count, _)| *count > 0) {
        lines.push(format!("not sent: {count} frames, {what}"));
    }
    if report.refused > 0 {
        lines.push(format!("refused by the system: {} datagrams", report.refused));
    }
    lines.push(String::new());
    lines.join("\n")
}
