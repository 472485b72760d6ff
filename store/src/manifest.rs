//! The list of a store's segments: one JSON file, replaced as a whole.
//!
//! It says of each segment what a query needs to pass it over without opening it. It is not
//! needed to find the rows: a store whose manifest is lost is rebuilt from its segments.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::column::ColumnSource;
use crate::error::Error;
use crate::range::TimeRange;
use crate::segment::SegmentFile;

/// The manifest's file name.
pub const FILE_NAME: &str = "manifest.json";

/// The version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The list of a store's segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The manifest's version.
    pub version: u32,
    /// The sequence number of the next segment.
    pub next_sequence: u64,
    /// The segments by ascending sequence number.
    pub segments: Vec<SegmentEntry>,
}

/// What a manifest says of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// The file's name in the store's folder.
    pub file: String,
    /// The number that makes the name unique and gives the order.
    pub sequence: u64,
    /// The beginning of the time slice, ms since 1970.
    pub slice_ms: u64,
    /// Rows.
    pub rows: u64,
    /// The file's length.
    pub bytes: u64,
    /// The times that the rows span.
    pub range: TimeRange,
    /// The number of the spill that the rows were in; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spill: u64,
    /// Rows of the spill, from its beginning, that are sealed in this segment or before it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spill_rows: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Only the version, to be read before anything else is believed.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Default for Manifest {
    fn default() -> Self {
        Manifest { version: VERSION, next_sequence: 1, segments: Vec::new() }
    }
}

impl Manifest {
    /// Reads a manifest's JSON.
    ///
    /// # Errors
    /// [`Error::NewerVersion`], and [`Error::Damaged`] when it is no manifest.
    pub fn parse(path: &Path, json: &[u8]) -> Result<Manifest, Error> {
        let damaged = |error: serde_json::Error| Error::Damaged {
            path: path.to_owned(),
            part: "its JSON".to_owned(),
            reason: error.to_string(),
        };
        let Versioned { version } = serde_json::from_slice(json).map_err(damaged)?;
        if version > VERSION {
            let path = path.to_owned();
            return Err(Error::NewerVersion { path, version, readable: VERSION });
        }
        let manifest: Manifest = serde_json::from_slice(json).map_err(damaged)?;
        let escapes = |entry: &&SegmentEntry| Path::new(&entry.file).components().count() != 1;
        if let Some(entry) = manifest.segments.iter().find(escapes) {
            let reason = format!("'{}' is not a name of a file in the store", entry.file);
            return Err(Error::Damaged {
                path: path.to_owned(),
                part: "its segments".to_owned(),
                reason,
            });
        }
        Ok(manifest)
    }

    /// The JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a manifest is plain numbers and names")
    }

    /// How many rows of a spill are sealed.
    pub(crate) fn sealed_of(&self, spill: u64) -> u64 {
        let of = self.segments.iter().filter(|entry| entry.spill == spill);
        of.map(|entry| entry.spill_rows).max().unwrap_or(0)
    }

    /// Adds a segment and keeps the order.
    pub fn insert(&mut self, entry: SegmentEntry) {
        self.next_sequence = self.next_sequence.max(entry.sequence.saturating_add(1));
        let at = self.segments.partition_point(|known| known.sequence <= entry.sequence);
        self.segments.insert(at, entry);
    }
}

impl SegmentEntry {
    /// What an opened segment says of itself.
    pub(crate) fn of(file: String, sequence: u64, segment: &SegmentFile) -> SegmentEntry {
        SegmentEntry {
            file,
            sequence,
            slice_ms: segment.slice_ms(),
            rows: segment.rows() as u64,
            bytes: segment.length(),
            range: *segment.range(),
            spill: segment.spilled().number,
            spill_rows: segment.spilled().rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_manifest_is_refused_whatever_else_it_says() {
        let error = Manifest::parse(Path::new("m"), br#"{"version": 2, "shape": []}"#).unwrap_err();
        assert!(matches!(error, Error::NewerVersion { version: 2, readable: 1, .. }), "{error}");
    }

    #[test]
    fn a_manifest_never_names_a_file_elsewhere() {
        let mut manifest = Manifest::default();
        manifest.insert(SegmentEntry {
            file: "../elsewhere".to_owned(),
            sequence: 1,
            slice_ms: 0,
            rows: 1,
            bytes: 1,
            range: TimeRange::default(),
            spill: 0,
            spill_rows: 0,
        });
        let error = Manifest::parse(Path::new("m"), &manifest.to_json()).unwrap_err();
        assert!(error.to_string().contains("../elsewhere"), "{error}");
    }
}
