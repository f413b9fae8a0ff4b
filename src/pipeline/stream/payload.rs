//! Compressed transactions (TRANSACTION_PAYLOAD): opened, walked like any other, and closed again where something changed.

use bytes::Bytes;

use crate::binlog::{
    ChecksumAlgorithm, DamagedEvent, Event, EventType, HEADER_LENGTH, Header, close_transaction, open_transaction,
};

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
            let events: Vec<u8> = inner.iter().flat_map(|event| event.raw().iter().copied()).collect();
            Event::build(*event.header(), &[&close_transaction(&events)?], event.checksum())
        };
        if self.group.is_closed() {
            self.outbox.last(event)
        } else {
            self.outbox.inner(event)
        }
        Ok(())
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
