//! An hour of flows as a campus sees them at its uplinks: the data that stores are compared on.
//!
//! Three million external hosts (15 % IPv6) in 60,000 prefixes and 120,000 internal ones, both by
//! Zipf's law; ports by a mix of services; packets of a flow with P(x) ∝ x^-1.73; eight exporters
//! that send datagrams of a few dozen flows. Every row is a function of its number, so any part of
//! the data can be made anywhere, and is the same for every store.

use std::ops::Range;

use weir_store::{Address, Batch};

/// Rows of the whole data set.
pub const ROWS: u64 = 40_000_000;

/// When the first flow is received, ms since 1970.
pub const BEGIN_MS: u64 = 1_795_370_400_000;

/// How long the flows go on, ms: twelve slots of five minutes.
pub const LENGTH_MS: u64 = 3_600_000;

/// An address that ten flows have, however many rows there are.
pub const RARE: Address = Address::from_v4([198, 51, 100, 7]);

/// An address that one in four thousand flows has: ten thousand of all.
pub const MEDIUM: Address = Address::from_v4([198, 51, 100, 8]);

const EXTERNAL: u64 = 3_000_000;
const INTERNAL: u64 = 120_000;
const PREFIXES: u64 = 60_000;
const EXPORTERS: u64 = 8;

/// Rows of a datagram.
const DATAGRAM: u64 = 27;

/// Servers' protocol and port, and how many flows in a thousand are theirs.
const SERVICES: [(u8, u16, u64); 16] = [
    (6, 443, 400),
    (17, 443, 110),
    (17, 53, 140),
    (6, 80, 70),
    (17, 123, 20),
    (6, 22, 15),
    (6, 25, 12),
    (6, 993, 12),
    (6, 445, 10),
    (6, 3389, 8),
    (17, 161, 8),
    (6, 8080, 10),
    (1, 0, 25),
    (17, 3478, 15),
    (6, 5223, 15),
    (6, 23, 10),
];

const TCP_FLAGS: [u16; 8] = [0x1b, 0x1b, 0x1b, 0x1f, 0x18, 0x02, 0x10, 0x1e];

/// Numbers without a pattern, the same for the same seed.
struct Noise(u64);

