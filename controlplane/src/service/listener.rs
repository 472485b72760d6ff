//! A listener: accepts connections within bounds and serves each with the bootstrap interface.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use futures::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};
use tracing::{debug, info, warn};

use super::guard::{Account, Guarded, Watched};
use super::{DEAD_PEER, Limits, reader_options};
use crate::error::{Error, brief_io};

/// How often a connection's account is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How long a broken connection gets to tell its peer why.
const FAREWELL: Duration = Duration::from_millis(200);

/// What a unit's listeners have seen, for `weir status`.
#[derive(Debug, Default)]
pub struct ServiceCounters {
    /// Connections open now.
    pub connections: AtomicU64,
    /// Connections accepted since the start.
    pub accepted: AtomicU64,
    /// Connections closed at once because too many were open.
    pub refused: AtomicU64,
    /// Connections closed for garbage, oversize, too many calls, or silence.
    pub broken: AtomicU64,
}

/// A bound TCP port, not yet served.
pub struct Listener {
    what: &'static str,
    limits: Limits,
    socket: TcpListener,
    counters: Rc<ServiceCounters>,
}

impl Listener {
    /// Binds `address`; `what` names the port in errors and logs.
    ///
    /// # Errors
    /// [`Error::Bind`].
    pub async fn bind(
        what: &'static str,
        address: SocketAddr,
        limits: Limits,
        counters: Rc<ServiceCounters>,
    ) -> Result<Listener, Error> {
        let socket = TcpListener::bind(address).await.map_err(|source| Error::Bind {
            what,
            address,
            source,
        })?;
        Ok(Listener { what, limits, socket, counters })
    }

    /// The bound address; for port 0 the port that the system chose.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves every connection with `bootstrap` until the future is dropped, which also closes the
    /// connections. Runs on the RPC thread's `LocalSet`.
    pub async fn serve(self, bootstrap: capnp::capability::Client) {
        let mut open = tokio::task::JoinSet::new();
        loop {
            while open.try_join_next().is_some() {}
            let (stream, peer) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: the next moment may have some.
                    warn!(port = self.what, %error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            while open.try_join_next().is_some() {}
            self.counters.accepted.fetch_add(1, Ordering::Relaxed);
            if open.len() >= self.limits.connections {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                debug!(port = self.what, %peer, limit = self.limits.connections, "connection refused: too many");
                continue;
            }
            let connection = Connection {
                what: self.what,
                peer,
                limits: self.limits,
                counters: self.counters.clone(),
            };
            open.spawn_local(connection.serve(stream, bootstrap.clone()));
        }
    }
}

/// One accepted connection.
struct Connection {
    what: &'static str,
    peer: SocketAddr,
    limits: Limits,
    counters: Rc<ServiceCounters>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, bootstrap: capnp::capability::Client) {
        let _open = Open::new(self.counters.clone());
        if let Err(error) = tune(&stream) {
            debug!(port = self.what, peer = %self.peer, %error, "connection gone before it was served");
            return;
        }
        let account = Account::new(self.limits.calls, self.limits.idle);
        let (reader, writer) = stream.into_split();
        let network = twoparty::VatNetwork::new(
            BufReader::new(reader.compat()),
            Watched::new(writer.compat_write(), account.clone()),
            Side::Server,
            reader_options(self.limits.message_bytes),
        );
        let network = Guarded::new(network, account.clone());
        let mut system = RpcSystem::new(Box::new(network), Some(bootstrap));
        let reason = tokio::select! {
            ended = &mut system => match ended {
                Ok(()) => account.verdict(Instant::now()),
                Err(error) => Some(account.verdict(Instant::now()).unwrap_or(error.extra)),
            },
            reason = condemned(&account) => {
                let _ = tokio::time::timeout(FAREWELL, &mut system).await;
                Some(reason)
            }
        };
        match reason {
            None => debug!(port = self.what, peer = %self.peer, "connection ended"),
            Some(reason) => {
                self.counters.broken.fetch_add(1, Ordering::Relaxed);
                info!(port = self.what, peer = %self.peer, %reason, "connection closed");
            }
        }
    }
}

/// Resolves when the account says that the connection must end, with the reason.
async fn condemned(account: &Account) -> String {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Some(reason) = account.verdict(Instant::now()) {
            return reason;
        }
    }
}

/// Counts a connection for as long as it lives.
struct Open(Rc<ServiceCounters>);

impl Open {
    fn new(counters: Rc<ServiceCounters>) -> Self {
        counters.connections.fetch_add(1, Ordering::Relaxed);
        Open(counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sets a TCP connection up so that a peer that vanished is noticed within [`DEAD_PEER`].
pub(crate) fn tune(stream: &TcpStream) -> Result<(), String> {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(DEAD_PEER / 2)
        .with_interval(DEAD_PEER / 5)
        .with_retries(2);
    socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(DEAD_PEER)))
        .map_err(|error| brief_io(&error))
}
