//! The client against a scripted server on the other end of a pipe: the orders of packets that no real server shows on demand.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::Instant,
};
use uuid::Uuid;

use super::{semi_sync::SemiSync, *};
use crate::{
    binlog::ChecksumAlgorithm,
    fault::Code,
    secret::Secret,
    wire::{MAX_PACKET_PAYLOAD, MAX_PAYLOAD, PacketReader, write_packet},
};

const NONCE: &[u8; 20] = b"abcdefghijklmnopqrst";
const OTHER_NONCE: &[u8; 20] = b"ABCDEFGHIJKLMNOPQRST";
const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

struct Server {
    stream: DuplexStream,
    reader: PacketReader,
}

impl Server {
    async fn greet(&mut self, plugin: &str) {
        // Everything but TLS.
        let greeting = greeting::tests::greeting("8.0.41", !greeting::capability::SSL, NONCE, plugin);
        self.send_numbered(0, &greeting).await;
    }

    async fn receive(&mut self) -> Vec<u8> {
        loop {
            if let Some(payload) = self.reader.next_payload().expect("the client frames well") {
                return payload.to_vec();
            }
            if self.stream.read_buf(self.reader.room()).await.expect("a pipe") == 0 {
                return Vec::new();
            }
        }
    }

    async fn send(&mut self, payload: &[u8]) {
        let sequence = self.reader.sequence();
        self.send_numbered(sequence, payload).await;
    }

    async fn send_numbered(&mut self, mut sequence: u8, payload: &[u8]) {
        let mut bytes = Vec::new();
        write_packet(&mut bytes, payload, &mut sequence);
        self.reader.expect_sequence(sequence);
        // A client that has gone away is what some tests are about.
        let _gone = self.stream.write_all(&bytes).await;
    }

    /// The client's next command, which begins a new count.
    async fn command(&mut self) -> Vec<u8> {
        self.reader.expect_sequence(0);
        self.receive().await
    }

    /// A login and the questions before a dump.
    async fn up_to_the_dump(&mut self) -> Vec<u8> {
        self.greet("mysql_native_password").await;
        self.receive().await;
        self.send(OK).await;
        loop {
            let command = self.command().await;
            match command.first() {
                Some(0x12 | 0x1e) | None => return command,
                _ if command.ends_with(b"SELECT @master_binlog_checksum") => {
                    self.send(&[1]).await;
                    self.send(b"\x03def\0\0\0\x01c\0\x0c\x21\0\0\0\0\0\xfd\0\0\0\0\0").await;
                    self.send(b"\xfe\0\0\x02\0").await;
                    self.send(b"\x05CRC32").await;
                    self.send(b"\xfe\0\0\x02\0").await;
                }
                _ => self.send(OK).await,
            }
        }
    }
}

fn endpoint() -> Endpoint {
    Endpoint {
        host: "db1".into(),
        port: 3306,
        user: "repl".into(),
        password: Secret::new("secret"),
        tls: TlsMode::Preferred,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        connect_timeout: Duration::from_secs(5),
    }
}

fn request() -> DumpRequest {
    DumpRequest {
        identity: Identity { server_id: 7, uuid: Uuid::nil(), host: "here".into(), port: 9 },
        heartbeat: Duration::from_secs(10),
        flags: 0,
        start: DumpStart::FilePosition { file: b"bin.000001".to_vec(), position: 4 },
        session: Vec::new(),
    }
}

/// Runs a script against a login.
async fn login<F>(script: impl FnOnce(Server) -> F) -> Result<Client, SourceError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::spawn(script(Server { stream: far, reader: PacketReader::new(4096, MAX_PAYLOAD) }));
    Client::over(Box::new(near), &endpoint()).await
}

fn refusal<T: std::fmt::Debug>(result: Result<T, SourceError>) -> (Code, String) {
    let fault = result.expect_err("an error").fault("primary");
    (fault.code, fault.message)
}

fn switch(plugin: &str, nonce: &[u8]) -> Vec<u8> {
    [&[0xfe], plugin.as_bytes(), &[0], nonce, &[0]].concat()
}

