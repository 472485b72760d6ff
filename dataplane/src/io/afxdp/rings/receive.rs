//! Receive ring and fill ring of a queue.
#![allow(unsafe_code)] // lends frames that the kernel gave; drives the queue

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use xdpilone::xdp::XdpDesc;
use xdpilone::{FillQueue, RingRx, User};

use super::super::ETHERNET_MAX;
use super::{BURST, FRAME_LENGTH, Grant, RECEIVE_FRAMES, Region, borrow};

/// Bytes of the longest packet that comes in several frames: any IP packet, with its Ethernet header.
const PACKET_MAX: usize = 65_535 + ETHERNET_MAX;
/// `XDP_PKT_CONTD`: the packet goes on in the next descriptor.
const CONTINUED: u32 = 1 << 0;

/// Receive ring and fill ring.
pub(in crate::io::afxdp) struct ReceiveRing {
    rx: RingRx,
    fill: FillQueue,
    user: User,
    region: Arc<Region>,
    /// Addresses of frames that were read, to go back to the fill ring.
    done: Vec<u64>,
    /// A packet of several frames, as far as it has come.
    packet: Box<[u8]>,
    packet_length: usize,
    packet_goes_on: bool,
    busy: bool,
    zero_copy: bool,
}

impl std::fmt::Debug for ReceiveRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveRing").field("socket", &self.rx.as_raw_fd()).finish_non_exhaustive()
    }
}

impl ReceiveRing {
    pub(super) fn new(rx: RingRx, fill: FillQueue, user: User, region: Arc<Region>) -> Self {
        ReceiveRing {
            rx,
            fill,
            user,
            region,
            done: Vec::with_capacity(RECEIVE_FRAMES as usize),
            packet: vec![0; PACKET_MAX].into_boxed_slice(),
            packet_length: 0,
            packet_goes_on: false,
            busy: false,
            zero_copy: false,
        }
    }

    pub(super) fn user(&self) -> &User {
        &self.user
    }

    pub(super) fn grant(&mut self, grant: Grant) {
        (self.busy, self.zero_copy) = (grant.busy_poll, grant.zero_copy);
    }

    /// Puts all frames for receiving on the fill ring.
    pub(super) fn fill_all(&mut self) {
        let frames = u64::from(self.region.send_frames)..;
        self.done.extend(frames.take(RECEIVE_FRAMES as usize).map(|n| n * FRAME_LENGTH as u64));
        self.refill();
    }

    /// Lends up to [`BURST`] received packets to `each`, then gives their frames back to the kernel.
    /// A packet of several frames is put together first, and `None` when it is longer than any.
    /// Returns how many came.
    pub(in crate::io::afxdp) fn burst(&mut self, each: &mut dyn FnMut(Option<&[u8]>)) -> usize {
        let mut count = 0;
        let mut ring = self.rx.receive(BURST as u32);
        while let Some(XdpDesc { addr, len, options }) = ring.read() {
            self.done.push(addr & !(FRAME_LENGTH as u64 - 1));
            // SAFETY: the kernel gave this range of a frame by the receive ring, and does not touch
            // the frame before it is back on the fill ring, below; the slice ends before that.
            let bytes = unsafe { self.region.memory.bytes(addr as usize, len as usize) };
            let goes_on = options & CONTINUED != 0;
            if !goes_on && !self.packet_goes_on {
                each(Some(bytes));
                count += 1;
                continue;
            }
            // A packet that does not fit leaves its length beyond the scratch's.
            let end = self.packet_length.saturating_add(bytes.len());
            if let Some(room) = self.packet.get_mut(self.packet_length..end) {
                room.copy_from_slice(bytes);
            }
            (self.packet_length, self.packet_goes_on) = (end, goes_on);
            if !goes_on {
                each(self.packet.get(..end));
                count += 1;
                self.packet_length = 0;
            }
        }
        ring.release();
        drop(ring);
        let is_empty = self.done.is_empty();
        self.refill();
        if self.fill.needs_wakeup() || (self.busy && is_empty) {
            self.wake();
        }
        count
    }

    /// Gives frames that were read back to the kernel. It tells of what it received before it tells
    /// which frames it took for that off the fill ring (`xsk_flush`), so the ring may look full for a
    /// moment although it has a slot for each: what finds none goes back with the next burst.
    fn refill(&mut self) {
        let mut at = 0;
        while at < self.done.len() {
            // The ring may offer fewer slots at first than it has.
            let mut writer = self.fill.fill((self.done.len() - at) as u32);
            let slots = writer.capacity() as usize;
            if slots == 0 {
                break;
            }
            writer.insert(self.done[at..at + slots].iter().copied());
            writer.commit();
            at += slots;
        }
        self.done.drain(..at);
    }

    /// Drives the device's queue: it takes frames off the fill ring, and packets off the wire. What
    /// the system says (the device is down, for one) shows by what does not arrive.
    fn wake(&self) {
        // SAFETY: no buffer and no address: the call only drives the socket's queue.
        unsafe {
            libc::recvfrom(
                self.rx.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
    }

    /// Whether it is polled busily: then an empty burst has asked the device, and sleeping is wrong.
    pub(in crate::io::afxdp) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Packets that were for this socket and found no room. In copy mode a missing frame is among the
    /// dropped packets; with zero-copy it is the driver that goes without, and is counted by the
    /// frame that it asked for in vain.
    pub(in crate::io::afxdp) fn drops(&self) -> Option<u64> {
        let said = self.user.statistics_v2().ok()?;
        let missing = if self.zero_copy { said.rx_fill_ring_empty_descs } else { 0 };
        Some(said.rx_dropped + said.rx_ring_full + missing)
    }

    /// The socket, for the program's map and for polling.
    pub(in crate::io::afxdp) fn descriptor(&self) -> BorrowedFd<'_> {
        borrow(&self.user)
    }
}
