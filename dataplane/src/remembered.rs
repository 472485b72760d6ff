//! What outlives a worker of a session: plain data, for the control plane to keep on disk.
//!
//! Its bytes carry their version and a checksum, and stand for themselves: a journal may hold them
//! one behind the other in any order, the last of a key being the one that counts. What is read
//! back is believed no more than what comes from the network: it is learned within the same bounds.

use std::net::{IpAddr, SocketAddr};

use crate::session::{SessionKey, Transport};
use crate::wire::Protocol;

/// A session's templates and options data, as they stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// What tells it from the others.
    pub key: SessionKey,
    /// Whether the session had come often enough not to give way to a new one.
    pub established: bool,
    /// The header of its newest message.
    pub header: Vec<u8>,
    /// Its live templates, in sets of their protocol.
    pub templates: Vec<u8>,
    /// The newest of its options data, in sets of their protocol.
    pub options: Vec<u8>,
}

/// Why bytes are no [`Remembered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecallError {
    /// Cut short, longer than they say, or changed.
    #[error("the bytes of a remembered session are damaged")]
    Damaged,
    /// Of a later version of weir.
    #[error("a remembered session is of format {0}, and this weir reads format {VERSION}")]
    Version(u8),
    /// Undamaged, and yet no session's.
    #[error("a remembered session holds what no session can")]
    Contents,
    /// Sound, but the session table is full.
    #[error("there is no room for a remembered session")]
    NoRoom,
}

/// The format that this file writes.
const VERSION: u8 = 1;
/// Bytes of the checksum at the end.
const CHECKSUM: usize = 4;
const FLAG_ESTABLISHED: u8 = 1;
const FLAG_IPV6: u8 = 2;

impl Remembered {
    /// Appends its bytes: version, flags, protocol, key, then header, templates and options data
    /// with their lengths, and a CRC-32 of all that; numbers in network order.
    ///
    /// # Panics
    /// When one of the parts is longer than 4 GiB.
    pub fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        let flag = |is, flag| if is { flag } else { 0 };
        let flags =
            flag(self.established, FLAG_ESTABLISHED) | flag(self.key.source.is_ipv6(), FLAG_IPV6);
        out.extend([VERSION, flags, protocol_byte(self.key.protocol)]);
        match self.key.source.ip() {
            IpAddr::V4(address) => out.extend(address.octets()),
            IpAddr::V6(address) => out.extend(address.octets()),
        }
        out.extend(self.key.source.port().to_be_bytes());
        out.extend(self.key.port.to_be_bytes());
        out.extend(self.key.domain.to_be_bytes());
        for part in [&self.header, &self.templates, &self.options] {
            let length = u32::try_from(part.len()).expect("a session's part is below 4 GiB");
            out.extend(length.to_be_bytes());
            out.extend(part);
        }
        let checksum = crc32fast::hash(&out[begin..]);
        out.extend(checksum.to_be_bytes());
    }

    /// Reads what [`Remembered::write`] has appended to nothing.
    ///
    /// # Errors
    /// When `bytes` are anything else.
    pub fn read(bytes: &[u8]) -> Result<Remembered, RecallError> {
        let (&version, _) = bytes.split_first().ok_or(RecallError::Damaged)?;
        if version != VERSION {
            return Err(RecallError::Version(version));
        }
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(RecallError::Damaged)?;
        if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
            return Err(RecallError::Damaged);
        }
        let mut rest = Rest(body);
        let [_, flags, protocol] = rest.array()?;
        let address: IpAddr = match flags & FLAG_IPV6 {
            0 => rest.array::<4>()?.into(),
            _ => rest.array::<16>()?.into(),
        };
        let source = SocketAddr::new(address, u16::from_be_bytes(rest.array()?));
        let port = u16::from_be_bytes(rest.array()?);
        let domain = u32::from_be_bytes(rest.array()?);
        let protocol = Protocol::ALL
            .into_iter()
            .find(|&known| protocol_byte(known) == protocol)
            .ok_or(RecallError::Contents)?;
        let (header, templates, options) = (rest.part()?, rest.part()?, rest.part()?);
        if flags & !(FLAG_ESTABLISHED | FLAG_IPV6) != 0 || !rest.0.is_empty() {
            return Err(RecallError::Contents);
        }
        // A connection's templates end with it: none is remembered.
        let key = SessionKey { source, port, protocol, domain, transport: Transport::Udp };
        let established = flags & FLAG_ESTABLISHED != 0;
        Ok(Remembered { key, established, header, templates, options })
    }
}

const fn protocol_byte(protocol: Protocol) -> u8 {
    match protocol {
        // Its version field is wider, and begins with zeroes.
        Protocol::Sflow => 0,
        Protocol::Netflow1 => 1,
        Protocol::Netflow5 => 5,
        Protocol::Netflow6 => 6,
        Protocol::Netflow7 => 7,
        Protocol::Netflow8 => 8,
        Protocol::Netflow9 => 9,
        Protocol::Ipfix => 10,
    }
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecallError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(RecallError::Contents)?;
        self.0 = rest;
        Ok(*head)
    }

    fn part(&mut self) -> Result<Vec<u8>, RecallError> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        let (head, rest) = self.0.split_at_checked(length).ok_or(RecallError::Contents)?;
        self.0 = rest;
        Ok(head.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    fn remembered() -> impl Strategy<Value = Remembered> {
        let address = prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
        ];
        let protocol = select(&Protocol::ALL[..]);
        let key = (address, any::<u16>(), any::<u16>(), protocol, any::<u32>()).prop_map(
            |(address, from, port, protocol, domain)| SessionKey {
                source: SocketAddr::new(address, from),
                port,
                protocol,
                domain,
                transport: Transport::Udp,
            },
        );
        let part = |most| vec(any::<u8>(), 0..most);
        (key, any::<bool>(), part(24), part(200), part(200)).prop_map(
            |(key, established, header, templates, options)| Remembered {
                key,
                established,
                header,
                templates,
                options,
            },
        )
    }

    fn bytes(remembered: &Remembered) -> Vec<u8> {
        let mut bytes = Vec::new();
        remembered.write(&mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(remembered in remembered()) {
            prop_assert_eq!(Remembered::read(&bytes(&remembered)), Ok(remembered));
        }

        #[test]
        fn damage_is_an_error(remembered in remembered(), at in any::<Index>(), by in 1u8..) {
            let mut bytes = bytes(&remembered);
            prop_assert!(Remembered::read(&bytes[..at.index(bytes.len())]).is_err());
            *at.get_mut(&mut bytes) ^= by;
            prop_assert!(Remembered::read(&bytes).is_err());
        }

        #[test]
        fn noise_with_a_right_checksum_is_no_panic(mut noise in vec(any::<u8>(), 0..60)) {
            noise.insert(0, VERSION);
            let checksum = crc32fast::hash(&noise);
            noise.extend(checksum.to_be_bytes());
            if let Ok(read) = Remembered::read(&noise) {
                prop_assert_eq!(bytes(&read), noise);
            }
        }
    }

    #[test]
    fn a_later_format_is_refused_by_its_number() {
        assert_eq!(Remembered::read(&[2, 0]), Err(RecallError::Version(2)));
        assert_eq!(Remembered::read(&[]), Err(RecallError::Damaged));
    }
}
