//! Routes at work: a replica's request becomes a stream from the source through the route's rules.

mod feed;
mod identity;
mod start;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::binlog::Vendor;
use crate::fault::{Code, Fault};
use crate::pipeline::rules::RuleSet;
use crate::pipeline::{Stream, StreamOptions};
use crate::replica::backend::{Backend, BoxFuture, Feed, ReplicaRequest, ReplicaStart};
use crate::source::{Client, DumpRequest, Endpoint, ResultSet, SourceError, SourceFacts};
use crate::telemetry::{Coordinates, RouteTelemetry, SourceContact};

use feed::RouteFeed;
pub use identity::{Identities, Lease};

/// How often the source speaks when it has nothing to say.
const SOURCE_HEARTBEAT: Duration = Duration::from_secs(5);

/// Facts of this age serve another connection too, so that a thousand replicas that come back at once are not a thousand
/// logins more. Short, because a source may be replaced at any time.
const FACTS_AGE: Duration = Duration::from_millis(250);

/// Dump flag: EOF at the end instead of waiting.
const BINLOG_DUMP_NON_BLOCK: u16 = 1;
/// Dump flag of MariaDB: ANNOTATE_ROWS events are wanted.
const BINLOG_SEND_ANNOTATE_ROWS: u16 = 2;

/// One route behind its listener.
pub struct RouteBackend {
    source_name: String,
    endpoint: Endpoint,
    rules: Arc<RuleSet>,
    identities: Arc<Identities>,
    telemetry: Arc<RouteTelemetry>,
    facts: Mutex<Option<(Instant, Arc<SourceFacts>)>>,
}

impl RouteBackend {
    /// A route from a source through these rules.
    pub fn new(
        source_name: String,
        endpoint: Endpoint,
        rules: Arc<RuleSet>,
        identities: Arc<Identities>,
        telemetry: Arc<RouteTelemetry>,
    ) -> Self {
        Self { source_name, endpoint, rules, identities, telemetry, facts: Mutex::default() }
    }

    fn fault(&self, error: &SourceError) -> Fault {
        let fault = error.fault(&self.source_name);
        self.telemetry.failed(&fault);
        fault
    }

    async fn connect(&self) -> Result<Client, Fault> {
        Client::connect(&self.endpoint).await.map_err(|error| self.fault(&error))
    }

    async fn read_facts(&self, client: &mut Client) -> Result<Arc<SourceFacts>, Fault> {
        let facts = Arc::new(SourceFacts::read(client).await.map_err(|error| self.fault(&error))?);
        self.telemetry.source_seen(SourceContact {
            at: SystemTime::now(),
            version: facts.version.text.clone(),
            server_id: facts.server_id,
            server_uuid: facts.server_uuid.clone(),
        });
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::clone(&facts)));
        Ok(facts)
    }

    async fn current_facts(&self) -> Result<Arc<SourceFacts>, Fault> {
        let known = self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, facts)) = known
            && at.elapsed() < FACTS_AGE
        {
            return Ok(facts);
        }
        let mut client = self.connect().await?;
        let facts = self.read_facts(&mut client).await;
        client.quit().await;
        facts
    }

    async fn ask(&self, sql: &str) -> Result<ResultSet, Fault> {
        let mut client = self.connect().await?;
        let answer = client.query(sql).await;
        client.quit().await;
        answer.map_err(|error| error.fault(&self.source_name))
    }

    async fn start(&self, request: ReplicaRequest) -> Result<Box<dyn Feed>, Fault> {
        let mut client = self.connect().await?;
        let facts = self.read_facts(&mut client).await?;
        if !facts.log_bin {
            let message = format!("source `{}` ({}) has log_bin off", self.source_name, client.peer());
            return Err(Fault::new(Code::SourceNotLogging, message));
        }
        let rules = if facts.lower_case_table_names == 0 {
            Arc::clone(&self.rules)
        } else {
            Arc::new(self.rules.for_lower_case_table_names(facts.lower_case_table_names))
        };
        let start = start::decide(&rules, &request)?;
        let (mode, why) = start::coordinates(&rules, &request);
        self.telemetry.numbered(Coordinates { mode, why });

        let replica = request.replica.uuid.clone().unwrap_or_else(|| request.replica.server_id.to_string());
        let lease = self.identities.take(format!("{} {replica}", self.telemetry.route())).ok_or_else(|| {
            Fault::new(Code::IdentitiesExhausted, "no server id is left for another stream from the source")
        })?;
        let mut flags = if request.non_blocking { BINLOG_DUMP_NON_BLOCK } else { 0 };
        if facts.version.vendor == Vendor::MariaDb && rules.is_transparent() {
            flags |= request.flags & BINLOG_SEND_ANNOTATE_ROWS;
        }
        let dump = DumpRequest {
            identity: lease.identity(),
            heartbeat: SOURCE_HEARTBEAT,
            flags,
            start: start.dump.clone(),
            session: session(&request),
        };
        let events = client.start_dump(dump).await.map_err(|error| self.fault(&error))?;
        let options = StreamOptions {
            numbering: start.numbering.clone(),
            replica: request.replica.vendor,
            start: start.from.clone(),
            checksum: events.negotiated_checksum(),
        };
        let stream = Stream::new(rules, options);
        let (name, telemetry) = (self.source_name.clone(), Arc::clone(&self.telemetry));
        Ok(Box::new(RouteFeed::new(name, events, stream, telemetry, start, lease, request.replica.vendor)))
    }
}

/// What a MariaDB replica set for its GTID handshake, for the source's session.
fn session(request: &ReplicaRequest) -> Vec<String> {
    if !matches!(request.start, ReplicaStart::MariaDbGtid(_)) {
        return Vec::new();
    }
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "''");
    request.replica.gtid_variables.iter().map(|(name, value)| format!("SET @{name}='{}'", quoted(value))).collect()
}

impl Backend for RouteBackend {
    fn facts(&self) -> BoxFuture<'_, Result<Arc<SourceFacts>, Fault>> {
        Box::pin(self.current_facts())
    }

    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<ResultSet, Fault>> {
        Box::pin(self.ask(sql))
    }

    fn open(&self, request: ReplicaRequest) -> BoxFuture<'_, Result<Box<dyn Feed>, Fault>> {
        Box::pin(self.start(request))
    }
}
