//! The slots of a proxy's slaves: a slave keeps its index in the workers' configuration while it
//! lives.
//!
//! Counters, health and next hops are told by index, so an index that changed its meaning under
//! traffic would mix two slaves up. A slot that has just become free is given away last.

use std::net::IpAddr;

use weir_dataplane::configuration::{Configuration, SLAVES_MAX, SlaveConfig};
use weir_dataplane::encode::Path;
use weir_dataplane::gate;

use crate::change::is_same_slave;
use crate::topology::{CopySource, Format, Gate, ProxyGroup, Unit};

/// What one slot holds: a slave of the topology, and what its proxy keeps of it.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Option<(Unit, T)>>,
}

/// What a new list of slaves did to the slots.
#[derive(Debug, PartialEq, Eq)]
pub struct Moved<T> {
    /// Slots that hold another slave now.
    pub added: Vec<u16>,
    /// What was kept of slaves that are gone, with the slots that they had.
    pub removed: Vec<(u16, T)>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Takes the slaves of a new topology: those that were there keep their slots and what is kept
    /// of them, and are seen with their new words; for others `keep` makes it. What exceeds
    /// [`SLAVES_MAX`] is left out; the topology's checks see to it that nothing does.
    pub fn set<'a>(
        &mut self,
        slaves: impl Iterator<Item = &'a Unit> + Clone,
        mut keep: impl FnMut(u16, &Unit) -> T,
    ) -> Moved<T> {
        let mut moved = Moved { added: Vec::new(), removed: Vec::new() };
        for (at, slot) in (0_u16..).zip(&mut self.slots) {
            let same = |(unit, _): &(Unit, T)| slaves.clone().find(|new| is_same_slave(unit, new));
            match slot.as_ref().map(same) {
                Some(Some(new)) => {
                    if let Some((unit, _)) = slot {
                        unit.clone_from(new);
                    }
                }
                Some(None) => moved.removed.extend(slot.take().map(|(_, kept)| (at, kept))),
                None => {}
            }
        }
        for new in slaves {
            if self.iter().any(|(_, unit, _)| unit.name == new.name) {
                continue;
            }
            let Some(at) = self.free(&moved.removed) else { break };
            let kept = keep(at, new);
            let place = usize::from(at);
            if place == self.slots.len() {
                self.slots.push(None);
            }
            self.slots[place] = Some((new.clone(), kept));
            moved.added.push(at);
        }
        moved
    }

    /// A free slot: one that has long been so, else a new one, else one that has just become free.
    fn free(&self, removed: &[(u16, T)]) -> Option<u16> {
        let is_fresh = |at: usize| removed.iter().any(|(slot, _)| usize::from(*slot) == at);
        let empty = |(at, slot): (usize, &Option<_>)| slot.is_none().then_some(at);
        let long = self.slots.iter().enumerate().filter_map(empty).find(|&at| !is_fresh(at));
        let new = (self.slots.len() < SLAVES_MAX).then_some(self.slots.len());
        let at = long.or(new).or_else(|| self.slots.iter().enumerate().find_map(empty))?;
        u16::try_from(at).ok()
    }

    /// The slaves by their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Unit, &T)> {
        (0_u16..).zip(&self.slots).filter_map(|(at, slot)| {
            let (unit, kept) = slot.as_ref()?;
            Some((at, unit, kept))
        })
    }

    /// The slot of the slave of this name.
    pub fn find(&self, name: &str) -> Option<u16> {
        self.iter().find_map(|(at, unit, _)| (unit.name == name).then_some(at))
    }

    /// What the workers are told. Gates of ports that are not `listening` wait for a restart.
    pub fn configuration(&self, group: &ProxyGroup, listening: &[u16]) -> Configuration {
        let slave = |(unit, _): &(Unit, T)| slave_config(unit);
        let gates = group.gates.iter().filter(|gate| listening.contains(&gate.port));
        let assigned = group.assigned.iter();
        Configuration {
            slaves: self.slots.iter().map(|slot| slot.as_ref().map(slave)).collect(),
            gates: gates.map(worker_gate).collect(),
            assigned: assigned
                .filter_map(|(source, name)| Some((*source, self.find(name)?)))
                .collect(),
        }
    }
}

fn slave_config(unit: &Unit) -> SlaveConfig {
    let v4 = unit.addresses().find_map(|address| match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    let v6 = unit.addresses().find_map(|address| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(v6),
    });
    SlaveConfig {
        identity: unit.address,
        path: Path { v4, v6, mtu: unit.mtu },
        weight: if unit.drain { 0 } else { unit.weight },
    }
}

