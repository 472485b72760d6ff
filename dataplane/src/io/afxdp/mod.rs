//! The AF_XDP backend: frames straight from and to a device's queue, past the kernel's network
//! stack.
//!
//! One socket on one queue; the XDP program (`ebpf/`) redirects to it. Zero-copy where the driver
//! has it, copies else; memory on huge pages where there are some. ARP, neighbour discovery, ICMP
//! and IP fragments stay with the kernel.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use weir_ebpf::{AttachMode, LoadConfig, Loaded, PortRule, Program};

use super::device;
use super::raw::RawTransmit;
use super::udp::UdpReceive;

mod receive;
mod rings;
mod transmit;

pub use receive::AfxdpReceive;
pub use transmit::{AfxdpFrame, AfxdpTransmit};

/// Bytes of an Ethernet header with two VLAN tags.
const ETHERNET_MAX: usize = 22;

/// Where to receive, and with how much room.
#[derive(Clone, Debug)]
pub struct AfxdpConfig {
    /// The device's name, `eth0`.
    pub device: String,
    /// The receive queue whose frames are taken; the other queues' come by the sockets.
    pub queue: u32,
    /// Listening addresses and ports; an unspecified address stands for all of this host's.
    pub listen: Vec<SocketAddr>,
    /// Outgoing frames; rounded up to a power of two.
    pub frames: u32,
    /// Kernel buffer of each socket of the slow path, in bytes.
    pub buffer_bytes: usize,
}

/// What stands between weir and AF_XDP on a device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device is not there or no Ethernet device.
    #[error("{device}: {reason}")]
    Device {
        /// Its name.
        device: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The XDP program could not be loaded or attached.
    #[error(transparent)]
    Program(#[from] weir_ebpf::Error),
    /// No memory for the frames.
    #[error("cannot map memory for AF_XDP frames: {0}")]
    Memory(String),
    /// The AF_XDP socket could not be opened or bound.
    #[error("cannot bind an AF_XDP socket to {device} queue {queue}: {reason}")]
    Socket {
        /// The device's name.
        device: String,
        /// The queue.
        queue: u32,
        /// What the system says.
        reason: String,
    },
    /// One of the ordinary sockets beside it could not be opened.
    #[error("cannot open the sockets beside AF_XDP: {0}")]
    Beside(#[from] io::Error),
}

impl Error {
    fn device(device: &str, reason: impl fmt::Display) -> Self {
        Error::Device { device: device.to_owned(), reason: reason.to_string() }
    }

    fn umem(error: &dyn std::error::Error) -> Self {
        Error::Memory(with_source(error))
    }

    fn socket(device: &str, queue: u32, error: &dyn std::error::Error) -> Self {
        Error::Socket { device: device.to_owned(), queue, reason: with_source(error) }
    }
}

/// An error's own words and its cause's, which xsk-rs keeps apart.
fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// What the kernel and the host gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// How the XDP program is attached.
    pub attach: AttachMode,
    /// Whether the driver writes into the frames itself.
    pub zero_copy: bool,
    /// Whether the frames lie on huge pages.
    pub huge_pages: bool,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.attach {
            AttachMode::Native => "native XDP",
            AttachMode::Generic => "generic XDP",
        })?;
        f.write_str(if self.zero_copy { ", zero-copy" } else { ", copy mode" })?;
        f.write_str(if self.huge_pages { ", huge pages" } else { ", no huge pages" })
    }
}

/// Opens the backend: sockets first, the program last, so that the first frame it redirects finds
/// everything in place.
///
/// # Errors
/// [`Error`], by what failed first; whatever was opened until then is closed again.
pub fn open(config: &AfxdpConfig) -> Result<(AfxdpReceive, AfxdpTransmit, Mode), Error> {
    let name = &config.device;
    if !device::exists(name) {
        return Err(Error::device(name, "there is no such device"));
    }
    let device = device::device(name).map_err(|error| Error::device(name, error))?;
    let most = rings::PACKET_LENGTH - ETHERNET_MAX;
    if usize::from(device.mtu) > most {
        let reason = format!(
            "its MTU of {} bytes lets packets in that no AF_XDP frame holds; set {most} or less, or \
             use --io socket",
            device.mtu
        );
        return Err(Error::device(name, reason));
    }
    let slow = UdpReceive::open(&config.listen, config.buffer_bytes)?;
    // Frames of its own for each datagram in fragments; the caller's are the ring's.
    let fallback = RawTransmit::open(0)?;
    let Loaded { mut program, tallies, .. } = Program::load(&LoadConfig::default())?;
    let ports: Vec<_> =
        slow.addresses().iter().map(|address| (address.port(), PortRule::SOCKET)).collect();
    program.set_ports(&ports)?;
    program.set_addresses(&listened(&config.listen)?)?;
    let (receive, send, grant) = rings::open(name, config.queue, config.frames)?;
    program.set_socket(config.queue, std::os::fd::AsRawFd::as_raw_fd(&receive.descriptor()))?;
    let attach = program.attach(name)?;
    let mode = Mode { attach, zero_copy: grant.zero_copy, huge_pages: grant.huge_pages };
    let receive = AfxdpReceive::new(program, tallies, receive, slow);
    Ok((receive, AfxdpTransmit::new(send, fallback, device), mode))
}

/// The addresses that the program takes datagrams for. The kernel itself would take those of every
/// local address on any device; groups and broadcasts come by the sockets.
fn listened(listen: &[SocketAddr]) -> io::Result<Vec<IpAddr>> {
    let local = device::local_addresses()?;
    let takes = |address: &IpAddr| {
        listen.iter().any(|bind| {
            bind.ip() == *address
                || bind.ip().is_unspecified() && bind.is_ipv4() == address.is_ipv4()
        })
    };
    Ok(local.into_iter().filter(takes).collect())
}
