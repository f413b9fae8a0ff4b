//! Routes at work: a replica's request becomes a stream from the source through the route's rules.

mod acks;
mod beat;
mod farewell;
mod feed;
mod following;
mod identity;
mod index;
mod journal;
mod last_facts;
mod lasting;
mod log_end;
mod partial;
mod place;
mod progress;
mod replica_feed;
mod ring;
mod servers;
mod start;
mod tail;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::binlog::{EventType, Header, Vendor};
use crate::fault::{Code, Fault};
use crate::gtid::GtidSet;
use crate::pipeline::coordinates::FilePosition;
use crate::pipeline::history::Behind;
use crate::pipeline::policy::Choice;
use crate::pipeline::rules::RuleSet;
use crate::pipeline::{MAX_LENGTH_BUFFER, Numbering, Stream, StreamOptions, Target, XaMemory};
use crate::replica::backend::{Backend, BoxFuture, Feed, ReplicaRequest, ReplicaSession, ReplicaStart};
use crate::source::{
    Client, DumpRequest, DumpStart, Endpoint, EventStream, ResultSet, SEMI_SYNC_REGISTRATION, SourceError, SourceFacts,
};
use crate::telemetry::{Coordinates, RouteTelemetry, SourceContact};

use acks::Questions;
use farewell::Farewells;
use feed::{Parts, Received, RouteFeed};
pub use identity::{Identities, Lease};
use index::Index;
pub use journal::RouteJournal;
use last_facts::LastFacts;
use lasting::has_end;
use log_end::LogEnd;
pub use partial::Partials;
use partial::{Arrival, Return};
use place::Rendering;
use progress::CONNECT_STATE;
use replica_feed::ReplicaFeed;
use servers::{Known, Reached, Servers};
use start::Start;
use tail::Tails;

/// How often the source speaks when it has nothing to say.
const SOURCE_HEARTBEAT: Duration = Duration::from_secs(5);

/// Dump flag: EOF at the end instead of waiting.
const BINLOG_DUMP_NON_BLOCK: u16 = 1;
/// Dump flag of MariaDB: ANNOTATE_ROWS events are wanted.
const BINLOG_SEND_ANNOTATE_ROWS: u16 = 2;

/// One route behind its listener.
pub struct RouteBackend {
    core: Arc<Core>,
}

/// What the route's streams share.
struct Core {
    source_name: String,
    servers: Servers,
    rules: Arc<RuleSet>,
    identities: Arc<Identities>,
    telemetry: Arc<RouteTelemetry>,
    facts: LastFacts<Arc<SourceFacts>>,
    index: Arc<Index>,
    xa: XaMemory,
    journal: Arc<RouteJournal>,
    partials: Arc<Partials>,
    tails: Tails,
    farewells: Farewells,
    questions: Arc<Questions>,
    log_end: LogEnd,
}

impl RouteBackend {
    /// A route from a source through these rules. `servers` are those of the source, in the order in which they are tried.
    pub fn new(
        source_name: String,
        servers: Vec<Endpoint>,
        rules: Arc<RuleSet>,
        identities: Arc<Identities>,
        telemetry: Arc<RouteTelemetry>,
        journal: Arc<RouteJournal>,
        partials: Arc<Partials>,
    ) -> Self {
        let (facts, index, xa, tails) = (LastFacts::default(), Arc::default(), XaMemory::default(), Tails::default());
        let servers = Servers::new(source_name.clone(), servers);
        let core = Core {
            source_name,
            servers,
            rules,
            identities,
            telemetry,
            facts,
            index,
            xa,
            journal,
            partials,
            tails,
            farewells: Farewells::default(),
            questions: Arc::default(),
            log_end: LogEnd::default(),
        };
        Self { core: Arc::new(core) }
    }

    async fn start(&self, request: ReplicaRequest) -> Result<Box<dyn Feed>, Fault> {
        let following = self.core.follow(&request).await?;
        let feed = self.core.open(&request, Asker::Replica).await?;
        let arrival = Arrival::new(&self.core.partials, self.core.telemetry.route(), &request, feed.rendered_as());
        Ok(Box::new(ReplicaFeed::new(Arc::clone(&self.core), request, feed, following, arrival)))
    }
}

impl Core {
    fn fault(&self, error: &SourceError) -> Fault {
        let fault = error.fault(&self.source_name);
        self.telemetry.failed(&fault);
        fault
    }

