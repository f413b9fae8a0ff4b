//! Packet framing of the client/server protocol, without sockets: bytes in, payloads out, and back.
//!
//! A physical packet is `u24 length | u8 sequence | payload`. A payload of [`MAX_PACKET_PAYLOAD`] bytes is continued by the
//! next packet; the first shorter one (possibly empty) ends it. The sequence counts physical packets modulo 256 and begins
//! anew at 0 with every command.

use bytes::{Buf, Bytes, BytesMut};

/// The largest payload of one physical packet. A payload of this length is followed by another packet.
pub const MAX_PACKET_PAYLOAD: usize = 0xff_ff_ff;

/// Length and sequence number before each payload.
pub const PACKET_HEADER_LENGTH: usize = 4;

/// The largest payload anywhere: MySQL and MariaDB allow an event, or `max_allowed_packet`, of 1 GiB; the rest is room for
/// the marker bytes before an event.
pub const MAX_PAYLOAD: usize = (1 << 30) + 16;

/// Bytes that are not packets as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A packet was lost, repeated, or is none.
    #[error("packet number {found} came where {expected} was due")]
    Sequence {
        /// What the count said.
        expected: u8,
        /// What the packet says.
        found: u8,
    },
    /// The payload would be larger than the reader allows.
    #[error("a packet of {length} bytes or more is over the limit of {limit} bytes")]
    TooLarge {
        /// How long the payload is at least.
        length: usize,
        /// The reader's limit in bytes.
        limit: usize,
    },
}

/// Takes a stream of bytes apart into payloads.
///
/// Bytes are read into [`PacketReader::room`] and come out of [`PacketReader::next_payload`]. A payload that fits the read
/// buffer is a slice of it, shared and not copied; a longer one is gathered in an allocation of its own, so that the buffer never
/// grows. A slice keeps the whole buffer (`buffer_size` bytes) alive: who keeps few out of many should copy them.
#[derive(Debug)]
pub struct PacketReader {
    buffer: BytesMut,
    buffer_size: usize,
    limit: usize,
    sequence: u8,
    /// A payload that is longer than the buffer or continued: what is there of it, and how much of the packet is to come.
    long: Option<Long>,
}

#[derive(Debug)]
struct Long {
    payload: Vec<u8>,
    left_in_packet: usize,
    continued: bool,
}

impl PacketReader {
    /// A reader with a buffer of `buffer_size` bytes (at least 1 KiB) for payloads of up to `limit` bytes.
    pub fn new(buffer_size: usize, limit: usize) -> Self {
        Self { buffer: BytesMut::new(), buffer_size: buffer_size.max(1024), limit, sequence: 0, long: None }
    }

    /// Sets the number that the next physical packet has to have.
    pub fn expect_sequence(&mut self, sequence: u8) {
        self.sequence = sequence;
    }

    /// The number that the next physical packet has to have; after a payload, the number for the answer to it.
    pub fn sequence(&self) -> u8 {
        self.sequence
    }

