//! Device settings by the `SIOCETHTOOL` ioctl: transmit checksums and channels.
#![allow(unsafe_code)] // ioctl has no safe wrapper in std; this file is the only one here with it

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const GET_TX_CHECKSUM: u32 = 0x16;
const SET_TX_CHECKSUM: u32 = 0x17;
const GET_CHANNELS: u32 = 0x3c;
const SET_CHANNELS: u32 = 0x3d;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

const _: () = assert!(size_of::<Value>() == 8 && size_of::<RawChannels>() == 36);

/// A device's queues: now, and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Receive queues in use.
    pub now: u32,
    /// As many receive and transmit queues as the device can have.
    pub max: u32,
}

/// Whether the device computes checksums of what it sends.
///
/// # Errors
/// What the system says; `Unsupported` from devices without the setting.
pub(crate) fn tx_checksum(device: &str) -> io::Result<bool> {
    let mut value = Value { command: GET_TX_CHECKSUM, data: 0 };
    call(device, &mut value)?;
    Ok(value.data != 0)
}

/// Sets whether it does.
///
/// # Errors
/// As [`tx_checksum`].
pub(crate) fn set_tx_checksum(device: &str, on: bool) -> io::Result<()> {
    call(device, &mut Value { command: SET_TX_CHECKSUM, data: u32::from(on) })
}

/// The device's channels.
///
/// # Errors
/// As [`tx_checksum`].
pub(crate) fn channels(device: &str) -> io::Result<Channels> {
    let raw = raw_channels(device)?;
    Ok(if raw.max_combined > 0 {
        Channels { now: raw.combined, max: raw.max_combined }
    } else {
        Channels { now: raw.rx, max: raw.max_rx.min(raw.max_tx) }
    })
}

/// Sets the number of receive and transmit queues, combined ones where the device has such.
///
/// # Errors
/// As [`tx_checksum`].
pub(crate) fn set_channels(device: &str, count: u32) -> io::Result<()> {
    let mut raw = raw_channels(device)?;
    raw.command = SET_CHANNELS;
    if raw.max_combined > 0 {
        raw.combined = count;
    } else {
        raw.rx = count;
        raw.tx = count;
    }
    call(device, &mut raw)
}

fn raw_channels(device: &str) -> io::Result<RawChannels> {
    let mut raw = RawChannels { command: GET_CHANNELS, ..RawChannels::default() };
    call(device, &mut raw)?;
    Ok(raw)
}

/// Marks the structures whose first field is an ethtool command that fits them.
trait Command {}
impl Command for Value {}
impl Command for RawChannels {}

fn call<T: Command>(device: &str, command: &mut T) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: the kernel reads the name up to there.
    if device.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a device's name is too long"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(command).cast();
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    // SAFETY: the request names a device and points to a structure of the size that its command
    // reads and writes; both are borrowed for the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, std::ptr::from_mut(&mut request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_checksum_offload_and_no_channels() {
        assert!(tx_checksum("lo").unwrap());
        assert!(channels("lo").is_err());
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        assert!(tx_checksum("weir-none").is_err());
        assert!(tx_checksum("a name that is far too long").is_err());
    }
}
