//! The ports of an external slave, which has no control connection: is anybody there?
//!
//! A packet that bears its exporter's address has its ICMP errors go to the exporter. So the proxy
//! sends an empty datagram of its own to each port now and then, from a connected socket, and hears
//! what comes back: a host without that port refuses it, and a host or router that cannot be passed
//! says so. Silence is a good sign, because a collector has nothing to say. An empty datagram is
//! what Debian's nfcapd takes without a line in its log; one of any other length it complains of.
//!
//! A collector behind a filter that swallows ICMP is never seen to be away.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::error::brief_io;

/// Between two probes of a port.
const EVERY: Duration = Duration::from_millis(250);

/// After so many refusals in a row the slave is away.
const REFUSALS: u32 = 2;

/// Silence for so long brings it back.
const SILENCE: Duration = Duration::from_secs(1);

/// Probes the ports until the future is dropped. `changed` is told what speaks against the slave,
/// and `None` when nothing does any more; not before the first change.
pub async fn keep(ports: &[SocketAddr], changed: impl Fn(Option<String>)) {
    let mut probes: Vec<Probe> = ports.iter().map(|&port| Probe::new(port)).collect();
    let mut told: Option<String> = None;
    loop {
        let now = Instant::now();
        for probe in &mut probes {
            probe.send(now);
        }
        tokio::time::sleep(EVERY).await;
        let now = Instant::now();
        for probe in &mut probes {
            probe.hear(now);
        }
        let against = probes.iter().find_map(|probe| probe.judgement.against());
        if against != told {
            changed(against.clone());
            told = against;
        }
    }
}

/// One port under watch.
struct Probe {
    to: SocketAddr,
    socket: Option<UdpSocket>,
    judgement: Judgement,
}

impl Probe {
    fn new(to: SocketAddr) -> Self {
        Probe { to, socket: None, judgement: Judgement::default() }
    }

    fn send(&mut self, now: Instant) {
        if self.socket.is_none() {
            match connect(self.to) {
                Ok(socket) => self.socket = Some(socket),
                Err(error) => return self.refused(&error, now),
            }
        }
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(&[])
        {
            self.refused(&error, now);
        }
    }

    /// Takes what came back since the probe was sent.
    fn hear(&mut self, now: Instant) {
        let Some(socket) = &self.socket else { return };
        match socket.take_error() {
            Ok(Some(error)) | Err(error) => self.refused(&error, now),
            Ok(None) => self.judgement.silent(now),
        }
    }

    fn refused(&mut self, error: &io::Error, now: Instant) {
        // A full socket buffer says nothing of the slave.
        if error.kind() == io::ErrorKind::WouldBlock {
            return;
        }
        let port = self.to;
        self.judgement.refused(&format!("{} at udp {port}", brief_io(error)), now);
        // The error queue of the old socket goes with it.
        self.socket = None;
    }
}

/// A socket that hears of ICMP errors.
fn connect(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    match to {
        SocketAddr::V4(_) => setsockopt(&socket.as_fd(), sockopt::Ipv4RecvErr, &true)?,
        SocketAddr::V6(_) => setsockopt(&socket.as_fd(), sockopt::Ipv6RecvErr, &true)?,
    }
    socket.connect(to)?;
    Ok(socket)
}

/// Refusals and silence, weighed.
#[derive(Debug, Default)]
struct Judgement {
    refusals: u32,
    reason: String,
    last: Option<Instant>,
}

impl Judgement {
    fn refused(&mut self, reason: &str, now: Instant) {
        self.refusals = self.refusals.saturating_add(1);
        reason.clone_into(&mut self.reason);
        self.last = Some(now);
    }

    fn silent(&mut self, now: Instant) {
        let long = |last: Instant| now.saturating_duration_since(last) >= SILENCE;
        if self.refusals < REFUSALS || self.last.is_none_or(long) {
            self.refusals = 0;
        }
    }

    fn against(&self) -> Option<String> {
        (self.refusals >= REFUSALS).then(|| self.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_refusals_in_a_row_are_needed_and_a_second_of_silence_forgives() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut judgement = Judgement::default();
        judgement.refused("refused", at(0));
        judgement.silent(at(250));
        judgement.refused("refused", at(500));
        assert_eq!(judgement.against(), None, "silence between two refusals");
        judgement.refused("refused", at(750));
        assert_eq!(judgement.against().as_deref(), Some("refused"));
        judgement.silent(at(1_500));
        assert!(judgement.against().is_some());
        judgement.silent(at(1_800));
        assert_eq!(judgement.against(), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_port_that_nobody_has_is_told_and_forgiven_when_somebody_does() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap();
        drop(socket);
        let (tell, told) = std::sync::mpsc::channel();
        let began = Instant::now();
        let ports = [port];
        let kept = keep(&ports, |against| tell.send((began.elapsed(), against)).unwrap());
        let listen = async {
            tokio::time::sleep(Duration::from_millis(1_000)).await;
            let socket = UdpSocket::bind(port).unwrap();
            tokio::time::sleep(Duration::from_millis(1_800)).await;
            drop(socket);
        };
        tokio::select! { () = kept => {}, () = listen => {} }
        let all: Vec<_> = told.try_iter().collect();
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all[0].0 < Duration::from_secs(1), "{all:?}");
        assert_eq!(all[0].1, Some(format!("connection refused at udp {port}")));
        assert_eq!(all[1].1, None);
    }
}
