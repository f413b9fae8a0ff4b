//! The source side against real servers: logins, and streams that are the source's files byte for byte.

use std::{path::PathBuf, time::Duration};

use replproxy::{
    binlog::{ChecksumAlgorithm, Event, EventType, FILE_MAGIC, FormatDescription, flags},
    fault::Code,
    secret::Secret,
    source::{
        Client, DumpRequest, DumpStart, Endpoint, EventStream, GtidMode, Identity, SourceError, SourceFacts, TlsMode,
    },
};
use uuid::Uuid;

use crate::support::{
    fleet::Version,
    server::{Server, ServerOptions},
    unless_available,
};

const ALL: [Version; 4] = [Version::Mysql56, Version::Mysql57, Version::Mysql97, Version::Mariadb1011];

fn endpoint(server: &Server, user: &str, password: &str, tls: TlsMode) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".into(),
        port: server.port(),
        user: user.into(),
        password: Secret::new(password),
        tls,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        connect_timeout: Duration::from_secs(60),
    }
}

async fn connect(server: &Server, user: &str, password: &str, tls: TlsMode) -> Result<Client, SourceError> {
    Client::connect(&endpoint(server, user, password, tls)).await
}

fn refusal<T: std::fmt::Debug>(result: Result<T, SourceError>) -> (Code, String) {
    let fault = result.expect_err("an error").fault("primary");
    (fault.code, fault.message)
}

fn request(start: DumpStart) -> DumpRequest {
    DumpRequest {
        identity: Identity { server_id: 4_000_001, uuid: Uuid::from_u128(7), host: "proxy".into(), port: 3307 },
        heartbeat: Duration::from_secs(1),
        flags: 0,
        start,
        session: Vec::new(),
    }
}

fn from_file(file: &str) -> DumpStart {
    DumpStart::FilePosition { file: file.into(), position: 4 }
}

#[tokio::test]
async fn the_facts_of_every_version_are_read_and_wrong_logins_are_told_apart() {
    for version in ALL {
        let Some(server) = unless_available(Server::start(version, ServerOptions::new()).await) else { return };
        let mut client = connect(&server, "repl", "secret", TlsMode::Preferred).await.expect("logged in");
        assert_eq!(client.is_secure(), matches!(version, Version::Mysql57 | Version::Mysql97), "{version:?}");
        let facts = SourceFacts::read(&mut client).await.expect("facts");
        assert_eq!((facts.server_id, facts.log_bin), (server.server_id(), true));
        assert_eq!(facts.server_uuid.is_some(), !version.is_mariadb());
        let gtid_mode = match version {
            Version::Mysql97 => Some(GtidMode::On),
            Version::Mysql56 | Version::Mysql57 => Some(GtidMode::Off),
            Version::Mariadb1011 => None,
        };
        assert_eq!(facts.gtid_mode, gtid_mode);
        assert_eq!(facts.gtid_domain_id, version.is_mariadb().then_some(0));
        assert_eq!(facts.variable("binlog_format"), Some("ROW"));
        assert_eq!(facts.version.text, server.value("SELECT VERSION()").await);
        assert_eq!(
            client.query("SELECT CONNECTION_ID()").await.expect("a row").single(),
            Some(client.thread_id().to_string())
        );
        client.ping().await.expect("alive");
        let (code, message) = refusal(client.query("FLUSH LOGS").await);
        assert_eq!(code, Code::SourcePrivileges, "{message}");
        assert!(message.contains("`FLUSH LOGS`") && message.contains("error 1227"), "{message}");
        // An error is an answer: the connection goes on.
        client.quit().await;

        for (user, password) in [("repl", "wrong"), ("repl", ""), ("nobody", "secret")] {
            let (code, message) = refusal(connect(&server, user, password, TlsMode::Preferred).await);
            assert_eq!(code, Code::SourceRefusedLogin, "{version:?}: {message}");
            assert!(message.contains("Access denied") && message.contains(&format!(":{}", server.port())), "{message}");
        }
        let offered = connect(&server, "repl", "secret", TlsMode::Required).await;
        match version {
            Version::Mysql56 | Version::Mariadb1011 => {
                let (code, message) = refusal(offered);
                assert_eq!(code, Code::SourceTls);
                assert!(message.contains("the server offers none"), "{message}");
            }
            Version::Mysql57 | Version::Mysql97 => assert!(offered.expect("TLS").is_secure()),
        }
        let mut gone = endpoint(&server, "repl", "secret", TlsMode::Preferred);
        drop(server);
        gone.host = "localhost".into();
        let (code, message) = refusal(Client::connect(&gone).await);
        assert_eq!(code, Code::SourceUnreachable, "{message}");
    }
}

