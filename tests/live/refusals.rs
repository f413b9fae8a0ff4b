//! What an operator reads when something is wrong: the code and the cause are in the replica's `Last_IO_Error` and in
//! the proxy's log, and the proxy stays up.

use crate::support::fleet::Version;
use crate::support::pair::{Kind, Mode, Pair, Route};
use crate::support::process::free_port;
use crate::support::proxy::Proxy;
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;
use std::fmt::Write as _;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// Routes over one source each: name, port, and the source's own settings.
struct Routes(Vec<(&'static str, u16, String)>);

impl Routes {
    fn configuration(&self) -> String {
        let mut text = "[proxy]\nserver_id = 4000001\n".to_owned();
        for (name, port, source) in &self.0 {
            let _ = write!(
                text,
                "[sources.{name}]\nhost = \"127.0.0.1\"\n{source}\n[routes.{name}]\nsource = \"{name}\"\nlisten = \"127.0.0.1:{port}\"\nuser = \"repl\"\npassword = \"secret\"\n"
            );
        }
        text
    }

    fn port(&self, name: &str) -> u16 {
        self.0.iter().find(|(known, ..)| *known == name).expect("the test knows its routes").1
    }
}

/// Points the replica at a place and waits for the text in its error; the proxy has to log it as well.
async fn refused(replica: &Server, proxy: &mut Proxy, upstream: &Upstream, start: &Start, code: &str, words: &[&str]) {
    replica.follow(upstream, start).await;
    replica.start_replica().await;
    let error = replica.io_error(code, LIMIT).await;
    replica.stop_replica().await;
    for word in words {
        assert!(error.contains(word), "{word:?} is missing in {error:?}");
    }
    assert!(!error.contains("secret") && !proxy.log().contains("secret"), "no password is shown");
    assert!(proxy.log().contains(code), "{code} is missing in the log:\n{}", proxy.log());
    assert!(proxy.runs(), "the proxy stays up");
}

#[tokio::test]
async fn what_is_wrong_is_said_to_the_replica_and_in_the_log() {
    let started = Server::start_two([Version::Mysql57; 2], [ServerOptions::new(), ServerOptions::new()]).await;
    let Some([mut source, replica]) = unless_available(started) else { return };
    let port = source.port();
    let login = |user: &str, password: &str, port: u16| {
        format!("port = {port}\nuser = \"{user}\"\npassword = \"{password}\"\ntls = \"disabled\"")
    };
    let nobody = free_port();
    let routes = Routes(vec![
        ("good", free_port(), login("repl", "secret", port)),
        ("wrong_password", free_port(), login("repl", "not-the-secret", port)),
        ("unknown_user", free_port(), login("nobody", "secret", port)),
        ("unreachable", free_port(), login("repl", "secret", nobody)),
        ("lacking", free_port(), login("lacking", "secret", port)),
    ]);
    let ports: Vec<u16> = routes.0.iter().map(|(_, port, _)| *port).collect();
    let mut proxy = Proxy::start(&routes.configuration(), &ports).await;
    source.script("CREATE USER 'lacking'@'%' IDENTIFIED BY 'secret'; CREATE DATABASE d; FLUSH LOGS; FLUSH LOGS").await;
    let (file, position) = source.binlog_end().await;
    let here = Start::At(file.clone(), position);
    let at = |name: &str| Upstream::at(routes.port(name));

    refused(&replica, &mut proxy, &at("wrong_password"), &here, "RPX-2002", &["Access denied"]).await;
    refused(&replica, &mut proxy, &at("unknown_user"), &here, "RPX-2002", &["Access denied"]).await;
    refused(&replica, &mut proxy, &at("unreachable"), &here, "RPX-2001", &[&format!("127.0.0.1:{nobody}")]).await;
    refused(&replica, &mut proxy, &at("lacking"), &here, "RPX-2004", &["REPLICATION"]).await;

    // A place that the source does not have, in its own words, as the route is transparent; and one that it has purged.
    let beyond = Start::At(file.clone(), position + 100_000);
    refused(&replica, &mut proxy, &at("good"), &beyond, "1236", &[": 'Client requested master to start"]).await;
    assert!(proxy.log().contains("RPX-2006"), "{}", proxy.log());
    source.script(&format!("PURGE BINARY LOGS TO '{file}'")).await;
    let purged = Start::At("binlog.000001".to_owned(), 4);
    refused(&replica, &mut proxy, &at("good"), &purged, "1236", &["RPX-2006", "Could not find first log file"]).await;

    // The replica's own login.
    let stranger = Upstream { password: "wrong".to_owned(), ..at("good") };
    replica.follow(&stranger, &here).await;
    replica.start_replica().await;
    let error = replica.io_error("error connecting to master", LIMIT).await;
    assert!(error.contains("repl@127.0.0.1"), "{error}");
    replica.stop_replica().await;
    assert!(proxy.log().contains("RPX-3001"), "{}", proxy.log());

    // No binary log at the source, which restarts for that without the proxy's help.
    source.restart_with("--skip-log-bin").await;
    refused(&replica, &mut proxy, &at("good"), &here, "RPX-2005", &["log_bin"]).await;
    assert!(proxy.terminate().success(), "SIGTERM ends the proxy cleanly:\n{}", proxy.log());
}

/// A proxy starts before its source exists: replicas of every kind are told so, and go on by themselves when it does.
async fn source_comes_later(version: Version, mode: Mode) {
    let options = || match mode {
        Mode::AutoPosition => ServerOptions::new().gtid(version),
        _ => ServerOptions::new(),
    };
    let Some([mut source, replica]) = unless_available(Server::start_two([version; 2], [options(), options()]).await)
    else {
        return;
    };
    let tls = version == Version::Mysql97;
    let login = format!(
        "port = {}\nuser = \"repl\"\npassword = \"secret\"\ntls = \"{}\"",
        source.port(),
        if tls { "required" } else { "disabled" }
    );
    let start = match mode {
        Mode::FilePosition => Start::At("binlog.000001".to_owned(), 4),
        Mode::AutoPosition => Start::AutoPosition,
        Mode::MariadbGtid => Start::MariadbGtid(String::new()),
    };
    source.kill();
    let routes = Routes(vec![("early", free_port(), login)]);
    let mut proxy = Proxy::start(&routes.configuration(), &[routes.port("early")]).await;
    let upstream = Upstream::at(routes.port("early"));
    replica.follow(&if tls { upstream.with_tls() } else { upstream }, &start).await;
    replica.start_replica().await;
    let error = replica.io_error("RPX-2001", LIMIT).await;
    assert!(error.contains(&format!("127.0.0.1:{}", source.port())), "{error}");
    source.restart().await;
    source
        .script("CREATE DATABASE later; CREATE TABLE later.t (a INT PRIMARY KEY); INSERT INTO later.t VALUES (1)")
        .await;
    let arrived = replica.reaches("SELECT MAX(a) FROM later.t", "1", LIMIT).await;
    arrived.unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));
    assert!(proxy.terminate().success(), "SIGTERM ends the proxy cleanly:\n{}", proxy.log());
}

