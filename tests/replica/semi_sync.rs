//! Semi-synchronous replicas: what they are offered, how their events are framed, and what becomes of their acknowledgements.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use replproxy::binlog::{Event, EventType, ServerVersion};
use replproxy::fault::Fault;
use replproxy::pipeline::coordinates::FilePosition;
use replproxy::replica::{Backend, BoxFuture, Feed, FeedState, Listener, Registry, ReplicaRequest, serve_connection};
use replproxy::source::{ResultSet, SourceFacts};
use replproxy::telemetry::RouteTelemetry;
use replproxy::wire::Acknowledgement;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};

use super::client::{Client, PATIENCE, Reply, framed};
use super::scripted::{CRC32, begin, format, listener_config, peer, rotate, rows, xid};

const FILE: &str = "binlog.000007";

/// What a feed puts out at once, and the questions in it.
type Batch = (Vec<Event>, Vec<(usize, u64)>);

struct AskingFeed {
    batches: mpsc::UnboundedReceiver<Batch>,
    questions: Vec<(usize, u64)>,
    answers: mpsc::UnboundedSender<u64>,
}

impl Feed for AskingFeed {
    fn next<'a>(&'a mut self, out: &'a mut Vec<Event>) -> BoxFuture<'a, Result<FeedState, Fault>> {
        Box::pin(async move {
            let Some((mut events, questions)) = self.batches.recv().await else { return Ok(FeedState::EndOfStream) };
            out.append(&mut events);
            self.questions = questions;
            Ok(FeedState::More)
        })
    }

    fn at_boundary(&self) -> bool {
        true
    }

    fn heartbeat_position(&self) -> Option<FilePosition> {
        None
    }

    fn take_questions(&mut self) -> Vec<(usize, u64)> {
        std::mem::take(&mut self.questions)
    }

    fn answer(&mut self, number: u64) {
        let _ended = self.answers.send(number);
    }
}

struct Asking {
    facts: Arc<SourceFacts>,
    opened: mpsc::UnboundedSender<(ReplicaRequest, Script)>,
}

/// The test's end of a feed.
struct Script {
    batches: mpsc::UnboundedSender<Batch>,
    answers: mpsc::UnboundedReceiver<u64>,
}

impl Script {
    fn send(&self, events: &[Event], questions: &[(usize, u64)]) {
        assert!(self.batches.send((events.to_vec(), questions.to_vec())).is_ok(), "the feed is read");
    }

    async fn answer(&mut self) -> u64 {
        tokio::time::timeout(PATIENCE, self.answers.recv()).await.expect("an answer").expect("the feed is there")
    }
}

impl Backend for Asking {
    fn facts(&self) -> BoxFuture<'_, Result<Arc<SourceFacts>, Fault>> {
        Box::pin(async { Ok(Arc::clone(&self.facts)) })
    }

    fn query<'a>(&'a self, _sql: &'a str) -> BoxFuture<'a, Result<ResultSet, Fault>> {
        Box::pin(async { Ok(ResultSet { columns: Vec::new(), rows: Vec::new(), affected_rows: 0 }) })
    }

    fn open(&self, request: ReplicaRequest) -> BoxFuture<'_, Result<Box<dyn Feed>, Fault>> {
        let (batches, feed_batches) = mpsc::unbounded_channel();
        let (feed_answers, answers) = mpsc::unbounded_channel();
        assert!(self.opened.send((request, Script { batches, answers })).is_ok(), "the test waits for streams");
        let feed = AskingFeed { batches: feed_batches, questions: Vec::new(), answers: feed_answers };
        Box::pin(async { Ok(Box::new(feed) as Box<dyn Feed>) })
    }
}

/// A listener before a source with these variables, and a client of it that has asked for the stream at 120.
struct Stage {
    client: Client<DuplexStream>,
    request: ReplicaRequest,
    script: Script,
    telemetry: Arc<RouteTelemetry>,
    _end: watch::Sender<bool>,
}

async fn attach(of_source: &[(&str, &str)], settings: &[&str]) -> Stage {
    let known = [("server_id", "11"), ("binlog_checksum", "CRC32"), ("log_bin", "ON")];
    let variables = known.iter().chain(of_source).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let version = ServerVersion::parse("5.7.29-log").expect("a version");
    let facts = Arc::new(SourceFacts::of(version, variables.collect::<BTreeMap<_, _>>()));
    let (opened, mut streams) = mpsc::unbounded_channel();
    let telemetry = RouteTelemetry::new("stage");
    let backend: Arc<dyn Backend> = Arc::new(Asking { facts, opened });
    let listener = Listener::new(listener_config(), backend, Registry::new(), Arc::clone(&telemetry));
    let (near, far) = tokio::io::duplex(64 << 10);
    let end = watch::Sender::new(false);
    tokio::spawn(serve_connection(far, peer(), listener, end.subscribe()));
    let mut client = Client::logged_in(near, &[]).await;
    for setting in settings {
        assert_eq!(client.query(setting).await, Reply::Ok, "{setting}");
    }
    let command = [&[0x12, 120, 0, 0, 0, 0, 0, 7, 0, 0, 0][..], FILE.as_bytes()].concat();
    client.send_command(&command).await;
    let opened = tokio::time::timeout(PATIENCE, streams.recv()).await.expect("in time");
    let (request, script) = opened.expect("a stream is asked for");
    Stage { client, request, script, telemetry, _end: end }
}

