//! A whole topology at 80 % of what it can take, while templates refresh, slaves die and return, and
//! sources appear: at the end every record must be accounted for, and the proxy's memory flat.
//!
//! It stands here rather than among the tests because it first measures how much the machine takes,
//! and then runs for minutes: nothing that an automatic run should do. What slaves get is counted by
//! XDP before it reaches them, so that the count outlives a killed slave.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_benches::traffic::{Load, Protocol};
use weir_controlplane::lab::{Process, pause, units};
use weir_controlplane::status::{Traffic as Counted, UnitStatus};

use crate::agent::{Agent, Traffic};
use crate::candidate::{proxy, topology, weir_program};
use crate::cost::COALESCE;
use crate::pair::{MASTER, Pair, slave, tame_pollers};
use crate::programs::Sunk;

const SLAVES: u8 = 3;
/// Sources that send all the time.
const SOURCES: u32 = 64;
/// Sources that appear in the warm-up, enough to fill the session table, and then each second.
const APPEARING: u32 = 140_000;
const APPEARING_A_SECOND: u32 = 100;
const TEMPLATES_EVERY_S: u64 = 5;
const EVENT_EVERY: Duration = Duration::from_secs(20);
/// How long a slave is away.
const AWAY: Duration = Duration::from_secs(5);
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// Growth of resident memory after the warm-up that is too much.
const GROWTH: f64 = 1.05;

/// The running topology.
struct Soak {
    proxy: Process,
    _master: Process,
    slaves: Vec<Process>,
    pair: Pair,
}

/// What exporters have sent.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    packets: u64,
    data: u64,
}

