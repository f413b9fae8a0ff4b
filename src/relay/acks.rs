//! Acknowledgements on their way: what a source asks for is asked of replicas, and what the first of them says is passed on.
//!
//! Each question has a number, which grows over all streams of a route, so that an answer to a question of an earlier stream is none to
//! a later one's: with another stream the same position may be another place. An answer says that the replica has all that it was sent
//! before the question, so it answers all earlier ones too.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::pipeline::coordinates::FilePosition;

/// How many questions of one stream may be open. A source has one for each transaction that waits; beyond this the newest takes the
/// place of the one before it, which it answers.
const MAX_OPEN: usize = 4096;

/// How long a replica may take to say that it has what it was sent, before its connection is closed instead.
const CONFIRMATION_LIMIT: Duration = Duration::from_secs(30);

/// Gives each question of a route its number.
#[derive(Debug, Default)]
pub(super) struct Questions {
    last: AtomicU64,
}

impl Questions {
    fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// What one stream's source asks for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The source has asked, and the stream was at no place since at which a replica can answer.
    due: bool,
    /// Number and source's place of each question that no replica has answered.
    open: VecDeque<(u64, FilePosition)>,
    /// The questions in what was put out last, each with the number of events before it.
    put_out: Vec<(usize, u64)>,
}

impl Asked {
    /// The source asks for an acknowledgement of what it has sent.
    pub(super) fn by_source(&mut self) {
        self.due = true;
    }

    /// The stream stands between two groups, at the source's `place`, and has put out all up to there.
    pub(super) fn stands(&mut self, questions: &Questions, place: &FilePosition, put_out: usize) {
        if !std::mem::take(&mut self.due) {
            return;
        }
        let number = questions.next();
        if self.open.len() >= MAX_OPEN {
            self.open.pop_back();
        }
        self.open.push_back((number, place.clone()));
        self.put_out.push((put_out, number));
    }

    /// The questions since the last call.
    pub(super) fn take(&mut self) -> Vec<(usize, u64)> {
        std::mem::take(&mut self.put_out)
    }

    /// A replica has answered: the source's place to acknowledge, if that is news to it.
    pub(super) fn answered(&mut self, number: u64) -> Option<FilePosition> {
        let mut last = None;
        while self.open.front().is_some_and(|(open, _)| *open <= number) {
            last = self.open.pop_front();
        }
        last.map(|(_, place)| place)
    }
}

/// The questions of its stream that a replica was asked. When it goes over to another stream, its answers to the first one's say nothing
/// of the second one's: numbers grow with time, and the second may have been further ahead.
#[derive(Debug, Default)]
pub(super) struct Given {
    numbers: VecDeque<u64>,
}

impl Given {
    pub(super) fn add(&mut self, number: u64) {
        if self.numbers.len() >= 2 * MAX_OPEN {
            self.numbers.pop_front();
        }
        self.numbers.push_back(number);
    }

    /// The stream is another one.
    pub(super) fn clear(&mut self) {
        self.numbers.clear();
    }

    /// Whether an answer is one to this stream.
    pub(super) fn answered(&mut self, number: u64) -> bool {
        match self.numbers.iter().position(|given| *given == number) {
            Some(index) => self.numbers.drain(..=index).next().is_some(),
            None => false,
        }
    }
}

/// A question of the proxy's own: has a replica all that it was sent? A source takes the place from which a semi-synchronous replica
/// asks for its stream for acknowledged (MySQL also the GTIDs that it is told to leave out), so what was only sent must not be asked
/// for as if the replica had it.
#[derive(Debug)]
pub(super) struct Confirmation {
    number: u64,
    asked: bool,
    until: Instant,
}

impl Confirmation {
    pub(super) fn new(questions: &Questions) -> Self {
        Self { number: questions.next(), asked: false, until: Instant::now() + CONFIRMATION_LIMIT }
    }

    /// The question, once; then waits until it is too late. Cancel-safe.
    pub(super) async fn wait(&mut self) -> Option<u64> {
        if !std::mem::replace(&mut self.asked, true) {
            return Some(self.number);
        }
        sleep_until(self.until).await;
        None
    }

