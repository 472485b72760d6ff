//! Sending through raw sockets: packets that bear an exporter's address, written whole, IP header
//! included. Needs `CAP_NET_RAW`.
//!
//! The kernel does not fragment what comes by such a socket, it refuses it (EMSGSIZE); so this file
//! asks each destination's MTU once and splits by itself. Packets leave in the order in which they
//! were sent, in one `sendmmsg` a batch. What the kernel refuses, and what a full device queue
//! swallows (`IP_RECVERR` makes it say so), comes back by its tag.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::HashMap;
use socket2::{Domain, Protocol, Socket, Type};

use super::failures::Failures;
use super::packet;
use super::pool::{Frame, Pool};
use super::socket::{self, BATCH, Patience, SendBatch};
use super::{Tag, Transmit};
use crate::wire::{ipv4, ipv6, udp};

/// Where the payload stands in a frame: behind the larger of both IP headers, and UDP's.
const HEADROOM: usize = ipv6::HEADER_LENGTH + udp::HEADER_LENGTH;
/// A frame's length: a jumbo packet with its headers.
const FRAME_LENGTH: usize = 9_216;
/// Destinations whose MTU is remembered.
const PATHS_MAX: usize = 1_024;
const SEND_BUFFER_BYTES: usize = 8 << 20;

/// A packet that stands in its frame, complete, and waits for the next push.
#[derive(Debug)]
struct Queued {
    frame: Frame,
    start: usize,
    length: usize,
    to: SocketAddr,
    tag: Tag,
    /// Equal for the fragments of one datagram.
    datagram: u64,
}

/// Packets through raw sockets.
#[derive(Debug)]
pub struct RawTransmit {
    v4: Socket,
    /// `None` on a host without IPv6.
    v6: Option<Socket>,
    /// The caller's frames and [`BATCH`] more, which `take` leaves to `send_copy`.
    pool: Pool,
    queue: Vec<Queued>,
    batch: SendBatch,
    paths: HashMap<IpAddr, u16>,
    scratch: Vec<u8>,
    identification: u32,
    datagrams: u64,
    failures: Failures,
}

impl RawTransmit {
    /// Opens the raw sockets and allocates `frames` frames.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`; else what the system says.
    pub fn open(frames: usize) -> io::Result<Self> {
        // Workers start apart from each other, so that their fragments do not meet under one
        // identification.
        static START: AtomicU32 = AtomicU32::new(1);
        Ok(RawTransmit {
            v4: open_socket(Domain::IPV4)?,
            v6: open_socket(Domain::IPV6).ok(),
            pool: Pool::new(frames + BATCH, FRAME_LENGTH),
            queue: Vec::with_capacity(BATCH),
            batch: SendBatch::new(),
            paths: HashMap::with_capacity(PATHS_MAX),
            scratch: vec![0; udp::HEADER_LENGTH + udp::PAYLOAD_MAX],
            identification: START.fetch_add(0x1357, Ordering::Relaxed),
            datagrams: 0,
            failures: Failures::default(),
        })
    }

    /// The MTU towards `to`, asked once; unlimited where the system does not say, so that sending
    /// itself brings the error.
    fn path_mtu(&mut self, to: SocketAddr) -> usize {
        if let Some(&mtu) = self.paths.get(&to.ip()) {
            return usize::from(mtu);
        }
        if self.paths.len() == PATHS_MAX {
            self.paths.clear();
        }
        let mtu = socket::path_mtu(to).unwrap_or(u16::MAX);
        self.paths.insert(to.ip(), mtu);
        usize::from(mtu)
    }

    /// Writes the headers in front of `length` bytes of payload and queues the packet.
    fn enqueue(
        &mut self,
        mut frame: Frame,
        length: usize,
        source: SocketAddr,
        to: SocketAddr,
        tag: Tag,
    ) {
        let identification = self.next_identification();
        let bytes = &mut self.pool.bytes_mut(&mut frame)[..HEADROOM + length];
        let Some(start) = packet::emit(bytes, HEADROOM, source, to, identification) else {
            self.refuse(frame, tag, packet::families_differ());
            return;
        };
        let length = HEADROOM + length - start;
        self.push_back(Queued { frame, start, length, to, tag, datagram: self.datagrams });
    }

