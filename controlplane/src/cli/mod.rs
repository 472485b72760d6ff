//! The console: one file a subcommand, and what they share.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod completions;
pub mod decode;
pub mod demo;
pub mod exit;
pub mod logging;
pub mod out;
pub mod paint;
mod peer;
pub mod query;
pub mod reload;
pub mod replay;
pub mod status;
pub mod table;
pub mod topology;
pub mod unit;
pub mod window;

use exit::Outcome;

const EXAMPLES: &str = "\
Examples:
  weir slave  --topology weir.toml --unit s1 --dir /var/lib/weir
  weir proxy  --topology weir.toml --unit p1 --device eth0
  weir master --topology weir.toml --unit m1
  weir query  -M 10.0.0.1 'proto tcp and dst port 443' -s dstip/bytes -n 10
  weir status -M 10.0.0.1

Exit codes:
  0  done
  1  failed: the reason and what to do about it are on stderr
  2  usage: an option, a filter or a topology file that makes no sense
  3  partial: the answer is right for the units that answered, but not all did";

/// The command line of `weir`.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    about = "weir: a distributed collector of NetFlow and IPFIX",
    after_help = EXAMPLES,
    max_term_width = 100
)]
pub struct Cli {
    /// Log level on stderr: error, warn, info, debug, trace, or a filter such as
    /// `info,weir_controlplane::role=debug` [default: $WEIR_LOG, else info]
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<String>,

    #[command(subcommand)]
    command: Command,
}

/// The subcommands, one file each.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run a master: asks the proxies and answers the console
    Master(unit::MasterArguments),
    /// Run a proxy: receives from exporters and deals to slaves
    Proxy(unit::ProxyArguments),
    /// Run a slave: collects, stores and answers
    Slave(unit::SlaveArguments),
    /// Ask about flows, in nfdump's words
    Query(query::Arguments),
    /// Show how all units are, and whether anything is lost
    Status(status::Arguments),
    /// Have units read their topology file again
    Reload(reload::Arguments),
    /// Look at a topology file
    Topology(topology::Arguments),
    /// Send exporters' packets again: captures or generated ones
    Replay(replay::Arguments),
    /// Show what a capture's packets say, field by field, and what is wrong with them
    Decode(decode::Arguments),
    /// Watch a whole topology work on this machine
    Demo(demo::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
}

/// Parses the command line, runs the subcommand, and says how it ended.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = logging::start(cli.log.as_deref()) {
        eprintln!("weir: {error:#}");
        return Outcome::Usage.into();
    }
    let outcome = match cli.command {
        Command::Master(arguments) => unit::run_master(arguments),
        Command::Proxy(arguments) => unit::run_proxy(arguments),
        Command::Slave(arguments) => unit::run_slave(arguments),
        Command::Query(arguments) => query::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Reload(arguments) => reload::run(&arguments),
        Command::Topology(arguments) => topology::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Decode(arguments) => decode::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    };
    match outcome {
        Ok(outcome) => outcome.into(),
        Err(error) => exit::report(&error).into(),
    }
}
