//! Going on in the middle: what was sent before is rendered again and left out.
//!
//! The same rules over the same source files give the same bytes, so a replica that comes back goes on at the very byte. A place
//! inside a group means something only to who has seen the group's start.
//!
//! In the source's coordinates a position may be the end of a group (a replica that is attached there for the first time), or what a
//! receiver counts inside of one. The end of a group comes first, whoever counts the same somewhere else.

use crate::binlog::{
    ChecksumAlgorithm, Event, EventType, FormatDescription, HEADER_LENGTH, Header, Rotate, Rows, Vendor, flags,
    for_mid_file,
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
    /// A receiver counts the position here, ahead of the source: it may also be another place, further on.
    ahead: Option<Beginning>,
    /// A receiver counts the position at two places.
    is_ambiguous: bool,
    /// The source is past the position.
    is_past: bool,
}

/// A place that was found, and what goes out from there on.
#[derive(Debug)]
struct Beginning {
    out: Vec<Event>,
    bytes: usize,
    receiver: ReceiverPosition,
}

impl Beginning {
    fn push(&mut self, event: Event) {
        self.receiver.receive(&event);
        self.bytes += event.raw().len();
        self.out.push(event);
    }
}

/// What follows a place that may be another one is kept up to this many bytes, until the source has come to the end of a group at or
/// behind the position. It is ahead of the source by what a group grew, so that a larger one lies in a large transaction behind it.
const MAX_UNDECIDED_BYTES: usize = 8 << 20;

/// Length of what [`statement_end`] makes, without a checksum. It is shorter than any rows event that has rows.
const STATEMENT_END_LENGTH: u64 = 27;

impl Seek {
    /// Looks for `target` in what comes out of the source's `file` (empty: its first one). `receiver` is what a receiver counts
    /// where the stream begins.
    pub fn new(target: Target, numbering: &Numbering, replica: Vendor, receiver: FilePosition, file: Vec<u8>) -> Self {
        let is_served = matches!(numbering, Numbering::Served { .. });
        let receiver = ReceiverPosition::new(replica, receiver);
        Self {
            target,
            is_served,
            replica,
            receiver,
            file,
            format: None,
            server_id: 0,
            ahead: None,
            is_ambiguous: false,
            is_past: false,
        }
    }

    /// The position that is looked for.
    pub fn position(&self) -> u64 {
        match self.target {
            Target::Source(position) | Target::Served(position) => position,
        }
    }

    /// Whether the place can be the end of a group only: where a receiver does not count as the source does.
    pub fn means_an_end(&self) -> bool {
        self.is_served && matches!(self.target, Target::Source(_))
    }

    /// Whether the source's stream has left the file, or nothing that is still to come can be the place.
    pub fn is_past(&self, source: &FilePosition) -> bool {
        self.is_past || !self.file.is_empty() && source.file != self.file
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
        let (Target::Served(position) | Target::Source(position)) = self.target;
        let of_source = matches!(self.target, Target::Source(_));
        // A position of the source means nothing in served coordinates, but for the end of a group.
        let comparable = !self.means_an_end();
        let mut found = None;
        for event in rendered {
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
            let reached = comparable
                && !self.is_ambiguous
                && at > FIRST_POSITION
                && (at == position || inside && self.is_after_statement_end(at, position));
            if let Some(beginning) = [&mut found, &mut self.ahead].into_iter().find_map(Option::as_mut) {
                beginning.push(event);
                // In served coordinates a count is one place: the first is the only one.
                self.is_ambiguous |= reached && of_source && at != counted;
            } else if reached && let Some(beginning) = self.begin(at, inside) {
                // Between two ends of events in the source's file are at least the bytes of a header. Where a receiver is ahead by
                // less, no group ends at the position, and nobody counts it anywhere else.
                if of_source && at >= source.position.saturating_add(HEADER_LENGTH as u64) {
                    self.ahead = Some(beginning);
                } else {
                    found = Some(beginning);
                }
            }
        }
        if of_source && boundary {
            if source.position == position {
                // In the source's coordinates what was left out is made up for: the replica counts from where it says it is.
                let at = if self.is_served { self.receiver.at().position } else { position };
                found = self.begin(at, false);
            } else if source.position > position {
                found = found.or(self.ahead.take()).filter(|_| !self.is_ambiguous);
                self.is_past = true;
            }
        }
        if self.ahead.as_ref().is_some_and(|ahead| ahead.bytes > MAX_UNDECIDED_BYTES) {
            (self.ahead, self.is_ambiguous) = (None, true);
        }
        Some(Self::put_out(found?, out))
    }

    /// The source has no more for now: a place that may have been another one further on is the only one there is.
    pub fn settle(&mut self, out: &mut Vec<Event>) -> Option<FilePosition> {
        self.ahead.take().filter(|_| !self.is_ambiguous).map(|beginning| Self::put_out(beginning, out))
    }

    fn put_out(beginning: Beginning, out: &mut Vec<Event>) -> FilePosition {
        out.extend(beginning.out);
        beginning.receiver.at().clone()
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

    /// How a stream begins at the place where the receiver is, which is told that it is at `position`.
    fn begin(&self, position: u64, inside_statement: bool) -> Option<Beginning> {
        let (format, _) = self.format.as_ref()?;
        let file = self.receiver.at().file.clone();
        let mut out = Vec::new();
        if inside_statement {
            out.push(statement_end(self.server_id, format.checksum()));
        }
        out.push(Rotate { position, file: &file }.artificial(self.server_id, format.checksum()));
        out.push(for_mid_file(format, false));
        let mut receiver = self.receiver.clone();
        receiver.set(FilePosition { file, position });
        Some(Beginning { out, bytes: 0, receiver })
    }

    /// Why the place was not found, in words.
    pub fn missed(&self, source: &FilePosition) -> String {
        let (position, whose) = match self.target {
            Target::Source(position) => (position, "the source's file"),
            Target::Served(position) => (position, "what this route serves of the source's file"),
        };
        let file = String::from_utf8_lossy(&self.file);
        let counted = self.receiver.at().position;
        let what = if self.is_ambiguous {
            "may be one of two places: a transaction that came out longer than it went in ends there as it was sent, or the position \
             lies inside of a later one. Point the replica at the end of the transaction in the source's file that it has applied last"
        } else {
            "is no place between two events"
        };
        format!(
            "position {position} in {whose} {file} {what} (the file was read up to {source}, which is {counted} as this route serves it)"
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
