//! What the socket backends share: socket addresses as the kernel lays them out, socket options
//! that the standard library lacks, polling, and bursts of messages in one system call.
//!
//! All `unsafe` of the socket backends stands in this file. Its invariant: a system call sees only
//! pointers that were taken within the same function from buffers that the batch owns.
#![allow(unsafe_code)] // recvmmsg, sendmmsg, poll and socket options have no safe wrapper in std

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Messages a system call.
pub(super) const BATCH: usize = 64;

const NAME_LENGTH: usize = size_of::<libc::sockaddr_in6>();
const NAME_LENGTH_V4: usize = size_of::<libc::sockaddr_in>();
const CONTROL_LENGTH: usize = 128;
/// Where `SO_MEMINFO` gives the count of dropped datagrams (`SK_MEMINFO_DROPS`).
const MEMINFO_DROPS: usize = 8;
const MEMINFO_LENGTH: usize = 9;

/// A socket address in the kernel's layout (`sockaddr_in` or `sockaddr_in6`), read and written as
/// bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct Name([u8; NAME_LENGTH]);

impl Name {
    const EMPTY: Name = Name([0; NAME_LENGTH]);

    /// Encodes `address`; returns its length too. A port may be kept back: raw sockets want none.
    fn encode(address: SocketAddr, port: u16) -> (Name, u32) {
        let mut name = Name::EMPTY;
        let bytes = &mut name.0;
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        let (family, length) = match address {
            SocketAddr::V4(address) => {
                bytes[4..8].copy_from_slice(&address.ip().octets());
                (libc::AF_INET, NAME_LENGTH_V4)
            }
            SocketAddr::V6(address) => {
                bytes[8..24].copy_from_slice(&address.ip().octets());
                bytes[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
                (libc::AF_INET6, NAME_LENGTH)
            }
        };
        let family = u16::try_from(family).expect("address families are small");
        bytes[0..2].copy_from_slice(&family.to_ne_bytes());
        (name, u32::try_from(length).expect("28 at most"))
    }

    fn decode(&self) -> Option<SocketAddr> {
        let bytes = &self.0;
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        match i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
            libc::AF_INET => {
                let address = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
                Some(SocketAddrV4::new(address, port).into())
            }
            libc::AF_INET6 => {
                let octets: [u8; 16] = bytes[8..24].try_into().expect("16 bytes");
                let scope = u32::from_ne_bytes(bytes[24..28].try_into().expect("4 bytes"));
                Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope).into())
            }
            _ => None,
        }
    }
}

/// Room for what the kernel says beside a datagram.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LENGTH]);

/// What the kernel said beside a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ancillary {
    /// The address that the datagram was sent to.
    pub(super) destination: Option<IpAddr>,
    /// The socket's count of dropped datagrams, which wraps at 2³².
    pub(super) dropped: Option<u32>,
}

impl Ancillary {
    /// Reads control messages: a length, a level and a type, then data, each padded to 8 bytes.
    fn parse(mut bytes: &[u8]) -> Ancillary {
        const HEADER: usize = size_of::<libc::cmsghdr>();
        let mut found = Ancillary::default();
        while bytes.len() >= HEADER {
            let length = usize::from_ne_bytes(bytes[0..8].try_into().expect("8 bytes"));
            if length < HEADER || length > bytes.len() {
                break;
            }
            let level = i32::from_ne_bytes(bytes[8..12].try_into().expect("4 bytes"));
            let kind = i32::from_ne_bytes(bytes[12..16].try_into().expect("4 bytes"));
            found.take(level, kind, &bytes[HEADER..length]);
            bytes = bytes.get(length.next_multiple_of(8)..).unwrap_or_default();
        }
        found
    }

    fn take(&mut self, level: i32, kind: i32, data: &[u8]) {
        match (level, kind, data.len()) {
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 4..) => {
                self.dropped =
                    Some(u32::from_ne_bytes(data[0..4].try_into().expect("matched length")));
            }
            // struct in_pktinfo: interface, the local address routed to, the header's destination.
            (libc::IPPROTO_IP, libc::IP_PKTINFO, 12..) => {
                let octets: [u8; 4] = data[8..12].try_into().expect("matched length");
                self.destination = Some(octets.into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 16..) => {
                let octets: [u8; 16] = data[0..16].try_into().expect("matched length");
                self.destination = Some(octets.into());
            }
            _ => {}
        }
    }
}

