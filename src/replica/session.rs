//! One connection from greeting to end: the door, the commands, and the dump among them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::answers::{Asker, server_error};
use super::command::{BinlogDump, BinlogDumpGtid, CommandError, RegisterSlave, code};
use super::console::{Console, Surroundings, is_served};
use super::door::let_in;
use super::dump::{DumpEnd, Plan, ended, stream};
use super::excluding::Excluding;
use super::fault_packet::{ErrorStyle, LONG_ERROR_TEXT, SHORT_ERROR_TEXT, error_text, fatal_number, fault_packet};
use super::handshake::{EOF_PACKET, err_packet, ok_packet};
use super::heartbeat::Layout;
use super::outlook::Trouble;
use super::packets::{PacketStream, ReadError};
use super::registry::{Guard, SessionState};
use super::tls::ClientStream;
use super::turned_away::TurnedAway;
use super::variables::SKIP_REPLICATION;
use super::{Listener, ReplicaRequest, ReplicaSession, ReplicaStart};
use crate::binlog::{ChecksumAlgorithm, ServerVersion, Vendor};
use crate::fault::{Code, Fault};
use crate::gtid::GtidSet;
use crate::pipeline::coordinates::FilePosition;
use crate::source::SourceFacts;
use crate::telemetry::{Escaped, SessionIdentity};

/// Bits of a dump command's flags.
mod dump_flag {
    /// `BINLOG_DUMP_NON_BLOCK`: end at the end.
    pub(super) const NON_BLOCK: u16 = 1;
    /// MySQL 8.0.26 and later: HEARTBEAT_V2 is understood. (The same bit of a MariaDB replica asks for ANNOTATE_ROWS.)
    pub(super) const HEARTBEAT_V2: u16 = 2;
}

/// What a MariaDB replica sets for its GTID handshake; the last one is MariaDB 11's.
const GTID_VARIABLES: &[&str] = &[
    "slave_connect_state",
    "slave_gtid_strict_mode",
    "slave_gtid_ignore_duplicates",
    "slave_until_gtid",
    "slave_gtid_until_before_gtids",
];

/// Shorter periods than this would be a flood.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(10);

/// How long a client that is sent away may take to hear why.
const PARTING: Duration = Duration::from_secs(2);

/// Serves one connection to its end. Nothing is returned: what went wrong has been told to the client, the log and the telemetry.
/// `ending` becomes true when the proxy ends: streams then end at the next end of a transaction.
pub async fn serve_connection<S>(socket: S, peer: SocketAddr, listener: Arc<Listener>, ending: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let guard = listener.registry.enter(&listener.config.name, peer);
    let mut kill = guard.kill_switch();
    tokio::select! {
        () = attend(socket, peer, &listener, &guard, ending) => {}
        () = kill.pulled() => {
            info!(listener = %listener.config.name, %peer, thread_id = guard.thread_id(), "connection killed");
        }
    }
}

