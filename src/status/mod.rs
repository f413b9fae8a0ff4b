//! The status object of a running proxy: one documented JSON object, and the same as text.
//!
//! The admin listener serves it under `/status`; the `status` command fetches it from there. Times are RFC 3339 in
//! UTC, durations are seconds, sizes are bytes. No secret and no row value is ever part of it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::telemetry::{
    Departed, RoutePicture, SessionIdentity, SessionPicture, SourceContact, SourceTrouble, StandingPicture, WholePlace,
};

mod fetch;
mod text;

pub use fetch::{FetchError, fetch};
pub use text::render;

/// What `/status` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The proxy's version.
    pub version: String,
    /// When the process started.
    pub started_at: String,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// The configuration file in force.
    pub configuration: String,
    /// When that configuration was read.
    pub configured_at: String,
    /// The mistakes that made the last reload keep the old configuration; `null` when the last one went well.
    pub reload_error: Option<String>,
    /// Whether every route is healthy.
    pub healthy: bool,
    /// The routes in the order of their names.
    pub routes: Vec<RouteStatus>,
    /// The sources in the order of their names.
    pub sources: Vec<SourceStatus>,
    /// The replicas that stream now.
    pub replicas: Vec<ReplicaStatus>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Its source's name.
    pub source: String,
    /// The address that replicas attach to.
    pub listen: String,
    /// Fingerprint of its rules in hexadecimal: equal fingerprints give equal bytes.
    pub rules_fingerprint: String,
    /// Whether it passes everything on as it came.
    pub transparent: bool,
    /// Whether no fault stands. A fault stands until the replica that met it streams again, also with a new uuid or server id,
    /// or has not come back for a day.
    pub healthy: bool,
    /// The faults that stand, the oldest first.
    #[serde(default)]
    pub errors: Vec<StandingError>,
    /// The last fault, also when it stands no longer.
    pub last_error: Option<LastError>,
    /// The numbering that its replicas see; `null` before the first attach.
    pub coordinates: Option<CoordinatesStatus>,
    /// Events read from the source.
    pub events_received: u64,
    /// Bytes of these.
    pub bytes_received: u64,
    /// Events sent to replicas.
    pub events_sent: u64,
    /// Bytes of these.
    pub bytes_sent: u64,
    /// Transactions sent, empty ones included.
    pub transactions_sent: u64,
    /// Dumps opened by replicas, reconnects included.
    pub attaches: u64,
    /// Replicas that stream now.
    pub replicas_attached: usize,
    /// Streams that are open at the source for them: one for all replicas on the live tail, and one for each other.
    #[serde(default)]
    pub upstream_connections: u64,
    /// Those of them that the source takes for semi-synchronous replicas: what replicas acknowledge is passed on there.
    #[serde(default)]
    pub semi_sync_connections: u64,
    /// Acknowledgements that were passed on to the source.
    #[serde(default)]
    pub acknowledgements: u64,
    /// How many seconds old the newest event was when it was sent, for the slowest of them; 0 while the source has
    /// nothing more.
    pub lag_seconds: Option<u64>,
    /// Statements that did not pass as they were.
    pub statements: StatementsStatus,
    /// What the route has learned from statements: tables that it follows to new names, online schema changes that run.
    #[serde(default)]
    pub remembered: Vec<RememberedStatus>,
    /// Replicas that left and have not come back since the start, and where they were; the newest last.
    #[serde(default)]
    pub left: Vec<LeftReplica>,
}

/// One thing that a route has learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedStatus {
    /// `followed` or `online_change`.
    pub what: String,
    /// The table at the source.
    pub source: String,
    /// Where it goes, or how far it is.
    pub detail: String,
    /// The source's file and position from which on it holds.
    pub since: String,
}

/// A replica that streams no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftReplica {
    /// Its server id.
    pub server_id: u32,
    /// The uuid that it told.
    pub uuid: Option<String>,
    /// The address it came from.
    pub peer: String,
    /// When it left.
    pub at: String,
    /// The last whole transaction that it was sent.
    pub place: PlaceStatus,
}

