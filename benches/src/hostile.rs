//! What an exporter sends that means harm, between honest packets.

use std::net::SocketAddr;

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

    /// The `n`-th packet and its source.
    pub fn packet(self, n: u32) -> (SocketAddr, Vec<u8>) {
        let alone = SocketAddr::from(([192, 0, 2, 66], 50_000));
        match self {
            Hostile::NewTemplate => {
                let fields: Vec<_> = (0..18).map(|f| (f + 1, 1 + (n >> f & 3) as u16)).collect();
                (alone, templates(n, 256, 1, &fields))
            }
            Hostile::ManyTemplates => {
                let fields: Vec<_> = (1..19).map(|f| (f, 4)).collect();
                (alone, templates(n, 256 + (n % 4_080 * 16) as u16, 16, &fields))
            }
            Hostile::LyingLengths => (alone, lie(n)),
            Hostile::Sweep => {
                let [_, b, c, d] = (n % 1_000_000).to_be_bytes();
                let load = Load::new(Protocol::V9, 1);
                let packet = load.template_packet().unwrap_or_default();
                (SocketAddr::from(([100, b, c, d], 50_000)), packet)
            }
        }
    }
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
