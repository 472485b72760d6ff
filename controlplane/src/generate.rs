//! A deterministic exporter: NetFlow v5, NetFlow v9 or IPFIX packets from a seed.
//!
//! Why: a demo, a test or a benchmark needs traffic whose exact sums are known beforehand and that
//! looks like traffic: few hosts and services carry most of it (a Zipf-like rank distribution), and
//! sizes are heavy-tailed. Same plan, same bytes.
//!
//! Invariant: [`Generator::totals`] is the sum over exactly the flows in the packets handed out.
//! Deliberately not here: time. Export times advance in whole seconds of the plan's own clock, as an
//! exporter's do that sends once a second; how fast the packets leave is the sender's business.

use std::net::{Ipv4Addr, Ipv6Addr};

/// UDP payload that the generator fills at most, so that a packet fits 1,500 bytes over IPv6 too.
const PAYLOAD_LIMIT: usize = 1_420;
/// Templates and options data come with the first packet and then with every n-th.
const REFRESH_PACKETS: u64 = 64;
/// Packets that bear the same export second.
const PACKETS_PER_SECOND: u64 = 256;
/// How long the exporter had been up when it sent its first packet; longer than any flow.
const UPTIME_MS: u64 = 3_600_000;

const TEMPLATE_V4: u16 = 256;
const TEMPLATE_V6: u16 = 257;
const TEMPLATE_SAMPLER: u16 = 258;

/// The export protocol to generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// NetFlow version 5: IPv4 flows only.
    V5,
    /// NetFlow version 9 (RFC 3954).
    V9,
    /// IPFIX (RFC 7011).
    Ipfix,
}

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The export protocol.
    pub dialect: Dialect,
    /// Flows in all packets together.
    pub flows: u64,
    /// Export time of the first packet, seconds since 1970.
    pub start_secs: u32,
    /// Observation domain, source id, or (its low 16 bits) v5 engine.
    pub domain: u32,
    /// Where the random numbers start.
    pub seed: u64,
}

/// Exact sums over what was generated, or sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    /// UDP datagrams.
    pub datagrams: u64,
    /// Flow records; options data records are not among them.
    pub flows: u64,
    /// Packets of the flows, as their exporter counts them.
    pub packets: u64,
    /// Layer-3 bytes of the flows, as their exporter counts them.
    pub bytes: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Totals) {
        self.datagrams += other.datagrams;
        self.flows += other.flows;
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// One exporter; hands out its packets in order.
#[derive(Debug)]
pub struct Generator {
    plan: Plan,
    random: Random,
    totals: Totals,
    /// In the dialect's own unit: v5 flows, v9 packets, IPFIX data records.
    sequence: u32,
}

/// One flow before it is written in a dialect.
#[derive(Clone, Copy, Debug)]
struct Flow {
    source: Ends,
    destination: Ends,
    protocol: u8,
    tcp_flags: u8,
    tos: u8,
    packets: u64,
    bytes: u64,
    input: u32,
    output: u32,
    /// Before the export time, ms.
    began_ms: u64,
    /// Before the export time, ms.
    ended_ms: u64,
    service: &'static str,
}

/// One end of a flow; a rank stands for a host until it is written as an address.
#[derive(Clone, Copy, Debug)]
struct Ends {
    net: u8,
    host: u16,
    port: u16,
}

impl Ends {
    fn v4(self) -> Ipv4Addr {
        let [high, low] = self.host.to_be_bytes();
        Ipv4Addr::new(10, self.net, high, low)
    }

    fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, u16::from(self.net), 0, 0, 0, 0, self.host)
    }

    fn autonomous_system(self) -> u32 {
        64_512 + u32::from(self.net)
    }
}

/// A packet in the making: the protocols are big-endian throughout.
#[derive(Debug, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }
    fn u16(&mut self, value: u16) {
        self.0.extend(value.to_be_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_be_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_be_bytes());
    }
    fn bytes(&mut self, value: &[u8]) {
        self.0.extend(value);
    }
    /// A set: its header and its body, padded to four bytes.
    fn set(&mut self, id: u16, body: &[u8]) {
        let padding = body.len().next_multiple_of(4) - body.len();
        self.u16(id);
        self.u16(u16::try_from(body.len() + padding + 4).expect("a set fits a packet"));
        self.bytes(body);
        self.bytes(&[0; 3][..padding]);
    }
    fn words(&mut self, words: &[u16]) {
        words.iter().for_each(|&word| self.u16(word));
    }
}