/// What a stream brought, as the files that it was read from.
async fn files_in_stream(stream: &mut EventStream, until: (&str, u64)) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut checksum = stream.negotiated_checksum();
    loop {
        let raw = tokio::time::timeout(Duration::from_secs(60), stream.next()).await.expect("in time");
        let raw = raw.expect("no error").expect("the stream does not end by itself");
        let kind = raw[4];
        if kind == EventType::FORMAT_DESCRIPTION.0 {
            checksum = FormatDescription::read(raw.clone()).expect("a format").1.checksum;
        }
        let event = Event::new(raw, checksum).expect("well framed");
        event.verify().expect("an intact event");
        if event.event_type() == EventType::HEARTBEAT {
            continue;
        }
        if event.event_type() == EventType::ROTATE && event.header().flags & flags::ARTIFICIAL != 0 {
            let name = String::from_utf8_lossy(&event.body()[8..]).into_owned();
            if files.last().is_none_or(|(last, _)| *last != name) {
                files.push((name, FILE_MAGIC.to_vec()));
            }
            continue;
        }
        let (name, bytes) = files.last_mut().expect("a ROTATE comes first");
        bytes.extend_from_slice(event.raw());
        if (name.as_str(), bytes.len() as u64) == until {
            return files;
        }
    }
}

/// The flag and the checksum of a file's first event differ while the server has the file open.
fn without_in_use(mut file: Vec<u8>) -> Vec<u8> {
    let length = u32::from_le_bytes(file[4 + 9..4 + 13].try_into().expect("four bytes")) as usize;
    file[4 + 17] = 0;
    file[4 + length - 4..4 + length].fill(0);
    file
}

#[tokio::test]
async fn a_stream_brings_the_files_of_every_version_byte_for_byte() {
    for version in ALL {
        let Some(server) = unless_available(Server::start(version, ServerOptions::new()).await) else { return };
        server.script("SET GLOBAL max_allowed_packet = 128 * 1024 * 1024").await;
        server
            .script(
                "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB);
                 INSERT INTO d.t (v) VALUES ('one'), (NULL); FLUSH LOGS;
                 INSERT INTO d.t (v) VALUES (REPEAT('x', 20 * 1024 * 1024));
                 INSERT INTO d.t (v) SELECT REPEAT('y', 100) FROM d.t; UPDATE d.t SET v = 'z' WHERE id < 3;
                 ALTER TABLE d.t ADD w INT; FLUSH LOGS; DROP TABLE d.t;",
            )
            .await;
        let (file, position) = server.binlog_end().await;
        let client = connect(&server, "repl", "secret", TlsMode::Preferred).await.expect("logged in");
        // The bit has MariaDB send the annotations, without which its stream is not all of the file.
        let flags = if version.is_mariadb() { 2 } else { 0 };
        let from_first = DumpRequest { flags, ..request(from_file("")) };
        let mut stream = client.start_dump(from_first).await.expect("a stream");
        assert_eq!(stream.negotiated_checksum(), ChecksumAlgorithm::Crc32);
        let files = files_in_stream(&mut stream, (&file, position)).await;
        assert!(files.len() >= 3);
        let folder = PathBuf::from(server.value("SELECT @@datadir").await);
        for (name, bytes) in files {
            let original = std::fs::read(folder.join(&name)).expect("a file of the server");
            assert!(without_in_use(bytes) == without_in_use(original), "{version:?}: {name}");
        }
        let registered =
            server.script(if version == Version::Mysql97 { "SHOW REPLICAS" } else { "SHOW SLAVE HOSTS" }).await;
        assert!(registered.iter().any(|row| row.contains(&"4000001".to_owned())), "{registered:?}");
        // Idle: heartbeats come, and the source's end is noticed.
        let mut heartbeats = 0;
        while heartbeats < 2 {
            let event = stream.next().await.expect("alive").expect("not ended");
            heartbeats += usize::from(event[4] == EventType::HEARTBEAT.0);
        }
        server.signal("STOP");
        let (code, _) = refusal(stream.next().await);
        assert_eq!(code, Code::SourceSilent);
        server.signal("CONT");
    }
}

