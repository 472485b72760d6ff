//! How a subcommand ends: its exit code, and its error in words.

use std::process::ExitCode;

/// The exit codes of `weir`; their numbers are documented in `weir --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// An option, a filter or a configuration file that makes no sense.
    Usage = 2,
    /// Right for the units that answered, but not all did.
    Partial = 3,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(outcome as u8)
    }
}

/// A mistake of the caller's: ends in [`Outcome::Usage`] instead of [`Outcome::Failed`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Prints the error and its causes to stderr; returns the exit code that it deserves.
pub fn report(error: &anyhow::Error) -> Outcome {
    eprintln!("weir: {error:#}");
    if error.is::<UsageError>() { Outcome::Usage } else { Outcome::Failed }
}
