//! Reading a binlog file event by event.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};

use super::{
    ChecksumAlgorithm, DamagedEvent, Event, EventType, FILE_MAGIC, FormatDescription, FormatError, HEADER_LENGTH,
    Header,
};

/// The largest event that the protocol can carry.
pub const MAX_EVENT_LENGTH: usize = 1 << 30;

const READ_SIZE: usize = 1 << 18;

/// Why a file cannot be read on. Everything before has been delivered.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file could not be read.
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
    /// The first four bytes are others.
    #[error("not a binlog file: it does not begin with fe 62 69 6e{}", if *encrypted { " (it is encrypted)" } else { "" })]
    NotABinlog {
        /// It begins as files of MySQL's binlog_encryption do.
        encrypted: bool,
    },
    /// The file ends inside an event.
    #[error("the file ends inside an event: {needed} bytes needed at offset {offset}, {left} left")]
    Truncated {
        /// Where the event begins.
        offset: u64,
        /// The event's length.
        needed: u64,
        /// What there is of it.
        left: u64,
    },
    /// An event that no server writes.
    #[error("at offset {offset}: {error}")]
    Damaged {
        /// Where the event begins.
        offset: u64,
        /// What is wrong.
        error: DamagedEvent,
    },
    /// A format that is not supported.
    #[error("at offset {offset}: {error}")]
    Format {
        /// Where the event begins.
        offset: u64,
        /// What is wrong.
        error: FormatError,
    },
    /// The first event is another one.
    #[error("at offset {offset}: the file begins with a {event_type} event, not with FORMAT_DESCRIPTION")]
    NoFormat {
        /// Where the event begins.
        offset: u64,
        /// What was found.
        event_type: EventType,
    },
}

/// Delivers the events of one file in order, with checksums verified.
#[derive(Debug)]
pub struct FileReader<R> {
    input: R,
    buffer: BytesMut,
    offset: u64,
    format: Option<FormatDescription>,
    ended: bool,
}

impl<R: Read> FileReader<R> {
    /// Checks the magic bytes.
    pub fn new(input: R) -> Result<Self, FileError> {
        let mut reader = Self { input, buffer: BytesMut::new(), offset: 0, format: None, ended: false };
        let have = reader.fill(FILE_MAGIC.len())?;
        if !have || reader.buffer[..4] != FILE_MAGIC {
            let encrypted = reader.buffer.get(..4) == Some(&[0xfd, b'b', b'i', b'n']);
            return Err(FileError::NotABinlog { encrypted });
        }
        drop(reader.buffer.split_to(4));
        reader.offset = 4;
        Ok(reader)
    }

    /// The format of the events delivered last.
    pub fn format(&self) -> Option<&FormatDescription> {
        self.format.as_ref()
    }

    /// Where the next event begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next event; `None` at the end of the file. After an error there is nothing more.
    pub fn next_event(&mut self) -> Result<Option<Event>, FileError> {
        if self.ended {
            return Ok(None);
        }
        let next = self.read_event();
        self.ended = !matches!(next, Ok(Some(_)));
        next
    }

    fn read_event(&mut self) -> Result<Option<Event>, FileError> {
        let offset = self.offset;
        if !self.fill(HEADER_LENGTH)? {
            if self.buffer.is_empty() {
                return Ok(None);
            }
            let left = self.buffer.len() as u64;
            return Err(FileError::Truncated { offset, needed: HEADER_LENGTH as u64, left });
        }
        let damaged = |error| FileError::Damaged { offset, error };
        let header = Header::read(&self.buffer).map_err(|error| damaged(error.into()))?;
        let length = header.event_length as usize;
        if !(HEADER_LENGTH..=MAX_EVENT_LENGTH).contains(&length) {
            let (event_type, stated) = (header.event_type, header.event_length);
            return Err(damaged(DamagedEvent::Length { event_type, stated, actual: self.buffer.len() }));
        }
        if !self.fill(length)? {
            let left = self.buffer.len() as u64;
            return Err(FileError::Truncated { offset, needed: length as u64, left });
        }
        let raw = self.buffer.split_to(length).freeze();
        let event = self.decode(raw, &header, offset)?;
        self.offset += length as u64;
        Ok(Some(event))
    }

    fn decode(&mut self, raw: Bytes, header: &Header, offset: u64) -> Result<Event, FileError> {
        if header.event_type == EventType::FORMAT_DESCRIPTION {
            let (event, format) = FormatDescription::read(raw).map_err(|error| FileError::Format { offset, error })?;
            self.format = Some(format);
            return Ok(event);
        }
        let checksum = match &self.format {
            Some(format) => format.checksum,
            // A relay log of a server without checksums may begin with a ROTATE; nothing else may come first.
            None if header.event_type == EventType::ROTATE => ChecksumAlgorithm::None,
            None => return Err(FileError::NoFormat { offset, event_type: header.event_type }),
        };
        let event = Event::new(raw, checksum).map_err(|error| FileError::Damaged { offset, error })?;
        event.verify().map_err(|error| FileError::Damaged { offset, error })?;
        Ok(event)
    }

    /// Makes sure that `length` bytes are in the buffer; false at the end of the file.
    fn fill(&mut self, length: usize) -> Result<bool, FileError> {
        while self.buffer.len() < length {
            // Grow by what is really there: a length field alone allocates nothing.
            let start = self.buffer.len();
            self.buffer.resize(start + READ_SIZE, 0);
            let read = loop {
                match self.input.read(&mut self.buffer[start..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
