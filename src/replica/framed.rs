//! Events of a live tail in the form in which they go out, made once for all replicas that get them.
//!
//! What goes to two replicas differs in the number of each packet, and in the server id of pads. So a replica costs a copy of the
//! small events with these bytes changed, and a write; large events go out from where they are.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::boundary::Boundary;
use super::dump::LARGE_EVENT;
use crate::binlog::{ChecksumAlgorithm, Event, EventType, FormatDescription};
use crate::pipeline::coordinates::Stretch;
use crate::pipeline::restamped_pad;
use crate::wire::{PACKET_HEADER_LENGTH, packet_ranges};

/// The byte before each event: it is no error and no end.
const MARKER: &[u8] = &[0];

/// Events up to this size are copied out of the source's read buffer, which a slice of it would keep alive as a whole.
const COPIED_EVENT: usize = 64 << 10;

/// So many bytes of small events, or of all, go out in one write: a replica's own copy of them is no larger.
const CHUNK_SMALL: usize = 64 << 10;
const CHUNK: usize = 256 << 10;

/// Where the sequence number is in a packet's header.
const NUMBER: usize = PACKET_HEADER_LENGTH - 1;

/// Where the server id is in an event's header.
const SERVER_ID: Range<usize> = 5..9;

/// Follows the events of a tail, so that what a batch means is known before it is sent.
#[derive(Debug, Default)]
pub struct Outline {
    boundary: Boundary,
    format: Option<FormatDescription>,
}

impl Outline {
    /// Of a stream that stands between two groups of a file with this format.
    pub fn new(format: Option<FormatDescription>) -> Self {
        Self { boundary: Boundary::default(), format }
    }
}

/// What events do to the state of whoever is sent all of them.
#[derive(Debug)]
pub(crate) struct Effect {
    /// Where the stream stands in its groups before and after them.
    pub(crate) before: Boundary,
    pub(crate) after: Boundary,
    /// Groups that end in them.
    pub(crate) transactions: u64,
    /// Their lengths in all.
    pub(crate) bytes: u64,
    /// The latest time in their headers.
    pub(crate) newest: u32,
    /// What a receiver counts.
    pub(crate) stretch: Stretch,
}

/// Events and their packets, numbered from 0.
#[derive(Debug)]
pub struct Framed {
    events: Vec<Event>,
    /// Packet headers, markers and small events, one after the other.
    small: Bytes,
    /// Where packet headers begin in `small`.
    headers: Vec<u32>,
    /// Parts of large events, each with the place in `small` at which it goes out.
    large: Vec<(usize, Bytes)>,
    /// Pads that are in `small`.
    pads: Vec<Pad>,
    chunks: Vec<Chunk>,
    effect: Option<Effect>,
    /// There is a pad among the large events.
    has_large_pad: bool,
}

#[derive(Debug)]
struct Pad {
    at: usize,
    length: usize,
    checksum: ChecksumAlgorithm,
}

/// What is written at a time: ranges of the parts of [`Framed`].
#[derive(Debug)]
pub(super) struct Chunk {
    small: Range<usize>,
    headers: Range<usize>,
    large: Range<usize>,
    pads: Range<usize>,
}

impl Framed {
    /// Puts events together in memory of their own.
    pub fn new(events: Vec<Event>, outline: &mut Outline) -> Self {
        let effect = effect(&events, outline);
        let mut framed = Self {
            events: Vec::new(),
            small: Bytes::new(),
            headers: Vec::with_capacity(events.len()),
            large: Vec::new(),
            pads: Vec::new(),
            chunks: Vec::new(),
            effect,
            has_large_pad: false,
        };
        framed.frame(events);
        framed
    }

