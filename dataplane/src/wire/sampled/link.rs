//! Headers below IP: Ethernet with its tags, PPP, PPPoE, MPLS.

use super::super::ethernet::ethertype;
use super::super::{read_u16, read_u32};
use super::{Ethernet, Rest, Start};

/// VLAN tags that are walked.
pub(super) const TAGS_MAX: usize = 4;
/// MPLS labels that are walked.
pub(super) const LABELS_MAX: usize = 16;

/// Types below this are lengths (IEEE 802.3, Clause 3.2.6).
pub(super) const TYPE_MIN: u16 = 0x0600;
/// Tags that switches wrote before 802.1ad gave them a number.
const OLD_TAGS: std::ops::RangeInclusive<u16> = 0x9100..=0x9300;
const MPLS: u16 = 0x8847;
const MPLS_MULTICAST: u16 = 0x8848;
const PPPOE: u16 = 0x8864;

/// Whether a type is that of a VLAN tag.
pub(super) fn is_tag(kind: u16) -> bool {
    let old = OLD_TAGS.contains(&kind) && kind & 0xff == 0;
    old || matches!(kind, ethertype::VLAN | ethertype::SERVICE_VLAN)
}

/// Reads an Ethernet header with its tags.
pub(super) fn ethernet<'a>(bytes: &'a [u8], header: &mut Ethernet) -> Rest<'a> {
    let (fixed, mut rest) = bytes.split_first_chunk::<14>()?;
    header.destination.copy_from_slice(&fixed[..6]);
    header.source.copy_from_slice(&fixed[6..12]);
    let mut kind = read_u16(fixed, 12..14);
    for tag in 0..TAGS_MAX {
        if !is_tag(kind) {
            break;
        }
        let (tagged, behind) = rest.split_first_chunk::<4>()?;
        let vlan = Some(read_u16(tagged, 0..2) & 0x0fff);
        match tag {
            0 => header.vlan = vlan,
            1 => header.inner_vlan = vlan,
            _ => {}
        }
        (kind, rest) = (read_u16(tagged, 2..4), behind);
    }
    if kind < TYPE_MIN {
        (kind, rest) = snap(rest)?;
    }
    header.ethertype = kind;
    Some((Start::Type(kind), rest))
}

/// The type in an 802.2 header that has one (RFC 1042).
pub(super) fn snap(bytes: &[u8]) -> Option<(u16, &[u8])> {
    match bytes {
        [0xaa, 0xaa, 0x03, 0, 0, 0, high, low, rest @ ..] => {
            Some((u16::from_be_bytes([*high, *low]), rest))
        }
        _ => None,
    }
}

/// What an Ethernet type that is not IP's leads to.
pub(super) fn by_type(kind: u16, bytes: &[u8]) -> Rest<'_> {
    match kind {
        MPLS | MPLS_MULTICAST => Some((Start::Mpls, bytes)),
        // Version and type, code, session, length (RFC 2516, Section 4).
        PPPOE => Some((Start::Ppp, bytes.get(6..)?)),
        _ => None,
    }
}

/// Reads a PPP frame's protocol (RFC 1661, Section 2), which may stand behind address and control
/// bytes (RFC 1662, Section 3.1) and be compressed to one byte.
pub(super) fn ppp(bytes: &[u8]) -> Rest<'_> {
    let bytes = match bytes {
        [0xff, 0x03, rest @ ..] => rest,
        _ => bytes,
    };
    let (protocol, rest) = match bytes {
        [low, rest @ ..] if low & 1 == 1 => (u16::from(*low), rest),
        [high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]), rest),
        _ => return None,
    };
    match protocol {
        0x0021 | 0x0057 => Some((Start::Ip, rest)),
        0x0281 | 0x0283 => Some((Start::Mpls, rest)),
        _ => None,
    }
}

/// Reads a stack of labels (RFC 3032, Section 2.1). Nothing says what is below it; an IP packet is
/// known by its version.
pub(super) fn labels<'a>(bytes: &'a [u8], top: &mut Option<u32>) -> Rest<'a> {
    let mut rest = bytes;
    for _ in 0..LABELS_MAX {
        let (entry, behind) = rest.split_first_chunk::<4>()?;
        let entry = read_u32(entry, 0..4);
        top.get_or_insert(entry >> 12);
        rest = behind;
        // Bottom of stack.
        if entry & 0x100 != 0 {
            return matches!(rest.first()? >> 4, 4 | 6).then_some((Start::Ip, rest));
        }
    }
    None
}
