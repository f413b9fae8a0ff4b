//! Semi-synchronous replicas: what goes before their events, and which of their acknowledgements answers what.

use std::collections::VecDeque;
use std::sync::Arc;

use super::command::code;
use crate::pipeline::coordinates::FilePosition;
use crate::wire::{ACKNOWLEDGEMENT_LIMIT, Acknowledgement, NEEDS_ACKNOWLEDGEMENT, PacketReader, SEMI_SYNC_MAGIC};

/// How many questions may be open; beyond this the newest takes the place of the one before it, which it answers.
const MAX_OPEN: usize = 4096;

/// Within a batch, questions that so many bytes or less lie between are asked as one, at the last of them: a replica that wrote an
/// acknowledgement for each of a few thousand small transactions, which nobody reads before the batch is out, could block.
const SPACING: usize = 64 << 10;

/// What stands before an event in its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// For an asynchronous replica.
    Plain,
    /// For a semi-synchronous one that is asked for nothing.
    SemiSync,
    /// For one that is to acknowledge.
    Asking,
}

impl Head {
    pub(crate) fn bytes(self) -> &'static [u8] {
        match self {
            Self::Plain => &[0],
            Self::SemiSync => &[0, SEMI_SYNC_MAGIC, 0],
            Self::Asking => &[0, SEMI_SYNC_MAGIC, NEEDS_ACKNOWLEDGEMENT],
        }
    }
}

/// What a client said that is no acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spoke {
    /// It takes leave, or asks for something else: either way it does not read the stream any longer.
    Left,
    /// No packet that a replica sends.
    Malformed(String),
}

/// A question that the replica was asked.
#[derive(Debug)]
struct Open {
    number: u64,
    file: Arc<[u8]>,
    position: u64,
    /// Counts the files that the receiver has been in: after a RESET another file has the same name.
    stay: u64,
}

/// The state of one session.
#[derive(Debug)]
pub(crate) struct SemiSync {
    reader: PacketReader,
    open: VecDeque<Open>,
    file: Arc<[u8]>,
    position: u64,
    stay: u64,
}

impl SemiSync {
    pub(crate) fn new() -> Self {
        let reader = PacketReader::new(0, ACKNOWLEDGEMENT_LIMIT);
        Self { reader, open: VecDeque::new(), file: Arc::default(), position: 0, stay: 0 }
    }

    /// The replica was asked when its receiver is at this place.
    pub(crate) fn asked(&mut self, number: u64, at: &FilePosition) {
        if *self.file != *at.file {
            self.file = at.file.as_slice().into();
            self.stay += 1;
        } else if at.position < self.position {
            self.stay += 1;
        }
        self.position = at.position;
        if self.open.len() >= MAX_OPEN {
            self.open.pop_back();
        }
        let file = Arc::clone(&self.file);
        self.open.push_back(Open { number, file, position: at.position, stay: self.stay });
    }

    /// Takes what the client sent while its receiver can be at `at` at the most. How many acknowledgements there were, and the newest
    /// question that they answer.
    pub(crate) fn read(&mut self, bytes: &[u8], at: &FilePosition) -> Result<(u64, Option<u64>), Spoke> {
        let (mut count, mut answered) = (0, None);
        // In pieces that the reader's buffer is made for.
        for piece in bytes.chunks(ACKNOWLEDGEMENT_LIMIT) {
            self.reader.feed(piece);
            loop {
                self.reader.expect_sequence(0);
                let payload = match self.reader.next_payload() {
                    Ok(Some(payload)) => payload,
                    Ok(None) => break,
                    Err(error) => return Err(Spoke::Malformed(error.to_string())),
                };
                match Acknowledgement::read(&payload) {
                    Some(acknowledgement) => {
                        count += 1;
                        answered = self.matched(&acknowledgement, at).or(answered);
                    }
                    None if payload.first() == Some(&SEMI_SYNC_MAGIC) => {
                        return Err(Spoke::Malformed(format!("an acknowledgement of {} bytes", payload.len())));
                    }
                    None if payload.first() == Some(&code::QUIT) => return Err(Spoke::Left),
                    None => return Err(Spoke::Malformed("a command during the stream".to_owned())),
                }
            }
        }
        Ok((count, answered))
    }

    /// The newest question that a place answers. A place that the replica was not sent yet, or that is in none of the files in question,
    /// answers nothing.
    fn matched(&mut self, acknowledgement: &Acknowledgement, at: &FilePosition) -> Option<u64> {
        let Acknowledgement { position, file } = acknowledgement;
        if *file == at.file && *position > at.position {
            return None;
        }
        let mut found: Option<(usize, u64)> = None;
        for (index, open) in self.open.iter().enumerate() {
            let same_stay = found.is_none_or(|(_, stay)| stay == open.stay);
            if same_stay && *open.file == **file && open.position <= *position {
                found = Some((index, open.stay));
            }
        }
        let (index, _) = found?;
        self.open.drain(..=index).next_back().map(|open| open.number)
    }
}

/// The questions within one batch, of which those are left out that another one follows closely.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    left: VecDeque<(usize, u64)>,
    bytes: usize,
}

impl Questions {
    /// With what a feed has put out, each as (events before it, number).
    pub(crate) fn of(questions: Vec<(usize, u64)>) -> Self {
        Self { left: questions.into(), bytes: 0 }
    }

