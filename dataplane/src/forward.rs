//! Forwarding in the kernel, as a worker sees it: the flow-source model without user space.
//!
//! The kernel's program forwards by a table; worker 0 keeps that table in step with its own, puts
//! the sources that the program reports among the known ones, and listens in to the messages with
//! templates, so that a slave that inherits a source can be told them.
//!
//! A source that moves must not reach its new slave before its templates do, and its datagrams are
//! not seen here. So its entry of the table is emptied at first: its datagrams then come to user
//! space, where each session's templates are told right before the first, in sequence. After a while
//! the sessions that stayed silent are told too, a few a turn, and then the entry is filled. A dead
//! slave's way is taken from it at once, to the same effect.
//!
//! Deliberately absent: sequence numbers. Most messages are not seen, so no gap can be told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hashbrown::HashMap;
use weir_ebpf::{
    Event, Events, Hop, IpVersion, NO_SLAVE, SourceKey, SourceRule, Sources, Steering, TABLE_LENGTH,
};

use crate::Timestamp;
use crate::configuration::SLAVES_MAX;
use crate::io::{NextHop, Transmit};
use crate::mediate::Mediator;
use crate::steer::Steer;

/// What worker 0 steers the kernel's forwarding with.
#[derive(Debug)]
pub struct ForwardHandles {
    /// Tables and hops.
    pub steering: Steering,
    /// The known sources: those that the program reports are put there.
    pub sources: Sources,
    /// What the program tells.
    pub events: Events,
    /// The index of the device that exporters' packets come in by.
    pub device: u32,
    /// That device's MAC address.
    pub mac: [u8; 6],
    /// Whether packets to slaves behind that device leave by `XDP_TX`.
    pub bounce: bool,
}

/// Events taken in one turn of the loop.
const EVENTS_AT_ONCE: usize = 256;
/// How long the datagrams of sources that move come to user space, ms.
const SETTLE_MS: u64 = 250;
/// After this long a table that the kernel refused is tried again, ms.
const RETRY_MS: u64 = 1_000;
/// Addresses whose next hop is kept.
const NEXT_HOPS_MAX: usize = 4_096;

/// An entry for each part of the table.
type Entries = [u16; TABLE_LENGTH];

/// Where the kernel's table stands towards the worker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is the worker's.
    Done,
    /// Entries that change are empty.
    Settling { until: Timestamp },
    /// So too, and sessions in the places below were told.
    Telling { places: u32 },
}

/// The forwarding of one unit.
#[derive(Debug)]
pub(crate) struct Forward {
    handles: ForwardHandles,
    next_hops: HashMap<IpAddr, (NextHop, [u8; 6])>,
    /// What the kernel has: hops by slave and IP version, and the tables.
    hops: [[Option<Hop>; 2]; SLAVES_MAX],
    tables: [Box<Entries>; 2],
    /// Listening ports that known sources send to, and the slaves assigned in the kernel.
    ports: Vec<u16>,
    assigned: HashMap<IpAddr, u16>,
    /// The worker's steering that the kernel's is or will be, and the slaves' lives in it.
    version: u64,
    lives: [u32; SLAVES_MAX],
    hops_changed: bool,
    step: Step,
}

impl Forward {
    pub(crate) fn new(handles: ForwardHandles) -> Self {
        Forward {
            handles,
            next_hops: HashMap::new(),
            hops: [[None; 2]; SLAVES_MAX],
            tables: [empty(), empty()],
            ports: Vec::new(),
            assigned: HashMap::new(),
            version: 0,
            lives: [0; SLAVES_MAX],
            hops_changed: false,
            step: Step::Done,
        }
    }

    /// Learns the way to an address.
    pub(crate) fn set_next_hop(&mut self, to: IpAddr, hop: Option<NextHop>) {
        let own = |device| {
            if device == self.handles.device { Some(self.handles.mac) } else { mac_of(device) }
        };
        match hop.and_then(|hop| Some((hop, own(hop.device)?))) {
            Some(way) if self.next_hops.len() < NEXT_HOPS_MAX => {
                self.next_hops.insert(to, way);
            }
            _ => {
                self.next_hops.remove(&to);
            }
        }
        self.hops_changed = true;
    }

