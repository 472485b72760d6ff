//! The rings of AF_XDP sockets behind safe methods.
//!
//! The kernel describes a frame by its address, a number that can be written to two rings. Here a
//! frame of user space is an [`OwnFrame`], move-only: it is taken from the free list ([`Frames`]), and
//! ends in `submit` or `give_back`. Received frames never leave [`ReceiveRing`]: they are lent to a
//! closure and go straight back to the fill ring.
//!
//! A queue has a socket that owns its fill and completion ring and receives, and beside it one that
//! only sends. So what a device that went down left on the transmit ring can be thrown away, by
//! closing that socket, and receiving goes on.
//!
//! Invariant: each frame is in exactly one place: fill ring, kernel, transmit ring, free list, or one
//! `OwnFrame`. Receiving and sending have frames of their own, and each ring has at least as many
//! slots as there are frames that can be on it, so that no ring is ever full.
#![allow(unsafe_code)] // who owns a frame is the caller's to know: slices, rings and a wake-up

use std::ffi::CString;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use xdpilone::{Errno, IfInfo, Socket, SocketConfig, UmemConfig, User};

use super::super::socket;
use super::BusyPoll;
use super::memory::Memory;

mod frames;
mod receive;
mod send;

pub(super) use frames::{Frames, OwnFrame};
pub(super) use receive::ReceiveRing;
pub(super) use send::{Kick, SendRing};

use send::Completions;

/// Bytes a frame.
pub(super) const FRAME_LENGTH: usize = 4096;
/// Bytes that the kernel keeps in front of a received packet.
const KERNEL_HEADROOM: usize = 256;
/// Bytes of a received packet that one frame holds.
pub(super) const RECEIVE_LENGTH: usize = FRAME_LENGTH - KERNEL_HEADROOM;
/// Frames a burst.
pub(super) const BURST: usize = 64;
/// Slots of the receive ring. One of 2,048 overflowed when the worker was descheduled.
const RECEIVE_SLOTS: u32 = 4096;
/// Frames for receiving, all on the fill ring at first: the receive ring full, and as many again
/// for the driver's own ring.
const RECEIVE_FRAMES: u32 = 2 * RECEIVE_SLOTS;
/// Slots of the receive ring of a queue that only sends; a socket must have one.
const UNUSED_SLOTS: u32 = 64;

/// `XDP_USE_SG`, Linux 6.6 or newer: packets in several frames.
const BIND_MULTI_BUFFER: u16 = 1 << 4;
/// For packets that wait in copy mode.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

/// Bytes of memory that a lane with `send_frames` outgoing frames needs.
pub(super) fn memory_length(send_frames: u32) -> usize {
    (RECEIVE_FRAMES + rounded(send_frames)) as usize * FRAME_LENGTH
}

fn rounded(send_frames: u32) -> u32 {
    send_frames.clamp(64, 1 << 16).next_power_of_two()
}

/// A lane's memory, known to the kernel as a UMEM.
struct Region {
    kernel: xdpilone::Umem,
    memory: Memory,
    send_frames: u32,
}

// SAFETY: of its members only xdpilone's UMEM is not `Send` by itself, for a pointer that it keeps to
// answer questions that nobody here asks; its methods used here are system calls on its descriptor.
unsafe impl Send for Region {}
// SAFETY: as above: `&self` methods that are system calls.
unsafe impl Sync for Region {}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl Region {
    fn register(memory: Memory, send_frames: u32) -> io::Result<Arc<Self>> {
        let config = UmemConfig {
            fill_size: RECEIVE_FRAMES,
            complete_size: send_frames,
            frame_size: FRAME_LENGTH as u32,
            ..UmemConfig::default()
        };
        // SAFETY: the mapping is page-aligned and lives as long as the `Region`; the kernel holds its
        // pages for as long as any socket uses them.
        let kernel = unsafe { xdpilone::Umem::new(config, memory.area()) }.map_err(system)?;
        Ok(Arc::new(Region { kernel, memory, send_frames }))
    }
}

fn system(error: Errno) -> io::Error {
    io::Error::from_raw_os_error(error.get_raw().abs())
}

/// What a queue is opened with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Outgoing frames; rounded up to a power of two.
    pub(super) send_frames: u32,
    /// Whether packets may be longer than a frame.
    pub(super) multi_buffer: bool,
    /// Busy polling.
    pub(super) busy_poll: Option<BusyPoll>,
}

/// What the kernel gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) zero_copy: bool,
    /// Whether the options of busy polling were accepted.
    pub(super) busy_poll: bool,
}

