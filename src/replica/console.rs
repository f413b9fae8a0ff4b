//! The command phase: questions and their result sets, spoken by `opensrv-mysql`. The only module that knows it.
//!
//! opensrv never meets the network. It runs over an in-process pipe that is polled from the session's own task: the adapter
//! answers its greeting with a canned login, hands over exactly one packet, and takes the answer when opensrv asks for more
//! bytes. That fence is not a nicety: the reader of opensrv 0.7.0 uses freed memory when two packets are in its buffer, it
//! answers OK to every command that it does not know, and it ends a connection for bytes that are not UTF-8. So commands are
//! checked before they get here (see [`is_served`]).

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use opensrv_mysql::{
    AsyncMysqlIntermediary, AsyncMysqlShim, Column, ColumnFlags, ColumnType, ErrorKind, InitWriter, OkResponse,
    ParamParser, QueryResultWriter, StatementMetaWriter, StatusFlags,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::info;

use super::answers::{Answer, Asker, answer, no_such_thread, quoted, server_error};
use super::command::code;
use super::registry::{Attached, Registry};
use super::{Backend, BoxFuture};
use crate::fault::Code;
use crate::source::{ResultSet, SourceFacts, Vendor};
use crate::wire::write_packet;

/// The largest result set that is passed on (bytes of values). `SHOW BINARY LOGS` of a hundred thousand files has 5 MB.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// How many statements one session may have prepared.
const MAX_PREPARED: usize = 64;

/// Whether opensrv may see a command. `payload` is the whole packet. What it would take wrongly (too short, or parameters, which
/// no question here has) stays outside.
pub(crate) fn is_served(payload: &[u8]) -> bool {
    match payload.first() {
        Some(&(code::QUERY | code::INIT_DB | code::FIELD_LIST | code::STMT_PREPARE)) => true,
        Some(&code::PING) => payload.len() == 1,
        Some(&code::STMT_EXECUTE) => payload.len() >= 10,
        Some(&code::STMT_CLOSE) => payload.len() == 5,
        _ => false,
    }
}

/// What the answers need to know of their surroundings.
pub(crate) struct Surroundings {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) facts: Arc<SourceFacts>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) listener: String,
    pub(crate) asker: Arc<Mutex<Asker>>,
}

/// opensrv ended, which it does for nothing that [`is_served`] lets through.
#[derive(Debug, thiserror::Error)]
#[error("the command phase ended: {0}")]
pub(crate) struct ConsoleEnded(String);

/// One session's command phase.
pub(crate) struct Console {
    pipe: Arc<Mutex<Pipe>>,
    prepared: Arc<Mutex<HashMap<u32, String>>>,
    server: BoxFuture<'static, io::Result<()>>,
}

impl Console {
    /// Starts opensrv and goes through its login, of which the client never hears.
    pub(crate) async fn start(surroundings: Surroundings) -> Result<Self, ConsoleEnded> {
        let pipe = Arc::new(Mutex::new(Pipe::default()));
        let prepared = Arc::new(Mutex::new(HashMap::new()));
        let shim = Shim { surroundings, prepared: Arc::clone(&prepared), last_statement: 0 };
        let (reader, writer) = (PipeEnd(Arc::clone(&pipe)), PipeEnd(Arc::clone(&pipe)));
        let server = Box::pin(AsyncMysqlIntermediary::run_on(shim, reader, writer));
        let mut console = Self { pipe, prepared, server };
        console.run_until_it_asks().await?;
        console.give(&canned_login(), 1);
        let welcome = console.run_until_it_asks().await?;
        match welcome.get(4) {
            Some(0) => Ok(console),
            _ => Err(ConsoleEnded("the canned login was refused".to_owned())),
        }
    }

    /// Hands over one command and returns its complete answer, framed, with sequence numbers from 1. Commands without an answer
    /// (COM_STMT_CLOSE) return nothing.
    pub(crate) async fn exchange(&mut self, payload: &[u8]) -> Result<Vec<u8>, ConsoleEnded> {
        if payload.first() == Some(&code::STMT_EXECUTE) && !self.has_prepared(payload) {
            return Ok(framed_error(1243, b"HY000", "Unknown prepared statement handler given to EXECUTE"));
        }
        self.give(&made_safe(payload), 0);
        self.run_until_it_asks().await
    }

    fn has_prepared(&self, payload: &[u8]) -> bool {
        let &[_, a, b, c, d, ..] = payload else { return false };
        lock(&self.prepared).contains_key(&u32::from_le_bytes([a, b, c, d]))
    }