async fn attend<S>(
    mut socket: S,
    peer: SocketAddr,
    listener: &Arc<Listener>,
    guard: &Guard,
    mut ending: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(permit) = listener.logins.try_acquire() else {
        let message = format!("more than {} clients are logging in at a time", listener.config.limits.logins);
        let fault = Fault::new(Code::LimitReached, message);
        warn!(listener = %listener.config.name, %peer, code = %fault.code, error = %fault.message, "refused");
        listener.telemetry.failed(&fault);
        // In place of a greeting, so without a SQL state.
        let packet = err_packet(1040, None, &error_text(&fault, LONG_ERROR_TEXT));
        let _ = timeout(PARTING, PacketStream::new(&mut socket).write(&packet)).await;
        let _ = timeout(PARTING, socket.shutdown()).await;
        return;
    };
    let outlook = tokio::select! {
        outlook = listener.outlook() => outlook,
        () = ended(&mut ending) => return,
    };
    let visitor = tokio::select! {
        visitor = let_in(socket, peer, guard.thread_id(), &outlook, &listener.config) => visitor,
        () = ended(&mut ending) => return,
    };
    drop(permit);
    // A probe that comes and goes without a word is no replica that was let down.
    let spoke = !matches!(&visitor, Err(fault) if fault.code == Code::ReplicaProtocol);
    if let Some(Trouble { fault, .. }) = outlook.trouble.as_ref().filter(|_| spoke) {
        listener.telemetry.failed(fault);
        if let Some(left_out) = listener.out_of_reach.is_due(&fault.message) {
            warn!(
                listener = %listener.config.name, %peer, code = %fault.code, error = %Escaped(&fault.message),
                next = fault.next_step(), left_out, "the source is out of reach"
            );
        }
    }
    match visitor {
        Ok(visitor) => {
            guard.update(|attached| {
                attached.state = SessionState::Asking;
                attached.version = visitor.version.as_ref().map(|version| version.text.clone());
                attached.program = visitor.program.clone();
                attached.tls = visitor.tls;
            });
            let asker = Arc::new(Mutex::new(visitor.asker));
            // How a replica numbers what it says in between and what it reads after that differs between releases once frames have
            // numbers, too: such a replica stays asynchronous.
            let mut packets = visitor.packets;
            let facts = match packets.stream_mut().has_frames() {
                true => Arc::new(outlook.facts.without_semi_sync()),
                false => outlook.facts,
            };
            let mut session = Session {
                listener,
                guard,
                facts,
                trouble: outlook.trouble,
                peer,
                version: visitor.version,
                asker,
                packets,
            };
            if let Err(fault) = session.run(ending).await {
                warn!(
                    listener = %listener.config.name, %peer, thread_id = guard.thread_id(), code = %fault.code,
                    error = %Escaped(&fault.message), "connection ended"
                );
            }
            // A proper end for TLS and for what is still in flight.
            let _ = timeout(PARTING, session.packets.stream_mut().shutdown()).await;
        }
        Err(fault) => {
            if fault.code == Code::ReplicaTls
                && let Some(left_out) = listener.failed_tls.is_due(&fault.message)
            {
                warn!(
                    listener = %listener.config.name, %peer, code = %fault.code, error = %Escaped(&fault.message),
                    next = fault.next_step(), left_out, "login failed"
                );
            }
            // The source's absence was noted above; this one would only say that the client was told.
            if outlook.trouble.as_ref().is_none_or(|trouble| trouble.fault.code != fault.code) {
                listener.telemetry.failed(&fault);
            }
        }
    }
}

struct Session<'a, S> {
    listener: &'a Arc<Listener>,
    guard: &'a Guard,
    facts: Arc<SourceFacts>,
    /// Why `facts` are not fresh.
    trouble: Option<Trouble>,
    peer: SocketAddr,
    version: Option<ServerVersion>,
    asker: Arc<Mutex<Asker>>,
    packets: PacketStream<ClientStream<S>>,
}

/// Whether a command is a query that begins with these words, as the client library writes them.
fn is_question(payload: &[u8], words: &[u8]) -> bool {
    payload.split_first().is_some_and(|(&command, text)| {
        command == code::QUERY && text.get(..words.len()).is_some_and(|start| start.eq_ignore_ascii_case(words))
    })
}

/// What comes after a command.
enum Next {
    Command,
    End,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<'_, S> {
    async fn run(&mut self, mut ending: watch::Receiver<bool>) -> Result<(), Fault> {
        let limits = &self.listener.config.limits;
        let surroundings = Surroundings {
            backend: Arc::clone(&self.listener.backend),
            facts: Arc::clone(&self.facts),
            registry: Arc::clone(self.guard.registry()),
            listener: self.listener.config.name.clone(),
            asker: Arc::clone(&self.asker),
        };
        let internal = |error: super::console::ConsoleEnded| Fault::new(Code::Internal, error.to_string());
        let mut console = Console::start(surroundings).await.map_err(internal)?;
        loop {
            let read = tokio::select! {
                read = timeout(limits.idle_timeout, self.packets.read_command(limits.command_packet)) => read,
                () = ended(&mut ending) => return Ok(()),
            };
            let payload = match read {
                Ok(Ok(payload)) => payload,
                Ok(Err(ReadError::Closed | ReadError::Io(_))) | Err(_) => return Ok(()),
                Ok(Err(error)) => return Err(self.refuse_packet(error).await),
            };
            let next = if let Some(fault) = self.fault_for(&payload) {
                self.error(server_error::UNKNOWN, b"HY000", &error_text(&fault, LONG_ERROR_TEXT)).await?
            } else if is_served(&payload) {
                let answer = console.exchange(&payload).await.map_err(internal)?;
                self.timely(async |packets| packets.write_framed(&answer).await).await?;
                Next::Command
            } else {
                self.command(&payload, &ending).await?
            };
            if matches!(next, Next::End) {
                return Ok(());
            }
        }
    }