/// One message of a received burst.
#[derive(Debug)]
pub(super) struct Received<'a> {
    /// The sender; `None` when the kernel named none that weir knows.
    pub(super) source: Option<SocketAddr>,
    pub(super) ancillary: Ancillary,
    /// The payload is longer than the buffer and was cut.
    pub(super) truncated: bool,
    pub(super) payload: &'a [u8],
}

/// Buffers for a burst of received messages, allocated once.
#[derive(Debug)]
pub(super) struct ReceiveBatch {
    buffers: Vec<u8>,
    buffer: usize,
    names: Vec<Name>,
    controls: Vec<Control>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers in `vectors` and `headers` point into this batch's own buffers and are
// written anew before each system call; no other thread knows them.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Allocates [`BATCH`] buffers of `buffer` bytes.
    pub(super) fn new(buffer: usize) -> Self {
        ReceiveBatch {
            buffers: vec![0; BATCH * buffer],
            buffer,
            names: vec![Name::EMPTY; BATCH],
            controls: vec![Control([0; CONTROL_LENGTH]); BATCH],
            vectors: vec![EMPTY_VECTOR; BATCH],
            headers: vec![empty_header(); BATCH],
        }
    }

    /// Takes what waits at `socket`, at most [`BATCH`] messages; 0 when nothing does.
    ///
    /// # Errors
    /// What `recvmmsg` says, except for "nothing there" and interruptions.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for (i, buffer) in self.buffers.chunks_exact_mut(self.buffer).enumerate() {
            self.vectors[i].iov_base = buffer.as_mut_ptr().cast();
            self.vectors[i].iov_len = buffer.len();
            let header = &mut self.headers[i].msg_hdr;
            header.msg_name = self.names[i].0.as_mut_ptr().cast();
            header.msg_namelen = NAME_LENGTH as u32;
            header.msg_iov = &raw mut self.vectors[i];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[i].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_LENGTH;
            header.msg_flags = 0;
        }
        // SAFETY: BATCH headers, each with pointers and lengths of live buffers of `self`, which is
        // borrowed mutably for as long as the call lasts.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        match usize::try_from(count) {
            Ok(count) => Ok(count),
            Err(_) => quiet(io::Error::last_os_error()).map(|()| 0),
        }
    }

    /// Message `i` of the last burst, `i` below what [`ReceiveBatch::receive`] returned.
    pub(super) fn message(&self, i: usize) -> Received<'_> {
        let header = &self.headers[i];
        let length = (header.msg_len as usize).min(self.buffer);
        let control = header.msg_hdr.msg_controllen.min(CONTROL_LENGTH);
        Received {
            source: self.names[i].decode(),
            ancillary: Ancillary::parse(&self.controls[i].0[..control]),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            payload: &self.buffers[i * self.buffer..][..length],
        }
    }
}

/// Messages to be sent in one system call; the packets stay where they are.
#[derive(Debug)]
pub(super) struct SendBatch {
    names: Vec<Name>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: as for `ReceiveBatch`: the pointers are written anew before each system call.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// Room for [`BATCH`] messages.
    pub(super) fn new() -> Self {
        SendBatch {
            names: vec![Name::EMPTY; BATCH],
            vectors: vec![EMPTY_VECTOR; BATCH],
            headers: vec![empty_header(); BATCH],
        }
    }