    /// A server of the source that fits the request, or any for questions.
    async fn connect(&self, request: Option<&ReplicaRequest>) -> Result<(Client, Arc<SourceFacts>), Fault> {
        let asked = Instant::now();
        let reached = match request {
            Some(request) => self.servers.reach_for(request).await,
            None => self.servers.reach_any().await,
        };
        let Reached { client, facts } = reached.inspect_err(|fault| {
            // A server that does not fit one replica has answered.
            if !matches!(fault.code, Code::ServerBehind | Code::ServerChanged) {
                self.telemetry.source_failed(fault);
            }
        })?;
        let facts = Arc::new(facts);
        self.telemetry.source_seen(SourceContact {
            at: SystemTime::now(),
            server: client.peer().to_owned(),
            version: facts.version.text.clone(),
            server_id: facts.server_id,
            server_uuid: facts.server_uuid.clone(),
            semi_sync: facts.semi_sync(),
        });
        self.facts.learned(asked, Arc::clone(&facts));
        Ok((client, facts))
    }

    async fn current_facts(&self) -> Result<Arc<SourceFacts>, Fault> {
        self.facts.now(async || self.ask_for_facts().await).await
    }

    /// Whether what a replica asks for has no server, or no identity to ask with.
    async fn reconsider(&self, request: &ReplicaRequest) -> Result<(), Fault> {
        if self.identities.is_exhausted() {
            return Err(exhausted());
        }
        let (client, _) = self.connect(Some(request)).await?;
        client.quit().await;
        Ok(())
    }

    async fn ask_for_facts(&self) -> Result<Arc<SourceFacts>, Fault> {
        let (client, facts) = self.connect(None).await?;
        client.quit().await;
        Ok(facts)
    }

    async fn ask(&self, sql: &str) -> Result<ResultSet, Fault> {
        let (mut client, _) = self.connect(None).await?;
        let answer = client.query(sql).await;
        client.quit().await;
        answer.map_err(|error| error.fault(&self.source_name))
    }

    async fn open(&self, request: &ReplicaRequest, asker: Asker) -> Result<RouteFeed, Fault> {
        // Who waits for an identity holds no connection to the source.
        let replica = request.replica.uuid.clone().unwrap_or_else(|| request.replica.server_id.to_string());
        let lease =
            self.identities.take(format!("{} {replica}", self.telemetry.route())).await.ok_or_else(exhausted)?;
        let opened = Instant::now();
        let (mut client, facts) = self.connect(Some(request)).await?;
        let rules = if facts.lower_case_table_names == 0 {
            Arc::clone(&self.rules)
        } else {
            Arc::new(self.rules.for_lower_case_table_names(facts.lower_case_table_names))
        };
        let (server_id, uuid) = (request.replica.server_id, request.replica.uuid.as_deref());
        let departed = self.telemetry.departed(server_id, uuid);
        let returned = match asker {
            Asker::Replica => Return::new(&self.partials, request, start::fingerprint(&rules)),
            Asker::Process => None,
        };
        let is_looked_for = returned.as_ref().is_some_and(Return::is_from_other_rules);
        let mut start =
            start::decide(&rules, request, departed.as_ref().map(|departed| &departed.place), is_looked_for)?;
        if asker == Asker::Replica
            && let (ReplicaStart::FilePosition(at), Some(Target::Source(_)) | None) = (&request.start, &start.target)
            && let Some(size) = self.file_size(&mut client, &start.from.file).await?
        {
            start::refuse_ambiguous(at, size)?;
        }
        let (mode, why) = start::coordinates(&rules, request);
        self.telemetry.numbered(Coordinates { mode, why });

        let mut flags = if request.non_blocking { BINLOG_DUMP_NON_BLOCK } else { 0 };
        if facts.version.vendor == Vendor::MariaDb && rules.is_transparent() {
            flags |= request.flags & BINLOG_SEND_ANNOTATE_ROWS;
        }
        let vendor = request.replica.vendor;
        let asked =
            Asked { request, server: Known::of(&facts), flags, session: session(request, &facts), identity: &lease };
        let rendering = start.rendering(&rules, vendor);
        let (events, primed) = match self.resume(&mut start, &rendering, &asked).await? {
            Some(resumed) => resumed,
            None => (self.dump(client, &start, &asked).await?, VecDeque::new()),
        };
        let by_position = matches!(request.start, ReplicaStart::FilePosition(_)) && !rules.is_transparent();
        // In coordinates of the route's own a file has to come out the same for every replica, whatever its version.
        let version = request.replica.version.as_ref().map(|version| version.number);
        let version = version.filter(|_| !matches!(start.numbering, Numbering::Served { .. }));
        let shared = Rendering {
            // What passes through as it is is the same for every version.
            events: events_word(
                &rendering,
                facts.lower_case_table_names,
                version.filter(|_| !rules.is_transparent()),
                flags,
                request,
            ),
            word: shared_word(&asked.server.word(), &start, request) + &semi_sync_word(request, &facts),
            counts: matches!(start.numbering, Numbering::SourcePadded { .. } | Numbering::Served { .. }),
            pads: match start.numbering {
                Numbering::SourcePadded { replica_server_id } => Some(replica_server_id),
                Numbering::Source | Numbering::SourceSteppedBack | Numbering::Served { .. } => None,
            },
        };
        let options = StreamOptions {
            numbering: start.numbering.clone(),
            replica: vendor,
            start: start.from.clone(),
            checksum: events.negotiated_checksum(),
            length_buffer: MAX_LENGTH_BUFFER,
        };
        let mut feed = RouteFeed::new(Parts {
            semi_sync: is_semi_sync(request, &facts),
            facts,
            questions: Arc::clone(&self.questions),
            rendering: Arc::new(shared),
            shares: !has_end(request),
            source_name: self.source_name.clone(),
            events,
            opened,
            primed,
            stream: self.journaled(
                Stream::new(rules, options).with_xa_memory(self.xa.clone()).with_replica_version(version),
                request,
                &start,
            )?,
            telemetry: Arc::clone(&self.telemetry),
            start,
            returned,
            identity: lease,
            replica: vendor,
            index: by_position.then(|| (Arc::clone(&self.index), rendering)),
        });
        if asker == Asker::Replica {
            match &request.start {
                ReplicaStart::FilePosition(at) => {
                    if let Some(created) = self.servers.file_of(&request.replica, at) {
                        feed.expect_file_of(created);
                    }
                }
                ReplicaStart::MySqlGtid(_) | ReplicaStart::MariaDbGtid(_) => {
                    self.servers.goes_by_gtid(&request.replica, Known::of(feed.facts()));
                }
            }
        }
        if matches!(request.start, ReplicaStart::MariaDbGtid(_)) {
            feed.set_epoch(self.partials.comes_from(&Known::of(feed.facts())));
        }
        Ok(feed)
    }

