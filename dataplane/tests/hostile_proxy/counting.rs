//! Memory counted at the allocator, thread by thread, where a test asks for it.
#![allow(unsafe_code, reason = "an allocator that counts is unsafe to declare")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    /// Bytes allocated and not freed while this thread counted, and the most that they have been.
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    fn add(bytes: isize) {
        // A thread that ends has no counters any more.
        let _ended = COUNTS.try_with(|counts| {
            if counts.get() {
                let now = NOW.get() + bytes;
                NOW.set(now);
                MOST.set(MOST.get().max(now));
            }
        });
    }
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::add(layout.size() as isize);
        // SAFETY: the caller's layout, as GlobalAlloc asks.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Counting::add(-(layout.size() as isize));
        // SAFETY: the caller's pointer and layout, which this allocator gave out.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn with(counts: bool) -> impl Drop {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            COUNTS.set(self.0);
        }
    }
    Before(COUNTS.replace(counts))
}

/// Does `work`, whose memory counts.
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> T {
    let _before = with(true);
    work()
}

/// Does `work`, whose memory is the test's own.
pub(crate) fn uncounted<T>(work: impl FnOnce() -> T) -> T {
    let _before = with(false);
    work()
}

/// The most bytes that were in use in this thread, of those that count.
pub(crate) fn most() -> usize {
    usize::try_from(MOST.get()).expect("more is allocated than freed")
}