/// The end of a transaction, as the replica sees it and at the source. A replica that has applied all up to `file` and `position` can be
/// pointed at `source_file` and `source_position`, whatever the rules are then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceStatus {
    /// The file as the replica sees it.
    pub file: String,
    /// The position in it: what `Exec_Master_Log_Pos` is when the transaction is applied.
    pub position: u64,
    /// The source's file.
    pub source_file: String,
    /// The position in the source's file.
    pub source_position: u64,
    /// The server of the source that it came from: `host:port`.
    pub server: String,
}

impl PlaceStatus {
    fn of(place: &WholePlace) -> Self {
        Self {
            file: place.served.0.clone(),
            position: place.served.1,
            source_file: place.source.0.clone(),
            source_position: place.source.1,
            server: place.server.clone(),
        }
    }
}

/// A fault that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingError {
    /// Server id of the replica that met it; `null` for one of the route or its source.
    pub replica_server_id: Option<u32>,
    /// The uuid that this replica told.
    pub replica_uuid: Option<String>,
    /// The code in the catalogue.
    pub code: String,
    /// What was found.
    pub message: String,
    /// What to do.
    pub next: String,
    /// Since when it is there.
    pub since: String,
    /// When it was last met.
    pub at: String,
}

impl StandingError {
    fn new(replica: Option<&(u32, Option<String>)>, since: SystemTime, at: SystemTime, fault: &Fault) -> Self {
        Self {
            replica_server_id: replica.map(|(server_id, _)| *server_id),
            replica_uuid: replica.and_then(|(_, uuid)| uuid.clone()),
            code: fault.code.to_string(),
            message: fault.message.clone(),
            next: fault.next_step().to_owned(),
            since: time_text(since),
            at: time_text(at),
        }
    }

    fn of(standing: &StandingPicture) -> Self {
        Self::new(standing.replica.as_ref(), standing.since, standing.at, &standing.fault)
    }
}

/// The last fault of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The code in the catalogue (`src/ERRORS.md`).
    pub code: String,
    /// Who has to act: `source`, `replica`, `configuration` or `proxy`.
    pub origin: String,
    /// What was found.
    pub message: String,
    /// What to do.
    pub next: String,
    /// When.
    pub at: String,
}

/// How positions are numbered towards the replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatesStatus {
    /// `source`: the source's own file names and positions. `served`: numbers of the route's own.
    pub mode: String,
    /// Why this one.
    pub why: String,
}

/// What the policy did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementsStatus {
    /// How often each action was taken for each reason and rule; a statement counts once, however many replicas are served it.
    pub counted: Vec<CountedStatements>,
    /// The newest ones, oldest first.
    pub last: Vec<LastStatement>,
}

/// A count of statements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedStatements {
    /// `skip`, `split` or `stop`.
    pub action: String,
    /// Why: the same stable word as in `explain` and in the metrics.
    pub reason: String,
    /// The configuration key that decided.
    pub rule: String,
    /// How many since the start.
    pub count: u64,
}

/// One statement that did not pass as it was. Its text is at the source, at the place given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastStatement {
    /// `skip`, `split` or `stop`.
    pub action: String,
    /// The configuration key that decided.
    pub rule: String,
    /// Why: the same stable word as in `explain` and in the metrics.
    pub reason: String,
    /// Its kind.
    pub kind: String,
    /// The source's file.
    pub file: String,
    /// The event's end in that file.
    pub position: u64,
    /// When the proxy met it.
    pub at: String,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name in the configuration.
    pub name: String,
    /// `host:port`.
    pub endpoint: String,
    /// The further servers of `failover`, in the order in which they are tried.
    #[serde(default)]
    pub failover: Vec<String>,
    /// Which of these servers answered last.
    #[serde(default)]
    pub in_use: Option<String>,
    /// When it last answered; `null` when it was not contacted yet, which is normal before a replica attaches.
    pub last_contact: Option<String>,
    /// Why it does not answer now; `null` where it does, and before it was asked.
    #[serde(default)]
    pub error: Option<StandingError>,
    /// Its version text.
    pub version: Option<String>,
    /// Its server id.
    pub server_id: Option<u32>,
    /// Its uuid.
    pub server_uuid: Option<String>,
    /// `on`: it waits for semi-synchronous replicas, also behind the proxy. `off`: it could. `none`: it has no such replication (MySQL
    /// without the plugin), and replicas of the proxy are asynchronous. As it was when it last answered.
    #[serde(default)]
    pub semi_sync: Option<String>,
}

