//! The gate of a listening port: who may send what to it, and who else gets a copy.

use std::net::{IpAddr, SocketAddr};

/// A range of addresses: those whose first `length` bits are those of `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// Any address of the range.
    pub address: IpAddr,
    /// Leading bits that count; what exceeds the address is taken as all of it.
    pub length: u8,
}

/// Where a copy of each datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CopyTo {
    /// The destination.
    pub to: SocketAddr,
    /// Whether the copy bears the exporter's address and port; else the address and port that the
    /// datagram was sent to.
    pub keep_source: bool,
    /// Bytes of the largest IP packet on the way; larger ones go in fragments.
    pub mtu: u16,
}

/// The rules of one listening port. A port without a gate takes everything and copies nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The listening port.
    pub port: u16,
    /// Exporters that may send; `None` for everyone.
    pub allow: Option<Vec<Prefix>>,
    /// Formats that are taken, as bits of `weir_ebpf`'s `FORMAT_*`; 0xff for all.
    pub formats: u8,
    /// Who gets a copy of what passes.
    pub copies: Vec<CopyTo>,
    /// One refused datagram in so many is told to the control plane; 0 for none.
    pub log_every: u32,
}
