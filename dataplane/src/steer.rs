//! Which slave: the distribution models as pure decisions over the slaves' health and weights.
//!
//! Round robin gives each message's records to the slave that was dealt the fewest relative to its
//! weight. Flow source looks a source up in a table of `TABLE_LENGTH` entries, which the kernel's
//! forwarding uses too, and which weighted rendezvous hashing fills (Thaler and Ravishankar, "Using
//! name-based mappings to increase hit rates", IEEE/ACM ToN 1998). Maglev's filling (Eisenbud et
//! al., NSDI 2016) would spread the entries more evenly, but moves some sources of slaves that stay;
//! ranked entry by entry, a slave that leaves moves exactly its own entries, and one that returns
//! takes exactly those back. Nothing here remembers a source.

use std::net::IpAddr;

use hashbrown::HashMap;

use crate::configuration::{SLAVES_MAX, SlaveConfig};
use crate::table::Table;

/// The slaves of a proxy as the steering sees them.
#[derive(Debug)]
pub struct Steer {
    slots: Vec<Slot>,
    v4: Family,
    v6: Family,
    assigned: HashMap<IpAddr, u16>,
    tables: bool,
    version: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    config: Option<SlaveConfig>,
    healthy: bool,
    /// While a slave is being greeted: how many of the session table's places were told to it.
    greeting: Option<u32>,
}

impl Slot {
    fn reachable(&self, v4: bool) -> bool {
        let path = self.config.map(|slave| slave.path);
        path.is_some_and(|path| if v4 { path.v4.is_some() } else { path.v6.is_some() })
    }

    fn weight(&self) -> u16 {
        self.config.map_or(0, |slave| slave.weight)
    }
}

/// The slaves under one IP version.
#[derive(Debug)]
struct Family {
    /// Those that records are dealt to, ascending, and their weights.
    dealt: Vec<(u16, u16)>,
    /// Those that templates go to and that were greeted, ascending.
    told: Vec<u16>,
    /// By slot: what a record costs, and the records dealt, each at its price.
    price: [u64; SLAVES_MAX],
    spent: [u64; SLAVES_MAX],
    table: Table,
}

impl Default for Family {
    fn default() -> Self {
        Family {
            dealt: Vec::new(),
            told: Vec::new(),
            price: [0; SLAVES_MAX],
            spent: [0; SLAVES_MAX],
            table: Table::default(),
        }
    }
}

/// The price of a record for a slave of weight 1.
const PRICE: u64 = 1 << 32;
/// Spendings are counted from the least again beyond this, long before they overflow.
const SPENT_MAX: u64 = 1 << 62;

impl Steer {
    /// Without slaves. `tables` says whether [`Steer::assign`] will be asked, which needs tables.
    pub fn new(tables: bool) -> Self {
        Steer {
            slots: Vec::new(),
            v4: Family::default(),
            v6: Family::default(),
            assigned: HashMap::new(),
            tables,
            version: 0,
        }
    }

