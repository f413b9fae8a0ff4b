//! A source of several servers: one is lost, replicas by GTID go on at the next, replicas by file and position are refused there.

use std::time::Duration;

use crate::support::fleet::Version;
use crate::support::link::Link;
use crate::support::pair::Mode;
use crate::support::process::free_port;
use crate::support::proxy::Proxy;
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;

const LIMIT: Duration = Duration::from_secs(60);

fn configuration(source_port: u16, failover: &str, port: u16, tls: bool) -> String {
    let tls = if tls { "required" } else { "disabled" };
    format!(
        "[proxy]\nserver_id = 4000001\n\
         [sources.primary]\nhost = \"127.0.0.1\"\nport = {source_port}\nuser = \"repl\"\npassword = \"secret\"\ntls = \"{tls}\"\n{failover}\n\
         [routes.pair]\nsource = \"primary\"\nlisten = \"127.0.0.1:{port}\"\nuser = \"repl\"\npassword = \"secret\"\n\
         [[routes.pair.objects]]\ndatabase = \"shop\"\nrename = \"shop_of_china\"\n"
    )
}

async fn goes_on_at_the_second_server(version: Version, mode: Mode) {
    let options = || match mode {
        Mode::AutoPosition => ServerOptions::new().gtid(version),
        _ => ServerOptions::new().arg("--log-slave-updates"),
    };
    let started = Server::start_all(std::array::from_fn(|_| (version, options()))).await;
    let Some([mut first, mut second, replica]): Option<[Server; 3]> = unless_available(started) else { return };
    let tls = version == Version::Mysql97;
    let start = || match mode {
        Mode::MariadbGtid => Start::MariadbGtid(String::new()),
        _ => Start::AutoPosition,
    };
    let directly = |port| if tls { Upstream::at(port).with_tls() } else { Upstream::at(port) };
    second.follow(&directly(first.port()), &start()).await;
    second.start_replica().await;
    let port = free_port();
    let failover = format!("failover = [\"127.0.0.1:{}\"]", second.port());
    let mut proxy = Proxy::start(&configuration(first.port(), &failover, port, tls), &[port]).await;
    replica.script("SET sql_log_bin = 0; CREATE DATABASE shop_of_china").await;
    replica.follow(&directly(port), &start()).await;
    replica.start_replica().await;

    first.script("CREATE DATABASE shop; CREATE TABLE shop.t (a INT PRIMARY KEY); INSERT INTO shop.t VALUES (1)").await;
    let here = "SELECT MAX(a) FROM shop_of_china.t";
    replica.reaches(here, "1", LIMIT).await.unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));
    second.reaches("SELECT MAX(a) FROM shop.t", "1", LIMIT).await.unwrap_or_else(|error| panic!("{error}"));

    // The second server does not get what the first one writes last: it may not take over before it has it.
    second.stop_replica().await;
    first.script("INSERT INTO shop.t VALUES (2)").await;
    replica.reaches(here, "2", LIMIT).await.unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));
    first.kill();
    proxy.logs("RPX-2014", LIMIT).await;
    first.restart().await;
    second.start_replica().await;
    first.script("INSERT INTO shop.t VALUES (3)").await;
    second.reaches("SELECT MAX(a) FROM shop.t", "3", LIMIT).await.unwrap_or_else(|error| panic!("{error}"));
    replica.reaches(here, "3", LIMIT).await.unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));

    let attaches = proxy.log().matches("replica attached").count();
    first.kill();
    second.stop_replica().await;
    second.script("INSERT INTO shop.t VALUES (4)").await;
    replica.reaches(here, "4", LIMIT).await.unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));
    assert!(replica.replica_status().await.runs());
    let log = proxy.log();
    assert!(log.contains("the stream goes on at another server"), "{log}");
    assert_eq!(log.matches("replica attached").count(), attaches, "behind the replica's back:\n{log}");

    // A replica that comes back attaches to the server in use, and no GTID is missing.
    replica.stop_replica().await;
    second.script("INSERT INTO shop.t VALUES (5)").await;
    replica.start_replica().await;
    replica.reaches(here, "5", LIMIT).await.unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));
    if mode == Mode::AutoPosition {
        let executed = "SELECT @@GLOBAL.gtid_executed";
        assert_eq!(replica.value(executed).await, second.value(executed).await);
    }

    // Only the first server is left, which was away when the last was written: the replica goes on trying, and shows why in vain.
    replica.stop_replica().await;
    second.kill();
    first.restart().await;
    replica.start_replica().await;
    let error = replica.io_error("RPX-2014", LIMIT).await;
    assert!(error.contains("lacks") && error.contains("next: wait"), "{error}");
    assert_ne!(replica.replica_status().await.get("Slave_IO_Running"), "No", "it goes on trying");
    assert!(proxy.terminate().success(), "{}", proxy.log());
}

#[tokio::test]
async fn mysql_57_goes_on_at_the_second_server() {
    goes_on_at_the_second_server(Version::Mysql57, Mode::AutoPosition).await;
}

#[tokio::test]
async fn mysql_97_goes_on_at_the_second_server() {
    goes_on_at_the_second_server(Version::Mysql97, Mode::AutoPosition).await;
}

#[tokio::test]
async fn mariadb_1011_goes_on_at_the_second_server() {
    goes_on_at_the_second_server(Version::Mariadb1011, Mode::MariadbGtid).await;
}

/// An address that another server has taken over: the same file and position mean something else there.
#[tokio::test]
async fn a_replica_by_file_and_position_is_refused_by_another_server_at_the_same_address() {
    let version = Version::Mysql57;
    let started = Server::start_all(std::array::from_fn(|_| (version, ServerOptions::new()))).await;
    let Some([mut first, second, replica]): Option<[Server; 3]> = unless_available(started) else { return };
    let (port, link) = (free_port(), Link::listen().await);
    link.lead_to(first.port());
    let mut proxy = Proxy::start(&configuration(link.port(), "", port, false), &[port]).await;
    replica.script("CREATE DATABASE shop_of_china").await;
    let (file, position) = first.binlog_end().await;
    replica.follow(&Upstream::at(port), &Start::At(file, position)).await;
    replica.start_replica().await;
    let schema = "CREATE DATABASE shop; CREATE TABLE shop.t (a INT PRIMARY KEY); INSERT INTO shop.t VALUES (1);";
    first.script(schema).await;
    second
        .script(&format!("{schema} {}", "INSERT INTO shop.t VALUES (2); DELETE FROM shop.t WHERE a = 2;".repeat(20)))
        .await;
    let here = "SELECT MAX(a) FROM shop_of_china.t";
    replica.reaches(here, "1", LIMIT).await.unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));

    link.lead_to(second.port());
    first.kill();
    let error = replica.io_error("RPX-2013", LIMIT).await;
    let uuid = second.value("SELECT @@server_uuid").await;
    assert!(error.contains("1236") && error.contains(&uuid), "{error}");
    assert_eq!(replica.value(here).await, "1");

    // The way out that the message names: a position of the server that answers now.
    let (file, position) = second.binlog_end().await;
    replica.stop_replica().await;
    replica.follow(&Upstream::at(port), &Start::At(file, position)).await;
    replica.start_replica().await;
    second.script("INSERT INTO shop.t VALUES (7)").await;
    replica.reaches(here, "7", LIMIT).await.unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));
    assert!(proxy.terminate().success(), "{}", proxy.log());
}