    /// A bounded piece of work: once a turn of the worker's loop. Returns whether there is more.
    pub(crate) fn turn<T: Transmit>(
        &mut self,
        mediator: &mut Mediator<T::Frame>,
        io: &mut T,
        now: Timestamp,
    ) -> bool {
        let heard = self.listen(mediator, io, now);
        if mediator.steer().version() != self.version {
            self.begin(mediator, now);
        } else if std::mem::take(&mut self.hops_changed) {
            self.set_hops(mediator.steer());
        }
        match self.step {
            Step::Done => {}
            // A clock set back must not hold anything up for ever.
            Step::Settling { until } => {
                if now >= until || now.plus_ms(RETRY_MS) < until {
                    self.step = Step::Telling { places: 0 };
                }
            }
            Step::Telling { places } => {
                self.step = match mediator.tell_moved(io, places) {
                    Some(places) => Step::Telling { places },
                    None if self.publish(mediator.steer()) => Step::Done,
                    None => Step::Settling { until: now.plus_ms(RETRY_MS) },
                };
            }
        }
        heard == EVENTS_AT_ONCE || matches!(self.step, Step::Telling { .. })
    }

    /// Takes what the program tells; returns how much.
    fn listen<T: Transmit>(
        &mut self,
        mediator: &mut Mediator<T::Frame>,
        io: &mut T,
        now: Timestamp,
    ) -> usize {
        let Forward { handles, ports, assigned, .. } = self;
        let sources = &handles.sources;
        handles.events.poll(EVENTS_AT_ONCE, &mut |event: Event<'_>| {
            if event.unknown {
                let address = event.source.ip();
                let assigned = assigned.get(&address).copied();
                let rule = assigned.map_or(SourceRule::ByTable, SourceRule::Assigned);
                let known = sources.put(SourceKey { address, port: event.port }, rule).is_ok();
                // Sources that find no room are forwarded and reported again; none is kept here.
                if known && !ports.contains(&event.port) {
                    ports.push(event.port);
                }
                mediator.tell_source(event.source, event.port);
            }
            if let Some(payload) = event.payload {
                let to = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), event.port);
                mediator.overhear(io, event.source, to, payload, now);
            }
        })
    }

    /// Begins to follow the worker's steering: dead slaves lose their hops and entries that change
    /// are emptied, so that what belongs there comes to user space.
    fn begin<F>(&mut self, mediator: &Mediator<F>, now: Timestamp) {
        let steer = mediator.steer();
        self.version = steer.version();
        self.set_hops(steer);
        let lives = *mediator.lives();
        let anew = |slave: u16| {
            let slave = usize::from(slave);
            self.lives.get(slave).zip(lives.get(slave)).is_some_and(|(old, new)| old != new)
        };
        for (table, version) in self.tables.iter_mut().zip(IpVersion::BOTH) {
            empty_what_moves(table, steer.table(version == IpVersion::V4), anew);
            // A table that the kernel refuses to empty is filled all the same, below.
            let _refused = self.handles.steering.set_table(version, table);
        }
        self.lives = lives;
        self.step = if mediator.has_sessions() {
            Step::Settling { until: now.plus_ms(SETTLE_MS) }
        } else {
            Step::Telling { places: 0 }
        };
    }

    fn set_hops(&mut self, steer: &Steer) {
        for (slave, hops) in (0u16..).zip(&mut self.hops) {
            for (known, version) in hops.iter_mut().zip(IpVersion::BOTH) {
                let configured = steer.slave(slave).filter(|_| steer.is_healthy(slave));
                let wanted = configured.and_then(|slave| {
                    let address = match version {
                        IpVersion::V4 => IpAddr::V4(slave.path.v4?),
                        IpVersion::V6 => IpAddr::V6(slave.path.v6?),
                    };
                    let (next, mac) = self.next_hops.get(&address)?;
                    Some(Hop {
                        address,
                        destination_mac: next.mac,
                        source_mac: *mac,
                        device: next.device,
                        mtu: slave.path.mtu,
                        bounce: self.handles.bounce && next.device == self.handles.device,
                    })
                });
                // Where the kernel refuses a way, its datagrams take the socket's, as before.
                if wanted != *known
                    && self.handles.steering.set_slave(slave, version, wanted.as_ref()).is_ok()
                {
                    *known = wanted;
                }
            }
        }
    }

    /// Makes the kernel's tables and assigned sources the worker's; whether it took them.
    fn publish(&mut self, steer: &Steer) -> bool {
        let mut taken = true;
        for (table, version) in self.tables.iter_mut().zip(IpVersion::BOTH) {
            if let Ok(wanted) = <&Entries>::try_from(steer.table(version == IpVersion::V4)) {
                taken &= self.handles.steering.set_table(version, wanted).is_ok();
                table.copy_from_slice(wanted);
            }
        }
        let wanted: HashMap<IpAddr, u16> = steer
            .assigned()
            .filter(|(source, slave)| steer.assign(*source) == Some(*slave))
            .collect();
        let before = std::mem::replace(&mut self.assigned, wanted);
        let now = &self.assigned;
        let changed = before.keys().filter(|source| !now.contains_key(*source));
        let changed =
            changed.chain(now.iter().filter_map(|(source, slave)| {
                (before.get(source) != Some(slave)).then_some(source)
            }));
        for &address in changed {
            let rule = now.get(&address).map_or(SourceRule::ByTable, |&s| SourceRule::Assigned(s));
            for key in self.ports.iter().map(|&port| SourceKey { address, port }) {
                let sources = &self.handles.sources;
                taken &= match sources.get(key) {
                    Ok(Some(_)) => sources.put(key, rule).is_ok(),
                    Ok(None) => true,
                    Err(_) => false,
                };
            }
        }
        taken
    }
}

