//! Where a source stands in a steering table: the same function as `bpf/steer.h`.

use std::net::IpAddr;

/// Entries of a steering table: a prime, so that every skip of Maglev's permutations visits all.
pub const TABLE_LENGTH: usize = 16_381;
/// No slave, as an entry of a steering table.
pub const NO_SLAVE: u16 = u16::MAX;

/// 2^64 by the golden ratio, and odd.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
/// 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(SPREAD);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The hash of a source's address. An IPv4 address and its IPv6 form are two sources.
pub fn source_hash(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => mix(u64::from(u32::from(address))),
        IpAddr::V6(address) => {
            let [upper, lower] = halves(u128::from(address));
            mix(upper.wrapping_mul(SPREAD) ^ lower)
        }
    }
}

fn halves(value: u128) -> [u64; 2] {
    [value >> 64, value & u128::from(u64::MAX)].map(|half| u64::try_from(half).expect("64 bits"))
}

/// The entry of a steering table that says the slave of a source; below [`TABLE_LENGTH`].
pub fn table_index(address: IpAddr) -> usize {
    let scaled = (source_hash(address) >> 32) * TABLE_LENGTH as u64;
    usize::try_from(scaled >> 32).expect("below the table's length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn the_mix_is_the_published_one() {
        // The first outputs of SplitMix64 from seed 0 (its state grows by the added constant).
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn neighbouring_addresses_spread_over_the_table() {
        let mut hit = [vec![false; TABLE_LENGTH], vec![false; TABLE_LENGTH]];
        for n in 0..50_000u32 {
            hit[0][table_index(Ipv4Addr::from(0x0a00_0000 + n).into())] = true;
            hit[1][table_index(Ipv6Addr::from(0xfd00 << 112 | u128::from(n)).into())] = true;
        }
        // With 50,000 random draws of 16,381, e^-3.05 of the entries stay untouched: 5 %.
        for hit in hit {
            let untouched = hit.iter().filter(|&&hit| !hit).count();
            assert!(untouched < TABLE_LENGTH * 6 / 100, "{untouched} entries untouched");
        }
    }
}
