//! A slave's lease: the control connection by which its proxy knows that it lives.
//!
//! The proxy attaches and then pings. The lease is lost at once when the connection ends, and when a
//! ping stays unanswered; then no more records are dealt to the slave. While it is lost the proxy
//! tries again without growing patience, because what a slave misses is not made up for.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Duration;

use weir_dataplane::Timestamp;

use crate::error::Error;
use crate::random;
use crate::service::control::{ControlClient, Identity};

/// Between two pings.
const PING_EVERY: Duration = Duration::from_millis(200);

/// A ping that is not answered within this ends the lease.
const PING_DEADLINE: Duration = Duration::from_millis(600);

/// The longest pause between two attempts; each is drawn from half of it up.
const RETRY: Duration = Duration::from_millis(250);

/// The lease of one slave, and what `weir status` shows of it.
pub struct Lease {
    name: String,
    address: SocketAddr,
    held: Cell<bool>,
    reason: RefCell<String>,
    changed_ms: Cell<u64>,
    losses: Cell<u64>,
}

impl Lease {
    /// Not held yet; `address` is the slave's control port. An external slave has no control port:
    /// its lease is always held and not kept.
    pub fn new(name: &str, address: SocketAddr, external: bool) -> Self {
        let reason = if external { "" } else { "not attached yet" };
        Lease {
            name: name.to_owned(),
            address,
            held: Cell::new(external),
            reason: RefCell::new(reason.to_owned()),
            changed_ms: Cell::new(Timestamp::now().0),
            losses: Cell::new(0),
        }
    }

    /// Whether the slave may get records.
    pub fn is_held(&self) -> bool {
        self.held.get()
    }

    /// Why not; empty when it may.
    pub fn reason(&self) -> String {
        self.reason.borrow().clone()
    }

    /// Since when, ms since 1970.
    pub fn changed_ms(&self) -> u64 {
        self.changed_ms.get()
    }

    /// How often it was lost.
    pub fn losses(&self) -> u64 {
        self.losses.get()
    }

    /// Keeps the lease until the future is dropped; tells `changed` of every change first.
    pub async fn keep(&self, identity: &Identity, changed: impl AsyncFn(bool)) {
        loop {
            match ControlClient::attach(self.address, identity).await {
                Ok(client) => {
                    changed(true).await;
                    self.note(true, String::new());
                    let error = hold(&client).await;
                    changed(false).await;
                    self.losses.set(self.losses.get() + 1);
                    self.note(false, error.brief());
                }
                Err(error) => self.note(false, error.brief()),
            }
            tokio::time::sleep(random::jittered(RETRY)).await;
        }
    }

    fn note(&self, held: bool, reason: String) {
        if self.held.get() == held && *self.reason.borrow() == reason {
            return;
        }
        if held {
            tracing::info!(slave = %self.name, address = %self.address, "slave attached");
        } else {
            tracing::warn!(slave = %self.name, address = %self.address, %reason, "slave away: it gets no records");
        }
        if self.held.replace(held) != held {
            self.changed_ms.set(Timestamp::now().0);
        }
        *self.reason.borrow_mut() = reason;
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
