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

impl Row {
    /// Appends the row to the batch.
    fn write(&self, batch: &mut Batch, sample: &FlowSample<'_>, now_ms: u64) {
        let rows = batch.rows();
        macro_rules! push {
            ($($field:ident: $value:expr;)*) => {$(put(&mut batch.$field, rows, $value);)*};
        }
        let address = |address: Option<IpAddr>| address.map_or(Address::ABSENT, Address::from);
        let ports = self.ip.and_then(|ip| ip.ports).unwrap_or_default();
        let bytes = if self.ip_bytes > 0 { self.ip_bytes } else { self.frame_bytes };
        batch.first_ms.push(now_ms);
        batch.last_ms.push(now_ms);
        push! {
            packets: 1;
            sampling_rate: sample.sampling_rate();
            bytes: bytes.into();
            input_interface: sample.input().index();
            output_interface: sample.output().index();
            source_address: address(self.ip.map(|ip| ip.source));
            destination_address: address(self.ip.map(|ip| ip.destination));
            protocol: self.ip.map_or(0, |ip| ip.protocol);
            tos: self.ip.map_or(0, |ip| ip.tos);
            source_port: ports.source;
            destination_port: ports.destination;
            tcp_flags: ports.tcp_flags.into();
            vlan: self.vlan;
            next_hop: address(self.next_hop.or(self.bgp_next_hop));
            source_mask: self.source_mask;
            destination_mask: self.destination_mask;
            source_as: self.source_as;
            destination_as: self.destination_as;
        }
        batch.grow(rows + 1);
    }
}

/// Puts a value behind the `rows` before; a column that no sample fills stays absent.
fn put<T: Clone + Default + PartialEq>(column: &mut Vec<T>, rows: usize, value: T) {
    if value != T::default() {
        column.resize(rows, T::default());
        column.push(value);
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

/// Appends a row with what a sample says; it is complete but for what the datagram says of all its
/// samples, and the batch is not settled.
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
    row.write(batch, sample, now_ms);
    outcome
}
