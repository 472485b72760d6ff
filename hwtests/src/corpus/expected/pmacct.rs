//! pmacct's outputs: `output-flow-*.json` of its test framework, a JSON object a line, one for each
//! aggregate of flow records that agree in everything but their counters.
//!
//! What pmacct interprets is compared with weir's columns, which interpret too; the rest with the
//! record's fields. What does not come from the flow records ([`NOT_OF_THE_FLOW`]) is left out.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use weir_dataplane::describe::{Field, Message, Record, Value};
use weir_store::Batch;

use super::super::claim::{number, shown};
use super::super::decoded::{Decoded, is_flows};
use super::super::findings::{Findings, Place};
use super::super::traffic::cell;

/// What pmacct knows from BGP, from its configuration or from the one that replays the capture.
const NOT_OF_THE_FLOW: [&str; 16] = [
    "label",
    "peer_ip_src",
    "writer_id",
    "flows",
    "as_path",
    "as_path_src",
    "comms",
    "comms_src",
    "ecomms",
    "ecomms_src",
    "lcomms",
    "lcomms_src",
    "local_pref",
    "net_src",
    "net_dst",
    "timestamp_arrival",
];

/// Names whose values are gathered over the flows of an aggregate: sums, and the union of flags.
const GATHERED: [&str; 3] = ["packets", "bytes", "tcp_flags"];

/// Names that stand for one element, shown as the element's value.
const ELEMENTS: &[(&str, u16, &str)] = &[
    ("vrf_id_ingress", 234, "0"),
    ("vrf_id_egress", 235, "0"),
    ("mpls_tl_ipv4_address", 47, "0.0.0.0"),
    ("mpls_tl_prefix_length", 91, "0"),
    ("mpls_tl_type", 46, "0"),
    ("mac_src", 56, "00:00:00:00:00:00"),
    ("mac_dst", 80, "00:00:00:00:00:00"),
    ("post_nat_ip_src", 225, ""),
    ("post_nat_ip_dst", 226, ""),
    ("post_nat_port_src", 227, "0"),
    ("post_nat_port_dst", 228, "0"),
    ("nat_event", 230, "0"),
    ("vlan", 58, "0"),
];

/// Names of protocols (IANA, "Assigned Internet Protocol Numbers").
const PROTOCOLS: [(&str, u64); 10] = [
    ("icmp", 1),
    ("ipencap", 4),
    ("tcp", 6),
    ("udp", 17),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ipv6-icmp", 58),
    ("vrrp", 112),
    ("ip", 0),
];

/// Flags from FIN up (RFC 9293, Section 3.1).
const FLAGS: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

/// Forwarding statuses (IANA element 89) in pmacct's words.
const STATUSES: [(u64, &str); 6] = [
    (0, "UNKNOWN Unclassified"),
    (64, "FORWARDED Unknown"),
    (65, "FORWARDED Fragmented"),
    (66, "FORWARDED Not Fragmented"),
    (192, "CONSUMED Unknown"),
    (195, "CONSUMED For us"),
];

/// The elements of a label stack, from the top (IANA elements 70 to 79).
const LABELS: std::ops::RangeInclusive<u16> = 70..=79;

/// Compares with what weir makes of the captures.
pub(super) fn compare(text: &str, ours: &Decoded, place: &Place) -> Findings {
    let mut findings = Findings::default();
    findings.compared.packets += ours.descriptions.len() as u64;
    let vrfs = Vrfs::of(ours);
    let mut flows = Flow::all(ours);
    if flows.len() != ours.rows.rows() {
        let rows = format!("{} rows", ours.rows.rows());
        findings.judged(place, false, format!("{} flow records", flows.len()), rows);
        return findings;
    }
    for (number, line) in (1..).zip(text.lines().filter(|line| !line.trim().is_empty())) {
        let place = place.record(number);
        let Ok(Json::Object(said)) = serde_json::from_str(line) else {
            findings.judged(&place, false, line.into(), "a JSON object".into());
            continue;
        };
        let claims = claims(&said);
        let taken = take(&claims, &mut flows, &vrfs);
        let Some(first) = taken.first() else {
            findings.judged(&place, false, line.into(), "no flow".into());
            continue;
        };
        findings.compared.records += 1;
        for (name, value) in &claims {
            let shown = match GATHERED.contains(&name.as_str()) {
                true => gathered(name, &taken),
                false => first.shown(name, &vrfs),
            };
            let packet = place.packet(first.number);
            findings.judged(&packet.field(name), agrees(name, value, &shown), value.clone(), shown);
        }
    }
    for flow in flows {
        let ours = format!("a flow of {} packets", cell(&flow.rows.packets, flow.row));
        findings.judged(&place.packet(flow.number), false, "no flow".into(), ours);
    }
    findings
}

