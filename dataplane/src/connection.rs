//! Messages that come by connections (IPFIX over TCP and TLS: RFC 7011, Section 10.4) on their way
//! into a worker.
//!
//! Whoever reads the connections separates the messages and puts them into a bounded queue; a worker
//! takes them from it between its bursts. A full queue is no discard: the reader waits, its peer's
//! window closes, and the exporter learns that it is too fast, which is what TCP is for. What the
//! worker finds out about a connection goes back through its [`Connection`].
//!
//! Invariant: the messages of a connection and its end pass one queue, in order. Deliberately absent:
//! sockets, and waiting.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::io::Datagram;
use crate::session::Transport;

/// Observation domains of one connection: more have no place.
pub const DOMAINS_MAX: usize = 64;

/// So many malformed messages in a row are one exporter's nonsense and no accident (RFC 7011,
/// Section 9.1).
const MALFORMED_MAX: u32 = 3;

/// Why a worker wants a connection to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Nothing is wrong with it.
    Fine = 0,
    /// The last few messages were malformed.
    Malformed = 1,
    /// It has named more observation domains than there is place for.
    Domains = 2,
    /// A session of it had to give way, and with it templates that the exporter will not send again.
    GaveWay = 3,
}

/// One connection of an exporter, known to who reads it and to the worker that takes its messages.
#[derive(Debug)]
pub struct Connection {
    /// The exporter's address and port.
    pub source: SocketAddr,
    /// The address and port that it connected to.
    pub destination: SocketAddr,
    /// What carries the messages.
    pub transport: Transport,
    /// Messages that the worker has processed.
    pub messages: AtomicU64,
    /// Templates that changed the meaning of an id without a withdrawal before, and withdrawals of
    /// what was not there (RFC 7011, Section 8.1 asks to tell of both).
    pub misuses: AtomicU64,
    /// The observation domains that it has sent for.
    domains: Mutex<Vec<u32>>,
    malformed: AtomicU32,
    verdict: AtomicU8,
}

impl Connection {
    /// A connection that has sent nothing yet.
    pub fn new(source: SocketAddr, destination: SocketAddr, transport: Transport) -> Self {
        Connection {
            source,
            destination,
            transport,
            messages: AtomicU64::new(0),
            misuses: AtomicU64::new(0),
            domains: Mutex::new(Vec::new()),
            malformed: AtomicU32::new(0),
            verdict: AtomicU8::new(Verdict::Fine as u8),
        }
    }

    /// Whether the worker wants it to be closed, and why.
    pub fn verdict(&self) -> Verdict {
        match self.verdict.load(Ordering::Relaxed) {
            1 => Verdict::Malformed,
            2 => Verdict::Domains,
            3 => Verdict::GaveWay,
            _ => Verdict::Fine,
        }
    }

    /// The observation domains that it has sent for.
    pub fn domains(&self) -> Vec<u32> {
        self.domains.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its message as a datagram, which it is from here on.
    pub(crate) fn datagram<'a>(&self, payload: &'a [u8]) -> Datagram<'a> {
        Datagram { source: self.source, destination: self.destination, payload }
    }

    /// Notes that a session begins for this domain. False when it had one before, which had to give
    /// way, or when it has too many: then it is to be closed.
    pub(crate) fn begins(&self, domain: u32) -> bool {
        // Once a session: the lock is nobody else's but for a moment at the end.
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = if domains.contains(&domain) {
            Verdict::GaveWay
        } else if domains.len() >= DOMAINS_MAX {
            Verdict::Domains
        } else {
            domains.push(domain);
            return true;
        };
        self.verdict.store(verdict as u8, Ordering::Relaxed);
        false
    }

    /// Notes a message that was processed, and whether it was malformed.
    pub(crate) fn note(&self, malformed: bool) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        let before = self.malformed.load(Ordering::Relaxed);
        if !malformed {
            if before > 0 {
                self.malformed.store(0, Ordering::Relaxed);
            }
            return;
        }
        self.malformed.store(before + 1, Ordering::Relaxed);
        if before + 1 >= MALFORMED_MAX {
            self.verdict.store(Verdict::Malformed as u8, Ordering::Relaxed);
        }
    }

    /// Notes templates that were used against the rules.
    pub(crate) fn note_misuses(&self, misuses: u64) {
        if misuses > 0 {
            self.misuses.fetch_add(misuses, Ordering::Relaxed);
        }
    }
}

