//! One connection's life: who it is, its messages one after the other, its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use weir_dataplane::Timestamp;
use weir_dataplane::connection::{Arrival, Refused, Verdict};

use super::counters::End;
use super::frames::{Ended, Frames, Patience};
use super::table::Open;
use super::tls::Tls;
use super::{Port, Shared, stopped};

/// How long agreeing on TLS may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a message may take from its first byte to its last.
const MESSAGE: Duration = Duration::from_secs(60);

/// How often a full queue is tried again.
const RETRY: Duration = Duration::from_millis(1);

/// How long a connection is still read when the unit stops (RFC 7011, Section 10.4.4).
const FAREWELL: Duration = Duration::from_millis(500);

/// A peer that answers no longer is found out after this silence ...
const KEEPALIVE: Duration = Duration::from_secs(60);
/// ... by so many probes ...
const PROBES: u32 = 5;
/// ... so far apart.
const PROBE: Duration = Duration::from_secs(10);

/// Has the system find out peers that are gone without a farewell.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE).with_interval(PROBE).with_retries(PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Serves a connection that has its place, to its end.
pub(super) async fn serve(shared: &Shared, port: &Port, open: &Open, stream: TcpStream) -> Ended {
    if let Err(error) = tune(&stream) {
        return Ended { end: End::Broken, why: error.to_string() };
    }
    if !port.tls {
        return Served { shared, open }.messages(stream).await;
    }
    let Some(tls) = shared.tls() else {
        return Ended { end: End::Handshake, why: "TLS is not configured any more".to_owned() };
    };
    match agree(&tls, open, stream).await {
        Ok(stream) => Served { shared, open }.messages(stream).await,
        Err(ended) => ended,
    }
}

async fn agree(
    tls: &Tls,
    open: &Open,
    stream: TcpStream,
) -> Result<tokio_rustls::server::TlsStream<TcpStream>, Ended> {
    let failed = |why: String| Ended { end: End::Handshake, why };
    let agreed = timeout(HANDSHAKE, tls.acceptor.accept(stream)).await;
    let stream = agreed
        .map_err(|_| failed(format!("no TLS within {} s", HANDSHAKE.as_secs())))?
        .map_err(|error| failed(refusal(&error)))?;
    match tls.name_of(stream.get_ref().1.peer_certificates()) {
        Ok(name) => {
            *open.name.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = name;
            Ok(stream)
        }
        Err(why) => Err(Ended { end: End::NotNamed, why }),
    }
}

/// Why TLS could not be agreed on, for the person who has to mend it.
fn refusal(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("this is no TLS, and the port takes nothing else: {error}")
        }
        Some(rustls::Error::NoCertificatesPresented) => {
            "it showed no certificate, and client_ca asks for one".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(reason)) => {
            format!("its certificate is not accepted: {reason:?}")
        }
        _ => error.to_string(),
    }
}

struct Served<'a> {
    shared: &'a Shared,
    open: &'a Open,
}

impl Served<'_> {
    /// Reads messages until there is none any more; then the worker hears that it has ended.
    async fn messages<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Ended {
        let mut frames = Frames::new(stream);
        let ended = self.read(&mut frames).await;
        let pending = u64::try_from(frames.pending()).unwrap_or(u64::MAX);
        add(&self.shared.counters.bytes_cut, pending);
        self.put(Arrival::End(Arc::clone(&self.open.connection))).await;
        ended
    }

    async fn read<S: AsyncRead + AsyncWrite + Unpin>(&self, frames: &mut Frames<S>) -> Ended {
        let patience = Patience { message: MESSAGE, idle: self.shared.idle() };
        let mut misuses = 0;
        let mut stopping = self.shared.stopping();
        loop {
            let next = tokio::select! {
                biased;
                next = frames.next(patience) => next,
                () = self.open.displaced() => Err(Ended {
                    end: End::Displaced,
                    why: "its place was needed".to_owned(),
                }),
                () = stopped(&mut stopping) => return self.farewell(frames).await,
            };
            let message = match next {
                Ok(message) => message,
                Err(ended) => return ended,
            };
            if let Some(ended) = self.take(message).await {
                return ended;
            }
            misuses = self.tell_misuses(misuses);
        }
    }

    /// Hands a message on; the reason for which it was the last, if it was.
    async fn take(&self, message: Vec<u8>) -> Option<Ended> {
        let bytes = u64::try_from(message.len()).unwrap_or(u64::MAX);
        self.open.last_ms.store(Timestamp::now().0, Ordering::Relaxed);
        if !self.put(Arrival::Message(Arc::clone(&self.open.connection), message)).await {
            add(&self.shared.counters.bytes_cut, bytes);
            return Some(Ended { end: End::Stopped, why: "the packet path has ended".to_owned() });
        }
        for counter in [&self.shared.counters.messages, &self.open.messages] {
            add(counter, 1);
        }
        for counter in [&self.shared.counters.bytes, &self.open.bytes] {
            add(counter, bytes);
        }
        let end = match self.open.connection.verdict() {
            Verdict::Fine => return None,
            Verdict::Malformed => End::Malformed,
            Verdict::Domains => End::Domains,
            Verdict::GaveWay => End::GaveWay,
        };
        Some(Ended { end, why: end.meaning().to_owned() })
    }

    /// Waits for room, in which time the exporter's own window fills. False when nobody takes any
    /// more.
    async fn put(&self, mut arrival: Arrival) -> bool {
        loop {
            match self.shared.inlet.put(arrival) {
                Ok(()) => return true,
                Err(Refused::Gone) => return false,
                Err(Refused::Full(back)) => arrival = back,
            }
            sleep(RETRY).await;
        }
    }

    /// The unit stops: its end of the connection is closed, and what is still on its way is read for
    /// a moment.
    async fn farewell<S: AsyncRead + AsyncWrite + Unpin>(&self, frames: &mut Frames<S>) -> Ended {
        // A peer that does not read it will notice later.
        let _ = timeout(FAREWELL, frames.get_mut().shutdown()).await;
        let patience = Patience { message: FAREWELL, idle: Some(FAREWELL) };
        let rest = async {
            while let Ok(message) = frames.next(patience).await {
                if self.take(message).await.is_some() {
                    break;
                }
            }
        };
        let _ = timeout(FAREWELL, rest).await;
        Ended { end: End::Stopped, why: "the unit stops".to_owned() }
    }

    /// RFC 7011, Section 8.1: templates that are used against the rules are told.
    fn tell_misuses(&self, before: u64) -> u64 {
        let now = self.open.connection.misuses.load(Ordering::Relaxed);
        if before == 0 && now > 0 {
            tracing::warn!(
                exporter = %self.open.connection.source,
                "the exporter gives a template id another meaning without withdrawing it, or \
                 withdraws what it never sent: its records may be read wrongly"
            );
        }
        now
    }
}

pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
