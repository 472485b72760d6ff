//! Segments of every format version that was ever written stay readable.
//!
//! The files in `golden/` were sealed from [`rows`] by the program that introduced their version, and
//! are never made again.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::path::Path;

use weir_store::column::ColumnSource;
use weir_store::query::{self, FlowRow, Limits, Plan, Question, View};
use weir_store::segment::{SegmentFile, VERSION};
use weir_store::{Address, Batch, Column, Store, StoreConfig};

/// Rows whose columns take many encodings.
fn rows(count: u64) -> Batch {
    let mut batch = Batch::default();
    for n in 0..count {
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

/// A file that was kept, the version that it bears, its rows, and whether it is compressed.
const GOLDEN: [(&str, u32, u64, bool); 3] = [
    ("version-1.weir", 1, 24, false),
    ("version-2.weir", 2, 1100, false),
    ("version-2-zstd.weir", 2, 1100, true),
];

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn segments_of_every_version_read_as_the_rows_they_were() {
    assert!((1..=VERSION).all(|version| GOLDEN.iter().any(|golden| golden.1 == version)));
    for (name, version, count, _) in GOLDEN {
        let segment = SegmentFile::open(&golden(name)).unwrap();
        let rows = rows(count);
        assert_eq!((segment.rows(), segment.version()), (rows.rows(), version));
        assert_eq!(segment.slice_ms(), 1_795_370_460_000);
        assert_eq!(segment.range().last_max_ms, 1_795_370_455_000 + (count - 1) * 7);
        for &column in Column::ALL {
            assert_eq!(segment.values(column).unwrap(), rows.column(column), "{column:?}");
        }
        segment.check().unwrap();
    }
}

#[test]
fn a_store_holds_segments_of_every_version() {
    let folder = tempfile::tempdir().unwrap();
    for (at, (name, ..)) in GOLDEN.iter().enumerate() {
        let name_here = format!("20261122T180100Z-0000000{}.weir", at + 1);
        std::fs::copy(golden(name), folder.path().join(name_here)).unwrap();
    }
    let (store, recovery) = Store::open(StoreConfig::new(folder.path())).unwrap();
    assert_eq!((recovery.adopted.len(), recovery.rows), (3, 24 + 1100 + 1100));
    let question = Question {
        filter: "dst host 2001:db8::5 and src net 192.0.2.0/24".to_owned(),
        from_ms: None,
        until_ms: None,
        view: View::Flows { limit: 0 },
    };
    let plan = Plan::compile(&question).unwrap();
    let found = query::answer(&store.reader().snapshot(), &plan, &Limits::default()).unwrap();
    let of = |count| (0..count).filter(|n| n % 256 == 5).count() as u64;
    assert_eq!(found.totals.flows, of(24) + 2 * of(1100));
}

/// Makes the golden files that are not there; run by hand when a version is introduced.
#[test]
#[ignore = "writes files that are made once for each format version"]
fn make_the_golden_files() {
    for (name, version, count, compress) in GOLDEN {
        if golden(name).exists() {
            continue;
        }
        assert_eq!(version, VERSION, "only the newest version can be made");
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig { compress, ..StoreConfig::new(folder.path()) };
        let (mut store, _) = Store::open(config).unwrap();
        store.append(rows(count)).unwrap();
        store.seal_all().unwrap();
        let path = store.reader().snapshot().segments()[0].path();
        std::fs::copy(path, golden(name)).unwrap();
    }
}
