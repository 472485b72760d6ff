//! A packet's first bytes, from whichever layer they begin with.

use weir_dataplane::wire::sampled::{Level, Packet, Start};

use super::watch;

/// The target's body: the first byte says what the others begin with.
pub fn run(input: &[u8]) {
    let [start, bytes @ ..] = input else { return };
    let start = match start {
        0 => Start::Ethernet,
        1 => Start::Ppp,
        2 => Start::Mpls,
        3 => Start::Ip,
        // Types of the Ethernet that lead somewhere, then any.
        4 => Start::Type(0x0800),
        5 => Start::Type(0x86dd),
        6 => Start::Type(0x8847),
        7 => Start::Type(0x8864),
        &other => Start::Type(u16::from_be_bytes([0x88, other])),
    };
    let whole = watch::packet(|| Packet::read(start, bytes));
    check(&whole.outer, bytes.len());
    if let Some((_, inner)) = &whole.inner {
        assert!(whole.outer.ip.is_some(), "a tunnel is in an IP packet");
        check(inner, bytes.len());
    }
    // Of a packet that is cut short the outer headers are a beginning of the same.
    let cut = Packet::read(start, &bytes[..bytes.len() / 2]);
    if let (Some(whole), Some(cut)) = (whole.outer.ip, cut.outer.ip) {
        assert_eq!((whole.source, whole.destination), (cut.source, cut.destination));
    }
}

fn check(level: &Level, length: usize) {
    if let Some(ip) = level.ip {
        assert!(length >= if ip.source.is_ipv4() { 20 } else { 40 });
        assert_eq!(ip.source.is_ipv4(), ip.destination.is_ipv4());
    }
    if let Some(ethernet) = level.ethernet {
        assert!(ethernet.inner_vlan.is_none() || ethernet.vlan.is_some());
        assert!(ethernet.vlan.is_none_or(|vlan| vlan < 4096));
    }
    assert!(level.label.is_none_or(|label| label < 1 << 20));
}
