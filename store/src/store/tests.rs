//! Tests of the writer: what is appended is there, whatever fails.

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::column::ColumnSource;
use crate::query::{self, Limits, Plan, Question, View};
use crate::{Address, Column};

fn config(folder: &Path) -> StoreConfig {
    StoreConfig { slice_ms: 1000, seal_rows: 100, memory_rows: 300, ..StoreConfig::new(folder) }
}

/// `rows` rows that arrived at `received_ms`, each with its own number in `bytes`.
fn batch(received_ms: u64, numbers: std::ops::Range<u64>) -> Batch {
    let rows = numbers.clone().count();
    let mut batch = Batch::with_capacity(rows);
    batch.received_ms.extend(vec![received_ms; rows]);
    batch.bytes.extend(numbers);
    batch.source_address.extend(vec![Address::from_v4([10, 0, 0, 1]); rows]);
    batch.fill(rows);
    batch
}

/// How often each number is in the store, sealed or in memory.
fn numbers(reader: &Reader) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    let snapshot = reader.snapshot();
    for segment in snapshot.segments() {
        let file = segment.open().unwrap();
        for number in file.values(Column::Bytes).unwrap().as_u64() {
            *found.entry(*number).or_default() += 1;
        }
    }
    for number in snapshot.memory.iter().flat_map(|memory| &memory.batch.bytes) {
        *found.entry(*number).or_default() += 1;
    }
    found
}

fn once(numbers: std::ops::Range<u64>) -> BTreeMap<u64, usize> {
    numbers.map(|number| (number, 1)).collect()
}

fn files(folder: &Path, suffix: &str) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().ends_with(suffix)).count()
}

#[test]
fn rows_are_visible_at_once_and_sealed_when_their_slice_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(config(folder.path())).unwrap();
    let reader = store.reader();
    store.append(batch(5500, 0..10)).unwrap();
    assert_eq!((reader.health().memory_rows, reader.health().segments), (10, 0));
    assert_eq!(numbers(&reader), once(0..10));
    store.tick(5999);
    assert_eq!(reader.health().segments, 0);
    store.tick(6000);
    assert_eq!((reader.health().memory_rows, reader.health().segments), (0, 1));
    assert_eq!(numbers(&reader), once(0..10));
}

#[test]
fn a_full_slice_is_sealed_before_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(config(folder.path())).unwrap();
    for start in (0..250).step_by(10) {
        store.append(batch(0, start..start + 10)).unwrap();
    }
    let health = store.reader().health();
    assert_eq!((health.sealed_rows, health.memory_rows), (200, 50));
    assert_eq!(numbers(&store.reader()), once(0..250));
}

#[test]
fn a_batch_over_two_slices_is_divided() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(config(folder.path())).unwrap();
    let mut both = batch(999, 0..3);
    both.append(&batch(1000, 3..5));
    store.append(both).unwrap();
    store.tick(1500);
    let health = store.reader().health();
    assert_eq!((health.sealed_rows, health.memory_rows), (3, 2));
    assert_eq!(numbers(&store.reader()), once(0..5));
}

#[test]
fn a_snapshot_stays_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(config(folder.path())).unwrap();
    store.append(batch(0, 0..10)).unwrap();
    let before = store.reader().snapshot();
    store.append(batch(0, 10..20)).unwrap();
    store.tick(5000);
    assert_eq!(before.rows(), 10);
    assert_eq!(store.reader().snapshot().rows(), 20);
}

#[test]
fn many_small_batches_become_few() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { seal_rows: 100_000, memory_rows: 100_000, ..config(folder.path()) };
    let (mut store, _) = Store::open(config).unwrap();
    for number in 0..5000 {
        store.append(batch(0, number..number + 1)).unwrap();
    }
    let count = store.reader().snapshot().memory.len();
    assert!(count <= 16, "{count} batches");
    assert_eq!(numbers(&store.reader()), once(0..5000));
}

