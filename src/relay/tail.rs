//! Live tails: one stream from the source for all replicas that have what there is.
//!
//! A replica catches up on a stream of its own. When its stream stands at a place of the tail of its rendering, it goes on there. Where
//! there is no such tail, and the stream has all that the source had a moment ago, it becomes the tail. The tail reads as fast as the
//! source sends, whatever its readers do, and ends with the last of them.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::warn;

use crate::binlog::Event;
use crate::fault::{Code, Fault};
use crate::replica::Outline;
use crate::replica::backend::FeedState;

use super::lasting::LastingFeed;
use super::place::{Place, Rendering};
use super::progress::Progress;
use super::ring::{Batch, Cursor, Ring, Taken};

/// What a tail keeps for readers that are a little behind. Enough for some tenths of a second at the rate of a fast link, and
/// little beside what one private stream per replica would take.
const RING_BYTES: usize = 16 << 20;

/// The first part of a group is kept back until the group is complete, up to this size: readers then stand between two groups
/// nearly always, where a stream can be changed for another, and a source that is lost inside a group costs a pause only.
const KEPT_BACK: usize = 1 << 20;

/// The tails of one route.
#[derive(Default)]
pub(super) struct Tails {
    /// Those that have readers; a few, one for each kind of replica.
    tails: Mutex<Vec<Weak<Tail>>>,
}

/// One tail. It ends when nobody holds it any longer.
pub(super) struct Tail {
    shared: Arc<Shared>,
    task: OnceLock<AbortHandle>,
}

