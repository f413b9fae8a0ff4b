//! Greeting, TLS, login, and what is cut by limits.

use std::sync::Arc;
use std::time::Duration;

use replproxy::fault::{Code, Fault};
use replproxy::replica::ServerTls;
use replproxy::secret::Secret;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::client::{Client, Reply, SSL, error, framed, login, login_head, native, sha2};
use super::scripted::{CRC32, Stage, rotate};

const NATIVE: &str = "mysql_native_password";
const SHA2: &str = "caching_sha2_password";

/// Logs in and returns the last answer; `plugin` is what the client prefers.
async fn log_in(stage: &Stage, user: &str, password: &str, plugin: Option<&str>) -> Reply {
    let mut client = Client::greeted(stage.connect()).await;
    let first = match plugin {
        Some(NATIVE) | None => native(&client.challenge, password),
        // What a client has computed for another plugin than was greeted it keeps to itself.
        _ => Vec::new(),
    };
    client.write(&login(user, &first, plugin, &[])).await;
    let packet = client.read().await.expect("an answer");
    if packet[0] != 0xfe {
        return if packet[0] == 0 { Reply::Ok } else { error(&packet) };
    }
    let end = packet.iter().position(|&byte| byte == 0).expect("a plugin name");
    let named = std::str::from_utf8(&packet[1..end]).expect("UTF-8");
    let challenge: [u8; 20] = packet[end + 1..end + 21].try_into().expect("a challenge");
    assert_ne!(challenge, client.challenge, "a new challenge");
    let proof = if named == SHA2 { sha2(&challenge, password) } else { native(&challenge, password) };
    client.write(&proof).await;
    let packet = client.read().await.expect("an answer");
    if packet == [1, 3] {
        assert_eq!(named, SHA2);
        return client.reply().await;
    }
    if packet[0] == 0 { Reply::Ok } else { error(&packet) }
}