#[tokio::test]
async fn plugins_are_switched_in_any_order_each_with_its_own_nonce() {
    let client = login(|mut server| async move {
        server.greet("caching_sha2_password").await;
        let answer = server.receive().await;
        let proof =
            mysql_common::auth::plugins::caching_sha2_password::scramble_sha256(NONCE, b"secret").expect("a proof");
        assert!(answer.windows(32).any(|window| window == proof));
        server.send(&switch("mysql_native_password", OTHER_NONCE)).await;
        let proof = mysql_common::auth::plugins::mysql_native_password::scramble_native(OTHER_NONCE, b"secret");
        assert_eq!(server.receive().await, proof.expect("a proof"));
        server.send(&switch("caching_sha2_password", OTHER_NONCE)).await;
        assert_eq!(server.receive().await.len(), 32);
        server.send(&[1, 3]).await;
        server.send(OK).await;
    });
    let client = client.await.expect("logged in");
    assert_eq!((client.version().number, client.thread_id()), (80041, 77));
}

#[tokio::test]
async fn the_password_never_goes_out_in_the_clear_without_tls() {
    let key = include_bytes!("../../fixtures/source/rsa_public_key.pem");
    for (plugin, first, request) in
        [("caching_sha2_password", &[1, 4][..], &[2][..]), ("sha256_password", &[][..], &[1][..])]
    {
        let client = login(move |mut server| async move {
            server.greet("mysql_native_password").await;
            server.receive().await;
            server.send(&switch(plugin, OTHER_NONCE)).await;
            if !first.is_empty() {
                server.receive().await;
                server.send(first).await;
            }
            assert_eq!(server.receive().await, request);
            server.send(&[&[1], &key[..]].concat()).await;
            let proof = server.receive().await;
            assert_eq!(proof.len(), 256);
            server.send(OK).await;
        });
        client.await.expect(plugin);
    }
}

#[tokio::test]
async fn what_cannot_be_proved_is_refused_with_the_reason() {
    for (packet, reason) in [
        (vec![0xfe], "mysql_old_password"),
        (switch("mysql_old_password", b"12345678"), "old_passwords=0"),
        (switch("mysql_clear_password", b""), "`mysql_clear_password`"),
        (switch("authentication_kerberos_client", b""), "the proxy knows mysql_native_password"),
        (switch("mysql_native_password", b"short"), "nonce of 6 bytes"),
        (switch("client_ed25519", NONCE), "client_ed25519 with a nonce of 21 bytes"),
        (vec![1, 9], "mysql_native_password went on"),
    ] {
        let client = login(|mut server| async move {
            server.greet("mysql_native_password").await;
            server.receive().await;
            server.send(&packet).await;
            server.receive().await;
        });
        let (code, message) = refusal(client.await);
        assert_eq!(code, Code::SourceRefusedLogin, "{message}");
        assert!(message.contains(reason) && message.contains("db1:3306"), "{message}");
    }
}

#[tokio::test]
async fn errors_of_the_server_at_login_keep_its_words() {
    let before = login(|mut server| async move {
        server.send_numbered(0, b"\xff\x6a\x04Host '10.0.0.1' is not allowed to connect to this MySQL server").await;
    });
    let (code, message) = refusal(before.await);
    assert_eq!(code, Code::SourceRefusedLogin);
    assert!(message.contains("Host '10.0.0.1' is not allowed") && message.contains("error 1130"), "{message}");
    let after = login(|mut server| async move {
        server.greet("mysql_native_password").await;
        server.receive().await;
        server.send(b"\xff\x15\x04#28000Access denied for user 'repl'@'x' (using password: YES)").await;
    });
    let (code, message) = refusal(after.await);
    assert_eq!(code, Code::SourceRefusedLogin);
    assert!(message.contains("Access denied for user 'repl'@'x'") && message.contains("state 28000"), "{message}");
    assert!(!message.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_or_hangs_up_is_unreachable() {
    let silent = login(|server| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(server);
    });
    assert_eq!(refusal(silent.await).0, Code::SourceUnreachable);
    let closed = login(|server| async move { drop(server) });
    assert_eq!(refusal(closed.await).0, Code::SourceUnreachable);
}

#[tokio::test]
async fn required_tls_is_not_given_up_and_garbage_is_no_greeting() {
    let (near, far) = tokio::io::duplex(64 << 10);
    let mut server = Server { stream: far, reader: PacketReader::new(4096, MAX_PAYLOAD) };
    let required = Endpoint { tls: TlsMode::Required, ..endpoint() };
    let (client, ()) = tokio::join!(Client::over(Box::new(near), &required), server.greet("mysql_native_password"));
    assert_eq!(refusal(client).0, Code::SourceTls);
    for (garbage, code) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], Code::SourceProtocol),
        (b"\x03\0\0\0\x0a\x35\0", Code::SourceVersion),
        (b"\xff\xff\xff\0", Code::EventTooLarge),
    ] {
        let client = login(move |mut server| async move {
            let _gone = server.stream.write_all(garbage).await;
            server.receive().await;
        });
        assert_eq!(refusal(client.await).0, code, "{garbage:?}");
    }
}

