//! weir's control plane: configuration, RPC, roles and the console.
//!
//! The only place that awaits: the packet path runs on threads of its own and is spoken to through
//! mailboxes and counters. capnp-rpc is built on `Rc`, so a process has one RPC thread, which is the
//! main thread with a current-thread runtime; whatever takes long runs beside it.

pub mod backend;
pub mod capture;
pub mod change;
pub mod cli;
pub mod coverage;
pub mod decode;
pub mod devices;
pub mod error;
pub mod fanout;
pub mod generate;
pub mod health;
pub mod journal;
pub mod kernel;
pub mod lab;
pub mod lease;
pub mod neighbour;
pub mod packet_path;
pub mod probe;
pub mod random;
pub mod reload;
pub mod replay;
pub mod role;
pub mod service;
pub mod slots;
pub mod status;
pub mod storing;
pub mod streams;
pub mod topology;
pub mod unit;
pub mod workers;
