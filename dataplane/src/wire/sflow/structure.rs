//! What sFlow's structures are made of: for people, where [`record`](super::record) is for columns.
//!
//! Names and forms are those of "sFlow Version 5" and of sflow.org's register of structures. A
//! structure is walked field by field; when it is cut short, what stood before is good.

use std::ops::Range;

use super::address;
use crate::wire::read_u32;

/// How a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A number of so many bytes.
    Number(usize),
    /// So many numbers of four bytes and the structure's own: four bytes that count, then these.
    Numbers,
    /// A floating-point number of four bytes.
    Float,
    /// Bytes as they stand, so many.
    Bytes(usize),
    /// A link-layer address, padded to eight bytes.
    Mac,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// An address behind its type.
    Address,
    /// A text behind its length.
    Text,
    /// Bytes behind their length.
    Opaque,
    /// A packet's first bytes behind their length.
    Packet,
    /// An interface, two bits of form and thirty of value.
    Interface,
    /// The same as two numbers.
    InterfaceExpanded,
    /// The segments of an AS path behind their number: each a type and a counted list.
    Path,
    /// A host's network adapters behind their number: each an index and a counted list of addresses.
    Adapters,
}

/// A field: its name, the IANA element that says the same (0 = none) and how it is written.
pub type Named = (&'static str, u16, Form);

/// A structure of sflow.org's register.
#[derive(Debug)]
pub struct Structure {
    /// `enterprise << 12 | format`.
    pub tag: u32,
    /// Its name in the register.
    pub name: &'static str,
    /// Its fields in their order.
    pub fields: &'static [Named],
}

const WORD: Form = Form::Number(4);
const LONG: Form = Form::Number(8);

/// The fixed fields of a flow sample, those of an expanded one, and of counter samples likewise.
pub mod sample {
    use super::{Form, Named, WORD};

    /// Of an ordinary flow sample.
    pub const FLOW: &[Named] = &[
        ("sequenceNumber", 0, WORD),
        ("sourceIdType", 0, Form::Number(1)),
        ("sourceIdIndex", 0, Form::Number(3)),
        ("samplingRate", 0, WORD),
        ("samplePool", 0, WORD),
        ("drops", 0, WORD),
        ("input", 10, Form::Interface),
        ("output", 14, Form::Interface),
        ("records", 0, WORD),
    ];
    /// Of an expanded flow sample.
    pub const FLOW_EXPANDED: &[Named] = &[
        ("sequenceNumber", 0, WORD),
        ("sourceIdType", 0, WORD),
        ("sourceIdIndex", 0, WORD),
        ("samplingRate", 0, WORD),
        ("samplePool", 0, WORD),
        ("drops", 0, WORD),
        ("input", 10, Form::InterfaceExpanded),
        ("output", 14, Form::InterfaceExpanded),
        ("records", 0, WORD),
    ];
    /// The tag of a sample of a discarded packet.
    pub const DISCARDED_TAG: u32 = 5;
    /// Of a discarded packet.
    pub const DISCARDED: &[Named] = &[
        ("sequenceNumber", 0, WORD),
        ("sourceIdType", 0, WORD),
        ("sourceIdIndex", 0, WORD),
        ("drops", 0, WORD),
        ("input", 10, WORD),
        ("output", 14, WORD),
        ("reason", 0, WORD),
        ("records", 0, WORD),
    ];
    /// Of an ordinary counter sample.
    pub const COUNTERS: &[Named] = &[
        ("sequenceNumber", 0, WORD),
        ("sourceIdType", 0, Form::Number(1)),
        ("sourceIdIndex", 0, Form::Number(3)),
        ("records", 0, WORD),
    ];
    /// Of an expanded counter sample.
    pub const COUNTERS_EXPANDED: &[Named] = &[
        ("sequenceNumber", 0, WORD),
        ("sourceIdType", 0, WORD),
        ("sourceIdIndex", 0, WORD),
        ("records", 0, WORD),
    ];
}

/// A field that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: &'static str,
    /// The IANA element that says the same; 0 = none.
    pub element: u16,
    /// How it is written.
    pub form: Form,
    /// Where its value stands: without a length or a type before it, without padding behind it.
    pub at: Range<usize>,
}

/// Finds the fields in a body, and where they end; the last is missing where it is cut short.
pub fn walk(fields: &[Named], body: &[u8]) -> (Vec<Found>, usize) {
    let mut found = Vec::with_capacity(fields.len());
    let mut at = 0;
    for &(name, element, form) in fields {
        let Some((value, end)) = place(form, body, at) else { break };
        found.push(Found { name, element, form, at: value });
        at = end;
    }
    (found, at)
}