    /// Takes a configuration's slots and assigned sources. A slave that is new to its slot is not
    /// healthy yet.
    pub fn configure(&mut self, slaves: &[Option<SlaveConfig>], assigned: &[(IpAddr, u16)]) {
        self.slots.resize(slaves.len().min(SLAVES_MAX).max(self.slots.len()), Slot::default());
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let config = slaves.get(at).copied().flatten();
            let stays = slot.config.zip(config).is_some_and(|(old, new)| old.is_same(&new));
            if !stays {
                *slot = Slot::default();
            }
            slot.config = config;
        }
        self.assigned.clear();
        self.assigned.extend(assigned.iter().copied());
        self.recount();
    }

    /// Notes a slave's health; returns whether it changed.
    pub fn set_health(&mut self, slave: u16, healthy: bool) -> bool {
        let Some(slot) = self.slots.get_mut(usize::from(slave)) else { return false };
        if slot.config.is_none() || slot.healthy == healthy {
            return false;
        }
        slot.healthy = healthy;
        slot.greeting = None;
        self.recount();
        true
    }

    /// Notes that the sessions in the first `places` places were told to a slave; until
    /// [`Steer::greeted`] no record is dealt to it.
    pub fn greet(&mut self, slave: u16, places: u32) {
        if let Some(slot) = self.slots.get_mut(usize::from(slave)) {
            let began = slot.greeting.replace(places).is_none();
            if began {
                self.recount();
            }
        }
    }

    /// Notes that a slave was told every session.
    pub fn greeted(&mut self, slave: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(slave)) {
            slot.greeting = None;
            self.recount();
        }
    }

    /// The next slave to be greeted on, with the places that were told to it.
    pub fn greeting(&self) -> Option<(u16, u32)> {
        let mut slots = (0u16..).zip(&self.slots);
        slots.find_map(|(at, slot)| Some((at, slot.greeting.filter(|_| slot.healthy)?)))
    }

    /// A slave's configuration.
    pub fn slave(&self, slave: u16) -> Option<&SlaveConfig> {
        self.slots.get(usize::from(slave))?.config.as_ref()
    }

    /// Whether a slave may get anything.
    pub fn is_healthy(&self, slave: u16) -> bool {
        self.slots.get(usize::from(slave)).is_some_and(|slot| slot.healthy)
    }

    /// The `turn`th of the slaves that templates of the session in this place go to: the healthy
    /// ones, drained or not, of the source's IP version. One that is being greeted gets those of
    /// the places that were told to it; the others are still to come.
    #[inline]
    pub fn listener(&self, source: IpAddr, place: u32, turn: usize) -> Option<u16> {
        let told = &self.family(source).told;
        if let Some(&slave) = told.get(turn) {
            return Some(slave);
        }
        let v4 = source.is_ipv4();
        let greeted = |slot: &Slot| {
            slot.healthy && slot.reachable(v4) && slot.greeting.is_some_and(|to| place < to)
        };
        let slots = (0u16..).zip(&self.slots).filter(|(_, slot)| greeted(slot));
        slots.map(|(at, _)| at).nth(turn - told.len())
    }

    /// Whether templates of the session in this place go to a slave.
    pub fn listens(&self, slave: u16, source: IpAddr, place: u32) -> bool {
        (0..).map_while(|turn| self.listener(source, place, turn)).any(|other| other == slave)
    }

    /// Round robin: the slave that was dealt the least for its weight, or `None` when there is none.
    #[inline]
    pub fn next(&self, source: IpAddr) -> Option<u16> {
        let family = self.family(source);
        let least = family.dealt.iter().min_by_key(|(slave, _)| family.spent[usize::from(*slave)]);
        least.map(|&(slave, _)| slave)
    }

    /// Notes that records of this source were dealt to a slave.
    #[inline]
    pub fn charge(&mut self, source: IpAddr, slave: u16, records: u64) {
        let family = if source.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let slave = usize::from(slave);
        let cost = records.saturating_mul(family.price[slave]).min(SPENT_MAX);
        family.spent[slave] += cost;
        if family.spent[slave] > SPENT_MAX {
            family.start_again();
        }
    }

    /// Flow source: the slave that this source belongs to, among the healthy ones.
    pub fn assign(&self, source: IpAddr) -> Option<u16> {
        let v4 = source.is_ipv4();
        let fit = |slave: &u16| {
            let slot = self.slots.get(usize::from(*slave));
            slot.is_some_and(|slot| slot.healthy && slot.reachable(v4))
        };
        let assigned = self.assigned.get(&source).copied().filter(fit);
        assigned.or_else(|| self.family(source).table.slave(source))
    }

    /// Flow source: the sources that are assigned whatever the table says, and their slaves.
    pub fn assigned(&self) -> impl Iterator<Item = (IpAddr, u16)> {
        self.assigned.iter().map(|(&source, &slave)| (source, slave))
    }

    /// Another number after each change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Flow source: the slave of each entry of the table, `NO_SLAVE` without one.
    pub fn table(&self, v4: bool) -> &[u16] {
        if v4 { self.v4.table.slaves() } else { self.v6.table.slaves() }
    }

    fn family(&self, source: IpAddr) -> &Family {
        if source.is_ipv4() { &self.v4 } else { &self.v6 }
    }

    fn recount(&mut self) {
        self.version += 1;
        for (family, v4) in [(&mut self.v4, true), (&mut self.v6, false)] {
            let fit = |slot: &Slot| slot.healthy && slot.greeting.is_none() && slot.reachable(v4);
            let slots = (0u16..).zip(&self.slots).filter(|(_, slot)| fit(slot));
            family.told.clear();
            family.told.extend(slots.clone().map(|(slave, _)| slave));
            let dealt = slots.filter(|(_, slot)| slot.weight() > 0);
            let dealt: Vec<_> = dealt.map(|(slave, slot)| (slave, slot.weight())).collect();
            if dealt != family.dealt {
                family.dealt = dealt;
                family.begin();
            }
            if self.tables {
                let ranked = family.dealt.iter().filter_map(|&(slave, weight)| {
                    let config = self.slots[usize::from(slave)].config?;
                    Some((slave, config.identity, weight))
                });
                family.table.set(&ranked.collect::<Vec<_>>());
            }
        }
    }
}

