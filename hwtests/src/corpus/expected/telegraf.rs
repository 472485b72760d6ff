//! telegraf's decodes: `expected.out` in a test case's folder, a record a line of InfluxDB's line
//! protocol: `measurement,tag=value field=value,field=value time`.
//!
//! Its fields have names of its own, which stand for one of several elements; a line is the first
//! record not yet taken of which the most fields agree.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_dataplane::describe::{Content, Description, Field, Message, Record};

use super::super::claim::{self, Claim, shown};
use super::super::findings::{Findings, Place};
use super::structures;

/// telegraf's names, and the elements that they stand for.
const ELEMENTS: &[(&str, &[(u32, u16)])] = &[
    ("protocol", &[(0, 4)]),
    ("src", &[(0, 8), (0, 27)]),
    ("dst", &[(0, 12), (0, 28)]),
    ("src_port", &[(0, 7), (0, 180), (0, 182)]),
    ("dst_port", &[(0, 11), (0, 181), (0, 183)]),
    ("in_bytes", &[(0, 1)]),
    ("in_packets", &[(0, 2)]),
    ("out_bytes", &[(0, 23)]),
    ("out_packets", &[(0, 24)]),
    ("in_total_bytes", &[(0, 85)]),
    ("in_total_packets", &[(0, 86)]),
    ("src_tos", &[(0, 5)]),
    ("dst_tos", &[(0, 55)]),
    ("tcp_flags", &[(0, 6)]),
    ("flow_end_reason", &[(0, 136)]),
    ("flow_start", &[(0, 150)]),
    ("flow_end", &[(0, 151)]),
    ("flow_start_ms", &[(0, 152)]),
    ("flow_end_ms", &[(0, 153)]),
    ("first_switched", &[(0, 22)]),
    ("last_switched", &[(0, 21)]),
    ("vlan_src", &[(0, 58)]),
    ("src_mask", &[(0, 9), (0, 29)]),
    ("dst_mask", &[(0, 13), (0, 30)]),
    ("next_hop", &[(0, 15), (0, 62)]),
    ("in_snmp", &[(0, 10)]),
    ("out_snmp", &[(0, 14)]),
    ("in_src_mac", &[(0, 56)]),
    ("out_dst_mac", &[(0, 57)]),
    ("ip_version", &[(0, 60)]),
    ("bgp_src_as", &[(0, 16)]),
    ("bgp_dst_as", &[(0, 17)]),
    ("engine_type", &[(0, 38)]),
    ("engine_id", &[(0, 39)]),
    ("icmp_type", &[(0, 32), (0, 139)]),
    ("icmp_code", &[(0, 32), (0, 139)]),
    ("fwd_status", &[(0, 89)]),
    ("fwd_reason", &[(0, 89)]),
    ("padding", &[(0, 210)]),
    ("event_time", &[(0, 322)]),
    ("exporter", &[(0, 130), (0, 131)]),
    ("exporting_pid", &[(0, 144)]),
    ("observation_domain_id", &[(0, 149)]),
    ("system_init_ms", &[(0, 160)]),
    ("dropped_packets_total", &[(0, 135)]),
    ("ignored_packet_total", &[(0, 164)]),
    ("notsent_packet_total", &[(0, 167)]),
    ("total_flows_exported", &[(0, 42)]),
    ("retransmitted_in_pkts", &[(35632, 109)]),
    ("retransmitted_out_pkts", &[(35632, 110)]),
    ("retransmitted_in_bytes", &[(35632, 127)]),
    ("retransmitted_out_bytes", &[(35632, 128)]),
    ("l7_proto", &[(35632, 118)]),
    ("client_nw_latency_ms", &[(35632, 123)]),
    ("server_nw_latency_ms", &[(35632, 124)]),
    ("app_latency_ms", &[(35632, 125)]),
    ("ssl_server_name", &[(35632, 188)]),
    ("ja3c_hash", &[(35632, 489)]),
    ("ja3s_hash", &[(35632, 490)]),
    ("ssl_cipher", &[(35632, 493)]),
    ("ssl_unsafe_cipher", &[(35632, 494)]),
    ("ssl_version", &[(35632, 495)]),
];

/// Fields that come from a message's header, and the header's name for them.
const HEADERS: &[(&str, &[&str])] = &[
    ("flows", &["count"]),
    ("sys_uptime", &["sysUptime", "uptime"]),
    ("seq_number", &["sequence", "flowSequence", "sequenceNumber"]),
    ("sampling_interval", &["sampling", "samplingInterval"]),
    ("engine_type", &["engineType"]),
    ("engine_id", &["engineId"]),
    ("agent_ip", &["agentAddress"]),
    ("agent_subid", &["subAgentId", "subAgent"]),
    ("ip_version", &["agentAddressType"]),
];

