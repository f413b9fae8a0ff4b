//! What comes before a statement and means nothing without it: INTVAR, RAND and USER_VAR events, and the file of a LOAD DATA.
//!
//! All of it waits for its statement, in the order in which it came: whether a file's rows may leave the proxy is known
//! only when the statement names its table. A server writes values also before a file's first block, so values and blocks mix.

use crate::binlog::{Event, EventType};
use crate::wire::{Cursor, Truncated};

/// A LOAD DATA's file is kept back up to this many bytes. What has no place to wait stops the route, or goes out
/// where `allow` holds `load`.
pub const MAX_LOAD_BYTES: usize = 64 << 20;

/// Events that wait for a statement.
#[derive(Debug, Default)]
pub(super) struct Prelude {
    events: Vec<Event>,
    bytes: usize,
    /// The file whose blocks are among the events.
    file: Option<u32>,
}

impl Prelude {
    /// How many bytes wait here.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the blocks of a file wait here.
    pub(super) fn holds(&self, file_id: u32) -> bool {
        self.file == Some(file_id)
    }

    /// The file whose blocks wait here.
    pub(super) fn file(&self) -> Option<u32> {
        self.file
    }

    /// One more event waits.
    pub(super) fn push(&mut self, event: Event) {
        self.bytes += event.raw().len();
        self.events.push(event);
    }

    /// The first block of a file waits, and those that follow will.
    pub(super) fn begin_file(&mut self, file_id: u32, block: Event) {
        self.file = Some(file_id);
        self.push(block);
    }

    /// All that waits, in its order. Nothing waits any longer.
    pub(super) fn take(&mut self) -> Vec<Event> {
        std::mem::take(self).events
    }
}

/// The file id of BEGIN_LOAD_QUERY, APPEND_BLOCK and DELETE_FILE: the first four bytes of all three.
pub(super) fn file_id(event: &Event) -> Result<u32, Truncated> {
    Cursor::new(event.body()).u32()
}

/// Whether an event can stand between the blocks of a file, or between them and their statement.
pub(super) fn mixes_with_blocks(event_type: EventType) -> bool {
    matches!(event_type, EventType::INTVAR | EventType::RAND | EventType::USER_VAR)
}
