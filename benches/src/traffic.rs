//! NetFlow v9 packets as a large router sends them: full, and one template for all.

/// Bytes of one data record of [`template_packet`]'s template.
pub const RECORD_LENGTH: usize = 53;

/// The fields of the records: element and length, 53 bytes in all, 25 records in 1,400 bytes.
const FIELDS: [(u16, u16); 18] = [
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
    (16, 4),
    (17, 4),
    (9, 1),
    (13, 1),
];

fn header(count: u16, sequence: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(1500);
    packet.extend(9u16.to_be_bytes());
    packet.extend(count.to_be_bytes());
    packet.extend(1_000_000u32.to_be_bytes());
    packet.extend(1_700_000_000u32.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend(1u32.to_be_bytes());
    packet
}

/// A packet that announces template 256.
pub fn template_packet() -> Vec<u8> {
    let mut packet = header(1, 0);
    packet.extend(0u16.to_be_bytes());
    packet.extend((8 + FIELDS.len() as u16 * 4).to_be_bytes());
    packet.extend(256u16.to_be_bytes());
    packet.extend((FIELDS.len() as u16).to_be_bytes());
    for (element, length) in FIELDS {
        packet.extend(element.to_be_bytes());
        packet.extend(length.to_be_bytes());
    }
    packet
}

/// A packet of `records` data records, each different.
pub fn data_packet(sequence: u32, records: u16) -> Vec<u8> {
    let mut packet = header(records, sequence);
    packet.extend(256u16.to_be_bytes());
    packet.extend((4 + records * RECORD_LENGTH as u16).next_multiple_of(4).to_be_bytes());
    for n in 0..u32::from(records) {
        let seed = sequence.wrapping_mul(31).wrapping_add(n).wrapping_mul(2_654_435_761);
        packet.extend((0..RECORD_LENGTH).map(|at| (seed >> (at % 24)) as u8));
    }
    packet.resize(packet.len().next_multiple_of(4), 0);
    packet
}
