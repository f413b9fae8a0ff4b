//! What `status` reads of a route at one moment.

use std::time::SystemTime;

use crate::fault::Fault;

use super::faults::StandingPicture;
use super::replica::{SessionIdentity, SessionPicture, WholePlace};
use super::statements::{PolicedStatement, StatementAction};

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
