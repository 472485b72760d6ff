//! `bpf/abi.h` in Rust: what the XDP program and user space must agree on.
//!
//! Values of the maps are arrays of integers here: that is all that a map can safely hold, and each
//! handle's file takes its own apart.

use std::net::{IpAddr, Ipv6Addr};

/// Receive queues that can have a socket.
pub const QUEUES_MAX: u32 = 256;
/// Local addresses whose datagrams are taken.
pub const ADDRESSES_MAX: usize = 1024;
/// Slots that most pairs of local address and listening port are found in at once.
pub(crate) const LISTENERS: usize = 4096;
/// Slaves that datagrams can be forwarded to.
pub const SLAVES_MAX: usize = 64;
/// Words of 8 entries of a steering table.
pub(crate) const TABLE_WORDS: usize = 2048;
/// Octets of a payload that come with an event at most.
pub const COPY_MAX: usize = 4096;

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpVersion {
    /// Both, in the order of their maps.
    pub const BOTH: [IpVersion; 2] = [IpVersion::V4, IpVersion::V6];

    /// That of an address.
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 }
    }
}

/// NetFlow v5, as a bit of [`PortRule::formats`].
pub const FORMAT_NETFLOW5: u8 = 1;
/// NetFlow v9.
pub const FORMAT_NETFLOW9: u8 = 2;
/// IPFIX.
pub const FORMAT_IPFIX: u8 = 4;
/// sFlow v5.
pub const FORMAT_SFLOW: u8 = 8;
/// Whatever is none of the others.
pub const FORMAT_OTHER: u8 = 128;
/// Every format.
pub const FORMATS_ALL: u8 = 0xff;

/// The format of a UDP payload, as its bit, by the same look at its first octets as the program's.
pub fn format(payload: &[u8]) -> u8 {
    match *payload {
        [0, 5, _, _, ..] => FORMAT_NETFLOW5,
        [0, 9, _, _, ..] => FORMAT_NETFLOW9,
        [0, 10, _, _, ..] => FORMAT_IPFIX,
        // sFlow counts its versions in 32 bits.
        [0, 0, 0, 5, ..] => FORMAT_SFLOW,
        _ => FORMAT_OTHER,
    }
}

/// What the program does with datagrams to a listening port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRule {
    /// Whether they are forwarded in the kernel, to their source's slave; else they go to the socket.
    pub forward: bool,
    /// Whether only known sources' are forwarded, and the others' go to the socket.
    pub gated: bool,
    /// The formats that are forwarded, as bits `FORMAT_*`; the others are dropped and counted. Without
    /// `forward` this is user space's to do, and so are those of the datagrams that come to it.
    pub formats: u8,
}

impl PortRule {
    /// To the socket, whatever it is.
    pub const SOCKET: PortRule = PortRule { forward: false, gated: false, formats: FORMATS_ALL };
    /// Forwarded, whatever it is.
    pub const FORWARD: PortRule = PortRule { forward: true, gated: false, formats: FORMATS_ALL };

    /// The word in the program's map; 0 is a port that nobody listens on.
    pub(crate) fn word(self) -> u32 {
        let bits = 1 | u32::from(self.forward) << 1 | u32::from(self.gated) << 2;
        bits | u32::from(self.formats) << 8
    }
}

/// `struct weir_address`: the 16 octets of an IPv6 address; IPv4 as `::ffff:a.b.c.d`.
pub(crate) type Address = [u8; 16];

/// The key of an address in the program's map.
pub(crate) fn address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The address behind a key, for keys that are not of one IP version alone.
pub(crate) fn unmapped(address: Address) -> IpAddr {
    Ipv6Addr::from(address).to_canonical()
}

/// The slot of a local address and a listening port: `listener_slot()` in the program.
pub(crate) fn listener_slot(address: &Address, port: u16) -> usize {
    let word = |at: usize| {
        u32::from_ne_bytes([address[at], address[at + 1], address[at + 2], address[at + 3]])
    };
    let word = word(8) ^ word(12) ^ u32::from(u16::from_ne_bytes(port.to_be_bytes()));
    usize::try_from(word.wrapping_mul(0x9e37_79b1) >> 20).expect("12 bits")
}

const _: () = assert!(LISTENERS == 1 << 12);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_keyed_as_mapped_and_comes_back() {
        let key = address("192.0.2.1".parse().unwrap());
        assert_eq!(key, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        assert_eq!(unmapped(key), "192.0.2.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_listening_ports_rule_is_never_the_word_of_a_port_that_nobody_listens_on() {
        let nothing = PortRule { forward: false, gated: false, formats: 0 };
        assert_eq!(nothing.word(), 1);
        assert_eq!(PortRule::SOCKET.word(), 0xff01);
        assert_eq!(PortRule { gated: true, formats: 6, ..PortRule::FORWARD }.word(), 0x607);
    }

    #[test]
    fn formats_are_told_by_their_versions() {
        assert_eq!(format(&[0, 5, 0, 1]), FORMAT_NETFLOW5);
        assert_eq!(format(&[0, 9, 0, 1, 7]), FORMAT_NETFLOW9);
        assert_eq!(format(&[0, 10, 0, 1]), FORMAT_IPFIX);
        assert_eq!(format(&[0, 0, 0, 5]), FORMAT_SFLOW);
        assert_eq!(format(&[0, 0, 0, 4]), FORMAT_OTHER);
        assert_eq!(format(&[0, 9]), FORMAT_OTHER);
        assert_eq!(format(&[]), FORMAT_OTHER);
    }
}
