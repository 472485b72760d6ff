//! A fixed pool of outgoing frames in ordinary memory, for the backends that hand copies to the
//! kernel.
//!
//! Invariant: an index stands either in the free list or in exactly one [`Frame`]. A `Frame` that
//! is dropped instead of being sent or given back is lost to the pool, never shared.

/// A handle of one outgoing frame; move-only.
#[derive(Debug)]
#[must_use = "a frame that is dropped is lost to its pool: send it or give it back"]
pub struct Frame(u32);

/// Frames of one size in one allocation.
#[derive(Debug)]
pub(super) struct Pool {
    bytes: Vec<u8>,
    length: usize,
    free: Vec<Frame>,
}

impl Pool {
    /// Allocates `frames` frames of `length` bytes.
    pub(super) fn new(frames: usize, length: usize) -> Self {
        let count = u32::try_from(frames).expect("fewer than 2^32 frames");
        Pool { bytes: vec![0; frames * length], length, free: (0..count).map(Frame).collect() }
    }

    pub(super) fn take(&mut self) -> Option<Frame> {
        self.free.pop()
    }

    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn give_back(&mut self, frame: Frame) {
        self.free.push(frame);
    }

    pub(super) fn bytes(&self, frame: &Frame) -> &[u8] {
        &self.bytes[frame.0 as usize * self.length..][..self.length]
    }

    pub(super) fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        &mut self.bytes[frame.0 as usize * self.length..][..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_taken_is_nobody_elses_until_it_is_back() {
        let mut pool = Pool::new(2, 16);
        let mut first = pool.take().unwrap();
        let mut second = pool.take().unwrap();
        assert!(pool.take().is_none());
        pool.bytes_mut(&mut first).fill(1);
        pool.bytes_mut(&mut second).fill(2);
        assert_eq!((pool.bytes(&first)[15], pool.bytes(&second)[0]), (1, 2));
        pool.give_back(first);
        assert_eq!(pool.free(), 1);
        assert!(pool.take().is_some());
    }
}