    fn frame(&mut self, mut events: Vec<Event>) {
        let is_small = |event: &Event| event.raw().len() < LARGE_EVENT;
        let room = |event: &Event| {
            let payload = if is_small(event) { event.raw().len() } else { 0 };
            PACKET_HEADER_LENGTH + MARKER.len() + payload
        };
        copy_large(&mut events);
        let mut small = Vec::with_capacity(events.iter().map(room).sum());
        // Where small events are.
        let mut places = Vec::with_capacity(events.len());
        let mut chunk = Chunk { small: 0..0, headers: 0..0, large: 0..0, pads: 0..0 };
        let mut large_bytes = 0;
        for event in &events {
            let raw = event.raw();
            let is_pad = event.event_type() == EventType::IGNORABLE;
            places.push(small.len() + PACKET_HEADER_LENGTH + MARKER.len());
            if is_pad && is_small(event) {
                let at = small.len() + PACKET_HEADER_LENGTH + MARKER.len();
                self.pads.push(Pad { at, length: raw.len(), checksum: event.checksum() });
            }
            self.has_large_pad |= is_pad && !is_small(event);
            for (header, range) in packet_ranges(raw.len() + MARKER.len(), self.headers.len() as u8) {
                self.headers.push(small.len() as u32);
                large_bytes += frame(header, range, MARKER, raw, &mut small, &mut self.large);
                if small.len() - chunk.small.start >= CHUNK_SMALL
                    || small.len() - chunk.small.start + large_bytes >= CHUNK
                {
                    self.end_chunk(&mut chunk, small.len());
                    large_bytes = 0;
                }
            }
        }
        if chunk.headers.start < self.headers.len() {
            self.end_chunk(&mut chunk, small.len());
        }
        self.small = small.into();
        let moved = |(event, at): (Event, usize)| match is_small(&event) {
            true => {
                let raw = self.small.slice(at..at + event.raw().len());
                event.with_raw(raw)
            }
            false => event,
        };
        self.events = events.into_iter().zip(places).map(moved).collect();
    }

    fn end_chunk(&mut self, chunk: &mut Chunk, small: usize) {
        let (headers, large, pads) = (self.headers.len(), self.large.len(), self.pads.len());
        let next = Chunk { small: small..small, headers: headers..headers, large: large..large, pads: pads..pads };
        let mut whole = std::mem::replace(chunk, next);
        (whole.small.end, whole.headers.end, whole.large.end, whole.pads.end) = (small, headers, large, pads);
        self.chunks.push(whole);
    }

    /// The events in the order of the stream.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The same with pads of a replica with this server id.
    pub(crate) fn events_with_pads(&self, server_id: Option<u32>) -> impl Iterator<Item = Event> {
        self.events.iter().map(move |event| {
            server_id.and_then(|server_id| restamped_pad(event, server_id)).unwrap_or_else(|| event.clone())
        })
    }

    /// What a receiver makes of all of them; `None` where they have to be looked at one by one.
    pub fn stretch(&self) -> Option<&Stretch> {
        self.effect.as_ref().map(|effect| &effect.stretch)
    }

    /// What all of them do to the state of a replica's session; `None` where they have to be looked at one by one.
    pub(crate) fn effect(&self) -> Option<&Effect> {
        self.effect.as_ref()
    }

    /// Whether pads can be given another server id in a copy of the small events.
    pub fn has_small_pads_only(&self) -> bool {
        !self.has_large_pad
    }

    /// Memory for all of this besides the events' own bytes.
    pub fn overhead(&self) -> usize {
        let each = size_of::<Event>() + size_of::<u32>() + PACKET_HEADER_LENGTH + MARKER.len();
        size_of::<Self>()
            + self.events.len() * each
            + self.large.len() * size_of::<(usize, Bytes)>()
            + self.pads.len() * size_of::<Pad>()
            + self.chunks.len() * size_of::<Chunk>()
    }

    /// What is to be written, piece by piece.
    pub(super) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Copies the small events of a chunk for one replica: the first packet has this number, and pads this server id. Gives back the
    /// large ones that go between, whose places are relative to `base`, and the number after the last packet's.
    pub(super) fn copy(
        &self,
        chunk: &Chunk,
        mut number: u8,
        pads: Option<u32>,
        out: &mut Vec<u8>,
    ) -> (Between<'_>, u8) {
        out.clear();
        out.extend_from_slice(&self.small[chunk.small.clone()]);
        let base = chunk.small.start;
        for &at in &self.headers[chunk.headers.clone()] {
            out[at as usize - base + NUMBER] = number;
            number = number.wrapping_add(1);
        }
        if let Some(server_id) = pads {
            for pad in &self.pads[chunk.pads.clone()] {
                let start = pad.at - base;
                pad.restamp(server_id, &mut out[start..start + pad.length]);
            }
        }
        (Between { base, large: &self.large[chunk.large.clone()] }, number)
    }
}

/// Large events that go out between small ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Between<'a> {
    pub(super) base: usize,
    pub(super) large: &'a [(usize, Bytes)],
}

