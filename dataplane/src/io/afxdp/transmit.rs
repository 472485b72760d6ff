//! The sending half: headers in front of the payload that the caller wrote, no copy; and a raw
//! socket for what this way cannot carry.
//!
//! AF_XDP passes by the kernel's routing and neighbour tables, so a packet goes this way only when
//! the next hop towards its destination has been told ([`Transmit::set_next_hop`]), there is a ring
//! on that hop's device, and the packet fits the device's MTU. All others take the raw socket.
//!
//! Invariant: packets to one destination leave in the order in which they were sent. When a
//! destination's way changes, what is queued on its other way is pushed out first.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::rings::{FRAME_LENGTH, Frames, Kick, OwnFrame, SendRing};
use crate::io::device::{self, Device};
use crate::io::packet;
use crate::io::raw::RawTransmit;
use crate::io::socket::PATIENCE;
use crate::io::{NextHop, Tag, Transmit};
use crate::wire::ethernet::{self, Mac, ethertype};
use crate::wire::{ipv4, ipv6, udp};

const OFFSET_V4: usize = ethernet::HEADER_LENGTH + ipv4::HEADER_LENGTH + udp::HEADER_LENGTH;
const OFFSET_V6: usize = ethernet::HEADER_LENGTH + ipv6::HEADER_LENGTH + udp::HEADER_LENGTH;
/// The shortest Ethernet frame, its check sequence aside; not every driver pads by itself.
const FRAME_MIN: usize = 60;
/// Destinations whose next hop is kept.
const NEXT_HOPS_MAX: usize = 4_096;
/// Between two looks at a device that was down.
const RETRY: Duration = Duration::from_secs(1);
/// How long the last flush waits for what is on its way.
const LAST_WAIT: Duration = Duration::from_millis(100);

/// A handle of one outgoing frame of the UMEM; move-only.
#[derive(Debug)]
#[must_use = "a frame that is dropped is lost to its ring: send it or give it back"]
pub struct AfxdpFrame {
    frame: OwnFrame,
    /// Where the payload starts. The headers in front must end there and begin with the frame, and
    /// which IP version they are is known only when it is sent: a guess, corrected by a copy.
    offset: usize,
}

/// A device that packets leave by, with a ring on one of its queues.
#[derive(Debug)]
pub(super) struct Port {
    name: String,
    device: Device,
    ring: SendRing,
    /// Counts its pushes, from 1.
    epoch: u64,
}

impl Port {
    pub(super) fn new(name: &str, device: Device, ring: SendRing) -> Self {
        Port { name: name.to_owned(), device, ring, epoch: 1 }
    }

    /// Whether a packet of `length` bytes, its IP header included, can go by its ring.
    fn carries(&self, length: usize) -> bool {
        self.ring.is_up()
            && length <= usize::from(self.device.mtu)
            && length + ethernet::HEADER_LENGTH <= FRAME_LENGTH
    }
}

/// How packets reach a destination.
#[derive(Clone, Copy, Debug)]
struct Way {
    port: usize,
    mac: Mac,
    /// The port's epoch when the last packet was submitted to its ring.
    by_ring: u64,
    /// The raw socket's epoch when the last packet was queued there.
    by_raw: u64,
}

/// Packets on a transmit queue of each of a few devices.
#[derive(Debug)]
pub struct AfxdpTransmit {
    frames: Frames,
    ports: Vec<Port>,
    fallback: RawTransmit,
    fallback_is_used: bool,
    /// Counts the raw socket's flushes, from 1.
    fallback_epoch: u64,
    ways: HashMap<IpAddr, Way>,
    /// The offset that suited the last packet.
    offset: usize,
    identification: u32,
    failed: Vec<(Tag, io::Error)>,
    /// Waiting for a frame was in vain; nobody waits again before the next flush.
    exhausted: bool,
    /// When to look again after a device that is down.
    retry: Option<Instant>,
    last: bool,
}

impl AfxdpTransmit {
    /// The first port is the one that receives.
    pub(super) fn new(frames: Frames, ports: Vec<Port>, fallback: RawTransmit) -> Self {
        AfxdpTransmit {
            failed: Vec::with_capacity(frames.count()),
            frames,
            ports,
            fallback,
            fallback_is_used: false,
            fallback_epoch: 1,
            ways: HashMap::with_capacity(NEXT_HOPS_MAX),
            offset: OFFSET_V4,
            identification: 0,
            exhausted: false,
            retry: None,
            last: false,
        }
    }

    /// Whether a packet with `length` bytes of payload can go by a ring.
    fn fits(&self, to: SocketAddr, length: usize) -> bool {
        let way = self.ways.get(&to.ip());
        way.is_some_and(|way| self.ports[way.port].carries(packet::overhead(to) + length))
    }