/// A table without slaves.
fn empty() -> Box<Entries> {
    vec![NO_SLAVE; TABLE_LENGTH].try_into().expect("as long as a table is")
}

/// Empties the entries of a table that `wanted` gives to another slave, or to one that has to be told
/// everything `anew`.
fn empty_what_moves(table: &mut Entries, wanted: &[u16], anew: impl Fn(u16) -> bool) {
    for (at, entry) in table.iter_mut().enumerate() {
        if wanted.get(at) != Some(entry) || anew(*entry) {
            *entry = NO_SLAVE;
        }
    }
}

/// A device's MAC address by its index, as the system tells it.
fn mac_of(device: u32) -> Option<[u8; 6]> {
    for entry in std::fs::read_dir("/sys/class/net").ok()?.flatten() {
        let read = |file| std::fs::read_to_string(entry.path().join(file)).ok();
        if read("ifindex").and_then(|text| text.trim().parse().ok()) == Some(device) {
            let text = read("address")?;
            let bytes: Vec<_> =
                text.trim().split(':').flat_map(|byte| u8::from_str_radix(byte, 16)).collect();
            return bytes.try_into().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_not_touched_and_what_moves_is_empty_first() {
        let mut table = empty();
        table[..4].copy_from_slice(&[1, 2, 3, 1]);
        let mut wanted = vec![NO_SLAVE; TABLE_LENGTH];
        wanted[..4].copy_from_slice(&[1, 2, 2, NO_SLAVE]);
        empty_what_moves(&mut table, &wanted, |slave| slave == 2);
        assert_eq!(table[..5], [1, NO_SLAVE, NO_SLAVE, NO_SLAVE, NO_SLAVE]);
    }

    #[test]
    fn without_a_wanted_table_all_is_empty() {
        let mut table = empty();
        table[7] = 3;
        empty_what_moves(&mut table, &[], |_| false);
        assert!(table.iter().all(|&entry| entry == NO_SLAVE));
    }
}
