//! The program's attachment, and what it must know of this host: listening ports, addresses, sockets.
//!
//! Invariant: the program is attached by a `bpf_link`, so the kernel detaches it when this process
//! ends, however it ends. Whoever puts sockets into the map drops this handle (or detaches) before
//! closing them: until then frames still find them.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, XskMap};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};

use crate::abi::{self, Address, LISTENERS, PortRule};
use crate::error::{Error, map_error};
use crate::load::take;
use crate::run::{self, Run};

const PROGRAM: &str = "weir";
/// The kernel's check of the program ends with EAGAIN when a signal comes in; libbpf, too, tries so
/// often.
const LOADS: usize = 5;
/// `struct weir_listener`: address, port in network order, rule.
type Listener = [u8; 24];
/// A slot that no pair of address and port has.
const EMPTY: Listener = [0; 24];

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// Run by the driver, before the kernel makes a packet of the frame.
    Native,
    /// Run by the kernel's own network code: slower, works with every driver.
    Generic,
}

/// The XDP program, loaded; attached or not.
pub struct Program {
    /// First of the fields, so that it goes first: no frame is redirected from then on.
    link: Option<XdpLink>,
    ebpf: Ebpf,
    ports: Array<MapData, u32>,
    rules: BTreeMap<u16, u32>,
    addresses: HashMap<MapData, Address, u8>,
    known: HashSet<Address>,
    listeners: Array<MapData, Listener>,
    /// What stands in `listeners`.
    slots: Box<[Listener]>,
    sockets: XskMap<MapData>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("attached", &self.link.is_some()).finish_non_exhaustive()
    }
}

impl Program {
    pub(crate) fn new(mut ebpf: Ebpf) -> Result<Self, Error> {
        let mut loaded = xdp(&mut ebpf)?.load();
        for _ in 1..LOADS {
            if !matches!(&loaded, Err(error) if is_interrupted(error)) {
                break;
            }
            loaded = xdp(&mut ebpf)?.load();
        }
        loaded.map_err(|error| Error::Load(Box::new(error.into())))?;
        let program = Program {
            link: None,
            ports: take(&mut ebpf, "ports")?,
            rules: BTreeMap::new(),
            addresses: take(&mut ebpf, "addresses")?,
            known: HashSet::new(),
            listeners: take(&mut ebpf, "listeners")?,
            slots: vec![EMPTY; LISTENERS].into(),
            sockets: take(&mut ebpf, "sockets")?,
            ebpf,
        };
        let fits = program.ports.len() == 1 << 16
            && program.listeners.len() as usize == LISTENERS
            && program.sockets.len() == abi::QUEUES_MAX;
        if fits { Ok(program) } else { Err(Error::Object("a map's size")) }
    }

    /// Attaches the program to a device: natively where the driver can, else generically. Set ports
    /// and sockets first, so that the first frame finds them.
    ///
    /// # Errors
    /// [`Error::Attach`] with both reasons.
    pub fn attach(&mut self, device: &str) -> Result<AttachMode, Error> {
        self.detach();
        let native = match self.attach_as(device, XdpMode::Driver) {
            Ok(()) => return Ok(AttachMode::Native),
            Err(error) => describe(&error),
        };
        match self.attach_as(device, XdpMode::Skb) {
            Ok(()) => Ok(AttachMode::Generic),
            Err(error) => {
                Err(Error::Attach { device: device.to_owned(), native, generic: describe(&error) })
            }
        }
    }

    fn attach_as(&mut self, device: &str, mode: XdpMode) -> Result<(), ProgramError> {
        let program = xdp(&mut self.ebpf).map_err(|_| ProgramError::NotLoaded)?;
        let id = program.attach(device, mode)?;
        self.link = Some(program.take_link(id)?);
        Ok(())
    }

    /// Detaches the program; nothing is redirected any more.
    pub fn detach(&mut self) {
        self.link = None;
    }

    /// Replaces the listening ports and their rules, while frames come in. Of a port that stands
    /// twice the last rule counts.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel refuses.
    pub fn set_ports(&mut self, ports: &[(u16, PortRule)]) -> Result<(), Error> {
        let wanted: BTreeMap<u16, u32> =
            ports.iter().map(|(port, rule)| (*port, rule.word())).collect();
        let gone: Vec<u16> =
            self.rules.keys().filter(|port| !wanted.contains_key(port)).copied().collect();
        for port in gone {
            self.set_port(port, 0)?;
            self.rules.remove(&port);
        }
        for (port, word) in wanted {
            if self.rules.get(&port) != Some(&word) {
                self.set_port(port, word)?;
                self.rules.insert(port, word);
            }
        }
        self.set_listeners()
    }

