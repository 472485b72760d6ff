//! The lab's network: namespaces around a switch, or loopback addresses.
//!
//! Each site has an IPv4 address `net.index + 1` and, in namespaces, an IPv6 one. Offloads are off:
//! on a veth pair a checksum left to the hardware is never computed, and an XDP program would see
//! the packet without it. The switch's ends have GRO on, without which a veth takes nothing that an
//! XDP program at its peer redirects. Reverse path filters are off, since packets bear exporters'
//! addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process::is_running;
use super::{Error, tool};

/// Where namespaces stand as files.
const NAMESPACES: &str = "/run/netns";
/// The interface of each site in a namespace of its own.
pub const DEVICE: &str = "eth0";

/// Labs of this process so far, so that each has names of its own.
static LABS: AtomicU32 = AtomicU32::new(0);

/// A place where processes run, with addresses of its own.
#[derive(Clone, Debug)]
pub struct Site {
    /// Unique in its network.
    pub name: String,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address; none on loopback, where IPv6 has but one address.
    pub v6: Option<Ipv6Addr>,
    namespace: Option<String>,
}

impl Site {
    /// A command that will run at this site.
    ///
    /// It dies with the thread that starts it: a lab that is killed leaves nothing behind.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, "setpriv", "--pdeathsig", "KILL", "--"]);
                command
            }
            None => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL", "--"]);
                command
            }
        };
        command.arg(program);
        command
    }

    /// The interface that an XDP program can attach to; none on loopback.
    pub fn device(&self) -> Option<&'static str> {
        self.namespace.as_ref().map(|_| DEVICE)
    }
}

/// What joins a site in a namespace to the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cable {
    /// Receive and transmit queues of either end.
    pub queues: u32,
    /// The largest IP packet on it, bytes.
    pub mtu: u32,
}

impl Default for Cable {
    fn default() -> Self {
        Cable { queues: 1, mtu: 1_500 }
    }
}

/// Sites that reach each other; gone when dropped.
#[derive(Debug)]
pub struct Network {
    sites: Vec<Site>,
    /// All namespaces, the switch's included.
    namespaces: Vec<String>,
}

impl Network {
    /// Namespaces around a switch; needs root.
    ///
    /// # Errors
    /// When the user or the kernel does not allow it; nothing is left behind then.
    pub fn in_namespaces(names: &[&str]) -> Result<Network, Error> {
        let sites: Vec<_> = names.iter().map(|&name| (name, Cable::default())).collect();
        Network::wired(&sites)
    }

