//! What the store does to files, each step in one place so that tests can make each step fail.
//!
//! The order of steps is what keeps a store whole: bytes, fsync, rename, fsync of the folder. A
//! reader therefore finds a file complete under its name or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The file system, with a test's faults in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    #[cfg(test)]
    pub(crate) faults: faults::Faults,
}

impl Files {
    /// Writes `parts` to the file at `temporary`, makes it durable and gives it its name.
    ///
    /// When this fails there is no file at `temporary` (unless the system refuses even that) and
    /// the one at `path` is as it was, save for the very last step: then it may be the new one.
    pub(crate) fn replace(&self, temporary: &Path, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let written = self.write(temporary, parts).and_then(|()| {
            self.step()?;
            fs::rename(temporary, path)
        });
        if written.is_err() {
            // It may not even exist; what matters is the error that led here.
            let _ = self.remove(temporary);
        }
        written
    }

    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        self.step()?;
        let mut file = File::create(path)?;
        for part in parts {
            if let Err(error) = self.step() {
                // A fault in the midst of a write leaves half of it, as a full disk does.
                file.write_all(&part[..part.len() / 2])?;
                return Err(error);
            }
            file.write_all(part)?;
        }
        self.step()?;
        file.sync_all()
    }

    /// Appends to a file, and makes that durable. When this fails the file may end in a part of
    /// `bytes`.
    pub(crate) fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::options().append(true).open(path)?;
        if let Err(error) = self.step() {
            // A fault in the midst of a write leaves half of it, as a full disk does.
            file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        file.write_all(bytes)?;
        self.step()?;
        file.sync_data()
    }

    /// Makes an empty file.
    pub(crate) fn create(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        File::options().write(true).create(true).truncate(true).open(path)
    }

    /// Writes `bytes` at `at`, where the file ends from then on.
    ///
    /// When this fails the file may have some of them, and what was before `at` is as it was.
    pub(crate) fn write_at(&self, file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
        if file.metadata()?.len() != at {
            // What an earlier failure left would else follow these bytes.
            self.step()?;
            file.set_len(at)?;
        }
        if let Err(error) = self.step() {
            file.write_all_at(&bytes[..bytes.len() / 2], at)?;
            return Err(error);
        }
        file.write_all_at(bytes, at)
    }

    /// Makes what a file holds durable.
    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_data()
    }

    /// Makes the names in `folder` durable.
    pub(crate) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step()?;
        File::open(folder)?.sync_all()
    }

    /// Removes a file.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        fs::remove_file(path)
    }

    /// Gives a file another name.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        fs::rename(from, to)
    }

    #[cfg(not(test))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "it fails in tests only")]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        self.faults.step()
    }
}

#[cfg(test)]
pub(crate) mod faults {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Fails the steps from the `first` one on, `count` of them.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Faults(Arc<[AtomicU64; 3]>);

    impl Faults {
        pub(crate) fn fail(&self, first: u64, count: u64) {
            let [at, from, until] = &*self.0;
            at.store(0, Ordering::Relaxed);
            from.store(first, Ordering::Relaxed);
            until.store(first.saturating_add(count), Ordering::Relaxed);
        }

        /// Steps since the last call of `fail`.
        pub(crate) fn steps(&self) -> u64 {
            self.0[0].load(Ordering::Relaxed)
        }

        pub(crate) fn step(&self) -> io::Result<()> {
            let [at, from, until] = &*self.0;
            let step = at.fetch_add(1, Ordering::Relaxed);
            let range = from.load(Ordering::Relaxed)..until.load(Ordering::Relaxed);
            if range.contains(&step) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }
}
