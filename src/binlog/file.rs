//! Reading a binlog file event by event.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};

use super::{
    ChecksumAlgorithm, DamagedEvent, ENCRYPTED_FILE_MAGIC, Event, EventType, FILE_MAGIC, FormatDescription,
    FormatError, HEADER_LENGTH, Header, flags,
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
    #[error("not a binlog file: it does not begin with fe 62 69 6e")]
    NotABinlog,
    /// What follows can be read by the server alone that has the key: MySQL's `binlog_encryption`, which begins the file with its own
    /// magic bytes, or MariaDB's `encrypt_binlog`, which has a START_ENCRYPTION event.
    #[error("the file is encrypted from offset {offset} on")]
    Encrypted {
        /// Where the encrypted part begins.
        offset: u64,
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
            let encrypted = reader.buffer.starts_with(&ENCRYPTED_FILE_MAGIC);
            return Err(if encrypted { FileError::Encrypted { offset: 0 } } else { FileError::NotABinlog });
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
        // A server that sends its encrypted file in the clear marks the event as one to be ignored, and so it is in relay logs.
        if header.event_type == EventType::START_ENCRYPTION && header.flags & flags::IGNORABLE == 0 {
            return Err(FileError::Encrypted { offset: offset + u64::from(header.event_length) });
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encrypted_is_not_read_as_events() {
        let event = |event_type, flags, body: &[u8]| {
            let header = Header { timestamp: 1, event_type, server_id: 1, event_length: 0, log_pos: 0, flags };
            Event::build(header, &[body], ChecksumAlgorithm::None)
        };
        let mut format = include_bytes!("../../fixtures/statements/mariadb-10.11.binlog").to_vec();
        let length = FileReader::new(&format[..]).and_then(|mut reader| reader.next_event());
        format.truncate(4 + length.expect("a good file").expect("FORMAT_DESCRIPTION").raw().len());
        let has_checksums = FormatDescription::read(Bytes::copy_from_slice(&format[4..])).expect("a format").1.checksum;
        assert_eq!(has_checksums, ChecksumAlgorithm::Crc32);
        for (flags, expected) in [(0, false), (flags::IGNORABLE, true)] {
            // Scheme 1, key version, nonce.
            let start = event(EventType::START_ENCRYPTION, flags, &[1; 17]);
            let start = Event::build(*start.header(), &[start.body()], has_checksums);
            let file = [&format[..], start.raw()].concat();
            let mut reader = FileReader::new(&file[..]).expect("a binlog file");
            assert!(matches!(reader.next_event(), Ok(Some(_))));
            let end = file.len() as u64;
            match reader.next_event() {
                Ok(Some(_)) => assert!(expected),
                Err(FileError::Encrypted { offset }) => assert!(!expected && offset == end),
                other => panic!("{other:?}"),
            }
        }
        let mysql = [&ENCRYPTED_FILE_MAGIC[..], &[1; 600]].concat();
        assert!(matches!(FileReader::new(&mysql[..]), Err(FileError::Encrypted { offset: 0 })));
    }
}
