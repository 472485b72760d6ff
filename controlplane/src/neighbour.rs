//! The next hops' MAC addresses, which AF_XDP has to write itself.
//!
//! The kernel is asked over rtnetlink: the route to a slave, and the neighbour entry of its next hop.
//! The control connection keeps the entry of an ordinary slave fresh; where an entry is missing or
//! stale the kernel is told that it is used (`NTF_USE`), and then resolves it itself: no packet of
//! ours is needed. An unresolved hop is told as `None`, and the backend takes the kernel's way.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crossbeam_channel::Sender;
use futures::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};
use weir_dataplane::io::NextHop;
use weir_dataplane::worker::ProxyMail;

use crate::packet_path::post;

/// Between two looks at the tables.
const REFRESH: Duration = Duration::from_millis(500);

/// A MAC address.
type Mac = [u8; 6];

/// Tells the worker of `device` the next hop of each address, and every change, until the future is
/// dropped. A hop behind another device is none of its own, and told as `None`.
pub async fn watch(device: String, addresses: Vec<IpAddr>, mailbox: Sender<ProxyMail>) {
    let handle = match rtnetlink::new_connection() {
        Ok((connection, handle, _)) => {
            tokio::task::spawn_local(connection);
            handle
        }
        Err(error) => {
            tracing::error!(%error, "no rtnetlink: packets to slaves take the kernel's way");
            return;
        }
    };
    let mut known: HashMap<IpAddr, Option<NextHop>> = HashMap::new();
    loop {
        for &to in &addresses {
            let hop = match next_hop(&handle, &device, to).await {
                Ok(hop) => hop,
                Err(error) => {
                    tracing::debug!(%to, %error, "no route");
                    None
                }
            };
            if known.insert(to, hop) != Some(hop) {
                tracing::info!(%to, mac = %Shown(hop.map(|hop| hop.mac)), "next hop");
                post(&mailbox, ProxyMail::NextHop { to, hop }).await;
            }
        }
        tokio::time::sleep(REFRESH).await;
    }
}

/// The next hop to `to`, if the kernel knows its MAC address; asks it to find out if not.
async fn next_hop(
    handle: &Handle,
    device: &str,
    to: IpAddr,
) -> Result<Option<NextHop>, rtnetlink::Error> {
    let request = match to {
        IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4, 32).build(),
        IpAddr::V6(v6) => {
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(v6, 128).build()
        }
    };
    let Some(route) = handle.route().get(request).execute().try_next().await? else {
        return Ok(None);
    };
    let Some((index, hop)) = hop_of(&route, to) else { return Ok(None) };
    // Looked up each time: a device that was made anew has another index.
    let link = handle.link().get().match_name(device.to_owned()).execute().try_next().await?;
    if link.is_none_or(|link| link.header.index != index) {
        return Ok(None);
    }
    let family = if hop.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let mut entries = handle.neighbours().get().set_address_family(family).execute();
    let mut found = None;
    while let Some(entry) = entries.try_next().await? {
        if entry.header.ifindex == index && destination(&entry) == Some(hop) {
            found = Some((usable_mac(&entry), is_fresh(entry.header.state)));
        }
    }
    let (mac, fresh) = found.unwrap_or_default();
    if !fresh {
        resolve(handle, index, hop).await;
    }
    Ok(mac.map(|mac| NextHop { device: index, mac }))
}

/// The outgoing device and the address to resolve on it; none for a local or unreachable address.
fn hop_of(route: &RouteMessage, to: IpAddr) -> Option<(u32, IpAddr)> {
    if route.header.kind != RouteType::Unicast {
        return None;
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
    Some((device?, hop))
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

/// Whether the kernel is sure of the entry, or about to find out.
fn is_fresh(state: NeighbourState) -> bool {
    matches!(
        state,
        NeighbourState::Reachable
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    )
}

/// Tells the kernel that the entry is in use, so that it resolves or confirms it.
async fn resolve(handle: &Handle, device: u32, hop: IpAddr) {
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
