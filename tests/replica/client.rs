//! A client that does what it is told, packet by packet.

use mysql_common::auth::plugins::{caching_sha2_password::scramble_sha256, mysql_native_password::scramble_native};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// More than any test needs; a connection that says nothing for so long hangs.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

const CAPABILITIES: u32 = 1 | 1 << 9 | 1 << 13 | 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
const CONNECT_ATTRS: u32 = 1 << 20;
pub(crate) const SSL: u32 = 1 << 11;

pub(crate) struct Client<S> {
    pub(crate) stream: S,
    /// The number of the next packet in either direction.
    pub(crate) sequence: u8,
    pub(crate) challenge: [u8; 20],
    pub(crate) version: String,
    pub(crate) thread_id: u32,
    pub(crate) capabilities: u32,
}

/// What a command was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Ok,
    /// Number and text.
    Error(u16, String),
    /// Columns and rows.
    Rows(Vec<String>, Vec<Vec<Option<String>>>),
}

impl Reply {
    pub(crate) fn error(&self) -> (u16, &str) {
        match self {
            Self::Error(number, text) => (*number, text),
            other => panic!("not an error: {other:?}"),
        }
    }

    /// The only value of the only row.
    pub(crate) fn value(&self) -> &str {
        match self {
            Self::Rows(_, rows) => rows[0][0].as_deref().expect("not NULL"),
            other => panic!("no rows: {other:?}"),
        }
    }
}

impl<S> Client<S> {
    /// The stream and the rest, for going on over TLS.
    pub(crate) fn without_stream(self) -> (S, Client<()>) {
        let Self { stream, sequence, challenge, version, thread_id, capabilities } = self;
        (stream, Client { stream: (), sequence, challenge, version, thread_id, capabilities })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Reads the greeting.
    pub(crate) async fn greeted(stream: S) -> Self {
        let mut client =
            Self { stream, sequence: 0, challenge: [0; 20], version: String::new(), thread_id: 0, capabilities: 0 };
        let packet = client.read().await.expect("a greeting");
        assert_eq!(packet[0], 10, "{}", String::from_utf8_lossy(&packet));
        let end = packet.iter().position(|&byte| byte == 0).expect("a version");
        client.version = String::from_utf8_lossy(&packet[1..end]).into_owned();
        let rest = &packet[end + 1..];
        client.thread_id = u32::from_le_bytes(rest[..4].try_into().expect("four bytes"));
        client.challenge[..8].copy_from_slice(&rest[4..12]);
        let low = u32::from(u16::from_le_bytes([rest[13], rest[14]]));
        client.capabilities = low | u32::from(u16::from_le_bytes([rest[18], rest[19]])) << 16;
        client.challenge[8..].copy_from_slice(&rest[31..43]);
        assert_eq!(&rest[44..], b"mysql_native_password\0");
        client
    }

    /// Greeted and logged in as `repl` / `secret`, with these connection attributes.
    pub(crate) async fn logged_in(stream: S, attributes: &[(&str, &str)]) -> Self {
        let mut client = Self::greeted(stream).await;
        let proof = scramble_native(&client.challenge, b"secret").expect("a password").to_vec();
        client.write(&login("repl", &proof, Some("mysql_native_password"), attributes)).await;
        assert_eq!(client.reply().await, Reply::Ok);
        client
    }

    /// One whole payload, joined from its packets, whose numbers must follow each other. `None` at the end of the connection.
    pub(crate) async fn read(&mut self) -> Option<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; 4];
            tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut header)).await.expect("silence").ok()?;
            assert_eq!(header[3], self.sequence, "packets out of order");
            self.sequence = self.sequence.wrapping_add(1);
            let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
            let start = payload.len();
            payload.resize(start + length, 0);
            tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut payload[start..]))
                .await
                .expect("silence")
                .ok()?;
            if length < 0xff_ff_ff {
                return Some(payload);
            }
        }
    }

    /// The next event of a stream.
    pub(crate) async fn event(&mut self) -> bytes::Bytes {
        let payload = self.read().await.expect("an event");
        assert_eq!(payload[0], 0, "no event: {}", String::from_utf8_lossy(&payload));
        bytes::Bytes::from(payload).slice(1..)
    }

    pub(crate) async fn write(&mut self, payload: &[u8]) {
        let framed = framed(payload, self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&framed).await.expect("the other side reads");
        self.stream.flush().await.expect("the other side reads");
    }

    pub(crate) async fn send_command(&mut self, payload: &[u8]) {
        self.sequence = 0;
        self.write(payload).await;
    }

    pub(crate) async fn command(&mut self, payload: &[u8]) -> Reply {
        self.send_command(payload).await;
        self.reply().await
    }

    pub(crate) async fn query(&mut self, sql: &str) -> Reply {
        self.command(&[b"\x03", sql.as_bytes()].concat()).await
    }

    /// OK, ERR or a text result set.
    pub(crate) async fn reply(&mut self) -> Reply {
        let first = self.read().await.expect("an answer");
        match first[0] {
            0 => return Reply::Ok,
            0xff => return error(&first),
            _ => {}
        }
        let mut columns = Vec::new();
        for _ in 0..first[0] {
            let definition = self.read().await.expect("a column");
            columns.push(texts(&definition, 5)[4].clone().expect("a name"));
        }
        assert_eq!(self.read().await.expect("an end of the columns")[0], 0xfe);
        let mut rows = Vec::new();
        loop {
            let row = self.read().await.expect("a row");
            if row[0] == 0xfe && row.len() < 9 {
                return Reply::Rows(columns, rows);
            }
            rows.push(texts(&row, columns.len()));
        }
    }

    /// Whether the connection comes to its end, whatever comes before it.
    pub(crate) async fn leaves_off(&mut self) -> bool {
        tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut Vec::new())).await.is_ok()
    }

    /// Whether nothing more comes and the connection is at its end.
    pub(crate) async fn is_cut(&mut self) -> bool {
        let mut rest = Vec::new();
        // A reset is an end too.
        let end = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        end.is_ok() && rest.is_empty()
    }
}