#[tokio::test]
async fn the_right_password_opens_the_door_with_every_plugin() {
    let stage = Stage::new();
    for plugin in [Some(NATIVE), Some(SHA2), Some("sha256_password"), Some("client_ed25519"), None] {
        assert_eq!(log_in(&stage, "repl", "secret", plugin).await, Reply::Ok, "{plugin:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_or_user_is_refused_with_every_plugin() {
    let stage = Stage::new();
    for plugin in [Some(NATIVE), Some(SHA2), Some("client_ed25519"), None] {
        for (user, password) in [("repl", "Secret"), ("repl", ""), ("Repl", "secret"), ("", "secret"), ("root", "")] {
            let reply = log_in(&stage, user, password, plugin).await;
            let (number, text) = reply.error();
            assert_eq!(number, 1045, "{plugin:?} {user:?} {password:?}");
            assert!(text.starts_with(&format!("Access denied for user '{user}'@'10.0.0.9'")), "{text}");
            assert!(text.contains("(RPX-3001, next: compare") && !text.contains("ecret"), "{text}");
        }
    }
}

#[tokio::test]
async fn an_empty_password_is_one_too() {
    let stage = Stage::with(|config| config.password = Secret::new(""));
    for plugin in [Some(NATIVE), Some(SHA2), None] {
        assert_eq!(log_in(&stage, "repl", "", plugin).await, Reply::Ok, "{plugin:?}");
        assert_eq!(log_in(&stage, "repl", "x", plugin).await.error().0, 1045, "{plugin:?}");
    }
}

#[tokio::test]
async fn greetings_have_ids_and_challenges_of_their_own() {
    let stage = Stage::new();
    let one = Client::greeted(stage.connect()).await;
    let other = Client::greeted(stage.connect()).await;
    assert_ne!(one.thread_id, other.thread_id);
    assert_ne!(one.challenge, other.challenge);
    assert_eq!((one.version.as_str(), one.capabilities & SSL), ("5.7.29-log", 0));
    stage.source_is(Ok("5.5.5-10.11.19-MariaDB-log"));
    assert_eq!(Client::greeted(stage.connect()).await.version, "5.5.5-10.11.19-MariaDB-log");
    stage.source_is(Ok("11.8.6-MariaDB"));
    assert_eq!(Client::greeted(stage.connect()).await.version, "11.8.6-MariaDB");
}

fn unreachable() -> Fault {
    Fault::new(Code::SourceUnreachable, "source `primary` (db1:3306): refused")
}

/// COM_REGISTER_SLAVE with server id 7.
fn registration() -> Vec<u8> {
    [&[0x15, 7, 0, 0, 0, 0, 0, 0][..], &[0; 10]].concat()
}

#[tokio::test]
async fn an_unseen_source_is_told_at_the_login_of_those_who_show_its_text() {
    let stage = Stage::new();
    stage.source_is(Err(unreachable()));
    let mariadb = [("_client_name", "libmysql"), ("_client_version", "10.11.19")];
    for attributes in [&mariadb[..], &[("_client_version", "9.7.4")], &[("_client_name", "libmariadb")]] {
        let mut client = Client::greeted(stage.connect()).await;
        assert!(client.version.starts_with("5.5.5-10."), "no replica gives up at it: {}", client.version);
        let proof = native(&client.challenge, "secret");
        client.write(&login("repl", &proof, Some(NATIVE), attributes)).await;
        let reply = client.reply().await;
        let (number, text) = reply.error();
        assert_eq!(number, 2003, "as when nobody answers");
        assert!(text.starts_with("RPX-2001: source `primary`") && text.contains("(next: "), "{text}");
    }
    assert_eq!(log_in(&stage, "repl", "wrong", Some(NATIVE)).await.error().0, 1045, "strangers learn nothing");
    stage.source_is(Err(Fault::new(Code::SourceRefusedLogin, "source `primary` (db1:3306): refused")));
    let mut client = Client::greeted(stage.connect()).await;
    let proof = native(&client.challenge, "secret");
    client.write(&login("repl", &proof, Some(NATIVE), &mariadb)).await;
    assert_eq!(client.reply().await.error().0, 1105, "it does answer");
}

#[tokio::test]
async fn an_unseen_source_is_told_to_mysql_5_when_it_asks_for_the_gtid_mode() {
    let stage = Stage::new();
    stage.source_is(Err(unreachable()));
    let mut client = Client::logged_in(stage.connect(), &[("_client_version", "5.7.29")]).await;
    let reply = client.query("SELECT @@GLOBAL.GTID_MODE").await;
    // Any mode could make the replica stop for good, and 1193 would be read as OFF.
    assert_ne!(reply.error().0, 1193);
    assert!(reply.error().1.starts_with("RPX-2001"), "{reply:?}");
    // MySQL 5.5 does not ask.
    let mut client = Client::logged_in(stage.connect(), &[]).await;
    let reply = client.command(&registration()).await;
    assert!(reply.error().1.starts_with("RPX-2001"), "{reply:?}");
}

#[tokio::test]
async fn a_source_that_went_away_is_told_at_the_login_or_when_the_replica_registers() {
    let stage = Stage::new();
    drop(Client::logged_in(stage.connect(), &[]).await);
    stage.source_is(Err(unreachable()));
    let replica = ("program_name", "mysqld");
    let client = ("program_name", "mysql");
    // Those that would show no text for a failed login, and a program.
    for attributes in [&[][..], &[replica, ("_client_version", "5.7.29")], &[client, ("_client_version", "9.7.4")]] {
        let mut client = Client::logged_in(stage.connect(), attributes).await;
        assert_eq!(client.query("SELECT @@GLOBAL.SERVER_ID").await.value(), "11");
        let reply = client.command(&registration()).await;
        assert!(reply.error().1.starts_with("RPX-2001"), "{reply:?}");
    }
    // Without the proxy these would notice it at the login, too.
    let library = ("_client_name", "libmysql");
    let mariadb = ("_server_host", "127.0.0.1");
    for attributes in
        [[library, ("_client_version", "9.7.4"), replica], [library, ("_client_version", "10.11.19"), mariadb]]
    {
        let mut client = Client::greeted(stage.connect()).await;
        let proof = native(&client.challenge, "secret");
        client.write(&login("repl", &proof, Some(NATIVE), &attributes)).await;
        let reply = client.reply().await;
        assert!(reply.error().1.starts_with("RPX-2001"), "{reply:?}");
    }
}

#[tokio::test]
async fn why_there_is_no_stream_is_told_at_the_next_registration_while_it_holds() {
    let mut stage = Stage::new();
    let behind = || Fault::new(Code::ServerBehind, "source `primary`: db2:3306 lacks 1-5");
    // COM_BINLOG_DUMP by server id 7.
    let dump = [&[0x12, 4, 0, 0, 0, 0, 0, 7, 0, 0, 0][..], b"bin.000001"].concat();
    let mut client = Client::logged_in(stage.connect(), &[]).await;
    assert_eq!(client.command(&registration()).await, Reply::Ok);
    client.send_command(&dump).await;
    let (_, script) = stage.stream().await;
    script.fail(behind().code, &behind().message);
    assert_eq!(client.reply().await.error().0, 1105, "the replica comes back, and shows nothing of this");

    stage.would_fail(Some(behind()));
    for _ in 0..2 {
        let mut client = Client::logged_in(stage.connect(), &[]).await;
        let reply = client.command(&registration()).await;
        assert!(reply.error().1.starts_with("RPX-2014: source `primary`: db2:3306 lacks 1-5"), "{reply:?}");
    }
    stage.would_fail(None);
    let mut client = Client::logged_in(stage.connect(), &[]).await;
    assert_eq!(client.command(&registration()).await, Reply::Ok);
    stage.would_fail(Some(behind()));
    let mut client = Client::logged_in(stage.connect(), &[]).await;
    assert_eq!(client.command(&registration()).await, Reply::Ok, "it is over, and asked no more");
}

/// Trusts anybody: these tests are about the protocol around TLS.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A stream that puts something in front of the first write.
struct InFront<S> {
    stream: S,
    first: Vec<u8>,
}

impl<S: tokio::io::AsyncRead + Unpin> tokio::io::AsyncRead for InFront<S> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: tokio::io::AsyncWrite + Unpin> tokio::io::AsyncWrite for InFront<S> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        let first = std::mem::take(&mut self.first);
        let all = [&first[..], bytes].concat();
        std::pin::Pin::new(&mut self.stream).poll_write(context, &all).map_ok(|written| written - first.len())
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[tokio::test]
async fn tls_begins_right_behind_its_request_also_in_one_segment() {
    let stage = Stage::with(|config| config.tls = ServerTls::generated(None, true).expect("a certificate"));
    let client = Client::greeted(stage.connect()).await;
    assert_ne!(client.capabilities & SSL, 0);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible))
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let request = framed(&login_head(1 << 9 | 1 << 15 | 1 << 19 | SSL), 1);
    let (stream, rest) = client.without_stream();
    let stream = InFront { stream, first: request };
    let name = ServerName::try_from("replproxy").expect("a name");
    let secured = connector.connect(name, stream).await.expect("TLS");
    let Client { challenge, version, thread_id, capabilities, .. } = rest;
    let mut client = Client { stream: secured, sequence: 2, challenge, version, thread_id, capabilities };
    let proof = native(&client.challenge, "secret");
    client.write(&login("repl", &proof, Some(NATIVE), &[])).await;
    assert_eq!(client.reply().await, Reply::Ok);
    assert_eq!(client.query("SELECT 1").await.value(), "1");
}

