//! A folder of captures of which nothing is known but what is in it.

use std::path::{Path, PathBuf};

use super::Conversation;
use super::decoded::{Decoded, TemplateKey};

/// Files that are looked at, below one folder.
const MOST: usize = 100_000;
/// Letters that the names of a template's file and of its data's share at least.
const ALIKE: usize = 4;

/// All files below a folder, in the order of their names; links are not followed.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    if folder.is_file() {
        return folders;
    }
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() && files.len() < MOST => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

/// Each capture below a folder as a conversation; one that lacks templates has before it those files
/// of its folder that give them, the most alike in name.
///
/// What is no capture is told in the second list, with the reason.
pub fn conversations(folder: &Path) -> (Vec<Conversation>, Vec<(String, String)>) {
    let name = |path: &Path| {
        let within = path.strip_prefix(folder).unwrap_or(path);
        let whole = if within.as_os_str().is_empty() { path } else { within };
        whole.to_string_lossy().into_owned()
    };
    let mut captures = Vec::new();
    let mut refused = Vec::new();
    for path in files(folder) {
        let mut decoded = Decoded::of(std::slice::from_ref(&path));
        match decoded.unread.pop() {
            Some((_, reason)) => refused.push((name(&path), reason)),
            None => captures.push(Found::new(path, &decoded)),
        }
    }
    let conversations = captures.iter().map(|capture| {
        let files = capture.with_templates(&captures);
        Conversation {
            names: files.iter().map(|file| name(file)).collect(),
            files,
            sflow: capture.sflow,
        }
    });
    (conversations.collect(), refused)
}

/// A capture with the templates that it lacks, and those that it gives.
struct Found {
    path: PathBuf,
    missing: Vec<TemplateKey>,
    given: Vec<TemplateKey>,
    sflow: bool,
}

impl Found {
    fn new(path: PathBuf, decoded: &Decoded) -> Found {
        let messages = decoded.descriptions.iter().filter_map(|one| one.message.as_ref());
        let sflow = messages.map(|message| message.protocol.name()).any(|name| name == "sflow");
        Found {
            path,
            missing: decoded.missing.iter().copied().collect(),
            given: decoded.given.iter().copied().collect(),
            sflow,
        }
    }

    /// This file behind those that give what it lacks.
    fn with_templates(&self, all: &[Found]) -> Vec<PathBuf> {
        let mut missing = self.missing.clone();
        let mut files = Vec::new();
        while !missing.is_empty() {
            let gives = |other: &&Found| {
                other.path != self.path
                    && other.path.parent() == self.path.parent()
                    && !files.contains(&other.path)
                    && self.alike(other) >= ALIKE
                    && missing.iter().any(|key| other.given.contains(key))
            };
            let Some(best) = all.iter().filter(gives).max_by_key(|other| self.alike(other)) else {
                break;
            };
            missing.retain(|key| !best.given.contains(key));
            files.push(best.path.clone());
        }
        files.push(self.path.clone());
        files
    }

    /// Letters at the head of both names that are the same.
    fn alike(&self, other: &Found) -> usize {
        let name = |found: &Found| {
            found
                .path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let (own, other) = (name(self), name(other));
        own.chars().zip(other.chars()).take_while(|(own, other)| own == other).count()
    }
}
