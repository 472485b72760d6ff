//! tshark's dissection, told line by line.
//!
//! Its details are indented text: a frame begins a datagram, `Flow 3` or `pdu 3/29` a record, `Flow
//! sample` a sample; what follows are fields by name. Options data looks like flows there, so the
//! options templates are remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use weir_controlplane::lab::tool;
use weir_controlplane::lab::units::Sums;

use super::super::flows::{Flows, Tuple};
use super::super::traffic::{NETFLOW, SFLOW, Traffic};
use super::{Answer, words};

/// What a packet's line begins with.
const PACKET: &str = "Internet Protocol Version 4, Src: ";
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
const SCTP: u8 = 132;

/// Extension headers of IPv6 (IANA, "IPv6 Extension Header Types"), behind which another header is.
const EXTENSIONS: [u64; 6] = [0, 43, 44, 51, 60, 135];

/// Names of one direction's counters, bytes then packets: the first present counts.
const OWN: [(&str, &str); 3] = [
    ("Octets", "Packets"),
    ("Permanent Octets", "Permanent Packets"),
    ("Initiator Octets", "Initiator Packets"),
];
/// Those of the other direction, or of the far side of the exporter, which add to them.
const OTHER: [(&str, &str); 3] = [
    ("Responder Octets", "Responder Packets"),
    ("Post Octets", "Post Packets"),
    ("Post Total Octets", "Post Total Packets"),
];

pub(super) fn flows(traffic: &Traffic, folder: &Path) -> Result<Answer, String> {
    let mut answer = Answer::of(traffic);
    for (port, protocol) in [(NETFLOW, "cflow"), (SFLOW, "sflow")] {
        let file = folder.join(format!("{protocol}.pcap"));
        std::fs::write(&file, traffic.pcap(port, &traffic.all())).map_err(words)?;
        let mut command = Command::new("tshark");
        command.args(["-n", "-2", "-V", "-O", protocol, "-d"]);
        command.arg(format!("udp.port=={port},{protocol}")).arg("-r").arg(&file);
        let said = tool::run(&mut command).map_err(words)?;
        let mut reader = Reader::new(traffic.conversation_of(), &mut answer.flows);
        for line in said.lines() {
            reader.line(line);
        }
        reader.end();
    }
    Ok(answer)
}

/// A record or sample whose fields are being read.
#[derive(Debug, Default)]
struct Open<'a> {
    fields: BTreeMap<&'a str, &'a str>,
    is_sample: bool,
    /// Whether an ICMP message has begun, in which another packet can stand.
    is_icmp: bool,
}

/// Lines on their way to flows.
struct Reader<'a, 'b> {
    conversations: BTreeMap<IpAddr, usize>,
    all: &'b mut Vec<Flows>,
    exporter: Option<IpAddr>,
    domain: &'a str,
    set: &'a str,
    /// Exporter, domain and id of options templates.
    options: BTreeSet<(Option<IpAddr>, &'a str, &'a str)>,
    open: Option<Open<'a>>,
}

impl<'a, 'b> Reader<'a, 'b> {
    fn new(conversations: BTreeMap<IpAddr, usize>, all: &'b mut Vec<Flows>) -> Self {
        Reader {
            conversations,
            all,
            exporter: None,
            domain: "",
            set: "",
            options: BTreeSet::new(),
            open: None,
        }
    }

    fn line(&mut self, line: &'a str) {
        let depth = line.len() - line.trim_start().len();
        let text = line.trim();
        match depth {
            0 => self.top(text),
            _ if is_record(text) => {
                self.end();
                let is_options = self.options.contains(&(self.exporter, self.domain, self.set));
                self.open = (!is_options).then(Open::default);
            }
            4 if text.starts_with("Set ") || text.starts_with("FlowSet ") => {
                self.end();
                self.set = between(text, "[id=", "]").unwrap_or_default();
            }
            4 if text.contains(" sample, seq") => {
                self.end();
                let is_flow = text.to_lowercase().contains("flow sample");
                self.open = is_flow.then(|| Open { is_sample: true, ..Open::default() });
            }
            _ => self.field(text),
        }
    }

    fn top(&mut self, text: &'a str) {
        if text.starts_with("Frame ") {
            self.end();
            (self.exporter, self.domain, self.set) = (None, "", "");
        }
        // Packets within samples can have lines of their own here.
        if let (None, Some(rest)) = (self.exporter, text.strip_prefix(PACKET)) {
            self.exporter = rest.split(',').next().and_then(|source| source.parse().ok());
        }
    }

    fn field(&mut self, text: &'a str) {
        if let Some(id) = between(text, "Options Template (Id = ", ")") {
            self.options.insert((self.exporter, self.domain, id));
        } else if let Some(rest) = text.strip_prefix("Template (Id = ") {
            let id = rest.split(',').next().unwrap_or_default();
            self.options.remove(&(self.exporter, self.domain, id));
        }
        if text.starts_with("Internet Control Message Protocol")
            && let Some(open) = &mut self.open
            && !std::mem::replace(&mut open.is_icmp, true)
        {
            // What was called so before is the link layer's.
            open.fields.retain(|name, _| !matches!(*name, "Type" | "Code"));
        }
        // Of a sample's packet the outermost addresses stand in one line.
        if let Some((_, packet)) = text.split_once("Internet Protocol Version ") {
            let ends =
                packet.split_once(", Src: ").and_then(|(_, ends)| ends.split_once(", Dst: "));
            if let (Some(open), Some((source, destination))) = (&mut self.open, ends) {
                open.fields.entry("SrcAddr").or_insert(source);
                open.fields.entry("DstAddr").or_insert(destination);
            }
            return;
        }
        let Some((name, value)) = text.split_once(": ") else { return };
        if matches!(name, "SourceId" | "Observation Domain Id") {
            self.domain = value;
        }
        if let Some(open) = &mut self.open {
            open.set(name, value);
        }
    }

