//! A reload while replicas are on the live tail: the route that changes does so between two transactions, and no other one notices.

use super::status_at;
use crate::support::fleet::Version;
use crate::support::process::free_port;
use crate::support::proxy::Proxy;
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;
use replproxy::status::Status;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

fn configuration(source: u16, [changed, steady]: [u16; 2], admin: u16, exclude: &str) -> String {
    let route = |name: &str, port: u16, objects: &str| {
        format!(
            "[routes.{name}]\nsource = \"s\"\nlisten = \"127.0.0.1:{port}\"\nuser = \"repl\"\npassword = \"secret\"\n\
             [[routes.{name}.objects]]\ndatabase = \"shop\"\n{objects}"
        )
    };
    let exclude = format!("[[routes.changed.objects]]\nexclude = \"shop.{exclude}\"\n");
    format!(
        "[proxy]\nserver_id = 4000001\nadmin = \"127.0.0.1:{admin}\"\n\
         [sources.s]\nhost = \"127.0.0.1\"\nport = {source}\nuser = \"repl\"\npassword = \"secret\"\ntls = \"disabled\"\n{}{}",
        route("changed", changed, &exclude),
        route("steady", steady, "")
    )
}

/// Waits until the status is as it should be.
async fn shows(proxy: &Proxy, admin: u16, what: &str, is_so: impl Fn(&Status) -> bool) {
    let end = Instant::now() + LIMIT;
    loop {
        let status = status_at(admin);
        if is_so(&status) {
            return;
        }
        assert!(Instant::now() < end, "{what}: {status:#?}\n{}", proxy.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn attaches(status: &Status, route: &str) -> u64 {
    status.routes.iter().find(|one| one.name == route).map_or(0, |one| one.attaches)
}

#[tokio::test]
async fn one_route_changes_between_two_transactions_and_the_other_goes_on_undisturbed() {
    let version = Version::Mariadb1011;
    let started = Server::start_all(std::array::from_fn(|_| (version, ServerOptions::new()))).await;
    let Some([source, first, second]): Option<[Server; 3]> = unless_available(started) else { return };
    let (ports, admin) = ([free_port(), free_port()], free_port());
    let of = |exclude: &str| configuration(source.port(), ports, admin, exclude);
    let proxy = Proxy::start(&of("nothing_yet"), &[ports[0], ports[1], admin]).await;
    let (file, position) = source.binlog_end().await;
    let starts = [Start::MariadbGtid(source.value("SELECT @@gtid_binlog_pos").await), Start::At(file, position)];
    for ((replica, port), start) in [&first, &second].into_iter().zip(ports).zip(&starts) {
        replica.script("SET sql_log_bin = 0; CREATE DATABASE shop").await;
        replica.follow(&Upstream::at(port), start).await;
        replica.start_replica().await;
    }
    let schema = "CREATE DATABASE shop; CREATE TABLE shop.work (id INT, part INT, PRIMARY KEY (id, part)); CREATE TABLE shop.hidden (a INT);";
    source.script(schema).await;
    let all_live = |status: &Status| status.replicas.iter().filter(|replica| replica.feed == "live").count() == 2;
    shows(&proxy, admin, "both replicas are on a live tail", all_live).await;

    // The reload comes in the middle of transactions of two statements.
    let transaction = |id: u32| {
        format!("BEGIN; INSERT INTO shop.work VALUES ({id}, 1); INSERT INTO shop.work VALUES ({id}, 2); COMMIT;")
    };
    let work: String = (1..=400).map(transaction).collect();
    let reload = async {
        let here = first.reaches("SELECT COUNT(*) > 20 FROM shop.work", "1", LIMIT).await;
        here.unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));
        proxy.reconfigure(&of("hidden"));
    };
    tokio::join!(source.script(&work), reload);
    shows(&proxy, admin, "the replica is at the new rules", |status| attaches(status, "changed") == 2).await;
    source.script("INSERT INTO shop.hidden VALUES (1); INSERT INTO shop.work VALUES (401, 1);").await;

    for (replica, hidden) in [(&first, "0"), (&second, "1")] {
        let all = "SELECT CONCAT(COUNT(*), ' ', MAX(id)) FROM shop.work";
        let arrived = replica.reaches(all, "801 401", LIMIT).await;
        arrived.unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));
        assert_eq!(replica.value("SELECT COUNT(*) FROM shop.hidden").await, hidden, "{}", proxy.log());
        assert!(replica.replica_status().await.runs());
    }
    shows(&proxy, admin, "both replicas are on a live tail again", all_live).await;
    let status = status_at(admin);
    let log = proxy.log();
    assert_eq!(attaches(&status, "steady"), 1, "{log}");
    assert_eq!(log.matches("replica detached").count(), 1, "{log}");
    assert!(log.contains("why=\"the route has a new configuration, to which the replica comes back\""), "{log}");
}
