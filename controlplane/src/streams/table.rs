//! The connections that are open, and who may have one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::{Duration, Instant};
use weir_dataplane::Timestamp;
use weir_dataplane::connection::Connection;

use super::counters::End;

/// A connection without a message may give way to a new one after this.
const PROBATION: Duration = Duration::from_secs(10);

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Open {
    /// What the worker knows of it.
    pub(super) connection: Arc<Connection>,
    /// When it was accepted, ms since 1970.
    pub(super) since_ms: u64,
    /// When its last whole message came, ms since 1970; 0 for never.
    pub(super) last_ms: AtomicU64,
    /// Whole messages, and their bytes.
    pub(super) messages: AtomicU64,
    /// Bytes of these.
    pub(super) bytes: AtomicU64,
    /// The name that its certificate bears, where one was asked for.
    pub(super) name: Mutex<String>,
    accepted: Instant,
    displace: watch::Sender<bool>,
}

impl Open {
    /// A connection that was accepted now.
    pub(super) fn new(connection: Connection) -> Arc<Open> {
        Arc::new(Open {
            connection: Arc::new(connection),
            since_ms: Timestamp::now().0,
            last_ms: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            name: Mutex::default(),
            accepted: Instant::now(),
            displace: watch::Sender::new(false),
        })
    }

    /// Waits until its place is needed.
    pub(super) async fn displaced(&self) {
        let mut told = self.displace.subscribe();
        // The sender lives as long as this.
        let _ = told.wait_for(|displaced| *displaced).await.is_ok();
    }

    fn source(&self) -> IpAddr {
        self.connection.source.ip()
    }

    /// Whether nothing is lost with it.
    fn may_give_way(&self) -> bool {
        self.last_ms.load(Ordering::Relaxed) == 0
            && !*self.displace.borrow()
            && self.accepted.elapsed() >= PROBATION
    }
}

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// In all.
    pub(super) connections: usize,
    /// Of one address.
    pub(super) per_source: usize,
}

/// The open connections of a unit.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<HashMap<u64, Arc<Open>>>);

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Open>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in under this number. Where there is no place, one gives way that is old
    /// enough and has not sent a message yet: it is told, and leaves soon after.
    ///
    /// # Errors
    /// For which reason there is no place.
    pub(super) fn enter(&self, id: u64, open: &Arc<Open>, bounds: Bounds) -> Result<(), End> {
        let mut table = self.lock();
        let leaving = |open: &&Arc<Open>| !*open.displace.borrow();
        let source = open.source();
        let of_source = table.values().filter(leaving).filter(|o| o.source() == source).count();
        let all = table.values().filter(leaving).count();
        let candidates = || table.values().filter(|open| open.may_give_way());
        let oldest = |a: &&Arc<Open>, b: &&Arc<Open>| a.accepted.cmp(&b.accepted);
        let displaced = if of_source >= bounds.per_source {
            let of_source = candidates().filter(|open| open.source() == source).min_by(oldest);
            Some(of_source.ok_or(End::TooManyOfSource)?)
        } else if all >= bounds.connections {
            Some(candidates().min_by(oldest).ok_or(End::TooMany)?)
        } else {
            None
        };
        if let Some(displaced) = displaced {
            displaced.displace.send_replace(true);
        }
        table.insert(id, Arc::clone(open));
        Ok(())
    }

    /// Takes a connection out.
    pub(super) fn leave(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Open>> {
        self.lock().values().cloned().collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use weir_dataplane::session::Transport;

    use super::*;

    const BOUNDS: Bounds = Bounds { connections: 3, per_source: 2 };

    fn open(source: u8) -> Arc<Open> {
        let at = |n| ([192, 0, 2, n], 4739).into();
        Open::new(Connection::new(at(source), at(0), Transport::Tcp))
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_bounded_in_all_and_for_an_address() {
        let table = Table::default();
        for (id, source) in [(0, 1), (1, 1), (2, 2)] {
            assert_eq!(table.enter(id, &open(source), BOUNDS), Ok(()));
        }
        assert_eq!(table.enter(3, &open(1), BOUNDS), Err(End::TooManyOfSource));
        assert_eq!(table.enter(3, &open(2), BOUNDS), Err(End::TooMany));
        table.leave(0);
        assert_eq!(table.enter(3, &open(2), BOUNDS), Ok(()));
        assert_eq!(table.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_sent_anything_gives_way_after_a_while() {
        let table = Table::default();
        let (silent, speaking) = (open(1), open(2));
        table.enter(0, &silent, BOUNDS).unwrap();
        tokio::time::advance(Duration::from_millis(1)).await;
        table.enter(1, &speaking, BOUNDS).unwrap();
        table.enter(2, &open(3), BOUNDS).unwrap();
        assert_eq!(table.enter(3, &open(4), BOUNDS), Err(End::TooMany));
        speaking.last_ms.store(1, Ordering::Relaxed);
        tokio::time::advance(PROBATION).await;
        assert_eq!(table.enter(3, &open(4), BOUNDS), Ok(()));
        silent.displaced().await;
        // It has not left yet, and counts no more.
        assert_eq!(table.len(), 4);
        tokio::time::advance(PROBATION).await;
        assert_eq!(table.enter(4, &open(5), BOUNDS), Ok(()));
        assert!(!*speaking.displace.borrow());
    }
}
