//! Rows skewed like traffic: few heavy addresses, many light ones.

use weir_store::query::FlowRow;
use weir_store::{Address, Batch};

/// Row `n` of a deterministic data set.
pub fn row(n: u64) -> FlowRow {
    let noise = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let skewed = |bits: u32| {
        let noise = noise.rotate_left(bits);
        ((noise >> 44) >> (noise & 15)) as u32
    };
    let packets = 1 + (noise >> 60);
    FlowRow {
        received_ms: n / 20,
        first_ms: n / 20,
        last_ms: n / 20 + (noise >> 50),
        source_address: Address::from_v4((0x0a00_0000 + skewed(0)).to_be_bytes()),
        destination_address: Address::from_v4((0x5000_0000 + skewed(21)).to_be_bytes()),
        source_port: (noise >> 20) as u16,
        destination_port: if noise.is_multiple_of(3) { 443 } else { (noise >> 10) as u16 & 1023 },
        protocol: if noise.is_multiple_of(5) { 17 } else { 6 },
        tcp_flags: 0x1b,
        packets,
        bytes: packets * (64 + (noise >> 40) % 1400),
        input_interface: (noise % 4) as u32,
        output_interface: (noise % 3) as u32,
        exporter: Address::from_v4([127, 0, 0, 1]),
        ..FlowRow::default()
    }
}

/// The first `rows` rows, in batches of `batch_rows`.
pub fn batches(rows: u64, batch_rows: u64) -> Vec<Batch> {
    (0..rows)
        .step_by(usize::try_from(batch_rows).expect("a batch fits the memory"))
        .map(|first| {
            let mut batch = Batch::default();
            (first..rows.min(first + batch_rows)).for_each(|n| batch.push(&row(n)));
            batch
        })
        .collect()
}