    /// Ends the record that is open.
    fn end(&mut self) {
        let Some(open) = self.open.take() else { return };
        let conversation = self.exporter.and_then(|exporter| self.conversations.get(&exporter));
        if let Some(flows) = conversation.and_then(|&at| self.all.get_mut(at)) {
            flows.add(open.tuple(), open.sums());
        }
    }
}

impl<'a> Open<'a> {
    /// Of a packet the outermost value counts. Of a record's two of the same element the last does,
    /// unless it is zero or IPv6's beside IPv4's: that is how pmacct, nfdump and weir read records
    /// of a tunnel, which have the inner packet's behind the outer one's.
    fn set(&mut self, name: &'a str, value: &'a str) {
        let is_absent = ["0", "0.0.0.0", "::", "0x0000"].contains(&value)
            || name == "Protocol" && value.ends_with("(0)");
        let known = self.fields.get(name);
        let is_v6_beside_v4 = value.contains(':') && known.is_some_and(|k| k.contains('.'));
        let is_better = !is_absent && !is_v6_beside_v4;
        // Before the packet's own protocol stand those of PPP and of IPv6's extension headers.
        let is_before = |known: &str| match name {
            "Protocol" => bracketed(known).is_none(),
            "Next Header" => bracketed(known).is_some_and(|next| EXTENSIONS.contains(&next)),
            _ => false,
        };
        let is_before = self.is_sample && known.is_some_and(|known| is_before(known));
        if known.is_none() || is_before || !self.is_sample && is_better {
            self.fields.insert(name, value);
        }
    }

    fn number(&self, name: &str) -> Option<u64> {
        let value = self.fields.get(name)?;
        let digits = value.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    }

    /// The number in brackets behind a name, `TCP (6)`, or that which begins the value.
    fn bracketed(&self, name: &str) -> Option<u64> {
        bracketed(self.fields.get(name)?).or(self.number(name))
    }

    fn tuple(&self) -> Tuple {
        let address = |name: &str| {
            let address = self.fields.get(name).and_then(|address| address.parse().ok());
            address.unwrap_or(IpAddr::from([0; 16]))
        };
        let of_packet = || self.bracketed("Next Header");
        let protocol = self.bracketed("Protocol").or_else(of_packet).unwrap_or_default() as u8;
        let names = match protocol {
            _ if !self.is_sample => ["SrcPort", "DstPort"],
            SCTP => ["Source port", "Destination port"],
            TCP | UDP => ["Source Port", "Destination Port"],
            // Within an ICMP error they are another packet's; of others they are no ports to weir.
            _ => ["", ""],
        };
        let mut ports = names.map(|name| self.number(name).unwrap_or_default() as u16);
        if matches!(protocol, 0 | ICMP | ICMP6) && ports[1] == 0 {
            ports[1] = self.icmp().unwrap_or_default();
        }
        Tuple::new(address("SrcAddr"), address("DstAddr"), ports, protocol)
    }

    /// ICMP's type * 256 + code.
    fn icmp(&self) -> Option<u16> {
        if let Some(both) = self.fields.get("ICMP Type") {
            let hex = both.strip_prefix("0x")?;
            return u16::from_str_radix(hex.split_whitespace().next()?, 16).ok();
        }
        let pairs = [
            ("IPv4 ICMP Type", "IPv4 ICMP Code"),
            ("IPv6 ICMP Type", "IPv6 ICMP Code"),
            ("Type", "Code"),
        ];
        let (kind, code) = pairs.into_iter().find(|(kind, _)| self.fields.contains_key(kind))?;
        // `8 (Echo (ping) request)`, but `Router Solicitation (133)`.
        let number = |name| self.number(name).or_else(|| self.bracketed(name));
        Some((number(kind)? as u16) << 8 | number(code).unwrap_or_default() as u16)
    }

    fn sums(&self) -> Sums {
        if self.is_sample {
            let names = ["Length of IP Packet", "Frame Length", "Length of MAC Packet"];
            let bytes = names.into_iter().find_map(|name| self.number(name)).unwrap_or_default();
            return Sums { flows: 1, packets: 1, bytes };
        }
        let counted = |names: &[(&str, &str)]| {
            let bytes = names.iter().find_map(|(bytes, _)| self.number(bytes));
            let packets = names.iter().find_map(|(_, packets)| self.number(packets));
            (bytes.unwrap_or_default(), packets.unwrap_or_default())
        };
        let (own, other) = (counted(&OWN), counted(&OTHER));
        Sums { flows: 1, packets: own.1 + other.1, bytes: own.0 + other.0 }
    }
}

/// Whether the line begins a record: `Flow 12`, of versions 1 to 8 `pdu 12/30`.
fn is_record(text: &str) -> bool {
    let of_packet = || text.strip_prefix("pdu ")?.split_once('/').map(|(number, _)| number);
    let number = text.strip_prefix("Flow ").or_else(of_packet);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The number in the last brackets.
fn bracketed(value: &str) -> Option<u64> {
    let (_, rest) = value.rsplit_once('(')?;
    rest.split(')').next()?.parse().ok()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}
