//! CPU time per packet of the proxy alone, by what stands in its place.
//!
//! A candidate has one core, for its processes and for receiving; the sink's and the generator's
//! time is not its. Candidates in the kernel are flooded, round after round so that all see the same
//! machine. The others are sent to at 80 % of the highest rate at which every record comes through.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use weir_benches::is_quick;
use weir_benches::traffic::{Load, Protocol};
use weir_controlplane::lab::{self, pause, tool};

use crate::agent::{Agent, Traffic};
use crate::candidate::{Candidate, Running, Spent};
use crate::pair::{Pair, RIGHT};
use crate::programs::Sunk;
use crate::results;

pub(crate) const SLAVES: u8 = 4;
pub(crate) const SOURCES: u32 = 8;
/// How long open messages may need to leave, and what is queued to arrive.
const DRAIN: Duration = Duration::from_millis(250);
/// How long the devices wait for more packets: what drivers of 10GbE cards do by themselves.
pub(crate) const COALESCE: Duration = Duration::from_micros(50);
/// Packets a second where the search for the highest rate begins.
const FIRST_RATE: f64 = 10_000.0;
/// Below this a candidate counts as one that loses in any case.
const LEAST_RATE: f64 = 500.0;
/// The generator's own limit.
const LAST_RATE: f64 = 1_500_000.0;

/// One row of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) candidate: String,
    pub(crate) load: String,
    /// Highest rate without loss, packets a second; none where it was flooded.
    pub(crate) saturation: Option<f64>,
    /// Rate at which it was measured, packets a second.
    pub(crate) rate: f64,
    pub(crate) packets: u64,
    pub(crate) records: u64,
    /// Packets that the sink got.
    pub(crate) returned: u64,
    pub(crate) lost_records: u64,
    /// Nanoseconds a packet.
    pub(crate) process_ns: f64,
    /// Nanoseconds a packet.
    pub(crate) receive_ns: f64,
}

impl Cost {
    pub(crate) fn total_ns(&self) -> f64 {
        self.process_ns + self.receive_ns
    }

    /// Flow records a second of CPU time.
    pub(crate) fn flows(&self) -> f64 {
        self.records as f64 / self.packets as f64 * 1e9 / self.total_ns()
    }
}

/// A candidate with traffic before and behind it.
pub(crate) struct Bench {
    pub(crate) running: Running,
    pub(crate) agent: Agent,
    load: Load,
    keeps_back: u64,
}

/// What came of sending for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    pub(crate) seconds: f64,
    pub(crate) sent: u64,
    pub(crate) got: Sunk,
    pub(crate) spent: Spent,
    expected: u64,
}

impl Trial {
    pub(crate) fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.got.records)
    }
}

impl Bench {
    pub(crate) fn start(candidate: Candidate, pair: &Pair, traffic: &Traffic) -> Result<Bench> {
        // The sink's program first: by it the device's poller is made anew.
        let agent = Agent::start(pair, traffic)?;
        let running = Running::start(candidate, pair, SLAVES)?;
        let keeps_back = candidate.keeps_back();
        let mut bench = Bench { running, agent, load: traffic.load, keeps_back };
        if !candidate.is_in_kernel()
            || matches!(candidate, Candidate::Weir(..) | Candidate::WeirBounce)
        {
            bench.agent.templates()?;
            bench.agent.run(Some(2_000.0), 0.3)?;
            pause(DRAIN)?;
        }
        Ok(bench)
    }

    pub(crate) fn send(&mut self, rate: Option<f64>, seconds: f64) -> Result<Trial> {
        let (before, spent) = (self.agent.sum()?, self.running.spent()?);
        let sent = self.agent.run(rate, seconds)?;
        pause(DRAIN)?;
        let (after, spent) = (self.agent.sum()?, self.running.spent()?.since(spent));
        let got = Sunk {
            packets: after.packets - before.packets,
            bytes: after.bytes - before.bytes,
            records: after.records - before.records,
        };
        let expected = sent.saturating_sub(self.keeps_back) * u64::from(self.load.records);
        Ok(Trial { seconds, sent, got, spent, expected })
    }

    /// The highest rate at which nothing is lost, packets a second.
    pub(crate) fn saturation(&mut self) -> Result<f64> {
        let seconds = if is_quick() { 0.4 } else { 1.0 };
        let (mut good, mut bad) = (0.0, None);
        let mut rate = FIRST_RATE;
        for _ in 0..14 {
            // A stall of the machine is no limit of the candidate's: it has another chance.
            let holds = self.holds(rate, seconds)? || self.holds(rate, seconds)?;
            if holds {
                good = rate;
            } else {
                bad = Some(rate);
            }
            rate = match bad {
                None if rate >= LAST_RATE => break,
                None => rate * 1.5,
                Some(bad) if bad - good < 0.06 * bad || bad < LEAST_RATE => break,
                Some(bad) => f64::midpoint(good, bad),
            };
        }
        if good == 0.0 {
            bail!("it loses records at every rate");
        }
        Ok(good)
    }

    /// Whether nothing is lost at a rate that is really reached.
    fn holds(&mut self, rate: f64, seconds: f64) -> Result<bool> {
        let trial = self.send(Some(rate), seconds)?;
        let reached = trial.sent as f64 / trial.seconds >= 0.93 * rate;
        Ok(trial.lost() == 0 && reached)
    }

