//! `weir demo`: a whole topology on this machine, traffic through it, questions, and the proof that
//! nothing was lost.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::exit::Outcome;
use super::out::{line, out};
use super::paint::Paint;
use super::table::grouped;
use crate::lab::units::{EXPORTERS, Group, MASTER, PROXY, Sums, Units, unconserved};
use crate::lab::{self, Error, Network, Process};
use crate::replay::Report;
use crate::status::UnitStatus;
use crate::topology::{Distribution, PORT_OFFSET};

mod picture;

use picture::{Exporter, Picture};

/// Between two pictures.
const FRAME: Duration = Duration::from_millis(200);
/// Seconds that the traffic lasts.
const SECONDS: u64 = 4;
/// The exporters: protocol, flows in a packet, and whether over IPv6 where there is any.
const FLEET: [(&str, u64, bool); 3] = [("v5", 29, false), ("v9", 22, false), ("ipfix", 19, true)];

/// `weir demo --help`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
As root the units stand in network namespaces of their own and the proxy takes packets by XDP; an
ordinary user gets the same on loopback addresses. Everything is removed at the end.

Exit codes: 0 flows, packets and bytes at the master equal what was sent; 1 they do not.")]
pub struct Arguments {
    /// How the proxy deals records to its slaves
    #[arg(long, value_name = "MODEL", default_value = "round-robin")]
    distribution: Model,
    /// Flows from each of the three exporters
    #[arg(long, value_name = "N", default_value_t = 30_000)]
    flows: u64,
    /// Loopback addresses and plain sockets, even as root
    #[arg(long)]
    plain: bool,
}

/// The distribution models by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Model {
    /// One record each, in turn
    RoundRobin,
    /// All that an exporter sends to one slave
    FlowSource,
}

/// Runs it all.
///
/// # Errors
/// When the topology cannot be built, or the user interrupts.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    lab::obey_signals().context("listening for signals")?;
    let paint = Paint::for_stdout();
    let began = Instant::now();
    let units = build(arguments)?;
    let (reports, last) = traffic(&units, arguments, paint)?;
    questions(&units, paint)?;
    let equal = check(&units, &reports, &last, paint)?;
    drop(units);
    line(&format!("everything removed after {:.1} s", began.elapsed().as_secs_f64()))?;
    Ok(if equal { Outcome::Done } else { Outcome::Failed })
}

/// The network, where the user may have one, and the units in it.
fn build(arguments: &Arguments) -> anyhow::Result<Units> {
    let sites = [EXPORTERS, PROXY, "slave1", "slave2", MASTER];
    let (network, io) = if arguments.plain {
        line("on loopback addresses with plain sockets, as --plain asks")?;
        (Network::on_loopback(&sites), "socket")
    } else {
        match Network::in_namespaces(&sites) {
            Ok(network) => (network, "auto"),
            Err(Error::Interrupted) => return Err(Error::Interrupted.into()),
            Err(error) => {
                line(&format!("on loopback addresses with plain sockets: {}", why_plain(&error)))?;
                (Network::on_loopback(&sites), "socket")
            }
        }
    };
    let distribution = match arguments.distribution {
        Model::RoundRobin => Distribution::RoundRobin,
        Model::FlowSource => Distribution::FlowSource,
    };
    let listen = network.free_port(PORT_OFFSET);
    let group = Group::new(distribution, io, listen, &["slave1", "slave2"]);
    Ok(Units::start(network, &std::env::current_exe().context("finding this program")?, group)?)
}

/// Why there are no namespaces, in a few words.
fn why_plain(error: &Error) -> String {
    let text = error.to_string();
    if text.contains("Operation not permitted") || text.contains("Permission denied") {
        return "network namespaces and XDP need root".into();
    }
    text.lines().next().unwrap_or_default().to_owned()
}

/// Sends what the exporters send, drawing the while; returns what was sent and the last status.
fn traffic(
    units: &Units,
    arguments: &Arguments,
    paint: Paint,
) -> anyhow::Result<(Vec<Report>, UnitStatus)> {
    let mut exporters = Vec::new();
    let mut senders = Vec::new();
    for (number, (protocol, per_packet, v6)) in (1..).zip(FLEET) {
        let address = units.network().exporter(number, v6);
        let rate = (arguments.flows / per_packet / SECONDS).max(1);
        let name = format!("exporter{number}");
        let words = [
            ["replay", "--json"],
            ["--generate", protocol],
            ["--flows", &arguments.flows.to_string()],
            ["--seed", &number.to_string()],
            ["--rate", &rate.to_string()],
            ["--source", &address.to_string()],
            ["--to", &units.target(address.is_ipv6())],
        ];
        senders.push(units.spawn_weir(&name, EXPORTERS, &words.concat())?);
        exporters.push(Exporter { protocol, address });
    }
    let mut screen = Screen::new(paint, exporters, arguments.distribution);
    while senders.iter_mut().any(Process::is_alive) {
        screen.show(&units.status()?)?;
        lab::pause(FRAME)?;
    }
    let reports: Result<Vec<Report>, Error> = senders.iter_mut().map(report).collect();
    let reports = reports?;
    let datagrams = reports.iter().map(|report| report.totals.datagrams).sum();
    let last = units.wait_settled(datagrams)?;
    screen.draw(&last)?;
    Ok((reports, last))
}

