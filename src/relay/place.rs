//! Where two streams of one route are the same from there on.

use std::sync::Arc;

use crate::pipeline::coordinates::FilePosition;

/// All that the bytes of a stream depend on, besides the source's file and the replica's server id in pads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Rendering {
    /// What the events of a group depend on, in a word: the rules, and the replica's dialect.
    pub(super) events: Arc<str>,
    /// The source, how it was asked, and the numbering.
    pub(super) word: String,
    /// The bytes also depend on what the receiver has counted.
    pub(super) counts: bool,
    /// The replica's server id, which is in the pads.
    pub(super) pads: Option<u32>,
}

impl Rendering {
    /// Whether both streams are the same, but for the server id in pads.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.word == other.word && self.events == other.events
    }
}

/// A place between two groups of a source's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The source's file.
    pub(super) file: Arc<[u8]>,
    /// When the file was begun (seconds since 1970): after a RESET another file has the same name.
    pub(super) created: u32,
    /// Position in it.
    pub(super) source: u64,
    /// What a receiver counts here.
    pub(super) served: u64,
    /// Time and last four bytes (a checksum, mostly) of the event before the place, where it is an event of the file.
    pub(super) event: Option<(u32, u32)>,
}

impl Place {
    /// The place in the source's coordinates.
    pub(super) fn source_position(&self) -> FilePosition {
        FilePosition { file: self.file.to_vec(), position: self.source }
    }

    /// Whether both are one place, so far as they can tell. `counts`: what a receiver counts must be the same too.
    pub(super) fn is_same(&self, other: &Self, counts: bool) -> bool {
        let same_event = match (self.event, other.event) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.source == other.source
            && self.created == other.created
            && same_event
            && (!counts || self.served == other.served)
            && self.file == other.file
    }
}
