//! Being a source for somebody: the door, the command phase and the stream of one listener.
//!
//! A client meets the **door** first (greeting, TLS, login: our own code on the socket), then the **command phase** (questions
//! answered from a table; `opensrv-mysql` behind an in-process pipe writes the result sets), and at COM_BINLOG_DUMP or
//! COM_BINLOG_DUMP_GTID the **dump** on the same socket. What is served stands behind two traits: a [`Backend`] knows the
//! source's facts and opens streams, a [`Feed`] delivers the events of one.

mod answers;
mod auth;
pub mod backend;
pub(crate) mod boundary;
mod command;
mod compression;
mod console;
mod door;
mod dump;
mod excluding;
mod fault_packet;
mod framed;
mod handshake;
mod heartbeat;
mod outlook;
mod packets;
mod question;
mod registry;
mod seldom;
mod semi_sync;
mod session;
mod tls;
mod turned_away;
mod variables;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::secret::Secret;
use crate::source::SourceFacts;
use crate::telemetry::RouteTelemetry;

use outlook::Outlook;
use seldom::Seldom;
use turned_away::TurnedAway;

pub use backend::{Backend, BoxFuture, Feed, FeedState, ReplicaRequest, ReplicaSession, ReplicaStart, Standing};
pub use framed::{Framed, Outline, Shared};
pub use registry::{Attached, Registry, SessionState};
pub use session::serve_connection;
pub use tls::ServerTls;

/// One listener's configuration.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// The listener's (route's) name, for logs and for KILL, which reaches connections of the same listener only.
    pub name: String,
    /// The user that replicas and clients present.
    pub user: String,
    /// Its password; may be empty.
    pub password: Secret,
    /// TLS.
    pub tls: ServerTls,
    /// Whether what comes out is what the source sends: then replicas hear the source's own words too.
    pub transparent: bool,
    /// Limits.
    pub limits: Limits,
}

/// What one connection may take. None of it is configurable: the defaults bound what strangers can cost and are far from what
/// replicas need.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the greeting to the end of the login, TLS included. Servers give 10 seconds too (`connect_timeout`).
    pub login_timeout: Duration,
    /// How many clients of one listener may be logging in at a time; strangers that say nothing hold a place for `login_timeout`.
    pub logins: usize,
    /// The largest packet before the login is done (bytes). Attributes may have 64 KiB in servers; real logins have 300 bytes.
    pub login_packet: usize,
    /// The largest command (bytes): the largest real one is a GTID set of some hundred KiB.
    pub command_packet: usize,
    /// How long a client may be silent in the command phase. Replicas ask at once; people at a prompt reconnect.
    pub idle_timeout: Duration,
    /// How long a replica may take no byte while there is something to send (MySQL's `net_write_timeout`).
    pub write_timeout: Duration,
    /// How long a stream may go on after the signal to end, to reach the end of its transaction.
    pub ending_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            login_timeout: Duration::from_secs(10),
            logins: 512,
            login_packet: 64 << 10,
            command_packet: 1 << 20,
            idle_timeout: Duration::from_secs(3600),
            write_timeout: Duration::from_secs(60),
            ending_grace: Duration::from_secs(5),
        }
    }
}

/// Everything that the connections of one listener share.
pub struct Listener {
    config: ListenerConfig,
    backend: Arc<dyn Backend>,
    registry: Arc<Registry>,
    telemetry: Arc<RouteTelemetry>,
    last_facts: Mutex<Option<Arc<SourceFacts>>>,
    logins: Semaphore,
    /// The source is out of reach: said once a minute, not for each connection.
    out_of_reach: Seldom,
    /// Logins that broke off in TLS.
    failed_tls: Seldom,
    /// Replicas that were refused their stream, to be told when they register again.
    turned_away: TurnedAway,
    /// A replica comes back and its stream can still not be opened.
    still_refused: Seldom,
}

impl Listener {
    /// A listener that serves a backend. The registry is the process's, the telemetry the route's.
    pub fn new(
        config: ListenerConfig,
        backend: Arc<dyn Backend>,
        registry: Arc<Registry>,
        telemetry: Arc<RouteTelemetry>,
    ) -> Arc<Self> {
        let logins = Semaphore::new(config.limits.logins);
        Arc::new(Self {
            config,
            backend,
            registry,
            telemetry,
            last_facts: Mutex::default(),
            logins,
            out_of_reach: Seldom::default(),
            failed_tls: Seldom::default(),
            turned_away: TurnedAway::default(),
            still_refused: Seldom::default(),
        })
    }

    /// What to go by: the source's facts, or the last known ones, or a guess.
    async fn outlook(&self) -> Outlook {
        let last = || self.last_facts.lock().unwrap_or_else(PoisonError::into_inner);
        match self.backend.facts().await {
            Ok(facts) => {
                *last() = Some(Arc::clone(&facts));
                Outlook::fresh(facts)
            }
            Err(fault) => Outlook::troubled(last().clone(), fault),
        }
    }
}
