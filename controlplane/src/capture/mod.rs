//! Captures: files that hold the UDP datagrams of exporters.
//!
//! pcap and pcapng files, IPFIX files (RFC 5655: messages one after another), NetFlow v5 packets one
//! after another, and files that hold one bare payload. The kind is told by content, not by name. A capture is read whole, so that a
//! replay never waits for a disk and can repeat it.
//!
//! Invariant: every frame of the file ends as (part of) a datagram or in [`Skipped`]. Deliberately
//! not here: what a payload means. A malformed payload is handed out like any other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use pcap_file::PcapError;
use pcap_file::pcap::{PcapParser, RawPcapPacket};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgParser};
use weir_dataplane::wire::{Message, udp};

mod link;
mod reassembly;
mod stream;

use link::Content;
use reassembly::Reassembly;
pub use stream::{Captured, Stream};

/// Names of files that hold one payload, whatever it is.
const PAYLOADS: [&str; 3] = ["dat", "bin", "dump"];

/// A capture that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file itself.
    #[error("reading the capture {}: {reason}", file.display())]
    File {
        /// The capture.
        file: PathBuf,
        /// Why the system refused.
        reason: std::io::Error,
    },
    /// Its content.
    #[error("the capture {} is malformed at byte {offset}: {reason}", file.display())]
    Malformed {
        /// The capture.
        file: PathBuf,
        /// Where the piece begins that makes no sense, bytes from the start of the file.
        offset: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Its content, read as it comes.
    #[error("the capture {} is malformed behind frame {frame}: {reason}", file.display())]
    Frame {
        /// The capture.
        file: PathBuf,
        /// The last frame that made sense; 0 = none.
        frame: u64,
        /// What is wrong behind it.
        reason: String,
    },
}

/// One UDP datagram of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The exporter's address and port; `None` where the file does not say.
    pub source: Option<SocketAddr>,
    /// Where the exporter sent it; `None` where the file does not say.
    pub destination: Option<SocketAddr>,
    /// When it was captured, ms since 1970; `None` where the file does not say.
    pub time_ms: Option<u64>,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// Frames that gave no datagram, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Skipped {
    /// Neither IPv4 nor IPv6.
    pub not_ip: u64,
    /// IP, but not UDP.
    pub not_udp: u64,
    /// Shorter in the file than on the wire.
    pub cut_short: u64,
    /// IP or UDP headers that contradict themselves.
    pub malformed: u64,
    /// Fragments whose packet never became whole.
    pub fragments: u64,
}

impl std::ops::AddAssign for Skipped {
    fn add_assign(&mut self, other: Skipped) {
        self.not_ip += other.not_ip;
        self.not_udp += other.not_udp;
        self.cut_short += other.cut_short;
        self.malformed += other.malformed;
        self.fragments += other.fragments;
    }
}

/// A capture's datagrams in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// In the order of the file.
    pub datagrams: Vec<Datagram>,
    /// What else was in it.
    pub skipped: Skipped,
}

impl Capture {
    /// Reads the whole of `file`.
    ///
    /// # Errors
    /// When the system refuses to read it, or its framing makes no sense, or it holds nothing that
    /// an exporter sends; the latter two with the offset. Frames that are no UDP datagrams are no errors but [`Skipped`].
    pub fn read(file: &Path) -> Result<Capture, Error> {
        let bytes =
            std::fs::read(file).map_err(|reason| Error::File { file: file.to_owned(), reason })?;
        Capture::of(file, &bytes)
    }

    /// As [`Capture::read`], of the bytes of `file`.
    fn of(file: &Path, bytes: &[u8]) -> Result<Capture, Error> {
        let capture = Capture::parse(bytes).and_then(|capture| capture.checked(file));
        capture.map_err(|Fault { offset, reason }| Error::Malformed {
            file: file.to_owned(),
            offset,
            reason,
        })
    }

