//! COM_REGISTER_SLAVE, COM_BINLOG_DUMP and the stream that follows.

use std::{fmt, time::Duration};

use bytes::{Buf, Bytes};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{
    Activity, Client, ServerVersion, SourceError, Vendor,
    connection::Connection,
    facts, result_set,
    semi_sync::{SEMI_SYNC_REGISTRATION, SemiSync},
};
use crate::{
    binlog::ChecksumAlgorithm,
    wire::{MAX_PAYLOAD, PacketReader},
};

/// Size of the read buffer: a few thousand small events a system call.
const STREAM_BUFFER: usize = 256 << 10;
/// So many heartbeats may be missing before the source counts as gone.
const MISSED_HEARTBEATS: u32 = 3;
/// The first packet may take longer: the source looks for the position in its files, and sends nothing meanwhile.
const FIRST_PACKET_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest host name that every server takes (5.x: HOSTNAME_LENGTH).
const HOST_LIMIT: usize = 60;

const COM_BINLOG_DUMP: u8 = 0x12;
const COM_REGISTER_SLAVE: u8 = 0x15;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;

/// Where the first event of a file is, after the magic.
const FILE_START: u64 = 4;

/// As which replica the proxy shows up at the source. Every stream open at a time needs its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Unique among all servers of the topology. MariaDB and MySQL before 5.6 end an older stream with the same one.
    pub server_id: u32,
    /// MySQL 5.6 and later end an older stream with the same one.
    pub uuid: Uuid,
    /// Shown in SHOW REPLICAS; up to 60 characters.
    pub host: String,
    /// Shown in SHOW REPLICAS.
    pub port: u16,
}

/// Where the stream begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DumpStart {
    /// COM_BINLOG_DUMP.
    FilePosition {
        /// Name of the file; empty for the first one that the source has.
        file: Vec<u8>,
        /// Position in it, at least 4. The protocol has 32 bits for it.
        position: u32,
    },
    /// COM_BINLOG_DUMP_GTID, with the set as that command encodes it: what the replica has.
    GtidSet(Bytes),
    /// COM_BINLOG_DUMP of a MariaDB source that was told the state before, by a `SET @slave_connect_state`.
    MariaDbGtid,
}

/// What is asked of the source.
#[derive(Debug, Clone)]
pub struct DumpRequest {
    /// As whom.
    pub identity: Identity,
    /// How often the source speaks when it has nothing to say; zero for never, and then silence is not noticed.
    pub heartbeat: Duration,
    /// The flags of the dump command: 1 end at the end, 2 annotations (MariaDB) or heartbeats of version 2 (MySQL).
    pub flags: u16,
    /// Where to begin.
    pub start: DumpStart,
    /// More statements before it, such as MariaDB's `SET @slave_connect_state = '…'`. With [`SEMI_SYNC_REGISTRATION`] among them the
    /// stream is that of a semi-synchronous replica.
    pub session: Vec<String>,
}

impl Client {
    /// Registers as a replica and asks for the stream. The server's refusal, if any, comes with the first event.
    pub async fn start_dump(mut self, request: DumpRequest) -> Result<EventStream, SourceError> {
        let negotiated = self.negotiate_checksum().await?;
        self.query(&session_variables(self.version(), &request)).await?;
        for statement in &request.session {
            self.query(statement).await?;
        }
        self.simple(&registration(&request.identity), Activity::Registration).await?;
        let has_heartbeats = self.version().vendor == Vendor::MariaDb || self.version().number >= 50500;
        let silence = (has_heartbeats && !request.heartbeat.is_zero()).then(|| request.heartbeat * MISSED_HEARTBEATS);
        let registered = request.session.iter().any(|statement| statement == SEMI_SYNC_REGISTRATION);
        let (thread_id, semi_sync) = (self.thread_id(), SemiSync::of(self.version(), registered));
        let mut connection = self.connection;
        connection.command(&dump_command(&request)).await?;
        let mut reader = PacketReader::new(STREAM_BUFFER, MAX_PAYLOAD);
        reader.expect_sequence(connection.reader.sequence());
        connection.reader = reader;
        let patience = silence.map(|silence| silence.max(FIRST_PACKET_TIMEOUT));
        Ok(EventStream {
            connection,
            thread_id,
            negotiated,
            silence,
            patience,
            last_heard: Instant::now(),
            ended: false,
            semi_sync,
        })
    }

    /// Says that we know checksums, as replicas do: with the source's own setting, which then holds for the events that it makes
    /// up before the first FORMAT_DESCRIPTION. Events out of files end as their file says.
    async fn negotiate_checksum(&mut self) -> Result<ChecksumAlgorithm, SourceError> {
        const UNKNOWN_SYSTEM_VARIABLE: u16 = 1193;
        // A user variable of the other name does no harm anywhere, so both are always set.
        let set = "SET @master_binlog_checksum = @@global.binlog_checksum, \
                   @source_binlog_checksum = @@global.binlog_checksum";
        match self.query(set).await {
            Err(error) if error.server_code() == Some(UNKNOWN_SYSTEM_VARIABLE) => Ok(ChecksumAlgorithm::None),
            Err(error) => Err(error),
            Ok(_) => {
                let answer = self.query("SELECT @master_binlog_checksum").await?.single();
                Ok(answer.as_deref().map_or(ChecksumAlgorithm::None, facts::checksum_of))
            }
        }
    }
}

