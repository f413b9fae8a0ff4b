//! Compressed transactions (TRANSACTION_PAYLOAD): opened, walked like any other, and closed again where something changed.

use bytes::Bytes;

use crate::binlog::{
    ChecksumAlgorithm, DamagedEvent, Event, EventType, HEADER_LENGTH, Header, close_transaction, open_transaction,
};

use crate::pipeline::statement;

use super::{Stream, StreamError};

impl Stream {
    /// Opens a compressed transaction, lets its events go through, and closes it again if anything changed.
    pub(super) fn payload(&mut self, event: Event) -> Result<(), StreamError> {
        let opened = Bytes::from(open_transaction(event.body())?);
        let outer = std::mem::replace(&mut self.checksum, ChecksumAlgorithm::None);
        let before = self.outbox.begin_payload();
        let walked = self.walk_payload(&opened);
        self.checksum = outer;
        let inner = self.outbox.end_payload(before);
        walked?;
        let unchanged = inner.iter().map(|event| event.raw().len()).sum::<usize>() == opened.len()
            && inner.iter().flat_map(|event| event.raw().iter()).eq(opened.iter());
        let event = if unchanged {
            event
        } else {
            let body = self.closed_payload(&inner, event.body().len())?;
            Event::build(*event.header(), &[&body], event.checksum())
        };
        if self.group.is_closed() {
            self.outbox.last(event)
        } else {
            self.outbox.inner(event)
        }
        Ok(())
    }

    /// The body for these events. Where a replica counts, it is no longer than it was (`length`), if that can be had: names of the same
    /// length compress to a few bytes more or less, and the catalogs of statements make up for those.
    fn closed_payload(&self, events: &[Event], length: usize) -> Result<Vec<u8>, StreamError> {
        let joined = |events: &[Event]| -> Vec<u8> { events.iter().flat_map(|event| event.raw().to_vec()).collect() };
        if !self.numberer.keeps_lengths() {
            return Ok(close_transaction(&joined(events), usize::MAX)?);
        }
        let body = close_transaction(&joined(events), length)?;
        if body.len() <= length {
            return Ok(body);
        }
        let plain: Vec<_> = events.iter().map(|event| self.without_catalog(event)).collect();
        let shorter = close_transaction(&joined(&plain), length)?;
        Ok(if shorter.len() < body.len() { shorter } else { body })
    }

    fn without_catalog(&self, event: &Event) -> Event {
        let shorter = self.format.as_ref().and_then(|format| statement::without_catalog(event, format));
        shorter.unwrap_or_else(|| event.clone())
    }

    fn walk_payload(&mut self, opened: &Bytes) -> Result<(), StreamError> {
        let mut offset = 0;
        while offset < opened.len() {
            let header =
                Header::read(&opened[offset..]).map_err(|error| StreamError::Truncated(EventType(0), error))?;
            let length = header.event_length as usize;
            let end = offset.saturating_add(length);
            if length < HEADER_LENGTH || end > opened.len() {
                let actual = opened.len() - offset;
                let (event_type, stated) = (header.event_type, header.event_length);
                return Err(DamagedEvent::Length { event_type, stated, actual }.into());
            }
            if header.event_type == EventType::TRANSACTION_PAYLOAD {
                return Err(StreamError::UnknownType(header.event_type));
            }
            self.transform(Event::new(opened.slice(offset..end), ChecksumAlgorithm::None)?)?;
            offset = end;
        }
        Ok(())
    }
}