    /// The port and the hardware address to send a packet of `length` bytes of payload by, with all
    /// before it to that destination on the same way; `None` when it cannot go by a ring.
    fn by_ring(&mut self, to: SocketAddr, length: usize) -> Option<(usize, Mac)> {
        let way = self.ways.get_mut(&to.ip())?;
        let port = &self.ports[way.port];
        if !port.carries(packet::overhead(to) + length) {
            return None;
        }
        way.by_ring = port.epoch;
        let (port, mac) = (way.port, way.mac);
        if way.by_raw == self.fallback_epoch {
            self.settle_fallback();
        }
        Some((port, mac))
    }

    /// Makes the raw socket the way of the next packet to `to`.
    fn by_raw(&mut self, to: SocketAddr) {
        self.fallback_is_used = true;
        let Some(way) = self.ways.get_mut(&to.ip()) else { return };
        way.by_raw = self.fallback_epoch;
        let (port, by_ring) = (way.port, way.by_ring);
        if by_ring == self.ports[port].epoch {
            self.settle_ring(port);
        }
    }

    /// Writes the headers and queues the frame.
    fn submit(
        &mut self,
        mut frame: AfxdpFrame,
        length: usize,
        (source, to): (SocketAddr, SocketAddr),
        (port, mac): (usize, Mac),
        tag: Tag,
    ) {
        let (offset, kind) = match to {
            SocketAddr::V4(_) => (OFFSET_V4, ethertype::IPV4),
            SocketAddr::V6(_) => (OFFSET_V6, ethertype::IPV6),
        };
        self.offset = offset;
        self.identification = self.identification.wrapping_add(1);
        let bytes = self.frames.bytes_mut(&mut frame.frame);
        if frame.offset != offset {
            bytes.copy_within(frame.offset..frame.offset + length, offset);
        }
        let packet = &mut bytes[..offset + length];
        let Some(_) = packet::emit(packet, offset, source, to, self.identification) else {
            self.frames.give_back(frame.frame);
            self.failed.push((tag, packet::families_differ()));
            return;
        };
        let port = &mut self.ports[port];
        ethernet::emit(packet, mac, port.device.mac, kind);
        let end = (offset + length).max(FRAME_MIN);
        bytes[offset + length..end].fill(0);
        port.ring.submit(&mut self.frames, frame.frame, end, tag);
    }

    /// Pushes out what a ring holds, before a packet goes another way.
    fn settle_ring(&mut self, port: usize) {
        self.push(port);
        if self.ports[port].ring.is_zero_copy() {
            self.wait(PATIENCE, |sender| sender.ports[port].ring.in_flight() == 0);
        }
    }

    /// Pushes out what the raw socket holds, before a packet goes by a ring.
    fn settle_fallback(&mut self) {
        if self.fallback_is_used {
            self.fallback_is_used = false;
            self.fallback_epoch += 1;
            let failed = &mut self.failed;
            self.fallback.flush(&mut |tag, error| failed.push((tag, error)));
        }
    }

    /// Asks the kernel once to take what a ring holds; says whether to ask again.
    fn kick(&mut self, port: usize) -> bool {
        let ring = &mut self.ports[port].ring;
        let failed = &mut self.failed;
        let kick = ring.kick(&mut self.frames, &mut |tag, error| failed.push((tag, error)));
        ring.reap(&mut self.frames);
        if matches!(kick, Kick::Down) {
            self.retry = Some(Instant::now() + RETRY);
        }
        matches!(kick, Kick::Again)
    }

    /// Kicks until the kernel has taken everything, or for as long as a flush may wait. What is left
    /// then stays on the ring and goes with the next kick.
    fn push(&mut self, port: usize) {
        if !self.ports[port].ring.has_work() {
            self.ports[port].ring.reap(&mut self.frames);
            return;
        }
        self.ports[port].epoch += 1;
        let mut deadline = None;
        while self.kick(port) {
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
            if Instant::now() >= deadline {
                return;
            }
        }
    }

    fn push_all(&mut self) {
        for port in 0..self.ports.len() {
            self.push(port);
        }
    }

