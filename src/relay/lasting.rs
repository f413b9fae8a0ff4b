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
use uuid::Uuid;

use crate::binlog::{Event, EventType, Gtid, MariaDbGtid, TaggedGtid};
use crate::fault::{Code, Fault};
use crate::gtid::{GtidSet, MariaDbGtidText, MariaDbPosition, Sid};
use crate::pipeline::coordinates::FilePosition;
use crate::replica::backend::{BoxFuture, Feed, FeedState, ReplicaRequest, ReplicaStart};
use crate::source::SourceFacts;

use super::feed::RouteFeed;
use super::servers::{Servers, identity};
use super::{Asker, Core};

/// A source that is away for longer is the replica's to know about: its connection is closed.
const RECONNECT_LIMIT: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The variable in which MariaDB replicas say where they are.
const CONNECT_STATE: &str = "slave_connect_state";

/// The variable in which MariaDB replicas say where the stream shall end.
const UNTIL: &str = "slave_until_gtid";

/// What a replica has been sent, as far as it is needed to go on.
#[derive(Debug)]
enum Progress {
    /// File and position: the feed itself knows.
    Position,
    MySql {
        set: GtidSet,
        open: Option<(Sid, u64)>,
    },
    MariaDb {
        position: MariaDbPosition,
        open: Option<MariaDbGtidText>,
    },
    /// A GTID that could not be read.
    Lost,
}

impl Progress {
    fn of(start: &ReplicaStart) -> Self {
        match start {
            ReplicaStart::FilePosition(_) => Self::Position,
            ReplicaStart::MySqlGtid(set) => {
                GtidSet::decode(set).map_or(Self::Lost, |set| Self::MySql { set, open: None })
            }
            ReplicaStart::MariaDbGtid(state) => {
                state.parse().map_or(Self::Lost, |position| Self::MariaDb { position, open: None })
            }
        }
    }

    /// One event went out.
    fn sent(&mut self, event: &Event) {
        match (&mut *self, event.event_type()) {
            (Self::MySql { .. }, EventType::GTID | EventType::GTID_TAGGED) => {
                self.close();
                match (self, gtid(event)) {
                    (Self::MySql { open, .. }, Some(gtid)) => *open = Some(gtid),
                    (progress, _) => *progress = Self::Lost,
                }
            }
            (Self::MariaDb { .. }, EventType::MARIADB_GTID) => {
                self.close();
                let server_id = event.header().server_id;
                match (self, MariaDbGtid::read(event.body())) {
                    (Self::MariaDb { open, .. }, Ok(MariaDbGtid { sequence, domain, .. })) => {
                        *open = Some(MariaDbGtidText { domain, server_id, sequence });
                    }
                    (progress, _) => *progress = Self::Lost,
                }
            }
            _ => {}
        }
    }

    /// The group at hand is complete.
    fn close(&mut self) {
        match self {
            Self::MySql { set, open } => {
                if let Some((sid, number)) = open.take() {
                    set.insert(sid, number);
                }
            }
            Self::MariaDb { position, open } => {
                if let Some(gtid) = open.take() {
                    position.advance(gtid);
                }
            }
            Self::Position | Self::Lost => {}
        }
    }

    /// The request of a replica that has all this; `None` where that is not known.
    fn request(&self, request: &ReplicaRequest, served: FilePosition) -> Option<ReplicaRequest> {
        let mut request = request.clone();
        request.start = match self {
            Self::Position => ReplicaStart::FilePosition(served),
            Self::MySql { set, .. } => ReplicaStart::MySqlGtid(set.encode().into()),
            Self::MariaDb { position, .. } => {
                let state = position.to_string();
                for (name, value) in &mut request.replica.gtid_variables {
                    if name == CONNECT_STATE {
                        value.clone_from(&state);
                    }
                }
                ReplicaStart::MariaDbGtid(state)
            }
            Self::Lost => return None,
        };
        Some(request)
    }
}

/// The GTID of a MySQL source's GTID event.
fn gtid(event: &Event) -> Option<(Sid, u64)> {
    if event.event_type() == EventType::GTID_TAGGED {
        let TaggedGtid { uuid, tag, number, .. } = TaggedGtid::read(event.body()).ok()?;
        return Some((Sid { uuid, tag }, number));
    }
    let gtid = Gtid::read(event.body()).ok()?;
    Some((Sid { uuid: Uuid::from_bytes(gtid.sid), tag: String::new() }, gtid.gno))
}

enum State {
    Streaming(Box<RouteFeed>),
    Reconnecting(Reconnecting),
}

/// The task that asks for the stream again. It ends with whoever waits for it.
struct Reconnecting {
    task: JoinHandle<Result<RouteFeed, Fault>>,
}

impl Drop for Reconnecting {
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
}

impl LastingFeed {
    pub(super) fn new(core: Arc<Core>, request: ReplicaRequest, feed: RouteFeed) -> Self {
        let progress = Progress::of(&request.start);
        let facts = Arc::clone(feed.facts());
        Self { core, request, facts, progress, state: State::Streaming(Box::new(feed)) }
    }

