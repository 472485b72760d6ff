//! The rings of one AF_XDP socket behind safe methods: all `unsafe` of this backend.
//!
//! xsk-rs describes a frame by a `Copy` value that can be submitted twice. Here a frame of user
//! space is an [`OwnFrame`], move-only: it is taken from the free list, and ends in `submit` or
//! `give_back`. Received frames never leave [`ReceiveRing`]: they are lent to a closure and go
//! straight back to the fill ring.
//!
//! Invariant: each frame of the UMEM is in exactly one place: fill ring, kernel, transmit ring,
//! free list, or one `OwnFrame`. Receiving and sending have frames of their own, and each ring has
//! at least as many slots as there are frames that can be on it, so that no ring is ever full.
#![allow(unsafe_code)] // xsk-rs's rings are unsafe by contract: who owns a frame is the caller's to know

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd};

use xsk_rs::config::{
    BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig,
};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

use super::super::socket;
use super::Error;
use crate::io::Tag;

/// Bytes a frame; the kernel keeps 256 of them in front.
const FRAME_LENGTH: u32 = 4096;
const KERNEL_HEADROOM: usize = 256;
/// Bytes of a frame that hold a packet.
pub(super) const PACKET_LENGTH: usize = FRAME_LENGTH as usize - KERNEL_HEADROOM;
/// Frames a burst.
pub(super) const BURST: usize = 64;
/// Slots of the receive ring. One of 2,048 overflowed when the worker was descheduled.
const RECEIVE_SLOTS: u32 = 4096;
/// Frames for receiving, all on the fill ring at first: the receive ring full, and as many again
/// for the driver's own ring.
const RECEIVE_FRAMES: u32 = 2 * RECEIVE_SLOTS;

/// `XDP_MAX_TX_SKB_BUDGET`: packets that one kick sends in copy mode; 32 by default.
const OPTION_BUDGET: i32 = 9;
const BUDGET: i32 = 256;
/// For packets on their way in copy mode, which the kernel copies into buffers of its own.
const SEND_BUFFER_BYTES: usize = 8 << 20;
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

/// What the kernel gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) zero_copy: bool,
    pub(super) huge_pages: bool,
}

/// Opens a socket on a queue: the receiving rings, the sending rings, and what the kernel gave.
///
/// `send_frames` is rounded up to a power of two.
pub(super) fn open(
    device: &str,
    queue: u32,
    send_frames: u32,
) -> Result<(ReceiveRing, SendRing, Grant), Error> {
    let send_frames = send_frames.clamp(64, 1 << 16).next_power_of_two();
    let (umem, mut frames, huge_pages) = map(send_frames)?;
    let config = SocketConfig::builder()
        .rx_queue_size(slots(RECEIVE_SLOTS))
        .tx_queue_size(slots(send_frames))
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(BindFlags::XDP_USE_NEED_WAKEUP)
        .build();
    let interface: Interface = device.parse().map_err(|_| Error::device(device, "bad name"))?;
    // SAFETY: the UMEM is new, so no socket shares it; libxdp's own program is not loaded.
    let opened = unsafe { Socket::new(config, &umem, &interface, queue) };
    let (tx, rx, rest) = opened.map_err(|error| Error::socket(device, queue, &error))?;
    let (fill, completion) = rest.expect("the first socket of a UMEM has both its rings");

    let send = frames.split_off(RECEIVE_FRAMES as usize);
    let mut receive =
        ReceiveRing { umem: umem.clone(), rx, fill, burst: vec![FrameDesc::default(); BURST] };
    receive.fill_all(&frames);
    let mut send = SendRing {
        umem,
        tx,
        completion,
        slots: send_frames,
        free: send.into_iter().map(OwnFrame).collect(),
        staged: Vec::with_capacity(send_frames as usize),
        staged_tags: Vec::with_capacity(send_frames as usize),
        outstanding: VecDeque::with_capacity(send_frames as usize),
        completed: vec![FrameDesc::default(); BURST],
        in_flight: 0,
        zero_copy: false,
    };
    send.zero_copy = send.ask_zero_copy();
    socket::set_send_buffer(send.descriptor(), SEND_BUFFER_BYTES);
    socket::set_receive_buffer(send.descriptor(), RECEIVE_BUFFER_BYTES);
    // Kernels before 6.17 lack the option: the kicks below then drain 32 at a time.
    let _ = socket::set_option(send.descriptor(), libc::SOL_XDP, OPTION_BUDGET, BUDGET);
    let grant = Grant { zero_copy: send.zero_copy, huge_pages };
    Ok((receive, send, grant))
}

