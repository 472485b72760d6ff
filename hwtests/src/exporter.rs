//! An exporter whose every record can be told from all others: what arrives somewhere is compared
//! record by record, not by sums alone.
//!
//! A record's destination address is its number; packets and bytes follow from it. Sequence numbers
//! are those of each version's own rule: flows (v5), messages (v9), data records (IPFIX).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use weir_controlplane::generate::Dialect;

/// Templates of v9 and IPFIX.
const FULL: u16 = 300;
const TINY: u16 = 301;
/// How long the exporter has been up, ms.
const UPTIME_MS: u32 = 600_000;

/// One flow record, by what every reader can show of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Whose.
    pub exporter: SocketAddr,
    /// Its destination address, which no other record has.
    pub destination: Ipv4Addr,
    /// Packets; 0 in a tiny record.
    pub packets: u64,
    /// Bytes; 0 in a tiny record.
    pub bytes: u64,
}

/// What a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Records of 48 (v5), 31 (v9) or 39 (IPFIX) bytes.
    Full,
    /// Records of one address: the smallest messages that say anything. Not in v5.
    Tiny,
    /// No records at all.
    Bare,
}

/// One transport session's exporter.
#[derive(Clone, Debug)]
pub struct Exporter {
    at: SocketAddr,
    /// Unique in a test: the second byte of the records' destination addresses.
    number: u8,
    dialect: Dialect,
    domain: u32,
    sequence: u32,
    flows: Vec<Flow>,
}

impl Exporter {
    /// At its first message.
    pub fn new(at: SocketAddr, number: u8, dialect: Dialect) -> Self {
        let domain = match dialect {
            // The engine, which is all that v5 has.
            Dialect::V5 => u32::from(number),
            Dialect::V9 | Dialect::Ipfix => 1_000 + u32::from(number),
        };
        Exporter { at, number, dialect, domain, sequence: 0, flows: Vec::new() }
    }

    /// The address and port that its packets bear.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// All records in the messages handed out.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// A message with its templates, when it has any, and so many records.
    pub fn first(&mut self, shape: Shape, records: u16) -> Vec<u8> {
        self.message(shape, records, true)
    }

    /// A message with so many records.
    pub fn next(&mut self, shape: Shape, records: u16) -> Vec<u8> {
        self.message(shape, records, false)
    }

    fn message(&mut self, shape: Shape, records: u16, templates: bool) -> Vec<u8> {
        let records = if shape == Shape::Bare { 0 } else { records };
        let mut sets = Vec::new();
        let mut count = records;
        if templates && self.dialect != Dialect::V5 {
            sets.extend(self.templates());
            count += 2;
        }
        let mut data = Vec::new();
        for _ in 0..records {
            let flow = self.flow(shape);
            self.record(shape, &flow, &mut data);
            self.flows.push(flow);
        }
        if self.dialect == Dialect::V5 {
            sets.extend(data);
        } else if !data.is_empty() {
            data.resize(data.len().next_multiple_of(4), 0);
            let id = if shape == Shape::Tiny { TINY } else { FULL };
            sets.extend(set(id, &data));
        }
        let mut message = self.header(count, sets.len());
        message.extend(sets);
        self.sequence += match self.dialect {
            Dialect::V9 => 1,
            Dialect::V5 | Dialect::Ipfix => u32::from(records),
        };
        message
    }

    fn flow(&self, shape: Shape) -> Flow {
        let number = u16::try_from(self.flows.len()).expect("at most 65,536 records");
        let [high, low] = number.to_be_bytes();
        let packets = if shape == Shape::Tiny { 0 } else { 1 + u64::from(number % 100) };
        Flow {
            exporter: self.at,
            destination: Ipv4Addr::new(100, self.number, high, low),
            packets,
            bytes: packets * (64 + u64::from(number) % 1_000),
        }
    }

    fn header(&self, count: u16, sets: usize) -> Vec<u8> {
        let length = u16::try_from(16 + sets).expect("a message of at most 65,535 bytes");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        let secs = u32::try_from(now.as_secs()).expect("a clock before 2106");
        let words: &[u32] = match self.dialect {
            Dialect::V5 => &[UPTIME_MS, secs, 0, self.sequence, self.domain << 16],
            Dialect::V9 => &[UPTIME_MS, secs, self.sequence, self.domain],
            Dialect::Ipfix => &[secs, self.sequence, self.domain],
        };
        let (version, second) = match self.dialect {
            Dialect::V5 => (5_u16, count),
            Dialect::V9 => (9, count),
            Dialect::Ipfix => (10, length),
        };
        let start = [version, second].into_iter().flat_map(u16::to_be_bytes);
        start.chain(words.iter().flat_map(|word| word.to_be_bytes())).collect()
    }

