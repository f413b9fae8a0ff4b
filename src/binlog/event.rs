//! The unit that flows: one event with its 19-byte header, body and checksum.

use bytes::Bytes;

use super::EventType;
use crate::wire::{Cursor, Truncated};

/// Length of the common header of binlog version 4.
pub const HEADER_LENGTH: usize = 19;

/// Bits of the header's flags.
pub mod flags {
    /// `LOG_EVENT_BINLOG_IN_USE_F`: the file was not closed; only in a FORMAT_DESCRIPTION.
    pub const BINLOG_IN_USE: u16 = 0x0001;
    /// `LOG_EVENT_THREAD_SPECIFIC_F`: the statement depends on its thread (temporary tables).
    pub const THREAD_SPECIFIC: u16 = 0x0004;
    /// `LOG_EVENT_SUPPRESS_USE_F`: no `USE` is needed before the statement.
    pub const SUPPRESS_USE: u16 = 0x0008;
    /// `LOG_EVENT_ARTIFICIAL_F`: made by the server that sends, not in the file.
    pub const ARTIFICIAL: u16 = 0x0020;
    /// `LOG_EVENT_RELAY_LOG_F`: written by a replica's I/O thread.
    pub const RELAY_LOG: u16 = 0x0040;
    /// `LOG_EVENT_IGNORABLE_F`: a reader that does not know the type may skip it.
    pub const IGNORABLE: u16 = 0x0080;
}

/// The common header: `u32 timestamp | u8 type | u32 server_id | u32 event_length | u32 log_pos | u16 flags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Seconds since the epoch at the start of the statement on its origin; 0 in artificial events.
    pub timestamp: u32,
    /// The type code.
    pub event_type: EventType,
    /// The server on which the event was born.
    pub server_id: u32,
    /// Length of header, body and checksum.
    pub event_length: u32,
    /// Position after this event in the file, modulo 2^32; 0 where the sender has none.
    pub log_pos: u32,
    /// See [`flags`].
    pub flags: u16,
}

impl Header {
    /// Reads the first 19 bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(bytes);
        Ok(Self {
            timestamp: cursor.u32()?,
            event_type: EventType(cursor.u8()?),
            server_id: cursor.u32()?,
            event_length: cursor.u32()?,
            log_pos: cursor.u32()?,
            flags: cursor.u16()?,
        })
    }

    /// Whether the event is in no file at the place where it comes: a FORMAT_DESCRIPTION, or MariaDB's START_ENCRYPTION, that a source
    /// repeats where a stream begins in the middle of a file. No replica counts its bytes.
    pub fn repeats_the_head(&self) -> bool {
        self.log_pos == 0 && matches!(self.event_type, EventType::FORMAT_DESCRIPTION | EventType::START_ENCRYPTION)
    }

    /// The 19 bytes of this header.
    pub fn to_bytes(self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[0..4].copy_from_slice(&self.timestamp.to_le_bytes());
        bytes[4] = self.event_type.0;
        bytes[5..9].copy_from_slice(&self.server_id.to_le_bytes());
        bytes[9..13].copy_from_slice(&self.event_length.to_le_bytes());
        bytes[13..17].copy_from_slice(&self.log_pos.to_le_bytes());
        bytes[17..19].copy_from_slice(&self.flags.to_le_bytes());
        bytes
    }
}

/// Whether events end with a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChecksumAlgorithm {
    /// No checksum.
    #[default]
    None,
    /// Four bytes, little endian: CRC-32 (zlib's) of all bytes before them.
    Crc32,
}

impl ChecksumAlgorithm {
    /// How many bytes it adds to an event.
    pub fn length(self) -> usize {
        match self {
            Self::None => 0,
            Self::Crc32 => 4,
        }
    }
}