impl Generator {
    /// An exporter at its first packet.
    pub fn new(plan: Plan) -> Self {
        let random = Random(plan.seed ^ 0x9e37_79b9_7f4a_7c15);
        Generator { plan, random, totals: Totals::default(), sequence: 0 }
    }

    /// Sums over what has been handed out so far; final once [`Generator::packet`] gives `None`.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The next packet's UDP payload, or `None` when the planned flows are out.
    pub fn packet(&mut self) -> Option<Vec<u8>> {
        if self.totals.flows >= self.plan.flows {
            return None;
        }
        let payload = match self.plan.dialect {
            Dialect::V5 => self.netflow5(),
            Dialect::V9 => self.netflow9(),
            Dialect::Ipfix => self.ipfix(),
        };
        self.totals.datagrams += 1;
        Some(payload)
    }

    fn export_secs(&self) -> u32 {
        let passed = self.totals.datagrams / PACKETS_PER_SECOND;
        self.plan.start_secs.wrapping_add(u32::try_from(passed).unwrap_or(u32::MAX))
    }

    fn uptime_ms(&self) -> u64 {
        UPTIME_MS + 1_000 * (self.totals.datagrams / PACKETS_PER_SECOND)
    }

    fn is_refresh(&self) -> bool {
        self.totals.datagrams.is_multiple_of(REFRESH_PACKETS)
    }

    /// The next flow, counted; `None` when the planned ones are out.
    fn flow(&mut self) -> Option<Flow> {
        if self.totals.flows >= self.plan.flows {
            return None;
        }
        let flow = self.random.flow();
        self.totals.flows += 1;
        self.totals.packets += flow.packets;
        self.totals.bytes += flow.bytes;
        Some(flow)
    }

    fn netflow5(&mut self) -> Vec<u8> {
        let (secs, uptime, sequence) = (self.export_secs(), self.uptime_ms(), self.sequence);
        let [.., engine_type, engine_id] = self.plan.domain.to_be_bytes();
        let mut records = Writer::default();
        let mut count = 0;
        while count < 29
            && let Some(flow) = self.flow()
        {
            netflow5_record(&mut records, &flow, uptime);
            count += 1;
        }
        self.sequence = sequence.wrapping_add(u32::from(count));
        let mut packet = Writer::default();
        packet.words(&[5, count]);
        packet.u32(millis(uptime));
        packet.u32(secs);
        packet.u32(0);
        packet.u32(sequence);
        packet.bytes(&[engine_type, engine_id]);
        packet.u16(0); // not sampled
        packet.bytes(&records.0);
        packet.0
    }

    fn netflow9(&mut self) -> Vec<u8> {
        let (secs, uptime, sequence) = (self.export_secs(), self.uptime_ms(), self.sequence);
        let mut sets = Writer::default();
        let mut count = 0;
        if self.is_refresh() {
            netflow9_templates(&mut sets);
            count += 4; // three templates and the sampler's record
        }
        count += self.data_sets(&mut sets, |flow, v6, body| {
            netflow9_record(body, flow, v6, uptime);
        });
        self.sequence = sequence.wrapping_add(1);
        let mut packet = Writer::default();
        packet.words(&[9, count]);
        packet.u32(millis(uptime));
        packet.u32(secs);
        packet.u32(sequence);
        packet.u32(self.plan.domain);
        packet.bytes(&sets.0);
        packet.0
    }

