//! Borrowed views of event bodies, made only where a rule needs them.

use super::{ChecksumAlgorithm, Event, EventType, FormatDescription, Header, flags};
use crate::wire::{Cursor, Truncated};

/// ROTATE_EVENT: `u64 position | file name to the end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotate<'a> {
    /// Where in the next file the stream goes on.
    pub position: u64,
    /// The next file's name, without a path.
    pub file: &'a [u8],
}

impl<'a> Rotate<'a> {
    /// Reads the body.
    pub fn read(body: &'a [u8]) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(body);
        Ok(Self { position: cursor.u64()?, file: cursor.rest() })
    }

    /// The event that stands in no file: it begins a stream or another file of it and tells the receiver where it is.
    pub fn artificial(&self, server_id: u32, checksum: ChecksumAlgorithm) -> Event {
        let header = Header {
            timestamp: 0,
            event_type: EventType::ROTATE,
            server_id,
            event_length: 0,
            log_pos: 0,
            flags: flags::ARTIFICIAL,
        };
        Event::build(header, &[&self.position.to_le_bytes(), self.file], checksum)
    }
}

/// TABLE_MAP_EVENT: `table_id | u16 flags | u8 length, database, 00 | u8 length, table, 00 | packed columns | types …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableMap<'a> {
    /// Valid up to the end of the statement. 6 bytes, 4 in 5.1 betas.
    pub table_id: u64,
    /// 1 BIT_LEN_EXACT, 2 REFERRED_FK_DB; MariaDB 1 << 14 HAS_TRIGGERS.
    pub flags: u16,
    /// UTF-8 in every server.
    pub database: &'a [u8],
    /// UTF-8 in every server.
    pub table: &'a [u8],
    /// Offset in the body of the database's length byte.
    pub names_offset: usize,
    /// Offset in the body of what follows the table's NUL.
    pub columns_offset: usize,
}

impl<'a> TableMap<'a> {
    /// Reads the body up to the column count.
    pub fn read(body: &'a [u8], format: &FormatDescription) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(body);
        let table_id = table_id(&mut cursor, format.table_id_width(EventType::TABLE_MAP))?;
        let flags = cursor.u16()?;
        let names_offset = cursor.offset();
        let database = counted_name(&mut cursor)?;
        let table = counted_name(&mut cursor)?;
        Ok(Self { table_id, flags, database, table, names_offset, columns_offset: cursor.offset() })
    }
}

fn table_id(cursor: &mut Cursor<'_>, width: usize) -> Result<u64, Truncated> {
    if width == 4 { cursor.u32().map(u64::from) } else { cursor.u48() }
}

fn counted_name<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Truncated> {
    let length = cursor.u8()?;
    let name = cursor.take(usize::from(length))?;
    cursor.take(1)?;
    Ok(name)
}

/// The front of every rows event, versions 0 to 2 and MariaDB's compressed ones: `table_id | u16 flags | …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// The table, by the id of a TABLE_MAP of the same statement.
    pub table_id: u64,
    /// See the constants.
    pub flags: u16,
    /// Offset of the flags in the body.
    pub flags_offset: usize,
}

impl Rows {
    /// The last rows event of its statement.
    pub const STMT_END_F: u16 = 1;

    /// Reads the front of the body.
    pub fn read(body: &[u8], event_type: EventType, format: &FormatDescription) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(body);
        let table_id = table_id(&mut cursor, format.table_id_width(event_type))?;
        let flags_offset = cursor.offset();
        Ok(Self { table_id, flags: cursor.u16()?, flags_offset })
    }

    /// Whether events of a type hold rows.
    pub fn is_rows(event_type: EventType) -> bool {
        matches!(event_type.0, 20..=25 | 30..=32 | 39 | 166..=171)
    }

    /// Whether it ends its statement.
    pub fn ends_statement(&self) -> bool {
        self.flags & Self::STMT_END_F != 0
    }

    /// A rows event without rows that only ends a statement: its table id is all ones in 6, 4 or 3 bytes.
    pub fn is_dummy(&self) -> bool {
        matches!(self.table_id, 0xffff_ffff_ffff | 0xffff_ffff | 0x00ff_ffff)
    }
}

