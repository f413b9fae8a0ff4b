//! A stream that outlives its connection to the source: the replica sees a pause.
//!
//! Between two groups it is known exactly what the replica has, so the stream is asked for again from there, with growing
//! pauses, until it comes or the time is up. Inside a group the replica's connection is closed instead: servers take a stream
//! up in the middle of a group only when they have asked for it themselves. By GTID the stream may come from another server of the
//! source then, see [`super::servers`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::binlog::{Event, FormatDescription, Vendor};
use crate::fault::{Code, Fault};
use crate::pipeline::coordinates::FilePosition;
use crate::replica::backend::{FeedState, ReplicaRequest, ReplicaStart, Standing};
use crate::source::SourceFacts;

use super::acks::Confirmation;
use super::feed::RouteFeed;
use super::place::{Place, Rendering};
use super::progress::Progress;
use super::servers::{Known, Servers, Stretch, identity};
use super::{Asker, Core};

/// A source that is away for longer is the replica's to know about: its connection is closed.
const RECONNECT_LIMIT: Duration = Duration::from_secs(60);
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A stream that lasts for less than this before another one takes its id makes the pause before the next longer.
const QUIET: Duration = Duration::from_secs(60);
/// Where two proxies have too few ids for all their streams, each stream is interrupted about so often.
const LONGEST_QUARREL: Duration = Duration::from_secs(20);

/// A stream's connection to a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    /// The server's identity.
    pub(super) server: String,
    /// Its `host:port`: servers of one cluster may have one identity.
    pub(super) peer: String,
    /// The connection's number there.
    pub(super) thread_id: u32,
    /// It was opened after this time.
    pub(super) opened: Instant,
}

enum State {
    Streaming(Box<RouteFeed>),
    Reconnecting(Reopening),
    /// Before that, a semi-synchronous replica says that it has what it was sent.
    Confirming(Confirmation, Fault),
}

/// The task that asks for a stream again. It ends with whoever waits for it.
pub(super) struct Reopening {
    task: JoinHandle<Result<RouteFeed, Fault>>,
}

impl Reopening {
    /// Asks for a stream again until it comes or the time is up. `created` is when the file was begun in which it stood, 0 where
    /// that is not known; `fault` is why the last one ended, where it was lost, and `pause` the time before it is asked for again then.
    pub(super) fn begin(
        core: &Arc<Core>,
        request: ReplicaRequest,
        before: &Arc<SourceFacts>,
        created: u32,
        fault: Option<Fault>,
        pause: Duration,
    ) -> Self {
        Self { task: tokio::spawn(again(Arc::clone(core), request, Arc::clone(before), created, fault, pause)) }
    }

    /// Waits for the stream. Cancel-safe.
    pub(super) async fn wait(&mut self) -> Result<RouteFeed, Fault> {
        (&mut self.task)
            .await
            .unwrap_or_else(|error| Err(Fault::new(Code::Internal, format!("reconnecting failed: {error}"))))
    }
}

impl Drop for Reopening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A [`RouteFeed`] that is replaced when its source is lost.
pub(super) struct LastingFeed {
    core: Arc<Core>,
    request: ReplicaRequest,
    /// The server that the replica's handshake was about.
    facts: Arc<SourceFacts>,
    progress: Progress,
    state: State,
    /// Places are noted, also in streams that are opened later.
    notes_places: bool,
    /// What was put out ends with a whole group.
    whole: bool,
    /// How often the stream was asked for again.
    epoch: u32,
    /// A question of this feed's own, with the number of events before it.
    question: Option<(usize, u64)>,
    /// When the stream at hand was begun.
    since: Instant,
    /// When the file was begun in which the last stream stood; 0 where that is not known.
    file_created: u32,
    /// How often in a row another stream took the id of this one soon.
    taken: u32,
    /// The time before the stream is asked for again.
    pause: Duration,
}

