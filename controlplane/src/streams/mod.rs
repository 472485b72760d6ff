//! IPFIX over TCP and TLS (RFC 7011, Sections 10.4 and 11): connections in, whole messages out to
//! the packet path.
//!
//! All connections of a unit are served by one thread with a runtime of its own, so that what
//! strangers send, and the arithmetic of their handshakes, delays neither packets nor questions.
//! Everything is bounded: connections in all and for an address, the bytes held of each, the time
//! that a handshake and a message may take. A connection that has not sent a message gives way to a
//! new one. When the packet path is behind, connections are not read: TCP slows the exporters down.
//!
//! Invariants: connections accepted = open + Σ ended; the bytes that came are those of whole
//! messages and those cut. Deliberately absent: SCTP, DTLS.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use weir_dataplane::connection::{Connection, Inlet, Outlet, queue};
use weir_dataplane::session::Transport;

use crate::error::Error;
use crate::status::{StreamConnection, StreamPort, Streams as Status};
use crate::topology::{Gate, Prefix, StreamSettings};

mod counters;
mod frames;
mod serve;
mod table;
mod tls;

pub use counters::End;
use counters::StreamCounters;
use frames::Ended;
use table::{Bounds, Open, Table};
use tls::Tls;

/// Messages and ends that may wait for the worker: of the longest messages, 16 MiB.
const QUEUE: usize = 256;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// After an accept that failed, most likely for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Lines in the log about connections that are in trouble, a second; the others are counted only.
const LINES: u32 = 10;

/// A listening port.
#[derive(Clone, Copy, Debug)]
struct Port {
    address: SocketAddr,
    tls: bool,
}

impl Port {
    fn transport(&self) -> Transport {
        if self.tls { Transport::Tls } else { Transport::Tcp }
    }
}

/// What a reload can change.
struct Changeable {
    bounds: Bounds,
    idle: Option<Duration>,
    tls: Option<Tls>,
    allow: HashMap<u16, Vec<Prefix>>,
}

impl Changeable {
    fn new(settings: &StreamSettings, gates: &[Gate]) -> Result<Changeable, Error> {
        let allow = gates.iter().filter_map(|gate| Some((gate.port, gate.allow.clone()?)));
        Ok(Changeable {
            bounds: Bounds {
                connections: settings.connections,
                per_source: settings.connections_per_source,
            },
            idle: settings.idle,
            tls: settings.files.as_ref().map(Tls::load).transpose()?,
            allow: allow.collect(),
        })
    }
}

/// What the thread, its connections and the unit share.
struct Shared {
    counters: StreamCounters,
    table: Table,
    changeable: RwLock<Changeable>,
    inlet: Inlet,
    stop: watch::Sender<bool>,
    lines: Mutex<(tokio::time::Instant, u32)>,
}

