//! Who is connected: one entry a connection, for KILL and `SHOW REPLICAS`. What is sent to whom is counted in `telemetry`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use dashmap::DashMap;
use tokio::sync::watch;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Greeting, TLS and login.
    LoggingIn,
    /// Asking questions.
    Asking,
    /// The stream was requested and is being opened.
    Opening,
    /// Being sent events.
    Streaming,
    /// Everything was sent; heartbeats.
    Waiting,
}

impl SessionState {
    /// The word that status and logs have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoggingIn => "logging_in",
            Self::Asking => "asking",
            Self::Opening => "opening",
            Self::Streaming => "streaming",
            Self::Waiting => "waiting",
        }
    }
}

/// What is known of one connection at one moment.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The id that the greeting gave it; `KILL` takes it.
    pub thread_id: u32,
    /// The listener (route) that it came to.
    pub listener: String,
    /// Where it came from.
    pub peer: SocketAddr,
    /// When it came.
    pub since: SystemTime,
    /// What it is doing.
    pub state: SessionState,
    /// The replica's server id: from COM_REGISTER_SLAVE or the dump request; 0 for a plain client.
    pub server_id: u32,
    /// The replica's uuid (MySQL 5.6 and later).
    pub uuid: Option<String>,
    /// `report_host`; empty when the replica does not say.
    pub host: String,
    /// `report_port`.
    pub port: u16,
    /// The replica's version, as its login told it.
    pub version: Option<String>,
    /// The program that logged in (`mysqld`, `mysqlbinlog`), where it says.
    pub program: Option<String>,
    /// Whether the connection is inside TLS.
    pub tls: bool,
    /// The number of its stream, in the order in which streams were requested; 0 before it has requested one.
    pub(crate) stream: u64,
}

impl Attached {
    /// Whether it is a replica (or a program that reads the stream) and not only a login.
    pub fn is_replica(&self) -> bool {
        self.server_id != 0 || matches!(self.state, SessionState::Streaming | SessionState::Waiting)
    }
}

/// All connections of the process.
#[derive(Debug)]
pub struct Registry {
    started: Instant,
    last_thread_id: AtomicU32,
    /// How many streams have been requested.
    requested: Mutex<u64>,
    sessions: DashMap<u32, Arc<Entry>>,
    /// Sessions that are told to end have to make room for another configuration; the process goes on.
    reloads: AtomicBool,
}

