//! `weir decode`: what a capture's packets say, and what is wrong with them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use super::exit::Outcome;
use super::out::{line, out};
use super::paint::Paint;
use crate::capture::Stream;
use crate::decode::{self, Chosen, Decoder, Network, Style, Summary};

const EXAMPLES: &str = "\
Examples:
  weir decode routers.pcap --summary
  weir decode routers.pcap --exporter 10.0.0.1 --complaints
  weir decode routers.pcap --explain -c 1
  tcpdump -w - udp port 2055 | weir decode - --json | jq .complaints

Read are pcap, pcapng, IPFIX files (RFC 5655) and bare payloads; told by content. IP fragments are
put together; what is no flow export is counted and passed over. A data set that comes before its
template is shown with the packet that brings the template.

Values with a name known by people bear it in parentheses: 6 (TCP). Octets count from the UDP
payload's first. Errors could not be read, warnings break a rule or contradict something, notes are
worth knowing.";

/// `weir decode --help`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The capture; - is the standard input
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,

    /// One JSON object a packet, a line each
    #[arg(long)]
    json: bool,

    /// Show where each field stands, and its octets
    #[arg(long)]
    explain: bool,

    /// Only packets from this address or network; may be given several times
    #[arg(long, value_name = "ADDRESS[/BITS]")]
    exporter: Vec<Network>,

    /// Only packets to this UDP port, whatever they hold; may be given several times
    #[arg(long, value_name = "PORT")]
    port: Vec<u16>,

    /// End after N packets that were shown
    #[arg(short = 'c', long, value_name = "N")]
    count: Option<u64>,

    /// Show only packets with errors or warnings
    #[arg(long)]
    complaints: bool,

    /// Show no packets, only the sum of all
    #[arg(long, conflicts_with = "count")]
    summary: bool,

    /// Show no packets, only each exporter's templates as they are at the end
    #[arg(long, conflicts_with = "summary")]
    templates: bool,
}

impl Arguments {
    fn shows_packets(&self) -> bool {
        !self.summary && !self.templates
    }
}

/// Prints what the capture says.
///
/// # Errors
/// When the capture cannot be read; what stood before the fault was printed.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&stop))
        .context("listening for signals")?;
    let chosen = Chosen { exporters: arguments.exporter.clone(), ports: arguments.port.clone() };
    let mut decoder = Decoder::new(Stream::open(&arguments.file)?, chosen);
    let style = Style { explain: arguments.explain, paint: Paint::for_stdout() };
    let mut summary = Summary::default();
    let mut shown = 0;
    let mut end = Ok(Outcome::Done);
    while !stop.load(Ordering::Relaxed) && arguments.count.is_none_or(|count| shown < count) {
        let packet = match decoder.next() {
            None => break,
            Some(Ok(packet)) => packet,
            Some(Err(error)) => {
                end = Err(error.into());
                break;
            }
        };
        summary.take(&packet);
        if !arguments.shows_packets() || (arguments.complaints && !packet.is_faulty()) {
            continue;
        }
        shown += 1;
        match arguments.json {
            true => line(&decode::packet_json(&packet, arguments.explain)?)?,
            false => out(&decode::packet_text(&packet, style))?,
        }
    }
    if arguments.templates {
        templates(&decoder, arguments.json, style)?;
    } else if !arguments.json {
        out(&summary.text(&decoder, style.paint))?;
    } else if arguments.summary {
        line(&serde_json::to_string(&summary.json(&decoder))?)?;
    }
    end
}

fn templates(decoder: &Decoder, json: bool, style: Style) -> anyhow::Result<()> {
    for (key, known) in decoder.describer().templates() {
        let (exporter, protocol) = (key.source.to_string(), key.protocol.name());
        if json {
            line(&decode::templates_json(&exporter, protocol, key.domain, &known)?)?;
        } else {
            let head = format!("{exporter} → port {}, {protocol}, domain {}", key.port, key.domain);
            out(&decode::templates_text(&head, &known, style))?;
        }
    }
    Ok(())
}
