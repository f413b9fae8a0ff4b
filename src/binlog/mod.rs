//! Binary log events: the common header, the checksum, and one file per event kind that a rule looks into.
//!
//! Layouts are those of binlog version 4 (MySQL 5.0 and later, every MariaDB). Offsets in the docs are after the
//! 19-byte common header. An [`Event`] keeps its bytes as they came; views borrow from them.

mod event;
mod event_type;

pub use event::{ChecksumAlgorithm, DamagedEvent, Event, HEADER_LENGTH, Header, flags};
pub use event_type::EventType;

/// What a binlog file begins with.
pub const FILE_MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];
