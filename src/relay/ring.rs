//! The last events of a live tail, for readers that are at different places in it. Bounded by bytes; who is too slow falls off.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::binlog::Event;
use crate::fault::Fault;
use crate::replica::{Framed, Outline};

use super::place::{Place, Rendering};
use super::progress::{Advance, Before, Progress};

/// What a batch and a place take besides the events.
const BATCH_OVERHEAD: usize = 256;
const PLACE_OVERHEAD: usize = size_of::<(usize, Place)>();

/// Events that came together.
#[derive(Debug)]
pub(super) struct Batch {
    /// The events in the order of the stream, as they go out.
    pub(super) framed: Arc<Framed>,
    /// What they add to what a replica has.
    pub(super) advance: Advance,
    /// Places at which the stream can be joined, each with the number of events before it.
    places: Vec<(usize, Place)>,
    /// What the source wants acknowledged, as numbers of questions, each with the number of events before it.
    pub(super) questions: Vec<(usize, u64)>,
    /// The last event ends a group, or is in none.
    pub(super) whole: bool,
    /// What there was before it.
    pub(super) before: Before,
    bytes: usize,
}

impl Batch {
    /// Puts events together in memory of their own.
    pub(super) fn new(events: Vec<Event>, places: Vec<(usize, Place)>, whole: bool, outline: &mut Outline) -> Self {
        let payload: usize = events.iter().map(|event| event.raw().len()).sum();
        let advance = Advance::of(&events);
        let framed = Arc::new(Framed::new(events, outline));
        let bytes = BATCH_OVERHEAD + payload + framed.overhead() + places.len() * PLACE_OVERHEAD;
        Self { framed, advance, places, questions: Vec::new(), whole, before: Before::Unknown, bytes }
    }

    /// With what the source wants acknowledged.
    pub(super) fn asking(self, questions: Vec<(usize, u64)>) -> Self {
        let bytes = self.bytes + size_of_val(&questions[..]);
        Self { questions, bytes, ..self }
    }

    /// The events in the order of the stream.
    pub(super) fn events(&self) -> &[Event] {
        self.framed.events()
    }

    /// The place after the last event, if it is one.
    pub(super) fn place(&self) -> Option<&Place> {
        self.places.last().filter(|(before, _)| *before == self.events().len()).map(|(_, place)| place)
    }
}

/// What comes next for a reader.
#[derive(Debug)]
pub(super) enum Taken {
    /// These events, without the first so many.
    Batch(Arc<Batch>, usize),
    /// Nothing yet. `idle`: the source has said that it has no more.
    Nothing { idle: bool },
    /// The reader was too slow: what comes next for it is here no longer.
    FellOff,
    /// Nothing more will come.
    Ended(Fault),
}

/// Where a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    batch: u64,
    skip: usize,
}

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    /// Number of the first batch that is here.
    first: u64,
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    limit: usize,
    rendering: Arc<Rendering>,
    /// Streams can be joined from this batch on: what is before it is another server's.
    joinable: u64,
    /// What the source was told to leave out, and all that came since.
    progress: Progress,
    /// Where the stream stood before the first batch of all.
    origin: Option<Place>,
    idle: bool,
    end: Option<Fault>,
}

impl Ring {
    /// An empty ring of at most `limit` bytes, or one batch, whatever its size.
    pub(super) fn new(limit: usize, rendering: Arc<Rendering>, progress: Progress, origin: Place) -> Self {
        Self {
            rendering,
            joinable: 0,
            first: 0,
            batches: VecDeque::new(),
            bytes: 0,
            limit,
            progress,
            origin: Some(origin),
            idle: false,
            end: None,
        }
    }

    /// Appends a batch; older ones make room for it.
    pub(super) fn push(&mut self, mut batch: Batch) {
        batch.before = self.progress.before(&batch.advance);
        batch.bytes += batch.before.bytes();
        if !self.progress.sent_all(&batch.advance, batch.whole) {
            for event in batch.events() {
                self.progress.sent(event);
            }
            if batch.whole {
                self.progress.close();
            }
        }
        self.bytes += batch.bytes;
        self.batches.push_back(Arc::new(batch));
        while self.bytes > self.limit
            && self.batches.len() > 1
            && let Some(oldest) = self.batches.pop_front()
        {
            self.bytes -= oldest.bytes;
            self.first += 1;
            self.origin = None;
        }
        self.idle = false;
    }