impl Noise {
    fn new(stream: u64, n: u64) -> Noise {
        Noise(mix(n ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A rank below `count` by Zipf's law with an exponent of one.
    fn rank(&mut self, count: u64) -> u64 {
        ((count as f64).powf(self.unit()) as u64 - 1).min(count - 1)
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// One end of a flow.
struct Host {
    address: Address,
    system: u32,
    mask: u8,
    /// Which way it lies: few for external hosts, more for internal ones.
    way: u32,
}

fn external(rank: u64) -> Host {
    let prefix = Noise::new(1, rank).below(PREFIXES);
    let mut noise = Noise::new(2, prefix);
    let system = 1000 + noise.rank(40_000) as u32;
    let way = noise.below(4) as u32;
    let mut host = Noise::new(3, rank);
    if prefix % 20 < 3 {
        let site = 0x2a00_0000_0000 | noise.below(1 << 40);
        let interface = if host.below(4) == 0 { host.below(4096) } else { host.next() };
        let network = site << 16 | host.below(8);
        let address = Address((u128::from(network) << 64 | u128::from(interface)).to_be_bytes());
        return Host { address, system, mask: 48, way };
    }
    let mask = 16 + noise.below(9) as u8;
    let network = (0x0b00_0000 + noise.below(0xd500_0000)) as u32;
    let hosts = u32::MAX >> mask;
    let address = network & !hosts | host.next() as u32 & hosts;
    Host { address: Address::from_v4(address.to_be_bytes()), system, mask, way }
}

fn internal(rank: u64, v6: bool) -> Host {
    let mut noise = Noise::new(4, rank);
    // Subnets are three quarters full; a host keeps its own.
    let subnet = rank * 7 % 640;
    let way = 8 + (subnet % 24) as u32;
    let address = if v6 {
        let network = 0x2001_0db8_0001_0000 | subnet;
        Address((u128::from(network) << 64 | u128::from(noise.next())).to_be_bytes())
    } else {
        let at = (subnet << 8 | noise.below(250)) as u32;
        Address::from_v4((0x0a00_0000 + at).to_be_bytes())
    };
    Host { address, system: 64_512, mask: if v6 { 64 } else { 24 }, way }
}

/// What a flow is about.
struct Service {
    protocol: u8,
    server: u16,
    client: u16,
    flags: u16,
}

fn service(noise: &mut Noise) -> Service {
    let client = match noise.below(10) {
        0..5 => 49_152 + noise.below(16_384),
        5..9 => 32_768 + noise.below(28_232),
        _ => 1024 + noise.below(64_512),
    } as u16;
    let mut at = noise.below(1000);
    for (protocol, server, share) in SERVICES {
        if at < share {
            let flags = TCP_FLAGS[noise.below(8) as usize];
            return match protocol {
                6 => Service { protocol, server, client, flags },
                1 => Service { protocol, server: 0x0800, client: 0, flags: 0 },
                _ => Service { protocol, server, client, flags: 0 },
            };
        }
        at -= share;
    }
    let server = (1024 + noise.below(64_512)) as u16;
    let protocol = if noise.below(3) == 0 { 6 } else { 17 };
    Service { protocol, server, client, flags: if protocol == 6 { 0x1b } else { 0 } }
}

/// Packets, bytes and duration in ms.
fn amount(noise: &mut Noise, service: &Service) -> (u64, u64, u64) {
    let packets = ((1.0 - noise.unit()).powf(-1.0 / 0.73) as u64).clamp(1, 4_000_000);
    let size = match (service.protocol, packets) {
        (1, _) => 84,
        (17, 1..4) => 60 + noise.below(240),
        (_, 1) => 40 + noise.below(3) * 12,
        (_, 2..8) => 52 + noise.below(300),
        _ => 60 + noise.below(1400),
    };
    let bytes = packets * size + if packets > 1 { noise.below(packets.min(1000)) } else { 0 };
    let duration = match packets {
        1 => 0,
        // From some milliseconds to the active timeout of a minute.
        _ => (60_000_f64.powf(noise.unit()) as u64).saturating_sub(1),
    };
    (packets, bytes, duration)
}

/// Appends row `n` of `rows`.
fn push(batch: &mut Batch, n: u64, rows: u64) {
    let datagram = n / DATAGRAM;
    let exporter = Noise::new(5, datagram).rank(EXPORTERS);
    let mut noise = Noise::new(6, n);
    let outside = external(noise.rank(EXTERNAL));
    let inside = internal(noise.rank(INTERNAL), !outside.address.is_v4());
    let service = service(&mut noise);
    let (packets, bytes, duration) = amount(&mut noise, &service);
    let received = BEGIN_MS
        + (u128::from(datagram * DATAGRAM) * u128::from(LENGTH_MS) / u128::from(rows)) as u64;
    // A flow is told when its end was seen, or when nothing has come for a while.
    let wait = if service.flags & 1 == 1 { noise.below(1500) } else { 15_000 + noise.below(2000) };
    let last = received - wait;
    batch.received_ms.push(received);
    batch.last_ms.push(last);
    batch.first_ms.push(last - duration);
    batch.protocol.push(service.protocol);
    batch.tcp_flags.push(service.flags);
    batch.tos.push([0, 0, 0, 0, 0, 0, 0, 0, 0x28, 0xb8, 0x20, 0x48][noise.below(12) as usize]);
    batch.packets.push(packets);
    batch.bytes.push(bytes);
    batch.exporter.push(Address::from_v4([192, 0, 2, 1 + exporter as u8]));

    let inwards = noise.below(2) == 0;
    let serves_outside = noise.below(5) > 0;
    let (source, mut destination) = if inwards { (outside, inside) } else { (inside, outside) };
    if n.is_multiple_of(4000) {
        destination.address = MEDIUM;
    }
    if n % (rows / 10).max(1) == rows / 20 {
        destination.address = RARE;
    }
    let (source_port, destination_port) = match (service.protocol, inwards == serves_outside) {
        (1, _) => (0, service.server),
        (_, true) => (service.server, service.client),
        (_, false) => (service.client, service.server),
    };
    batch.source_port.push(source_port);
    batch.destination_port.push(destination_port);
    batch.input_interface.push(source.way);
    batch.output_interface.push(destination.way);
    let hop = [10, 255, exporter as u8, destination.way as u8];
    batch.next_hop.push(Address::from_v4(hop));
    batch.direction.push(u8::from(!inwards));
    batch.source_as.push(source.system);
    batch.destination_as.push(destination.system);
    batch.source_mask.push(source.mask);
    batch.destination_mask.push(destination.mask);
    batch.source_address.push(source.address);
    batch.destination_address.push(destination.address);
}

/// Those of `rows` flows whose numbers are in `range`.
///
/// # Panics
/// When the range ends beyond `rows`.
pub fn batch(rows: u64, range: Range<u64>) -> Batch {
    assert!(range.end <= rows, "there are {rows} flows");
    let count = usize::try_from(range.end - range.start).expect("a batch fits the memory");
    let mut batch = Batch::with_capacity(count);
    range.for_each(|n| push(&mut batch, n, rows));
    batch.fill(count);
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_is_the_same_however_it_is_made() {
        let whole = batch(10_000, 0..10_000);
        assert_eq!(batch(10_000, 500..700), whole.range(500..700));
    }

    #[test]
    fn planted_addresses_have_their_flows() {
        let flows = batch(40_000, 0..40_000);
        let count = |address| flows.destination_address.iter().filter(|a| **a == address).count();
        assert_eq!((count(RARE), count(MEDIUM)), (10, 10));
    }
}