    fn ipfix(&mut self) -> Vec<u8> {
        let (secs, sequence) = (self.export_secs(), self.sequence);
        let mut sets = Writer::default();
        let mut records = 0;
        if self.is_refresh() {
            ipfix_templates(&mut sets, self.plan.domain);
            records += 1; // the sampler's record
        }
        records += self.data_sets(&mut sets, |flow, v6, body| {
            ipfix_record(body, flow, v6, u64::from(secs) * 1_000);
        });
        self.sequence = sequence.wrapping_add(u32::from(records));
        let mut packet = Writer::default();
        packet.words(&[10, u16::try_from(sets.0.len() + 16).expect("a message fits a packet")]);
        packet.u32(secs);
        packet.u32(sequence);
        packet.u32(self.plan.domain);
        packet.bytes(&sets.0);
        packet.0
    }

    /// Data sets of flows until the packet is full or the plan is out; returns the flows written.
    /// Every packet has one set of IPv4 flows; every fourth has one of IPv6 flows besides.
    fn data_sets(&mut self, sets: &mut Writer, write: impl Fn(&Flow, bool, &mut Writer)) -> u16 {
        // The longest record of either dialect, with what a set's header and padding take.
        const RECORD: usize = 96 + 4 + 3;
        // The message's header, which is not in `sets` yet.
        const HEADER: usize = 20;
        let both = self.totals.datagrams % 4 == 3;
        let half = (PAYLOAD_LIMIT - sets.0.len()) / 2 + sets.0.len();
        let mut count = 0;
        for (v6, limit) in [(true, half), (false, PAYLOAD_LIMIT)] {
            if v6 && !both {
                continue;
            }
            let mut body = Writer::default();
            while sets.0.len() + body.0.len() + HEADER + RECORD < limit
                && let Some(flow) = self.flow()
            {
                write(&flow, v6, &mut body);
                count += 1;
            }
            if !body.0.is_empty() {
                sets.set(if v6 { TEMPLATE_V6 } else { TEMPLATE_V4 }, &body.0);
            }
        }
        count
    }
}

/// The low 32 bits, as the protocols' millisecond fields wrap after 49.7 days.
fn millis(ms: u64) -> u32 {
    (ms & u64::from(u32::MAX)) as u32
}

/// Both versions' generated counters are far below 2^32; see [`Random::flow`].
fn count32(count: u64) -> u32 {
    u32::try_from(count).expect("a generated flow's counters fit 32 bits")
}

fn netflow5_record(out: &mut Writer, flow: &Flow, uptime_ms: u64) {
    out.bytes(&flow.source.v4().octets());
    out.bytes(&flow.destination.v4().octets());
    out.bytes(&[10, 255, 0, 1]); // next hop
    out.words(&[flow.input as u16, flow.output as u16]);
    out.u32(count32(flow.packets));
    out.u32(count32(flow.bytes));
    out.u32(millis(uptime_ms - flow.began_ms));
    out.u32(millis(uptime_ms - flow.ended_ms));
    out.words(&[flow.source.port, flow.destination.port]);
    out.bytes(&[0, flow.tcp_flags, flow.protocol, flow.tos]);
    out.u16(flow.source.autonomous_system() as u16);
    out.u16(flow.destination.autonomous_system() as u16);
    out.bytes(&[16, 16, 0, 0]); // prefix lengths, padding
}

/// Fields of a v9 flow template after its addresses: (element, length).
const NETFLOW9_FIELDS: [(u16, u16); 17] = [
    (21, 4),
    (22, 4),
    (1, 4),
    (2, 4),
    (7, 2),
    (11, 2),
    (4, 1),
    (6, 1),
    (5, 1),
    (61, 1),
    (10, 4),
    (14, 4),
    (16, 4),
    (17, 4),
    (9, 1),
    (13, 1),
    (48, 1),
];

fn netflow9_templates(sets: &mut Writer) {
    let mut body = Writer::default();
    for (id, addresses) in [(TEMPLATE_V4, [8, 4, 12, 4]), (TEMPLATE_V6, [27, 16, 28, 16])] {
        body.words(&[id, 2 + NETFLOW9_FIELDS.len() as u16]);
        body.words(&addresses);
        NETFLOW9_FIELDS.iter().for_each(|&(element, length)| body.words(&[element, length]));
    }
    sets.set(0, &body.0);
    // RFC 3954, Section 6.1: scope and option lengths are in bytes. Scope: system (1).
    let mut options = Writer::default();
    options.words(&[TEMPLATE_SAMPLER, 4, 12, 1, 4, 48, 1, 49, 1, 50, 4]);
    sets.set(1, &options.0);
    let mut sampler = Writer::default();
    sampler.u32(1);
    sampler.bytes(&[1, 2]); // sampler 1, random
    sampler.u32(1); // one packet of one
    sets.set(TEMPLATE_SAMPLER, &sampler.0);
}

