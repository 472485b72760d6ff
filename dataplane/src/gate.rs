//! The gate of a listening port: who may send what to it, and who else gets a copy.
//!
//! What is configured is compiled once: prefixes become sorted ranges that don't overlap, so that a
//! datagram costs one binary search whatever the list. IPv4 stands among IPv6 as its mapped
//! addresses (RFC 4291, Section 2.5.5.2). A format is told by the same function as in the kernel; the
//! older versions of NetFlow, which are all one to the kernel, are told apart here.

use std::net::{IpAddr, SocketAddr};

use crate::Discard;
use crate::io::Datagram;

/// A range of addresses: those whose first `length` bits are those of `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// Any address of the range.
    pub address: IpAddr,
    /// Leading bits that count; what exceeds the address is taken as all of it.
    pub length: u8,
}

/// Where a copy of each datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CopyTo {
    /// The destination.
    pub to: SocketAddr,
    /// Whether the copy bears the exporter's address and port; else the address and port that the
    /// datagram was sent to.
    pub keep_source: bool,
    /// Bytes of the largest IP packet on the way; larger ones go in fragments.
    pub mtu: u16,
}

/// The rules of one listening port. A port without a gate takes everything and copies nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The listening port.
    pub port: u16,
    /// Exporters that may send; `None` for everyone.
    pub allow: Option<Vec<Prefix>>,
    /// Formats that are taken, as bits of `weir_ebpf`'s `FORMAT_*` and of [`older`]; 0xff for all.
    pub formats: u16,
    /// Who gets a copy of what passes.
    pub copies: Vec<CopyTo>,
    /// One refused datagram in so many is told to the control plane; 0 for none.
    pub log_every: u32,
}

/// The bits of older versions of NetFlow, which stand above those of `weir_ebpf`'s `FORMAT_*` and are
/// to the kernel what is none of its formats.
pub mod older {
    /// NetFlow v1.
    pub const NETFLOW1: u16 = 1 << 8;
    /// NetFlow v6.
    pub const NETFLOW6: u16 = 1 << 9;
    /// NetFlow v7.
    pub const NETFLOW7: u16 = 1 << 10;
    /// NetFlow v8.
    pub const NETFLOW8: u16 = 1 << 11;
    /// All of them.
    pub const ALL: u16 = NETFLOW1 | NETFLOW6 | NETFLOW7 | NETFLOW8;
}

/// The bits of a payload's format: the kernel's and, of an older version, its own too.
fn format(payload: &[u8]) -> u16 {
    let own = match *payload {
        [0, 1, _, _, ..] => older::NETFLOW1,
        [0, 6, _, _, ..] => older::NETFLOW6,
        [0, 7, _, _, ..] => older::NETFLOW7,
        [0, 8, _, _, ..] => older::NETFLOW8,
        _ => 0,
    };
    own | u16::from(weir_ebpf::format(payload))
}

/// The gates of all listening ports.
#[derive(Debug, Default)]
pub(crate) struct Gates(Vec<Compiled>);

/// One port's rules, ready for use.
#[derive(Debug)]
pub(crate) struct Compiled {
    port: u16,
    /// First and last address of each range, ascending.
    allow: Option<Box<[(u128, u128)]>>,
    formats: u16,
    copies: Box<[CopyTo]>,
    log_every: u32,
    /// Refused since the last one that was told.
    untold: u32,
}

impl Gates {
    pub(crate) fn new(gates: &[Gate]) -> Self {
        Gates(gates.iter().map(Compiled::new).collect())
    }

    /// The gate of a port; a port without one is open.
    #[inline]
    pub(crate) fn at(&mut self, port: u16) -> Option<&mut Compiled> {
        self.0.iter_mut().find(|gate| gate.port == port)
    }
}

impl Compiled {
    fn new(gate: &Gate) -> Self {
        let ranges = |prefixes: &Vec<Prefix>| {
            let mut ranges: Vec<_> = prefixes.iter().map(Prefix::range).collect();
            ranges.sort_unstable();
            // A prefix lies in another or apart from it: the widest comes first.
            ranges.dedup_by(|next, kept| next.1 <= kept.1);
            ranges.into_boxed_slice()
        };
        Compiled {
            port: gate.port,
            allow: gate.allow.as_ref().map(ranges),
            formats: gate.formats,
            copies: gate.copies.as_slice().into(),
            log_every: gate.log_every,
            untold: 0,
        }
    }

    /// Whether a datagram may come in.
    ///
    /// # Errors
    /// [`Discard::SourceNotAllowed`] or [`Discard::FormatNotAllowed`].
    #[inline]
    pub(crate) fn check(&self, datagram: &Datagram<'_>) -> Result<(), Discard> {
        if let Some(ranges) = &self.allow {
            let address = bits(datagram.source.ip());
            let after = ranges.partition_point(|range| range.0 <= address);
            if after == 0 || ranges[after - 1].1 < address {
                return Err(Discard::SourceNotAllowed);
            }
        }
        if self.formats & format(datagram.payload) == 0 {
            return Err(Discard::FormatNotAllowed);
        }
        Ok(())
    }

