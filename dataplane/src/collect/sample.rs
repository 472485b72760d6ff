//! An sFlow flow sample into columns: one row, of the one packet that was taken.
//!
//! What was received is stored: a row counts one packet and its bytes, whatever the sampling rate, as
//! rows of NetFlow count what their records say. (nfdump's sfcapd stores both times the rate.) The
//! bytes are those of the IP packet where the agent says them, else those of its frame. The times are
//! those of the datagram's arrival, for sFlow has no others.
//!
//! The columns show what the network carried: the outer packet of a tunnel. Where several records
//! say the same, the agent's own words (switch, IP without its packet) go before what the sampled
//! bytes say.

use std::net::IpAddr;

use weir_store::{Address, Batch};

use crate::Discard;
use crate::wire::sampled;
use crate::wire::sflow::FlowSample;
use crate::wire::sflow::record::{Ip, Record};

/// Of the specification: no VLAN known.
const NO_VLAN: u32 = 0;
/// VLAN ids have twelve bits, and the last is reserved (IEEE 802.1Q, Table 9-2).
const VLAN_END: u32 = 0x0fff;

/// What a sample says, gathered from its records.
#[derive(Default)]
struct Row {
    /// Of the frame, and of the IP packet in it.
    frame_bytes: u32,
    ip_bytes: u32,
    ip: Option<sampled::Ip>,
    vlan: u16,
    next_hop: Option<IpAddr>,
    bgp_next_hop: Option<IpAddr>,
    source_mask: u8,
    destination_mask: u8,
    source_as: u32,
    destination_as: u32,
}

impl Row {
    /// Takes what a record says.
    fn take(&mut self, record: &Record<'_>) {
        match record {
            Record::Header(header) => {
                let packet = header.packet().outer;
                self.frame_bytes = header.frame_length;
                self.ip = self.ip.or(packet.ip);
                if self.vlan == 0 {
                    self.vlan = packet.ethernet.and_then(|header| header.vlan).unwrap_or(0);
                }
            }
            Record::Ip(ip) => {
                self.ip = Some(without_packet(ip));
                self.ip_bytes = ip.length;
            }
            Record::Ethernet(ethernet) => self.frame_bytes = ethernet.length,
            Record::Switch(switch) => {
                if (NO_VLAN + 1..VLAN_END).contains(&switch.source_vlan) {
                    self.vlan = switch.source_vlan as u16;
                }
            }
            Record::Router(router) => {
                self.next_hop = router.next_hop;
                // Prefixes have at most 128 bits.
                self.source_mask = router.source_mask as u8;
                self.destination_mask = router.destination_mask as u8;
            }
            Record::Gateway(gateway) => {
                self.bgp_next_hop = gateway.next_hop;
                self.source_as = gateway.source_as;
                self.destination_as = gateway.destination_as;
            }
            Record::Other(_) => {}
        }
    }
}

/// An IP header that came without its packet, as if it had been read from one.
fn without_packet(ip: &Ip) -> sampled::Ip {
    sampled::Ip {
        source: ip.source,
        destination: ip.destination,
        protocol: ip.protocol,
        tos: ip.tos,
        length: ip.length,
        fragment: false,
        ports: Some(ip.ports),
    }
}

/// Appends the columns that a sample has values for; the batch's row is incomplete until the caller
/// fills it.
///
/// # Errors
/// [`Discard::SampleMalformed`] when a record is; the row has what the records before it say.
pub(super) fn append(
    batch: &mut Batch,
    sample: &FlowSample<'_>,
    now_ms: u64,
) -> Result<(), Discard> {
    let mut row = Row::default();
    let outcome = sample.records().try_for_each(|record| record.map(|record| row.take(&record)));
    let address = |address: Option<IpAddr>| address.map_or(Address::ABSENT, Address::from);
    let ports = row.ip.and_then(|ip| ip.ports).unwrap_or_default();
    batch.first_ms.push(now_ms);
    batch.last_ms.push(now_ms);
    batch.packets.push(1);
    let bytes = if row.ip_bytes > 0 { row.ip_bytes } else { row.frame_bytes };
    batch.bytes.push(bytes.into());
    batch.input_interface.push(sample.input().index());
    batch.output_interface.push(sample.output().index());
    batch.source_address.push(address(row.ip.map(|ip| ip.source)));
    batch.destination_address.push(address(row.ip.map(|ip| ip.destination)));
    batch.protocol.push(row.ip.map_or(0, |ip| ip.protocol));
    batch.tos.push(row.ip.map_or(0, |ip| ip.tos));
    batch.source_port.push(ports.source);
    batch.destination_port.push(ports.destination);
    batch.tcp_flags.push(ports.tcp_flags);
    batch.vlan.push(row.vlan);
    batch.next_hop.push(address(row.next_hop.or(row.bgp_next_hop)));
    batch.source_mask.push(row.source_mask);
    batch.destination_mask.push(row.destination_mask);
    batch.source_as.push(row.source_as);
    batch.destination_as.push(row.destination_as);
    outcome
}
