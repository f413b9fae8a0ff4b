//! What stands behind a listener: a route, or a folder of files.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::binlog::{ChecksumAlgorithm, Event, ServerVersion, Vendor};
use crate::fault::Fault;
use crate::pipeline::coordinates::FilePosition;
use crate::source::{ResultSet, SourceFacts};

use super::framed::Shared;

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Answers the questions of replicas and opens their streams.
pub trait Backend: Send + Sync + 'static {
    /// What the source is. May contact it; greeting and answers are made from this.
    fn facts(&self) -> BoxFuture<'_, Result<Arc<SourceFacts>, Fault>>;

    /// A read-only question of the white list, passed on to the source.
    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<ResultSet, Fault>>;

    /// The stream for one replica.
    fn open(&self, request: ReplicaRequest) -> BoxFuture<'_, Result<Box<dyn Feed>, Fault>>;

    /// Whether a request that failed a moment ago would still fail, and why. The replica that made it is about to ask again.
    fn reconsider<'a>(&'a self, request: &'a ReplicaRequest) -> BoxFuture<'a, Result<(), Fault>> {
        let _ = request;
        Box::pin(async { Ok(()) })
    }
}

/// What a feed has put out.
#[derive(Debug, Clone)]
pub enum FeedState {
    /// Events were put out, or it is worth asking again.
    More,
    /// After what was put out come these events, which the replica shares with others.
    Shared(Shared),
    /// The stream is at its end: EOF for the replica.
    EndOfStream,
}

/// The events for one replica, as they go out.
pub trait Feed: Send {
    /// Waits until there is something and appends what is ready to `out`, up to about 1 MiB. Cancel-safe: what a cancelled
    /// call had taken comes with the next one.
    fn next<'a>(&'a mut self, out: &'a mut Vec<Event>) -> BoxFuture<'a, Result<FeedState, Fault>>;

    /// Whether all that was put out so far ends with a whole group: a clean end is possible here.
    fn at_boundary(&self) -> bool;

    /// A position later than the receiver's own count that a heartbeat may carry, because nothing that the replica needs
    /// lies before it; `None` where the heartbeat must carry exactly what was sent.
    fn heartbeat_position(&self) -> Option<FilePosition>;

    /// The end of the last whole transaction that was put out, in both numberings; `None` while that is not known.
    fn standing(&self) -> Option<Standing<'_>> {
        None
    }

    /// Whether the source has said that it has nothing more than what was put out: who was sent all of it is not behind.
    fn is_caught_up(&self) -> bool {
        false
    }

    /// Questions within what the last call put out, each as (events before it, number): a semi-synchronous replica is to acknowledge that
    /// it has all that comes before. Numbers grow.
    fn take_questions(&mut self) -> Vec<(usize, u64)> {
        Vec::new()
    }

    /// The replica has acknowledged all that comes before this question.
    fn answer(&mut self, _number: u64) {}

    /// Whether the events come from a stream that the replica shares with others.
    fn is_live(&self) -> bool {
        false
    }
}

/// A place between two transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The server that the stream comes from: `host:port`.
    pub server: &'a str,
    /// File and position of the source.
    pub source: (&'a [u8], u64),
    /// The same place as the replica sees it.
    pub served: (&'a [u8], u64),
}

/// What a replica asked for.
#[derive(Debug, Clone)]
pub struct ReplicaRequest {
    /// Who asks.
    pub replica: ReplicaSession,
    /// Where to begin.
    pub start: ReplicaStart,
    /// Where the receiver stands, as COM_BINLOG_DUMP says: MariaDB replicas that go by GTID say it besides. Else as `start`, or nowhere.
    pub receiver: FilePosition,
    /// The flags of the dump command as they came.
    pub flags: u16,
    /// End with EOF instead of waiting for more (flag 1, or server id 0).
    pub non_blocking: bool,
}

/// What is known of a replica when it asks for its stream.
#[derive(Debug, Clone)]
pub struct ReplicaSession {
    /// Of COM_REGISTER_SLAVE or of the dump command; 0 for programs that only read.
    pub server_id: u32,
    /// `@slave_uuid` or `@replica_uuid`.
    pub uuid: Option<String>,
    /// `_client_version` of the login, where it has one.
    pub version: Option<ServerVersion>,
    /// MariaDB where `@mariadb_slave_capability` was set or the login says so.
    pub vendor: Vendor,
    /// What `@master_binlog_checksum` was set to; `None` for replicas that know no checksums.
    pub checksum: Option<ChecksumAlgorithm>,
    /// `@master_heartbeat_period`; zero for none.
    pub heartbeat_period: Duration,
    /// MariaDB: every `@slave_…` variable of the GTID handshake as `(name, value)`, to be passed on.
    pub gtid_variables: Vec<(String, String)>,
    /// MariaDB: `SET skip_replication=1`, with which a replica of `replicate_events_marked_for_skip = FILTER_ON_MASTER` asks its
    /// source to leave out the events that are marked so. To be passed on.
    pub skip_replication: bool,
    /// The replica acknowledges what it is asked to, and reads events with the semi-synchronous header.
    pub semi_sync: bool,
    /// Where it came from.
    pub peer: SocketAddr,
    /// The connection's id.
    pub thread_id: u32,
}

#[cfg(test)]
impl ReplicaSession {
    /// A MySQL replica that has said nothing but its server id.
    pub(crate) fn of_a_test(server_id: u32) -> Self {
        Self {
            server_id,
            uuid: None,
            version: None,
            vendor: Vendor::MySql,
            checksum: None,
            heartbeat_period: Duration::ZERO,
            gtid_variables: Vec::new(),
            skip_replication: false,
            semi_sync: false,
            peer: ([127, 0, 0, 1], 9).into(),
            thread_id: 1,
        }
    }
}

/// Where a replica wants to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaStart {
    /// A file (empty: the first there is) and a position in it.
    FilePosition(FilePosition),
    /// After these transactions: a set as in COM_BINLOG_DUMP_GTID, checked.
    MySqlGtid(Bytes),
    /// After the position in `@slave_connect_state`.
    MariaDbGtid(String),
}
