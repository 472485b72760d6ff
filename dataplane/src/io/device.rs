//! What the kernel says of the host's network devices: addresses, hardware address, MTU.
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
    pub(super) mac: Mac,
    pub(super) mtu: u16,
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
    Ok(Device { mac, mtu: u16::try_from(mtu).unwrap_or(u16::MAX) })
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
    // SAFETY: both codes read the name of an ifreq and write one member of its union; `request` is
    // one, its name ends with a zero, and it is borrowed for the call.
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

/// Whether a device of this name exists, for the sentence that says why not.
pub(super) fn exists(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    let name: &CStr = &name;
    // SAFETY: the pointer is to a string that ends with a zero and lives for the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    index != 0
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
        assert!(!exists("weir-none") && exists("lo"));
    }
}
