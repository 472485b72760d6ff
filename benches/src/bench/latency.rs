//! Latency that a proxy adds, seen from outside: the generator writes the time into every record,
//! the sink compares it with the time at which the record comes back.
//!
//! The floor is a device that turns every frame round, without a proxy: the same two cables.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use weir_benches::is_quick;
use weir_benches::traffic::{Load, Protocol};
use weir_controlplane::lab::pause;

use crate::agent::Traffic;
use crate::candidate::Candidate;
use crate::cost::{Bench, SLAVES, SOURCES};
use crate::pair::Pair;
use crate::results;

/// Shares of the highest rate without loss.
const SHARES: [f64; 3] = [0.1, 0.5, 1.0];

/// One row: nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) candidate: String,
    pub(crate) share: f64,
    /// Packets a second.
    pub(crate) rate: f64,
    pub(crate) lost_records: u64,
    pub(crate) records: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
}

/// Measures all candidates.
pub(crate) fn latency() -> Result<()> {
    let pair = Pair::new(SLAVES, Duration::ZERO)?;
    let load = Load::peers(Protocol::V9);
    let traffic = Traffic { load, sources: SOURCES, stamped: true, pass: false };
    let seconds = if is_quick() { 1.0 } else { 5.0 };
    let mut rows = Vec::new();
    for candidate in [
        Candidate::Bounce,
        Candidate::Weir("flow-source", "afxdp"),
        Candidate::Weir("round-robin", "afxdp"),
        Candidate::Weir("round-robin", "socket"),
    ] {
        let mut bench = Bench::start(candidate, &pair, &traffic)?;
        let saturation = bench.saturation()?;
        for share in SHARES {
            pause(Duration::from_millis(200))?;
            let before = bench.agent.latency()?;
            let trial = bench.send(Some(share * saturation), seconds)?;
            let mut records = bench.agent.latency()?;
            records.subtract(before)?;
            let row = row(candidate, share, &trial, &records);
            println!(
                "{} at {:.0} %: p50 {} µs, p99 {} µs, p99.9 {} µs",
                row.candidate,
                100.0 * share,
                row.p50 / 1_000,
                row.p99 / 1_000,
                row.p999 / 1_000
            );
            rows.push(row);
        }
    }
    results::save("latency", &rows)
}

fn row(
    candidate: Candidate,
    share: f64,
    trial: &crate::cost::Trial,
    records: &Histogram<u64>,
) -> Latency {
    let name = match candidate {
        Candidate::Bounce => "no proxy: frames turned round".into(),
        other => other.name(),
    };
    Latency {
        candidate: name,
        share,
        rate: trial.sent as f64 / trial.seconds,
        lost_records: trial.lost(),
        records: records.len(),
        p50: records.value_at_quantile(0.5),
        p99: records.value_at_quantile(0.99),
        p999: records.value_at_quantile(0.999),
    }
}
