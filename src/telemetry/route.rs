//! The live state of one route: counters, attached replicas, the last faults, and what the policy did.

mod faults;
mod picture;
mod replica;
mod statements;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use metrics::{Counter, Gauge, counter, gauge};

use super::names;
use crate::fault::Fault;

use faults::{Faults, ReplicaKey};
use replica::Session;
use statements::Statements;

pub use faults::StandingPicture;
pub use picture::{Coordinates, Departed, Remembered, RoutePicture, SourceContact, SourceTrouble};
pub use replica::{SessionIdentity, SessionPicture, SessionTelemetry, WholePlace};
pub use statements::{KEPT_STATEMENTS, PolicedStatement, StatementAction};

/// How many replicas that left are remembered with the place where they were; `status` lists them.
pub const KEPT_DEPARTED: usize = 64;

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

/// The state stays usable when a thread panicked while it held the lock: every update is a whole one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        lock(&self.statements).met(&self.route, statement);
    }

    /// The source answered.
    pub fn source_seen(&self, contact: SourceContact) {
        *lock(&self.source) = Some(contact);
        *lock(&self.source_trouble) = None;
        lock(&self.faults).source_answered();
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
        lock(&self.faults).met(key, fault);
    }

    /// A replica's dump begins. Drop the handle when it ends.
    pub fn attach(self: &Arc<Self>, identity: SessionIdentity) -> SessionTelemetry {
        let session = Arc::new(Session::new(identity));
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

    /// Forgets the fault of a replica that has streamed well since.
    fn settle(&self, session: &Session) {
        if session.is_well() {
            lock(&self.faults).cured(&session.identity, session.opened);
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
            let mut faults = lock(&self.faults);
            (faults.standing(), faults.last())
        };
        let healthy = standing.is_empty();
        let (statements, last_statements) = {
            let statements = lock(&self.statements);
            (statements.counts(), statements.newest())
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
