//! Any file that may hold what exporters send: captures, packed captures, hex dumps, bare payloads.
//!
//! What [`Capture::read`] knows is left to it; before that, a file is unpacked, its text turned into
//! the bytes that it writes down, and a lone frame taken out of its link layer. The kind is told by
//! content. A file of any content gives a capture or a sentence, and at most [`LONGEST`] bytes are
//! looked at.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use weir_controlplane::capture::Capture;

use super::hex;

/// Bytes of a file, unpacked, that are looked at: more than any capture that fits a test.
pub const LONGEST: u64 = 1 << 30;

/// First bytes of packed files, and the program that unpacks each from stdin to stdout.
const PACKED: [(&[u8], &str); 5] = [
    (&[0x1f, 0x8b], "gzip"),
    (b"BZh", "bzip2"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
];

/// Link types that a lone frame is tried as: Ethernet, then an IP packet.
const FRAMES: [u32; 2] = [1, 101];

/// Reads `file`, whatever it is.
///
/// # Errors
/// In words, when it holds nothing that an exporter sends.
pub fn read(file: &Path) -> Result<Capture, String> {
    let opened = std::fs::File::open(file).map_err(|error| error.to_string())?;
    let bytes = all_of(opened)?;
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    let packed = PACKED.iter().find(|(magic, _)| bytes.starts_with(magic));
    let bytes = match packed {
        Some((_, program)) => unpack(program, &bytes)?,
        None => bytes,
    };
    let as_named = || match packed {
        Some(_) => read_bytes(&bytes, "capture"),
        None => Capture::read(file).map_err(|error| error.to_string()),
    };
    let read = match hex::packets(&bytes) {
        Some(packets) => joined(&packets),
        None => as_named(),
    };
    match read {
        Ok(capture) if !is_unknown(&capture) => Ok(apart(capture)),
        read => frame(&bytes).map_or(read, Ok),
    }
}

/// Takes NetFlow v9 packets apart that a bare file holds one after another.
fn apart(mut capture: Capture) -> Capture {
    let mut datagrams = Vec::new();
    for datagram in capture.datagrams {
        let mut rest = datagram;
        while rest.source.is_none()
            && let Some(end) = end_of_v9(&rest.payload)
        {
            let next = rest.payload.split_off(end);
            datagrams.push(rest.clone());
            rest.payload = next;
        }
        datagrams.push(rest);
    }
    capture.datagrams = datagrams;
    capture
}

/// Where the first of several packets of NetFlow v9 ends. They have no length: another begins where
/// a FlowSet would, when there stands a header of the same source that was sent within an hour of
/// the first (RFC 3954, Section 5.1; 9 is a FlowSet id that is reserved).
fn end_of_v9(payload: &[u8]) -> Option<usize> {
    const HEADER: usize = 20;
    const HOUR: u32 = 3_600;
    let word = |at: usize| payload.get(at..at + 4).and_then(|word| word.try_into().ok());
    let number = |at: usize| word(at).map(u32::from_be_bytes);
    let half = |at: usize| Some(u16::from_be_bytes(payload.get(at..at + 2)?.try_into().ok()?));
    let mut at = HEADER;
    if half(0)? != 9 {
        return None;
    }
    loop {
        let same_source =
            half(at)? == 9 && number(at + 16).is_some_and(|id| Some(id) == number(16));
        let time = number(at + 8).unwrap_or_default().abs_diff(number(8)?);
        if same_source && time < HOUR {
            return Some(at);
        }
        at += usize::from(half(at + 2)?).max(4);
    }
}

/// Whether all there is are payloads of no known version.
fn is_unknown(capture: &Capture) -> bool {
    !capture.datagrams.is_empty()
        && capture.datagrams.iter().all(|datagram| {
            datagram.source.is_none()
                && !matches!(datagram.payload.as_slice(), [0, 1 | 5..=10, ..] | [0, 0, 0, 5, ..])
        })
}

/// The file as one frame without a capture around it, if it is one.
fn frame(bytes: &[u8]) -> Option<Capture> {
    FRAMES.iter().find_map(|&link| {
        let mut file = pcap_header(link);
        write_packet(&mut file, 0, bytes);
        let capture = read_bytes(&file, "pcap").ok()?;
        (!capture.datagrams.is_empty()).then_some(capture)
    })
}

/// The first bytes of a pcap file of this link type (tcpdump's numbers), times in microseconds.
pub fn pcap_header(link: u32) -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
    for word in [0, 0, 262_144, link] {
        file.extend(u32::to_le_bytes(word));
    }
    file
}