/// QUERY_EVENT: `u32 thread_id | u32 exec_time | u8 database length | u16 error_code | u16 status length | status
/// variables | database | 00 | statement to the end`. MariaDB's compressed form has the same front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// The session, which matters for temporary tables.
    pub thread_id: u32,
    /// Seconds that the statement took.
    pub exec_time: u32,
    /// The error that the replica must see too; 0 for none.
    pub error_code: u16,
    /// See [`StatusVariables`].
    pub status: &'a [u8],
    /// The session's default database, UTF-8; empty for none.
    pub database: &'a [u8],
    /// The statement, in the character set of the session (or compressed, in MariaDB's type 165).
    pub sql: &'a [u8],
}

impl<'a> Query<'a> {
    /// Length of the fixed part from MySQL 5.0.4 on.
    pub const POST_HEADER_LENGTH: usize = 13;

    /// Reads the body.
    pub fn read(body: &'a [u8], format: &FormatDescription) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(body);
        let thread_id = cursor.u32()?;
        let exec_time = cursor.u32()?;
        let database_length = usize::from(cursor.u8()?);
        let error_code = cursor.u16()?;
        // Binlog version 4 always has the status length; 11 was version 3.
        let status_length = if format.post_header_length(EventType::QUERY) == Some(11) { 0 } else { cursor.u16()? };
        let status = cursor.take(usize::from(status_length))?;
        let database = cursor.take(database_length)?;
        cursor.take(1)?;
        Ok(Self { thread_id, exec_time, error_code, status, database, sql: cursor.rest() })
    }
}

/// One status variable of a QUERY event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusVariable<'a> {
    /// The code.
    pub code: u8,
    /// The payload, with its own length bytes.
    pub payload: &'a [u8],
    /// Offset of the code in the status variables.
    pub offset: usize,
}

/// Codes of status variables (`Q_…_CODE` in every server's `log_event.h`).
pub mod status_code {
    /// u32 of option bits.
    pub const FLAGS2: u8 = 0;
    /// u64.
    pub const SQL_MODE: u8 = 1;
    /// u16 increment, u16 offset.
    pub const AUTO_INCREMENT: u8 = 3;
    /// Three u16 collation ids: client, connection, server.
    pub const CHARSET: u8 = 4;
    /// u8 length and the catalog's name, which is always "std".
    pub const CATALOG: u8 = 6;
    /// Names of the databases that the statement changes.
    pub const UPDATED_DB_NAMES: u8 = 12;
    /// The count that stands for "more than 16, no names follow".
    pub const OVER_MAX_DBS: u8 = 254;
    /// MariaDB: what follows is padding.
    pub const DUMMY: u8 = 255;
}

/// Walks over the status variables. Ends at the first code that it does not know, as every server does.
#[derive(Debug, Clone)]
pub struct StatusVariables<'a> {
    cursor: Cursor<'a>,
}

impl<'a> StatusVariables<'a> {
    /// Starts at the first one.
    pub fn new(status: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(status) }
    }

    /// The first one with a code.
    pub fn find(status: &'a [u8], code: u8) -> Result<Option<StatusVariable<'a>>, Truncated> {
        for variable in Self::new(status) {
            let variable = variable?;
            if variable.code == code {
                return Ok(Some(variable));
            }
        }
        Ok(None)
    }

    fn read(&mut self) -> Result<Option<StatusVariable<'a>>, Truncated> {
        let start = self.cursor;
        let code = self.cursor.u8()?;
        let payload_start = self.cursor;
        let cursor = &mut self.cursor;
        match code {
            0 | 10 => drop(cursor.take(4)?),
            1 | 9 | 17 | 129 => drop(cursor.take(8)?),
            2 => {
                let length = cursor.u8()?;
                cursor.take(usize::from(length) + 1)?;
            }
            3 => drop(cursor.take(4)?),
            4 => drop(cursor.take(6)?),
            5 | 6 => {
                let length = cursor.u8()?;
                cursor.take(usize::from(length))?;
            }
            7 | 8 | 18 => drop(cursor.take(2)?),
            11 => {
                for _ in 0..2 {
                    let length = cursor.u8()?;
                    cursor.take(usize::from(length))?;
                }
            }
            status_code::UPDATED_DB_NAMES => {
                let count = cursor.u8()?;
                if count != status_code::OVER_MAX_DBS {
                    for _ in 0..count {
                        cursor.until_nul()?;
                    }
                }
            }
            13 | 128 => drop(cursor.take(3)?),
            14 | 15 => drop(cursor.take(8)?),
            16 | 19 | 20 => drop(cursor.take(1)?),
            130 => {
                // START, COMMIT and ROLLBACK ALTER carry the sequence number of the START.
                let flags = cursor.u8()?;
                if flags & (2 | 4 | 8) != 0 && cursor.left() >= 8 {
                    cursor.take(8)?;
                }
            }
            131 => {
                let count = cursor.u8()?;
                cursor.take(usize::from(count) * 4)?;
            }
            _ => {
                let left = cursor.left();
                cursor.take(left)?;
                return Ok(None);
            }
        }
        let length = payload_start.left() - self.cursor.left();
        Ok(Some(StatusVariable { code, payload: &payload_start.rest()[..length], offset: start.offset() }))
    }
}