/// What a line claims: name and value, those of its own primitives among them.
fn claims(said: &serde_json::Map<String, Json>) -> Vec<(String, String)> {
    let mut claims = Vec::new();
    // With BGP pmacct takes prefix lengths from there (`nfacctd_net: bgp`), and its tests have it set
    // the export time in place of the flow's start (`nfacctd_time_new: true`).
    let by_bgp = said.contains_key("comms");
    let is_of_the_flow = |name: &str| {
        let from_bgp = by_bgp && ["mask_src", "mask_dst"].contains(&name);
        !from_bgp && !NOT_OF_THE_FLOW.contains(&name)
    };
    for (name, value) in said.iter().filter(|(name, _)| is_of_the_flow(name)) {
        match value {
            Json::Object(inner) => claims.extend(self::claims(inner)),
            Json::Array(items) => {
                let items = items.iter().map(text).collect::<Vec<_>>();
                claims.push((name.clone(), items.join(" ")));
            }
            value if by_bgp && name == "timestamp_start" => {
                claims.push(("timestamp_export".into(), text(value)));
            }
            value => claims.push((name.clone(), text(value))),
        }
    }
    claims
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Takes from `flows` those that a line is of: one with its counters too, else all that agree, else
/// the one that agrees most.
fn take<'a>(claims: &[(String, String)], flows: &mut Vec<Flow<'a>>, vrfs: &Vrfs) -> Vec<Flow<'a>> {
    let score = |flow: &Flow<'_>, counters: bool| {
        let wanted =
            claims.iter().filter(|(name, _)| counters || !GATHERED.contains(&name.as_str()));
        wanted.filter(|(name, value)| agrees(name, value, &flow.shown(name, vrfs))).count()
    };
    let counted = claims.iter().filter(|(name, _)| GATHERED.contains(&name.as_str())).count();
    let all = claims.len();
    if let Some(at) = flows.iter().position(|flow| score(flow, true) == all) {
        return vec![flows.remove(at)];
    }
    let (agreeing, others): (Vec<_>, Vec<_>) =
        flows.drain(..).partition(|flow| score(flow, false) == all - counted);
    *flows = others;
    if !agreeing.is_empty() {
        return agreeing;
    }
    let best = (0..flows.len()).max_by_key(|&at| (score(&flows[at], true), std::cmp::Reverse(at)));
    best.map(|at| vec![flows.remove(at)]).unwrap_or_default()
}

/// A value over all flows of an aggregate.
fn gathered(name: &str, flows: &[Flow<'_>]) -> String {
    let sum = |column: fn(&Batch) -> &Vec<u64>| {
        flows.iter().map(|flow| cell(column(flow.rows), flow.row)).sum::<u64>().to_string()
    };
    match name {
        "packets" => sum(|rows| &rows.packets),
        "bytes" => sum(|rows| &rows.bytes),
        _ => {
            let all = flows.iter().map(|flow| cell(&flow.rows.tcp_flags, flow.row));
            flags(all.fold(0, |union, flags| union | flags))
        }
    }
}

/// Whether a value is what is claimed, however it is written.
fn agrees(name: &str, claimed: &str, ours: &str) -> bool {
    match name {
        "timestamp_start" | "timestamp_end" | "timestamp_export" => {
            claimed.split('.').next() == ours.split('.').next()
        }
        "ip_proto" | "tunnel_ip_proto" => {
            let number = PROTOCOLS.iter().find(|(known, _)| *known == claimed);
            number.map_or(claimed.to_owned(), |(_, number)| number.to_string()) == ours
        }
        "tcp_flags" | "tunnel_tcp_flags" => {
            let sorted = |words: &str| {
                let mut words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
                words.sort();
                words
            };
            sorted(claimed) == sorted(ours)
        }
        _ => claimed == ours,
    }
}

/// A flow record with its row.
#[derive(Clone, Copy)]
struct Flow<'a> {
    number: u64,
    message: &'a Message,
    record: &'a Record,
    rows: &'a Batch,
    row: usize,
}