/// The user variables that sources read, under the old names and the new.
fn session_variables(version: &ServerVersion, request: &DumpRequest) -> String {
    let (heartbeat, uuid) = (request.heartbeat.as_nanos(), request.identity.uuid);
    let mut sql = format!(
        "SET @master_heartbeat_period = {heartbeat}, @source_heartbeat_period = {heartbeat}, \
         @slave_uuid = '{uuid}', @replica_uuid = '{uuid}'"
    );
    if version.vendor == Vendor::MariaDb {
        // 4: we understand MariaDB's GTIDs. With less the source would rewrite its events for us.
        sql.push_str(", @mariadb_slave_capability = 4");
    }
    sql
}

/// `u32 server id | host, user, password, each after a byte of length | u16 port | u32 rank | u32 master id`. User and
/// password would be shown to others; they stay empty.
fn registration(identity: &Identity) -> Vec<u8> {
    let mut out = vec![COM_REGISTER_SLAVE];
    out.extend_from_slice(&identity.server_id.to_le_bytes());
    let host: String = identity.host.chars().filter(char::is_ascii_graphic).take(HOST_LIMIT).collect();
    out.push(host.len() as u8);
    out.extend_from_slice(host.as_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&identity.port.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out
}

/// COM_BINLOG_DUMP: `u32 position | u16 flags | u32 server id | file`.
/// COM_BINLOG_DUMP_GTID: `u16 flags | u32 server id | u32 length, file | u64 position | u32 length, set`.
fn dump_command(request: &DumpRequest) -> Vec<u8> {
    let server_id = request.identity.server_id.to_le_bytes();
    let flags = request.flags.to_le_bytes();
    let by_position = |file: &[u8], position: u32| {
        [&[COM_BINLOG_DUMP][..], &position.to_le_bytes(), &flags, &server_id, file].concat()
    };
    match &request.start {
        DumpStart::FilePosition { file, position } => by_position(file, *position),
        DumpStart::MariaDbGtid => by_position(&[], FILE_START as u32),
        DumpStart::GtidSet(set) => [
            &[COM_BINLOG_DUMP_GTID][..],
            &flags,
            &server_id,
            &0u32.to_le_bytes(),
            &FILE_START.to_le_bytes(),
            &(set.len() as u32).to_le_bytes(),
            set,
        ]
        .concat(),
    }
}

/// A running binary log stream. It owns the socket; dropping it ends the stream.
pub struct EventStream {
    connection: Connection,
    thread_id: u32,
    negotiated: ChecksumAlgorithm,
    /// How long nothing may come; `None` where no heartbeats were asked for.
    silence: Option<Duration>,
    /// As `silence`, for the packet that is waited for now.
    patience: Option<Duration>,
    last_heard: Instant,
    ended: bool,
    semi_sync: SemiSync,
}

impl fmt::Debug for EventStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EventStream({})", self.connection.peer)
    }
}

impl EventStream {
    /// The next event as it came, without the `0x00` before it: header, body, and checksum if there is one. `None` when
    /// the source has ended the stream. Nothing is verified here.
    ///
    /// Small events are slices of a read buffer of 256 KiB and keep it alive: who keeps few out of many should copy them. Events
    /// of more than that have an allocation of their own. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        loop {
            self.semi_sync.send(&mut self.connection).await?;
            if let Some(event) = self.try_next()? {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            match self.patience.filter(|_| !self.semi_sync.source_waits()) {
                None => self.connection.fill().await?,
                Some(patience) => {
                    // What is already there is read even if nobody asked for a long time.
                    match timeout_at(self.last_heard + patience, self.connection.fill()).await {
                        Ok(filled) => filled?,
                        Err(_) => {
                            let peer = self.connection.peer.clone();
                            return Err(SourceError::Silent { peer, waited: patience });
                        }
                    }
                }
            }
            self.last_heard = Instant::now();
        }
    }

    /// The next event if it is there already. `None` says nothing about the end of the stream; [`EventStream::next`] does.
    pub fn try_next(&mut self) -> Result<Option<Bytes>, SourceError> {
        if self.ended {
            return Ok(None);
        }
        let payload = self.connection.reader.next_payload().map_err(|error| self.connection.framing(error))?;
        let Some(mut payload) = payload else { return Ok(None) };
        match payload.first() {
            Some(0x00) => {
                payload.advance(1);
                self.semi_sync.strip(&mut payload).map_err(|reason| self.connection.protocol(reason))?;
                if let Some(sequence) = self.semi_sync.next_sequence() {
                    self.connection.reader.expect_sequence(sequence);
                }
                self.patience = self.silence;
                Ok(Some(payload))
            }
            Some(0xff) => Err(self.connection.refused(&payload, Activity::Dump)),
            _ if result_set::is_eof(&payload) => {
                self.ended = true;
                Ok(None)
            }
            _ => Err(self.connection.protocol("a packet in the stream that is neither event nor end")),
        }
    }

    /// Whether the source asks for an acknowledgement of the last event that was handed out.
    pub fn asks_for_acknowledgement(&self) -> bool {
        self.semi_sync.asks()
    }

    /// Tells the source that all up to a place of its own is kept. It goes out with the next call of [`EventStream::next`].
    pub fn acknowledge(&mut self, file: &[u8], position: u64) {
        self.semi_sync.acknowledge(file, position);
    }

    /// How the events that the source makes up before the first FORMAT_DESCRIPTION end.
    pub fn negotiated_checksum(&self) -> ChecksumAlgorithm {
        self.negotiated
    }

    /// `host:port`.
    pub fn peer(&self) -> &str {
        &self.connection.peer
    }

    /// The connection's number at the source.
    pub fn thread_id(&self) -> u32 {
        self.thread_id
    }
}