impl<'a> Iterator for StatusVariables<'a> {
    type Item = Result<StatusVariable<'a>, Truncated>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.left() == 0 {
            return None;
        }
        let read = self.read().transpose();
        if !matches!(read, Some(Ok(_))) {
            // Nothing behind an unknown or broken variable can be read.
            let left = self.cursor.left();
            let _ = self.cursor.take(left);
        }
        read
    }
}

/// GTID_LOG_EVENT and ANONYMOUS_GTID_LOG_EVENT: `u8 flags | 16 bytes sid | u64 gno | u8 2 | u64 last_committed | u64
/// sequence_number` and from 8.0 on `u56 immediate commit time [u56 original] | packed transaction_length | u32
/// immediate server version [u32 original] | [u64 commit_group_ticket]`. MySQL 5.6 may end after gno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gtid {
    /// 1: may have statements in it.
    pub flags: u8,
    /// The uuid; zero in anonymous events.
    pub sid: [u8; 16],
    /// The number; zero in anonymous events.
    pub gno: u64,
    /// The parallel applier's clock.
    pub last_committed: Option<u64>,
    /// The parallel applier's clock.
    pub sequence_number: Option<u64>,
    /// Bytes of the whole transaction with this event and all checksums, and where the field stands in the body.
    pub transaction_length: Option<LengthField>,
}

/// A packed integer in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LengthField {
    /// Its value.
    pub value: u64,
    /// Its offset in the body.
    pub offset: usize,
    /// Its width in bytes.
    pub width: usize,
}

impl Gtid {
    /// Reads the body of types 33 and 34.
    pub fn read(body: &[u8]) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(body);
        let flags = cursor.u8()?;
        let sid = cursor.array()?;
        let gno = cursor.u64()?;
        let mut gtid = Self { flags, sid, gno, last_committed: None, sequence_number: None, transaction_length: None };
        // The rest came with later versions; what a file does not have is not an error.
        if cursor.left() >= 17 && cursor.u8()? == 2 {
            gtid.last_committed = Some(cursor.u64()?);
            gtid.sequence_number = Some(cursor.u64()?);
            if cursor.left() >= 7 {
                if cursor.u56()? & (1 << 55) != 0 {
                    cursor.u56()?;
                }
                if cursor.left() > 0 {
                    let offset = cursor.offset();
                    let value = cursor.packed()?;
                    gtid.transaction_length = Some(LengthField { value, offset, width: cursor.offset() - offset });
                }
            }
        }
        Ok(gtid)
    }
}

/// MariaDB's GTID event: `u64 seq_no | u32 domain_id | u8 flags2 | [u64 commit_id] | [XA: u32 format | u8 gtrid length | u8 bqual length |
/// data] | [u8 flags_extra …]`, filled up with zeros. The server id is the header's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MariaDbGtid {
    /// The number in the domain.
    pub sequence: u64,
    /// The domain.
    pub domain: u32,
    /// See the constants.
    pub flags2: u8,
    /// See the constants; 0 where the event has none.
    pub flags_extra: u8,
}