fn netflow9_record(out: &mut Writer, flow: &Flow, v6: bool, uptime_ms: u64) {
    write_addresses(out, flow, v6);
    out.u32(millis(uptime_ms - flow.ended_ms));
    out.u32(millis(uptime_ms - flow.began_ms));
    out.u32(count32(flow.bytes));
    out.u32(count32(flow.packets));
    out.words(&[flow.source.port, flow.destination.port]);
    out.bytes(&[flow.protocol, flow.tcp_flags, flow.tos, 0]);
    out.u32(flow.input);
    out.u32(flow.output);
    out.u32(flow.source.autonomous_system());
    out.u32(flow.destination.autonomous_system());
    out.bytes(&[16, 16, 1]); // prefix lengths, sampler
}

/// Fields of an IPFIX flow template after its addresses: (element, length); 65,535 = variable.
const IPFIX_FIELDS: [(u16, u16); 17] = [
    (152, 8),
    (153, 8),
    (1, 8),
    (2, 4),
    (7, 2),
    (11, 2),
    (4, 1),
    (6, 2),
    (5, 1),
    (61, 1),
    (10, 4),
    (14, 4),
    (16, 4),
    (17, 4),
    (9, 1),
    (13, 1),
    (96, 65_535),
];

fn ipfix_templates(sets: &mut Writer, domain: u32) {
    let mut body = Writer::default();
    for (id, addresses) in [(TEMPLATE_V4, [8, 4, 12, 4]), (TEMPLATE_V6, [27, 16, 28, 16])] {
        body.words(&[id, 2 + IPFIX_FIELDS.len() as u16]);
        body.words(&addresses);
        IPFIX_FIELDS.iter().for_each(|&(element, length)| body.words(&[element, length]));
    }
    sets.set(2, &body.0);
    // RFC 7011, Section 3.4.2.2: three fields, one of them the scope (observationDomainId).
    let mut options = Writer::default();
    options.words(&[TEMPLATE_SAMPLER, 3, 1, 149, 4, 34, 4, 35, 1]);
    sets.set(3, &options.0);
    let mut sampler = Writer::default();
    sampler.u32(domain);
    sampler.u32(1); // one packet of one
    sampler.u8(2); // random
    sets.set(TEMPLATE_SAMPLER, &sampler.0);
}

fn ipfix_record(out: &mut Writer, flow: &Flow, v6: bool, export_ms: u64) {
    write_addresses(out, flow, v6);
    out.u64(export_ms - flow.began_ms);
    out.u64(export_ms - flow.ended_ms);
    out.u64(flow.bytes);
    out.u32(count32(flow.packets));
    out.words(&[flow.source.port, flow.destination.port]);
    out.u8(flow.protocol);
    out.u16(u16::from(flow.tcp_flags));
    out.bytes(&[flow.tos, 0]);
    out.u32(flow.input);
    out.u32(flow.output);
    out.u32(flow.source.autonomous_system());
    out.u32(flow.destination.autonomous_system());
    out.bytes(&[16, 16]); // prefix lengths
    out.u8(flow.service.len() as u8);
    out.bytes(flow.service.as_bytes());
}

