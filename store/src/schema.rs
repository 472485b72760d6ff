//! The record schema: one typed column for each thing that people ask of a flow.
//!
//! This table is the only place that lists the columns; [SCHEMA.md](../SCHEMA.md) shows it to
//! readers. Its numbers are written into segments, so a number is never used for a second meaning.
//! Zero means that the record did not say it, in every column; a column of which no row says
//! anything is absent, and costs nothing in memory, on disk and in a query. What no column holds is
//! kept beside them, in [`crate::overflow`].

use serde::{Deserialize, Serialize};

use crate::Address;

/// How a column's values are read and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A number without a unit: a port, an index, an identifier.
    Number,
    /// Milliseconds since 1970-01-01 UTC.
    TimeMs,
    /// A count of packets.
    Packets,
    /// A count of bytes.
    Bytes,
    /// An IP protocol number.
    Protocol,
    /// TCP flags.
    Flags,
    /// An IP address of either version.
    Address,
    /// An Ethernet address in the low six bytes, its first byte the highest.
    Mac,
    /// An entry of an MPLS label stack: label * 16 + experimental bits * 2 + bottom of stack.
    Label,
    /// An application id (RFC 6759): the engine in the highest byte, its selector in the others.
    Application,
}

/// Calls the macro `$with` with the table of columns:
/// `field: type = number, Name, Form, "heading", "nfdump's word", "elements", "meaning"`.
///
/// nfdump's word is that of its `-o fmt:` without the `%`, empty where it has none. The elements are
/// those whose values the column takes, as `id` or `enterprise/id`.
#[macro_export]
macro_rules! for_each_column {
    ($with:ident) => {
        $with! {
            received_ms: u64 = 1, Received, TimeMs, "Received", "tr", "",
                "when the collector received the message, ms since 1970";
            first_ms: u64 = 2, First, TimeMs, "Date first seen", "ts",
                "22 150 152 154 156 158 322 323 324 325",
                "when the flow began, ms since 1970; the export time where a record has no times";
            last_ms: u64 = 3, Last, TimeMs, "Date last seen", "te",
                "21 151 153 155 157 159 322 323 324 325",
                "when the flow ended, ms since 1970";
            source_address: Address = 4, SourceAddress, Address, "Src IP Addr", "sa", "8 27 44 170",
                "source address";
            destination_address: Address = 5, DestinationAddress, Address, "Dst IP Addr", "da",
                "12 28 45 169", "destination address";
            source_port: u16 = 6, SourcePort, Number, "Src Pt", "sp", "7 180 182", "source port";
            destination_port: u16 = 7, DestinationPort, Number, "Dst Pt", "dp",
                "11 181 183 32 139 176 177 178 179",
                "destination port; for ICMP type * 256 + code";
            protocol: u8 = 8, Protocol, Protocol, "Proto", "pr", "4", "IP protocol number";
            tcp_flags: u16 = 9, TcpFlags, Flags, "Flags", "flg", "6", "union of the TCP flags seen";
            tos: u8 = 10, Tos, Number, "Tos", "tos", "5 195",
                "type of service or traffic class: DSCP * 4 + ECN";
            packets: u64 = 11, Packets, Packets, "Packets", "pkt", "2 86 298",
                "packets of the flow as the exporter counted them";
            bytes: u64 = 12, Bytes, Bytes, "Bytes", "byt", "1 85 231 352",
                "layer-3 bytes of the flow as the exporter counted them";
            input_interface: u32 = 13, InputInterface, Number, "Input", "in", "10 252",
                "SNMP index of the input interface";
            output_interface: u32 = 14, OutputInterface, Number, "Output", "out", "14 253",
                "SNMP index of the output interface";
            next_hop: Address = 15, NextHop, Address, "Next-hop IP", "nh", "15 62",
                "next hop's address";
            source_as: u32 = 16, SourceAs, Number, "Src AS", "sas", "16",
                "source autonomous system: the origin, or the peer where the exporter says that";
            destination_as: u32 = 17, DestinationAs, Number, "Dst AS", "das", "17",
                "destination autonomous system";
            source_mask: u8 = 18, SourceMask, Number, "SMask", "smk", "9 29",
                "source prefix length";
            destination_mask: u8 = 19, DestinationMask, Number, "DMask", "dmk", "13 30",
                "destination prefix length";
            direction: u8 = 20, Direction, Number, "Dir", "dir", "61", "0 ingress, 1 egress";
            vlan: u16 = 21, Vlan, Number, "Vlan", "svln", "58 243",
                "802.1Q VLAN id of the input side";
            exporter: Address = 22, Exporter, Address, "Router IP", "ra", "",
                "the exporter's address, as the packet bore it";
            observation_domain: u32 = 23, ObservationDomain, Number, "Obs domain", "odid", "",
                "observation domain, source id, v5 engine or sFlow sub-agent";
            output_packets: u64 = 24, OutputPackets, Packets, "Out Pkt", "opkt", "24 172",
                "packets as they left the exporter";
            output_bytes: u64 = 25, OutputBytes, Bytes, "Out Byte", "obyt", "23 171",
                "layer-3 bytes as they left the exporter";
            reverse_packets: u64 = 26, ReversePackets, Packets, "Rev Pkt", "",
                "299 29305/2 29305/86",
                "packets of the other direction of a bidirectional flow (RFC 5103), or the responder's";
            reverse_bytes: u64 = 27, ReverseBytes, Bytes, "Rev Byte", "",
                "232 29305/1 29305/85",
                "layer-3 bytes of the other direction, or the responder's";
            reverse_tcp_flags: u16 = 28, ReverseTcpFlags, Flags, "Rev Flags", "", "29305/6",
                "union of the TCP flags of the other direction";
            aggregated_flows: u64 = 29, AggregatedFlows, Number, "Aggr flows", "fl", "3",
                "how many flows the exporter made one record of";
            sampling_rate: u32 = 30, SamplingRate, Number, "Sampling", "", "34 50",
                "one packet in so many was looked at; 1 all, 0 the exporter did not say";
            sampler: u64 = 31, Sampler, Number, "Sampler", "", "48 302",
                "id of the sampler, or of the selector (PSAMP)";
            application: u64 = 32, Application, Application, "Application", "", "95",
                "application id (RFC 6759): engine * 2^56 + selector; of engine 20 enterprise * 2^32 + its own";
            input_vrf: u32 = 33, InputVrf, Number, "I-VRF-ID", "ivrf", "234",
                "VRF id of the input side";
            output_vrf: u32 = 34, OutputVrf, Number, "E-VRF-ID", "evrf", "235",
                "VRF id of the output side";
            forwarding_status: u32 = 35, ForwardingStatus, Number, "Fwd", "fwd", "89",
                "status * 64 + reason: 64 and above forwarded, 128 dropped, 192 consumed";
            end_reason: u8 = 36, EndReason, Number, "End", "", "136",
                "why the flow ended: 1 idle, 2 active timeout, 3 end detected, 4 forced, 5 no room";
            ip_version: u8 = 37, IpVersion, Number, "IP", "", "60",
                "IP version, where the record says it";
            output_tos: u8 = 38, OutputTos, Number, "DTos", "dtos", "55 98",
                "type of service as the packets left the exporter";
            min_ttl: u8 = 39, MinTtl, Number, "Min TTL", "", "52 192",
                "smallest time to live or hop limit";
            max_ttl: u8 = 40, MaxTtl, Number, "Max TTL", "", "53", "largest time to live or hop limit";
            fragment_flags: u8 = 41, FragmentFlags, Number, "Frag", "", "197",
                "IPv4 fragment bits: 64 don't fragment, 32 more fragments";
            flow_label: u32 = 42, FlowLabel, Number, "Flow label", "", "31", "IPv6 flow label";
            ethertype: u16 = 43, Ethertype, Number, "Ethertype", "", "256", "Ethernet type";
            output_vlan: u16 = 44, OutputVlan, Number, "DVlan", "dvln", "59 254",
                "802.1Q VLAN id of the output side";
            customer_vlan: u16 = 45, CustomerVlan, Number, "C-Vlan", "", "245",
                "customer's VLAN id (802.1ad) of the input side";
            output_customer_vlan: u16 = 46, OutputCustomerVlan, Number, "Out C-Vlan", "", "255",
                "customer's VLAN id (802.1ad) of the output side";
            source_mac: u64 = 47, SourceMac, Mac, "In src MAC Addr", "ismc", "56",
                "source MAC address of the input side";
            destination_mac: u64 = 48, DestinationMac, Mac, "In dst MAC Addr", "idmc", "80",
                "destination MAC address of the input side";
            output_source_mac: u64 = 49, OutputSourceMac, Mac, "Out src MAC Addr", "osmc", "81",
                "source MAC address of the output side";
            output_destination_mac: u64 = 50, OutputDestinationMac, Mac, "Out dst MAC Addr", "odmc",
                "57", "destination MAC address of the output side";
            bgp_next_hop: Address = 51, BgpNextHop, Address, "BGP next-hop IP", "nhb", "18 63",
                "BGP next hop's address";
            next_as: u32 = 52, NextAs, Number, "Next AS", "nas", "128",
                "neighbouring autonomous system on the way to the destination";
            previous_as: u32 = 53, PreviousAs, Number, "Prev AS", "pas", "129",
                "neighbouring autonomous system on the way from the source";
            mpls_1: u32 = 54, Mpls1, Label, "MPLS 1", "mpls1", "70", "top entry of the label stack";
            mpls_2: u32 = 55, Mpls2, Label, "MPLS 2", "mpls2", "71", "second entry";
            mpls_3: u32 = 56, Mpls3, Label, "MPLS 3", "mpls3", "72", "third entry";
            mpls_4: u32 = 57, Mpls4, Label, "MPLS 4", "mpls4", "73", "fourth entry";
            mpls_5: u32 = 58, Mpls5, Label, "MPLS 5", "mpls5", "74", "fifth entry";
            mpls_6: u32 = 59, Mpls6, Label, "MPLS 6", "mpls6", "75", "sixth entry";
            mpls_7: u32 = 60, Mpls7, Label, "MPLS 7", "mpls7", "76", "seventh entry";
            mpls_8: u32 = 61, Mpls8, Label, "MPLS 8", "mpls8", "77", "eighth entry";
            mpls_9: u32 = 62, Mpls9, Label, "MPLS 9", "mpls9", "78", "ninth entry";
            mpls_10: u32 = 63, Mpls10, Label, "MPLS 10", "mpls10", "79", "tenth entry";
            nat_source_address: Address = 64, NatSourceAddress, Address, "X-Src IP Addr", "xsa",
                "225 281 9/7233", "source address behind the translation";
            nat_destination_address: Address = 65, NatDestinationAddress, Address, "X-Dst IP Addr",
                "xda", "226 282 9/7234", "destination address behind the translation";
            nat_source_port: u16 = 66, NatSourcePort, Number, "X-Src Pt", "xsp", "227 9/7235",
                "source port behind the translation";
            nat_destination_port: u16 = 67, NatDestinationPort, Number, "X-Dst Pt", "xdp", "228 9/7236",
                "destination port behind the translation";
            nat_event: u8 = 68, NatEvent, Number, "NAT event", "nevt", "230",
                "what happened to the translation (RFC 8158, Section 4.3): 1 created, 2 deleted, …";
            nat_pool: u32 = 69, NatPool, Number, "NAT pool", "", "283", "id of the address pool";
            port_block_start: u16 = 70, PortBlockStart, Number, "PB-Start", "pbstart", "361",
                "first port of the block";
            port_block_end: u16 = 71, PortBlockEnd, Number, "PB-End", "pbend", "362",
                "last port of the block";
            port_block_step: u16 = 72, PortBlockStep, Number, "PB-Step", "pbstep", "363",
                "from one port of the block to the next";
            port_block_size: u16 = 73, PortBlockSize, Number, "PB-Size", "pbsize", "364",
                "ports of the block";
            firewall_event: u8 = 74, FirewallEvent, Number, "FW event", "evt", "233 9/7237",
                "1 created, 2 deleted, 3 denied, 4 alert, 5 updated";
            firewall_event_extended: u16 = 75, FirewallEventExtended, Number, "X-event", "xevt",
                "9/234", "why: Cisco's extended event code";
            event_ms: u64 = 76, Event, TimeMs, "Event time", "tevt", "323",
                "when the event was seen that the record reports, ms since 1970";
            flow_id: u64 = 77, FlowId, Number, "Flow id", "", "148",
                "the exporter's id of the flow or connection";
            input_acl: u32 = 78, InputAcl, Number, "In ACL", "iacl", "9/232",
                "access list of the input side that decided: its id";
            input_ace: u32 = 79, InputAce, Number, "In ACE", "", "9/232", "its entry's id";
            input_ace_extended: u32 = 80, InputAceExtended, Number, "In X-ACE", "", "9/232",
                "its extended entry's id";
            output_acl: u32 = 81, OutputAcl, Number, "Out ACL", "eacl", "9/233",
                "access list of the output side that decided: its id";
            output_ace: u32 = 82, OutputAce, Number, "Out ACE", "", "9/233", "its entry's id";
            output_ace_extended: u32 = 83, OutputAceExtended, Number, "Out X-ACE", "", "9/233",
                "its extended entry's id";
            observation_point: u64 = 84, ObservationPoint, Number, "Obs point", "opid", "138",
                "id of the observation point";
            biflow_direction: u8 = 85, BiflowDirection, Number, "Biflow dir", "", "239",
                "how forward was chosen: 1 initiator, 2 reverse initiator, 3 perimeter";
            inner_source_address: Address = 86, InnerSourceAddress, Address, "Inner src IP Addr", "",
                "", "source address within the tunnel, of a sampled packet";
            inner_destination_address: Address = 87, InnerDestinationAddress, Address,
                "Inner dst IP Addr", "", "", "destination address within the tunnel";
            inner_source_port: u16 = 88, InnerSourcePort, Number, "Inner src Pt", "", "",
                "source port within the tunnel";
            inner_destination_port: u16 = 89, InnerDestinationPort, Number, "Inner dst Pt", "", "",
                "destination port within the tunnel; for ICMP type * 256 + code";
            inner_protocol: u8 = 90, InnerProtocol, Protocol, "Inner proto", "", "",
                "IP protocol number within the tunnel";
            layer2_segment: u64 = 91, Layer2Segment, Number, "L2 segment", "", "351",
                "kind of overlay * 2^56 + its network (1 VXLAN, 2 NVGRE: RFC 7348, RFC 7637)";
            kept_one_in: u32 = 92, KeptOneIn, Number, "Kept 1 in", "", "",
                "the collector kept one flow record in so many; 0 all";
        }
    };
}

