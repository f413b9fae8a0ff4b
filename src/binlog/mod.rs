//! Binary log events: the common header, the checksum, and views of the events that a rule looks into.
//!
//! Layouts are those of binlog version 4 (MySQL 5.0 and later, every MariaDB). Offsets in the docs are after the
//! 19-byte common header. An [`Event`] keeps its bytes as they came; views borrow from them.

mod event;
mod event_type;
mod file;
mod format;
mod payload;
mod tagged;
mod version;
mod views;

pub use event::{ChecksumAlgorithm, DamagedEvent, Event, HEADER_LENGTH, Header, flags};
pub use event_type::EventType;
pub use file::{FileError, FileReader, MAX_EVENT_LENGTH};
pub use format::{FormatDescription, FormatError, for_mid_file};
pub use payload::{
    MAX_OPENED_LENGTH, PayloadError, close_statement, close_transaction, open_statement, open_transaction,
    packed_width, put_packed,
};
pub use tagged::TaggedGtid;
pub use version::{ServerVersion, Vendor};
pub use views::{
    ExecuteLoadQuery, Gtid, LengthField, MariaDbGtid, Query, Rotate, Rows, StatusVariable, StatusVariables, TableMap,
    status_code,
};

/// What a binlog file begins with.
pub const FILE_MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];

/// What a file begins with that MySQL's `binlog_encryption` wrote.
pub const ENCRYPTED_FILE_MAGIC: [u8; 4] = [0xfd, b'b', b'i', b'n'];
