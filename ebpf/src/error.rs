//! What can fail between weir and the kernel's BPF.

use aya::EbpfError;
use aya::maps::MapError;

use crate::abi;

/// What failed between weir and the kernel's BPF.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused the program or its maps.
    #[error(
        "cannot load the XDP program (needs CAP_BPF and CAP_NET_ADMIN, Linux 6.1 or newer): {0}"
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
    /// The kernel's ticks could not be read.
    #[error("cannot read the kernel's clock by BPF: {0}")]
    Clock(#[source] std::io::Error),
    /// As many sources are known as may be.
    #[error("the XDP program knows {0} sources, and may know no more")]
    Full(u32),
    /// A slave beyond those that the program has room for, or an address of the other IP version.
    #[error("the XDP program cannot forward to {0}")]
    Slave(String),
}

/// Names the map of a failure.
pub(crate) fn map_error(map: &'static str) -> impl Fn(MapError) -> Error {
    move |error| Error::Map { map, error: Box::new(error) }
}