impl LastingFeed {
    pub(super) fn new(core: Arc<Core>, request: ReplicaRequest, feed: RouteFeed) -> Self {
        let progress = Progress::of(&request.start);
        let facts = Arc::clone(feed.facts());
        let state = State::Streaming(Box::new(feed));
        Self {
            core,
            request,
            facts,
            progress,
            state,
            notes_places: false,
            whole: true,
            epoch: 0,
            question: None,
            since: Instant::now(),
            file_created: 0,
            taken: 0,
            pause: FIRST_PAUSE,
        }
    }

    /// The server that the replica's handshake was about.
    pub(super) fn facts(&self) -> &Arc<SourceFacts> {
        &self.facts
    }

    /// The stream's connection.
    pub(super) fn connection(&self) -> Option<Connection> {
        let feed = self.feed()?;
        Some(Connection {
            server: identity(feed.facts()),
            peer: feed.server().to_owned(),
            thread_id: feed.thread_id(),
            opened: feed.opened(),
        })
    }

    /// See [`RouteFeed::created`].
    pub(super) fn created(&self) -> u32 {
        self.feed().map_or(0, RouteFeed::created)
    }

    /// See [`Known::word`]: of the server that the stream comes from.
    pub(super) fn server_word(&self) -> Option<String> {
        self.feed().map(|feed| Known::of(feed.facts()).word())
    }

    /// What the replica has, as far as it is known.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What the stream's bytes depend on, where other replicas may get the same.
    pub(super) fn rendering(&self) -> Option<&Arc<Rendering>> {
        self.feed().and_then(RouteFeed::rendering)
    }

    /// See [`RouteFeed::place`].
    pub(super) fn place(&self) -> Option<&Place> {
        self.feed().and_then(RouteFeed::place)
    }

