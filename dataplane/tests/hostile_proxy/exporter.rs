//! Exporters that use all that their protocol allows: redefinition, withdrawal, options data,
//! variable length, times of every kind, and now and then data before its template.

use std::net::SocketAddr;

use crate::harness::{self, Version, set_of, template_of};
use crate::siege::Random;

type Fields = &'static [(u16, u16)];

/// Templates of NetFlow v9: with uptimes, without times, with absolute ones.
const NETFLOW9: [Fields; 3] = [
    &[(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (2, 4), (1, 4), (22, 4), (21, 4)],
    &[(1, 4), (8, 4), (12, 4)],
    &[(8, 4), (1, 8), (152, 8), (153, 8)],
];
/// Templates of IPFIX: with times relative to the message, of variable length, with seconds.
const IPFIX: [Fields; 3] = [
    &[(8, 4), (1, 4), (158, 4), (159, 4)],
    &[(8, 4), (82, u16::MAX), (1, 4), (152, 8), (153, 8)],
    &[(8, 4), (1, 8), (4, 1), (150, 4), (151, 4)],
];
const IDS: [u16; 4] = [256, 257, 320, 400];
const OPTIONS: u16 = 500;

/// One observation domain of an exporter.
pub(crate) struct Exporter {
    pub(crate) source: SocketAddr,
    version: Version,
    domain: u32,
    sequence: u32,
    records: u32,
    seconds: u32,
    /// What each id means at the exporter.
    meanings: [Option<Fields>; IDS.len()],
    /// Ids that were used and not told yet.
    untold: Vec<usize>,
    habits: Habits,
}

/// What exporters may do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    /// Data comes before its template.
    pub(crate) early: bool,
    /// Ids keep their meaning.
    pub(crate) steady: bool,
}

impl Exporter {
    pub(crate) fn new(source: SocketAddr, version: Version, domain: u32, habits: Habits) -> Self {
        let (sequence, records, seconds) = (900 * domain, 0, 0);
        let (meanings, untold) = ([None; IDS.len()], Vec::new());
        Exporter { source, version, domain, sequence, records, seconds, meanings, untold, habits }
    }

    /// Its next message.
    pub(crate) fn message(&mut self, random: &mut Random) -> Vec<u8> {
        if random.below(4) == 0 {
            self.seconds += random.below(3) as u32;
        }
        if self.version == Version::V5 {
            let (from, to) = (self.records, self.records + 1 + random.below(30) as u32);
            let sequence = self.sequence;
            (self.records, self.sequence) = (to, sequence + to - from);
            return harness::message(self.version, self.seconds, sequence, false, from..to);
        }
        let (mut sets, mut units) = (Vec::new(), 0);
        for at in std::mem::take(&mut self.untold) {
            sets.extend(self.template(at));
        }
        for _ in 0..1 + random.below(5) {
            let at = random.below(IDS.len() as u64) as usize;
            match (random.below(12), self.meanings[at]) {
                (0..=2, _) | (3..=7, None) => self.define(at, random, &mut sets),
                (3..=9, Some(fields)) => {
                    let count = 1 + random.below(40) as u32;
                    sets.extend(self.data(at, fields, count));
                    units += count;
                }
                (10, Some(_)) if self.version == Version::Ipfix && !self.habits.steady => {
                    self.meanings[at] = None;
                    self.untold.retain(|&untold| untold != at);
                    sets.extend(set_of(2, &[IDS[at], 0].map(u16::to_be_bytes).concat()));
                }
                _ if self.version == Version::Ipfix => {
                    let template = [OPTIONS, 2, 1, 149, 4, 41, 4].map(u16::to_be_bytes).concat();
                    let data = [random.below(9) as u32, random.below(99) as u32];
                    sets.extend(set_of(3, &template));
                    sets.extend(set_of(OPTIONS, &data.map(u32::to_be_bytes).concat()));
                    units += 1;
                }
                _ => {}
            }
        }
        self.wrap(&sets, units)
    }

    /// What is left to be told of what was sent.
    pub(crate) fn last(&mut self) -> Option<Vec<u8>> {
        let untold = std::mem::take(&mut self.untold);
        let sets: Vec<u8> = untold.into_iter().flat_map(|at| self.template(at)).collect();
        (!sets.is_empty()).then(|| self.wrap(&sets, 0))
    }

    /// Gives an id a meaning, the same or another one. Only an id without one can be used before
    /// that is told: nobody could read data of a redefinition.
    fn define(&mut self, at: usize, random: &mut Random, sets: &mut Vec<u8>) {
        let kinds = if self.version == Version::V9 { NETFLOW9 } else { IPFIX };
        let is_new = self.meanings[at].is_none();
        if self.untold.contains(&at) {
            return;
        }
        if is_new || !self.habits.steady {
            self.meanings[at] = Some(kinds[random.below(3) as usize]);
        }
        if self.habits.early && is_new && random.below(3) == 0 {
            self.untold.push(at);
        } else {
            sets.extend(self.template(at));
        }
    }

    fn template(&self, at: usize) -> Vec<u8> {
        let fields = self.meanings[at].expect("what is told has a meaning");
        let id = if self.version == Version::V9 { 0 } else { 2 };
        set_of(id, &template_of(IDS[at], fields))
    }

    fn data(&mut self, at: usize, fields: Fields, count: u32) -> Vec<u8> {
        let from = self.records;
        self.records += count;
        let records: Vec<u8> = (from..self.records)
            .flat_map(|n| fields.iter().flat_map(move |f| field(*f, n)))
            .collect();
        set_of(IDS[at], &records)
    }

    fn wrap(&mut self, sets: &[u8], units: u32) -> Vec<u8> {
        let v9 = self.version == Version::V9;
        let write = if v9 { harness::netflow9 } else { harness::ipfix };
        let mut payload = write(self.sequence, sets);
        self.sequence += if v9 { 1 } else { units };
        let mut put = |at: usize, value: u32| {
            payload[at..at + 4].copy_from_slice(&value.to_be_bytes());
        };
        let seconds = 1_600_000_000 + self.seconds;
        if v9 {
            // Its clock and its uptime drift apart.
            put(4, 100_000 + self.seconds * 999);
            put(8, seconds);
            put(16, self.domain);
        } else {
            put(4, seconds);
            put(12, self.domain);
        }
        payload
    }
}

/// The `n`th record's field.
fn field((element, length): (u16, u16), n: u32) -> Vec<u8> {
    let value = match element {
        1 => u64::from(n) * 100,
        8 | 12 => 0x0a00_0000 + u64::from(n),
        21 | 22 => 1_000 + u64::from(n),
        150 | 151 => 1_500_000_000 + u64::from(n),
        152 | 153 => 1_500_000_000_000 + u64::from(n),
        _ => u64::from(n % 251),
    };
    if length == u16::MAX {
        let name = vec![b'x'; n as usize % 40];
        return [&[name.len() as u8][..], &name].concat();
    }
    value.to_be_bytes()[8 - usize::from(length)..].to_vec()
}
