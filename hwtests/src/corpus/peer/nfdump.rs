//! nfcapd and sfcapd on loopback, a folder for each exporter, shown by nfdump.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weir_controlplane::lab::tool;
use weir_controlplane::lab::units::Sums;

use super::super::flows::{Flows, Tuple};
use super::super::traffic::{NETFLOW, SFLOW, Traffic};
use super::{Answer, words};
use crate::nfcapd::{exporter, queued_at};

/// Bytes that may wait in a collector's socket, of the least that a system gives one (212,992).
const WAITING: u64 = 40_000;
/// Until a collector listens, reads on or ends.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn flows(traffic: &Traffic, folder: &Path) -> Result<Answer, String> {
    let mut answer = Answer::of(traffic);
    for (program, port) in [("nfcapd", NETFLOW), ("sfcapd", SFLOW)] {
        let stored = folder.join(program);
        std::fs::create_dir_all(&stored).map_err(words)?;
        let collector = Collector::start(program, &stored)?;
        collector.send(traffic, port)?;
        collector.end()?;
        read(&stored, &traffic.conversation_of(), &mut answer.flows)?;
    }
    Ok(answer)
}

/// A collector at a port of loopback that was free.
struct Collector {
    child: Child,
    port: u16,
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Collector {
    fn start(program: &str, stored: &Path) -> Result<Collector, String> {
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(words)?;
        let port = free.local_addr().map_err(words)?.port();
        drop(free);
        let mut command = Command::new(program);
        command.args(["-4", "-b", "127.0.0.1", "-t", "86400", "-B", "16000000", "-M"]).arg(stored);
        command.args(["-p", &port.to_string()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(words)?;
        let mut collector = Collector { child, port };
        until(|| collector.queued().is_some() || collector.has_ended())
            .then_some(())
            .filter(|()| !collector.has_ended())
            .ok_or(format!("{program} does not listen"))?;
        Ok(collector)
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn queued(&self) -> Option<u64> {
        queued_at(&std::fs::read_to_string("/proc/net/udp").ok()?, self.port)
    }

    /// Sends what is for `port`, never more than the socket holds.
    fn send(&self, traffic: &Traffic, port: u16) -> Result<(), String> {
        let mut sockets: BTreeMap<SocketAddr, UdpSocket> = BTreeMap::new();
        let mut unread = 0;
        for sent in traffic.sent.iter().filter(|sent| sent.port == port) {
            if !sockets.contains_key(&sent.from) {
                // One conversation at a time, so few sockets are open.
                sockets.clear();
                let socket = UdpSocket::bind(sent.from)
                    .or_else(|_| UdpSocket::bind((sent.from.ip(), 0)))
                    .map_err(words)?;
                sockets.insert(sent.from, socket);
            }
            unread += sent.payload.len() as u64 + 1_024;
            if unread > WAITING {
                self.drained()?;
                unread = 0;
            }
            let to = (Ipv4Addr::LOCALHOST, self.port);
            sockets[&sent.from].send_to(&sent.payload, to).map_err(words)?;
        }
        self.drained()
    }

    fn drained(&self) -> Result<(), String> {
        until(|| self.queued() == Some(0)).then_some(()).ok_or("it does not read on".into())
    }

    /// Ends it, and waits until it has written all. A signal just before it waits for a packet is
    /// lost on it, so it is told again.
    fn end(mut self) -> Result<(), String> {
        let pid = self.child.id().to_string();
        for _ in 0..40 {
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
            let told = Instant::now();
            while told.elapsed() < Duration::from_millis(500) {
                if self.has_ended() {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Err("it does not end".into())
    }
}

/// Waits for it; whether it came in time.
fn until(mut come: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if come() {
            return true;
        }
        if begun.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Adds what each exporter's folder holds.
fn read(
    stored: &Path,
    conversations: &BTreeMap<IpAddr, usize>,
    all: &mut [Flows],
) -> Result<(), String> {
    let folders = std::fs::read_dir(stored).map_err(words)?;
    for folder in folders.flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        let Some(&conversation) = exporter(&name).and_then(|at| conversations.get(&at)) else {
            continue;
        };
        let mut command = Command::new("nfdump");
        command.arg("-R").arg(folder.path()).args(["-q", "-N", "-6"]);
        command.args(["-o", "fmt:%sa|%da|%sp|%dp|%pr|%ipkt|%opkt|%ibyt|%obyt"]);
        let said = tool::run(&mut command).map_err(words)?;
        for line in said.lines().filter(|line| line.contains('|')) {
            let (tuple, sums) = row(line).ok_or_else(|| format!("an odd line: {line}"))?;
            all[conversation].add(tuple, sums);
        }
    }
    Ok(())
}

/// Where a record could have either, it writes an IPv4 address as the end of an IPv6 address.
fn address(word: &str) -> Option<IpAddr> {
    let address: IpAddr = word.parse().ok()?;
    match address {
        IpAddr::V6(v6) if v6.octets()[..12] == [0; 12] && u128::from(v6) > 0xffff => {
            let [.., a, b, c, d] = v6.octets();
            Some(IpAddr::from([a, b, c, d]))
        }
        address => Some(address),
    }
}

fn row(line: &str) -> Option<(Tuple, Sums)> {
    let words: Vec<_> = line.split('|').map(str::trim).collect();
    let [source, destination, source_port, destination_port, protocol, counters @ ..] = &words[..]
    else {
        return None;
    };
    let counters: Option<Vec<u64>> = counters.iter().map(|word| word.parse().ok()).collect();
    let [packets, other_packets, bytes, other_bytes] = counters?[..] else { return None };
    // Of ICMP it shows type.code.
    let port = match destination_port.split_once('.') {
        Some((kind, code)) => kind.parse::<u16>().ok()? << 8 | code.parse::<u16>().ok()?,
        None => destination_port.parse().ok()?,
    };
    let protocol = protocol.parse().ok().or_else(|| super::protocol(protocol))?;
    let tuple = Tuple::new(
        address(source)?,
        address(destination)?,
        [source_port.parse().ok()?, port],
        protocol,
    );
    let sums = Sums { flows: 1, packets: packets + other_packets, bytes: bytes + other_bytes };
    Some((tuple, sums))
}