    /// How large one of the source's files is; nothing where the source does not say (REPLICATION CLIENT is needed for it).
    async fn file_size(&self, client: &mut Client, file: &[u8]) -> Result<Option<u64>, Fault> {
        let files = match client.query("SHOW BINARY LOGS").await {
            Ok(files) => files,
            Err(SourceError::Refused { .. }) => return Ok(None),
            Err(error) => return Err(self.fault(&error)),
        };
        let row = (0..files.rows.len()).find(|&row| files.text(row, 0).is_some_and(|name| name.as_bytes() == file));
        Ok(row.and_then(|row| files.text(row, 1)?.parse().ok()))
    }

    /// The stream with what the route has learned before the place at which it begins.
    fn journaled(&self, stream: Stream, request: &ReplicaRequest, start: &Start) -> Result<Stream, Fault> {
        let not_read = |error: String| Fault::new(Code::ReplicaPosition, error);
        let behind = match &request.start {
            ReplicaStart::FilePosition(_) => Behind::Position,
            ReplicaStart::MySqlGtid(set) => {
                Behind::MySqlGtids(GtidSet::decode(set).map_err(|error| not_read(error.to_string()))?)
            }
            ReplicaStart::MariaDbGtid(text) => Behind::MariaDbGtids(text.parse().map_err(not_read)?),
        };
        let served = matches!(start.numbering, Numbering::Served { .. });
        if served && self.rules.policy().online_ddl == Choice::Fold && !self.journal.is_kept() {
            let message = "ddl.online_ddl = \"fold\" on a route that serves coordinates of its own: without `state_dir` in [proxy] a restart in \
                           the middle of a schema change would number the replica's positions in another way";
            return Err(Fault::new(Code::ConfigurationInvalid, message));
        }
        let stream = stream.with_journal(Arc::clone(&self.journal) as _, behind);
        Ok(match start.target {
            // What stops the route before the place is behind the replica, in the source's own coordinates.
            Some(Target::Source(position)) if !served => {
                stream.with_passed(FilePosition { file: start.from.file.clone(), position })
            }
            _ => stream,
        })
    }

