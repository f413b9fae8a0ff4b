//! File names and positions: what a replica counts, and the two ways to number what it is served.

use crate::binlog::{Event, EventType, FILE_MAGIC, Rotate, Vendor};

/// The first position of every file.
pub const FIRST_POSITION: u64 = FILE_MAGIC.len() as u64;

/// A place in a binlog.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilePosition {
    /// The file's name without a path.
    pub file: Vec<u8>,
    /// Offset of the next event.
    pub position: u64,
}

impl std::fmt::Display for FilePosition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", String::from_utf8_lossy(&self.file), self.position)
    }
}

/// A log file's name without its number: `binlog` of `binlog.000007`.
pub fn stem(file: &[u8]) -> &[u8] {
    &file[..file.iter().rposition(|&byte| byte == b'.').unwrap_or(file.len())]
}

/// What orders the files of one server and one [`stem`] as they were written. Numbers have at least six digits and grow beyond them:
/// `binlog.1000000` comes after `binlog.999999`.
pub fn file_order(file: &[u8]) -> (usize, &[u8]) {
    (file.len(), file)
}

/// What a replica's receiver (I/O thread) makes of the events that it is sent: its `Read_Master_Log_Pos`.
///
/// MySQL adds up the lengths it received and reads positions in ROTATE only; MariaDB also jumps forward to a larger
/// `log_pos`, and reads nothing but that in GTID_LIST (`queue_event` in both servers).
#[derive(Debug, Clone)]
pub struct ReceiverPosition {
    vendor: Vendor,
    at: FilePosition,
}

impl ReceiverPosition {
    /// The receiver of a replica that asked for a place.
    pub fn new(vendor: Vendor, at: FilePosition) -> Self {
        Self { vendor, at }
    }

    /// Where the receiver is.
    pub fn at(&self) -> &FilePosition {
        &self.at
    }

    /// The receiver is put somewhere else.
    pub fn set(&mut self, at: FilePosition) {
        self.at = at;
    }

    /// The receiver takes one more event.
    pub fn receive(&mut self, event: &Event) {
        let header = event.header();
        let length = u64::from(header.event_length);
        match header.event_type {
            EventType::ROTATE => {
                if let Ok(rotate) = Rotate::read(event.body()) {
                    self.at = FilePosition { file: rotate.file.to_vec(), position: rotate.position };
                }
            }
            EventType::STOP | EventType::HEARTBEAT | EventType::HEARTBEAT_V2 => {}
            _ if header.repeats_the_head() => {}
            // Behind the list's place in the file, as at the start of a GTID stream, it counts nothing.
            EventType::MARIADB_GTID_LIST if self.vendor == Vendor::MariaDb => {
                self.at.position = self.at.position.max(u64::from(header.log_pos));
            }
            _ => {
                self.at.position = self.at.position.saturating_add(length);
                if self.vendor == Vendor::MariaDb && u64::from(header.log_pos) > self.at.position {
                    self.at.position = u64::from(header.log_pos);
                }
            }
        }
    }

    /// The receiver takes all events of a stretch.
    pub fn receive_all(&mut self, stretch: &Stretch) {
        self.at.position = self.at.position.saturating_add(stretch.bytes);
        if self.vendor == Vendor::MariaDb {
            self.at.position = self.at.position.max(stretch.reaches);
        }
    }

    /// The receiver takes events of so many bytes in all that it only counts.
    pub fn count(&mut self, bytes: u64) {
        self.at.position = self.at.position.saturating_add(bytes);
    }

    /// The receiver is told of a later position by a heartbeat and takes it over.
    pub fn advance_to(&mut self, position: u64) {
        self.at.position = self.at.position.max(position);
    }
}

/// What a receiver makes of some events, wherever it stood before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stretch {
    /// The lengths that it counts.
    bytes: u64,
    /// Where it is at least afterwards, if it goes by `log_pos`.
    reaches: u64,
}

