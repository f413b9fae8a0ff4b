//! A MariaDB replica that goes by GTID keeps the part of a transaction that it has when its connection is cut, and leaves out as many events
//! when the transaction comes again. Where it comes out with other events by then, it must not.

use crate::support::fleet::Version;
use crate::support::link::Link;
use crate::support::process::free_port;
use crate::support::proxy::Proxy;
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// Statements of a transaction, in each of the two tables.
const STATEMENTS: u32 = 60;

/// Where the transaction is cut, of about a megabyte.
const CUT_AFTER: u64 = 300_000;

/// What replicas report of a cut that is mended.
const AGAIN: &str = "the replica takes the transaction again from its beginning";

fn configuration(source: u16, port: u16, addition: &str) -> String {
    format!(
        "[proxy]\nserver_id = 4000001\n\
         [sources.s]\nhost = \"127.0.0.1\"\nport = {source}\nuser = \"repl\"\npassword = \"secret\"\ntls = \"disabled\"\n\
         [routes.r]\nsource = \"s\"\nlisten = \"127.0.0.1:{port}\"\nuser = \"repl\"\npassword = \"secret\"\n\
         [[routes.r.objects]]\ndatabase = \"shop\"\n{addition}"
    )
}

/// Rows of several events, of which nothing tells that one came twice.
fn transaction(number: u32) -> String {
    let rows = (0..STATEMENTS).map(|row| {
        let values: Vec<_> = (0..3).map(|part| format!("({number}, {row}, {part}, REPEAT('x', 3000))")).collect();
        let values = values.join(", ");
        format!("INSERT INTO shop.a VALUES {values}; INSERT INTO shop.b VALUES {values};")
    });
    format!("BEGIN; {} COMMIT;", rows.collect::<String>())
}

/// What happens while the replica is cut off.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meanwhile {
    Nothing,
    Reload,
    Restart,
    Failover,
}