#[test]
fn a_batch_larger_than_memory_is_still_taken_when_it_can_be_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(config(folder.path())).unwrap();
    store.append(batch(0, 0..1000)).unwrap();
    store.append(batch(0, 1000..1250)).unwrap();
    assert_eq!(numbers(&store.reader()), once(0..1250));
}

#[test]
fn what_was_sealed_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(config(folder.path())).unwrap();
    store.append(batch(0, 0..50)).unwrap();
    store.close().unwrap();
    let (store, recovery) = Store::open(config(folder.path())).unwrap();
    assert_eq!((recovery.segments, recovery.rows), (1, 50));
    assert_eq!(numbers(&store.reader()), once(0..50));
    let read_only = Store::open_read_only(folder.path()).unwrap();
    assert_eq!(numbers(&read_only), once(0..50));
}

#[test]
fn a_folder_without_a_store_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Store::open_read_only(folder.path()).err().unwrap();
    assert!(matches!(error, Error::NoStore { .. }), "{error}");
}

#[test]
fn without_a_manifest_one_bad_segment_does_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(config(folder.path())).unwrap();
    store.append(batch(0, 0..50)).unwrap();
    store.close().unwrap();
    fs::remove_file(folder.path().join("manifest.json")).unwrap();
    fs::write(folder.path().join("20260101T000000Z-00000008.weir"), "torn").unwrap();
    let reader = Store::open_read_only(folder.path()).unwrap();
    assert_eq!(numbers(&reader), once(0..50));
    let plan = Plan::compile(&Question {
        filter: String::new(),
        from_ms: None,
        until_ms: None,
        view: View::Flows { limit: 1 },
    });
    let partial = query::answer(&reader.snapshot(), &plan.unwrap(), &Limits::default());
    let damaged = partial.unwrap().coverage.damaged;
    assert!(damaged.len() == 1 && damaged[0].contains("00000008.weir"), "{damaged:?}");
}

#[test]
fn a_lost_manifest_is_made_anew_from_the_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(config(folder.path())).unwrap();
    store.append(batch(0, 0..50)).unwrap();
    store.append(batch(1000, 50..70)).unwrap();
    store.close().unwrap();
    for damage in ["", "{\"version\": 1, \"segm"] {
        fs::write(folder.path().join("manifest.json"), damage).unwrap();
        let (store, recovery) = Store::open(config(folder.path())).unwrap();
        assert!(recovery.manifest_rebuilt);
        assert_eq!(recovery.adopted.len(), 2);
        assert_eq!(numbers(&store.reader()), once(0..70));
    }
}

#[test]
fn unfinished_files_go_and_torn_ones_are_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(config(folder.path())).unwrap();
    store.append(batch(0, 0..50)).unwrap();
    store.close().unwrap();
    let name = |name: &str| folder.path().join(name);
    fs::write(name("20260101T000000Z-00000007.weir.tmp"), "half").unwrap();
    fs::write(name("20260101T000000Z-00000008.weir"), "torn").unwrap();
    let (store, recovery) = Store::open(config(folder.path())).unwrap();
    assert_eq!((recovery.temporary_removed, recovery.torn.len()), (1, 1));
    assert_eq!(files(folder.path(), ".tmp") + files(folder.path(), "8.weir"), 0);
    assert_eq!(files(folder.path(), ".torn"), 1);
    assert_eq!(numbers(&store.reader()), once(0..50));
}

