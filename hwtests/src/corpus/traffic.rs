//! The corpus as one stream: every exporter of every conversation at an address of its own.
//!
//! So that one run of a collector reads all of it, and its answers can be told apart by exporter. The
//! addresses are loopback's, from which anyone may send.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use weir_controlplane::lab::units::Sums;
use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::session::SessionLimits;
use weir_dataplane::wire::{ipv4, udp};
use weir_dataplane::{Counters, Timestamp};

use super::Conversation;
use super::file;
use super::flows::{Flows, Tuple};

/// Where exporters of NetFlow and IPFIX send to.
pub const NETFLOW: u16 = 2055;
/// Where sFlow agents send to.
pub const SFLOW: u16 = 6343;

/// The port of an exporter whose own is not known.
const PORT: u16 = 40_000;
/// What a UDP datagram over IPv4 can carry.
const LONGEST: usize = 65_535 - ipv4::HEADER_LENGTH - udp::HEADER_LENGTH;
/// When nothing says when: 2023-11-14, ms since 1970.
const THEN_MS: u64 = 1_700_000_000_000;
/// The link type of IP packets without more.
const RAW_IP: u32 = 101;

/// A datagram with its exporter's new address.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Which of the conversations it is of, from 0.
    pub conversation: usize,
    /// From where.
    pub from: SocketAddr,
    /// To which port: [`NETFLOW`] or [`SFLOW`].
    pub port: u16,
    /// When, ms since 1970.
    pub time_ms: u64,
    /// The payload.
    pub payload: Vec<u8>,
}

/// All datagrams of some conversations.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// In order, conversation by conversation.
    pub sent: Vec<Sent>,
    /// Files that could not be read, and why.
    pub unread: Vec<(String, String)>,
    /// Payloads that no UDP datagram can carry, by conversation.
    pub too_long: BTreeMap<usize, u64>,
    /// The first file of each conversation.
    pub names: Vec<String>,
}

impl Traffic {
    /// Of these, in order.
    pub fn of(conversations: &[Conversation]) -> Traffic {
        let names = conversations.iter().filter_map(|one| one.names.first()).cloned().collect();
        let mut traffic = Traffic { names, ..Traffic::default() };
        let mut addresses = BTreeMap::new();
        for (number, conversation) in conversations.iter().enumerate() {
            for (name, path) in conversation.names.iter().zip(&conversation.files) {
                match file::read(path) {
                    Ok(capture) => {
                        for datagram in capture.datagrams {
                            traffic.add(number, datagram, &mut addresses);
                        }
                    }
                    Err(reason) => traffic.unread.push((name.clone(), reason)),
                }
            }
        }
        traffic
    }

    fn add(
        &mut self,
        conversation: usize,
        datagram: weir_controlplane::capture::Datagram,
        addresses: &mut BTreeMap<(usize, Option<IpAddr>), Ipv4Addr>,
    ) {
        if datagram.payload.len() > LONGEST {
            *self.too_long.entry(conversation).or_default() += 1;
            return;
        }
        let source = datagram.source.map(|source| source.ip());
        let next = addresses.len() as u32 + 1;
        let address = addresses
            .entry((conversation, source))
            .or_insert_with(|| Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 0)) + next));
        let own = datagram.source.map(|source| source.port()).filter(|&port| port > 1_023);
        let is_sflow = datagram.payload.starts_with(&[0, 0]);
        self.sent.push(Sent {
            conversation,
            from: SocketAddr::new((*address).into(), own.unwrap_or(PORT)),
            port: if is_sflow { SFLOW } else { NETFLOW },
            time_ms: datagram.time_ms.filter(|&time| time > 0).unwrap_or(THEN_MS),
            payload: datagram.payload,
        });
    }

    /// How many conversations there are.
    pub fn conversations(&self) -> usize {
        self.names.len()
    }

    /// Their numbers.
    pub fn all(&self) -> Vec<usize> {
        (0..self.names.len()).collect()
    }

    /// Which conversation an exporter's new address is of.
    pub fn conversation_of(&self) -> BTreeMap<IpAddr, usize> {
        self.sent.iter().map(|sent| (sent.from.ip(), sent.conversation)).collect()
    }

    /// A pcap file of what those of these conversations send to `port`, all at the same moment:
    /// pmacct replays in the time that lies between packets.
    pub fn pcap(&self, port: u16, wanted: &[usize]) -> Vec<u8> {
        let mut bytes = file::pcap_header(RAW_IP);
        let destination = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let mut packet = vec![0; usize::from(u16::MAX)];
        let of_those = |sent: &&Sent| sent.port == port && wanted.contains(&sent.conversation);
        for sent in self.sent.iter().filter(of_those) {
            let IpAddr::V4(source) = sent.from.ip() else { continue };
            let mut segment = vec![0; udp::HEADER_LENGTH];
            segment.extend(&sent.payload);
            // sfacctd tells agents by the address in the datagram, so it gets the new one there.
            if let Some([0, 0, 0, 5, 0, 0, 0, 1, agent @ ..]) =
                segment[udp::HEADER_LENGTH..].first_chunk_mut::<12>()
            {
                agent.copy_from_slice(&source.octets());
            }
            udp::emit(&mut segment, sent.from, destination);
            let header = ipv4::Header {
                source,
                destination: Ipv4Addr::LOCALHOST,
                identification: 0,
                protocol: ipv4::UDP,
            };
            let mut whole = ipv4::Fragments::new(header, &segment, u16::MAX);
            if let Some(length) = whole.emit_next(&mut packet) {
                file::write_packet(&mut bytes, THEN_MS, &packet[..length]);
            }
        }
        bytes
    }

    /// What weir makes of it, by conversation: flows with the counters of both directions and of both
    /// sides of the exporter, as nfdump's totals have them, and with those of the one direction alone.
    pub fn collected(&self) -> [Vec<Flows>; 2] {
        let mut all = vec![Flows::default(); self.conversations()];
        let mut forward = all.clone();
        let config = CollectorConfig {
            sessions: SessionLimits::default(),
            hold: HoldLimits::default(),
            batch_rows: 1,
        };
        let mut collector = Collector::new(config, Arc::new(Counters::default()));
        let destination = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), NETFLOW);
        for sent in &self.sent {
            let datagram = Datagram { source: sent.from, destination, payload: &sent.payload };
            collector.datagram(&datagram, Timestamp(sent.time_ms));
            while let Some(batch) = collector.take_batch() {
                for row in 0..batch.rows() {
                    let tuple = Tuple::new(
                        cell(&batch.source_address, row).to_ip(),
                        cell(&batch.destination_address, row).to_ip(),
                        [cell(&batch.source_port, row), cell(&batch.destination_port, row)],
                        cell(&batch.protocol, row),
                    );
                    let packets = [&batch.packets, &batch.output_packets, &batch.reverse_packets];
                    let bytes = [&batch.bytes, &batch.output_bytes, &batch.reverse_bytes];
                    let [packets, bytes] =
                        [packets, bytes].map(|columns| columns.map(|column| cell(column, row)));
                    let own = Sums { flows: 1, packets: packets[0], bytes: bytes[0] };
                    let (packets, bytes) = (packets.iter().sum(), bytes.iter().sum());
                    forward[sent.conversation].add(tuple, own);
                    all[sent.conversation].add(tuple, Sums { flows: 1, packets, bytes });
                }
            }
        }
        [all, forward]
    }
}

/// A row's value of a column, which is empty when no row has one.
pub fn cell<T: Copy + Default>(column: &[T], row: usize) -> T {
    column.get(row).copied().unwrap_or_default()
}
