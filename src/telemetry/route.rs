//! The live state of one route: counters, attached replicas, the last faults, and what the policy did.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use metrics::{Counter, Gauge, counter, gauge};

use super::names;
use crate::fault::{Code, Fault};

/// How many policed statements `status` can list; older ones are only counted.
pub const KEPT_STATEMENTS: usize = 16;
/// How many different (action, reason, rule) triples are counted apart; a configuration has far fewer.
const MAX_STATEMENT_RULES: usize = 1024;
/// How many places of policed statements are remembered, so that one that several replicas are served is counted once.
const MAX_PLACES: usize = 1 << 16;
/// How many replicas' faults are remembered; beyond it the oldest is forgotten.
const MAX_FAULTS: usize = 1024;
/// How many replicas that left are remembered with the place where they were; `status` lists them.
pub const KEPT_DEPARTED: usize = 64;
/// The fault of a replica that has not come back for so long is that of a replica that is gone.
const GONE_AFTER: Duration = Duration::from_secs(24 * 3600);
/// A session that has streamed this long without a fault is well again, also when its source is idle.
const CURED_AFTER: Duration = Duration::from_secs(5);

/// A fault of a replica that comes from the source's absence is over when the source answers so long after it.
const ABSENCE_OVER_AFTER: Duration = Duration::from_secs(10);

/// No event with a time was sent yet.
const NO_LAG: u64 = u64::MAX;

/// What was done with a statement that did not pass as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatementAction {
    /// It was left out.
    Skip,
    /// Only a part of it went out.
    Split,
    /// The stream ended before it.
    Stop,
}

impl StatementAction {
    /// The word in metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Split => "split",
            Self::Stop => "stop",
        }
    }
}

/// One statement that the policy did something about. Holds no text of the statement: that may hold data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PolicedStatement {
    /// What was done.
    pub action: StatementAction,
    /// The configuration key that decided, for example `ddl.unsupported`.
    pub rule: String,
    /// Why: the same stable word as in `explain`.
    pub reason: String,
    /// The statement's kind, for example `create_trigger`.
    pub kind: String,
    /// The server that it came from, by its uuid or server id.
    pub server: String,
    /// The source's file.
    pub file: String,
    /// When that file was begun (seconds since 1970): after a RESET another one has its name.
    pub created: u32,
    /// Position of the end of the event in that file.
    pub position: u64,
}

/// Which numbering a route's replicas see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinates {
    /// `source` or `served`.
    pub mode: &'static str,
    /// Why this one.
    pub why: String,
}

/// What a route has learned from statements and remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// `followed` or `online_change`.
    pub what: &'static str,
    /// The table at the source.
    pub source: String,
    /// Where it goes, or how far it is.
    pub detail: String,
    /// The place in the source's stream from which on all that is remembered holds.
    pub since: String,
}

/// What was last seen of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceContact {
    /// When it last answered.
    pub at: SystemTime,
    /// Which of its servers that was: `host:port`.
    pub server: String,
    /// Its version text.
    pub version: String,
    /// Its server id.
    pub server_id: u32,
    /// Its uuid, where it has one.
    pub server_uuid: Option<String>,
    /// Whether it waits for semi-synchronous replicas; `None` where it has no such replication.
    pub semi_sync: Option<bool>,
}

/// Why a source does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTrouble {
    /// Since when.
    pub since: SystemTime,
    /// When it was last asked.
    pub at: SystemTime,
    /// What came of it.
    pub fault: Fault,
}

/// A fault that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingPicture {
    /// Server id and uuid of the replica that met it; `None` for one of the route or its source.
    pub replica: Option<(u32, Option<String>)>,
    /// Since when it is there.
    pub since: SystemTime,
    /// When it was last met.
    pub at: SystemTime,
    /// What it is.
    pub fault: Fault,
}

/// Who attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionIdentity {
    /// The address it came from.
    pub peer: SocketAddr,
    /// The server id it registered with.
    pub server_id: u32,
    /// The uuid it told, where it did.
    pub uuid: Option<String>,
    /// Its version, where it told one.
    pub version: Option<String>,
}

/// The end of a transaction in both numberings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WholePlace {
    /// The server of the source that it came from: `host:port`.
    pub server: String,
    /// The source's file and position.
    pub source: (String, u64),
    /// The same place as the replica sees it.
    pub served: (String, u64),
}