#[tokio::test]
async fn a_transaction_that_comes_out_otherwise_is_not_put_together_from_two_halves() {
    let version = Version::Mariadb1011;
    // Two servers of one cluster: the same id, the same GTIDs, the same file names, and rows in other events.
    let of_one_cluster =
        |size: u32| ServerOptions::new().arg("--server-id=77").arg(format!("--binlog-row-event-max-size={size}"));
    let started = Server::start_all(
        [of_one_cluster(8192), of_one_cluster(65536), ServerOptions::new()].map(|options| (version, options)),
    )
    .await;
    let Some([first, second, replica]): Option<[Server; 3]> = unless_available(started) else { return };
    let (port, upstream, link) = (free_port(), Link::listen().await, Link::listen().await);
    upstream.lead_to(first.port());
    link.lead_to(port);
    let of = |addition: &str| configuration(upstream.port(), port, addition);
    let (without_b, with_b) = (of("[[routes.r.objects]]\nexclude = \"shop.b\"\n"), of(""));
    let mut proxy = Proxy::start(&without_b, &[port]).await;
    replica.script("SET sql_log_bin = 0; CREATE DATABASE shop").await;
    let table = |name: &str| format!("CREATE TABLE shop.{name} (n INT, r INT, part INT, v TEXT);");
    replica.script(&format!("SET sql_log_bin = 0; {}", table("b"))).await;
    replica.follow(&Upstream::at(link.port()), &Start::MariadbGtid(String::new())).await;
    replica.start_replica().await;
    for source in [&first, &second] {
        source.script(&format!("CREATE DATABASE shop; {} {}", table("a"), table("b"))).await;
    }
    replica.reaches("SELECT COUNT(*) FROM shop.a", "0", LIMIT).await.unwrap_or_else(|error| panic!("{error}"));

    use Meanwhile::{Failover, Nothing, Reload, Restart};
    let mut has_b = false;
    for (number, meanwhile) in (1..).zip([Nothing, Reload, Restart, Failover]) {
        let detached = || proxy.log().matches("replica detached").count();
        let (before, again) = (detached(), proxy.log().matches(AGAIN).count());
        link.lead_to(0);
        link.cut_after(CUT_AFTER);
        for source in [&first, &second] {
            source.script(&transaction(number)).await;
        }
        until(&proxy, "it is cut", || detached() > before).await;
        if matches!(meanwhile, Reload | Restart) {
            has_b = !has_b;
        }
        let now = if has_b { &with_b } else { &without_b };
        match meanwhile {
            Nothing => {}
            Reload => reload(&proxy, now).await,
            Restart => {
                proxy.kill();
                proxy.start_again_with(now).await;
            }
            Failover => {
                upstream.lead_to(second.port());
                upstream.cut();
            }
        }
        link.heal();
        link.lead_to(port);
        let selected = |table: &str| format!("SELECT COUNT(*) FROM shop.{table} WHERE n = {number}");
        let all = (STATEMENTS * 3).to_string();
        let arrived = replica.reaches(&selected("a"), &all, LIMIT).await;
        arrived.unwrap_or_else(|error| panic!("{meanwhile:?}: {error}\n{}\n{}", proxy.log(), replica.log()));
        let b = replica.value(&selected("b")).await;
        assert_eq!(b, if has_b { all.as_str() } else { "0" }, "{meanwhile:?}:\n{}\n{}", proxy.log(), replica.log());
        let status = replica.replica_status().await;
        assert!(status.runs(), "{meanwhile:?}: {}\n{}", status.summary(), proxy.log());
        let taken_again = proxy.log().matches(AGAIN).count() - again;
        assert_eq!(taken_again, usize::from(meanwhile != Nothing), "{meanwhile:?}:\n{}", proxy.log());
    }

    // What is in a table without transactions cannot be taken back: the replica stops, until the rules are again those of the part that it
    // has.
    let detached = || proxy.log().matches("replica detached").count();
    for source in [&first, &second] {
        source.script("CREATE TABLE shop.m (n INT, v TEXT) ENGINE=MyISAM").await;
    }
    replica.reaches("SELECT COUNT(*) FROM shop.m", "0", LIMIT).await.unwrap_or_else(|error| panic!("{error}"));
    let before = detached();
    link.lead_to(0);
    link.cut_after(CUT_AFTER);
    let rows: Vec<_> = (0..300).map(|row| format!("({row}, REPEAT('x', 3000))")).collect();
    for source in [&first, &second] {
        source.script(&format!("INSERT INTO shop.m VALUES {}", rows.join(", "))).await;
    }
    until(&proxy, "it is cut", || detached() > before).await;
    reload(&proxy, &with_b).await;
    link.heal();
    link.lead_to(port);
    // Its SQL thread goes on, so that it still has the part.
    for _ in 0..2 {
        let error = refused(&replica).await;
        assert!(error.contains("1236") && error.contains("0-77-"), "{error}");
        replica.script("START SLAVE IO_THREAD").await;
    }
    refused(&replica).await;
    reload(&proxy, &without_b).await;
    replica.script("START SLAVE IO_THREAD").await;
    let arrived = replica.reaches("SELECT COUNT(*) FROM shop.m", "300", LIMIT).await;
    arrived.unwrap_or_else(|error| panic!("{error}\n{}\n{}", proxy.log(), replica.log()));
    first.script("INSERT INTO shop.a VALUES (99, 99, 99, 'x')").await;
    second.script("INSERT INTO shop.a VALUES (99, 99, 99, 'x')").await;
    let arrived = replica.reaches("SELECT COUNT(*) FROM shop.a WHERE n = 99", "1", LIMIT).await;
    arrived.unwrap_or_else(|error| panic!("{error}\n{}\n{}", proxy.log(), replica.log()));
    assert_eq!(replica.value("SELECT COUNT(*) FROM shop.m").await, "300", "{}", proxy.log());
}

