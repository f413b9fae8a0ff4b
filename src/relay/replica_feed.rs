//! What one replica is served from: a stream of its own while it catches up, then the live tail.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::{debug, info};

use crate::binlog::{Event, EventType};
use crate::fault::{Code, Fault};
use crate::pipeline::coordinates::{FilePosition, ReceiverPosition};
use crate::pipeline::restamped_pad;
use crate::replica::Shared;
use crate::replica::backend::{BoxFuture, Feed, FeedState, ReplicaRequest, ReplicaSession, ReplicaStart, Standing};
use crate::source::SourceFacts;

use super::Core;
use super::acks::{Confirmation, Given};
use super::feed::RouteFeed;
use super::following::Following;
use super::lasting::{FIRST_PAUSE, LastingFeed, Reopening, is_superseded};
use super::partial::Arrival;
use super::place::Place;
use super::progress::Progress;
use super::ring::{Batch, Taken};
use super::servers::{Known, Stretch};
use super::tail::Reader;

/// A source that says nothing for so long may have nothing more for now.
const CAUGHT_UP_PAUSE: Duration = Duration::from_millis(10);
/// The pause grows up to this while the tail is elsewhere.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// So may one that had to be waited for so many times in a row.
const CAUGHT_UP_WAITS: u32 = 8;

enum State {
    Private(Box<LastingFeed>),
    Live(Box<Live>),
    /// On the way from the tail back to a stream of its own.
    Leaving(Reopening, Box<ReplicaRequest>),
    /// Before that, a semi-synchronous replica says that it has what it was sent.
    Confirming(Box<Confirming>),
}

/// What comes when the replica has confirmed.
struct Confirming {
    confirmation: Confirmation,
    request: ReplicaRequest,
    fault: Option<Fault>,
}

/// On the live tail.
struct Live {
    reader: Reader,
    progress: Progress,
    receiver: ReceiverPosition,
    /// The last event ended a group, or was in none.
    whole: bool,
    /// The group at hand is one that the replica has.
    leaving_out: bool,
    idle: bool,
    /// Where the source's stream stands after the last batch.
    place: Option<Place>,
    /// Since when.
    since: Instant,
    /// The replica has all that lies before `place`.
    settled: bool,
}

/// The feed of one replica.
pub(super) struct ReplicaFeed {
    core: Arc<Core>,
    request: ReplicaRequest,
    /// The server that the replica's handshake was about.
    facts: Arc<SourceFacts>,
    state: State,
    /// How often in a row the source had to be waited for.
    waits: u32,
    pause: Duration,
    /// Questions in what was put out last, each with the number of events before it.
    questions: Vec<(usize, u64)>,
    given: Given,
    /// When the file was begun in which the replica stood when it left the tail; 0 where that is not known.
    file_created: u32,
    /// How a MariaDB replica by GTID came, and what it may have of its first transaction.
    arrival: Option<Arrival>,
    _following: Option<Following>,
}

impl ReplicaFeed {
    pub(super) fn new(
        core: Arc<Core>,
        request: ReplicaRequest,
        feed: RouteFeed,
        following: Option<Following>,
        arrival: Option<Arrival>,
    ) -> Self {
        let private = LastingFeed::new(Arc::clone(&core), request.clone(), feed);
        let facts = Arc::clone(private.facts());
        Self {
            core,
            request,
            facts,
            state: State::Private(Box::new(private)),
            waits: 0,
            pause: CAUGHT_UP_PAUSE,
            questions: Vec::new(),
            given: Given::default(),
            file_created: 0,
            arrival,
            _following: following,
        }
    }

    /// What a replica by file and position was sent on the tail is remembered with the server that it came from; on a stream of
    /// its own that stream does so.
    fn remember_place(&self) {
        if let (State::Live(live), ReplicaStart::FilePosition(from)) = (&self.state, &self.request.start) {
            let (from, to) = (from.clone(), live.receiver.at().clone());
            let (server, created) = (Known::of(&self.facts), live.created());
            self.core.servers.left(&self.request.replica, Stretch { server, from, to, created, since: live.since });
        }
    }

    /// Is the first transaction of a replica by MariaDB GTID in what goes out next, then what it may have of that is seen to.
    fn arrive(&mut self, out: &mut Vec<Event>) -> Result<(), Fault> {
        let Some(arrival) = self.arrival.as_mut().filter(|arrival| !arrival.is_decided()) else { return Ok(()) };
        if let Some((at, count)) = arrival.pass(out)? {
            self.questions.iter_mut().filter(|(before, _)| *before > at).for_each(|(before, _)| *before += count);
        }
        Ok(())
    }