#[tokio::test]
async fn mysql_56_waits_for_a_source_that_comes_later() {
    source_comes_later(Version::Mysql56, Mode::FilePosition).await;
}

#[tokio::test]
async fn mysql_57_waits_for_a_source_that_comes_later() {
    source_comes_later(Version::Mysql57, Mode::AutoPosition).await;
}

#[tokio::test]
async fn mysql_97_waits_for_a_source_that_comes_later() {
    source_comes_later(Version::Mysql97, Mode::AutoPosition).await;
}

#[tokio::test]
async fn mariadb_1011_waits_for_a_source_that_comes_later() {
    source_comes_later(Version::Mariadb1011, Mode::MariadbGtid).await;
}

#[tokio::test]
async fn mariadb_1011_waits_at_a_position_for_a_source_that_comes_later() {
    source_comes_later(Version::Mariadb1011, Mode::FilePosition).await;
}

#[tokio::test]
async fn a_statement_that_stops_the_route_is_named_and_a_changed_rule_lets_it_go_on() {
    let kind = Kind { version: Version::Mysql57, mode: Mode::FilePosition, route: Route::Renamed, tls: false };
    let Some(mut pair) = unless_available(Pair::start(kind).await) else { return };
    let schema = "CREATE DATABASE storefront CHARACTER SET utf8mb4; CREATE DATABASE ledger; USE storefront;
        CREATE TABLE marker (n INT NOT NULL PRIMARY KEY); CREATE TABLE moved (a INT); INSERT INTO moved VALUES (1);";
    pair.source.script(schema).await;
    pair.catch_up(LIMIT).await;
    let (file, position) = pair.source.binlog_end().await;
    pair.source
        .script("RENAME TABLE storefront.moved TO ledger.moved; INSERT INTO storefront.marker VALUES (50)")
        .await;
    let error = pair.replica.io_error("RPX-4001", LIMIT).await;
    let group = format!("{file}:");
    for word in ["1236", &group, "RENAME TABLE", "rename_out"] {
        assert!(error.contains(word), "{word:?} is missing in {error:?}");
    }
    // All before it is there, nothing after it is.
    assert_eq!(pair.replica.value("SELECT COUNT(*) FROM shop_cn.moved").await, "1");
    assert_eq!(pair.replica.value("SELECT MAX(n) FROM shop_cn.marker").await, "1");
    let status = pair.replica.replica_status().await;
    assert_eq!(status.get("Exec_Master_Log_Pos"), position.to_string(), "{}", status.summary());

    pair.reconfigure("[routes.pair.ddl]\nrename_out = \"skip\"\n");
    pair.replica.stop_replica().await;
    pair.replica.start_replica().await;
    let passed = pair.replica.reaches("SELECT MAX(n) FROM shop_cn.marker", "50", LIMIT).await;
    passed.unwrap_or_else(|error| panic!("{error}\n{}", pair.proxy.log()));
    assert_eq!(
        pair.replica.value("SELECT COUNT(*) FROM shop_cn.moved").await,
        "1",
        "the skipped RENAME leaves the table"
    );
}

