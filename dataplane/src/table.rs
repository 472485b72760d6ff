//! The flow-source model's table: each entry belongs to the slave that ranks first for it.
//!
//! An entry's ranks are drawn from its number and the slaves' identities alone (weighted rendezvous
//! hashing: the least of `-ln(u) / weight` wins), so every proxy draws the same table from the same
//! slaves. The winning rank is kept, so that a change costs only the entries of who left and one
//! comparison an entry for who came.

use std::net::IpAddr;

use weir_ebpf::{NO_SLAVE, TABLE_LENGTH, source_hash, table_index};

use crate::configuration::SLAVES_MAX;

/// A slave as the table ranks it: its slot, what its rank is drawn from, and its weight.
type Ranked = (u16, IpAddr, u16);

/// A table over some slaves.
#[derive(Debug, Default)]
pub(crate) struct Table {
    over: Vec<Ranked>,
    /// The slave of each entry, and the rank that won it.
    slaves: Vec<u16>,
    ranks: Vec<f64>,
}

impl Table {
    /// Draws the table over these slaves, whose weights are above zero.
    pub(crate) fn set(&mut self, over: &[Ranked]) {
        if self.slaves.is_empty() {
            self.slaves = vec![NO_SLAVE; TABLE_LENGTH];
            self.ranks = vec![f64::INFINITY; TABLE_LENGTH];
        }
        let came: Vec<_> =
            over.iter().filter(|slave| !self.over.contains(slave)).copied().collect();
        let mut left = [false; SLAVES_MAX];
        for (slave, ..) in self.over.iter().filter(|slave| !over.contains(slave)) {
            left[usize::from(*slave)] = true;
        }
        for (entry, (slave, rank)) in (0u64..).zip(self.slaves.iter_mut().zip(&mut self.ranks)) {
            let has_left = left.get(usize::from(*slave)).is_some_and(|&left| left);
            let candidates = if has_left {
                (*slave, *rank) = (NO_SLAVE, f64::INFINITY);
                over
            } else {
                came.as_slice()
            };
            for &(candidate, identity, weight) in candidates {
                let drawn = draw(entry, identity, weight);
                if drawn < *rank {
                    (*slave, *rank) = (candidate, drawn);
                }
            }
        }
        self.over = over.to_vec();
    }

    /// The slave of a source.
    pub(crate) fn slave(&self, source: IpAddr) -> Option<u16> {
        let slave = *self.slaves.get(table_index(source))?;
        (slave != NO_SLAVE).then_some(slave)
    }

    /// The slave of each entry; nothing before the table was first drawn.
    pub(crate) fn slaves(&self) -> &[u16] {
        &self.slaves
    }
}

/// A slave's rank for an entry: exponentially distributed with its weight as rate.
fn draw(entry: u64, identity: IpAddr, weight: u16) -> f64 {
    let bits = source_hash(identity) ^ mix(entry);
    // 53 bits are what a double tells apart; the half keeps the logarithm finite.
    let uniform = ((mix(bits) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -uniform.ln() / f64::from(weight)
}

/// Splitmix64's finaliser.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slaves(n: u8) -> Vec<Ranked> {
        (0..n).map(|n| (u16::from(n), [10, 0, 0, n].into(), 1)).collect()
    }

    fn load(table: &Table, slaves: usize) -> Vec<usize> {
        let of =
            |slave| table.slaves().iter().filter(|&&other| usize::from(other) == slave).count();
        (0..slaves).map(of).collect()
    }

    #[test]
    fn entries_spread_evenly() {
        for n in [2u8, 4, 16] {
            let mut table = Table::default();
            table.set(&slaves(n));
            let fair = TABLE_LENGTH as f64 / f64::from(n);
            for share in load(&table, usize::from(n)) {
                assert!((share as f64 / fair - 1.0).abs() < 0.10, "{share} of {fair} among {n}");
            }
        }
    }

    #[test]
    fn a_weight_is_a_share_of_the_entries() {
        let mut over = slaves(4);
        over[2].2 = 5;
        let mut table = Table::default();
        table.set(&over);
        let load = load(&table, 4);
        let fair = TABLE_LENGTH as f64 / 8.0;
        assert!((load[2] as f64 / fair - 5.0).abs() < 0.2, "{load:?}");
        assert!((load[0] as f64 / fair - 1.0).abs() < 0.15, "{load:?}");
    }

    #[test]
    fn a_change_step_by_step_is_the_same_as_one_drawn_at_once() {
        let mut table = Table::default();
        for n in [3, 7, 2, 0, 5] {
            table.set(&slaves(n));
            let mut fresh = Table::default();
            fresh.set(&slaves(n));
            assert_eq!(table.slaves(), fresh.slaves());
        }
    }
}
