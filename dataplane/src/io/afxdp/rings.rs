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

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use xdpilone::xdp::XdpDesc;
use xdpilone::{
    CompletionQueue, DeviceQueue, Errno, FillQueue, IfInfo, RingRx, RingTx, Socket, SocketConfig,
    UmemConfig, User,
};

use super::super::socket;
use super::BusyPoll;
use super::memory::Memory;
use crate::io::Tag;

/// Bytes a frame.
pub(super) const FRAME_LENGTH: usize = 4096;
/// Bytes that the kernel keeps in front of a received packet.
const KERNEL_HEADROOM: usize = 256;
/// Bytes of a received packet that one frame holds.
pub(super) const RECEIVE_LENGTH: usize = FRAME_LENGTH - KERNEL_HEADROOM;
/// Bytes of the longest packet that comes in several frames: any IP packet, with its Ethernet header.
const PACKET_MAX: usize = 65_535 + super::ETHERNET_MAX;
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
/// `XDP_PKT_CONTD`: the packet goes on in the next descriptor.
const CONTINUED: u32 = 1 << 0;
/// `XDP_MAX_TX_SKB_BUDGET`: packets that one kick sends in copy mode; 32 by default.
const OPTION_BUDGET: i32 = 9;
const BUDGET: i32 = 256;
/// For packets on their way in copy mode, which the kernel copies into buffers of its own.
const SEND_BUFFER_BYTES: usize = 8 << 20;
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
    let mut receive = ReceiveRing {
        rx,
        fill,
        user,
        region: Arc::clone(&region),
        done: Vec::with_capacity(BURST),
        packet: vec![0; PACKET_MAX].into_boxed_slice(),
        packet_length: 0,
        packet_goes_on: false,
        busy: false,
        zero_copy: false,
    };
    receive.fill_all();
    socket::set_receive_buffer(receive.descriptor(), RECEIVE_BUFFER_BYTES);
    region.kernel.bind(&receive.user).map_err(system)?;
    receive.zero_copy = zero_copy(receive.descriptor());
    receive.busy = poll_busily(receive.descriptor(), wanted.busy_poll);
    let grant = Grant { zero_copy: receive.zero_copy, busy_poll: receive.busy };
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
    let completions = Completions::Egress { rings, _rx: rx };
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

/// Receive ring and fill ring.
pub(super) struct ReceiveRing {
    rx: RingRx,
    fill: FillQueue,
    user: User,
    region: Arc<Region>,
    /// Addresses of a burst's frames, to go back to the fill ring.
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
    fn fill_all(&mut self) {
        let frames = u64::from(self.region.send_frames)..;
        let mut addresses = frames.map(|frame| frame * FRAME_LENGTH as u64);
        fill(&mut self.fill, &mut addresses, RECEIVE_FRAMES);
    }

    /// Lends up to [`BURST`] received packets to `each`, then gives their frames back to the kernel.
    /// A packet of several frames is put together first, and `None` when it is longer than any.
    /// Returns how many came.
    pub(super) fn burst(&mut self, each: &mut dyn FnMut(Option<&[u8]>)) -> usize {
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
        let frames = self.done.len() as u32;
        if frames > 0 {
            fill(&mut self.fill, &mut self.done.drain(..), frames);
        }
        if self.fill.needs_wakeup() || (self.busy && frames == 0) {
            self.wake();
        }
        count
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
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Packets that were for this socket and found no room. In copy mode a missing frame is among the
    /// dropped packets; with zero-copy it is the driver that goes without, and is counted by the
    /// frame that it asked for in vain.
    pub(super) fn drops(&self) -> Option<u64> {
        let said = self.user.statistics_v2().ok()?;
        let missing = if self.zero_copy { said.rx_fill_ring_empty_descs } else { 0 };
        Some(said.rx_dropped + said.rx_ring_full + missing)
    }

    /// The socket, for the program's map and for polling.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        borrow(&self.user)
    }
}

