//! The memory of AF_XDP frames: a mapping of our own, on huge pages and near the device where the
//! host has such.
//!
//! The NUMA policy is set before the first byte is touched, for that is when a page gets its place.
//! It is a preference: a node without free memory must not kill the process at a page fault.
//!
//! Invariant: the mapping stays where it is until the last handle on it is dropped.
#![allow(unsafe_code)] // a mapping, its policy, and slices of memory that the kernel writes to

use std::io;
use std::ptr::NonNull;

/// `MPOL_PREFERRED`: that node's pages, others when it has none.
const POLICY_PREFERRED: libc::c_long = 1;
/// `MADV_POPULATE_WRITE`, Linux 5.14 or newer: gives the pages, or an error instead of a signal.
const ADVICE_POPULATE: i32 = 23;
/// NUMA nodes that a mask has room for.
const NODES_MAX: usize = 1024;

/// A mapping of private memory, zeroed and populated.
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<u8>,
    length: usize,
    huge: bool,
    node: Option<u32>,
}

// SAFETY: the mapping is plain memory; who may touch which part of it is told by the owners of
// frames (`rings`), not by the thread.
unsafe impl Send for Memory {}
// SAFETY: as above; `Memory` gives out slices only by unsafe functions.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps `length` bytes or a little more, on huge pages if there are enough, near NUMA node `node`
    /// where one is given.
    ///
    /// # Errors
    /// What the system says when not even ordinary pages can be had.
    pub(super) fn map(length: usize, node: Option<u32>) -> io::Result<Self> {
        let huge_length = length.next_multiple_of(HugePages::read().page_bytes);
        Self::try_map(huge_length, node, libc::MAP_HUGETLB)
            .or_else(|_| Self::try_map(length.next_multiple_of(4096), node, 0))
    }

    fn try_map(length: usize, node: Option<u32>, flags: i32) -> io::Result<Self> {
        let huge = flags & libc::MAP_HUGETLB != 0;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("a mapping is never at address 0");
        let mut memory = Memory { start, length, huge, node: None };
        memory.node = node.filter(|&node| memory.prefer(node).is_ok());
        memory.populate()?;
        Ok(memory)
    }

    /// Asks for pages of a NUMA node.
    fn prefer(&self, node: u32) -> io::Result<()> {
        let mut mask = [0u64; NODES_MAX / 64];
        let word = mask.get_mut(node as usize / 64).ok_or(io::ErrorKind::InvalidInput)?;
        *word = 1 << (node % 64);
        // SAFETY: the range is this mapping, and the mask has as many bits as are told, plus the one
        // that the kernel takes off.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.start.as_ptr(),
                self.length,
                POLICY_PREFERRED,
                mask.as_ptr(),
                NODES_MAX + 1,
                0,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Gives every page its place now, so that no packet waits for one.
    fn populate(&self) -> io::Result<()> {
        // SAFETY: the range is this mapping, which nobody else knows yet.
        let result =
            unsafe { libc::madvise(self.start.as_ptr().cast(), self.length, ADVICE_POPULATE) };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) {
            return Err(error);
        }
        // SAFETY: the range is this mapping, which nobody else knows yet.
        unsafe { std::ptr::write_bytes(self.start.as_ptr(), 0, self.length) };
        Ok(())
    }

    /// The whole mapping, for the kernel.
    pub(super) fn area(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.start, self.length)
    }

    /// Whether it lies on huge pages: then few entries of the processor's address tables cover it.
    pub(super) fn is_huge(&self) -> bool {
        self.huge
    }

    /// The NUMA node that was asked for its pages.
    pub(super) fn node(&self) -> Option<u32> {
        self.node
    }

    /// `length` bytes from `at`.
    ///
    /// # Safety
    /// Nobody, the kernel included, writes to these bytes for as long as the slice lives.
    pub(super) unsafe fn bytes(&self, at: usize, length: usize) -> &[u8] {
        assert!(at <= self.length && length <= self.length - at, "bytes of this mapping");
        // SAFETY: the range is within the mapping, which `self` keeps.
        let start = unsafe { self.start.as_ptr().add(at) };
        // SAFETY: initialised by the kernel at the latest; the caller vouches for the absence of
        // writers.
        unsafe { std::slice::from_raw_parts(start, length) }
    }

    /// `length` bytes from `at`, to be written.
    ///
    /// # Safety
    /// Nobody else, the kernel included, uses these bytes for as long as the slice lives.
    #[expect(clippy::mut_from_ref, reason = "frames are lent out apart; their owners keep them so")]
    pub(super) unsafe fn bytes_mut(&self, at: usize, length: usize) -> &mut [u8] {
        assert!(at <= self.length && length <= self.length - at, "bytes of this mapping");
        // SAFETY: the range is within the mapping, which `self` keeps.
        let start = unsafe { self.start.as_ptr().add(at) };
        // SAFETY: initialised when populated; the caller vouches that no other reference is alive.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and slices of it borrow this value.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert_eq!(result, 0, "a mapping can be unmapped");
    }
}

/// What to do so that `count` more mappings of `length` bytes find huge pages.
pub(super) fn advice(length: usize, count: usize) -> String {
    HugePages::read().advice(length, count)
}

/// The host's pool of huge pages.
struct HugePages {
    page_bytes: usize,
    total: usize,
    free: usize,
}

impl HugePages {
    fn read() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let field = |name: &str| -> Option<usize> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
        };
        let reserved = field("HugePages_Rsvd").unwrap_or(0);
        HugePages {
            page_bytes: field("Hugepagesize").filter(|&kib| kib > 0).unwrap_or(2048) * 1024,
            total: field("HugePages_Total").unwrap_or(0),
            free: field("HugePages_Free").unwrap_or(0).saturating_sub(reserved),
        }
    }

    fn advice(&self, length: usize, count: usize) -> String {
        let needed = length.div_ceil(self.page_bytes) * count;
        let total = self.total.saturating_sub(self.free) + needed;
        format!(
            "{needed} huge pages are missing and {free} free: echo {total} > \
             /proc/sys/vm/nr_hugepages",
            free = self.free
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_holds_what_is_written_to_it() {
        for node in [None, Some(0), Some(5_000)] {
            let memory = Memory::map(3 * 4096 + 1, node).unwrap();
            let length = memory.area().len();
            assert!(length > 3 * 4096);
            // SAFETY: this test alone knows the mapping, and the slice ends with its statement.
            unsafe { memory.bytes_mut(length - 8, 8) }.fill(7);
            // SAFETY: nobody writes any more.
            assert_eq!(unsafe { memory.bytes(length - 9, 9) }, [0, 7, 7, 7, 7, 7, 7, 7, 7]);
            assert!(memory.node().is_none_or(|node| node == 0));
        }
    }

    #[test]
    #[should_panic(expected = "bytes of this mapping")]
    fn a_range_beyond_the_mapping_is_refused() {
        let memory = Memory::map(4096, None).unwrap();
        // SAFETY: refused before anything is touched.
        unsafe { memory.bytes(memory.area().len(), 1) };
    }

    #[test]
    fn the_advice_counts_what_others_use_already() {
        let text = "HugePages_Total:      40\nHugePages_Free:       10\nHugePages_Rsvd:        2\n\
                    Hugepagesize:       2048 kB\n";
        let advice = HugePages::parse(text).advice(64 << 20, 4);
        let expected =
            "128 huge pages are missing and 8 free: echo 160 > /proc/sys/vm/nr_hugepages";
        assert_eq!(advice, expected);
        assert_eq!(HugePages::parse("").page_bytes, 2 << 20);
    }
}
