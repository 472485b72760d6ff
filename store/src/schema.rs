//! The record schema: one typed column for each thing that people ask of a flow.
//!
//! This table is the only place that lists the columns. Its numbers are written into segments, so
//! a number is never used for a second meaning; a column that a segment lacks reads as zeroes.

use serde::{Deserialize, Serialize};

use crate::Address;

/// Calls the macro `$with` with the table of columns: `field: type = number, "name", "meaning"`.
#[macro_export]
macro_rules! for_each_column {
    ($with:ident) => {
        $with! {
            received_ms: u64 = 1, Received, "when the collector received the message, ms since 1970";
            first_ms: u64 = 2, First, "when the flow began, ms since 1970";
            last_ms: u64 = 3, Last, "when the flow ended, ms since 1970";
            source_address: Address = 4, SourceAddress, "source address";
            destination_address: Address = 5, DestinationAddress, "destination address";
            source_port: u16 = 6, SourcePort, "source port";
            destination_port: u16 = 7, DestinationPort, "destination port; for ICMP type * 256 + code";
            protocol: u8 = 8, Protocol, "IP protocol number";
            tcp_flags: u8 = 9, TcpFlags, "union of the TCP flags seen";
            tos: u8 = 10, Tos, "type of service or traffic class";
            packets: u64 = 11, Packets, "packets of the flow as the exporter counted them";
            bytes: u64 = 12, Bytes, "layer-3 bytes of the flow as the exporter counted them";
            input_interface: u32 = 13, InputInterface, "SNMP index of the input interface";
            output_interface: u32 = 14, OutputInterface, "SNMP index of the output interface";
            next_hop: Address = 15, NextHop, "next hop's address";
            source_as: u32 = 16, SourceAs, "source autonomous system";
            destination_as: u32 = 17, DestinationAs, "destination autonomous system";
            source_mask: u8 = 18, SourceMask, "source prefix length";
            destination_mask: u8 = 19, DestinationMask, "destination prefix length";
            direction: u8 = 20, Direction, "0 ingress, 1 egress (IANA element 61)";
            vlan: u16 = 21, Vlan, "802.1Q VLAN id of the input side";
            exporter: Address = 22, Exporter, "the exporter's address, as the packet bore it";
            observation_domain: u32 = 23, ObservationDomain, "observation domain, source id or v5 engine";
        }
    };
}

macro_rules! define_columns {
    ($($field:ident: $kind:ident = $number:literal, $name:ident, $meaning:literal;)*) => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_come_back() {
        for &column in Column::ALL {
            assert_eq!(Column::from_number(column as u8), Some(column));
        }
    }
}