const OFFERED: &[(&str, &str)] = &[("rpl_semi_sync_master_enabled", "OFF")];
const CHECKSUMS: &str = "SET @master_binlog_checksum= @@global.binlog_checksum";

impl Stage {
    /// The next event of a semi-synchronous stream, and whether it is to be acknowledged.
    async fn event(&mut self) -> (Bytes, bool) {
        let payload = Bytes::from(self.client.read().await.expect("an event"));
        assert_eq!(payload[..2], [0, 0xef], "no semi-synchronous event: {payload:?}");
        let asks = match payload[2] {
            0 => false,
            1 => true,
            other => panic!("{other} in the header"),
        };
        if asks {
            self.client.sequence = 1;
        }
        (payload.slice(3..), asks)
    }

    async fn acknowledge(&mut self, file: &str, position: u64) {
        let packet = framed(&Acknowledgement::payload(file.as_bytes(), position), 0);
        tokio::io::AsyncWriteExt::write_all(&mut self.client.stream, &packet).await.expect("it is read");
    }
}

#[tokio::test]
async fn every_event_has_the_header_and_acknowledgements_answer_what_was_asked() {
    let mut stage = attach(OFFERED, &[CHECKSUMS, "SET @rpl_semi_sync_slave= 1"]).await;
    assert!(stage.request.replica.semi_sync);
    let [gtid, begin] = begin();
    let events = [rotate(FILE, 120, CRC32), format(), gtid, begin, rows(17 << 20), xid(), xid()];
    stage.script.send(&events, &[(6, 3), (7, 4)]);
    let mut position = 120;
    for (index, event) in events.iter().enumerate() {
        let (raw, asks) = stage.event().await;
        assert_eq!(raw, event.raw(), "event {index}");
        // After an event that large both are asked.
        assert_eq!(asks, index > 4, "event {index}");
        position += if index > 1 { raw.len() as u64 } else { 0 };
    }
    // A place before the last event's end is behind the first question.
    stage.acknowledge(FILE, position - 1).await;
    assert_eq!(stage.script.answer().await, 3);
    for (file, place) in [(FILE, position + 1), ("binlog.000008", 4), (FILE, 0)] {
        stage.acknowledge(file, place).await;
    }
    stage.acknowledge(FILE, position).await;
    assert_eq!(stage.script.answer().await, 4, "what was not sent answers nothing");
    let semi_sync = stage.telemetry.picture().sessions[0].semi_sync;
    assert_eq!(semi_sync, Some((2, 5)));

    stage.script.send(&[xid(), xid(), xid()], &[(1, 5), (2, 6), (3, 7)]);
    for expected in [false, false, true] {
        let (raw, asks) = stage.event().await;
        assert_eq!(asks, expected, "those that are close together are asked as one");
        position += raw.len() as u64;
    }
    stage.acknowledge(FILE, position).await;
    assert_eq!(stage.script.answer().await, 7);

    // Nothing to send: a heartbeat carries the question.
    stage.script.send(&[], &[(0, 9)]);
    let (raw, asks) = stage.event().await;
    assert_eq!((raw[4], asks), (EventType::HEARTBEAT.0, true));
    stage.acknowledge(FILE, position).await;
    assert_eq!(stage.script.answer().await, 9);
    // The end has no header.
    drop(stage.script.batches);
    assert_eq!(stage.client.read().await.expect("the end"), [0xfe, 0, 0, 2, 0]);
}

#[tokio::test]
async fn a_replica_that_did_not_ask_or_was_not_offered_it_gets_events_as_ever() {
    for (of_source, settings) in [
        (OFFERED, &[CHECKSUMS][..]),
        (OFFERED, &[CHECKSUMS, "SET @rpl_semi_sync_slave= 0"]),
        (&[], &[CHECKSUMS, "SET @rpl_semi_sync_slave= 1"]),
    ] {
        let mut stage = attach(of_source, settings).await;
        assert!(!stage.request.replica.semi_sync);
        let event = rotate(FILE, 120, CRC32);
        stage.script.send(std::slice::from_ref(&event), &[]);
        assert_eq!(stage.client.event().await, event.raw());
        assert_eq!(stage.telemetry.picture().sessions[0].semi_sync, None);
        stage.acknowledge(FILE, 120).await;
        assert!(stage.client.is_cut().await);
    }
}

#[tokio::test]
async fn what_is_no_acknowledgement_ends_the_stream() {
    let long = framed(&[0xef; 1000], 0);
    for spoken in [framed(b"\xef\0\0", 0), framed(b"\x03SELECT 1", 0), framed(b"\x01", 0), long, vec![0xff; 64]] {
        let settings = [CHECKSUMS, "SET @rpl_semi_sync_replica = 1"];
        let mut stage = attach(&[("rpl_semi_sync_source_enabled", "ON")], &settings).await;
        stage.script.send(&[rotate(FILE, 120, CRC32)], &[]);
        stage.event().await;
        tokio::io::AsyncWriteExt::write_all(&mut stage.client.stream, &spoken).await.expect("it is read");
        assert!(tokio::time::timeout(PATIENCE, stage.script.answers.recv()).await.expect("in time").is_none());
    }
}