impl Pad {
    fn restamp(&self, server_id: u32, event: &mut [u8]) {
        event[SERVER_ID].copy_from_slice(&server_id.to_le_bytes());
        if self.checksum == ChecksumAlgorithm::Crc32
            && let Some((covered, stated)) = event.split_last_chunk_mut::<4>()
        {
            *stated = crc32fast::hash(covered).to_le_bytes();
        }
    }
}

/// One packet of an event: header, marker where it is the first, and its part of the event, which goes to `small` or `large`. Gives
/// back how many bytes went to `large`.
pub(super) fn frame(
    header: [u8; PACKET_HEADER_LENGTH],
    range: Range<usize>,
    marker: &[u8],
    raw: &Bytes,
    small: &mut Vec<u8>,
    large: &mut Vec<(usize, Bytes)>,
) -> usize {
    small.extend_from_slice(&header);
    if range.start == 0 {
        small.extend_from_slice(marker);
    }
    let part = range.start.saturating_sub(marker.len())..range.end - marker.len().min(range.end);
    if part.len() < LARGE_EVENT {
        small.extend_from_slice(&raw[part]);
        return 0;
    }
    let length = part.len();
    large.push((small.len(), raw.slice(part)));
    length
}

/// Puts large events that are slices of a read buffer into memory of their own.
fn copy_large(events: &mut [Event]) {
    let is_copied = |event: &Event| (LARGE_EVENT..=COPIED_EVENT).contains(&event.raw().len());
    let total = events.iter().filter(|event| is_copied(event)).map(|event| event.raw().len()).sum();
    let mut memory = BytesMut::with_capacity(total);
    for event in events.iter().filter(|event| is_copied(event)) {
        memory.extend_from_slice(event.raw());
    }
    let mut memory = memory.freeze();
    for event in events.iter_mut().filter(|event| is_copied(event)) {
        let raw = memory.split_to(event.raw().len());
        *event = event.clone().with_raw(raw);
    }
}

/// What the events do, if all of them are of the kinds that files are full of.
fn effect(events: &[Event], outline: &mut Outline) -> Option<Effect> {
    let (before, mut transactions, mut bytes, mut newest) = (outline.boundary, 0, 0, 0);
    let mut stretch = Some(Stretch::default());
    let known = outline.format.is_some();
    for event in events {
        match event.event_type() {
            EventType::FORMAT_DESCRIPTION => {
                if let Ok((_, format)) = FormatDescription::read(event.raw().clone()) {
                    outline.format = Some(format);
                }
                stretch = None;
            }
            EventType::ROTATE | EventType::PREVIOUS_GTIDS | EventType::STOP => stretch = None,
            _ => stretch = stretch.and_then(|stretch| stretch.and(event)),
        }
        transactions += u64::from(outline.boundary.passes(event, outline.format.as_ref()));
        bytes += event.raw().len() as u64;
        newest = newest.max(event.header().timestamp);
    }
    let stretch = stretch.filter(|_| known && !events.is_empty())?;
    Some(Effect { before, after: outline.boundary, transactions, bytes, newest, stretch })
}

