//! sFlow's structures, which have names and no numbers: what their fields are called by others.

use weir_dataplane::describe::{Field, Record, Value};

/// Names of telegraf, and weir's within a sample, from the outside in.
const OF_TELEGRAF: &[(&str, &[&str])] = &[
    ("interface", &["if_counters", "ifIndex"]),
    ("interface_type", &["if_counters", "ifType"]),
    ("speed", &["if_counters", "ifSpeed"]),
    ("status", &["if_counters", "ifStatus"]),
    ("promiscuous", &["if_counters", "ifPromiscuousMode"]),
    ("in_bytes", &["if_counters", "ifInOctets"]),
    ("in_unicast_packets_total", &["if_counters", "ifInUcastPkts"]),
    ("in_mcast_packets_total", &["if_counters", "ifInMulticastPkts"]),
    ("in_broadcast_packets_total", &["if_counters", "ifInBroadcastPkts"]),
    ("in_dropped_packets", &["if_counters", "ifInDiscards"]),
    ("in_errors", &["if_counters", "ifInErrors"]),
    ("in_unknown_protocol", &["if_counters", "ifInUnknownProtos"]),
    ("out_bytes", &["if_counters", "ifOutOctets"]),
    ("out_unicast_packets_total", &["if_counters", "ifOutUcastPkts"]),
    ("out_mcast_packets_total", &["if_counters", "ifOutMulticastPkts"]),
    ("out_broadcast_packets_total", &["if_counters", "ifOutBroadcastPkts"]),
    ("out_dropped_packets", &["if_counters", "ifOutDiscards"]),
    ("out_errors", &["if_counters", "ifOutErrors"]),
    ("port_name", &["port_name", "name"]),
    // The sample's, not the datagram's.
    ("seq_number", &["sequenceNumber"]),
    ("in_snmp", &["sourceIdIndex"]),
    ("out_queue", &["extended_egress_queue", "queue"]),
    ("reason", &["reason"]),
    ("sampling_drops", &["drops"]),
];

/// The path of a field that telegraf calls so.
pub(super) fn of_telegraf(name: &str) -> Option<&'static [&'static str]> {
    OF_TELEGRAF.iter().find(|(known, _)| *known == name).map(|(_, path)| *path)
}

/// The field at a path of names.
pub(super) fn find<'a>(record: &'a Record, path: &[&str]) -> Option<&'a Field> {
    let (first, rest) = path.split_first()?;
    let mut found = record.fields.iter().find(|field| field.what.name == *first)?;
    for name in rest {
        let Value::Fields(fields) = &found.value else { return None };
        found = fields.iter().find(|field| field.what.name == *name)?;
    }
    Some(found)
}