    /// Kicks and takes frames back until `enough`, at most `patience` long. Completions wake nobody,
    /// so it looks again and again.
    fn wait(&mut self, patience: Duration, enough: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + patience;
        loop {
            for port in 0..self.ports.len() {
                self.kick(port);
            }
            if enough(self) || Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    fn in_flight(&self) -> usize {
        self.ports.iter().map(|port| port.ring.in_flight()).sum()
    }

    /// Takes devices that were down into use again.
    fn retry(&mut self) {
        let Some(when) = self.retry else { return };
        let now = Instant::now();
        if now < when {
            return;
        }
        for port in &mut self.ports {
            if !port.ring.is_up() && device::is_up(port.device.index) {
                port.ring.reconnect();
            }
        }
        let waiting = self.ports.iter().any(|port| !port.ring.is_up() && !port.ring.is_dead());
        self.retry = waiting.then(|| now + RETRY);
    }

    /// Waits for what is on its way, and reports what the kernel has not taken by then.
    fn finish_rings(&mut self) {
        self.wait(LAST_WAIT, |sender| sender.in_flight() == 0);
        let failed = &mut self.failed;
        for port in &mut self.ports {
            port.ring.finish(&mut self.frames, &mut |tag, error| failed.push((tag, error)));
        }
    }
}

impl Transmit for AfxdpTransmit {
    type Frame = AfxdpFrame;

    fn take(&mut self) -> Option<AfxdpFrame> {
        let offset = self.offset;
        if !self.frames.has_free() {
            for port in &mut self.ports {
                port.ring.reap(&mut self.frames);
            }
        }
        if !self.frames.has_free() && !self.exhausted {
            self.push_all();
            if self.in_flight() > 0 {
                self.wait(PATIENCE, |sender| sender.frames.has_free());
                self.exhausted = !self.frames.has_free();
            }
        }
        self.frames.take().map(|frame| AfxdpFrame { frame, offset })
    }

    fn room(&self) -> usize {
        FRAME_LENGTH - OFFSET_V6
    }

    fn payload<'a>(&'a mut self, frame: &'a mut AfxdpFrame) -> &'a mut [u8] {
        let offset = frame.offset;
        &mut self.frames.bytes_mut(&mut frame.frame)[offset..offset + FRAME_LENGTH - OFFSET_V6]
    }

    fn send(
        &mut self,
        frame: AfxdpFrame,
        length: usize,
        source: SocketAddr,
        to: SocketAddr,
        tag: Tag,
    ) {
        if let Some(by) = self.by_ring(to, length) {
            self.submit(frame, length, (source, to), by, tag);
            return;
        }
        self.by_raw(to);
        let payload = &self.frames.bytes(&frame.frame)[frame.offset..frame.offset + length];
        self.fallback.send_copy(payload, source, to, u16::MAX, tag);
        self.frames.give_back(frame.frame);
    }

    fn send_copy(
        &mut self,
        payload: &[u8],
        source: SocketAddr,
        to: SocketAddr,
        mtu: u16,
        tag: Tag,
    ) {
        let (length, room) = (payload.len(), self.room());
        let whole = length <= room && packet::overhead(to) + length <= usize::from(mtu);
        // The frame first: taking one may push, and bring a device down.
        if whole
            && self.fits(to, length)
            && let Some(mut frame) = self.take()
        {
            if let Some(by) = self.by_ring(to, length) {
                self.payload(&mut frame)[..length].copy_from_slice(payload);
                self.submit(frame, length, (source, to), by, tag);
                return;
            }
            self.frames.give_back(frame.frame);
        }
        self.by_raw(to);
        self.fallback.send_copy(payload, source, to, mtu, tag);
    }

    fn set_next_hop(&mut self, to: IpAddr, hop: Option<NextHop>) {
        let port_of = |hop: &NextHop| {
            let mut ports = self.ports.iter();
            ports.position(|port| port.device.index == hop.device && !port.ring.is_dead())
        };
        let new = hop.and_then(|hop| Some((port_of(&hop)?, hop.mac)));
        let old = self.ways.get(&to).copied();
        if let Some(way) = old
            && new.is_none_or(|(port, _)| port != way.port)
            && way.by_ring == self.ports[way.port].epoch
        {
            self.settle_ring(way.port);
        }
        let Some((port, mac)) = new else {
            self.ways.remove(&to);
            return;
        };
        if old.is_none() {
            // Untracked until now: some of what the raw socket holds may be to this destination.
            self.settle_fallback();
            if self.ways.len() >= NEXT_HOPS_MAX {
                return;
            }
        }
        let Port { name, device, .. } = &mut self.ports[port];
        // The device may have got another MTU or hardware address meanwhile.
        if let Ok(now) = device::device(name)
            && now.index == device.index
        {
            *device = now;
        }
        let way = old.filter(|way| way.port == port);
        let by_ring = way.map_or(0, |way| way.by_ring);
        let by_raw = old.map_or(0, |way| way.by_raw);
        self.ways.insert(to, Way { port, mac, by_ring, by_raw });
    }

    fn give_back(&mut self, frame: AfxdpFrame) {
        self.frames.give_back(frame.frame);
    }

    fn flush(&mut self, failed: &mut dyn FnMut(Tag, io::Error)) {
        self.exhausted = false;
        self.push_all();
        self.settle_fallback();
        self.retry();
        if self.last {
            self.finish_rings();
        }
        for (tag, error) in self.failed.drain(..) {
            failed(tag, error);
        }
    }

    fn finish(&mut self) {
        self.last = true;
    }
}
