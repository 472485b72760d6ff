//! The calling side: connections that notice when their peer is gone, and deadlines on every call.

use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use capnp::capability::FromClientHook;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use futures::AsyncRead;
use futures::io::BufReader;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use super::listener::tune;
use super::{CONNECT_DEADLINE, reader_options};
use crate::error::{Error, brief_io};

/// A TCP connection with an RPC system on it; dropping it closes the connection.
pub struct Transport {
    system: JoinHandle<()>,
    open: watch::Receiver<()>,
    heard: Rc<Cell<Instant>>,
}

impl Transport {
    /// Connects within [`CONNECT_DEADLINE`] and returns the peer's bootstrap interface. Messages
    /// over `message_bytes` end the connection. Runs on the RPC thread's `LocalSet`.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn connect<C: FromClientHook>(
        address: SocketAddr,
        message_bytes: usize,
    ) -> Result<(Transport, C), Error> {
        let refused = |reason: String| Error::Connect { address, reason };
        let stream = tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(address))
            .await
            .map_err(|_| refused(format!("no answer within {} ms", CONNECT_DEADLINE.as_millis())))?
            .map_err(|error| refused(brief_io(&error)))?;
        tune(&stream).map_err(refused)?;
        let heard = Rc::new(Cell::new(Instant::now()));
        let (reader, writer) = stream.into_split();
        let network = twoparty::VatNetwork::new(
            BufReader::new(Heard { inner: reader.compat(), heard: heard.clone() }),
            writer.compat_write(),
            Side::Client,
            reader_options(message_bytes),
        );
        let mut system = RpcSystem::new(Box::new(network), None);
        let client = system.bootstrap(Side::Server);
        let (ended, open) = watch::channel(());
        let system = tokio::task::spawn_local(async move {
            // How it ends is what its calls are told.
            drop(system.await);
            drop(ended);
        });
        Ok((Transport { system, open, heard }, client))
    }

    /// Waits for a call's answer.
    ///
    /// # Errors
    /// [`Error::Deadline`], [`Error::Lost`], or [`Error::Refused`] with the peer's own words.
    pub async fn call<T>(
        &self,
        what: &'static str,
        deadline: Duration,
        promise: impl Future<Output = Result<T, capnp::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(deadline, promise).await {
            Err(_) => Err(Error::Deadline { what, after: deadline }),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(explain(what, error)),
        }
    }

    /// Whether the connection is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.system.is_finished()
    }

    /// Waits until the connection is gone.
    pub async fn closed(&self) {
        // Nothing is ever sent: the sender's end is the message.
        let _ = self.open.clone().changed().await;
    }

    /// How long the peer has sent nothing.
    pub fn silent_for(&self) -> Duration {
        self.heard.get().elapsed()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.system.abort();
    }
}

/// capnp-rpc hands the server's own errors over with this prefix; others are the connection's.
const REMOTE: &str = "remote exception: ";

fn explain(what: &'static str, error: capnp::Error) -> Error {
    match error.extra.strip_prefix(REMOTE) {
        Some(words) if error.kind != capnp::ErrorKind::Disconnected => {
            Error::Refused(words.trim_start_matches("Failed: ").to_owned())
        }
        _ if error.kind == capnp::ErrorKind::Unimplemented => {
            Error::Refused(format!("{what}: the unit runs an older weir that cannot do this"))
        }
        _ => Error::Lost { what, reason: "closed by the peer".into() },
    }
}

/// The receiving half of a connection: notes when bytes come.
struct Heard<R> {
    inner: R,
    heard: Rc<Cell<Instant>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Heard<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        let read = Pin::new(&mut self.inner).poll_read(context, bytes);
        if matches!(read, Poll::Ready(Ok(1..))) {
            self.heard.set(Instant::now());
        }
        read
    }
}
