//! What the benches share: packets, and the engine that they are fed to.

use std::net::SocketAddr;

pub mod decode;
pub mod engine;
pub mod flows;
pub mod hostile;
pub mod rows;
pub mod traffic;

/// The exporter of index `n`, each with an address and port of its own.
pub fn exporter(n: u32) -> SocketAddr {
    let [_, b, c, d] = n.to_be_bytes();
    SocketAddr::from(([10, b, c, d], 50_000))
}

/// Whether a short run is wanted (`./x bench quick`): the same points, with more noise.
pub fn is_quick() -> bool {
    std::env::var_os("WEIR_BENCH_QUICK").is_some()
}