    /// The end of the last whole transaction that was put out, in both numberings.
    pub(super) fn standing(&self) -> Option<Standing<'_>> {
        self.feed().and_then(RouteFeed::standing)
    }

    /// Where the receiver of the replica is.
    pub(super) fn served_position(&self) -> Option<&FilePosition> {
        self.feed().map(RouteFeed::served_position)
    }

    /// See [`RouteFeed::note_places`].
    pub(super) fn note_places(&mut self) {
        self.notes_places = true;
        if let State::Streaming(feed) = &mut self.state {
            feed.note_places();
        }
    }

    /// The format of the events that come out.
    pub(super) fn format(&self) -> Option<&FormatDescription> {
        self.feed().and_then(RouteFeed::format)
    }

    /// See [`RouteFeed::take_places`].
    pub(super) fn take_places(&mut self) -> Vec<(usize, Place)> {
        match &mut self.state {
            State::Streaming(feed) => feed.take_places(),
            State::Reconnecting(_) | State::Confirming(..) => Vec::new(),
        }
    }

    /// How often the stream was asked for again.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    fn feed(&self) -> Option<&RouteFeed> {
        match &self.state {
            State::Streaming(feed) => Some(feed),
            State::Reconnecting(_) | State::Confirming(..) => None,
        }
    }

    /// As [`crate::replica::backend::Feed::next`]. `restarts`: nothing of a group that is not complete was passed on, so that the
    /// stream can be asked for again from the group's start.
    pub(super) async fn fill(&mut self, out: &mut Vec<Event>, restarts: bool) -> Result<FeedState, Fault> {
        match &mut self.state {
            State::Streaming(feed) => {
                let start = out.len();
                match feed.fill(out).await {
                    Ok(state) => {
                        for event in &out[start..] {
                            self.progress.sent(event);
                        }
                        // A group that was put out to its end is there, also when the next one has begun and is held back: after a
                        // loss that one alone may be asked for again.
                        self.whole = feed.has_put_out_whole(out.len());
                        if self.whole {
                            self.progress.close();
                        }
                        if matches!(state, FeedState::EndOfStream) && !self.may_end() {
                            // What a server does when it is stopped.
                            let fault = Fault::new(Code::SourceLost, "the source ended the stream");
                            return self.lost(fault, restarts);
                        }
                        Ok(state)
                    }
                    Err(fault) => self.lost(fault, restarts),
                }
            }
            State::Reconnecting(reconnecting) => {
                let mut feed = reconnecting.wait().await?;
                if self.notes_places {
                    feed.note_places();
                }
                self.since = Instant::now();
                self.state = State::Streaming(Box::new(feed));
                Ok(FeedState::More)
            }
            State::Confirming(confirmation, fault) => match confirmation.wait().await {
                Some(number) => {
                    self.question = Some((out.len(), number));
                    Ok(FeedState::More)
                }
                None => Err(fault.clone()),
            },
        }
    }

    /// See [`crate::replica::backend::Feed::take_questions`].
    pub(super) fn take_questions(&mut self) -> Vec<(usize, u64)> {
        match &mut self.state {
            State::Streaming(feed) => feed.take_questions(),
            State::Reconnecting(_) | State::Confirming(..) => self.question.take().into_iter().collect(),
        }
    }

    /// See [`crate::replica::backend::Feed::answer`].
    pub(super) fn answer(&mut self, number: u64) {
        match &mut self.state {
            State::Streaming(feed) => feed.answer(number),
            State::Confirming(confirmation, fault) if confirmation.is_given_by(number) => {
                let fault = Some(fault.clone());
                self.state = State::Reconnecting(Reopening::begin(
                    &self.core,
                    self.request.clone(),
                    &self.facts,
                    self.file_created,
                    fault,
                    self.pause,
                ));
            }
            State::Reconnecting(_) | State::Confirming(..) => {}
        }
    }

    /// Whether what was put out ends with a whole group: nothing of it comes again.
    pub(super) fn has_put_out_whole(&self) -> bool {
        self.whole
    }

    /// Whether the replica asked for a stream with an end: to the last event there is, or up to a GTID.
    fn may_end(&self) -> bool {
        has_end(&self.request)
    }

    /// The stream has ended.
    fn lost(&mut self, fault: Fault, restarts: bool) -> Result<FeedState, Fault> {
        let State::Streaming(feed) = &self.state else { return Err(fault) };
        let lived = self.since.elapsed();
        let taken = taken(&fault, feed.facts(), lived);
        if taken != Some(Taken::AsTheSourceSays) {
            if taken.is_some() {
                feed.lease().contested();
            }
            self.pause = FIRST_PAUSE;
            return if is_transient(fault.code) { self.reconnect(fault, restarts) } else { Err(fault) };
        }
        feed.lease().contested();
        let message = format!("server id {}: {}", feed.lease().identity().server_id, fault.message);
        let fault = Fault::new(Code::IdentityTaken, message);
        if feed.lease().is_news() {
            let (route, next) = (self.core.telemetry.route(), fault.next_step());
            warn!(route, code = %fault.code, error = %fault.message, next, "a server id of the proxy is somebody else's too");
        }
        self.taken = if lived < QUIET { self.taken.saturating_add(1) } else { 0 };
        self.pause = quarrel_pause(self.taken, rand::random());
        self.reconnect(fault, restarts)
    }

    /// Asks for the stream again, if it is known from where.
    fn reconnect(&mut self, fault: Fault, restarts: bool) -> Result<FeedState, Fault> {
        let State::Streaming(feed) = &self.state else { return Err(fault) };
        let (served, whole, seeking) = (feed.boundary_position(), feed.is_at_boundary(), feed.is_seeking());
        // A fault that came right behind the last event of a group leaves the group whole; what is left of another one comes
        // again, and must not count as there when the stream is lost once more before that.
        if whole {
            self.progress.close();
        } else if restarts {
            self.progress.abandon();
        }
        let request = if seeking { Some(self.request.clone()) } else { self.progress.request(&self.request, served) };
        let Some(request) = request.filter(|_| (whole || restarts || seeking) && !self.may_end()) else {
            return Err(fault);
        };
        self.core.telemetry.failed(&fault);
        self.leave();
        // A stream that is lost again before it has found its place is asked for from the same place.
        self.request = request.clone();
        self.epoch = self.epoch.wrapping_add(1);
        // The old stream ends here, so that its identity is free for the new one.
        self.file_created = self.created();
        self.state = if request.replica.semi_sync && !seeking {
            State::Confirming(Confirmation::new(&self.core.questions), fault)
        } else {
            State::Reconnecting(Reopening::begin(
                &self.core,
                request,
                &self.facts,
                self.file_created,
                Some(fault),
                self.pause,
            ))
        };
        Ok(FeedState::More)
    }

    /// See [`crate::replica::backend::Feed::at_boundary`].
    pub(super) fn is_at_boundary(&self) -> bool {
        self.feed().is_none_or(RouteFeed::is_at_boundary)
    }

    /// See [`crate::replica::backend::Feed::heartbeat_position`].
    pub(super) fn heartbeat_position(&self) -> Option<FilePosition> {
        self.feed().and_then(RouteFeed::heartbeat_position)
    }

    /// See [`crate::replica::backend::Feed::is_caught_up`].
    pub(super) fn is_caught_up(&self) -> bool {
        self.feed().is_some_and(RouteFeed::is_caught_up)
    }

    /// See [`RouteFeed::is_out_of_news`].
    pub(super) fn is_out_of_news(&self) -> bool {
        self.feed().is_some_and(RouteFeed::is_out_of_news)
    }
}