impl Stretch {
    /// The stretch with one more event; `None` where that names the place itself or is not always counted.
    pub fn and(self, event: &Event) -> Option<Self> {
        let header = event.header();
        let length = u64::from(header.event_length);
        match header.event_type {
            EventType::ROTATE
            | EventType::FORMAT_DESCRIPTION
            | EventType::START_ENCRYPTION
            | EventType::MARIADB_GTID_LIST => None,
            EventType::STOP | EventType::HEARTBEAT | EventType::HEARTBEAT_V2 => Some(self),
            _ => Some(Self {
                bytes: self.bytes.saturating_add(length),
                reaches: self.reaches.saturating_add(length).max(u64::from(header.log_pos)),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{ChecksumAlgorithm, Header};

    #[test]
    fn files_are_in_the_order_of_their_numbers() {
        let files = [&b"binlog.000009"[..], b"binlog.000010", b"binlog.999999", b"binlog.1000000", b"binlog.1000001"];
        assert!(files.is_sorted_by_key(|file| file_order(file)));
        assert!(files.iter().all(|file| stem(file) == b"binlog"));
        assert_eq!(stem(b"binlog.rp5f3c9a12.000009"), b"binlog.rp5f3c9a12");
        assert_eq!(stem(b"binlog"), b"binlog");
    }

    #[test]
    fn a_gtid_list_behind_the_receiver_counts_nothing_on_mariadb() {
        for (vendor, at, log_pos, expected) in [
            (Vendor::MariaDb, 256, 299, 299),
            (Vendor::MariaDb, 1000, 299, 1000),
            (Vendor::MariaDb, 1000, 0, 1000),
            (Vendor::MySql, 1000, 299, 1043),
        ] {
            let header = Header {
                timestamp: 0,
                event_type: EventType::MARIADB_GTID_LIST,
                server_id: 1,
                event_length: 0,
                log_pos,
                flags: 0,
            };
            let mut receiver = ReceiverPosition::new(vendor, FilePosition { file: Vec::new(), position: at });
            receiver.receive(&Event::build(header, &[&[0; 24]], ChecksumAlgorithm::None));
            assert_eq!(receiver.at().position, expected, "{vendor} {at} {log_pos}");
        }
    }

    #[test]
    fn events_that_are_received_together_lead_to_the_same_place() {
        let event = |event_type, length: usize, log_pos| {
            let header = Header { timestamp: 1, event_type, server_id: 1, event_length: 0, log_pos, flags: 0 };
            Event::build(header, &[&vec![0; length]], ChecksumAlgorithm::None)
        };
        let events = [
            event(EventType::QUERY, 50, 5_000),
            event(EventType::WRITE_ROWS, 100, 0),
            event(EventType::STOP, 0, 9_000_000),
            event(EventType::XID, 8, 5_100),
        ];
        let stretch = events.iter().try_fold(Stretch::default(), Stretch::and).expect("nothing names a place");
        for vendor in [Vendor::MySql, Vendor::MariaDb] {
            for start in [4, 4_900, 1 << 33] {
                let mut each = ReceiverPosition::new(vendor, FilePosition { file: b"b".to_vec(), position: start });
                let mut all = each.clone();
                events.iter().for_each(|event| each.receive(event));
                all.receive_all(&stretch);
                assert_eq!(all.at(), each.at(), "{vendor:?} from {start}");
            }
        }
        let rotate = Rotate { position: 4, file: b"bin.000002" };
        assert!(stretch.and(&rotate.artificial(1, ChecksumAlgorithm::None)).is_none());
    }

    #[test]
    fn what_a_source_repeats_of_a_files_head_is_not_counted() {
        for event_type in [EventType::FORMAT_DESCRIPTION, EventType::START_ENCRYPTION] {
            for (log_pos, counted) in [(0, 0), (300, 60)] {
                let header = Header { timestamp: 1, event_type, server_id: 1, event_length: 0, log_pos, flags: 0 };
                let event = Event::build(header, &[&[0; 41]], ChecksumAlgorithm::None);
                let mut receiver =
                    ReceiverPosition::new(Vendor::MySql, FilePosition { file: b"b".to_vec(), position: 500 });
                receiver.receive(&event);
                assert_eq!(receiver.at().position, 500 + counted, "{event_type} {log_pos}");
                assert!(Stretch::default().and(&event).is_none());
            }
        }
    }

    #[test]
    fn a_rotate_to_the_last_position_there_is_does_no_harm() {
        let mut receiver = ReceiverPosition::new(Vendor::MySql, FilePosition::default());
        let rotate = Rotate { position: u64::MAX, file: b"bin.000002" };
        receiver.receive(&rotate.artificial(1, ChecksumAlgorithm::None));
        let header =
            Header { timestamp: 1, event_type: EventType::XID, server_id: 1, event_length: 0, log_pos: 99, flags: 0 };
        receiver.receive(&Event::build(header, &[&[0; 8]], ChecksumAlgorithm::None));
        assert_eq!(receiver.at().position, u64::MAX);
    }
}
