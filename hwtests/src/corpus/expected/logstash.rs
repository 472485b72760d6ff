//! Logstash's expectations: `netflow_spec.rb` among the payloads of its NetFlow codec, which names for
//! each case the files that are read and some of the events that come of them, as JSON.
//!
//! A case's events are not all there are, and in no order that the file says, so each is the record
//! of which the most fields agree.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};
use weir_dataplane::describe::{Description, Field, Id, Message, Record, Value};
use weir_dataplane::element::Element;

use super::super::claim::{self, Claim, shown};
use super::super::decoded::Decoded;
use super::super::findings::{Findings, Place};
use super::moment::moment_ms;

/// Its names of NetFlow v9's field types.
const ELEMENTS: &[(&str, &[u16])] = &[
    ("in_bytes", &[1]),
    ("in_pkts", &[2]),
    ("flows", &[3]),
    ("protocol", &[4]),
    ("src_tos", &[5]),
    ("tcp_flags", &[6]),
    ("l4_src_port", &[7]),
    ("ipv4_src_addr", &[8]),
    ("src_mask", &[9]),
    ("ipv4_src_mask", &[9]),
    ("input_snmp", &[10]),
    ("l4_dst_port", &[11]),
    ("ipv4_dst_addr", &[12]),
    ("dst_mask", &[13]),
    ("ipv4_dst_mask", &[13]),
    ("output_snmp", &[14]),
    ("ipv4_next_hop", &[15]),
    ("src_as", &[16]),
    ("dst_as", &[17]),
    ("bgp_ipv4_next_hop", &[18]),
    ("last_switched", &[21]),
    ("first_switched", &[22]),
    ("out_bytes", &[23]),
    ("out_pkts", &[24]),
    ("ipv6_src_addr", &[27]),
    ("ipv6_dst_addr", &[28]),
    ("ipv6_src_mask", &[29]),
    ("ipv6_dst_mask", &[30]),
    ("flow_active_timeout", &[36]),
    ("flow_inactive_timeout", &[37]),
    ("total_bytes_exp", &[40]),
    ("total_pkts_exp", &[41]),
    ("total_flows_exp", &[42]),
    ("ipv4_src_prefix", &[44]),
    ("flow_sampler_id", &[48]),
    ("min_ttl", &[52]),
    ("max_ttl", &[53]),
    ("ipv4_ident", &[54]),
    ("dst_tos", &[55]),
    ("in_src_mac", &[56]),
    ("out_dst_mac", &[57]),
    ("src_vlan", &[58]),
    ("dst_vlan", &[59]),
    ("ip_protocol_version", &[60]),
    ("direction", &[61]),
    ("in_dst_mac", &[80]),
    ("out_src_mac", &[81]),
    ("if_name", &[82]),
    ("if_desc", &[83]),
    ("in_permanent_bytes", &[85]),
    ("in_permanent_pkts", &[86]),
    ("src_traffic_index", &[92]),
    ("dst_traffic_index", &[93]),
    ("application_description", &[94]),
    ("application_name", &[96]),
    ("flow_end_reason", &[136]),
    ("conn_id", &[148]),
    ("flow_start_msec", &[152]),
    ("flow_end_msec", &[153]),
    ("icmp_type", &[176, 178, 32]),
    ("icmp_code", &[177, 179]),
    ("udp_src_port", &[180]),
    ("udp_dst_port", &[181]),
    ("tcp_src_port", &[182]),
    ("tcp_dst_port", &[183]),
    ("ip_dscp", &[195]),
    ("xlate_src_addr_ipv4", &[225]),
    ("xlate_dst_addr_ipv4", &[226]),
    ("xlate_src_port", &[227]),
    ("xlate_dst_port", &[228]),
    ("fwd_flow_delta_bytes", &[231]),
    ("rev_flow_delta_bytes", &[232]),
    ("fw_event", &[233]),
    ("event_time_msec", &[323]),
    ("fw_ext_event", &[33_002]),
    ("ingress_acl_id", &[33_000]),
    ("egress_acl_id", &[33_001]),
    ("username", &[40_000]),
    ("app_id", &[56_701]),
    ("user_id", &[56_702]),
    ("nprobe_proto", &[57_590]),
    ("sampling_interval", &[34]),
    ("sampling_algorithm", &[35]),
];