/// Names of values, by telegraf's field.
const NAMES: &[(&str, &str, u64)] = &[
    ("protocol", "icmp", 1),
    ("protocol", "tcp", 6),
    ("protocol", "udp", 17),
    ("flow_end_reason", "idle timeout", 1),
    ("flow_end_reason", "active timeout", 2),
    ("flow_end_reason", "end of flow", 3),
    ("flow_end_reason", "forced end", 4),
    ("flow_end_reason", "lack of resources", 5),
    ("ip_version", "IPv4", 4),
    ("ip_version", "IPv6", 6),
];

/// The bit by which CERT marks its own reverse elements.
const CERT_REVERSE: u16 = 0x4000;

/// A record with the message that it stands in.
type Candidate<'a> = (u64, &'a Message, &'a Record, bool);

/// Compares with what weir makes of the folder's packets.
pub(super) fn compare(text: &str, ours: &[Description], place: &Place) -> Findings {
    let mut findings = Findings::default();
    let mut candidates = Vec::new();
    for description in ours {
        let Some(message) = &description.message else { continue };
        findings.compared.packets += 1;
        for set in &message.sets {
            let options = super::is_options(set);
            let records = set.records().iter();
            candidates.extend(records.map(|record| (description.number, message, record, options)));
        }
    }
    let sets = ours.iter().filter_map(|one| one.message.as_ref()).flat_map(|one| &one.sets);
    let is_opaque = sets.clone().any(|set| matches!(set.content, Content::Opaque));
    for (number, line) in (1..).zip(text.lines().filter(|line| !line.trim().is_empty())) {
        let Some(line) = Line::parse(line) else {
            findings.judged(&place.record(number), false, line.into(), "a line".into());
            continue;
        };
        let options = line.measurement.ends_with("_options");
        let score = |candidate: &Candidate<'_>| line.agreeing(candidate);
        let best = (0..candidates.len())
            .filter(|&at| candidates[at].3 == options)
            .max_by_key(|&at| (score(&candidates[at]), std::cmp::Reverse(at)));
        // Samples that weir skips whole.
        if best.is_none() && is_opaque {
            continue;
        }
        let Some(best) = best else {
            let claimed = line.fields.len();
            findings.judged(
                &place.record(number),
                false,
                format!("a record of {claimed} fields"),
                "no record".into(),
            );
            continue;
        };
        findings.compared.records += 1;
        let candidate = candidates.remove(best);
        line.compare(&candidate, &place.packet(candidate.0).record(number), &mut findings);
    }
    for (packet, _, record, options) in candidates {
        let kind = if options { "options data" } else { "data" };
        let ours = format!("{kind} of {} fields", record.fields.len());
        findings.judged(&place.packet(packet), false, "no record".into(), ours);
    }
    findings
}

/// A line of the line protocol.
#[derive(Debug)]
struct Line<'a> {
    measurement: &'a str,
    fields: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Line<'a>> {
        let (head, rest) = line.split_once(' ')?;
        let (measurement, _) = head.split_once(',')?;
        let mut fields = BTreeMap::new();
        let mut rest = rest;
        loop {
            let (name, value) = rest.split_once('=')?;
            // Text is quoted, and can hold anything but quotes.
            let end = match value.strip_prefix('"') {
                Some(text) => text.find('"')? + 2,
                None => value.find([',', ' ']).unwrap_or(value.len()),
            };
            fields.insert(name, &value[..end]);
            rest = match value[end..].strip_prefix(',') {
                Some(rest) => rest,
                None => return Some(Line { measurement, fields }),
            };
        }
    }

    fn agreeing(&self, candidate: &Candidate<'_>) -> usize {
        let fields = self.fields.iter();
        fields.filter(|(name, value)| judge(name, value, candidate).is_ok()).count()
    }

    fn compare(&self, candidate: &Candidate<'_>, place: &Place, findings: &mut Findings) {
        for (name, value) in &self.fields {
            let (agrees, ours) = match judge(name, value, candidate) {
                Ok(()) => (true, String::new()),
                Err(ours) => (false, ours),
            };
            findings.judged(&place.field(name), agrees, (*value).to_owned(), ours);
        }
    }
}