    async fn dump(&self, client: Client, start: &Start, asked: &Asked<'_>) -> Result<EventStream, Fault> {
        let request = DumpRequest {
            identity: asked.identity.identity(),
            heartbeat: SOURCE_HEARTBEAT,
            flags: asked.flags,
            start: start.dump.clone(),
            session: asked.session.clone(),
        };
        client.start_dump(request).await.map_err(|error| self.fault(&error))
    }

    /// Begins at a remembered boundary, if there is one and the source still has the same event there.
    async fn resume(
        &self,
        start: &mut Start,
        rendering: &str,
        asked: &Asked<'_>,
    ) -> Result<Option<(EventStream, VecDeque<Received>)>, Fault> {
        let Some(mark) = start.target.as_ref().and_then(|target| self.index.find(rendering, &start.from.file, target))
        else {
            return Ok(None);
        };
        start.begin_at(mark)?;
        let (client, facts) = self.connect(Some(asked.request)).await?;
        if !Known::of(&facts).is_surely(&asked.server) {
            return Err(Fault::new(Code::SourceLost, "another server answered while the stream was opened"));
        }
        let mut events = self.dump(client, start, asked).await?;
        let mut primed = VecDeque::new();
        // The event at the mark was there once, so it comes at once; a heartbeat or a refusal says that it is gone.
        while let Ok(Some(raw)) = events.next().await {
            let Ok(header) = Header::read(&raw) else { break };
            let leads = matches!(header.event_type, EventType::ROTATE | EventType::FORMAT_DESCRIPTION);
            let found = index::fingerprint(&raw) == mark.event;
            if !leads && !found {
                break;
            }
            primed.push_back((raw, events.asks_for_acknowledgement()));
            if found {
                return Ok(Some((events, primed)));
            }
        }
        self.index.forget(&start.from.file);
        start.begin_at_start()?;
        Ok(None)
    }
}

fn exhausted() -> Fault {
    Fault::new(Code::IdentitiesExhausted, "no server id is left for another stream from the source")
}

/// Who asks for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// A replica, over the wire: its position has 32 bits.
    Replica,
    /// This process, again: it knows what the replica was sent.
    Process,
}

/// A word that is the same for all streams in which one group of the source comes out in the same events.
fn events_word(
    rendering: &str,
    lower_case_table_names: u8,
    version: Option<u32>,
    flags: u16,
    request: &ReplicaRequest,
) -> Arc<str> {
    let skips = request.replica.skip_replication;
    format!("{rendering} {lower_case_table_names} {version:?} {flags} {skips}").into()
}

/// A word that is the same for all streams of the same events that are the same from a common place on, but for the server id in pads.
fn shared_word(source: &str, start: &Start, request: &ReplicaRequest) -> String {
    let numbering = match start.numbering {
        Numbering::Source => "source",
        Numbering::SourceSteppedBack => "stepped back",
        Numbering::SourcePadded { .. } => "padded",
        Numbering::Served { .. } => "served",
    };
    let mode = match start.dump {
        DumpStart::FilePosition { .. } => "file",
        DumpStart::GtidSet(_) | DumpStart::MariaDbGtid => "gtid",
    };
    // What a MariaDB replica set for its source's session, but for where it is.
    let session = request.replica.gtid_variables.iter().filter(|(name, _)| mode == "gtid" && name != CONNECT_STATE);
    let session: Vec<_> = session.map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{source} {numbering} {mode} {}", session.join(" "))
}

/// Whether the source is to take the proxy for a semi-synchronous replica: the replica is one, and the source knows such.
fn is_semi_sync(request: &ReplicaRequest, facts: &SourceFacts) -> bool {
    request.replica.semi_sync && facts.semi_sync().is_some()
}

/// What keeps the streams of semi-synchronous replicas apart from others. A source that waits for several replicas counts streams, so
/// there each replica has its own.
fn semi_sync_word(request: &ReplicaRequest, facts: &SourceFacts) -> String {
    match (is_semi_sync(request, facts), facts.semi_sync_replicas()) {
        (false, _) => String::new(),
        (true, 0 | 1) => " semi-sync".to_owned(),
        (true, _) => {
            let ReplicaSession { server_id, uuid, .. } = &request.replica;
            format!(" semi-sync {server_id} {uuid:?}")
        }
    }
}

/// How every stream of one request is asked for.
struct Asked<'a> {
    request: &'a ReplicaRequest,
    /// The server that was decided on.
    server: Known,
    flags: u16,
    session: Vec<String>,
    identity: &'a Lease,
}

