//! What a message says of all its records.

use std::net::SocketAddr;

use weir_store::Address;

use super::moment::Uptime;
use crate::Timestamp;
use crate::hold::Held;
use crate::wire::{Message, netflow5};

/// What a message says of all its records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) received_ms: u64,
    pub(super) export_ms: u64,
    pub(super) uptime: Uptime,
    pub(super) exporter: Address,
    pub(super) domain: u32,
    /// One packet in so many was looked at; 0 where the header does not say it.
    pub(super) sampling: u32,
}

/// Bytes of what is kept of a header with a set that is held: the export time, whether an uptime
/// goes with it, and that uptime.
const KEPT: usize = 13;

impl Header {
    /// Of a message from `source`; `uptime` is what its session knows where the message says
    /// nothing of it.
    pub(super) fn new(
        message: &Message<'_>,
        source: SocketAddr,
        now: Timestamp,
        uptime: Uptime,
    ) -> Self {
        let (export_ms, uptime) = match message {
            Message::Fixed(packet) => {
                let sub_ms = u64::from(packet.unix_nsecs() / 1_000_000);
                let export_ms = u64::from(packet.unix_secs()) * 1000 + sub_ms;
                (export_ms, Uptime::AtExport(packet.uptime_ms()))
            }
            Message::Netflow9(packet) => {
                (u64::from(packet.unix_secs()) * 1000, Uptime::AtExport(packet.uptime_ms()))
            }
            Message::Ipfix(message) => (u64::from(message.export_time()) * 1000, uptime),
            // It writes no time of day, so the time of its arrival stands for it.
            Message::Sflow(_) => (now.0, uptime),
        };
        let sampling = match message {
            Message::Fixed(packet) => netflow5::sampling_interval(packet).into(),
            _ => 0,
        };
        Header {
            received_ms: now.0,
            export_ms,
            uptime,
            exporter: source.ip().into(),
            domain: message.domain(),
            sampling,
        }
    }

    /// What a set of the same session needs of this header when it is read later.
    pub(super) fn to_bytes(self) -> [u8; KEPT] {
        let mut bytes = [0; KEPT];
        bytes[..8].copy_from_slice(&self.export_ms.to_be_bytes());
        if let Uptime::AtExport(uptime_ms) = self.uptime {
            bytes[8] = 1;
            bytes[9..].copy_from_slice(&uptime_ms.to_be_bytes());
        }
        bytes
    }

    /// The header that a held set of this session came under. `boot` is what the session knows by
    /// now, where the message said nothing of the uptime.
    ///
    /// # Panics
    /// When the set was not held under [`Header::to_bytes`].
    pub(super) fn of_held(&self, held: &Held<'_>, boot: Uptime) -> Header {
        let kept: &[u8; KEPT] = held.header.try_into().expect("sets are held under these bytes");
        let (export_ms, rest) = kept.split_first_chunk().expect("eight of thirteen bytes");
        let uptime = match *rest {
            [1, a, b, c, d] => Uptime::AtExport(u32::from_be_bytes([a, b, c, d])),
            _ => boot,
        };
        let export_ms = u64::from_be_bytes(*export_ms);
        Header { received_ms: held.kept_at.0, export_ms, uptime, ..*self }
    }
}
