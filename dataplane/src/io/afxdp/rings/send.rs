//! Transmit ring and completion ring of a queue.
#![allow(unsafe_code)] // drives the transmit ring

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;

use xdpilone::xdp::XdpDesc;
use xdpilone::{CompletionQueue, DeviceQueue, IfInfo, RingRx, RingTx, Socket, SocketConfig};

use super::{
    BURST, FRAME_LENGTH, Frames, Grant, OwnFrame, Region, Wanted, borrow, poll_busily, system,
};
use crate::io::Tag;
use crate::io::socket;

/// `XDP_MAX_TX_SKB_BUDGET`: packets that one kick sends in copy mode; 32 by default.
const OPTION_BUDGET: i32 = 9;
const BUDGET: i32 = 256;
/// For packets on their way in copy mode, which the kernel copies into buffers of its own.
const SEND_BUFFER_BYTES: usize = 8 << 20;

/// The completion ring of a queue, and what keeps it alive.
pub(super) enum Completions {
    Lane(CompletionQueue),
    Egress { rings: Box<DeviceQueue>, _rx: RingRx },
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
pub(in crate::io::afxdp) enum Kick {
    /// Nothing is left to do: the kernel has taken all, or takes it by itself (zero-copy).
    Done,
    /// The kernel wants to be asked again.
    Again,
    /// The device is down or gone; all that was on the ring has been reported.
    Down,
}

/// Transmit ring and completion ring of a device's queue.
pub(in crate::io::afxdp) struct SendRing {
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
    pub(super) fn open(
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
    pub(in crate::io::afxdp) fn is_up(&self) -> bool {
        self.tx.is_some()
    }

    /// Whether it will never be up again.
    pub(in crate::io::afxdp) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Tries to send again, after the device was down.
    pub(in crate::io::afxdp) fn reconnect(&mut self) {
        if self.tx.is_none() && !self.dead {
            let _still_down = self.connect();
        }
    }

    /// Queues the first `length` bytes of the frame, a whole Ethernet frame, for the next kick. The
    /// ring must be up.
    pub(in crate::io::afxdp) fn submit(
        &mut self,
        frames: &mut Frames,
        frame: OwnFrame,
        length: usize,
        tag: Tag,
    ) {
        debug_assert!(self.is_up() && length <= FRAME_LENGTH);
        let frame = frames.leave(frame, self.number);
        self.in_flight += 1;
        self.staged.push(Packet { frame, length: length as u32, tag, reported: false });
    }

    /// Whether a kick has anything to do.
    pub(in crate::io::afxdp) fn has_work(&self) -> bool {
        !self.staged.is_empty() || !self.outstanding.is_empty()
    }

    /// Puts what is staged on the ring and asks the kernel once to take what is there. Packets that
    /// it refused go to `failed`, each once.
    pub(in crate::io::afxdp) fn kick(
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
    pub(in crate::io::afxdp) fn finish(
        &mut self,
        frames: &mut Frames,
        failed: &mut dyn FnMut(Tag, io::Error),
    ) {
        if self.has_work() {
            self.abandon(frames, None, failed);
        }
    }

    /// Takes back the frames that were sent.
    pub(in crate::io::afxdp) fn reap(&mut self, frames: &mut Frames) {
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
    pub(in crate::io::afxdp) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(in crate::io::afxdp) fn is_zero_copy(&self) -> bool {
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