#[tokio::test]
async fn where_tls_is_required_a_plain_login_is_told_so() {
    let stage = Stage::with(|config| config.tls = ServerTls::generated(None, true).expect("a certificate"));
    let reply = log_in(&stage, "repl", "secret", Some(NATIVE)).await;
    assert_eq!(reply.error().0, 3159);
    assert!(reply.error().1.contains("insecure transport") && reply.error().1.contains("RPX-3002"), "{reply:?}");
}

#[tokio::test]
async fn silence_is_cut_by_the_login_s_time_limit() {
    let stage = Stage::with(|config| config.limits.login_timeout = Duration::from_millis(50));
    let mut client = Client::greeted(stage.connect()).await;
    assert!(client.is_cut().await);
    assert!(stage.registry.snapshot().is_empty());
}

#[tokio::test]
async fn a_login_of_20_mib_is_cut_at_its_header() {
    let stage = Stage::new();
    let mut client = Client::greeted(stage.connect()).await;
    client.stream.write_all(b"\xff\xff\xff\x01").await.expect("room");
    client.sequence = 2;
    client.stream.write_all(&vec![0; 1 << 19]).await.expect("the pipe holds it");
    assert_eq!(client.reply().await.error().0, 1153);
    assert!(client.is_cut().await);
}

#[tokio::test]
async fn a_login_out_of_sequence_is_cut() {
    let stage = Stage::new();
    let mut client = Client::greeted(stage.connect()).await;
    let proof = native(&client.challenge, "secret");
    client.stream.write_all(&framed(&login("repl", &proof, Some(NATIVE), &[]), 5)).await.expect("room");
    client.sequence = 6;
    assert_eq!(client.reply().await.error().0, 1156);
    assert!(client.is_cut().await);
}

#[tokio::test]
async fn damaged_logins_are_answered() {
    let stage = Stage::new();
    let whole = login("repl", &[1; 20], Some(NATIVE), &[("a", "b")]);
    for length in 0..whole.len() {
        let mut client = Client::greeted(stage.connect()).await;
        client.write(&whole[..length]).await;
        let packet = client.read().await.expect("an answer");
        assert!([0xff, 0xfe].contains(&packet[0]), "{length}: {packet:?}");
    }
    let mut client = Client::greeted(stage.connect()).await;
    client.write(&[0; 64]).await;
    assert_eq!(client.reply().await.error().0, 1251);
}

#[tokio::test]
async fn more_logins_at_a_time_than_allowed_are_told_so() {
    let stage = Stage::with(|config| config.limits.logins = 2);
    let first = Client::greeted(stage.connect()).await;
    let _second = Client::greeted(stage.connect()).await;
    let mut bytes = Vec::new();
    stage.connect().read_to_end(&mut bytes).await.expect("a packet and an end");
    assert!(error(&bytes[4..]).error().1.starts_with("RPX-5005"));
    drop(first);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(log_in(&stage, "repl", "secret", Some(NATIVE)).await, Reply::Ok);
}