    /// Whether the source has said that it has no more than what is here. True when that is news.
    pub(super) fn set_idle(&mut self, idle: bool) -> bool {
        std::mem::replace(&mut self.idle, idle) != idle
    }

    /// Nothing more will come.
    pub(super) fn end(&mut self, fault: Fault) {
        self.end.get_or_insert(fault);
    }

    /// Whether streams of this rendering can be joined here.
    pub(super) fn is_of(&self, rendering: &Rendering) -> bool {
        self.end.is_none() && self.rendering.is_same(rendering)
    }

    /// The stream goes on as this one: a GTID stream can come from another server, whose places are others.
    pub(super) fn goes_on_as(&mut self, rendering: &Arc<Rendering>) {
        if !self.rendering.is_same(rendering) {
            self.joinable = self.head().batch;
            self.origin = None;
        }
        if !Arc::ptr_eq(&self.rendering, rendering) {
            self.rendering = Arc::clone(rendering);
        }
    }

    /// Behind the last batch.
    pub(super) fn head(&self) -> Cursor {
        Cursor { batch: self.first + self.batches.len() as u64, skip: 0 }
    }

    /// Where a stream that stands at `place` goes on here, and the server id in the pads. `None` where the place is not here, or so far back that its reader
    /// would soon fall off, or where the replica would miss something.
    pub(super) fn find(
        &self,
        rendering: &Rendering,
        place: &Place,
        progress: &Progress,
    ) -> Option<(Cursor, Option<u32>)> {
        if !self.is_of(rendering) {
            return None;
        }
        let (counts, mut behind) = (rendering.counts, 0);
        let mut found = None;
        'batches: for (index, batch) in self.batches.iter().enumerate().rev() {
            if self.first + (index as u64) < self.joinable {
                return None;
            }
            for (before, known) in batch.places.iter().rev() {
                if known.is_same(place, counts) {
                    let batch_number = self.first + index as u64;
                    let at_end = *before == batch.events().len();
                    found = Some(match at_end {
                        true => (index + 1, Cursor { batch: batch_number + 1, skip: 0 }),
                        false => (index, Cursor { batch: batch_number, skip: *before }),
                    });
                    break 'batches;
                }
            }
            behind += batch.bytes;
            if behind > self.limit / 4 {
                return None;
            }
        }
        let at_origin = || self.origin.as_ref().is_some_and(|origin| origin.is_same(place, counts));
        let (index, cursor) = match found {
            Some(found) => found,
            None if at_origin() => (0, Cursor { batch: self.first, skip: 0 }),
            None => return None,
        };
        let later: Vec<&Batch> = self.batches.range(index..).map(Arc::as_ref).collect();
        progress.can_follow(&self.progress, &later, cursor.skip).then_some((cursor, self.rendering.pads))
    }

    /// The newest question that a reader at `cursor` is not asked any more, because it stands behind it already.
    pub(super) fn asked_before(&self, cursor: &Cursor) -> Option<u64> {
        let behind = cursor.batch.saturating_sub(self.first).min(self.batches.len() as u64) as usize;
        let before = |batch: &Arc<Batch>, limit: usize| {
            batch.questions.iter().rev().find(|(before, _)| *before < limit).map(|(_, number)| *number)
        };
        let here = self.batches.get(behind).and_then(|batch| before(batch, cursor.skip));
        here.or_else(|| self.batches.range(..behind).rev().find_map(|batch| before(batch, usize::MAX)))
    }

    /// What comes next at `cursor`, which moves on.
    pub(super) fn take(&self, cursor: &mut Cursor) -> Taken {
        let Some(index) = cursor.batch.checked_sub(self.first) else { return Taken::FellOff };
        match self.batches.get(index as usize) {
            Some(batch) => {
                let skip = cursor.skip;
                *cursor = Cursor { batch: cursor.batch + 1, skip: 0 };
                Taken::Batch(Arc::clone(batch), skip)
            }
            None => match &self.end {
                Some(fault) => Taken::Ended(fault.clone()),
                None => Taken::Nothing { idle: self.idle },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{ChecksumAlgorithm, EventType, Header};

    fn event(length: usize, number: u32) -> Event {
        let header = Header {
            timestamp: number,
            event_type: EventType::XID,
            server_id: 1,
            event_length: 0,
            log_pos: number,
            flags: 0,
        };
        Event::build(header, &[&vec![0; length]], ChecksumAlgorithm::Crc32)
    }

    fn place(source: u64) -> Place {
        Place { file: (*b"bin.1").into(), created: 9, source, served: source, event: Some((source as u32, 0)) }
    }

    /// Groups of one event each, that end at 100, 200, …
    fn groups(numbers: impl IntoIterator<Item = u64>, length: usize) -> Batch {
        let (mut events, mut places) = (Vec::new(), Vec::new());
        for number in numbers {
            events.push(event(length, number as u32));
            places.push((events.len(), place(number * 100)));
        }
        Batch::new(events, places, true, &mut Outline::default())
    }

    fn rendering(word: &str, counts: bool) -> Rendering {
        Rendering { events: "events".into(), word: word.to_owned(), counts, pads: None }
    }

    fn ring(limit: usize) -> Ring {
        Ring::new(limit, Arc::new(rendering("r", true)), Progress::Position, place(0))
    }

    fn find(ring: &Ring, place: Place) -> Option<Cursor> {
        ring.find(&rendering("r", true), &place, &Progress::Position).map(|(cursor, _)| cursor)
    }

    fn numbers(ring: &Ring, cursor: &mut Cursor) -> Vec<u32> {
        let mut all = Vec::new();
        while let Taken::Batch(batch, skip) = ring.take(cursor) {
            all.extend(batch.events()[skip..].iter().map(|event| event.header().timestamp));
        }
        all
    }

    #[test]
    fn a_stream_goes_on_right_after_the_place_where_it_stands() {
        let mut ring = self::ring(1 << 20);
        let find = |ring: &Ring, at: u64| find(ring, place(at));
        assert_eq!(find(&ring, 0), Some(ring.head()), "nothing has come yet");
        ring.push(groups(1..=3, 10));
        ring.push(groups(4..=4, 10));
        for (at, expected) in [(0, vec![1, 2, 3, 4]), (100, vec![2, 3, 4]), (300, vec![4]), (400, vec![])] {
            let mut cursor = find(&ring, at).expect("a place in the ring");
            assert_eq!(numbers(&ring, &mut cursor), expected, "after {at}");
        }
        assert_eq!(find(&ring, 150), None);
        assert_eq!(find(&ring, 500), None, "ahead of the tail");
    }

    #[test]
    fn another_file_or_another_event_of_the_same_position_is_another_place() {
        let mut ring = self::ring(1 << 20);
        ring.push(groups(1..=3, 10));
        let find = |place: Place, counts| ring.find(&rendering("r", counts), &place, &Progress::Position).is_some();
        assert!(find(place(200), true));
        assert!(!find(Place { file: (*b"bin.2").into(), ..place(200) }, true));
        assert!(!find(Place { created: 10, ..place(200) }, true), "the source was reset");
        assert!(!find(Place { event: Some((200, 1)), ..place(200) }, true));
        assert!(find(Place { event: None, ..place(200) }, true));
        assert!(!find(Place { served: 201, ..place(200) }, true));
        assert!(find(Place { served: 201, ..place(200) }, false));
    }

    #[test]
    fn a_mariadb_stream_goes_on_where_both_have_the_same_at_the_place_itself() {
        let gtid = |text: &str| {
            let gtid: crate::gtid::MariaDbGtidText = text.parse().expect(text);
            let header =
                Header { event_type: EventType::MARIADB_GTID, server_id: gtid.server_id, ..*event(0, 1).header() };
            let body: [&[u8]; 3] = [&gtid.sequence.to_le_bytes(), &gtid.domain.to_le_bytes(), &[0; 7]];
            Event::build(header, &body, ChecksumAlgorithm::Crc32)
        };
        let progress = |text: &str| Progress::of(&crate::replica::backend::ReplicaStart::MariaDbGtid(text.to_owned()));
        let mut ring = Ring::new(1 << 20, Arc::new(rendering("r", false)), progress("0-1-1,2-2-8"), place(0));
        let find =
            |ring: &Ring, at: u64, text: &str| ring.find(&rendering("r", false), &place(at), &progress(text)).is_some();
        let push = |ring: &mut Ring, events: Vec<Event>, places: &[(usize, u64)], whole| {
            let places = places.iter().map(|(before, at)| (*before, place(*at))).collect();
            ring.push(Batch::new(events, places, whole, &mut Outline::default()));
        };
        assert!(find(&ring, 0, "0-1-1,2-2-8") && !find(&ring, 0, "0-1-1,2-2-3"));
        // The source leaves out 2-2-4 to 2-2-8, which the tail's replica had.
        push(&mut ring, vec![gtid("2-2-9"), event(9, 1)], &[(2, 100)], true);
        for (at, text, expected) in [
            (0, "0-1-1,2-2-8", true),
            (0, "0-1-1,2-2-3", false),
            (0, "0-1-1,2-2-9", false),
            (0, "0-1-1", false),
            (100, "0-1-1,2-2-9", true),
            (100, "0-1-1,2-2-8", false),
            (100, "0-1-1,2-2-9,3-1-1", false),
        ] {
            assert_eq!(find(&ring, at, text), expected, "{text} at {at}");
        }
        // Two groups, and the start of one that goes on in the next batch, behind which another one is.
        let events = vec![gtid("0-1-2"), event(9, 2), gtid("3-1-1"), event(9, 3), gtid("0-1-3"), event(9, 4)];
        push(&mut ring, events, &[(2, 200), (4, 300)], false);
        push(&mut ring, vec![event(9, 5), event(9, 6), gtid("3-1-2"), event(9, 7)], &[(2, 400), (4, 500)], true);
        push(&mut ring, vec![gtid("2-5-7")], &[], false);
        for (at, text, expected) in [
            (0, "0-1-1,2-2-8", true),
            (0, "0-1-1,2-2-3", false),
            (0, "0-1-1,2-2-8,3-1-1", false),
            (100, "0-1-1,2-2-9", true),
            (200, "0-1-2,2-2-9", true),
            (200, "0-1-2,2-2-9,3-1-1", false),
            (300, "0-1-2,2-2-9,3-1-1", true),
            (300, "0-1-3,2-2-9,3-1-1", false),
            (400, "0-1-3,2-2-9,3-1-1", true),
            (400, "0-1-2,2-2-9,3-1-1", false),
            (500, "0-1-3,2-2-9,3-1-2", true),
            (500, "0-1-3,2-5-7,3-1-2", false),
        ] {
            assert_eq!(find(&ring, at, text), expected, "{text} at {at}");
        }
    }

    #[test]
    fn after_a_failover_only_places_of_the_new_server_can_be_joined() {
        let mut ring = self::ring(1 << 20);
        let mut reader = ring.head();
        ring.push(groups([1], 10));
        ring.goes_on_as(&Arc::new(rendering("r", true)));
        assert!(find(&ring, place(100)).is_some(), "the same server");
        ring.goes_on_as(&Arc::new(rendering("other", true)));
        let on_other =
            |ring: &Ring, at| ring.find(&rendering("other", true), &place(at), &Progress::Position).is_some();
        assert!(find(&ring, place(100)).is_none() && !on_other(&ring, 100) && !on_other(&ring, 0));
        ring.push(groups([2], 10));
        assert!(on_other(&ring, 200) && !on_other(&ring, 100));
        assert_eq!(numbers(&ring, &mut reader), [1, 2], "readers go on");
    }

    #[test]
    fn readers_are_apart_and_who_is_too_slow_falls_off() {
        let mut ring = self::ring(100_000);
        let (mut fast, mut slow) = (ring.head(), ring.head());
        for number in 1..=20 {
            ring.push(groups([number], 10_000));
            assert_eq!(numbers(&ring, &mut fast), [number as u32]);
        }
        assert!(matches!(ring.take(&mut slow), Taken::FellOff));
        assert!(ring.bytes <= 100_000 && ring.batches.len() == 9, "{} bytes", ring.bytes);
        assert!(find(&ring, place(1_900)).is_some());
        assert_eq!(find(&ring, place(1_300)), None, "too far back to keep up");
        assert_eq!(find(&ring, place(0)), None);
    }

    #[test]
    fn an_event_larger_than_the_ring_passes_alone() {
        let mut ring = self::ring(1_000);
        let mut reader = ring.head();
        ring.push(groups([1], 10));
        ring.push(groups([2], 50_000));
        assert_eq!(ring.batches.len(), 1);
        assert!(matches!(ring.take(&mut reader), Taken::FellOff));
        let mut reader = ring.head();
        ring.push(groups([3], 10));
        assert_eq!((numbers(&ring, &mut reader), ring.batches.len()), (vec![3], 1));
    }

    #[test]
    fn an_end_comes_after_everything_before_it_and_idleness_is_told_once() {
        let mut ring = self::ring(1_000);
        let mut reader = ring.head();
        ring.push(groups([1], 10));
        assert!(ring.set_idle(true) && !ring.set_idle(true));
        assert_eq!(numbers(&ring, &mut reader), [1]);
        assert!(matches!(ring.take(&mut reader), Taken::Nothing { idle: true }));
        ring.push(groups([2], 10));
        ring.end(Fault::new(crate::fault::Code::SourceLost, "gone"));
        assert_eq!(numbers(&ring, &mut reader), [2]);
        assert!(matches!(ring.take(&mut reader), Taken::Ended(fault) if fault.message == "gone"));
    }

    #[test]
    fn a_mysql_stream_goes_on_where_the_replica_has_or_gets_all_that_the_tail_was_told_or_has_sent() {
        let uuid = uuid::Uuid::from_bytes([7; 16]);
        let gtid = |number: u64| {
            let header = Header { event_type: EventType::GTID, ..*event(0, 1).header() };
            Event::build(header, &[&[0], &[7; 16], &number.to_le_bytes(), &[0; 17]], ChecksumAlgorithm::Crc32)
        };
        let progress = |numbers: &str| {
            let set: crate::gtid::GtidSet = format!("{uuid}:{numbers}").parse().expect("a set");
            Progress::of(&crate::replica::backend::ReplicaStart::MySqlGtid(set.encode().into()))
        };
        let mut ring = Ring::new(1 << 20, Arc::new(rendering("r", false)), progress("1-5"), place(0));
        let push = |ring: &mut Ring, events: Vec<Event>, places: &[(usize, u64)], whole| {
            let places = places.iter().map(|(before, at)| (*before, place(*at))).collect();
            ring.push(Batch::new(events, places, whole, &mut Outline::default()));
        };
        push(&mut ring, vec![gtid(7), event(9, 1), gtid(6), event(9, 2)], &[(2, 100), (4, 200)], true);
        push(&mut ring, vec![gtid(8), event(9, 3), gtid(9), event(9, 4)], &[(2, 300)], false);
        let find =
            |ring: &Ring, at: u64, has: &str| ring.find(&rendering("r", false), &place(at), &progress(has)).is_some();
        for (at, has, expected) in [
            (0, "1-5", true),
            (0, "1-4", false),
            (0, "1-5:12", true),
            // It was born there, and is left out for it alone.
            (0, "1-6", true),
            (100, "1-5:7", true),
            (100, "1-5", false),
            (100, "1-6", false),
            (200, "1-7", true),
            (200, "1-6", false),
            (300, "1-8", true),
            (300, "1-7", false),
        ] {
            assert_eq!(find(&ring, at, has), expected, "{has} at {at}");
        }
        // The end of the group that was open, behind which the tail has it.
        push(&mut ring, vec![event(9, 5)], &[(1, 400)], true);
        assert!(find(&ring, 400, "1-9") && !find(&ring, 400, "1-8") && find(&ring, 300, "1-8"));
        assert!(ring.find(&rendering("r", false), &place(400), &Progress::Position).is_none());
        let has = |numbers, event: &Event| progress(numbers).has(event);
        assert!(has("1-9", &gtid(9)) && !has("1-8", &gtid(9)) && !has("1-9", &event(9, 1)));
    }

    #[test]
    fn what_was_dropped_or_is_another_server_s_is_not_passed_over_by_who_stands_before_it() {
        // Nothing is far back, so that the place alone decides.
        let mut ring = self::ring(100_000);
        ring.push(groups([1], 99_000));
        ring.push(groups([2], 2_000));
        assert_eq!((ring.batches.len(), find(&ring, place(0))), (1, None));
        let mut ring = self::ring(100_000);
        assert!(find(&ring, place(0)).is_some());
        ring.goes_on_as(&Arc::new(rendering("other", true)));
        assert!(ring.find(&rendering("other", true), &place(0), &Progress::Position).is_none());
    }

    #[test]
    fn a_stream_of_another_rendering_or_one_that_has_ended_is_not_joined() {
        let mut ring = self::ring(1 << 20);
        ring.push(groups([1], 10));
        assert!(ring.find(&rendering("other", true), &place(100), &Progress::Position).is_none());
        assert!(find(&ring, place(100)).is_some());
        ring.set_idle(true);
        ring.push(groups([2], 10));
        assert!(matches!(ring.take(&mut ring.head()), Taken::Nothing { idle: false }), "there is more again");
        ring.end(Fault::new(crate::fault::Code::SourceLost, "gone"));
        assert!(find(&ring, place(200)).is_none());
    }
}
