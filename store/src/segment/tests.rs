//! Tests of whole segments: what was written comes back, and damage is told by its place.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::query::{Cell, FlowRow};
use crate::schema::Form;
use crate::{Address, Batch};

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.weir");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// Rows of several hosts, with most columns told and some not.
fn sample(rows: u64) -> Batch {
    let mut batch = Batch::default();
    for n in 0..rows {
        let noise = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        batch.push(&FlowRow {
            received_ms: 1_795_370_460_000 + n / 30,
            first_ms: 1_795_370_400_000 + n / 30 + noise % 60_000,
            last_ms: 1_795_370_459_000 + n / 30 + noise % 900,
            source_address: Address::from_v4([10, 0, (noise % 7) as u8, (noise >> 8) as u8]),
            destination_address: Address(
                (0x2001_0db8 << 96 | u128::from(noise % 999)).to_be_bytes(),
            ),
            source_port: (noise >> 20) as u16,
            destination_port: 443,
            protocol: if n % 3 == 0 { 17 } else { 6 },
            packets: 1 + noise % 5,
            bytes: noise % 1500 * (1 + noise % 5),
            next_hop: Address::from_v4([192, 0, 2, (noise % 3) as u8]),
            source_as: 64_500 + (noise % 7) as u32,
            destination_as: 64_512 + (noise % 999 / 100) as u32,
            exporter: Address::from_v4([203, 0, 113, 1]),
            ..FlowRow::default()
        });
    }
    batch
}

fn comes_back(batch: &Batch, compress: bool) -> u64 {
    let spill = Spilled { number: 3, rows: batch.rows() as u64 };
    let options = Options { compress, spill };
    // In two batches, so that blocks span them.
    let half = batch.rows() / 2;
    let parts = [batch.range(0..half), batch.range(half..batch.rows())];
    let (_folder, path) = written(&encode(60_000, &[&parts[0], &parts[1]], &options).bytes);
    let segment = SegmentFile::open(&path).unwrap();
    assert_eq!((segment.rows(), segment.slice_ms()), (batch.rows(), 60_000));
    assert_eq!(segment.spilled(), spill);
    segment.check().unwrap();
    for &column in Column::ALL {
        assert_eq!(segment.values(column).unwrap(), batch.column(column), "{column:?}");
        let mut blocks = crate::column::zeroes(column, 0);
        segment.blocks().for_each(|block| blocks.append(block.values(column).unwrap()));
        assert_eq!(blocks, batch.column(column), "{column:?} by blocks");
        for block in segment.blocks() {
            let rows: Vec<u32> = (0..block.rows() as u32).step_by(11).collect();
            let picked = block.values(column).unwrap().pick(&rows);
            assert_eq!(block.pick(column, &rows).unwrap(), picked, "{column:?} by rows");
        }
    }
    segment.length()
}

#[test]
fn rows_come_back_as_they_were() {
    for compress in [false, true] {
        comes_back(&Batch::default(), compress);
        comes_back(&sample(1), compress);
        comes_back(&sample(40_000), compress);
    }
}

#[test]
fn blocks_are_at_most_sixty_four() {
    let mut batch = Batch::default();
    batch.bytes.extend(0..1_200_000);
    batch.fill(1_200_000);
    let (_folder, path) = written(&encode(0, &[&batch], &Options::default()).bytes);
    let segment = SegmentFile::open(&path).unwrap();
    assert_eq!(segment.blocks().count(), 37);
    let last = segment.blocks().last().unwrap();
    assert_eq!(last.values(Column::Bytes).unwrap().as_u64().last(), Some(&1_199_999));
}

#[test]
fn a_column_that_no_row_fills_costs_nothing() {
    let mut rows = sample(20_000);
    let without = comes_back(&rows, false);
    rows.mpls_3.resize(20_000, 0);
    rows.nat_source_address.resize(20_000, Address::ABSENT);
    assert_eq!(comes_back(&rows, false), without);
}

#[test]
fn what_goes_by_the_address_costs_next_to_nothing() {
    let mut rows = sample(20_000);
    let with = comes_back(&rows, false);
    rows.source_as.clear();
    rows.destination_as.clear();
    let without = comes_back(&rows, false);
    assert!(with - without < 4000, "{} bytes for two columns", with - without);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = encode(0, &[&sample(50)], &Options::default()).bytes;
    for length in 0..bytes.len() {
        let (_folder, path) = written(&bytes[..length]);
        let error = SegmentFile::open(&path).err().unwrap();
        let named = matches!(error, Error::Truncated { .. } | Error::NotASegment { .. });
        assert!(named, "cut to {length}: {error}");
    }
}

#[test]
fn a_changed_byte_anywhere_is_noticed_or_means_nothing() {
    let batch = sample(40);
    let bytes = encode(0, &[&batch], &Options::default()).bytes;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        let (_folder, path) = written(&changed);
        let Ok(segment) = SegmentFile::open(&path) else { continue };
        for &column in Column::ALL {
            match segment.values(column) {
                Ok(values) => assert_eq!(values, batch.column(column), "byte {at}"),
                Err(error) => assert!(error.to_string().contains(column.name()), "{error}"),
            }
        }
    }
}