/// What is set in the source's session: what a MariaDB replica set (what to leave out, and what belongs to its GTID handshake), and
/// that acknowledgements will come.
fn session(request: &ReplicaRequest, facts: &SourceFacts) -> Vec<String> {
    let mut session = Vec::new();
    if is_semi_sync(request, facts) {
        session.push(SEMI_SYNC_REGISTRATION.to_owned());
    }
    if request.replica.skip_replication {
        session.push("SET skip_replication=1".to_owned());
    }
    if matches!(request.start, ReplicaStart::MariaDbGtid(_)) {
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "''");
        let variables = request.replica.gtid_variables.iter();
        session.extend(variables.map(|(name, value)| format!("SET @{name}='{}'", quoted(value))));
    }
    session
}

impl Backend for RouteBackend {
    fn facts(&self) -> BoxFuture<'_, Result<Arc<SourceFacts>, Fault>> {
        Box::pin(self.core.current_facts())
    }

    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<ResultSet, Fault>> {
        Box::pin(self.core.ask(sql))
    }

    fn open(&self, request: ReplicaRequest) -> BoxFuture<'_, Result<Box<dyn Feed>, Fault>> {
        Box::pin(self.start(request))
    }

    fn reconsider<'a>(&'a self, request: &'a ReplicaRequest) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.core.reconsider(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::ServerVersion;
    use crate::pipeline::coordinates::FilePosition;
    use std::collections::BTreeMap;

    fn facts(variables: &[(&str, &str)]) -> SourceFacts {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let version = ServerVersion::parse("10.11.9-MariaDB").expect("a version");
        SourceFacts::of(version, variables.collect::<BTreeMap<_, _>>())
    }

    fn asked(start: ReplicaStart, skip_replication: bool, semi_sync: bool) -> ReplicaRequest {
        let replica = ReplicaSession {
            vendor: Vendor::MariaDb,
            gtid_variables: vec![("slave_connect_state".to_owned(), "0-1-5".to_owned())],
            skip_replication,
            semi_sync,
            ..ReplicaSession::of_a_test(7)
        };
        ReplicaRequest { replica, start, receiver: FilePosition::default(), flags: 0, non_blocking: false }
    }

    fn place() -> ReplicaStart {
        ReplicaStart::FilePosition(FilePosition { file: "binlog.000001".into(), position: 4 })
    }

    #[test]
    fn what_a_replica_set_for_its_source_is_set_there() {
        let session = |start, skip_replication| session(&asked(start, skip_replication, false), &facts(&[]));
        assert!(session(place(), false).is_empty());
        assert_eq!(session(place(), true), ["SET skip_replication=1"]);
        let gtid = ReplicaStart::MariaDbGtid("0-1-5".to_owned());
        assert_eq!(session(gtid, true), ["SET skip_replication=1", "SET @slave_connect_state='0-1-5'"]);
    }

    #[test]
    fn what_a_group_comes_out_as_depends_on_the_dialect_and_not_on_how_the_stream_is_asked_for() {
        let gtid = || ReplicaStart::MariaDbGtid("0-1-5".to_owned());
        let word = |request: &ReplicaRequest, version| events_word("rules", 0, version, 0, request);
        let plain = asked(gtid(), false, false);
        let mut strict = asked(gtid(), false, true);
        strict.replica.gtid_variables.push(("slave_gtid_strict_mode".to_owned(), "1".to_owned()));
        assert_eq!(word(&plain, Some(101_108)), word(&strict, Some(101_108)));
        assert_ne!(word(&plain, Some(101_108)), word(&plain, Some(110_402)));
        assert_ne!(word(&plain, None), word(&asked(gtid(), true, false), None));
    }

    #[test]
    fn a_stream_is_semi_synchronous_where_the_replica_is_and_the_source_can() {
        let off = facts(&[("rpl_semi_sync_master_enabled", "OFF")]);
        let two =
            facts(&[("rpl_semi_sync_source_enabled", "ON"), ("rpl_semi_sync_source_wait_for_replica_count", "2")]);
        for (semi_sync, facts, statements, word) in [
            (true, &off, &[SEMI_SYNC_REGISTRATION][..], " semi-sync"),
            (true, &two, &[SEMI_SYNC_REGISTRATION], " semi-sync 7 None"),
            (true, &facts(&[]), &[], ""),
            (false, &two, &[], ""),
        ] {
            let request = asked(place(), false, semi_sync);
            assert_eq!(session(&request, facts), statements);
            assert_eq!(semi_sync_word(&request, facts), word);
        }
    }
}