    /// [`Network::in_namespaces`] where each site has a cable of its own kind.
    ///
    /// # Errors
    /// As there.
    pub fn wired(sites: &[(&str, Cable)]) -> Result<Network, Error> {
        remove_stale();
        let lab = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("weir-{}-{lab}", std::process::id());
        let switch = format!("{prefix}-switch");
        let cables: Vec<Cable> = sites.iter().map(|(_, cable)| *cable).collect();
        let sites = (1..).zip(sites).map(|(n, (name, _))| Site {
            name: (*name).into(),
            v4: Ipv4Addr::new(10, 77, 0, n),
            v6: Some(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(n))),
            namespace: Some(format!("{prefix}-{name}")),
        });
        let sites: Vec<Site> = sites.collect();
        let mut namespaces: Vec<_> =
            sites.iter().filter_map(|site| site.namespace.clone()).collect();
        namespaces.push(switch.clone());
        let network = Network { sites, namespaces };
        network.wire(&switch, &cables)?;
        for (site, cable) in network.sites.iter().zip(&cables) {
            network.settle(site, cable)?;
        }
        Ok(network)
    }

    /// Loopback addresses `127.x.y.1` and up, x.y drawn from the process and lab so that labs do not
    /// meet.
    pub fn on_loopback(names: &[&str]) -> Network {
        let lab = LABS.fetch_add(1, Ordering::Relaxed);
        let draw = std::process::id().wrapping_mul(31).wrapping_add(lab) % (250 * 250);
        let (x, y) = ((draw / 250 + 1) as u8, (draw % 250 + 1) as u8);
        let sites = (1..).zip(names).map(|(n, name)| Site {
            name: (*name).into(),
            v4: Ipv4Addr::new(127, x, y, n),
            v6: None,
            namespace: None,
        });
        Network { sites: sites.collect(), namespaces: Vec::new() }
    }

    /// The site of this name.
    ///
    /// # Panics
    /// When there is none: the names are the caller's own.
    pub fn site(&self, name: &str) -> &Site {
        self.sites.iter().find(|site| site.name == name).expect("a site of this network")
    }

    /// The namespace of the switch, where `portN` leads to the site `N` of those that the network was
    /// made with, from 0; none on loopback.
    pub fn switch(&self) -> Option<&str> {
        self.namespaces.last().map(String::as_str)
    }

    /// Whether each site has a namespace.
    pub fn is_namespaced(&self) -> bool {
        !self.namespaces.is_empty()
    }

    /// The address of an exporter that is to be told apart from others, from 1: of no site, but of
    /// the same network. On loopback, where IPv6 has but one address, it is IPv4 in any case.
    pub fn exporter(&self, number: u16, v6: bool) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        match self.sites.first().map(|site| site.v4.octets()) {
            Some([127, x, y, _]) => Ipv4Addr::new(127, x, y, 100 + low % 150).into(),
            _ if v6 => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 1, number).into(),
            _ => Ipv4Addr::new(10, 77, 1 + high, low).into(),
        }
    }

    /// The first of the customary ports at which exporters can send and slaves receive here: on
    /// loopback another process may have one.
    pub fn free_port(&self, offset: u16) -> u16 {
        const CUSTOMARY: [u16; 5] = [2055, 9995, 9996, 4739, 2056];
        let free = |site: &Site, port: u16| UdpSocket::bind((site.v4, port)).is_ok();
        let port = CUSTOMARY.iter().find(|&&port| {
            self.sites.iter().all(|site| free(site, port) && free(site, port + offset))
        });
        match port {
            Some(&port) if !self.is_namespaced() => port,
            _ => CUSTOMARY[0],
        }
    }

    /// Creates the namespaces, the switch and the cables between.
    fn wire(&self, switch: &str, cables: &[Cable]) -> Result<(), Error> {
        let mut lines = String::new();
        for namespace in &self.namespaces {
            lines += &format!("netns add {namespace}\n");
        }
        batch(None, &lines)?;
        let mut lines =
            String::from("link add name switch type bridge stp_state 0 mcast_snooping 0\n");
        for (n, (site, Cable { queues, mtu })) in self.sites.iter().zip(cables).enumerate() {
            let namespace = site.namespace.as_deref().unwrap_or_default();
            lines += &format!(
                "link add name port{n} mtu {mtu} numtxqueues {queues} numrxqueues {queues} type veth \
                 peer name {DEVICE} mtu {mtu} numtxqueues {queues} numrxqueues {queues} \
                 netns {namespace}\n\
                 link set dev port{n} master switch up\n"
            );
        }
        lines += "link set dev switch up\n";
        shell(switch, "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")?;
        batch(Some(switch), &lines)?;
        let ports: String =
            (0..).zip(cables).map(|(n, cable)| tune(&format!("port{n}"), cable, "on")).collect();
        shell(switch, &ports)
    }

    /// Settings and addresses of one site.
    fn settle(&self, site: &Site, cable: &Cable) -> Result<(), Error> {
        let (Some(namespace), Some(v6)) = (&site.namespace, site.v6) else { return Ok(()) };
        shell(
            namespace,
            &format!(
                "cd /proc/sys/net; \
                 for c in all default {DEVICE}; do \
                   echo 0 > ipv4/conf/$c/rp_filter; echo 0 > ipv6/conf/$c/accept_dad; \
                 done; {}",
                tune(DEVICE, cable, "off")
            ),
        )?;
        let lines = format!(
            "link set dev lo up\n\
             link set dev {DEVICE} up\n\
             addr add {}/16 dev {DEVICE}\n\
             addr add {v6}/64 dev {DEVICE} nodad\n",
            site.v4
        );
        batch(Some(namespace), &lines)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            // Nothing can be done about a namespace that does not go; the next lab tries again.
            let _ = tool::run(Command::new("ip").args(["netns", "del", namespace]));
        }
    }
}

/// What makes an end of a cable like one of a wire: checksums and VLAN tags stand in the frame. A
/// device uses but one of its queues until it is told.
fn tune(device: &str, cable: &Cable, gro: &str) -> String {
    let mut line = format!(
        "ethtool -K {device} tx off tso off gso off gro {gro} txvlan off rxvlan off >/dev/null;"
    );
    if cable.queues > 1 {
        line += &format!("ethtool -L {device} rx {0} tx {0} >/dev/null;", cable.queues);
    }
    line
}

/// Lines of `ip`, in a namespace or (for namespaces themselves) outside.
fn batch(namespace: Option<&str>, lines: &str) -> Result<(), Error> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    tool::run_with(command.args(["-batch", "-"]), lines).map(drop)
}

/// A line of shell in a namespace.
fn shell(namespace: &str, line: &str) -> Result<(), Error> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "sh", "-ec", line]);
    // ethtool lives where an ordinary PATH does not look.
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    tool::run(&mut command).map(drop)
}

/// Removes what a lab left whose process was killed before it could.
fn remove_stale() {
    let Ok(entries) = std::fs::read_dir(NAMESPACES) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if owner(&name).is_some_and(|owner| !is_running(owner)) {
            let _ = tool::run(Command::new("ip").args(["netns", "del", &name]));
        }
    }
}

/// The process id in a lab's namespace name.
fn owner(namespace: &str) -> Option<u32> {
    namespace.strip_prefix("weir-")?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_sites_have_addresses_of_their_own() {
        let (one, two) = (Network::on_loopback(&["a", "b"]), Network::on_loopback(&["a", "b"]));
        let addresses = [one.site("a"), one.site("b"), two.site("a"), two.site("b")].map(|s| s.v4);
        for (n, address) in addresses.iter().enumerate() {
            assert!(address.is_loopback());
            assert!(!addresses[..n].contains(address));
        }
    }

    #[test]
    fn exporters_of_a_loopback_lab_are_loopback() {
        let network = Network::on_loopback(&["a"]);
        let [_, x, y, _] = network.site("a").v4.octets();
        assert_eq!(network.exporter(3, true), IpAddr::from([127, x, y, 103]));
    }

    #[test]
    fn only_a_labs_namespaces_have_an_owner() {
        assert_eq!(owner("weir-4711-0-switch"), Some(4711));
        assert_eq!(owner("weir-x-0"), None);
        assert_eq!(owner("other-4711"), None);
    }
}
