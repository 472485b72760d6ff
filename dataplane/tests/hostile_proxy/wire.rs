//! What a proxy sends, kept for the slaves that are to read it; refusals and scarcity at will.

use std::net::{IpAddr, SocketAddr};

use weir_dataplane::io::{Purpose, Tag, Transmit};

use crate::counting::uncounted;

const FRAME_LENGTH: usize = 9_000;

/// A frame's number.
#[derive(Debug)]
pub(crate) struct WireFrame(usize);

/// A packet as it left.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) source: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) tag: Tag,
    pub(crate) payload: Vec<u8>,
}

/// A backend whose frames are in use until the next flush when they are scarce, as a ring's are.
#[derive(Debug)]
pub(crate) struct Wire {
    frames: Vec<Vec<u8>>,
    free: Vec<usize>,
    on_the_way: Vec<usize>,
    pub(crate) scarce: bool,
    pub(crate) sent: Vec<Packet>,
    /// Packets to these fail.
    pub(crate) refused: Vec<IpAddr>,
    /// The next so many fail, wherever they go.
    pub(crate) refuse_next: usize,
    failures: Vec<Tag>,
    /// Flow data records in what was refused.
    pub(crate) records_refused: u64,
}

impl Wire {
    pub(crate) fn new(frames: usize) -> Self {
        Wire {
            frames: vec![vec![0; FRAME_LENGTH]; frames],
            free: (0..frames).collect(),
            on_the_way: Vec::with_capacity(frames),
            scarce: false,
            sent: Vec::new(),
            refused: Vec::new(),
            refuse_next: 0,
            failures: Vec::new(),
            records_refused: 0,
        }
    }

    /// Frames that are neither free nor on their way.
    pub(crate) fn taken(&self) -> usize {
        self.frames.len() - self.free.len() - self.on_the_way.len()
    }

    fn leave(&mut self, payload: &[u8], source: SocketAddr, to: SocketAddr, tag: Tag) {
        uncounted(|| {
            if self.refuse_next > 0 || self.refused.contains(&to.ip()) {
                self.refuse_next = self.refuse_next.saturating_sub(1);
                self.records_refused += u64::from(tag.records);
                self.failures.push(tag);
            } else {
                self.sent.push(Packet { source, to, tag, payload: payload.to_vec() });
            }
        });
    }
}

impl Transmit for Wire {
    type Frame = WireFrame;

    fn take(&mut self) -> Option<WireFrame> {
        self.free.pop().map(WireFrame)
    }

    fn room(&self) -> usize {
        FRAME_LENGTH
    }

    fn payload<'a>(&'a mut self, frame: &'a mut WireFrame) -> &'a mut [u8] {
        &mut self.frames[frame.0]
    }

    fn send(
        &mut self,
        frame: WireFrame,
        length: usize,
        source: SocketAddr,
        to: SocketAddr,
        tag: Tag,
    ) {
        let bytes = std::mem::take(&mut self.frames[frame.0]);
        self.leave(&bytes[..length], source, to, tag);
        self.frames[frame.0] = bytes;
        if self.scarce {
            self.on_the_way.push(frame.0);
        } else {
            self.free.push(frame.0);
        }
    }

    fn send_copy(
        &mut self,
        payload: &[u8],
        source: SocketAddr,
        to: SocketAddr,
        _mtu: u16,
        tag: Tag,
    ) {
        assert!(payload.len() <= 65_507 || tag.purpose != Purpose::Message);
        self.leave(payload, source, to, tag);
    }

    fn give_back(&mut self, frame: WireFrame) {
        self.free.push(frame.0);
    }

    fn flush(&mut self, failed: &mut dyn FnMut(Tag, std::io::Error)) {
        self.free.append(&mut self.on_the_way);
        let failures = uncounted(|| std::mem::take(&mut self.failures));
        for tag in &failures {
            failed(*tag, std::io::ErrorKind::NetworkUnreachable.into());
        }
        uncounted(|| drop(failures));
    }
}
