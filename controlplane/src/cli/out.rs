//! What a subcommand prints: to stdout, whose reader may go away before all is said.
//!
//! `weir query … | head` is no failure: the error of a closed pipe ends the subcommand through `?`,
//! so that everything is put away as at any other end, and [`super::exit::report`] says nothing.

use std::io::{ErrorKind, Write};

/// Why printing ended.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// Whoever read has read enough.
    #[error("nobody reads any more")]
    Closed,
    /// The text is lost: a full disk behind a redirection, for one.
    #[error("cannot write: {0}")]
    Lost(std::io::Error),
}

/// Prints the text as it is, at once.
///
/// # Errors
/// [`PrintError`].
pub fn out(text: &str) -> anyhow::Result<()> {
    Ok(write(&mut std::io::stdout().lock(), text)?)
}

/// Prints the text and ends the line.
///
/// # Errors
/// [`PrintError`].
pub fn line(text: &str) -> anyhow::Result<()> {
    out(&format!("{text}\n"))
}

fn write(to: &mut impl Write, text: &str) -> Result<(), PrintError> {
    let written = to.write_all(text.as_bytes()).and_then(|()| to.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => PrintError::Closed,
        _ => PrintError::Lost(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_whose_reader_is_gone_is_no_loss() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        write(&mut writer, "read").unwrap();
        drop(reader);
        assert!(matches!(write(&mut writer, "not read"), Err(PrintError::Closed)));
    }

    #[test]
    fn a_full_disk_is_one() {
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = write(&mut full, "lost").unwrap_err();
        assert!(error.to_string().starts_with("cannot write: No space left"), "{error}");
    }
}