pub(crate) fn framed(payload: &[u8], sequence: u8) -> Vec<u8> {
    let mut framed = (payload.len() as u32).to_le_bytes().to_vec();
    framed[3] = sequence;
    framed.extend_from_slice(payload);
    framed
}

pub(crate) fn error(packet: &[u8]) -> Reply {
    assert_eq!(packet[0], 0xff);
    let number = u16::from_le_bytes([packet[1], packet[2]]);
    let text = if packet.get(3) == Some(&b'#') { &packet[9..] } else { &packet[3..] };
    Reply::Error(number, String::from_utf8(text.to_vec()).expect("UTF-8"))
}

fn texts(mut bytes: &[u8], count: usize) -> Vec<Option<String>> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let (length, skip) = match bytes[0] {
            0xfb => {
                texts.push(None);
                bytes = &bytes[1..];
                continue;
            }
            0xfc => (usize::from(u16::from_le_bytes([bytes[1], bytes[2]])), 3),
            length => (usize::from(length), 1),
        };
        texts.push(Some(String::from_utf8_lossy(&bytes[skip..skip + length]).into_owned()));
        bytes = &bytes[skip + length..];
    }
    texts
}

/// The first 32 bytes of a login.
pub(crate) fn login_head(capabilities: u32) -> Vec<u8> {
    let mut packet = capabilities.to_le_bytes().to_vec();
    packet.extend_from_slice(&[0, 0, 0, 64, 33]);
    packet.extend_from_slice(&[0; 23]);
    packet
}

/// A HandshakeResponse41. Without a plugin it is that of a client of 5.1.
pub(crate) fn login(user: &str, proof: &[u8], plugin: Option<&str>, attributes: &[(&str, &str)]) -> Vec<u8> {
    let more = if plugin.is_some() { PLUGIN_AUTH | CONNECT_ATTRS } else { 0 };
    let mut packet = login_head(CAPABILITIES | more);
    packet.extend_from_slice(user.as_bytes());
    packet.extend_from_slice(&[0, proof.len() as u8]);
    packet.extend_from_slice(proof);
    if let Some(plugin) = plugin {
        packet.extend_from_slice(plugin.as_bytes());
        packet.push(0);
        let pairs: Vec<u8> = attributes
            .iter()
            .flat_map(|(key, value)| [*key, *value])
            .flat_map(|text| [&[text.len() as u8], text.as_bytes()].concat())
            .collect();
        packet.push(pairs.len() as u8);
        packet.extend_from_slice(&pairs);
    }
    packet
}

pub(crate) fn native(challenge: &[u8; 20], password: &str) -> Vec<u8> {
    scramble_native(challenge, password.as_bytes()).map_or(Vec::new(), |proof| proof.to_vec())
}

pub(crate) fn sha2(challenge: &[u8; 20], password: &str) -> Vec<u8> {
    scramble_sha256(challenge, password.as_bytes()).map_or(vec![0], |proof| proof.to_vec())
}
