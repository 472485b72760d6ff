//! How a subcommand ends: its exit code, and its error in words.

use std::process::ExitCode;

use super::out::PrintError;

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

/// Prints the error and its causes to stderr; returns the exit code that it deserves. A reader of
/// stdout that went away is no error.
pub fn report(error: &anyhow::Error) -> Outcome {
    if matches!(error.downcast_ref(), Some(PrintError::Closed)) {
        return Outcome::Done;
    }
    eprintln!("weir: {}", words(error));
    if error.is::<UsageError>() { Outcome::Usage } else { Outcome::Failed }
}

/// The error and its causes, without those that the one before has told already.
fn words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    let mut before = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if words.is_empty() {
            words.clone_from(&cause);
        } else if !before.contains(&cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
        before = cause;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_is_told_once() {
        let missing = || std::io::Error::from_raw_os_error(2);
        let file = crate::error::Error::File { path: "weir.toml".into(), source: missing() };
        let told = words(&anyhow::Error::from(file));
        assert_eq!(told, "cannot read weir.toml: No such file or directory (os error 2)");
        let context = Err::<(), _>(missing()).context("starting").unwrap_err();
        assert_eq!(words(&context), "starting: No such file or directory (os error 2)");
    }
}
