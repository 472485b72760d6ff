//! The slave's decoder alone: datagrams of one exporter in, columns out; no system call.
//!
//! One place knows the datagrams, for Criterion (time), callgrind (instructions) and the peers that
//! are to decode the very same.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use weir_dataplane::Timestamp;
use weir_dataplane::collect::{Collector, CollectorConfig};
use weir_dataplane::counter::Counters;
use weir_dataplane::hold::HoldLimits;
use weir_dataplane::io::Datagram;
use weir_dataplane::session::SessionLimits;
use weir_dataplane::wire::{ethernet, ipv4};

use crate::exporter;
use crate::traffic::{longs, words};

/// Datagrams of a burst.
pub const BURST: u32 = 64;

const TEMPLATE: u16 = 256;
const EXPORT_SECS: u32 = 1_700_000_000;
const UPTIME_MS: u32 = 10_000_000;
/// Bytes of a frame that an sFlow agent cuts out.
const SAMPLED: usize = 128;

/// What is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// NetFlow v5: 30 records a datagram.
    V5,
    /// NetFlow v9: 25 records of 20 columns.
    V9,
    /// IPFIX: 19 records of 20 columns.
    Ipfix,
    /// sFlow: 6 flow samples, each with 128 bytes of an Ethernet frame and its VLANs.
    Sflow,
}

/// Element and length.
type Field = (u16, u16);

const NETFLOW9: [Field; 20] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 4),
    (14, 4),
    (2, 4),
    (1, 4),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (6, 1),
    (4, 1),
    (5, 1),
    (9, 1),
    (13, 1),
    (16, 4),
    (17, 4),
    (58, 2),
    (61, 1),
];

const IPFIX: [Field; 20] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 4),
    (14, 4),
    (2, 8),
    (1, 8),
    (152, 8),
    (153, 8),
    (7, 2),
    (11, 2),
    (6, 2),
    (4, 1),
    (5, 1),
    (9, 1),
    (13, 1),
    (16, 4),
    (17, 4),
    (58, 2),
    (61, 1),
];

impl Format {
    /// All of them.
    pub const ALL: [Format; 4] = [Format::V5, Format::V9, Format::Ipfix, Format::Sflow];

    /// Its short name.
    pub const fn name(self) -> &'static str {
        match self {
            Format::V5 => "v5",
            Format::V9 => "v9",
            Format::Ipfix => "ipfix",
            Format::Sflow => "sflow",
        }
    }

    /// Records, or flow samples, of a datagram.
    pub const fn records(self) -> u32 {
        match self {
            Format::V5 => 30,
            Format::V9 => 25,
            Format::Ipfix => 19,
            Format::Sflow => 6,
        }
    }

    fn fields(self) -> &'static [Field] {
        match self {
            Format::V9 => &NETFLOW9,
            Format::Ipfix => &IPFIX,
            Format::V5 | Format::Sflow => &[],
        }
    }

    /// The datagram that announces the template, if there is one.
    pub fn template(self) -> Option<Vec<u8>> {
        let fields = self.fields();
        let id = match self {
            Format::V9 => 0,
            Format::Ipfix => 2,
            Format::V5 | Format::Sflow => return None,
        };
        let mut body = Vec::new();
        words(&mut body, &[TEMPLATE, fields.len() as u16]);
        fields.iter().for_each(|&(element, length)| words(&mut body, &[element, length]));
        Some(self.message(0, 1, &set(id, &body)))
    }

    /// The `n`th datagram; each of its records is different.
    pub fn data(self, n: u32) -> Vec<u8> {
        let count = self.records();
        let records: Vec<u8> =
            (0..count).flat_map(|at| self.record(n.wrapping_mul(count).wrapping_add(at))).collect();
        match self {
            Format::V5 | Format::Sflow => self.message(n, count, &records),
            Format::V9 | Format::Ipfix => self.message(n, count, &set(TEMPLATE, &records)),
        }
    }

    fn message(self, n: u32, count: u32, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(1_500);
        match self {
            Format::V5 => {
                words(&mut out, &[5, count as u16]);
                longs(&mut out, &[UPTIME_MS, EXPORT_SECS, 0, n.wrapping_mul(count), 0]);
            }
            Format::V9 => {
                words(&mut out, &[9, count as u16]);
                longs(&mut out, &[UPTIME_MS, EXPORT_SECS, n, 1]);
            }
            Format::Ipfix => {
                words(&mut out, &[10, 16 + body.len() as u16]);
                longs(&mut out, &[EXPORT_SECS, n.wrapping_mul(count), 1]);
            }
            Format::Sflow => longs(&mut out, &[5, 1, 0x0a00_0001, 0, n, UPTIME_MS, count]),
        }
        out.extend_from_slice(body);
        out
    }

    fn record(self, n: u32) -> Vec<u8> {
        let flow = Flow::new(n);
        match self {
            Format::V5 => flow.netflow5(),
            Format::V9 | Format::Ipfix => {
                let value = |&(element, length): &Field| {
                    let bytes = flow.value(element).to_be_bytes();
                    bytes[8 - usize::from(length)..].to_vec()
                };
                self.fields().iter().flat_map(value).collect()
            }
            Format::Sflow => flow.sample(),
        }
    }
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let length = (body.len() + 4).next_multiple_of(4);
    let mut out = Vec::with_capacity(length);
    words(&mut out, &[id, length as u16]);
    out.extend_from_slice(body);
    out.resize(length, 0);
    out
}

/// A flow whose numbers follow from one.
struct Flow {
    n: u32,
    noise: u32,
}

