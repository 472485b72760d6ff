//! Inputs to begin with: well-formed datagrams of every protocol, with one of each thing that a
//! parser treats in its own way.

use weir_dataplane::wire::fixed::{LAYOUTS, Layout};
use weir_dataplane::wire::{Protocol, ethernet, ipv4, ipv6, udp};

use super::mutate::Random;
use super::stream;

/// Seconds since 1970 of every message here.
const EXPORT_SECS: u32 = 1_699_999_990;
const UPTIME_MS: u32 = 100_000;

fn words(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn longs(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// A packet of records of a fixed layout.
fn packet(layout: &Layout, count: u16, random: &mut Random) -> Vec<u8> {
    let version = layout.protocol.name().strip_prefix("netflow").and_then(|v| v.parse().ok());
    let mut out = words(&[version.expect("a version of NetFlow"), count]);
    out.extend(longs(&[UPTIME_MS, EXPORT_SECS, 500_000_000, 7]));
    out.extend([1, 2, layout.scheme, 2, 0, 0, 0, 0]);
    out.truncate(layout.header_length);
    out.resize(layout.header_length, 0);
    out.extend(random.bytes(usize::from(count) * layout.record_length));
    out
}

/// Packets of versions 1, 5, 6 and 7.
pub fn fixed() -> Vec<Vec<u8>> {
    let mut random = Random(1);
    let layouts = LAYOUTS.into_iter().filter(|layout| layout.scheme == 0);
    layouts.flat_map(|layout| [1, 3].map(|count| packet(layout, count, &mut random))).collect()
}

/// Packets of version 8, one of each aggregation scheme.
pub fn netflow8() -> Vec<Vec<u8>> {
    let mut random = Random(8);
    let layouts = LAYOUTS.into_iter().filter(|layout| layout.scheme != 0);
    layouts.map(|layout| packet(layout, 2, &mut random)).collect()
}

fn set(id: u16, body: &[u8]) -> Vec<u8> {
    [words(&[id, 4 + body.len() as u16]), body.to_vec()].concat()
}

/// A message of these sets.
fn message(protocol: Protocol, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let sets = sets.concat();
    let mut out = match protocol {
        Protocol::Ipfix => words(&[10, 16 + sets.len() as u16]),
        _ => [words(&[9, 1]), longs(&[UPTIME_MS])].concat(),
    };
    out.extend(longs(&[EXPORT_SECS, sequence, 5]));
    out.extend(sets);
    out
}

/// Element, length, and in IPFIX an enterprise unless that is 0.
type Field = (u16, u16, u32);

fn specifiers(fields: &[Field]) -> Vec<u8> {
    let specifier = |&(element, length, enterprise): &Field| match enterprise {
        0 => words(&[element, length]),
        _ => [words(&[element | 0x8000, length]), longs(&[enterprise])].concat(),
    };
    fields.iter().flat_map(specifier).collect()
}

fn template(id: u16, fields: &[Field]) -> Vec<u8> {
    [words(&[id, fields.len() as u16]), specifiers(fields)].concat()
}

/// An options template whose first field is the scope.
fn options_template(protocol: Protocol, id: u16, fields: &[Field]) -> Vec<u8> {
    let count = fields.len() as u16;
    let header = match protocol {
        Protocol::Ipfix => [id, count, 1],
        _ => [id, 4, 4 * (count - 1)],
    };
    [words(&header), specifiers(fields)].concat()
}

/// A record of this template, of random values; those of variable length have six bytes, and every
/// other of those writes its length in three.
fn record(fields: &[Field], random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, &(_, length, _)) in fields.iter().enumerate() {
        match length {
            u16::MAX if at % 2 == 0 => out.extend([6]),
            u16::MAX => out.extend([255, 0, 6]),
            _ => {}
        }
        out.extend(random.bytes(if length == u16::MAX { 6 } else { length.into() }));
    }
    out
}

/// What routers commonly export.
const COMMON: [Field; 20] = [
    (8, 4, 0),
    (12, 4, 0),
    (15, 4, 0),
    (10, 4, 0),
    (14, 4, 0),
    (2, 4, 0),
    (1, 4, 0),
    (22, 4, 0),
    (21, 4, 0),
    (7, 2, 0),
    (11, 2, 0),
    (6, 1, 0),
    (4, 1, 0),
    (5, 1, 0),
    (9, 1, 0),
    (13, 1, 0),
    (16, 4, 0),
    (17, 4, 0),
    (58, 2, 0),
    (61, 1, 0),
];
/// IPv6, absolute times, both directions, MAC addresses, MPLS, ICMP, sampling.
const WIDE: [Field; 20] = [
    (27, 16, 0),
    (28, 16, 0),
    (62, 16, 0),
    (152, 8, 0),
    (153, 8, 0),
    (85, 8, 0),
    (86, 8, 0),
    (231, 8, 0),
    (232, 8, 0),
    (298, 8, 0),
    (299, 8, 0),
    (56, 6, 0),
    (80, 6, 0),
    (70, 3, 0),
    (32, 2, 0),
    (139, 2, 0),
    (48, 1, 0),
    (34, 4, 0),
    (95, 4, 0),
    (89, 1, 0),
];
/// NAT and firewall events, deltas and durations, first and last in seconds.
const EVENTS: [Field; 14] = [
    (225, 4, 0),
    (226, 4, 0),
    (227, 2, 0),
    (228, 2, 0),
    (230, 1, 0),
    (233, 1, 0),
    (323, 8, 0),
    (148, 8, 0),
    (158, 4, 0),
    (159, 4, 0),
    (161, 4, 0),
    (234, 4, 0),
    (150, 4, 0),
    (151, 4, 0),
];
/// Variable length, other enterprises, a reverse counter (RFC 5103), lists (RFC 6313).
const VARIABLE: [Field; 11] = [
    (8, 4, 0),
    (82, u16::MAX, 0),
    (12, 4, 0),
    (96, u16::MAX, 0),
    (1, 8, 0),
    (1, 8, 29_305),
    (2, 8, 29_305),
    (12_235, u16::MAX, 9),
    (100, 4, 35_632),
    (291, u16::MAX, 0),
    (293, u16::MAX, 0),
];
/// A sampler, by its id.
const SAMPLER: [Field; 4] = [(1, 4, 0), (48, 1, 0), (49, 1, 0), (50, 4, 0)];
/// An interface's name; when the exporter started.
const NAMES: [Field; 4] = [(10, 4, 0), (82, 16, 0), (83, 32, 0), (160, 8, 0)];
/// An application's.
const APPLICATION: [Field; 3] = [(95, 4, 0), (96, 24, 0), (94, 55, 0)];

/// A template or options template of this id, and so many records.
fn described(
    protocol: Protocol,
    id: u16,
    fields: &[Field],
    options: bool,
    count: usize,
    random: &mut Random,
) -> [Vec<u8>; 2] {
    let is_ipfix = protocol == Protocol::Ipfix;
    let set_id = u16::from(options) + if is_ipfix { 2 } else { 0 };
    let body = match options {
        false => template(id, fields),
        true => options_template(protocol, id, fields),
    };
    let mut records: Vec<u8> = (0..count).flat_map(|_| record(fields, random)).collect();
    if !is_ipfix {
        records.resize(records.len().next_multiple_of(4), 0);
    }
    [set(set_id, &body), set(id, &records)]
}

/// Messages that a session of this protocol would send.
fn messages(protocol: Protocol) -> Vec<Vec<u8>> {
    let mut random = Random(9);
    let mut plans: Vec<(&[Field], bool)> = vec![(&COMMON, false), (&WIDE, false), (&EVENTS, false)];
    if protocol == Protocol::Ipfix {
        plans.push((&VARIABLE, false));
    }
    plans.extend([(&SAMPLER[..], true), (&NAMES, true), (&APPLICATION, true)]);
    let mut out = Vec::new();
    for (id, (fields, options)) in (256..).zip(plans) {
        let sets = described(protocol, id, fields, options, 3, &mut random);
        out.push(message(protocol, id.into(), &sets));
        out.push(message(protocol, id.into(), &sets[1..]));
    }
    // Every element of IANA's, sixteen a template.
    for first in (1..512).step_by(16) {
        let lengths = [1, 2, 4, 8];
        let field = |element: u16| (element, lengths[usize::from(element / 16 + element) % 4], 0);
        let fields: Vec<Field> = (first..first + 16).map(field).collect();
        let sets = described(protocol, 300, &fields, false, 2, &mut random);
        out.push(message(protocol, first.into(), &sets));
    }
    if protocol == Protocol::Ipfix {
        for body in [[1, 0, 0, 0], [0, 2, 0, 0]] {
            out.push(message(protocol, 1, &[set(2, &body)]));
        }
        out.push(message(protocol, 1, &[set(3, &[0, 3, 0, 0])]));
    }
    // The data first, then what it means; and the id's meaning changed.
    let [template, data] = described(protocol, 256, &COMMON, false, 2, &mut random);
    let [other, more] = described(protocol, 256, &EVENTS, false, 2, &mut random);
    out.push(message(protocol, 1, &[data, template, other, more]));
    out
}

/// Packets of version 9.
pub fn netflow9() -> Vec<Vec<u8>> {
    messages(Protocol::Netflow9)
}

/// IPFIX messages.
pub fn ipfix() -> Vec<Vec<u8>> {
    messages(Protocol::Ipfix)
}

/// A structure behind its tag and length, padded to four bytes.
fn tagged(tag: u32, body: &[u8]) -> Vec<u8> {
    let mut out = longs(&[tag, body.len() as u32]);
    out.extend(body);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// Records of a flow sample, of every kind.
fn sample_records() -> Vec<Vec<u8>> {
    let headers = sampled();
    let header = |input: &Vec<u8>| {
        let protocol = match input[0] {
            0 => 1,
            1 => 7,
            2 => 13,
            _ => 11,
        };
        let length = input.len() as u32 - 1;
        tagged(1, &[longs(&[protocol, length + 4, 4, length]), input[1..].to_vec()].concat())
    };
    let mut out: Vec<_> = headers.iter().map(header).collect();
    out.push(tagged(2, &longs(&[64, 0x0001_0203, 0x0405_0000, 0x0001_0203, 0x0406_0000, 0x800])));
    out.push(tagged(3, &longs(&[64, 6, 0x0a00_0001, 0x0a00_0002, 1024, 443, 0x1b, 0])));
    let (v6, ports) = (longs(&[0x2001_0db8, 0, 0, 1]), longs(&[1024, 53, 0, 0]));
    out.push(tagged(4, &[longs(&[64, 17]), v6.clone(), v6, ports].concat()));
    out.push(tagged(1001, &longs(&[100, 1, 200, 2])));
    out.push(tagged(1002, &longs(&[1, 0x0a00_0009, 24, 16])));
    let path = longs(&[1, 0x0a00_0009, 65_001, 65_002, 65_003, 1, 2, 2, 7, 8, 1, 9, 100]);
    out.push(tagged(1003, &path));
    out.push(tagged(1003, &longs(&[1, 0x0a00_0009, 65_001, 65_002, 65_003, 0, 0, 100])));
    out.push(tagged(2 << 12 | 5, &[1, 2, 3, 4]));
    out
}

/// A datagram of these samples.
fn datagram(agent: &[u32], samples: &[Vec<u8>]) -> Vec<u8> {
    let mut out = longs(&[5]);
    out.extend(longs(agent));
    out.extend(longs(&[3, 9, UPTIME_MS, samples.len() as u32]));
    out.extend(samples.concat());
    out
}

/// sFlow datagrams.
pub fn sflow() -> Vec<Vec<u8>> {
    const V4: [u32; 2] = [1, 0xc000_0201];
    let flow = |records: &[Vec<u8>]| {
        let fixed = longs(&[1, 5, 512, 1_000, 0, 3, 4, records.len() as u32]);
        tagged(1, &[fixed, records.concat()].concat())
    };
    let expanded = |records: &[Vec<u8>]| {
        let fixed = longs(&[1, 0, 5, 512, 1_000, 0, 0, 3, 1, 256, records.len() as u32]);
        tagged(3, &[fixed, records.concat()].concat())
    };
    let records = sample_records();
    let mut out: Vec<_> =
        records.iter().map(|record| datagram(&V4, &[flow(std::slice::from_ref(record))])).collect();
    let counters = [tagged(2, &longs(&[1, 5, 0])), tagged(4, &longs(&[1, 0, 5, 0]))];
    out.push(datagram(&V4, &counters));
    let all = [flow(&records), expanded(&records), tagged(9 << 12 | 1, &[0; 8])];
    out.push(datagram(&[2, 0x2001_0db8, 0, 0, 1], &all));
    out.push(datagram(&[0], &all[1..]));
    out
}

/// An Ethernet header with these tags.
fn link(tags: &[[u16; 2]], ethertype: u16) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    out.extend(tags.iter().flat_map(|tag| words(tag)));
    out.extend(words(&[ethertype]));
    out
}

fn version4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; ipv4::HEADER_LENGTH];
    let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let header = ipv4::Header { source, destination, identification: 7, protocol };
    header.emit(&mut out, payload.len());
    out.extend(payload);
    out
}