/// A gate in the packet path's words.
pub fn worker_gate(gate: &Gate) -> gate::Gate {
    let prefix =
        |p: &crate::topology::Prefix| gate::Prefix { address: p.address, length: p.length };
    let copy = |copy: &crate::topology::CopyTo| gate::CopyTo {
        to: copy.to,
        keep_source: copy.source == CopySource::Exporter,
        mtu: copy.mtu,
    };
    gate::Gate {
        port: gate.port,
        allow: gate.allow.as_ref().map(|allow| allow.iter().map(prefix).collect()),
        formats: formats(gate.formats.as_deref()),
        copies: gate.copies.iter().map(copy).collect(),
        log_every: gate.log_refused,
    }
}

/// The bits of `weir_ebpf`'s `FORMAT_*` and of the older versions.
fn formats(formats: Option<&[Format]>) -> u16 {
    let bit = |format: &Format| match format {
        Format::Netflow1 => gate::older::NETFLOW1,
        Format::Netflow6 => gate::older::NETFLOW6,
        Format::Netflow7 => gate::older::NETFLOW7,
        Format::Netflow8 => gate::older::NETFLOW8,
        Format::Netflow5 => 1,
        Format::Netflow9 => 2,
        Format::Ipfix => 4,
        Format::Sflow => 8,
    };
    formats.map_or(0xff, |formats| formats.iter().fold(0, |bits, format| bits | bit(format)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Role;

    fn unit(n: u8) -> Unit {
        Unit {
            name: format!("s{n}"),
            role: Role::Slave,
            address: [10, 0, 1, n].into(),
            address6: None,
            external: false,
            mtu: 1500,
            weight: 1,
            drain: false,
            probe: true,
            keep_one_in: 1,
        }
    }

    fn slots(slaves: &[Unit]) -> Slots<String> {
        let mut slots = Slots::default();
        slots.set(slaves.iter(), |_, unit| unit.name.clone());
        slots
    }

    fn names(slots: &Slots<String>) -> Vec<Option<&str>> {
        let name =
            |slot: &'_ Option<(Unit, String)>| slot.as_ref().map(|(unit, _)| unit.name.clone());
        let all: Vec<_> = slots.slots.iter().map(name).collect();
        all.into_iter().map(|name| name.map(|name| &*name.leak())).collect()
    }

    #[test]
    fn a_slave_keeps_its_slot_and_a_free_one_is_given_away_later() {
        let mut slots = slots(&[unit(1), unit(2), unit(3)]);
        let moved = slots.set([unit(3), unit(4), unit(1)].iter(), |_, unit| unit.name.clone());
        assert_eq!(names(&slots), [Some("s1"), None, Some("s3"), Some("s4")]);
        assert_eq!((moved.added, moved.removed), (vec![3], vec![(1, "s2".to_owned())]));
        slots.set([unit(3), unit(4), unit(1), unit(5)].iter(), |_, unit| unit.name.clone());
        assert_eq!(names(&slots), [Some("s1"), Some("s5"), Some("s3"), Some("s4")]);
    }

    #[test]
    fn a_full_table_gives_away_what_has_just_become_free() {
        let all: Vec<_> = (1..=64).map(unit).collect();
        let mut slots = slots(&all);
        let mut next = all[1..].to_vec();
        next.push(unit(65));
        let moved = slots.set(next.iter(), |_, unit| unit.name.clone());
        assert_eq!((moved.added, slots.find("s65")), (vec![0], Some(0)));
    }

    #[test]
    fn a_slave_with_another_address_is_another_slave() {
        let mut slots = slots(&[unit(1)]);
        let moved = slots
            .set([Unit { address: [10, 0, 9, 9].into(), ..unit(1) }].iter(), |_, unit| {
                unit.name.clone()
            });
        assert_eq!((moved.added, moved.removed), (vec![1], vec![(0, "s1".to_owned())]));
    }

    #[test]
    fn a_drained_slave_has_no_weight_and_new_words_are_taken() {
        let mut slots = slots(&[unit(1)]);
        let drained = Unit { drain: true, weight: 7, mtu: 9000, ..unit(1) };
        let moved = slots.set([drained].iter(), |_, unit| unit.name.clone());
        assert_eq!((moved.added.len(), moved.removed.len()), (0, 0));
        let group = ProxyGroup {
            name: "g".into(),
            proxy: "p".into(),
            slaves: vec!["s1".into()],
            listen: vec![2055],
            stream: None,
            gates: Vec::new(),
            distribution: crate::topology::Distribution::FlowSource,
            assigned: [([192, 0, 2, 1].into(), "s1".to_owned())].into(),
        };
        let configuration = slots.configuration(&group, &[2055]);
        let slave = configuration.slaves[0].unwrap();
        assert_eq!((slave.weight, slave.path.mtu), (0, 9000));
        assert_eq!(configuration.assigned, [([192, 0, 2, 1].into(), 0)]);
    }

    #[test]
    fn formats_are_bits() {
        assert_eq!(formats(None), 0xff);
        assert_eq!(formats(Some(&[Format::Netflow5, Format::Sflow])), 9);
    }
}