macro_rules! define_columns {
    ($($field:ident: $kind:ident = $number:literal, $name:ident, $form:ident, $title:literal,
       $word:literal, $elements:literal, $meaning:literal;)*) => {
        /// A column of the schema; the number is its id on disk.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[repr(u8)]
        pub enum Column {
            $(#[doc = $meaning] $name = $number,)*
        }

        impl Column {
            /// All columns in the order of the table.
            pub const ALL: &[Column] = &[$(Column::$name),*];

            /// The column's field name in [`crate::Batch`] and in `--json`.
            pub const fn name(self) -> &'static str {
                match self { $(Column::$name => stringify!($field),)* }
            }

            /// What the column holds, with its unit.
            pub const fn meaning(self) -> &'static str {
                match self { $(Column::$name => $meaning,)* }
            }

            /// The heading in tables.
            pub const fn title(self) -> &'static str {
                match self { $(Column::$name => $title,)* }
            }

            /// How its values are read and shown.
            pub const fn form(self) -> Form {
                match self { $(Column::$name => Form::$form,)* }
            }

            /// nfdump's word for it in `-o fmt:`, without the `%`; empty where it has none.
            pub const fn nfdump_word(self) -> &'static str {
                match self { $(Column::$name => $word,)* }
            }

            const fn elements_text(self) -> &'static str {
                match self { $(Column::$name => $elements,)* }
            }

            /// The name of its values' type in Rust.
            pub const fn type_name(self) -> &'static str {
                match self { $(Column::$name => stringify!($kind),)* }
            }

            /// Bytes of one value.
            pub const fn width(self) -> usize {
                match self { $(Column::$name => std::mem::size_of::<$kind>(),)* }
            }

            /// The column with this field name.
            pub fn from_name(name: &str) -> Option<Column> {
                Column::ALL.iter().copied().find(|column| column.name() == name)
            }

            /// The column with this number on disk.
            pub const fn from_number(number: u8) -> Option<Column> {
                match number { $($number => Some(Column::$name),)* _ => None }
            }
        }
    };
}

