//! A datagram in every kind of frame that it may come in by.
//!
//! Headers are those of weir's own emitters, which have tests by byte literals; what they never write
//! (IP options, extension headers, tags, padding) is added here. An independent reader, tshark, and
//! the kernel judge the result.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use weir_controlplane::lab::{Error, Site, tool};
use weir_dataplane::wire::ethernet::{self, Mac, ethertype};
use weir_dataplane::wire::{checksum, ipv4, ipv6, udp};

/// Bytes of an Ethernet frame at least, without its check sequence.
const SHORTEST: usize = 60;
/// Bytes of the IP packets that fragments come in.
const FRAGMENT_MTU: u16 = 1_300;

/// How a datagram is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrap {
    /// In one frame with nothing besides.
    Plain,
    /// IPv4 with options: no-operations and an end of list.
    Options,
    /// IPv6 with these extension headers, by number: 0 hop-by-hop, 60 destination options.
    Extensions(&'static [u8]),
    /// With these VLAN tags: type and VLAN.
    Tagged(&'static [(u16, u16)]),
    /// In IP fragments, the last one first when `reversed`.
    Fragments {
        /// Whether the last comes first.
        reversed: bool,
    },
    /// IPv4 without a UDP checksum, which RFC 768 allows.
    NoChecksum,
    /// IPv6 with this flow label, by which a device with several queues may choose one.
    Labelled(u8),
    /// With bytes behind the IP packet that are not zero, as Ethernet's padding may be.
    Padded,
}

/// One tag of a customer's VLAN.
pub const ONE_TAG: Wrap = Wrap::Tagged(&[(ethertype::VLAN, 5)]);
/// A provider's tag around a customer's.
pub const TWO_TAGS: Wrap = Wrap::Tagged(&[(ethertype::SERVICE_VLAN, 6), (ethertype::VLAN, 5)]);

/// The two ends of the first hop.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    /// Who sends.
    pub from: Mac,
    /// Who receives.
    pub to: Mac,
}

impl Hop {
    /// From a device of one site to that of another.
    ///
    /// # Errors
    /// When a device has no address.
    pub fn between(from: &Site, to: &Site) -> Result<Hop, Error> {
        Ok(Hop { from: mac(from)?, to: mac(to)? })
    }

    /// The frames that bring a datagram from `source` to `to`; fragments bear `identification`.
    ///
    /// # Panics
    /// When the wrapping is not of the addresses' IP version.
    pub fn frames(
        &self,
        wrap: Wrap,
        source: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
        identification: u16,
    ) -> Vec<Vec<u8>> {
        let mut datagram = vec![0; udp::HEADER_LENGTH];
        datagram.extend(payload);
        udp::emit(&mut datagram, source, to);
        if wrap == Wrap::NoChecksum {
            assert!(to.is_ipv4(), "IPv6 has no datagrams without a checksum");
            datagram[6..8].fill(0);
        }
        let packets = match (source.ip(), to.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header =
                    ipv4::Header { source, destination, identification, protocol: ipv4::UDP };
                packets4(wrap, header, &datagram)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = ipv6::Header { source, destination, protocol: ipv6::UDP };
                packets6(wrap, header, &datagram, u32::from(identification))
            }
            _ => panic!("{source} cannot send to {to}"),
        };
        let kind = if to.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
        packets.into_iter().map(|packet| self.frame(wrap, kind, &packet)).collect()
    }

    fn frame(&self, wrap: Wrap, kind: u16, packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; ethernet::HEADER_LENGTH];
        ethernet::emit(&mut frame, self.to, self.from, kind);
        if let Wrap::Tagged(tags) = wrap {
            frame.truncate(12);
            for (tag, vlan) in tags {
                frame.extend([tag.to_be_bytes(), vlan.to_be_bytes()].concat());
            }
            frame.extend(kind.to_be_bytes());
        }
        frame.extend(packet);
        if wrap == Wrap::Padded {
            frame.resize(SHORTEST.max(frame.len() + 6), 0xa5);
        }
        frame
    }
}

fn packets4(wrap: Wrap, header: ipv4::Header, datagram: &[u8]) -> Vec<Vec<u8>> {
    if let Wrap::Fragments { reversed } = wrap {
        let mut fragments = ipv4::Fragments::new(header, datagram, FRAGMENT_MTU);
        return emitted(reversed, |buffer| fragments.emit_next(buffer));
    }
    let mut packet = vec![0; ipv4::HEADER_LENGTH];
    header.emit(&mut packet, datagram.len());
    packet.extend(datagram);
    if wrap == Wrap::Options {
        packet.splice(20..20, [1, 1, 1, 1, 1, 1, 1, 0]);
        packet[0] = 0x47;
        let total = u16::try_from(packet.len()).expect("a packet of at most 65,535 bytes");
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[10..12].fill(0);
        let check = !checksum::fold(checksum::sum(0, &packet[..28]));
        packet[10..12].copy_from_slice(&check.to_be_bytes());
    }
    vec![packet]
}

