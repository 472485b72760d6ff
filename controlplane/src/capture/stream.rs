//! A capture read as it comes: a file of any length, or what another program is still writing.
//!
//! Memory is bounded for pcap and pcapng; files of other kinds are read whole, as in
//! [`Capture::read`].

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

use pcap_file::PcapError;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use pcap_file::pcapng::{Block, PcapNgReader};

use super::{Capture, Datagram, Error, Frames, Skipped};

/// One datagram, and where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The number of its frame in the file, from 1; of fragments that of the last one. In a file
    /// without frames its own number.
    pub frame: u64,
    /// The datagram.
    pub datagram: Datagram,
}

type Bytes = std::io::Chain<Cursor<Vec<u8>>, Box<dyn Read>>;

enum Source {
    Pcap {
        reader: PcapReader<Bytes>,
        link: u32,
        nanoseconds: bool,
    },
    /// With the interfaces described so far, which a block that is being read hides.
    PcapNg {
        reader: PcapNgReader<Bytes>,
        interfaces: Vec<InterfaceDescriptionBlock<'static>>,
    },
    Whole(std::vec::IntoIter<Datagram>),
}

/// A capture's datagrams, one after another.
pub struct Stream {
    name: PathBuf,
    source: Source,
    frames: Frames,
    frame: u64,
    /// It has ended, or cannot be read further.
    ended: bool,
    /// Its messages are those of an IPFIX file.
    is_ipfix_file: bool,
}

impl Stream {
    /// Opens a file; `-` is the standard input.
    ///
    /// # Errors
    /// As [`Capture::read`].
    pub fn open(file: &Path) -> Result<Stream, Error> {
        if file.as_os_str() == "-" {
            return Stream::new("standard input".into(), Box::new(std::io::stdin()));
        }
        let opened = File::open(file);
        let opened = opened.map_err(|reason| Error::File { file: file.to_owned(), reason })?;
        Stream::new(file.to_owned(), Box::new(opened))
    }

    /// Over these bytes; `name` is for errors, and its ending says whether one payload of no known
    /// version is meant to be one.
    ///
    /// # Errors
    /// As [`Capture::read`].
    pub fn new(name: PathBuf, mut bytes: Box<dyn Read>) -> Result<Stream, Error> {
        let failed = |reason| Error::File { file: name.clone(), reason };
        let mut head = Vec::new();
        bytes.by_ref().take(4).read_to_end(&mut head).map_err(failed)?;
        let is_ipfix_file = head.starts_with(&[0x00, 0x0a]);
        let source = match head[..] {
            [0x0a, 0x0d, 0x0d, 0x0a] => {
                let reader = PcapNgReader::new(Cursor::new(head).chain(bytes));
                let reader = reader.map_err(|error| frame_error(&name, 0, &error))?;
                Source::PcapNg { reader, interfaces: Vec::new() }
            }
            [0xa1, 0xb2, 0xc3, 0xd4 | 0x4d]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0xd4 | 0x4d, 0xc3 | 0x3c, 0xb2, 0xa1] => {
                let reader = PcapReader::new(Cursor::new(head).chain(bytes));
                let reader = reader.map_err(|error| frame_error(&name, 0, &error))?;
                let header = reader.header();
                let nanoseconds = header.ts_resolution == pcap_file::TsResolution::NanoSecond;
                Source::Pcap { reader, link: u32::from(header.datalink), nanoseconds }
            }
            _ => {
                let mut whole = head;
                bytes.read_to_end(&mut whole).map_err(failed)?;
                let capture = Capture::of(&name, &whole)?;
                Source::Whole(capture.datagrams.into_iter())
            }
        };
        let frames = Frames::default();
        Ok(Stream { name, source, frames, frame: 0, ended: false, is_ipfix_file })
    }

    /// Whether this is an IPFIX file (RFC 5655), whose messages no datagrams carried.
    pub fn is_ipfix_file(&self) -> bool {
        self.is_ipfix_file
    }

    /// Frames that gave no datagram so far; fragments whose packet is not whole yet among them.
    pub fn skipped(&self) -> Skipped {
        Skipped { fragments: self.frames.reassembly.lost(), ..self.frames.skipped }
    }

    /// Frames read so far.
    pub fn frames(&self) -> u64 {
        self.frame
    }

    /// Reads one frame; whether there was one.
    fn read(&mut self) -> Result<bool, Error> {
        let (name, frame) = (&self.name, self.frame);
        let read = match &mut self.source {
            Source::Whole(datagrams) => {
                let next = datagrams.next();
                self.frame += u64::from(next.is_some());
                self.frames.datagrams.extend(next);
                return Ok(!self.frames.datagrams.is_empty());
            }
            Source::Pcap { reader, link, nanoseconds } => match reader.next_raw_packet() {
                None => return Ok(false),
                Some(Ok(packet)) => {
                    self.frames.of_pcap(*link, *nanoseconds, &packet);
                    Ok(true)
                }
                Some(Err(error)) => Err(error),
            },
            Source::PcapNg { reader, interfaces } => {
                if interfaces.len() != reader.interfaces().len() {
                    *interfaces = reader.interfaces().to_vec();
                }
                match reader.next_block() {
                    None => return Ok(false),
                    Some(Ok(block)) => {
                        if matches!(block, Block::SectionHeader(_)) {
                            interfaces.clear();
                        }
                        let taken = self.frames.of_pcapng(interfaces, &block);
                        Ok(taken.map_err(|reason| Error::Frame {
                            file: name.clone(),
                            frame,
                            reason,
                        })?)
                    }
                    Some(Err(error)) => Err(error),
                }
            }
        };
        match read {
            Ok(is_frame) => {
                self.frame += u64::from(is_frame);
                Ok(true)
            }
            // A capture that was still being written ends in mid-frame.
            Err(PcapError::IncompleteBuffer) => Ok(self.cut_short()),
            Err(PcapError::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                Ok(self.cut_short())
            }
            Err(error) => Err(frame_error(name, frame, &error)),
        }
    }

    /// Counts the frame in which the capture ends.
    fn cut_short(&mut self) -> bool {
        self.frames.skipped.cut_short += 1;
        false
    }
}

