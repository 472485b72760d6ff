//! The receiving half of a lane: its queue's ring, and on the first lane ordinary sockets for what
//! XDP passes.
//!
//! A datagram comes by one of both ways, never by both: what the program redirects, the kernel does
//! not see. IP fragments, datagrams on queues without a lane, and those to an address that the
//! program does not know yet come by the sockets.

use std::io;

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
/// While polling busily: every so many bursts.
const DROPS_EVERY_BUSY: u32 = 1 << 14;

/// Datagrams from one receive queue of a device.
#[derive(Debug)]
pub struct AfxdpReceive {
    ring: ReceiveRing,
    slow: Option<UdpReceive>,
    poll: PollSet,
    bursts: u32,
    slow_is_due: bool,
    ring_drops: u64,
}

impl AfxdpReceive {
    pub(super) fn new(ring: ReceiveRing, slow: Option<UdpReceive>) -> Self {
        let mut poll = PollSet::default();
        poll.add(ring.descriptor(), Readiness::Readable);
        if let Some(slow) = &slow {
            slow.poll_with(&mut poll);
        }
        AfxdpReceive { ring, slow, poll, bursts: 0, slow_is_due: true, ring_drops: 0 }
    }

    fn refresh_drops(&mut self) {
        self.ring_drops = self.ring.drops().unwrap_or(self.ring_drops);
        if let Some(slow) = &mut self.slow {
            slow.refresh_drops();
        }
    }
}

impl Receive for AfxdpReceive {
    fn burst(
        &mut self,
        each: &mut dyn FnMut(Datagram<'_>),
        bad: &mut dyn FnMut(Discard),
    ) -> io::Result<usize> {
        let mut count = self.ring.burst(&mut |frame| match frame
            .ok_or(Discard::TooLong)
            .and_then(packet::parse)
        {
            Ok(datagram) => each(datagram),
            Err(reason) => bad(reason),
        });
        self.bursts = self.bursts.wrapping_add(1);
        if let Some(slow) = &mut self.slow
            && (self.slow_is_due || self.bursts.is_multiple_of(SLOW_PATH_EVERY))
        {
            let slow = slow.burst(each, bad)?;
            self.slow_is_due = slow >= BURST;
            count += slow;
        }
        let every = if self.ring.is_busy() { DROPS_EVERY_BUSY } else { DROPS_EVERY };
        if self.bursts.is_multiple_of(every) {
            self.refresh_drops();
        }
        Ok(count)
    }

    fn dropped(&self) -> u64 {
        self.ring_drops + self.slow.as_ref().map_or(0, Receive::dropped)
    }

    fn wait(&mut self, timeout_ms: u16) -> io::Result<()> {
        if self.ring.is_busy() {
            // The next burst asks the device itself.
            return Ok(());
        }
        if self.poll.wait(timeout_ms)? {
            self.slow_is_due |= self.poll.any_ready_from(1);
            // A device that is gone would be reported at once, for ever.
            self.poll.clear_errors(1);
        } else {
            self.refresh_drops();
        }
        Ok(())
    }
}
