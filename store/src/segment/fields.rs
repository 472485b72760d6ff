//! Reading little-endian numbers from bytes that may say anything.

use super::Whole;

/// The bytes that are still to be read.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

const SHORT: &str = "it ends too early";

impl<'a> Fields<'a> {
    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Whole<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Whole<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Whole<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Whole<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Whole<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Whole<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length or an offset, which must fit this machine.
    pub(super) fn size(&mut self) -> Whole<usize> {
        self.u64().and_then(|size| usize::try_from(size).map_err(|_| "it claims too much"))
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Whole<()> {
        if self.0.is_empty() { Ok(()) } else { Err("bytes are left over at its end") }
    }
}
