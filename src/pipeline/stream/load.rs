//! The files of LOAD DATA in statement format.

use crate::binlog::{Event, EventType, ExecuteLoadQuery};
use crate::pipeline::prelude::{self, MAX_LOAD_BYTES, Prelude};

use super::{Stream, StreamError};

impl Stream {
    /// The file that a part of a LOAD DATA belongs to; `None` for other events.
    pub(super) fn file_of(event: &Event) -> Result<Option<u32>, StreamError> {
        let event_type = event.event_type();
        let damaged = |error| StreamError::Truncated(event_type, error);
        match event_type {
            EventType::APPEND_BLOCK | EventType::DELETE_FILE => prelude::file_id(event).map(Some).map_err(damaged),
            EventType::EXECUTE_LOAD_QUERY => {
                ExecuteLoadQuery::read(event.body()).map(|load| Some(load.file_id)).map_err(damaged)
            }
            _ => Ok(None),
        }
    }

    /// A block of a LOAD DATA's file. It waits for the statement, up to [`MAX_LOAD_BYTES`]; what has no place to wait goes out
    /// where `allow` holds `load`, and the replica is told to forget it if the statement does not go out.
    pub(super) fn file_part(&mut self, event: Event) -> Result<(), StreamError> {
        self.group.open_statement();
        if self.is_excluded(event.header()) {
            return Ok(());
        }
        let file_id = prelude::file_id(&event).map_err(|error| StreamError::Truncated(event.event_type(), error))?;
        let begins = event.event_type() == EventType::BEGIN_LOAD_QUERY;
        if self.rules.selects_everything() {
            self.prelude_out();
            self.outbox.inner(event);
        } else if begins {
            self.prelude.begin_file(file_id, event);
        } else if self.prelude.holds(file_id) {
            self.prelude.push(event);
        } else {
            // Its first block is out already.
            self.outbox.inner(event);
        }
        if self.prelude.bytes() > MAX_LOAD_BYTES {
            self.let_file_out(StreamError::LongLoad)?;
        }
        Ok(())
    }

    /// A LOAD DATA failed before it changed anything: what waits of it waits for nothing.
    pub(super) fn delete_file(&mut self, event: Event) -> Result<(), StreamError> {
        self.group.open_statement();
        let file_id =
            prelude::file_id(&event).map_err(|error| StreamError::Truncated(EventType::DELETE_FILE, error))?;
        let waits = self.prelude.holds(file_id);
        self.prelude = Prelude::default();
        let ends_group = self.group.end_statement();
        match (waits || self.is_excluded(event.header()), ends_group) {
            (true, true) => self.outbox.nothing_last(),
            (true, false) => {}
            (false, true) => self.outbox.last(event),
            (false, false) => self.outbox.inner(event),
        }
        Ok(())
    }

    /// The blocks that wait for a LOAD DATA go out before it is judged, if the route allows it.
    pub(super) fn let_file_out(&mut self, otherwise: StreamError) -> Result<(), StreamError> {
        if !self.rules.policy().allow.contains("load") {
            return Err(otherwise);
        }
        self.prelude_out();
        Ok(())
    }

    fn prelude_out(&mut self) {
        for event in self.prelude.take() {
            self.outbox.inner(event);
        }
    }
}
