//! One transport session on one worker, where the network card does not see to it.
//!
//! The workers of a unit share a fixed table of claims: the worker that first sees a source address
//! and port claims its slot, and whoever receives a datagram of a slot that another has claimed hands
//! it over by that worker's ring. Sources that share a slot share a worker, so a stale or crowded
//! slot costs a copy and is never wrong; claims are not given back.
//!
//! Invariant: a datagram is counted as received by one worker: the one that processes it, or the one
//! that found the other's ring full. Buffers are made at the start, and go back to where they came
//! from; one grows, once, to the longest datagram that it has held.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::Discard;
use crate::io::Datagram;

/// Slots of the table of claims; a power of two, several times the sessions of a full table, so that
/// few sources share one.
const CLAIMS: usize = 1 << 20;
/// Datagrams that may wait for one worker.
pub(crate) const RING: usize = 1_024;
/// Bytes that a buffer has room for from the start.
const BUFFER_LENGTH: usize = 2_048;
/// An unclaimed slot; else it holds the worker's number plus one.
const UNCLAIMED: u16 = 0;

/// A datagram on its way to another worker.
#[derive(Debug)]
struct Handed {
    source: SocketAddr,
    destination: SocketAddr,
    from: usize,
    payload: Vec<u8>,
}

/// One worker's end of the exchange between the workers of a unit.
#[derive(Debug)]
pub struct Exchange {
    worker: usize,
    claims: Arc<[AtomicU16]>,
    rings: Vec<Sender<Handed>>,
    ring: Receiver<Handed>,
    /// Where each worker's buffers go back to.
    homes: Vec<Sender<Vec<u8>>>,
    free: Receiver<Vec<u8>>,
}

/// The ends of an exchange between so many workers, in their order.
pub fn exchange(workers: usize) -> Vec<Exchange> {
    let claims: Arc<[AtomicU16]> = (0..CLAIMS).map(|_| AtomicU16::new(UNCLAIMED)).collect();
    let rings: Vec<_> = (0..workers).map(|_| bounded(RING)).collect();
    let homes: Vec<_> = (0..workers).map(|_| bounded(RING)).collect();
    for (home, _) in &homes {
        for _ in 0..RING {
            let fits = home.try_send(Vec::with_capacity(BUFFER_LENGTH));
            fits.expect("a ring has room for as many buffers as it was made for");
        }
    }
    (0..workers)
        .map(|worker| Exchange {
            worker,
            claims: Arc::clone(&claims),
            rings: rings.iter().map(|(to, _)| to.clone()).collect(),
            ring: rings[worker].1.clone(),
            homes: homes.iter().map(|(to, _)| to.clone()).collect(),
            free: homes[worker].1.clone(),
        })
        .collect()
}

impl Exchange {
    /// The other worker that this source belongs to; `None` when it is this worker's own, which it
    /// becomes where nobody has claimed it.
    #[inline]
    pub(crate) fn elsewhere(&self, source: SocketAddr) -> Option<usize> {
        let slot = &self.claims[index(source)];
        let own = self.worker as u16 + 1;
        let mut owner = slot.load(Ordering::Relaxed);
        if owner == UNCLAIMED {
            let claimed =
                slot.compare_exchange(UNCLAIMED, own, Ordering::Relaxed, Ordering::Relaxed);
            owner = claimed.map_or_else(|other| other, |_| own);
        }
        (owner != own).then(|| usize::from(owner) - 1)
    }

    /// Hands a datagram over to another worker.
    ///
    /// # Errors
    /// [`Discard::HandOverFull`] when its ring is full, or all buffers are on their way; it has ended.
    pub(crate) fn hand_over(&self, to: usize, datagram: &Datagram<'_>) -> Result<(), Discard> {
        let mut payload = self.free.try_recv().map_err(|_| Discard::HandOverFull)?;
        payload.clear();
        payload.extend_from_slice(datagram.payload);
        let Datagram { source, destination, .. } = *datagram;
        let handed = Handed { source, destination, from: self.worker, payload };
        self.rings[to].try_send(handed).map_err(|error| {
            self.send_home(error.into_inner());
            Discard::HandOverFull
        })
    }

    /// Takes up to `most` datagrams that others handed over; returns how many there were.
    pub(crate) fn take(&self, most: usize, each: &mut dyn FnMut(Datagram<'_>)) -> usize {
        let mut taken = 0;
        while taken < most {
            let Ok(handed) = self.ring.try_recv() else { break };
            let Handed { source, destination, ref payload, .. } = handed;
            each(Datagram { source, destination, payload });
            self.send_home(handed);
            taken += 1;
        }
        taken
    }

    fn send_home(&self, handed: Handed) {
        // A worker that has ended needs no buffers.
        let _ended = self.homes[handed.from].try_send(handed.payload);
    }
}

/// The slot of a source: its address and port, mixed (splitmix64's finaliser).
fn index(source: SocketAddr) -> usize {
    let bits = match source.ip() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let mut z = (bits >> 64) as u64 ^ (bits as u64).rotate_left(16) ^ u64::from(source.port());
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as usize % CLAIMS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from_bits(0xc000_0200 + n), 50_000))
    }

    fn datagram(n: u32, payload: &[u8]) -> Datagram<'_> {
        Datagram { source: source(n), destination: "10.0.0.1:2055".parse().unwrap(), payload }
    }

    #[test]
    fn who_sees_a_source_first_keeps_it() {
        let ends = exchange(2);
        assert_eq!(ends[1].elsewhere(source(1)), None);
        assert_eq!(ends[0].elsewhere(source(1)), Some(1));
        assert_eq!(ends[1].elsewhere(source(1)), None);
    }

    #[test]
    fn a_source_has_one_worker_however_many_see_it_at_once() {
        let ends = exchange(4);
        let owners: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let look = |end: &Exchange| {
                let own = end.worker;
                (0..10_000).map(|n| end.elsewhere(source(n)).unwrap_or(own)).collect()
            };
            let threads: Vec<_> = ends.iter().map(|end| scope.spawn(move || look(end))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(owners.iter().all(|seen| *seen == owners[0]));
    }

    #[test]
    fn what_is_handed_over_arrives_whole_and_its_buffer_comes_back() {
        let ends = exchange(2);
        for round in 0..3 * RING {
            let payload = vec![round as u8; round % 3_000];
            ends[0].hand_over(1, &datagram(7, &payload)).unwrap();
            let mut got = Vec::new();
            let each = &mut |d: Datagram<'_>| got.push((d.source, d.payload.to_vec()));
            assert_eq!(ends[1].take(64, each), 1);
            assert_eq!(got, [(source(7), payload)]);
        }
    }

    #[test]
    fn a_full_ring_refuses_and_goes_on_when_it_has_room() {
        let ends = exchange(2);
        for _ in 0..RING {
            ends[0].hand_over(1, &datagram(1, &[1])).unwrap();
        }
        assert_eq!(ends[0].hand_over(1, &datagram(1, &[1])), Err(Discard::HandOverFull));
        assert_eq!(ends[1].take(10, &mut |_| ()), 10);
        ends[0].hand_over(1, &datagram(1, &[1])).unwrap();
    }
}
