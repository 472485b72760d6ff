//! weir's XDP program: the committed object, its ABI mirrored in Rust, and typed handles on it.
//!
//! The program (`bpf/weir.bpf.c`) takes whole UDP datagrams to listening ports of this host, and by
//! the port's rule either forwards them to their source's slave without leaving the kernel
//! (flow-source model) or takes them to the receive queue's AF_XDP socket; everything else goes on to
//! the kernel. Its object is committed (`bin/weir.bpf.o`), so that clang is needed only to change it:
//! `ebpf/build.sh` rebuilds it, and a test compares the rebuilt one's instructions.
//!
//! [`Program::load`] gives a handle for each who has to do with the program: the control plane holds
//! [`Program`] (where it is attached, ports, addresses, sockets) and [`Tallies`]; the worker holds
//! [`Steering`] and [`Events`]; [`Sources`] is for both.
//!
//! There is no socket here: who owns an AF_XDP socket puts its descriptor into the program's map.

pub mod abi;
mod clock;
mod error;
mod events;
mod hash;
mod load;
mod program;
mod run;
mod sources;
mod steering;
mod tallies;

pub use abi::{
    FORMAT_IPFIX, FORMAT_NETFLOW5, FORMAT_NETFLOW9, FORMAT_OTHER, FORMAT_SFLOW, FORMATS_ALL,
    IpVersion, PortRule, SLAVES_MAX, format,
};
pub use error::Error;
pub use events::{Event, Events};
pub use hash::{NO_SLAVE, TABLE_LENGTH, source_hash, table_index};
pub use load::{LoadConfig, Loaded};
pub use program::{AttachMode, Program};
pub use run::Run;
pub use sources::{SourceEntry, SourceKey, SourceRule, Sources};
pub use steering::{Hop, Steering};
pub use tallies::{SlaveTally, Tallies, Verdict, Verdicts};
