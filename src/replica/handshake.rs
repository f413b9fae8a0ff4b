//! The packets of the connection phase: greeting, the client's answer, and OK / ERR / EOF. Bytes to values and back, no sockets.

use std::collections::BTreeMap;

use super::auth::{Challenge, Plugin};
use super::compression::Compression;
use crate::binlog::{ServerVersion, Vendor};
use crate::wire::{Cursor, Truncated};

/// Capability bits (`CLIENT_…` of the protocol).
pub(crate) mod capability {
    pub(crate) const LONG_PASSWORD: u32 = 1;
    pub(crate) const FOUND_ROWS: u32 = 1 << 1;
    pub(crate) const LONG_FLAG: u32 = 1 << 2;
    pub(crate) const CONNECT_WITH_DB: u32 = 1 << 3;
    pub(crate) const COMPRESS: u32 = 1 << 5;
    pub(crate) const IGNORE_SPACE: u32 = 1 << 8;
    pub(crate) const PROTOCOL_41: u32 = 1 << 9;
    pub(crate) const INTERACTIVE: u32 = 1 << 10;
    pub(crate) const SSL: u32 = 1 << 11;
    pub(crate) const IGNORE_SIGPIPE: u32 = 1 << 12;
    pub(crate) const TRANSACTIONS: u32 = 1 << 13;
    pub(crate) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(crate) const MULTI_STATEMENTS: u32 = 1 << 16;
    pub(crate) const MULTI_RESULTS: u32 = 1 << 17;
    pub(crate) const PLUGIN_AUTH: u32 = 1 << 19;
    pub(crate) const CONNECT_ATTRS: u32 = 1 << 20;
    pub(crate) const PLUGIN_AUTH_LENENC_CLIENT_DATA: u32 = 1 << 21;
    pub(crate) const ZSTD_COMPRESSION_ALGORITHM: u32 = 1 << 26;
}

/// What the greeting offers. Left out on purpose: LOCAL_FILES, and what would change the shape of answers (SESSION_TRACK,
/// DEPRECATE_EOF, OPTIONAL_RESULTSET_METADATA, QUERY_ATTRIBUTES). SSL is added where TLS is on. Compression must be offered:
/// a MySQL 8.0.18 replica that is told to compress does not attach without.
const OFFERED: u32 = {
    use capability as c;
    c::LONG_PASSWORD
        | c::FOUND_ROWS
        | c::LONG_FLAG
        | c::CONNECT_WITH_DB
        | c::COMPRESS
        | c::IGNORE_SPACE
        | c::PROTOCOL_41
        | c::INTERACTIVE
        | c::IGNORE_SIGPIPE
        | c::TRANSACTIONS
        | c::SECURE_CONNECTION
        | c::MULTI_STATEMENTS
        | c::MULTI_RESULTS
        | c::PLUGIN_AUTH
        | c::CONNECT_ATTRS
        | c::PLUGIN_AUTH_LENENC_CLIENT_DATA
        | c::ZSTD_COMPRESSION_ALGORITHM
};

/// `SERVER_STATUS_AUTOCOMMIT`.
const STATUS_AUTOCOMMIT: u16 = 2;

/// `utf8mb3_general_ci`, the collation that every server and client knows.
const GREETING_COLLATION: u8 = 33;

/// Length of an SSLRequest: capabilities, packet size, collation, filler.
pub(crate) const SSL_REQUEST_LENGTH: usize = 32;

/// How many connection attributes are kept. libmysqlclient sends six to nine.
const MAX_ATTRIBUTES: usize = 64;

/// The version text as the server itself would greet with: MariaDB 10 hides behind `5.5.5-` from replicas that know only first
/// digits below 10 (MySQL 5.5's check of the first character); MariaDB 11 no longer does.
pub(crate) fn greeted_version(version: &ServerVersion) -> String {
    if version.vendor == Vendor::MariaDb && (100_000..110_000).contains(&version.number) {
        format!("5.5.5-{}", version.text)
    } else {
        version.text.clone()
    }
}