impl WholePlace {
    fn set(&mut self, server: &str, source: (&[u8], u64), served: (&[u8], u64)) {
        if self.server != server {
            server.clone_into(&mut self.server);
        }
        for (own, (file, position)) in [(&mut self.source, source), (&mut self.served, served)] {
            if own.0.as_bytes() != file {
                own.0 = String::from_utf8_lossy(file).into_owned();
            }
            own.1 = position;
        }
    }
}

/// A replica that streams no more.
#[derive(Debug, Clone)]
pub struct Departed {
    /// Who it was.
    pub identity: SessionIdentity,
    /// When it left.
    pub at: SystemTime,
    /// The last transaction's end that it was sent.
    pub place: WholePlace,
}

/// A replica is recognised by its server id and uuid when it comes back.
type ReplicaKey = (u32, Option<String>);

#[derive(Debug, Clone)]
struct StandingFault {
    fault: Fault,
    since: SystemTime,
    at: SystemTime,
    instant: Instant,
}

impl StandingFault {
    fn picture((replica, standing): (&Option<ReplicaKey>, &Self)) -> StandingPicture {
        let Self { fault, since, at, .. } = standing.clone();
        StandingPicture { replica: replica.clone(), since, at, fault }
    }
}

#[derive(Default)]
struct Statements {
    /// By action, reason and rule.
    counted: BTreeMap<(StatementAction, String, String), (u64, Counter)>,
    last: VecDeque<(SystemTime, PolicedStatement)>,
    /// Digests of the statements that were counted, in the order in which they came.
    places: HashSet<u64>,
    order: VecDeque<u64>,
}

#[derive(Default)]
struct Faults {
    last: Option<StandingFault>,
    standing: HashMap<Option<ReplicaKey>, StandingFault>,
}

/// A number that is read by `status` and counted by a metric.
struct Tally {
    total: AtomicU64,
    counter: Counter,
}

impl Tally {
    fn new(counter: Counter) -> Self {
        Self { total: AtomicU64::new(0), counter }
    }

    fn add(&self, amount: u64) {
        self.total.fetch_add(amount, Ordering::Relaxed);
        self.counter.increment(amount);
    }