    async fn fill_and_arrive(&mut self, out: &mut Vec<Event>) -> Result<FeedState, Fault> {
        let filled = self.fill(out).await;
        self.arrive(out)?;
        filled
    }

    async fn fill(&mut self, out: &mut Vec<Event>) -> Result<FeedState, Fault> {
        // Nobody takes them where the replica is asynchronous.
        self.questions.clear();
        match &mut self.state {
            State::Private(_) => self.fill_private(out).await,
            State::Live(live) => {
                let taken = live.take().await;
                self.pass_on(taken, out)
            }
            State::Leaving(reopening, request) => {
                let feed = reopening.wait().await?;
                let private = LastingFeed::new(Arc::clone(&self.core), (**request).clone(), feed);
                self.state = State::Private(Box::new(private));
                Ok(FeedState::More)
            }
            State::Confirming(confirming) => match confirming.confirmation.wait().await {
                Some(number) => {
                    self.questions.push((out.len(), number));
                    Ok(FeedState::More)
                }
                None => {
                    let message = "the replica does not acknowledge what it was sent";
                    Err(confirming.fault.clone().unwrap_or_else(|| Fault::new(Code::ReplicaStuck, message)))
                }
            },
        }
    }

    async fn fill_private(&mut self, out: &mut Vec<Event>) -> Result<FeedState, Fault> {
        loop {
            if self.join() {
                return Ok(FeedState::More);
            }
            let State::Private(feed) = &mut self.state else { return Ok(FeedState::More) };
            let at_place = feed.rendering().is_some() && feed.place().is_some();
            if at_place && self.waits >= CAUGHT_UP_WAITS && self.may_begin_tail() && self.begin_tail() {
                return Ok(FeedState::More);
            }
            let State::Private(feed) = &mut self.state else { return Ok(FeedState::More) };
            let (filled, waited) = {
                let mut filling = pin!(feed.fill(out, false));
                let at_once = tokio::select! {
                    biased;
                    filled = &mut filling => Some(filled),
                    () = ready(()) => None,
                };
                match at_once {
                    Some(filled) => (Some(filled), false),
                    None => tokio::select! {
                        filled = &mut filling => (Some(filled), true),
                        () = sleep(self.pause), if at_place => (None, true),
                    },
                }
            };
            let Some(filled) = filled else {
                self.waits = CAUGHT_UP_WAITS;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                continue;
            };
            self.waits = if waited { self.waits.saturating_add(1) } else { 0 };
            if let State::Private(feed) = &mut self.state {
                self.questions.extend(feed.take_questions());
            }
            if !out.is_empty() {
                self.pause = CAUGHT_UP_PAUSE;
            }
            return filled;
        }
    }

    /// Goes on with the tail, if the stream stands at a place of it.
    fn join(&mut self) -> bool {
        let State::Private(feed) = &self.state else { return false };
        let (Some(rendering), Some(place)) = (feed.rendering(), feed.place()) else { return false };
        match self.core.tails.join(rendering, place, feed.progress()) {
            Some(reader) => {
                // What the source waits for may be what this replica has, and the others have not said so.
                self.given.clear();
                self.questions.extend(reader.open_question().map(|number| (0, number)));
                // The stream's identity is free for others when the source has heard of it.
                if let Some(feed) = self.go_live(reader) {
                    self.core.take_leave(feed);
                }
                true
            }
            None => false,
        }
    }

    /// Whether there is no tail, and the stream is not behind: one that is would keep those from the tail that are ahead of it, and lose
    /// its own replica as soon as that is slower than the source.
    fn may_begin_tail(&self) -> bool {
        let State::Private(feed) = &self.state else { return false };
        let (Some(rendering), Some(place)) = (feed.rendering(), feed.place()) else { return false };
        let is_at_end = |server: String| self.core.is_at_end(&server, place, &self.request);
        !self.core.tails.is_there(rendering) && (feed.is_out_of_news() || feed.server_word().is_some_and(is_at_end))
    }

    /// Makes the stream the tail, if there is none.
    fn begin_tail(&mut self) -> bool {
        let State::Private(feed) = &self.state else { return false };
        let (Some(rendering), Some(place)) = (feed.rendering(), feed.place()) else { return false };
        let begun = self.core.tails.begin(rendering, place.clone(), feed.progress());
        let Some((reader, beginning)) = begun else { return false };
        if let Some(feed) = self.go_live(reader) {
            beginning.with(feed);
        }
        true
    }