/// Its names of header fields.
const HEADERS: &[(&str, &[&str])] = &[
    ("flow_seq_num", &["flowSequence", "sequenceNumber"]),
    ("engine_type", &["engineType"]),
    ("engine_id", &["engineId"]),
    ("flow_records", &["count"]),
    ("version", &["version"]),
];

/// What is interpreted: times that count from the exporter's start.
const SWITCHED: [&str; 2] = ["first_switched", "last_switched"];

/// One case of the file.
#[derive(Debug, Default)]
struct Case {
    name: String,
    files: Vec<String>,
    events: Vec<Map<String, Json>>,
}

/// Compares each case with what weir makes of its files, which are in `folder`.
pub(super) fn compare(text: &str, folder: &Path, place: &Place) -> Findings {
    let mut findings = Findings::default();
    for case in cases(text) {
        let files: Vec<PathBuf> = case.files.iter().map(|file| folder.join(file)).collect();
        if case.events.is_empty() || files.is_empty() || !files.iter().all(|file| file.is_file()) {
            continue;
        }
        let ours = Decoded::of(&files);
        let place = place.packet(case.files.last().map(String::as_str).unwrap_or_default());
        findings.compared.packets += ours.descriptions.len() as u64;
        for (number, event) in (1..).zip(&case.events) {
            let place = place.record(format!("{} {number}", case.name));
            compare_event(event, &ours.descriptions, &place, &mut findings);
        }
    }
    findings
}

/// Reads the cases: contexts with their files and their here-documents.
fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut document: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(text) = &mut document {
            if trimmed != "END" {
                text.push_str(&without_code(line));
                text.push('\n');
                continue;
            }
            let event = serde_json::from_str::<Json>(text).ok();
            let event = event.and_then(|event| event.get("netflow")?.as_object().cloned());
            if let (Some(case), Some(event)) = (cases.last_mut(), event) {
                case.events.push(event);
            }
            document = None;
        } else if let Some(name) = trimmed.strip_prefix("context ") {
            let name = name.trim_matches([' ', '"', 'd', 'o']).trim_end_matches('"');
            cases.push(Case { name: name.into(), ..Case::default() });
        } else if trimmed.contains("<<-END") {
            document = Some(String::new());
        } else if trimmed.contains("IO.read")
            && let Some(file) = trimmed.split('"').find(|word| word.ends_with(".dat"))
            && let Some(case) = cases.last_mut()
        {
            case.files.push(file.into());
        }
    }
    cases
}