/// Opens a device's queue: the receiving rings, the frames for sending, the sending rings, and what
/// the kernel gave. The fill ring is full before the socket is bound: drivers take their first
/// frames then.
///
/// # Errors
/// What the system says.
pub(super) fn open(
    device: &str,
    queue: u32,
    memory: Memory,
    wanted: Wanted,
) -> io::Result<(ReceiveRing, Frames, SendRing, Grant)> {
    let send_frames = rounded(wanted.send_frames);
    let region = Region::register(memory, send_frames)?;
    let info = interface(device, queue)?;
    let base = Socket::with_shared(&info, &region.kernel).map_err(system)?;
    let rings = region.kernel.fq_cq(&base).map_err(system)?;
    let flags = if wanted.multi_buffer { BIND_MULTI_BUFFER } else { 0 };
    let user = receiver(&region, &base, RECEIVE_SLOTS, SocketConfig::XDP_BIND_NEED_WAKEUP | flags)?;
    let rx = user.map_rx().map_err(system)?;
    let (fill, completion) = rings.into_parts();
    let mut receive = ReceiveRing::new(rx, fill, user, Arc::clone(&region));
    receive.fill_all();
    socket::set_receive_buffer(receive.descriptor(), RECEIVE_BUFFER_BYTES);
    region.kernel.bind(receive.user()).map_err(system)?;
    let grant = Grant {
        zero_copy: zero_copy(receive.descriptor()),
        busy_poll: poll_busily(receive.descriptor(), wanted.busy_poll),
    };
    receive.grant(grant);
    let frames = Frames::new(Arc::clone(&region));
    let send = SendRing::open(region, info, Completions::Lane(completion), 0, grant, wanted)?;
    Ok((receive, frames, send, grant))
}

/// Opens a queue of another device for sending frames of the same memory.
///
/// # Errors
/// What the system says; a device without zero-copy cannot send what one with it received.
pub(super) fn open_egress(
    frames: &Frames,
    device: &str,
    queue: u32,
    number: u8,
    wanted: Wanted,
) -> io::Result<SendRing> {
    let region = Arc::clone(&frames.region);
    let info = interface(device, queue)?;
    let base = Socket::new(&info).map_err(system)?;
    let rings = region.kernel.fq_cq(&base).map_err(system)?;
    let user = receiver(&region, &base, UNUSED_SLOTS, 0)?;
    let rx = user.map_rx().map_err(system)?;
    region.kernel.bind(&user).map_err(system)?;
    let grant = Grant {
        zero_copy: zero_copy(borrow(&user)),
        busy_poll: poll_busily(borrow(&user), wanted.busy_poll),
    };
    let completions = Completions::Egress { rings: Box::new(rings), _rx: rx };
    SendRing::open(region, info, completions, number, grant, wanted)
}

fn interface(device: &str, queue: u32) -> io::Result<IfInfo> {
    let mut info = IfInfo::invalid();
    info.from_name(&CString::new(device)?).map_err(system)?;
    info.set_queue(queue);
    Ok(info)
}

fn receiver(region: &Region, socket: &Socket, slots: u32, flags: u16) -> io::Result<User> {
    let config = SocketConfig { rx_size: NonZeroU32::new(slots), tx_size: None, bind_flags: flags };
    region.kernel.rx_tx(socket, &config).map_err(system)
}

fn borrow(user: &User) -> BorrowedFd<'_> {
    // SAFETY: the socket is open for as long as `user` lives.
    unsafe { BorrowedFd::borrow_raw(user.as_raw_fd()) }
}

fn zero_copy(socket: BorrowedFd<'_>) -> bool {
    let options = socket::get_option::<1>(socket, libc::SOL_XDP, libc::XDP_OPTIONS);
    options.is_ok_and(|[flags]| flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// Asks the kernel to take packets off the device when this socket is asked for them, and to leave
/// the device's interrupts off meanwhile (Linux 5.11 or newer).
fn poll_busily(socket: BorrowedFd<'_>, wanted: Option<BusyPoll>) -> bool {
    let Some(BusyPoll { us, budget }) = wanted else { return false };
    let set = |name, value: u32| {
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        socket::set_option(socket, libc::SOL_SOCKET, name, value).is_ok()
    };
    set(libc::SO_PREFER_BUSY_POLL, 1)
        && set(libc::SO_BUSY_POLL, us)
        && set(libc::SO_BUSY_POLL_BUDGET, budget)
}