    async fn fill(&mut self, out: &mut Vec<Event>) -> Result<FeedState, Fault> {
        match &mut self.state {
            State::Streaming(feed) => {
                let start = out.len();
                match feed.fill(out).await {
                    Ok(state) => {
                        for event in &out[start..] {
                            self.progress.sent(event);
                        }
                        if feed.is_at_boundary() {
                            self.progress.close();
                        }
                        if state == FeedState::EndOfStream && !self.may_end() {
                            // What a server does when it is stopped.
                            let fault = Fault::new(Code::SourceLost, "the source ended the stream");
                            return self.reconnect(fault);
                        }
                        Ok(state)
                    }
                    Err(fault) if is_transient(fault.code) => self.reconnect(fault),
                    Err(fault) => Err(fault),
                }
            }
            State::Reconnecting(reconnecting) => {
                let feed = (&mut reconnecting.task)
                    .await
                    .unwrap_or_else(|error| Err(Fault::new(Code::Internal, format!("reconnecting failed: {error}"))))?;
                self.state = State::Streaming(Box::new(feed));
                Ok(FeedState::More)
            }
        }
    }

    /// Whether the replica asked for a stream with an end: to the last event there is, or up to a GTID.
    fn may_end(&self) -> bool {
        self.request.non_blocking || self.request.replica.gtid_variables.iter().any(|(name, _)| name == UNTIL)
    }

    /// Asks for the stream again, if it is known from where.
    fn reconnect(&mut self, fault: Fault) -> Result<FeedState, Fault> {
        let State::Streaming(feed) = &self.state else { return Err(fault) };
        let (served, whole) = (feed.served_position().clone(), feed.is_at_boundary());
        let request =
            if feed.is_seeking() { Some(self.request.clone()) } else { self.progress.request(&self.request, served) };
        let Some(request) = request.filter(|_| (whole || feed.is_seeking()) && !self.may_end()) else {
            return Err(fault);
        };
        self.core.telemetry.failed(&fault);
        self.leave();
        // A stream that is lost again before it has found its place is asked for from the same place.
        self.request = request.clone();
        let task = tokio::spawn(again(Arc::clone(&self.core), request, Arc::clone(&self.facts), fault));
        // The old stream ends here, so that its identity is free for the new one.
        self.state = State::Reconnecting(Reconnecting { task });
        Ok(FeedState::More)
    }
}

impl LastingFeed {
    /// What a replica by file and position was sent is remembered with the server that it came from.
    fn leave(&self) {
        if let (State::Streaming(feed), ReplicaStart::FilePosition(from)) = (&self.state, &self.request.start)
            && !feed.is_seeking()
        {
            let to = feed.served_position().clone();
            self.core.servers.left(&self.request.replica, &identity(feed.facts()), from.clone(), to);
        }
    }
}

impl Drop for LastingFeed {
    fn drop(&mut self) {
        self.leave();
    }
}

fn is_transient(code: Code) -> bool {
    matches!(code, Code::SourceLost | Code::SourceSilent | Code::SourceUnreachable | Code::ServerBehind)
}

async fn again(
    core: Arc<Core>,
    request: ReplicaRequest,
    before: Arc<SourceFacts>,
    fault: Fault,
) -> Result<RouteFeed, Fault> {
    let (route, began) = (core.telemetry.route().to_owned(), Instant::now());
    let by_gtid = !matches!(request.start, ReplicaStart::FilePosition(_));
    warn!(route, error = %fault, "the source is lost: connecting again while the replica waits");
    let (mut pause, mut last) = (FIRST_PAUSE, fault.code);
    loop {
        sleep(pause).await;
        match core.open(&request, Asker::Process).await {
            Ok(feed) if identity(feed.facts()) == identity(&before) => {
                info!(route, seconds = began.elapsed().as_secs_f32(), "the source is back: the stream goes on");
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
                if std::mem::replace(&mut last, fault.code) != fault.code {
                    warn!(route, error = %fault, "still connecting");
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(fault) => return Err(fault),
        }
    }
}

impl Feed for LastingFeed {
    fn next<'a>(&'a mut self, out: &'a mut Vec<Event>) -> BoxFuture<'a, Result<FeedState, Fault>> {
        Box::pin(self.fill(out))
    }

    fn at_boundary(&self) -> bool {
        match &self.state {
            State::Streaming(feed) => feed.is_at_boundary(),
            State::Reconnecting(_) => true,
        }
    }

    fn heartbeat_position(&self) -> Option<FilePosition> {
        match &self.state {
            State::Streaming(feed) => feed.heartbeat_position(),
            State::Reconnecting(_) => None,
        }
    }

    fn is_caught_up(&self) -> bool {
        match &self.state {
            State::Streaming(feed) => feed.is_caught_up(),
            State::Reconnecting(_) => false,
        }
    }
}
