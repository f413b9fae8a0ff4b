//! The GTID that an event carries.

use uuid::Uuid;

use super::Sid;
use crate::binlog::{Event, EventType, Gtid, TaggedGtid};

/// Server and number of the transaction that a MySQL GTID event begins; `None` for other events, and where it cannot be read.
pub fn mysql_gtid(event: &Event) -> Option<(Sid, u64)> {
    match event.event_type() {
        EventType::GTID => {
            let gtid = Gtid::read(event.body()).ok()?;
            Some((Sid { uuid: Uuid::from_bytes(gtid.sid), tag: String::new() }, gtid.gno))
        }
        EventType::GTID_TAGGED => {
            let TaggedGtid { uuid, tag, number, .. } = TaggedGtid::read(event.body()).ok()?;
            Some((Sid { uuid, tag }, number))
        }
        _ => None,
    }
}
