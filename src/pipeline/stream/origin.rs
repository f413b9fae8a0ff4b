//! The GTID event that opens a group, and the server that the group was born on.

use crate::binlog::{Event, EventType, Gtid, Header, MariaDbGtid, TaggedGtid};
use crate::pipeline::history::StatementGtid;
use crate::pipeline::prelude::Prelude;
use crate::pipeline::rules::ExcludedOrigin;

use super::{Stream, StreamError};

impl Stream {
    pub(super) fn open_group(&mut self, event: Event) -> Result<(), StreamError> {
        self.flush_held();
        self.prelude = Prelude::default();
        let event_type = event.event_type();
        let damaged = |error| StreamError::Truncated(event_type, error);
        let mut origin = None;
        self.changes_nothing = false;
        match event_type {
            EventType::MARIADB_GTID => {
                let gtid = MariaDbGtid::read(event.body()).map_err(damaged)?;
                const NO_CHANGE: u8 = MariaDbGtid::START_ALTER | MariaDbGtid::ROLLBACK_ALTER;
                self.changes_nothing = gtid.flags_extra & NO_CHANGE != 0;
                self.group.open_mariadb(gtid.flags2 & MariaDbGtid::STANDALONE != 0);
                self.gtid = Some(StatementGtid::MariaDb { domain: gtid.domain, sequence: gtid.sequence });
                self.outbox.gtid(event, None);
            }
            EventType::GTID_TAGGED => {
                let gtid = TaggedGtid::read(event.body()).map_err(damaged)?;
                origin = Some(gtid.uuid.into_bytes());
                self.gtid = Some(StatementGtid::MySql {
                    uuid: gtid.uuid.into_bytes(),
                    tag: gtid.tag.clone(),
                    number: gtid.number,
                });
                self.group.open_mysql();
                self.outbox.gtid(event, gtid.transaction_length);
            }
            _ => {
                let gtid = Gtid::read(event.body()).map_err(damaged)?;
                origin = Some(gtid.sid);
                self.gtid = (event_type == EventType::GTID).then(|| StatementGtid::MySql {
                    uuid: gtid.sid,
                    tag: String::new(),
                    number: gtid.gno,
                });
                self.group.open_mysql();
                self.outbox.gtid(event, gtid.transaction_length);
            }
        }
        self.group.excluded = origin.is_some_and(|sid| {
            let uuid = uuid::Uuid::from_bytes(sid).to_string();
            self.rules.exclude_origins().iter().any(|excluded| *excluded == ExcludedOrigin::ServerUuid(uuid.clone()))
        });
        Ok(())
    }

    /// Whether an event was born on a server whose transactions the route leaves out.
    pub(super) fn is_excluded(&self, header: &Header) -> bool {
        let origins = self.rules.exclude_origins();
        self.group.excluded || (!origins.is_empty() && origins.contains(&ExcludedOrigin::ServerId(header.server_id)))
    }
}
