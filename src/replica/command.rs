//! The binary commands of replicas, read with bounds checks.

use bytes::Bytes;

use crate::gtid::{GtidSet, GtidSetError};
use crate::wire::{Cursor, Truncated};

/// Command codes: the first byte of a command packet.
pub(crate) mod code {
    pub(crate) const QUIT: u8 = 0x01;
    pub(crate) const INIT_DB: u8 = 0x02;
    pub(crate) const QUERY: u8 = 0x03;
    pub(crate) const FIELD_LIST: u8 = 0x04;
    pub(crate) const STATISTICS: u8 = 0x09;
    pub(crate) const PROCESS_KILL: u8 = 0x0c;
    pub(crate) const PING: u8 = 0x0e;
    pub(crate) const BINLOG_DUMP: u8 = 0x12;
    pub(crate) const REGISTER_SLAVE: u8 = 0x15;
    pub(crate) const STMT_PREPARE: u8 = 0x16;
    pub(crate) const STMT_EXECUTE: u8 = 0x17;
    pub(crate) const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub(crate) const STMT_CLOSE: u8 = 0x19;
    pub(crate) const STMT_RESET: u8 = 0x1a;
    pub(crate) const SET_OPTION: u8 = 0x1b;
    pub(crate) const BINLOG_DUMP_GTID: u8 = 0x1e;
    pub(crate) const RESET_CONNECTION: u8 = 0x1f;
}

/// The longest binlog file name: `FN_REFLEN`, what servers have room for.
const MAX_FILE_NAME: usize = 512;

/// More than the intervals of any real set; the command packet's limit bounds the bytes, this bounds the work.
const MAX_GTID_SET_BYTES: usize = 512 << 10;

/// A command that is not what its code promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("the command is {0}")]
    Truncated(#[from] Truncated),
    #[error("{0}")]
    GtidSet(#[from] GtidSetError),
    #[error("a file name of {0} bytes (the limit is {MAX_FILE_NAME})")]
    FileName(usize),
    #[error("a GTID set of {0} bytes (the limit is {MAX_GTID_SET_BYTES})")]
    LongGtidSet(usize),
}

/// COM_REGISTER_SLAVE: `u32 server_id | u8 n, host | u8 n, user | u8 n, password | u16 port | u32 rank | u32 master_id`.
/// User and password are what the replica's `report_user` and `report_password` say; they are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegisterSlave {
    pub(crate) server_id: u32,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl RegisterSlave {
    /// Reads what follows the command code.
    pub(crate) fn read(body: &[u8]) -> Result<Self, CommandError> {
        let mut cursor = Cursor::new(body);
        let server_id = cursor.u32()?;
        let host = short_text(&mut cursor)?;
        short_text(&mut cursor)?;
        short_text(&mut cursor)?;
        let port = cursor.u16()?;
        Ok(Self { server_id, host, port })
    }
}

fn short_text(cursor: &mut Cursor<'_>) -> Result<String, Truncated> {
    let length = cursor.u8()?;
    cursor.take(usize::from(length)).map(|text| String::from_utf8_lossy(text).into_owned())
}

/// COM_BINLOG_DUMP: `u32 position | u16 flags | u32 server_id | file name to the end` (may be empty: the first file).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BinlogDump {
    pub(crate) position: u32,
    pub(crate) flags: u16,
    pub(crate) server_id: u32,
    pub(crate) file: Vec<u8>,
}

impl BinlogDump {
    /// Reads what follows the command code.
    pub(crate) fn read(body: &[u8]) -> Result<Self, CommandError> {
        let mut cursor = Cursor::new(body);
        let (position, flags, server_id) = (cursor.u32()?, cursor.u16()?, cursor.u32()?);
        let file = file_name(cursor.rest())?;
        Ok(Self { position, flags, server_id, file })
    }
}

/// COM_BINLOG_DUMP_GTID: `u16 flags | u32 server_id | u32 n, file name | u64 position | u32 n, GTID set`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BinlogDumpGtid {
    pub(crate) flags: u16,
    pub(crate) server_id: u32,
    /// A file and a place in it, where the name is not empty: `mysqlbinlog` asks so for one file. Replicas send no name; 5.6 sends NUL
    /// bytes for it.
    pub(crate) file: Vec<u8>,
    pub(crate) position: u64,
    /// The set as sent, which is known to be well formed.
    pub(crate) set: Bytes,
    /// Nothing is to be left out.
    pub(crate) is_empty: bool,
}

