//! A lane's frames for sending, each in one place.
#![allow(unsafe_code)] // lends the bytes of frames that their holders own

use std::sync::Arc;

use super::{FRAME_LENGTH, Region};

/// A frame that user space owns; move-only: its number.
#[derive(Debug)]
pub(in crate::io::afxdp) struct OwnFrame(u32);

/// Where a frame for sending is, besides the free list and an [`OwnFrame`]: on its way by a ring.
const AT_HOME: u8 = u8::MAX;

/// A lane's frames for sending.
pub(in crate::io::afxdp) struct Frames {
    pub(super) region: Arc<Region>,
    free: Vec<OwnFrame>,
    /// The ring that each frame is on its way by, or [`AT_HOME`].
    on_ring: Box<[u8]>,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("free", &self.free.len()).finish_non_exhaustive()
    }
}

impl Frames {
    pub(super) fn new(region: Arc<Region>) -> Self {
        let count = region.send_frames;
        let on_ring = vec![AT_HOME; count as usize].into_boxed_slice();
        Frames { region, free: (0..count).map(OwnFrame).collect(), on_ring }
    }

    /// How many there are.
    pub(in crate::io::afxdp) fn count(&self) -> usize {
        self.on_ring.len()
    }

    pub(in crate::io::afxdp) fn take(&mut self) -> Option<OwnFrame> {
        self.free.pop()
    }

    pub(in crate::io::afxdp) fn give_back(&mut self, frame: OwnFrame) {
        self.free.push(frame);
    }

    /// Whether `take` has one.
    pub(in crate::io::afxdp) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// The frame's bytes.
    pub(in crate::io::afxdp) fn bytes(&self, frame: &OwnFrame) -> &[u8] {
        // SAFETY: an `OwnFrame` names a frame that only its holder uses, who lends it for reading.
        unsafe { self.region.memory.bytes(frame.0 as usize * FRAME_LENGTH, FRAME_LENGTH) }
    }

    /// The frame's bytes, to be written.
    pub(in crate::io::afxdp) fn bytes_mut<'a>(
        &'a mut self,
        frame: &'a mut OwnFrame,
    ) -> &'a mut [u8] {
        // SAFETY: an `OwnFrame` names a frame that only its holder uses, who lends it mutably for 'a.
        unsafe { self.region.memory.bytes_mut(frame.0 as usize * FRAME_LENGTH, FRAME_LENGTH) }
    }

    pub(super) fn leave(&mut self, frame: OwnFrame, ring: u8) -> u32 {
        self.on_ring[frame.0 as usize] = ring;
        frame.0
    }

    /// A frame comes home from `ring`; says whether it was on its way there.
    pub(super) fn come_home(&mut self, frame: u32, ring: u8) -> bool {
        let Some(place) = self.on_ring.get_mut(frame as usize).filter(|place| **place == ring)
        else {
            return false;
        };
        *place = AT_HOME;
        self.free.push(OwnFrame(frame));
        true
    }
}
