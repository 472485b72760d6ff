//! NetFlow version 7: a header of 24 bytes and records of 52, from Cisco's Catalyst switches.
//!
//! The format is Cisco's ("Configuring NDE", tables "Version 7 header format" and "Version 7 flow
//! record format"). A record is version 5's with flags that say which fields are not valid, and the
//! address of the router that the switch bypasses. The last four bytes of the header are reserved.

use super::fixed::{Layout, Packet};
use super::{HeaderField, Protocol, netflow5};
use crate::Discard;

/// The version field's value.
pub const VERSION: u16 = 7;
/// Bytes of the header.
pub const HEADER_LENGTH: usize = 24;
/// Bytes of a record.
pub const RECORD_LENGTH: usize = 52;

/// The one layout of this version. Flags (46..48) and the bypassed router (48..52) have no
/// information element; a field that the flags call invalid is zero.
pub static LAYOUT: Layout = Layout {
    protocol: Protocol::Netflow7,
    scheme: 0,
    header_length: HEADER_LENGTH,
    record_length: RECORD_LENGTH,
    max_records: 27,
    fields: netflow5::LAYOUT.fields,
};

/// The fields without an information element.
pub static NAMED: [HeaderField; 2] =
    [HeaderField::new("flags", 46..48), HeaderField::new("bypassedRouter", 48..52)];

/// Checks the header and the count.
///
/// # Errors
/// As [`Packet::new_checked`].
pub fn new_checked(bytes: &[u8]) -> Result<Packet<'_>, Discard> {
    Packet::new_checked(bytes, &LAYOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_where_they_stand() {
        let mut bytes =
            vec![0, 7, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0];
        bytes.extend([1; RECORD_LENGTH]);
        bytes.extend([2; RECORD_LENGTH]);
        let packet = new_checked(&bytes).unwrap();
        assert_eq!((packet.uptime_ms(), packet.unix_secs(), packet.unix_nsecs()), (1, 2, 3));
        assert_eq!((packet.sequence(), packet.domain()), (4, 0));
        let records: Vec<_> = packet.records().collect();
        assert_eq!(records, [&[1; RECORD_LENGTH][..], &[2; RECORD_LENGTH]]);
    }
}