/// An event whose frame cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DamagedEvent {
    /// The bytes end inside the header.
    #[error("event header {0}")]
    Header(#[from] Truncated),
    /// The header's length does not fit the bytes.
    #[error("{event_type} event says it has {stated} bytes and has {actual}")]
    Length {
        /// The type in the header.
        event_type: EventType,
        /// The header's length.
        stated: u32,
        /// The packet's length.
        actual: usize,
    },
    /// The checksum is not that of the bytes.
    #[error("{event_type} event has checksum {stated:#010x}, its bytes have {actual:#010x}")]
    Checksum {
        /// The type in the header.
        event_type: EventType,
        /// What the event ends with.
        stated: u32,
        /// What its bytes have.
        actual: u32,
    },
}

/// One event as it came, with a header that is known to fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    header: Header,
    raw: Bytes,
    checksum: ChecksumAlgorithm,
}

impl Event {
    /// Takes one whole event. `checksum` says whether its last four bytes are a checksum (see [`Event::verify`]).
    pub fn new(raw: Bytes, checksum: ChecksumAlgorithm) -> Result<Self, DamagedEvent> {
        let header = Header::read(&raw)?;
        let minimum = HEADER_LENGTH + checksum.length();
        if header.event_length as usize != raw.len() || raw.len() < minimum {
            return Err(DamagedEvent::Length {
                event_type: header.event_type,
                stated: header.event_length,
                actual: raw.len(),
            });
        }
        Ok(Self { header, raw, checksum })
    }

    /// The same event in other memory: `raw` has the same bytes.
    pub fn with_raw(self, raw: Bytes) -> Self {
        debug_assert_eq!(self.raw, raw);
        Self { raw, ..self }
    }

    /// Builds an event from its parts: length and checksum are filled in.
    pub fn build(header: Header, body: &[&[u8]], checksum: ChecksumAlgorithm) -> Self {
        let body_length: usize = body.iter().map(|part| part.len()).sum();
        let length = HEADER_LENGTH + body_length + checksum.length();
        let header = Header { event_length: length as u32, ..header };
        let mut raw = Vec::with_capacity(length);
        raw.extend_from_slice(&header.to_bytes());
        for part in body {
            raw.extend_from_slice(part);
        }
        if checksum == ChecksumAlgorithm::Crc32 {
            raw.extend_from_slice(&crc32fast::hash(&raw).to_le_bytes());
        }
        Self { header, raw: raw.into(), checksum }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The type code.
    pub fn event_type(&self) -> EventType {
        self.header.event_type
    }

    /// Header, body and checksum.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// What stands between header and checksum.
    pub fn body(&self) -> &[u8] {
        &self.raw[HEADER_LENGTH..self.raw.len() - self.checksum.length()]
    }

    /// As [`Event::body`], sharing the bytes.
    pub fn body_bytes(&self) -> Bytes {
        self.raw.slice(HEADER_LENGTH..self.raw.len() - self.checksum.length())
    }

    /// How the event ends.
    pub fn checksum(&self) -> ChecksumAlgorithm {
        self.checksum
    }

    /// The same event with other header fields; the length is kept, the checksum is made anew.
    pub fn with_header(&self, change: impl FnOnce(&mut Header)) -> Self {
        let mut header = self.header;
        change(&mut header);
        Self::build(header, &[self.body()], self.checksum)
    }

    /// Compares the checksum with the bytes. A FORMAT_DESCRIPTION's was made before the server set the in-use flag.
    pub fn verify(&self) -> Result<(), DamagedEvent> {
        if self.checksum == ChecksumAlgorithm::None {
            return Ok(());
        }
        let (covered, stated) = self.raw.split_at(self.raw.len() - 4);
        let stated = u32::from_le_bytes([stated[0], stated[1], stated[2], stated[3]]);
        let mut hasher = crc32fast::Hasher::new();
        if self.header.event_type == EventType::FORMAT_DESCRIPTION && self.header.flags & flags::BINLOG_IN_USE != 0 {
            let closed = Header { flags: self.header.flags & !flags::BINLOG_IN_USE, ..self.header };
            hasher.update(&closed.to_bytes());
            hasher.update(&covered[HEADER_LENGTH..]);
        } else {
            hasher.update(covered);
        }
        let actual = hasher.finalize();
        if actual == stated {
            Ok(())
        } else {
            Err(DamagedEvent::Checksum { event_type: self.header.event_type, stated, actual })
        }
    }
}