/// Runs for so many minutes; fails when anything is unaccounted for.
pub(crate) fn soak(minutes: u64) -> Result<ExitCode> {
    let load = Load::peers(Protocol::V9);
    let length = Duration::from_secs(60 * minutes.max(1));
    let warm = Duration::from_secs(120).min(length / 3);
    let mut soak = Soak::start()?;
    let traffic = Traffic { load, sources: SOURCES, stamped: false, pass: true };
    let mut agent = Agent::start(&soak.pair, &traffic)?;
    tame_pollers()?;
    soak.wait_healthy()?;
    let mut sent = Sent::default();
    sent.packets += agent.templates()?;
    let rate = 0.8 * soak.calibrate(&mut agent, &mut sent, load)?;
    println!(
        "soak: {minutes} minutes at {rate:.0} packets/s, {:.2} M records/s, {SLAVES} slaves",
        rate * f64::from(load.records) / 1e6
    );
    let over = AtomicBool::new(false);
    let samples = std::thread::scope(|scope| {
        let exporting = scope.spawn(|| export(&mut agent, &mut sent, rate, warm, &over));
        let samples = soak.trouble(length, warm);
        over.store(true, Ordering::Relaxed);
        exporting.join().map_err(|_| anyhow::anyhow!("the exporters' thread panicked"))??;
        samples
    })?;
    let is_flat = flat(&samples);
    let is_whole = soak.account(&mut agent, sent, load)?;
    Ok(if is_flat && is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends until it is over: a second of data, templates now and then, and new sources.
fn export(
    agent: &mut Agent,
    sent: &mut Sent,
    rate: f64,
    warm: Duration,
    over: &AtomicBool,
) -> Result<()> {
    let began = Instant::now();
    let mut next = SOURCES;
    let warm_each = APPEARING.div_ceil(u32::try_from(warm.as_secs())?);
    for second in 1_u64.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let data = agent.run(Some(rate), 1.0)?;
        sent.data += data;
        sent.packets += data;
        if second.is_multiple_of(TEMPLATES_EVERY_S) {
            sent.packets += agent.templates()?;
        }
        let count = if began.elapsed() < warm { warm_each } else { APPEARING_A_SECOND };
        let appeared = agent.appear(next, count)?;
        next += count;
        sent.data += appeared;
        sent.packets += 2 * appeared;
    }
    Ok(())
}

impl Soak {
    fn start() -> Result<Soak> {
        let pair = Pair::new(SLAVES, COALESCE)?;
        pair.add_left(MASTER)?;
        for n in 1..=SLAVES {
            pair.add_left(&slave(n))?;
        }
        std::fs::write(
            pair.folder.path().join("weir.toml"),
            topology("round-robin", SLAVES, false),
        )?;
        let slaves = (1..=SLAVES).map(|n| start_slave(&pair, n)).collect::<Result<_>>()?;
        let path = pair.folder.path().join("weir.toml");
        let mut command = pair.command(true, weir_program()?);
        command.args(["master", "--unit", "master", "--topology"]).arg(&path);
        let mut master = pair.start("master", &mut command)?;
        let mut proxy = proxy(&pair, &path, "afxdp", false)?;
        proxy.wait_ready()?;
        master.wait_ready()?;
        Ok(Soak { proxy, _master: master, slaves, pair })
    }

    fn status(&self) -> Result<UnitStatus> {
        let mut command = self.pair.command(true, weir_program()?);
        let output = command.args(["status", "-M", MASTER, "--json"]).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::from_slice(&output.stdout).with_context(|| format!("weir status: {said}"))
    }

    fn wait_healthy(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            if let Ok(status) = self.status()
                && let Some(proxy) = units::unit(&status, "proxy")
                && !proxy.slaves.is_empty()
                && proxy.slaves.iter().all(|slave| slave.healthy)
            {
                return Ok(());
            }
            if began.elapsed() > Duration::from_secs(30) {
                bail!("the proxy does not reach its slaves: {}", self.proxy.log_end());
            }
            pause(Duration::from_millis(100))?;
        }
    }

    /// The highest rate tried at which every record reaches its slave's store.
    fn calibrate(&mut self, agent: &mut Agent, sent: &mut Sent, load: Load) -> Result<f64> {
        let (mut rate, mut good) = (2_000.0, 0.0);
        while rate < 1_000_000.0 {
            let before = (agent.sum()?, self.collected()?);
            let packets = agent.run(Some(rate), 2.0)?;
            sent.packets += packets;
            sent.data += packets;
            pause(Duration::from_millis(700))?;
            let records = packets * u64::from(load.records);
            let arrived = agent.sum()?.records - before.0.records;
            let collected = self.collected()? - before.1;
            println!(
                "calibration: {rate:.0} packets/s: {arrived} of {records} records arrived, {collected} were collected"
            );
            if arrived != records || collected != records || (packets as f64) < 1.8 * rate {
                break;
            }
            good = rate;
            rate *= 1.3;
        }
        if good == 0.0 {
            bail!("records are lost at every rate");
        }
        Ok(good)
    }

    /// Records that the slaves have collected and not discarded.
    fn collected(&self) -> Result<u64> {
        let status = self.status()?;
        let of = |n| units::unit(&status, &format!("slave{n}"))?.traffic.clone();
        let kept = |traffic: Counted| {
            traffic.records_decoded.saturating_sub(traffic.discarded.record.values().sum())
        };
        Ok((1..=SLAVES).filter_map(of).map(kept).sum())
    }

    /// Kills and stops slaves in turn, all but the first, and starts them again; returns samples of
    /// the proxy's resident memory after the warm-up, KiB.
    fn trouble(&mut self, length: Duration, warm: Duration) -> Result<Vec<u64>> {
        let began = Instant::now();
        let (mut samples, mut sampled, mut events) = (Vec::new(), Duration::ZERO, 0_u32);
        let mut away: Option<(u8, Instant)> = None;
        while began.elapsed() < length {
            pause(Duration::from_millis(100))?;
            let now = began.elapsed();
            if let Some((n, since)) = away.filter(|(_, since)| since.elapsed() > AWAY) {
                self.slaves[usize::from(n) - 1] = start_slave(&self.pair, n)?;
                println!(
                    "{:>4} s: slave{n} is back after {} s",
                    now.as_secs(),
                    since.elapsed().as_secs()
                );
                away = None;
            }
            if now > EVENT_EVERY * (events + 1) && now + 2 * AWAY < length {
                let n = 2 + (events / 2 % (u32::from(SLAVES) - 1)) as u8;
                let process = &mut self.slaves[usize::from(n) - 1];
                if events.is_multiple_of(2) {
                    process.kill();
                } else {
                    process.stop()?;
                }
                let how = if events.is_multiple_of(2) { "killed" } else { "stopped" };
                println!("{:>4} s: slave{n} is {how}", now.as_secs());
                away = Some((n, Instant::now()));
                events += 1;
            }
            if now >= sampled + SAMPLE_EVERY {
                sampled = now;
                let resident = resident_kib(self.proxy.id())?;
                println!("{:>4} s: the proxy has {resident} KiB resident", now.as_secs());
                if now >= warm {
                    samples.push(resident);
                }
            }
        }
        Ok(samples)
    }

    /// Whether every record is accounted for, from the exporters to the slaves.
    fn account(&self, agent: &mut Agent, sent: Sent, load: Load) -> Result<bool> {
        let (mut status, mut sunk) = (self.status()?, agent.sunk()?);
        for _ in 0..50 {
            pause(Duration::from_millis(200))?;
            let before = std::mem::replace(&mut sunk, agent.sunk()?);
            status = self.status()?;
            if before == sunk && units::unconserved(&status).is_empty() {
                break;
            }
        }
        let unit = |name: &str| units::unit(&status, name).context("a unit of the soak");
        let proxy = unit("proxy")?;
        let traffic = proxy.traffic.as_ref().context("the proxy's counters")?;
        let mut books = Books::default();
        books.equal(
            "packets sent = received + dropped by the proxy's system",
            sent.packets,
            traffic.datagrams_received + traffic.datagrams_dropped,
        );
        let discarded: u64 = traffic.discarded.record.values().sum();
        let lost = sent.packets.saturating_sub(traffic.datagrams_received);
        books.equal(
            "records sent = decoded by the proxy",
            (sent.data - lost.min(sent.data)) * u64::from(load.records),
            traffic.records_decoded,
        );
        books.equal(
            "records decoded = delivered + discarded",
            traffic.records_decoded,
            traffic.records_delivered + discarded,
        );
        for (n, delivery) in (1_u8..).zip(&proxy.slaves) {
            let arrived =
                sunk.iter().find(|(octet, _)| *octet == n).map_or(Sunk::default(), |s| s.1);
            let name = &delivery.name;
            books.equal(
                &format!("delivered to {name} = arrived there"),
                delivery.records,
                arrived.records,
            );
        }
        let first = unit("slave1")?;
        let empty = Counted::default();
        let (collected, stored) =
            (first.traffic.as_ref().unwrap_or(&empty), first.storing.as_ref().unwrap_or(&empty));
        let arrived = sunk.iter().find(|(octet, _)| *octet == 1).map_or(0, |sunk| sunk.1.records);
        books.equal("arrived at slave1 = decoded there", arrived, collected.records_decoded);
        let refused: u64 = collected.discarded.record.values().sum();
        books.equal(
            "decoded at slave1 = in its store + discarded there",
            collected.records_decoded,
            stored.records_delivered + refused,
        );
        let unconserved = units::unconserved(&status);
        books.equal("units that do not conserve", 0, unconserved.len() as u64);
        println!("discarded by the proxy: {:?}", traffic.discarded);
        println!("discarded by slave1: {:?}", collected.discarded);
        Ok(books.fit)
    }
}