/// Maps the UMEM, on huge pages where there are some free.
fn map(send_frames: u32) -> Result<(Umem, Vec<FrameDesc>, bool), Error> {
    let config = UmemConfig::builder()
        .frame_size(FrameSize::new(FRAME_LENGTH).expect("a legal frame size"))
        .fill_queue_size(slots(RECEIVE_FRAMES))
        .comp_queue_size(slots(send_frames))
        .build()
        .expect("a frame has room behind its headroom");
    let count = NonZeroU32::new(RECEIVE_FRAMES + send_frames).expect("more than none");
    if let Ok((umem, frames)) = Umem::new(config, count, true) {
        return Ok((umem, frames, true));
    }
    let (umem, frames) = Umem::new(config, count, false).map_err(|error| Error::umem(&error))?;
    Ok((umem, frames, false))
}

fn slots(count: u32) -> QueueSize {
    QueueSize::new(count).expect("a power of two")
}

/// Receive ring and fill ring.
#[derive(Debug)]
pub(super) struct ReceiveRing {
    umem: Umem,
    rx: RxQueue,
    fill: FillQueue,
    burst: Vec<FrameDesc>,
}

impl ReceiveRing {
    fn fill_all(&mut self, frames: &[FrameDesc]) {
        // SAFETY: the frames are this UMEM's, and nobody has used them before.
        let count = unsafe { self.fill.produce(frames) };
        assert_eq!(count, frames.len(), "the fill ring has a slot for every receiving frame");
    }

    /// Lends up to [`BURST`] received frames to `each`, then gives them back to the kernel.
    pub(super) fn burst(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        // SAFETY: the receive ring gives frames of this UMEM, each of which the kernel let go.
        let count = unsafe { self.rx.consume(&mut self.burst) };
        let received = &self.burst[..count];
        for frame in received {
            // SAFETY: a frame of this UMEM, ours until it is back on the fill ring below.
            let data = unsafe { self.umem.data(frame) };
            each(data.contents());
        }
        // SAFETY: frames of this UMEM, just consumed, and `each` cannot have kept a reference.
        let filled = unsafe { self.fill.produce(received) };
        assert_eq!(filled, count, "the fill ring has a slot for every receiving frame");
        if self.fill.needs_wakeup() {
            self.fill.wakeup(self.rx.fd_mut(), 0)?;
        }
        Ok(count)
    }

    /// Frames that were for this socket and found no room.
    pub(super) fn drops(&self) -> Option<u64> {
        let statistics = self.rx.fd().xdp_statistics().ok()?;
        Some(statistics.rx_dropped() + statistics.rx_ring_full())
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as the receive ring lives.
        unsafe { BorrowedFd::borrow_raw(self.rx.fd().as_raw_fd()) }
    }
}

/// A frame that user space owns; move-only.
#[derive(Debug)]
pub(super) struct OwnFrame(FrameDesc);

/// A packet on the transmit ring that the kernel has not been seen to take yet.
#[derive(Debug)]
struct Outstanding {
    tag: Tag,
    reported: bool,
}

/// Transmit ring and completion ring.
#[derive(Debug)]
pub(super) struct SendRing {
    umem: Umem,
    tx: TxQueue,
    completion: CompQueue,
    slots: u32,
    free: Vec<OwnFrame>,
    /// Submitted since the last kick, not yet on the ring.
    staged: Vec<FrameDesc>,
    staged_tags: Vec<Tag>,
    /// On the ring, in order.
    outstanding: VecDeque<Outstanding>,
    completed: Vec<FrameDesc>,
    /// Frames that the kernel has, from the ring to the completion ring.
    in_flight: usize,
    zero_copy: bool,
}

impl SendRing {
    pub(super) fn take(&mut self) -> Option<OwnFrame> {
        if self.free.is_empty() {
            self.reap();
        }
        self.free.pop()
    }

    pub(super) fn give_back(&mut self, frame: OwnFrame) {
        self.free.push(frame);
    }

