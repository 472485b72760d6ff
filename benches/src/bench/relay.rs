//! The smallest honest relay that keeps the source address: one `recvfrom`, one `sendto` on a raw
//! socket for each datagram, whole datagrams in turn over the targets.
//!
//! It stands for samplicator, which no Debian package has, and does less than that: no
//! configuration is looked up. What it costs is the least that this way of relaying can cost.

use std::net::{SocketAddr, SocketAddrV4};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};
use weir_dataplane::wire::{ipv4, udp};

/// `weir-bench relay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where datagrams go, in turn.
    targets: Vec<SocketAddrV4>,
}

/// Relays for ever.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let listen = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    listen.set_recv_buffer_size(32 << 20)?;
    listen.bind(&SocketAddr::from(([0, 0, 0, 0], 2_055)).into())?;
    let listen = std::net::UdpSocket::from(listen);
    let out = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))?;
    out.set_header_included_v4(true)?;
    let mut packet = vec![0; 28 + 65_507];
    let mut next = (0..arguments.targets.len()).cycle();
    loop {
        let (length, source) = listen.recv_from(&mut packet[28..])?;
        let SocketAddr::V4(source) = source else { bail!("{source} is no IPv4 address") };
        let target = arguments.targets[next.next().context("no target given")?];
        udp::emit(&mut packet[20..28 + length], source.into(), target.into());
        let header = ipv4::Header {
            source: *source.ip(),
            destination: *target.ip(),
            identification: 0,
            protocol: ipv4::UDP,
        };
        header.emit(&mut packet, 8 + length);
        // What the system refuses is lost, as with any such relay; the sink counts.
        let _lost = out.send_to(&packet[..28 + length], &SocketAddr::from(target).into());
    }
}
