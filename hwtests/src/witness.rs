//! What an independent reader saw at a site: tcpdump records every frame, tshark says what it was.
//!
//! A flow record is told by its exporter and destination address, as [`crate::exporter`] makes them.
//! Deliberately not here: any parser of weir's own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use weir_controlplane::lab::{Error, Process, Site, pause, tool, wait_for};

use crate::exporter::Flow;

/// A recording of all UDP and ICMP that comes to a site, or leaves it.
#[derive(Debug)]
pub struct Witness {
    process: Process,
    file: PathBuf,
}

/// A datagram as tshark understands it, fragments put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// When it came, seconds since 1970.
    pub at: f64,
    /// Whose address it bears.
    pub source: SocketAddr,
    /// Where it was sent to.
    pub to: SocketAddr,
    /// Whether it has a UDP checksum; a wrong one is among [`Seen::wrong`].
    pub checksum: bool,
    /// Of the export protocol; 0 when it is none.
    pub version: u16,
    /// Observation domain or source id; 0 in v5.
    pub domain: u32,
    /// Its header's sequence number.
    pub sequence: u32,
    /// Its flow records.
    pub flows: Vec<Flow>,
    /// What tshark wonders at, as a set before its template, or a sequence number out of turn.
    pub odd: Option<String>,
}

/// All that was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Export messages in order.
    pub messages: Vec<Message>,
    /// The longest IP packet, bytes.
    pub longest: usize,
    /// Wrong checksums.
    pub wrong: Vec<String>,
}

impl Witness {
    /// Starts to record at a site's device, and returns once it does.
    ///
    /// # Errors
    /// When tcpdump does not start.
    pub fn start(site: &Site, folder: &Path) -> Result<Witness, Error> {
        let name = format!("{}.tcpdump", site.name);
        let file = folder.join(format!("{}.pcap", site.name));
        let mut command = site.command("tcpdump");
        command.args(["-U", "--immediate-mode", "-s", "0", "-B", "16384", "-i"]);
        command.arg(site.device().unwrap_or("lo")).arg("-w").arg(&file).arg("not tcp and not arp");
        let process = Process::start(&name, &mut command, folder)?;
        let mut witness = Witness { process, file };
        // It writes the file's header once it listens.
        wait_for("tcpdump to listen", 20, || {
            let began = std::fs::metadata(&witness.file).is_ok_and(|file| file.len() > 0);
            match began || witness.process.is_alive() {
                true => Ok(began.then_some(())),
                false => Err(witness.process.failed("ended before it listened".into())),
            }
        })?;
        Ok(witness)
    }

    /// Ends the recording and has it read, as messages to `port`.
    ///
    /// # Errors
    /// When either program fails.
    pub fn finish(mut self, port: u16) -> Result<Seen, Error> {
        // It forgets what it has not yet read when it is told to end.
        pause(Duration::from_millis(200))?;
        self.process.signal("INT")?;
        self.process.wait_end(20)?;
        let mut command = Command::new("tshark");
        command.args(["-d", &format!("udp.port=={port},cflow"), "-T", "fields"]);
        // An ICMP error quotes the packet that it complains of, which is none that came.
        command.args(["-Y", "!icmp && !icmpv6"]);
        command.args(["-E", "separator=|", "-o", "ip.check_checksum:TRUE"]);
        command.args(["-o", "udp.check_checksum:TRUE", "-r"]).arg(&self.file);
        command.args(FIELDS.iter().flat_map(|field| ["-e", field]));
        let said = tool::run(&mut command)?;
        let mut seen = Seen::default();
        for line in said.lines() {
            seen.read(line, port).ok_or_else(|| Error::Answer {
                command: tool::typed(&command),
                reason: format!("{line:?} is no frame"),
            })?;
        }
        Ok(seen)
    }
}

/// What tshark is asked of each frame, in this order.
const FIELDS: [&str; 20] = [
    "frame.number",
    "frame.time_epoch",
    "ip.len",
    "ipv6.plen",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "udp.srcport",
    "udp.dstport",
    "ip.checksum.status",
    "udp.checksum.status",
    "_ws.expert.message",
    "cflow.version",
    "cflow.od_id",
    "cflow.source_id",
    "cflow.sequence",
    "cflow.dstaddr",
    "cflow.packets",
    "cflow.octets",
];

/// tshark's words for a checksum that is wrong, and for none.
const BAD: &str = "0";
const ABSENT: &str = "3";

