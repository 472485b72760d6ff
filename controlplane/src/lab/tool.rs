//! Running a system tool to its end, and saying what it said when it fails.

use std::io::Write;
use std::process::{Command, Stdio};

use super::Error;

/// The command as one would type it.
pub fn typed(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Runs it with `input` on stdin; returns what it wrote to stdout.
///
/// # Errors
/// When it cannot be started or ends with another code than 0.
pub fn run_with(command: &mut Command, input: &str) -> Result<String, Error> {
    let failed =
        |command: &Command, reason: String| Error::Tool { command: typed(command), reason };
    let started =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.map_err(|error| failed(command, error.to_string()))?;
    // A tool that ends early closes the pipe; its exit code and stderr tell more than the write.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(|error| failed(command, error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let reason = if said.is_empty() { output.status.to_string() } else { said.to_owned() };
    Err(failed(command, reason))
}

/// [`run_with`] nothing on stdin.
///
/// # Errors
/// As [`run_with`].
pub fn run(command: &mut Command) -> Result<String, Error> {
    run_with(command, "")
}

/// Whether the program is in the search path.
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Administrators' tools are not in an ordinary user's path on Debian.
    let system = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_tool_says_what_it_was_and_why() {
        let error = run(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c echo broken >&2; exit 3` failed: broken");
    }

    #[test]
    fn input_reaches_the_tool() {
        assert_eq!(run_with(&mut Command::new("cat"), "a\nb\n").unwrap(), "a\nb\n");
    }

    #[test]
    fn a_missing_program_is_known_missing() {
        assert!(exists("sh"));
        assert!(!exists("no-such-program-anywhere"));
    }
}