    /// Hands `packets`, at most [`BATCH`], to a raw socket, each with its receiver (whose port is
    /// not told: the packet bears it). Returns how many the kernel took, at least 1.
    ///
    /// # Errors
    /// What the kernel says to the first packet.
    pub(super) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        packets: impl Iterator<Item = (&'a [u8], SocketAddr)>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for (packet, to) in packets.take(BATCH) {
            let (name, length) = Name::encode(to, 0);
            self.names[count] = name;
            self.vectors[count].iov_base = packet.as_ptr().cast_mut().cast();
            self.vectors[count].iov_len = packet.len();
            let header = &mut self.headers[count].msg_hdr;
            header.msg_name = self.names[count].0.as_mut_ptr().cast();
            header.msg_namelen = length;
            header.msg_iov = &raw mut self.vectors[count];
            header.msg_iovlen = 1;
            count += 1;
        }
        // SAFETY: `count` headers were just filled with pointers to names and vectors of `self` and
        // to packets that the caller lends for 'a; the kernel only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                u32::try_from(count).expect("at most BATCH"),
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

const EMPTY_VECTOR: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

fn empty_header() -> libc::mmsghdr {
    // SAFETY: all-zero bytes are a valid mmsghdr: null pointers and zero lengths.
    unsafe { std::mem::zeroed() }
}

/// Drops the errors that only mean "not now".
fn quiet(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}

/// Sets an integer socket option.
///
/// # Errors
/// What `setsockopt` says.
pub(super) fn set_option(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: i32,
) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of the local `value`, which the kernel reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as u32,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads a socket option of `N` integers.
///
/// # Errors
/// What `getsockopt` says; `InvalidData` when the kernel gives fewer than `N`.
pub(super) fn get_option<const N: usize>(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
) -> io::Result<[u32; N]> {
    let mut value = [0u32; N];
    let mut length = size_of_val(&value) as u32;
    // SAFETY: the pointer and the length are those of the local `value`, which the kernel writes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if (length as usize) < size_of_val(&value) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(value)
}

/// The socket's count of dropped datagrams, which wraps at 2³².
pub(super) fn drops(socket: BorrowedFd<'_>) -> Option<u32> {
    get_option::<MEMINFO_LENGTH>(socket, libc::SOL_SOCKET, libc::SO_MEMINFO)
        .ok()
        .map(|info| info[MEMINFO_DROPS])
}

/// Asks for `bytes` of receive buffer: beyond the system's limit where the process may, else up to
/// it. The kernel's choice is not an error: a small buffer shows as drops.
pub(super) fn set_receive_buffer(socket: BorrowedFd<'_>, bytes: usize) {
    set_buffer(socket, bytes, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF);
}

/// Asks for `bytes` of send buffer, like [`set_receive_buffer`].
pub(super) fn set_send_buffer(socket: BorrowedFd<'_>, bytes: usize) {
    set_buffer(socket, bytes, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF);
}

fn set_buffer(socket: BorrowedFd<'_>, bytes: usize, forced: i32, ordinary: i32) {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    if set_option(socket, libc::SOL_SOCKET, forced, bytes).is_err() {
        // An ordinary user gets at most net.core.rmem_max or wmem_max, silently.
        let _ = set_option(socket, libc::SOL_SOCKET, ordinary, bytes);
    }
}

/// The MTU of the route to `to`, asked through an ordinary connected socket.
///
/// # Errors
/// What the system says when there is no route.
pub(super) fn path_mtu(to: SocketAddr) -> io::Result<u16> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(to),
        socket2::Type::DGRAM.cloexec(),
        None,
    )?;
    socket.connect(&to.into())?;
    let (level, name) = match to {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    let [mtu] = get_option(std::os::fd::AsFd::as_fd(&socket), level, name)?;
    Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
}

/// What a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Something can be read.
    Readable,
    /// Something can be written.
    Writable,
}

/// A set of descriptors to be waited for together.
#[derive(Debug, Default)]
pub(super) struct PollSet(Vec<libc::pollfd>);