/// One frame of the compressed protocol as a client writes it.
fn frame(payload: &[u8], number: u8, compressed: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let plain = framed(payload, 0);
    let body = compressed(&plain);
    let [a, b, c, ..] = body.len().to_le_bytes();
    let [d, e, f, ..] = plain.len().to_le_bytes();
    [&[a, b, c, number, d, e, f][..], &body].concat()
}

/// The payloads in the next frames, which are numbered from `number` on, until there are `count`.
async fn unframed(
    stream: &mut (impl AsyncRead + Unpin),
    number: u8,
    count: usize,
    expanded: impl Fn(&[u8], usize) -> Vec<u8>,
) -> Vec<Vec<u8>> {
    let (mut plain, mut payloads, mut expected) = (Vec::new(), Vec::new(), number);
    while payloads.len() < count {
        let mut header = [0; 7];
        stream.read_exact(&mut header).await.expect("a frame");
        let [a, b, c, found, d, e, f] = header;
        assert_eq!(found, expected, "frames out of order");
        expected = expected.wrapping_add(1);
        let mut body = vec![0; u32::from_le_bytes([a, b, c, 0]) as usize];
        stream.read_exact(&mut body).await.expect("its body");
        match u32::from_le_bytes([d, e, f, 0]) {
            0 => plain.extend_from_slice(&body),
            length => plain.extend_from_slice(&expanded(&body, length as usize)),
        }
        while let [a, b, c, _, ..] = plain[..] {
            let end = 4 + u32::from_le_bytes([a, b, c, 0]) as usize;
            if plain.len() < end {
                break;
            }
            payloads.push(plain[4..end].to_vec());
            plain.drain(..end);
        }
    }
    payloads
}

#[tokio::test]
async fn a_client_that_asks_for_compression_has_it_from_the_login_on() {
    use std::io::{Read, Write};
    const COMPRESS: u32 = 1 << 5;
    const ZSTD: u32 = 1 << 26;
    let zlib = |plain: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).expect("memory");
        encoder.finish().expect("memory")
    };
    for (asked, answered_in_zstd) in [(COMPRESS, false), (ZSTD, true), (COMPRESS | ZSTD, false)] {
        let mut stage = Stage::new();
        let mut client = Client::greeted(stage.connect()).await;
        assert_eq!(client.capabilities & asked, asked, "offered");
        let proof = native(&client.challenge, "secret");
        let mut answer = login("repl", &proof, Some(NATIVE), &[]);
        let capabilities = u32::from_le_bytes([answer[0], answer[1], answer[2], answer[3]]) | asked;
        answer[..4].copy_from_slice(&capabilities.to_le_bytes());
        if asked & ZSTD != 0 {
            answer.push(7);
        }
        client.write(&answer).await;
        assert_eq!(client.reply().await, Reply::Ok, "this one is not compressed yet");
        let mut stream = client.stream;
        let compressed = |plain: &[u8]| match answered_in_zstd {
            true => zstd::bulk::compress(plain, 7).expect("memory"),
            false => zlib(plain),
        };
        let expanded = |body: &[u8], length: usize| {
            let mut plain = Vec::new();
            match answered_in_zstd {
                true => plain = zstd::bulk::decompress(body, length).expect("zstd"),
                false => drop(flate2::read::ZlibDecoder::new(body).read_to_end(&mut plain).expect("zlib")),
            }
            assert_eq!(plain.len(), length);
            plain
        };
        let question = frame(b"\x03SELECT VERSION()", 0, compressed);
        stream.write_all(&question).await.expect("room");
        // One column and one row.
        let answer = unframed(&mut stream, 1, 5, expanded).await;
        assert!(String::from_utf8_lossy(&answer[3]).contains("5.7.29-log"), "{answer:?}");

        // COM_BINLOG_DUMP: from 4, no flags, server id 7, no file.
        stream.write_all(&frame(b"\x12\x04\0\0\0\0\0\x07\0\0\0", 0, compressed)).await.expect("room");
        let (_, script) = stage.stream().await;
        let sent: Vec<_> = (1..=3).map(|file| rotate(&format!("{}{file}", "binlog.".repeat(9)), 4, CRC32)).collect();
        script.events(&sent);
        // No checksum was agreed on, so that only the bodies are the same.
        let got = unframed(&mut stream, 1, 3, expanded).await;
        for (payload, event) in got.iter().zip(&sent) {
            assert_eq!(payload[0], 0);
            assert!(payload[1..].windows(event.body().len()).any(|part| part == event.body()), "{payload:?}");
        }
    }
}
