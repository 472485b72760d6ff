//! Sending from an address: through a socket bound to it where it is the host's own, else raw.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};

use weir_dataplane::io::bound::BoundTransmit;
use weir_dataplane::io::raw::RawTransmit;
use weir_dataplane::io::{Tag, Transmit};

use super::{Error, Original, Sources};

/// Frames for the caller's own use; a replay copies every payload and needs none.
const FRAMES: usize = 64;
/// Sockets that are open at once.
const SOCKETS: usize = 512;
/// Datagrams between two flushes at most.
const BATCH: u32 = 32;

/// Opens what each address needs when it first sends.
#[derive(Debug)]
pub(super) struct Sender {
    mtu: u16,
    /// Exporters without an address of their own: where they send from, and to.
    own: HashMap<Original, (SocketAddr, SocketAddr)>,
    /// By the address that they were given.
    sockets: HashMap<SocketAddr, UdpSocket>,
    bound: Option<BoundTransmit>,
    raw: Option<RawTransmit>,
    /// Whether an address is one of the host's.
    local: HashMap<SocketAddr, bool>,
    queued: u32,
    refused: u64,
}

impl Sender {
    pub(super) fn new(mtu: u16) -> Self {
        Sender {
            mtu,
            own: HashMap::new(),
            sockets: HashMap::new(),
            bound: None,
            raw: None,
            local: HashMap::new(),
            queued: 0,
            refused: 0,
        }
    }

    /// The address that this exporter's packets bear, and where they go.
    pub(super) fn prepare(
        &mut self,
        original: Original,
        sources: &mut Sources,
        to: &[SocketAddr],
    ) -> Result<(SocketAddr, SocketAddr), Error> {
        let Some(exporter) = sources.address(original)? else {
            return self.own(original, to);
        };
        let target = to.iter().find(|to| to.is_ipv4() == exporter.is_ipv4());
        match target {
            Some(&target) => Ok((exporter, target)),
            None => Err(Error::OtherVersion { exporter, to: to.to_vec() }),
        }
    }

    fn own(
        &mut self,
        original: Original,
        to: &[SocketAddr],
    ) -> Result<(SocketAddr, SocketAddr), Error> {
        if let Some(&ends) = self.own.get(&original) {
            return Ok(ends);
        }
        let to = to[0];
        let any: SocketAddr =
            if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 16], 0).into() };
        let open = || {
            let socket = UdpSocket::bind(any)?;
            socket.connect(to)?;
            let source = socket.local_addr()?;
            Ok((socket, source))
        };
        let (socket, source) =
            open().map_err(|reason| Error::Send { exporter: any, to, reason })?;
        self.sockets.insert(source, socket);
        self.own.insert(original, (source, to));
        Ok((source, to))
    }

    /// Sends a payload; what the system refuses is counted.
    pub(super) fn send(
        &mut self,
        source: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> Result<(), Error> {
        if let Some(socket) = self.sockets.get(&source) {
            // A closed port's refusal is reported to the next datagram, which may be tried again.
            if socket.send(payload).is_err() && socket.send(payload).is_err() {
                self.refused += 1;
            }
            return Ok(());
        }
        // Nothing waits for it: what is refused is only counted.
        let tag = Tag::default();
        let mtu = self.mtu;
        if self.is_local(source) {
            self.bound(source)?.send_copy(payload, source, to, mtu, tag);
        } else {
            self.raw(source)?.send_copy(payload, source, to, mtu, tag);
        }
        self.queued += 1;
        if self.queued >= BATCH {
            self.flush();
        }
        Ok(())
    }

    /// Pushes out what waits.
    pub(super) fn flush(&mut self) {
        let mut refused = 0;
        let mut count = |_, _| refused += 1;
        if let Some(bound) = &mut self.bound {
            bound.flush(&mut count);
        }
        if let Some(raw) = &mut self.raw {
            raw.flush(&mut count);
        }
        self.refused += refused;
        self.queued = 0;
    }

    /// Datagrams that the system refused so far.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn is_local(&mut self, source: SocketAddr) -> bool {
        *self.local.entry(source).or_insert_with(|| UdpSocket::bind((source.ip(), 0)).is_ok())
    }

    fn bound(&mut self, exporter: SocketAddr) -> Result<&mut BoundTransmit, Error> {
        if self.bound.is_none() {
            let open = BoundTransmit::open(FRAMES, SOCKETS);
            self.bound =
                Some(open.map_err(|reason| Error::Send { exporter, to: exporter, reason })?);
        }
        Ok(self.bound.as_mut().expect("just opened"))
    }

    fn raw(&mut self, exporter: SocketAddr) -> Result<&mut RawTransmit, Error> {
        if self.raw.is_none() {
            let open = RawTransmit::open(FRAMES);
            self.raw = Some(open.map_err(|reason| Error::Raw { exporter, reason })?);
        }
        Ok(self.raw.as_mut().expect("just opened"))
    }
}