impl Registry {
    /// No connections yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            last_thread_id: AtomicU32::new(0),
            requested: Mutex::new(0),
            sessions: DashMap::new(),
            reloads: AtomicBool::new(false),
        })
    }

    /// Why sessions are told to end from here on: for another configuration, or because the process ends.
    pub(crate) fn ends_for_a_reload(&self, reload: bool) {
        self.reloads.store(reload, Ordering::Relaxed);
    }

    /// Why sessions are told to end.
    pub(crate) fn why_ending(&self) -> &'static str {
        if self.reloads.load(Ordering::Relaxed) {
            "the route has a new configuration, to which the replica comes back"
        } else {
            "the proxy is ending"
        }
    }

    /// How long there has been a registry.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Every connection, in the order that they came.
    pub fn snapshot(&self) -> Vec<Attached> {
        let mut all: Vec<_> = self.sessions.iter().map(|entry| entry.value().snapshot()).collect();
        all.sort_unstable_by_key(|attached| attached.thread_id);
        all
    }

    /// The replicas of one listener.
    pub fn replicas_of(&self, listener: &str) -> Vec<Attached> {
        let mut all = self.snapshot();
        all.retain(|attached| attached.listener == listener && attached.is_replica());
        all
    }

    /// Ends a connection of a listener. False when there is none with that id.
    pub fn kill(&self, listener: &str, thread_id: u32) -> bool {
        match self.sessions.get(&thread_id) {
            Some(entry) if entry.listener == listener => {
                entry.kill.send_replace(true);
                true
            }
            _ => false,
        }
    }

    /// Looks for older streams of the listener whose replica has the uuid or the server id of this one, and ends those that a
    /// real source would end: one of the same uuid, or of the same server id where there is no uuid. Gives them back. A newer one has
    /// ended this one, or is about to: of two that come at the same time exactly one stays.
    ///
    /// Connections of one server from one machine are its channels, or an old connection that has not been closed yet: they are left
    /// alone.
    pub(crate) fn supersede(&self, guard: &Guard) -> Vec<Duplicate> {
        let own = guard.entry.snapshot();
        let mut duplicates = Vec::new();
        for entry in &self.sessions {
            let other = entry.snapshot();
            let streams =
                matches!(other.state, SessionState::Opening | SessionState::Streaming | SessionState::Waiting);
            if other.listener != own.listener || !streams || other.stream >= own.stream {
                continue;
            }
            let same_id = own.server_id != 0 && own.server_id == other.server_id;
            let same_uuid = own.uuid.is_some() && own.uuid == other.uuid;
            let same_server = own.peer.ip() == other.peer.ip() && same_id && own.uuid == other.uuid;
            if !(same_id || same_uuid) || same_server {
                continue;
            }
            let ended = same_uuid || (same_id && (own.uuid.is_none() || other.uuid.is_none()));
            if ended {
                entry.superseded.send_replace(Some(own.peer));
            }
            duplicates.push(Duplicate { other, same_uuid, ended });
        }
        duplicates
    }

    /// Enters a new connection; it is forgotten when the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>, listener: &str, peer: SocketAddr) -> Guard {
        let thread_id = loop {
            let id = self.last_thread_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if id != 0 && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let attached = Attached {
            thread_id,
            listener: listener.to_owned(),
            peer,
            since: SystemTime::now(),
            state: SessionState::LoggingIn,
            server_id: 0,
            uuid: None,
            host: String::new(),
            port: 0,
            version: None,
            program: None,
            tls: false,
            stream: 0,
        };
        let entry = Arc::new(Entry {
            listener: listener.to_owned(),
            attached: Mutex::new(attached),
            kill: watch::Sender::new(false),
            superseded: watch::Sender::new(None),
        });
        self.sessions.insert(thread_id, Arc::clone(&entry));
        Guard { registry: Arc::clone(self), thread_id, entry }
    }
}

/// Another stream with an identity that should be one server's.
#[derive(Debug)]
pub(crate) struct Duplicate {
    pub(crate) other: Attached,
    /// The uuid is the same; else it is the server id.
    pub(crate) same_uuid: bool,
    /// The other stream is being ended.
    pub(crate) ended: bool,
}

#[derive(Debug)]
struct Entry {
    listener: String,
    attached: Mutex<Attached>,
    kill: watch::Sender<bool>,
    /// The replica that has taken this one's identity.
    superseded: watch::Sender<Option<SocketAddr>>,
}