/// One replica that streams now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// The route that it attached to.
    pub route: String,
    /// The address it came from.
    pub peer: String,
    /// The server id that it registered with.
    pub server_id: u32,
    /// The uuid that it told.
    pub uuid: Option<String>,
    /// The version that it told.
    pub version: Option<String>,
    /// Since when it streams.
    pub attached_at: String,
    /// File of the last event sent, as the replica sees it.
    pub file: String,
    /// End of that event.
    pub position: u64,
    /// Events sent.
    pub events_sent: u64,
    /// Bytes of these.
    pub bytes_sent: u64,
    /// Transactions sent.
    pub transactions_sent: u64,
    /// `live`: on the route's live tail, which costs the source one stream for all. `private`: catching up, or a stream with
    /// an end, on a source connection of its own.
    #[serde(default)]
    pub feed: String,
    /// What it was asked to acknowledge and has; `null` for an asynchronous replica.
    #[serde(default)]
    pub semi_sync: Option<SemiSyncStatus>,
    /// The last whole transaction that it was sent; `null` before there was one.
    #[serde(default)]
    pub whole: Option<PlaceStatus>,
    /// What is not as it should be about it: a server id or uuid that another server has.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// How many seconds old the newest event was when it was sent: about 0 for a replica that keeps up, and 0 while the
    /// source has nothing more.
    pub lag_seconds: Option<u64>,
}

/// The acknowledgements of a semi-synchronous replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SemiSyncStatus {
    /// How many it was asked for since it attached.
    pub asked: u64,
    /// How many it has sent.
    pub acknowledged: u64,
}

/// What the configuration says of a route, for its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFacts {
    /// Its name.
    pub name: String,
    /// Its source's name.
    pub source: String,
    /// Its address.
    pub listen: String,
    /// Its rules' fingerprint in hexadecimal.
    pub rules_fingerprint: String,
    /// Whether it passes everything on.
    pub transparent: bool,
}