impl LastingFeed {
    /// What a replica by file and position was sent is remembered with the server that it came from.
    fn leave(&self) {
        if let (State::Streaming(feed), ReplicaStart::FilePosition(from)) = (&self.state, &self.request.start)
            && !feed.is_seeking()
            && !self.notes_places
        {
            let (from, to) = (from.clone(), feed.served_position().clone());
            let (server, created) = (Known::of(feed.facts()), feed.created());
            let stretch = Stretch { server, from, to, created, since: self.since };
            self.core.servers.left(&self.request.replica, stretch);
        }
    }
}

impl Drop for LastingFeed {
    fn drop(&mut self) {
        self.leave();
    }
}

fn is_transient(code: Code) -> bool {
    matches!(
        code,
        Code::SourceLost
            | Code::SourceSilent
            | Code::SourceUnreachable
            | Code::ServerBehind
            | Code::IdentitiesExhausted
            | Code::IdentityTaken
    )
}

/// Whether a source ended a stream because another one came under its identity. The words are those of MySQL 5.6 to 9.x and MariaDB
/// (`A slave …`, `A replica …`); older servers close the connection.
pub(super) fn is_superseded(fault: &Fault) -> bool {
    fault.code == Code::SourceRefusedDump && fault.message.contains("with the same server_uuid/server_id")
}

/// What is known of another stream that came to the source under the server id of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    AsTheSourceSays,
    Perhaps,
}

/// Whether another stream has the server id of one that ended so long after it began.
fn taken(fault: &Fault, facts: &SourceFacts, lived: Duration) -> Option<Taken> {
    // By uuid only streams of one and the same replica meet.
    if facts.server_uuid.is_some() {
        return None;
    }
    if is_superseded(fault) {
        return Some(Taken::AsTheSourceSays);
    }
    // MySQL 5.5 says nothing. Whoever takes the id back is ended next, at once.
    let may_be = facts.version.vendor == Vendor::MySql && fault.code == Code::SourceLost && lived < LONGEST_PAUSE;
    may_be.then_some(Taken::Perhaps)
}

/// How long a stream waits whose id was taken so often in a row. `chance` is between 0 and 1: two proxies that want the same ids do
/// not come in turns.
fn quarrel_pause(taken: u32, chance: f64) -> Duration {
    (FIRST_PAUSE * 2_u32.saturating_pow(taken.min(16))).min(LONGEST_QUARREL).mul_f64(0.5 + chance)
}

/// The variable in which MariaDB replicas say where the stream shall end.
const UNTIL: &str = "slave_until_gtid";

/// Whether a replica asked for a stream with an end: to the last event there is, or up to a GTID.
pub(super) fn has_end(request: &ReplicaRequest) -> bool {
    request.non_blocking || request.replica.gtid_variables.iter().any(|(name, _)| name == UNTIL)
}