impl Shared {
    fn changeable<T>(&self, read: impl FnOnce(&Changeable) -> T) -> T {
        read(&self.changeable.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn tls(&self) -> Option<Tls> {
        self.changeable(|now| now.tls.clone())
    }

    fn idle(&self) -> Option<Duration> {
        self.changeable(|now| now.idle)
    }

    fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    fn lets_in(&self, port: u16, source: IpAddr) -> bool {
        self.changeable(|now| {
            let allow = now.allow.get(&port);
            allow.is_none_or(|allow| allow.iter().any(|network| network.contains(source)))
        })
    }

    /// Whether the log has room for a line on a connection in trouble: strangers must not fill it.
    fn has_line(&self) -> bool {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.0.elapsed() >= Duration::from_secs(1) {
            *lines = (tokio::time::Instant::now(), 0);
        }
        lines.1 += 1;
        lines.1 <= LINES
    }
}

/// The listening ports of a unit, being served.
pub struct Streams {
    shared: Arc<Shared>,
    ports: Vec<Port>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Streams {
    /// Binds the ports at each of the addresses and serves them; messages come out of the outlet.
    /// `gates` say which exporters a port lets in.
    ///
    /// # Errors
    /// A port that cannot be bound, a certificate or key that cannot be used.
    pub fn start(
        settings: &StreamSettings,
        addresses: &[IpAddr],
        gates: &[Gate],
    ) -> Result<(Streams, Outlet), Error> {
        let changeable = Changeable::new(settings, gates)?;
        let of = |ports: &[u16], tls| {
            let at = |&port: &u16| {
                let port = move |&ip: &IpAddr| (SocketAddr::new(ip, port), tls);
                addresses.iter().map(port).collect::<Vec<_>>()
            };
            ports.iter().flat_map(at).collect::<Vec<_>>()
        };
        let mut listeners = Vec::new();
        for (address, tls) in [of(&settings.tcp, false), of(&settings.tls, true)].concat() {
            let what = if tls { "IPFIX over TLS" } else { "IPFIX over TCP" };
            let failed = |source| Error::Bind { what, address, source };
            let listener = listen(address).map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            listeners.push((Port { address, tls }, listener));
        }
        let (inlet, outlet) = queue(QUEUE);
        let shared = Arc::new(Shared {
            counters: StreamCounters::default(),
            table: Table::default(),
            changeable: RwLock::new(changeable),
            inlet,
            stop: watch::Sender::new(false),
            lines: Mutex::new((tokio::time::Instant::now(), 0)),
        });
        let ports = listeners.iter().map(|(port, _)| *port).collect();
        let thread = spawn(Arc::clone(&shared), listeners)
            .map_err(|source| Error::Start { what: "the thread of TCP connections", source })?;
        Ok((Streams { shared, ports, thread: Mutex::new(Some(thread)) }, outlet))
    }

    /// Takes other bounds, names and gates, and reads certificates and keys again. Open connections
    /// stay as they are.
    ///
    /// # Errors
    /// A certificate or key that cannot be used; nothing is changed then.
    pub fn change(&self, settings: &StreamSettings, gates: &[Gate]) -> Result<(), Error> {
        let changeable = Changeable::new(settings, gates)?;
        *self.shared.changeable.write().unwrap_or_else(PoisonError::into_inner) = changeable;
        Ok(())
    }

    /// The bound addresses, each with whether it is TLS.
    pub fn addresses(&self) -> Vec<(SocketAddr, bool)> {
        self.ports.iter().map(|port| (port.address, port.tls)).collect()
    }

    /// Closes all ports and connections, each after what was still on its way; returns when that is
    /// done. What they brought waits in the outlet.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A thread that panicked has said so.
        let _ = thread.map(JoinHandle::join);
    }

    /// How it is.
    pub fn status(&self) -> Status {
        let number = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        let ended = End::ALL.iter().map(|&end| (end.name().to_owned(), counters.ended(end)));
        let mut ports: Vec<_> =
            self.ports.iter().map(|port| (port.address.port(), port.tls)).collect();
        ports.sort_unstable();
        ports.dedup();
        let mut status = Status {
            ports: ports.into_iter().map(|(port, tls)| StreamPort { port, tls }).collect(),
            accepted: number(&counters.accepted),
            open: self.shared.table.len() as u64,
            ended: ended.filter(|(_, count)| *count > 0).collect(),
            messages: number(&counters.messages),
            bytes: number(&counters.bytes),
            bytes_cut: number(&counters.bytes_cut),
            ..Status::default()
        };
        status.set_connections(self.shared.table.all().iter().map(|open| line(open)).collect());
        status
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop();
    }
}

fn line(open: &Open) -> StreamConnection {
    let connection = &open.connection;
    StreamConnection {
        exporter: connection.source.to_string(),
        name: open.name.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        port: connection.destination.port(),
        transport: connection.transport.name().to_owned(),
        messages: open.messages.load(Ordering::Relaxed),
        bytes: open.bytes.load(Ordering::Relaxed),
        misuses: connection.misuses.load(Ordering::Relaxed),
        since_ms: open.since_ms,
        last_ms: open.last_ms.load(Ordering::Relaxed),
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    // A port whose old connections are still being laid to rest can be bound all the same.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn spawn(
    shared: Arc<Shared>,
    listeners: Vec<(Port, std::net::TcpListener)>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = async move {
        let mut serving = JoinSet::new();
        for (port, listener) in listeners {
            match TcpListener::from_std(listener) {
                Ok(listener) => drop(serving.spawn(accept(Arc::clone(&shared), port, listener))),
                Err(error) => tracing::error!(address = %port.address, %error, "cannot listen"),
            }
        }
        while serving.join_next().await.is_some() {}
    };
    std::thread::Builder::new()
        .name("weir-streams".to_owned())
        .spawn(move || runtime.block_on(serve))
}

/// Accepts until the unit stops; then waits for the connections' ends.
async fn accept(shared: Arc<Shared>, port: Port, listener: TcpListener) {
    let mut stopping = shared.stopping();
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stopping) => break,
        };
        while open.try_join_next().is_some() {}
        match accepted {
            Ok((stream, source)) => {
                if let Some((id, entered)) = enter(&shared, &port, &stream, source) {
                    open.spawn(attend(Arc::clone(&shared), port, id, entered, stream));
                }
            }
            Err(error) => {
                if shared.has_line() {
                    tracing::warn!(address = %port.address, %error, "cannot accept a connection");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// Waits until the unit stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // Without a sender there is no unit any more.
    let _ = stopping.wait_for(|stop| *stop).await.is_ok();
}

/// Gives a connection its place; one that gets none is closed at once.
fn enter(
    shared: &Shared,
    port: &Port,
    stream: &TcpStream,
    source: SocketAddr,
) -> Option<(u64, Arc<Open>)> {
    let id = shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
    let destination = stream.local_addr().unwrap_or(port.address);
    let open = Open::new(Connection::new(source, destination, port.transport()));
    let entered = if shared.lets_in(port.address.port(), source.ip()) {
        shared.table.enter(id, &open, shared.changeable(|now| now.bounds))
    } else {
        Err(End::NotAllowed)
    };
    match entered {
        Ok(()) => Some((id, open)),
        Err(end) => {
            shared.counters.end(end);
            if shared.has_line() {
                let reason = end.meaning();
                tracing::warn!(exporter = %source, port = port.address.port(), reason, "connection refused");
            }
            None
        }
    }
}

async fn attend(shared: Arc<Shared>, port: Port, id: u64, open: Arc<Open>, stream: TcpStream) {
    let exporter = open.connection.source;
    let (number, transport) = (port.address.port(), port.transport().name());
    tracing::debug!(%exporter, port = number, transport, "exporter connected");
    let Ended { end, why } = serve::serve(&shared, &port, &open, stream).await;
    shared.table.leave(id);
    shared.counters.end(end);
    let messages = open.messages.load(Ordering::Relaxed);
    if end.is_trouble() && shared.has_line() {
        let reason = end.name();
        tracing::warn!(%exporter, port = number, transport, messages, reason, "connection ended: {why}");
    } else {
        tracing::debug!(%exporter, port = number, transport, messages, "connection ended: {why}");
    }
}
