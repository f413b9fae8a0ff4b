//! Type codes of events.

use std::fmt;

/// The type code in an event's header. Codes that have no name here are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(pub u8);

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        impl EventType {
            $($(#[$doc])* pub const $name: EventType = EventType($code);)*

            /// The protocol's name of the code, if it has one.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

event_types! {
    /// `START_EVENT_V3`: the first event of files before 5.0.
    START_V3 = 1,
    /// A statement.
    QUERY = 2,
    /// The server was stopped.
    STOP = 3,
    /// The next file.
    ROTATE = 4,
    /// LAST_INSERT_ID or INSERT_ID of the next statement.
    INTVAR = 5,
    /// LOAD DATA before 4.1.
    LOAD = 6,
    /// `SLAVE_EVENT`, never written.
    SLAVE = 7,
    /// LOAD DATA before 5.0: the file's first block.
    CREATE_FILE = 8,
    /// LOAD DATA: another block.
    APPEND_BLOCK = 9,
    /// LOAD DATA before 5.0: go.
    EXEC_LOAD = 10,
    /// LOAD DATA: forget the file.
    DELETE_FILE = 11,
    /// LOAD DATA before 5.0.
    NEW_LOAD = 12,
    /// The seeds of RAND() in the next statement.
    RAND = 13,
    /// A user variable of the next statement.
    USER_VAR = 14,
    /// The first event of a file: versions, header lengths, checksum.
    FORMAT_DESCRIPTION = 15,
    /// Commit of an InnoDB transaction.
    XID = 16,
    /// LOAD DATA: the file's first block.
    BEGIN_LOAD_QUERY = 17,
    /// LOAD DATA: the statement.
    EXECUTE_LOAD_QUERY = 18,
    /// Id, database, name and column types of a table in the rows events that follow.
    TABLE_MAP = 19,
    /// Rows before 5.1 was final.
    PRE_GA_WRITE_ROWS = 20,
    /// Rows before 5.1 was final.
    PRE_GA_UPDATE_ROWS = 21,
    /// Rows before 5.1 was final.
    PRE_GA_DELETE_ROWS = 22,
    /// Inserted rows, version 1.
    WRITE_ROWS_V1 = 23,
    /// Updated rows, version 1.
    UPDATE_ROWS_V1 = 24,
    /// Deleted rows, version 1.
    DELETE_ROWS_V1 = 25,
    /// Something happened that the log does not hold.
    INCIDENT = 26,
    /// Nothing happened; never in a file.
    HEARTBEAT = 27,
    /// May be skipped by who does not know it.
    IGNORABLE = 28,
    /// The text of the statement whose rows follow.
    ROWS_QUERY = 29,
    /// Inserted rows, version 2.
    WRITE_ROWS = 30,
    /// Updated rows, version 2.
    UPDATE_ROWS = 31,
    /// Deleted rows, version 2.
    DELETE_ROWS = 32,
    /// The GTID of the group that follows.
    GTID = 33,
    /// A group without a GTID follows.
    ANONYMOUS_GTID = 34,
    /// The GTIDs of all files before this one.
    PREVIOUS_GTIDS = 35,
    /// Group replication's certification data.
    TRANSACTION_CONTEXT = 36,
    /// Group replication's view change.
    VIEW_CHANGE = 37,
    /// End of the first phase of an XA transaction.
    XA_PREPARE = 38,
    /// Updated rows with JSON differences.
    PARTIAL_UPDATE_ROWS = 39,
    /// A compressed transaction.
    TRANSACTION_PAYLOAD = 40,
    /// Nothing happened, with a 64-bit position; never in a file.
    HEARTBEAT_V2 = 41,
    /// The tagged GTID of the group that follows (8.3+).
    GTID_TAGGED = 42,
    /// MariaDB: the text of the statement whose rows follow.
    ANNOTATE_ROWS = 160,
    /// MariaDB: the oldest file that crash recovery needs.
    BINLOG_CHECKPOINT = 161,
    /// MariaDB: the GTID of the group that follows, and its BEGIN.
    MARIADB_GTID = 162,
    /// MariaDB: the last GTID of each domain and server in the files before this one.
    MARIADB_GTID_LIST = 163,
    /// MariaDB: what follows in the file is encrypted.
    START_ENCRYPTION = 164,
    /// MariaDB: a compressed statement.
    QUERY_COMPRESSED = 165,
    /// MariaDB: compressed rows, version 1.
    WRITE_ROWS_COMPRESSED_V1 = 166,
    /// MariaDB: compressed rows, version 1.
    UPDATE_ROWS_COMPRESSED_V1 = 167,
    /// MariaDB: compressed rows, version 1.
    DELETE_ROWS_COMPRESSED_V1 = 168,
    /// MariaDB: compressed rows, version 2.
    WRITE_ROWS_COMPRESSED = 169,
    /// MariaDB: compressed rows, version 2.
    UPDATE_ROWS_COMPRESSED = 170,
    /// MariaDB: compressed rows, version 2.
    DELETE_ROWS_COMPRESSED = 171,
}

impl fmt::Display for EventType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => formatter.write_str(name),
            None => write!(formatter, "type {}", self.0),
        }
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