/// Where the value of a field stands that begins at `at`, and where the next one does.
fn place(form: Form, body: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let rest = body.get(at..)?;
    let word = |at: usize| body.get(at..at + 4).map(|bytes| read_u32(bytes, 0..4) as usize);
    let fixed = |length: usize| (length <= rest.len()).then_some((at..at + length, at + length));
    match form {
        Form::Number(length) | Form::Bytes(length) => fixed(length),
        Form::Float | Form::Interface | Form::Ipv4 => fixed(4),
        Form::Ipv6 => fixed(16),
        Form::InterfaceExpanded => fixed(8),
        Form::Mac => fixed(8).map(|(_, end)| (at..at + 6, end)),
        Form::Address => {
            let (_, length) = address(rest)?;
            Some((at + 4..at + length, at + length))
        }
        Form::Text | Form::Opaque | Form::Packet => {
            let length = word(at)?;
            let value = at + 4..(at + 4).checked_add(length)?;
            // Who forgets the padding at the very end is understood.
            let end = value.end.next_multiple_of(4).min(body.len());
            (value.end <= body.len()).then_some((value, end))
        }
        Form::Numbers => {
            let end = (at + 4).checked_add(word(at)?.checked_mul(4)?)?;
            (end <= body.len()).then_some((at + 4..end, end))
        }
        Form::Path => lists(body, at, 4, 4),
        Form::Adapters => lists(body, at, 4, 8),
    }
}

/// Counted structures, each of a head and a counted list of items of so many bytes.
fn lists(body: &[u8], at: usize, head: usize, item: usize) -> Option<(Range<usize>, usize)> {
    let word = |at: usize| body.get(at..at + 4).map(|bytes| read_u32(bytes, 0..4) as usize);
    let mut end = at + 4;
    for _ in 0..word(at)? {
        let items = word(end + head)?;
        end = (end + head + 4).checked_add(items.checked_mul(item)?)?;
        if end > body.len() {
            return None;
        }
    }
    Some((at + 4..end, end))
}

/// The segments of an AS path, or the like: each head and where its items stand, `at` what
/// [`Form::Path`] or [`Form::Adapters`] has found.
pub fn listed(form: Form, body: &[u8], at: Range<usize>) -> Vec<(u32, Vec<Range<usize>>)> {
    let item = if form == Form::Path { 4 } else { 8 };
    let mut lists = Vec::new();
    let mut next = at.start;
    while let Some(head) = body[..at.end].get(next..next + 8) {
        let (kind, count) = (read_u32(head, 0..4), read_u32(head, 4..8) as usize);
        let start = next + 8;
        next = start + count * item;
        lists.push((kind, (start..next).step_by(item).map(|at| at..at + item).collect()));
    }
    lists
}

/// The record of a flow sample with this tag.
pub fn of_flow(tag: u32) -> Option<&'static Structure> {
    FLOW.iter().find(|structure| structure.tag == tag)
}

/// The record of a counter sample with this tag.
pub fn of_counters(tag: u32) -> Option<&'static Structure> {
    COUNTERS.iter().find(|structure| structure.tag == tag)
}

macro_rules! structures {
    ($($enterprise:literal/$format:literal $name:literal {
        $($field:literal $($element:literal)? : $form:expr),* $(,)?
    })*) => {
        &[$(Structure {
            tag: ($enterprise << 12) | $format,
            name: $name,
            fields: &[$(($field, 0 $(+ $element)?, $form)),*],
        }),*]
    };
}

