//! Templates on disk, so that a proxy that was restarted forwards the first data record it sees.
//!
//! A journal is one file of frames: a length (32 bits, network order) and as many bytes of a
//! [`Remembered`], which have a version and a checksum of their own. The last frame of a session is
//! the one that counts; one without templates and options ends it. A frame that was cut short by a
//! crash ends the file; a damaged one is passed over. When the file has doubled it is written anew
//! beside itself and takes its own place in one step.
//!
//! What is kept is bounded: beyond it, the sessions that changed longest ago are forgotten. A thread
//! of its own writes, because a disk may take its time.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use weir_dataplane::remembered::Remembered;
use weir_dataplane::session::SessionKey;

use crate::error::Error;

/// The file's name in the state folder.
const NAME: &str = "templates.journal";
/// First bytes of the file; the last is the format of its frames.
const MAGIC: &[u8; 8] = b"weirtpl\x01";
/// Bytes of a frame's length.
const LENGTH: usize = 4;
/// Bytes of sessions that are kept.
const KEPT_BYTES: usize = 64 << 20;
/// A file that is smaller is not worth writing anew.
const COMPACT_BYTES: u64 = 1 << 20;
/// Batches that may wait for the disk.
const WAITING: usize = 16;

/// What a journal held when it was opened.
#[derive(Debug, Default)]
pub struct Recalled {
    /// The sessions, those that changed longest ago first.
    pub sessions: Vec<Remembered>,
    /// Frames that were damaged, and passed over.
    pub damaged: u64,
    /// Whether the file ended in mid-frame.
    pub torn: bool,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    file_bytes: u64,
    kept: Kept,
}

/// The newest frame of each session.
#[derive(Debug)]
struct Kept {
    frames: HashMap<SessionKey, (u64, Vec<u8>)>,
    /// Sessions by when they changed, counted.
    turns: BTreeMap<u64, SessionKey>,
    turn: u64,
    bytes: usize,
    most: usize,
}

impl Kept {
    fn new(most: usize) -> Self {
        Kept { frames: HashMap::new(), turns: BTreeMap::new(), turn: 0, bytes: 0, most }
    }

    /// Takes a session's newest frame; what is over the bound is forgotten, oldest first.
    fn take(&mut self, session: &Remembered, frame: Vec<u8>) {
        self.forget(session.key);
        let ended = session.templates.is_empty() && session.options.is_empty();
        if ended || frame.len() > self.most {
            return;
        }
        self.turn += 1;
        self.bytes += frame.len();
        self.turns.insert(self.turn, session.key);
        self.frames.insert(session.key, (self.turn, frame));
        while self.bytes > self.most {
            let Some((_, &oldest)) = self.turns.first_key_value() else { break };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, key: SessionKey) {
        if let Some((turn, frame)) = self.frames.remove(&key) {
            self.turns.remove(&turn);
            self.bytes -= frame.len();
        }
    }

    /// The frames, those that changed longest ago first.
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let frame = |key| self.frames.get(key).map(|(_, frame)| frame.as_slice());
        self.turns.values().filter_map(frame)
    }
}

/// A session's bytes with their length in front.
fn frame(session: &Remembered) -> Vec<u8> {
    let mut frame = vec![0; LENGTH];
    session.write(&mut frame);
    let length = u32::try_from(frame.len() - LENGTH).expect("a session is below 4 GiB");
    frame[..LENGTH].copy_from_slice(&length.to_be_bytes());
    frame
}

/// The frames of a file after its magic, as far as they are whole; whether the last was cut short.
fn frames(mut bytes: &[u8]) -> (Vec<&[u8]>, bool) {
    let mut frames = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((frame, rest)) = rest.split_at_checked(length) else { return (frames, true) };
        frames.push(frame);
        bytes = rest;
    }
    (frames, !bytes.is_empty())
}

