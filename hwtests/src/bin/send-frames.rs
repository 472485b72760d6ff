//! Sends Ethernet frames as they are: one a line of stdin, in hexadecimal, by the device named first.
//!
//! What a test says about VLAN tags, IP options, fragments or padding must stand on the wire as it was
//! said; an ordinary socket would have the kernel write these. Runs within an exporter's namespace,
//! and needs CAP_NET_RAW. The second argument, if any, is how many frames leave a second.
//!
//! `unsafe`: the standard library and socket2 know no address of a device.
#![allow(unsafe_code)]

use std::io::{BufRead, Error};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let device = arguments.next().unwrap_or_default();
    let rate: u32 = arguments.next().and_then(|rate| rate.parse().ok()).unwrap_or(4_000);
    let address = address_of(&device)?;
    // Protocol 0: it sends, and receives nothing.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    let start = Instant::now();
    for (count, line) in (0..).zip(std::io::stdin().lock().lines()) {
        let frame = bytes(&line?).ok_or_else(|| Error::other("a line is not hexadecimal"))?;
        let due = Duration::from_secs(1) * count / rate;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        socket.send_to(&frame, &address)?;
    }
    Ok(())
}

/// The address by which the kernel sends out of `device`, all of the frame being given.
fn address_of(device: &str) -> Result<SockAddr, Error> {
    let index = std::fs::read_to_string(format!("/sys/class/net/{device}/ifindex"))?;
    let index = index.trim().parse().map_err(Error::other)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of the addresses that a storage holds, and valid when all zero.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = libc::AF_PACKET as libc::sa_family_t;
    link.sll_ifindex = index;
    link.sll_halen = 6;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the storage holds a sockaddr_ll of this family and length.
    Ok(unsafe { SockAddr::new(storage, length) })
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let digit = |at: usize| char::from(*hexadecimal.as_bytes().get(at)?).to_digit(16);
    let pair = |at: usize| u8::try_from(digit(at)? * 16 + digit(at + 1)?).ok();
    (0..hexadecimal.len()).step_by(2).map(pair).collect()
}