fn packets6(
    wrap: Wrap,
    header: ipv6::Header,
    datagram: &[u8],
    identification: u32,
) -> Vec<Vec<u8>> {
    if let Wrap::Fragments { reversed } = wrap {
        let mut fragments = ipv6::Fragments::new(header, datagram, FRAGMENT_MTU, identification);
        return emitted(reversed, |buffer| fragments.emit_next(buffer));
    }
    let kinds: &[u8] = if let Wrap::Extensions(kinds) = wrap { kinds } else { &[] };
    let mut packet = vec![0; ipv6::HEADER_LENGTH];
    let first = kinds.first().copied().unwrap_or(ipv6::UDP);
    ipv6::Header { protocol: first, ..header }.emit(&mut packet, 8 * kinds.len() + datagram.len());
    if let Wrap::Labelled(label) = wrap {
        packet[3] = label;
    }
    for (n, _) in kinds.iter().enumerate() {
        let next = kinds.get(n + 1).copied().unwrap_or(ipv6::UDP);
        // No further units of eight octets; a PadN option of six (RFC 8200, Section 4.2).
        packet.extend([next, 0, 1, 4, 0, 0, 0, 0]);
    }
    packet.extend(datagram);
    vec![packet]
}

fn emitted(reversed: bool, mut next: impl FnMut(&mut [u8]) -> Option<usize>) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; usize::from(FRAGMENT_MTU)];
    let mut all = Vec::new();
    while let Some(length) = next(&mut buffer) {
        all.push(buffer[..length].to_vec());
    }
    assert!(all.len() > 1, "what is to come in fragments must be large");
    if reversed {
        all.reverse();
    }
    all
}

/// The address of a site's device.
fn mac(site: &Site) -> Result<Mac, Error> {
    let mut command = site.command("cat");
    let device = site.device().unwrap_or("lo");
    command.arg(format!("/sys/class/net/{device}/address"));
    let said = tool::run(&mut command)?;
    let bytes: Vec<u8> =
        said.trim().split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes.try_into().map_err(|_| Error::Answer {
        command: tool::typed(&command),
        reason: format!("{said:?} is no hardware address"),
    })
}

/// Sends frames from a site's device, in order, so many a second, by the program of this package that
/// does so.
///
/// # Errors
/// When one could not be sent.
pub fn send(site: &Site, sender: &Path, frames: &[Vec<u8>], rate: u32) -> Result<(), Error> {
    let mut lines = String::new();
    for frame in frames {
        lines.extend(frame.iter().map(|byte| format!("{byte:02x}")));
        lines.push('\n');
    }
    let mut command = site.command(sender);
    command.arg(site.device().unwrap_or("lo")).arg(rate.to_string());
    tool::run_with(&mut command, &lines).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_dataplane::wire::udp::Checksum;

    const HOP: Hop = Hop { from: [2; 6], to: [4; 6] };

    fn frames(wrap: Wrap, v6: bool, length: usize) -> Vec<Vec<u8>> {
        let (source, to) = match v6 {
            false => ("192.0.2.1:4000", "192.0.2.2:2055"),
            true => ("[2001:db8::1]:4000", "[2001:db8::2]:2055"),
        };
        let (source, to) = (source.parse().unwrap(), to.parse().unwrap());
        HOP.frames(wrap, source, to, &vec![7; length], 9)
    }

    /// The payload as weir's own parser finds it.
    fn payload(frame: &[u8]) -> (Vec<u8>, Checksum) {
        let frame = ethernet::Frame::new_checked(frame).unwrap();
        let (datagram, source, to): (_, IpAddr, IpAddr) = if frame.ethertype() == ethertype::IPV4 {
            let packet = ipv4::Packet::new_checked(frame.payload()).unwrap();
            (packet.payload(), packet.source().into(), packet.destination().into())
        } else {
            let packet = ipv6::Packet::new_checked(frame.payload()).unwrap();
            (packet.payload(), packet.source().into(), packet.destination().into())
        };
        let datagram = udp::Packet::new_checked(datagram).unwrap();
        (datagram.payload().to_vec(), datagram.checksum(source, to))
    }

    #[test]
    fn every_wrapping_of_one_frame_is_read_back() {
        let v4 = [Wrap::Plain, Wrap::Options, ONE_TAG, TWO_TAGS, Wrap::Padded];
        let v6 = [
            Wrap::Plain,
            Wrap::Extensions(&[0]),
            Wrap::Extensions(&[0, 60]),
            TWO_TAGS,
            Wrap::Labelled(9),
        ];
        let all = v4.into_iter().map(|wrap| (wrap, false));
        for (wrap, is_v6) in all.chain(v6.into_iter().map(|wrap| (wrap, true))) {
            let frames = frames(wrap, is_v6, 16);
            assert_eq!(frames.len(), 1);
            assert_eq!(payload(&frames[0]), (vec![7; 16], Checksum::Good), "{wrap:?}");
        }
        let bare = &frames(Wrap::NoChecksum, false, 16)[0];
        assert_eq!(payload(bare), (vec![7; 16], Checksum::Absent));
    }

    #[test]
    fn fragments_can_come_with_the_last_one_first() {
        for v6 in [false, true] {
            let ordered = frames(Wrap::Fragments { reversed: false }, v6, 3_000);
            let mut reversed = frames(Wrap::Fragments { reversed: true }, v6, 3_000);
            assert_eq!(ordered.len(), 3);
            reversed.reverse();
            assert_eq!(ordered, reversed);
        }
    }
}
