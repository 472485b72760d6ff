//! Receiving on ordinary UDP sockets: the backend of slaves and of hosts without XDP, and the slow
//! path beside AF_XDP (IP fragments, which the kernel reassembles, and queues without a socket).
//!
//! One `recvmmsg` a socket and burst; buffers for the largest datagram, allocated once. What the
//! kernel dropped for a full socket buffer is counted, by `SO_RXQ_OVFL` beside each datagram and by
//! `SO_MEMINFO` when nothing comes any more.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, Socket, Type};

use super::socket::{self, PollSet, Readiness, ReceiveBatch};
use super::{Datagram, Receive};
use crate::Discard;

/// The largest UDP datagram, and so each buffer's length.
const BUFFER_LENGTH: usize = 65_535;

#[derive(Debug)]
struct Listener {
    socket: Socket,
    bound: SocketAddr,
    drops: Drops,
}

/// Sums a count that wraps at 2³².
#[derive(Clone, Copy, Debug, Default)]
struct Drops {
    last: u32,
    total: u64,
}

impl Drops {
    fn observe(&mut self, count: u32) {
        // A datagram bears the count of when it was queued, which may be older than one asked for.
        let more = count.wrapping_sub(self.last);
        if more < 1 << 31 {
            self.total += u64::from(more);
            self.last = count;
        }
    }
}

/// Datagrams from any number of UDP sockets.
#[derive(Debug)]
pub struct UdpReceive {
    listeners: Vec<Listener>,
    batch: ReceiveBatch,
    poll: PollSet,
}

impl UdpReceive {
    /// Binds one socket to each of `binds` (IPv6 ones for IPv6 alone) and asks for `buffer_bytes`
    /// of kernel buffer each: beyond `net.core.rmem_max` where the process may, else up to it.
    ///
    /// # Errors
    /// What the system says to an address that cannot be bound, with that address.
    pub fn open(binds: &[SocketAddr], buffer_bytes: usize) -> io::Result<Self> {
        let mut listeners = Vec::with_capacity(binds.len());
        let mut poll = PollSet::default();
        for &bind in binds {
            let listener = Listener::open(bind, buffer_bytes).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on udp {bind}: {error}"))
            })?;
            poll.add(listener.socket.as_fd(), Readiness::Readable);
            listeners.push(listener);
        }
        Ok(UdpReceive { listeners, batch: ReceiveBatch::new(BUFFER_LENGTH), poll })
    }

    /// The addresses as bound: a port 0 is replaced by the one that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|listener| listener.bound).collect()
    }

    /// Adds this half's sockets to a set that is waited on for more than them.
    pub(super) fn poll_with(&self, set: &mut PollSet) {
        for listener in &self.listeners {
            set.add(listener.socket.as_fd(), Readiness::Readable);
        }
    }

    /// Asks the kernel for its drop counts. They come with each datagram too, but after the last
    /// datagram of a burst that overflowed there may be none for long.
    pub(super) fn refresh_drops(&mut self) {
        for listener in &mut self.listeners {
            if let Some(count) = socket::drops(listener.socket.as_fd()) {
                listener.drops.observe(count);
            }
        }
    }
}

impl Listener {
    fn open(bind: SocketAddr, buffer_bytes: usize) -> io::Result<Self> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(bind), kind, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        let fd = socket.as_fd();
        if bind.is_ipv4() {
            socket::set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        } else {
            socket.set_only_v6(true)?;
            socket::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        }
        socket::set_option(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
        socket::set_receive_buffer(fd, buffer_bytes);
        socket.bind(&bind.into())?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(bind);
        Ok(Listener { socket, bound, drops: Drops::default() })
    }
}