#[test]
fn a_full_disk_keeps_rows_in_memory_then_refuses_then_seals_all() {
    let folder = tempfile::tempdir().unwrap();
    let full = Files::default();
    let (mut store, _) = Store::open_with(config(folder.path()), full.clone()).unwrap();
    let reader = store.reader();
    store.append(batch(0, 0..60)).unwrap();
    store.tick(1000);
    full.faults.fail(0, u64::MAX);
    store.append(batch(2000, 60..150)).unwrap();
    store.tick(3000);
    let health = reader.health();
    assert_eq!((health.segments, health.memory_rows, health.seal_failures), (1, 90, 1));
    assert!(health.last_error.unwrap().contains("weir"));
    store.append(batch(3000, 150..350)).unwrap();
    assert_eq!(store.append(batch(3000, 350..370)), Err(Full(20)));
    assert_eq!(reader.health().refused_rows, 20);
    assert_eq!(numbers(&reader), once(0..350));
    full.faults.fail(0, 0);
    store.tick(3500);
    assert!(reader.health().last_error.is_some(), "not retried within a second");
    store.tick(4000);
    let health = reader.health();
    assert_eq!((health.last_error, health.memory_rows), (None, 0));
    store.append(batch(4000, 350..370)).unwrap();
    assert_eq!(numbers(&reader), once(0..370));
    store.close().unwrap();
    assert_eq!(files(folder.path(), ".tmp"), 0);
    assert_eq!(numbers(&Store::open_read_only(folder.path()).unwrap()), once(0..370));
}

#[test]
fn a_clock_set_back_does_not_postpone_the_retry() {
    let folder = tempfile::tempdir().unwrap();
    let full = Files::default();
    let (mut store, _) = Store::open_with(config(folder.path()), full.clone()).unwrap();
    store.append(batch(0, 0..10)).unwrap();
    full.faults.fail(0, u64::MAX);
    store.tick(1_000_000);
    full.faults.fail(0, 0);
    store.tick(999_500);
    assert!(store.reader().health().last_error.is_none(), "1.5 s is longer than any wait");
    assert_eq!(store.reader().health().sealed_rows, 10);
}

#[test]
fn a_slice_of_a_clock_that_was_ahead_is_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(config(folder.path())).unwrap();
    store.append(batch(3_600_000, 0..10)).unwrap();
    store.append(batch(6_500, 10..15)).unwrap();
    store.tick(5_000);
    let health = store.reader().health();
    assert_eq!((health.sealed_rows, health.memory_rows), (10, 5), "one slice ahead may grow");
    assert_eq!(numbers(&store.reader()), once(0..15));
}

/// Appends and seals; what has been sealed as far as the store says.
fn write_some(store: &mut Store) -> u64 {
    for step in 0..4 {
        store.append(batch(step * 1000, step * 40..step * 40 + 40)).unwrap();
        store.tick(step * 1000 + 1000);
    }
    store.reader().health().sealed_rows
}

#[test]
fn one_failure_at_any_step_loses_nothing_and_doubles_nothing() {
    for step in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let files_ = Files::default();
        let (mut store, _) = Store::open_with(config(folder.path()), files_.clone()).unwrap();
        files_.faults.fail(step, 1);
        write_some(&mut store);
        assert_eq!(numbers(&store.reader()), once(0..160), "step {step}");
        let done = files_.faults.steps() <= step;
        store.tick(100_000);
        assert_eq!(store.reader().health().last_error, None, "step {step}");
        drop(store);
        let (store, recovery) = Store::open(config(folder.path())).unwrap();
        assert_eq!(numbers(&store.reader()), once(0..160), "step {step}: {recovery:?}");
        assert_eq!(files(folder.path(), ".tmp"), 0);
        if done {
            assert!(step > 10, "the faults were never reached");
            break;
        }
    }
}

#[test]
fn a_crash_at_any_step_leaves_every_sealed_row() {
    for step in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let files_ = Files::default();
        let (mut store, _) = Store::open_with(config(folder.path()), files_.clone()).unwrap();
        // From this step on nothing succeeds any more, as when the process is gone.
        files_.faults.fail(step, u64::MAX);
        let sealed = write_some(&mut store);
        let done = files_.faults.steps() <= step;
        drop(store);
        let (store, recovery) = Store::open(config(folder.path())).unwrap();
        let found = numbers(&store.reader());
        assert_eq!(found, once(0..found.len() as u64), "step {step}: {recovery:?}");
        assert!(found.len() as u64 >= sealed, "step {step}: {recovery:?}");
        assert!(recovery.torn.is_empty() && recovery.damaged.is_empty());
        if done {
            break;
        }
    }
}