fn version6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; ipv6::HEADER_LENGTH];
    let (source, destination) = ([0x20; 16].into(), [0x30; 16].into());
    ipv6::Header { source, destination, protocol }.emit(&mut out, payload.len());
    out.extend(payload);
    out
}

fn tcp() -> Vec<u8> {
    [words(&[1024, 443]), longs(&[1, 2]), vec![0x50, 0x1b, 0, 9, 0, 0, 0, 0]].concat()
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    [words(&[1024, port, 8 + payload.len() as u16, 0]), payload.to_vec()].concat()
}

/// A byte that says what a packet begins with, and the packet.
pub fn sampled() -> Vec<Vec<u8>> {
    let inner = version4(6, &tcp());
    let frame = [link(&[], 0x0800), inner.clone()].concat();
    let gre = |flags: u16, kind: u16, options: &[u8], within: &[u8]| {
        version4(47, &[&words(&[flags, kind]), options, within].concat())
    };
    let vxlan = [vec![8, 0, 0, 0, 0, 1, 2, 0], frame.clone()].concat();
    let gtpu = [vec![0x30, 255, 0, 40, 0, 0, 0, 7], inner.clone()].concat();
    let extended = [vec![0x34, 255, 0, 48, 0, 0, 0, 7, 0, 0, 0, 0x85, 1, 0, 0, 0], inner.clone()];
    let authentication = [&[17, 4, 0, 0][..], &[0; 20], &udp(53, &[1])].concat();
    let fragment = [&[17, 0, 0, 1, 0, 0, 0, 9][..], &udp(53, &[1])].concat();
    let options = [&[44, 0, 1, 4, 0, 0, 0, 0][..], &fragment].concat();
    let packets = [
        version4(17, &udp(53, &[1, 2, 3])),
        version4(1, &[8, 0, 1, 2]),
        version4(4, &inner),
        version4(41, &version6(58, &[128, 0, 0, 0])),
        version6(6, &tcp()),
        version6(0, &options),
        version6(51, &authentication),
        version6(4, &inner),
        gre(0, 0x0800, &[], &inner),
        gre(0xb000, 0x6558, &[0; 12], &frame),
        gre(0x2000, 0x86dd, &[0, 0, 0, 5], &version6(6, &tcp())),
        version4(17, &udp(4789, &vxlan)),
        version6(17, &udp(8472, &vxlan)),
        version4(17, &udp(2152, &gtpu)),
        version4(17, &udp(2152, &extended.concat())),
        version4(132, &udp(36_412, &[])),
    ];
    let mut out: Vec<_> = packets.iter().map(|packet| [&[3], &packet[..]].concat()).collect();
    for packet in &packets {
        let kind = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
        out.push([&[0], &link(&[], kind)[..], packet].concat());
        out.push([&[0], &link(&[[0x8100, 5]], kind)[..], packet].concat());
        out.push([&[0], &link(&[[0x88a8, 6], [0x8100, 5]], kind)[..], packet].concat());
    }
    let labels = [&[0, 1, 0, 64][..], &[0, 2, 1, 64], &inner].concat();
    out.push([&[2], &labels[..]].concat());
    out.push([&[0], &link(&[], 0x8847)[..], &labels].concat());
    out.push([&[1, 0xff, 3, 0, 0x21], &inner[..]].concat());
    out.push([&[1, 0x21], &inner[..]].concat());
    out.push([&[0], &link(&[], 0x8864)[..], &[0x11, 0, 0, 1, 0, 40, 0, 0x21], &inner].concat());
    out
}

