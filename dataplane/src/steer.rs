//! Which slave: the distribution models as pure decisions over the slaves' health.
//!
//! Round robin deals to the healthy slaves in turn. Flow source ranks the slaves for each source by
//! rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
//! IEEE/ACM ToN 1998), so that a slave that leaves moves only its own sources, and one that returns
//! takes exactly those back. Nothing here remembers a source.

use std::net::IpAddr;

/// The slaves of a proxy as the steering sees them.
#[derive(Clone, Debug)]
pub struct Steer {
    slaves: Vec<Slave>,
    v4: Turn,
    v6: Turn,
}

/// What the steering knows of one slave.
#[derive(Clone, Debug)]
pub struct Slave {
    /// What its rank for a source is drawn from; the same for a slave on every proxy and run.
    pub identity: IpAddr,
    /// Whether it may get anything.
    pub healthy: bool,
    /// Whether it can be reached by IPv4, and so take what IPv4 exporters send.
    pub v4: bool,
    /// Whether it can be reached by IPv6.
    pub v6: bool,
}

/// The slaves that can be dealt to under one IP version, and whose turn it is.
#[derive(Clone, Debug, Default)]
struct Turn {
    slaves: Vec<u16>,
    next: usize,
}

impl Steer {
    /// From the slaves in the order of the configuration.
    pub fn new(slaves: Vec<Slave>) -> Self {
        let mut steer = Steer { slaves, v4: Turn::default(), v6: Turn::default() };
        steer.recount();
        steer
    }

    /// Notes a slave's health; returns whether it changed.
    pub fn set_health(&mut self, slave: u16, healthy: bool) -> bool {
        let Some(entry) = self.slaves.get_mut(usize::from(slave)) else { return false };
        let changed = entry.healthy != healthy;
        entry.healthy = healthy;
        self.recount();
        changed
    }

    /// The healthy slaves that can take what this source sends, ascending.
    pub fn eligible(&self, source: IpAddr) -> &[u16] {
        if source.is_ipv4() { &self.v4.slaves } else { &self.v6.slaves }
    }

    /// Round robin: the next eligible slave, or `None` when there is none.
    pub fn deal(&mut self, source: IpAddr) -> Option<u16> {
        let turn = if source.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let slave = *turn.slaves.get(turn.next)?;
        turn.next += 1;
        if turn.next == turn.slaves.len() {
            turn.next = 0;
        }
        Some(slave)
    }

    /// Flow source: the eligible slave that this source belongs to.
    pub fn assign(&self, source: IpAddr) -> Option<u16> {
        self.eligible(source).iter().copied().max_by_key(|&slave| {
            (hash(source, hash(self.slaves[usize::from(slave)].identity, 0)), slave)
        })
    }

    fn recount(&mut self) {
        for (turn, reachable) in
            [(&mut self.v4, (|s| s.v4) as fn(&Slave) -> bool), (&mut self.v6, |s| s.v6)]
        {
            turn.slaves.clear();
            let eligible = (0u16..).zip(&self.slaves).filter(|(_, s)| s.healthy && reachable(s));
            turn.slaves.extend(eligible.map(|(index, _)| index));
            if turn.next >= turn.slaves.len() {
                turn.next = 0;
            }
        }
    }
}

/// A 64-bit mix of an address (splitmix64's finaliser); the same on every machine and run.
fn hash(address: IpAddr, seed: u64) -> u64 {
    let bits = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let (high, low) = ((bits >> 64) as u64, bits as u64);
    mix(mix(low ^ seed).wrapping_add(high))
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn slaves(n: u8) -> Steer {
        let slave =
            |i| Slave { identity: [10, 0, 0, i].into(), healthy: true, v4: true, v6: i > 0 };
        Steer::new((0..n).map(slave).collect())
    }

    const EXPORTER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn sources() -> impl Iterator<Item = IpAddr> {
        (0..10_000u32).map(|i| IpAddr::V4(Ipv4Addr::from_bits(0xc000_0200 + i)))
    }

    #[test]
    fn round_robin_deals_in_turn_and_skips_the_sick() {
        let mut steer = slaves(3);
        let dealt: Vec<_> = (0..4).map(|_| steer.deal(EXPORTER).unwrap()).collect();
        assert_eq!(dealt, [0, 1, 2, 0]);
        assert!(steer.set_health(1, false));
        let dealt: Vec<_> = (0..4).map(|_| steer.deal(EXPORTER).unwrap()).collect();
        assert_eq!(dealt, [2, 0, 2, 0]);
    }

    #[test]
    fn without_a_healthy_slave_nothing_is_dealt() {
        let mut steer = slaves(1);
        steer.set_health(0, false);
        assert_eq!(steer.deal(EXPORTER), None);
        assert_eq!(steer.assign(EXPORTER), None);
    }

    #[test]
    fn a_slave_that_leaves_moves_only_its_own_sources() {
        let mut steer = slaves(5);
        let before: Vec<_> = sources().map(|s| steer.assign(s).unwrap()).collect();
        steer.set_health(2, false);
        let after: Vec<_> = sources().map(|s| steer.assign(s).unwrap()).collect();
        for (was, is) in before.iter().zip(&after) {
            assert!(was == is || *was == 2);
            assert_ne!(*is, 2);
        }
        steer.set_health(2, true);
        assert_eq!(before, sources().map(|s| steer.assign(s).unwrap()).collect::<Vec<_>>());
    }

    #[test]
    fn an_ipv6_source_goes_only_where_ipv6_goes() {
        let mut steer = slaves(3);
        let source = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
        assert_eq!(steer.eligible(source), [1, 2]);
        let dealt: Vec<_> = (0..3).map(|_| steer.deal(source).unwrap()).collect();
        assert_eq!(dealt, [1, 2, 1]);
    }

    #[test]
    fn sources_spread_evenly() {
        let steer = slaves(4);
        let mut load = [0u32; 4];
        for source in sources() {
            load[usize::from(steer.assign(source).unwrap())] += 1;
        }
        assert!(load.iter().all(|&n| (2_200..2_800).contains(&n)), "{load:?}");
    }
}
