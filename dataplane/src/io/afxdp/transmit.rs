//! The sending half: headers in front of the payload that the caller wrote, no copy; and a raw
//! socket for what this way cannot carry.
//!
//! AF_XDP passes by the kernel's routing and neighbour tables, so a packet goes this way only when
//! the hardware address towards its destination has been told ([`Transmit::set_next_hop`]) and it
//! fits the device's MTU. All others take the raw socket. When the way changes in mid-burst, the
//! other way is flushed first: packets leave in the order in which they were sent.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::rings::{OwnFrame, PACKET_LENGTH, SendRing};
use crate::io::device::Device;
use crate::io::packet;
use crate::io::raw::RawTransmit;
use crate::io::socket::{PATIENCE, PollSet, Readiness};
use crate::io::{NextHop, Tag, Transmit};
use crate::wire::ethernet::{self, Mac, ethertype};
use crate::wire::{ipv4, ipv6, udp};

const OFFSET_V4: usize = ethernet::HEADER_LENGTH + ipv4::HEADER_LENGTH + udp::HEADER_LENGTH;
const OFFSET_V6: usize = ethernet::HEADER_LENGTH + ipv6::HEADER_LENGTH + udp::HEADER_LENGTH;
/// The shortest Ethernet frame, its check sequence aside; not every driver pads by itself.
const FRAME_MIN: usize = 60;
/// Destinations whose next hop is kept.
const NEXT_HOPS_MAX: usize = 4_096;

/// A handle of one outgoing frame of the UMEM; move-only.
#[derive(Debug)]
#[must_use = "a frame that is dropped is lost to its ring: send it or give it back"]
pub struct AfxdpFrame {
    frame: OwnFrame,
    /// Where the payload starts. The headers in front must end there and begin with the frame, and
    /// which IP version they are is known only when it is sent: a guess, corrected by a copy.
    offset: usize,
}

/// Packets on one transmit queue of a device.
#[derive(Debug)]
pub struct AfxdpTransmit {
    ring: SendRing,
    fallback: RawTransmit,
    fallback_is_used: bool,
    device: Device,
    next_hops: HashMap<IpAddr, Mac>,
    /// The offset that suited the last packet.
    offset: usize,
    identification: u32,
    failed: Vec<(Tag, io::Error)>,
    /// Waiting for a frame was in vain; nobody waits again before the next flush.
    exhausted: bool,
}

impl AfxdpTransmit {
    pub(super) fn new(ring: SendRing, fallback: RawTransmit, device: Device) -> Self {
        AfxdpTransmit {
            ring,
            fallback,
            fallback_is_used: false,
            device,
            next_hops: HashMap::new(),
            offset: OFFSET_V4,
            identification: 0,
            failed: Vec::new(),
            exhausted: false,
        }
    }

    /// The hardware address to send a packet of `length` bytes of payload to; `None` when it cannot
    /// go this way.
    fn next_hop(&self, to: SocketAddr, length: usize) -> Option<Mac> {
        let packet = packet::overhead(to) + length;
        if packet > usize::from(self.device.mtu) || packet + ethernet::HEADER_LENGTH > PACKET_LENGTH
        {
            return None;
        }
        self.next_hops.get(&to.ip()).copied()
    }

    /// Writes the headers and queues the frame.
    fn submit(
        &mut self,
        mut frame: AfxdpFrame,
        length: usize,
        addresses: (SocketAddr, SocketAddr),
        mac: Mac,
        tag: Tag,
    ) {
        let (source, to) = addresses;
        let (offset, kind) = match to {
            SocketAddr::V4(_) => (OFFSET_V4, ethertype::IPV4),
            SocketAddr::V6(_) => (OFFSET_V6, ethertype::IPV6),
        };
        self.offset = offset;
        self.identification = self.identification.wrapping_add(1);
        let own = self.device.mac;
        let bytes = self.ring.bytes_mut(&mut frame.frame);
        if frame.offset != offset {
            bytes.copy_within(frame.offset..frame.offset + length, offset);
        }
        let packet = &mut bytes[..offset + length];
        let Some(_) = packet::emit(packet, offset, source, to, self.identification) else {
            self.ring.give_back(frame.frame);
            self.failed.push((tag, packet::families_differ()));
            return;
        };
        ethernet::emit(packet, mac, own, kind);
        let end = (offset + length).max(FRAME_MIN);
        bytes[offset + length..end].fill(0);
        self.ring.submit(frame.frame, end, tag);
    }

    /// Pushes out what the ring holds, before a packet goes the other way.
    fn settle_ring(&mut self) {
        if self.ring.has_staged() {
            self.push();
            if self.ring.is_zero_copy() {
                self.wait_for_frames(|ring| ring.in_flight() == 0);
            }
        }
    }