    /// Sends at this rate, or lower ones, until a trial loses nothing.
    fn lossless(&mut self, mut rate: f64, seconds: f64) -> Result<(f64, Trial)> {
        for attempt in 1..=12 {
            let trial = self.send(Some(rate), seconds)?;
            if trial.lost() == 0 {
                return Ok((rate, trial));
            }
            // A stall of the machine is no reason to go slower; losing again and again is.
            if attempt % 3 == 0 {
                rate *= 0.85;
            }
        }
        bail!("it loses records at every rate tried, down to {rate:.0} packets a second")
    }
}

/// The peers and weir on the same packets, at zero loss.
pub(crate) fn peers() -> Result<()> {
    let pair = Pair::new(SLAVES, COALESCE)?;
    let mut costs = Vec::new();
    for protocol in [Protocol::V5, Protocol::V9, Protocol::Ipfix] {
        let load = Load::peers(protocol);
        for candidate in [
            Candidate::Weir("round-robin", "afxdp"),
            Candidate::Weir("round-robin", "socket"),
            Candidate::Relay,
            Candidate::Tee,
            Candidate::Nfcapd,
        ] {
            let name = candidate.name();
            if let Some(program) = candidate.missing() {
                println!("{name} skipped: {program} is not installed");
                continue;
            }
            match rated(candidate, &pair, load) {
                Ok(cost) => {
                    println!(
                        "{} {name}: {:.0} ns a packet, {:.2} M flows per CPU second at {:.0} packets/s",
                        cost.load,
                        cost.total_ns(),
                        cost.flows() / 1e6,
                        cost.rate
                    );
                    costs.push(cost);
                }
                Err(error) if is_interruption(&error) => return Err(error),
                Err(error) => println!("{} {name}: {error:#}", load.name()),
            }
        }
    }
    results::save("peers", &costs)
}

fn is_interruption(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(lab::Error::Interrupted))
}

/// Measures one candidate that is rated by its own limit: the median of three.
fn rated(candidate: Candidate, pair: &Pair, load: Load) -> Result<Cost> {
    let traffic = Traffic { load, sources: SOURCES, stamped: false, pass: false };
    let mut bench = Bench::start(candidate, pair, &traffic)?;
    let saturation = bench.saturation()?;
    let seconds = if is_quick() { 0.7 } else { 3.0 };
    let mut costs = Vec::new();
    let mut rate = 0.8 * saturation;
    for _ in 0..3 {
        let (used, trial) = bench.lossless(rate, seconds)?;
        rate = used;
        costs.push(cost(candidate, load, Some(saturation), trial.sent, &trial));
    }
    costs.sort_by(|a, b| a.total_ns().total_cmp(&b.total_ns()));
    Ok(costs.swap_remove(1))
}

fn cost(
    candidate: Candidate,
    load: Load,
    saturation: Option<f64>,
    packets: u64,
    trial: &Trial,
) -> Cost {
    let each = |ns: u64| ns as f64 / packets as f64;
    Cost {
        candidate: candidate.name(),
        load: load.name().into(),
        saturation,
        rate: trial.sent as f64 / trial.seconds,
        packets,
        records: packets * u64::from(load.records),
        returned: trial.got.packets,
        lost_records: if saturation.is_some() { trial.lost() } else { 0 },
        process_ns: each(trial.spent.process_ns),
        receive_ns: each(trial.spent.receive_ns),
    }
}

/// The ways through the kernel, flooded in turns.
pub(crate) fn kernel() -> Result<()> {
    let pair = Pair::new(SLAVES, Duration::ZERO)?;
    let load = Load::peers(Protocol::V9);
    let traffic = Traffic { load, sources: SOURCES, stamped: false, pass: false };
    let candidates = [
        Candidate::Drop,
        Candidate::Bounce,
        Candidate::Redirect,
        Candidate::Weir("flow-source", "afxdp"),
        Candidate::WeirBounce,
    ];
    let (rounds, seconds) = if is_quick() { (3, 0.5) } else { (7, 1.5) };
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); candidates.len()];
    for round in 1..=rounds {
        for (candidate, costs) in candidates.iter().zip(&mut costs) {
            let mut bench = Bench::start(*candidate, &pair, &traffic)?;
            let before = received(&pair)?;
            let trial = bench.send(None, seconds)?;
            let packets = received(&pair)? - before;
            costs.push(cost(*candidate, load, None, packets.max(1), &trial));
        }
        let last = costs.iter().filter_map(|costs| costs.last());
        let last: Vec<_> = last.map(|cost| format!("{:.0}", cost.total_ns())).collect();
        println!("kernel: round {round} of {rounds}: {} ns", last.join(", "));
    }
    let medians: Vec<Cost> = costs
        .into_iter()
        .map(|mut all| {
            all.sort_by(|a, b| a.total_ns().total_cmp(&b.total_ns()));
            all.swap_remove(all.len() / 2)
        })
        .collect();
    for cost in &medians {
        println!(
            "{}: {:.0} ns a packet; of {} packets {} came back",
            cost.candidate,
            cost.total_ns(),
            cost.packets,
            cost.returned
        );
    }
    results::save("kernel", &medians)
}

/// Frames that an XDP program has seen on the proxy's device.
fn received(pair: &Pair) -> Result<u64> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &pair.right, "ethtool", "-S", RIGHT]);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let said = tool::run(&mut command)?;
    let line = said.lines().find(|line| line.contains("rx_queue_0_xdp_packets"));
    let count = line.and_then(|line| line.rsplit(' ').next()).context("veth's XDP counter")?;
    Ok(count.parse()?)
}