    /// What is said to the question for a GTID_MODE that nobody knows. MySQL 5.6 and 5.7 show it and try again, while they
    /// would stop for good by a GTID_MODE that does not fit theirs.
    fn fault_for(&self, payload: &[u8]) -> Option<Fault> {
        let trouble = self.trouble.as_ref().filter(|trouble| trouble.guessed)?;
        is_question(payload, b"SELECT @@GLOBAL.GTID_MODE").then(|| trouble.fault.clone())
    }

    /// A packet that cannot be read on from: told, then the end.
    async fn refuse_packet(&mut self, error: ReadError) -> Fault {
        let (number, text) = match &error {
            ReadError::OutOfSequence { .. } => (1156, "Got packets out of order".to_owned()),
            _ => (1153, format!("Got a packet bigger than 'max_allowed_packet' bytes: {error}")),
        };
        let code = Code::ReplicaProtocol;
        let packet = err_packet(number, Some(b"08S01"), &format!("{text} ({code})"));
        let _ = timeout(PARTING, self.packets.write(&packet)).await;
        Fault::new(code, error.to_string())
    }

    /// Writes within the time that a client has to take its answer.
    async fn timely(
        &mut self,
        write: impl AsyncFnOnce(&mut PacketStream<ClientStream<S>>) -> std::io::Result<()>,
    ) -> Result<(), Fault> {
        match timeout(self.listener.config.limits.write_timeout, write(&mut self.packets)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Fault::new(Code::ReplicaProtocol, format!("the connection failed: {error}"))),
            Err(_) => Err(Fault::new(Code::ReplicaStuck, "the client does not read its answers")),
        }
    }

    async fn ok(&mut self) -> Result<Next, Fault> {
        self.timely(async |packets| packets.write(&ok_packet(&[])).await).await.map(|()| Next::Command)
    }

    async fn error(&mut self, number: u16, state: &'static [u8; 5], text: &str) -> Result<Next, Fault> {
        let packet = err_packet(number, Some(state), text);
        self.timely(async |packets| packets.write(&packet).await).await.map(|()| Next::Command)
    }

    async fn malformed(&mut self, error: &CommandError) -> Result<Next, Fault> {
        let code = Code::ReplicaProtocol;
        warn!(listener = %self.listener.config.name, peer = %self.peer, %code, %error, "malformed command");
        self.error(1835, b"HY000", &format!("Malformed communication packet: {error} ({code})")).await
    }

    /// A command that opensrv does not see.
    async fn command(&mut self, payload: &[u8], ending: &watch::Receiver<bool>) -> Result<Next, Fault> {
        let Some((&command, body)) = payload.split_first() else {
            return self.malformed(&CommandError::from(crate::wire::Truncated { offset: 0, needed: 1, left: 0 })).await;
        };
        match command {
            code::QUIT => Ok(Next::End),
            code::REGISTER_SLAVE => match RegisterSlave::read(body) {
                Ok(registered) => self.register(registered).await,
                Err(error) => self.malformed(&error).await,
            },
            code::BINLOG_DUMP => match BinlogDump::read(body) {
                Ok(dump) => {
                    let connect_state = self.asker().variables.get("slave_connect_state").map(|state| state.to_owned());
                    let receiver = FilePosition { file: dump.file, position: u64::from(dump.position) };
                    let start = match connect_state {
                        Some(state) => ReplicaStart::MariaDbGtid(state),
                        None => ReplicaStart::FilePosition(receiver.clone()),
                    };
                    self.dump(Asked { start, receiver, excluded: None }, dump.flags, dump.server_id, ending).await
                }
                Err(error) => self.malformed(&error).await,
            },
            code::BINLOG_DUMP_GTID => match BinlogDumpGtid::read(body) {
                Ok(dump) => {
                    // Servers begin at a file that is named and leave out what is in the set (`Binlog_sender::check_start_file`): so programs ask
                    // that read files. Who stays is sent all that he lacks.
                    let reads = !dump.file.is_empty() && (dump.is_empty || is_non_blocking(dump.flags, dump.server_id));
                    let asked = if reads {
                        let at = FilePosition { file: dump.file, position: dump.position };
                        let excluded = GtidSet::decode(&dump.set).ok().filter(|_| !dump.is_empty);
                        Asked { start: ReplicaStart::FilePosition(at.clone()), receiver: at, excluded }
                    } else {
                        let start = ReplicaStart::MySqlGtid(dump.set);
                        Asked { start, receiver: FilePosition::default(), excluded: None }
                    };
                    self.dump(asked, dump.flags, dump.server_id, ending).await
                }
                Err(error) => self.malformed(&error).await,
            },
            code::PROCESS_KILL => {
                let id = crate::wire::Cursor::new(body).u32().unwrap_or(0);
                if self.listener.registry.kill(&self.listener.config.name, id) {
                    self.ok().await
                } else {
                    self.error(server_error::NO_SUCH_THREAD, b"HY000", &format!("Unknown thread id: {id}")).await
                }
            }
            code::STATISTICS => {
                let replicas = self.listener.registry.replicas_of(&self.listener.config.name).len();
                let uptime = self.listener.registry.uptime().as_secs();
                // Clients take this apart at the double spaces.
                let text = format!("Uptime: {uptime}  Replicas: {replicas}");
                self.timely(async |packets| packets.write(text.as_bytes()).await).await.map(|()| Next::Command)
            }
            code::RESET_CONNECTION => {
                self.asker().variables.clear();
                self.ok().await
            }
            code::STMT_RESET => self.ok().await,
            // Multi-statements on or off; the answer is an EOF packet.
            code::SET_OPTION => {
                self.timely(async |packets| packets.write(&EOF_PACKET).await).await.map(|()| Next::Command)
            }
            // No answer is due, and nothing was prepared that takes parameters.
            code::STMT_SEND_LONG_DATA | code::STMT_CLOSE => Ok(Next::Command),
            other => {
                info!(listener = %self.listener.config.name, peer = %self.peer, command = other, "unknown command");
                let text = format!("Unknown command ({})", Code::ReplicaCommand);
                self.error(1047, b"08S01", &text).await
            }
        }
    }

    fn asker(&self) -> std::sync::MutexGuard<'_, Asker> {
        self.asker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the replica says of itself goes to `SHOW REPLICAS`. With the source out of reach, this is where it hears of it.
    async fn register(&mut self, registered: RegisterSlave) -> Result<Next, Fault> {
        let uuid = self.asker().variables.first_of(&["replica_uuid", "slave_uuid"]).map(str::to_owned);
        let server_id = registered.server_id;
        self.guard.update(|attached| {
            attached.server_id = server_id;
            attached.uuid.clone_from(&uuid);
            attached.host = registered.host;
            attached.port = registered.port;
        });
        let trouble = match self.trouble.clone() {
            Some(Trouble { fault, .. }) => Some(fault),
            None => self.still_refused(server_id, uuid.as_deref()).await,
        };
        match trouble {
            None => self.ok().await,
            Some(fault) => self.error(server_error::UNKNOWN, b"HY000", &error_text(&fault, LONG_ERROR_TEXT)).await,
        }
    }

    /// Why the replica's stream could not be opened when it was here last, if that still holds and it was not told so then.
    async fn still_refused(&self, server_id: u32, uuid: Option<&str>) -> Option<Fault> {
        let listener = self.listener;
        let mut request = listener.turned_away.request_of(server_id, uuid)?;
        // MariaDB says where it is before it registers.
        if let (ReplicaStart::MariaDbGtid(state), Some(now)) =
            (&mut request.start, self.asker().variables.get("slave_connect_state"))
        {
            now.clone_into(state);
        }
        match listener.backend.reconsider(&request).await {
            // A fault that stops a replica is for the stream to tell.
            Err(fault) if fatal_number(fault.code).is_none() => {
                if let Some(left_out) = listener.still_refused.is_due(&fault.message) {
                    warn!(
                        listener = %listener.config.name, peer = %self.peer, server_id, code = %fault.code,
                        error = %Escaped(&fault.message), next = fault.next_step(), left_out, "stream still cannot be opened"
                    );
                }
                Some(fault)
            }
            Ok(()) | Err(_) => {
                listener.turned_away.forget(server_id, uuid);
                None
            }
        }
    }

    fn report(&self, fault: &Fault, telemetry: Option<&crate::telemetry::SessionTelemetry>) {
        warn!(
            listener = %self.listener.config.name, peer = %self.peer, thread_id = self.guard.thread_id(),
            code = %fault.code, error = %Escaped(&fault.message), next = fault.next_step(), "stream failed"
        );
        match telemetry {
            Some(telemetry) => telemetry.failed(fault),
            None => self.listener.telemetry.failed(fault),
        }
    }

    /// What the session's variables and commands say of the replica.
    fn replica(&self, server_id: u32) -> ReplicaSession {
        let asker = self.asker();
        let variables = &asker.variables;
        let number = |names: &[&str]| variables.first_of(names).and_then(|value| value.parse::<u64>().ok());
        let period = number(&["source_heartbeat_period", "master_heartbeat_period"]).unwrap_or(0);
        let heartbeat_period = match Duration::from_nanos(period) {
            Duration::ZERO => Duration::ZERO,
            period => period.max(SHORTEST_HEARTBEAT),
        };
        let checksum = variables.first_of(&["source_binlog_checksum", "master_binlog_checksum"]);
        let told = self.version.as_ref().map(|version| version.vendor);
        let is_mariadb = told == Some(Vendor::MariaDb) || number(&["mariadb_slave_capability"]).is_some();
        let gtid_variables = GTID_VARIABLES
            .iter()
            .filter_map(|&name| variables.get(name).map(|value| (name.to_owned(), value.to_owned())))
            .collect();
        ReplicaSession {
            server_id,
            uuid: variables.first_of(&["replica_uuid", "slave_uuid"]).map(str::to_owned),
            version: self.version.clone(),
            vendor: if is_mariadb { Vendor::MariaDb } else { Vendor::MySql },
            checksum: checksum.map(|value| match value.eq_ignore_ascii_case("CRC32") {
                true => ChecksumAlgorithm::Crc32,
                false => ChecksumAlgorithm::None,
            }),
            heartbeat_period,
            gtid_variables,
            skip_replication: number(&[SKIP_REPLICATION]) == Some(1),
            semi_sync: self.facts.semi_sync().is_some()
                && number(&["rpl_semi_sync_replica", "rpl_semi_sync_slave"]).is_some_and(|value| value != 0),
            peer: self.peer,
            thread_id: asker.thread_id,
        }
    }

    async fn dump(
        &mut self,
        Asked { start, receiver, excluded }: Asked,
        flags: u16,
        server_id: u32,
        ending: &watch::Receiver<bool>,
    ) -> Result<Next, Fault> {
        let replica = self.replica(server_id);
        let plan = Plan {
            vendor: replica.vendor,
            semi_sync: replica.semi_sync,
            layout: Layout::of(replica.vendor, flags & dump_flag::HEARTBEAT_V2 != 0),
            heartbeat_period: replica.heartbeat_period,
            agreed_checksum: replica.checksum.unwrap_or_default(),
            source_server_id: self.facts.server_id,
            auto_position: matches!(start, ReplicaStart::MySqlGtid(_)),
            start: match &start {
                ReplicaStart::FilePosition(at) => at.clone(),
                ReplicaStart::MySqlGtid(_) | ReplicaStart::MariaDbGtid(_) => FilePosition::default(),
            },
            errors: ErrorStyle {
                limit: match &replica.version {
                    Some(version) if version.vendor == Vendor::MySql && version.number >= 50_700 => LONG_ERROR_TEXT,
                    _ => SHORT_ERROR_TEXT,
                },
                transparent: self.listener.config.transparent,
            },
        };
        let identity = SessionIdentity {
            peer: self.peer,
            server_id,
            uuid: replica.uuid.clone(),
            version: replica.version.as_ref().map(|version| version.text.clone()),
        };
        self.guard.requests_stream(server_id, replica.uuid.as_deref());
        info!(
            listener = %self.listener.config.name, peer = %self.peer, thread_id = self.guard.thread_id(), server_id,
            version = identity.version.as_deref().map(|version| Escaped(version).to_string()),
            semi_sync = replica.semi_sync, start = %describe(&start), "replica attached"
        );
        for duplicate in self.guard.registry().supersede(self.guard) {
            warn!(
                listener = %self.listener.config.name, peer = %self.peer, other = %duplicate.other.peer, server_id,
                uuid = replica.uuid.as_deref().map(|uuid| Escaped(uuid).to_string()), code = %Code::ReplicaDuplicate,
                ended = duplicate.ended, next = Code::ReplicaDuplicate.next_step(),
                "two replicas have the same {}", if duplicate.same_uuid { "uuid" } else { "server id" }
            );
        }
        if server_id != 0 && server_id == self.facts.server_id {
            warn!(
                listener = %self.listener.config.name, peer = %self.peer, server_id, code = %Code::ReplicaDuplicate,
                "the replica has the source's own server id: it will leave out all that was born on the source"
            );
        }
        let telemetry = self.listener.telemetry.attach(identity);
        if replica.semi_sync {
            telemetry.acknowledges();
        }
        let non_blocking = is_non_blocking(flags, server_id);
        let request = ReplicaRequest { replica, start, receiver, non_blocking, flags };
        let outcome = self.open_and_stream(request.clone(), excluded, &plan, &telemetry, ending).await;
        match outcome {
            Ok(DumpEnd::Complete) => {
                self.guard.update(|attached| attached.state = SessionState::Asking);
                Ok(Next::Command)
            }
            Ok(end) => {
                info!(
                    listener = %self.listener.config.name, peer = %self.peer, thread_id = self.guard.thread_id(), server_id,
                    why = match end { DumpEnd::ClientLeft => "the replica left", _ => self.guard.registry().why_ending() },
                    "replica detached"
                );
                Ok(Next::End)
            }
            Err(fault) => {
                self.report(&fault, Some(&telemetry));
                if TurnedAway::is_worth_telling(fault.code) && server_id != 0 {
                    self.listener.turned_away.remember(request);
                }
                // After a fatal error the replica closes; after another one it is to come back on a new connection.
                Ok(if fatal_number(fault.code).is_some() { Next::Command } else { Next::End })
            }
        }
    }

    async fn open_and_stream(
        &mut self,
        request: ReplicaRequest,
        excluded: Option<GtidSet>,
        plan: &Plan,
        telemetry: &crate::telemetry::SessionTelemetry,
        ending: &watch::Receiver<bool>,
    ) -> Result<DumpEnd, Fault> {
        let mut signal = ending.clone();
        let mut probe = [0; 1];
        let opened = tokio::select! {
            opened = self.listener.backend.open(request) => opened,
            _ = self.packets.stream_mut().read(&mut probe) => return Ok(DumpEnd::ClientLeft),
            () = ended(&mut signal) => return Ok(DumpEnd::Ending),
        };
        let mut feed = match opened {
            Ok(feed) => feed,
            Err(fault) => {
                let packet = fault_packet(&fault, plan.errors);
                self.timely(async |packets| packets.write(&packet).await).await?;
                return Err(fault);
            }
        };
        if let Some(set) = excluded {
            feed = Box::new(Excluding::new(feed, set));
        }
        self.guard.update(|attached| attached.state = SessionState::Streaming);
        let sequence = self.packets.sequence();
        let limits = &self.listener.config.limits;
        stream(
            self.packets.stream_mut(),
            sequence,
            feed.as_mut(),
            plan,
            limits,
            (self.guard, telemetry),
            ending.clone(),
        )
        .await
    }
}

/// What a dump command asks for.
struct Asked {
    start: ReplicaStart,
    /// See [`ReplicaRequest::receiver`].
    receiver: FilePosition,
    /// Transactions that are left out besides.
    excluded: Option<GtidSet>,
}

/// Whether a stream ends where there is nothing more.
fn is_non_blocking(flags: u16, server_id: u32) -> bool {
    flags & dump_flag::NON_BLOCK != 0 || server_id == 0
}

/// A start for log lines.
fn describe(start: &ReplicaStart) -> String {
    match start {
        ReplicaStart::FilePosition(at) => Escaped(&at.to_string()).to_string(),
        ReplicaStart::MySqlGtid(set) => match GtidSet::decode(set) {
            Ok(set) => format!("GTID {}", Escaped(&set.to_string())),
            Err(error) => format!("GTID ({error})"),
        },
        ReplicaStart::MariaDbGtid(state) => format!("GTID {}", Escaped(state)),
    }
}