#[test]
fn readers_count_every_row_once_while_it_is_written_and_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(config(folder.path())).unwrap();
    let reader = store.reader();
    let writer = std::thread::spawn(move || {
        for step in 0..300 {
            store.append(batch(step * 100, step..step + 1)).unwrap();
            store.tick(step * 100);
        }
    });
    let mut seen = 0;
    while seen < 300 {
        let rows = reader.snapshot().rows();
        assert!(rows >= seen, "{rows} after {seen}");
        seen = rows;
    }
    writer.join().unwrap();
    assert_eq!(numbers(&reader), once(0..300));
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { memory_rows: 1, ..config(folder.path()) };
    assert!(matches!(Store::open(config), Err(Error::Config(_))));
}

/// Four seconds of rows, ten each 100 ms, in slices of two seconds; what has been sealed or spilled
/// as far as the store says comes back.
fn write_and_spill(store: &mut Store) -> u64 {
    for step in 0..40 {
        store.append(batch(step * 100, step * 10..step * 10 + 10)).unwrap();
        store.tick(step * 100 + 100);
    }
    let spilled = store.slices.iter().map(|slice| {
        let taken = slice.spill.as_ref().map_or(0, Spill::rows);
        taken.saturating_sub(slice.sealed)
    });
    store.reader().health().sealed_rows + spilled.sum::<u64>()
}

fn spilling(folder: &Path) -> StoreConfig {
    StoreConfig { slice_ms: 2000, spill_ms: 300, sync_ms: 700, seal_rows: 150, ..config(folder) }
}

#[test]
fn a_process_that_is_killed_loses_only_what_was_not_yet_spilled() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(spilling(folder.path())).unwrap();
    store.append(batch(0, 0..50)).unwrap();
    store.tick(300);
    store.append(batch(100, 50..60)).unwrap();
    // Without a word more, as when it is killed.
    drop(store);
    let read_only = Store::open_read_only(folder.path()).unwrap();
    assert_eq!(numbers(&read_only), once(0..50));
    let (mut store, recovery) = Store::open(spilling(folder.path())).unwrap();
    assert_eq!((recovery.spilled_rows, recovery.torn_bytes), (50, 0));
    assert_eq!(numbers(&store.reader()), once(0..50));
    store.append(batch(200, 50..70)).unwrap();
    store.tick(600);
    drop(store);
    let (mut store, recovery) = Store::open(spilling(folder.path())).unwrap();
    assert_eq!(recovery.spilled_rows, 70);
    store.tick(5000);
    assert_eq!((store.reader().health().memory_rows, files(folder.path(), ".spill")), (0, 0));
    assert_eq!(numbers(&store.reader()), once(0..70));
}

#[test]
fn a_torn_spill_gives_its_whole_frames_and_counts_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(spilling(folder.path())).unwrap();
    store.append(batch(0, 0..50)).unwrap();
    store.tick(300);
    store.append(batch(100, 50..60)).unwrap();
    store.tick(900);
    let path = store.slices[0].spill.as_ref().unwrap().path().to_owned();
    drop(store);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let (store, recovery) = Store::open(spilling(folder.path())).unwrap();
    assert_eq!(recovery.spilled_rows, 50);
    assert!(recovery.torn_bytes > 20, "{} bytes", recovery.torn_bytes);
    assert_eq!(numbers(&store.reader()), once(0..50));
}