    fn templates(&self) -> Vec<u8> {
        // Source and destination address, packets, bytes, ports, protocol, flags, type of service.
        const COMMON: [u16; 18] = [8, 4, 12, 4, 2, 4, 1, 4, 7, 2, 11, 2, 4, 1, 6, 1, 5, 1];
        let times: [u16; 4] = match self.dialect {
            // Last and first switched against flow end and start in milliseconds.
            Dialect::V5 | Dialect::V9 => [21, 4, 22, 4],
            Dialect::Ipfix => [153, 8, 152, 8],
        };
        let full = [&[FULL, 11], COMMON.as_slice(), &times].concat();
        let body: Vec<u8> =
            full.into_iter().chain([TINY, 1, 12, 4]).flat_map(u16::to_be_bytes).collect();
        set(if self.dialect == Dialect::Ipfix { 2 } else { 0 }, &body)
    }

    fn record(&self, shape: Shape, flow: &Flow, out: &mut Vec<u8>) {
        let destination = flow.destination.octets();
        if shape == Shape::Tiny {
            out.extend(destination);
            return;
        }
        let source = [10, 1, 2, 3];
        let (packets, bytes) = (counter(flow.packets), counter(flow.bytes));
        let ports = [[0x30, 0x39], [0x01, 0xbb]].concat();
        if self.dialect == Dialect::V5 {
            out.extend([source, destination, [0; 4], [0, 1, 0, 2], packets, bytes].concat());
            out.extend((UPTIME_MS - 2_000).to_be_bytes());
            out.extend((UPTIME_MS - 1_000).to_be_bytes());
            out.extend(ports);
            // Flags, protocol, type of service, AS numbers, masks, padding.
            out.extend([0, 0x18, 6, 0, 0, 0, 0, 0, 24, 24, 0, 0]);
            return;
        }
        out.extend([source, destination, packets, bytes].concat());
        out.extend(ports);
        out.extend([6, 0x18, 0]);
        if self.dialect == Dialect::V9 {
            out.extend((UPTIME_MS - 1_000).to_be_bytes());
            out.extend((UPTIME_MS - 2_000).to_be_bytes());
        } else {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
            let ms = u64::try_from(now.as_millis()).expect("a clock of our era");
            out.extend((ms - 1_000).to_be_bytes());
            out.extend((ms - 2_000).to_be_bytes());
        }
    }
}

fn counter(value: u64) -> [u8; 4] {
    u32::try_from(value).expect("a small number").to_be_bytes()
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).expect("a set of at most 65,535 bytes");
    [&id.to_be_bytes(), &length.to_be_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_dataplane::wire::Message;

    fn exporter(dialect: Dialect) -> Exporter {
        Exporter::new("192.0.2.1:4000".parse().unwrap(), 7, dialect)
    }

    #[test]
    fn messages_are_well_formed_and_counted_by_each_versions_rule() {
        for (dialect, expected) in [(Dialect::V5, 3), (Dialect::V9, 1), (Dialect::Ipfix, 3)] {
            let mut exporter = exporter(dialect);
            let first = exporter.first(Shape::Full, 3);
            let second = exporter.next(Shape::Full, 2);
            assert_eq!(Message::parse(&first).unwrap().sequence(), 0, "{dialect:?}");
            assert_eq!(Message::parse(&second).unwrap().sequence(), expected, "{dialect:?}");
            assert_eq!(exporter.flows().len(), 5);
        }
    }

    #[test]
    fn the_smallest_messages_are_small() {
        assert_eq!(exporter(Dialect::Ipfix).next(Shape::Bare, 9).len(), 16);
        assert_eq!(exporter(Dialect::Ipfix).next(Shape::Tiny, 1).len(), 24);
    }

    #[test]
    fn no_record_is_like_another() {
        let mut exporter = exporter(Dialect::V9);
        exporter.next(Shape::Full, 300);
        let mut destinations: Vec<_> = exporter.flows().iter().map(|f| f.destination).collect();
        destinations.dedup();
        assert_eq!(destinations.len(), 300);
    }
}
