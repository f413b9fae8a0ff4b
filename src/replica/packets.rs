//! Packets of one client connection: exact reads with a limit and a sequence check, and whole writes.
//!
//! Nothing is read ahead of the packet that is due: a client that sends two commands in one segment is answered one by one,
//! bytes after an SSLRequest belong to TLS, and the socket can be handed over between any two packets.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::wire::{PACKET_HEADER_LENGTH, write_packet};

/// Why there is no packet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The client closed the connection between two packets.
    #[error("the client closed the connection")]
    Closed,
    /// The connection failed, or ended inside a packet.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// A packet came with another number than was due.
    #[error("packet number {found} came where {expected} was due")]
    OutOfSequence {
        /// What was due.
        expected: u8,
        /// What came.
        found: u8,
    },
    /// A packet is longer than this phase allows.
    #[error("a packet of {length} bytes came where the limit is {limit}")]
    TooLong {
        /// The packet's length.
        length: usize,
        /// The limit.
        limit: usize,
    },
}

/// One client connection, packet by packet.
#[derive(Debug)]
pub(crate) struct PacketStream<S> {
    stream: S,
    sequence: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PacketStream<S> {
    /// At the beginning of a connection, or of a command.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, sequence: 0 }
    }

    /// The number of the next packet in either direction.
    pub(crate) fn sequence(&self) -> u8 {
        self.sequence
    }

    /// Goes on over another stream (TLS) with the number of the next packet.
    pub(crate) fn continued(stream: S, sequence: u8) -> Self {
        Self { stream, sequence }
    }

    /// The bare stream, for the dump.
    pub(crate) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Takes the connection apart into stream and next sequence number.
    pub(crate) fn into_parts(self) -> (S, u8) {
        (self.stream, self.sequence)
    }

    /// The next packet of the current exchange, of at most `limit` bytes. Nothing is allocated for a longer one. An answer, also to
    /// a packet that is refused here, has the number after the packet's.
    pub(crate) async fn read(&mut self, limit: usize) -> Result<Vec<u8>, ReadError> {
        let mut header = [0; PACKET_HEADER_LENGTH];
        if self.stream.read(&mut header[..1]).await? == 0 {
            return Err(ReadError::Closed);
        }
        self.stream.read_exact(&mut header[1..]).await?;
        let [a, b, c, found] = header;
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        let expected = std::mem::replace(&mut self.sequence, found.wrapping_add(1));
        if found != expected {
            return Err(ReadError::OutOfSequence { expected, found });
        }
        // The largest length would be continued by another packet, which no phase allows.
        if length > limit {
            return Err(ReadError::TooLong { length, limit });
        }
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        Ok(payload)
    }

    /// The first packet of a command.
    pub(crate) async fn read_command(&mut self, limit: usize) -> Result<Vec<u8>, ReadError> {
        self.sequence = 0;
        self.read(limit).await
    }

    /// Sends one payload as the next packet of the exchange.
    pub(crate) async fn write(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut framed = Vec::with_capacity(payload.len() + PACKET_HEADER_LENGTH);
        write_packet(&mut framed, payload, &mut self.sequence);
        self.write_framed(&framed).await
    }

    /// Sends packets that are framed already.
    pub(crate) async fn write_framed(&mut self, framed: &[u8]) -> io::Result<()> {
        self.stream.write_all(framed).await?;
        self.stream.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_come_one_by_one_and_in_order() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let mut packets = PacketStream::new(server);
        let mut client = client;
        client.write_all(b"\x01\x00\x00\x00a\x02\x00\x00\x00bc\x01\x00\x00\x07d").await.expect("room");
        assert_eq!(packets.read_command(10).await.expect("the first"), b"a");
        assert_eq!(packets.read_command(10).await.expect("the second"), b"bc");
        assert!(matches!(packets.read_command(10).await, Err(ReadError::OutOfSequence { expected: 0, found: 7 })));
        drop(client);
    }

    #[tokio::test]
    async fn a_long_packet_is_refused_by_its_header_and_an_end_is_told_from_a_cut() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut packets = PacketStream::new(server);
        client.write_all(b"\xff\xff\xff\x00").await.expect("room");
        assert!(matches!(
            packets.read_command(1 << 20).await,
            Err(ReadError::TooLong { length: 0xff_ff_ff, limit: 0x10_00_00 })
        ));
        client.write_all(b"\x05\x00").await.expect("room");
        drop(client);
        assert!(matches!(packets.read_command(10).await, Err(ReadError::Io(_))));
        assert!(matches!(packets.read_command(10).await, Err(ReadError::Closed)));
    }
}