impl BinlogDumpGtid {
    /// Reads what follows the command code.
    pub(crate) fn read(body: &[u8]) -> Result<Self, CommandError> {
        let mut cursor = Cursor::new(body);
        let (flags, server_id) = (cursor.u16()?, cursor.u32()?);
        let name_length = cursor.u32()? as usize;
        if name_length > MAX_FILE_NAME {
            return Err(CommandError::FileName(name_length));
        }
        let file = file_name(cursor.take(name_length)?)?;
        let position = cursor.u64()?;
        let set_length = cursor.u32()? as usize;
        if set_length > MAX_GTID_SET_BYTES {
            return Err(CommandError::LongGtidSet(set_length));
        }
        let set = cursor.take(set_length)?;
        let is_empty = GtidSet::decode(set)?.is_empty();
        Ok(Self { flags, server_id, file, position, set: Bytes::copy_from_slice(set), is_empty })
    }
}

/// A file name up to its first NUL.
fn file_name(bytes: &[u8]) -> Result<Vec<u8>, CommandError> {
    let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    if name.len() > MAX_FILE_NAME {
        return Err(CommandError::FileName(name.len()));
    }
    Ok(name.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_captured_registration_is_read() {
        // MySQL 5.7.29, protocol.md A.8.
        let body = [0xe7, 0x38, 0, 0, 0, 0, 0, 0xe7, 0x38, 0, 0, 0, 0, 0, 0, 0, 0];
        let read = RegisterSlave::read(&body).expect("well formed");
        assert_eq!(read, RegisterSlave { server_id: 14567, host: String::new(), port: 14567 });
        for length in 0..9 {
            assert!(RegisterSlave::read(&body[..length]).is_err());
        }
    }

    #[test]
    fn a_dump_request_may_have_an_empty_file_name_and_not_an_endless_one() {
        let mut body = vec![4, 0, 0, 0, 2, 0, 9, 0, 0, 0];
        let read = BinlogDump::read(&body).expect("well formed");
        assert_eq!((read.position, read.flags, read.server_id, read.file.len()), (4, 2, 9, 0));
        body.extend_from_slice(b"binlog.000001");
        assert_eq!(BinlogDump::read(&body).expect("well formed").file, b"binlog.000001");
        body.extend_from_slice(&[b'x'; 600]);
        assert!(matches!(BinlogDump::read(&body), Err(CommandError::FileName(_))));
    }

    fn dump_gtid(set: &[u8], stated: u32) -> Vec<u8> {
        dump_gtid_of(b"", set, stated)
    }

    fn dump_gtid_of(file: &[u8], set: &[u8], stated: u32) -> Vec<u8> {
        let mut body = vec![0, 0, 9, 0, 0, 0];
        body.extend_from_slice(&(file.len() as u32).to_le_bytes());
        body.extend_from_slice(file);
        body.extend_from_slice(&4_u64.to_le_bytes());
        body.extend_from_slice(&stated.to_le_bytes());
        body.extend_from_slice(set);
        body
    }

    #[test]
    fn a_gtid_request_with_an_absurd_count_is_an_error() {
        // 31 bytes with the command code: a count of 2^40 sids and nothing after it.
        let body = dump_gtid(&(1_u64 << 40).to_le_bytes(), 8);
        assert_eq!(body.len() + 1, 31);
        assert!(matches!(BinlogDumpGtid::read(&body), Err(CommandError::GtidSet(GtidSetError::Truncated(_)))));
        assert!(BinlogDumpGtid::read(&dump_gtid(&[], 0xffff_ffff)).is_err());
        assert!(BinlogDumpGtid::read(&dump_gtid(&[], 7)).is_err());
        for length in 0..body.len() {
            assert!(BinlogDumpGtid::read(&body[..length]).is_err());
        }
    }

    #[test]
    fn a_well_formed_set_is_passed_on_as_it_came() {
        let set: GtidSet = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-3:5-6".parse().expect("a set");
        let encoded = set.encode();
        let read = BinlogDumpGtid::read(&dump_gtid(&encoded, encoded.len() as u32)).expect("well formed");
        assert_eq!((read.server_id, &read.set[..]), (9, &encoded[..]));
        assert!(!read.is_empty && read.file.is_empty());
    }

    #[test]
    fn a_gtid_request_may_name_a_file() {
        let nothing = GtidSet::default().encode();
        for (sent, file) in [(&b"binlog.000002"[..], &b"binlog.000002"[..]), (&[0; 4], b""), (b"", b"")] {
            let read = BinlogDumpGtid::read(&dump_gtid_of(sent, &nothing, nothing.len() as u32)).expect("well formed");
            assert_eq!((&read.file[..], read.position, read.is_empty), (file, 4, true));
        }
    }
}
