//! weir's XDP program: the committed object, its ABI mirrored in Rust, and a typed handle on it.
//!
//! The program (`bpf/weir.bpf.c`) takes whole UDP datagrams to listening ports of this host to the
//! receive queue's AF_XDP socket and passes everything else to the kernel. Its object is committed
//! (`bin/weir.bpf.o`), so that clang is needed only to change it: `ebpf/build.sh` rebuilds it, and
//! a test compares the rebuilt one's instructions.
//!
//! There is no socket here: who owns an AF_XDP socket puts its descriptor into the program's map.

pub mod abi;
pub mod program;
mod run;

pub use abi::{Verdict, Verdicts};
pub use program::{AttachMode, Error, Program};