impl MariaDbGtid {
    /// In `flags2`: a commit id follows.
    const GROUP_COMMIT_ID: u8 = 2;
    /// In `flags2`, either of two: the name of an XA transaction follows.
    const XA: u8 = 64 | 128;
    /// In `flags_extra`: the first of two groups of one ALTER TABLE (`binlog_alter_two_phase`), which has changed nothing yet.
    pub const START_ALTER: u8 = 2;
    /// In `flags_extra`: the second of the two, where the ALTER TABLE failed. (With 4 it succeeded.)
    pub const ROLLBACK_ALTER: u8 = 8;
    /// The group is this event and one QUERY.
    pub const STANDALONE: u8 = 1;
    /// All that the group changes can be rolled back.
    pub const TRANSACTIONAL: u8 = 4;
    /// Offset of `flags2` in the body.
    pub const FLAGS2_OFFSET: usize = 12;
    /// A statement of the data definition language.
    pub const DDL: u8 = 32;

    /// Reads the front of the body.
    pub fn read(body: &[u8]) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(body);
        let (sequence, domain, flags2) = (cursor.u64()?, cursor.u32()?, cursor.u8()?);
        if flags2 & Self::GROUP_COMMIT_ID != 0 {
            cursor.u64()?;
        }
        if flags2 & Self::XA != 0 {
            cursor.u32()?;
            let length = usize::from(cursor.u8()?) + usize::from(cursor.u8()?);
            cursor.take(length)?;
        }
        let flags_extra = if cursor.left() > 0 { cursor.u8()? } else { 0 };
        Ok(Self { sequence, domain, flags2, flags_extra })
    }
}

/// EXECUTE_LOAD_QUERY_EVENT: QUERY's fixed part, then `u32 file_id | u32 name_start | u32 name_end | u8 duplicates`,
/// then QUERY's variable part. The two offsets say where in the statement the `'file' [REPLACE | IGNORE] INTO` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecuteLoadQuery<'a> {
    /// The file of the BEGIN_LOAD_QUERY before it.
    pub file_id: u32,
    /// Start of the file's name in the statement.
    pub name_start: u32,
    /// End of `'file' [REPLACE | IGNORE] INTO` in the statement.
    pub name_end: u32,
    /// How duplicates are handled.
    pub duplicates: u8,
    /// All that a QUERY has.
    pub query: Query<'a>,
}

impl<'a> ExecuteLoadQuery<'a> {
    /// Reads the body.
    pub fn read(body: &'a [u8]) -> Result<Self, Truncated> {
        let mut cursor = Cursor::new(body);
        let thread_id = cursor.u32()?;
        let exec_time = cursor.u32()?;
        let database_length = usize::from(cursor.u8()?);
        let error_code = cursor.u16()?;
        let status_length = usize::from(cursor.u16()?);
        let (file_id, name_start, name_end, duplicates) = (cursor.u32()?, cursor.u32()?, cursor.u32()?, cursor.u8()?);
        let status = cursor.take(status_length)?;
        let database = cursor.take(database_length)?;
        cursor.take(1)?;
        let query = Query { thread_id, exec_time, error_code, status, database, sql: cursor.rest() };
        Ok(Self { file_id, name_start, name_end, duplicates, query })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_flags_of_a_mariadb_gtid_are_found_behind_what_the_first_announce() {
        let front = |flags2: u8| [&[0; 12][..], &[flags2]].concat();
        for (body, flags_extra) in [
            (front(1), 0),
            // Filled up with zeros by servers that know no second flags.
            ([front(1), vec![0; 6]].concat(), 0),
            ([front(1 | 32), vec![MariaDbGtid::START_ALTER, 0, 0]].concat(), 2),
            ([front(1 | 2), vec![255; 8], vec![MariaDbGtid::ROLLBACK_ALTER], vec![0; 8]].concat(), 8),
            ([front(64), vec![255; 4], vec![2, 1], vec![255; 3], vec![4]].concat(), 4),
        ] {
            assert_eq!(MariaDbGtid::read(&body).map(|gtid| gtid.flags_extra), Ok(flags_extra), "{body:?}");
        }
        assert!(MariaDbGtid::read(&[front(64), vec![255; 6]].concat()).is_err());
    }
}
