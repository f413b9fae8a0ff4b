//! Why an event cannot be passed on, and which code of the catalogue that is.

use crate::binlog::{EventType, FormatError, PayloadError};
use crate::fault::Code;
use crate::pipeline::coordinates::FilePosition;
use crate::pipeline::prelude::MAX_LOAD_BYTES;
use crate::pipeline::rules::Learned;
use crate::wire::Truncated;

use super::MAX_HELD_BYTES;

/// Why an event cannot be passed on. [`Stream`](super::Stream) adds where.
#[derive(Debug, thiserror::Error)]
pub(in crate::pipeline) enum StreamError {
    #[error(transparent)]
    Damaged(#[from] crate::binlog::DamagedEvent),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("{0} event {1}")]
    Truncated(EventType, Truncated),
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error("{0} event: the proxy does not know this type")]
    UnknownType(EventType),
    #[error("rows of table id {0}, which no TABLE_MAP of the statement names")]
    UnknownTable(u64),
    #[error("a name that is not UTF-8 in a {0} event")]
    NotUtf8(EventType),
    #[error("the mapped name {0:?} is longer than 64 characters or 255 bytes, which no server takes")]
    NameTooLong(String),
    #[error("{0} event would become longer than the protocol allows")]
    TooLong(EventType),
    #[error("{0} bytes wait for the end of a statement, more than the {MAX_HELD_BYTES} that may")]
    HeldTooMuch(usize),
    #[error(
        "the file of a LOAD DATA in statement format has more than {} MiB, which is all that waits until its statement names the \
         table; ddl.allow = [\"load\"] lets such files out before that is known (the replica forgets those that are not for it), and \
         with binlog_format=ROW at the source there are none",
        MAX_LOAD_BYTES >> 20
    )]
    LongLoad,
    #[error(
        "another event comes between the file of a LOAD DATA and its statement, as servers before 5.5 wrote it; \
         ddl.allow = [\"load\"] lets files out before their statement names the table"
    )]
    TornLoad,
    #[error("the offsets of the file's name in a LOAD DATA are behind a name that is mapped")]
    LoadOffsets,
    #[error("{0} event before any FORMAT_DESCRIPTION")]
    NoFormat(EventType),
    #[error("the events of {0} have other type codes than those of every other server")]
    PermutedTypes(String),
    #[error("{event_type} event: its log_pos {log_pos} does not follow from {expected}; no source leaves out so much")]
    Jump { event_type: EventType, log_pos: u32, expected: u64 },
    #[error(
        "what is served of this file grows beyond 4 GiB (it is at {0}), where file and position cannot name a place"
    )]
    ServedTooFar(FilePosition),
    #[error("what the route has learned of renamed tables and schema changes is not known: {0}")]
    NotRemembered(String),
    #[error("what the statement changes for later ones cannot be kept: {0}")]
    NotKept(String),
    #[error("{message}")]
    Stopped {
        message: String,
        code: Code,
        /// What holds for who goes on behind the statement.
        behind: Option<Box<Learned>>,
    },
}

impl StreamError {
    pub(super) fn code(&self) -> Code {
        match self {
            Self::Damaged(_) | Self::Format(FormatError::Damaged(_)) | Self::Truncated(..) | Self::Jump { .. } => {
                Code::EventDamaged
            }
            Self::ServedTooFar(_) => Code::PositionTooLarge,
            Self::NameTooLong(_) => Code::NameUnmappable,
            Self::TooLong(_) => Code::EventTooLarge,
            Self::HeldTooMuch(_) | Self::LongLoad | Self::Payload(PayloadError::TooLarge(_)) => Code::LimitReached,
            Self::TornLoad => Code::StatementStopped,
            Self::NotRemembered(_) => Code::HistoryUnknown,
            Self::NotKept(_) => Code::FileUnreadable,
            Self::Stopped { code, .. } => *code,
            Self::Format(_)
            | Self::Payload(_)
            | Self::UnknownType(_)
            | Self::PermutedTypes(_)
            | Self::UnknownTable(_)
            | Self::NotUtf8(_)
            | Self::LoadOffsets
            | Self::NoFormat(_) => Code::StreamNotUnderstood,
        }
    }
}
