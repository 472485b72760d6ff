//! The Internet checksum (RFC 1071), as IPv4 headers and UDP use it.
//!
//! Sums are kept as 64-bit accumulators of 32-bit words: the ones' complement sum does not care in
//! which width it is taken, and wider steps are several times faster than 16-bit ones.

/// The ones' complement sum of `bytes` on top of `start`, not yet folded.
///
/// `bytes` begins at an even offset of what is summed; an odd last byte counts as if a zero
/// followed. The result stands in network order: [`fold`] gives the 16-bit value.
pub fn sum(start: u64, bytes: &[u8]) -> u64 {
    let mut total = start;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        total += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let rest = words.remainder();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total + u64::from(u32::from_be_bytes(last))
}

/// Folds a sum to its 16-bit ones' complement value; the checksum itself is its inverse.
pub fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).expect("folded to 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_sums_as_printed_there() {
        // RFC 1071, Section 3: 0001 f203 f4f5 f6f7 sums to ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(0, &bytes)), 0xddf2);
    }

    #[test]
    fn an_odd_byte_counts_as_if_a_zero_followed() {
        assert_eq!(fold(sum(0, &[0x12])), 0x1200);
        assert_eq!(fold(sum(0, &[0x12, 0x34, 0x56])), fold(sum(0, &[0x12, 0x34, 0x56, 0])));
    }
}
