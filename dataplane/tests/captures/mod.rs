//! Captures of the corpus, read as far as the tests here need it: what exporters sent, in order.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use weir_dataplane::wire::{ethernet, ipv4, ipv6, udp};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const UDP: u8 = 17;

/// The corpus's folder, if there is one.
pub(crate) fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("WEIR_CORPUS").map_or(beside, PathBuf::from);
    folder.join("MANIFEST.tsv").is_file().then_some(folder)
}

/// A UDP payload and where it came from.
pub(crate) type Sent = (SocketAddr, Vec<u8>);

/// The payloads of a capture over Ethernet, unfragmented; `None` of one that is not in the classic
/// pcap format.
fn read_pcap(bytes: &[u8]) -> Option<Vec<Sent>> {
    let little = match bytes[..4] {
        [0xd4, 0xc3, 0xb2, 0xa1] => true,
        [0xa1, 0xb2, 0xc3, 0xd4] => false,
        _ => return None,
    };
    let length = |bytes: &[u8]| {
        let bytes = bytes[..4].try_into().expect("four bytes");
        if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    };
    let mut sent = Vec::new();
    let mut rest = &bytes[24..];
    while rest.len() >= 16 {
        let captured = length(&rest[8..]) as usize;
        let Some(frame) = rest.get(16..16 + captured) else { break };
        sent.extend(read_frame(frame));
        rest = &rest[16 + captured..];
    }
    Some(sent)
}

fn read_frame(frame: &[u8]) -> Option<Sent> {
    let frame = ethernet::Frame::new_checked(frame).ok()?;
    let (source, protocol, payload): (IpAddr, u8, &[u8]) = match frame.ethertype() {
        ETHERTYPE_IPV4 => {
            let packet = ipv4::Packet::new_captured(frame.payload()).ok()?;
            (packet.source().into(), packet.protocol(), packet.payload())
        }
        ETHERTYPE_IPV6 => {
            let packet = ipv6::Packet::new_checked(frame.payload()).ok()?;
            (packet.source().into(), packet.protocol(), packet.payload())
        }
        _ => return None,
    };
    if protocol != UDP {
        return None;
    }
    let datagram = udp::Packet::new_checked(payload).ok()?;
    Some((SocketAddr::new(source, datagram.source_port()), datagram.payload().to_vec()))
}

/// The messages of an IPFIX file, each as long as its header says (RFC 5655, Section 4).
fn read_ipfix(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let [0, 10, high, low, ..] = *bytes {
        let length = usize::from(u16::from_be_bytes([high, low])).clamp(1, bytes.len());
        messages.push(bytes[..length].to_vec());
        bytes = &bytes[length..];
    }
    messages
}

/// What exporters sent, by a file; `None` of one that is not in the classic pcap format.
pub(crate) fn read(file: &Path) -> Option<Vec<Sent>> {
    let bytes = fs::read(file).expect("a file of the manifest");
    let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("pcap") => read_pcap(&bytes),
        Some("ipfix") => {
            Some(read_ipfix(&bytes).into_iter().map(|message| (source, message)).collect())
        }
        _ => Some(vec![(source, bytes)]),
    }
}
