//! Instructions of the engine per record, counted by callgrind: the figure that can be compared from
//! machine to machine, and between two commits on a busy one.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};
use weir_benches::engine::{Engine, points};
use weir_benches::hostile::{Attack, HONEST, Hostile, honest};
use weir_benches::is_quick;
use weir_controlplane::lab::tool;

use crate::results;

/// Bursts before counting begins: tables are full, messages open.
const WARM_BURSTS: u32 = 20;
const BURSTS: u32 = 20;
/// The name of no hostile exporter.
pub(crate) const NOBODY: &str = "nobody";

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
        let count = count(ENGINE, &["count", &at.to_string()]).with_context(|| point.name())?;
        let records = u64::from(BURSTS) * Engine::new(&point).records();
        let each = count as f64 / records as f64;
        println!("{}: {each:.1} instructions a record", point.name());
        counts.insert(point.name(), each);
    }
    for at in 0..=Hostile::ALL.len() {
        let count = count(ENGINE, &["count", "0", "--beside", &at.to_string()])?;
        let each = count as f64 / (u64::from(BURSTS) * Engine::new(&HONEST).records()) as f64;
        let name = beside(at).map_or(NOBODY, Hostile::name);
        println!("honest, beside {name}: {each:.1} instructions a record");
        counts.insert(name.into(), each);
    }
    results::save("instructions", &counts)
}

/// The hostile exporter of this number; 0 is nobody.
fn beside(at: usize) -> Option<Hostile> {
    Hostile::ALL.get(at.checked_sub(1)?).copied()
}

/// What is counted of the engine.
const ENGINE: &str = "*Engine*measured*";

/// Runs this program with these words under callgrind, which counts in the function `measured`.
pub(crate) fn count(measured: &str, words: &[&str]) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"]);
    command.arg(format!("--toggle-collect={measured}")).arg(std::env::current_exe()?);
    let output = command.args(words).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find_map(|line| line.split_once("Collected : "));
    let (_, count) = line.with_context(|| format!("callgrind said: {said}"))?;
    Ok(count.trim().parse()?)
}

/// What runs under callgrind: a point of the sweep, or honest sources beside a hostile one.
pub(crate) fn run(point: usize, hostile: Option<usize>) -> Result<()> {
    if let Some(at) = hostile {
        let mut engine = honest();
        let mut attack = beside(at).map(Attack::new);
        for _ in 0..BURSTS {
            attack.iter_mut().for_each(|attack| attack.burst(&mut engine));
            engine.measured(1);
        }
        return Ok(());
    }
    let point = *points().get(point).context("no such point")?;
    let mut engine = Engine::new(&point);
    (0..WARM_BURSTS).for_each(|_| engine.burst());
    engine.measured(BURSTS);
    Ok(())
}
