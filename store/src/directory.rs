//! The store's folder: lock, manifest, segments, and putting it in order after a crash.
//!
//! Names: `manifest.json`, `lock`, `<slice's UTC time>-<sequence>.weir` for a segment, `….spill` for
//! rows that are not sealed yet,
//! `….tmp` for a file that is being written, `….torn` for one that was set aside because it is
//! not whole. A file is only ever removed when it is temporary: damage is set aside, for it may
//! hold columns that somebody wants back. A file with any other name is somebody else's and is
//! never touched.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::Batch;
use crate::error::Error;
use crate::files::Files;
use crate::manifest::{FILE_NAME, Manifest, SegmentEntry};
use crate::segment::{Encoded, SegmentFile, Spilled};
use crate::spill::{Contents, Spill};

const LOCK_NAME: &str = "lock";
const SEGMENT_SUFFIX: &str = ".weir";
const TEMPORARY_SUFFIX: &str = ".tmp";
const SPILL_SUFFIX: &str = ".spill";
const TORN_SUFFIX: &str = ".torn";

/// What opening a store found and put in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that the store has now.
    pub segments: usize,
    /// Rows in them.
    pub rows: u64,
    /// Whole segments that the manifest did not know, now in it.
    pub adopted: Vec<String>,
    /// Unfinished files, removed.
    pub temporary_removed: usize,
    /// Files that were not whole and that the manifest did not know, set aside as `….torn`.
    pub torn: Vec<String>,
    /// Segments in the manifest whose file is missing; dropped from it.
    pub missing: Vec<String>,
    /// Segments in the manifest whose file has another length; queries will name them.
    pub damaged: Vec<String>,
    /// Whether the manifest was unreadable and was made anew from the segments.
    pub manifest_rebuilt: bool,
    /// Rows that were not sealed and came back from spills.
    pub spilled_rows: u64,
    /// Bytes at the end of spills that were torn, and are lost.
    pub torn_bytes: u64,
}

/// The folder of a store that this process may write.
pub(crate) struct Directory {
    path: PathBuf,
    files: Files,
    manifest: Manifest,
    /// Whether the manifest on disk is behind the one in memory.
    unsaved: bool,
    /// Spills that are sealed and still to be removed.
    sealed: Vec<PathBuf>,
    _lock: File,
}

/// Rows that were found in a spill, and the spill to go on with.
pub(crate) struct Unsealed {
    pub(crate) spill: Spill,
    pub(crate) contents: Contents,
}