    /// From here on the replica is on the tail. Gives back its own stream.
    fn go_live(&mut self, reader: Reader) -> Option<Box<LastingFeed>> {
        let State::Private(feed) = &self.state else { return None };
        let at = feed.served_position().cloned().unwrap_or_default();
        let live = Live {
            reader,
            progress: feed.progress().clone(),
            receiver: ReceiverPosition::new(self.request.replica.vendor, at),
            whole: true,
            leaving_out: false,
            idle: false,
            place: feed.place().cloned(),
            since: Instant::now(),
            settled: feed.standing().is_some(),
        };
        let server_id = self.request.replica.server_id;
        debug!(route = self.core.telemetry.route(), server_id, "the replica is on the live tail");
        self.pause = CAUGHT_UP_PAUSE;
        self.waits = 0;
        match std::mem::replace(&mut self.state, State::Live(Box::new(live))) {
            State::Private(feed) => Some(feed),
            State::Live(_) | State::Leaving(..) | State::Confirming(_) => None,
        }
    }

    fn pass_on(&mut self, taken: Taken, out: &mut Vec<Event>) -> Result<FeedState, Fault> {
        let State::Live(live) = &mut self.state else { return Ok(FeedState::More) };
        match taken {
            Taken::Batch(batch, skip) => {
                live.idle = false;
                let is_looked_at = self.arrival.as_ref().is_some_and(|arrival| !arrival.is_decided());
                Ok(live.pass_on((&batch, skip), &self.request.replica, is_looked_at, out, &mut self.questions))
            }
            Taken::Nothing { idle } => {
                live.idle = idle;
                Ok(FeedState::More)
            }
            Taken::FellOff if live.whole => {
                let server_id = self.request.replica.server_id;
                info!(route = self.core.telemetry.route(), server_id, "the replica is too slow for the live tail");
                self.leave(None)
            }
            Taken::FellOff => {
                let message =
                    "the replica is behind, inside a transaction that is larger than what the live tail keeps";
                Err(Fault::new(Code::ReplicaStuck, message))
            }
            // The tail's stream had to go for one that another proxy opened for the replica that began the tail: the others are
            // served on. All else that a source ends a stream with (its log was reset, a file cannot be read) is meant for each.
            Taken::Ended(fault) if live.whole && (is_superseded(&fault) || fault.code == Code::IdentityTaken) => {
                self.leave(Some(fault))
            }
            Taken::Ended(fault) if is_superseded(&fault) => Err(Fault::new(Code::SourceLost, fault.message)),
            Taken::Ended(fault) => Err(fault),
        }
    }

    /// Back to a stream of its own, from the end of what the replica has.
    fn leave(&mut self, fault: Option<Fault>) -> Result<FeedState, Fault> {
        let State::Live(live) = &self.state else { return Ok(FeedState::More) };
        let Some(request) = live.progress.request(&self.request, live.receiver.at().clone()) else {
            return Err(Fault::new(Code::Internal, "what the replica has is not known"));
        };
        self.file_created = live.created();
        self.remember_place();
        self.state = if request.replica.semi_sync {
            let confirmation = Confirmation::new(&self.core.questions);
            State::Confirming(Box::new(Confirming { confirmation, request, fault }))
        } else {
            self.reopen(request, fault)
        };
        Ok(FeedState::More)
    }

    /// The stream of its own, from the end of what it has.
    fn reopen(&self, request: ReplicaRequest, fault: Option<Fault>) -> State {
        let reopening =
            Reopening::begin(&self.core, request.clone(), &self.facts, self.file_created, fault, FIRST_PAUSE);
        State::Leaving(reopening, Box::new(request))
    }
}

impl Drop for ReplicaFeed {
    fn drop(&mut self) {
        self.remember_place();
        let progress = match &self.state {
            State::Private(feed) => Some(feed.progress()),
            State::Live(live) => Some(&live.progress),
            State::Leaving(..) | State::Confirming(_) => None,
        };
        if let (Some(arrival), Some(progress)) = (&self.arrival, progress) {
            arrival.left(progress);
        }
    }
}

impl Live {
    /// When the source's file was begun in which the replica stands; 0 where that is not known.
    fn created(&self) -> u32 {
        self.place.as_ref().map_or(0, |place| place.created)
    }

    /// What comes next, or the news that there is nothing more.
    async fn take(&mut self) -> Taken {
        loop {
            match self.reader.take() {
                Taken::Nothing { idle } if idle == self.idle => self.reader.news().await,
                taken => return taken,
            }
        }
    }