/// A time as the status shows it.
pub fn time_text(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

impl RouteStatus {
    /// The status of a route from its configuration and its live state.
    pub fn new(facts: RouteFacts, picture: &RoutePicture) -> Self {
        let last_error = picture.last_error.as_ref().map(|(at, fault)| LastError {
            code: fault.code.to_string(),
            origin: fault.code.origin().to_string(),
            message: fault.message.clone(),
            next: fault.next_step().to_owned(),
            at: time_text(*at),
        });
        let coordinates = picture
            .coordinates
            .as_ref()
            .map(|coordinates| CoordinatesStatus { mode: coordinates.mode.to_owned(), why: coordinates.why.clone() });
        let counted = picture.statements.iter().map(|(action, reason, rule, count)| CountedStatements {
            action: action.as_str().to_owned(),
            reason: reason.clone(),
            rule: rule.clone(),
            count: *count,
        });
        let last = picture.last_statements.iter().map(|(at, statement)| LastStatement {
            action: statement.action.as_str().to_owned(),
            rule: statement.rule.clone(),
            reason: statement.reason.clone(),
            kind: statement.kind.clone(),
            file: statement.file.clone(),
            position: statement.position,
            at: time_text(*at),
        });
        Self {
            healthy: picture.healthy,
            errors: picture.standing.iter().map(StandingError::of).collect(),
            last_error,
            coordinates,
            events_received: picture.received.0,
            bytes_received: picture.received.1,
            events_sent: picture.sent.0,
            bytes_sent: picture.sent.1,
            transactions_sent: picture.transactions,
            attaches: picture.attaches,
            replicas_attached: picture.sessions.len(),
            upstream_connections: picture.upstreams,
            semi_sync_connections: picture.semi_sync_upstreams,
            acknowledgements: picture.acknowledgements,
            lag_seconds: picture.sessions.iter().filter_map(|session| session.lag_seconds).max(),
            left: picture.departed.iter().map(left).collect(),
            statements: StatementsStatus { counted: counted.collect(), last: last.collect() },
            remembered: picture.remembered.iter().map(RememberedStatus::new).collect(),
            name: facts.name,
            source: facts.source,
            listen: facts.listen,
            rules_fingerprint: facts.rules_fingerprint,
            transparent: facts.transparent,
        }
    }
}

impl RememberedStatus {
    fn new(remembered: &crate::telemetry::Remembered) -> Self {
        Self {
            what: remembered.what.to_owned(),
            source: remembered.source.clone(),
            detail: remembered.detail.clone(),
            since: remembered.since.clone(),
        }
    }
}

fn left(departed: &Departed) -> LeftReplica {
    LeftReplica {
        server_id: departed.identity.server_id,
        uuid: departed.identity.uuid.clone(),
        peer: departed.identity.peer.to_string(),
        at: time_text(departed.at),
        place: PlaceStatus::of(&departed.place),
    }
}

/// Identities that a replica shares with somebody else.
fn warnings(session: &SessionPicture, picture: &RoutePicture) -> Vec<String> {
    let SessionIdentity { server_id, uuid, peer, .. } = &session.identity;
    let mut warnings = Vec::new();
    if *server_id != 0 && picture.source.as_ref().is_some_and(|source| source.server_id == *server_id) {
        warnings.push(format!("server id {server_id} is the source's own"));
    }
    for SessionIdentity { server_id: other_id, uuid: other_uuid, peer: other, .. } in
        picture.sessions.iter().map(|session| &session.identity)
    {
        if other == peer || (other.ip() == peer.ip() && other_id == server_id && other_uuid == uuid) {
            continue;
        }
        if uuid.is_some() && uuid == other_uuid {
            warnings.push(format!("the replica at {other} has the same uuid"));
        } else if *server_id != 0 && server_id == other_id {
            warnings.push(format!("the replica at {other} has the same server id"));
        }
    }
    warnings
}

/// The status of the replicas that stream from one route.
pub fn replicas_of(route: &str, picture: &RoutePicture) -> Vec<ReplicaStatus> {
    let replica = |session: &SessionPicture| ReplicaStatus {
        route: route.to_owned(),
        peer: session.identity.peer.to_string(),
        server_id: session.identity.server_id,
        uuid: session.identity.uuid.clone(),
        version: session.identity.version.clone(),
        attached_at: time_text(session.opened_at),
        file: session.file.clone(),
        position: session.position,
        events_sent: session.events,
        bytes_sent: session.bytes,
        transactions_sent: session.transactions,
        feed: if session.live { "live" } else { "private" }.to_owned(),
        semi_sync: session.semi_sync.map(|(asked, acknowledged)| SemiSyncStatus { asked, acknowledged }),
        whole: session.place.as_ref().map(PlaceStatus::of),
        warnings: warnings(session, picture),
        lag_seconds: session.lag_seconds,
    };
    picture.sessions.iter().map(replica).collect()
}

fn semi_sync_word(semi_sync: Option<bool>) -> &'static str {
    match semi_sync {
        Some(true) => "on",
        Some(false) => "off",
        None => "none",
    }
}

/// The status of every configured source (name → `host:port` of each of its servers), each with the newest contact and the newest
/// trouble that any route had.
pub fn sources_of(
    configured: &BTreeMap<String, Vec<String>>,
    contacts: &BTreeMap<String, SourceContact>,
    troubles: &BTreeMap<String, SourceTrouble>,
) -> Vec<SourceStatus> {
    let source = |(name, servers): (&String, &Vec<String>)| {
        let contact = contacts.get(name);
        // Another route may have reached the source since.
        let is_newer = |trouble: &&SourceTrouble| contact.is_none_or(|contact| contact.at < trouble.at);
        let trouble = troubles.get(name).filter(is_newer);
        SourceStatus {
            name: name.clone(),
            endpoint: servers.first().cloned().unwrap_or_default(),
            failover: servers.iter().skip(1).cloned().collect(),
            in_use: contact.map(|contact| contact.server.clone()),
            last_contact: contact.map(|contact| time_text(contact.at)),
            error: trouble.map(|trouble| StandingError::new(None, trouble.since, trouble.at, &trouble.fault)),
            version: contact.map(|contact| contact.version.clone()),
            server_id: contact.map(|contact| contact.server_id),
            server_uuid: contact.and_then(|contact| contact.server_uuid.clone()),
            semi_sync: contact.map(|contact| semi_sync_word(contact.semi_sync).to_owned()),
        }
    };
    configured.iter().map(source).collect()
}