#[test]
fn damage_names_file_column_and_block_and_leaves_the_others() {
    let batch = sample(40_000);
    let mut bytes = encode(0, &[&batch], &Options::default()).bytes;
    let (_whole, path) = written(&bytes);
    let segment = SegmentFile::open(&path).unwrap();
    let Content::Two(columns) = &segment.content else { panic!("the newest version") };
    let port = Column::SourcePort as u16;
    let entry = columns.footer.columns.iter().find(|entry| entry.number == port).unwrap();
    let zones = zone::Zone::read_all(entry.zones.of(&bytes).unwrap(), 3).unwrap();
    bytes[zones[1].place.offset as usize + 40] ^= 1;
    let (_folder, path) = written(&bytes);
    let segment = SegmentFile::open(&path).unwrap();
    let error = segment.check().unwrap_err().to_string();
    assert!(error.contains("one.weir") && error.contains("source_port, block 1"), "{error}");
    let blocks: Vec<Block<'_>> = segment.blocks().collect();
    blocks[1].values(Column::SourcePort).unwrap_err();
    blocks[1].values(Column::SourceAddress).unwrap();
    blocks[2].values(Column::SourcePort).unwrap();
}

#[test]
fn a_newer_version_is_named() {
    let mut bytes = encode(0, &[&sample(3)], &Options::default()).bytes;
    bytes[8] = 3;
    let (_folder, path) = written(&bytes);
    let error = SegmentFile::open(&path).err().unwrap();
    assert!(matches!(error, Error::NewerVersion { version: 3, readable: 2, .. }), "{error}");
}

/// A column's values: a few shapes that the encodings are made for, and noise.
fn column() -> impl Strategy<Value = (Column, Vec<u64>)> {
    let value = prop_oneof![3 => 0..5_u64, 2 => 1000..1100_u64, 1 => any::<u64>()];
    let values = prop_oneof![
        prop::collection::vec(value, 1..40),
        (any::<u64>(), 1..9_u64)
            .prop_map(|(first, step)| { (0..40).map(|n| first.wrapping_add(n * step)).collect() }),
    ];
    (prop::sample::select(Column::ALL), values)
}

/// `rows` rows with these columns, each by its values over and over.
fn batch_of(rows: usize, columns: &[(Column, Vec<u64>)]) -> Batch {
    let mut batch = Batch::default();
    for row in 0..rows {
        let mut flow = FlowRow::default();
        for (column, values) in columns {
            let value = values[row % values.len()];
            let cell = if column.form() == Form::Address {
                let v4 = Address::from_v4((value as u32).to_be_bytes());
                let v6 = Address((0x2001_u128 << 112 | u128::from(value)).to_be_bytes());
                Cell::Address(if value % 3 == 0 { v6 } else { v4 })
            } else {
                let bits = column.width() as u32 * 8;
                Cell::Number(value & (u64::MAX >> (64 - bits)))
            };
            assert!(flow.set(*column, cell));
        }
        batch.push(&flow);
    }
    batch
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_batch_comes_back(
        rows in prop_oneof![0..300_usize, Just(1024), Just(2500)],
        columns in prop::collection::vec(column(), 0..12),
        compress in any::<bool>(),
    ) {
        comes_back(&batch_of(rows, &columns), compress);
    }

    #[test]
    fn no_section_makes_reading_panic_even_if_its_checksum_is_right(
        columns in prop::collection::vec(column(), 1..8),
        compress in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let batch = batch_of(90, &columns);
        let bytes = encode(0, &[&batch], &Options { compress, ..Options::default() }).bytes;
        let mut changed = bytes.clone();
        for (at, to) in changes {
            let at = HEADER_BYTES + at.index(bytes.len() - HEADER_BYTES - TRAILER_BYTES);
            changed[at] = to;
        }
        let (_folder, path) = written(&reseal(&bytes, changed));
        if let Ok(segment) = SegmentFile::open(&path) {
            let _ = segment.check();
            for &column in Column::ALL {
                if let Ok(values) = segment.values(column) {
                    assert_eq!(values.rows(), segment.rows());
                }
            }
        }
    }
}

/// The changed file with the checksum of every section made right again, as far as the places that
/// the whole file names still mean sections.
fn reseal(whole: &[u8], mut changed: Vec<u8>) -> Vec<u8> {
    // Every place in the file is sixteen bytes whose checksum is right in the whole file.
    let mut places = Vec::new();
    for at in HEADER_BYTES..whole.len() - 16 {
        let place = checksum::Place::read(&mut Fields(&whole[at..])).unwrap();
        if place.of(whole).is_ok() && place.length > 0 {
            places.push((at, place));
        }
    }
    // Sections stand before what names them.
    for (at, place) in places {
        let section = place.offset as usize..place.offset as usize + place.length as usize;
        let checksum = crc32fast::hash(&changed[section]);
        changed[at..at + 12].copy_from_slice(&whole[at..at + 12]);
        changed[at + 12..at + 16].copy_from_slice(&checksum.to_le_bytes());
    }
    changed
}