/// Whether the record has this value.
///
/// # Errors
/// With what it has instead.
fn judge(name: &str, value: &str, candidate: &Candidate<'_>) -> Result<(), String> {
    let (_, message, record, _) = candidate;
    let found = find(name, message, record);
    let Some(field) = found else { return Err("no such field".into()) };
    let claim = claimed(name, value);
    // One element says both type and code, and both status and reason.
    let number = claim::number(&field.octets).unwrap_or_default();
    let (agrees, own) = match (name, &claim) {
        ("icmp_type", Claim::Number(kind)) => (number >> 8 == *kind, (number >> 8).to_string()),
        ("icmp_code", Claim::Number(code)) => (number & 255 == *code, (number & 255).to_string()),
        ("fwd_status", Claim::Text(status)) => {
            let names = ["unknown", "forwarded", "dropped", "consumed"];
            let own = names[(number >> 6 & 3) as usize];
            (own == status, own.to_owned())
        }
        ("fwd_reason", Claim::Text(reason)) => {
            (number & 63 == 0 && reason == "unknown", shown(field))
        }
        // Of sFlow it is the agent's address that has the version, and both bits of the status that
        // are set when an interface is up.
        ("ip_version", Claim::Number(version)) if field.what.name == "agentAddressType" => {
            (number == (version - 2) / 2, number.to_string())
        }
        ("status", Claim::Text(status)) => ((number == 3) == (status == "up"), number.to_string()),
        _ => (claim.agrees(field), shown(field)),
    };
    if agrees { Ok(()) } else { Err(own) }
}

fn find<'a>(name: &str, message: &'a Message, record: &'a Record) -> Option<&'a Field> {
    let own = || ELEMENTS.iter().find(|(known, _)| *known == name).map(|(_, elements)| *elements);
    let numbered = of_number(name);
    let elements = numbered.as_slice();
    let elements = if elements.is_empty() { own().unwrap_or_default() } else { elements };
    let in_record = elements.iter().find_map(|&(enterprise, id)| record.field(enterprise, id));
    let in_header = || {
        let names = HEADERS.iter().find(|(known, _)| *known == name)?.1;
        message.header.iter().find(|field| names.contains(&&*field.what.name))
    };
    let in_sample = || structures::find(record, structures::of_telegraf(name)?);
    in_record.or_else(in_sample).or_else(in_header)
}

/// The element of a name like `type_29305_85`, or `type_6871_rev_40`.
fn of_number(name: &str) -> Option<(u32, u16)> {
    let (enterprise, id) = name.strip_prefix("type_")?.split_once('_')?;
    let enterprise: u32 = enterprise.parse().ok()?;
    match id.strip_prefix("rev_") {
        Some(id) => Some((enterprise, id.parse::<u16>().ok()? | CERT_REVERSE)),
        // Of some of its elements telegraf leaves the enterprise bit on.
        None => Some((enterprise, id.parse::<u16>().ok()? & 0x7fff)),
    }
}

fn claimed(name: &str, value: &str) -> Claim {
    if let Some(text) = value.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        if let Some((_, _, number)) =
            NAMES.iter().find(|(of, known, _)| *of == name && *known == text)
        {
            return Claim::Number(*number);
        }
        if name == "tcp_flags" {
            return flags(text);
        }
        if let Some(octets) = text.strip_prefix("0x").and_then(claim::of_hex) {
            return Claim::Octets(octets);
        }
        if name.starts_with("engine_") {
            return text.parse().map_or(Claim::Text(text.into()), Claim::Number);
        }
        return text.parse::<IpAddr>().map_or(Claim::Text(text.into()), Claim::Address);
    }
    let digits = value.trim_end_matches(['u', 'i']);
    digits.parse().map_or(Claim::Odd(value.into()), Claim::Number)
}

/// `...AP...`: from CWR to FIN.
fn flags(text: &str) -> Claim {
    let bits = text.bytes().fold(0, |bits, byte| bits << 1 | u64::from(byte != b'.'));
    if text.len() == 8 { Claim::Number(bits) } else { Claim::Odd(text.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_names_and_values() {
        let line =
            Line::parse("netflow,source=x,version=V5 a=1u,b=\"x, y=z\",c=\"\" 12").expect("a line");
        assert_eq!(line.measurement, "netflow");
        let fields: Vec<_> = line.fields.into_iter().collect();
        assert_eq!(fields, [("a", "1u"), ("b", "\"x, y=z\""), ("c", "\"\"")]);
    }

    #[test]
    fn names_of_numbers_are_elements() {
        assert_eq!(of_number("type_29305_85"), Some((29305, 85)));
        assert_eq!(of_number("type_6871_rev_40"), Some((6871, 0x4028)));
        assert_eq!(of_number("type_6871_33319"), Some((6871, 551)));
        assert_eq!(of_number("tcp_flags"), None);
    }

    #[test]
    fn flags_are_letters_from_cwr_to_fin() {
        assert_eq!(flags("...AP..."), Claim::Number(0x18));
    }
}