    /// Puts one packet into the pipe, which is empty: opensrv has asked for more.
    fn give(&mut self, payload: &[u8], sequence: u8) {
        let mut pipe = lock(&self.pipe);
        debug_assert_eq!(pipe.taken, pipe.input.len(), "one packet at a time");
        let mut sequence = sequence;
        pipe.input.clear();
        pipe.taken = 0;
        write_packet(&mut pipe.input, payload, &mut sequence);
        pipe.asks = false;
    }

    /// Runs opensrv until it waits for input, which it does only when the answer to the last packet is complete.
    async fn run_until_it_asks(&mut self) -> Result<Vec<u8>, ConsoleEnded> {
        let (server, pipe) = (&mut self.server, &self.pipe);
        poll_fn(|context| match server.as_mut().poll(context) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(ConsoleEnded("it left".to_owned()))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(ConsoleEnded(error.to_string()))),
            Poll::Pending => {
                let mut pipe = lock(pipe);
                if pipe.asks { Poll::Ready(Ok(std::mem::take(&mut pipe.output))) } else { Poll::Pending }
            }
        })
        .await
    }
}

/// Both directions between adapter and opensrv.
#[derive(Debug, Default)]
struct Pipe {
    input: Vec<u8>,
    taken: usize,
    output: Vec<u8>,
    asks: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// opensrv's end of the pipe.
#[derive(Debug)]
struct PipeEnd(Arc<Mutex<Pipe>>);

impl AsyncRead for PipeEnd {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.0);
        let rest = &pipe.input[pipe.taken..];
        if rest.is_empty() {
            // No waker: whoever fills the pipe polls this very future next.
            pipe.asks = true;
            return Poll::Pending;
        }
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        pipe.taken += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PipeEnd {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// HandshakeResponse41 of nobody: PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH; no password. The real login was at the door.
fn canned_login() -> Vec<u8> {
    let capabilities: u32 = 1 << 9 | 1 << 15 | 1 << 19;
    let mut packet = capabilities.to_le_bytes().to_vec();
    packet.extend_from_slice(&[0, 0, 0, 1, 33]);
    packet.extend_from_slice(&[0; 23]);
    packet.extend_from_slice(b"door\0\0mysql_native_password\0");
    packet
}

/// Text in UTF-8, and not the one question that opensrv answers by itself.
fn made_safe(payload: &[u8]) -> Vec<u8> {
    match payload.split_first() {
        Some((&command @ (code::QUERY | code::INIT_DB | code::STMT_PREPARE), text)) => {
            let mut safe = vec![command];
            if command == code::QUERY && text.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"select @@")) {
                safe.push(b' ');
            }
            safe.extend_from_slice(String::from_utf8_lossy(text).as_bytes());
            safe
        }
        _ => payload.to_vec(),
    }
}

fn framed_error(code: u16, state: &[u8; 5], text: &str) -> Vec<u8> {
    let (mut framed, mut sequence) = (Vec::new(), 1);
    write_packet(&mut framed, &super::handshake::err_packet(code, Some(state), text), &mut sequence);
    framed
}

/// The numbers that answers use, in opensrv's type; its own conversion panics on numbers that it does not know.
fn error_kind(code: u16) -> ErrorKind {
    match code {
        1064 => ErrorKind::ER_PARSE_ERROR,
        1065 => ErrorKind::ER_EMPTY_QUERY,
        1094 => ErrorKind::ER_NO_SUCH_THREAD,
        1193 => ErrorKind::ER_UNKNOWN_SYSTEM_VARIABLE,
        1235 => ErrorKind::ER_NOT_SUPPORTED_YET,
        _ => ErrorKind::ER_UNKNOWN_ERROR,
    }
}

struct Shim {
    surroundings: Surroundings,
    prepared: Arc<Mutex<HashMap<u32, String>>>,
    last_statement: u32,
}