#[tokio::test]
async fn refusals_of_a_dump_keep_the_servers_words() {
    for version in ALL {
        let Some(server) = unless_available(Server::start(version, ServerOptions::new()).await) else { return };
        let weak = "CREATE USER 'weak'@'%' IDENTIFIED BY 'weak'";
        server.script(weak).await;
        for (user, password, start, code, words) in [
            (
                "repl",
                "secret",
                from_file("binlog.000099"),
                Code::SourceRefusedDump,
                "Could not find first log file name",
            ),
            (
                "repl",
                "secret",
                DumpStart::FilePosition { file: b"binlog.000001".to_vec(), position: 2_000_000_000 },
                Code::SourceRefusedDump,
                "position",
            ),
            ("weak", "weak", from_file(""), Code::SourcePrivileges, "access denied"),
        ] {
            let client = connect(&server, user, password, TlsMode::Preferred).await.expect("logged in");
            let outcome = match client.start_dump(request(start)).await {
                Ok(mut stream) => loop {
                    // MySQL 9.7 sends a ROTATE before it looks.
                    match stream.next().await {
                        Ok(Some(_)) => {}
                        other => break other.map(|_| ()),
                    }
                },
                Err(error) => Err(error),
            };
            let (found, message) = refusal(outcome);
            assert_eq!(found, code, "{version:?}: {message}");
            assert!(message.to_lowercase().contains(&words.to_lowercase()), "{version:?}: {message}");
        }
        drop(server);

        let options = ServerOptions::new().without_binlog();
        let Some(server) = unless_available(Server::start(version, options).await) else { return };
        let mut client = connect(&server, "repl", "secret", TlsMode::Preferred).await.expect("logged in");
        assert!(!SourceFacts::read(&mut client).await.expect("facts").log_bin);
        let outcome = client.start_dump(request(from_file(""))).await;
        let outcome = match outcome {
            Ok(mut stream) => stream.next().await.map(|_| ()),
            Err(error) => Err(error),
        };
        let (code, message) = refusal(outcome);
        assert_eq!(code, Code::SourceNotLogging, "{version:?}: {message}");
    }
}

#[tokio::test]
async fn a_gtid_dump_begins_after_what_the_replica_has() {
    for version in [Version::Mysql56, Version::Mysql57, Version::Mysql97] {
        let options = ServerOptions::new().gtid(version);
        let Some(server) = unless_available(Server::start(version, options).await) else { return };
        server.script("CREATE DATABASE d; CREATE TABLE d.t (id INT); DROP TABLE d.t;").await;
        let uuid: Uuid = server.value("SELECT @@server_uuid").await.parse().expect("a uuid");
        let executed = server.value("SELECT @@global.gtid_executed").await;
        let last: u64 = executed.rsplit(['-', ':']).next().and_then(|end| end.trim().parse().ok()).expect("a number");
        // One source, one interval up to all but the last transaction; the end is exclusive.
        let set =
            [&1u64.to_le_bytes()[..], uuid.as_bytes(), &1u64.to_le_bytes(), &1u64.to_le_bytes(), &last.to_le_bytes()];
        let client = connect(&server, "repl", "secret", TlsMode::Preferred).await.expect("logged in");
        let start = DumpStart::GtidSet(set.concat().into());
        let mut stream = client.start_dump(request(start)).await.expect("a stream");
        let mut numbers = Vec::new();
        loop {
            let raw = stream.next().await.expect("no error").expect("not ended");
            match EventType(raw[4]) {
                EventType::GTID => {
                    numbers.push(u64::from_le_bytes(raw[19 + 17..19 + 25].try_into().expect("eight bytes")))
                }
                EventType::QUERY if raw.windows(10).any(|window| window == b"DROP TABLE") => break,
                _ => {}
            }
        }
        assert_eq!(numbers, [last], "{version:?}");
    }
}

#[tokio::test]
async fn a_mariadb_dump_begins_at_the_state_of_the_session() {
    let Some(server) = unless_available(Server::start(Version::Mariadb1011, ServerOptions::new()).await) else {
        return;
    };
    server.script("CREATE DATABASE d; CREATE TABLE d.t (id INT)").await;
    let state = server.value("SELECT @@gtid_binlog_pos").await;
    server.script("DROP TABLE d.t").await;
    let client = connect(&server, "repl", "secret", TlsMode::Preferred).await.expect("logged in");
    let session = vec![format!("SET @slave_connect_state = '{state}'")];
    let mut stream =
        client.start_dump(DumpRequest { session, ..request(DumpStart::MariaDbGtid) }).await.expect("a stream");
    let statement = loop {
        let raw = stream.next().await.expect("no error").expect("not ended");
        if EventType(raw[4]) == EventType::QUERY {
            break raw;
        }
    };
    assert!(statement.windows(10).any(|window| window == b"DROP TABLE"), "{statement:?}");
}

