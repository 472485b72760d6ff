//! Sending for ordinary users: one UDP socket per exporter, bound to the exporter's own address and
//! port.
//!
//! That works where the address is this host's (loopback above all), which is what a demonstration
//! without privileges needs. The exporter's own socket must allow it (`SO_REUSEADDR`), and the
//! kernel fragments by the device's MTU, whatever the caller's says.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use hashbrown::HashMap;
use socket2::{Domain, Protocol, Socket, Type};

use super::failures::Failures;
use super::pool::{Frame, Pool};
use super::socket::{self, Patience};
use super::{Tag, Transmit};

/// A frame's length: the payload of a jumbo packet.
const FRAME_LENGTH: usize = 9_000;

/// Packets through sockets bound to the exporters' addresses.
#[derive(Debug)]
pub struct BoundTransmit {
    pool: Pool,
    sockets: HashMap<SocketAddr, Bound>,
    sockets_max: usize,
    datagrams: u64,
    failures: Failures,
}

#[derive(Debug)]
struct Bound {
    socket: Socket,
    last_used: u64,
}

impl BoundTransmit {
    /// Allocates `frames` frames, and room for `sockets` exporters; beyond these the socket that was
    /// unused for the longest time makes room.
    ///
    /// # Errors
    /// None now; sockets are opened when an exporter is first seen.
    pub fn open(frames: usize, sockets: usize) -> io::Result<Self> {
        Ok(BoundTransmit {
            pool: Pool::new(frames, FRAME_LENGTH),
            sockets: HashMap::with_capacity(sockets),
            sockets_max: sockets.max(1),
            datagrams: 0,
            failures: Failures::default(),
        })
    }

    fn socket(&mut self, source: SocketAddr) -> io::Result<&Socket> {
        if !self.sockets.contains_key(&source) {
            let socket = open_socket(source)?;
            if self.sockets.len() == self.sockets_max {
                let oldest = self.sockets.iter().min_by_key(|(_, bound)| bound.last_used);
                let oldest = *oldest.expect("at least one socket").0;
                self.sockets.remove(&oldest);
            }
            self.sockets.insert(source, Bound { socket, last_used: 0 });
        }
        let bound = self.sockets.get_mut(&source).expect("just made sure of");
        bound.last_used = self.datagrams;
        Ok(&bound.socket)
    }

    fn send_now(&mut self, payload: &[u8], source: SocketAddr, to: SocketAddr, tag: Tag) {
        self.datagrams += 1;
        if let Err(error) = self.socket(source).and_then(|socket| send_to(socket, payload, to)) {
            self.failures.add(self.datagrams, tag, error);
        }
    }
}

fn send_to(socket: &Socket, payload: &[u8], to: SocketAddr) -> io::Result<()> {
    let to = to.into();
    let mut patience = Patience::new();
    loop {
        match socket.send_to(payload, &to) {
            Ok(_) => return Ok(()),
            Err(error) if patience.allows(&error, socket.as_fd()) => {}
            Err(error) => return Err(error),
        }
    }
}

fn open_socket(source: SocketAddr) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(source), kind, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    let fd = socket.as_fd();
    // "Don't fragment" would bring EMSGSIZE for what exceeds the device's MTU.
    if source.is_ipv4() {
        let (level, name) = (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER);
        socket::set_option(fd, level, name, libc::IP_PMTUDISC_DONT)?;
    } else {
        let (level, name) = (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER);
        socket::set_option(fd, level, name, libc::IPV6_PMTUDISC_DONT)?;
    }
    // Nothing is read here: what is sent to the exporter's port may as well be dropped.
    socket.set_recv_buffer_size(0)?;
    socket.bind(&source.into())?;
    Ok(socket)
}

impl Transmit for BoundTransmit {
    type Frame = Frame;

    fn take(&mut self) -> Option<Frame> {
        self.pool.take()
    }

    fn room(&self) -> usize {
        FRAME_LENGTH
    }

    fn payload<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.pool.bytes_mut(frame)
    }

    fn send(&mut self, frame: Frame, length: usize, source: SocketAddr, to: SocketAddr, tag: Tag) {
        self.datagrams += 1;
        let result = match self.socket(source) {
            Ok(_) => {
                let socket = &self.sockets[&source].socket;
                send_to(socket, &self.pool.bytes(&frame)[..length], to)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.failures.add(self.datagrams, tag, error);
        }
        self.pool.give_back(frame);
    }

    fn send_copy(
        &mut self,
        payload: &[u8],
        source: SocketAddr,
        to: SocketAddr,
        _mtu: u16,
        tag: Tag,
    ) {
        self.send_now(payload, source, to, tag);
    }

    fn give_back(&mut self, frame: Frame) {
        self.pool.give_back(frame);
    }

    fn flush(&mut self, failed: &mut dyn FnMut(Tag, io::Error)) {
        self.failures.report(failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Purpose;
    use std::net::UdpSocket;

    const TAG: Tag = Tag {
        slave: 0,
        records: 5,
        options: 0,
        templates: 0,
        session: 0,
        purpose: Purpose::Message,
    };

    fn exporter() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    #[test]
    fn packets_bear_the_exporters_address_and_port() {
        let slave = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = slave.local_addr().unwrap();
        let exporters = [exporter(), exporter(), exporter()];
        let mut transmit = BoundTransmit::open(1, 2).unwrap();
        for (_socket, source) in &exporters {
            let mut frame = transmit.take().unwrap();
            transmit.payload(&mut frame)[..3].copy_from_slice(b"one");
            transmit.send(frame, 3, *source, to, TAG);
            transmit.send_copy(&vec![1; 60_000], *source, to, 1500, TAG);
            transmit.flush(&mut |tag, error| panic!("{tag:?} {error}"));
            let mut buffer = vec![0; 65_535];
            assert_eq!(slave.recv_from(&mut buffer).unwrap(), (3, *source));
            assert_eq!(slave.recv_from(&mut buffer).unwrap(), (60_000, *source));
        }
        assert_eq!(transmit.sockets.len(), 2);
    }

    #[test]
    fn an_address_that_is_not_this_hosts_fails_by_its_tag() {
        let mut transmit = BoundTransmit::open(1, 2).unwrap();
        let frame = transmit.take().unwrap();
        let source = "192.0.2.9:4000".parse().unwrap();
        transmit.send(frame, 10, source, "127.0.0.1:9".parse().unwrap(), TAG);
        let mut failed = Vec::new();
        transmit.flush(&mut |tag, error| failed.push((tag, error.kind())));
        assert_eq!(failed, [(TAG, io::ErrorKind::AddrNotAvailable)]);
        assert!(transmit.take().is_some());
    }
}