impl Shim {
    /// The final answer to a statement: forwarded questions asked, kills done.
    async fn answer(&self, sql: &str) -> Answer {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let here = &self.surroundings;
        let decided = answer(sql, &mut lock(&here.asker), &here.facts, now);
        match decided {
            Answer::Forward { sql, null_column } => match here.backend.query(&sql).await {
                Ok(result) if size(&result) > MAX_ANSWER_BYTES => Answer::Error {
                    code: server_error::UNKNOWN,
                    text: format!("{}: an answer of more than {MAX_ANSWER_BYTES} bytes", Code::LimitReached),
                },
                Ok(result) => Answer::Rows(result),
                Err(fault) => match null_column {
                    Some(column) => {
                        Answer::Rows(ResultSet { columns: vec![column], rows: vec![vec![None]], affected_rows: 0 })
                    }
                    None => Answer::Error { code: server_error::UNKNOWN, text: fault.to_string() },
                },
            },
            Answer::AttachedReplicas { modern } => {
                let replicas = here.registry.replicas_of(&here.listener);
                Answer::Rows(replica_rows(&replicas, modern, &here.facts))
            }
            Answer::Kill(thread_id) => {
                if here.registry.kill(&here.listener, thread_id) {
                    Answer::Ok
                } else {
                    no_such_thread(&thread_id.to_string())
                }
            }
            Answer::Error { code, text } => {
                // Replicas meet 1193 in every login; what nobody answers is worth a line.
                if code != server_error::UNKNOWN_SYSTEM_VARIABLE {
                    info!(listener = %here.listener, code, statement = ?quoted(sql), "a statement was refused");
                }
                Answer::Error { code, text }
            }
            other => other,
        }
    }

    async fn reply<W: AsyncWrite + Send + Unpin>(
        &self,
        sql: &str,
        results: QueryResultWriter<'_, W>,
    ) -> io::Result<()> {
        match self.answer(sql).await {
            Answer::Rows(result) if result.columns.is_empty() => {
                results.completed(OkResponse { affected_rows: result.affected_rows, ..okay() }).await
            }
            Answer::Rows(result) => {
                let columns: Vec<Column> = result.columns.into_iter().map(column).collect();
                let mut rows = results.start(&columns).await?;
                for row in &result.rows {
                    rows.write_row(row.iter().map(|value| value.as_deref())).await?;
                }
                rows.finish().await
            }
            Answer::Error { code, text } => results.error(error_kind(code), text.as_bytes()).await,
            Answer::Ok | Answer::Forward { .. } | Answer::AttachedReplicas { .. } | Answer::Kill(_) => {
                results.completed(okay()).await
            }
        }
    }
}

fn okay() -> OkResponse {
    OkResponse { status_flags: StatusFlags::SERVER_STATUS_AUTOCOMMIT, ..OkResponse::default() }
}

fn column(name: String) -> Column {
    Column {
        table: String::new(),
        column: name,
        coltype: ColumnType::MYSQL_TYPE_VAR_STRING,
        colflags: ColumnFlags::empty(),
    }
}

fn size(result: &ResultSet) -> usize {
    result.rows.iter().flatten().map(|value| value.as_ref().map_or(0, Bytes::len) + 9).sum()
}

/// `SHOW SLAVE HOSTS` / `SHOW REPLICAS`, with the columns of the source's vendor.
fn replica_rows(replicas: &[Attached], modern: bool, facts: &SourceFacts) -> ResultSet {
    let has_uuid = facts.version.vendor == Vendor::MySql;
    let mut columns: Vec<&str> = match modern && has_uuid {
        true => vec!["Server_Id", "Host", "Port", "Source_Id", "Replica_UUID"],
        false => vec!["Server_id", "Host", "Port", "Master_id", "Slave_UUID"],
    };
    if !has_uuid {
        columns.pop();
    }
    let rows = replicas
        .iter()
        .map(|replica| {
            let mut row = vec![
                Some(Bytes::from(replica.server_id.to_string())),
                Some(Bytes::from(replica.host.clone())),
                Some(Bytes::from(replica.port.to_string())),
                Some(Bytes::from(facts.server_id.to_string())),
            ];
            if has_uuid {
                row.push(Some(Bytes::from(replica.uuid.clone().unwrap_or_default())));
            }
            row
        })
        .collect();
    ResultSet { columns: columns.into_iter().map(str::to_owned).collect(), rows, affected_rows: 0 }
}

#[async_trait]
impl<W: AsyncWrite + Send + Unpin> AsyncMysqlShim<W> for Shim {
    type Error = io::Error;