/// In served coordinates a changed rule set makes the replica's position void: it is told its place at the source, by number.
#[tokio::test]
async fn a_changed_rule_set_names_the_place_at_the_source_where_the_replica_goes_on() {
    let kind = Kind { version: Version::Mysql57, mode: Mode::FilePosition, route: Route::Growing, tls: false };
    let Some(mut pair) = unless_available(Pair::start(kind).await) else { return };
    let schema = "CREATE DATABASE storefront CHARACTER SET utf8mb4; USE storefront;
        CREATE TABLE marker (n INT NOT NULL PRIMARY KEY);";
    pair.source.script(schema).await;
    pair.catch_up(LIMIT).await;
    let (file, position) = pair.source.binlog_end().await;
    pair.reconfigure("[routes.pair.ddl]\nreference = \"skip\"\n");
    let error = pair.replica.io_error("RPX-3006", LIMIT).await;
    let place = format!("MASTER_LOG_FILE='{file}', MASTER_LOG_POS={position}");
    assert!(error.contains("1236") && error.contains(&place), "{place:?} is missing in {error:?}");
    let executed = pair.replica.replica_status().await.get("Exec_Master_Log_Pos").to_owned();
    assert!(error.contains(&format!("Exec_Master_Log_Pos is {executed}")), "{executed}: {error}");

    pair.replica.stop_replica().await;
    pair.replica.script(&format!("CHANGE MASTER TO {place}")).await;
    pair.replica.start_replica().await;
    pair.catch_up(LIMIT).await;
    assert!(pair.proxy.terminate().success(), "{}", pair.proxy.log());
}
