//! Logs on stderr, so that stdout holds answers only.

use std::io::IsTerminal;

use anyhow::{Context, bail};
use tracing_subscriber::EnvFilter;

/// Starts logging at `level`, else at `$WEIR_LOG`, else at `info`.
///
/// # Errors
/// When the level is no filter that tracing understands.
pub fn start(level: Option<&str>) -> anyhow::Result<()> {
    let from_environment = std::env::var("WEIR_LOG").ok();
    let level = level.or(from_environment.as_deref()).unwrap_or("info");
    // A word that is no level would be taken for the name of a target, and silence all others.
    let is_word = !level.contains(['=', ',']);
    if is_word && level.parse::<tracing::level_filters::LevelFilter>().is_err() {
        bail!("no log level {level:?}: try error, warn, info, debug or trace");
    }
    let filter = EnvFilter::try_new(level).with_context(|| {
        format!("no log level {level:?}: try error, warn, info, debug or trace")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .init();
    Ok(())
}