impl Directory {
    /// Opens or makes the folder, takes its lock, and puts it in order.
    pub(crate) fn open(
        path: &Path,
        files: Files,
    ) -> Result<(Directory, Vec<Unsealed>, Recovery), Error> {
        fs::create_dir_all(path).map_err(|error| Error::file("make", path, error))?;
        let lock = lock(path)?;
        let mut recovery = Recovery::default();
        let manifest = match read_manifest(path) {
            Ok(manifest) => manifest.unwrap_or_default(),
            Err(Error::Damaged { .. }) => {
                set_aside(&files, path, FILE_NAME)?;
                recovery.manifest_rebuilt = true;
                Manifest::default()
            }
            Err(error) => return Err(error),
        };
        let directory = path.to_owned();
        let mut directory = Directory {
            path: directory,
            files,
            manifest,
            unsaved: false,
            sealed: Vec::new(),
            _lock: lock,
        };
        let unsealed = directory.recover(&mut recovery)?;
        if directory.unsaved {
            directory.save_manifest()?;
        }
        directory.remove_sealed();
        Ok((directory, unsealed, recovery))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    fn recover(&mut self, recovery: &mut Recovery) -> Result<Vec<Unsealed>, Error> {
        let present = names(&self.path)?;
        self.manifest.segments.retain(|entry| {
            let found = present.contains(&entry.file);
            if !found {
                recovery.missing.push(entry.file.clone());
            }
            found
        });
        self.unsaved |= !recovery.missing.is_empty() || recovery.manifest_rebuilt;
        for entry in &self.manifest.segments {
            let length = fs::metadata(self.path.join(&entry.file)).map(|data| data.len());
            if length.ok() != Some(entry.bytes) {
                recovery.damaged.push(entry.file.clone());
            }
        }
        let known: HashSet<String> =
            self.manifest.segments.iter().map(|entry| entry.file.clone()).collect();
        let mut unknown: Vec<&String> = present.difference(&known).collect();
        unknown.sort();
        for name in unknown {
            if is_temporary(name) {
                let path = self.path.join(name);
                self.files.remove(&path).map_err(|error| Error::file("remove", path, error))?;
                recovery.temporary_removed += 1;
            } else if let Some(sequence) = sequence_of(name) {
                self.adopt(name, sequence, recovery)?;
            }
        }
        recovery.segments = self.manifest.segments.len();
        recovery.rows = self.manifest.segments.iter().map(|entry| entry.rows).sum();
        let mut spills: Vec<&String> =
            present.iter().filter(|name| numbered(name, SPILL_SUFFIX).is_some()).collect();
        spills.sort();
        let mut unsealed = Vec::new();
        for name in spills {
            unsealed.extend(self.resume(name, recovery)?);
        }
        Ok(unsealed)
    }

    /// Takes up a spill; one without rows that are not sealed is to be removed.
    fn resume(&mut self, name: &str, recovery: &mut Recovery) -> Result<Option<Unsealed>, Error> {
        let path = self.path.join(name);
        let Some(mut contents) = Contents::read(&path)? else {
            self.sealed.push(path);
            return Ok(None);
        };
        let next = contents.number.saturating_add(1);
        self.manifest.next_sequence = self.manifest.next_sequence.max(next);
        recovery.torn_bytes += contents.torn;
        let spill = Spill::resume(&path, &contents)?;
        contents.leave_out(self.manifest.sealed_of(contents.number));
        if contents.rows() == 0 {
            self.sealed.push(path);
            return Ok(None);
        }
        recovery.spilled_rows += contents.rows();
        Ok(Some(Unsealed { spill, contents }))
    }

    /// Makes a spill for a slice.
    pub(crate) fn new_spill(&mut self, slice_ms: u64) -> Result<Spill, Error> {
        let number = self.manifest.next_sequence;
        let path = self.path.join(file_name(slice_ms, number, SPILL_SUFFIX));
        let spill = Spill::create(&self.files, &path, number, slice_ms)?;
        self.manifest.next_sequence += 1;
        Ok(spill)
    }

    /// Gives up a spill whose rows are all sealed; it is removed once the manifest says so.
    pub(crate) fn give_up(&mut self, spill: &Spill) {
        self.sealed.push(spill.path().to_owned());
    }

    /// Removes spills that are sealed; what cannot be removed now is tried again.
    pub(crate) fn remove_sealed(&mut self) {
        let files = &self.files;
        self.sealed.retain(|path| {
            let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
            files.remove(path).is_err_and(|error| !gone(&error))
        });
    }

    /// Takes a segment that the manifest does not know: whole into the manifest, else aside.
    fn adopt(&mut self, name: &str, sequence: u64, recovery: &mut Recovery) -> Result<(), Error> {
        let opened = SegmentFile::open(&self.path.join(name));
        match opened.and_then(|segment| segment.check().map(|()| segment)) {
            Ok(segment) => {
                self.manifest.insert(SegmentEntry::of(name.to_owned(), sequence, &segment));
                self.unsaved = true;
                recovery.adopted.push(name.to_owned());
                Ok(())
            }
            Err(error @ (Error::NewerVersion { .. } | Error::File { .. })) => Err(error),
            Err(_) => {
                set_aside(&self.files, &self.path, name)?;
                recovery.torn.push(name.to_owned());
                Ok(())
            }
        }
    }

    /// Writes a segment and makes it durable under a new name. From then on it is sealed: if the
    /// manifest cannot be written it stays to be adopted, and [`Directory::save_manifest`] is to
    /// be tried again.
    ///
    /// # Errors
    /// Nothing is left behind, and the rows are not sealed.
    pub(crate) fn seal(
        &mut self,
        slice_ms: u64,
        segment: &Encoded,
        spilled: Spilled,
    ) -> Result<SegmentEntry, Error> {
        let sequence = self.manifest.next_sequence;
        let file = file_name(slice_ms, sequence, SEGMENT_SUFFIX);
        let path = self.path.join(&file);
        let temporary = self.path.join(format!("{file}{TEMPORARY_SUFFIX}"));
        self.files
            .replace(&temporary, &path, &[&segment.bytes])
            .map_err(|error| Error::file("write", &path, error))?;
        let entry = SegmentEntry {
            file,
            sequence,
            slice_ms,
            rows: segment.rows as u64,
            bytes: segment.bytes.len() as u64,
            range: segment.range,
            spill: spilled.number,
            spill_rows: spilled.rows,
        };
        self.manifest.insert(entry.clone());
        self.unsaved = true;
        Ok(entry)
    }

    /// Whether the manifest on disk is behind.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.unsaved
    }

