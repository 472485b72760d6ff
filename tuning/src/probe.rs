//! What a host's settings are now. Reading needs no privileges and changes nothing.
//!
//! /proc/sys shows the network namespace of the process, /sys the one in which it was mounted:
//! within `ip netns exec` both are right. What cannot be read is `None`, and stays out of plans.

use std::path::{Path, PathBuf};

use crate::ethtool::{self, Channels};

/// A host's settings, as far as weir cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// `net.core.rmem_max`, in bytes.
    pub receive_buffer_max_bytes: Option<u64>,
    /// Huge pages of 2 MiB: reserved.
    pub huge_pages: Option<u64>,
    /// Huge pages of 2 MiB: free.
    pub huge_pages_free: Option<u64>,
    /// The devices asked for, as far as they exist.
    pub devices: Vec<DeviceProbe>,
}

/// A network device's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceProbe {
    /// Its name.
    pub name: String,
    /// In bytes.
    pub mtu: Option<u64>,
    /// Receive queues that exist.
    pub receive_queues: usize,
    /// `net.ipv4.conf.NAME.rp_filter`.
    pub reverse_path: Option<u64>,
    /// `net.ipv4.conf.all.rp_filter`; the larger of both holds.
    pub reverse_path_all: Option<u64>,
    /// Whether it computes checksums of what it sends.
    pub tx_checksum_offload: Option<bool>,
    /// Its queues now, and at most.
    pub channels: Option<Channels>,
}

impl Probe {
    /// Reads the settings of this host and of `devices`.
    pub fn read(devices: &[&str]) -> Probe {
        let mut probe = Probe::read_below(Path::new("/"), devices);
        for device in &mut probe.devices {
            device.tx_checksum_offload = ethtool::tx_checksum(&device.name).ok();
            device.channels = ethtool::channels(&device.name).ok();
        }
        probe
    }

    /// Reads what stands in files, below `root`.
    fn read_below(root: &Path, devices: &[&str]) -> Probe {
        let huge = root.join("sys/kernel/mm/hugepages/hugepages-2048kB");
        Probe {
            receive_buffer_max_bytes: number(root.join("proc/sys/net/core/rmem_max")),
            huge_pages: number(huge.join("nr_hugepages")),
            huge_pages_free: number(huge.join("free_hugepages")),
            devices: devices
                .iter()
                .filter(|name| root.join("sys/class/net").join(name).exists())
                .map(|name| DeviceProbe::read_below(root, name))
                .collect(),
        }
    }

    /// What was found, a line each, for logs and people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "net.core.rmem_max {}, huge pages of 2 MiB {} ({} free)",
            shown(self.receive_buffer_max_bytes),
            shown(self.huge_pages),
            shown(self.huge_pages_free)
        )];
        lines.extend(self.devices.iter().map(|device| {
            format!(
                "{}: mtu {}, queues {}, rp_filter {} (all {}), tx checksum offload {}",
                device.name,
                shown(device.mtu),
                device.receive_queues,
                shown(device.reverse_path),
                shown(device.reverse_path_all),
                device.tx_checksum_offload.map_or("unknown", |on| if on { "on" } else { "off" }),
            )
        }));
        lines
    }
}

impl DeviceProbe {
    fn read_below(root: &Path, name: &str) -> DeviceProbe {
        let net = root.join("sys/class/net").join(name);
        let conf = root.join("proc/sys/net/ipv4/conf");
        DeviceProbe {
            name: name.to_owned(),
            mtu: number(net.join("mtu")),
            receive_queues: receive_queues(&net.join("queues")),
            reverse_path: number(conf.join(name).join("rp_filter")),
            reverse_path_all: number(conf.join("all/rp_filter")),
            tx_checksum_offload: None,
            channels: None,
        }
    }

    /// The reverse-path filter that holds: 0 none, 1 strict, 2 loose.
    pub fn reverse_path_in_force(&self) -> Option<u64> {
        Some(self.reverse_path?.max(self.reverse_path_all?))
    }
}

fn number(path: PathBuf) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn receive_queues(path: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with("rx-")).count()
}

fn shown(value: Option<u64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_from_where_the_kernel_shows_them() {
        let root = std::env::temp_dir().join(format!("weir-probe-{}", std::process::id()));
        for (path, text) in [
            ("proc/sys/net/core/rmem_max", "212992\n"),
            ("proc/sys/net/ipv4/conf/all/rp_filter", "1\n"),
            ("proc/sys/net/ipv4/conf/a0/rp_filter", "0\n"),
            ("sys/class/net/a0/mtu", "1500\n"),
            ("sys/class/net/a0/queues/rx-0/x", ""),
            ("sys/class/net/a0/queues/rx-1/x", ""),
            ("sys/class/net/a0/queues/tx-0/x", ""),
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let probe = Probe::read_below(&root, &["a0", "none"]);
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(probe.receive_buffer_max_bytes, Some(212_992));
        assert_eq!(probe.huge_pages, None);
        let [device] = &probe.devices[..] else { panic!("one device exists") };
        assert_eq!((device.mtu, device.receive_queues), (Some(1500), 2));
        assert_eq!(device.reverse_path_in_force(), Some(1));
        assert_eq!(probe.lines().len(), 2);
    }

    #[test]
    fn this_hosts_loopback_is_found() {
        let probe = Probe::read(&["lo"]);
        assert_eq!(probe.devices[0].tx_checksum_offload, Some(true));
        assert!(probe.receive_buffer_max_bytes.is_some());
    }
}
