//! The unit that the console speaks to: `-M HOST[:PORT]`.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, anyhow};
use weir_rpc::{CONTROL_PORT, QUERY_PORT};

use super::exit::UsageError;

/// Resolves `HOST`, `HOST:PORT`, `ADDRESS`, `[ADDRESS6]:PORT`; the port is 4210 where none is given.
///
/// # Errors
/// When the name does not resolve, or the port is the one for control.
pub(super) async fn resolve(text: &str) -> anyhow::Result<SocketAddr> {
    let address = look_up(text).await?;
    if address.port() == CONTROL_PORT {
        let words = format!("{text}: that is the control port; questions go to {QUERY_PORT}");
        return Err(UsageError(words).into());
    }
    Ok(address)
}

async fn look_up(text: &str) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, QUERY_PORT));
    }
    let with_port =
        if text.contains(':') { text.to_owned() } else { format!("{text}:{QUERY_PORT}") };
    tokio::net::lookup_host(&with_port)
        .await
        .with_context(|| format!("cannot resolve {text:?}: give an address, or HOST:PORT"))?
        .next()
        .ok_or_else(|| anyhow!("{text:?} has no address"))
}

/// What to do when the unit cannot be spoken to.
pub(super) fn advice(error: crate::error::Error, address: SocketAddr) -> anyhow::Error {
    match error {
        crate::error::Error::Connect { .. } => anyhow!(
            "{error}; is the unit running there? (`-M` takes the master's address, port {QUERY_PORT} unless given)"
        ),
        other => anyhow!("{address}: {other}"),
    }
}