/// The greeting (`HandshakeV10`), with `mysql_native_password`: the plugin that every replica answers.
pub(crate) fn greeting(version: &str, thread_id: u32, challenge: &Challenge, tls: bool) -> Vec<u8> {
    let capabilities = OFFERED | if tls { capability::SSL } else { 0 };
    let [low_a, low_b, high_a, high_b] = capabilities.to_le_bytes();
    let mut packet = vec![10];
    packet.extend(version.bytes().filter(|&byte| byte != 0));
    packet.push(0);
    packet.extend_from_slice(&thread_id.to_le_bytes());
    packet.extend_from_slice(&challenge[..8]);
    packet.extend_from_slice(&[0, low_a, low_b, GREETING_COLLATION]);
    packet.extend_from_slice(&STATUS_AUTOCOMMIT.to_le_bytes());
    packet.extend_from_slice(&[high_a, high_b, challenge.len() as u8 + 1]);
    packet.extend_from_slice(&[0; 10]);
    packet.extend_from_slice(&challenge[8..]);
    packet.push(0);
    packet.extend_from_slice(Plugin::Native.name().as_bytes());
    packet.push(0);
    packet
}

/// `AuthSwitchRequest`: answer again, with this plugin and challenge.
pub(crate) fn auth_switch(plugin: Plugin, challenge: &Challenge) -> Vec<u8> {
    let mut packet = vec![0xfe];
    packet.extend_from_slice(plugin.name().as_bytes());
    packet.push(0);
    packet.extend_from_slice(challenge);
    packet.push(0);
    packet
}

/// `AuthMoreData` with `fast_auth_success` of `caching_sha2_password`.
pub(crate) const FAST_AUTH_SUCCESS: [u8; 2] = [1, 3];

/// An OK packet; `info` (up to 250 bytes) as a length-encoded string, as servers write it.
pub(crate) fn ok_packet(info: &[u8]) -> Vec<u8> {
    let mut packet = vec![0, 0, 0];
    packet.extend_from_slice(&STATUS_AUTOCOMMIT.to_le_bytes());
    packet.extend_from_slice(&[0, 0]);
    if !info.is_empty() {
        debug_assert!(info.len() <= 250, "the one-byte form of a length-encoded string");
        packet.push(info.len() as u8);
        packet.extend_from_slice(info);
    }
    packet
}

/// An EOF packet: the end of a stream.
pub(crate) const EOF_PACKET: [u8; 5] = [0xfe, 0, 0, STATUS_AUTOCOMMIT as u8, 0];

/// What a client keeps of an error's text (`MYSQL_ERRMSG_SIZE` is 512 with its NUL).
const MAX_ERROR_TEXT: usize = 511;

/// An ERR packet. Before the client has said that it speaks 4.1 there is no SQL state in it.
pub(crate) fn err_packet(code: u16, state: Option<&[u8; 5]>, text: &str) -> Vec<u8> {
    let mut packet = vec![0xff];
    packet.extend_from_slice(&code.to_le_bytes());
    if let Some(state) = state {
        packet.push(b'#');
        packet.extend_from_slice(state);
    }
    packet.extend_from_slice(cut(text, MAX_ERROR_TEXT).as_bytes());
    packet
}

/// The beginning of a text, at most `length` bytes, cut between characters.
fn cut(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}

/// What a client answers to the greeting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct HandshakeResponse {
    pub(crate) capabilities: u32,
    pub(crate) user: Vec<u8>,
    pub(crate) auth: Vec<u8>,
    pub(crate) database: Option<Vec<u8>>,
    /// `None`: a client before plugins (5.1, early 5.5), which speaks `mysql_native_password`.
    pub(crate) plugin: Option<Vec<u8>>,
    pub(crate) attributes: BTreeMap<String, String>,
    /// What the connection goes on with after the login.
    pub(crate) compression: Option<Compression>,
}

/// An answer to the greeting that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the login packet is {0}")]
    Truncated(#[from] Truncated),
    #[error("the client speaks the protocol from before MySQL 4.1")]
    TooOld,
}

/// The client's capabilities: the first four bytes of SSLRequest and HandshakeResponse41.
pub(crate) fn capabilities(packet: &[u8]) -> Result<u32, HandshakeError> {
    let mut cursor = Cursor::new(packet);
    let low = u32::from(cursor.u16()?);
    if low & capability::PROTOCOL_41 == 0 {
        return Err(HandshakeError::TooOld);
    }
    Ok(low | u32::from(cursor.u16()?) << 16)
}

