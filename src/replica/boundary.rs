//! Where groups (transactions) begin and end in what is sent, so that a stream can be ended between two of them.

use crate::binlog::{Event, EventType, FormatDescription, MariaDbGtid, Query};

/// Follows a stream, event by event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Boundary {
    inside: bool,
    /// BEGIN was seen: a QUERY does not end the group unless it says so.
    explicit: bool,
}

/// `Gtid_log_event::FL_STANDALONE`: the group is this event and one more.
const MARIADB_STANDALONE: u8 = 1;

impl Boundary {
    /// Whether the last event left a group open.
    pub(crate) fn inside(&self) -> bool {
        self.inside
    }

    /// Takes the next event; true when it ends a group.
    pub(crate) fn passes(&mut self, event: &Event, format: Option<&FormatDescription>) -> bool {
        match event.event_type() {
            EventType::GTID | EventType::ANONYMOUS_GTID | EventType::GTID_TAGGED => self.open(false),
            EventType::MARIADB_GTID => {
                let standalone =
                    MariaDbGtid::read(event.body()).is_ok_and(|gtid| gtid.flags2 & MARIADB_STANDALONE != 0);
                self.open(!standalone)
            }
            EventType::XID | EventType::XA_PREPARE | EventType::TRANSACTION_PAYLOAD | EventType::INCIDENT => {
                self.close()
            }
            EventType::QUERY | EventType::QUERY_COMPRESSED | EventType::EXECUTE_LOAD_QUERY => {
                let sql = match (event.event_type(), format) {
                    (EventType::QUERY, Some(format)) => {
                        Query::read(event.body(), format).map_or(&[][..], |query| query.sql)
                    }
                    _ => &[],
                };
                match sql {
                    b"BEGIN" => self.open(true),
                    b"COMMIT" | b"ROLLBACK" => self.close(),
                    _ if sql.starts_with(b"XA START") || sql.starts_with(b"XA BEGIN") => self.open(true),
                    _ if self.explicit => false,
                    _ => self.close(),
                }
            }
            _ => false,
        }
    }

    fn open(&mut self, explicit: bool) -> bool {
        *self = Self { inside: true, explicit };
        false
    }

    fn close(&mut self) -> bool {
        *self = Self::default();
        true
    }
}
