//! `weir-bench`: whole proxies measured between network namespaces, instructions counted, the soak,
//! and the report of it all. `./x bench` runs everything; see the subcommands for the parts.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

mod agent;
mod candidate;
mod cost;
mod decode;
mod exporters;
mod instructions;
mod latency;
mod pair;
mod plot;
mod programs;
mod relay;
mod report;
mod results;
mod soak;

/// weir's benchmarks that Criterion cannot do
#[derive(Debug, Parser)]
enum Word {
    /// Instructions a record of the engine, by callgrind
    Instructions,
    /// Records a second of the slave's decoder and of its peers, and its instructions a record
    Decode,
    /// CPU time a packet of the ways through the kernel
    Kernel,
    /// CPU time a packet of weir and its peers, at zero loss
    Peers,
    /// Latency that the proxy adds, below and at saturation
    Latency,
    /// A whole topology under load while everything changes
    Soak {
        /// How long, minutes
        #[arg(default_value_t = 10)]
        minutes: u64,
    },
    /// Writes what was measured into benches/RESULTS.md and benches/plots/
    Report,
    /// The exporters' and slaves' side of a measurement
    #[command(hide = true)]
    Agent(agent::Arguments),
    /// Holds an XDP program on the proxy's device
    #[command(hide = true)]
    Hold { program: String },
    /// A sendto relay in the proxy's place
    #[command(hide = true)]
    Relay(relay::Arguments),
    /// What runs under callgrind
    #[command(hide = true)]
    Count {
        point: usize,
        #[arg(long)]
        beside: Option<usize>,
    },
    /// What runs under callgrind of the slave's decoder
    #[command(hide = true)]
    CountDecode { format: usize },
}

fn main() -> ExitCode {
    match run(Word::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(word: Word) -> Result<ExitCode> {
    match word {
        Word::Agent(arguments) => agent::run(&arguments)?,
        Word::Hold { program } => hold(&program)?,
        Word::Relay(arguments) => relay::run(&arguments)?,
        Word::Count { point, beside } => instructions::run(point, beside)?,
        Word::CountDecode { format } => decode::run(format)?,
        Word::Instructions => instructions::instructions()?,
        Word::Decode => decode::decode()?,
        Word::Report => report::report()?,
        Word::Kernel if can_run("kernel") => cost::kernel()?,
        Word::Peers if can_run("peers") => cost::peers()?,
        Word::Latency if can_run("latency") => latency::latency()?,
        Word::Soak { minutes } if can_run("soak") => return soak::soak(minutes),
        Word::Kernel | Word::Peers | Word::Latency | Word::Soak { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether namespaces and a core for each side can be had; says why not.
fn can_run(what: &str) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let is_root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if !is_root {
        println!("{what} skipped: needs root, for network namespaces and XDP");
    } else if cores < 2 {
        println!("{what} skipped: needs two cores, one for the proxy alone");
    }
    let can = is_root && cores >= 2 && is_alone(what);
    if can {
        // From now on a signal ends a measurement in order: what it made is taken down.
        if let Err(error) = weir_controlplane::lab::obey_signals() {
            println!("what {what} makes stays when a signal ends it: {error}");
        }
        // Where the system shares the cores out by session, this one goes first.
        let _unknown_to_this_kernel = std::fs::write("/proc/self/autogroup", "-20");
    }
    can
}

/// Whether nobody else measures on this machine; until this process ends, nobody else will.
fn is_alone(what: &str) -> bool {
    let path = std::env::temp_dir().join("weir-bench.lock");
    let locked = std::fs::File::create(&path).map(|file| {
        let locked = file.try_lock().is_ok();
        // Closing it would give the lock up.
        std::mem::forget(file);
        locked
    });
    let alone = locked.unwrap_or(false);
    if !alone {
        println!("{what} skipped: another weir-bench holds {}", path.display());
    }
    alone
}

/// Keeps a program attached until this process is killed.
fn hold(program: &str) -> Result<()> {
    let mut programs = programs::Programs::load()?;
    programs.attach(program, pair::RIGHT).context("holding a program")?;
    println!("ready");
    loop {
        std::thread::park();
    }
}