for_each_column!(define_columns);

impl Column {
    /// How many columns there are.
    pub const COUNT: usize = Column::ALL.len();

    /// The entries of an MPLS label stack, the top first.
    pub const LABELS: [Column; 10] = [
        Column::Mpls1,
        Column::Mpls2,
        Column::Mpls3,
        Column::Mpls4,
        Column::Mpls5,
        Column::Mpls6,
        Column::Mpls7,
        Column::Mpls8,
        Column::Mpls9,
        Column::Mpls10,
    ];

    /// The elements whose values it takes: enterprise and id.
    pub fn elements(self) -> impl Iterator<Item = (u32, u16)> {
        self.elements_text().split_whitespace().map(|text| {
            let (enterprise, id) = text.split_once('/').unwrap_or(("0", text));
            let number = "the table holds numbers";
            (enterprise.parse().expect(number), id.parse().expect(number))
        })
    }

    /// Whether it is one of the three times, which no batch lacks.
    pub const fn is_time(self) -> bool {
        matches!(self, Column::Received | Column::First | Column::Last)
    }

    /// Whether every flow has it: the columns of the five-tuple, counters and times, which tables
    /// and JSON show even where they are zero.
    pub const fn is_common(self) -> bool {
        self as u8 <= Column::ObservationDomain as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_come_back() {
        for &column in Column::ALL {
            assert_eq!(Column::from_number(column as u8), Some(column));
        }
    }

    #[test]
    fn names_and_words_are_unique() {
        for (at, column) in Column::ALL.iter().enumerate() {
            for other in &Column::ALL[..at] {
                assert_ne!(column.name(), other.name());
                let word = column.nfdump_word();
                assert!(word.is_empty() || word != other.nfdump_word(), "{word} stands twice");
            }
        }
    }

    #[test]
    fn forms_fit_the_types() {
        for &column in Column::ALL {
            let address = column.form() == Form::Address;
            assert_eq!(address, column.type_name() == "Address", "{column:?}");
            column.elements().for_each(drop);
        }
    }
}
