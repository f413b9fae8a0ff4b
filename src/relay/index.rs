//! Remembered boundaries: places in the source's files from which a stream can be rendered, so that a replica that comes back
//! deep in a large file need not wait until the file was read from its start.
//!
//! A cache and no more: each mark knows the event that followed it. When another event stands there now (the source was reset or
//! replaced), the marks of the file are forgotten and the file is read from its start.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::pipeline::Target;

/// Marks are at least this many bytes of the source's file apart.
const STEP: u64 = 1 << 20;

/// Marks kept for all files together; a mark takes some 50 bytes. At the limit the file with the smallest name, usually the
/// oldest, is forgotten.
const MAX_MARKS: usize = 65_536;

/// A boundary between two groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Position in the source's file.
    pub(super) source: u64,
    /// What a receiver counts there.
    pub(super) served: u64,
    /// Fingerprint of the event that begins there.
    pub(super) event: u64,
}

/// Fingerprint of an event's bytes.
pub(super) fn fingerprint(raw: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    raw.hash(&mut hasher);
    hasher.finish()
}

/// One rendering of the source's files: rules and dialect as a word, see [`super::start::Start::rendering`].
type Rendering = String;
type Marks = BTreeMap<u64, Mark>;

/// The marks of one route.
#[derive(Debug, Default)]
pub(super) struct Index {
    files: Mutex<HashMap<Rendering, BTreeMap<Vec<u8>, Marks>>>,
}

impl Index {
    /// The last mark at or before a place.
    pub(super) fn find(&self, rendering: &str, file: &[u8], target: &Target) -> Option<Mark> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let marks = files.get(rendering)?.get(file)?;
        let place = |mark: &Mark| match *target {
            Target::Source(position) => mark.source.max(mark.served) <= position,
            Target::Served(position) => mark.served <= position,
        };
        marks.values().rev().find(|mark| place(mark)).copied()
    }

    /// Remembers a boundary, if none is known nearby.
    pub(super) fn remember(&self, rendering: &str, file: &[u8], mark: Mark) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let nearby = files.get(rendering).and_then(|files| files.get(file)).is_some_and(|marks| {
            marks.range(mark.source.saturating_sub(STEP - 1)..mark.source + STEP).next().is_some()
        });
        if nearby {
            return;
        }
        let all: usize = files.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum();
        if all >= MAX_MARKS {
            for files in files.values_mut() {
                files.pop_first();
            }
        }
        files.entry(rendering.to_owned()).or_default().entry(file.to_vec()).or_default().insert(mark.source, mark);
    }

    /// Forgets a file that is not what it was.
    pub(super) fn forget(&self, file: &[u8]) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for files in files.values_mut() {
            files.remove(file);
        }
    }
}

/// Whether a boundary is far enough from the last one that was remembered.
pub(super) fn is_due(last: u64, position: u64) -> bool {
    position < last || position - last >= STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mark_before_a_place_is_found_and_close_ones_are_not_kept() {
        let index = Index::default();
        let mark = |source: u64| Mark { source, served: source + 10, event: source };
        for source in [4, 100, STEP + 4, 3 * STEP] {
            index.remember("r", b"bin.1", mark(source));
        }
        let find = |target| index.find("r", b"bin.1", &target).map(|mark| mark.source);
        assert_eq!(find(Target::Served(13)), None);
        assert_eq!(find(Target::Served(14)), Some(4));
        assert_eq!(find(Target::Source(3 * STEP)), Some(STEP + 4));
        assert_eq!(find(Target::Served(9 * STEP)), Some(3 * STEP));
        assert_eq!(index.find("other", b"bin.1", &Target::Served(9 * STEP)), None);
        index.forget(b"bin.1");
        assert_eq!(find(Target::Served(9 * STEP)), None);
    }
}
