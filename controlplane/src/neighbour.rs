//! The next hops: the device and MAC address that lead to an address, and whether they answer.
//!
//! The kernel is asked over rtnetlink: the route to an address, and the neighbour entry of its next
//! hop. An unresolved hop is told as `None`, and the backend takes the kernel's way.
//!
//! By itself the kernel takes 30 s to doubt an entry and 3 s more to give it up. So every
//! [`EVERY`] each entry is set to `NUD_PROBE`, by which the kernel asks the neighbour at once, one
//! ARP request or neighbour solicitation straight to it, and is back at `NUD_REACHABLE` with the
//! answer. An entry that is still being probed a tick later was not answered; it is doubted
//! (`NUD_STALE`) and probed again, and after [`UNANSWERED`] ticks it is set to `NUD_FAILED`, so that
//! the kernel forgets the address and asks everybody. No setting of the host is touched.
//! Without CAP_NET_ADMIN entries are only read, and the kernel's own times hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};
use weir_dataplane::io::NextHop;

/// Between two looks at the tables.
const EVERY: Duration = Duration::from_millis(200);

/// Ticks without an answer after which a hop is gone.
const UNANSWERED: u32 = 3;

/// Ticks between two looks at a route.
const ROUTE_TICKS: u32 = 5;

/// A MAC address.
type Mac = [u8; 6];

/// Who is told of next hops.
pub trait Told {
    /// The addresses that matter now.
    fn addresses(&self) -> BTreeSet<IpAddr>;

    /// The next hop to an address has changed.
    fn hop(&self, to: IpAddr, hop: Option<NextHop>);

    /// What speaks against the way to an address; `None` when nothing does any more.
    fn against(&self, to: IpAddr, against: Option<String>);
}

/// Watches the next hops until the future is dropped.
pub async fn watch(told: &impl Told) {
    let handle = match rtnetlink::new_connection() {
        Ok((connection, handle, _)) => {
            tokio::task::spawn_local(connection);
            handle
        }
        Err(error) => {
            tracing::error!(%error, "no rtnetlink: packets to slaves take the kernel's way");
            return std::future::pending().await;
        }
    };
    let mut watch = Watch { handle, ways: BTreeMap::new(), hops: BTreeMap::new() };
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        watch.tick(told).await;
    }
}

/// A neighbour: the device and its address on it.
type Hop = (u32, IpAddr);

/// What the route to an address says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    /// The next hop.
    By(Hop),
    /// This host itself, or a device without neighbours.
    Direct,
    /// There is none.
    Nowhere,
}

/// The way to one address, and what was told of it.
#[derive(Debug)]
struct Way {
    route: Route,
    /// Ticks until the route is looked up again.
    due: u32,
    hop: Option<NextHop>,
    against: Option<String>,
}

struct Watch {
    handle: Handle,
    ways: BTreeMap<IpAddr, Way>,
    hops: BTreeMap<Hop, Doubt>,
}

impl Watch {
    async fn tick(&mut self, told: &impl Told) {
        let addresses = told.addresses();
        self.forget(&addresses, told);
        for &to in &addresses {
            self.find_route(to).await;
        }
        let entries = match self.entries().await {
            Ok(entries) => entries,
            Err(error) => return tracing::debug!(%error, "the neighbour table cannot be read"),
        };
        self.doubt(&entries).await;
        for (&to, way) in &mut self.ways {
            let (hop, against) = match &way.route {
                Route::Direct => (None, None),
                Route::Nowhere => (None, Some(format!("no route to {to}"))),
                Route::By(by) => {
                    let mac = entries.get(by).and_then(|entry| entry.mac);
                    let gone = self.hops.get(by).is_some_and(|doubt| doubt.is_gone());
                    let hop = mac.map(|mac| NextHop { device: by.0, mac });
                    (hop, gone.then(|| silent(to, by.1)))
                }
            };
            if way.hop != hop {
                tracing::info!(%to, mac = %Shown(hop.map(|hop| hop.mac)), "next hop");
                told.hop(to, hop);
                way.hop = hop;
            }
            if way.against != against {
                told.against(to, against.clone());
                way.against = against;
            }
        }
    }

    /// Drops what nobody wants to know any more.
    fn forget(&mut self, addresses: &BTreeSet<IpAddr>, told: &impl Told) {
        self.ways.retain(|to, way| {
            let wanted = addresses.contains(to);
            if !wanted && way.hop.is_some() {
                told.hop(*to, None);
            }
            wanted
        });
        let ways = &self.ways;
        let used = |hop: &Hop| ways.values().any(|way| way.route == Route::By(*hop));
        self.hops.retain(|hop, _| used(hop));
    }

