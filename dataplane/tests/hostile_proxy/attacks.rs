//! One kind of attack each.

use std::net::SocketAddr;

use weir_dataplane::Discard;
use weir_dataplane::configuration::Configuration;
use weir_dataplane::gate::{CopyTo, Gate, Prefix};
use weir_dataplane::mediate::Distribution;
use weir_dataplane::session::SessionLimits;

use crate::harness::{self, set_of, template_of};
use crate::siege::{Random, SLAVES, Siege};

pub(crate) const MODELS: [Distribution; 2] = [Distribution::RoundRobin, Distribution::FlowSource];

/// One address that means ill, from this port.
fn attacker(port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 1], port))
}

/// A message of these sets, of an observation domain.
fn message(v9: bool, sequence: u32, domain: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let write = if v9 { harness::netflow9 } else { harness::ipfix };
    let mut message = write(sequence, &sets.concat());
    let at = if v9 { 16 } else { 12 };
    message[at..at + 4].copy_from_slice(&domain.to_be_bytes());
    message
}

fn templates(v9: bool, records: &[Vec<u8>]) -> Vec<u8> {
    set_of(if v9 { 0 } else { 2 }, &records.concat())
}

/// An options template of IPFIX: a scope of `scope` bytes, a value of four.
fn options_template(id: u16, scope: u16) -> Vec<u8> {
    let words = [id, 2, 1, 149, scope, 41, 4];
    set_of(3, &words.map(u16::to_be_bytes).concat())
}

/// Attacks under both models, an honest message of each version in between; each packet is the
/// attack's `n`th.
fn attack(
    limits: SessionLimits,
    packets: u32,
    mut packet: impl FnMut(u32, &mut Random) -> (SocketAddr, Vec<u8>),
    mut then: impl FnMut(Distribution, &weir_dataplane::Counters),
) {
    for model in MODELS {
        let mut siege = Siege::new(model, limits);
        let mut random = Random(7);
        for n in 0..packets {
            let (source, payload) = packet(n, &mut random);
            siege.take(source, &payload);
            if n % 40 == 0 {
                siege.everyone(1 + n % 11, n % 1_600 == 0);
            }
        }
        then(model, &siege.end());
    }
}

#[test]
fn another_template_in_every_packet() {
    let packet = |n: u32, _: &mut Random| {
        let v9 = n.is_multiple_of(2);
        let template = template_of(256 + (n % 3) as u16, &[((n / 3 % 400) as u16, 4), (2, 4)]);
        let data = set_of(256 + (n % 3) as u16, &[7; 80]);
        (attacker(9), message(v9, n, 1, &[templates(v9, &[template]), data]))
    };
    attack(Siege::narrow(), 30_000, packet, |model, counters| {
        if model == Distribution::RoundRobin {
            assert!(counters.records_decoded.get() >= 30_000 * 10);
        }
    });
}

#[test]
fn templates_of_every_id_from_every_port() {
    let packet = |n: u32, _: &mut Random| {
        let v9 = n.is_multiple_of(2);
        let first = 256 + (n / 2 % 131) as u16 * 498;
        let records: Vec<_> =
            (first..=first.saturating_add(497)).map(|id| template_of(id, &[(8, 4)])).collect();
        (attacker((n / 262) as u16), message(v9, n, 1, &[templates(v9, &records)]))
    };
    attack(Siege::narrow(), 1_500, packet, |model, counters| {
        if model == Distribution::RoundRobin {
            assert!(counters.discarded(Discard::TemplateTableFull) > 0, "of one session");
            assert!(counters.discarded(Discard::SourceTemplatesFull) > 0, "of the address");
        }
    });
}