    /// Sets the limit for payloads from here on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether nothing is buffered, not even a part of a packet.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.long.is_none()
    }

    /// Where the next bytes are read to: spare capacity of at least an eighth of the buffer. Never more is buffered than
    /// `buffer_size` when [`PacketReader::next_payload`] was called until it gave nothing.
    pub fn room(&mut self) -> &mut BytesMut {
        let enough = self.buffer_size / 8;
        if self.buffer.capacity() - self.buffer.len() < enough {
            // Taken back without an allocation where every payload of this buffer has been let go of.
            let wanted = self.buffer_size - self.buffer.len().min(self.buffer_size - enough);
            if !self.buffer.try_reclaim(wanted) {
                let mut fresh = BytesMut::with_capacity(self.buffer_size.max(self.buffer.len() + enough));
                fresh.extend_from_slice(&self.buffer);
                self.buffer = fresh;
            }
        }
        &mut self.buffer
    }

    /// Adds bytes that were read elsewhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole payload, or nothing until more bytes are there.
    pub fn next_payload(&mut self) -> Result<Option<Bytes>, FramingError> {
        loop {
            if let Some(long) = &mut self.long {
                let here = long.left_in_packet.min(self.buffer.len());
                long.payload.extend_from_slice(&self.buffer[..here]);
                self.buffer.advance(here);
                long.left_in_packet -= here;
                if long.left_in_packet > 0 {
                    return Ok(None);
                }
                if !long.continued {
                    let payload = std::mem::take(&mut long.payload);
                    self.long = None;
                    return Ok(Some(payload.into()));
                }
            }
            let &[a, b, c, sequence, ..] = &self.buffer[..] else { return Ok(None) };
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            if sequence != self.sequence {
                return Err(FramingError::Sequence { expected: self.sequence, found: sequence });
            }
            let before = self.long.as_ref().map_or(0, |long| long.payload.len());
            if before + length > self.limit {
                return Err(FramingError::TooLarge { length: before + length, limit: self.limit });
            }
            if self.long.is_none() && length < MAX_PACKET_PAYLOAD && length + PACKET_HEADER_LENGTH <= self.buffer_size {
                if self.buffer.len() < PACKET_HEADER_LENGTH + length {
                    return Ok(None);
                }
                self.sequence = sequence.wrapping_add(1);
                self.buffer.advance(PACKET_HEADER_LENGTH);
                return Ok(Some(self.buffer.split_to(length).freeze()));
            }
            self.sequence = sequence.wrapping_add(1);
            self.buffer.advance(PACKET_HEADER_LENGTH);
            let long = self.long.get_or_insert_with(|| Long {
                // What has been announced is below the limit; pages are touched only as bytes arrive.
                payload: Vec::with_capacity(length),
                left_in_packet: 0,
                continued: false,
            });
            long.left_in_packet = length;
            long.continued = length == MAX_PACKET_PAYLOAD;
        }
    }
}

/// The four bytes before a payload of `length` bytes, which must not exceed [`MAX_PACKET_PAYLOAD`].
pub fn packet_header(length: usize, sequence: u8) -> [u8; PACKET_HEADER_LENGTH] {
    debug_assert!(length <= MAX_PACKET_PAYLOAD, "longer payloads are split first");
    let [a, b, c, _] = (length as u32).to_le_bytes();
    [a, b, c, sequence]
}

/// Appends a payload as physical packets and advances the sequence.
pub fn write_packet(out: &mut Vec<u8>, payload: &[u8], sequence: &mut u8) {
    for (header, range) in packet_ranges(payload.len(), *sequence) {
        out.extend_from_slice(&header);
        out.extend_from_slice(&payload[range]);
        *sequence = sequence.wrapping_add(1);
    }
}

