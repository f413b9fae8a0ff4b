//! Heartbeats: the event that says "nothing happened, and this is where you are".
//!
//! Replicas compare the position with their own: a smaller one ends the stream, and 5.5 and 5.6 want it equal (`queue_event` in
//! every server). So it is always the receiver's own arithmetic over what was sent, never the source's position.

use crate::binlog::{ChecksumAlgorithm, Event, EventType, FormatDescription, Header, Vendor};
use crate::pipeline::coordinates::FilePosition;

/// Which layout a replica reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Type 27: `log_pos` in the header, the file's name as body.
    MySqlV1,
    /// Type 41: `{type, length, value}` fields, for MySQL 8.0.26 and later that asked for it.
    MySqlV2,
    /// Type 27; beyond 4 GiB `log_pos` is 0 and a `u64` position stands before the name.
    MariaDb,
}

impl Layout {
    pub(crate) fn of(vendor: Vendor, heartbeat_v2: bool) -> Self {
        match (vendor, heartbeat_v2) {
            (Vendor::MariaDb, _) => Self::MariaDb,
            (Vendor::MySql, true) => Self::MySqlV2,
            (Vendor::MySql, false) => Self::MySqlV1,
        }
    }

    /// The layout behind a FORMAT_DESCRIPTION. A replica refuses types for which that event has no length (MY-010584, its receiver
    /// stops), so the files of sources before 8.0.26 have type 27 only. In front of the first one it goes by its own version.
    pub(crate) fn behind(self, format: Option<&FormatDescription>) -> Self {
        match (self, format) {
            (Self::MySqlV2, Some(format)) if format.post_header_length(EventType::HEARTBEAT_V2).is_none() => {
                Self::MySqlV1
            }
            _ => self,
        }
    }
}

/// The fields of HEARTBEAT_V2.
const FIELD_END: u8 = 0;
const FIELD_FILE: u8 = 1;
const FIELD_POSITION: u8 = 2;

/// A heartbeat for a receiver that is at `at`. Nothing where the layout cannot say the position (a MySQL replica before 8.0.26 beyond
/// 4 GiB: a wrong position would end its stream for good, silence only makes it connect again), or before the receiver has a file.
pub(crate) fn heartbeat(
    layout: Layout,
    server_id: u32,
    at: &FilePosition,
    checksum: ChecksumAlgorithm,
) -> Option<Event> {
    if at.file.is_empty() {
        return None;
    }
    let small = u32::try_from(at.position).ok();
    let header =
        |event_type, log_pos| Header { timestamp: 0, event_type, server_id, event_length: 0, log_pos, flags: 0 };
    let event = match (layout, small) {
        (Layout::MySqlV1 | Layout::MariaDb, Some(position)) => {
            Event::build(header(EventType::HEARTBEAT, position), &[&at.file], checksum)
        }
        (Layout::MySqlV1, None) => return None,
        (Layout::MariaDb, None) => {
            Event::build(header(EventType::HEARTBEAT, 0), &[&at.position.to_le_bytes(), &at.file], checksum)
        }
        (Layout::MySqlV2, _) => {
            let mut body = vec![FIELD_FILE];
            packed(at.file.len() as u64, &mut body);
            body.extend_from_slice(&at.file);
            let mut position = Vec::new();
            packed(at.position, &mut position);
            body.extend_from_slice(&[FIELD_POSITION, position.len() as u8]);
            body.extend_from_slice(&position);
            body.push(FIELD_END);
            Event::build(header(EventType::HEARTBEAT_V2, 0), &[&body], checksum)
        }
    };
    Some(event)
}

/// A length-encoded integer.
fn packed(number: u64, out: &mut Vec<u8>) {
    let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
    match number {
        0..=250 => out.push(a),
        251..=0xffff => out.extend_from_slice(&[0xfc, a, b]),
        0x1_0000..=0xff_ffff => out.extend_from_slice(&[0xfd, a, b, c]),
        _ => out.extend_from_slice(&[0xfe, a, b, c, d, e, f, g, h]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> FilePosition {
        FilePosition { file: b"binlog.000007".to_vec(), position }
    }

    #[test]
    fn every_layout_says_file_and_position() {
        let crc = ChecksumAlgorithm::Crc32;
        let v1 = heartbeat(Layout::MySqlV1, 9, &at(1234), crc).expect("below 4 GiB");
        assert_eq!((v1.header().event_type, v1.header().log_pos), (EventType::HEARTBEAT, 1234));
        assert_eq!((v1.body(), v1.header().server_id, v1.header().flags), (&b"binlog.000007"[..], 9, 0));
        assert_eq!(v1.verify(), Ok(()));

        let v2 = heartbeat(Layout::MySqlV2, 9, &at(1 << 33), crc).expect("any position");
        assert_eq!((v2.header().event_type, v2.header().log_pos), (EventType::HEARTBEAT_V2, 0));
        let mut body = b"\x01\x0dbinlog.000007\x02\x09\xfe".to_vec();
        body.extend_from_slice(&(1_u64 << 33).to_le_bytes());
        body.push(0);
        assert_eq!(v2.body(), body);

        let large = heartbeat(Layout::MariaDb, 9, &at(1 << 33), ChecksumAlgorithm::None).expect("any position");
        assert_eq!(large.header().log_pos, 0);
        assert_eq!(large.body()[..8], (1_u64 << 33).to_le_bytes());
    }

    #[test]
    fn silence_is_better_than_a_wrong_position() {
        assert_eq!(heartbeat(Layout::MySqlV1, 9, &at(1 << 32), ChecksumAlgorithm::None), None);
        assert_eq!(heartbeat(Layout::MySqlV2, 9, &FilePosition::default(), ChecksumAlgorithm::None), None);
    }
}
