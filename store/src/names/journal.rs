//! The names on disk: a file of frames, one a name, appended as they are learned.
//!
//! A frame is its body's length and CRC-32, four bytes each, little-endian, and the body: a
//! [`Naming`]'s fields in postcard. A frame that a crash has cut short ends the file; a damaged one
//! is passed over. The file is written anew beside itself, and takes its own place in one step, when
//! it has grown to twice what is worth keeping, and whenever an append has failed.

use std::io;
use std::path::{Path, PathBuf};

use super::{Learned, NameKind, NameLimits, Names, Naming, Table, Told};
use crate::Address;
use crate::files::Files;

/// The file's name in the store's folder.
const NAME: &str = "names.journal";
/// First bytes of the file; the last is the format of its frames.
const MAGIC: &[u8; 8] = b"weirnam\x01";
/// Bytes in front of a body.
const HEAD: usize = 8;
/// The longest body that is believed.
const BODY_MAX: usize = 4_096;
/// A file that is smaller is not worth writing anew.
const COMPACT_BYTES: u64 = 1 << 20;

type Body<'a> = (Address, NameKind, u64, u64, &'a str, &'a str);

/// A store's names and their file.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    files: Files,
    names: Names,
    /// Bytes of the file; 0 when there is none.
    bytes: u64,
    /// Bytes that it had when it was last written anew.
    compact: u64,
    /// Something is known that the file lacks, or it holds what is nothing.
    unsaved: bool,
}

/// What [`Journal::learn`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learning {
    /// Names that were new.
    pub new: u64,
    /// Names of exporters that have all the memory that they may have.
    pub refused: u64,
}

impl Journal {
    /// Reads the names in a store's folder; a file that is no journal of names is an error, so that
    /// it is not overwritten.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn open(folder: &Path, files: Files) -> io::Result<Journal> {
        let path = folder.join(NAME);
        let Read { table, bytes, whole } = read(&path)?;
        let names = Names::new(table);
        Ok(Journal { path, files, names, bytes, compact: bytes, unsaved: !whole })
    }

    /// The names, for those who ask.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes what was told, and what came of it.
    pub(crate) fn learn(&mut self, told: &Told) -> (Learning, io::Result<()>) {
        let mut learning = Learning::default();
        let mut frames = Vec::new();
        let mut table = self.names.write();
        for naming in told.iter() {
            match table.learn(&naming) {
                Learned::Same => {}
                Learned::New => {
                    learning.new += 1;
                    frame(&naming, &mut frames);
                }
                Learned::Refused => learning.refused += 1,
            }
        }
        drop(table);
        (learning, self.write(&frames))
    }

    /// Writes down what could not be written when it was learned.
    ///
    /// # Errors
    /// What the system said; it is known all the same, and can be tried again.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        if self.unsaved { self.write_anew() } else { Ok(()) }
    }

    fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        let bytes = self.bytes + frames.len() as u64;
        if self.unsaved || self.bytes == 0 || bytes > COMPACT_BYTES.max(2 * self.compact) {
            if self.unsaved || !frames.is_empty() {
                self.write_anew()?;
            }
            return Ok(());
        }
        if frames.is_empty() {
            return Ok(());
        }
        self.unsaved = true;
        self.files.append(&self.path, frames)?;
        self.unsaved = false;
        self.bytes = bytes;
        Ok(())
    }

    fn write_anew(&mut self) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        self.names.read().iter().for_each(|naming| frame(&naming, &mut bytes));
        self.unsaved = true;
        let temporary = self.path.with_extension("journal.tmp");
        self.files.replace(&temporary, &self.path, &[&bytes])?;
        if let Some(folder) = self.path.parent() {
            self.files.sync_folder(folder)?;
        }
        self.unsaved = false;
        self.bytes = bytes.len() as u64;
        self.compact = self.bytes;
        Ok(())
    }
}

/// The names of a store that is only read.
///
/// # Errors
/// What the system said.
pub(crate) fn read_only(folder: &Path) -> io::Result<Names> {
    Ok(Names::new(read(&folder.join(NAME))?.table))
}

/// What a file held.
struct Read {
    table: Table,
    bytes: u64,
    /// Whether every byte of it was understood.
    whole: bool,
}

fn read(path: &Path) -> io::Result<Read> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut table = Table::new(NameLimits::default());
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        if MAGIC.starts_with(&bytes) {
            // There is none, or not even its first write came to its end.
            return Ok(Read { table, bytes: 0, whole: bytes.is_empty() });
        }
        let text = "the file holds no names of this weir: remove it, or name another folder";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    };
    let mut whole = true;
    while !rest.is_empty() {
        let Some((head, after)) = rest.split_first_chunk::<HEAD>() else {
            whole = false;
            break;
        };
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let Some((body, after)) = after.split_at_checked(word(0) as usize) else {
            whole = false;
            break;
        };
        rest = after;
        let sound = body.len() <= BODY_MAX && crc32fast::hash(body) == word(4);
        match sound.then(|| postcard::from_bytes::<Body<'_>>(body)) {
            Some(Ok((exporter, kind, id, since_ms, name, description))) => {
                let (name, description) = (name.into(), description.into());
                table.learn(&Naming { exporter, kind, id, since_ms, name, description });
            }
            _ => whole = false,
        }
    }
    Ok(Read { table, bytes: bytes.len() as u64, whole })
}

