//! What the kernel says of the host's network devices: addresses, hardware address, MTU, queues,
//! driver.
//!
//! Asked by system calls and not by /sys, which shows the network namespace in which it was mounted
//! and not the caller's.
#![allow(unsafe_code)] // getifaddrs and ioctl have no safe wrapper in std

use std::ffi::{CStr, CString};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use crate::wire::ethernet::Mac;

/// What is known of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// Its number (ifindex) in this network namespace.
    pub(super) index: u32,
    pub(super) mac: Mac,
    pub(super) mtu: u16,
}

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const GET_DRIVER: u32 = 0x03;
const GET_CHANNELS: u32 = 0x3c;

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct RawChannels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct RawDriver {
    command: u32,
    driver: [u8; 32],
    versions: [[u8; 32]; 2],
    bus: [u8; 32],
    rest: [u8; 64],
}

const _: () = assert!(size_of::<RawChannels>() == 36 && size_of::<RawDriver>() == 196);

/// A device's receive and transmit queues in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Channels {
    pub(super) receive: u32,
    pub(super) send: u32,
}

/// What drives a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Driver {
    /// The driver's name, `veth`.
    pub(super) name: String,
    /// The NUMA node that a device on a bus of the machine is nearest to.
    pub(super) node: Option<u32>,
}

/// Asks for a device by its name.
///
/// # Errors
/// `NotFound` when there is none; `Unsupported` when it is no Ethernet device; else what the system
/// says.
pub(super) fn device(name: &str) -> io::Result<Device> {
    let mut request = request(name)?;
    ioctl(libc::SIOCGIFHWADDR, &mut request)?;
    // SAFETY: SIOCGIFHWADDR fills this member of the union.
    let hardware = unsafe { request.ifr_ifru.ifru_hwaddr };
    if hardware.sa_family != libc::ARPHRD_ETHER {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "it is no Ethernet device"));
    }
    let mut mac = [0; 6];
    for (to, from) in mac.iter_mut().zip(hardware.sa_data) {
        *to = from.to_ne_bytes()[0];
    }
    ioctl(libc::SIOCGIFMTU, &mut request)?;
    // SAFETY: SIOCGIFMTU fills this member of the union.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    let index = index(name).ok_or(io::ErrorKind::NotFound)?;
    Ok(Device { index, mac, mtu: u16::try_from(mtu).unwrap_or(u16::MAX) })
}

/// Whether the device of this number is there and up.
pub(super) fn is_up(index: u32) -> bool {
    let mut name = [0 as libc::c_char; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the length that the call requires, and lives for it.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return false;
    }
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name = name;
    if ioctl(libc::SIOCGIFFLAGS, &mut request).is_err() {
        return false;
    }
    // SAFETY: SIOCGIFFLAGS fills this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    i32::from(flags) & libc::IFF_UP != 0
}

/// The device's queues; one each where its driver does not say.
pub(super) fn channels(name: &str) -> Channels {
    let mut raw = RawChannels { command: GET_CHANNELS, ..RawChannels::default() };
    match ethtool(name, &mut raw) {
        Ok(()) => Channels {
            receive: (raw.rx + raw.combined).max(1),
            send: (raw.tx + raw.combined).max(1),
        },
        Err(_) => Channels { receive: 1, send: 1 },
    }
}

/// The device's driver, `None` where it does not say.
///
/// The node is that of the bus address: /sys/bus, unlike /sys/class/net, shows every network
/// namespace the same.
pub(super) fn driver(name: &str) -> Option<Driver> {
    let mut raw = RawDriver {
        command: GET_DRIVER,
        driver: [0; 32],
        versions: [[0; 32]; 2],
        bus: [0; 32],
        rest: [0; 64],
    };
    ethtool(name, &mut raw).ok()?;
    let text =
        |bytes: &[u8]| CStr::from_bytes_until_nul(bytes).ok()?.to_str().ok().map(str::to_owned);
    let bus = text(&raw.bus).filter(|bus| !bus.is_empty() && !bus.contains('/'));
    let node = bus.and_then(|bus| {
        let node = std::fs::read_to_string(format!("/sys/bus/pci/devices/{bus}/numa_node")).ok()?;
        // A machine with one node says -1.
        node.trim().parse().ok()
    });
    Some(Driver { name: text(&raw.driver)?, node })
}

/// Marks the structures whose first field is an ethtool command that fits them.
trait Command {}
impl Command for RawChannels {}
impl Command for RawDriver {}

fn ethtool<T: Command>(name: &str, command: &mut T) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = std::ptr::from_mut(command).cast();
    ioctl(SIOCETHTOOL, &mut request)
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    let name = CString::new(name)?;
    let bytes = name.as_bytes_with_nul();
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if bytes.len() > request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a device's name is too long"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    Ok(request)
}

fn ioctl(code: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    // SAFETY: these codes read the name of an ifreq and write one member of its union, or what that
    // member points to, which for ethtool is a structure of the size that its command asks for;
    // `request` is an ifreq, its name ends with a zero, and it is borrowed for the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), code, std::ptr::from_mut(request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Every address of this host, of all its devices.
///
/// # Errors
/// What `getifaddrs` says.
pub(super) fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the pointer is to a local that receives the list.
    let result = unsafe { libc::getifaddrs(&raw mut first) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = first;
    while !next.is_null() {
        // SAFETY: `next` is an entry of the list, which lives until freeifaddrs below.
        let entry = unsafe { &*next };
        addresses.extend(address(entry));
        next = entry.ifa_next;
    }
    // SAFETY: `first` is the list that getifaddrs allocated; nothing of it is used afterwards.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

fn address(entry: &libc::ifaddrs) -> Option<IpAddr> {
    let pointer = entry.ifa_addr;
    if pointer.is_null() {
        return None;
    }
    // SAFETY: not null, so it is a socket address, which begins with its family.
    let family = unsafe { (*pointer).sa_family };
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in; it is read unaligned.
            let address = unsafe { pointer.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes()).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is a sockaddr_in6; it is read unaligned.
            let address = unsafe { pointer.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(address.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// The number of the device of this name, `None` when there is none.
pub(super) fn index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let name: &CStr = &name;
    // SAFETY: the pointer is to a string that ends with a zero and lives for the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_the_addresses_and_no_ethernet() {
        assert!(local_addresses().unwrap().contains(&Ipv4Addr::LOCALHOST.into()));
        assert_eq!(device("lo").unwrap_err().kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        assert!(device("weir-none").is_err());
        assert!(device("a name that is far too long").is_err());
        assert!(index("weir-none").is_none() && index("lo").is_some());
        assert!(!is_up(u32::MAX));
    }

    #[test]
    fn a_device_that_does_not_count_its_queues_has_one() {
        assert_eq!(channels("lo"), Channels { receive: 1, send: 1 });
        assert_eq!(channels("weir-none"), Channels { receive: 1, send: 1 });
        assert_eq!(driver("weir-none"), None);
    }
}
