//! Packets over a socket: what every phase of a connection to a source is made of.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{Activity, Endpoint, SourceError, tls};
use crate::wire::{Cursor, FramingError, PacketReader, write_packet};

/// Read buffer of logins and queries; answers are small.
const COMMAND_BUFFER: usize = 16 << 10;
/// Largest packet accepted before the login is through: greetings and keys are a few hundred bytes.
const LOGIN_LIMIT: usize = 64 << 10;
/// A dead peer is noticed by the kernel after the idle time and a few probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A socket, TLS on a socket, or in tests a pipe.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection that speaks packets. `sequence` of the answer follows from what was read last.
pub(super) struct Connection {
    pub(super) stream: Box<dyn Stream>,
    pub(super) reader: PacketReader,
    pub(super) peer: Arc<str>,
    /// Whether TLS protects it.
    pub(super) secure: bool,
    write_buffer: Vec<u8>,
}

impl Connection {
    /// Opens the socket, in time.
    pub(super) async fn open(endpoint: &Endpoint, deadline: Instant) -> Result<Self, SourceError> {
        let peer: Arc<str> = endpoint.address().into();
        let unreachable = |reason: String| SourceError::Unreachable { peer: peer.clone(), reason };
        let connecting = TcpStream::connect((endpoint.bare_host(), endpoint.port));
        let socket = timeout_at(deadline, connecting)
            .await
            .map_err(|_| unreachable(format!("no connection within {} s", endpoint.connect_timeout.as_secs_f32())))?
            .map_err(|error| unreachable(error.to_string()))?;
        let options = || -> io::Result<()> {
            socket.set_nodelay(true)?;
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
            SockRef::from(&socket).set_tcp_keepalive(&keepalive)
        };
        options().map_err(|error| unreachable(error.to_string()))?;
        Ok(Self::over(Box::new(socket), peer))
    }

    /// A connection over a stream on which nothing has been read yet.
    pub(super) fn over(stream: Box<dyn Stream>, peer: Arc<str>) -> Self {
        let reader = PacketReader::new(COMMAND_BUFFER, LOGIN_LIMIT);
        Self { stream, reader, peer, secure: false, write_buffer: Vec::new() }
    }

    /// Goes over to TLS after the request for it has been sent.
    pub(super) async fn secure(self, endpoint: &Endpoint) -> Result<Self, SourceError> {
        if !self.reader.is_empty() {
            // Bytes from before the handshake must not count as protected by it.
            return Err(self.protocol("the server went on talking where TLS had to begin"));
        }
        let connector = tokio_rustls::TlsConnector::from(tls::client_config(endpoint)?);
        let name = tls::server_name(endpoint)?;
        let Self { stream, reader, peer, write_buffer, .. } = self;
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Self { stream: Box::new(stream), reader, peer, secure: true, write_buffer }),
            Err(error) => Err(SourceError::Tls { peer, reason: tls::explain(&error, endpoint.tls) }),
        }
    }

    /// The next payload. Cancel-safe: what was read stays buffered.
    pub(super) async fn receive(&mut self) -> Result<Bytes, SourceError> {
        loop {
            if let Some(payload) = self.reader.next_payload().map_err(|error| self.framing(error))? {
                return Ok(payload);
            }
            self.fill().await?;
        }
    }

    /// Reads what there is, at least a byte. Cancel-safe.
    pub(super) async fn fill(&mut self) -> Result<(), SourceError> {
        match self.stream.read_buf(self.reader.room()).await {
            Ok(0) => Err(self.lost("the server closed it")),
            Ok(_) => Ok(()),
            // What a server that ends without a farewell is in TLS; the library's words for it lead elsewhere.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.lost("the server closed it")),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// Sends a payload as the answer to the last one read.
    pub(super) async fn answer(&mut self, payload: &[u8]) -> Result<(), SourceError> {
        let mut sequence = self.reader.sequence();
        self.write_buffer.clear();
        write_packet(&mut self.write_buffer, payload, &mut sequence);
        self.reader.expect_sequence(sequence);
        let written = async {
            self.stream.write_all(&self.write_buffer).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| self.lost(error))
    }

    /// Sends a command: its payload begins a new count of packets.
    pub(super) async fn command(&mut self, payload: &[u8]) -> Result<(), SourceError> {
        if !self.reader.is_empty() {
            return Err(self.protocol("there are bytes left of the answer before"));
        }
        self.reader.expect_sequence(0);
        self.answer(payload).await
    }

    pub(super) fn lost(&self, reason: impl ToString) -> SourceError {
        SourceError::Lost { peer: self.peer.clone(), reason: reason.to_string() }
    }

    pub(super) fn protocol(&self, reason: impl Into<String>) -> SourceError {
        SourceError::Protocol { peer: self.peer.clone(), reason: reason.into() }
    }

    pub(super) fn framing(&self, error: FramingError) -> SourceError {
        match error {
            FramingError::Sequence { .. } => self.protocol(error.to_string()),
            FramingError::TooLarge { .. } => {
                SourceError::TooLarge { peer: self.peer.clone(), reason: error.to_string() }
            }
        }
    }

    /// The typed error of an ERR packet: `0xff | u16 code | '#' | 5 bytes of SQL state | text`. Before the greeting, and
    /// from servers before 4.1, there is no `#` and no state.
    pub(super) fn refused(&self, payload: &[u8], activity: Activity) -> SourceError {
        let mut cursor = Cursor::new(payload);
        let _marker = cursor.u8();
        let Ok(code) = cursor.u16() else {
            return self.protocol("an error packet without a number");
        };
        let mut state = "HY000".to_owned();
        if cursor.rest().first() == Some(&b'#') && cursor.left() >= 6 {
            state = String::from_utf8_lossy(&cursor.rest()[1..6]).into_owned();
            let _state = cursor.take(6);
        }
        // MariaDB sends reports on progress with this number; they are asked for by a capability that we do not have.
        let message = printable(cursor.rest());
        SourceError::Refused { peer: self.peer.clone(), activity, code, state, message }
    }
}

/// A server's text without control characters, which have no business in logs, and of bounded length.
fn printable(text: &[u8]) -> String {
    const LIMIT: usize = 1024;
    String::from_utf8_lossy(&text[..text.len().min(LIMIT)])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim_end()
        .to_owned()
}
