//! Bytes that another module makes and reads, compressed where that pays.

use std::borrow::Cow;

use super::Whole;
use super::codec::{Codec, unsqueeze};
use super::fields::Fields;

/// The most bytes of one block; a larger number in a file is damage.
const MAX_BYTES: usize = 1 << 31;

/// Appends `plain`: its length, and itself or a zstd frame of it.
///
/// # Panics
/// When it has more than 2 GiB: rows are sealed long before.
pub(super) fn write(plain: &[u8], codec: &mut Codec, out: &mut Vec<u8>) {
    assert!(plain.len() <= MAX_BYTES, "a block holds few rows");
    out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    let packed = codec.squeeze(plain, plain.len());
    out.extend_from_slice(packed.unwrap_or(plain));
}

/// The bytes that were written.
pub(super) fn read(bytes: &[u8]) -> Whole<Cow<'_, [u8]>> {
    let mut fields = Fields(bytes);
    let length = fields.u32()? as usize;
    if fields.0.len() == length {
        return Ok(Cow::Borrowed(fields.0));
    }
    if length > MAX_BYTES {
        return Err("it claims an impossible length");
    }
    let mut plain = vec![0; length];
    unsqueeze(fields.0, &mut plain)?;
    Ok(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_compressed_or_not() {
        for plain in [&[][..], &[7], &[1; 1000], b"not much to gain here"] {
            for compress in [false, true] {
                let mut bytes = Vec::new();
                write(plain, &mut Codec::new(compress), &mut bytes);
                assert_eq!(&*read(&bytes).unwrap(), plain);
                assert!(bytes.len() <= plain.len() + 4);
            }
        }
    }
}
