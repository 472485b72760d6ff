//! From what is wanted and what is to a list of changes, each with its reason. Pure.

use std::fmt;

use crate::probe::{DeviceProbe, Probe};
use crate::profile::{DeviceProfile, Profile};

/// A setting that weir may change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    /// `net.core.rmem_max`, in bytes.
    ReceiveBufferMax,
    /// Reserved huge pages of 2 MiB.
    HugePages,
    /// `net.ipv4.conf.DEVICE.rp_filter`.
    ReversePath(String),
    /// Whether a device computes the checksums of what it sends: 0 or 1.
    TxChecksum(String),
    /// A device's receive and transmit queues.
    Channels(String),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::ReceiveBufferMax => f.write_str("net.core.rmem_max"),
            Setting::HugePages => f.write_str("huge pages of 2 MiB"),
            Setting::ReversePath(device) => write!(f, "net.ipv4.conf.{device}.rp_filter"),
            Setting::TxChecksum(device) => write!(f, "{device} tx checksum offload"),
            Setting::Channels(device) => write!(f, "{device} channels"),
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is changed.
    pub setting: Setting,
    /// Its value now.
    pub from: u64,
    /// Its value then.
    pub to: u64,
    /// Why.
    pub reason: &'static str,
}

impl Change {
    /// The change that undoes this one.
    pub fn reversed(&self) -> Change {
        Change { setting: self.setting.clone(), from: self.to, to: self.from, reason: "undone" }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}: {}", self.setting, self.from, self.to, self.reason)
    }
}

/// What is to be changed, in order, and what is wanted and cannot be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes. Channels come first: changing them may reset a device.
    pub changes: Vec<Change>,
    /// What stays other than wanted, a sentence each.
    pub notes: Vec<String>,
}

/// Compares what is wanted with what is. What could not be read is left alone.
pub fn plan(profile: &Profile, probe: &Probe) -> Plan {
    let mut plan = Plan::default();
    for device in &probe.devices {
        plan_device(&mut plan, &profile.device, device);
    }
    if let (Some(wanted), Some(now)) =
        (profile.receive_buffer_max_bytes, probe.receive_buffer_max_bytes)
        && now < wanted
    {
        plan.changes.push(Change {
            setting: Setting::ReceiveBufferMax,
            from: now,
            to: wanted,
            reason: "receiving sockets may not ask for more buffer than this",
        });
    }
    if let (Some(wanted), Some(free), Some(now)) =
        (profile.huge_pages_free, probe.huge_pages_free, probe.huge_pages)
        && free < wanted
    {
        plan.changes.push(Change {
            setting: Setting::HugePages,
            from: now,
            to: now + (wanted - free),
            reason: "AF_XDP frames lie on huge pages where enough are free",
        });
    }
    plan
}

fn plan_device(plan: &mut Plan, wanted: &DeviceProfile, device: &DeviceProbe) {
    let name = || device.name.clone();
    if let (Some(count), Some(channels)) = (wanted.channels, device.channels) {
        let to = count.min(channels.max);
        if to < count {
            plan.notes.push(format!("{}: {count} channels wanted, {to} at most", device.name));
        }
        if to != channels.now && to > 0 {
            plan.changes.push(Change {
                setting: Setting::Channels(name()),
                from: u64::from(channels.now),
                to: u64::from(to),
                reason: "an AF_XDP socket receives from its own queue alone",
            });
        }
    }
    // The larger of the device's and "all"'s value holds, so the device's alone loosens it.
    if let (true, Some(1), Some(now)) =
        (wanted.loose_reverse_path, device.reverse_path_in_force(), device.reverse_path)
    {
        plan.changes.push(Change {
            setting: Setting::ReversePath(name()),
            from: now,
            to: 2,
            reason: "strict filtering drops packets that bear an exporter's address",
        });
    }
    if let (Some(to), Some(now)) = (wanted.tx_checksum_offload, device.tx_checksum_offload)
        && to != now
    {
        plan.changes.push(Change {
            setting: Setting::TxChecksum(name()),
            from: u64::from(now),
            to: u64::from(to),
            reason: "a virtual device leaves checksums unfinished, and XDP does not finish them",
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethtool::Channels;

    fn probe() -> Probe {
        Probe {
            receive_buffer_max_bytes: Some(212_992),
            huge_pages: Some(8),
            huge_pages_free: Some(6),
            devices: vec![DeviceProbe {
                name: "a0".to_owned(),
                mtu: Some(1500),
                receive_queues: 2,
                reverse_path: Some(0),
                reverse_path_all: Some(1),
                tx_checksum_offload: Some(true),
                channels: Some(Channels { now: 2, max: 2 }),
            }],
        }
    }

    #[test]
    fn the_lab_gets_what_it_wants() {
        let plan = plan(&Profile::named("lab").unwrap(), &probe());
        let texts: Vec<_> = plan
            .changes
            .iter()
            .map(|change| format!("{} {}->{}", change.setting, change.from, change.to))
            .collect();
        assert_eq!(
            texts,
            [
                "a0 channels 2->1",
                "net.ipv4.conf.a0.rp_filter 0->2",
                "a0 tx checksum offload 1->0",
                "net.core.rmem_max 212992->33554432",
            ]
        );
    }

    #[test]
    fn what_is_good_enough_is_left_alone() {
        let mut probe = probe();
        probe.receive_buffer_max_bytes = Some(1 << 30);
        probe.devices[0].reverse_path = Some(2);
        assert_eq!(plan(&Profile::named("default").unwrap(), &probe), Plan::default());
    }

    #[test]
    fn what_could_not_be_read_is_left_alone() {
        let unknown = Probe {
            devices: vec![DeviceProbe { name: "a0".to_owned(), ..DeviceProbe::default() }],
            ..Probe::default()
        };
        assert_eq!(plan(&Profile::named("lab").unwrap(), &unknown), Plan::default());
    }

    #[test]
    fn huge_pages_are_added_to_those_in_use() {
        let profile = Profile { huge_pages_free: Some(32), ..Profile::default() };
        let changes = plan(&profile, &probe()).changes;
        assert_eq!((changes[0].from, changes[0].to), (8, 34));
    }

    #[test]
    fn more_channels_than_there_can_be_are_noted() {
        let device = DeviceProfile { channels: Some(4), ..DeviceProfile::default() };
        let plan = plan(&Profile { device, ..Profile::default() }, &probe());
        assert_eq!((plan.changes.len(), plan.notes.len()), (0, 1));
    }

    #[test]
    fn a_change_undone_is_the_old_value() {
        let change = &plan(&Profile::named("lab").unwrap(), &probe()).changes[0];
        assert_eq!((change.reversed().from, change.reversed().to), (change.to, change.from));
    }
}
