//! A slave's lease: the control connection by which its proxy knows that it lives.
//!
//! The proxy attaches and then pings. The lease is lost at once when the connection ends, and when a
//! ping stays unanswered; then no more records are dealt to the slave. While it is lost the proxy
//! tries again without growing patience, because what a slave misses is not made up for.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::Error;
use crate::random;
use crate::service::control::{ControlClient, Identity};

/// Between two pings.
const PING_EVERY: Duration = Duration::from_millis(200);

/// A ping that is not answered within this ends the lease.
const PING_DEADLINE: Duration = Duration::from_millis(600);

/// The longest pause between two attempts; each is drawn from half of it up.
const RETRY: Duration = Duration::from_millis(250);

/// Keeps the lease of the slave whose control port is at `address` until the future is dropped.
/// `changed` is told what speaks against the slave, and `None` when its connection stands.
pub async fn keep(address: SocketAddr, identity: &Identity, changed: impl Fn(Option<String>)) {
    loop {
        match ControlClient::attach(address, identity).await {
            Ok(client) => {
                changed(None);
                let error = hold(&client).await;
                changed(Some(error.brief()));
            }
            Err(error) => changed(Some(error.brief())),
        }
        tokio::time::sleep(random::jittered(RETRY)).await;
    }
}

/// Pings until the lease is lost; why it was.
async fn hold(client: &ControlClient) -> Error {
    let closed = || Error::Lost { what: "ping", reason: "closed by the slave".into() };
    loop {
        if let Err(error) = client.ping(PING_DEADLINE).await {
            return error;
        }
        tokio::select! {
            () = tokio::time::sleep(PING_EVERY) => {}
            () = client.closed() => return closed(),
        }
    }
}
