//! Packets as a large router sends them: full, and the same template for all of a source's records.
//!
//! Same arguments, same bytes. Sums of what the records say are nobody's business here: a bench
//! counts records.

/// The export protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// NetFlow v5: fixed records of 48 bytes.
    V5,
    /// NetFlow v9.
    V9,
    /// IPFIX with a field of variable length in each record.
    Ipfix,
}

/// The shape of a source's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Load {
    /// The export protocol.
    pub protocol: Protocol,
    /// Data records a packet.
    pub records: u16,
    /// Templates a source has; its packets take turns among them. 1 to 16.
    pub templates: u16,
    /// Whether v9's records leave out the interfaces' autonomous systems (45 bytes rather than 53).
    pub slim: bool,
}

/// Information element and length; 65,535 is variable.
type Field = (u16, u16);

const NETFLOW9: [Field; 18] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 4),
    (14, 4),
    (2, 4),
    (1, 4),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (6, 1),
    (4, 1),
    (5, 1),
    (9, 1),
    (13, 1),
    (16, 4),
    (17, 4),
];

const IPFIX: [Field; 16] = [
    (8, 4),
    (12, 4),
    (10, 4),
    (14, 4),
    (2, 4),
    (1, 4),
    (152, 8),
    (153, 8),
    (7, 2),
    (11, 2),
    (6, 2),
    (4, 1),
    (5, 1),
    (16, 4),
    (17, 4),
    (96, 65_535),
];

/// Bytes of an IPFIX record before its field of variable length.
pub const IPFIX_FIXED: usize = 56;
/// The first template's id.
const FIRST_TEMPLATE: u16 = 256;
const EXPORT_SECS: u32 = 1_700_000_000;

impl Load {
    /// `records` a packet under one template.
    pub const fn new(protocol: Protocol, records: u16) -> Load {
        Load { protocol, records, templates: 1, slim: false }
    }

    /// The packets that peers are measured with: v5 with 29 records in 1,416 bytes, v9 with 30 in
    /// 1,376, IPFIX with 20 in 1,260.
    pub const fn peers(protocol: Protocol) -> Load {
        let records = match protocol {
            Protocol::V5 => 29,
            Protocol::V9 => 30,
            Protocol::Ipfix => 20,
        };
        Load { protocol, records, templates: 1, slim: true }
    }

