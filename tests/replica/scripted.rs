//! A listener whose source is a script: the test says what comes when.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use replproxy::binlog::{ChecksumAlgorithm, Event, EventType, HEADER_LENGTH, Header, ServerVersion, flags};
use replproxy::fault::{Code, Fault};
use replproxy::pipeline::coordinates::FilePosition;
use replproxy::replica::{
    Backend, BoxFuture, Feed, FeedState, Limits, Listener, ListenerConfig, Registry, ReplicaRequest, ServerTls,
    serve_connection,
};
use replproxy::secret::Secret;
use replproxy::source::{ResultSet, SourceFacts};
use replproxy::telemetry::RouteTelemetry;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// What the feed does next.
pub(crate) enum Step {
    Events(Vec<Event>),
    /// From here on there is always something, and nothing that the replica sees.
    NeverWait,
    /// The source has left out what the replica has, up to this place, and has no more.
    LeftOut(FilePosition),
    End,
    Fail(Fault),
}

/// The test's end of one feed.
pub(crate) struct Script(mpsc::UnboundedSender<Step>);

impl Script {
    pub(crate) fn events(&self, events: &[Event]) {
        assert!(self.0.send(Step::Events(events.to_vec())).is_ok(), "the feed is read");
    }

    pub(crate) fn never_wait(&self) {
        assert!(self.0.send(Step::NeverWait).is_ok(), "the feed is read");
    }

    pub(crate) fn left_out_up_to(&self, file: &str, position: u64) {
        let at = FilePosition { file: file.into(), position };
        assert!(self.0.send(Step::LeftOut(at)).is_ok(), "the feed is read");
    }

    pub(crate) fn end(&self) {
        assert!(self.0.send(Step::End).is_ok(), "the feed is read");
    }

    pub(crate) fn fail(&self, code: Code, message: &str) {
        assert!(self.0.send(Step::Fail(Fault::new(code, message))).is_ok(), "the feed is read");
    }

    /// Waits until nobody reads the feed any more.
    pub(crate) async fn dropped(&self) {
        tokio::time::timeout(super::client::PATIENCE, self.0.closed()).await.expect("the feed is dropped");
    }
}

struct ScriptedFeed {
    /// The last step had no events.
    idle: bool,
    left_out: Option<FilePosition>,
    never_waits: bool,
    steps: mpsc::UnboundedReceiver<Step>,
}

impl Feed for ScriptedFeed {
    fn next<'a>(&'a mut self, out: &'a mut Vec<Event>) -> BoxFuture<'a, Result<FeedState, Fault>> {
        Box::pin(async move {
            if self.never_waits {
                // As a socket does: others get their turn after a while.
                tokio::task::consume_budget().await;
                return Ok(FeedState::More);
            }
            match self.steps.recv().await {
                Some(Step::Events(mut events)) => {
                    self.idle = events.is_empty();
                    out.append(&mut events);
                    Ok(FeedState::More)
                }
                Some(Step::NeverWait) => {
                    self.never_waits = true;
                    Ok(FeedState::More)
                }
                Some(Step::LeftOut(at)) => {
                    (self.idle, self.left_out) = (true, Some(at));
                    Ok(FeedState::More)
                }
                Some(Step::End) | None => Ok(FeedState::EndOfStream),
                Some(Step::Fail(fault)) => Err(fault),
            }
        })
    }

    fn at_boundary(&self) -> bool {
        true
    }

    fn heartbeat_position(&self) -> Option<FilePosition> {
        self.left_out.clone()
    }

    fn is_caught_up(&self) -> bool {
        self.idle
    }
}

struct ScriptedBackend {
    facts: Mutex<Result<Arc<SourceFacts>, Fault>>,
    second_thought: Mutex<Result<(), Fault>>,
    opened: mpsc::UnboundedSender<(ReplicaRequest, Script)>,
}

impl Backend for ScriptedBackend {
    fn facts(&self) -> BoxFuture<'_, Result<Arc<SourceFacts>, Fault>> {
        let facts = self.facts.lock().expect("not poisoned").clone();
        Box::pin(async { facts })
    }

    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<ResultSet, Fault>> {
        let answer = ResultSet {
            columns: vec!["asked".to_owned()],
            rows: vec![vec![Some(sql.to_owned().into())]],
            affected_rows: 0,
        };
        Box::pin(async { Ok(answer) })
    }

    fn open(&self, request: ReplicaRequest) -> BoxFuture<'_, Result<Box<dyn Feed>, Fault>> {
        let (sender, steps) = mpsc::unbounded_channel();
        assert!(self.opened.send((request, Script(sender))).is_ok(), "the test waits for streams");
        Box::pin(async {
            Ok(Box::new(ScriptedFeed { idle: false, left_out: None, never_waits: false, steps }) as Box<dyn Feed>)
        })
    }

    fn reconsider<'a>(&'a self, _: &'a ReplicaRequest) -> BoxFuture<'a, Result<(), Fault>> {
        let answer = self.second_thought.lock().expect("not poisoned").clone();
        Box::pin(async { answer })
    }
}

/// A listener under test.
pub(crate) struct Stage {
    pub(crate) listener: Arc<Listener>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) telemetry: Arc<RouteTelemetry>,
    backend: Arc<ScriptedBackend>,
    opened: mpsc::UnboundedReceiver<(ReplicaRequest, Script)>,
    end: watch::Sender<bool>,
}

pub(crate) fn peer() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 9], 40_000))
}