    /// Puts out what the replica needs of a batch: not the groups that it has, and pads with its own server id. Mostly that is all of
    /// it, as it was made for everybody, unless each event is looked at.
    fn pass_on(
        &mut self,
        (batch, skip): (&Batch, usize),
        replica: &ReplicaSession,
        is_looked_at: bool,
        out: &mut Vec<Event>,
        questions: &mut Vec<(usize, u64)>,
    ) -> FeedState {
        let server_id = replica.server_id;
        let pads = self.reader.pads().filter(|pads| *pads != server_id).map(|_| server_id);
        if skip == 0
            && !self.leaving_out
            && !replica.semi_sync
            && !is_looked_at
            && let Some(stretch) = batch.framed.stretch()
            && self.progress.sent_all(&batch.advance, batch.whole)
        {
            self.receiver.receive_all(stretch);
            self.whole = batch.whole;
            self.place = batch.place().cloned();
            self.settled |= self.place.is_some();
            return FeedState::Shared(Shared { framed: Arc::clone(&batch.framed), pads });
        }
        let mut asked = batch.questions.iter().filter(|(before, _)| *before >= skip).peekable();
        for (index, event) in batch.events().iter().enumerate().skip(skip) {
            while let Some((_, number)) = asked.next_if(|(before, _)| *before <= index) {
                questions.push((out.len(), *number));
            }
            match event.event_type() {
                EventType::GTID | EventType::GTID_TAGGED => self.leaving_out = self.progress.has(event),
                EventType::ANONYMOUS_GTID
                | EventType::ROTATE
                | EventType::FORMAT_DESCRIPTION
                | EventType::PREVIOUS_GTIDS
                | EventType::STOP => {
                    self.leaving_out = false;
                }
                _ => {}
            }
            if self.leaving_out {
                continue;
            }
            self.progress.sent(event);
            let event = pads.and_then(|_| restamped_pad(event, server_id)).unwrap_or_else(|| event.clone());
            self.receiver.receive(&event);
            out.push(event);
        }
        questions.extend(asked.map(|(_, number)| (out.len(), *number)));
        self.whole = batch.whole;
        self.leaving_out &= !batch.whole;
        if batch.whole {
            self.progress.close();
        }
        if let Some(place) = batch.place() {
            self.place = Some(place.clone());
            self.settled = true;
        } else if !batch.events().is_empty() {
            self.place = None;
        }
        FeedState::More
    }
}

impl Feed for ReplicaFeed {
    fn next<'a>(&'a mut self, out: &'a mut Vec<Event>) -> BoxFuture<'a, Result<FeedState, Fault>> {
        Box::pin(self.fill_and_arrive(out))
    }

    fn at_boundary(&self) -> bool {
        match &self.state {
            State::Private(feed) => feed.is_at_boundary(),
            State::Live(live) => live.whole,
            State::Leaving(..) | State::Confirming(_) => true,
        }
    }

    fn heartbeat_position(&self) -> Option<FilePosition> {
        match &self.state {
            State::Private(feed) => feed.heartbeat_position(),
            State::Live(live) if !live.progress.is_position() => live.place.as_ref().map(Place::source_position),
            State::Live(_) | State::Leaving(..) | State::Confirming(_) => None,
        }
    }

    fn is_caught_up(&self) -> bool {
        match &self.state {
            State::Private(feed) => feed.is_caught_up(),
            State::Live(live) => live.idle,
            State::Leaving(..) | State::Confirming(_) => false,
        }
    }

    fn standing(&self) -> Option<Standing<'_>> {
        match &self.state {
            State::Private(feed) => feed.standing(),
            State::Live(live) if live.whole && live.settled => {
                let place = live.place.as_ref()?;
                let (source, at) = ((&*place.file, place.source), live.receiver.at());
                let by_position = live.progress.is_position();
                // By GTID a receiver counts from anywhere until a heartbeat tells it the source's position.
                let served = if by_position { (&*at.file, at.position) } else { source };
                Some(Standing { server: self.core.servers.in_use(by_position), source, served })
            }
            State::Live(_) | State::Leaving(..) | State::Confirming(_) => None,
        }
    }

    fn take_questions(&mut self) -> Vec<(usize, u64)> {
        let questions = std::mem::take(&mut self.questions);
        for (_, number) in &questions {
            self.given.add(*number);
        }
        questions
    }

    fn answer(&mut self, number: u64) {
        if !self.given.answered(number) {
            return;
        }
        match &mut self.state {
            State::Private(feed) => feed.answer(number),
            State::Live(live) => live.reader.answer(number),
            State::Confirming(confirming) if confirming.confirmation.is_given_by(number) => {
                let (request, fault) = (confirming.request.clone(), confirming.fault.take());
                self.state = self.reopen(request, fault);
            }
            State::Leaving(..) | State::Confirming(_) => {}
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.state, State::Live(_))
    }
}
