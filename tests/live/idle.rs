//! A replica that has nothing to do sees the same through the proxy as a second one beside it sees at the source itself: heartbeats,
//! positions, and no time behind; also after work that did not concern it.

use crate::support::fleet::Version;
use crate::support::pair::Mode;
use crate::support::process::free_port;
use crate::support::proxy::Proxy;
use crate::support::replica::{Start, Status, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// Six heartbeats of half a second.
const IDLE: Duration = Duration::from_secs(3);

/// Name, database that is created at the replica beforehand, and selection.
const ROUTES: [(&str, &str, &str); 3] = [
    ("transparent", "", ""),
    (
        "filtering",
        "shop",
        "[[routes.filtering.objects]]\ndatabase = \"shop\"\n[[routes.filtering.objects]]\nexclude = \"shop.audit_*\"\n",
    ),
    (
        "renaming",
        "shop_of_another_name",
        "[[routes.renaming.objects]]\ndatabase = \"shop\"\nrename = \"shop_of_another_name\"\n\
         [[routes.renaming.objects]]\nexclude = \"shop.audit_*\"\n",
    ),
];

/// What a replica shows of its place and of its connection.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    threads: [String; 3],
    read: [String; 2],
    exec: [String; 2],
    behind: String,
}

impl Shown {
    fn of(status: &Status) -> Shown {
        let get = |column: &str| status.get(column).to_owned();
        Shown {
            threads: [get("Slave_IO_Running"), get("Slave_SQL_Running"), get("Slave_IO_State")],
            read: [get("Master_Log_File"), get("Read_Master_Log_Pos")],
            exec: [get("Relay_Master_Log_File"), get("Exec_Master_Log_Pos")],
            behind: get("Seconds_Behind_Master"),
        }
    }
}

/// How many heartbeats the replica has received.
async fn heartbeats(replica: &Server) -> u64 {
    let count = match replica.version() {
        Version::Mysql57 | Version::Mysql97 => {
            replica
                .value("SELECT count_received_heartbeats FROM performance_schema.replication_connection_status")
                .await
        }
        _ => replica.columns("SHOW GLOBAL STATUS LIKE 'Slave_received_heartbeats'").await["Value"].clone(),
    };
    count.parse().expect("a count is a number")
}

async fn idles_as_at_the_source(version: Version, mode: Mode) {
    let options = || match mode {
        Mode::AutoPosition => ServerOptions::new().gtid(version),
        Mode::FilePosition | Mode::MariadbGtid => ServerOptions::new(),
    };
    // MySQL 5.7 and later count heartbeats in the performance schema only.
    let counting = || match version {
        Version::Mysql57 | Version::Mysql97 => options().arg("--performance-schema=ON"),
        _ => options(),
    };
    let started = Server::start_all([(version, options()), (version, counting()), (version, counting())]).await;
    let Some([source, direct, proxied]) = unless_available(started) else { return };
    let tls = version == Version::Mysql97;
    let ports = ROUTES.map(|_| free_port());
    let mut configuration = format!(
        "[proxy]\nserver_id = 4000001\n[sources.s]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"repl\"\npassword = \"secret\"\ntls = \"{}\"\n",
        source.port(),
        if tls { "required" } else { "disabled" }
    );
    for ((name, _, objects), port) in ROUTES.iter().zip(ports) {
        configuration += &format!(
            "[routes.{name}]\nsource = \"s\"\nlisten = \"127.0.0.1:{port}\"\nuser = \"repl\"\npassword = \"secret\"\n{objects}"
        );
    }
    let mut proxy = Proxy::start(&configuration, &ports).await;
    let schema = "CREATE DATABASE shop CHARACTER SET utf8mb4; CREATE DATABASE hidden; CREATE TABLE hidden.t (n INT);
        CREATE TABLE shop.marker (n INT NOT NULL PRIMARY KEY); CREATE TABLE shop.audit_log (n INT, v TEXT);";
    source.script(schema).await;
    for (number, ((name, prepared, _), port)) in (1..).zip(ROUTES.iter().zip(ports)) {
        // Both begin anew from an empty server, for a route has its own names.
        for (replica, port, prepared) in [(&direct, source.port(), ""), (&proxied, port, *prepared)] {
            begin_anew(replica, prepared).await;
            let upstream = Upstream::at(port);
            let upstream = if tls { upstream.with_tls() } else { upstream };
            let start = match mode {
                Mode::AutoPosition => Start::AutoPosition,
                Mode::MariadbGtid => Start::MariadbGtid(String::new()),
                Mode::FilePosition => Start::At("binlog.000001".to_owned(), 4),
            };
            replica.follow(&upstream, &start).await;
            let (statement, word) = match version {
                Version::Mysql97 => ("CHANGE REPLICATION SOURCE", "SOURCE"),
                _ => ("CHANGE MASTER", "MASTER"),
            };
            replica.script(&format!("{statement} TO {word}_HEARTBEAT_PERIOD = 0.5")).await;
            replica.start_replica().await;
        }
        // The last that happens is seen by neither selection.
        let script = format!(
            "INSERT INTO shop.marker VALUES ({number}); INSERT INTO hidden.t VALUES (1); INSERT INTO shop.audit_log VALUES (1, REPEAT('a', 5000));"
        );
        source.script(&script).await;
        let database = if prepared.is_empty() { "shop" } else { prepared };
        for (replica, database) in [(&direct, "shop"), (&proxied, database)] {
            let arrived =
                replica.reaches(&format!("SELECT MAX(n) FROM {database}.marker"), &number.to_string(), LIMIT).await;
            arrived.unwrap_or_else(|error| panic!("{name}: {error}\n{}", proxy.log()));
        }
        the_same(name, &source, [&direct, &proxied], &mut proxy).await;
        if !prepared.is_empty() {
            // At the very beginning of a file.
            source.script("FLUSH LOGS").await;
            the_same(name, &source, [&direct, &proxied], &mut proxy).await;
        }
        for replica in [&direct, &proxied] {
            replica.stop_replica().await;
        }
    }
}