    /// Whether a datagram that was just refused is one of those that are told.
    pub(crate) fn is_told(&mut self) -> bool {
        self.untold = self.untold.saturating_add(1);
        let told = self.log_every > 0 && self.untold >= self.log_every;
        if told {
            self.untold = 0;
        }
        told
    }

    /// Who gets a copy.
    pub(crate) fn copies(&self) -> &[CopyTo] {
        &self.copies
    }
}

impl Prefix {
    /// Its first and its last address.
    fn range(&self) -> (u128, u128) {
        let (width, before) = if self.address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length = u32::from(self.length.min(width)) + before;
        let host = u128::MAX.checked_shr(length).unwrap_or(0);
        let address = bits(self.address);
        (address & !host, address | host)
    }
}

impl CopyTo {
    /// The source that a datagram's copy bears; `None` when that is of another IP version than the
    /// destination.
    pub(crate) fn source(&self, datagram: &Datagram<'_>) -> Option<SocketAddr> {
        let source = if self.keep_source { datagram.source } else { datagram.destination };
        (source.is_ipv4() == self.to.is_ipv4()).then_some(source)
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
    }

    fn gate(allow: &[&str], formats: u16) -> Compiled {
        let allow = Some(allow.iter().map(|text| prefix(text)).collect());
        Compiled::new(&Gate { port: 2055, allow, formats, copies: Vec::new(), log_every: 3 })
    }

    fn check(gate: &Compiled, source: &str, payload: &[u8]) -> Result<(), Discard> {
        let source = SocketAddr::new(source.parse().unwrap(), 50_000);
        gate.check(&Datagram { source, destination: "10.0.0.1:2055".parse().unwrap(), payload })
    }

    #[test]
    fn only_listed_exporters_come_in() {
        let gate =
            gate(&["192.0.2.0/25", "192.0.2.64/26", "198.51.100.7/32", "2001:db8::/32"], 0xff);
        for source in ["192.0.2.0", "192.0.2.127", "198.51.100.7", "2001:db8:ffff::1"] {
            assert_eq!(check(&gate, source, &[0, 9]), Ok(()), "{source}");
        }
        for source in ["192.0.1.255", "192.0.2.128", "198.51.100.8", "2001:db9::", "::"] {
            let refused = check(&gate, source, &[0, 9]);
            assert_eq!(refused, Err(Discard::SourceNotAllowed), "{source}");
        }
    }

    #[test]
    fn an_empty_list_lets_nobody_in_and_a_length_of_zero_everybody() {
        assert!(check(&gate(&[], 0xff), "192.0.2.1", &[0, 9]).is_err());
        assert!(check(&gate(&["0.0.0.0/0"], 0xff), "192.0.2.1", &[0, 9]).is_ok());
        assert!(check(&gate(&["0.0.0.0/0"], 0xff), "2001:db8::1", &[0, 9]).is_err());
        assert!(check(&gate(&["::/0"], 0xff), "192.0.2.1", &[0, 9]).is_ok());
    }

    #[test]
    fn only_listed_formats_come_in() {
        let payloads: [(&[u8], u16); 6] = [
            (&[0, 5, 0, 1], 1),
            (&[0, 9, 0, 1], 2),
            (&[0, 10, 0, 16], 4),
            (&[0, 0, 0, 5], 8),
            (&[0, 0, 0, 4], 128),
            (&[0, 9], 128),
        ];
        for (payload, format) in payloads {
            assert_eq!(check(&gate(&["::/0"], format), "::1", payload), Ok(()));
            let refused = check(&gate(&["::/0"], !format), "::1", payload);
            assert_eq!(refused, Err(Discard::FormatNotAllowed));
        }
    }

    #[test]
    fn older_versions_are_told_apart_and_are_all_of_them_other_to_the_kernel() {
        let versions = [
            (1u8, older::NETFLOW1),
            (6, older::NETFLOW6),
            (7, older::NETFLOW7),
            (8, older::NETFLOW8),
        ];
        for (version, bit) in versions {
            let payload = [0, version, 0, 1];
            assert_eq!(weir_ebpf::format(&payload), weir_ebpf::FORMAT_OTHER);
            assert_eq!(check(&gate(&["::/0"], bit), "::1", &payload), Ok(()));
            assert_eq!(check(&gate(&["::/0"], 0xff), "::1", &payload), Ok(()));
            for others in [older::ALL & !bit, 0x0f] {
                let refused = check(&gate(&["::/0"], others), "::1", &payload);
                assert_eq!(refused, Err(Discard::FormatNotAllowed), "version {version}");
            }
        }
    }

    #[test]
    fn one_in_so_many_refusals_is_told() {
        let mut gate = gate(&[], 0xff);
        let told: Vec<_> = (0..7).map(|_| gate.is_told()).collect();
        assert_eq!(told, [false, false, true, false, false, true, false]);
    }
}