    pub(super) fn is_given_by(&self, number: u64) -> bool {
        self.asked && number >= self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(position: u64) -> FilePosition {
        FilePosition { file: b"bin.1".to_vec(), position }
    }

    fn ask(asked: &mut Asked, questions: &Questions, position: u64) -> u64 {
        asked.by_source();
        asked.stands(questions, &place(position), 1);
        asked.take().last().expect("a question").1
    }

    #[test]
    fn an_answer_is_passed_on_as_the_place_that_was_asked_for_and_covers_what_came_before() {
        let (questions, mut asked) = (Questions::default(), Asked::default());
        asked.stands(&questions, &place(50), 1);
        assert!(asked.take().is_empty(), "the source has not asked");
        let numbers = [100, 200, 300].map(|position| ask(&mut asked, &questions, position));
        assert_eq!(asked.answered(numbers[0] - 1), None);
        assert_eq!(asked.answered(numbers[1]), Some(place(200)));
        assert_eq!(asked.answered(numbers[1]), None, "twice");
        assert_eq!(asked.answered(numbers[0]), None, "late");
        assert_eq!(asked.answered(numbers[2]), Some(place(300)));
        assert_eq!(asked.answered(u64::MAX), None, "nothing is open");
    }

    #[test]
    fn what_is_asked_inside_a_group_is_asked_of_replicas_at_its_end() {
        let (questions, mut asked) = (Questions::default(), Asked::default());
        asked.by_source();
        assert!(asked.take().is_empty());
        asked.stands(&questions, &place(100), 3);
        assert_eq!(asked.take(), [(3, 1)]);
        asked.stands(&questions, &place(200), 5);
        assert!(asked.take().is_empty());
    }

    #[test]
    fn an_answer_to_an_earlier_stream_is_none_to_this_one() {
        let questions = Questions::default();
        let (mut earlier, mut later) = (Asked::default(), Asked::default());
        let old = ask(&mut earlier, &questions, 900);
        let new = ask(&mut later, &questions, 100);
        assert_eq!(later.answered(old), None);
        assert_eq!(later.answered(new), Some(place(100)));
    }

    #[test]
    fn an_answer_counts_for_the_stream_that_asked() {
        let mut given = Given::default();
        for number in 1..=3 * MAX_OPEN as u64 {
            given.add(number);
        }
        assert!(given.numbers.len() <= 2 * MAX_OPEN && !given.answered(1));
        assert!(given.answered(2 * MAX_OPEN as u64) && !given.answered(2 * MAX_OPEN as u64 - 1));
        given.clear();
        given.add(7);
        assert!(!given.answered(3 * MAX_OPEN as u64), "asked by the stream before");
        assert!(given.answered(7));
    }

    #[test]
    fn open_questions_are_bounded_and_the_newest_is_among_them() {
        let (questions, mut asked) = (Questions::default(), Asked::default());
        let numbers: Vec<_> = (0..2 * MAX_OPEN as u64).map(|number| ask(&mut asked, &questions, number)).collect();
        assert_eq!(asked.open.len(), MAX_OPEN);
        assert_eq!(asked.answered(numbers[5]), Some(place(5)));
        assert_eq!(asked.answered(numbers[MAX_OPEN + 1]), Some(place(MAX_OPEN as u64 - 2)));
        assert_eq!(asked.answered(numbers[numbers.len() - 1]), Some(place(2 * MAX_OPEN as u64 - 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_confirmation_is_asked_for_once_and_given_by_no_earlier_answer() {
        let questions = Questions::default();
        let before = questions.next();
        let mut confirmation = Confirmation::new(&questions);
        assert!(!confirmation.is_given_by(u64::MAX), "not asked yet");
        let number = confirmation.wait().await.expect("the question");
        assert!(!confirmation.is_given_by(before) && confirmation.is_given_by(number));
        assert_eq!(confirmation.wait().await, None, "nobody answers");
    }
}