    fn set_port(&mut self, port: u16, word: u32) -> Result<(), Error> {
        self.ports.set(u32::from(port), word, 0).map_err(map_error("listening ports"))
    }

    /// Replaces the set of this host's addresses, while frames come in.
    ///
    /// # Errors
    /// [`Error::TooManyAddresses`]; [`Error::Map`] when the kernel refuses.
    pub fn set_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), Error> {
        let wanted: HashSet<Address> = addresses.iter().copied().map(abi::address).collect();
        if wanted.len() > abi::ADDRESSES_MAX {
            return Err(Error::TooManyAddresses(wanted.len()));
        }
        let gone: Vec<_> = self.known.difference(&wanted).copied().collect();
        for key in gone {
            self.addresses.remove(&key).map_err(map_error("addresses"))?;
            self.known.remove(&key);
        }
        for key in wanted {
            if !self.known.contains(&key) {
                self.addresses.insert(key, 1, 0).map_err(map_error("addresses"))?;
                self.known.insert(key);
            }
        }
        self.set_listeners()
    }

    /// Writes what the slots of pairs of address and port should be and are not. Of several pairs with
    /// one slot one has it; the program finds the others in the two larger maps.
    fn set_listeners(&mut self) -> Result<(), Error> {
        let mut wanted = vec![EMPTY; LISTENERS];
        for address in &self.known {
            for (port, word) in &self.rules {
                let mut listener = EMPTY;
                listener[..16].copy_from_slice(address);
                listener[16..18].copy_from_slice(&port.to_be_bytes());
                listener[20..].copy_from_slice(&word.to_ne_bytes());
                let slot = abi::listener_slot(address, *port);
                // Whoever has the slot keeps it, so that a change touches no more than it must.
                if wanted[slot] == EMPTY || self.slots[slot][..20] == listener[..20] {
                    wanted[slot] = listener;
                }
            }
        }
        for (slot, listener) in wanted.into_iter().enumerate() {
            if self.slots[slot] == listener {
                continue;
            }
            let index = u32::try_from(slot).expect("a slot's number is small");
            let map = "listening ports";
            if self.slots[slot][..20] != listener[..20] {
                // Nobody meets half of one pair and half of another.
                self.listeners.set(index, EMPTY, 0).map_err(map_error(map))?;
                self.slots[slot] = EMPTY;
            }
            self.listeners.set(index, listener, 0).map_err(map_error(map))?;
            self.slots[slot] = listener;
        }
        Ok(())
    }

    /// Sends a queue's frames to the AF_XDP socket `socket`, which is bound to that queue. The
    /// kernel forgets it when the socket is closed.
    ///
    /// # Errors
    /// [`Error::Map`] when the queue is beyond [`abi::QUEUES_MAX`] or it is no AF_XDP socket.
    pub fn set_socket(&mut self, queue: u32, socket: impl AsRawFd) -> Result<(), Error> {
        self.sockets.set(queue, socket, 0).map_err(map_error("sockets"))
    }

    /// Runs the program on one frame without a network, as received on queue 0. For tests: the kernel
    /// makes no use of the result.
    ///
    /// # Errors
    /// What the system says; frames shorter than an Ethernet header are refused.
    pub fn run(&mut self, frame: &[u8]) -> io::Result<Run> {
        self.repeat(frame, 1)
    }

    /// Runs the program so many times on one frame, and says what the last run did with it and how
    /// long one took. Each run finds the frame as the one before left it.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn repeat(&mut self, frame: &[u8], times: u32) -> io::Result<Run> {
        let program = xdp(&mut self.ebpf).map_err(io::Error::other)?;
        let descriptor = program.fd().map_err(io::Error::other)?;
        run::repeat(descriptor.as_fd(), frame, times)
    }
}

fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let program = ebpf.program_mut(PROGRAM).ok_or(Error::Object("no program weir"))?;
    program.try_into().map_err(|_| Error::Object("weir is no XDP program"))
}

fn is_interrupted(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. }
        if io_error.raw_os_error() == Some(libc::EAGAIN))
}

/// The system's own words, and what to do about the commonest.
fn describe(error: &ProgramError) -> String {
    let ProgramError::SyscallError(call) = error else { return error.to_string() };
    match call.io_error.raw_os_error() {
        Some(libc::EBUSY) => "another XDP program is attached there".to_owned(),
        Some(libc::EOPNOTSUPP) => "the driver has no XDP".to_owned(),
        Some(libc::ERANGE) => "the device's MTU is too large for its driver's XDP".to_owned(),
        _ => call.io_error.to_string(),
    }
}