/// The line without what the program would put into it.
fn without_code(line: &str) -> String {
    let mut rest = line;
    let mut kept = String::new();
    while let Some((before, after)) = rest.split_once("#{") {
        kept.push_str(before);
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    kept + rest
}

fn compare_event(
    event: &Map<String, Json>,
    ours: &[Description],
    place: &Place,
    findings: &mut Findings,
) {
    let mut best: Option<(usize, &Message, &Record)> = None;
    for description in ours {
        let Some(message) = &description.message else { continue };
        let sets = message.sets.iter().chain(description.late.iter().map(|late| &late.set));
        for set in sets {
            let id = event.get("flowset_id").and_then(Json::as_u64);
            if id.is_some_and(|id| id != u64::from(set.id)) {
                continue;
            }
            for record in set.records() {
                let agreeing = event.iter();
                let agreeing = agreeing
                    .filter(|(name, said)| judge(name, said, message, record) == Some(Ok(())));
                let score = agreeing.count();
                if best.is_none_or(|(most, ..)| score > most) {
                    best = Some((score, message, record));
                }
            }
        }
    }
    let Some((_, message, record)) = best else {
        findings.judged(place, false, format!("{} fields", event.len()), "no record".into());
        return;
    };
    findings.compared.records += 1;
    for (name, said) in event {
        match judge(name, said, message, record) {
            Some(Ok(())) => findings.judged(&place.field(name), true, String::new(), String::new()),
            Some(Err(ours)) => findings.judged(&place.field(name), false, said.to_string(), ours),
            None => {}
        }
    }
}

/// Whether the record has this; `None` where weir has no such name and no such number is known.
fn judge(
    name: &str,
    said: &Json,
    message: &Message,
    record: &Record,
) -> Option<Result<(), String>> {
    if name == "flowset_id" {
        return None;
    }
    let field = find(name, message, record);
    if SWITCHED.contains(&name)
        && let (Some(field), Some(claimed)) = (field, said.as_str().and_then(moment_ms))
    {
        let uptime = claim::number(&field.octets)?;
        let (export, up) = (message.export_ms?, u64::from(message.uptime_ms?));
        let ours = (export + uptime).checked_sub(up)?;
        return Some(same(claimed == ours, Claim::Moment(ours)));
    }
    let Some(field) = field else {
        return Element::from_name(name).map(|_| Err("no such field".into()));
    };
    let claim = claimed(name, said, field);
    Some(if claim.agrees(field) { Ok(()) } else { Err(shown(field)) })
}

fn same(agrees: bool, ours: Claim) -> Result<(), String> {
    if agrees { Ok(()) } else { Err(ours.to_string()) }
}

fn find<'a>(name: &str, message: &'a Message, record: &'a Record) -> Option<&'a Field> {
    let header =
        |names: &[&str]| message.header.iter().find(|field| names.contains(&&*field.what.name));
    if let Some((_, names)) = HEADERS.iter().find(|(known, _)| *known == name)
        && let Some(field) = header(names)
    {
        return Some(field);
    }
    let numbered = ELEMENTS.iter().find(|(known, _)| *known == name).map(|(_, ids)| *ids);
    let by_number = numbered.unwrap_or_default().iter().find_map(|&id| record.field(0, id));
    let by_name = || {
        let is_it = |field: &&Field| field.what.name.eq_ignore_ascii_case(name);
        // Of several with one name Logstash keeps the last.
        record.fields.iter().rev().find(is_it)
    };
    let scope = || {
        let wanted = name.strip_prefix("scope_")?;
        let is_scope = |field: &&Field| {
            matches!(field.what.id, Id::Scope(_)) && field.what.name.eq_ignore_ascii_case(wanted)
        };
        record.fields.iter().find(is_scope)
    };
    by_number.or_else(by_name).or_else(scope)
}

fn claimed(name: &str, said: &Json, field: &Field) -> Claim {
    match said {
        Json::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(number), _) => Claim::Number(number),
            (_, Some(number)) => Claim::Float(number),
            _ => Claim::Odd(said.to_string()),
        },
        Json::String(text) => match &field.value {
            Value::Address(_) => text.parse().map_or(Claim::Text(text.clone()), Claim::Address),
            Value::Time(_) => moment_ms(text).map_or(Claim::Text(text.clone()), Claim::Moment),
            // Groups of digits between dashes.
            Value::Octets if name.ends_with("acl_id") => {
                let octets = claim::of_hex(&text.replace('-', ""));
                octets.map_or(Claim::Text(text.clone()), Claim::Octets)
            }
            Value::Octets => match claim::of_hex(text).filter(|octets| !octets.is_empty()) {
                Some(octets) if octets.len() == field.octets.len() => Claim::Octets(octets),
                _ => Claim::Text(text.clone()),
            },
            _ => Claim::Text(text.clone()),
        },
        _ => Claim::Odd(said.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_its_files_and_events() {
        let text = "  context \"v5 one\" do\n    data << IO.read(File.join(x, \"a.dat\"), :mode => \"rb\")\n\
                    events << <<-END\n{\"netflow\": {\"at\": \"1#{micros}Z\"}}\nEND\n";
        let cases = cases(text);
        assert_eq!(cases.len(), 1);
        assert_eq!(cases[0].files, ["a.dat"]);
        assert_eq!(cases[0].events[0]["at"], "1Z");
    }
}
