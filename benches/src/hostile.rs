//! What an exporter sends that means harm, between honest packets.

use std::net::SocketAddr;

use crate::engine::{BASE, BURST, Engine, Point};
use crate::traffic::{Load, Protocol, longs, words};

/// A way to be a burden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostile {
    /// Every packet redefines the same template in another way.
    NewTemplate,
    /// 65,280 templates, 16 a packet, again and again.
    ManyTemplates,
    /// Lengths and counts that contradict the packet.
    LyingLengths,
    /// Every packet comes from the next of 1,000,000 sources.
    Sweep,
}

impl Hostile {
    /// All of them.
    pub const ALL: [Hostile; 4] =
        [Hostile::NewTemplate, Hostile::ManyTemplates, Hostile::LyingLengths, Hostile::Sweep];

    /// Its name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Hostile::NewTemplate => "a new template every packet",
            Hostile::ManyTemplates => "65,280 templates, 16 a packet",
            Hostile::LyingLengths => "lying lengths",
            Hostile::Sweep => "a sweep over 1,000,000 sources",
        }
    }

    /// The payloads that its packets take turns with. No more of them than it needs: what a bench
    /// reads of its own memory is no cost of the proxy's.
    pub fn payloads(self) -> Vec<Vec<u8>> {
        match self {
            Hostile::NewTemplate => (0..256).map(new_template).collect(),
            Hostile::ManyTemplates => (0..4_080).map(sixteen_templates).collect(),
            Hostile::LyingLengths => (0..6).map(lie).collect(),
            Hostile::Sweep => Load::new(Protocol::V9, 1).template_packet().into_iter().collect(),
        }
    }

    /// Where the `n`-th packet comes from.
    pub fn source(self, n: u32) -> SocketAddr {
        match self {
            Hostile::Sweep => {
                let [_, b, c, d] = (n % 1_000_000).to_be_bytes();
                SocketAddr::from(([100, b, c, d], 50_000))
            }
            _ => SocketAddr::from(([192, 0, 2, 66], 50_000)),
        }
    }
}

fn new_template(n: u32) -> Vec<u8> {
    let fields: Vec<_> = (0..18).map(|f| (f + 1, 1 + (n >> f & 3) as u16)).collect();
    templates(n, 256, 1, &fields)
}

fn sixteen_templates(n: u32) -> Vec<u8> {
    let fields: Vec<_> = (1..19).map(|f| (f, 4)).collect();
    templates(n, 256 + (n * 16) as u16, 16, &fields)
}

/// A hostile exporter's packets, one after the other.
#[derive(Debug)]
pub struct Attack {
    hostile: Hostile,
    payloads: Vec<Vec<u8>>,
    sent: u32,
}

impl Attack {
    /// Nothing sent yet.
    pub fn new(hostile: Hostile) -> Attack {
        Attack { hostile, payloads: hostile.payloads(), sent: 0 }
    }

    /// As many packets as an honest burst has.
    pub fn burst(&mut self, engine: &mut Engine) {
        for _ in 0..BURST {
            let payload = &self.payloads[self.sent as usize % self.payloads.len()];
            engine.take(self.hostile.source(self.sent), payload);
            self.sent += 1;
        }
        engine.settle();
    }
}

/// Where the honest sources beside it are measured.
pub const HONEST: Point = Point { sources: 1_000, ..BASE };

/// An engine whose 1,000 honest sources have been sending for a while.
pub fn honest() -> Engine {
    let mut engine = Engine::new(&HONEST);
    for _ in 0..4 {
        (0..HONEST.sources).for_each(|_| engine.burst());
        engine.pass(10_000);
    }
    // What was due leaves now, not while something is measured.
    engine.settle();
    engine
}

fn header(sequence: u32) -> Vec<u8> {
    let mut out = Vec::new();
    words(&mut out, &[9, 1]);
    longs(&mut out, &[1_000_000, 1_700_000_000, sequence, 1]);
    out
}

fn templates(n: u32, first: u16, count: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let mut out = header(n);
    words(&mut out, &[0, 4 + count * (4 + 4 * fields.len() as u16)]);
    for id in 0..count {
        words(&mut out, &[first.saturating_add(id), fields.len() as u16]);
        fields.iter().for_each(|&(element, length)| words(&mut out, &[element, length]));
    }
    out
}

fn lie(n: u32) -> Vec<u8> {
    let mut out = header(n);
    match n % 6 {
        0 => words(&mut out, &[256, 60_000]),
        1 => words(&mut out, &[256, 3]),
        2 => words(&mut out, &[0, 12, 256, 40_000, 1, 4]),
        3 => words(&mut out, &[0, 12, 257, 1, 1, 0]),
        4 => words(&mut out, &[0, 12, 258, 1, 1, 65_535, 258, 8, 0xffff, 0xffff]),
        _ => words(&mut out, &[259, 12, 1, 2, 3, 4]),
    }
    out.resize(1_400, 0xff);
    out
}