/// Waits until the replica's receiver has stopped with the error. A start before its end would be none; a start forgets the error.
async fn refused(replica: &Server) -> String {
    let end = Instant::now() + LIMIT;
    loop {
        let status = replica.replica_status().await;
        let error = status.get("Last_IO_Error");
        if status.get("Slave_IO_Running") == "No" && error.contains("RPX-3012") {
            return error.to_owned();
        }
        assert!(Instant::now() < end, "not refused:\n{}", status.summary());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until it is so.
async fn until(proxy: &Proxy, what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < end, "{what}:\n{}", proxy.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the process has the configuration.
async fn reload(proxy: &Proxy, configuration: &str) {
    // The last that a reload says, after it has changed the route.
    let reloads = || proxy.log().matches("no admin listener").count();
    let before = reloads();
    proxy.reconfigure(configuration);
    until(proxy, "it is reloaded", || reloads() > before).await;
}

/// A MySQL replica by file and position asks for the rest of a transaction by the count of what it has, which is another place under other
/// rules.
#[tokio::test]
async fn a_place_inside_of_a_transaction_means_nothing_under_other_rules() {
    let version = Version::Mysql57;
    let started = Server::start_two([version, version], [ServerOptions::new(), ServerOptions::new()]).await;
    let Some([source, replica]) = unless_available(started) else { return };
    let (port, link) = (free_port(), Link::listen().await);
    link.lead_to(port);
    let of = |addition: &str| configuration(source.port(), port, addition);
    // Rows of both tables have the same length, so each place of the one is a place of the other.
    let (without_b, with_b) = (of("[[routes.r.objects]]\nexclude = \"shop.b\"\n"), of(""));
    let proxy = Proxy::start(&without_b, &[port]).await;
    let (file, position) = source.binlog_end().await;
    let tables = ["a", "b"].map(|name| format!("CREATE TABLE shop.{name} (n INT, r INT, part INT, v TEXT);")).concat();
    // What is left out so far is there.
    let b = "CREATE TABLE shop.b (n INT, r INT, part INT, v TEXT)";
    replica.script(&format!("SET sql_log_bin = 0; CREATE DATABASE shop; {b}")).await;
    replica.follow(&Upstream::at(link.port()), &Start::At(file, position)).await;
    replica.start_replica().await;
    source.script(&format!("CREATE DATABASE shop; {tables}")).await;
    let mut number = 0;
    for remedy in ["the former rules", "the transaction from its beginning"] {
        let count = |table: &str, number: u32| format!("SELECT COUNT(*) FROM shop.{table} WHERE n = {number}");
        let arrives = async |query: String, rows: u32| {
            let arrived = replica.reaches(&query, &rows.to_string(), LIMIT).await;
            arrived.unwrap_or_else(|error| panic!("{remedy}: {error}\n{}\n{}", proxy.log(), replica.log()));
        };
        arrives("SELECT COUNT(*) FROM shop.a".to_owned(), number * STATEMENTS * 3).await;
        number += 1;
        let detached = || proxy.log().matches("replica detached").count();
        let before = detached();
        link.lead_to(0);
        link.cut_after(CUT_AFTER);
        source.script(&transaction(number)).await;
        until(&proxy, "it is cut", || detached() > before).await;
        reload(&proxy, &with_b).await;
        link.heal();
        link.lead_to(port);
        let error = refused(&replica).await;
        assert!(error.contains("1236") && error.contains("Exec_Master_Log_Pos"), "{error}");
        if number == 1 {
            reload(&proxy, &without_b).await;
            replica.script("START SLAVE IO_THREAD").await;
        } else {
            replica.stop_replica().await;
            let status = replica.replica_status().await;
            let (file, position) = (status.get("Relay_Master_Log_File"), status.get("Exec_Master_Log_Pos"));
            let position = position.parse().expect("a position is a number");
            replica.follow(&Upstream::at(link.port()), &Start::At(file.to_owned(), position)).await;
            replica.start_replica().await;
        }
        arrives(count("a", number), STATEMENTS * 3).await;
        arrives(count("b", number), if number == 1 { 0 } else { STATEMENTS * 3 }).await;
    }
    let status = replica.replica_status().await;
    assert!(status.runs(), "{}\n{}", status.summary(), proxy.log());
}