/// What an agent says of a packet.
static FLOW: &[Structure] = structures! {
    0/1 "sampled_header" {
        "headerProtocol": WORD, "frameLength" 312: WORD, "stripped": WORD, "header": Form::Packet,
    }
    0/2 "sampled_ethernet" {
        "length": WORD, "sourceMac" 56: Form::Mac, "destinationMac" 80: Form::Mac,
        "type" 256: WORD,
    }
    0/3 "sampled_ipv4" {
        "length" 224: WORD, "protocol" 4: WORD, "source" 8: Form::Ipv4,
        "destination" 12: Form::Ipv4, "sourcePort" 7: WORD, "destinationPort" 11: WORD,
        "tcpFlags" 6: WORD, "tos" 5: WORD,
    }
    0/4 "sampled_ipv6" {
        "length" 224: WORD, "protocol" 4: WORD, "source" 27: Form::Ipv6,
        "destination" 28: Form::Ipv6, "sourcePort" 7: WORD, "destinationPort" 11: WORD,
        "tcpFlags" 6: WORD, "priority" 5: WORD,
    }
    0/1001 "extended_switch" {
        "sourceVlan" 58: WORD, "sourcePriority": WORD, "destinationVlan" 59: WORD,
        "destinationPriority": WORD,
    }
    0/1002 "extended_router" {
        "nextHop": Form::Address, "sourceMask": WORD, "destinationMask": WORD,
    }
    0/1003 "extended_gateway" {
        "nextHop": Form::Address, "as": WORD, "sourceAs" 16: WORD, "sourcePeerAs" 129: WORD,
        "destinationAsPath": Form::Path, "communities": Form::Numbers, "localPreference": WORD,
    }
    0/1004 "extended_user" {
        "sourceCharset": WORD, "sourceUser": Form::Text, "destinationCharset": WORD,
        "destinationUser": Form::Text,
    }
    0/1005 "extended_url" { "direction": WORD, "url": Form::Text, "host": Form::Text }
    0/1006 "extended_mpls" {
        "nextHop": Form::Address, "inStack": Form::Numbers, "outStack": Form::Numbers,
    }
    0/1007 "extended_nat" {
        "sourceAddress": Form::Address, "destinationAddress": Form::Address,
    }
    0/1008 "extended_mpls_tunnel" {
        "tunnelName": Form::Text, "tunnelId": WORD, "tunnelCos": WORD,
    }
    0/1009 "extended_mpls_vc" {
        "instanceName": Form::Text, "vllVcId": WORD, "vcLabelCos": WORD,
    }
    0/1010 "extended_mpls_FTN" { "ftnDescription": Form::Text, "ftnMask": WORD }
    0/1011 "extended_mpls_LDP_FEC" { "fecAddressPrefixLength": WORD }
    0/1012 "extended_vlantunnel" { "stack": Form::Numbers }
    0/1013 "extended_80211_payload" { "ciphersuite": WORD, "data": Form::Opaque }
    0/1014 "extended_80211_rx" {
        "ssid": Form::Text, "bssid": Form::Mac, "version": WORD, "channel": WORD, "speed": LONG,
        "rsni": WORD, "rcpi": WORD, "packetDuration": WORD,
    }
    0/1015 "extended_80211_tx" {
        "ssid": Form::Text, "bssid": Form::Mac, "version": WORD, "transmissions": WORD,
        "packetDuration": WORD, "retransDuration": WORD, "channel": WORD, "speed": LONG,
        "power": WORD,
    }
    0/1020 "extended_nat_port" { "sourcePort": WORD, "destinationPort": WORD }
    0/1021 "extended_L2_tunnel_egress" {
        "length": WORD, "sourceMac" 56: Form::Mac, "destinationMac" 80: Form::Mac,
        "type" 256: WORD,
    }
    0/1022 "extended_L2_tunnel_ingress" {
        "length": WORD, "sourceMac" 56: Form::Mac, "destinationMac" 80: Form::Mac,
        "type" 256: WORD,
    }
    0/1023 "extended_ipv4_tunnel_egress" {
        "length": WORD, "protocol" 4: WORD, "source" 8: Form::Ipv4, "destination" 12: Form::Ipv4,
        "sourcePort" 7: WORD, "destinationPort" 11: WORD, "tcpFlags" 6: WORD, "tos" 5: WORD,
    }
    0/1024 "extended_ipv4_tunnel_ingress" {
        "length": WORD, "protocol" 4: WORD, "source" 8: Form::Ipv4, "destination" 12: Form::Ipv4,
        "sourcePort" 7: WORD, "destinationPort" 11: WORD, "tcpFlags" 6: WORD, "tos" 5: WORD,
    }
    0/1025 "extended_ipv6_tunnel_egress" {
        "length": WORD, "protocol" 4: WORD, "source" 27: Form::Ipv6, "destination" 28: Form::Ipv6,
        "sourcePort" 7: WORD, "destinationPort" 11: WORD, "tcpFlags" 6: WORD, "priority" 5: WORD,
    }
    0/1026 "extended_ipv6_tunnel_ingress" {
        "length": WORD, "protocol" 4: WORD, "source" 27: Form::Ipv6, "destination" 28: Form::Ipv6,
        "sourcePort" 7: WORD, "destinationPort" 11: WORD, "tcpFlags" 6: WORD, "priority" 5: WORD,
    }
    0/1027 "extended_decapsulate_egress" { "innerHeaderOffset": WORD }
    0/1028 "extended_decapsulate_ingress" { "innerHeaderOffset": WORD }
    0/1029 "extended_vni_egress" { "vni": WORD }
    0/1030 "extended_vni_ingress" { "vni": WORD }
    0/1036 "extended_egress_queue" { "queue": WORD }
    0/1037 "extended_acl" { "number": WORD, "name": Form::Text, "direction": WORD }
    0/1038 "extended_function" { "symbol": Form::Text }
    0/1039 "extended_transit" { "delay": WORD }
    0/1040 "extended_queue" { "depth": WORD }
    0/1041 "extended_hw_trap" { "group": Form::Text, "trap": Form::Text }
    0/1042 "extended_linux_drop_reason" { "reason": Form::Text }
    0/2100 "extended_socket_ipv4" {
        "protocol": WORD, "localAddress": Form::Ipv4, "remoteAddress": Form::Ipv4,
        "localPort": WORD, "remotePort": WORD,
    }
    0/2101 "extended_socket_ipv6" {
        "protocol": WORD, "localAddress": Form::Ipv6, "remoteAddress": Form::Ipv6,
        "localPort": WORD, "remotePort": WORD,
    }
    0/2209 "extended_tcp_info" {
        "direction": WORD, "sndMss": WORD, "rcvMss": WORD, "unacked": WORD, "lost": WORD,
        "retrans": WORD, "pmtu": WORD, "rtt": WORD, "rttvar": WORD, "sndCwnd": WORD,
        "reordering": WORD, "minRtt": WORD,
    }
    0/2210 "extended_entities" {
        "sourceDsClass": WORD, "sourceDsIndex": WORD, "destinationDsClass": WORD,
        "destinationDsIndex": WORD,
    }
};

