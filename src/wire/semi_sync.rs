//! What semi-synchronous replication adds to packets: two bytes before each event, and acknowledgements.
//!
//! An event's packet is `00 | ef | 00 or 01 | event` (`01`: the receiver is to acknowledge), ERR and EOF packets are as ever. An
//! acknowledgement is a packet of its own, number 0, without a command byte: `ef | u64 position | file`. It says that all
//! up to there is kept. The next packet after an event that asks for one has the number 1. (MySQL 5.5 and later, MariaDB.)

use bytes::Bytes;

/// The byte that begins both.
pub const SEMI_SYNC_MAGIC: u8 = 0xef;
/// After the magic: the receiver is to acknowledge the event.
pub const NEEDS_ACKNOWLEDGEMENT: u8 = 1;
/// The number of the next packet after an event that asks for an acknowledgement.
pub const SEQUENCE_AFTER_ACKNOWLEDGEMENT: u8 = 1;

const HEAD: usize = 1 + size_of::<u64>();
/// Servers take shorter names of files than this (`FN_REFLEN`).
const FILE_NAME_LIMIT: usize = 512;
/// The longest acknowledgement (bytes).
pub const ACKNOWLEDGEMENT_LIMIT: usize = HEAD + FILE_NAME_LIMIT - 1;

/// The receiver has all up to this place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Position in the file.
    pub position: u64,
    /// The file's name.
    pub file: Bytes,
}

impl Acknowledgement {
    /// Reads a packet's payload; `None` where it is none.
    pub fn read(payload: &Bytes) -> Option<Self> {
        if payload.len() <= HEAD || payload.len() > ACKNOWLEDGEMENT_LIMIT || payload[0] != SEMI_SYNC_MAGIC {
            return None;
        }
        let position = u64::from_le_bytes(*payload[1..].first_chunk()?);
        Some(Self { position, file: payload.slice(HEAD..) })
    }

    /// The payload for a place.
    pub fn payload(file: &[u8], position: u64) -> Vec<u8> {
        [&[SEMI_SYNC_MAGIC][..], &position.to_le_bytes(), file].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_read_as_it_was_written_and_nothing_else_is() {
        let payload = Bytes::from(Acknowledgement::payload(b"binlog.000003", 1 << 33));
        let read = Acknowledgement::read(&payload).expect("one");
        assert_eq!((read.position, &read.file[..]), (1 << 33, &b"binlog.000003"[..]));
        assert_eq!(Acknowledgement::read(&payload.slice(..HEAD)), None, "without a name");
        for length in 0..HEAD {
            assert_eq!(Acknowledgement::read(&payload.slice(..length)), None);
        }
        assert_eq!(Acknowledgement::read(&payload.slice(1..)), None);
        assert_eq!(Acknowledgement::read(&Acknowledgement::payload(&[b'x'; FILE_NAME_LIMIT], 4).into()), None);
        assert!(Acknowledgement::read(&Acknowledgement::payload(&[b'x'; FILE_NAME_LIMIT - 1], 4).into()).is_some());
    }
}
