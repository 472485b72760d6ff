//! The small boundary between the engine and the network: bursts in, frames out.
//!
//! Backends: `afxdp` (an XDP program redirects to the queue's socket; frames are UMEM chunks),
//! `udp` (plain sockets in, a raw socket out) and `memory` (tests and benches). The engine is
//! generic over the two traits; no backend is known outside this folder and the worker's start.

use std::net::SocketAddr;

use crate::Discard;

pub mod afxdp;
pub mod bound;
mod device;
mod failures;
pub mod memory;
pub mod open;
pub mod packet;
mod pool;
pub mod raw;
mod socket;
pub mod udp;

pub use pool::Frame;

/// One UDP datagram as it came off the network.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The exporter's address and port.
    pub source: SocketAddr,
    /// The address (where the backend knows it, else unspecified) and listening port it was sent to.
    pub destination: SocketAddr,
    /// The UDP payload.
    pub payload: &'a [u8],
}

/// The receiving half of a backend.
pub trait Receive {
    /// Hands every waiting datagram, up to the backend's burst, to `each`; returns how many came.
    ///
    /// Frames that are no good datagram go to `bad` with the reason. Never blocks.
    fn burst(
        &mut self,
        each: &mut dyn FnMut(Datagram<'_>),
        bad: &mut dyn FnMut(Discard),
    ) -> std::io::Result<usize>;

    /// Datagrams that the system dropped before this half could take them (full socket buffer, full
    /// ring), since the start.
    fn dropped(&self) -> u64;

    /// Sleeps until something may have arrived, at most `timeout_ms`.
    fn wait(&mut self, timeout_ms: u16) -> std::io::Result<()>;
}

/// The sending half of a backend: take a frame, write its payload, send it as another's packet.
///
/// A frame is move-only: it is taken once and ends in `send` or `give_back`. The backend owns the
/// memory; `Frame` is a handle.
pub trait Transmit {
    /// A handle of one outgoing frame.
    type Frame;

    /// A free frame, or `None` when all are in use.
    fn take(&mut self) -> Option<Self::Frame>;

    /// Bytes of UDP payload that a frame holds; at least 1,472.
    fn room(&self) -> usize;

    /// The frame's room for a UDP payload, `room()` bytes.
    fn payload<'a>(&'a mut self, frame: &'a mut Self::Frame) -> &'a mut [u8];

    /// Sends the first `length` bytes of the frame's payload, unfragmented, with `source` as UDP
    /// source and `to` as destination. The caller keeps the packet within the path's MTU.
    ///
    /// What the system refuses, now or at a later flush, comes back with its `tag` in `flush`.
    fn send(
        &mut self,
        frame: Self::Frame,
        length: usize,
        source: SocketAddr,
        to: SocketAddr,
        tag: Tag,
    );

    /// Sends a payload of any size up to 65,507 bytes, copied; in IP fragments where the packet
    /// would exceed `mtu` bytes. For datagrams handed on as they are, and records too long for one
    /// frame.
    fn send_copy(&mut self, payload: &[u8], source: SocketAddr, to: SocketAddr, mtu: u16, tag: Tag);

    /// Learns the link-layer address on the way to `to`; backends above the link layer ignore it.
    fn set_next_hop(&mut self, to: std::net::IpAddr, hop: Option<NextHop>) {
        let _ = (to, hop);
    }

    /// Returns a frame unused.
    fn give_back(&mut self, frame: Self::Frame);

    /// Pushes out what was queued since the last flush; called once a burst. Every packet of these
    /// that could not be sent is reported once with its tag; all others count as sent.
    fn flush(&mut self, failed: &mut dyn FnMut(Tag, std::io::Error));

    /// Tells that the next flush is the last: it waits, within bounds, for what is still on its way,
    /// and reports what has not left by then.
    fn finish(&mut self) {}
}

/// The next hop of packets to an address, on the link layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The index of the device that leads there.
    pub device: u32,
    /// The hop's MAC address.
    pub mac: [u8; 6],
}

/// What a packet is to the one who sends it: it decides which counters its failure moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// A message for a slave that the encoder wrote.
    #[default]
    Message,
    /// A datagram handed on to a slave as it is.
    HandedOn,
    /// A copy of a datagram for somebody else.
    Copy,
}

/// What the caller wants to know again of a packet that could not be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// The slave's index in the worker's configuration; 0 for a copy.
    pub slave: u16,
    /// What the packet is.
    pub purpose: Purpose,
    /// Flow data records in the message; 0 for a datagram handed on.
    pub records: u16,
    /// Options data records in the message.
    pub options: u16,
    /// Template records in the message.
    pub templates: u16,
    /// The session's place in the worker's table.
    pub session: u32,
}