/// What an agent counts.
static COUNTERS: &[Structure] = structures! {
    0/1 "if_counters" {
        "ifIndex": WORD, "ifType": WORD, "ifSpeed": LONG, "ifDirection": WORD, "ifStatus": WORD,
        "ifInOctets": LONG, "ifInUcastPkts": WORD, "ifInMulticastPkts": WORD,
        "ifInBroadcastPkts": WORD, "ifInDiscards": WORD, "ifInErrors": WORD,
        "ifInUnknownProtos": WORD, "ifOutOctets": LONG, "ifOutUcastPkts": WORD,
        "ifOutMulticastPkts": WORD, "ifOutBroadcastPkts": WORD, "ifOutDiscards": WORD,
        "ifOutErrors": WORD, "ifPromiscuousMode": WORD,
    }
    0/2 "ethernet_counters" {
        "dot3StatsAlignmentErrors": WORD, "dot3StatsFCSErrors": WORD,
        "dot3StatsSingleCollisionFrames": WORD, "dot3StatsMultipleCollisionFrames": WORD,
        "dot3StatsSQETestErrors": WORD, "dot3StatsDeferredTransmissions": WORD,
        "dot3StatsLateCollisions": WORD, "dot3StatsExcessiveCollisions": WORD,
        "dot3StatsInternalMacTransmitErrors": WORD, "dot3StatsCarrierSenseErrors": WORD,
        "dot3StatsFrameTooLongs": WORD, "dot3StatsInternalMacReceiveErrors": WORD,
        "dot3StatsSymbolErrors": WORD,
    }
    0/3 "tokenring_counters" {
        "dot5StatsLineErrors": WORD, "dot5StatsBurstErrors": WORD, "dot5StatsACErrors": WORD,
        "dot5StatsAbortTransErrors": WORD, "dot5StatsInternalErrors": WORD,
        "dot5StatsLostFrameErrors": WORD, "dot5StatsReceiveCongestions": WORD,
        "dot5StatsFrameCopiedErrors": WORD, "dot5StatsTokenErrors": WORD,
        "dot5StatsSoftErrors": WORD, "dot5StatsHardErrors": WORD, "dot5StatsSignalLoss": WORD,
        "dot5StatsTransmitBeacons": WORD, "dot5StatsRecoverys": WORD, "dot5StatsLobeWires": WORD,
        "dot5StatsRemoves": WORD, "dot5StatsSingles": WORD, "dot5StatsFreqErrors": WORD,
    }
    0/4 "vg_counters" {
        "dot12InHighPriorityFrames": WORD, "dot12InHighPriorityOctets": LONG,
        "dot12InNormPriorityFrames": WORD, "dot12InNormPriorityOctets": LONG,
        "dot12InIPMErrors": WORD, "dot12InOversizeFrameErrors": WORD, "dot12InDataErrors": WORD,
        "dot12InNullAddressedFrames": WORD, "dot12OutHighPriorityFrames": WORD,
        "dot12OutHighPriorityOctets": LONG, "dot12TransitionIntoTrainings": WORD,
        "dot12HCInHighPriorityOctets": LONG, "dot12HCInNormPriorityOctets": LONG,
        "dot12HCOutHighPriorityOctets": LONG,
    }
    0/5 "vlan_counters" {
        "vlanId": WORD, "octets": LONG, "ucastPkts": WORD, "multicastPkts": WORD,
        "broadcastPkts": WORD, "discards": WORD,
    }
    0/6 "ieee80211_counters" {
        "dot11TransmittedFragmentCount": WORD, "dot11MulticastTransmittedFrameCount": WORD,
        "dot11FailedCount": WORD, "dot11RetryCount": WORD, "dot11MultipleRetryCount": WORD,
        "dot11FrameDuplicateCount": WORD, "dot11RTSSuccessCount": WORD,
        "dot11RTSFailureCount": WORD, "dot11ACKFailureCount": WORD,
        "dot11ReceivedFragmentCount": WORD, "dot11MulticastReceivedFrameCount": WORD,
        "dot11FCSErrorCount": WORD, "dot11TransmittedFrameCount": WORD,
        "dot11WEPUndecryptableCount": WORD, "dot11QoSDiscardedFragmentCount": WORD,
        "dot11AssociatedStationCount": WORD, "dot11QoSCFPollsReceivedCount": WORD,
        "dot11QoSCFPollsUnusedCount": WORD, "dot11QoSCFPollsUnusableCount": WORD,
        "dot11QoSCFPollsLostCount": WORD,
    }
    0/7 "lag_port_stats" {
        "actorSystemId": Form::Mac, "partnerOperSystemId": Form::Mac, "attachedAggId": WORD,
        "portState": Form::Bytes(4), "lacpdusRx": WORD, "markerPdusRx": WORD,
        "markerResponsePdusRx": WORD, "unknownRx": WORD, "illegalRx": WORD, "lacpdusTx": WORD,
        "markerPdusTx": WORD, "markerResponsePdusTx": WORD,
    }
    0/10 "sfp" {
        "moduleId": WORD, "moduleNumLanes": WORD, "moduleSupplyVoltage": WORD,
        "moduleTemperature": WORD, "laneCount": WORD,
    }
    0/1001 "processor" {
        "cpu5s": WORD, "cpu1m": WORD, "cpu5m": WORD, "totalMemory": LONG, "freeMemory": LONG,
    }
    0/1002 "radio_utilization" {
        "elapsedTime": WORD, "onChannelTime": WORD, "onChannelBusyTime": WORD,
    }
    0/1004 "of_port" { "datapathId": LONG, "portNo": WORD }
    0/1005 "port_name" { "name": Form::Text }
    0/2000 "host_descr" {
        "hostname": Form::Text, "uuid": Form::Bytes(16), "machineType": WORD, "osName": WORD,
        "osRelease": Form::Text,
    }
    0/2001 "host_adapters" { "adapters": Form::Adapters }
    0/2002 "host_parent" { "containerType": WORD, "containerIndex": WORD }
    0/2003 "host_cpu" {
        "loadOne": Form::Float, "loadFive": Form::Float, "loadFifteen": Form::Float,
        "procRun": WORD, "procTotal": WORD, "cpuNum": WORD, "cpuSpeed": WORD, "uptime": WORD,
        "cpuUser": WORD, "cpuNice": WORD, "cpuSystem": WORD, "cpuIdle": WORD, "cpuWio": WORD,
        "cpuIntr": WORD, "cpuSintr": WORD, "interrupts": WORD, "contexts": WORD,
        "cpuSteal": WORD, "cpuGuest": WORD, "cpuGuestNice": WORD,
    }
    0/2004 "host_memory" {
        "memTotal": LONG, "memFree": LONG, "memShared": LONG, "memBuffers": LONG,
        "memCached": LONG, "swapTotal": LONG, "swapFree": LONG, "pageIn": WORD, "pageOut": WORD,
        "swapIn": WORD, "swapOut": WORD,
    }
    0/2005 "host_disk_io" {
        "diskTotal": LONG, "diskFree": LONG, "partMaxUsed": WORD, "reads": WORD,
        "bytesRead": LONG, "readTime": WORD, "writes": WORD, "bytesWritten": LONG,
        "writeTime": WORD,
    }
    0/2006 "host_net_io" {
        "bytesIn": LONG, "pktsIn": WORD, "errsIn": WORD, "dropsIn": WORD, "bytesOut": LONG,
        "pktsOut": WORD, "errsOut": WORD, "dropsOut": WORD,
    }
    0/2007 "mib2_ip_group" {
        "ipForwarding": WORD, "ipDefaultTTL": WORD, "ipInReceives": WORD, "ipInHdrErrors": WORD,
        "ipInAddrErrors": WORD, "ipForwDatagrams": WORD, "ipInUnknownProtos": WORD,
        "ipInDiscards": WORD, "ipInDelivers": WORD, "ipOutRequests": WORD, "ipOutDiscards": WORD,
        "ipOutNoRoutes": WORD, "ipReasmTimeout": WORD, "ipReasmReqds": WORD, "ipReasmOKs": WORD,
        "ipReasmFails": WORD, "ipFragOKs": WORD, "ipFragFails": WORD, "ipFragCreates": WORD,
    }
    0/2008 "mib2_icmp_group" {
        "icmpInMsgs": WORD, "icmpInErrors": WORD, "icmpInDestUnreachs": WORD,
        "icmpInTimeExcds": WORD, "icmpInParamProbs": WORD, "icmpInSrcQuenchs": WORD,
        "icmpInRedirects": WORD, "icmpInEchos": WORD, "icmpInEchoReps": WORD,
        "icmpInTimestamps": WORD, "icmpInAddrMasks": WORD, "icmpInAddrMaskReps": WORD,
        "icmpOutMsgs": WORD, "icmpOutErrors": WORD, "icmpOutDestUnreachs": WORD,
        "icmpOutTimeExcds": WORD, "icmpOutParamProbs": WORD, "icmpOutSrcQuenchs": WORD,
        "icmpOutRedirects": WORD, "icmpOutEchos": WORD, "icmpOutEchoReps": WORD,
        "icmpOutTimestamps": WORD, "icmpOutTimestampReps": WORD, "icmpOutAddrMasks": WORD,
        "icmpOutAddrMaskReps": WORD,
    }
    0/2009 "mib2_tcp_group" {
        "tcpRtoAlgorithm": WORD, "tcpRtoMin": WORD, "tcpRtoMax": WORD, "tcpMaxConn": WORD,
        "tcpActiveOpens": WORD, "tcpPassiveOpens": WORD, "tcpAttemptFails": WORD,
        "tcpEstabResets": WORD, "tcpCurrEstab": WORD, "tcpInSegs": WORD, "tcpOutSegs": WORD,
        "tcpRetransSegs": WORD, "tcpInErrs": WORD, "tcpOutRsts": WORD, "tcpInCsumErrs": WORD,
    }
    0/2010 "mib2_udp_group" {
        "udpInDatagrams": WORD, "udpNoPorts": WORD, "udpInErrors": WORD, "udpOutDatagrams": WORD,
        "udpRcvbufErrors": WORD, "udpSndbufErrors": WORD, "udpInCsumErrors": WORD,
    }
    0/2100 "virt_node" {
        "mhz": WORD, "cpus": WORD, "memory": LONG, "memoryFree": LONG, "numDomains": WORD,
    }
    0/2101 "virt_cpu" { "state": WORD, "cpuTime": WORD, "nrVirtCpu": WORD }
    0/2102 "virt_memory" { "memory": LONG, "maxMemory": LONG }
    0/2103 "virt_disk_io" {
        "capacity": LONG, "allocation": LONG, "available": LONG, "readRequests": WORD,
        "bytesRead": LONG, "writeRequests": WORD, "bytesWritten": LONG, "errors": WORD,
    }
    0/2104 "virt_net_io" {
        "receivedBytes": LONG, "receivedPackets": WORD, "receivedErrors": WORD,
        "receivedDrops": WORD, "sentBytes": LONG, "sentPackets": WORD, "sentErrors": WORD,
        "sentDrops": WORD,
    }
    0/2201 "http_counters" {
        "methodOption": WORD, "methodGet": WORD, "methodHead": WORD, "methodPost": WORD,
        "methodPut": WORD, "methodDelete": WORD, "methodTrace": WORD, "methodConnect": WORD,
        "methodOther": WORD, "status1xx": WORD, "status2xx": WORD, "status3xx": WORD,
        "status4xx": WORD, "status5xx": WORD, "statusOther": WORD,
    }
};