impl PollSet {
    /// Adds a descriptor, which must stay open for as long as the set is waited on.
    pub(super) fn add(&mut self, socket: BorrowedFd<'_>, readiness: Readiness) {
        let events = match readiness {
            Readiness::Readable => libc::POLLIN,
            Readiness::Writable => libc::POLLOUT,
        };
        self.0.push(libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 });
    }

    /// Sleeps until one of them is ready, at most `timeout_ms`; says whether one is.
    ///
    /// # Errors
    /// What `poll` says, except for interruptions.
    pub(super) fn wait(&mut self, timeout_ms: u16) -> io::Result<bool> {
        // SAFETY: pointer and length are those of the vector, borrowed mutably for the call.
        let ready = unsafe {
            libc::poll(self.0.as_mut_ptr(), self.0.len() as libc::nfds_t, i32::from(timeout_ms))
        };
        if ready >= 0 {
            return Ok(ready > 0);
        }
        quiet(io::Error::last_os_error()).map(|()| false)
    }

    /// Takes the errors that were seen at the first `count` sockets when last waited for: a socket
    /// keeps its error, and counts as ready, until somebody asks.
    pub(super) fn clear_errors(&self, count: usize) {
        for descriptor in self.0[..count].iter().filter(|d| d.revents & libc::POLLERR != 0) {
            // SAFETY: whoever added the descriptor keeps it open for as long as the set is used.
            let socket = unsafe { BorrowedFd::borrow_raw(descriptor.fd) };
            let _taken = get_option::<1>(socket, libc::SOL_SOCKET, libc::SO_ERROR);
        }
    }

    /// Whether any descriptor but the first `skipped` ones was ready when last waited for.
    pub(super) fn any_ready_from(&self, skipped: usize) -> bool {
        self.0[skipped..].iter().any(|descriptor| descriptor.revents != 0)
    }
}

/// How long one flush may wait in all for a congested device or a full socket buffer.
pub(super) const PATIENCE: Duration = Duration::from_millis(10);

/// Waits for room to send, within what is left of a deadline.
#[derive(Debug)]
pub(super) struct Patience(Option<Instant>);

impl Patience {
    pub(super) fn new() -> Self {
        Patience(None)
    }

    /// After `error`: waits a little and says true when sending is worth another try.
    pub(super) fn allows(&mut self, error: &io::Error, socket: BorrowedFd<'_>) -> bool {
        match error.raw_os_error() {
            Some(libc::EINTR) => return true,
            Some(libc::EAGAIN | libc::ENOBUFS) => {}
            _ => return false,
        }
        let now = Instant::now();
        let deadline = *self.0.get_or_insert(now + PATIENCE);
        if now >= deadline {
            return false;
        }
        // ENOBUFS comes from the device's queue, which the socket's writability does not show.
        if error.raw_os_error() == Some(libc::ENOBUFS) {
            std::thread::sleep(Duration::from_micros(200));
            return true;
        }
        let mut set = PollSet::default();
        set.add(socket, Readiness::Writable);
        let left = deadline.saturating_duration_since(now).as_millis().max(1);
        set.wait(u16::try_from(left).unwrap_or(u16::MAX)).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_layout() {
        let v6 = SocketAddrV6::new("fe80::1".parse().unwrap(), 4242, 0, 3);
        for address in ["192.0.2.1:2055".parse().unwrap(), SocketAddr::V6(v6)] {
            let (name, length) = Name::encode(address, address.port());
            assert_eq!(name.decode(), Some(address));
            assert_eq!(length, if address.is_ipv4() { 16 } else { 28 });
        }
        assert_eq!(Name::EMPTY.decode(), None);
    }

    fn control_message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn control_messages_are_read_in_any_order() {
        let drops = control_message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &7u32.to_ne_bytes());
        let info = [0, 0, 0, 1, 10, 0, 0, 9, 10, 0, 0, 1];
        let info = control_message(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        let expected = Ancillary {
            destination: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
            dropped: Some(7),
        };
        assert_eq!(Ancillary::parse(&[&drops[..], &info].concat()), expected);
        assert_eq!(Ancillary::parse(&[&info[..], &drops].concat()), expected);
    }

    #[test]
    fn control_messages_that_lie_about_their_length_end_the_walk() {
        let mut bytes = control_message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &7u32.to_ne_bytes());
        bytes[0] = 200;
        assert_eq!(Ancillary::parse(&bytes), Ancillary::default());
        bytes[0] = 3;
        assert_eq!(Ancillary::parse(&bytes), Ancillary::default());
    }
}
