//! What was measured, as files between the measuring and the report.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Beside the built programs, where no repository keeps it.
fn path(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("a program stands in a folder")?.join("bench-results");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join(format!("{name}.json")))
}

pub(crate) fn save(name: &str, what: &impl Serialize) -> Result<()> {
    Ok(std::fs::write(path(name)?, serde_json::to_string_pretty(what)?)?)
}

/// What an earlier run has saved; none when there was none.
pub(crate) fn load<T: DeserializeOwned>(name: &str) -> Option<T> {
    let text = std::fs::read_to_string(path(name).ok()?).ok()?;
    serde_json::from_str(&text).ok()
}