/// Puts `count` addresses on the fill ring.
fn fill(ring: &mut FillQueue, addresses: &mut dyn Iterator<Item = u64>, count: u32) {
    let mut left = count;
    while left > 0 {
        // The ring may offer fewer slots at first than it has.
        let mut writer = ring.fill(left);
        let slots = writer.capacity();
        assert!(slots > 0, "the fill ring has a slot for every receiving frame");
        left -= writer.insert(&mut addresses.take(slots as usize));
        writer.commit();
    }
}

/// A frame that user space owns; move-only: its number.
#[derive(Debug)]
pub(super) struct OwnFrame(u32);

/// Where a frame for sending is, besides the free list and an [`OwnFrame`]: on its way by a ring.
const AT_HOME: u8 = u8::MAX;

/// A lane's frames for sending.
pub(super) struct Frames {
    region: Arc<Region>,
    free: Vec<OwnFrame>,
    /// The ring that each frame is on its way by, or [`AT_HOME`].
    on_ring: Box<[u8]>,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("free", &self.free.len()).finish_non_exhaustive()
    }
}

impl Frames {
    fn new(region: Arc<Region>) -> Self {
        let count = region.send_frames;
        let on_ring = vec![AT_HOME; count as usize].into_boxed_slice();
        Frames { region, free: (0..count).map(OwnFrame).collect(), on_ring }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.on_ring.len()
    }

    pub(super) fn take(&mut self) -> Option<OwnFrame> {
        self.free.pop()
    }

    pub(super) fn give_back(&mut self, frame: OwnFrame) {
        self.free.push(frame);
    }

    /// Whether `take` has one.
    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// The frame's bytes.
    pub(super) fn bytes(&self, frame: &OwnFrame) -> &[u8] {
        // SAFETY: an `OwnFrame` names a frame that only its holder uses, who lends it for reading.
        unsafe { self.region.memory.bytes(frame.0 as usize * FRAME_LENGTH, FRAME_LENGTH) }
    }

    /// The frame's bytes, to be written.
    pub(super) fn bytes_mut<'a>(&'a mut self, frame: &'a mut OwnFrame) -> &'a mut [u8] {
        // SAFETY: an `OwnFrame` names a frame that only its holder uses, who lends it mutably for 'a.
        unsafe { self.region.memory.bytes_mut(frame.0 as usize * FRAME_LENGTH, FRAME_LENGTH) }
    }

    fn leave(&mut self, frame: OwnFrame, ring: u8) -> u32 {
        self.on_ring[frame.0 as usize] = ring;
        frame.0
    }

    /// A frame comes home from `ring`; says whether it was on its way there.
    fn come_home(&mut self, frame: u32, ring: u8) -> bool {
        let Some(place) = self.on_ring.get_mut(frame as usize).filter(|place| **place == ring)
        else {
            return false;
        };
        *place = AT_HOME;
        self.free.push(OwnFrame(frame));
        true
    }
}

/// The completion ring of a queue, and what keeps it alive.
enum Completions {
    Lane(CompletionQueue),
    Egress { rings: DeviceQueue, _rx: RingRx },
}

/// A packet on its way to the kernel.
#[derive(Debug)]
struct Packet {
    frame: u32,
    length: u32,
    tag: Tag,
    /// Reported as failed already.
    reported: bool,
}

/// What a kick brought about.
#[derive(Debug)]
pub(super) enum Kick {
    /// Nothing is left to do: the kernel has taken all, or takes it by itself (zero-copy).
    Done,
    /// The kernel wants to be asked again.
    Again,
    /// The device is down or gone; all that was on the ring has been reported.
    Down,
}

/// Transmit ring and completion ring of a device's queue.
pub(super) struct SendRing {
    /// `None` while the device is down.
    tx: Option<RingTx>,
    completions: Completions,
    region: Arc<Region>,
    info: IfInfo,
    /// The ring's number among its lane's.
    number: u8,
    /// Submitted since the last kick, not yet on the ring.
    staged: Vec<Packet>,
    /// On the ring, in order.
    outstanding: VecDeque<Packet>,
    /// Frames that the kernel has, from the ring to the completion ring.
    in_flight: usize,
    grant: Grant,
    wanted: Wanted,
    /// Whether the device is gone, or its driver does not send this way.
    dead: bool,
}

