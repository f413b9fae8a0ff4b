//! The live state of one attached replica.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::fault::Fault;

use super::faults::ReplicaKey;
use super::{RouteTelemetry, lock};

/// A session that has streamed this long without a fault is well again, also when its source is idle.
const CURED_AFTER: Duration = Duration::from_secs(5);

/// No event with a time was sent yet.
const NO_LAG: u64 = u64::MAX;

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

impl SessionIdentity {
    fn key(&self) -> ReplicaKey {
        (self.server_id, self.uuid.clone())
    }

    pub(super) fn is(&self, server_id: u32, uuid: Option<&str>) -> bool {
        self.server_id == server_id && self.uuid.as_deref() == uuid
    }
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

/// One dump, from its first event to its end.
pub(super) struct Session {
    pub(super) identity: SessionIdentity,
    opened_at: SystemTime,
    pub(super) opened: Instant,
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
    pub(super) place: Mutex<Option<WholePlace>>,
}

impl Session {
    pub(super) fn new(identity: SessionIdentity) -> Self {
        Self {
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
        }
    }

    /// Whether its replica has streamed well in it.
    pub(super) fn is_well(&self) -> bool {
        self.transactions.load(Ordering::Relaxed) > 0 || self.opened.elapsed() >= CURED_AFTER
    }

    pub(super) fn picture(&self) -> SessionPicture {
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
    pub(super) route: Arc<RouteTelemetry>,
    pub(super) session: Arc<Session>,
    pub(super) id: u64,
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