#[test]
fn lengths_that_lie() {
    let packet = |n: u32, random: &mut Random| {
        let v9 = n.is_multiple_of(2);
        let sets = [
            templates(v9, &[template_of(256, &[(8, 4), (82, if v9 { 9 } else { u16::MAX })])]),
            set_of(256, &[3; 60]),
            options_template(300, 4),
            set_of(300, &[1; 16]),
        ];
        let mut payload = message(v9, n, n % 3, &sets);
        for _ in 0..1 + random.below(3) {
            let at = random.below(payload.len() as u64 / 2) as usize * 2;
            let lie = match random.below(4) {
                0 => random.next() as u16,
                1 => u16::MAX,
                2 => random.below(12) as u16,
                _ => payload.len() as u16,
            };
            payload[at..at + 2].copy_from_slice(&lie.to_be_bytes());
        }
        payload.truncate(payload.len() - random.below(2) as usize * random.below(30) as usize);
        (attacker(n as u16 % 7), payload)
    };
    attack(Siege::narrow(), 40_000, packet, |_, _| ());
}

#[test]
fn records_of_every_length_that_a_datagram_can_have() {
    let packet = |n: u32, _: &mut Random| {
        let v9 = n.is_multiple_of(2);
        let length = 1 + n as u16 * 7 % 8_000;
        // Every length about the slaves' MTU, and others.
        let length = if n < 400 { 1_380 + n as u16 / 4 } else { length };
        let fields = [(8, 1), (82, length)];
        let data = set_of(256, &vec![5; 1 + usize::from(length)]);
        (attacker(9), message(v9, n, 1, &[templates(v9, &[template_of(256, &fields)]), data]))
    };
    attack(Siege::narrow(), 2_000, packet, |model, counters| {
        if model == Distribution::RoundRobin {
            assert_eq!(counters.discarded(Discard::RecordTooLong), 0);
        }
    });
}

#[test]
fn everything_withdrawn_in_every_packet() {
    let packet = |n: u32, _: &mut Random| {
        let all = [[2u16, 0], [3, 0]].map(|words| words.map(u16::to_be_bytes).concat());
        let records: Vec<_> = (0..9).map(|id| template_of(256 + id, &[(8, 4)])).collect();
        let sets = [
            templates(false, &records),
            options_template(300, 4),
            set_of(260, &[1; 40]),
            set_of(300, &[1; 16]),
            set_of(2, &all[0]),
            set_of(3, &all[1]),
        ];
        (attacker(9), message(false, n * 12, 1, &sets))
    };
    attack(Siege::narrow(), 20_000, packet, |model, counters| {
        if model == Distribution::RoundRobin {
            assert_eq!(counters.options_decoded.get(), 20_000 * 2);
        }
    });
}

#[test]
fn options_tables_without_end() {
    let packet = |n: u32, _: &mut Random| {
        let id = 256 + (n % 5) as u16;
        let records: Vec<u8> = (0..50u32)
            .flat_map(|scope| (n * 50 + scope).to_be_bytes().into_iter().chain([1; 4]))
            .collect();
        let sets = [options_template(id, 4), set_of(id, &records)];
        (attacker(n as u16 % 20), message(false, n * 50, 1, &sets))
    };
    attack(Siege::narrow(), 4_000, packet, |model, counters| {
        if model == Distribution::RoundRobin {
            assert_eq!(counters.options_decoded.get(), 4_000 * 50);
        }
    });
}

#[test]
fn data_before_its_template_at_full_rate() {
    let packet = |n: u32, _: &mut Random| {
        let v9 = n.is_multiple_of(2);
        let (id, port) = (256 + (n % 9) as u16, n as u16 % 50);
        let sets = match n % 1_000 {
            999 => vec![templates(v9, &[template_of(id, &[(8, 4), (12, 4)])])],
            _ => vec![set_of(id, &vec![1; 8 * (1 + n as usize % 170)])],
        };
        (attacker(port), message(v9, n, 1, &sets))
    };
    attack(Siege::narrow(), 40_000, packet, |model, counters| {
        if model == Distribution::RoundRobin {
            assert!(counters.discarded(Discard::UnknownTemplate) > 20_000);
        }
    });
}

