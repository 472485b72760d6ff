//! The AF_XDP backend: frames straight from and to a device's queues, past the kernel's network
//! stack.
//!
//! A *lane* is a receive queue with its socket, its memory, and a ring to send by on each device that
//! packets leave by; a worker owns one. The XDP program (`ebpf/`) redirects to the lanes' sockets.
//! Zero-copy where the driver has it, copies else; memory on huge pages where there are some, near
//! the device. ARP, neighbour discovery, ICMP and IP fragments stay with the kernel.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use weir_ebpf::{AttachMode, LoadConfig, Loaded, PortRule, Program};

use super::device::{self, Device};
use super::raw::RawTransmit;
use super::udp::UdpReceive;
use crate::forward::ForwardHandles;

mod kernel;
mod memory;
mod receive;
mod rings;
mod transmit;

pub use kernel::Kernel;
pub use receive::AfxdpReceive;
pub use transmit::{AfxdpFrame, AfxdpTransmit};

use memory::Memory;
use rings::{Frames, Grant, ReceiveRing, SendRing, Wanted};
use transmit::Port;

/// Bytes of an Ethernet header with two VLAN tags.
const ETHERNET_MAX: usize = 22;
/// The longest packet that one frame holds.
const WHOLE_MAX: usize = rings::RECEIVE_LENGTH - ETHERNET_MAX;
/// Devices that packets leave by, at most.
const EGRESS_MAX: usize = 64;

/// Which receive queues get a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Queues {
    /// All that the device uses.
    #[default]
    Auto,
    /// These; datagrams on the others come by the sockets.
    List(Vec<u32>),
}

/// Busy polling: the worker takes packets off the device itself, and its interrupts stay off
/// meanwhile (`napi_defer_hard_irqs`). It never sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long one asking may look for packets, microseconds.
    pub us: u32,
    /// Packets that one asking takes at most.
    pub budget: u32,
}

/// Where to receive, and with how much room.
#[derive(Clone, Debug)]
pub struct AfxdpConfig {
    /// The device's name, `eth0`.
    pub device: String,
    /// Its receive queues.
    pub queues: Queues,
    /// Further devices to send by.
    pub egress: Vec<String>,
    /// Listening addresses and ports; an unspecified address stands for all of this host's.
    pub listen: Vec<SocketAddr>,
    /// Outgoing frames of a lane; rounded up to a power of two.
    pub frames: u32,
    /// Kernel buffer of each socket of the slow path, in bytes.
    pub buffer_bytes: usize,
    /// Whether and how to poll busily.
    pub busy_poll: Option<BusyPoll>,
    /// Sources that the kernel's forwarding knows, at most.
    pub sources: u32,
    /// Whether the kernel is to forward; what it cannot comes by the first lane, which is the only
    /// one then unless queues are named.
    pub forward: bool,
    /// Whether what the kernel forwards may go back out of a virtual device too, whose other end must
    /// then run an XDP program. Other devices take it in any case.
    pub bounce: bool,
}

/// An opened device.
#[derive(Debug)]
pub struct Opened {
    /// One for each queue; the first has the sockets of the slow path beside its ring.
    pub lanes: Vec<(AfxdpReceive, AfxdpTransmit)>,
    /// The program, for the control plane.
    pub kernel: Kernel,
    /// For the first lane's worker, where the kernel is to forward.
    pub forward: Option<ForwardHandles>,
    /// What it became, for the console.
    pub sentence: String,
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
    Memory(io::Error),
    /// The AF_XDP socket could not be opened or bound.
    #[error("cannot bind an AF_XDP socket to {device} queue {queue}: {reason}")]
    Socket {
        /// The device's name.
        device: String,
        /// The queue.
        queue: u32,
        /// What the system says.
        reason: io::Error,
    },
    /// One of the ordinary sockets beside it could not be opened.
    #[error("cannot open the sockets beside AF_XDP: {0}")]
    Beside(io::Error),
}

impl Error {
    fn device(device: &str, reason: impl fmt::Display) -> Self {
        Error::Device { device: device.to_owned(), reason: reason.to_string() }
    }
}

/// What the kernel and the host gave a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// How the XDP program is attached.
    pub attach: AttachMode,
    /// Whether the driver writes into the frames itself.
    pub zero_copy: bool,
    /// Whether packets longer than a frame are received.
    pub jumbo: bool,
    /// Whether the frames lie on huge pages.
    pub huge_pages: bool,
    /// The NUMA node that the frames are on, where the device is near one.
    pub node: Option<u32>,
    /// Busy polling as asked for, and whether the kernel has it.
    pub busy_poll: Option<(BusyPoll, bool)>,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.attach {
            AttachMode::Native => "native XDP",
            AttachMode::Generic => "generic XDP",
        })?;
        f.write_str(if self.zero_copy { ", zero-copy" } else { ", copy mode" })?;
        if self.jumbo {
            f.write_str(", jumbo packets in several frames")?;
        }
        f.write_str(if self.huge_pages { ", huge pages" } else { ", no huge pages" })?;
        match self.node {
            Some(node) => write!(f, ", NUMA node {node}")?,
            None => f.write_str(", no NUMA node of its own")?,
        }
        match self.busy_poll {
            None => Ok(()),
            Some((BusyPoll { us, budget }, true)) => {
                write!(f, ", busy polling ({us} us, {budget} packets)")
            }
            Some((_, false)) => {
                f.write_str(", no busy polling: needs Linux 5.11 and CAP_NET_ADMIN")
            }
        }
    }
}

