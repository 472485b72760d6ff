//! The receiving half: the queue's ring, and beside it ordinary sockets for what XDP passes.
//!
//! A datagram comes by one of both ways, never by both: what the program redirects, the kernel does
//! not see. IP fragments, datagrams on other queues, and those to an address that this host got
//! after the start come by the sockets.

use std::io;

use weir_ebpf::{Program, Tallies, Verdicts};

use super::rings::{BURST, ReceiveRing};
use crate::Discard;
use crate::io::packet;
use crate::io::socket::{PollSet, Readiness};
use crate::io::udp::UdpReceive;
use crate::io::{Datagram, Receive};

/// The sockets are asked at least every so many bursts, however busy the ring.
const SLOW_PATH_EVERY: u32 = 16;
/// The ring's drop count is asked every so many bursts, and when nothing came.
const DROPS_EVERY: u32 = 64;

/// Datagrams from one receive queue of a device.
#[derive(Debug)]
pub struct AfxdpReceive {
    /// First of the fields: detached before the sockets close, so that no frame meets a dead one.
    _program: Program,
    tallies: Tallies,
    ring: ReceiveRing,
    slow: UdpReceive,
    poll: PollSet,
    bursts: u32,
    slow_is_due: bool,
    ring_drops: u64,
}

impl AfxdpReceive {
    pub(super) fn new(
        program: Program,
        tallies: Tallies,
        ring: ReceiveRing,
        slow: UdpReceive,
    ) -> Self {
        let mut poll = PollSet::default();
        poll.add(ring.descriptor(), Readiness::Readable);
        slow.poll_with(&mut poll);
        AfxdpReceive {
            _program: program,
            tallies,
            ring,
            slow,
            poll,
            bursts: 0,
            slow_is_due: true,
            ring_drops: 0,
        }
    }

    /// What the XDP program did with the device's frames.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub fn verdicts(&self) -> Result<Verdicts, weir_ebpf::Error> {
        self.tallies.read()
    }

    fn refresh_drops(&mut self) {
        self.ring_drops = self.ring.drops().unwrap_or(self.ring_drops);
        self.slow.refresh_drops();
    }
}

impl Receive for AfxdpReceive {
    fn burst(
        &mut self,
        each: &mut dyn FnMut(Datagram<'_>),
        bad: &mut dyn FnMut(Discard),
    ) -> io::Result<usize> {
        let mut count = self.ring.burst(&mut |frame| match packet::parse(frame) {
            Ok(datagram) => each(datagram),
            Err(reason) => bad(reason),
        })?;
        self.bursts = self.bursts.wrapping_add(1);
        if self.slow_is_due || self.bursts.is_multiple_of(SLOW_PATH_EVERY) {
            let slow = self.slow.burst(each, bad)?;
            self.slow_is_due = slow >= BURST;
            count += slow;
        }
        if self.bursts.is_multiple_of(DROPS_EVERY) {
            self.refresh_drops();
        }
        Ok(count)
    }

    fn dropped(&self) -> u64 {
        self.ring_drops + self.slow.dropped()
    }

    fn wait(&mut self, timeout_ms: u16) -> io::Result<()> {
        if self.poll.wait(timeout_ms)? {
            self.slow_is_due |= self.poll.any_ready_from(1);
        } else {
            self.refresh_drops();
        }
        Ok(())
    }
}