    /// The frame's room for a packet, [`PACKET_LENGTH`] bytes.
    pub(super) fn bytes_mut<'a>(&'a mut self, frame: &'a mut OwnFrame) -> &'a mut [u8] {
        // SAFETY: an `OwnFrame` describes a frame of this UMEM that only its holder may touch, and
        // the holder lends it mutably for 'a.
        let mut data = unsafe { self.umem.data_mut(&mut frame.0) };
        data.cursor().set_pos(PACKET_LENGTH);
        let contents = data.contents_mut();
        debug_assert_eq!(contents.len(), PACKET_LENGTH);
        // SAFETY: the same bytes, for the lifetime that `data_mut` promises and its guard shortens.
        unsafe { std::slice::from_raw_parts_mut(contents.as_mut_ptr(), contents.len()) }
    }

    /// Queues the first `length` bytes of the frame, a whole Ethernet frame, for the next kick.
    pub(super) fn submit(&mut self, mut frame: OwnFrame, length: usize, tag: Tag) {
        // SAFETY: as in `bytes_mut`; no reference to the bytes is made.
        let mut data = unsafe { self.umem.data_mut(&mut frame.0) };
        data.cursor().set_pos(length);
        self.staged.push(frame.0);
        self.staged_tags.push(tag);
    }

    /// Whether packets are queued that no kick has pushed yet.
    pub(super) fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Puts what is staged on the ring and asks the kernel once to take what is there. Says whether
    /// all was taken (zero-copy: it is the driver's from here on); packets that the device refused
    /// go to `failed`.
    ///
    /// # Errors
    /// What the kernel says beyond "try again" (the device is down, for one); the packets stay on
    /// the ring.
    pub(super) fn kick(&mut self, failed: &mut dyn FnMut(Tag)) -> io::Result<bool> {
        self.stage();
        if self.zero_copy {
            self.outstanding.clear();
            return if self.tx.needs_wakeup() { self.wake().map(|()| true) } else { Ok(true) };
        }
        if self.outstanding.is_empty() {
            return Ok(true);
        }
        let result = self.wake();
        let taken = self.see_taken(failed, result.as_ref().err().and_then(io::Error::raw_os_error));
        match result {
            Ok(()) => Ok(taken),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR) => Ok(taken),
                _ => Err(error),
            },
        }
    }

    fn stage(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        // SAFETY: frames of this UMEM that came as `OwnFrame`s, which `submit` consumed.
        let count = unsafe { self.tx.produce(&self.staged) };
        assert_eq!(count, self.staged.len(), "the transmit ring has a slot for every frame");
        self.in_flight += count;
        self.staged.clear();
        let tags = self.staged_tags.drain(..);
        self.outstanding.extend(tags.map(|tag| Outstanding { tag, reported: false }));
    }

    fn wake(&self) -> io::Result<()> {
        // SAFETY: no buffer and no address: the call only drives the socket's transmit ring.
        let result = unsafe {
            libc::sendto(
                self.descriptor().as_raw_fd(),
                std::ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sees how far the kernel has come. EBUSY says that the last packet it took was dropped by the
    /// device's queue; when it took no other in the same call, the ring does not show that yet.
    fn see_taken(&mut self, failed: &mut dyn FnMut(Tag), code: Option<i32>) -> bool {
        let left = (self.slots - self.tx.nb_free_exact()) as usize;
        let taken = self.outstanding.len() - left;
        let busy = code == Some(libc::EBUSY);
        if busy && taken > 0 {
            report(&mut self.outstanding[taken - 1], failed);
        } else if busy && let Some(hidden) = self.outstanding.iter_mut().find(|o| !o.reported) {
            report(hidden, failed);
        }
        self.outstanding.drain(..taken);
        self.outstanding.is_empty()
    }

    /// Takes back the frames that were sent.
    pub(super) fn reap(&mut self) {
        loop {
            // SAFETY: the completion ring gives frames of this UMEM, each of which the kernel let
            // go.
            let count = unsafe { self.completion.consume(&mut self.completed) };
            self.in_flight -= count;
            self.free.extend(self.completed[..count].iter().copied().map(OwnFrame));
            if count < self.completed.len() {
                return;
            }
        }
    }

    /// Whether `take` has a frame without asking the kernel.
    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Frames that the kernel has not given back yet.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    fn ask_zero_copy(&self) -> bool {
        let options = socket::get_option::<1>(self.descriptor(), libc::SOL_XDP, libc::XDP_OPTIONS);
        options.is_ok_and(|[flags]| flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as the transmit ring lives.
        unsafe { BorrowedFd::borrow_raw(self.tx.fd().as_raw_fd()) }
    }
}

fn report(packet: &mut Outstanding, failed: &mut dyn FnMut(Tag)) {
    if !packet.reported {
        packet.reported = true;
        failed(packet.tag);
    }
}