/// Ethernet frames with UDP datagrams.
pub fn frames() -> Vec<Vec<u8>> {
    let mut segment = udp(2055, &[0, 5, 0, 1]);
    let ends = ["10.0.0.1:1024", "10.0.0.2:2055"].map(|end| end.parse().expect("an address"));
    udp::emit(&mut segment, ends[0], ends[1]);
    let packets = [version4(17, &segment), version6(17, &segment), version4(6, &tcp())];
    let mut out = Vec::new();
    for packet in &packets {
        let kind = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
        for tags in [&[][..], &[[0x8100, 5]], &[[0x88a8, 6], [0x8100, 5]]] {
            out.push([&link(tags, kind), &packet[..]].concat());
        }
    }
    let extended = version6(0, &[&[17, 0, 1, 4, 0, 0, 0, 0], &segment[..]].concat());
    out.push([&link(&[], 0x86dd), &extended[..]].concat());
    assert_eq!(out[0].len(), ethernet::HEADER_LENGTH + packets[0].len());
    out
}

/// Runs of the datagrams of one protocol, and one of all.
pub fn streams() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let protocols = [fixed(), netflow8(), netflow9(), ipfix(), sflow()];
    for (setting, datagrams) in (0u8..).zip(&protocols) {
        for few in datagrams.chunks(6) {
            let mut input = vec![setting];
            for (at, datagram) in (0u8..).zip(few) {
                stream::push(&mut input, ((at % 3) << 5) | (at % 4), datagram);
            }
            out.push(input);
        }
    }
    let mut input = vec![2];
    for datagrams in &protocols {
        datagrams.iter().take(3).for_each(|datagram| stream::push(&mut input, 0x10, datagram));
    }
    out.push(input);
    out
}

/// Runs of messages with templates.
pub fn templates() -> Vec<Vec<u8>> {
    let few = [netflow9(), ipfix()];
    let input = |messages: &[Vec<u8>]| {
        let mut input = vec![0];
        messages.iter().for_each(|message| stream::push(&mut input, 0x10, message));
        input
    };
    few.iter().flat_map(|messages| messages.chunks(5).map(input)).collect()
}
