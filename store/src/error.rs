//! Why the store could not do what it was asked to.

use std::path::PathBuf;

use crate::query::filter::FilterError;

/// An error of the store: what was attempted, on what, why it failed, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process writes this store.
    #[error("another process writes the store {}; stop it or choose another folder", path.display())]
    Locked {
        /// The store's folder.
        path: PathBuf,
    },
    /// The folder holds no store.
    #[error("{} holds no flow store: it has no manifest and no segment", path.display())]
    NoStore {
        /// The folder.
        path: PathBuf,
    },
    /// The file is not of this kind.
    #[error("{} is not a weir segment: its first bytes are not the magic number", path.display())]
    NotASegment {
        /// The file.
        path: PathBuf,
    },
    /// The file is of a version that this program cannot read.
    #[error("{} has format version {version}; this program reads up to {readable}: use a newer weir", path.display())]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// The version that it bears.
        version: u32,
        /// The newest version that can be read.
        readable: u32,
    },
    /// The file ends too early.
    #[error("{} is truncated: {reason}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What was missing.
        reason: String,
    },
    /// The file's bytes are not those that were written.
    #[error("{} is damaged in {part}: {reason}; the rest of the store can be used", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The column or the part of the file.
        part: String,
        /// How it was noticed.
        reason: String,
    },
    /// The configuration contradicts itself.
    #[error("the store's configuration cannot work: {0}")]
    Config(String),
    /// The question's filter cannot be understood.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A statistic has more groups than allowed.
    #[error(
        "the statistic has more than {bound} groups; narrow the filter or the time window, \
         or use fewer keys"
    )]
    TooManyGroups {
        /// The configured bound.
        bound: usize,
    },
    /// A listing has more flows than allowed.
    #[error(
        "the listing has more than {bound} flows; narrow the filter or the time window, \
         or ask for fewer flows"
    )]
    TooManyRows {
        /// The configured bound.
        bound: usize,
    },
    /// An answer is too large to be sent.
    #[error("the answer takes {bytes} bytes, more than the bound of {bound}; narrow the question")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        bound: usize,
    },
    /// The query was ended before it was done; see [`Stop`](crate::query::Stop).
    #[error("the query was abandoned: it was stopped or took too long; narrow the time window")]
    Abandoned,
    /// A partial answer that came over the network makes no sense.
    #[error("the partial answer is malformed: {0}")]
    Malformed(String),
}

impl Error {
    /// Wraps what the system said about a file.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: std::io::Error,
    ) -> Self {
        Error::File { action, path: path.into(), source }
    }
}