/// What an exporter's process says that it sent.
fn report(sender: &mut Process) -> Result<Report, Error> {
    let output = sender.output();
    serde_json::from_str(&output).map_err(|_| sender.failed("did not report what it sent".into()))
}

/// The picture on a terminal, or a line now and then elsewhere.
struct Screen {
    picture: Picture,
    redraw: bool,
    drawn: usize,
    line_due: Instant,
}

impl Screen {
    fn new(paint: Paint, exporters: Vec<Exporter>, model: Model) -> Self {
        let model = match model {
            Model::RoundRobin => "round robin: one record each, in turn",
            Model::FlowSource => "flow source: all of an exporter to one slave",
        };
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Screen {
            picture: Picture::new(paint, exporters, model),
            redraw: std::io::stdout().is_terminal() && !dumb,
            drawn: 0,
            line_due: Instant::now() + Duration::from_secs(1),
        }
    }

    fn show(&mut self, status: &UnitStatus) -> anyhow::Result<()> {
        if self.redraw {
            self.draw(status)?;
        } else if Instant::now() >= self.line_due {
            self.line_due += Duration::from_secs(1);
            line(&self.picture.line(status))?;
        }
        Ok(())
    }

    fn draw(&mut self, status: &UnitStatus) -> anyhow::Result<()> {
        let lines = self.picture.lines(status);
        let mut text = String::new();
        if self.drawn > 0 {
            text += &format!("\x1b[{}A", self.drawn);
        }
        let clear = if self.redraw { "\x1b[K" } else { "" };
        for drawn in &lines {
            text += &format!("{drawn}{clear}\n");
        }
        self.drawn = lines.len();
        out(&text)
    }
}

/// Asks the master three questions, as one would type them.
fn questions(units: &Units, paint: Paint) -> anyhow::Result<()> {
    let master = units.master().to_string();
    let all: [&[&str]; 3] = [
        &["", "-s", "router/flows"],
        &["proto tcp and dst port 443", "-s", "dstip/bytes", "-n", "5"],
        &["src net 10.1.0.0/16 and packets > 16000", "-n", "5"],
    ];
    for words in all {
        let words: Vec<_> = words.iter().copied().filter(|word| !word.is_empty()).collect();
        let words = [&["query", "-M", &master], &words[..]].concat();
        let typed: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        line(&format!("\n{}", paint.head(&format!("$ weir {}", typed.join(" ")))))?;
        out(&units.weir(MASTER, &words)?)?;
    }
    Ok(())
}

/// A word as a shell wants it.
fn quoted(word: &str) -> String {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-./:_".contains(c));
    if plain { word.to_owned() } else { format!("'{word}'") }
}

/// Compares what was sent with what is at the master; prints both.
fn check(
    units: &Units,
    reports: &[Report],
    last: &UnitStatus,
    paint: Paint,
) -> anyhow::Result<bool> {
    let mut sent = Sums::default();
    reports.iter().for_each(|report| sent += report.totals.into());
    let arrived = units.sums("")?;
    line(&format!("\n{:<16}{:>12}{:>16}{:>20}", "", "flows", "packets", "bytes"))?;
    for (name, sums) in [("sent", sent), ("at the master", arrived)] {
        let numbers = [sums.flows, sums.packets, sums.bytes].map(grouped);
        line(&format!("{name:<16}{:>12}{:>16}{:>20}", numbers[0], numbers[1], numbers[2]))?;
    }
    let losing = unconserved(last);
    let kept = losing.is_empty();
    let conservation = match kept {
        true => paint.good("every unit accounts for all it took (weir status)"),
        false => paint.bad(&format!("not accounted for at {}", losing.join(", "))),
    };
    let equal = sent == arrived;
    let verdict = match equal {
        true => paint.good("equal: nothing was lost, nothing counted twice"),
        false => paint.bad("NOT equal"),
    };
    line(&format!("{verdict}; {conservation}"))?;
    Ok(equal && kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_shell_would_split_is_quoted() {
        assert_eq!(quoted("dstip/bytes"), "dstip/bytes");
        assert_eq!(quoted("dst port 443"), "'dst port 443'");
    }

    #[test]
    fn a_user_without_rights_is_told_so_in_a_few_words() {
        let error = Error::Tool {
            command: "ip".into(),
            reason: "mkdir /run/netns failed: Permission denied".into(),
        };
        assert_eq!(why_plain(&error), "network namespaces and XDP need root");
    }
}
