//! What encoding numbers needs besides them: whether to compress, and memory that is used again.

use std::io;

use zstd::bulk::{Compressor, Decompressor};

use super::Whole;

/// Higher levels take several times as long for a few parts in a hundred.
const LEVEL: i32 = 1;

/// An encoder's state.
pub(super) struct Codec {
    compressor: Option<Compressor<'static>>,
    squeezed: Vec<u8>,
}

impl Codec {
    /// With zstd where it pays, or without.
    pub(super) fn new(compress: bool) -> Self {
        let compressor = compress.then(|| Compressor::new(LEVEL).ok()).flatten();
        Codec { compressor, squeezed: Vec::new() }
    }

    /// Whether bytes are compressed at all.
    pub(super) fn compresses(&self) -> bool {
        self.compressor.is_some()
    }

    /// `bytes` as a zstd frame when that takes fewer than `below` bytes.
    pub(super) fn squeeze(&mut self, bytes: &[u8], below: usize) -> Option<&[u8]> {
        let compressor = self.compressor.as_mut()?;
        self.squeezed.resize(below, 0);
        // What does not fit is an error, and is stored as it is.
        let length = compressor.compress_to_buffer(bytes, &mut self.squeezed[..]).ok()?;
        self.squeezed.get(..length)
    }
}

thread_local! {
    /// Making one costs more than using it on one block.
    static DECOMPRESSOR: std::cell::RefCell<Option<Decompressor<'static>>> = const { std::cell::RefCell::new(None) };
}

/// Fills `plain` with what the zstd frame `bytes` holds, which must be as long.
pub(super) fn unsqueeze(bytes: &[u8], plain: &mut [u8]) -> Whole<()> {
    let length = DECOMPRESSOR.with_borrow_mut(|kept| -> io::Result<usize> {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new()?),
        };
        decompressor.decompress_to_buffer(bytes, plain)
    });
    match length {
        Ok(length) if length == plain.len() => Ok(()),
        Ok(_) => Err("its compressed bytes are too few"),
        Err(_) => Err("its compressed bytes are none of zstd's"),
    }
}
