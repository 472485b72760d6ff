//! The left side: a process that sends as exporters do and counts what slaves would get.
//!
//! It runs in the left namespace for as long as one candidate is measured, and does what it is told
//! line by line on its stdin.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use weir_benches::traffic::{Load, Protocol};

use crate::exporters::Exporters;
use crate::pair::Pair;
use crate::programs::Sunk;

/// What the agent is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Every source tells its templates.
    Templates,
    /// New sources send their templates and a data packet each.
    Appear { first: u32, count: u32 },
    /// Sends data packets: at a rate, or as fast as it can.
    Run { rate: Option<f64>, seconds: f64 },
    /// What has come back.
    Sunk,
    /// Latency of the records that came back, as values and counts.
    Latency,
}

/// How an agent is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) load: Load,
    pub(crate) sources: u32,
    /// Whether records bear the time at which they were sent.
    pub(crate) stamped: bool,
    /// Whether what slaves would get goes on to real slaves.
    pub(crate) pass: bool,
}

/// `weir-bench agent`: the process itself.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    protocol: String,
    #[arg(long)]
    pub(crate) sources: u32,
    #[arg(long)]
    pub(crate) stamped: bool,
    #[arg(long)]
    pub(crate) pass: bool,
    #[arg(long)]
    pub(crate) from_mac: String,
    #[arg(long)]
    pub(crate) to_mac: String,
}

/// A running agent.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Agent {
    pub(crate) fn start(pair: &Pair, traffic: &Traffic) -> Result<Agent> {
        let mut command = pair.command(true, std::env::current_exe()?);
        command.args(["agent", "--protocol", traffic.load.name()]);
        command.args(["--sources", &traffic.sources.to_string()]);
        command.args(["--from-mac", &pair.mac(true)?, "--to-mac", &pair.mac(false)?]);
        if traffic.stamped {
            command.arg("--stamped");
        }
        if traffic.pass {
            command.arg("--pass");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().context("its stdin is piped")?;
        let stdout = BufReader::new(child.stdout.take().context("its stdout is piped")?);
        let mut agent = Agent { child, stdin, stdout };
        let ready: String = agent.answer()?;
        anyhow::ensure!(ready == "ready", "the agent said {ready}");
        Ok(agent)
    }

    fn answer<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("the generator's process ended");
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn ask<T: serde::de::DeserializeOwned>(&mut self, ask: &Ask) -> Result<T> {
        writeln!(self.stdin, "{}", serde_json::to_string(ask)?)?;
        self.answer()
    }

    /// Every source tells its templates.
    pub(crate) fn templates(&mut self) -> Result<u64> {
        self.ask(&Ask::Templates)
    }

    /// Sources beyond the steady ones, by their index, send a template and a data packet each.
    pub(crate) fn appear(&mut self, first: u32, count: u32) -> Result<u64> {
        self.ask(&Ask::Appear { first, count })
    }

    /// Sends data packets; returns how many.
    pub(crate) fn run(&mut self, rate: Option<f64>, seconds: f64) -> Result<u64> {
        self.ask(&Ask::Run { rate, seconds })
    }

    /// What slaves got so far, by their last octet.
    pub(crate) fn sunk(&mut self) -> Result<Vec<(u8, Sunk)>> {
        self.ask(&Ask::Sunk)
    }

    /// What all slaves got so far.
    pub(crate) fn sum(&mut self) -> Result<Sunk> {
        Ok(self.sunk()?.into_iter().fold(Sunk::default(), |sum, (_, one)| sum + one))
    }

    /// Latency of the records so far, nanoseconds.
    pub(crate) fn latency(&mut self) -> Result<Histogram<u64>> {
        let values: Vec<(u64, u64)> = self.ask(&Ask::Latency)?;
        let mut histogram = Histogram::new(3)?;
        for (value, count) in values {
            histogram.record_n(value, count)?;
        }
        Ok(histogram)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs an agent until its stdin ends.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let protocol = match arguments.protocol.as_str() {
        "v5" => Protocol::V5,
        "v9" => Protocol::V9,
        "ipfix" => Protocol::Ipfix,
        other => bail!("no protocol {other}"),
    };
    // What ends a run of the generator must not end the process.
    let heard = std::sync::Arc::default();
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, heard)?;
    let mut exporters = Exporters::new(arguments, Load::peers(protocol))?;
    say(&"ready")?;
    for line in std::io::stdin().lock().lines() {
        match serde_json::from_str(&line?)? {
            Ask::Templates => say(&exporters.tell_templates()?)?,
            Ask::Appear { first, count } => say(&exporters.appear(first, count)?)?,
            Ask::Run { rate, seconds } => say(&exporters.send(rate, seconds)?)?,
            Ask::Sunk => say(&exporters.programs().sunk()?)?,
            Ask::Latency => {
                let histogram = exporters.programs().latency()?;
                let values = histogram.iter_recorded();
                let values: Vec<(u64, u64)> = values
                    .map(|value| (value.value_iterated_to(), value.count_at_value()))
                    .collect();
                say(&values)?;
            }
        }
    }
    Ok(())
}

fn say(what: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(std::io::stdout().flush()?)
}
