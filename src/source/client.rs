//! One authenticated connection in the command phase.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};

use super::{Activity, Endpoint, ResultSet, ServerVersion, SourceError, connection::Connection, login, result_set};

/// How long an answer may take. What is asked are variables, grants and lists.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;
const COM_PING: u8 = 0x0e;

/// A connection to a source that takes commands.
pub struct Client {
    pub(super) connection: Connection,
    version: ServerVersion,
    thread_id: u32,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Client({}, {}, thread {})", self.connection.peer, self.version.text, self.thread_id)
    }
}

impl Client {
    /// Connects and logs in. All of it within the endpoint's timeout.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, SourceError> {
        let deadline = Instant::now() + endpoint.connect_timeout;
        let connection = Connection::open(endpoint, deadline).await?;
        Self::log_in(connection, endpoint, deadline).await
    }

    /// Logs in over a stream that is already there.
    #[cfg(test)]
    pub(super) async fn over(
        stream: Box<dyn super::connection::Stream>,
        endpoint: &Endpoint,
    ) -> Result<Self, SourceError> {
        let connection = Connection::over(stream, endpoint.address().into());
        Self::log_in(connection, endpoint, Instant::now() + endpoint.connect_timeout).await
    }

    async fn log_in(connection: Connection, endpoint: &Endpoint, deadline: Instant) -> Result<Self, SourceError> {
        let peer: Arc<str> = connection.peer.clone();
        let unreachable = |reason: String| SourceError::Unreachable { peer, reason };
        match timeout_at(deadline, Box::pin(login::log_in(connection, endpoint))).await {
            Err(_) => Err(unreachable(format!("no login within {} s", endpoint.connect_timeout.as_secs_f32()))),
            // A server that hangs up on a login is one that cannot be reached: a proxy in between, a full backlog.
            Ok(Err(SourceError::Lost { reason, .. })) => Err(unreachable(format!("during the login: {reason}"))),
            Ok(Err(error)) => Err(error),
            Ok(Ok((mut connection, greeting))) => {
                connection.reader.set_limit(result_set::ANSWER_LIMIT);
                Ok(Self { connection, version: greeting.version, thread_id: greeting.thread_id })
            }
        }
    }

    /// What the server is, by its greeting.
    pub fn version(&self) -> &ServerVersion {
        &self.version
    }

    /// The connection's number at the server.
    pub fn thread_id(&self) -> u32 {
        self.thread_id
    }

    /// `host:port`.
    pub fn peer(&self) -> &str {
        &self.connection.peer
    }

    /// Whether TLS protects the connection.
    pub fn is_secure(&self) -> bool {
        self.connection.secure
    }

    /// Sends a statement and reads its whole answer. Not cancel-safe: a client whose query was dropped is of no more use.
    pub async fn query(&mut self, sql: &str) -> Result<ResultSet, SourceError> {
        self.query_bytes(sql.as_bytes()).await
    }

    /// The same for a text in the session's own character set.
    pub async fn query_bytes(&mut self, sql: &[u8]) -> Result<ResultSet, SourceError> {
        let mut payload = Vec::with_capacity(1 + sql.len());
        payload.push(COM_QUERY);
        payload.extend_from_slice(sql);
        let activity = || Activity::Query(String::from_utf8_lossy(sql).into_owned());
        let answer = async {
            self.connection.command(&payload).await?;
            result_set::read(&mut self.connection, activity).await
        };
        match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(self.no_answer()),
        }
    }

    /// Whether the server still answers.
    pub async fn ping(&mut self) -> Result<(), SourceError> {
        self.simple(&[COM_PING], Activity::Query("COM_PING".to_owned())).await
    }

    /// Takes leave. The server closes the connection; whether it hears us does not matter.
    pub async fn quit(mut self) {
        let _unheard = timeout(Duration::from_secs(1), self.connection.command(&[COM_QUIT])).await;
    }

    /// A command that is answered by OK or ERR.
    pub(super) async fn simple(&mut self, payload: &[u8], activity: Activity) -> Result<(), SourceError> {
        let answer = async {
            self.connection.command(payload).await?;
            let answer = self.connection.receive().await?;
            match answer.first() {
                Some(0x00) => Ok(()),
                Some(0xff) => Err(self.connection.refused(&answer, activity)),
                _ => Err(self.connection.protocol("neither OK nor an error")),
            }
        };
        match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(self.no_answer()),
        }
    }

    fn no_answer(&self) -> SourceError {
        SourceError::Silent { peer: self.connection.peer.clone(), waited: ANSWER_TIMEOUT }
    }
}