/// What the task fills and the readers read.
struct Shared {
    ring: Mutex<Ring>,
    /// Counts what readers have to look at.
    news: watch::Sender<u64>,
    /// The newest question that a replica has answered.
    answered: watch::Sender<u64>,
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Tails {
    /// The place in a tail where a stream can go on that stands at `place`.
    pub(super) fn join(&self, rendering: &Rendering, place: &Place, progress: &Progress) -> Option<Reader> {
        let tail = find(&self.lock(), rendering)?;
        let (cursor, pads) = tail.shared.ring().find(rendering, place, progress)?;
        Some(Reader::new(tail, cursor, pads))
    }

    /// Whether there is a tail of this rendering, wherever it stands.
    pub(super) fn is_there(&self, rendering: &Rendering) -> bool {
        find(&self.lock(), rendering).is_some()
    }

    /// A new tail for a stream that stands at `place`, and the replica's place in it. `None` where there is one already.
    pub(super) fn begin(
        &self,
        rendering: &Arc<Rendering>,
        place: Place,
        progress: &Progress,
    ) -> Option<(Reader, Beginning)> {
        let mut tails = self.lock();
        if find(&tails, rendering).is_some() {
            return None;
        }
        tails.retain(|tail| tail.strong_count() > 0);
        let ring = Ring::new(RING_BYTES, Arc::clone(rendering), progress.clone(), place);
        let head = ring.head();
        let (news, answered) = (watch::Sender::new(0), watch::Sender::new(0));
        let shared = Arc::new(Shared { ring: Mutex::new(ring), news, answered });
        let tail = Arc::new(Tail { shared: Arc::clone(&shared), task: OnceLock::new() });
        tails.push(Arc::downgrade(&tail));
        let beginning = Beginning { tail: Arc::downgrade(&tail), ending: Ending { shared } };
        Some((Reader::new(tail, head, rendering.pads), beginning))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Tail>>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(tails: &[Weak<Tail>], rendering: &Rendering) -> Option<Arc<Tail>> {
    let alive = tails.iter().filter_map(Weak::upgrade);
    alive.into_iter().find(|tail| tail.shared.ring().is_of(rendering))
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// A tail that has no stream yet.
pub(super) struct Beginning {
    tail: Weak<Tail>,
    ending: Ending,
}

impl Beginning {
    /// Gives the tail its stream.
    pub(super) fn with(self, feed: Box<LastingFeed>) {
        if let Some(tail) = self.tail.upgrade() {
            tail.task.get_or_init(|| tokio::spawn(run(feed, self.ending)).abort_handle());
        }
    }
}

/// One replica's place in a tail.
pub(super) struct Reader {
    tail: Arc<Tail>,
    news: watch::Receiver<u64>,
    cursor: Cursor,
    pads: Option<u32>,
}

impl Reader {
    fn new(tail: Arc<Tail>, cursor: Cursor, pads: Option<u32>) -> Self {
        let news = tail.shared.news.subscribe();
        Self { tail, news, cursor, pads }
    }

    /// What comes next. Does not wait.
    pub(super) fn take(&mut self) -> Taken {
        // Seen before it is looked at, so that nothing is missed in between.
        self.news.borrow_and_update();
        self.tail.shared.ring().take(&mut self.cursor)
    }

    /// Waits until there may be something to take. Cancel-safe.
    pub(super) async fn news(&mut self) {
        if self.news.changed().await.is_err() {
            // The reader itself holds what tells the news.
            std::future::pending().await
        }
    }

    /// The newest question about what lies before the reader's place, where nobody has answered it yet.
    pub(super) fn open_question(&self) -> Option<u64> {
        let asked = self.tail.shared.ring().asked_before(&self.cursor)?;
        (asked > *self.tail.shared.answered.borrow()).then_some(asked)
    }

    /// The replica has all that was sent before this question.
    pub(super) fn answer(&self, number: u64) {
        self.tail.shared.answered.send_if_modified(|answered| {
            let is_news = number > *answered;
            *answered = number.max(*answered);
            is_news
        });
    }

    /// The replica's server id that stands in the tail's pads.
    pub(super) fn pads(&self) -> Option<u32> {
        self.pads
    }
}

/// Ends the ring when the task ends, however it does.
struct Ending {
    shared: Arc<Shared>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.shared.ring().end(Fault::new(Code::Internal, "the live tail ended without a reason"));
        self.shared.tell();
    }
}

/// Reads the stream into the ring.
async fn run(mut feed: Box<LastingFeed>, ending: Ending) {
    let shared = &ending.shared;
    feed.note_places();
    let mut kept = KeptBack::default();
    let mut answered = shared.answered.subscribe();
    // The replica may have answered before this task came to run.
    answered.mark_changed();
    let mut outline = Outline::new(feed.format().cloned());
    loop {
        let epoch = feed.epoch();
        let filled = tokio::select! {
            biased;
            // The sender is here, so that it cannot be gone.
            Ok(()) = answered.changed() => {
                let number = *answered.borrow_and_update();
                feed.answer(number);
                continue;
            }
            filled = feed.fill(&mut kept.events, !kept.begun) => filled,
        };
        if feed.epoch() != epoch {
            // The stream begins again at the start of the group that is kept back.
            kept.clear();
            continue;
        }
        kept.places.extend(feed.take_places());
        kept.questions.extend(feed.take_questions());
        let fault = match filled {
            Ok(FeedState::More | FeedState::Shared(_)) => None,
            Ok(FeedState::EndOfStream) => Some(Fault::new(Code::SourceLost, "the source ended the stream")),
            Err(fault) => Some(fault),
        };
        let batch = kept.release(feed.has_put_out_whole(), &mut outline);
        let mut ring = shared.ring();
        if let Some(rendering) = feed.rendering() {
            ring.goes_on_as(rendering);
        }
        let news = batch.is_some();
        if let Some(batch) = batch {
            ring.push(batch);
        }
        let news = ring.set_idle(feed.is_caught_up()) || news || fault.is_some();
        if let Some(fault) = &fault {
            ring.end(fault.clone());
        }
        drop(ring);
        if news {
            shared.tell();
        }
        if let Some(fault) = fault {
            warn!(code = %fault.code, error = %fault.message, "the live tail ended");
            return;
        }
    }
}

/// What came and is not released yet.
#[derive(Default)]
struct KeptBack {
    events: Vec<Event>,
    places: Vec<(usize, Place)>,
    questions: Vec<(usize, u64)>,
    /// A part of the group at hand has been released.
    begun: bool,
    last: Option<Place>,
}

impl KeptBack {
    fn clear(&mut self) {
        self.events.clear();
        self.places.clear();
        self.questions.clear();
        self.begun = false;
    }

    /// Takes out what readers may have. `whole`: all that came ends with a whole group.
    fn release(&mut self, whole: bool, outline: &mut Outline) -> Option<Batch> {
        let bytes = || self.events.iter().map(|event| event.raw().len()).sum::<usize>();
        let (count, whole) = match self.places.last() {
            _ if whole => (self.events.len(), true),
            Some(&(before, _)) if before > 0 => (before, true),
            _ if self.begun || bytes() > KEPT_BACK => (self.events.len(), false),
            _ => return None,
        };
        let later = self.questions.split_off(self.questions.partition_point(|(before, _)| *before <= count));
        let later = later.into_iter().map(|(before, number)| (before - count, number)).collect();
        let questions = std::mem::replace(&mut self.questions, later);
        self.begun = !whole;
        let rest = self.events.split_off(count);
        let events = std::mem::replace(&mut self.events, rest);
        let mut places = std::mem::take(&mut self.places);
        if events.is_empty() {
            // A heartbeat: only the news that the source has left something out.
            let last = self.last.as_ref();
            places.retain(|(_, place)| last.is_none_or(|last| !last.is_same(place, false)));
        }
        if let Some((_, place)) = places.last() {
            self.last = Some(place.clone());
        }
        let is_news = !events.is_empty() || !places.is_empty() || !questions.is_empty();
        is_news.then(|| Batch::new(events, places, whole, outline).asking(questions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{ChecksumAlgorithm, EventType, Header};

    fn event(length: usize) -> Event {
        let header =
            Header { timestamp: 1, event_type: EventType::XID, server_id: 1, event_length: 0, log_pos: 1, flags: 0 };
        Event::build(header, &[&vec![0; length]], ChecksumAlgorithm::None)
    }

    fn place(source: u64) -> Place {
        Place { file: (*b"bin.1").into(), created: 9, source, served: source, event: None }
    }

    fn shape(batch: Option<Batch>) -> Option<(usize, bool)> {
        batch.map(|batch| (batch.events().len(), batch.whole))
    }

    #[test]
    fn the_start_of_a_group_waits_for_its_end_unless_it_is_long() {
        let events = vec![event(10), event(10), event(10)];
        let mut kept = KeptBack { events, places: vec![(2, place(100))], ..KeptBack::default() };
        assert_eq!(shape(kept.release(false, &mut Outline::default())), Some((2, true)));
        assert_eq!(shape(kept.release(false, &mut Outline::default())), None);
        kept.events.push(event(KEPT_BACK));
        assert_eq!(shape(kept.release(false, &mut Outline::default())), Some((2, false)));
        kept.events.push(event(10));
        assert_eq!(
            shape(kept.release(false, &mut Outline::default())),
            Some((1, false)),
            "the group has begun to go out"
        );
        kept.events.extend([event(10), event(10)]);
        kept.places = vec![(1, place(200))];
        assert_eq!(shape(kept.release(false, &mut Outline::default())), Some((1, true)));
        assert_eq!(shape(kept.release(false, &mut Outline::default())), None, "the next group has not");
        kept.places = vec![(1, place(300))];
        assert_eq!(shape(kept.release(true, &mut Outline::default())), Some((1, true)));
    }

    #[test]
    fn a_heartbeat_is_news_only_where_the_source_has_moved() {
        let mut kept = KeptBack::default();
        let mut beat = |at| {
            kept.places = vec![(0, place(at))];
            shape(kept.release(true, &mut Outline::default()))
        };
        assert_eq!((beat(100), beat(100), beat(200), beat(200)), (Some((0, true)), None, Some((0, true)), None));
    }
}
