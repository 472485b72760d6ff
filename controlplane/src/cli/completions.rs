//! `weir completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::exit::Outcome;

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
/// None so far; the signature is every subcommand's.
pub fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    clap_complete::generate(arguments.shell, &mut Cli::command(), "weir", &mut std::io::stdout());
    Ok(Outcome::Done)
}