impl std::fmt::Debug for SendRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendRing")
            .field("device", &self.info.ifindex())
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl SendRing {
    fn open(
        region: Arc<Region>,
        info: IfInfo,
        completions: Completions,
        number: u8,
        grant: Grant,
        wanted: Wanted,
    ) -> io::Result<Self> {
        let frames = region.send_frames as usize;
        let mut ring = SendRing {
            tx: None,
            completions,
            region,
            info,
            number,
            staged: Vec::with_capacity(frames),
            outstanding: VecDeque::with_capacity(frames),
            in_flight: 0,
            grant,
            wanted,
            dead: false,
        };
        ring.connect()?;
        Ok(ring)
    }

    /// Opens the socket that sends, beside the one that owns the queue's other rings.
    fn connect(&mut self) -> io::Result<()> {
        let socket = Socket::new(&self.info).map_err(system)?;
        let slots = NonZeroU32::new(self.region.send_frames);
        let config = SocketConfig { rx_size: None, tx_size: slots, bind_flags: 0 };
        let user = self.region.kernel.rx_tx(&socket, &config).map_err(system)?;
        let tx = user.map_tx().map_err(system)?;
        match &self.completions {
            Completions::Lane(_) => self.region.kernel.bind(&user).map_err(system)?,
            Completions::Egress { rings, .. } => rings.bind(&user).map_err(system)?,
        }
        socket::set_send_buffer(borrow(&user), SEND_BUFFER_BYTES);
        // Kernels before 6.17 lack the option: the kicks below then drain 32 at a time.
        let _ = socket::set_option(borrow(&user), libc::SOL_XDP, OPTION_BUDGET, BUDGET);
        poll_busily(borrow(&user), self.wanted.busy_poll);
        self.tx = Some(tx);
        Ok(())
    }

    /// Whether packets can be submitted.
    pub(super) fn is_up(&self) -> bool {
        self.tx.is_some()
    }

    /// Whether it will never be up again.
    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Tries to send again, after the device was down.
    pub(super) fn reconnect(&mut self) {
        if self.tx.is_none() && !self.dead {
            let _still_down = self.connect();
        }
    }

    /// Queues the first `length` bytes of the frame, a whole Ethernet frame, for the next kick. The
    /// ring must be up.
    pub(super) fn submit(&mut self, frames: &mut Frames, frame: OwnFrame, length: usize, tag: Tag) {
        debug_assert!(self.is_up() && length <= FRAME_LENGTH);
        let frame = frames.leave(frame, self.number);
        self.in_flight += 1;
        self.staged.push(Packet { frame, length: length as u32, tag, reported: false });
    }

    /// Whether a kick has anything to do.
    pub(super) fn has_work(&self) -> bool {
        !self.staged.is_empty() || !self.outstanding.is_empty()
    }

    /// Puts what is staged on the ring and asks the kernel once to take what is there. Packets that
    /// it refused go to `failed`, each once.
    pub(super) fn kick(
        &mut self,
        frames: &mut Frames,
        failed: &mut dyn FnMut(Tag, io::Error),
    ) -> Kick {
        self.stage();
        let Some(tx) = &self.tx else { return Kick::Down };
        if self.outstanding.is_empty() {
            return Kick::Done;
        }
        let busy = self.grant.busy_poll;
        let error =
            if self.grant.zero_copy && !busy && !tx.needs_wakeup() { None } else { wake(tx) };
        let pending = tx.pending() as usize;
        self.see_taken(pending, error == Some(libc::EBUSY), failed);
        match error {
            Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => {
                self.abandon(frames, error, failed);
                Kick::Down
            }
            _ if self.outstanding.is_empty() || self.grant.zero_copy => Kick::Done,
            _ => Kick::Again,
        }
    }

    fn stage(&mut self) {
        let Some(tx) = &mut self.tx else { return };
        let mut at = 0;
        while at < self.staged.len() {
            // The ring may offer fewer slots at first than it has.
            let mut writer = tx.transmit((self.staged.len() - at) as u32);
            let slots = writer.capacity() as usize;
            assert!(slots > 0, "the transmit ring has a slot for every frame");
            let descriptors = self.staged[at..at + slots].iter().map(|packet| XdpDesc {
                addr: u64::from(packet.frame) * FRAME_LENGTH as u64,
                len: packet.length,
                options: 0,
            });
            writer.insert(descriptors);
            writer.commit();
            at += slots;
        }
        self.outstanding.extend(self.staged.drain(..));
    }

    /// Sees how far the kernel has come. EBUSY says that the last packet it took was dropped by the
    /// device's queue; when it took no other in the same call, the ring does not show that yet.
    fn see_taken(&mut self, pending: usize, busy: bool, failed: &mut dyn FnMut(Tag, io::Error)) {
        let taken = self.outstanding.len().saturating_sub(pending);
        if busy && taken > 0 {
            report(&mut self.outstanding[taken - 1], libc::ENOBUFS, failed);
        } else if busy && let Some(hidden) = self.outstanding.iter_mut().find(|o| !o.reported) {
            report(hidden, libc::ENOBUFS, failed);
        }
        self.outstanding.drain(..taken);
    }

    /// Reports all that is queued and on the ring as failed, takes its frames home, and closes the
    /// socket that sends, and with it the ring, so that nothing of it leaves later.
    fn abandon(
        &mut self,
        frames: &mut Frames,
        error: Option<i32>,
        failed: &mut dyn FnMut(Tag, io::Error),
    ) {
        // First what the kernel gave back by itself, so that no frame comes home twice.
        self.reap(frames);
        self.dead = error != Some(libc::ENETDOWN);
        self.tx = None;
        let code = error.unwrap_or(libc::ETIMEDOUT);
        for mut packet in self.outstanding.drain(..).chain(self.staged.drain(..)) {
            report(&mut packet, code, failed);
            if frames.come_home(packet.frame, self.number) {
                self.in_flight -= 1;
            }
        }
    }

    /// Reports what the kernel has not taken as failed; the ring is of no use afterwards.
    pub(super) fn finish(&mut self, frames: &mut Frames, failed: &mut dyn FnMut(Tag, io::Error)) {
        if self.has_work() {
            self.abandon(frames, None, failed);
        }
    }

    /// Takes back the frames that were sent.
    pub(super) fn reap(&mut self, frames: &mut Frames) {
        loop {
            let mut done = match &mut self.completions {
                Completions::Lane(ring) => ring.complete(BURST as u32),
                Completions::Egress { rings, .. } => rings.complete(BURST as u32),
            };
            let mut count = 0;
            while let Some(address) = done.read() {
                count += 1;
                let frame = u32::try_from(address / FRAME_LENGTH as u64).unwrap_or(u32::MAX);
                if frames.come_home(frame, self.number) {
                    self.in_flight -= 1;
                }
            }
            done.release();
            if count == 0 {
                return;
            }
        }
    }

    /// Frames that are staged, on the ring, or with the kernel.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn is_zero_copy(&self) -> bool {
        self.grant.zero_copy
    }
}

/// Drives a transmit ring; the error's code, if there is one.
fn wake(tx: &RingTx) -> Option<i32> {
    // SAFETY: no buffer and no address: the call only drives the socket's transmit ring.
    let result = unsafe {
        libc::sendto(tx.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
    };
    if result < 0 { io::Error::last_os_error().raw_os_error() } else { None }
}

fn report(packet: &mut Packet, code: i32, failed: &mut dyn FnMut(Tag, io::Error)) {
    if !packet.reported {
        packet.reported = true;
        failed(packet.tag, io::Error::from_raw_os_error(code));
    }
}