impl HandshakeResponse {
    /// `u32 capabilities | u32 max_packet | u8 collation | 23 bytes filler | user NUL | auth | [database NUL] | [plugin NUL] |
    /// [attributes] | [u8 zstd level]`, where the capabilities say how `auth` is written and what follows it.
    pub(crate) fn read(packet: &[u8]) -> Result<Self, HandshakeError> {
        let capabilities = capabilities(packet)?;
        let has = |bit: u32| capabilities & OFFERED & bit != 0;
        let mut cursor = Cursor::new(packet);
        cursor.take(SSL_REQUEST_LENGTH)?;
        let user = cursor.until_nul()?.to_vec();
        let auth = if has(capability::PLUGIN_AUTH_LENENC_CLIENT_DATA) {
            let length = cursor.packed()?;
            take_long(&mut cursor, length)?
        } else if has(capability::SECURE_CONNECTION) {
            let length = cursor.u8()?;
            cursor.take(usize::from(length))?
        } else {
            text_to_end(&mut cursor)?
        }
        .to_vec();
        let mut response = Self { capabilities, user, auth, ..Self::default() };
        if has(capability::CONNECT_WITH_DB) && cursor.left() > 0 {
            response.database = Some(text_to_end(&mut cursor)?.to_vec());
        }
        if has(capability::PLUGIN_AUTH) && cursor.left() > 0 {
            response.plugin = Some(text_to_end(&mut cursor)?.to_vec());
        }
        if has(capability::CONNECT_ATTRS) && cursor.left() > 0 {
            let length = cursor.packed()?;
            response.attributes = attributes(take_long(&mut cursor, length)?)?;
        }
        // Of two that a client can do servers take the first.
        if has(capability::COMPRESS) {
            response.compression = Some(Compression::Zlib);
        } else if has(capability::ZSTD_COMPRESSION_ALGORITHM) {
            let level = if cursor.left() > 0 { i32::from(cursor.u8()?) } else { 0 };
            response.compression = Some(Compression::zstd(level));
        }
        Ok(response)
    }

    /// The version of the server that the client is the I/O thread of, or the client's own. MariaDB's servers call their client
    /// `libmysql` too; only they have versions from 10 to 12. MariaDB's connector (`libmariadb`, versions 2 and 3) tells
    /// `_server_host` and no server version.
    pub(crate) fn version(&self) -> Option<ServerVersion> {
        let text = self.attributes.get("_client_version")?;
        let mut version = ServerVersion::parse(text)?;
        if self.attributes.get("_client_name").is_some_and(|name| name == "libmariadb") {
            version.vendor = Vendor::MariaDb;
        }
        Some(version)
    }
}

impl HandshakeResponse {
    /// Whether the client says that it is the I/O thread of a server: of MySQL from 5.7 on, or of MariaDB, whose programs have a
    /// library of another name.
    pub(crate) fn is_replica(&self) -> bool {
        let is = |key: &str, text: &str| self.attributes.get(key).is_some_and(|found| found == text);
        let is_mariadb = || self.version().is_some_and(|version| version.vendor == Vendor::MariaDb);
        is("program_name", "mysqld") || is("_client_name", "libmysql") && is_mariadb()
    }
}

/// A string that ends with NUL or with the packet (some clients leave the last NUL out).
fn text_to_end<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Truncated> {
    if cursor.rest().contains(&0) { cursor.until_nul() } else { cursor.take(cursor.left()) }
}

fn take_long<'a>(cursor: &mut Cursor<'a>, length: u64) -> Result<&'a [u8], Truncated> {
    cursor.take(usize::try_from(length).unwrap_or(usize::MAX))
}