impl Entry {
    fn snapshot(&self) -> Attached {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A connection's own hold on its entry.
#[derive(Debug)]
pub(crate) struct Guard {
    registry: Arc<Registry>,
    thread_id: u32,
    entry: Arc<Entry>,
}

impl Guard {
    pub(crate) fn thread_id(&self) -> u32 {
        self.thread_id
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Changes what is known.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Attached)) {
        change(&mut self.entry.attached.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The connection requests its stream. Of two streams, the one with the larger number finds the other one.
    pub(crate) fn requests_stream(&self, server_id: u32, uuid: Option<&str>) {
        let mut requested = self.registry.requested.lock().unwrap_or_else(PoisonError::into_inner);
        *requested += 1;
        self.update(|attached| {
            attached.state = SessionState::Opening;
            attached.stream = *requested;
            attached.server_id = server_id;
            attached.uuid = uuid.map(str::to_owned);
        });
    }

    /// Becomes ready when another replica with the same identity has attached; says from where.
    pub(crate) fn superseded(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.entry.superseded.subscribe()
    }

    /// Becomes ready when somebody kills this connection.
    pub(crate) fn kill_switch(&self) -> KillSwitch {
        KillSwitch(self.entry.kill.subscribe())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.registry.sessions.remove(&self.thread_id);
    }
}

/// Waits for `KILL`.
#[derive(Debug, Clone)]
pub(crate) struct KillSwitch(watch::Receiver<bool>);

impl KillSwitch {
    pub(crate) async fn pulled(&mut self) {
        if self.0.wait_for(|killed| *killed).await.is_err() {
            // The entry is gone, and with it everybody who could kill.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 40000))
    }

    #[tokio::test]
    async fn a_kill_reaches_its_session_on_its_listener_only() {
        let registry = Registry::new();
        let (one, other) = (registry.enter("a", peer()), registry.enter("b", peer()));
        assert_ne!(one.thread_id(), other.thread_id());
        assert!(!registry.kill("a", other.thread_id()));
        assert!(!registry.kill("a", 999));
        assert!(registry.kill("a", one.thread_id()));
        one.kill_switch().pulled().await;
        let id = one.thread_id();
        drop(one);
        assert!(!registry.kill("a", id));
        assert_eq!(registry.snapshot().len(), 1);
    }

    #[test]
    fn an_older_stream_of_the_same_identity_is_ended_as_a_source_does() {
        let elsewhere = SocketAddr::from(([127, 0, 0, 2], 40000));
        for (older, newer, expected) in [
            ((7, Some("a")), (8, Some("a")), Some((true, true))),
            ((7, Some("a")), (7, Some("a")), Some((true, true))),
            ((7, Some("a")), (7, Some("b")), Some((false, false))),
            ((7, None), (7, None), Some((false, true))),
            ((7, Some("a")), (8, Some("b")), None),
            ((0, None), (0, None), None),
        ] {
            let registry = Registry::new();
            let (one, other) = (registry.enter("a", peer()), registry.enter("a", elsewhere));
            let stranger = registry.enter("b", elsewhere);
            for (guard, (server_id, uuid)) in [(&one, older), (&stranger, older), (&other, newer)] {
                guard.requests_stream(server_id, uuid);
            }
            let found = registry.supersede(&other);
            let found: Vec<_> = found.iter().map(|duplicate| (duplicate.same_uuid, duplicate.ended)).collect();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{older:?} and {newer:?}");
            let ended = one.superseded().borrow().is_some();
            assert_eq!(ended, expected.is_some_and(|(_, ended)| ended), "{older:?} and {newer:?}");
            assert!(stranger.superseded().borrow().is_none(), "another listener's");
        }
    }

    #[test]
    fn a_second_connection_of_the_same_server_ends_nothing() {
        let registry = Registry::new();
        let guards = [registry.enter("a", peer()), registry.enter("a", peer())];
        for guard in &guards {
            guard.requests_stream(7, Some("a"));
        }
        assert!(registry.supersede(&guards[1]).is_empty());
    }

    #[test]
    fn of_two_streams_that_come_at_the_same_time_the_newer_one_stays() {
        let registry = Registry::new();
        let first = registry.enter("a", peer());
        let second = registry.enter("a", SocketAddr::from(([127, 0, 0, 2], 40000)));
        // The connection that came first may ask last.
        for [older, newer] in [[&first, &second], [&second, &first]] {
            let ended = |guard: &Guard| guard.superseded().borrow().is_some();
            for guard in [older, newer] {
                guard.entry.superseded.send_replace(None);
                guard.requests_stream(7, Some("a"));
            }
            // Both are there before either looks.
            assert!(registry.supersede(older).is_empty());
            assert!(!ended(older) && !ended(newer));
            assert_eq!(registry.supersede(newer).len(), 1);
            assert!(ended(older) && !ended(newer));
        }
    }

    #[test]
    fn only_those_that_registered_count_as_replicas() {
        let registry = Registry::new();
        let (one, _other) = (registry.enter("a", peer()), registry.enter("a", peer()));
        assert!(registry.replicas_of("a").is_empty());
        one.update(|attached| attached.server_id = 7);
        let replicas = registry.replicas_of("a");
        assert_eq!((replicas.len(), replicas[0].server_id), (1, 7));
    }
}
