//! A file mapped into memory: the only unsafe line of the store.
#![allow(unsafe_code)] // mmap has no safe form: the system cannot promise that a file stays as it is

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// The bytes of `file`, which must be a sealed segment.
///
/// Reads are checked against the length at this moment. What would break them is another program
/// that shortens the file afterwards; weir itself never writes to a sealed segment again, and
/// removes one by unlinking it, which leaves the mapping whole.
pub(crate) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the file is a sealed segment, which its writer (the lock file's holder) never
    // changes; every byte is checked before it is believed, so foreign bytes are only damage.
    unsafe { Mmap::map(file) }
}