    async fn find_route(&mut self, to: IpAddr) {
        let known = self.ways.get_mut(&to);
        if let Some(way) = known
            && way.due > 0
        {
            way.due -= 1;
            return;
        }
        let route = match route_to(&self.handle, to).await {
            Ok(route) => route,
            Err(rtnetlink::Error::NetlinkError(_)) => Route::Nowhere,
            // The kernel could not be asked: what was known stands.
            Err(error) => return tracing::debug!(%to, %error, "no route could be looked up"),
        };
        if let Route::By(hop) = route {
            self.hops.entry(hop).or_default();
        }
        let fresh = || Way { route: Route::Direct, due: 0, hop: None, against: None };
        let way = self.ways.entry(to).or_insert_with(fresh);
        (way.route, way.due) = (route, ROUTE_TICKS);
    }

    /// The neighbour entries of the hops in use.
    async fn entries(&self) -> Result<BTreeMap<Hop, Entry>, rtnetlink::Error> {
        let mut found = BTreeMap::new();
        for (family, v4) in [(AddressFamily::Inet, true), (AddressFamily::Inet6, false)] {
            if !self.hops.keys().any(|(_, address)| address.is_ipv4() == v4) {
                continue;
            }
            let mut entries = self.handle.neighbours().get().set_address_family(family).execute();
            while let Some(entry) = entries.try_next().await? {
                let Some(address) = destination(&entry) else { continue };
                let hop = (entry.header.ifindex, address);
                if self.hops.contains_key(&hop) {
                    let state = entry.header.state;
                    found.insert(hop, Entry { state, mac: usable_mac(&entry) });
                }
            }
        }
        Ok(found)
    }

    /// Has the kernel ask every hop whether it is there.
    async fn doubt(&mut self, entries: &BTreeMap<Hop, Entry>) {
        for (&hop, doubt) in &mut self.hops {
            let step = doubt.step(entries.get(&hop).map(|entry| entry.state));
            let state = |state| set(&self.handle, hop, state);
            match step {
                Step::Nothing => {}
                Step::Use => resolve(&self.handle, hop).await,
                Step::Probe => state(NeighbourState::Probe).await,
                Step::ProbeAgain => {
                    state(NeighbourState::Stale).await;
                    state(NeighbourState::Probe).await;
                }
                Step::GiveUp => {
                    state(NeighbourState::Failed).await;
                    resolve(&self.handle, hop).await;
                }
            }
        }
    }
}

/// A neighbour entry of the kernel.
#[derive(Clone, Copy, Debug)]
struct Entry {
    state: NeighbourState,
    mac: Option<Mac>,
}

/// How long a hop has not answered.
#[derive(Debug, Default)]
struct Doubt {
    unanswered: u32,
}

/// What is to be done about a neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing: it needs no resolution, or is being resolved.
    Nothing,
    /// Tell the kernel that it is in use, so that it asks everybody.
    Use,
    /// Have the kernel ask the neighbour itself.
    Probe,
    /// The same, since it has not answered.
    ProbeAgain,
    /// Forget its address, and ask everybody.
    GiveUp,
}

impl Doubt {
    /// Looks at the state of the entry a tick after the last step.
    fn step(&mut self, state: Option<NeighbourState>) -> Step {
        let Some(state) = state else {
            self.unanswered = self.unanswered.saturating_add(1);
            return Step::Use;
        };
        match state {
            NeighbourState::Permanent | NeighbourState::Noarp => {
                self.unanswered = 0;
                Step::Nothing
            }
            NeighbourState::Reachable => {
                self.unanswered = 0;
                Step::Probe
            }
            // Known, and not asked yet.
            NeighbourState::Stale | NeighbourState::Delay => Step::Probe,
            NeighbourState::Probe => {
                self.unanswered = self.unanswered.saturating_add(1);
                if self.unanswered < UNANSWERED { Step::ProbeAgain } else { Step::GiveUp }
            }
            NeighbourState::Incomplete => {
                self.unanswered = self.unanswered.saturating_add(1);
                Step::Nothing
            }
            // Failed, none, and what a later kernel may invent.
            _ => {
                self.unanswered = self.unanswered.max(UNANSWERED);
                Step::Use
            }
        }
    }