#[tokio::test]
async fn answers_are_read_whole_and_broken_ones_are_errors() {
    let column = b"\x03def\0\0\0\x04name\0\x0c\x21\0\0\0\0\0\xfd\0\0\0\0\0".to_vec();
    let eof = b"\xfe\0\0\x02\0".to_vec();
    let good = [vec![2], column.clone(), column.clone(), eof.clone(), b"\x01a\xfb".to_vec(), eof.clone()];
    let cases: Vec<(Vec<Vec<u8>>, Option<Code>)> = vec![
        (good.to_vec(), None),
        (
            vec![vec![1], column.clone(), eof.clone(), b"\xff\x25\x05#70100killed".to_vec()],
            Some(Code::SourceQueryFailed),
        ),
        (vec![vec![1], column.clone(), eof.clone(), b"\x09short".to_vec()], Some(Code::SourceProtocol)),
        (vec![vec![1], vec![3, b'd']], Some(Code::SourceProtocol)),
        (vec![vec![0xfe, 255, 255, 255, 255, 255, 255, 255, 255]], Some(Code::SourceProtocol)),
        (vec![vec![0xfb, b'/']], Some(Code::SourceProtocol)),
        (vec![vec![]], Some(Code::SourceProtocol)),
    ];
    for (packets, code) in cases {
        let client = login(move |mut server| async move {
            server.greet("mysql_native_password").await;
            server.receive().await;
            server.send(OK).await;
            server.command().await;
            for packet in packets {
                server.send(&packet).await;
            }
            server.receive().await;
        });
        let mut client = client.await.expect("logged in");
        match (client.query("SELECT 1").await, code) {
            (Ok(answer), None) => {
                assert_eq!((answer.single().as_deref(), &answer.rows[0][1]), (Some("a"), &None));
                assert_eq!(answer.column("NAME"), Some(0));
            }
            (answer, Some(code)) => assert_eq!(refusal(answer).0, code),
            (answer, None) => panic!("{answer:?}"),
        }
    }
}

#[tokio::test]
async fn the_stream_gives_events_joins_long_ones_and_ends_with_eof() {
    let long: Vec<u8> = (0..MAX_PACKET_PAYLOAD + 5).map(|index| if index == 0 { 0 } else { index as u8 }).collect();
    let sent = long.clone();
    let client = login(|mut server| async move {
        let command = server.up_to_the_dump().await;
        assert_eq!(command, b"\x12\x04\0\0\0\0\0\x07\0\0\0bin.000001");
        server.send(b"\0first").await;
        server.send(&sent).await;
        server.send(b"\0last").await;
        server.send(b"\xfe\0\0\x02\0").await;
        server.receive().await;
    });
    let mut stream = client.await.expect("logged in").start_dump(request()).await.expect("a stream");
    assert_eq!(stream.negotiated_checksum(), ChecksumAlgorithm::Crc32);
    assert_eq!(stream.next().await.expect("an event").as_deref(), Some(&b"first"[..]));
    assert!(stream.next().await.expect("an event").as_deref() == Some(&long[1..]));
    assert_eq!(stream.next().await.expect("an event").as_deref(), Some(&b"last"[..]));
    assert_eq!(stream.next().await, Ok(None));
    assert_eq!(stream.next().await, Ok(None));
}

