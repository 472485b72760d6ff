//! Networks: an address and how many of its first bits count → ranges of addresses.
//!
//! IPv4 lies within IPv6's space as `::ffff:0:0/96`, so a prefix of IPv6 that would hold it is two
//! ranges around it.

use std::net::IpAddr;

use crate::Address;

/// An address that may lack trailing groups of IPv4, as in `10.1/16`.
pub(crate) fn parse_network(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse().ok();
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for (octet, part) in octets.iter_mut().zip(&mut parts) {
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then_some(octets.into())
}

/// The prefix length of a netmask whose bits are contiguous.
pub(crate) fn netmask_bits(mask: IpAddr) -> Option<u32> {
    let (ones, zeroes, width) = match mask {
        IpAddr::V4(mask) => (mask.to_bits().leading_ones(), mask.to_bits().trailing_zeros(), 32),
        IpAddr::V6(mask) => (mask.to_bits().leading_ones(), mask.to_bits().trailing_zeros(), 128),
    };
    (ones + zeroes == width).then_some(ones)
}

/// The addresses of the prefix of `bits` bits that holds `ip`; IPv6 prefixes never cover IPv4's.
pub(crate) fn prefix_ranges(ip: IpAddr, bits: u32) -> Vec<(Address, Address)> {
    let host = |length: u32| u128::MAX.checked_shr(length).unwrap_or(0);
    let address = |number: u128| Address(number.to_be_bytes());
    let number = u128::from_be_bytes(Address::from(ip).0);
    if ip.is_ipv4() {
        let host = host(96 + bits);
        return vec![(address(number & !host), address(number | host))];
    }
    let host = host(bits);
    let (first, last) = (number & !host, number | host);
    let (v4_first, v4_last) = (0xffff_0000_0000_u128, 0xffff_ffff_ffff_u128);
    if first > v4_first || last < v4_last {
        return vec![(address(first), address(last))];
    }
    let around = [(first, v4_first - 1), (v4_last + 1, last)];
    around.map(|(first, last)| (address(first), address(last))).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_ipv6_goes_around_ipv4() {
        let ranges = prefix_ranges("::".parse().unwrap(), 0);
        let v4 = Address::from_v4([192, 0, 2, 1]);
        assert_eq!(ranges.len(), 2);
        assert!(ranges.iter().all(|(first, last)| v4 < *first || v4 > *last));
    }

    #[test]
    fn a_netmask_with_a_hole_is_none() {
        assert_eq!(netmask_bits("255.255.254.0".parse().unwrap()), Some(23));
        assert_eq!(netmask_bits("255.0.255.0".parse().unwrap()), None);
    }
}
