//! The place of a source in the flow-source model's table, as the kernel's program computes it.

use std::net::IpAddr;

/// Entries of the table; a prime.
pub(crate) const TABLE_LENGTH: usize = 16_381;
/// An entry without a slave.
pub(crate) const NO_SLAVE: u16 = u16::MAX;

/// A 64-bit mix of an address, IPv4 as mapped into IPv6; the same on every machine and run.
pub(crate) fn source_hash(address: IpAddr) -> u64 {
    let bits = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let (high, low) = ((bits >> 64) as u64, bits as u64);
    mix(mix(low).wrapping_add(high))
}

/// The entry of an address.
pub(crate) fn table_index(address: IpAddr) -> usize {
    (((source_hash(address) >> 32) * TABLE_LENGTH as u64) >> 32) as usize
}

/// Splitmix64's finaliser.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