/// How a payload of `length` bytes is cut into physical packets: the header of each and the part that follows it. For
/// writers that send parts of shared buffers without putting them together first.
pub fn packet_ranges(
    length: usize,
    first_sequence: u8,
) -> impl Iterator<Item = ([u8; PACKET_HEADER_LENGTH], std::ops::Range<usize>)> {
    // A payload that fills its last packet is ended by an empty one.
    let packets = length / MAX_PACKET_PAYLOAD + 1;
    (0..packets).map(move |number| {
        let start = number * MAX_PACKET_PAYLOAD;
        let end = length.min(start + MAX_PACKET_PAYLOAD);
        (packet_header(end - start, first_sequence.wrapping_add(number as u8)), start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(payloads: &[Vec<u8>]) -> Vec<u8> {
        let (mut out, mut sequence) = (Vec::new(), 0);
        for payload in payloads {
            write_packet(&mut out, payload, &mut sequence);
        }
        out
    }

    /// Reads as a socket would: whatever fits the room, at most `step` bytes at a time.
    fn read_in_steps(bytes: &[u8], step: usize, reader: &mut PacketReader) -> Result<Vec<Bytes>, FramingError> {
        let (mut payloads, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            let room = reader.room();
            let spare = room.capacity() - room.len();
            assert!(spare > 0, "a reader must always have room");
            let (now, later) = rest.split_at(step.min(rest.len()).min(spare));
            room.extend_from_slice(now);
            rest = later;
            while let Some(payload) = reader.next_payload()? {
                payloads.push(payload);
            }
            assert!(reader.buffer.len() <= reader.buffer_size);
        }
        Ok(payloads)
    }

    #[test]
    fn payloads_of_every_length_around_the_buffer_come_back_whatever_the_steps() {
        let payloads: Vec<Vec<u8>> = [0, 1, 900, 1019, 1020, 1021, 1024, 1025, 5000, 3, 0]
            .iter()
            .map(|&length| vec![length as u8; length])
            .collect();
        let bytes = framed(&payloads);
        for step in [1, 2, 3, 5, 100, 1023, 1024, 100_000] {
            let mut reader = PacketReader::new(1024, MAX_PAYLOAD);
            assert_eq!(
                read_in_steps(&bytes, step, &mut reader),
                Ok(payloads.iter().map(|p| p.clone().into()).collect())
            );
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn long_payloads_are_joined_and_an_exact_multiple_is_ended_by_an_empty_packet() {
        for length in [MAX_PACKET_PAYLOAD - 1, MAX_PACKET_PAYLOAD, MAX_PACKET_PAYLOAD + 1, 2 * MAX_PACKET_PAYLOAD] {
            let payload: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let bytes = framed(&[payload.clone(), vec![7]]);
            let mut reader = PacketReader::new(256 << 10, MAX_PAYLOAD);
            let read = read_in_steps(&bytes, 200_000, &mut reader).expect("well framed");
            assert_eq!(read.len(), 2);
            assert!(read[0] == payload && read[1] == [7][..]);
            assert_eq!(usize::from(reader.sequence()), length / MAX_PACKET_PAYLOAD + 2);
        }
    }

    #[test]
    fn the_sequence_wraps_at_256_and_a_gap_is_an_error() {
        let mut bytes = framed(&vec![vec![1]; 300]);
        let mut reader = PacketReader::new(1024, 100);
        assert_eq!(read_in_steps(&bytes, 64, &mut reader).map(|read| read.len()), Ok(300));
        bytes[5 * 100 + 3] = 99;
        let mut reader = PacketReader::new(1024, 100);
        assert_eq!(read_in_steps(&bytes, 64, &mut reader), Err(FramingError::Sequence { expected: 100, found: 99 }));
    }

    #[test]
    fn the_limit_holds_before_anything_is_stored_also_over_continued_packets() {
        let mut reader = PacketReader::new(1024, 1000);
        reader.feed(&packet_header(1001, 0));
        assert_eq!(reader.next_payload(), Err(FramingError::TooLarge { length: 1001, limit: 1000 }));

        let mut reader = PacketReader::new(1024, MAX_PACKET_PAYLOAD + 10);
        let payload = vec![0; MAX_PACKET_PAYLOAD + 11];
        let error = FramingError::TooLarge { length: MAX_PACKET_PAYLOAD + 11, limit: MAX_PACKET_PAYLOAD + 10 };
        assert_eq!(read_in_steps(&framed(&[payload]), 1 << 20, &mut reader), Err(error));
    }

    #[test]
    fn small_payloads_share_one_buffer_and_a_released_buffer_is_used_again() {
        let mut reader = PacketReader::new(4096, MAX_PAYLOAD);
        let bytes = framed(&vec![vec![5; 96]; 1000]);
        let mut buffers = std::collections::HashSet::new();
        for chunk in bytes.chunks(100) {
            let room = reader.room();
            buffers.insert(room.as_ptr() as usize & !0xfff);
            room.extend_from_slice(chunk);
            assert_eq!(reader.next_payload().map(|payload| payload.map(|bytes| bytes.len())), Ok(Some(96)));
        }
        assert!(buffers.len() <= 2, "one allocation of at most two pages, not {}", buffers.len());
    }
}
