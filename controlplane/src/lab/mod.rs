//! A laboratory: units, exporters and foreign collectors on a network of their own, on one machine.
//!
//! `weir demo` and the tests on real kernels run whole topologies in it: each site in a network
//! namespace behind a switch, or, where the user may not have that, on a loopback address of its
//! own. Sites run ordinary processes; the lab talks to units as an operator does, by `weir status`
//! and `weir query`.
//!
//! Invariant: whatever it started or created is gone when it is dropped. Deliberately not here: any
//! touch of the machine's own interfaces, and any waiting by time alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

pub mod network;
pub mod process;
pub mod tool;
pub mod units;

pub use network::{Cable, Network, Site};
pub use process::Process;
pub use units::{Answer, Group, Units};

/// What went wrong in the lab.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tool could not be started, or said no.
    #[error("`{command}` failed: {reason}")]
    Tool {
        /// As one would type it.
        command: String,
        /// What it wrote to stderr, or what the system said.
        reason: String,
    },
    /// A file of the lab.
    #[error("the lab's file {path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A process ended or never became ready.
    #[error("{name} {what}; it wrote:\n{log}")]
    Process {
        /// Its name in the lab.
        name: String,
        /// What it did.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// What was waited for did not happen.
    #[error("waited {seconds} s for {what}")]
    Timeout {
        /// What should have happened.
        what: String,
        /// How long it was given.
        seconds: u64,
    },
    /// The user wants an end.
    #[error("interrupted")]
    Interrupted,
    /// An answer of `weir --json` that makes no sense.
    #[error("`{command}` answered what makes no sense: {reason}")]
    Answer {
        /// As one would type it.
        command: String,
        /// Why.
        reason: String,
    },
}

/// Whether the user wants an end; set by a signal once [`obey_signals`] was called.
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on SIGINT, SIGTERM and SIGHUP end whatever the lab waits for with
/// [`Error::Interrupted`], so that everything is taken down in order.
///
/// # Errors
/// When the system refuses.
pub fn obey_signals() -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&INTERRUPTED))?;
    }
    Ok(())
}

/// Asks `done` every few milliseconds until it gives a value.
///
/// # Errors
/// [`Error::Timeout`] when it has not within `seconds`, [`Error::Interrupted`], and what `done`
/// itself reports.
pub fn wait_for<T>(
    what: &str,
    seconds: u64,
    mut done: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = done()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(Error::Timeout { what: what.into(), seconds });
        }
        pause(Duration::from_millis(20))?;
    }
}

/// Sleeps for a short while.
///
/// # Errors
/// [`Error::Interrupted`] when the user wants an end.
pub fn pause(time: Duration) -> Result<(), Error> {
    std::thread::sleep(time);
    if INTERRUPTED.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}