impl Receive for UdpReceive {
    fn burst(
        &mut self,
        each: &mut dyn FnMut(Datagram<'_>),
        bad: &mut dyn FnMut(Discard),
    ) -> io::Result<usize> {
        let mut total = 0;
        for listener in &mut self.listeners {
            let count = self.batch.receive(listener.socket.as_fd())?;
            for i in 0..count {
                let message = self.batch.message(i);
                if let Some(count) = message.ancillary.dropped {
                    listener.drops.observe(count);
                }
                let mut destination = listener.bound;
                if let Some(address) = message.ancillary.destination {
                    destination.set_ip(address);
                }
                match message.source {
                    Some(_) if message.truncated => bad(Discard::TooLong),
                    Some(source) => {
                        each(Datagram { source, destination, payload: message.payload });
                    }
                    None => bad(Discard::BadFrame),
                }
            }
            total += count;
        }
        Ok(total)
    }

    fn dropped(&self) -> u64 {
        self.listeners.iter().map(|listener| listener.drops.total).sum()
    }

    fn wait(&mut self, timeout_ms: u16) -> io::Result<()> {
        if !self.poll.wait(timeout_ms)? {
            self.refresh_drops();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn receive_all(
        receive: &mut UdpReceive,
        want: usize,
    ) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        let mut got = Vec::new();
        for _ in 0..100 {
            receive.wait(50).unwrap();
            receive
                .burst(
                    &mut |d| got.push((d.source, d.destination, d.payload.to_vec())),
                    &mut |reason| panic!("{reason:?}"),
                )
                .unwrap();
            if got.len() >= want {
                break;
            }
        }
        got
    }

    #[test]
    fn datagrams_of_both_families_come_with_both_addresses() {
        let binds = ["0.0.0.0:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
        let mut receive = UdpReceive::open(&binds, 1 << 20).unwrap();
        let [v4, v6] = receive.addresses()[..] else { panic!("two sockets") };
        let from4 = UdpSocket::bind("127.0.0.1:0").unwrap();
        let from6 = UdpSocket::bind("[::1]:0").unwrap();
        from4.send_to(b"four", ("127.0.0.9", v4.port())).unwrap();
        from6.send_to(b"six", v6).unwrap();
        let mut got = receive_all(&mut receive, 2);
        got.sort();
        let to4 = SocketAddr::new("127.0.0.9".parse().unwrap(), v4.port());
        assert_eq!(got[0], (from4.local_addr().unwrap(), to4, b"four".to_vec()));
        assert_eq!(got[1], (from6.local_addr().unwrap(), v6, b"six".to_vec()));
    }

    #[test]
    fn the_largest_and_the_empty_datagram_come_whole() {
        let mut receive = UdpReceive::open(&["127.0.0.1:0".parse().unwrap()], 1 << 20).unwrap();
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let large = vec![7; 65_507];
        from.send_to(&large, receive.addresses()[0]).unwrap();
        from.send_to(&[], receive.addresses()[0]).unwrap();
        let got = receive_all(&mut receive, 2);
        assert_eq!((&got[0].2, got[1].2.len()), (&large, 0));
    }

    #[test]
    fn what_the_kernel_drops_is_counted() {
        let mut receive = UdpReceive::open(&["127.0.0.1:0".parse().unwrap()], 1 << 20).unwrap();
        // Set again, unforced and small: the kernel's least is some kilobytes.
        let fd = receive.listeners[0].socket.as_fd();
        socket::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, 1).unwrap();
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..50 {
            from.send_to(&[0; 1000], receive.addresses()[0]).unwrap();
        }
        let mut came = 0;
        while receive.burst(&mut |_| (), &mut |_| ()).map(|n| came += n as u64).is_ok() {
            receive.wait(10).unwrap();
            if came + receive.dropped() >= 50 {
                break;
            }
        }
        assert!(receive.dropped() > 0);
        assert_eq!(came + receive.dropped(), 50);
    }

    #[test]
    fn a_wrapped_drop_count_goes_on() {
        let mut drops = Drops { last: u32::MAX - 1, total: 10 };
        drops.observe(3);
        assert_eq!(drops.total, 15);
    }

    #[test]
    fn an_address_that_cannot_be_bound_is_named() {
        let error = UdpReceive::open(&["192.0.2.77:2055".parse().unwrap()], 1).unwrap_err();
        assert!(error.to_string().contains("192.0.2.77:2055"), "{error}");
    }

    #[test]
    fn drops_asked_for_before_the_queue_is_empty_are_counted_once() {
        let mut receive = UdpReceive::open(&["127.0.0.1:0".parse().unwrap()], 1 << 20).unwrap();
        let fd = receive.listeners[0].socket.as_fd();
        socket::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, 1).unwrap();
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..50 {
            from.send_to(&[0; 1000], receive.addresses()[0]).unwrap();
        }
        let mut came = receive.burst(&mut |_| (), &mut |_| ()).unwrap() as u64;
        for _ in 0..50 {
            from.send_to(&[0; 1000], receive.addresses()[0]).unwrap();
        }
        // As the AF_XDP backend does now and then, whether the queue is empty or not.
        receive.refresh_drops();
        came += receive.burst(&mut |_| (), &mut |_| ()).unwrap() as u64;
        assert_eq!(came + receive.dropped(), 100);
    }
}