    /// Queues the first `length` bytes of payload in the scratch as fragments of at most `mtu` bytes.
    fn enqueue_fragments(
        &mut self,
        length: usize,
        source: SocketAddr,
        to: SocketAddr,
        mtu: u16,
        tag: Tag,
    ) {
        let identification = self.next_identification();
        let mut scratch = std::mem::take(&mut self.scratch);
        let datagram = &mut scratch[..udp::HEADER_LENGTH + length];
        udp::emit(datagram, source, to);
        match (source.ip(), to.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let identification = packet::short_identification(identification);
                let header =
                    ipv4::Header { source, destination, identification, protocol: ipv4::UDP };
                let mut fragments = ipv4::Fragments::new(header, datagram, mtu);
                self.enqueue_all(&mut |buffer| fragments.emit_next(buffer), to, tag);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = ipv6::Header { source, destination, protocol: ipv6::UDP };
                let mut fragments = ipv6::Fragments::new(header, datagram, mtu, identification);
                self.enqueue_all(&mut |buffer| fragments.emit_next(buffer), to, tag);
            }
            _ => self.failures.add(self.datagrams, tag, packet::families_differ()),
        }
        self.scratch = scratch;
    }

    fn enqueue_all(
        &mut self,
        emit_next: &mut dyn FnMut(&mut [u8]) -> Option<usize>,
        to: SocketAddr,
        tag: Tag,
    ) {
        loop {
            let mut frame = self.own_frame();
            let Some(length) = emit_next(self.pool.bytes_mut(&mut frame)) else {
                self.pool.give_back(frame);
                return;
            };
            let datagram = self.datagrams;
            self.push_back(Queued { frame, start: 0, length, to, tag, datagram });
        }
    }

    /// A frame for this file's own use.
    fn own_frame(&mut self) -> Frame {
        if self.pool.free() == 0 {
            self.push();
        }
        self.pool.take().expect("take() leaves the reserve, and a push frees all of it")
    }

    fn push_back(&mut self, queued: Queued) {
        self.queue.push(queued);
        if self.queue.len() == BATCH {
            self.push();
        }
    }

    /// Hands all queued packets to the kernel; afterwards their frames are free.
    fn push(&mut self) {
        let mut patience = Patience::new();
        let mut at = 0;
        while at < self.queue.len() {
            let v4 = self.queue[at].to.is_ipv4();
            let Some(socket) = pick(&self.v4, self.v6.as_ref(), v4) else {
                self.fail(at, io::ErrorKind::Unsupported.into());
                at += 1;
                continue;
            };
            let pool = &self.pool;
            let run = self.queue[at..].iter().take_while(|queued| queued.to.is_ipv4() == v4);
            let packets = run.map(|q| (&pool.bytes(&q.frame)[q.start..q.start + q.length], q.to));
            match self.batch.send(socket, packets) {
                Ok(sent) => at += sent.max(1),
                Err(error) if patience.allows(&error, socket) => {}
                Err(error) => {
                    self.fail(at, error);
                    at += 1;
                }
            }
        }
        for queued in self.queue.drain(..) {
            self.pool.give_back(queued.frame);
        }
    }

    fn fail(&mut self, at: usize, error: io::Error) {
        let queued = &self.queue[at];
        if error.raw_os_error() == Some(libc::EMSGSIZE) {
            // The device's MTU has shrunk since it was asked.
            self.paths.remove(&queued.to.ip());
        }
        self.failures.add(queued.datagram, queued.tag, error);
    }

    fn refuse(&mut self, frame: Frame, tag: Tag, error: io::Error) {
        self.pool.give_back(frame);
        self.failures.add(self.datagrams, tag, error);
    }

    fn next_identification(&mut self) -> u32 {
        self.identification = self.identification.wrapping_add(1);
        self.identification
    }
}

