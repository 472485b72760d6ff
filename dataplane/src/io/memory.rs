//! A backend without a network: datagrams in from a queue, packets out to a list, refusals at will.
//! For tests and benches of the engine, and for whole simulations.
//!
//! Both halves go into a worker; what feeds and what watches them stays outside as a handle.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::pool::{Frame, Pool};
use super::{Datagram, Receive, Tag, Transmit};
use crate::Discard;

const BURST: usize = 64;
/// A frame's length: the payload of a jumbo packet.
const FRAME_LENGTH: usize = 9_000;

/// A datagram that waits to be received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The exporter's address and port.
    pub source: SocketAddr,
    /// The listening address and port.
    pub destination: SocketAddr,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// Puts datagrams into a [`MemoryReceive`].
#[derive(Clone, Debug, Default)]
pub struct Feed(Arc<Mutex<VecDeque<Arrival>>>);

impl Feed {
    /// Appends a datagram.
    pub fn push(&self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) {
        lock(&self.0).push_back(Arrival { source, destination, payload: payload.to_vec() });
    }

    /// How many datagrams have not been received yet.
    pub fn waiting(&self) -> usize {
        lock(&self.0).len()
    }
}

/// Datagrams from a queue in memory.
#[derive(Debug, Default)]
pub struct MemoryReceive {
    feed: Feed,
    burst: Vec<Arrival>,
}

impl MemoryReceive {
    /// An empty queue and what fills it.
    pub fn new() -> (Self, Feed) {
        let feed = Feed::default();
        (MemoryReceive { feed: feed.clone(), burst: Vec::with_capacity(BURST) }, feed)
    }
}

impl Receive for MemoryReceive {
    fn burst(
        &mut self,
        each: &mut dyn FnMut(Datagram<'_>),
        _bad: &mut dyn FnMut(Discard),
    ) -> io::Result<usize> {
        let mut waiting = lock(&self.feed.0);
        let count = waiting.len().min(BURST);
        self.burst.extend(waiting.drain(..count));
        drop(waiting);
        for Arrival { source, destination, payload } in self.burst.drain(..) {
            each(Datagram { source, destination, payload: &payload });
        }
        Ok(count)
    }

    fn dropped(&self) -> u64 {
        0
    }

    fn wait(&mut self, timeout_ms: u16) -> io::Result<()> {
        if self.feed.waiting() == 0 {
            std::thread::sleep(Duration::from_millis(u64::from(timeout_ms.min(1))));
        }
        Ok(())
    }
}

/// A packet as it would have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The UDP payload.
    pub payload: Vec<u8>,
    /// The UDP source that the packet bears.
    pub source: SocketAddr,
    /// Its destination.
    pub to: SocketAddr,
    /// The MTU that `send_copy` was given; `None` for `send`.
    pub mtu: Option<u16>,
    /// The caller's tag.
    pub tag: Tag,
}

#[derive(Debug, Default)]
struct Outside {
    sent: Vec<Sent>,
    refused: Vec<SocketAddr>,
    refuse_next: usize,
}

/// Watches a [`MemoryTransmit`], and makes it refuse.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Mutex<Outside>>);

impl Watch {
    /// Takes what was sent, flushed or not, since it was last taken.
    pub fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut lock(&self.0).sent)
    }

    /// From now on packets to `to` fail (or no longer).
    pub fn refuse(&self, to: SocketAddr, refuse: bool) {
        let refused = &mut lock(&self.0).refused;
        refused.retain(|&other| other != to);
        if refuse {
            refused.push(to);
        }
    }

    /// The next `count` packets fail, wherever they go.
    pub fn refuse_next(&self, count: usize) {
        lock(&self.0).refuse_next = count;
    }
}

/// Packets into a list in memory.
#[derive(Debug)]
pub struct MemoryTransmit {
    pool: Pool,
    watch: Watch,
    failures: Vec<Tag>,
}

impl MemoryTransmit {
    /// A transmitter with `frames` frames, and what watches it.
    pub fn new(frames: usize) -> (Self, Watch) {
        let watch = Watch::default();
        let pool = Pool::new(frames, FRAME_LENGTH);
        (MemoryTransmit { pool, watch: watch.clone(), failures: Vec::new() }, watch)
    }

    fn leave(&mut self, packet: Sent) {
        let mut outside = lock(&self.watch.0);
        if outside.refuse_next > 0 {
            outside.refuse_next -= 1;
            self.failures.push(packet.tag);
        } else if outside.refused.contains(&packet.to) {
            self.failures.push(packet.tag);
        } else {
            outside.sent.push(packet);
        }
    }
}

impl Transmit for MemoryTransmit {
    type Frame = Frame;

    fn take(&mut self) -> Option<Frame> {
        self.pool.take()
    }

    fn room(&self) -> usize {
        FRAME_LENGTH
    }

    fn payload<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.pool.bytes_mut(frame)
    }

    fn send(&mut self, frame: Frame, length: usize, source: SocketAddr, to: SocketAddr, tag: Tag) {
        let payload = self.pool.bytes(&frame)[..length].to_vec();
        self.pool.give_back(frame);
        self.leave(Sent { payload, source, to, mtu: None, tag });
    }

    fn send_copy(
        &mut self,
        payload: &[u8],
        source: SocketAddr,
        to: SocketAddr,
        mtu: u16,
        tag: Tag,
    ) {
        self.leave(Sent { payload: payload.to_vec(), source, to, mtu: Some(mtu), tag });
    }

    fn give_back(&mut self, frame: Frame) {
        self.pool.give_back(frame);
    }

    fn flush(&mut self, failed: &mut dyn FnMut(Tag, io::Error)) {
        for tag in self.failures.drain(..) {
            failed(tag, io::Error::other("refused by the test"));
        }
    }
}

/// A panicked test thread leaves its queue as it was; the others may go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Purpose;

    const TAG: Tag = Tag {
        slave: 0,
        records: 1,
        options: 0,
        templates: 0,
        session: 0,
        purpose: Purpose::Message,
    };

    #[test]
    fn what_is_fed_comes_in_order_and_in_bursts() {
        let (mut receive, feed) = MemoryReceive::new();
        let from = "192.0.2.1:1".parse().unwrap();
        let to = "192.0.2.2:2055".parse().unwrap();
        for n in 0..70u8 {
            feed.push(from, to, &[n]);
        }
        let mut got = Vec::new();
        let each = &mut |datagram: Datagram<'_>| got.push(datagram.payload[0]);
        assert_eq!(receive.burst(each, &mut |_| ()).unwrap(), 64);
        assert_eq!(receive.burst(each, &mut |_| ()).unwrap(), 6);
        assert_eq!(got, (0..70).collect::<Vec<u8>>());
    }

    #[test]
    fn a_refused_packet_comes_back_by_its_tag_and_its_frame_is_free() {
        let (mut transmit, watch) = MemoryTransmit::new(1);
        let to = "192.0.2.2:2055".parse().unwrap();
        watch.refuse(to, true);
        let frame = transmit.take().unwrap();
        transmit.send(frame, 1, "192.0.2.1:1".parse().unwrap(), to, TAG);
        let mut failed = Vec::new();
        transmit.flush(&mut |tag, _| failed.push(tag));
        assert_eq!((failed, watch.take()), (vec![TAG], vec![]));
        assert!(transmit.take().is_some());
    }
}
