//! weir on real kernels, among real exporters and collectors, over real captures.
//!
//! A test says what it needs; where that is missing it says so in a sentence and passes. The lab
//! itself is weir's own (`weir_controlplane::lab`), here are the foreign parts.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::PathBuf;

use weir_controlplane::lab::units::EXPORTERS;
use weir_controlplane::lab::{Error, Network, tool};
use weir_controlplane::replay::Report;

pub mod corpus;
pub mod exporter;
pub mod frames;
pub mod nfcapd;
pub mod sampled;
pub mod stage;
pub mod tshark;
pub mod witness;

/// The built `weir`, which stands beside the folder of the test executables.
///
/// # Panics
/// When it is not there: `cargo build` makes it, and so does `cargo test --workspace`.
pub fn weir() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let weir = test.ancestors().nth(2).expect("…/deps/test").join("weir");
    assert!(weir.exists(), "{} is missing: run `cargo build` first", weir.display());
    weir
}

/// The value; a test that cannot have it fails with the error in words.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn must<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// Datagrams a second; fast enough for the whole corpus in seconds, and no socket buffer fills.
const RATE: &str = "4000";

/// Sends what these words of `weir replay` name from these exporters' addresses; `to` has a target
/// for each IP version, as `HOST:PORT`.
///
/// # Errors
/// When it cannot be sent.
pub fn replay(
    network: &Network,
    words: &[impl AsRef<OsStr>],
    exporters: &[IpAddr],
    to: &[String],
) -> Result<Report, Error> {
    let mut command = network.site(EXPORTERS).command(weir());
    command.arg("replay").args(words).args(["--rate", RATE, "--json"]);
    for exporter in exporters {
        command.args(["--source", &exporter.to_string()]);
    }
    command.args(to.iter().flat_map(|to| ["--to", to]));
    let said = tool::run(&mut command)?;
    serde_json::from_str(&said).map_err(|error| Error::Answer {
        command: tool::typed(&command),
        reason: error.to_string(),
    })
}

/// Whether the test can run: as root, with these programs. Otherwise says why not.
pub fn can_run(test: &str, programs: &[&str]) -> bool {
    if !is_root() {
        println!("{test} skipped: needs root, for network namespaces");
        return false;
    }
    let missing: Vec<_> = programs.iter().filter(|program| !tool::exists(program)).collect();
    if !missing.is_empty() {
        println!("{test} skipped: needs {missing:?}, which `./x test` installs as root");
        return false;
    }
    true
}

/// Whether this process may create network namespaces.
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities =
        capabilities.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or_default();
    // CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN.
    [12, 13, 21].iter().all(|bit| capabilities & (1 << bit) != 0)
}