#[test]
fn one_failure_at_any_step_of_spilling_loses_nothing_and_doubles_nothing() {
    for step in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let files_ = Files::default();
        let (mut store, _) = Store::open_with(spilling(folder.path()), files_.clone()).unwrap();
        files_.faults.fail(step, 1);
        write_and_spill(&mut store);
        let done = files_.faults.steps() <= step;
        store.tick(4400);
        assert_eq!(numbers(&store.reader()), once(0..400), "step {step}");
        assert_eq!(store.reader().health().spill_error, None, "step {step}");
        // Everything was spilled in the end; then it is killed.
        drop(store);
        let (mut store, recovery) = Store::open(spilling(folder.path())).unwrap();
        assert_eq!(numbers(&store.reader()), once(0..400), "step {step}: {recovery:?}");
        assert_eq!(recovery.torn_bytes, 0, "step {step}");
        store.tick(100_000);
        drop(store);
        let (store, _) = Store::open(spilling(folder.path())).unwrap();
        assert_eq!(numbers(&store.reader()), once(0..400), "step {step}");
        assert_eq!(files(folder.path(), ".spill"), 0);
        if done {
            assert!(step > 20, "the faults were never reached");
            break;
        }
    }
}

#[test]
fn a_crash_at_any_step_leaves_every_row_that_was_sealed_or_spilled() {
    for step in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let files_ = Files::default();
        let config = StoreConfig { memory_rows: 10_000, ..spilling(folder.path()) };
        let (mut store, _) = Store::open_with(config.clone(), files_.clone()).unwrap();
        files_.faults.fail(step, u64::MAX);
        let kept = write_and_spill(&mut store);
        let done = files_.faults.steps() <= step;
        drop(store);
        // And once more while it is put in order.
        let again = Files::default();
        again.faults.fail(step % 5, u64::MAX);
        drop(Store::open_with(config.clone(), again));
        let (mut store, recovery) = Store::open(config).unwrap();
        let found = numbers(&store.reader());
        assert_eq!(found, once(0..found.len() as u64), "step {step}: {recovery:?}");
        assert!(found.len() as u64 >= kept, "step {step}: {} of {kept}", found.len());
        store.tick(100_000);
        assert_eq!(numbers(&store.reader()), found, "step {step}");
        if done {
            break;
        }
    }
}

/// What is left of a folder when the power goes: of a spill what was made durable, and then any part
/// of the rest.
#[test]
fn a_power_cut_leaves_what_was_made_durable() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { seal_rows: 1000, memory_rows: 1000, ..spilling(folder.path()) };
    let (mut store, _) = Store::open(config).unwrap();
    let mut durable = 0;
    for step in 0..15 {
        store.append(batch(step * 100, step * 10..step * 10 + 10)).unwrap();
        let before = store.synced_at_ms;
        store.tick(step * 100 + 100);
        let spill = store.slices.first().and_then(|slice| slice.spill.as_ref());
        if let Some(spill) = spill.filter(|_| store.synced_at_ms != before) {
            durable = fs::metadata(spill.path()).unwrap().len() as usize;
            assert!(spill.rows() + 10 > step * 10, "all but the newest rows");
        }
    }
    let path = store.slices[0].spill.as_ref().unwrap().path().to_owned();
    drop(store);
    let bytes = fs::read(&path).unwrap();
    assert!(durable > 0 && durable < bytes.len(), "{durable} of {}", bytes.len());
    let mut least = 0;
    for length in durable..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let read_only = Store::open_read_only(folder.path()).unwrap();
        let found = numbers(&read_only);
        assert_eq!(found, once(0..found.len() as u64));
        assert!(found.len() >= least.max(90), "{} rows in {length} bytes", found.len());
        least = found.len();
    }
}

#[test]
fn rows_with_much_beside_their_columns_are_bounded_by_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(config(folder.path())).unwrap();
    let mut long = batch(0, 0..2);
    let element = crate::element::ElementId::new(9, 12235);
    for row in 0..2 {
        let value = vec![b'a'; 60 * OVERFLOW_BYTES_A_ROW].into();
        long.overflow.push_extras(row, &[crate::overflow::Extra { element, value }]);
    }
    let expected = long.overflow.clone();
    store.append(long).unwrap();
    assert_eq!(store.reader().health().sealed_rows, 2, "they weigh as much as 120 rows");
    let file = store.reader().snapshot().segments()[0].open().unwrap();
    assert_eq!(*file.overflow().unwrap().unwrap(), expected);
}