/// Opens the backend: sockets first, the program last, so that the first frame it redirects finds
/// everything in place.
///
/// # Errors
/// [`Error`], by what failed first; whatever was opened until then is closed again.
pub fn open(config: &AfxdpConfig) -> Result<Opened, Error> {
    let name = &config.device;
    let mut opening = Opening::begin(config)?;
    let slow = UdpReceive::open(&config.listen, config.buffer_bytes)?;
    let limits = LoadConfig { sources: config.sources, ..LoadConfig::default() };
    let Loaded { program, steering, sources, events, tallies } = Program::load(&limits)?;
    let mut kernel = Kernel { program, sources, tallies };
    let rule = if config.forward { PortRule::FORWARD } else { PortRule::SOCKET };
    let ports: Vec<_> = slow.addresses().iter().map(|bound| (bound.port(), rule)).collect();
    kernel.program.set_ports(&ports)?;
    kernel.refresh_addresses(&config.listen)?;
    opening.slow = Some(slow);
    let all = config.queues == Queues::Auto && !config.forward;
    let queues = match &config.queues {
        Queues::Auto => (0..if all { receive_queues(name) } else { 1 }).collect(),
        Queues::List(queues) => queues.clone(),
    };
    opening.add_lanes(&queues, &mut kernel.program)?;
    let attach = kernel.program.attach(name)?;
    if all {
        // Some drivers double their queues for XDP, and spread what comes in over all of them.
        let more: Vec<u32> = (opening.lanes.len() as u32..receive_queues(name)).collect();
        opening.add_lanes(&more, &mut kernel.program)?;
    }
    let forward = config.forward.then(|| ForwardHandles {
        steering,
        sources: kernel.sources.clone(),
        events,
        device: opening.device.index,
        mac: opening.device.mac,
        bounce: attach == AttachMode::Native && opening.can_bounce,
    });
    Ok(opening.end(attach, kernel, forward))
}

fn receive_queues(device: &str) -> u32 {
    device::channels(device).receive.min(weir_ebpf::abi::QUEUES_MAX)
}

/// A device while it is being opened.
struct Opening<'a> {
    config: &'a AfxdpConfig,
    device: Device,
    node: Option<u32>,
    /// Whether frames that leave by `XDP_TX` arrive: behind a veth only those whose receiver has an XDP
    /// program too.
    can_bounce: bool,
    jumbo: bool,
    slow: Option<UdpReceive>,
    lanes: Vec<(AfxdpReceive, AfxdpTransmit)>,
    /// Each lane's queue and what it got.
    granted: Vec<Granted>,
    /// What to say of the devices to send by.
    egress: Vec<String>,
}

/// What a queue got.
struct Granted {
    queue: u32,
    grant: Grant,
    huge_pages: bool,
    node: Option<u32>,
}