#[test]
fn a_sweep_over_a_million_addresses() {
    let v5 = harness::message(harness::Version::V5, 0, 0, false, 0..1);
    let template = || vec![template_of(256, &[(8, 4)])];
    let v9 = message(true, 1, 1, &[templates(true, &template())]);
    let data = message(true, 1, 1, &[set_of(256, &[1; 12])]);
    let ipfix = message(false, 1, 1, &[templates(false, &template()), set_of(256, &[1; 4])]);
    let packet = |n: u32, _: &mut Random| {
        let payload = match n % 4 {
            0 => &v5,
            1 => &v9,
            2 => &data,
            _ => &ipfix,
        };
        (SocketAddr::from(((0x0b00_0000 + n).to_be_bytes(), 2_000)), payload.clone())
    };
    let limits = SessionLimits { sessions: 16_384, ..Siege::narrow() };
    attack(limits, 1_000_000, packet, |_, counters| {
        assert_eq!(counters.discarded(Discard::SessionTableFull), 0);
    });
}

#[test]
fn every_port_of_one_address_and_many_domains() {
    let packet = |n: u32, _: &mut Random| {
        let v9 = n.is_multiple_of(2);
        let sets = [templates(v9, &[template_of(256, &[(8, 4)])]), set_of(256, &[1; 12])];
        (attacker(n as u16), message(v9, n, n / 65_536 + n % 3, &sets))
    };
    attack(Siege::narrow(), 150_000, packet, |_, counters| {
        assert_eq!(counters.discarded(Discard::SourceSessionsFull), 0, "its own give way");
    });
}

#[test]
fn templates_and_data_by_turns() {
    let packet = |n: u32, random: &mut Random| {
        let v9 = n.is_multiple_of(2);
        let mut sets = Vec::new();
        for _ in 0..12 {
            let id = 256 + random.below(3) as u16;
            let fields = [(8, 4), (12, 4), (4, 1 + random.below(3) as u16)];
            let fields = &fields[random.below(3) as usize..];
            if random.below(2) == 0 {
                sets.push(templates(v9, &[template_of(id, fields)]));
            } else {
                sets.push(set_of(id, &vec![1; random.below(90) as usize]));
            }
        }
        (attacker(9), message(v9, n, 1, &sets))
    };
    attack(Siege::narrow(), 15_000, packet, |_, _| ());
}

#[test]
fn copies_and_gates_under_fire() {
    for model in MODELS {
        let mut siege = Siege::new(model, Siege::narrow());
        let copy = |keep_source| CopyTo {
            to: SocketAddr::from(([10, 9, 9, 9], 9_999)),
            keep_source,
            mtu: 1_500,
        };
        let ill = Prefix { address: attacker(0).ip(), length: 32 };
        let honest = Prefix { address: harness::exporter(0).ip(), length: 24 };
        let gate = |allow| Gate {
            port: harness::PORT,
            allow: Some(allow),
            formats: 0b111,
            copies: vec![copy(true), copy(false)],
            log_every: 1,
        };
        let configured = |allow| Configuration {
            gates: vec![gate(allow)],
            ..harness::configuration(&[1; SLAVES as usize])
        };
        siege.configure(&configured(vec![honest]));
        let (mut passed, mut refused) = (0, 0);
        for n in 0..20_000u32 {
            // The gate is changed meanwhile.
            let lets_in = n / 5_000 % 2 == 1;
            if n % 5_000 == 0 && n > 0 {
                siege.configure(&configured(if lets_in {
                    vec![honest, ill]
                } else {
                    vec![honest]
                }));
            }
            siege.take(attacker(n as u16), &message(true, n, 1, &[set_of(256, &[1; 80])]));
            (passed, refused) = if lets_in { (passed + 1, refused) } else { (passed, refused + 1) };
            if n % 40 == 0 {
                siege.everyone(3, n % 800 == 0);
                passed += 3;
            }
        }
        siege.deliver();
        assert_eq!(siege.copies, 2 * passed);
        let counters = siege.end();
        assert_eq!(counters.copies_sent.get(), 2 * passed);
        assert_eq!(counters.discarded(Discard::SourceNotAllowed), refused);
    }
}
