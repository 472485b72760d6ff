//! IP fragments back to the packet they were (RFC 791, Section 3.2; RFC 8200, Section 4.5).
//!
//! Bounded: at most [`PACKETS_MAX`] packets in the making, the oldest given up for a new one.
//! Overlapping fragments give the packet up (RFC 5722); an exact duplicate is passed over.

use std::collections::VecDeque;
use std::net::IpAddr;

/// Packets in the making at once.
const PACKETS_MAX: usize = 64;
/// What an IP packet can carry at most.
const BYTES_MAX: usize = 65_535;

/// A fragment of a UDP datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) identification: u32,
    /// Where it stands in the whole, in bytes.
    pub(super) offset: usize,
    /// Whether further ones follow.
    pub(super) more: bool,
    pub(super) bytes: &'a [u8],
}

/// Packets in the making.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    packets: VecDeque<Packet>,
    /// Fragments of packets that were given up.
    given_up: u64,
}

#[derive(Debug)]
struct Packet {
    key: (IpAddr, IpAddr, u32),
    /// (offset, bytes), ascending and disjoint.
    pieces: Vec<(usize, Vec<u8>)>,
    /// Known once the last piece came.
    length: Option<usize>,
}

impl Reassembly {
    /// Takes a fragment; returns the whole when it was the last one missing.
    pub(super) fn add(&mut self, piece: Piece<'_>) -> Option<Vec<u8>> {
        let key = (piece.source, piece.destination, piece.identification);
        let found = self.packets.iter().position(|packet| packet.key == key);
        let index = found.unwrap_or_else(|| {
            if self.packets.len() == PACKETS_MAX {
                self.give_up(0);
            }
            self.packets.push_back(Packet { key, pieces: Vec::new(), length: None });
            self.packets.len() - 1
        });
        if !self.packets[index].insert(piece) {
            self.given_up += 1;
            self.give_up(index);
            return None;
        }
        if !self.packets[index].is_whole() {
            return None;
        }
        let packet = self.packets.remove(index)?;
        Some(packet.pieces.into_iter().flat_map(|(_, bytes)| bytes).collect())
    }

    /// Fragments that no whole packet came of, those still waiting included.
    pub(super) fn lost(&self) -> u64 {
        let waiting: usize = self.packets.iter().map(|packet| packet.pieces.len()).sum();
        self.given_up + waiting as u64
    }

    fn give_up(&mut self, index: usize) {
        if let Some(packet) = self.packets.remove(index) {
            self.given_up += packet.pieces.len() as u64;
        }
    }
}

impl Packet {
    /// False when the piece contradicts those already there.
    fn insert(&mut self, piece: Piece<'_>) -> bool {
        let end = piece.offset + piece.bytes.len();
        if end > BYTES_MAX || piece.bytes.is_empty() {
            return false;
        }
        if !piece.more && self.length.replace(end).is_some_and(|known| known != end) {
            return false;
        }
        if self
            .pieces
            .iter()
            .any(|(offset, bytes)| *offset == piece.offset && *bytes == piece.bytes)
        {
            return true; // captured twice, as on a mirrored port
        }
        let at = self.pieces.partition_point(|(offset, _)| *offset < piece.offset);
        let clear_before =
            at == 0 || self.pieces[at - 1].0 + self.pieces[at - 1].1.len() <= piece.offset;
        let clear_after = self.pieces.get(at).is_none_or(|(offset, _)| end <= *offset);
        if clear_before && clear_after {
            self.pieces.insert(at, (piece.offset, piece.bytes.to_vec()));
        }
        clear_before && clear_after
    }

    fn is_whole(&self) -> bool {
        // The pieces are disjoint, so they cover the packet when their lengths add up to it.
        let bytes: usize = self.pieces.iter().map(|(_, bytes)| bytes.len()).sum();
        self.length == Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn piece(identification: u32, offset: usize, more: bool, bytes: &[u8]) -> Piece<'_> {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Piece { source: ip, destination: ip, identification, offset, more, bytes }
    }

    #[test]
    fn overlapping_fragments_give_the_packet_up() {
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.add(piece(1, 0, true, &[1; 16])), None);
        assert_eq!(reassembly.add(piece(1, 8, false, &[2; 16])), None);
        assert_eq!((reassembly.lost(), reassembly.packets.len()), (2, 0));
    }

    #[test]
    fn an_exact_duplicate_changes_nothing() {
        let mut reassembly = Reassembly::default();
        for _ in 0..2 {
            assert_eq!(reassembly.add(piece(1, 0, true, &[1; 8])), None);
        }
        assert_eq!(reassembly.add(piece(1, 8, false, &[2; 8])).map(|whole| whole.len()), Some(16));
    }

    #[test]
    fn packets_in_the_making_are_bounded_and_the_oldest_goes() {
        let mut reassembly = Reassembly::default();
        for identification in 0..=PACKETS_MAX as u32 {
            reassembly.add(piece(identification, 0, true, &[0; 8]));
        }
        assert_eq!(reassembly.packets.len(), PACKETS_MAX);
        assert_eq!(reassembly.add(piece(1, 8, false, &[1; 8])).map(|whole| whole.len()), Some(16));
        assert_eq!(reassembly.add(piece(0, 8, false, &[1; 8])), None);
    }

    #[test]
    fn a_piece_beyond_the_largest_packet_is_refused() {
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.add(piece(1, 65_528, false, &[0; 16])), None);
        assert_eq!(reassembly.lost(), 1);
    }
}
