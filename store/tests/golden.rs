//! Segments of every format version that was ever written stay readable.
//!
//! `golden/version-N.weir` was sealed from [`rows`] by the program that introduced version N, and
//! is never made again.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::path::Path;

use weir_store::column::ColumnSource;
use weir_store::query::FlowRow;
use weir_store::segment::{SegmentFile, VERSION};
use weir_store::{Address, Batch, Column, Store, StoreConfig};

/// Rows whose columns take every encoding: constant, plain and LZ4.
fn rows() -> Batch {
    let mut batch = Batch::default();
    for n in 0..24_u64 {
        // A multiplicative hash: bytes that no compression makes smaller.
        let noise = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let last = n as u8;
        batch.push(&FlowRow {
            received_ms: 1_795_370_460_000 + n,
            first_ms: 1_795_370_450_000,
            last_ms: 1_795_370_455_000 + n * 7,
            source_address: Address::from_v4([192, 0, 2, last % 4]),
            destination_address: Address([
                0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last,
            ]),
            source_port: noise as u16,
            destination_port: 443,
            protocol: if n % 3 == 0 { 17 } else { 6 },
            tcp_flags: 0x1b,
            tos: 0,
            packets: n + 1,
            bytes: noise,
            input_interface: 1,
            output_interface: (noise >> 32) as u32,
            next_hop: Address::from_v4([198, 51, 100, 1]),
            source_as: 64_496,
            destination_as: 64_497 + (n % 2) as u32,
            source_mask: 24,
            destination_mask: 64,
            direction: 0,
            vlan: 7,
            exporter: Address::from_v4([203, 0, 113, 1]),
            observation_domain: 256,
            ..FlowRow::default()
        });
    }
    batch
}

fn golden(version: u32) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/version-{version}.weir"))
}

#[test]
fn segments_of_every_version_read_as_the_rows_they_were() {
    for version in 1..=VERSION {
        let segment = SegmentFile::open(&golden(version)).unwrap();
        let rows = rows();
        assert_eq!(segment.rows(), rows.rows());
        assert_eq!(segment.slice_ms(), 1_795_370_460_000);
        assert_eq!(segment.range().last_max_ms, 1_795_370_455_161);
        for &column in Column::ALL {
            assert_eq!(segment.values(column).unwrap(), rows.column(column), "{column:?}");
        }
    }
}

/// Makes the golden file of a version that has none; run by hand when a version is introduced.
#[test]
#[ignore = "writes a file that is made once for each format version"]
fn make_the_golden_file() {
    assert!(!golden(VERSION).exists(), "a golden file is never made again");
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(StoreConfig::new(folder.path())).unwrap();
    store.append(rows()).unwrap();
    store.seal_all().unwrap();
    let path = store.reader().snapshot().segments()[0].path();
    std::fs::copy(path, golden(VERSION)).unwrap();
}
