//! Message headers by value, and what a closing message writes into its own.

use crate::wire::{Message, Protocol, ipfix, netflow5, netflow9};

/// A message header as the exporter sent it, kept by value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(super) protocol: Protocol,
    bytes: [u8; netflow5::HEADER_LENGTH],
}

impl Header {
    pub(crate) fn of(message: &Message<'_>) -> Self {
        let view = match message {
            Message::Netflow5(packet) => packet.header(),
            Message::Netflow9(packet) => packet.header(),
            Message::Ipfix(message) => message.header(),
        };
        let mut bytes = [0; netflow5::HEADER_LENGTH];
        bytes[..view.len()].copy_from_slice(view);
        Header { protocol: message.protocol(), bytes }
    }

    /// Of the bytes that [`Header::view`] has given.
    pub(crate) fn from_view(protocol: Protocol, view: &[u8]) -> Self {
        let mut bytes = [0; netflow5::HEADER_LENGTH];
        let length = view.len().min(bytes.len());
        bytes[..length].copy_from_slice(&view[..length]);
        Header { protocol, bytes }
    }

    pub(crate) fn view(&self) -> &[u8] {
        let length = match self.protocol {
            Protocol::Netflow5 => netflow5::HEADER_LENGTH,
            Protocol::Netflow9 => netflow9::HEADER_LENGTH,
            Protocol::Ipfix => ipfix::HEADER_LENGTH,
        };
        &self.bytes[..length]
    }

    /// Whether records may move between messages under these headers and keep their meaning.
    pub(super) fn same_context(&self, other: &Header) -> bool {
        match self.protocol {
            Protocol::Netflow5 => netflow5::same_context(self.view(), other.view()),
            Protocol::Netflow9 => netflow9::same_context(self.view(), other.view()),
            Protocol::Ipfix => ipfix::same_context(self.view(), other.view()),
        }
    }
}

/// What a closing message's header says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    /// Records of every kind.
    pub(super) count: u16,
    /// Data records, options data included.
    pub(super) data: u16,
    pub(super) sequence: u32,
}

impl Tally {
    /// By how much the sequence number goes on: v5 counts flows, v9 messages (RFC 3954,
    /// Section 5.1), IPFIX data records (RFC 7011, Section 3.1).
    pub(super) fn step(&self, protocol: Protocol) -> u32 {
        match protocol {
            Protocol::Netflow5 | Protocol::Ipfix => u32::from(self.data),
            Protocol::Netflow9 => 1,
        }
    }

    /// Writes counts, length and sequence number into a whole message.
    pub(super) fn write(&self, protocol: Protocol, message: &mut [u8]) {
        match protocol {
            Protocol::Netflow5 => {
                netflow5::set_count(message, self.count);
                netflow5::set_sequence(message, self.sequence);
            }
            Protocol::Netflow9 => {
                netflow9::set_count(message, self.count);
                netflow9::set_sequence(message, self.sequence);
            }
            Protocol::Ipfix => {
                let length = u16::try_from(message.len()).expect("a datagram is below 64 KiB");
                ipfix::set_length(message, length);
                ipfix::set_sequence(message, self.sequence);
            }
        }
    }
}