/// An empty server, but for the database that a person creates: CREATE DATABASE is not a supported statement.
async fn begin_anew(replica: &Server, prepared: &str) {
    replica.stop_replica().await;
    let reset = match replica.version() {
        Version::Mysql97 => "RESET REPLICA ALL; RESET BINARY LOGS AND GTIDS",
        _ => "RESET SLAVE ALL; RESET MASTER",
    };
    let mut script = format!("{reset}; SET sql_log_bin = 0;");
    for database in ["shop", "shop_of_another_name", "hidden"] {
        script += &format!("DROP DATABASE IF EXISTS {database};");
    }
    if !prepared.is_empty() {
        script += &format!("CREATE DATABASE {prepared};");
    }
    replica.script(&script).await;
}

/// Compares the two while nothing happens.
async fn the_same(name: &str, source: &Server, [direct, proxied]: [&Server; 2], proxy: &mut Proxy) {
    // Places are settled when both have read the source's last event.
    let (file, position) = source.binlog_end().await;
    let end = [file.clone(), position.to_string()];
    let limit = Instant::now() + Duration::from_secs(60);
    let mut seen;
    loop {
        seen = [Shown::of(&direct.replica_status().await), Shown::of(&proxied.replica_status().await)];
        let settled = |shown: &Shown| shown.read == end && shown.exec == end;
        let other_names = seen[1].read[0].contains(".rp");
        let there = if other_names {
            seen[1].read == seen[1].exec && seen[1].read[0].ends_with(&file[file.len() - 7..])
        } else {
            settled(&seen[1])
        };
        if settled(&seen[0]) && there {
            break;
        }
        assert!(Instant::now() < limit, "{name}: not at {end:?} but {seen:#?}\n{}", proxy.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let before = [heartbeats(direct).await, heartbeats(proxied).await];
    let end = Instant::now() + IDLE;
    let mut last = None;
    while Instant::now() < end {
        let look = async || [Shown::of(&direct.replica_status().await), Shown::of(&proxied.replica_status().await)];
        let mut shown = look().await;
        if shown[0].threads != shown[1].threads {
            // One of them may just be at work on a heartbeat.
            shown = look().await;
        }
        if shown[1].read[0].contains(".rp") {
            assert_eq!(shown[1].threads, shown[0].threads, "{name}");
            assert_eq!(shown[1].behind, shown[0].behind, "{name}");
            assert_eq!(
                [&shown[1].read, &shown[1].exec],
                [&seen[1].read, &seen[1].exec],
                "{name}: an idle replica stays where it is"
            );
        } else {
            assert_eq!(shown[1], shown[0], "{name}");
        }
        last = Some(shown);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let [_, shown] = last.expect("it was looked at");
    assert_eq!(shown.behind, "0", "{name}");
    let limit = Instant::now() + Duration::from_secs(60);
    let [at_source, at_proxy] = loop {
        let beats = [heartbeats(direct).await - before[0], heartbeats(proxied).await - before[1]];
        if beats.iter().all(|beats| *beats >= 3) || Instant::now() > limit {
            break beats;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(
        at_source.min(at_proxy) >= 3 && at_source.abs_diff(at_proxy) <= 6,
        "{name}: {at_proxy} heartbeats, and {at_source} at the source"
    );
    assert_eq!(proxy.log().matches("replica detached").count(), proxy.log().matches("the replica left").count());
    assert!(proxy.runs());
}

#[tokio::test]
async fn mysql_56_file_and_position() {
    idles_as_at_the_source(Version::Mysql56, Mode::FilePosition).await;
}

#[tokio::test]
async fn mysql_57_file_and_position() {
    idles_as_at_the_source(Version::Mysql57, Mode::FilePosition).await;
}

#[tokio::test]
async fn mysql_97_auto_position() {
    idles_as_at_the_source(Version::Mysql97, Mode::AutoPosition).await;
}

#[tokio::test]
async fn mariadb_1011_file_and_position() {
    idles_as_at_the_source(Version::Mariadb1011, Mode::FilePosition).await;
}

#[tokio::test]
async fn mariadb_1011_gtid() {
    idles_as_at_the_source(Version::Mariadb1011, Mode::MariadbGtid).await;
}
