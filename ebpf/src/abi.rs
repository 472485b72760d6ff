//! `bpf/abi.h` in Rust: what the XDP program and user space must agree on.

use std::net::IpAddr;

/// Receive queues that can have a socket.
pub const QUEUES_MAX: u32 = 256;
/// Local addresses whose datagrams are redirected.
pub const ADDRESSES_MAX: usize = 1024;
/// Words of 64 bits in the bitmap of listening ports.
pub const PORT_WORDS: usize = 1024;

/// Where a frame went, and why: `enum weir_verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Verdict {
    /// To its queue's socket.
    Redirected,
    /// It was for weir, but its queue has no socket.
    PassedQueue,
    /// UDP to a port that nobody listens on here.
    PassedPort,
    /// A listening port, but another host's address.
    PassedAddress,
    /// A piece of an IP packet, which the kernel reassembles.
    PassedFragment,
    /// No UDP over IP, or behind more headers than are walked.
    PassedOther,
    /// It ends within a header, or a header contradicts itself.
    PassedTruncated,
}

impl Verdict {
    /// All verdicts, in the order of their counters.
    pub const ALL: [Verdict; 7] = [
        Verdict::Redirected,
        Verdict::PassedQueue,
        Verdict::PassedPort,
        Verdict::PassedAddress,
        Verdict::PassedFragment,
        Verdict::PassedOther,
        Verdict::PassedTruncated,
    ];

    /// The counter's name in metrics and tests.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Redirected => "redirected",
            Verdict::PassedQueue => "passed_queue",
            Verdict::PassedPort => "passed_port",
            Verdict::PassedAddress => "passed_address",
            Verdict::PassedFragment => "passed_fragment",
            Verdict::PassedOther => "passed_other",
            Verdict::PassedTruncated => "passed_truncated",
        }
    }
}

/// Frames by verdict, since the program was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts([u64; Verdict::ALL.len()]);

impl Verdicts {
    /// How many frames got `verdict`.
    pub fn get(&self, verdict: Verdict) -> u64 {
        self.0[verdict as usize]
    }

    pub(crate) fn add(&mut self, verdict: Verdict, count: u64) {
        self.0[verdict as usize] += count;
    }
}

/// `struct weir_address`: the 16 octets of an IPv6 address; IPv4 as `::ffff:a.b.c.d`.
pub(crate) type Address = [u8; 16];

const _: () = assert!(size_of::<Address>() == 16);
const _: () = assert!(PORT_WORDS * 64 == 1 << 16);
const _: () = assert!(Verdict::PassedTruncated as usize + 1 == Verdict::ALL.len());

/// The key of an address in the program's map.
pub(crate) fn address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Where a port stands in the bitmap: its word, and the word with only its bit.
pub(crate) fn port_bit(port: u16) -> (usize, u64) {
    (usize::from(port) / 64, 1 << (port % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_stand_in_the_order_of_their_numbers() {
        for (index, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, index);
        }
    }

    #[test]
    fn an_ipv4_address_is_keyed_as_mapped() {
        let key = address("192.0.2.1".parse().unwrap());
        assert_eq!(key, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
    }

    #[test]
    fn every_port_has_a_bit_of_its_own() {
        assert_eq!(port_bit(0), (0, 1));
        assert_eq!(port_bit(63), (0, 1 << 63));
        assert_eq!(port_bit(2055), (32, 1 << 7));
        assert_eq!(port_bit(65_535), (1023, 1 << 63));
    }
}
