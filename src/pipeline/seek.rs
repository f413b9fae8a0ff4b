//! Going on in the middle: what was sent before is rendered again and left out.
//!
//! The same rules over the same source files give the same bytes, so a replica that comes back goes on at the very byte. A place
//! inside a group means something only to who has seen the group's start.

use crate::binlog::{
    ChecksumAlgorithm, Event, EventType, FormatDescription, Header, Rotate, Rows, Vendor, flags, for_mid_file,
};

use super::coordinates::{FIRST_POSITION, FilePosition, ReceiverPosition};
use super::numbering::Numbering;

/// The place in a file from which on a replica wants the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A position of the source, which is the end of a group; or, on a replica whose own count is the source's at the end of
    /// every group, the count that it had reached inside of one.
    Source(u64),
    /// A position in what is served.
    Served(u64),
}

/// Looks for the place in the file where the replica goes on.
#[derive(Debug)]
pub struct Seek {
    target: Target,
    is_served: bool,
    replica: Vendor,
    receiver: ReceiverPosition,
    file: Vec<u8>,
    format: Option<(Event, FormatDescription)>,
    server_id: u32,
}

/// Length of what [`statement_end`] makes, without a checksum. It is shorter than any rows event that has rows.
const STATEMENT_END_LENGTH: u64 = 27;

impl Seek {
    /// Looks for `target` in what comes out of the source's `file` (empty: its first one). `receiver` is what a receiver counts
    /// where the stream begins.
    pub fn new(target: Target, numbering: &Numbering, replica: Vendor, receiver: FilePosition, file: Vec<u8>) -> Self {
        let is_served = matches!(numbering, Numbering::Served { .. });
        let receiver = ReceiverPosition::new(replica, receiver);
        Self { target, is_served, replica, receiver, file, format: None, server_id: 0 }
    }

    /// The position that is looked for.
    pub fn position(&self) -> u64 {
        match self.target {
            Target::Source(position) | Target::Served(position) => position,
        }
    }

    /// Whether the source's stream has left the file.
    pub fn is_past(&self, source: &FilePosition) -> bool {
        !self.file.is_empty() && source.file != self.file
    }

    /// Takes what came out of one event of the source. At the place it puts out how a stream begins in the middle of a file,
    /// and what comes after the place, and says where a receiver then stands.
    pub fn pass(
        &mut self,
        rendered: Vec<Event>,
        boundary: bool,
        source: &FilePosition,
        out: &mut Vec<Event>,
    ) -> Option<FilePosition> {
        let mut rendered = rendered.into_iter();
        for event in rendered.by_ref() {
            if event.event_type() == EventType::FORMAT_DESCRIPTION
                && let Ok(format) = FormatDescription::read(event.raw().clone())
            {
                self.server_id = event.header().server_id;
                self.format = Some(format);
            }
            let began = event.event_type() == EventType::ROTATE && self.format.is_none();
            let counted = self.receiver.at().position;
            self.receiver.receive(&event);
            if began {
                let file = self.receiver.at().file.clone();
                self.receiver.set(FilePosition { file, position: counted });
            }
            let at = self.receiver.at().position;
            let inside = self.leaves_statement_open(&event);
            let reached = match self.target {
                Target::Served(position) | Target::Source(position) => {
                    (at == position || inside && self.is_after_statement_end(at, position)) && at > FIRST_POSITION
                }
            };
            // A position of the source means nothing in served coordinates, but for the end of a group below.
            let comparable = !self.is_served || matches!(self.target, Target::Served(_));
            if reached && comparable && self.format.is_some() {
                return self.begin(at, inside, rendered, out);
            }
        }
        match self.target {
            Target::Source(position) if boundary && source.position == position => {
                // In the source's coordinates what was left out is made up for: the replica counts from where it says it is.
                let at = if self.is_served { self.receiver.at().position } else { position };
                self.begin(at, false, rendered, out)
            }
            _ => None,
        }
    }

    /// Whether a MariaDB receiver that has this event as its last waits for the end of the statement.
    fn leaves_statement_open(&self, event: &Event) -> bool {
        let Some((_, format)) = self.format.as_ref().filter(|_| self.replica == Vendor::MariaDb) else { return false };
        let event_type = event.event_type();
        Rows::is_rows(event_type)
            && Rows::read(event.body(), event_type, format).is_ok_and(|rows| rows.flags & Rows::STMT_END_F == 0)
    }

    /// Whether `position` is where a receiver stands that has counted [`statement_end`] at `at` and not yet read the ROTATE
    /// that corrects it. No other event inside a statement is so short.
    fn is_after_statement_end(&self, at: u64, position: u64) -> bool {
        let checksums = self.format.as_ref().is_some_and(|(_, format)| format.checksum != ChecksumAlgorithm::None);
        position.checked_sub(at).is_some_and(|length| {
            let checksum = ChecksumAlgorithm::Crc32.length() as u64;
            length == STATEMENT_END_LENGTH || checksums && length == STATEMENT_END_LENGTH + checksum
        })
    }

    fn begin(
        &self,
        position: u64,
        inside_statement: bool,
        rest: impl Iterator<Item = Event>,
        out: &mut Vec<Event>,
    ) -> Option<FilePosition> {
        let (format, _) = self.format.as_ref()?;
        let file = self.receiver.at().file.clone();
        if inside_statement {
            out.push(statement_end(self.server_id, format.checksum()));
        }
        out.push(Rotate { position, file: &file }.artificial(self.server_id, format.checksum()));
        out.push(for_mid_file(format, false));
        let mut receiver = self.receiver.clone();
        receiver.set(FilePosition { file, position });
        for event in rest {
            receiver.receive(&event);
            out.push(event);
        }
        Some(receiver.at().clone())
    }

    /// Why the place was not found, in words.
    pub fn missed(&self, source: &FilePosition) -> String {
        let (position, whose) = match self.target {
            Target::Source(position) => (position, "the source's file"),
            Target::Served(position) => (position, "what this route serves of the source's file"),
        };
        let file = String::from_utf8_lossy(&self.file);
        let counted = self.receiver.at().position;
        format!(
            "position {position} in {whose} {file} is no place between two events (the file was read up to {source}, which is \
             {counted} as this route serves it)"
        )
    }
}

/// A rows event without rows that ends a statement. A MariaDB replica that goes by file and position and comes back inside of a
/// statement still waits for the statement's last rows event, and takes the ROTATE that begins every stream for an error
/// (1595, `Rows_event_tracker::check_and_report`; only GTID replicas forget what they waited for). This event, which is
/// not kept for its flag, calms it; the ROTATE after it sets the position right.
fn statement_end(server_id: u32, checksum: ChecksumAlgorithm) -> Event {
    const NO_TABLE: [u8; 6] = [0xff; 6];
    let header = Header {
        timestamp: 0,
        event_type: EventType::WRITE_ROWS_V1,
        server_id,
        event_length: 0,
        log_pos: 0,
        flags: flags::IGNORABLE,
    };
    Event::build(header, &[&NO_TABLE, &Rows::STMT_END_F.to_le_bytes()], checksum)
}