fn pick<'a>(v4: &'a Socket, v6: Option<&'a Socket>, is_v4: bool) -> Option<BorrowedFd<'a>> {
    if is_v4 { Some(v4.as_fd()) } else { v6.map(AsFd::as_fd) }
}

fn open_socket(domain: Domain) -> io::Result<Socket> {
    let kind = Type::RAW.nonblocking().cloexec();
    let socket = Socket::new(domain, kind, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    let fd = socket.as_fd();
    // No packet ever arrives at a socket of protocol IPPROTO_RAW, and no ICMP error either.
    if domain == Domain::IPV4 {
        socket::set_option(fd, libc::IPPROTO_IP, libc::IP_HDRINCL, 1)?;
        socket::set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
    } else {
        socket::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_HDRINCL, 1)?;
        socket::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
    }
    socket::set_send_buffer(fd, SEND_BUFFER_BYTES);
    Ok(socket)
}

impl Transmit for RawTransmit {
    type Frame = Frame;

    fn take(&mut self) -> Option<Frame> {
        if self.pool.free() <= BATCH && !self.queue.is_empty() {
            self.push();
        }
        if self.pool.free() > BATCH { self.pool.take() } else { None }
    }

    fn room(&self) -> usize {
        FRAME_LENGTH - HEADROOM
    }

