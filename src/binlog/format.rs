//! FORMAT_DESCRIPTION_EVENT: how to read the events of a file.

use bytes::Bytes;

use super::{ChecksumAlgorithm, DamagedEvent, Event, EventType, HEADER_LENGTH, Header, ServerVersion, Vendor};
use crate::wire::Cursor;

/// The body: `u16 binlog_version | char[50] server_version | u32 created | u8 header_length | u8 post_header_length[n]`
/// and, from MySQL 5.6.1 and MariaDB 5.3.0 on, `u8 checksum_algorithm | u32 checksum` (both there even where the
/// algorithm is none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatDescription {
    /// The server that wrote the file.
    pub server: ServerVersion,
    /// When the server was started, for the first file after a start; else 0.
    pub created: u32,
    /// Index `i` is the length of the fixed part of events of type `i + 1`.
    pub post_header_lengths: Vec<u8>,
    /// How the events after this one end.
    pub checksum: ChecksumAlgorithm,
    /// Whether this event itself ends with algorithm and checksum bytes.
    pub has_checksum_trailer: bool,
}

/// Offset in the body of `created`.
const CREATED_OFFSET: usize = 2 + 50;

/// Why a FORMAT_DESCRIPTION cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The frame is wrong.
    #[error(transparent)]
    Damaged(#[from] DamagedEvent),
    /// The body ends too early.
    #[error("FORMAT_DESCRIPTION event {0}")]
    Truncated(#[from] crate::wire::Truncated),
    /// Not version 4, or not 19 bytes of header.
    #[error("binlog version {version} with headers of {header_length} bytes is not supported (4 and 19 are)")]
    Unsupported {
        /// The file's version.
        version: u16,
        /// Its header length.
        header_length: u8,
    },
    /// Not a version string.
    #[error("the server version {0:?} cannot be read")]
    UnreadableVersion(String),
    /// An algorithm that no release writes.
    #[error("checksum algorithm {0} is not known")]
    UnknownChecksum(u8),
}

impl FormatDescription {
    /// Takes one whole FORMAT_DESCRIPTION event, verifies it and reads it.
    pub fn read(raw: Bytes) -> Result<(Event, Self), FormatError> {
        let header = Header::read(&raw).map_err(DamagedEvent::from)?;
        let mut cursor = Cursor::new(raw.get(HEADER_LENGTH..).unwrap_or_default());
        let version = cursor.u16()?;
        let text = cursor.take(50)?;
        let text = &text[..text.iter().position(|&byte| byte == 0).unwrap_or(50)];
        let text = String::from_utf8_lossy(text);
        // How to read the rest depends on the version: one that cannot be read is damage.
        let server =
            ServerVersion::parse(&text).ok_or_else(|| FormatError::UnreadableVersion(text.clone().into_owned()))?;
        let created = cursor.u32()?;
        let header_length = cursor.u8()?;
        if version != 4 || usize::from(header_length) != HEADER_LENGTH {
            return Err(FormatError::Unsupported { version, header_length });
        }
        let has_checksum_trailer = server.number
            >= match server.vendor {
                Vendor::MySql => 50_601,
                Vendor::MariaDb => 50_300,
            };
        let trailer = if has_checksum_trailer { 5 } else { 0 };
        let rest = cursor.rest();
        let Some(count) = rest.len().checked_sub(trailer) else {
            return Err(crate::wire::Truncated { offset: cursor.offset(), needed: trailer, left: rest.len() }.into());
        };
        let checksum = match has_checksum_trailer.then(|| rest[count]) {
            None | Some(0 | 255) => ChecksumAlgorithm::None,
            Some(1) => ChecksumAlgorithm::Crc32,
            Some(other) => return Err(FormatError::UnknownChecksum(other)),
        };
        let post_header_lengths = rest[..count].to_vec();
        let own = if has_checksum_trailer { ChecksumAlgorithm::Crc32 } else { ChecksumAlgorithm::None };
        let event = Event::new(raw, own)?;
        if checksum == ChecksumAlgorithm::Crc32 {
            event.verify()?;
        }
        debug_assert_eq!(header.event_type, EventType::FORMAT_DESCRIPTION);
        Ok((event, Self { server, created, post_header_lengths, checksum, has_checksum_trailer }))
    }

    /// Whether the writer numbered its event types in another order: builds of 5.1 and 5.2 between their branches, called
    /// `-a_drop5…` and `-a_drop6…`.
    pub fn permutes_types(&self) -> bool {
        self.server.number < 50_300 && self.server.text.contains("-a_drop")
    }

    /// The length of the fixed part of events of a type; `None` for types that the writer did not know.
    pub fn post_header_length(&self, event_type: EventType) -> Option<u8> {
        usize::from(event_type.0).checked_sub(1).and_then(|index| self.post_header_lengths.get(index)).copied()
    }

    /// Width of the table id in TABLE_MAP and rows events: 4 bytes in files of 5.1 betas, else 6.
    pub fn table_id_width(&self, event_type: EventType) -> usize {
        if self.post_header_length(event_type) == Some(6) { 4 } else { 6 }
    }
}

/// The same event as a server sends it for a replica that starts inside the file: `created` 0 (so that temporary
/// tables stay) and, for file-and-position replicas, `log_pos` 0 (so that the receiver does not count it).
pub fn for_mid_file(event: &Event, keep_log_pos: bool) -> Event {
    let mut body = event.body().to_vec();
    if let Some(created) = body.get_mut(CREATED_OFFSET..CREATED_OFFSET + 4) {
        created.fill(0);
    }
    let mut header = *event.header();
    header.flags &= !super::flags::BINLOG_IN_USE;
    if !keep_log_pos {
        header.log_pos = 0;
    }
    Event::build(header, &[&body], event.checksum())
}
