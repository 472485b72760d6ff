//! An input that is a run of datagrams: a byte for the target's own use, then before each datagram
//! one that says who sends it, when, and what happens besides, and two bytes of its length.
//!
//! Any bytes are such a run, and a mutation of one datagram leaves the others as they are. Lengths
//! that a mutation has made lie keep a fuzzer at a message's door, so a bit of the first byte asks
//! for them to be put right.

use std::net::SocketAddr;

use weir_dataplane::wire::fixed::LAYOUTS;
use weir_dataplane::wire::set;

/// The most datagrams of an input.
pub const DATAGRAMS_MAX: usize = 48;
/// The port that collects.
pub const PORT: u16 = 2055;

const SENDER: u8 = 0b0000_0011;
const WAIT: u8 = 0b0000_1100;
const REPAIR: u8 = 0b0001_0000;
const EVENT: u8 = 0b1110_0000;

/// One datagram of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who sends it.
    pub source: SocketAddr,
    /// How much later than the one before, ms.
    pub wait_ms: u64,
    /// What happens before it, by a number below eight; 0 is nothing.
    pub event: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

/// The first byte of an input.
pub fn setting(input: &[u8]) -> u8 {
    input.first().copied().unwrap_or_default()
}

/// The datagrams of an input.
pub fn steps(input: &[u8]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut bytes = input.get(1..).unwrap_or_default();
    while let [flags, high, low, rest @ ..] = bytes {
        if steps.len() == DATAGRAMS_MAX {
            break;
        }
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (payload, behind) = rest.split_at(length);
        let mut payload = payload.to_vec();
        if flags & REPAIR != 0 {
            repair(&mut payload);
        }
        steps.push(Step {
            source: exporter(flags & SENDER),
            wait_ms: [0, 1, 1_000, 40_000][usize::from(flags & WAIT) >> 2],
            event: (flags & EVENT) >> 5,
            payload,
        });
        bytes = behind;
    }
    steps
}

/// The exporter of this number.
pub fn exporter(n: u8) -> SocketAddr {
    match n {
        // Two ports of one address.
        0 | 1 => SocketAddr::from(([192, 0, 2, 1], 50_000 + u16::from(n))),
        2 => SocketAddr::from(([192, 0, 2, 2], 50_000)),
        _ => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 3], 50_000)),
    }
}

/// Appends a datagram to an input.
pub fn push(input: &mut Vec<u8>, flags: u8, payload: &[u8]) {
    let length = payload.len().min(usize::from(u16::MAX)) as u16;
    input.push(flags);
    input.extend(length.to_be_bytes());
    input.extend(&payload[..usize::from(length)]);
}

/// A capture's datagram as an input: twice, since a template is learned from the first.
pub fn of_datagram(payload: &[u8]) -> Vec<u8> {
    let mut input = vec![0];
    (0..2).for_each(|_| push(&mut input, 0, payload));
    input
}

/// Makes lengths and counts say what is there.
pub fn repair(payload: &mut [u8]) {
    let length = payload.len();
    let [high, low, ..] = *payload else { return };
    let version = u16::from_be_bytes([high, low]);
    match version {
        10 if length >= 16 => {
            payload[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            repair_sets(&mut payload[16..]);
        }
        9 if length >= 20 => repair_sets(&mut payload[20..]),
        _ => {
            let scheme = payload.get(22).copied().filter(|_| version == 8).unwrap_or(0);
            let number = |name: &str| name.strip_prefix("netflow")?.parse().ok();
            let layout = LAYOUTS.iter().find(|layout| {
                number(layout.protocol.name()) == Some(version) && layout.scheme == scheme
            });
            let Some(layout) = layout else { return };
            let there = length.saturating_sub(layout.header_length) / layout.record_length;
            if there > 0 {
                payload[2..4].copy_from_slice(&(there as u16).to_be_bytes());
            }
        }
    }
}

/// Makes the set whose length lies reach to the message's end.
fn repair_sets(mut sets: &mut [u8]) {
    while sets.len() >= set::HEADER_LENGTH {
        let length = usize::from(u16::from_be_bytes([sets[2], sets[3]]));
        if length < set::HEADER_LENGTH || length > sets.len() {
            let whole = sets.len().min(usize::from(u16::MAX)) as u16;
            sets[2..4].copy_from_slice(&whole.to_be_bytes());
            return;
        }
        sets = &mut sets[length..];
    }
}
