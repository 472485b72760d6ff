//! Ethernet II frames with up to two VLAN tags (IEEE 802.1Q, 802.1ad).
//!
//! The tags are skipped, not kept: weir reads what is inside, whatever VLAN it came by. 802.3
//! length frames and further tags are no IP frames to weir; the XDP program leaves them to the
//! kernel.

use crate::Discard;

/// A hardware address.
pub type Mac = [u8; 6];

/// Bytes of a header without tags.
pub const HEADER_LENGTH: usize = 14;
/// Bytes of one VLAN tag.
pub const TAG_LENGTH: usize = 4;
/// VLAN tags that are skipped; a frame with more is nothing weir reads.
pub const TAGS_MAX: usize = 2;

/// What the type field may say.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// A customer's VLAN tag, 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// A provider's VLAN tag, 802.1ad.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// A checked view of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    ethertype: u16,
    payload: usize,
}

impl<'a> Frame<'a> {
    /// Views `bytes` (without a frame check sequence) as a frame.
    ///
    /// # Errors
    /// [`Discard::BadFrame`] when it ends within its header or its tags.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, Discard> {
        let mut payload = HEADER_LENGTH;
        let mut ethertype = type_at(bytes, payload)?;
        for _ in 0..TAGS_MAX {
            if ethertype != ethertype::VLAN && ethertype != ethertype::SERVICE_VLAN {
                break;
            }
            payload += TAG_LENGTH;
            ethertype = type_at(bytes, payload)?;
        }
        Ok(Frame { bytes, ethertype, payload })
    }

    /// The type field behind the tags.
    pub fn ethertype(&self) -> u16 {
        self.ethertype
    }

    /// The receiver's hardware address.
    pub fn destination(&self) -> Mac {
        self.bytes[0..6].try_into().expect("checked length")
    }

    /// The sender's hardware address.
    pub fn source(&self) -> Mac {
        self.bytes[6..12].try_into().expect("checked length")
    }

    /// What follows the header; Ethernet's padding of short frames included.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.payload..]
    }
}

/// The type field of a header (or tag) that ends at `end`.
fn type_at(bytes: &[u8], end: usize) -> Result<u16, Discard> {
    let field = bytes.get(end - 2..end).ok_or(Discard::BadFrame)?;
    Ok(u16::from_be_bytes([field[0], field[1]]))
}

/// Writes an untagged header into the first [`HEADER_LENGTH`] bytes of `buffer`.
pub fn emit(buffer: &mut [u8], destination: Mac, source: Mac, ethertype: u16) {
    buffer[0..6].copy_from_slice(&destination);
    buffer[6..12].copy_from_slice(&source);
    buffer[12..14].copy_from_slice(&ethertype.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x08, 0x00, 0x45, 0x00];

    #[test]
    fn a_plain_frame_shows_its_fields() {
        let frame = Frame::new_checked(&PLAIN).unwrap();
        assert_eq!(frame.destination(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(frame.source(), [7, 8, 9, 10, 11, 12]);
        assert_eq!(frame.ethertype(), ethertype::IPV4);
        assert_eq!(frame.payload(), [0x45, 0x00]);
    }

    #[test]
    fn two_tags_are_skipped_and_a_third_is_not() {
        let mut bytes = PLAIN[..12].to_vec();
        bytes.extend([0x88, 0xa8, 0x00, 0x05, 0x81, 0x00, 0x00, 0x06, 0x86, 0xdd, 0x60]);
        let frame = Frame::new_checked(&bytes).unwrap();
        assert_eq!((frame.ethertype(), frame.payload()), (ethertype::IPV6, &[0x60][..]));

        bytes.splice(12..12, [0x81, 0x00, 0x00, 0x07]);
        assert_eq!(Frame::new_checked(&bytes).unwrap().ethertype(), ethertype::VLAN);
    }

    #[test]
    fn a_frame_cut_within_its_header_is_refused() {
        assert_eq!(Frame::new_checked(&PLAIN[..13]).unwrap_err(), Discard::BadFrame);
        let mut tagged = PLAIN[..12].to_vec();
        tagged.extend([0x81, 0x00, 0x00, 0x05, 0x08]);
        assert_eq!(Frame::new_checked(&tagged).unwrap_err(), Discard::BadFrame);
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(to: Mac, from: Mac, body: Vec<u8>) {
            let mut bytes = vec![0; HEADER_LENGTH];
            emit(&mut bytes, to, from, ethertype::IPV6);
            bytes.extend(&body);
            let frame = Frame::new_checked(&bytes).unwrap();
            prop_assert_eq!((frame.destination(), frame.source()), (to, from));
            prop_assert_eq!(frame.payload(), &body[..]);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Frame::new_checked(&bytes).map(|frame| frame.payload().len());
        }
    }
}