    /// Replaces the manifest on disk by the one in memory.
    pub(crate) fn save_manifest(&mut self) -> Result<(), Error> {
        let path = self.path.join(FILE_NAME);
        let temporary = self.path.join(format!("{FILE_NAME}{TEMPORARY_SUFFIX}"));
        // The segments' names become durable before the manifest speaks of them.
        self.files
            .sync_folder(&self.path)
            .and_then(|()| self.files.replace(&temporary, &path, &[&self.manifest.to_json()]))
            .and_then(|()| self.files.sync_folder(&self.path))
            .map_err(|error| Error::file("replace", &path, error))?;
        self.unsaved = false;
        Ok(())
    }
}

/// The manifest of a store's folder; none when there is no such file.
pub(crate) fn read_manifest(folder: &Path) -> Result<Option<Manifest>, Error> {
    let path = folder.join(FILE_NAME);
    match fs::read(&path) {
        Ok(json) => Manifest::parse(&path, &json).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path, error)),
    }
}

/// The segments of a store that is only read: those of the manifest, or whatever lies there, and
/// then what is wrong with each of those that cannot be opened; and the rows of its spills.
pub(crate) fn read_only(folder: &Path) -> Result<(Manifest, Vec<String>, Vec<Batch>), Error> {
    // The manifest comes first: a spill that is still there afterwards is read by what it says.
    let (manifest, damaged) = read_segments(folder)?;
    let mut unsealed = Vec::new();
    for name in names(folder)?.iter().filter(|name| numbered(name, SPILL_SUFFIX).is_some()) {
        match Contents::read(&folder.join(name)) {
            Ok(Some(mut contents)) => {
                contents.leave_out(manifest.sealed_of(contents.number));
                unsealed.extend(contents.batches.into_iter().map(|(_, batch)| batch));
            }
            Ok(None) => {}
            // The writer may have sealed and removed it meanwhile.
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let empty = manifest.segments.is_empty() && damaged.is_empty() && unsealed.is_empty();
    // An empty store has a manifest all the same.
    if empty && !folder.join(FILE_NAME).exists() {
        return Err(Error::NoStore { path: folder.to_owned() });
    }
    Ok((manifest, damaged, unsealed))
}

fn read_segments(folder: &Path) -> Result<(Manifest, Vec<String>), Error> {
    match read_manifest(folder) {
        Ok(Some(manifest)) => return Ok((manifest, Vec::new())),
        Ok(None) | Err(Error::Damaged { .. }) => {}
        Err(error) => return Err(error),
    }
    let (mut manifest, mut damaged) = (Manifest::default(), Vec::new());
    let mut segments: Vec<String> =
        names(folder)?.into_iter().filter(|name| name.ends_with(SEGMENT_SUFFIX)).collect();
    segments.sort();
    for name in segments {
        match SegmentFile::open(&folder.join(&name)) {
            Ok(segment) => {
                let sequence = sequence_of(&name).unwrap_or(manifest.next_sequence);
                manifest.insert(SegmentEntry::of(name, sequence, &segment));
            }
            Err(error) => damaged.push(error.to_string()),
        }
    }
    Ok((manifest, damaged))
}

fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join(LOCK_NAME);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| Error::file("open", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(Error::file("lock", path, error)),
    }
}

fn names(folder: &Path) -> Result<HashSet<String>, Error> {
    let listed = |error| Error::file("list", folder, error);
    let mut names = HashSet::new();
    for entry in fs::read_dir(folder).map_err(listed)? {
        // A name that is not text is none of ours.
        names.extend(entry.map_err(listed)?.file_name().into_string());
    }
    Ok(names)
}

fn set_aside(files: &Files, folder: &Path, name: &str) -> Result<(), Error> {
    let path = folder.join(name);
    files
        .rename(&path, &folder.join(format!("{name}{TORN_SUFFIX}")))
        .map_err(|error| Error::file("set aside", path, error))
}

/// `20261122T180100Z-00000042.weir`: names sort by time and then by sequence.
fn file_name(slice_ms: u64, sequence: u64, suffix: &str) -> String {
    let time =
        i64::try_from(slice_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let time = time.unwrap_or(jiff::Timestamp::MAX).strftime("%Y%m%dT%H%M%SZ");
    format!("{time}-{sequence:08}{suffix}")
}

/// The sequence number in a segment's name; none when the name is not one of ours.
fn sequence_of(name: &str) -> Option<u64> {
    numbered(name, SEGMENT_SUFFIX)
}

/// The number in the name of a file of a slice; none when the name is not one of ours.
fn numbered(name: &str, suffix: &str) -> Option<u64> {
    let (time, sequence) = name.strip_suffix(suffix)?.split_once('-')?;
    let fits = |(byte, pattern): (u8, u8)| match pattern {
        b'0' => byte.is_ascii_digit(),
        _ => byte == pattern,
    };
    let pattern = b"00000000T000000Z";
    let timed = time.len() == pattern.len() && time.bytes().zip(*pattern).all(fits);
    let numbered = sequence.len() >= 8 && sequence.bytes().all(|byte| byte.is_ascii_digit());
    if timed && numbered { sequence.parse().ok() } else { None }
}

/// Whether the name is that of a file which this store was writing.
fn is_temporary(name: &str) -> bool {
    name.strip_suffix(TEMPORARY_SUFFIX)
        .is_some_and(|whole| whole == FILE_NAME || sequence_of(whole).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_slice_and_sequence() {
        let segment_name = |slice, number| file_name(slice, number, SEGMENT_SUFFIX);
        let name = segment_name(1_795_370_460_000, 42);
        assert_eq!(name, "20261122T180100Z-00000042.weir");
        assert_eq!(sequence_of(&name), Some(42));
        assert_eq!(sequence_of(&segment_name(u64::MAX, u64::MAX)), Some(u64::MAX));
    }

    #[test]
    fn files_of_others_stay_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = [
            "notes.tmp",
            ".tmp",
            "manifest.json.tmp.tmp",
            "backup.weir",
            "backup-00000001.weir",
            "20261122T180100Z-42.weir",
            "20261122T180100Z-+0000042.weir",
            "20261122T180100Z-00000042.weir.copy",
            "backup.weir.tmp",
            "backup.spill",
        ];
        for name in foreign {
            fs::write(folder.path().join(name), name).unwrap();
        }
        for own in ["manifest.json.tmp", "20261122T180100Z-00000042.weir.tmp"] {
            fs::write(folder.path().join(own), "half").unwrap();
        }
        let (_, _, recovery) = Directory::open(folder.path(), Files::default()).unwrap();
        assert_eq!(recovery, Recovery { temporary_removed: 2, ..Recovery::default() });
        for name in foreign {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), name);
        }
    }

    #[test]
    fn two_writers_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = Directory::open(folder.path(), Files::default()).unwrap();
        let second = Directory::open(folder.path(), Files::default());
        assert!(matches!(second, Err(Error::Locked { .. })));
        drop(first);
        Directory::open(folder.path(), Files::default()).unwrap();
    }
}