fn write_addresses(out: &mut Writer, flow: &Flow, v6: bool) {
    for end in [flow.source, flow.destination] {
        if v6 { out.bytes(&end.v6().octets()) } else { out.bytes(&end.v4().octets()) }
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): small, seedable, good enough for traffic.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from `0..bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A rank from `1..=bound` with a density of about 1/rank: bound^u for an even u, which in whole
    /// numbers is a random count of bits and then those bits at random.
    fn rank(&mut self, bound_bits: u32) -> u64 {
        let bits = self.below(u64::from(bound_bits)) as u32;
        (1 << bits) | self.below(1 << bits)
    }

    fn flow(&mut self) -> Flow {
        // (protocol, server port, service), the frequent ones repeated.
        const SERVICES: [(u8, u16, &str); 16] = [
            (6, 443, "tls"),
            (6, 443, "tls"),
            (6, 443, "tls"),
            (6, 443, "tls"),
            (6, 443, "tls"),
            (17, 443, "quic"),
            (17, 443, "quic"),
            (17, 443, "quic"),
            (17, 53, "dns"),
            (17, 53, "dns"),
            (17, 53, "dns"),
            (6, 80, "http"),
            (6, 22, "ssh"),
            (6, 25, "smtp"),
            (17, 123, "ntp"),
            (1, 0, "icmp"),
        ];
        let (protocol, port, service) = SERVICES[self.below(16) as usize];
        let client_port = if protocol == 1 { 0 } else { 32_768 + self.below(28_000) as u16 };
        let echo = if protocol == 1 { 8 << 8 } else { port };
        let client = Ends { net: 1, host: self.rank(14) as u16, port: client_port };
        let server = Ends { net: 8 + self.below(4) as u8, host: self.rank(10) as u16, port };
        let server = Ends { port: echo, ..server };
        // At most 2^14 packets of at most 1,500 bytes: far below the 32-bit fields' limit.
        let packets = self.rank(14);
        let bytes = packets * (40 + self.below(1_461));
        let ended_ms = self.below(1_000);
        let began_ms = ended_ms + self.below(60_000).min(packets * 500);
        let forth = self.below(2) == 0;
        let (source, destination) = if forth { (client, server) } else { (server, client) };
        let tcp_flags = if protocol == 6 { 0x1b } else { 0 };
        let (input, output) = if forth { (1, 2) } else { (2, 1) };
        let tos = if service == "ssh" { 0x10 } else { 0 };
        Flow {
            source,
            destination,
            protocol,
            tcp_flags,
            tos,
            packets,
            bytes,
            input,
            output,
            began_ms,
            ended_ms,
            service,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(dialect: Dialect) -> Plan {
        Plan { dialect, flows: 20_000, start_secs: 1_700_000_000, domain: 7, seed: 1 }
    }

    fn packets(plan: Plan) -> (Vec<Vec<u8>>, Totals) {
        let mut generator = Generator::new(plan);
        let packets: Vec<_> = std::iter::from_fn(|| generator.packet()).collect();
        (packets, generator.totals())
    }

    #[test]
    fn the_same_plan_gives_the_same_bytes() {
        for dialect in [Dialect::V5, Dialect::V9, Dialect::Ipfix] {
            assert_eq!(packets(plan(dialect)), packets(plan(dialect)));
        }
    }

    #[test]
    fn another_seed_gives_other_flows() {
        let other = Plan { seed: 2, ..plan(Dialect::V9) };
        assert_ne!(packets(plan(Dialect::V9)), packets(other));
    }

    #[test]
    fn exactly_the_planned_flows_come_out_and_every_packet_fits() {
        for dialect in [Dialect::V5, Dialect::V9, Dialect::Ipfix] {
            let (packets, totals) = packets(plan(dialect));
            assert_eq!(totals.flows, 20_000);
            assert_eq!(totals.datagrams, packets.len() as u64);
            let longest = packets.iter().map(Vec::len).max().unwrap();
            assert!((1_200..=1_420).contains(&longest), "{dialect:?}: {longest} bytes");
        }
    }

    #[test]
    fn few_hosts_carry_most_of_the_flows() {
        let mut random = Random(1);
        let first_ten = (0..10_000).filter(|_| random.rank(14) <= 10).count();
        assert!((1_500..4_000).contains(&first_ten), "{first_ten} of 10,000");
    }

    #[test]
    fn export_time_and_uptime_move_together() {
        let mut generator = Generator::new(Plan { flows: 100_000, ..plan(Dialect::V9) });
        let mut boots = std::collections::BTreeSet::new();
        while let Some(packet) = generator.packet() {
            let field = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
            boots.insert(u64::from(field(8)) * 1_000 - u64::from(field(4)));
        }
        assert_eq!(boots.len(), 1, "the exporter's start never moves");
    }
}
