//! Message headers by value, and what a closing message writes into its own.

use crate::wire::fixed::{self, Layout};
use crate::wire::{Counted, Message, Protocol, ipfix, netflow9, sflow};

/// Bytes of the longest header of any protocol.
const LENGTH_MAX: usize = sflow::HEADER_LENGTH_MAX;
const _: () = assert!(fixed::HEADER_LENGTH_MAX <= LENGTH_MAX);

/// How a message is written.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Records of one length behind the header.
    Fixed(&'static Layout),
    Netflow9,
    Ipfix,
    /// Samples behind the header.
    Sflow,
}

/// A message header as the exporter sent it, kept by value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    form: Form,
    length: u8,
    bytes: [u8; LENGTH_MAX],
}

impl Header {
    pub(crate) fn of(message: &Message<'_>) -> Self {
        let form = match message {
            Message::Fixed(packet) => Form::Fixed(packet.layout()),
            Message::Netflow9(_) => Form::Netflow9,
            Message::Ipfix(_) => Form::Ipfix,
            Message::Sflow(_) => Form::Sflow,
        };
        let view = message.header();
        let mut bytes = [0; LENGTH_MAX];
        bytes[..view.len()].copy_from_slice(view);
        Header { form, length: view.len() as u8, bytes }
    }

    /// Of the bytes that [`Header::view`] has given, under a protocol that has sets: nothing of the
    /// others is held or remembered.
    pub(crate) fn from_view(protocol: Protocol, view: &[u8]) -> Self {
        let (form, whole) = match protocol {
            Protocol::Ipfix => (Form::Ipfix, ipfix::HEADER_LENGTH),
            _ => (Form::Netflow9, netflow9::HEADER_LENGTH),
        };
        let mut bytes = [0; LENGTH_MAX];
        let length = view.len().min(whole);
        bytes[..length].copy_from_slice(&view[..length]);
        Header { form, length: whole as u8, bytes }
    }

    pub(crate) fn view(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self.form {
            Form::Fixed(layout) => layout.protocol,
            Form::Netflow9 => Protocol::Netflow9,
            Form::Ipfix => Protocol::Ipfix,
            Form::Sflow => Protocol::Sflow,
        }
    }

    /// Whether records stand in sets; else they follow the header, one behind the other.
    #[inline]
    pub(super) fn has_sets(&self) -> bool {
        matches!(self.form, Form::Netflow9 | Form::Ipfix)
    }

    /// The most records that a message may have.
    #[inline]
    pub(super) fn max_records(&self) -> u16 {
        match self.form {
            Form::Fixed(layout) => layout.max_records,
            // They are counted in 16 bits by v9's header, and by weir.
            Form::Netflow9 | Form::Ipfix | Form::Sflow => u16::MAX,
        }
    }

    /// Whether records may move between messages under these headers and keep their meaning.
    pub(super) fn same_context(&self, other: &Header) -> bool {
        match (self.form, other.form) {
            (Form::Fixed(a), Form::Fixed(b)) => {
                std::ptr::eq(a, b) && fixed::same_context(self.view(), other.view())
            }
            (Form::Netflow9, Form::Netflow9) => netflow9::same_context(self.view(), other.view()),
            (Form::Ipfix, Form::Ipfix) => ipfix::same_context(self.view(), other.view()),
            (Form::Sflow, Form::Sflow) => sflow::same_context(self.view(), other.view()),
            _ => false,
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
    /// By how much the sequence number goes on.
    pub(super) fn step(&self, header: &Header) -> u32 {
        match header.protocol().counted() {
            Counted::Nothing => 0,
            Counted::Records => u32::from(self.data),
            Counted::Messages => 1,
        }
    }

    /// Writes counts, length and sequence number into a whole message under this header.
    pub(super) fn write(&self, header: &Header, message: &mut [u8]) {
        match header.form {
            Form::Fixed(layout) => {
                fixed::set_count(message, self.count);
                fixed::set_sequence(layout, message, self.sequence);
            }
            Form::Netflow9 => {
                netflow9::set_count(message, self.count);
                netflow9::set_sequence(message, self.sequence);
            }
            Form::Ipfix => {
                let length = u16::try_from(message.len()).expect("a datagram is below 64 KiB");
                ipfix::set_length(message, length);
                ipfix::set_sequence(message, self.sequence);
            }
            Form::Sflow => {
                sflow::set_count_and_sequence(message, self.count.into(), self.sequence);
            }
        }
    }
}
