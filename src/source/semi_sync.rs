//! Being a semi-synchronous replica: the two bytes before each event, and the acknowledgements that go back.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;

use super::{ServerVersion, SourceError, Vendor, connection::Connection};
use crate::wire::{
    Acknowledgement, NEEDS_ACKNOWLEDGEMENT, SEMI_SYNC_MAGIC, SEQUENCE_AFTER_ACKNOWLEDGEMENT, write_packet,
};

/// The statement that makes a stream semi-synchronous, under the old name and the new: a user variable of another name does no
/// harm anywhere. A source without semi-synchronous replication ignores it.
pub const SEMI_SYNC_REGISTRATION: &str = "SET @rpl_semi_sync_slave = 1, @rpl_semi_sync_replica = 1";

/// Acknowledgements that the source does not take, in bytes; beyond it they are not sent, as one that follows says as much.
const OUTGOING_LIMIT: usize = 64 << 10;

/// The state of one stream.
#[derive(Debug, Default)]
pub(super) struct SemiSync {
    /// Whether events come with the two bytes: never where the stream is not registered, and not always where it is, because a source
    /// that has turned such replication off sends plain events. The first packet shows it: it is a ROTATE that was made up, and its
    /// time is 0.
    framed: Option<bool>,
    /// The source's thread sends nothing until it has read the acknowledgement that it asked for.
    synchronous: bool,
    /// The last event asks for an acknowledgement.
    asks: bool,
    /// One that was asked for has not been sent.
    owed: bool,
    outgoing: BytesMut,
    unflushed: bool,
}

impl SemiSync {
    /// For a stream from a server of this version, registered by [`SEMI_SYNC_REGISTRATION`] or not. MySQL 5.7 and MariaDB 10.3 read
    /// acknowledgements in a thread of its own.
    pub(super) fn of(version: &ServerVersion, registered: bool) -> Self {
        let threaded = match version.vendor {
            Vendor::MySql => 50_700,
            Vendor::MariaDb => 100_300,
        };
        let framed = (!registered).then_some(false);
        Self { framed, synchronous: version.number < threaded, ..Self::default() }
    }

    /// Takes the two bytes off an event.
    pub(super) fn strip(&mut self, event: &mut Bytes) -> Result<(), &'static str> {
        let framed = *self.framed.get_or_insert(event.first() == Some(&SEMI_SYNC_MAGIC));
        self.asks = false;
        if framed {
            let &[SEMI_SYNC_MAGIC, flags, ..] = &event[..] else {
                return Err("an event without the semi-synchronous header");
            };
            self.asks = flags & NEEDS_ACKNOWLEDGEMENT != 0;
            self.owed |= self.asks;
            event.advance(2);
        }
        Ok(())
    }

    /// The number of the next packet, where it does not follow from the last.
    pub(super) fn next_sequence(&self) -> Option<u8> {
        self.asks.then_some(SEQUENCE_AFTER_ACKNOWLEDGEMENT)
    }

    pub(super) fn asks(&self) -> bool {
        self.asks
    }

    /// Whether the source is silent because it waits for an acknowledgement.
    pub(super) fn source_waits(&self) -> bool {
        self.synchronous && self.owed
    }

    pub(super) fn acknowledge(&mut self, file: &[u8], position: u64) {
        if self.framed == Some(true) && self.outgoing.len() < OUTGOING_LIMIT {
            let mut packet = Vec::new();
            write_packet(&mut packet, &Acknowledgement::payload(file, position), &mut 0);
            self.outgoing.extend_from_slice(&packet);
            self.unflushed = true;
            self.owed = false;
        }
    }

    /// Sends what there is. Cancel-safe: what has gone out is taken off.
    pub(super) async fn send(&mut self, connection: &mut Connection) -> Result<(), SourceError> {
        while !self.outgoing.is_empty() {
            match connection.stream.write_buf(&mut self.outgoing).await {
                Ok(0) => return Err(connection.lost("the server closed it")),
                Ok(_) => {}
                Err(error) => return Err(connection.lost(error)),
            }
        }
        if self.unflushed {
            connection.stream.flush().await.map_err(|error| connection.lost(error))?;
            self.unflushed = false;
        }
        Ok(())
    }
}