    fn get(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// The live state of one route. Shared by its listener, its sessions, the admin page and the metrics.
pub struct RouteTelemetry {
    route: String,
    events_received: Tally,
    bytes_received: Tally,
    events_sent: Tally,
    bytes_sent: Tally,
    transactions: Tally,
    attaches: Tally,
    replicas: Gauge,
    upstreams: AtomicU64,
    semi_sync_upstreams: AtomicU64,
    acknowledgements: Tally,
    lag: Gauge,
    healthy: Gauge,
    statements: Mutex<Statements>,
    faults: Mutex<Faults>,
    coordinates: Mutex<Option<Coordinates>>,
    remembered: Mutex<Vec<Remembered>>,
    source: Mutex<Option<SourceContact>>,
    source_trouble: Mutex<Option<SourceTrouble>>,
    sessions: Mutex<HashMap<u64, Arc<Session>>>,
    departed: Mutex<VecDeque<Departed>>,
    next_session: AtomicU64,
}

struct Session {
    identity: SessionIdentity,
    opened_at: SystemTime,
    opened: Instant,
    events: AtomicU64,
    bytes: AtomicU64,
    transactions: AtomicU64,
    /// How old the newest event was when it was sent, in seconds; `NO_LAG` before the first event with a time.
    lag: AtomicU64,
    position: Mutex<(String, u64)>,
    live: AtomicBool,
    /// It acknowledges; how often it was asked to, and has.
    semi_sync: AtomicBool,
    asked: AtomicU64,
    acknowledged: AtomicU64,
    place: Mutex<Option<WholePlace>>,
}

/// Read-only picture of one attached replica.
#[derive(Debug, Clone)]
pub struct SessionPicture {
    /// Who it is.
    pub identity: SessionIdentity,
    /// Since when it streams.
    pub opened_at: SystemTime,
    /// Events sent to it.
    pub events: u64,
    /// Bytes of events sent to it.
    pub bytes: u64,
    /// Transactions sent to it.
    pub transactions: u64,
    /// File of the last event sent, in the coordinates that the replica sees; empty before the first.
    pub file: String,
    /// End of the last event sent.
    pub position: u64,
    /// The end of the last whole transaction that it was sent.
    pub place: Option<WholePlace>,
    /// How many seconds after its time the newest event was sent; `None` before the first event with a time.
    pub lag_seconds: Option<u64>,
    /// Whether it is on the live tail, which it shares with others, rather than on a source connection of its own.
    pub live: bool,
    /// How many acknowledgements it was asked for and has sent; `None` for one that is not semi-synchronous.
    pub semi_sync: Option<(u64, u64)>,
}

/// Read-only picture of one route.
#[derive(Debug, Clone)]
pub struct RoutePicture {
    /// Whether no fault stands.
    pub healthy: bool,
    /// The faults that are not over, the oldest first.
    pub standing: Vec<StandingPicture>,
    /// The last fault, standing or not, and when it was.
    pub last_error: Option<(SystemTime, Fault)>,
    /// Events and bytes read from the source.
    pub received: (u64, u64),
    /// Events and bytes sent to replicas.
    pub sent: (u64, u64),
    /// Transactions sent.
    pub transactions: u64,
    /// Dumps opened.
    pub attaches: u64,
    /// How many statements by action, reason and rule.
    pub statements: Vec<(StatementAction, String, String, u64)>,
    /// The newest policed statements, oldest first.
    pub last_statements: Vec<(SystemTime, PolicedStatement)>,
    /// Numbering, known after the first attach.
    pub coordinates: Option<Coordinates>,
    /// What was learned from statements, at the newest place of any stream.
    pub remembered: Vec<Remembered>,
    /// The source as last seen.
    pub source: Option<SourceContact>,
    /// Why it does not answer now.
    pub source_trouble: Option<SourceTrouble>,
    /// Attached replicas.
    pub sessions: Vec<SessionPicture>,
    /// Streams that are open at the source.
    pub upstreams: u64,
    /// Those of them that the source takes for semi-synchronous replicas.
    pub semi_sync_upstreams: u64,
    /// Acknowledgements that were passed on to the source.
    pub acknowledgements: u64,
    /// Replicas that left and have not come back, the newest last.
    pub departed: Vec<Departed>,
}

impl Statements {
    /// Whether this is the first time that a statement is met. What many replicas are served is met many times.
    fn is_new(&mut self, statement: &PolicedStatement) -> bool {
        let mut digest = DefaultHasher::new();
        statement.hash(&mut digest);
        let digest = digest.finish();
        if !self.places.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > MAX_PLACES
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
        true
    }
}

/// The state stays usable when a thread panicked while it held the lock: every update is a whole one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a fault only says that the source did not answer.
fn is_absence(code: Code) -> bool {
    matches!(
        code,
        Code::SourceUnreachable | Code::SourceRefusedLogin | Code::SourceTls | Code::SourceLost | Code::SourceSilent
    )
}

/// Whether a fault says something about the route, rather than about a stranger at its door.
fn stands(code: Code) -> bool {
    !matches!(
        code,
        Code::ReplicaRefusedLogin
            | Code::ReplicaTls
            | Code::ReplicaProtocol
            | Code::ReplicaCommand
            | Code::ReplicaStuck
            | Code::ReplicaDuplicate
            | Code::ShuttingDown
    )
}

impl RouteTelemetry {
    /// State for a route of this name; the metric handles are made here, once.
    pub fn new(route: &str) -> Arc<Self> {
        let route = route.to_owned();
        let label = |name: &'static str| Tally::new(counter!(name, names::LABEL_ROUTE => route.clone()));
        Arc::new(Self {
            events_received: label(names::EVENTS_RECEIVED),
            bytes_received: label(names::BYTES_RECEIVED),
            events_sent: label(names::EVENTS_SENT),
            bytes_sent: label(names::BYTES_SENT),
            transactions: label(names::TRANSACTIONS),
            attaches: label(names::ATTACHES),
            replicas: gauge!(names::REPLICAS, names::LABEL_ROUTE => route.clone()),
            upstreams: AtomicU64::new(0),
            semi_sync_upstreams: AtomicU64::new(0),
            acknowledgements: label(names::ACKNOWLEDGEMENTS),
            lag: gauge!(names::LAG, names::LABEL_ROUTE => route.clone()),
            healthy: gauge!(names::HEALTHY, names::LABEL_ROUTE => route.clone()),
            statements: Mutex::default(),
            faults: Mutex::default(),
            coordinates: Mutex::default(),
            remembered: Mutex::default(),
            source: Mutex::default(),
            source_trouble: Mutex::default(),
            sessions: Mutex::default(),
            departed: Mutex::default(),
            next_session: AtomicU64::new(0),
            route,
        })
    }

    /// The route's name.
    pub fn route(&self) -> &str {
        &self.route
    }

    /// A batch of events came from the source.
    pub fn received(&self, events: u64, bytes: u64) {
        self.events_received.add(events);
        self.bytes_received.add(bytes);
    }

    /// The source was told that a replica has what it asked about.
    pub fn acknowledged(&self) {
        self.acknowledgements.add(1);
    }

    /// The policy did something about a statement. Counted once for each place in the source's files, however many replicas are
    /// served it.
    pub fn policed(&self, statement: PolicedStatement) {
        let mut statements = lock(&self.statements);
        if !statements.is_new(&statement) {
            // A stop is met anew by a replica that tries again.
            if let Some((at, _)) = statements.last.iter_mut().find(|(_, known)| *known == statement) {
                *at = SystemTime::now();
            }
            return;
        }
        let key = (statement.action, statement.reason.clone(), statement.rule.clone());
        if statements.counted.len() < MAX_STATEMENT_RULES || statements.counted.contains_key(&key) {
            let (count, handle) = statements.counted.entry(key).or_insert_with_key(|(action, reason, rule)| {
                let handle = counter!(names::STATEMENTS, names::LABEL_ROUTE => self.route.clone(),
                    names::LABEL_ACTION => action.as_str(), names::LABEL_REASON => reason.clone(), names::LABEL_RULE => rule.clone());
                (0, handle)
            });
            *count += 1;
            handle.increment(1);
        }
        if statements.last.len() == KEPT_STATEMENTS {
            statements.last.pop_front();
        }
        statements.last.push_back((SystemTime::now(), statement));
    }

    /// The source answered.
    pub fn source_seen(&self, contact: SourceContact) {
        *lock(&self.source) = Some(contact);
        *lock(&self.source_trouble) = None;
        let is_over =
            |fault: &StandingFault| is_absence(fault.fault.code) && fault.instant.elapsed() >= ABSENCE_OVER_AFTER;
        lock(&self.faults).standing.retain(|key, fault| key.is_some() && !is_over(fault));
    }

    /// The source did not answer, or not as it should.
    pub fn source_failed(&self, fault: &Fault) {
        let mut trouble = lock(&self.source_trouble);
        let at = SystemTime::now();
        let since = trouble.as_ref().map_or(at, |trouble| trouble.since);
        *trouble = Some(SourceTrouble { since, at, fault: fault.clone() });
    }

    /// The route has another configuration from here on.
    pub fn reconfigured(&self) {
        *lock(&self.coordinates) = None;
    }

    /// All that the route has learned from statements and remembers.
    pub fn remembers(&self, remembered: Vec<Remembered>) {
        *lock(&self.remembered) = remembered;
    }

    /// The numbering that replicas of this route see.
    pub fn numbered(&self, coordinates: Coordinates) {
        *lock(&self.coordinates) = Some(coordinates);
    }

    /// Something failed that is no streaming session's: the source could not be asked, a login was refused.
    pub fn failed(&self, fault: &Fault) {
        self.note(None, fault);
    }

    fn note(&self, key: Option<ReplicaKey>, fault: &Fault) {
        counter!(names::ERRORS, names::LABEL_ROUTE => self.route.clone(), names::LABEL_CODE => fault.code.as_str())
            .increment(1);
        let mut faults = lock(&self.faults);
        let at = SystemTime::now();
        let before = faults.standing.get(&key).filter(|before| before.fault.code == fault.code);
        let since = before.map_or(at, |before| before.since);
        let standing = StandingFault { fault: fault.clone(), since, at, instant: Instant::now() };
        if stands(fault.code) {
            if faults.standing.len() >= MAX_FAULTS {
                let oldest = faults.standing.iter().min_by_key(|(_, fault)| fault.instant).map(|(key, _)| key.clone());
                if let Some(oldest) = oldest {
                    faults.standing.remove(&oldest);
                }
            }
            faults.standing.insert(key, standing.clone());
        }
        if fault.code != Code::ShuttingDown {
            faults.last = Some(standing);
        }
    }

    /// A replica's dump begins. Drop the handle when it ends.
    pub fn attach(self: &Arc<Self>, identity: SessionIdentity) -> SessionTelemetry {
        let session = Arc::new(Session {
            identity,
            opened_at: SystemTime::now(),
            opened: Instant::now(),
            events: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            lag: AtomicU64::new(NO_LAG),
            position: Mutex::default(),
            live: AtomicBool::new(false),
            semi_sync: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            place: Mutex::default(),
        });
        let id = self.next_session.fetch_add(1, Ordering::Relaxed);
        let mut sessions = lock(&self.sessions);
        sessions.insert(id, Arc::clone(&session));
        self.replicas.set(sessions.len() as f64);
        drop(sessions);
        self.attaches.add(1);
        SessionTelemetry { route: Arc::clone(self), session, id }
    }

    /// Where a replica was that streams no more: by its server id and uuid.
    pub fn departed(&self, server_id: u32, uuid: Option<&str>) -> Option<Departed> {
        let departed = lock(&self.departed);
        departed.iter().rev().find(|departed| departed.identity.is(server_id, uuid)).cloned()
    }

    fn depart(&self, session: &Session) {
        let place = lock(&session.place).clone();
        // Programs that only read (server id 0) do not come back.
        if let Some(place) = place.filter(|_| session.identity.server_id != 0) {
            let identity = session.identity.clone();
            let mut departed = lock(&self.departed);
            departed.retain(|other| !other.identity.is(identity.server_id, identity.uuid.as_deref()));
            if departed.len() >= KEPT_DEPARTED {
                departed.pop_front();
            }
            departed.push_back(Departed { identity, at: SystemTime::now(), place });
        }
    }

    /// Forgets the fault of a replica that has streamed well since, also under another uuid or server id: a server that was
    /// built anew.
    fn settle(&self, session: &Session) {
        let well = session.transactions.load(Ordering::Relaxed) > 0 || session.opened.elapsed() >= CURED_AFTER;
        if well {
            let SessionIdentity { server_id, uuid, .. } = &session.identity;
            let same = |key: &Option<ReplicaKey>| {
                key.as_ref().is_some_and(|(id, other)| id == server_id || other.is_some() && other == uuid)
            };
            lock(&self.faults).standing.retain(|key, fault| !same(key) || fault.instant > session.opened);
        }
    }

    /// Everything `status` shows of the route; also brings the gauges up to date.
    pub fn picture(&self) -> RoutePicture {
        let sessions: Vec<Arc<Session>> = {
            let sessions = lock(&self.sessions);
            let mut ordered: Vec<_> = sessions.iter().collect();
            ordered.sort_by_key(|(id, _)| **id);
            ordered.into_iter().map(|(_, session)| Arc::clone(session)).collect()
        };
        for session in &sessions {
            self.settle(session);
        }
        lock(&self.faults).standing.retain(|_, fault| fault.instant.elapsed() < GONE_AFTER);
        let departed: Vec<Departed> = lock(&self.departed).iter().cloned().collect();
        let departed = departed
            .into_iter()
            .filter(|departed| {
                let back = |session: &Arc<Session>| {
                    session.identity.is(departed.identity.server_id, departed.identity.uuid.as_deref())
                };
                !sessions.iter().any(back)
            })
            .collect();
        let sessions: Vec<SessionPicture> = sessions.iter().map(|session| session.picture()).collect();
        let (standing, last_error) = {
            let faults = lock(&self.faults);
            let mut standing: Vec<_> = faults.standing.iter().map(StandingFault::picture).collect();
            standing.sort_by(|one, other| (one.since, &one.replica).cmp(&(other.since, &other.replica)));
            (standing, faults.last.as_ref().map(|last| (last.at, last.fault.clone())))
        };
        let healthy = standing.is_empty();
        let (statements, last_statements) = {
            let statements = lock(&self.statements);
            let counted = statements.counted.iter();
            let counted =
                counted.map(|((action, reason, rule), (count, _))| (*action, reason.clone(), rule.clone(), *count));
            (counted.collect(), statements.last.iter().cloned().collect())
        };
        self.healthy.set(if healthy { 1.0 } else { 0.0 });
        self.lag.set(sessions.iter().filter_map(|session| session.lag_seconds).max().unwrap_or(0) as f64);
        RoutePicture {
            healthy,
            standing,
            last_error,
            received: (self.events_received.get(), self.bytes_received.get()),
            sent: (self.events_sent.get(), self.bytes_sent.get()),
            transactions: self.transactions.get(),
            attaches: self.attaches.get(),
            statements,
            last_statements,
            coordinates: lock(&self.coordinates).clone(),
            remembered: lock(&self.remembered).clone(),
            source: lock(&self.source).clone(),
            source_trouble: lock(&self.source_trouble).clone(),
            sessions,
            upstreams: self.upstreams.load(Ordering::Relaxed),
            semi_sync_upstreams: self.semi_sync_upstreams.load(Ordering::Relaxed),
            acknowledgements: self.acknowledgements.get(),
            departed,
        }
    }

    /// A stream was opened at the source, which takes the proxy for a semi-synchronous replica or not. Drop the handle when it ends.
    pub fn upstream(self: &Arc<Self>, semi_sync: bool) -> Upstream {
        self.upstreams.fetch_add(1, Ordering::Relaxed);
        self.semi_sync_upstreams.fetch_add(u64::from(semi_sync), Ordering::Relaxed);
        Upstream { route: Arc::clone(self), semi_sync }
    }
}

/// One stream that is open at the source, in the count of these.
pub struct Upstream {
    route: Arc<RouteTelemetry>,
    semi_sync: bool,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.route.upstreams.fetch_sub(1, Ordering::Relaxed);
        self.route.semi_sync_upstreams.fetch_sub(u64::from(self.semi_sync), Ordering::Relaxed);
    }
}

impl SessionIdentity {
    fn key(&self) -> ReplicaKey {
        (self.server_id, self.uuid.clone())
    }