async fn again(
    core: Arc<Core>,
    request: ReplicaRequest,
    before: Arc<SourceFacts>,
    created: u32,
    fault: Option<Fault>,
    mut pause: Duration,
) -> Result<RouteFeed, Fault> {
    let (route, began) = (core.telemetry.route().to_owned(), Instant::now());
    let by_gtid = !matches!(request.start, ReplicaStart::FilePosition(_));
    let mut last = fault.as_ref().map(|fault| fault.code);
    if let Some(fault) = &fault {
        match fault.code {
            Code::IdentityTaken => info!(route, error = %fault, "asking for the stream again under another server id"),
            _ => warn!(route, error = %fault, "the source is lost: connecting again while the replica waits"),
        }
        sleep(pause).await;
        pause = FIRST_PAUSE;
    }
    loop {
        match core.open(&request, Asker::Process).await {
            Ok(mut feed) if Known::of(feed.facts()).is_surely(&Known::of(&before)) => {
                if !by_gtid {
                    feed.expect_file_of(created);
                }
                if last.is_some() {
                    info!(route, seconds = began.elapsed().as_secs_f32(), "the source is back: the stream goes on");
                }
                return Ok(feed);
            }
            // Positions that another server may not serve were refused before.
            Ok(feed) if by_gtid && Servers::may_go_on(&before, feed.facts()) => {
                core.servers.went_on(&route, &identity(feed.facts()), feed.server());
                return Ok(feed);
            }
            Ok(feed) => {
                let (server, now, before) = (feed.server(), identity(feed.facts()), identity(&before));
                let message = format!("another server answers for the source ({now} at {server} instead of {before})");
                return Err(Fault::new(Code::SourceLost, message));
            }
            Err(fault) if is_transient(fault.code) && began.elapsed() < RECONNECT_LIMIT => {
                if last.replace(fault.code) != Some(fault.code) {
                    warn!(route, error = %fault, "still connecting");
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(fault) => return Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::ServerVersion;

    fn facts(version: &str, uuid: Option<&str>) -> SourceFacts {
        let version = ServerVersion::parse(version).expect("a version");
        SourceFacts::of(version, uuid.map(|uuid| ("server_uuid".to_owned(), uuid.to_owned())).into_iter().collect())
    }

    #[test]
    fn an_id_is_taken_where_the_source_says_so_and_goes_by_ids() {
        let words = "A slave with the same server_uuid/server_id as this slave has connected to the master";
        let superseded = Fault::new(Code::SourceRefusedDump, format!("source `primary` ended the stream: {words}"));
        let purged = Fault::new(Code::SourceRefusedDump, "could not find next log");
        let lost = Fault::new(Code::SourceLost, "the source ended the stream");
        let (mariadb, old) = (facts("10.11.8-MariaDB", None), facts("5.5.62-log", None));
        let by_uuid = facts("8.0.36", Some("3e11fa47-71ca-11e1-9e33-c80aa9429562"));
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(3600));
        for (fault, facts, lived, expected) in [
            (&superseded, &mariadb, late, Some(Taken::AsTheSourceSays)),
            (&superseded, &by_uuid, soon, None),
            (&purged, &mariadb, soon, None),
            (&lost, &mariadb, soon, None),
            (&lost, &old, soon, Some(Taken::Perhaps)),
            (&lost, &old, late, None),
            (&lost, &by_uuid, soon, None),
        ] {
            assert_eq!(taken(fault, facts, lived), expected, "{fault} {}", facts.version.text);
        }
    }

    #[test]
    fn a_stream_whose_id_is_taken_again_and_again_waits_longer_and_never_too_long() {
        let pauses: Vec<_> = [0, 1, 5, 40].map(|taken| quarrel_pause(taken, 0.5)).into();
        assert!(pauses.is_sorted() && pauses[0] == FIRST_PAUSE && pauses[3] == LONGEST_QUARREL, "{pauses:?}");
        assert!(quarrel_pause(40, 1.0) < RECONNECT_LIMIT, "the time for asking again is not over by then");
    }
}
