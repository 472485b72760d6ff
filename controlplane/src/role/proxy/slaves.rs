//! What a proxy keeps of its slaves while they come and go: slots, health, connections, counters.

use std::cell::{Cell, Ref, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use tokio::task::JoinSet;
use weir_dataplane::configuration::Configuration;
use weir_dataplane::worker::ProxyMail;
use weir_rpc::{CONTROL_PORT, QUERY_PORT};

use super::Proxy;

use crate::change;
use crate::fanout::Target;
use crate::health::{Health, Sign, Told};
use crate::kernel::Kernel;
use crate::slots::Slots;
use crate::status::Delivery;
use crate::topology::{PORT_OFFSET, ProxyGroup, Topology, Unit};
use crate::workers::Workers;
use crate::{lease, probe};

/// A slave as its proxy sees it.
pub(super) struct Slave {
    /// Where it is asked.
    pub(super) target: Target,
    pub(super) health: Health,
    slot: u16,
    /// What the slot's counters stood at when this slave got it: messages, records, options, and
    /// what the kernel forwarded.
    before: Cell<[u64; 4]>,
    attended: RefCell<Attended>,
}

/// What watches over a slave; ends with it.
#[derive(Default)]
struct Attended {
    tasks: JoinSet<()>,
    probed: Option<bool>,
}

/// The proxy's slaves, and the group that they stand in.
pub(super) struct Slaves {
    topology: RefCell<Topology>,
    group: RefCell<ProxyGroup>,
    slots: RefCell<Slots<Rc<Slave>>>,
    /// Slots that got another slave since they were last asked for.
    fresh: RefCell<Vec<u16>>,
}

impl Slaves {
    pub(super) fn new(topology: &Topology, group: &ProxyGroup) -> Self {
        let slaves = Slaves {
            topology: RefCell::new(topology.clone()),
            group: RefCell::new(group.clone()),
            slots: RefCell::default(),
            fresh: RefCell::default(),
        };
        slaves.fill(topology, group);
        slaves
    }

    fn fill(&self, topology: &Topology, group: &ProxyGroup) {
        let units: Vec<&Unit> = topology.slaves_of(group).collect();
        let keep = |slot, unit: &Unit| {
            Rc::new(Slave {
                target: Target::new(unit, QUERY_PORT),
                health: Health::new(&unit.name, unit.external),
                slot,
                before: Cell::default(),
                attended: RefCell::default(),
            })
        };
        let moved = self.slots.borrow_mut().set(units.into_iter(), keep);
        for (_, slave) in moved.removed {
            slave.attended.borrow_mut().tasks.abort_all();
        }
        *self.fresh.borrow_mut() = moved.added;
    }

    /// Takes a new topology; what it changes, in sentences. Nothing else is told yet.
    pub(super) fn change(&self, topology: &Topology, group: &ProxyGroup) -> Vec<String> {
        let changes =
            change::of_proxy(&self.topology.borrow(), &self.group.borrow(), topology, group);
        self.fill(topology, group);
        *self.topology.borrow_mut() = topology.clone();
        *self.group.borrow_mut() = group.clone();
        changes
    }

    /// The group as it stands.
    pub(super) fn group(&self) -> Ref<'_, ProxyGroup> {
        self.group.borrow()
    }

    /// What the workers are told.
    pub(super) fn configuration(&self, listening: &[u16]) -> Configuration {
        self.slots.borrow().configuration(&self.group.borrow(), listening)
    }

    /// The slot of the slave of this name.
    pub(crate) fn slot(&self, name: &str) -> Option<u16> {
        self.slots.borrow().find(name)
    }

    /// The name of the slave in this slot.
    pub(crate) fn name(&self, slot: u16) -> Option<String> {
        let slots = self.slots.borrow();
        slots.iter().find_map(|(at, unit, _)| (at == slot).then(|| unit.name.clone()))
    }

    /// Slots whose slave may get records.
    pub(super) fn healthy(&self) -> Vec<u16> {
        let slots = self.slots.borrow();
        slots.iter().filter_map(|(at, _, slave)| slave.health.is_healthy().then_some(at)).collect()
    }

    /// The healthy ones among the slots that got another slave in the last change.
    pub(super) fn newly_healthy(&self) -> Vec<u16> {
        let fresh = self.fresh.borrow();
        self.healthy().into_iter().filter(|slot| fresh.contains(slot)).collect()
    }

    /// Weir's own slaves.
    pub(super) fn own(&self) -> Vec<Rc<Slave>> {
        let slots = self.slots.borrow();
        let own = slots.iter().filter(|(_, unit, _)| !unit.external);
        own.map(|(_, _, slave)| Rc::clone(slave)).collect()
    }

    /// All addresses of slaves.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.slots.borrow().iter().flat_map(|(_, unit, _)| unit.addresses()).collect()
    }

    /// Begins to watch over those that nobody watches over yet.
    pub(super) fn attend(&self, proxy: &Rc<Proxy>) {
        for slot in self.fresh.borrow_mut().drain(..) {
            let slots = self.slots.borrow();
            let Some((_, _, slave)) = slots.iter().find(|(at, ..)| *at == slot) else { continue };
            let [messages, records, options] = proxy.workers.given(slot);
            let forwarded = proxy.kernel.as_ref().map_or(0, |kernel| kernel.forwarded(slot));
            slave.before.set([messages, records, options, forwarded]);
        }
        for (_, unit, slave) in self.slots.borrow().iter() {
            let mut attended = slave.attended.borrow_mut();
            if unit.external && attended.probed != Some(unit.probe) {
                attended.tasks.abort_all();
                attended.probed = Some(unit.probe);
                if unit.probe {
                    attended.tasks.spawn_local(probed(Rc::clone(proxy), unit, Rc::clone(slave)));
                } else {
                    note(proxy, slave, Sign::Ports, None);
                }
            } else if !unit.external && attended.tasks.is_empty() {
                let address = SocketAddr::new(unit.address, CONTROL_PORT);
                attended.tasks.spawn_local(leased(Rc::clone(proxy), address, Rc::clone(slave)));
            }
        }
    }

    /// Ends every watch.
    pub(super) fn leave(&self) {
        for (_, _, slave) in self.slots.borrow().iter() {
            slave.attended.borrow_mut().tasks.abort_all();
        }
    }

    /// Notes what the way to an address says of the slaves behind it; whether there is any.
    pub(super) fn note_way(&self, proxy: &Proxy, to: IpAddr, against: Option<&String>) -> bool {
        let slots = self.slots.borrow();
        let mut any = false;
        for (_, unit, slave) in
            slots.iter().filter(|(_, unit, _)| unit.addresses().any(|a| a == to))
        {
            any = true;
            // A control connection that stands knows better whether its own way leads there.
            if unit.external || to != unit.address {
                note(proxy, slave, Sign::NextHop(to), against.cloned());
            }
        }
        any
    }

    pub(super) fn deliveries(&self, workers: &Workers, kernel: Option<&Kernel>) -> Vec<Delivery> {
        let slots = self.slots.borrow();
        let deliveries = slots.iter().map(|(slot, unit, slave)| {
            let [messages, records, options] = workers.given(slot);
            let before = slave.before.get();
            let forwarded = kernel.map_or(0, |kernel| kernel.forwarded(slot));
            Delivery {
                name: unit.name.clone(),
                address: unit.address.to_string(),
                external: unit.external,
                healthy: slave.health.is_healthy(),
                reason: slave.health.reason(),
                messages: messages.saturating_sub(before[0]),
                records: records.saturating_sub(before[1]),
                options: options.saturating_sub(before[2]),
                changed_ms: slave.health.changed_ms(),
                losses: slave.health.losses(),
                weight: unit.weight,
                drained: unit.drain,
                forwarded: forwarded.saturating_sub(before[3]),
            }
        });
        let mut deliveries: Vec<_> = deliveries.collect();
        let group = self.group.borrow();
        let place = |name: &str| group.slaves.iter().position(|slave| slave == name);
        deliveries.sort_by_key(|delivery| place(&delivery.name));
        deliveries
    }
}

/// Notes a sign, and tells the workers what it changes.
fn note(proxy: &Proxy, slave: &Slave, sign: Sign, against: Option<String>) {
    if let Some(told) = slave.health.note(sign, against) {
        let healthy = told == Told::Back;
        let letter = || ProxyMail::Health { slave: slave.slot, healthy, greet: healthy };
        proxy.workers.tell(letter);
    }
}

async fn leased(proxy: Rc<Proxy>, address: SocketAddr, slave: Rc<Slave>) {
    let identity = proxy.running.identity.clone();
    lease::keep(address, &identity, |against| note(&proxy, &slave, Sign::Control, against)).await;
}

fn probed(proxy: Rc<Proxy>, unit: &Unit, slave: Rc<Slave>) -> impl Future<Output = ()> + 'static {
    let addresses = unit.addresses().filter(|&address| proxy.takes(address));
    let ports: Vec<SocketAddr> = addresses
        .flat_map(|address| {
            let at = move |port: &u16| SocketAddr::new(address, port + PORT_OFFSET);
            proxy.served.iter().map(at)
        })
        .collect();
    async move {
        probe::keep(&ports, |against| note(&proxy, &slave, Sign::Ports, against)).await;
    }
}