    /// Refuses what is no capture at all: one payload of no known version, unless the file's name
    /// says that it is a payload, as malformed ones are kept.
    fn checked(self, file: &Path) -> Result<Capture, Fault> {
        let [Datagram { source: None, payload, .. }] = self.datagrams.as_slice() else {
            return Ok(self);
        };
        let known = matches!(payload.as_slice(), [0, 1 | 5..=10, ..] | [0, 0, 0, 5, ..]);
        let named = file.extension().and_then(|extension| extension.to_str());
        if known || named.is_some_and(|extension| PAYLOADS.contains(&extension)) {
            return Ok(self);
        }
        Err(Fault {
            offset: 0,
            reason: "neither pcap nor pcapng, and no NetFlow, IPFIX or sFlow begins here; \
                     a payload to be sent all the same is a file named .dat, .bin or .dump"
                .into(),
        })
    }

    /// As [`Capture::read`], from a file's bytes.
    fn parse(bytes: &[u8]) -> Result<Capture, Fault> {
        match bytes {
            [0x0a, 0x0d, 0x0d, 0x0a, ..] => read_pcapng(bytes),
            [0xa1, 0xb2, 0xc3, 0xd4 | 0x4d, ..]
            | [0xa1, 0xb2, 0x3c, 0x4d, ..]
            | [0xd4 | 0x4d, 0xc3 | 0x3c, 0xb2, 0xa1, ..] => read_pcap(bytes),
            [0x00, 0x0a, ..] => read_messages(bytes),
            [0x00, 0x01 | 0x05..=0x08, ..] if let Some(datagrams) = fixed_packets(bytes) => {
                Ok(Capture { datagrams, skipped: Skipped::default() })
            }
            _ if bytes.len() > udp::PAYLOAD_MAX => Err(Fault {
                offset: 0,
                reason: "neither pcap, pcapng nor IPFIX, and too long for one UDP payload".into(),
            }),
            _ => Ok(Capture { datagrams: vec![bare(bytes)], skipped: Skipped::default() }),
        }
    }
}

/// What is wrong, and where; [`Capture::read`] adds the file.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    offset: usize,
    reason: String,
}

/// A payload of which nothing else is known.
fn bare(payload: &[u8]) -> Datagram {
    Datagram { source: None, destination: None, time_ms: None, payload: payload.to_vec() }
}

/// IPFIX messages one after another (RFC 5655); each says its length (RFC 7011, Section 3.1). A
/// last message that claims more than the file holds goes out as it is: some captures are there to
/// show exactly that.
fn read_messages(bytes: &[u8]) -> Result<Capture, Fault> {
    let mut capture = Capture::default();
    let mut rest = bytes;
    while let &[high, low, long, short, ..] = rest {
        let offset = bytes.len() - rest.len();
        let length = usize::from(u16::from_be_bytes([long, short]));
        if [high, low] != [0x00, 0x0a] {
            return Err(Fault { offset, reason: "no IPFIX message begins here".into() });
        }
        if length < 16 {
            return Err(Fault { offset, reason: format!("an IPFIX message of {length} bytes") });
        }
        let (message, after) = rest.split_at(length.min(rest.len()));
        capture.datagrams.push(bare(message));
        rest = after;
    }
    if rest.is_empty() {
        return Ok(capture);
    }
    Err(Fault { offset: bytes.len() - rest.len(), reason: "no IPFIX message begins here".into() })
}

/// NetFlow packets of a version with fixed records one after another, if the file holds nothing
/// else.
fn fixed_packets(bytes: &[u8]) -> Option<Vec<Datagram>> {
    let mut packets = Vec::new();
    let mut rest = bytes;
    while let Ok(Message::Fixed(packet)) = Message::parse(rest) {
        let length = packet.header().len() + packet.body().len();
        let (packet, after) = rest.split_at_checked(length)?;
        packets.push(bare(packet));
        rest = after;
    }
    rest.is_empty().then_some(packets)
}

fn read_pcap(bytes: &[u8]) -> Result<Capture, Fault> {
    let (mut rest, parser) = PcapParser::new(bytes).map_err(|error| fault(0, &error))?;
    let link = u32::from(parser.header().datalink);
    let nanoseconds = parser.header().ts_resolution == pcap_file::TsResolution::NanoSecond;
    let mut frames = Frames::default();
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        // Raw: the checked parser refuses frames longer on the wire than the snap length, which
        // are the very ones a snap length is for.
        let (after, packet) = match parser.next_raw_packet(rest) {
            Ok(next) => next,
            // A capture that was still being written ends in mid-frame.
            Err(PcapError::IncompleteBuffer) => {
                frames.skipped.cut_short += 1;
                break;
            }
            Err(error) => return Err(fault(offset, &error)),
        };
        frames.of_pcap(link, nanoseconds, &packet);
        rest = after;
    }
    Ok(frames.finish())
}

