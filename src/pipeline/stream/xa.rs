//! XA transactions, of which a MySQL replica refuses those without changes.

use crate::binlog::{Event, Vendor};
use crate::ddl::Control;
use crate::pipeline::statement;
use crate::pipeline::xa::{self, XaPlace};

use super::{Stream, StreamError};

impl Stream {
    /// XA PREPARE, or XA COMMIT … ONE PHASE, which is the same event with 1 in its first byte.
    pub(super) fn prepare(&mut self, event: Event) -> Result<(), StreamError> {
        self.flush_held();
        let one_phase = event.body().first().is_some_and(|&one_phase| one_phase != 0);
        let emptied = self.outbox.is_unchanged_xa();
        let xid = std::mem::take(&mut self.xid);
        if !one_phase {
            self.xa.prepared(&xid, &self.xa_place(&event), emptied);
        }
        if emptied {
            self.outbox.end_unchanged_xa(&event);
        } else {
            self.outbox.last(event);
        }
        self.group.close();
        Ok(())
    }

    fn xa_place(&self, event: &Event) -> XaPlace {
        XaPlace { when: event.header().timestamp, server_id: self.source_server, place: self.source.clone() }
    }

    /// MariaDB takes an XA transaction without changes as it is, and its own GTID events say more of XA than these events.
    pub(super) fn bridges_xa(&self) -> bool {
        let source = self.format.as_ref().map(|format| format.server.vendor);
        self.replica == Vendor::MySql && source == Some(Vendor::MySql)
    }

    /// What becomes of the transaction control of XA on the way to a MySQL replica; gives the event back where it passes.
    pub(super) fn xa_control(&mut self, control: Control, event: &Event, out: Event) -> Option<Event> {
        let sql = || statement::text(event, self.format.as_ref()).unwrap_or_default();
        match control {
            Control::XaStart => {
                self.xid = xa::xid_text(sql()).to_vec();
                self.outbox.begin_xa(out);
                None
            }
            Control::XaCommit | Control::XaRollback
                if self.xa.was_emptied(xa::xid_text(sql()), &self.xa_place(event)) =>
            {
                self.outbox.empty(event);
                None
            }
            Control::XaCommit | Control::XaRollback => Some(out),
            _ if self.outbox.is_unchanged_xa() => {
                self.outbox.wait_with_xa(out);
                None
            }
            _ => Some(out),
        }
    }
}