/// What comes of a connection.
#[derive(Debug)]
pub enum Arrival {
    /// A whole message: as many bytes as its header says.
    Message(Arc<Connection>, Vec<u8>),
    /// It has ended, and its templates with it.
    End(Arc<Connection>),
}

/// Where who reads connections puts what comes.
#[derive(Clone, Debug)]
pub struct Inlet(Sender<Arrival>);

/// Where a worker takes it.
#[derive(Clone, Debug)]
pub struct Outlet(Receiver<Arrival>);

/// A queue for so many arrivals.
pub fn queue(arrivals: usize) -> (Inlet, Outlet) {
    let (to, from) = bounded(arrivals);
    (Inlet(to), Outlet(from))
}

/// Why an arrival could not be put into the queue.
#[derive(Debug)]
pub enum Refused {
    /// It is full; a later try may find room.
    Full(Arrival),
    /// The worker has ended.
    Gone,
}

impl Inlet {
    /// Puts an arrival into the queue.
    ///
    /// # Errors
    /// When it has no room, or nobody takes from it any more.
    pub fn put(&self, arrival: Arrival) -> Result<(), Refused> {
        self.0.try_send(arrival).map_err(|error| match error {
            TrySendError::Full(arrival) => Refused::Full(arrival),
            TrySendError::Disconnected(_) => Refused::Gone,
        })
    }
}

impl Outlet {
    /// Takes up to `most` arrivals; returns how many there were.
    pub(crate) fn take(&self, most: usize, mut each: impl FnMut(Arrival)) -> usize {
        let arrivals = self.0.try_iter().take(most);
        arrivals.map(&mut each).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let at = |text: &str| text.parse().unwrap();
        Connection::new(at("192.0.2.1:40000"), at("192.0.2.9:4739"), Transport::Tcp)
    }

    #[test]
    fn a_few_malformed_messages_in_a_row_end_a_connection() {
        let connection = connection();
        for malformed in [true, true, false, true, true] {
            connection.note(malformed);
            assert_eq!(connection.verdict(), Verdict::Fine);
        }
        connection.note(true);
        assert_eq!(connection.verdict(), Verdict::Malformed);
    }

    #[test]
    fn a_domain_begins_once_and_domains_are_few() {
        let connection = connection();
        for domain in 0..DOMAINS_MAX as u32 {
            assert!(connection.begins(domain));
        }
        assert!(!connection.begins(DOMAINS_MAX as u32));
        assert_eq!(connection.verdict(), Verdict::Domains);
        assert!(!connection.begins(0));
        assert_eq!(connection.verdict(), Verdict::GaveWay);
    }

    #[test]
    fn a_full_queue_gives_back_what_it_has_no_room_for() {
        let (inlet, outlet) = queue(1);
        let connection = Arc::new(connection());
        inlet.put(Arrival::Message(Arc::clone(&connection), vec![7])).unwrap();
        let refused = inlet.put(Arrival::End(Arc::clone(&connection)));
        assert!(matches!(refused, Err(Refused::Full(Arrival::End(_)))));
        let mut payloads = Vec::new();
        let each = |arrival| {
            if let Arrival::Message(_, payload) = arrival {
                payloads.push(payload);
            }
        };
        assert_eq!(outlet.take(4, each), 1);
        assert_eq!(payloads, [[7]]);
        drop(outlet);
        assert!(matches!(inlet.put(Arrival::End(connection)), Err(Refused::Gone)));
    }
}