#[tokio::test]
async fn an_error_a_gap_or_the_end_of_the_socket_in_mid_stream_are_told_apart() {
    enum End {
        Error,
        Gap,
        Closed,
        Nonsense,
    }
    for (end, code, text) in [
        (End::Error, Code::SourceRefusedDump, "Could not find first log file name in binary log index file"),
        (End::Gap, Code::SourceProtocol, "packet number 9 came where 2 was due"),
        (End::Closed, Code::SourceLost, "closed"),
        (End::Nonsense, Code::SourceProtocol, "neither event nor end"),
    ] {
        let client = login(|mut server| async move {
            server.up_to_the_dump().await;
            server.send(b"\0first").await;
            match end {
                End::Error => {
                    server.send(b"\xff\xd4\x04#HY000Could not find first log file name in binary log index file").await;
                }
                End::Gap => server.send_numbered(9, b"\0second").await,
                End::Nonsense => server.send(b"\x05what").await,
                End::Closed => return,
            }
            server.receive().await;
        });
        let mut stream = client.await.expect("logged in").start_dump(request()).await.expect("a stream");
        assert_eq!(stream.next().await.expect("an event").as_deref(), Some(&b"first"[..]));
        let (found, message) = refusal(stream.next().await);
        assert_eq!(found, code);
        assert!(message.contains(text), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_longer_than_three_heartbeats_is_an_error_also_when_every_wait_is_cancelled() {
    let client = login(|mut server| async move {
        server.up_to_the_dump().await;
        server.send(b"\0first").await;
        tokio::time::sleep(Duration::from_secs(25)).await;
        server.send(b"\0heartbeat").await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
    });
    let mut stream = client.await.expect("logged in").start_dump(request()).await.expect("a stream");
    let begin = Instant::now();
    let mut events = 0;
    let error = loop {
        match tokio::time::timeout(Duration::from_secs(1), stream.next()).await {
            Err(_cancelled) => {}
            Ok(Ok(Some(_))) => events += 1,
            Ok(end) => break refusal(end),
        }
    };
    assert_eq!((events, error.0), (2, Code::SourceSilent));
    let waited = begin.elapsed().as_secs();
    assert!((54..=57).contains(&waited), "{waited}");
}

#[tokio::test]
async fn a_semi_synchronous_stream_is_stripped_and_acknowledged() {
    let client = login(|mut server| async move {
        server.up_to_the_dump().await;
        let framed = |asks: u8, event: &[u8]| [&[0, 0xef, asks][..], event].concat();
        server.send_numbered(1, &framed(0, &[0; 30])).await;
        let mut large = vec![7; MAX_PACKET_PAYLOAD + 100];
        large[0] = 0xef;
        server.send_numbered(2, &framed(1, &large)).await;
        // After an event that asks for one the count begins anew, whether it has come or not.
        server.send_numbered(1, &framed(1, &[8; 40])).await;
        server.reader.expect_sequence(0);
        assert_eq!(server.receive().await, [&[0xef][..], &77_u64.to_le_bytes(), b"bin.000009"].concat());
        server.send_numbered(1, &framed(0, &[9; 30])).await;
        server.send_numbered(2, &[0, 1, 2, 3]).await;
    });
    let registered = DumpRequest { session: vec![SEMI_SYNC_REGISTRATION.to_owned()], ..request() };
    let mut stream = client.await.expect("logged in").start_dump(registered).await.expect("a stream");
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = stream.next().await.expect("an event").expect("an event");
        seen.push((event.len(), event[event.len() - 1], stream.asks_for_acknowledgement()));
    }
    assert_eq!(seen, [(30, 0, false), (MAX_PACKET_PAYLOAD + 100, 7, true), (40, 8, true)]);
    stream.acknowledge(b"bin.000009", 77);
    assert_eq!(stream.next().await.expect("an event").expect("an event")[0], 9);
    let error = stream.next().await.expect_err("without the header").fault("primary");
    assert_eq!(error.code, Code::SourceProtocol, "{error}");
}

#[test]
fn a_source_that_waits_for_an_acknowledgement_is_not_silent() {
    // MySQL 5.6 and older: their thread reads the acknowledgement before it sends anything.
    let version = |text: &str| ServerVersion::parse(text).expect("a version");
    let mut semi_sync = SemiSync::of(&version("5.6.24-log"), true);
    let mut event = Bytes::from_static(&[0xef, 1, 5, 5]);
    semi_sync.strip(&mut event).expect("well framed");
    assert_eq!((&event[..], semi_sync.asks(), semi_sync.source_waits()), (&[5, 5][..], true, true));
    semi_sync.acknowledge(b"bin.000001", 4);
    assert!(!semi_sync.source_waits());
    let mut threaded = SemiSync::of(&version("5.7.29-log"), true);
    threaded.strip(&mut Bytes::from_static(&[0xef, 1, 5, 5])).expect("well framed");
    assert!(!threaded.source_waits());
}

#[test]
fn events_that_look_framed_are_plain_where_the_stream_is_not_registered_or_the_source_has_it_off() {
    let version = ServerVersion::parse("5.7.29-log").expect("a version");
    let (plain, looks_framed) = ([0, 1, 2], [0xef, 1, 2]);
    for (registered, first) in [(false, looks_framed), (true, plain)] {
        let mut semi_sync = SemiSync::of(&version, registered);
        for bytes in [first, looks_framed] {
            let mut event = Bytes::copy_from_slice(&bytes);
            semi_sync.strip(&mut event).expect("as it is");
            assert_eq!((&event[..], semi_sync.asks()), (&bytes[..], false), "registered: {registered}");
        }
    }
}