    fn is(&self, server_id: u32, uuid: Option<&str>) -> bool {
        self.server_id == server_id && self.uuid.as_deref() == uuid
    }
}

impl Session {
    fn picture(&self) -> SessionPicture {
        let (file, position) = lock(&self.position).clone();
        let lag = self.lag.load(Ordering::Relaxed);
        SessionPicture {
            identity: self.identity.clone(),
            opened_at: self.opened_at,
            events: self.events.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
            file,
            position,
            place: lock(&self.place).clone(),
            lag_seconds: (lag != NO_LAG).then_some(lag),
            live: self.live.load(Ordering::Relaxed),
            semi_sync: self
                .semi_sync
                .load(Ordering::Relaxed)
                .then(|| (self.asked.load(Ordering::Relaxed), self.acknowledged.load(Ordering::Relaxed))),
        }
    }
}

/// The live state of one replica's dump. Dropping it detaches the replica.
pub struct SessionTelemetry {
    route: Arc<RouteTelemetry>,
    session: Arc<Session>,
    id: u64,
}

impl SessionTelemetry {
    /// The source has no more than what was sent.
    pub fn caught_up(&self) {
        self.session.lag.store(0, Ordering::Relaxed);
    }

    /// Whether the replica is on the live tail.
    pub fn on_live_tail(&self, live: bool) {
        self.session.live.store(live, Ordering::Relaxed);
    }

