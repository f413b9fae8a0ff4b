//! A statement: what the rules make of it, what later events learn from it, and what it does to its group.

use std::sync::Arc;

use crate::binlog::{Event, EventType, Vendor};
use crate::ddl::{Control, Reader};
use crate::pipeline::history::{Entry, Statement};
use crate::pipeline::memory::Memory;
use crate::pipeline::rules::Learned;
use crate::pipeline::statement::{self, StatementContext};

use super::{Stream, StreamError};

impl Stream {
    pub(super) fn statement(&mut self, event: Event) -> Result<(), StreamError> {
        self.flush_held();
        let format = self.format.as_ref().ok_or(StreamError::NoFormat(event.event_type()))?;
        let context = StatementContext {
            rules: &self.rules,
            format,
            replica: Reader { mariadb: self.replica == Vendor::MariaDb, version: self.replica_version },
            excluded: self.is_excluded(event.header()),
            at: &self.source,
            keeps_lengths: self.numberer.keeps_lengths(),
        };
        let mut outcome = match self.memory.control(&event) {
            Some(outcome) => outcome,
            None => {
                let outcome = match statement::judge(&event, &context) {
                    Err(StreamError::Stopped { behind, .. }) if self.has_passed() => {
                        statement::Outcome::left_out(behind)
                    }
                    Err(StreamError::Stopped { message, code, behind }) => {
                        let behind = behind.filter(|_| !self.changes_nothing);
                        if let Some(learned) = behind.as_deref() {
                            self.keep(learned)?;
                        }
                        return Err(StreamError::Stopped { message, code, behind });
                    }
                    judged => judged?,
                };
                self.memory.keep_control(&event, &outcome);
                outcome
            }
        };
        if self.changes_nothing {
            // Of an ALTER TABLE in two groups only the second teaches, and only where it succeeded.
            outcome.learned = None;
        }
        if let Some(learned) = outcome.learned {
            self.learn(*learned)?;
        }
        self.notes.extend(outcome.note);
        let file_waits = self.prelude.file().is_some();
        let prelude = self.prelude.take();
        let opening = outcome.opening;
        let was_open = self.group.in_transaction();
        self.group.statement(opening);
        if let Some(control) = outcome.control {
            self.group.control(control);
        }
        let ends_group = self.group.is_closed();
        let mut passing = outcome.event;
        if let Some(control) = outcome.control
            && self.bridges_xa()
            && let Some(out) = passing.take()
        {
            passing = self.xa_control(control, &event, out);
            if passing.is_none() {
                return Ok(());
            }
        }
        match passing {
            Some(out) => {
                for event in prelude {
                    self.outbox.inner(event);
                }
                if ends_group {
                    self.outbox.last(out);
                } else if outcome.control == Some(Control::XaEnd) {
                    // The XA_PREPARE that follows cannot be lengthened: the count is put right here.
                    self.outbox.aligned(out);
                } else {
                    self.outbox.inner(out);
                }
            }
            None => match opening {
                // CREATE TABLE … START TRANSACTION was left out: its XID is still to come.
                statement::Opening::ByStatement if !was_open => {
                    self.outbox.inner(statement::control_event(&event, b"BEGIN"));
                }
                // What is out already of its file is forgotten there.
                _ if event.event_type() == EventType::EXECUTE_LOAD_QUERY
                    && !file_waits
                    && !self.is_excluded(event.header()) =>
                {
                    let forgotten = statement::forget_file(&event)?;
                    if ends_group {
                        self.outbox.last(forgotten);
                    } else {
                        self.outbox.inner(forgotten);
                    }
                }
                _ if ends_group => self.outbox.empty(&event),
                _ => {}
            },
        }
        Ok(())
    }

    /// Whether the replica has the event at hand behind it.
    pub(super) fn has_passed(&self) -> bool {
        self.passed
            .as_ref()
            .is_some_and(|passed| passed.file == self.source.file && self.source.position <= passed.position)
    }

    /// From here on `learned` holds. It is kept before anything of its statement goes out.
    fn learn(&mut self, learned: Learned) -> Result<(), StreamError> {
        self.keep(&learned)?;
        self.rules = Arc::new(self.rules.with_learned(Arc::new(learned)));
        // What the rules said of tables may be another thing now.
        self.memory = Memory::default();
        Ok(())
    }

    /// Writes down what holds behind the statement at hand.
    fn keep(&mut self, learned: &Learned) -> Result<(), StreamError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let statement = Statement { place: self.place(), gtid: self.gtid.clone() };
        let entry = Entry { place: statement.place.clone(), gtid: statement.gtid.clone(), learned: learned.clone() };
        journal.remember(entry, self.taught.as_ref()).map_err(StreamError::NotKept)?;
        self.taught = Some(statement);
        Ok(())
    }
}