impl Seen {
    /// Reads a line of tshark's; `None` when it makes no sense.
    fn read(&mut self, line: &str, port: u16) -> Option<()> {
        let fields: Vec<Vec<&str>> =
            line.split('|').map(|field| field.split(',').collect()).collect();
        let fields: BTreeMap<&str, &Vec<&str>> = FIELDS.iter().copied().zip(&fields).collect();
        let first = |name: &str| fields.get(name)?.first().copied().filter(|text| !text.is_empty());
        let number = |name: &str| first(name).and_then(|text| text.parse::<usize>().ok());
        let length = number("ip.len").or_else(|| Some(number("ipv6.plen")? + 40));
        self.longest = self.longest.max(length.unwrap_or(0));
        let frame = first("frame.number")?;
        if first("ip.checksum.status") == Some(BAD) || first("udp.checksum.status") == Some(BAD) {
            self.wrong.push(format!("frame {frame}: a wrong checksum"));
        }
        if number("udp.dstport") != Some(usize::from(port)) || first("cflow.version").is_none() {
            return Some(());
        }
        let address = |v4: &str, v6: &str, port: &str| {
            let ip: IpAddr = first(v4).or_else(|| first(v6))?.parse().ok()?;
            Some(SocketAddr::new(ip, first(port)?.parse().ok()?))
        };
        let source = address("ip.src", "ipv6.src", "udp.srcport")?;
        let all = |name: &str| {
            let texts = fields.get(name).into_iter().flat_map(|texts| texts.iter());
            texts.filter(|text| !text.is_empty()).copied().collect::<Vec<_>>()
        };
        let (destinations, packets, bytes) =
            (all("cflow.dstaddr"), all("cflow.packets"), all("cflow.octets"));
        let at = |texts: &[&str], n: usize| texts.get(n).map_or(Some(0), |text| text.parse().ok());
        let flows = destinations.iter().enumerate().map(|(n, destination)| {
            Some(Flow {
                exporter: source,
                destination: destination.parse().ok()?,
                packets: at(&packets, n)?,
                bytes: at(&bytes, n)?,
            })
        });
        self.messages.push(Message {
            at: first("frame.time_epoch")?.parse().ok()?,
            source,
            to: address("ip.dst", "ipv6.dst", "udp.dstport")?,
            checksum: first("udp.checksum.status") != Some(ABSENT),
            version: first("cflow.version")?.parse().ok()?,
            domain: first("cflow.od_id")
                .or_else(|| first("cflow.source_id"))
                .map_or(Some(0), decimal_or_hexadecimal)?,
            sequence: first("cflow.sequence")?.parse().ok()?,
            flows: flows.collect::<Option<_>>()?,
            odd: first("_ws.expert.message").map(|text| format!("frame {frame}: {text}")),
        });
        Some(())
    }

    /// Wrong checksums, and what tshark wonders at in messages of these sources.
    pub fn oddities(&self, of: impl Fn(SocketAddr) -> bool) -> Vec<String> {
        let odd = self.messages.iter().filter(|message| of(message.source));
        let odd =
            odd.filter_map(|message| Some(format!("{} {}", message.source, message.odd.clone()?)));
        self.wrong.iter().cloned().chain(odd).collect()
    }

    /// All flow records, sorted.
    pub fn flows(&self) -> Vec<Flow> {
        let mut all: Vec<_> = self.messages.iter().flat_map(|m| m.flows.clone()).collect();
        all.sort();
        all
    }

    /// The sessions whose sequence numbers do not follow one another by their version's own rule,
    /// whatever the order in which messages came.
    pub fn gaps(&self) -> Vec<String> {
        let mut sessions: BTreeMap<_, Vec<(u32, u32)>> = BTreeMap::new();
        for message in &self.messages {
            let records = u32::try_from(message.flows.len()).unwrap_or(u32::MAX);
            let step = if message.version == 9 { 1 } else { records };
            let session = (message.source, message.to, message.version, message.domain);
            sessions.entry(session).or_default().push((message.sequence, step));
        }
        let mut gaps = Vec::new();
        for ((source, to, version, domain), mut numbers) in sessions {
            numbers.sort_unstable();
            let follows = |pair: &&[(u32, u32)]| pair[0].0.wrapping_add(pair[0].1) != pair[1].0;
            if let Some(pair) = numbers.windows(2).find(follows) {
                gaps.push(format!("{source} > {to} v{version} domain {domain}: {pair:?}"));
            }
        }
        gaps
    }
}

fn decimal_or_hexadecimal(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sequence: u32, flows: &str) -> String {
        format!("1|1.5|120||10.0.0.1|10.0.0.2|||4000|32055|1|1||9||7|{sequence}|{flows}")
    }

    #[test]
    fn a_line_of_tshark_is_a_message() {
        let mut seen = Seen::default();
        seen.read(&line(3, "100.1.0.0,100.1.0.1|1,2|64,130"), 32_055).unwrap();
        let message = &seen.messages[0];
        assert_eq!((message.version, message.domain, message.sequence), (9, 7, 3));
        assert_eq!(message.flows[1].bytes, 130);
        assert_eq!((seen.longest, seen.wrong.len()), (120, 0));
    }

    #[test]
    fn a_missing_sequence_number_is_a_gap() {
        let mut seen = Seen::default();
        for sequence in [3, 5, 4] {
            seen.read(&line(sequence, "100.1.0.0|1|64"), 32_055).unwrap();
        }
        assert_eq!(seen.gaps(), Vec::<String>::new());
        seen.read(&line(7, "100.1.0.1|1|64"), 32_055).unwrap();
        assert_eq!(seen.gaps().len(), 1);
    }

    #[test]
    fn wrong_checksums_and_what_tshark_wonders_at_are_kept() {
        let mut seen = Seen::default();
        seen.read(&line(1, "||").replace("|1|1||9", "|1|0|odd|9"), 32_055).unwrap();
        assert_eq!((seen.wrong.len(), seen.oddities(|_| true).len()), (1, 2));
        assert_eq!(seen.oddities(|_| false).len(), 1);
    }
}