fn read_pcapng(bytes: &[u8]) -> Result<Capture, Fault> {
    let (mut rest, mut parser) = PcapNgParser::new(bytes).map_err(|error| fault(0, &error))?;
    let mut frames = Frames::default();
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let (after, block) = match parser.next_block(rest) {
            Ok(next) => next,
            Err(PcapError::IncompleteBuffer) => {
                frames.skipped.cut_short += 1;
                break;
            }
            Err(error) => return Err(fault(offset, &error)),
        };
        let taken = frames.of_pcapng(parser.interfaces(), &block);
        taken.map_err(|reason| Fault { offset, reason })?;
        rest = after;
    }
    Ok(frames.finish())
}

/// Ticks of the interface's clock as milliseconds (pcapng, option `if_tsresol`): a power of ten, or
/// of two when the high bit is set; microseconds when it does not say.
fn ticks_to_ms(interface: &InterfaceDescriptionBlock<'_>, ticks: u64) -> u64 {
    let resolution = interface.options.iter().find_map(|option| match option {
        InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
        _ => None,
    });
    let resolution = resolution.unwrap_or(6);
    let exponent = u32::from(resolution & 0x7f);
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    let per_second = base.checked_pow(exponent).unwrap_or(u128::MAX);
    u64::try_from(u128::from(ticks) * 1_000 / per_second).unwrap_or(u64::MAX)
}

fn fault(offset: usize, error: &PcapError) -> Fault {
    Fault { offset, reason: error.to_string() }
}

/// Frames on their way to datagrams.
#[derive(Debug, Default)]
struct Frames {
    datagrams: Vec<Datagram>,
    skipped: Skipped,
    reassembly: Reassembly,
}

impl Frames {
    /// Takes one frame of link type `link`; `whole` when the file holds all of it.
    fn frame(&mut self, link: u32, bytes: &[u8], time_ms: Option<u64>, whole: bool) {
        match link::content(link, bytes) {
            Content::Udp { from, to, segment } => self.datagram(from, to, segment, time_ms),
            Content::Piece(piece) => {
                let to_whom = (piece.source, piece.destination);
                if let Some(segment) = self.reassembly.add(piece) {
                    self.datagram(to_whom.0, to_whom.1, &segment, time_ms);
                }
            }
            Content::NotIp => self.skipped.not_ip += 1,
            Content::NotUdp => self.skipped.not_udp += 1,
            Content::Malformed if whole => self.skipped.malformed += 1,
            Content::Malformed => self.skipped.cut_short += 1,
        }
    }

    /// Takes a packet of a pcap file.
    fn of_pcap(&mut self, link: u32, nanoseconds: bool, packet: &RawPcapPacket<'_>) {
        let fraction = u64::from(packet.ts_frac) / if nanoseconds { 1_000_000 } else { 1_000 };
        let time_ms = u64::from(packet.ts_sec) * 1_000 + fraction;
        let whole = packet.incl_len >= packet.orig_len;
        self.frame(link, &packet.data, Some(time_ms), whole);
    }

