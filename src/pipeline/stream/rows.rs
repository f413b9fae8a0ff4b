//! The tables of a statement and their rows: which go out, under which names, and what waits until that is known.
//!
//! TABLE_MAPs wait for rows of their tables, and one rows event waits for the next, because the last one that goes out must say that it
//! ends the statement.

use crate::binlog::{Event, EventType, FormatDescription, Rows, TableMap};
use crate::pipeline::memory::MappedTable;

use super::{MAX_HELD_BYTES, MAX_SHARED_NAMES, Stream, StreamError};

impl Stream {
    fn hold(&mut self, bytes: usize) -> Result<(), StreamError> {
        self.held_bytes += bytes;
        if self.held_bytes > MAX_HELD_BYTES { Err(StreamError::HeldTooMuch(self.held_bytes)) } else { Ok(()) }
    }

    /// A statement ended without saying so: what waits for its next event goes out as it is.
    pub(super) fn flush_held(&mut self) {
        for event in self.held.drain(..) {
            self.outbox.inner(event);
        }
        self.held_bytes = 0;
        self.tables.clear();
    }

    pub(super) fn table_map(&mut self, event: Event) -> Result<(), StreamError> {
        self.group.open_statement();
        let format = self.format_or(EventType::TABLE_MAP)?;
        let map = TableMap::read(event.body(), format)
            .map_err(|error| StreamError::Truncated(EventType::TABLE_MAP, error))?;
        let names = &event.body()[map.names_offset..map.columns_offset];
        let passed = self.has_passed();
        let table = if self.is_excluded(event.header()) {
            &MappedTable::NotSelected
        } else {
            match self.memory.table(&self.rules, &map, names) {
                // As a statement that stops the route: what the replica has behind it stops nothing.
                Err(StreamError::Stopped { .. } | StreamError::NameTooLong(_)) if passed => &MappedTable::NotSelected,
                table => table?,
            }
        };
        let mapped = match table {
            MappedTable::NotSelected => None,
            MappedTable::Unchanged => Some(event.clone()),
            MappedTable::Renamed(new_names) => {
                let (front, back) = (&event.body()[..map.names_offset], &event.body()[map.columns_offset..]);
                Some(Event::build(*event.header(), &[front, new_names, back], event.checksum()))
            }
        };
        self.tables.insert(map.table_id, mapped.is_some());
        if let Some(shared) = self.memory.take_shared()
            && self.shared_names.len() < MAX_SHARED_NAMES
            && !self.shared_names.contains(&shared)
        {
            self.shared_names.push(shared);
        }
        if let Some(event) = mapped {
            self.hold(event.raw().len())?;
            self.held.push(event);
        }
        Ok(())
    }

    pub(super) fn rows(&mut self, event: Event) -> Result<(), StreamError> {
        let event_type = event.event_type();
        let rows = Rows::read(event.body(), event_type, self.format_or(event_type)?)
            .map_err(|error| StreamError::Truncated(event_type, error))?;
        let kept = match self.tables.get(&rows.table_id) {
            Some(&kept) => kept,
            // It has no rows and only ends the statement, which another event can do.
            None if rows.is_dummy() => false,
            None => return Err(StreamError::UnknownTable(rows.table_id)),
        };
        if !rows.ends_statement() {
            if kept {
                for waiting in self.held.drain(..) {
                    self.outbox.inner(waiting);
                }
                self.held_bytes = 0;
                // The last rows event of a statement must say so; whether this one is the last that is kept is not known yet.
                self.hold(event.raw().len())?;
                self.held.push(event);
            }
            return Ok(());
        }
        let last = if kept {
            Some(event)
        } else {
            // TABLE_MAPs without rows behind them do not go out.
            let position = self.held.iter().rposition(|held| Rows::is_rows(held.event_type()));
            position.map(|position| {
                self.held.truncate(position + 1);
                let rows = self.held.remove(position);
                ending_statement(&rows, self.format.as_ref())
            })
        };
        let waiting = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        self.tables.clear();
        let ends_group = self.group.end_statement();
        match last {
            Some(last) => {
                for event in waiting {
                    self.outbox.inner(event);
                }
                if ends_group { self.outbox.last(last) } else { self.outbox.inner(last) }
            }
            None if ends_group => self.outbox.nothing_last(),
            None => {}
        }
        Ok(())
    }
}

/// The same rows event as the last of its statement.
fn ending_statement(event: &Event, format: Option<&FormatDescription>) -> Event {
    let rows = format.and_then(|format| Rows::read(event.body(), event.event_type(), format).ok());
    match rows {
        Some(rows) => {
            let body = event.body();
            let flags = (rows.flags | Rows::STMT_END_F).to_le_bytes();
            let parts = [&body[..rows.flags_offset], &flags, &body[rows.flags_offset + 2..]];
            Event::build(*event.header(), &parts, event.checksum())
        }
        None => event.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::binlog::{ChecksumAlgorithm, Event, EventType, FileReader, Header, Vendor};
    use crate::pipeline::coordinates::FilePosition;
    use crate::pipeline::rules::tests::rules;
    use crate::pipeline::{Numbering, Stream, StreamOptions};

    const RECORDED: &[u8] = include_bytes!("../../../fixtures/statements/mysql-5.7.binlog");

    #[test]
    fn a_table_that_stops_the_route_stops_nothing_that_the_replica_has_behind_it() {
        let excluded = "a".repeat(64);
        let rules = Arc::new(rules(&format!("table shop.* as shop.new_*\nnot shop.{excluded}")));
        let format = FileReader::new(RECORDED).and_then(|mut reader| reader.next_event()).unwrap().expect("an event");
        let at = |position| FilePosition { file: b"bin.000001".to_vec(), position };
        for (name, words) in
            [(format!("_{}_gho", &excluded[..59]), "which is excluded"), ("b".repeat(61), "64 characters")]
        {
            let names = [&[4][..], b"shop\0", &[u8::try_from(name.len()).unwrap()], name.as_bytes(), &[0]].concat();
            let body = [&[1, 0, 0, 0, 0, 0, 1, 0][..], &names, &[1, 3, 0, 1]].concat();
            let header = Header {
                timestamp: 1,
                event_type: EventType::TABLE_MAP,
                server_id: 1,
                event_length: 0,
                log_pos: 0,
                flags: 0,
            };
            let map = Event::build(header, &[&body], ChecksumAlgorithm::Crc32);
            let end = 4 + (format.raw().len() + map.raw().len()) as u64;
            for (passed, stops) in [(end - 1, true), (end, false)] {
                let options = StreamOptions {
                    numbering: Numbering::Source,
                    replica: Vendor::MySql,
                    start: at(4),
                    length_buffer: 0,
                    checksum: ChecksumAlgorithm::None,
                };
                let mut stream = Stream::new(Arc::clone(&rules), options).with_passed(at(passed));
                let mut out = Vec::new();
                stream.push(format.raw().clone(), &mut out).expect("a format");
                match stream.push(map.raw().clone(), &mut out) {
                    Ok(_) => assert!(!stops, "{name}"),
                    Err(stop) => assert!(stops && stop.fault.to_string().contains(words), "{name}: {}", stop.fault),
                }
                assert_eq!(out.len(), 1, "{name}: no table map");
            }
        }
    }
}