    async fn on_prepare<'a>(&'a mut self, query: &'a str, info: StatementMetaWriter<'a, W>) -> io::Result<()> {
        if lock(&self.prepared).len() >= MAX_PREPARED {
            let text = format!("{}: more than {MAX_PREPARED} prepared statements in one session", Code::LimitReached);
            return info.error(ErrorKind::ER_UNKNOWN_ERROR, text.as_bytes()).await;
        }
        self.last_statement = self.last_statement.wrapping_add(1);
        lock(&self.prepared).insert(self.last_statement, query.to_owned());
        // Without columns here, clients take them from the answer to EXECUTE.
        info.reply(self.last_statement, &[], &[]).await
    }

    async fn on_execute<'a>(
        &'a mut self,
        id: u32,
        _: ParamParser<'a>,
        results: QueryResultWriter<'a, W>,
    ) -> io::Result<()> {
        let sql = lock(&self.prepared).get(&id).cloned().unwrap_or_default();
        self.reply(&sql, results).await
    }

    async fn on_close<'a>(&'a mut self, statement: u32)
    where
        W: 'async_trait,
    {
        lock(&self.prepared).remove(&statement);
    }

    async fn on_query<'a>(&'a mut self, query: &'a str, results: QueryResultWriter<'a, W>) -> io::Result<()> {
        self.reply(query, results).await
    }

    async fn on_init<'a>(&'a mut self, database: &'a str, writer: InitWriter<'a, W>) -> io::Result<()> {
        lock(&self.surroundings.asker).database = Some(database.to_owned());
        writer.ok().await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fault::Fault;
    use crate::replica::{Feed, ReplicaRequest};
    use crate::source::ServerVersion;

    struct Nobody;

    impl Backend for Nobody {
        fn facts(&self) -> BoxFuture<'_, Result<Arc<SourceFacts>, Fault>> {
            Box::pin(async { Err(Fault::new(Code::SourceUnreachable, "nobody")) })
        }

        fn query<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<ResultSet, Fault>> {
            // An answer that has to be waited for: opensrv must not be taken for idle meanwhile.
            Box::pin(async {
                tokio::task::yield_now().await;
                Err(Fault::new(Code::SourceUnreachable, "nobody"))
            })
        }

        fn open(&self, _: ReplicaRequest) -> BoxFuture<'_, Result<Box<dyn Feed>, Fault>> {
            Box::pin(async { Err(Fault::new(Code::SourceUnreachable, "nobody")) })
        }
    }

    async fn console() -> Console {
        let version = ServerVersion::parse("8.0.41").expect("a version");
        Console::start(Surroundings {
            backend: Arc::new(Nobody),
            facts: Arc::new(SourceFacts::of(version, BTreeMap::new())),
            registry: Registry::new(),
            listener: "test".to_owned(),
            asker: Arc::default(),
        })
        .await
        .expect("opensrv takes the canned login")
    }

    #[tokio::test]
    async fn opensrv_has_never_more_than_the_one_packet_that_it_has_asked_for() {
        let mut console = console().await;
        for length in [1, 4000, 4096, 5000, 200_000, 3] {
            let command = format!("\x03SELECT '{}'", "y".repeat(length));
            let answer = console.exchange(command.as_bytes()).await.expect("an answer");
            assert!(answer.len() > length);
            let pipe = lock(&console.pipe);
            assert_eq!(pipe.input.len(), command.len() + 4, "one packet and nothing else was in the pipe");
            assert_eq!(pipe.taken, pipe.input.len(), "all of it was taken before the answer counted as complete");
            assert!(pipe.asks && pipe.output.is_empty());
        }
    }

    #[tokio::test]
    async fn an_answer_that_takes_time_is_waited_for() {
        let mut console = console().await;
        let answer = console.exchange(b"\x03SHOW BINARY LOGS").await.expect("an answer");
        assert_eq!(answer[4], 0xff, "the source's fault as an error packet");
        let answer = console.exchange(b"\x0e").await.expect("an answer");
        assert_eq!((answer[3], answer[4]), (1, 0));
    }

    #[test]
    fn what_opensrv_takes_wrongly_stays_outside() {
        for (payload, served) in [
            (&b"\x03SELECT 1"[..], true),
            (b"\x0e", true),
            (b"\x0e\0", false),
            (b"\x17\x01\0\0\0\0\x01\0\0", false),
            (b"\x17\x01\0\0\0\0\x01\0\0\0", true),
            (b"\x19\x01\0", false),
            (b"\x18\x01\0\0\0\0\0x", false),
            (b"\x12", false),
            (b"\x15", false),
            (b"\x11root", false),
            (b"\x01", false),
            (b"", false),
        ] {
            assert_eq!(is_served(payload), served, "{payload:?}");
        }
    }
}