    /// Takes a block of a pcapng file with these interfaces; whether it was a frame.
    ///
    /// # Errors
    /// In words, when it is of an interface that the file does not describe.
    fn of_pcapng(
        &mut self,
        interfaces: &[InterfaceDescriptionBlock<'_>],
        block: &Block<'_>,
    ) -> Result<bool, String> {
        let interface = |id: u32| {
            let described = interfaces.get(id as usize);
            let unknown = || format!("a frame of interface {id}, which the file does not describe");
            described.ok_or_else(unknown)
        };
        let (described, ticks, data, original) = match block {
            Block::EnhancedPacket(packet) => {
                // The parser takes ticks for nanoseconds, whatever the interface says they are.
                let ticks = u64::try_from(packet.timestamp.as_nanos()).unwrap_or(u64::MAX);
                let described = interface(packet.interface_id)?;
                (described, Some(ticks), &*packet.data, packet.original_len)
            }
            Block::Packet(packet) => {
                let described = interface(u32::from(packet.interface_id))?;
                (described, Some(packet.timestamp), &*packet.data, packet.original_len)
            }
            Block::SimplePacket(packet) => {
                // The block is padded to four bytes and says only the length on the wire.
                let length = packet.data.len().min(packet.original_len as usize);
                (interface(0)?, None, &packet.data[..length], packet.original_len)
            }
            _ => return Ok(false),
        };
        let time_ms = ticks.map(|ticks| ticks_to_ms(described, ticks));
        let whole = data.len() >= original as usize;
        self.frame(u32::from(described.linktype), data, time_ms, whole);
        Ok(true)
    }

    /// Takes a whole UDP header and payload.
    fn datagram(
        &mut self,
        from: std::net::IpAddr,
        to: std::net::IpAddr,
        segment: &[u8],
        time_ms: Option<u64>,
    ) {
        let Ok(packet) = udp::Packet::new_checked(segment) else {
            self.skipped.malformed += 1;
            return;
        };
        self.datagrams.push(Datagram {
            source: Some(SocketAddr::new(from, packet.source_port())),
            destination: Some(SocketAddr::new(to, packet.destination_port())),
            time_ms,
            payload: packet.payload().to_vec(),
        });
    }

    fn finish(mut self) -> Capture {
        self.skipped.fragments = self.reassembly.lost();
        Capture { datagrams: self.datagrams, skipped: self.skipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};
    use weir_dataplane::wire::{ethernet, ipv4};

    pub(super) const FROM: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const TO: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

    /// UDP header and payload from FROM:4000 to TO:2055.
    fn segment(payload: &[u8]) -> Vec<u8> {
        let mut segment = vec![0; udp::HEADER_LENGTH];
        segment.extend(payload);
        let ends = [(FROM, 4000), (TO, 2055)].map(|(ip, port)| SocketAddr::new(ip.into(), port));
        udp::emit(&mut segment, ends[0], ends[1]);
        segment
    }

    /// IPv4 packets that carry `payload`, fragmented for `mtu`.
    pub(super) fn packets(payload: &[u8], mtu: u16) -> Vec<Vec<u8>> {
        let header =
            ipv4::Header { source: FROM, destination: TO, identification: 7, protocol: ipv4::UDP };
        let segment = segment(payload);
        let mut fragments = ipv4::Fragments::new(header, &segment, mtu);
        let mut packets = Vec::new();
        let mut buffer = vec![0; 65_535];
        while let Some(length) = fragments.emit_next(&mut buffer) {
            packets.push(buffer[..length].to_vec());
        }
        packets
    }

    pub(super) fn framed(packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; ethernet::HEADER_LENGTH];
        ethernet::emit(&mut frame, [2; 6], [4; 6], ethernet::ethertype::IPV4);
        frame.extend(packet);
        frame
    }

    /// A little-endian pcap file of microsecond resolution.
    pub(super) fn pcap(link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
        let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
        for word in [0, 0, 65_535, link] {
            file.extend(u32::to_le_bytes(word));
        }
        for frame in frames {
            for word in [1_700_000_000, 250_000, frame.len() as u32, frame.len() as u32] {
                file.extend(u32::to_le_bytes(word));
            }
            file.extend(frame);
        }
        file
    }

    /// A little-endian pcapng file of one interface, with the blocks (type, body) behind it.
    pub(super) fn pcapng(link: u16, resolution: u8, blocks: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        section.extend([1, 0, 0, 0]);
        section.extend([0xff; 8]);
        let mut interface = link.to_le_bytes().to_vec();
        interface.extend([0; 6]);
        interface.extend([9, 0, 1, 0, resolution, 0, 0, 0, 0, 0, 0, 0]);
        let mut file = Vec::new();
        for (kind, body) in [(0x0a0d_0d0a, section), (1, interface)].iter().chain(blocks) {
            let length = (body.len() as u32 + 12).to_le_bytes();
            file.extend(kind.to_le_bytes());
            file.extend(length);
            file.extend(body);
            file.extend(length);
        }
        file
    }

    #[test]
    fn an_ethernet_pcap_gives_addresses_time_and_payload() {
        let file = pcap(1, &[framed(&packets(b"flow", 1_500)[0])]);
        let capture = Capture::parse(&file).unwrap();
        let expected = Datagram {
            source: Some(SocketAddr::new(FROM.into(), 4000)),
            destination: Some(SocketAddr::new(TO.into(), 2055)),
            time_ms: Some(1_700_000_000_250),
            payload: b"flow".to_vec(),
        };
        assert_eq!(capture.datagrams, [expected]);
        assert_eq!(capture.skipped, Skipped::default());
    }

    #[test]
    fn every_link_type_gives_the_same_datagram() {
        let packet = &packets(b"flow", 1_500)[0];
        let ahead = |header: &[u8]| [header, packet].concat();
        let tagged = {
            let mut frame = framed(packet);
            frame.splice(12..12, [0x81, 0x00, 0x00, 0x07]);
            frame
        };
        let cases = [
            (1, tagged),
            (0, ahead(&[2, 0, 0, 0])),
            (108, ahead(&[0, 0, 0, 2])),
            (101, packet.clone()),
            (228, packet.clone()),
            (113, ahead(&[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 0x08, 0x00])),
            (276, ahead(&[8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0])),
        ];
        for (link, frame) in cases {
            let capture = Capture::parse(&pcap(link, &[frame])).unwrap();
            assert_eq!(capture.datagrams.len(), 1, "link type {link}: {:?}", capture.skipped);
            assert_eq!(capture.datagrams[0].payload, b"flow");
        }
    }

    #[test]
    fn fragments_become_one_datagram_whatever_their_order() {
        let payload: Vec<u8> = (0..4_000u32).map(|n| n as u8).collect();
        let mut pieces = packets(&payload, 1_500);
        assert_eq!(pieces.len(), 3);
        pieces.reverse();
        let capture = Capture::parse(&pcap(101, &pieces)).unwrap();
        assert_eq!(capture.datagrams.len(), 1);
        assert_eq!(capture.datagrams[0].payload, payload);
        assert_eq!(capture.skipped.fragments, 0);
    }

    #[test]
    fn a_packet_with_a_fragment_missing_is_counted() {
        let pieces = packets(&[7; 4_000], 1_500);
        let capture = Capture::parse(&pcap(101, &pieces[..2])).unwrap();
        assert!(capture.datagrams.is_empty());
        assert_eq!(capture.skipped.fragments, 2);
    }

    #[test]
    fn what_is_no_udp_is_counted() {
        let mut tcp = packets(b"flow", 1_500)[0].clone();
        tcp[9] = 6;
        let mut arp = framed(&[]);
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        let capture = Capture::parse(&pcap(1, &[framed(&tcp), arp, vec![1, 2, 3]])).unwrap();
        let expected = Skipped { not_udp: 1, not_ip: 1, malformed: 1, ..Skipped::default() };
        assert_eq!((capture.datagrams.len(), capture.skipped), (0, expected));
    }

    #[test]
    fn a_checksum_left_to_the_network_card_does_no_harm() {
        let mut packet = packets(b"flow", 1_500)[0].clone();
        packet[10..12].fill(0);
        let capture = Capture::parse(&pcap(101, &[packet])).unwrap();
        assert_eq!(capture.datagrams.len(), 1, "{:?}", capture.skipped);
    }

    #[test]
    fn a_pcapng_file_tells_time_by_its_interface() {
        let frame = framed(&packets(b"four", 1_500)[0]);
        let length = frame.len() as u32;
        for (resolution, ticks) in [(3, 1_700u64), (6, 1_700_000), (9, 1_700_000_000), (0x81, 4)] {
            let mut body = Vec::new();
            for word in [0, (ticks >> 32) as u32, ticks as u32, length, length] {
                body.extend(word.to_le_bytes());
            }
            body.extend(&frame);
            body.resize(body.len().next_multiple_of(4), 0);
            let capture = Capture::parse(&pcapng(1, resolution, &[(6, body)])).unwrap();
            let expected = if resolution == 0x81 { 2_000 } else { 1_700 };
            assert_eq!(capture.datagrams[0].time_ms, Some(expected));
            assert_eq!(capture.datagrams[0].payload, b"four");
        }
    }

    #[test]
    fn a_frame_of_an_undescribed_interface_is_an_error_with_its_offset() {
        let mut body = Vec::new();
        for word in [5u32, 0, 0, 0, 0] {
            body.extend(word.to_le_bytes());
        }
        let file = pcapng(1, 6, &[(6, body)]);
        let offset = file.len() - 32;
        assert_eq!(Capture::parse(&file).unwrap_err().offset, offset);
    }

    #[test]
    fn a_capture_that_ends_in_mid_frame_keeps_what_came_before() {
        let frame = framed(&packets(b"flow", 1_500)[0]);
        let file = pcap(1, &[frame.clone(), frame]);
        let capture = Capture::parse(&file[..file.len() - 1]).unwrap();
        assert_eq!((capture.datagrams.len(), capture.skipped.cut_short), (1, 1));
    }

    #[test]
    fn an_ipfix_file_is_a_datagram_a_message() {
        let message = [0, 10, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let capture = Capture::parse(&[message, message].concat()).unwrap();
        assert_eq!(capture.datagrams, [bare(&message), bare(&message)]);
    }

    #[test]
    fn an_ipfix_file_with_rubbish_between_names_the_offset() {
        let message = [0, 10, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let mut file = [message, message].concat();
        file[16] = 0xff;
        assert_eq!(Capture::parse(&file).unwrap_err().offset, 16);
        assert_eq!(Capture::parse(&file[..18]).unwrap_err().offset, 16);
    }

    #[test]
    fn fixed_packets_one_after_another_are_a_datagram_each() {
        let mut seventh = vec![0; 24 + 52];
        seventh[..4].copy_from_slice(&[0, 7, 0, 1]);
        let mut packet = vec![0; 24 + 48];
        packet[..4].copy_from_slice(&[0, 5, 0, 1]);
        let mixed = Capture::parse(&[&seventh[..], &packet[..]].concat()).unwrap();
        assert_eq!(mixed.datagrams, [bare(&seventh), bare(&packet)]);
        let two = Capture::parse(&[&packet[..], &packet[..]].concat()).unwrap();
        assert_eq!(two.datagrams, [bare(&packet), bare(&packet)]);
        let cut = Capture::parse(&packet[..60]).unwrap();
        assert_eq!(cut.datagrams, [bare(&packet[..60])]);
    }

    #[test]
    fn a_bare_payload_is_one_datagram_without_addresses() {
        let capture = Capture::parse(&[0, 5, 1, 2, 3]).unwrap();
        assert_eq!(capture.datagrams, [bare(&[0, 5, 1, 2, 3])]);
    }

    #[test]
    fn what_no_exporter_sends_is_refused_unless_the_name_says_payload() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, bytes: &[u8]| {
            let file = folder.path().join(name);
            std::fs::write(&file, bytes).unwrap();
            Capture::read(&file)
        };
        let refused = read("weir.toml", b"[[unit]]\n").unwrap_err().to_string();
        assert!(refused.contains("weir.toml") && refused.contains("no NetFlow"), "{refused}");
        for (name, bytes) in [
            ("a.dat", &b"[[unit]]\n"[..]),
            ("b.dump", b""),
            ("c", &[0, 9, 0]),
            ("d", &[0, 0, 0, 5]),
        ] {
            assert_eq!(read(name, bytes).unwrap().datagrams, [bare(bytes)], "{name}");
        }
    }

    #[test]
    fn an_error_names_the_file() {
        let error = Capture::read(Path::new("/nonexistent.pcap")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent.pcap"));
    }

    #[test]
    fn addresses_are_ip_addresses() {
        // The link layer is told apart before the address: IPv6 frames reach the same place.
        let capture = Capture::parse(&pcap(229, &[ipv6_packet(b"six")])).unwrap();
        let source = capture.datagrams[0].source.unwrap();
        assert_eq!(source.ip(), "2001:db8::1".parse::<IpAddr>().unwrap());
    }

    fn ipv6_packet(payload: &[u8]) -> Vec<u8> {
        use weir_dataplane::wire::ipv6;
        let (from, to) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let header = ipv6::Header { source: from, destination: to, protocol: ipv6::UDP };
        let mut packet = vec![0; ipv6::HEADER_LENGTH + udp::HEADER_LENGTH];
        packet.extend(payload);
        header.emit(&mut packet, udp::HEADER_LENGTH + payload.len());
        let ends = (SocketAddr::new(from.into(), 1), SocketAddr::new(to.into(), 2055));
        udp::emit(&mut packet[ipv6::HEADER_LENGTH..], ends.0, ends.1);
        packet
    }
}