    /// The replica is semi-synchronous.
    pub fn acknowledges(&self) {
        self.session.semi_sync.store(true, Ordering::Relaxed);
    }

    /// The replica was asked for an acknowledgement.
    pub fn asked(&self) {
        self.session.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// The replica has sent so many acknowledgements.
    pub fn acknowledged(&self, count: u64) {
        self.session.acknowledged.fetch_add(count, Ordering::Relaxed);
    }

    /// All up to a transaction's end went out. `source` and `served` are file and position in both numberings.
    pub fn stands_at(&self, server: &str, source: (&[u8], u64), served: (&[u8], u64)) {
        lock(&self.session.place).get_or_insert_default().set(server, source, served);
    }

    /// A batch went out: events and their bytes, transactions that ended in it, the time of its newest event with one
    /// (seconds since the epoch, 0 for none), and the file (if it changed) and position after it.
    pub fn sent(
        &self,
        events: u64,
        bytes: u64,
        transactions: u64,
        newest_timestamp: u32,
        file: Option<&str>,
        position: u64,
    ) {
        self.route.events_sent.add(events);
        self.route.bytes_sent.add(bytes);
        self.session.events.fetch_add(events, Ordering::Relaxed);
        self.session.bytes.fetch_add(bytes, Ordering::Relaxed);
        if newest_timestamp != 0 {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
            self.session.lag.store(now.saturating_sub(u64::from(newest_timestamp)), Ordering::Relaxed);
        }
        {
            let mut current = lock(&self.session.position);
            if let Some(file) = file
                && current.0 != file
            {
                file.clone_into(&mut current.0);
            }
            if position != 0 {
                current.1 = position;
            }
        }
        if transactions > 0 {
            self.route.transactions.add(transactions);
            let before = self.session.transactions.fetch_add(transactions, Ordering::Relaxed);
            if before == 0 {
                self.route.settle(&self.session);
            }
        }
    }

    /// The dump ended with a fault, which stands until this replica streams again.
    pub fn failed(&self, fault: &Fault) {
        self.route.note(Some(self.session.identity.key()), fault);
    }

    /// The route that this session belongs to.
    pub fn route(&self) -> &Arc<RouteTelemetry> {
        &self.route
    }
}

impl Drop for SessionTelemetry {
    fn drop(&mut self) {
        self.route.settle(&self.session);
        self.route.depart(&self.session);
        let mut sessions = lock(&self.route.sessions);
        sessions.remove(&self.id);
        self.route.replicas.set(sessions.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(server_id: u32) -> SessionIdentity {
        SessionIdentity { peer: ([127, 0, 0, 1], 1).into(), server_id, uuid: None, version: None }
    }

    #[test]
    fn a_stopped_replica_keeps_the_route_unhealthy_until_that_replica_gets_a_transaction() {
        let route = RouteTelemetry::new("shop");
        let session = route.attach(replica(7));
        session.failed(&Fault::new(Code::StatementStopped, "CREATE TRIGGER"));
        drop(session);
        assert!(!route.picture().healthy);

        let other = route.attach(replica(8));
        other.sent(1, 100, 1, 0, Some("binlog.000001"), 120);
        assert!(!route.picture().healthy, "another replica's progress cures nothing");

        let again = route.attach(replica(7));
        assert!(!route.picture().healthy, "being attached again is not progress");
        again.sent(3, 300, 1, 0, Some("binlog.000001"), 420);
        let picture = route.picture();
        assert!(picture.healthy);
        assert_eq!(picture.last_error.map(|(_, fault)| fault.code), Some(Code::StatementStopped));
        assert_eq!((picture.sent, picture.transactions, picture.sessions.len()), ((4, 400), 2, 2));
    }

    #[test]
    fn a_fault_of_the_running_session_is_not_cured_by_what_it_sent_before() {
        let route = RouteTelemetry::new("shop");
        let session = route.attach(replica(7));
        session.sent(3, 300, 1, 0, None, 420);
        session.failed(&Fault::new(Code::StatementStopped, "CREATE TRIGGER"));
        drop(session);
        assert!(!route.picture().healthy);
    }

    #[test]
    fn a_replica_that_left_is_remembered_with_its_place_until_it_is_back() {
        let route = RouteTelemetry::new("shop");
        let session = route.attach(replica(7));
        session.stands_at("db1:3306", (b"bin.000001", 700), (b"bin.rp5f3c9a12.000001", 900));
        drop(session);
        let place = WholePlace {
            server: "db1:3306".to_owned(),
            source: ("bin.000001".to_owned(), 700),
            served: ("bin.rp5f3c9a12.000001".to_owned(), 900),
        };
        assert_eq!(route.departed(7, None).map(|departed| departed.place), Some(place.clone()));
        assert!(route.departed(7, Some("a")).is_none() && route.departed(8, None).is_none());
        assert_eq!(route.picture().departed.len(), 1);
        let refused = route.attach(replica(7));
        assert!(route.picture().departed.is_empty(), "it is here");
        drop(refused);
        assert_eq!(route.departed(7, None).map(|departed| departed.place), Some(place), "it was sent nothing since");
        for server_id in 100..100 + 2 * KEPT_DEPARTED as u32 {
            route.attach(replica(server_id)).stands_at("db1:3306", (b"b", 4), (b"b", 4));
        }
        assert_eq!(route.picture().departed.len(), KEPT_DEPARTED);
    }

    #[test]
    fn a_server_that_was_built_anew_cures_the_fault_of_what_it_was() {
        let route = RouteTelemetry::new("shop");
        let with = |server_id, uuid: &str| SessionIdentity { uuid: Some(uuid.to_owned()), ..replica(server_id) };
        route.attach(with(7, "a")).failed(&Fault::new(Code::ReplicaPosition, "beyond the end"));
        route.attach(with(8, "b")).sent(1, 100, 1, 0, None, 120);
        assert!(!route.picture().healthy, "another server");
        route.attach(with(7, "c")).sent(1, 100, 1, 0, None, 120);
        assert!(route.picture().healthy, "the same server id");
        route.attach(with(7, "a")).failed(&Fault::new(Code::ReplicaPosition, "beyond the end"));
        route.attach(with(9, "a")).sent(1, 100, 1, 0, None, 120);
        assert!(route.picture().healthy, "the same uuid");
    }

    #[test]
    fn a_stranger_at_the_door_does_not_make_the_route_unhealthy() {
        let route = RouteTelemetry::new("shop");
        route.failed(&Fault::new(Code::ReplicaRefusedLogin, "user \"root\""));
        let picture = route.picture();
        assert!(picture.healthy);
        assert!(picture.last_error.is_some());
    }

    #[test]
    fn a_source_that_answers_again_cures_its_route() {
        let route = RouteTelemetry::new("shop");
        route.failed(&Fault::new(Code::SourceUnreachable, "db1:3306"));
        assert!(!route.picture().healthy);
        route.source_seen(SourceContact {
            at: SystemTime::now(),
            server: "db1:3306".to_owned(),
            version: "8.0.36".to_owned(),
            server_id: 1,
            server_uuid: None,
            semi_sync: None,
        });
        assert!(route.picture().healthy);
    }

    #[test]
    fn why_a_source_does_not_answer_is_known_from_the_first_time_until_it_does() {
        let route = RouteTelemetry::new("shop");
        let refused = Fault::new(Code::SourceRefusedLogin, "db1:3306");
        route.source_failed(&refused);
        let first = route.picture().source_trouble.expect("it failed");
        route.source_failed(&refused);
        let again = route.picture().source_trouble.expect("it failed again");
        assert_eq!((again.since, &again.fault), (first.since, &refused));
        assert!(again.at >= first.at && route.picture().source.is_none());
        route.source_seen(SourceContact {
            at: SystemTime::now(),
            server: "db1:3306".to_owned(),
            version: "8.0.36".to_owned(),
            server_id: 1,
            server_uuid: None,
            semi_sync: None,
        });
        assert_eq!(route.picture().source_trouble, None);
    }

    #[test]
    fn faults_that_stand_are_told_with_their_replicas_and_since_when() {
        let route = RouteTelemetry::new("shop");
        let stopped = Fault::new(Code::StatementStopped, "CREATE TRIGGER");
        route.attach(replica(7)).failed(&stopped);
        let first = route.picture().standing;
        route.attach(replica(7)).failed(&stopped);
        route.attach(replica(8)).failed(&Fault::new(Code::SourceLost, "gone"));
        let standing = route.picture().standing;
        let seen: Vec<_> = standing.iter().map(|fault| (fault.replica.clone(), fault.fault.code)).collect();
        assert_eq!(seen, [(Some((7, None)), Code::StatementStopped), (Some((8, None)), Code::SourceLost)]);
        assert_eq!(standing[0].since, first[0].since);
    }

    #[test]
    fn only_the_newest_policed_statements_are_kept_and_all_are_counted() {
        let route = RouteTelemetry::new("shop");
        // Two replicas are served the same hundred statements.
        for position in 0..200 {
            route.policed(PolicedStatement {
                action: StatementAction::Skip,
                rule: "ddl.unsupported".to_owned(),
                reason: "unsupported".to_owned(),
                kind: "create_trigger".to_owned(),
                server: "a".to_owned(),
                file: "binlog.000001".to_owned(),
                created: 9,
                position: position % 100,
            });
        }
        let picture = route.picture();
        assert_eq!(
            picture.statements,
            [(StatementAction::Skip, "unsupported".to_owned(), "ddl.unsupported".to_owned(), 100)]
        );
        assert_eq!(picture.last_statements.len(), KEPT_STATEMENTS);
        assert_eq!(picture.last_statements.last().map(|(_, last)| last.position), Some(99));
    }
}