/// Appends a packet to a pcap file; `time_ms` since 1970.
pub fn write_packet(file: &mut Vec<u8>, time_ms: u64, packet: &[u8]) {
    let seconds = u32::try_from(time_ms / 1_000).unwrap_or_default();
    let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    for word in [seconds, (time_ms % 1_000) as u32 * 1_000, length, length] {
        file.extend(word.to_le_bytes());
    }
    file.extend(packet);
}

/// [`Capture::read`] of bytes, by way of a file with this extension.
fn read_bytes(bytes: &[u8], extension: &str) -> Result<Capture, String> {
    let file = tempfile::Builder::new().suffix(&format!(".{extension}")).tempfile();
    let mut file = file.map_err(|error| error.to_string())?;
    file.write_all(bytes).map_err(|error| error.to_string())?;
    Capture::read(file.path()).map_err(|error| error.to_string())
}

/// What each of the packets of a hex dump holds, one after another.
fn joined(packets: &[Vec<u8>]) -> Result<Capture, String> {
    let mut all = Capture::default();
    for packet in packets {
        let capture = match read_bytes(packet, "bin") {
            Ok(capture) if !is_unknown(&capture) => capture,
            read => frame(packet).map_or(read, Ok)?,
        };
        all.datagrams.extend(capture.datagrams);
        all.skipped += capture.skipped;
    }
    Ok(all)
}

fn all_of(reader: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    reader.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("longer than {LONGEST} bytes"));
    }
    Ok(bytes)
}

/// What `program` unpacks; it is ended when that is too long.
fn unpack(program: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut input = tempfile::tempfile().map_err(|error| error.to_string())?;
    input.write_all(bytes).map_err(|error| error.to_string())?;
    std::io::Seek::rewind(&mut input).map_err(|error| error.to_string())?;
    let started = Command::new(program)
        .arg("-dc")
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = started.map_err(|error| format!("packed, and {program}: {error}"))?;
    let output = child.stdout.take().ok_or("no output of the unpacker")?;
    let unpacked = all_of(output);
    // Ended already, unless there was too much.
    let _ = child.kill();
    let _ = child.wait();
    unpacked.map_err(|error| format!("packed by {program}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NetFlow v5 of one record.
    fn payload() -> Vec<u8> {
        let mut payload = vec![0; 24 + 48];
        (payload[1], payload[3]) = (5, 1);
        payload
    }

    fn written(bytes: &[u8], extension: &str) -> tempfile::NamedTempFile {
        let file = tempfile::Builder::new().suffix(&format!(".{extension}")).tempfile();
        let mut file = file.expect("a temporary file");
        file.write_all(bytes).expect("it is written");
        file
    }

    #[test]
    fn a_packed_capture_is_unpacked() {
        let plain = written(&payload(), "bin");
        let packed = Command::new("gzip").arg("-c").arg(plain.path()).output();
        let Ok(packed) = packed else {
            println!("skipped: no gzip");
            return;
        };
        let file = written(&packed.stdout, "pcap.gz");
        let capture = read(file.path()).expect("a capture");
        assert_eq!(capture.datagrams[0].payload, payload());
    }

    #[test]
    fn a_hex_dump_is_what_it_writes_down() {
        let text: String = payload().iter().map(|byte| format!("{byte:02x} ")).collect();
        let capture = read(written(text.as_bytes(), "txt").path()).expect("a capture");
        assert_eq!(capture.datagrams[0].payload, payload());
    }

    #[test]
    fn packets_of_v9_in_one_file_are_taken_apart() {
        let packet = |sequence: u8| {
            let mut packet = vec![0, 9, 0, 1, 0, 0, 0, 0, 0x65, 0, 0, 0, 0, 0, 0, sequence];
            packet.extend([0, 0, 0, 7, 1, 0, 0, 8, 1, 2, 3, 4]);
            packet
        };
        let file = written(&[packet(1), packet(2), packet(3)].concat(), "dat");
        let capture = read(file.path()).expect("a capture");
        let payloads: Vec<_> = capture.datagrams.into_iter().map(|one| one.payload).collect();
        assert_eq!(payloads, [packet(1), packet(2), packet(3)]);
    }

    #[test]
    fn files_of_something_else_are_refused_in_a_sentence() {
        for (bytes, extension) in [(&b""[..], "pcap"), (b"hello", "txt"), (b"\x89PNG", "png")] {
            assert!(read(written(bytes, extension).path()).is_err());
        }
    }
}