    /// Pushes out what the raw socket holds, before a packet goes by the ring.
    fn settle_fallback(&mut self) {
        if self.fallback_is_used {
            self.fallback_is_used = false;
            let failed = &mut self.failed;
            self.fallback.flush(&mut |tag, error| failed.push((tag, error)));
        }
    }

    /// Kicks until the kernel has taken everything, or for as long as a flush may wait. What is left
    /// then stays on the ring and goes with the next kick.
    fn push(&mut self) {
        let mut deadline = None;
        loop {
            let failed = &mut self.failed;
            let refused = || io::Error::from_raw_os_error(libc::ENOBUFS);
            match self.ring.kick(&mut |tag| failed.push((tag, refused()))) {
                Ok(false) => {}
                Ok(true) | Err(_) => break,
            }
            self.ring.reap();
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
            if Instant::now() >= deadline {
                break;
            }
        }
        self.ring.reap();
    }

    /// Waits for the kernel to give frames back until `enough`, for as long as a flush may wait.
    fn wait_for_frames(&mut self, enough: impl Fn(&SendRing) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.ring.reap();
            if enough(&self.ring) || Instant::now() >= deadline {
                return;
            }
            // Polling drives the ring in copy mode; completions themselves wake nobody.
            let mut set = PollSet::default();
            set.add(self.ring.descriptor(), Readiness::Writable);
            if set.wait(1).unwrap_or(true) {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }

    fn fall_back(
        &mut self,
        payload: &[u8],
        source: SocketAddr,
        to: SocketAddr,
        mtu: u16,
        tag: Tag,
    ) {
        self.settle_ring();
        self.fallback_is_used = true;
        self.fallback.send_copy(payload, source, to, mtu, tag);
    }
}

impl Transmit for AfxdpTransmit {
    type Frame = AfxdpFrame;

    fn take(&mut self) -> Option<AfxdpFrame> {
        let offset = self.offset;
        if let Some(frame) = self.ring.take() {
            return Some(AfxdpFrame { frame, offset });
        }
        if self.exhausted {
            return None;
        }
        self.push();
        if self.ring.in_flight() > 0 {
            self.wait_for_frames(|ring| ring.has_free());
            self.exhausted = !self.ring.has_free();
        }
        self.ring.take().map(|frame| AfxdpFrame { frame, offset })
    }

    fn room(&self) -> usize {
        PACKET_LENGTH - OFFSET_V6
    }

    fn payload<'a>(&'a mut self, frame: &'a mut AfxdpFrame) -> &'a mut [u8] {
        let offset = frame.offset;
        &mut self.ring.bytes_mut(&mut frame.frame)[offset..offset + PACKET_LENGTH - OFFSET_V6]
    }

    fn send(
        &mut self,
        mut frame: AfxdpFrame,
        length: usize,
        source: SocketAddr,
        to: SocketAddr,
        tag: Tag,
    ) {
        if let Some(mac) = self.next_hop(to, length) {
            self.settle_fallback();
            self.submit(frame, length, (source, to), mac, tag);
            return;
        }
        let payload = self.payload(&mut frame)[..length].to_vec();
        self.ring.give_back(frame.frame);
        self.fall_back(&payload, source, to, u16::MAX, tag);
    }

    fn send_copy(
        &mut self,
        payload: &[u8],
        source: SocketAddr,
        to: SocketAddr,
        mtu: u16,
        tag: Tag,
    ) {
        let fits = payload.len() <= self.room()
            && packet::overhead(to) + payload.len() <= usize::from(mtu);
        if fits && let Some(mac) = self.next_hop(to, payload.len()) {
            self.settle_fallback();
            if let Some(mut frame) = self.take() {
                self.payload(&mut frame)[..payload.len()].copy_from_slice(payload);
                self.submit(frame, payload.len(), (source, to), mac, tag);
                return;
            }
        }
        self.fall_back(payload, source, to, mtu, tag);
    }

    fn set_next_hop(&mut self, to: IpAddr, hop: Option<NextHop>) {
        let mac = hop.map(|hop| hop.mac);
        match mac {
            Some(mac) if self.next_hops.len() < NEXT_HOPS_MAX => {
                self.next_hops.insert(to, mac);
            }
            _ => {
                self.next_hops.remove(&to);
            }
        }
    }

    fn give_back(&mut self, frame: AfxdpFrame) {
        self.ring.give_back(frame.frame);
    }

    fn flush(&mut self, failed: &mut dyn FnMut(Tag, io::Error)) {
        self.exhausted = false;
        self.push();
        self.settle_fallback();
        for (tag, error) in self.failed.drain(..) {
            failed(tag, error);
        }
    }
}