/// An endpoint with the authority that the server has made for itself.
async fn with_its_ca(server: &Server, user: &str, tls: TlsMode) -> Endpoint {
    let folder = PathBuf::from(server.value("SELECT @@datadir").await);
    Endpoint { tls_ca: Some(folder.join("ca.pem")), ..endpoint(server, user, "secret", tls) }
}

#[tokio::test]
async fn tls_is_verified_as_far_as_the_mode_says() {
    for version in [Version::Mysql57, Version::Mysql97] {
        let Some(server) = unless_available(Server::start(version, ServerOptions::new()).await) else { return };
        server.script("CREATE USER 'cert'@'%' IDENTIFIED BY 'secret' REQUIRE X509").await;
        let client =
            Client::connect(&with_its_ca(&server, "repl", TlsMode::VerifyCa).await).await.expect("a good chain");
        assert!(client.is_secure());
        let (code, message) =
            refusal(Client::connect(&with_its_ca(&server, "repl", TlsMode::VerifyIdentity).await).await);
        assert_eq!(code, Code::SourceTls);
        assert!(message.contains("verify-ca"), "{message}");

        let mut strange = with_its_ca(&server, "repl", TlsMode::VerifyCa).await;
        strange.tls_ca = Some(another_authority());
        let (code, message) = refusal(Client::connect(&strange).await);
        assert_eq!(code, Code::SourceTls, "{message}");
        strange.tls_ca = None;
        assert_eq!(refusal(Client::connect(&strange).await).0, Code::ConfigurationInvalid);
        strange.tls_ca = Some("/nonexistent/ca.pem".into());
        assert_eq!(refusal(Client::connect(&strange).await).0, Code::ConfigurationUnreadable);

        let bare = with_its_ca(&server, "cert", TlsMode::Required).await;
        assert_eq!(refusal(Client::connect(&bare).await).0, Code::SourceRefusedLogin);
        let folder = PathBuf::from(server.value("SELECT @@datadir").await);
        let (tls_cert, tls_key) = (Some(folder.join("client-cert.pem")), Some(folder.join("client-key.pem")));
        Client::connect(&Endpoint { tls_cert, tls_key, ..bare })
            .await
            .expect("the certificate that the account requires");
    }
}

/// A certificate authority that nobody has signed anything with.
fn another_authority() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("another-authority.pem");
    let made = rcgen::generate_simple_self_signed(vec!["elsewhere".to_owned()]).expect("a certificate");
    std::fs::write(&path, made.cert.pem()).expect("a writable folder");
    path
}

#[tokio::test]
async fn caching_sha2_and_sha256_passwords_work_with_and_without_tls() {
    // 5.6 is built without RSA here.
    for (version, plugins) in [
        (Version::Mysql97, &["caching_sha2_password", "sha256_password"][..]),
        (Version::Mysql57, &["sha256_password"]),
    ] {
        let Some(server) = unless_available(Server::start(version, ServerOptions::new()).await) else { return };
        for plugin in plugins {
            server.script(&format!("CREATE USER 'sha'@'%' IDENTIFIED WITH {plugin} BY 'secret'")).await;
            // The first login of each kind takes the full path, the second may take the fast one.
            for tls in [TlsMode::Disabled, TlsMode::Required] {
                server.script("FLUSH PRIVILEGES").await;
                for attempt in ["first", "second"] {
                    let client = connect(&server, "sha", "secret", tls).await;
                    client.unwrap_or_else(|error| panic!("{version:?} {plugin} {tls:?} {attempt}: {error}"));
                }
            }
            assert_eq!(refusal(connect(&server, "sha", "wrong", TlsMode::Disabled).await).0, Code::SourceRefusedLogin);
            server.script("DROP USER 'sha'@'%'; CREATE USER 'sha'@'%' IDENTIFIED BY ''").await;
            connect(&server, "sha", "", TlsMode::Disabled).await.expect("an empty password");
            server.script("DROP USER 'sha'@'%'").await;
        }
    }
}

#[tokio::test]
async fn ed25519_works() {
    let Some(server) = unless_available(Server::start(Version::Mariadb1011, ServerOptions::new()).await) else {
        return;
    };
    server
        .script("INSTALL SONAME 'auth_ed25519'; CREATE USER 'ed'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret');")
        .await;
    connect(&server, "ed", "secret", TlsMode::Preferred).await.expect("logged in");
    assert_eq!(refusal(connect(&server, "ed", "wrong", TlsMode::Preferred).await).0, Code::SourceRefusedLogin);
}