/// User `repl`, password `secret`, no TLS.
pub(crate) fn listener_config() -> ListenerConfig {
    ListenerConfig {
        name: "stage".to_owned(),
        user: "repl".to_owned(),
        password: Secret::new("secret"),
        tls: ServerTls::disabled(),
        transparent: false,
        limits: Limits::default(),
    }
}

/// Facts of a source with id 11 and GTIDs.
fn facts(version: &str) -> SourceFacts {
    let variables = [
        ("server_id", "11"),
        ("server_uuid", "3e11fa47-71ca-11e1-9e33-c80aa9429562"),
        ("gtid_mode", "ON"),
        ("binlog_checksum", "CRC32"),
        ("log_bin", "ON"),
    ];
    let variables: BTreeMap<_, _> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    SourceFacts::of(ServerVersion::parse(version).expect("a version"), variables)
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A stage whose configuration is changed first. User `repl`, password `secret`, no TLS, times in milliseconds.
    pub(crate) fn with(change: impl FnOnce(&mut ListenerConfig)) -> Self {
        let mut config = listener_config();
        change(&mut config);
        let (sender, opened) = mpsc::unbounded_channel();
        let backend = Arc::new(ScriptedBackend {
            facts: Mutex::new(Ok(Arc::new(facts("5.7.29-log")))),
            second_thought: Mutex::new(Ok(())),
            opened: sender,
        });
        let registry = Registry::new();
        let behind: Arc<dyn Backend> = Arc::clone(&backend) as _;
        let telemetry = RouteTelemetry::new("stage");
        let listener = Listener::new(config, behind, Arc::clone(&registry), Arc::clone(&telemetry));
        Self { listener, registry, telemetry, backend, opened, end: watch::Sender::new(false) }
    }

    /// A new connection; the pipe holds `capacity` bytes each way.
    pub(crate) fn connect_over(&self, capacity: usize) -> (DuplexStream, JoinHandle<()>) {
        let (client, server) = tokio::io::duplex(capacity);
        let serving = serve_connection(server, peer(), Arc::clone(&self.listener), self.end.subscribe());
        (client, tokio::spawn(serving))
    }

    pub(crate) fn connect(&self) -> DuplexStream {
        self.connect_over(1 << 20).0
    }

    /// The stream that a client has just asked for.
    pub(crate) async fn stream(&mut self) -> (ReplicaRequest, Script) {
        tokio::time::timeout(super::client::PATIENCE, self.opened.recv()).await.expect("asked for").expect("one more")
    }

    pub(crate) fn source_is(&self, facts_or_fault: Result<&str, Fault>) {
        *self.backend.facts.lock().expect("not poisoned") = facts_or_fault.map(|version| Arc::new(facts(version)));
    }

    /// What is answered to the question whether a request that failed would still fail.
    pub(crate) fn would_fail(&self, fault: Option<Fault>) {
        *self.backend.second_thought.lock().expect("not poisoned") = fault.map_or(Ok(()), Err);
    }

    /// The proxy ends.
    pub(crate) fn end(&self) {
        self.end.send_replace(true);
    }
}

pub(crate) const CRC32: ChecksumAlgorithm = ChecksumAlgorithm::Crc32;

fn event(event_type: EventType, log_pos: u32, flags: u16, body: &[&[u8]], checksum: ChecksumAlgorithm) -> Event {
    let event_length = HEADER_LENGTH as u32;
    Event::build(Header { timestamp: 0, event_type, server_id: 11, event_length, log_pos, flags }, body, checksum)
}

/// The artificial ROTATE.
pub(crate) fn rotate(file: &str, position: u64, checksum: ChecksumAlgorithm) -> Event {
    event(EventType::ROTATE, 0, flags::ARTIFICIAL, &[&position.to_le_bytes(), file.as_bytes()], checksum)
}

/// A FORMAT_DESCRIPTION of 5.7 with checksums, as it is sent in the middle of a file.
pub(crate) fn format() -> Event {
    let mut version = [0; 50];
    version[..6].copy_from_slice(b"5.7.29");
    let lengths: [u8; 38] = [
        56, 13, 0, 8, 0, 18, 0, 4, 4, 4, 4, 18, 0, 0, 95, 0, 4, 26, 8, 0, 0, 0, 8, 8, 8, 2, 0, 0, 0, 10, 10, 10, 42,
        42, 0, 18, 52, 0,
    ];
    event(EventType::FORMAT_DESCRIPTION, 0, 0, &[&[4, 0], &version, &[0; 4], &[19], &lengths, &[1]], CRC32)
}

/// GTID, BEGIN.
pub(crate) fn begin() -> [Event; 2] {
    [
        event(EventType::GTID, 0, 0, &[&[0], &[7; 16], &1_u64.to_le_bytes(), &[0; 17]], CRC32),
        event(EventType::QUERY, 0, 0, &[&[0; 8], &[0], &[0; 4], &[0], b"BEGIN"], CRC32),
    ]
}

/// COMMIT of a transaction.
pub(crate) fn xid() -> Event {
    event(EventType::XID, 0, 0, &[&9_u64.to_le_bytes()], CRC32)
}

/// A rows event of `length` bytes in all.
pub(crate) fn rows(length: usize) -> Event {
    let pattern: Vec<u8> = (0..253).collect();
    let mut body = pattern.repeat(length / pattern.len() + 1);
    body.truncate(length - HEADER_LENGTH - 4);
    event(EventType::WRITE_ROWS, 0, 0, &[&body], CRC32)
}
