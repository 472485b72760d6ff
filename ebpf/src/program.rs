//! A handle on the loaded XDP program: attach, listening ports, addresses, sockets, counters.
//!
//! Invariant: the program is attached by a `bpf_link`, so the kernel detaches it when this process
//! ends, however it ends. Whoever puts sockets into the map drops this handle (or detaches) before
//! closing them: until then frames still find them.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfError, include_bytes_aligned};

use crate::abi::{self, Address, PORT_WORDS, Verdict, Verdicts};
use crate::run;

static OBJECT: &[u8] = include_bytes_aligned!("../bin/weir.bpf.o");
const PROGRAM: &str = "weir";

/// What failed between weir and the kernel's BPF.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the program or its maps.
    #[error(
        "cannot load the XDP program (needs CAP_BPF and CAP_NET_ADMIN, Linux 5.9 or newer): {0}"
    )]
    Load(#[source] Box<EbpfError>),
    /// The object lacks what this build expects of it: it was built from other sources.
    #[error("the XDP object does not fit this build: {0}; rebuild it with ebpf/build.sh")]
    Object(&'static str),
    /// The program could not be attached, neither natively nor generically.
    #[error("cannot attach the XDP program to {device}: {native}; in generic mode: {generic}")]
    Attach {
        /// The device.
        device: String,
        /// Why not natively.
        native: String,
        /// Why not generically.
        generic: String,
    },
    /// A map refused a change.
    #[error("cannot change the XDP program's {map}: {error}")]
    Map {
        /// Which map.
        map: &'static str,
        /// Why.
        error: Box<MapError>,
    },
    /// More addresses than the program's map holds.
    #[error("{0} local addresses, and the XDP program knows {max} at most", max = abi::ADDRESSES_MAX)]
    TooManyAddresses(usize),
}

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
    ports: Array<MapData, u64>,
    port_words: Box<[u64; PORT_WORDS]>,
    addresses: HashMap<MapData, Address, u8>,
    known_addresses: HashSet<Address>,
    sockets: XskMap<MapData>,
    verdicts: PerCpuArray<MapData, u64>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("attached", &self.link.is_some()).finish_non_exhaustive()
    }
}

impl Program {
    /// Loads the committed object into the kernel. No port is listened on yet.
    ///
    /// # Errors
    /// [`Error::Load`] without the privileges or on a kernel that is too old, [`Error::Object`]
    /// when the object was built from other sources.
    pub fn load() -> Result<Self, Error> {
        let mut ebpf = Ebpf::load(OBJECT).map_err(|error| Error::Load(Box::new(error)))?;
        let program = xdp(&mut ebpf)?;
        program.load().map_err(|error| Error::Load(Box::new(error.into())))?;
        let ports = take(&mut ebpf, "ports")?;
        let addresses = take(&mut ebpf, "addresses")?;
        let sockets = take(&mut ebpf, "sockets")?;
        let verdicts = take(&mut ebpf, "verdicts")?;
        let program = Program {
            link: None,
            ebpf,
            ports: ports.try_into().map_err(|_| Error::Object("map ports"))?,
            port_words: Box::new([0; PORT_WORDS]),
            addresses: addresses.try_into().map_err(|_| Error::Object("map addresses"))?,
            known_addresses: HashSet::new(),
            sockets: sockets.try_into().map_err(|_| Error::Object("map sockets"))?,
            verdicts: verdicts.try_into().map_err(|_| Error::Object("map verdicts"))?,
        };
        let fits = program.ports.len() as usize == PORT_WORDS
            && program.sockets.len() == abi::QUEUES_MAX
            && program.verdicts.len() as usize == Verdict::ALL.len();
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

    /// Replaces the set of listening ports, while frames come in.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel refuses.
    pub fn set_ports(&mut self, ports: &[u16]) -> Result<(), Error> {
        let mut words = [0u64; PORT_WORDS];
        for &port in ports {
            let (word, bit) = abi::port_bit(port);
            words[word] |= bit;
        }
        for (index, &word) in words.iter().enumerate() {
            if self.port_words[index] == word {
                continue;
            }
            let key = u32::try_from(index).expect("fewer than 2^32 words");
            self.ports.set(key, word, 0).map_err(map_error("listening ports"))?;
            self.port_words[index] = word;
        }
        Ok(())
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
        let gone: Vec<_> = self.known_addresses.difference(&wanted).copied().collect();
        for key in gone {
            self.addresses.remove(&key).map_err(map_error("addresses"))?;
            self.known_addresses.remove(&key);
        }
        for key in wanted {
            if !self.known_addresses.contains(&key) {
                self.addresses.insert(key, 1, 0).map_err(map_error("addresses"))?;
                self.known_addresses.insert(key);
            }
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

    /// Frames by verdict since the program was loaded, summed over the cpus.
    ///
    /// # Errors
    /// [`Error::Map`] when the kernel refuses.
    pub fn verdicts(&self) -> Result<Verdicts, Error> {
        let mut sums = Verdicts::default();
        for verdict in Verdict::ALL {
            let counts = self.verdicts.get(&(verdict as u32), 0).map_err(map_error("verdicts"))?;
            sums.add(verdict, counts.iter().sum());
        }
        Ok(sums)
    }

    /// Runs the program on one frame without a network, as received on queue 0; returns its XDP
    /// action. For tests: the kernel makes no use of the result.
    ///
    /// # Errors
    /// What the system says; frames shorter than an Ethernet header are refused.
    pub fn run(&mut self, frame: &[u8]) -> io::Result<u32> {
        let program = xdp(&mut self.ebpf).map_err(io::Error::other)?;
        let descriptor = program.fd().map_err(io::Error::other)?;
        run::run(descriptor.as_fd(), frame)
    }
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, Error> {
    ebpf.take_map(name).ok_or(Error::Object(name))
}

fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let program = ebpf.program_mut(PROGRAM).ok_or(Error::Object("no program weir"))?;
    program.try_into().map_err(|_| Error::Object("weir is no XDP program"))
}

fn map_error(map: &'static str) -> impl Fn(MapError) -> Error {
    move |error| Error::Map { map, error: Box::new(error) }
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