fn attributes(bytes: &[u8]) -> Result<BTreeMap<String, String>, Truncated> {
    let mut cursor = Cursor::new(bytes);
    let mut attributes = BTreeMap::new();
    while cursor.left() > 0 && attributes.len() < MAX_ATTRIBUTES {
        let length = cursor.packed()?;
        let key = take_long(&mut cursor, length)?;
        let length = cursor.packed()?;
        let value = take_long(&mut cursor, length)?;
        attributes.insert(String::from_utf8_lossy(key).into_owned(), String::from_utf8_lossy(value).into_owned());
    }
    Ok(attributes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wire::Cursor;

    /// A HandshakeResponse41 as libmysqlclient writes it.
    pub(crate) fn response(user: &str, auth: &[u8], plugin: Option<&str>, attributes: &[(&str, &str)]) -> Vec<u8> {
        let mut capabilities = capability::PROTOCOL_41 | capability::SECURE_CONNECTION | capability::LONG_PASSWORD;
        if plugin.is_some() {
            capabilities |= capability::PLUGIN_AUTH | capability::CONNECT_ATTRS;
        }
        let mut packet = capabilities.to_le_bytes().to_vec();
        packet.extend_from_slice(&[0, 0, 0, 64, 8]);
        packet.extend_from_slice(&[0; 23]);
        packet.extend_from_slice(user.as_bytes());
        packet.extend_from_slice(&[0, auth.len() as u8]);
        packet.extend_from_slice(auth);
        if let Some(plugin) = plugin {
            packet.extend_from_slice(plugin.as_bytes());
            packet.push(0);
            let mut pairs = Vec::new();
            for (key, value) in attributes {
                for text in [key, value] {
                    pairs.push(text.len() as u8);
                    pairs.extend_from_slice(text.as_bytes());
                }
            }
            packet.push(pairs.len() as u8);
            packet.extend_from_slice(&pairs);
        }
        packet
    }

    #[test]
    fn the_greeting_is_what_mysql_common_reads() {
        use mysql_common::io::ParseBuf;
        use mysql_common::proto::MyDeserialize;
        let challenge = *b"abcdefghijklmnopqrst";
        let packet = greeting("5.5.5-10.11.9-MariaDB", 77, &challenge, true);
        let read = mysql_common::packets::HandshakePacket::deserialize((), &mut ParseBuf(&packet)).expect("a greeting");
        assert_eq!(read.connection_id(), 77);
        assert_eq!(read.server_version_ref(), b"5.5.5-10.11.9-MariaDB");
        assert_eq!(read.nonce()[..20], challenge);
        assert_eq!(read.auth_plugin_name_ref(), Some(&b"mysql_native_password"[..]));
        assert_eq!(read.capabilities().bits(), OFFERED | capability::SSL);
    }

    #[test]
    fn mariadb_10_hides_behind_a_prefix_and_nobody_else_does() {
        for (version, greeted) in [
            ("10.11.19-MariaDB-log", "5.5.5-10.11.19-MariaDB-log"),
            ("11.8.6-MariaDB", "11.8.6-MariaDB"),
            ("5.7.29-log", "5.7.29-log"),
            ("9.7.4", "9.7.4"),
        ] {
            assert_eq!(greeted_version(&ServerVersion::parse(version).expect(version)), greeted);
        }
    }

    #[test]
    fn a_login_tells_user_plugin_and_version() {
        let attributes = [("_client_name", "libmysql"), ("_client_version", "10.11.19"), ("program_name", "mysqld")];
        let packet = response("repl", &[7; 20], Some("mysql_native_password"), &attributes);
        let read = HandshakeResponse::read(&packet).expect("well formed");
        assert_eq!((&read.user[..], &read.auth[..]), (&b"repl"[..], &[7; 20][..]));
        assert_eq!(read.plugin.as_deref(), Some(&b"mysql_native_password"[..]));
        assert_eq!(read.attributes["program_name"], "mysqld");
        let version = read.version().expect("an attribute tells it");
        assert_eq!((version.number, version.vendor), (101119, Vendor::MariaDb));

        let old = HandshakeResponse::read(&response("repl", &[7; 20], None, &[])).expect("well formed");
        assert_eq!((old.plugin, old.auth.len(), old.attributes.len()), (None, 20, 0));
    }

    #[test]
    fn a_login_cut_at_any_length_is_an_error_or_a_shorter_login() {
        let packet = response("repl", &[7; 20], Some("mysql_native_password"), &[("a", "b"), ("c", "d")]);
        for length in 0..packet.len() {
            if let Ok(read) = HandshakeResponse::read(&packet[..length]) {
                assert_eq!(read.user, b"repl");
            }
        }
        assert_eq!(HandshakeResponse::read(&[0; 40]), Err(HandshakeError::TooOld));
    }

    #[test]
    fn absurd_lengths_in_a_login_are_errors() {
        let mut packet = response("u", &[], None, &[]);
        let flags = capability::PROTOCOL_41 | capability::PLUGIN_AUTH_LENENC_CLIENT_DATA;
        packet[..4].copy_from_slice(&flags.to_le_bytes());
        packet.truncate(SSL_REQUEST_LENGTH + 2);
        packet.extend_from_slice(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert!(matches!(HandshakeResponse::read(&packet), Err(HandshakeError::Truncated(_))));
    }

    #[test]
    fn error_texts_are_cut_between_characters_at_what_a_client_keeps() {
        let packet = err_packet(1236, Some(b"HY000"), &"ü".repeat(400));
        assert_eq!(packet.len(), 1 + 2 + 6 + 510);
        let mut cursor = Cursor::new(&packet);
        assert_eq!((cursor.u8(), cursor.u16()), (Ok(0xff), Ok(1236)));
        assert!(std::str::from_utf8(&packet[9..]).is_ok());
    }
}
