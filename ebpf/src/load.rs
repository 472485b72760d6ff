//! The object into the kernel, and a handle for each part of it.

use std::os::fd::AsFd;

use aya::maps::{Map, MapData};
use aya::sys::SyscallError;
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use crate::error::{Error, map_error};
use crate::{Events, Program, Sources, Steering, Tallies};

static OBJECT: &[u8] = include_bytes_aligned!("../bin/weir.bpf.o");

/// The most sources that can be asked for.
const SOURCES_MAX: u32 = 1 << 24;

/// What is fixed when the program is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadConfig {
    /// Sources that can be known at a time; 2^24 at most. Each takes some 100 octets from the start.
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
        // Half empty when all sources are known, so that most have a slot of their own.
        let slots = config.sources.clamp(1, SOURCES_MAX).next_power_of_two() * 2;
        let mask = slots - 1;
        let mut loader = EbpfLoader::new();
        loader
            .override_global("port_offset", &config.port_offset, true)
            .override_global("source_mask", &mask, true)
            .map_max_entries("source_slots", slots)
            .map_max_entries("sources", config.sources.max(1));
        let mut ebpf = loader.load(OBJECT).map_err(|error| Error::Load(Box::new(error)))?;
        let steering = Steering::new(&mut ebpf)?;
        let sources = Sources::new(&mut ebpf, config.sources.min(SOURCES_MAX), slots)?;
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

/// A map of the object, twice: to change it and to read it.
pub(crate) fn take_twice<T: TryFrom<Map>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<[T; 2], Error> {
    let first = ebpf.take_map(name).ok_or(Error::Object(name))?;
    let second = match &first {
        Map::HashMap(data) => Map::HashMap(again(data, name)?),
        Map::Array(data) => Map::Array(again(data, name)?),
        _ => return Err(Error::Object(name)),
    };
    let typed = |map| T::try_from(map).map_err(|_| Error::Object(name));
    Ok([typed(first)?, typed(second)?])
}

fn again(data: &MapData, name: &'static str) -> Result<MapData, Error> {
    let fd = data.fd().as_fd().try_clone_to_owned().map_err(|error| {
        let call = SyscallError { call: "dup", io_error: error };
        map_error(name)(call.into())
    })?;
    MapData::from_fd(fd).map_err(map_error(name))
}