    /// The protocol's short name.
    pub const fn name(&self) -> &'static str {
        match self.protocol {
            Protocol::V5 => "v5",
            Protocol::V9 => "v9",
            Protocol::Ipfix => "ipfix",
        }
    }

    fn fields(&self) -> &'static [Field] {
        match self.protocol {
            Protocol::V5 => &[],
            Protocol::V9 if self.slim => &NETFLOW9[..16],
            Protocol::V9 => &NETFLOW9,
            Protocol::Ipfix => &IPFIX,
        }
    }

    /// Bytes of a v5 or v9 record.
    pub fn record_length(&self) -> usize {
        match self.protocol {
            Protocol::V5 => 48,
            _ => self.fields().iter().map(|&(_, length)| usize::from(length)).sum(),
        }
    }

    /// Where the message's sequence number stands.
    pub const fn sequence_at(&self) -> usize {
        match self.protocol {
            Protocol::V5 => 16,
            Protocol::V9 => 12,
            Protocol::Ipfix => 8,
        }
    }

    /// By how much a data packet advances the sequence.
    pub const fn sequence_step(&self) -> u32 {
        match self.protocol {
            Protocol::V5 | Protocol::Ipfix => self.records as u32,
            Protocol::V9 => 1,
        }
    }

    /// By how much a template packet does.
    pub const fn template_step(&self) -> u32 {
        (matches!(self.protocol, Protocol::V9)) as u32
    }

    /// Where the first data record stands.
    pub const fn first_record(&self) -> usize {
        match self.protocol {
            Protocol::V5 | Protocol::V9 => 24,
            Protocol::Ipfix => 20,
        }
    }

    /// A packet that announces all of a source's templates; none in v5.
    pub fn template_packet(&self) -> Option<Vec<u8>> {
        if self.protocol == Protocol::V5 {
            return None;
        }
        let fields = self.fields();
        let mut set = Vec::new();
        for id in FIRST_TEMPLATE..FIRST_TEMPLATE + self.templates {
            words(&mut set, &[id, fields.len() as u16]);
            fields.iter().for_each(|&(element, length)| words(&mut set, &[element, length]));
        }
        let id = if self.protocol == Protocol::V9 { 0 } else { 2 };
        Some(message(self.protocol, self.templates, 0, id, &set))
    }

    /// The data packet of this sequence number, under the source's template `template`; each of its
    /// records is different.
    pub fn data_packet(&self, sequence: u32, template: u16) -> Vec<u8> {
        let mut set = Vec::new();
        for n in 0..u32::from(self.records) {
            let seed = sequence.wrapping_mul(31).wrapping_add(n).wrapping_mul(2_654_435_761);
            let noise = |at: usize| (seed >> (at % 24)) as u8;
            if self.protocol == Protocol::Ipfix {
                let text = 3 + n as u8 % 5;
                set.extend((0..IPFIX_FIXED).map(noise));
                set.push(text);
                set.extend((0..text).map(|at| b'a' + at));
            } else {
                set.extend((0..self.record_length()).map(noise));
            }
        }
        message(self.protocol, self.records, sequence, FIRST_TEMPLATE + template, &set)
    }
}

/// A message of one set; v5's records stand without one.
fn message(protocol: Protocol, count: u16, sequence: u32, set_id: u16, set: &[u8]) -> Vec<u8> {
    let padding =
        if protocol == Protocol::V9 { set.len().next_multiple_of(4) - set.len() } else { 0 };
    let set_length = (4 + set.len() + padding) as u16;
    let mut out = Vec::with_capacity(1_500);
    match protocol {
        Protocol::V5 => {
            words(&mut out, &[5, count]);
            longs(&mut out, &[1_000_000, EXPORT_SECS, 0, sequence]);
            words(&mut out, &[1, 0]);
        }
        Protocol::V9 => {
            words(&mut out, &[9, count]);
            longs(&mut out, &[1_000_000, EXPORT_SECS, sequence, 1]);
        }
        Protocol::Ipfix => {
            words(&mut out, &[10, 16 + set_length]);
            longs(&mut out, &[EXPORT_SECS, sequence, 1]);
        }
    }
    if protocol != Protocol::V5 {
        words(&mut out, &[set_id, set_length]);
    }
    out.extend_from_slice(set);
    out.resize(out.len() + padding, 0);
    out
}

pub(crate) fn words(out: &mut Vec<u8>, words: &[u16]) {
    out.extend(words.iter().flat_map(|word| word.to_be_bytes()));
}

pub(crate) fn longs(out: &mut Vec<u8>, longs: &[u32]) {
    out.extend(longs.iter().flat_map(|long| long.to_be_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_dataplane::wire::Message;

    #[test]
    fn every_packet_is_a_message_and_full_ones_fill_a_frame() {
        for protocol in [Protocol::V5, Protocol::V9, Protocol::Ipfix] {
            let load = Load::peers(protocol);
            let data = load.data_packet(7, 0);
            for payload in load.template_packet().iter().chain([&data]) {
                let message = Message::parse(payload).unwrap();
                assert!(payload.len() <= 1_472, "{protocol:?}");
                let sequence = message.sequence();
                assert!(sequence == 0 || sequence == 7);
            }
            let at = load.sequence_at();
            assert_eq!(data[at..at + 4], 7u32.to_be_bytes());
            assert!((1_250..1_420).contains(&data.len()), "{protocol:?}: {}", data.len());
        }
    }
}
