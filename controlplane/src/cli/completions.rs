//! `weir completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::exit::Outcome;
use super::out::out;

/// `weir completions --help`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  weir completions bash > /etc/bash_completion.d/weir")]
pub struct Arguments {
    /// The shell to complete for
    shell: Shell,
}

/// Writes the script to stdout.
///
/// # Errors
/// When stdout takes no more.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "weir", &mut script);
    out(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}
