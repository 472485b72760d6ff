//! Instructions of the engine per record, counted by callgrind: the figure that can be compared from
//! machine to machine, and between two commits on a busy one.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};
use weir_benches::engine::{Engine, points};
use weir_benches::is_quick;
use weir_controlplane::lab::tool;

use crate::results;

/// Bursts before counting begins: tables are full, messages open.
const WARM_BURSTS: u32 = 20;
const BURSTS: u32 = 20;

/// Counts at every point of the sweep.
pub(crate) fn instructions() -> Result<()> {
    if !tool::exists("valgrind") {
        println!("instructions skipped: valgrind is not installed");
        return Ok(());
    }
    let mut counts = BTreeMap::new();
    for (at, point) in points().into_iter().enumerate() {
        if is_quick() && point.sources > 10_000 {
            continue;
        }
        let count = count(at).with_context(|| point.name())?;
        let records = u64::from(BURSTS) * Engine::new(&point).records();
        let each = count as f64 / records as f64;
        println!("{}: {each:.1} instructions a record", point.name());
        counts.insert(point.name(), each);
    }
    results::save("instructions", &counts)
}

/// Runs this program under callgrind.
fn count(point: usize) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"]);
    command.arg("--toggle-collect=*Engine*measured*").arg(std::env::current_exe()?);
    let output = command.args(["count", &point.to_string()]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find_map(|line| line.split_once("Collected : "));
    let (_, count) = line.with_context(|| format!("callgrind said: {said}"))?;
    Ok(count.trim().parse()?)
}

/// What runs under callgrind.
pub(crate) fn run(point: usize) -> Result<()> {
    let point = *points().get(point).context("no such point")?;
    let mut engine = Engine::new(&point);
    (0..WARM_BURSTS).for_each(|_| engine.burst());
    engine.measured(BURSTS);
    Ok(())
}