/// Events that one replica shares with others, and the server id that its pads have to carry where that is another one.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The events.
    pub framed: Arc<Framed>,
    /// The server id.
    pub pads: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{HEADER_LENGTH, Header, flags};
    use crate::wire::write_packet;

    fn event(event_type: EventType, length: usize, timestamp: u32) -> Event {
        let header =
            Header { timestamp, event_type, server_id: 1, event_length: 0, log_pos: 0, flags: flags::IGNORABLE };
        Event::build(header, &[&vec![7; length - HEADER_LENGTH - 4]], ChecksumAlgorithm::Crc32)
    }

    fn format() -> FormatDescription {
        FormatDescription {
            server: crate::binlog::ServerVersion::parse("5.7.29-log").expect("a version"),
            created: 0,
            post_header_lengths: vec![13; 40],
            checksum: ChecksumAlgorithm::Crc32,
            has_checksum_trailer: true,
        }
    }

    /// What goes out, written one event at a time.
    fn one_by_one(events: &[Event], mut number: u8) -> Vec<u8> {
        let mut out = Vec::new();
        for event in events {
            write_packet(&mut out, &[&[0], &event.raw()[..]].concat(), &mut number);
        }
        out
    }

    fn all(framed: &Framed, mut number: u8, pads: Option<u32>) -> Vec<u8> {
        let (mut out, mut copy) = (Vec::new(), Vec::new());
        for chunk in framed.chunks() {
            let (between, next) = framed.copy(chunk, number, pads, &mut copy);
            let mut from = 0;
            for (at, large) in between.large {
                out.extend_from_slice(&copy[from..at - between.base]);
                out.extend_from_slice(large);
                from = at - between.base;
            }
            out.extend_from_slice(&copy[from..]);
            number = next;
        }
        out
    }

    #[test]
    fn every_replica_gets_the_packets_that_it_would_get_one_by_one() {
        let kinds = [
            (EventType::GTID, 65),
            (EventType::WRITE_ROWS, 8_200),
            (EventType::WRITE_ROWS, 70_000),
            (EventType::XID, 31),
        ];
        let mut events: Vec<_> =
            (0..400).map(|index| kinds[index % 4]).map(|(kind, length)| event(kind, length, 1)).collect();
        events.extend((0..3_000).map(|index| event(EventType::WRITE_ROWS, 30 + index % 100, 2)));
        events.push(event(EventType::WRITE_ROWS, 2 * 0xff_ff_ff - 1, 3));
        events.push(event(EventType::WRITE_ROWS, 0xff_ff_ff + 5, 3));
        let framed = Framed::new(events.clone(), &mut Outline::default());
        assert_eq!(framed.events(), events);
        for number in [0, 1, 200, 255] {
            assert!(all(&framed, number, None) == one_by_one(&events, number), "from {number}");
        }
        assert!(framed.chunks().iter().all(|chunk| chunk.small.len() < CHUNK_SMALL + LARGE_EVENT + 9));
    }

    #[test]
    fn pads_carry_the_server_id_of_who_gets_them() {
        let events =
            vec![event(EventType::IGNORABLE, 40, 0), event(EventType::XID, 31, 1), event(EventType::IGNORABLE, 23, 0)];
        let framed = Framed::new(events.clone(), &mut Outline::default());
        let stamped: Vec<_> = framed.events_with_pads(Some(77)).collect();
        assert_eq!(stamped.iter().map(|event| event.header().server_id).collect::<Vec<_>>(), [77, 1, 77]);
        assert!(stamped.iter().all(|event| event.verify().is_ok()));
        assert_eq!(all(&framed, 9, Some(77)), one_by_one(&stamped, 9));
        assert_eq!(all(&framed, 9, None), one_by_one(&events, 9));
        assert!(framed.has_small_pads_only());
        let large = Framed::new(vec![event(EventType::IGNORABLE, LARGE_EVENT, 0)], &mut Outline::default());
        assert!(!large.has_small_pads_only());
    }

    #[test]
    fn small_events_do_not_keep_the_buffer_alive_that_they_came_in() {
        let buffer = Bytes::from([event(EventType::XID, 31, 1).raw().to_vec(), vec![0; 200_000]].concat());
        let small = Event::new(buffer.slice(..31), ChecksumAlgorithm::Crc32).expect("whole");
        let framed = Framed::new(vec![small, event(EventType::WRITE_ROWS, 5_000, 2)], &mut Outline::default());
        assert!(buffer.is_unique());
        assert!(framed.events().iter().all(|event| event.verify().is_ok()));
    }

    #[test]
    fn what_events_do_is_known_where_none_of_them_begins_a_file() {
        let group =
            || vec![event(EventType::GTID, 65, 5), event(EventType::WRITE_ROWS, 100, 9), event(EventType::XID, 31, 7)];
        let mut outline = Outline::new(Some(format()));
        let framed = Framed::new([group(), group(), vec![event(EventType::GTID, 65, 5)]].concat(), &mut outline);
        let effect = framed.effect().expect("nothing special");
        assert_eq!((effect.transactions, effect.bytes, effect.newest), (2, 2 * 196 + 65, 9));
        assert!(!effect.before.inside() && effect.after.inside());
        let rest = Framed::new(vec![event(EventType::XID, 31, 7)], &mut outline);
        let effect = rest.effect().expect("nothing special");
        assert!(effect.before.inside() && !effect.after.inside() && effect.transactions == 1);
        let rotate = [group(), vec![event(EventType::ROTATE, 50, 0)]].concat();
        assert!(Framed::new(rotate, &mut outline).effect().is_none());
        assert!(Framed::new(group(), &mut Outline::default()).effect().is_none(), "the format is not known");
    }
}
