//! What the program tells of datagrams that it forwards: new sources, and messages that may bear
//! templates, by the kernel's ring.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};

use crate::abi;
use crate::error::Error;
use crate::load::take;

/// Octets of `struct weir_event` in front of the payload.
const HEADER: usize = 32;
const UNKNOWN: u32 = 1;
const COPY: u32 = 2;

/// A forwarded datagram that user space should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The exporter's address and port.
    pub source: SocketAddr,
    /// The listening port.
    pub port: u16,
    /// Whether the program does not know the source.
    pub unknown: bool,
    /// The UDP payload, when a template set is in it or may be; its first [`abi::COPY_MAX`] octets
    /// when it is longer.
    pub payload: Option<&'a [u8]>,
    /// Octets of the UDP payload.
    pub length: u32,
}

/// The program's ring of events.
pub struct Events {
    ring: RingBuf<MapData>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    pub(crate) fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        Ok(Events { ring: take(ebpf, "events")? })
    }

    /// Gives up to `most` events that wait, in their order; returns how many. No system call.
    pub fn poll(&mut self, most: usize, each: &mut dyn FnMut(Event<'_>)) -> usize {
        let mut count = 0;
        while count < most {
            let Some(item) = self.ring.next() else { break };
            if let Some(event) = parse(&item) {
                each(event);
            }
            count += 1;
        }
        count
    }
}

/// Readable when an event came in after all before it had been taken.
impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// An event off its octets; `None` for what the program never writes.
fn parse(bytes: &[u8]) -> Option<Event<'_>> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    let address: [u8; 16] = *header.first_chunk()?;
    let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let word = |at: usize| {
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let flags = word(28);
    let payload = if flags & COPY != 0 {
        let copied = usize::try_from(word(24)).ok()?;
        Some(bytes.get(HEADER..HEADER + copied)?)
    } else {
        None
    };
    Some(Event {
        source: SocketAddr::new(abi::unmapped(address), half(16)),
        port: half(18),
        unknown: flags & UNKNOWN != 0,
        payload,
        length: word(20),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_lies_about_its_length_is_none() {
        let mut bytes = vec![0; HEADER + 4];
        bytes[24..28].copy_from_slice(&5u32.to_ne_bytes());
        bytes[28..32].copy_from_slice(&COPY.to_ne_bytes());
        assert_eq!(parse(&bytes), None);
        bytes[24..28].copy_from_slice(&4u32.to_ne_bytes());
        assert_eq!(parse(&bytes).unwrap().payload, Some(&[0; 4][..]));
        assert_eq!(parse(&bytes[..HEADER - 1]), None);
    }
}