    /// What is to be asked before the first of `events` events, and is not covered by a later question.
    pub(crate) fn before_all(&mut self) -> Option<u64> {
        let mut number = None;
        while let Some((0, first)) = self.left.front() {
            number = Some(*first);
            self.left.pop_front();
        }
        number.filter(|_| self.left.is_empty())
    }

    /// What is to be asked with the event that is the `count`th, of `bytes` bytes.
    pub(crate) fn with_event(&mut self, count: usize, bytes: usize) -> Option<u64> {
        self.bytes += bytes;
        let mut number = None;
        while let Some((before, next)) = self.left.front()
            && *before <= count
        {
            number = Some(*next);
            self.left.pop_front();
        }
        let number = number.filter(|_| self.left.is_empty() || self.bytes >= SPACING)?;
        self.bytes = 0;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::write_packet;

    fn at(file: &str, position: u64) -> FilePosition {
        FilePosition { file: file.into(), position }
    }

    fn ack(file: &str, position: u64) -> Vec<u8> {
        let mut packet = Vec::new();
        write_packet(&mut packet, &Acknowledgement::payload(file.as_bytes(), position), &mut 0);
        packet
    }

    fn asked(places: &[(u64, &str, u64)]) -> SemiSync {
        let mut semi_sync = SemiSync::new();
        for (number, file, position) in places {
            semi_sync.asked(*number, &at(file, *position));
        }
        semi_sync
    }

    #[test]
    fn an_acknowledgement_answers_what_was_asked_up_to_its_place() {
        let mut session = asked(&[(1, "a", 100), (2, "a", 200), (5, "b", 50), (6, "b", 90)]);
        let now = at("b", 120);
        assert_eq!(session.read(&ack("a", 99), &now), Ok((1, None)));
        assert_eq!(session.read(&ack("a", 150), &now), Ok((1, Some(1))));
        assert_eq!(session.read(&ack("a", 100), &now), Ok((1, None)), "once more");
        let two = [ack("b", 50), ack("b", 95)].concat();
        let (first, second) = two.split_at(7);
        assert_eq!(session.read(first, &now), Ok((0, None)), "a part of a packet");
        assert_eq!(session.read(second, &now), Ok((2, Some(6))));
        assert!(session.open.is_empty());
    }

    #[test]
    fn places_that_the_replica_was_not_sent_answer_nothing() {
        let mut session = asked(&[(1, "a", 100)]);
        for packet in [ack("a", 101), ack("a", u64::MAX), ack("b", 4), ack("b", u64::MAX), ack("a", 0)] {
            assert_eq!(session.read(&packet, &at("a", 100)), Ok((1, None)));
        }
        assert_eq!(session.read(&ack("a", 100), &at("a", 100)), Ok((1, Some(1))));
    }

    #[test]
    fn after_a_reset_the_same_name_is_another_file() {
        let mut session = asked(&[(1, "a", 900), (2, "a", 100), (3, "a", 200)]);
        assert_eq!(session.read(&ack("a", 900), &at("b", 4)), Ok((1, Some(1))));
        assert_eq!(session.read(&ack("a", 100), &at("a", 200)), Ok((1, Some(2))));
    }

    #[test]
    fn what_is_no_acknowledgement_ends_the_stream_and_takes_no_memory() {
        let packet = |payload: &[u8], number: u8| {
            let mut packet = Vec::new();
            write_packet(&mut packet, payload, &mut { number });
            packet
        };
        let now = at("a", 4);
        assert_eq!(SemiSync::new().read(&packet(&[1], 0), &now), Err(Spoke::Left));
        for bytes in [
            packet(b"\x03SELECT 1", 0),
            packet(&[SEMI_SYNC_MAGIC; 9], 0),
            packet(&[], 0),
            ack("a", 4)[..3].iter().copied().chain([1]).chain([0; 30]).collect(),
            b"\xff\xff\xff\0".to_vec(),
        ] {
            assert!(matches!(SemiSync::new().read(&bytes, &now), Err(Spoke::Malformed(_))), "{bytes:?}");
        }
        let mut session = SemiSync::new();
        let flood = ack("x", 9).repeat(10_000);
        assert_eq!(session.read(&flood, &now), Ok((10_000, None)));
        assert!(session.reader.is_empty());
        for number in 0..3 * MAX_OPEN as u64 {
            session.asked(number, &at("a", number));
        }
        assert_eq!(session.open.len(), MAX_OPEN);
        let last = 3 * MAX_OPEN as u64 - 1;
        assert_eq!(session.read(&ack("a", last), &at("a", last)), Ok((1, Some(last))));
    }

    #[test]
    fn of_questions_that_are_close_together_the_last_is_asked() {
        let mut questions = Questions::of(vec![(0, 1), (2, 2), (3, 3), (3, 4)]);
        assert_eq!(questions.before_all(), None, "a later one follows");
        let asked: Vec<_> = (1..=4).map(|count| questions.with_event(count, 100)).collect();
        assert_eq!(asked, [None, None, Some(4), None]);
        let mut questions = Questions::of(vec![(1, 1), (2, 2), (3, 3)]);
        let asked: Vec<_> = (1..=3).map(|count| questions.with_event(count, SPACING)).collect();
        assert_eq!(asked, [Some(1), Some(2), Some(3)]);
        let mut questions = Questions::of(vec![(0, 7), (0, 8)]);
        assert_eq!((questions.before_all(), questions.with_event(1, 10)), (Some(8), None));
    }
}