impl Family {
    /// Everyone begins anew, so that a slave that joins does not get all until it has caught up.
    fn begin(&mut self) {
        self.spent = [0; SLAVES_MAX];
        self.price = [0; SLAVES_MAX];
        for &(slave, weight) in &self.dealt {
            self.price[usize::from(slave)] = PRICE / u64::from(weight);
        }
    }

    /// Counts the spendings from the least.
    #[cold]
    fn start_again(&mut self) {
        let spent = self.dealt.iter().map(|(slave, _)| self.spent[usize::from(*slave)]);
        let least = spent.min().unwrap_or(0);
        self.spent.iter_mut().for_each(|spent| *spent = spent.saturating_sub(least) % SPENT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Path;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn slave(n: u8, weight: u16) -> Option<SlaveConfig> {
        let path = Path {
            v4: Some(Ipv4Addr::new(10, 0, 0, n)),
            v6: (n > 0).then_some(Ipv6Addr::LOCALHOST),
            mtu: 1500,
        };
        Some(SlaveConfig { identity: [10, 0, 0, n].into(), path, weight })
    }

    fn healthy(slaves: &[Option<SlaveConfig>]) -> Steer {
        let mut steer = Steer::new(true);
        steer.configure(slaves, &[]);
        for at in 0..slaves.len() as u16 {
            steer.set_health(at, true);
        }
        steer
    }

    fn slaves(n: u8) -> Steer {
        healthy(&(0..n).map(|n| slave(n, 1)).collect::<Vec<_>>())
    }

    const EXPORTER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn sources() -> impl Iterator<Item = IpAddr> {
        (0..10_000u32).map(|i| IpAddr::V4(Ipv4Addr::from_bits(0xc000_0200 + i)))
    }

    fn deal(steer: &mut Steer, source: IpAddr, records: u64) -> u16 {
        let slave = steer.next(source).unwrap();
        steer.charge(source, slave, records);
        slave
    }

    #[test]
    fn whoever_was_dealt_least_is_next_and_the_sick_are_skipped() {
        let mut steer = slaves(3);
        let dealt = [10, 1, 1, 8].map(|records| deal(&mut steer, EXPORTER, records));
        assert_eq!(dealt, [0, 1, 2, 1]);
        assert!(steer.set_health(1, false));
        assert_eq!([1, 1, 1, 1].map(|records| deal(&mut steer, EXPORTER, records)), [0, 2, 0, 2]);
    }

    #[test]
    fn a_weight_is_a_share() {
        let mut steer = healthy(&[slave(0, 1), slave(1, 3), slave(2, 0)]);
        let mut dealt = [0u32; 3];
        for _ in 0..400 {
            dealt[usize::from(deal(&mut steer, EXPORTER, 27))] += 1;
        }
        assert_eq!(dealt, [100, 300, 0]);
    }

    #[test]
    fn a_newcomer_is_not_flooded() {
        let mut steer = slaves(2);
        steer.set_health(1, false);
        (0..1000).for_each(|_| _ = deal(&mut steer, EXPORTER, 30));
        steer.set_health(1, true);
        assert_eq!([1, 1, 1, 1].map(|records| deal(&mut steer, EXPORTER, records)), [0, 1, 0, 1]);
    }

    #[test]
    fn spendings_never_overflow() {
        let mut steer = slaves(2);
        for _ in 0..100 {
            let slave = deal(&mut steer, EXPORTER, 1 << 28);
            steer.charge(EXPORTER, slave, u64::MAX / PRICE / 16);
        }
        assert_ne!(deal(&mut steer, EXPORTER, 1 << 20), deal(&mut steer, EXPORTER, 1 << 20));
    }

    #[test]
    fn a_slave_is_dealt_to_when_it_was_greeted_and_told_what_it_was_greeted_with() {
        let mut steer = slaves(2);
        steer.greet(1, 5);
        assert_eq!([1, 1].map(|records| deal(&mut steer, EXPORTER, records)), [0, 0]);
        assert!(steer.listens(1, EXPORTER, 4));
        assert!(!steer.listens(1, EXPORTER, 5));
        assert_eq!(steer.greeting(), Some((1, 5)));
        steer.greeted(1);
        assert!(steer.listens(1, EXPORTER, 5));
        assert_ne!(deal(&mut steer, EXPORTER, 1), deal(&mut steer, EXPORTER, 1));
    }

    #[test]
    fn a_drained_slave_hears_templates_and_gets_no_record() {
        let steer = healthy(&[slave(0, 0), slave(1, 1)]);
        assert!(steer.listens(0, EXPORTER, 0));
        assert_eq!(steer.next(EXPORTER), Some(1));
        assert!(sources().all(|source| steer.assign(source) == Some(1)));
    }

    #[test]
    fn without_a_healthy_slave_nothing_is_dealt() {
        let mut steer = slaves(1);
        steer.set_health(0, false);
        assert_eq!(steer.next(EXPORTER), None);
        assert_eq!(steer.assign(EXPORTER), None);
    }

    #[test]
    fn an_ipv6_source_goes_only_where_ipv6_goes() {
        let mut steer = slaves(3);
        let source = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert!(!steer.listens(0, source, 0));
        let dealt: Vec<_> = (0..3).map(|_| deal(&mut steer, source, 1)).collect();
        assert_eq!(dealt, [1, 2, 1]);
        assert_ne!(steer.assign(source), Some(0));
    }

    #[test]
    fn an_assigned_source_is_where_it_was_assigned_while_that_is_healthy() {
        let mut steer = slaves(4);
        let by_table = steer.assign(EXPORTER).unwrap();
        let other = (by_table + 1) % 4;
        let configured: Vec<_> = (0..4).map(|n| slave(n, 1)).collect();
        steer.configure(&configured, &[(EXPORTER, other)]);
        assert_eq!(steer.assign(EXPORTER), Some(other));
        steer.set_health(other, false);
        assert_eq!(steer.assign(EXPORTER), Some(by_table));
    }

    #[test]
    fn another_slave_in_a_slot_is_not_healthy_yet() {
        let mut steer = slaves(2);
        steer.configure(&[slave(0, 1), slave(9, 1)], &[]);
        assert!(!steer.is_healthy(1));
        assert!(steer.is_healthy(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn a_slave_that_leaves_moves_only_its_own_sources_and_takes_them_back(
            weights in prop::collection::vec(1u16..5, 2..12), leaver in any::<prop::sample::Index>(),
        ) {
            let configured: Vec<_> =
                (0u8..).zip(&weights).map(|(n, &weight)| slave(n, weight)).collect();
            let mut steer = healthy(&configured);
            let leaver = leaver.index(weights.len()) as u16;
            let before: Vec<_> = sources().map(|s| steer.assign(s).unwrap()).collect();
            steer.set_health(leaver, false);
            for (was, source) in before.iter().zip(sources()) {
                let is = steer.assign(source).unwrap();
                prop_assert!(is != leaver && (*was == is || *was == leaver));
            }
            steer.set_health(leaver, true);
            prop_assert_eq!(before, sources().map(|s| steer.assign(s).unwrap()).collect::<Vec<_>>());
        }

        #[test]
        fn the_order_in_which_slaves_came_does_not_matter(order in Just(vec![0u16, 1, 2, 3, 4]).prop_shuffle()) {
            let configured: Vec<_> = (0..5).map(|n| slave(n, u16::from(n) + 1)).collect();
            let mut steer = Steer::new(true);
            steer.configure(&configured, &[]);
            for slave in order {
                steer.set_health(slave, true);
            }
            let other = healthy(&configured);
            prop_assert_eq!(steer.table(true), other.table(true));
        }
    }
}