fn frame(naming: &Naming<'_>, bytes: &mut Vec<u8>) {
    let Naming { exporter, kind, id, since_ms, name, description } = naming;
    let body: Body<'_> = (*exporter, *kind, *id, *since_ms, name, description);
    let body = postcard::to_stdvec(&body).expect("numbers and text of bounded length");
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Address = Address::from_v4([192, 0, 2, 1]);

    fn told(names: &[(u64, u64, &str)]) -> Told {
        let mut told = Told::with_capacity(names.len());
        for &(id, since_ms, name) in names {
            told.push((ROUTER, NameKind::Interface, id), since_ms, name.as_bytes(), b"text");
        }
        told
    }

    fn open(folder: &Path) -> Journal {
        Journal::open(folder, Files::default()).unwrap()
    }

    fn learn(journal: &mut Journal, told: &Told) -> Learning {
        let (learning, written) = journal.learn(told);
        written.unwrap();
        learning
    }

    fn names(names: &Names) -> Vec<(u64, u64, String)> {
        let table = names.read();
        table.iter().map(|naming| (naming.id, naming.since_ms, naming.name.into_owned())).collect()
    }

    #[test]
    fn names_and_their_times_outlive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        let learned = learn(&mut journal, &told(&[(7, 10, "a"), (7, 20, "b"), (8, 20, "c")]));
        assert_eq!(learned, Learning { new: 3, refused: 0 });
        let length = || std::fs::metadata(folder.path().join(NAME)).unwrap().len();
        let before = length();
        assert_eq!(learn(&mut journal, &told(&[(7, 30, "b")])), Learning::default());
        assert_eq!(length(), before, "what is known is not written again");
        let expected = names(journal.names());
        assert_eq!(expected.len(), 3);
        assert_eq!(names(open(folder.path()).names()), expected);
        assert_eq!(names(&read_only(folder.path()).unwrap()), expected);
        let empty = tempfile::tempdir().unwrap();
        assert!(read_only(empty.path()).unwrap().read().is_empty());
        assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "a reader writes nothing");
    }

    #[test]
    fn a_tail_that_was_cut_off_costs_its_own_name_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let mut journal = open(folder.path());
        learn(&mut journal, &told(&[(7, 10, "a")]));
        let whole = std::fs::read(&path).unwrap().len();
        learn(&mut journal, &told(&[(8, 20, "b")]));
        let bytes = std::fs::read(&path).unwrap();
        for end in whole + 1..bytes.len() {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let mut journal = open(folder.path());
            assert_eq!(names(journal.names()), [(7, 10, "a".to_owned())], "cut at {end}");
            learn(&mut journal, &told(&[(9, 30, "c")]));
            assert_eq!(names(open(folder.path()).names()).len(), 2);
        }
        for end in 0..MAGIC.len() {
            std::fs::write(&path, &MAGIC[..end]).unwrap();
            assert!(open(folder.path()).names().read().is_empty());
        }
    }

    #[test]
    fn a_damaged_frame_is_passed_over_and_whatever_bytes_there_are_do_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        learn(&mut open(folder.path()), &told(&[(7, 10, "a"), (8, 20, "b")]));
        let bytes = std::fs::read(&path).unwrap();
        for at in MAGIC.len()..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            std::fs::write(&path, &damaged).unwrap();
            assert!(names(open(folder.path()).names()).len() < 2, "changed at {at}");
        }
        let mut damaged = bytes.clone();
        damaged[MAGIC.len() + HEAD + 3] ^= 0xff;
        std::fs::write(&path, &damaged).unwrap();
        assert_eq!(names(open(folder.path()).names()), [(8, 20, "b".to_owned())]);
    }

    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), b"my diary").unwrap();
        let told = Journal::open(folder.path(), Files::default()).unwrap_err().to_string();
        assert!(told.contains("holds no names of this weir"), "{told}");
        assert_eq!(std::fs::read(folder.path().join(NAME)).unwrap(), b"my diary");
    }

    #[test]
    fn a_file_that_has_doubled_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let mut journal = open(folder.path());
        for round in 0..400_u64 {
            let texts: Vec<String> = (0..100).map(|n| format!("{n:0200}{round}")).collect();
            let flapping: Vec<_> = texts.iter().map(|text| (7, round, text.as_str())).collect();
            learn(&mut journal, &told(&flapping));
            assert!(std::fs::metadata(&path).unwrap().len() <= COMPACT_BYTES);
        }
        let expected = names(journal.names());
        assert_eq!(names(open(folder.path()).names()), expected);
        assert_eq!(expected.len(), NameLimits::default().history);
    }

    #[test]
    fn what_a_full_disk_refused_is_written_when_there_is_room_again() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::default();
        let mut journal = Journal::open(folder.path(), files.clone()).unwrap();
        learn(&mut journal, &told(&[(7, 10, "a")]));
        for step in 0..2 {
            files.faults.fail(step, 1);
            journal.learn(&told(&[(8, 20 + step, &step.to_string())])).1.unwrap_err();
            files.faults.fail(u64::MAX, 0);
            assert!(journal.names().read().at(ROUTER, NameKind::Interface, 8, u64::MAX).is_some());
            journal.save().unwrap();
            assert_eq!(names(open(folder.path()).names()), names(journal.names()));
        }
    }
}