impl Iterator for Stream {
    type Item = Result<Captured, Error>;

    /// The next datagram; after an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            if let Some(datagram) = self.frames.datagrams.pop() {
                return Some(Ok(Captured { frame: self.frame, datagram }));
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

fn frame_error(file: &Path, frame: u64, error: &PcapError) -> Error {
    Error::Frame { file: file.to_owned(), frame, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FROM, framed, packets, pcap, pcapng};
    use super::*;

    fn stream(name: &str, bytes: Vec<u8>) -> Stream {
        Stream::new(name.into(), Box::new(Cursor::new(bytes))).unwrap()
    }

    fn payloads(stream: &mut Stream) -> Vec<(u64, Vec<u8>)> {
        stream.map(|piece| piece.unwrap()).map(|p| (p.frame, p.datagram.payload)).collect()
    }

    #[test]
    fn a_datagram_bears_the_number_of_its_frame() {
        let frame = |payload| framed(&packets(payload, 1_500)[0]);
        let mut arp = framed(&[]);
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        let mut stream = stream("a", pcap(1, &[frame(b"one"), arp, frame(b"two")]));
        assert_eq!(payloads(&mut stream), [(1, b"one".to_vec()), (3, b"two".to_vec())]);
        assert_eq!((stream.skipped().not_ip, stream.frames()), (1, 3));
    }

    #[test]
    fn a_pcapng_file_is_read_as_it_comes() {
        let frame = framed(&packets(b"four", 1_500)[0]);
        let length = frame.len() as u32;
        let mut body = Vec::new();
        for word in [0, 0, 7, length, length] {
            body.extend(u32::to_le_bytes(word));
        }
        body.extend(&frame);
        body.resize(body.len().next_multiple_of(4), 0);
        let mut stream = stream("a", pcapng(1, 3, &[(6, body.clone()), (6, body)]));
        let first = stream.next().unwrap().unwrap();
        assert_eq!(first.datagram.source.unwrap().ip(), FROM);
        assert_eq!((first.frame, first.datagram.time_ms), (1, Some(7)));
        assert_eq!(payloads(&mut stream), [(2, b"four".to_vec())]);
    }

    #[test]
    fn a_capture_that_ends_in_mid_frame_gives_what_came_before() {
        let frame = framed(&packets(b"flow", 1_500)[0]);
        let mut file = pcap(1, &[frame.clone(), frame]);
        file.pop();
        let mut stream = stream("a", file);
        assert_eq!(payloads(&mut stream), [(1, b"flow".to_vec())]);
        assert_eq!(stream.skipped().cut_short, 1);
    }

    #[test]
    fn an_ipfix_file_is_told_from_datagrams() {
        let message = [0, 10, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let mut file = stream("a", [message, message].concat());
        assert!(file.is_ipfix_file());
        assert_eq!(payloads(&mut file), [(1, message.to_vec()), (2, message.to_vec())]);
    }
}