impl<'a> Flow<'a> {
    /// All of them; rows come in the order of the records.
    fn all(ours: &'a Decoded) -> Vec<Flow<'a>> {
        let mut all = Vec::new();
        for description in &ours.descriptions {
            let Some(message) = &description.message else { continue };
            let sets = message.sets.iter().chain(description.late.iter().map(|late| &late.set));
            for record in sets.filter(|set| is_flows(set)).flat_map(|set| set.records()) {
                let (number, row) = (description.number, all.len());
                all.push(Flow { number, message, record, rows: &ours.rows, row });
            }
        }
        all
    }

    /// A moment as pmacct has it: of one that counts from the exporter's start it takes whole seconds
    /// from the export time, of others it drops what is below a second.
    fn whole_seconds(&self, ms: u64) -> String {
        let export = self.message.export_ms.unwrap_or_default();
        let by_uptime = self.message.uptime_ms.is_some() && ms <= export;
        let seconds = if by_uptime { export / 1_000 - (export - ms) / 1_000 } else { ms / 1_000 };
        format!("{seconds}.000000")
    }

    /// The value of this name, as pmacct writes it.
    fn shown(&self, name: &str, vrfs: &Vrfs) -> String {
        let (rows, row) = (self.rows, self.row);
        let seconds = |ms: u64| format!("{}.{:06}", ms / 1_000, ms % 1_000 * 1_000);
        match name {
            "ip_src" => cell(&rows.source_address, row).to_ip().to_string(),
            "ip_dst" => cell(&rows.destination_address, row).to_ip().to_string(),
            "port_src" => cell(&rows.source_port, row).to_string(),
            "port_dst" => cell(&rows.destination_port, row).to_string(),
            "ip_proto" => cell(&rows.protocol, row).to_string(),
            "tos" => cell(&rows.tos, row).to_string(),
            "iface_in" => cell(&rows.input_interface, row).to_string(),
            "iface_out" => cell(&rows.output_interface, row).to_string(),
            "mask_src" => cell(&rows.source_mask, row).to_string(),
            "mask_dst" => cell(&rows.destination_mask, row).to_string(),
            "packets" => cell(&rows.packets, row).to_string(),
            "bytes" => cell(&rows.bytes, row).to_string(),
            "timestamp_start" => self.whole_seconds(cell(&rows.first_ms, row)),
            "timestamp_end" => self.whole_seconds(cell(&rows.last_ms, row)),
            "timestamp_export" => seconds(self.message.export_ms.unwrap_or_default()),
            "tcp_flags" => flags(cell(&rows.tcp_flags, row)),
            "fwd_status" => self.status(),
            "mpls_label_stack" => self.labels(),
            "etype" => self.ethertype(),
            "vrf_name" => vrfs.name(vrfs.chosen([234, 235].map(|id| self.number(id)))),
            "ingress_vrf_name" => vrfs.name(self.number(234)),
            "egress_vrf_name" => vrfs.name(self.number(235)),
            "mpls_vpn_rd" => vrfs.distinguisher([234, 235].map(|id| self.number(id))),
            "mpls_vpn_rd_origin" => {
                let is_known = [234, 235].iter().any(|&id| self.record.field(0, id).is_some());
                if is_known { "flow" } else { "unknown" }.into()
            }
            "srv6_seg_ipv6_list" => self.segments(),
            _ if name.starts_with("tunnel_") => self.outer(name),
            _ => self.element(name),
        }
    }

    /// What the outer packet of a tunnel has; without a tunnel nothing.
    fn outer(&self, name: &str) -> String {
        let source = |address| self.addresses(address).count() > 1;
        let is_tunnel = source([27, 8]);
        let first = |id, absent: &str| match self.record.field(0, id) {
            Some(field) if is_tunnel => shown(field),
            _ => absent.to_owned(),
        };
        match name {
            "tunnel_ip_src" => first(27, ""),
            "tunnel_ip_dst" => first(28, ""),
            "tunnel_ip_proto" => first(4, "0"),
            "tunnel_tos" => first(5, "0"),
            "tunnel_port_src" => first(7, "0"),
            "tunnel_port_dst" => first(11, "0"),
            "tunnel_flow_label" => first(31, "0"),
            "tunnel_tcp_flags" => flags(first(6, "0").parse().unwrap_or_default()),
            _ => "not known to this reader".into(),
        }
    }

    /// Values of these elements that are addresses, but for those of a version that is not used.
    fn addresses(&self, elements: [u16; 2]) -> impl Iterator<Item = std::net::IpAddr> {
        let wanted = elements.map(|id| Some((0, id)));
        let fields =
            self.record.fields.iter().filter(move |field| wanted.contains(&field.element()));
        fields.filter_map(|field| match field.value {
            Value::Address(address) if !address.is_unspecified() => Some(address),
            _ => None,
        })
    }

    /// The segments of a routing header (IANA elements 494 and 495), each an address.
    fn segments(&self) -> String {
        let octets = [494, 495].into_iter().find_map(|id| self.record.field(0, id));
        let octets = octets.map(|field| field.octets.to_vec()).unwrap_or_default();
        let (segments, _) = octets.as_chunks::<16>();
        let segments = segments.iter().map(|octets| std::net::Ipv6Addr::from(*octets).to_string());
        segments.collect::<Vec<_>>().join(" ")
    }

    fn number(&self, id: u16) -> Option<u64> {
        self.record.field(0, id).and_then(|field| number(&field.octets))
    }

    fn element(&self, name: &str) -> String {
        let Some((_, id, absent)) = ELEMENTS.iter().find(|(known, ..)| *known == name) else {
            return "not known to this reader".into();
        };
        self.record.field(0, *id).map_or((*absent).to_owned(), shown)
    }

    fn status(&self) -> String {
        let status = self.number(89).unwrap_or_default();
        let known = STATUSES.iter().find(|(known, _)| *known == status);
        known.map_or(status.to_string(), |(_, words)| (*words).to_owned())
    }

    /// `0-69 1-24305`: place and label, without those that are zero.
    fn labels(&self) -> String {
        let labels = LABELS.filter_map(|id| self.record.field(0, id)).map(label);
        let shown = (0..).zip(labels).filter(|(_, label)| *label != 0);
        shown.map(|(at, label)| format!("{at}-{label}")).collect::<Vec<_>>().join(" ")
    }

    /// Of the frame, so of the outer packet.
    fn ethertype(&self) -> String {
        match self.number(256) {
            Some(kind) => format!("{kind:x}"),
            None if self.addresses([27, 27]).next().is_some() => "86dd".into(),
            None => "800".into(),
        }
    }
}

/// The label of an entry of a stack: its first 20 bits (RFC 3032, Section 2.1).
fn label(field: &Field) -> u64 {
    number(&field.octets).unwrap_or_default() >> 4
}

fn flags(bits: u16) -> String {
    let set = FLAGS.iter().enumerate().filter(|(bit, _)| bits & 1 << bit != 0);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

/// VRFs by their ids, as options data tells them: name, and distinguisher as pmacct writes it.
struct Vrfs(BTreeMap<u64, (String, String)>);

impl Vrfs {
    fn of(ours: &Decoded) -> Vrfs {
        let mut vrfs = BTreeMap::new();
        for record in ours.descriptions.iter().flat_map(|description| description.records()) {
            let ids = record.fields.iter().filter(|field| field.scope);
            let ids = ids.filter(|field| matches!(field.element(), Some((0, 234 | 235))));
            let name = record.field(0, 236).map(|field| match &field.value {
                Value::String(name) => name.clone(),
                _ => shown(field),
            });
            let rd = record.field(0, 90).map(|field| distinguisher(&field.octets));
            let Some(name) = name else { continue };
            for id in ids.filter_map(|field| number(&field.octets)) {
                vrfs.insert(id, (name.clone(), rd.clone().unwrap_or_default()));
            }
        }
        Vrfs(vrfs)
    }

    fn name(&self, id: Option<u64>) -> String {
        id.and_then(|id| self.0.get(&id)).map_or(String::new(), |(name, _)| name.clone())
    }

    /// The first VRF with a distinguisher, else the first that is known.
    fn chosen(&self, ids: [Option<u64>; 2]) -> Option<u64> {
        let known = || ids.into_iter().flatten().filter(|id| self.0.contains_key(id));
        let mut distinguished = known().filter(|id| self.0[id].1 != "0:0:0");
        distinguished.next().or_else(|| known().next())
    }

    /// Of the chosen VRF; else the id.
    fn distinguisher(&self, ids: [Option<u64>; 2]) -> String {
        let known = self.chosen(ids).and_then(|id| self.0.get(&id));
        let unknown = || match ids.iter().flatten().find(|&&id| id != 0) {
            Some(id) => format!("vrfid:{id}"),
            None => "0:0:0".into(),
        };
        known.map_or_else(unknown, |(_, rd)| rd.clone())
    }
}

/// A route distinguisher as type:administrator:number (RFC 4364, Section 4.2).
fn distinguisher(octets: &[u8]) -> String {
    let Some((kind, rest)) = octets.split_first_chunk::<2>() else { return String::new() };
    let kind = u16::from_be_bytes(*kind);
    let length = if kind == 0 { 2 } else { 4 };
    let (administrator, assigned) = rest.split_at(length.min(rest.len()));
    let [administrator, assigned] =
        [administrator, assigned].map(|octets| number(octets).unwrap_or_default());
    format!("{kind}:{administrator}:{assigned}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distinguisher_is_three_numbers() {
        assert_eq!(distinguisher(&[0, 2, 251, 240, 0, 54, 0, 14]), "2:4226809910:14");
        assert_eq!(distinguisher(&[0, 0, 251, 243, 0, 0, 0, 105]), "0:64499:105");
    }

    #[test]
    fn values_agree_however_they_are_written() {
        assert!(agrees("timestamp_start", "1677577599.000000", "1677577599.784000"));
        assert!(agrees("tcp_flags", "ACK FIN", "FIN ACK"));
        assert!(agrees("ip_proto", "udp", "17"));
        assert!(!agrees("port_src", "1", "2"));
    }
}