/// Equations that must hold.
struct Books {
    fit: bool,
}

impl Default for Books {
    fn default() -> Self {
        Books { fit: true }
    }
}

impl Books {
    fn equal(&mut self, what: &str, left: u64, right: u64) {
        self.fit &= left == right;
        let verdict = if left == right { "holds" } else { "BROKEN" };
        println!("{verdict}: {what}: {left} = {right}");
    }
}

fn start_slave(pair: &Pair, n: u8) -> Result<Process> {
    let folder = pair.folder.path();
    // Slaves may use what the proxy leaves of its core: one core would bound them all.
    let mut command = pair.command(true, "taskset");
    command.args(["-c", "0,1"]).arg(weir_program()?);
    command.arg("slave").arg("--topology").arg(folder.join("weir.toml"));
    command.args(["--unit", &format!("slave{n}"), "--slice", "10s", "--dir"]);
    let mut process =
        pair.start(&format!("slave{n}"), command.arg(folder.join(format!("store{n}"))))?;
    process.wait_ready()?;
    Ok(process)
}

/// Whether resident memory has stayed where it was after the warm-up.
fn flat(samples: &[u64]) -> bool {
    let (Some(first), Some(most)) = (samples.first(), samples.iter().max()) else { return true };
    let fits = *most as f64 <= GROWTH * *first as f64;
    let verdict = if fits { "holds" } else { "BROKEN" };
    println!("{verdict}: resident memory: {first} KiB after the warm-up, {most} KiB at most");
    fits
}

fn resident_kib(process: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))
        .context("the proxy has ended")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("a VmRSS line")?.parse()?)
}