    fn is_gone(&self) -> bool {
        self.unanswered >= UNANSWERED
    }
}

/// What is said of a hop that does not answer.
fn silent(to: IpAddr, hop: IpAddr) -> String {
    let how = if hop.is_ipv4() { "ARP" } else { "neighbour discovery" };
    if hop == to {
        format!("{to} does not answer {how}")
    } else {
        format!("the gateway {hop} to {to} does not answer {how}")
    }
}

async fn route_to(handle: &Handle, to: IpAddr) -> Result<Route, rtnetlink::Error> {
    let request = match to {
        IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4, 32).build(),
        IpAddr::V6(v6) => {
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(v6, 128).build()
        }
    };
    let route = handle.route().get(request).execute().try_next().await?;
    Ok(route.map_or(Route::Nowhere, |route| hop_of(&route, to)))
}

/// The outgoing device and the address to resolve on it.
fn hop_of(route: &RouteMessage, to: IpAddr) -> Route {
    match route.header.kind {
        RouteType::Unicast => {}
        RouteType::Local | RouteType::Multicast | RouteType::Broadcast => return Route::Direct,
        _ => return Route::Nowhere,
    }
    let mut device = None;
    let mut hop = to;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => hop = IpAddr::V4(*gateway),
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) => hop = IpAddr::V6(*gateway),
            _ => {}
        }
    }
    device.map_or(Route::Nowhere, |device| Route::By((device, hop)))
}

fn destination(entry: &NeighbourMessage) -> Option<IpAddr> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })
}

/// The entry's MAC, unless the kernel itself would not use it.
fn usable_mac(entry: &NeighbourMessage) -> Option<Mac> {
    if matches!(
        entry.header.state,
        NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None
    ) {
        return None;
    }
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    })
}

/// Sets an entry's state; its address stays.
async fn set(handle: &Handle, (device, hop): Hop, state: NeighbourState) {
    let told = handle.neighbours().add(device, hop).state(state).replace().execute().await;
    if let Err(error) = told {
        tracing::debug!(%hop, ?state, %error, "the kernel does not take the neighbour's state");
    }
}

/// Tells the kernel that the entry is in use, so that it resolves it.
async fn resolve(handle: &Handle, (device, hop): Hop) {
    let told = handle
        .neighbours()
        .add(device, hop)
        .state(NeighbourState::None)
        .flags(NeighbourFlags::Use)
        .replace()
        .execute()
        .await;
    if let Err(error) = told {
        tracing::debug!(%hop, %error, "the kernel does not resolve the next hop");
    }
}

struct Shown(Option<Mac>);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => f.write_str("unknown"),
            Some([a, b, c, d, e, g]) => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(doubt: &mut Doubt, states: &[NeighbourState]) -> Vec<Step> {
        states.iter().map(|&state| doubt.step(Some(state))).collect()
    }

    #[test]
    fn a_hop_that_answers_each_probe_is_never_doubted() {
        let mut doubt = Doubt::default();
        assert_eq!(doubt.step(None), Step::Use);
        let reachable = [NeighbourState::Reachable; 20];
        assert_eq!(steps(&mut doubt, &reachable), [Step::Probe; 20]);
        assert!(!doubt.is_gone());
    }

    #[test]
    fn three_probes_without_an_answer_end_a_hop_and_one_answer_brings_it_back() {
        let mut doubt = Doubt::default();
        let probe = NeighbourState::Probe;
        let told = steps(&mut doubt, &[NeighbourState::Reachable, probe, probe]);
        assert_eq!(told, [Step::Probe, Step::ProbeAgain, Step::ProbeAgain]);
        assert!(!doubt.is_gone());
        assert_eq!(doubt.step(Some(probe)), Step::GiveUp);
        assert!(doubt.is_gone());
        steps(&mut doubt, &[NeighbourState::Incomplete, NeighbourState::Failed]);
        assert!(doubt.is_gone());
        doubt.step(Some(NeighbourState::Reachable));
        assert!(!doubt.is_gone());
    }

    #[test]
    fn who_is_silent_is_named_with_its_gateway() {
        let (to, gateway) = ([10, 0, 0, 7].into(), [10, 0, 0, 1].into());
        assert_eq!(silent(to, to), "10.0.0.7 does not answer ARP");
        assert_eq!(silent(to, gateway), "the gateway 10.0.0.1 to 10.0.0.7 does not answer ARP");
    }
}