impl<'a> Opening<'a> {
    fn begin(config: &'a AfxdpConfig) -> Result<Self, Error> {
        let name = &config.device;
        if device::index(name).is_none() {
            return Err(Error::device(name, "there is no such device"));
        }
        if config.queues == Queues::List(Vec::new()) {
            return Err(Error::device(name, "no receive queue is named"));
        }
        let device = device::device(name).map_err(|error| Error::device(name, error))?;
        let driver = device::driver(name);
        Ok(Opening {
            config,
            device,
            node: driver.as_ref().and_then(|driver| driver.node),
            can_bounce: config.bounce || driver.is_some_and(|driver| driver.name != "veth"),
            jumbo: usize::from(device.mtu) > WHOLE_MAX,
            slow: None,
            lanes: Vec::new(),
            granted: Vec::new(),
            egress: Vec::new(),
        })
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            send_frames: self.config.frames,
            multi_buffer: self.jumbo,
            busy_poll: self.config.busy_poll,
        }
    }

    /// Opens a lane for each of `queues` and tells the program its socket.
    fn add_lanes(&mut self, queues: &[u32], program: &mut Program) -> Result<(), Error> {
        for &queue in queues {
            let (receive, frames, send) = self.open_queue(queue)?;
            program.set_socket(queue, receive.descriptor().as_raw_fd())?;
            let mut ports = vec![Port::new(&self.config.device, self.device, send)];
            self.open_egress(&frames, &mut ports);
            // Frames of its own for each datagram in fragments; the caller's are the ring's.
            let fallback = RawTransmit::open(0)?;
            let receive = AfxdpReceive::new(receive, self.slow.take());
            self.lanes.push((receive, AfxdpTransmit::new(frames, ports, fallback)));
        }
        Ok(())
    }

    /// Opens a queue's rings.
    fn open_queue(&mut self, queue: u32) -> Result<(ReceiveRing, Frames, SendRing), Error> {
        let name = &self.config.device;
        let wanted = self.wanted();
        let length = rings::memory_length(wanted.send_frames);
        let map = || Memory::map(length, self.node).map_err(Error::Memory);
        let memory = map()?;
        let (huge_pages, node) = (memory.is_huge(), memory.node());
        let (receive, frames, send, grant) =
            rings::open(name, queue, memory, wanted).map_err(|error| {
                let whole = Wanted { multi_buffer: false, ..wanted };
                if self.jumbo && map().is_ok_and(|m| rings::open(name, queue, m, whole).is_ok()) {
                    return Error::device(name, too_long(self.device.mtu));
                }
                Error::Socket { device: name.clone(), queue, reason: error }
            })?;
        self.granted.push(Granted { queue, grant, huge_pages, node });
        Ok((receive, frames, send))
    }

    /// Opens a ring on each further device, for the newest lane. What cannot be had is said, and
    /// goes by the raw socket.
    fn open_egress(&mut self, frames: &Frames, ports: &mut Vec<Port>) {
        let lane = self.lanes.len() as u32;
        let names = self.config.egress.iter().filter(|name| **name != self.config.device);
        for name in names.take(EGRESS_MAX) {
            let number = u8::try_from(ports.len()).expect("few devices");
            let opened = device::device(name).and_then(|device| {
                let queue = lane % device::channels(name).send;
                let ring = rings::open_egress(frames, name, queue, number, self.wanted())?;
                Ok(Port::new(name, device, ring))
            });
            match opened {
                Ok(port) => {
                    ports.push(port);
                    if lane == 0 {
                        self.egress.push(format!("sends by {name} too"));
                    }
                }
                Err(error) => self.egress.push(format!(
                    "lane {lane} sends by {name} through the kernel, for it has no ring there \
                     ({error})"
                )),
            }
        }
    }

    fn end(self, attach: AttachMode, kernel: Kernel, forward: Option<ForwardHandles>) -> Opened {
        let mode = |&Granted { queue, grant, huge_pages, node }: &Granted| {
            let mode = Mode {
                attach,
                zero_copy: grant.zero_copy,
                jumbo: self.jumbo,
                huge_pages,
                node,
                busy_poll: self.config.busy_poll.map(|asked| (asked, grant.busy_poll)),
            };
            (queue, mode.to_string())
        };
        let modes: Vec<_> = self.granted.iter().map(mode).collect();
        let mut sentence = format!("AF_XDP on {}{}", self.config.device, told(&modes));
        for more in &self.egress {
            sentence += "; ";
            sentence += more;
        }
        let ordinary = self.granted.iter().filter(|granted| !granted.huge_pages).count();
        if ordinary > 0 {
            sentence += "; ";
            sentence += &memory::advice(rings::memory_length(self.config.frames), ordinary);
        }
        Opened { lanes: self.lanes, kernel, forward, sentence }
    }
}

fn too_long(mtu: u16) -> String {
    format!(
        "its MTU of {mtu} bytes lets packets in that no AF_XDP frame holds, and this kernel or driver \
         does not take them in several (Linux 6.6 or newer does); set {WHOLE_MAX} or less, or use \
         --io socket"
    )
}

/// The queues and their modes, those that follow each other with the same mode together.
fn told(modes: &[(u32, String)]) -> String {
    let mut text = String::new();
    for run in modes.chunk_by(|(_, a), (_, b)| a == b) {
        let queues: Vec<String> = run.iter().map(|(queue, _)| queue.to_string()).collect();
        let noun = if run.len() == 1 { "queue" } else { "queues" };
        text += &format!(", {noun} {} ({})", queues.join(" "), run[0].1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_says_what_was_had() {
        let mode = Mode {
            attach: AttachMode::Native,
            zero_copy: false,
            jumbo: true,
            huge_pages: false,
            node: Some(1),
            busy_poll: Some((BusyPoll { us: 20, budget: 64 }, true)),
        };
        assert_eq!(
            mode.to_string(),
            "native XDP, copy mode, jumbo packets in several frames, no huge pages, NUMA node 1, \
             busy polling (20 us, 64 packets)"
        );
    }

    #[test]
    fn queues_of_one_mode_are_told_together() {
        let modes = [(0, "a"), (1, "a"), (2, "b")].map(|(queue, mode)| (queue, mode.to_owned()));
        assert_eq!(told(&modes), ", queues 0 1 (a), queue 2 (b)");
    }
}
