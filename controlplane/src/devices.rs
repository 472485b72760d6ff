//! What the network devices themselves lose: packets that no program of ours ever sees.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use rtnetlink::packet_route::link::LinkAttribute;

use crate::status::Device;

/// The devices in use, and their counters when the unit started.
#[derive(Debug, Default)]
pub struct Devices {
    names: Vec<String>,
    start: BTreeMap<String, Device>,
}

impl Devices {
    /// These devices, as they count now.
    pub async fn new(names: Vec<String>) -> Devices {
        let mut devices = Devices { names, start: BTreeMap::new() };
        let now = devices.read().await;
        devices.start = now.into_iter().map(|device| (device.name.clone(), device)).collect();
        devices
    }

    /// What each has lost since the start. A device that was made anew counts from its own.
    pub async fn lost(&self) -> Vec<Device> {
        let since = |now: Device| {
            let zero = Device::default();
            let then = self.start.get(&now.name).unwrap_or(&zero);
            Device {
                rx_dropped: since(now.rx_dropped, then.rx_dropped),
                rx_missed: since(now.rx_missed, then.rx_missed),
                rx_errors: since(now.rx_errors, then.rx_errors),
                tx_dropped: since(now.tx_dropped, then.tx_dropped),
                tx_errors: since(now.tx_errors, then.tx_errors),
                name: now.name,
            }
        };
        self.read().await.into_iter().map(since).collect()
    }

    /// The counters as they stand; none of a device that is not there.
    async fn read(&self) -> Vec<Device> {
        if self.names.is_empty() {
            return Vec::new();
        }
        let Ok((connection, handle, _)) = rtnetlink::new_connection() else { return Vec::new() };
        let connection = tokio::task::spawn_local(connection);
        let mut devices = Vec::new();
        for name in &self.names {
            let link = handle.link().get().match_name(name.clone()).execute().try_next().await;
            let Ok(Some(link)) = link else { continue };
            let stats = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::Stats64(stats) => Some(*stats),
                _ => None,
            });
            devices.extend(stats.map(|stats| Device {
                name: name.clone(),
                rx_dropped: stats.rx_dropped,
                rx_missed: stats.rx_missed_errors,
                rx_errors: stats.rx_errors,
                tx_dropped: stats.tx_dropped,
                tx_errors: stats.tx_errors,
            }));
        }
        connection.abort();
        devices
    }
}

/// What a counter has grown by; one that was reset counts from zero.
fn since(now: u64, then: u64) -> u64 {
    now.checked_sub(then).unwrap_or(now)
}