impl Journal {
    /// Opens the journal in a folder, which is made when it is not there, and reads it.
    ///
    /// # Errors
    /// [`Error::State`] when folder or file cannot be used.
    pub fn open(folder: &Path) -> Result<(Journal, Recalled), Error> {
        let path = folder.join(NAME);
        let failed = |source| Error::State { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        Journal::open_file(&path, KEPT_BYTES).map_err(failed)
    }

    fn open_file(path: &Path, most: usize) -> io::Result<(Journal, Recalled)> {
        let mut recalled = Recalled::default();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => MAGIC.to_vec(),
            Err(error) => return Err(error),
        };
        let mut kept = Kept::new(most);
        match bytes.strip_prefix(MAGIC) {
            Some(bytes) => {
                let (frames, torn) = frames(bytes);
                recalled.torn = torn;
                for bytes in frames {
                    match Remembered::read(bytes) {
                        Ok(session) => kept.take(&session, frame(&session)),
                        Err(_) => recalled.damaged += 1,
                    }
                }
            }
            // Not even a first write came to its end.
            None if MAGIC.starts_with(&bytes) => recalled.torn = !bytes.is_empty(),
            None => {
                let text = "the file is no journal of this weir; remove it, or name another folder";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
        }
        recalled.sessions =
            kept.iter().filter_map(|frame| Remembered::read(&frame[LENGTH..]).ok()).collect();
        let (file, file_bytes) = write_anew(path, &kept)?;
        Ok((Journal { path: path.to_owned(), file, file_bytes, kept }, recalled))
    }

    /// Appends sessions, and writes the file anew when it has doubled.
    ///
    /// # Errors
    /// What the system said. What could not be written is kept, and comes with the next compaction.
    pub fn note(&mut self, sessions: &[Remembered]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for session in sessions {
            let frame = frame(session);
            bytes.extend_from_slice(&frame);
            self.kept.take(session, frame);
        }
        let grown = self.file_bytes + bytes.len() as u64;
        if grown > COMPACT_BYTES.max(2 * self.kept.bytes as u64) {
            return self.compact();
        }
        // A frame that was written in part must not stand before others.
        if let Err(error) = self.file.write_all(&bytes) {
            self.file_bytes = u64::MAX / 2;
            return Err(error);
        }
        self.file_bytes = grown;
        self.file.sync_data()
    }

    fn compact(&mut self) -> io::Result<()> {
        (self.file, self.file_bytes) = write_anew(&self.path, &self.kept)?;
        Ok(())
    }
}

/// Writes the file beside itself and puts it in its place; open for appending, and its length.
fn write_anew(path: &Path, kept: &Kept) -> io::Result<(File, u64)> {
    let beside = path.with_extension("new");
    let mut out = io::BufWriter::new(File::create(&beside)?);
    out.write_all(MAGIC)?;
    for frame in kept.iter() {
        out.write_all(frame)?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(&beside, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    let file = OpenOptions::new().append(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// A journal's own thread.
#[derive(Debug)]
pub struct Writer {
    /// Taken at the end.
    at_work: RefCell<Option<AtWork>>,
}

#[derive(Debug)]
struct AtWork {
    batches: Sender<Vec<Remembered>>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts it.
    ///
    /// # Errors
    /// [`Error::Start`].
    pub fn start(journal: Journal) -> Result<Writer, Error> {
        let (batches, waiting) = bounded(WAITING);
        let thread = std::thread::Builder::new()
            .name("weir-journal".to_owned())
            .spawn(move || write(journal, &waiting))
            .map_err(|source| Error::Start { what: "the journal of templates", source })?;
        Ok(Writer { at_work: RefCell::new(Some(AtWork { batches, thread })) })
    }

    /// Whether the disk keeps up: more should be asked of the workers only then.
    pub fn has_room(&self) -> bool {
        self.at_work.borrow().as_ref().is_some_and(|at_work| at_work.batches.len() < WAITING / 2)
    }

    /// Hands sessions over; false when there is no room.
    pub fn note(&self, sessions: Vec<Remembered>) -> bool {
        let at_work = self.at_work.borrow();
        let taken = |at_work: &AtWork| at_work.batches.try_send(sessions).is_ok();
        at_work.as_ref().is_some_and(taken)
    }

    /// Takes no more; the thread ends once it has written what waits.
    pub fn close(&self) -> Option<JoinHandle<()>> {
        self.at_work.take().map(|at_work| at_work.thread)
    }
}

fn write(mut journal: Journal, batches: &Receiver<Vec<Remembered>>) {
    let mut failing = false;
    for sessions in batches {
        match journal.note(&sessions) {
            Ok(()) if failing => {
                failing = false;
                tracing::info!(journal = %journal.path.display(), "templates are kept again");
            }
            Ok(()) => {}
            Err(error) if !failing => {
                failing = true;
                tracing::error!(journal = %journal.path.display(), %error, "templates cannot be kept");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_dataplane::session::Transport;
    use weir_dataplane::wire::Protocol;

    use super::*;

    fn session(domain: u32, templates: &[u8]) -> Remembered {
        Remembered {
            key: SessionKey {
                source: "192.0.2.1:4000".parse().unwrap(),
                port: 2055,
                protocol: Protocol::Ipfix,
                domain,
                transport: Transport::Udp,
            },
            established: true,
            header: vec![1, 2, 3],
            templates: templates.to_vec(),
            options: Vec::new(),
        }
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn recalled(folder: &tempfile::TempDir) -> Recalled {
        Journal::open(folder.path()).unwrap().1
    }

    #[test]
    fn the_newest_of_each_session_is_read_back_in_the_order_of_change() {
        let folder = folder();
        let (mut journal, first) = Journal::open(&folder.path().join("deep")).unwrap();
        assert!(first.sessions.is_empty() && !first.torn);
        journal.note(&[session(1, b"old"), session(2, b"two")]).unwrap();
        journal.note(&[session(1, b"new"), session(3, b"three"), session(3, b"")]).unwrap();
        let (_, again) = Journal::open(&folder.path().join("deep")).unwrap();
        assert_eq!(again.sessions, [session(2, b"two"), session(1, b"new")]);
        assert_eq!((again.damaged, again.torn), (0, false));
    }

    #[test]
    fn a_torn_tail_is_ignored_wherever_it_is_torn() {
        let folder = folder();
        let path = folder.path().join(NAME);
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.note(&[session(1, b"one")]).unwrap();
        let whole = std::fs::read(&path).unwrap().len();
        journal.note(&[session(2, b"two")]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for end in whole + 1..bytes.len() {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let recalled = recalled(&folder);
            assert_eq!(recalled.sessions, [session(1, b"one")], "cut at {end}");
            assert!(recalled.torn);
        }
        // What was cut away does not come back, and the file goes on.
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.note(&[session(4, b"four")]).unwrap();
        assert_eq!(recalled(&folder).sessions.len(), 2);
        for end in 0..MAGIC.len() {
            std::fs::write(&path, &MAGIC[..end]).unwrap();
            assert!(recalled(&folder).sessions.is_empty());
        }
    }

    #[test]
    fn a_damaged_frame_is_passed_over() {
        let folder = folder();
        let path = folder.path().join(NAME);
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        journal.note(&[session(1, b"one"), session(2, b"two")]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[MAGIC.len() + LENGTH + 5] ^= 0xff;
        std::fs::write(&path, &bytes).unwrap();
        let recalled = recalled(&folder);
        assert_eq!((recalled.sessions, recalled.damaged), (vec![session(2, b"two")], 1));
    }

    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        let folder = folder();
        std::fs::write(folder.path().join(NAME), b"my diary, do not touch").unwrap();
        let told = Journal::open(folder.path()).unwrap_err().to_string();
        assert!(told.contains("is no journal of this weir"), "{told}");
        assert_eq!(std::fs::read(folder.path().join(NAME)).unwrap(), b"my diary, do not touch");
    }

    #[test]
    fn a_file_that_has_doubled_is_written_anew() {
        let folder = folder();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        let large = vec![7; 300_000];
        for _ in 0..40 {
            journal.note(&[session(1, &large)]).unwrap();
            assert!(journal.file_bytes <= COMPACT_BYTES, "{}", journal.file_bytes);
        }
        assert_eq!(recalled(&folder).sessions, [session(1, &large)]);
    }

    #[test]
    fn beyond_the_bound_the_longest_unchanged_go() {
        let folder = folder();
        let path = folder.path().join(NAME);
        let (mut journal, _) = Journal::open_file(&path, 1_000).unwrap();
        for domain in 0..50 {
            journal.note(&[session(domain, &[0; 100]), session(0, &[1; 100])]).unwrap();
        }
        assert!(journal.kept.bytes <= 1_000);
        let (_, recalled) = Journal::open_file(&path, 1_000).unwrap();
        let domains: Vec<_> = recalled.sessions.iter().map(|s| s.key.domain).collect();
        assert!(domains.contains(&0) && domains.contains(&49) && !domains.contains(&10));
    }

    #[test]
    fn the_thread_writes_what_waits_before_it_ends() {
        let folder = folder();
        let (journal, _) = Journal::open(folder.path()).unwrap();
        let writer = Writer::start(journal).unwrap();
        assert!(writer.note(vec![session(1, b"one")]));
        writer.close().unwrap().join().unwrap();
        assert!(!writer.note(vec![session(2, b"two")]) && !writer.has_room());
        assert_eq!(recalled(&folder).sessions, [session(1, b"one")]);
    }
}