    fn payload<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        &mut self.pool.bytes_mut(frame)[HEADROOM..]
    }

    fn send(&mut self, frame: Frame, length: usize, source: SocketAddr, to: SocketAddr, tag: Tag) {
        self.datagrams += 1;
        let mtu = self.path_mtu(to);
        if length + packet::overhead(to) <= mtu {
            self.enqueue(frame, length, source, to, tag);
            return;
        }
        // The path is narrower than its configuration says.
        let payload = &self.pool.bytes(&frame)[HEADROOM..HEADROOM + length];
        self.scratch[udp::HEADER_LENGTH..][..length].copy_from_slice(payload);
        self.pool.give_back(frame);
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        self.enqueue_fragments(length, source, to, mtu, tag);
    }

    fn send_copy(
        &mut self,
        payload: &[u8],
        source: SocketAddr,
        to: SocketAddr,
        mtu: u16,
        tag: Tag,
    ) {
        self.datagrams += 1;
        if payload.len() > udp::PAYLOAD_MAX {
            let error = io::Error::from_raw_os_error(libc::EMSGSIZE);
            self.failures.add(self.datagrams, tag, error);
            return;
        }
        let mtu = usize::from(mtu).min(self.path_mtu(to)).min(FRAME_LENGTH);
        if payload.len() + packet::overhead(to) > mtu {
            let mtu = u16::try_from(mtu).expect("at most a frame's length");
            self.scratch[udp::HEADER_LENGTH..][..payload.len()].copy_from_slice(payload);
            self.enqueue_fragments(payload.len(), source, to, mtu, tag);
            return;
        }
        let mut frame = self.own_frame();
        self.payload(&mut frame)[..payload.len()].copy_from_slice(payload);
        self.enqueue(frame, payload.len(), source, to, tag);
    }

    fn give_back(&mut self, frame: Frame) {
        self.pool.give_back(frame);
    }

    fn flush(&mut self, failed: &mut dyn FnMut(Tag, io::Error)) {
        self.push();
        self.failures.report(failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Purpose;
    use std::net::UdpSocket;
    use std::time::Duration;

    const TAG: Tag = Tag {
        slave: 0,
        records: 5,
        options: 0,
        templates: 0,
        session: 0,
        purpose: Purpose::Message,
    };

    /// `None`, with a sentence, where the process may not open raw sockets.
    fn open() -> Option<RawTransmit> {
        match RawTransmit::open(4) {
            Ok(transmit) => Some(transmit),
            Err(error) => {
                eprintln!("skipped: raw sockets need CAP_NET_RAW ({error})");
                None
            }
        }
    }

    fn slave(address: &str) -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let to = socket.local_addr().unwrap();
        (socket, to)
    }

    fn flush(transmit: &mut RawTransmit) {
        transmit.flush(&mut |tag, error| panic!("{tag:?}: {error}"));
    }

    #[test]
    fn packets_bear_a_source_that_is_bound_nowhere() {
        let Some(mut transmit) = open() else { return };
        for (listen, source) in [("127.0.0.1:0", "127.1.2.3:4001"), ("[::1]:0", "[::1]:4002")] {
            let (socket, to) = slave(listen);
            let source = source.parse().unwrap();
            let mut frame = transmit.take().unwrap();
            transmit.payload(&mut frame)[..3].copy_from_slice(b"one");
            transmit.send(frame, 3, source, to, TAG);
            transmit.send_copy(b"three", source, to, 1500, TAG);
            flush(&mut transmit);
            let mut buffer = [0; 100];
            assert_eq!(socket.recv_from(&mut buffer).unwrap(), (3, source));
            assert_eq!(socket.recv_from(&mut buffer).unwrap(), (5, source));
            assert_eq!(buffer[..5], *b"three");
        }
    }

    #[test]
    fn what_exceeds_the_mtu_goes_in_fragments_and_arrives_whole_and_in_order() {
        let Some(mut transmit) = open() else { return };
        for (listen, source) in [("127.0.0.1:0", "127.1.2.3:4001"), ("[::1]:0", "[::1]:4002")] {
            let (socket, to) = slave(listen);
            let source = source.parse().unwrap();
            let large: Vec<u8> = (0..60_000u32).map(|n| n.to_le_bytes()[0]).collect();
            transmit.send_copy(&large, source, to, 1300, TAG);
            transmit.send_copy(b"after", source, to, 1300, TAG);
            flush(&mut transmit);
            let mut buffer = vec![0; 65_535];
            assert_eq!(socket.recv_from(&mut buffer).unwrap(), (60_000, source));
            assert!(buffer[..60_000] == large);
            assert_eq!(socket.recv_from(&mut buffer).unwrap(), (5, source));
        }
    }

    #[test]
    fn held_frames_leave_room_for_copies() {
        let Some(mut transmit) = open() else { return };
        let (socket, to) = slave("127.0.0.1:0");
        let held: Vec<Frame> = std::iter::from_fn(|| transmit.take()).collect();
        assert_eq!(held.len(), 4);
        let source = "127.0.0.7:9".parse().unwrap();
        for n in 0..200u8 {
            transmit.send_copy(&[n], source, to, 1500, TAG);
        }
        flush(&mut transmit);
        let mut buffer = [0; 10];
        for n in 0..200 {
            assert_eq!(socket.recv_from(&mut buffer).unwrap(), (1, source));
            assert_eq!(buffer[0], n);
        }
        held.into_iter().for_each(|frame| transmit.give_back(frame));
        assert!(transmit.take().is_some());
    }

    #[test]
    fn what_cannot_be_sent_comes_back_once_by_its_tag() {
        let Some(mut transmit) = open() else { return };
        let (_socket, to) = slave("127.0.0.1:0");
        let bad = Tag { slave: 9, ..TAG };
        let source = "127.0.0.7:9".parse().unwrap();
        transmit.send_copy(&[1], source, to, 1500, TAG);
        transmit.send_copy(&[1], "[::1]:9".parse().unwrap(), to, 1500, bad);
        transmit.send_copy(&vec![1; 9000], "[::1]:9".parse().unwrap(), to, 1500, bad);
        transmit.send_copy(&vec![1; 65_508], source, to, 1500, bad);
        transmit.send_copy(&[1], source, to, 1500, TAG);
        let mut failed = Vec::new();
        transmit.flush(&mut |tag, _| failed.push(tag));
        assert_eq!(failed, [bad, bad, bad]);
    }
}
