//! What the benches share: the packets they measure with.

use std::net::SocketAddr;

pub mod rows;
pub mod traffic;

/// The exporter of index `n`, each with an address and port of its own.
pub fn exporter(n: u32) -> SocketAddr {
    let [_, b, c, d] = n.to_be_bytes();
    SocketAddr::from(([10, b, c, d], 50_000))
}
