//! The object into the kernel, and a handle for each part of it.

use std::os::fd::AsFd;

use aya::maps::{Map, MapData};
use aya::sys::SyscallError;
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use crate::error::{Error, map_error};
use crate::{Events, Program, Sources, Steering, Tallies};

static OBJECT: &[u8] = include_bytes_aligned!("../bin/weir.bpf.o");

/// What is fixed when the program is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadConfig {
    /// Sources that can be known at a time.
    pub sources: u32,
    /// What is added to the listening port for the slave's.
    pub port_offset: u16,
}

impl Default for LoadConfig {
    fn default() -> Self {
        LoadConfig { sources: 131_072, port_offset: 30_000 }
    }
}

/// The loaded program, by whom its parts are for. The kernel keeps the maps while a handle on them
/// lives; frames are handled while [`Program`] lives.
#[derive(Debug)]
pub struct Loaded {
    /// Attachment, ports, addresses, sockets: the control plane's.
    pub program: Program,
    /// Tables and hops: the first worker's.
    pub steering: Steering,
    /// The known sources; this handle can be cloned.
    pub sources: Sources,
    /// What the program tells: the first worker's.
    pub events: Events,
    /// Counters.
    pub tallies: Tallies,
}

impl Program {
    /// Loads the committed object into the kernel. No port is listened on yet, no slave known.
    ///
    /// # Errors
    /// [`Error::Load`] without the privileges or on a kernel that is too old, [`Error::Object`]
    /// when the object was built from other sources.
    pub fn load(config: &LoadConfig) -> Result<Loaded, Error> {
        let mut loader = EbpfLoader::new();
        loader
            .override_global("port_offset", &config.port_offset, true)
            .map_max_entries("sources4", config.sources.max(1))
            .map_max_entries("sources6", config.sources.max(1));
        let mut ebpf = loader.load(OBJECT).map_err(|error| Error::Load(Box::new(error)))?;
        let steering = Steering::new(&mut ebpf)?;
        let sources = Sources::new(&mut ebpf, config.sources)?;
        let events = Events::new(&mut ebpf)?;
        let tallies = Tallies::new(&mut ebpf)?;
        let program = Program::new(ebpf)?;
        Ok(Loaded { program, steering, sources, events, tallies })
    }
}

/// A map of the object, as its type.
pub(crate) fn take<T: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, Error> {
    let map = ebpf.take_map(name).ok_or(Error::Object(name))?;
    T::try_from(map).map_err(|_| Error::Object(name))
}

/// A hash map of the object, twice: to change it and to read it.
pub(crate) fn take_twice<T: TryFrom<Map>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<[T; 2], Error> {
    let Some(Map::HashMap(first)) = ebpf.take_map(name) else { return Err(Error::Object(name)) };
    let fd = first.fd().as_fd().try_clone_to_owned().map_err(|error| {
        let call = SyscallError { call: "dup", io_error: error };
        map_error(name)(call.into())
    })?;
    let second = MapData::from_fd(fd).map_err(map_error(name))?;
    Ok([
        T::try_from(Map::HashMap(first)).map_err(|_| Error::Object(name))?,
        T::try_from(Map::HashMap(second)).map_err(|_| Error::Object(name))?,
    ])
}