impl Flow {
    fn new(n: u32) -> Flow {
        Flow { n, noise: n.wrapping_add(1).wrapping_mul(2_654_435_761) }
    }

    fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0a00_0000 | self.noise >> 12)
    }

    fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(0xc600_0000 | self.noise >> 16)
    }

    fn source_port(&self) -> u16 {
        1024 + (self.noise >> 18) as u16
    }

    /// What an element says of it.
    fn value(&self, element: u16) -> u64 {
        let noise = u64::from(self.noise);
        let ended_ms = u64::from(UPTIME_MS) - (noise >> 20);
        let began_ms = ended_ms - (noise >> 22);
        let absolute = u64::from(EXPORT_SECS) * 1_000 - u64::from(UPTIME_MS);
        match element {
            8 => self.source().to_bits().into(),
            12 => self.destination().to_bits().into(),
            15 => 0x0a00_0001,
            10 => noise >> 30,
            14 => noise >> 29,
            2 => 1 + (noise >> 26),
            1 => 64 * (1 + (noise >> 26)) + (noise >> 24),
            22 => began_ms,
            21 => ended_ms,
            152 => absolute + began_ms,
            153 => absolute + ended_ms,
            7 => self.source_port().into(),
            11 => 443,
            6 => 0x1b,
            4 => 6,
            9 | 13 => 24,
            16 | 17 => 64_512 + (noise >> 28),
            58 => 100,
            61 => u64::from(self.n & 1),
            _ => 0,
        }
    }

    fn netflow5(&self) -> Vec<u8> {
        let of = |element| self.value(element);
        let mut out = Vec::with_capacity(48);
        longs(&mut out, &[8, 12, 15].map(|element| of(element) as u32));
        words(&mut out, &[10, 14].map(|element| of(element) as u16));
        longs(&mut out, &[2, 1, 22, 21].map(|element| of(element) as u32));
        words(&mut out, &[7, 11].map(|element| of(element) as u16));
        out.extend([0, of(6) as u8, of(4) as u8, of(5) as u8]);
        words(&mut out, &[16, 17].map(|element| of(element) as u16));
        out.extend([of(9) as u8, of(13) as u8, 0, 0]);
        out
    }

    /// A flow sample: the frame's first bytes, and the VLANs that the switch gave it.
    fn sample(&self) -> Vec<u8> {
        let header = 4 * 4 + SAMPLED as u32;
        let mut out = Vec::with_capacity(224);
        longs(&mut out, &[1, 32 + 8 + header + 24, self.n, 5, 1_024, self.n << 10, 0, 1, 2, 2]);
        longs(&mut out, &[1, header, 1, 1_018, 4, SAMPLED as u32]);
        out.extend(self.frame());
        longs(&mut out, &[1001, 16, 100, 0, 100, 0]);
        out
    }

    fn frame(&self) -> [u8; SAMPLED] {
        let mut frame = [0; SAMPLED];
        let (mac, other) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        ethernet::emit(&mut frame, mac, other, ethernet::ethertype::IPV4);
        let packet = &mut frame[ethernet::HEADER_LENGTH..];
        let (source, destination) = (self.source(), self.destination());
        let header = ipv4::Header { source, destination, identification: 1, protocol: 6 };
        header.emit(packet, 980);
        let segment = &mut packet[ipv4::HEADER_LENGTH..];
        segment[..2].copy_from_slice(&self.source_port().to_be_bytes());
        segment[2..4].copy_from_slice(&443u16.to_be_bytes());
        (segment[12], segment[13]) = (0x50, 0x18);
        frame
    }
}

/// A collector that has learned the template, and its datagrams.
#[derive(Debug)]
pub struct Decoder {
    collector: Collector,
    packets: Vec<Vec<u8>>,
    records: u32,
}

impl Decoder {
    /// Ready to be measured.
    pub fn new(format: Format) -> Decoder {
        let config = CollectorConfig {
            sessions: SessionLimits::default(),
            hold: HoldLimits::default(),
            batch_rows: 65_536,
        };
        let mut decoder = Decoder {
            collector: Collector::new(config, Arc::new(Counters::default())),
            packets: (0..BURST).map(|n| format.data(n)).collect(),
            records: BURST * format.records(),
        };
        if let Some(template) = format.template() {
            take(&mut decoder.collector, &template);
        }
        decoder
    }

    /// Records of a burst.
    pub fn records(&self) -> u64 {
        self.records.into()
    }

    /// Decodes a burst.
    pub fn burst(&mut self) {
        self.packets.iter().for_each(|packet| take(&mut self.collector, packet));
    }

    /// As many bursts, under a name that callgrind is told to count.
    #[inline(never)]
    pub fn measured(&mut self, bursts: u32) {
        (0..bursts).for_each(|_| self.burst());
    }

    /// The rows that are not taken yet.
    pub fn rows(&self) -> usize {
        self.collector.batch_rows()
    }
}

fn take(collector: &mut Collector, payload: &[u8]) {
    let destination = SocketAddr::from(([10, 255, 0, 1], 32_055));
    let datagram = Datagram { source: exporter(1), destination, payload };
    collector.datagram(&datagram, Timestamp(1_700_000_000_000));
    if collector.is_full() {
        black_box(collector.take_batch());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_of_every_format_is_a_row_and_datagrams_fit_a_frame() {
        for format in Format::ALL {
            let mut decoder = Decoder::new(format);
            assert!(format.data(0).len() <= 1_472, "{format:?}");
            decoder.burst();
            assert_eq!(decoder.rows() as u64, decoder.records(), "{format:?}");
        }
    }
}
