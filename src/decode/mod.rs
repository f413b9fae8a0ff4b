//! `decode`: the events of a file or of a running source, one a line.
//!
//! Values of rows are shown only where they are asked for: statements that carry data show `?` for every literal, and the
//! text that rows came from shows its length only.

mod describe;
mod rows;
mod target;
mod text;

use std::io::{self, Read};

use bytes::Bytes;
use uuid::Uuid;

pub use describe::{Described, Describer};
pub use rows::Row;
pub use target::{Place, Target, TargetError};

use crate::{
    binlog::{DamagedEvent, Event, EventType, FileError, FileReader, FormatDescription, FormatError, Rotate, flags},
    fault::{Code, Fault},
    source::{Client, DumpRequest, DumpStart, Endpoint, Identity, SourceError, Vendor},
};

/// Why decoding ended early. Everything before has been given out.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An event of a stream.
    #[error("in {file} at {position}: {error}")]
    Event {
        /// Where the stream was.
        file: String,
        /// Where the event begins, as far as the stream says.
        position: u64,
        /// What is wrong with it.
        error: DamagedEvent,
    },
    /// A format that cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// No event begins where decoding was to begin.
    #[error("no event begins at {wanted}: there is one at {before}, and the next is at {after}")]
    NoEventThere {
        /// Where it was to begin.
        wanted: u64,
        /// The last one before.
        before: u64,
        /// The first one behind.
        after: u64,
    },
    /// The output.
    #[error(transparent)]
    Output(io::Error),
}

impl DecodeError {
    /// The fault as the operator sees it; `name` is what was decoded.
    pub fn fault(&self, name: &str) -> Fault {
        match self {
            Self::Source(error) => error.fault(name),
            Self::NoEventThere { .. } => Fault::new(Code::ReplicaPosition, format!("{name}: {self}")),
            Self::File(error) => Fault::new(file_code(error), format!("{name}: {self}")),
            Self::Output(_) => Fault::new(Code::FileUnreadable, format!("{name}: {self}")),
            Self::Format(FormatError::Unsupported { .. }) => Fault::new(Code::SourceVersion, format!("{name}: {self}")),
            _ => Fault::new(Code::EventDamaged, format!("{name}: {self}")),
        }
    }
}

/// The code of what is wrong with a file: its disk, the version that wrote it, or its bytes.
pub fn file_code(error: &FileError) -> Code {
    match error {
        FileError::Io(_) => Code::FileUnreadable,
        FileError::Encrypted { .. } => Code::FileEncrypted,
        FileError::NoFormat { event_type: EventType::START_V3, .. }
        | FileError::Format { error: FormatError::Unsupported { .. }, .. } => Code::SourceVersion,
        _ => Code::EventDamaged,
    }
}

/// What takes the events.
pub type Sink<'a> = dyn FnMut(&Described) -> io::Result<()> + 'a;

/// Decodes a file from an event's position on. Returns how many events have a body that cannot be read.
pub fn decode_file(
    input: impl Read,
    name: &str,
    from: u64,
    with_rows: bool,
    sink: &mut Sink<'_>,
) -> Result<u64, DecodeError> {
    let mut reader = FileReader::new(input)?;
    let mut describer = Describer::new(Some(name.to_owned()), with_rows);
    let (mut damaged, mut before) = (0, 0);
    loop {
        let offset = reader.offset();
        let Some(event) = reader.next_event()? else { return Ok(damaged) };
        if offset > from && before < from {
            return Err(DecodeError::NoEventThere { wanted: from, before, after: offset });
        }
        before = offset;
        // What comes earlier is read for the format and the tables.
        for described in describer.describe(&event, Some(offset)) {
            if offset >= from {
                damaged += u64::from(described.damage.is_some());
                sink(&described).map_err(DecodeError::Output)?;
            }
        }
    }
}

/// Decodes what a source has, up to where it ends now. Returns how many events have a body that cannot be read.
pub async fn decode_source(
    endpoint: &Endpoint,
    from: Place,
    with_rows: bool,
    sink: &mut Sink<'_>,
) -> Result<u64, DecodeError> {
    /// BINLOG_DUMP_NON_BLOCK, and MariaDB's wish for annotations.
    const END_AT_THE_END: u16 = 1;
    const ANNOTATIONS: u16 = 2;
    let client = Client::connect(endpoint).await?;
    let is_mariadb = client.version().vendor == Vendor::MariaDb;
    // Seen for the time of the stream only; a random identity ends nobody else's stream.
    let uuid = Uuid::new_v4();
    let server_id = 0x4000_0000 | uuid.as_u128() as u32 >> 2;
    let request = DumpRequest {
        identity: Identity { server_id, uuid, host: "replproxy-decode".to_owned(), port: 0 },
        heartbeat: std::time::Duration::from_secs(30),
        flags: if is_mariadb { END_AT_THE_END | ANNOTATIONS } else { END_AT_THE_END },
        start: DumpStart::FilePosition { file: from.file.into_bytes(), position: from.position as u32 },
        session: Vec::new(),
    };
    let mut stream = client.start_dump(request).await?;
    let mut checksum = stream.negotiated_checksum();
    let mut describer = Describer::new(None, with_rows);
    let (mut damaged, mut place) = (0, Place { file: String::new(), position: 0 });
    while let Some(raw) = stream.next().await? {
        let event = whole_event(raw, &mut checksum, &place)?;
        if matches!(event.event_type(), EventType::HEARTBEAT | EventType::HEARTBEAT_V2) {
            continue;
        }
        let position = place.advance(&event);
        for described in describer.describe(&event, position) {
            damaged += u64::from(described.damage.is_some());
            sink(&described).map_err(DecodeError::Output)?;
        }
    }
    Ok(damaged)
}

fn whole_event(
    raw: Bytes,
    checksum: &mut crate::binlog::ChecksumAlgorithm,
    place: &Place,
) -> Result<Event, DecodeError> {
    let damaged = |error| DecodeError::Event { file: place.file.clone(), position: place.position, error };
    if raw.get(4).is_some_and(|&code| EventType(code) == EventType::FORMAT_DESCRIPTION) {
        let (event, format) = FormatDescription::read(raw)?;
        *checksum = format.checksum;
        return Ok(event);
    }
    let event = Event::new(raw, *checksum).map_err(damaged)?;
    event.verify().map_err(damaged)?;
    Ok(event)
}

impl Place {
    /// Where an event of a stream begins in the source's file; nothing for events that are in none. Goes on behind it.
    fn advance(&mut self, event: &Event) -> Option<u64> {
        let header = event.header();
        if event.event_type() == EventType::ROTATE && header.flags & flags::ARTIFICIAL != 0 {
            if let Ok(rotate) = Rotate::read(event.body()) {
                self.file = String::from_utf8_lossy(rotate.file).into_owned();
                self.position = rotate.position;
            }
            return None;
        }
        // Sent for a start in the middle of its file, of which it is the head.
        if header.repeats_the_head() {
            return None;
        }
        let length = u64::from(header.event_length);
        let begin = self.position;
        self.position += length;
        Some(begin)
    }
}
