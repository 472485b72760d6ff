//! IPFIX (RFC 7011): a message header of 16 bytes, then sets.
//!
//! The header bears the message's own length (RFC 7011, Section 3.1). Bytes of the datagram behind
//! it are not the message's and are ignored; a length that leaves the datagram means that the end
//! was lost on the way.

use std::ops::Range;

use super::set::{self, FieldSpecifier, Sets};
use super::{HeaderField, read_u16, read_u32, write_u16, write_u32};
use crate::Discard;

/// The version field's value.
pub const VERSION: u16 = 10;
/// Bytes of the header.
pub const HEADER_LENGTH: usize = 16;
/// The set id of templates.
pub const SET_TEMPLATES: u16 = 2;
/// The set id of options templates.
pub const SET_OPTIONS_TEMPLATES: u16 = 3;
/// The field length that says "the length stands before the value" (RFC 7011, Section 7).
pub const VARIABLE_LENGTH: u16 = u16::MAX;

mod field {
    use std::ops::Range;

    pub(super) const LENGTH: Range<usize> = 2..4;
    pub(super) const EXPORT_TIME: Range<usize> = 4..8;
    pub(super) const SEQUENCE: Range<usize> = 8..12;
    pub(super) const DOMAIN: Range<usize> = 12..16;
}

/// The header's fields (RFC 7011, Section 3.1).
pub static HEADER_FIELDS: [HeaderField; 5] = [
    HeaderField::new("version", 0..2),
    HeaderField::new("length", field::LENGTH),
    HeaderField::new("exportTime", field::EXPORT_TIME),
    HeaderField::new("sequenceNumber", field::SEQUENCE),
    HeaderField::new("observationDomainId", field::DOMAIN),
];

/// An IPFIX message that is all there.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Checks the header and the length.
    ///
    /// # Errors
    /// [`Discard::TooShort`] without a whole header, [`Discard::MessageLength`] when the length
    /// field is less than a header or more than the datagram.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, Discard> {
        if bytes.len() < HEADER_LENGTH {
            return Err(Discard::TooShort);
        }
        let length = usize::from(read_u16(bytes, field::LENGTH));
        if length < HEADER_LENGTH {
            return Err(Discard::MessageLength);
        }
        match bytes.get(..length) {
            Some(bytes) => Ok(Message { bytes }),
            None => Err(Discard::MessageLength),
        }
    }

    /// Bytes of the message, header included.
    pub fn length(&self) -> u16 {
        read_u16(self.bytes, field::LENGTH)
    }

    /// Seconds since 1970 when the exporter sent this.
    pub fn export_time(&self) -> u32 {
        read_u32(self.bytes, field::EXPORT_TIME)
    }

    /// Data records exported before this message, options data included.
    pub fn sequence(&self) -> u32 {
        read_u32(self.bytes, field::SEQUENCE)
    }

    /// The observation domain.
    pub fn domain(&self) -> u32 {
        read_u32(self.bytes, field::DOMAIN)
    }

    /// The header, [`HEADER_LENGTH`] bytes.
    pub fn header(&self) -> &'a [u8] {
        &self.bytes[..HEADER_LENGTH]
    }

    /// The sets in their order.
    pub fn sets(&self) -> Sets<'a> {
        Sets::new(&self.bytes[HEADER_LENGTH..])
    }
}

/// The header of a basicList: its semantic, its element with the length of a value, and where the
/// values begin (RFC 6313, Section 4.5.1).
pub fn basic_list(bytes: &[u8]) -> Option<(u8, FieldSpecifier, usize)> {
    let (&semantic, rest) = bytes.split_first()?;
    let field = set::field_specifier(rest)?;
    Some((semantic, field.0, 1 + field.1))
}

/// The header of a subTemplateList: its semantic, its template, and where the records begin
/// (RFC 6313, Section 4.5.2).
pub fn sub_template_list(bytes: &[u8]) -> Option<(u8, u16, usize)> {
    let head = bytes.first_chunk::<3>()?;
    Some((head[0], read_u16(head, 1..3), head.len()))
}

/// A run of records at the head of what follows the semantic of a subTemplateMultiList: its
/// template, and where its records stand (RFC 6313, Section 4.5.3).
pub fn sub_template_run(bytes: &[u8]) -> Option<(u16, Range<usize>)> {
    let head = bytes.first_chunk::<4>()?;
    let (id, length) = (read_u16(head, 0..2), usize::from(read_u16(head, 2..4)));
    let fits = (head.len()..=bytes.len()).contains(&length);
    fits.then_some((id, head.len()..length))
}

/// Whether records may move between messages under these two headers and keep their meaning:
/// whether their export time agree.
pub fn same_context(a: &[u8], b: &[u8]) -> bool {
    a[field::EXPORT_TIME] == b[field::EXPORT_TIME]
}

/// Writes the message's length, header included.
pub fn set_length(header: &mut [u8], length: u16) {
    write_u16(header, field::LENGTH, length);
}

/// Writes the sequence number into a header.
pub fn set_sequence(header: &mut [u8], sequence: u32) {
    write_u32(header, field::SEQUENCE, sequence);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 16] = [0, 10, 0, 16, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];

    #[test]
    fn fields_are_read_where_they_stand() {
        let message = Message::new_checked(&HEADER).unwrap();
        assert_eq!((message.length(), message.export_time()), (16, 1));
        assert_eq!((message.sequence(), message.domain()), (2, 3));
        assert_eq!(message.header(), HEADER);
    }

    #[test]
    fn a_length_that_leaves_the_datagram_is_refused() {
        let mut bytes = HEADER;
        set_length(&mut bytes, 17);
        assert_eq!(Message::new_checked(&bytes).unwrap_err(), Discard::MessageLength);
    }

    #[test]
    fn a_length_under_a_header_is_refused() {
        let mut bytes = HEADER;
        set_length(&mut bytes, 15);
        assert_eq!(Message::new_checked(&bytes).unwrap_err(), Discard::MessageLength);
    }

    #[test]
    fn bytes_behind_the_length_are_not_the_message() {
        let mut bytes = HEADER.to_vec();
        bytes.extend([0, 2, 0, 4]);
        assert_eq!(Message::new_checked(&bytes).unwrap().sets().count(), 0);
    }

    #[test]
    fn half_a_header_is_too_short() {
        assert_eq!(Message::new_checked(&HEADER[..15]).unwrap_err(), Discard::TooShort);
    }
}
