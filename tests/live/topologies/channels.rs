//! One destination with two channels on two routes of one source: the source sees two replicas, neither of which ends the other.

use std::time::Duration;

use super::{LIMIT, ROUNDS, SCHEMA, arrives, databases, has, writes};
use crate::support::compare::differences;
use crate::support::fleet::Version;
use crate::support::recipe::Recipe;
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;

const ROUTES: [&str; 2] = ["shop", "stock"];

/// The dump threads at the source, by their numbers.
async fn dumps(source: &Server) -> Vec<String> {
    source
        .script("SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%' ORDER BY id")
        .await
        .concat()
}

async fn two_channels(version: Version) {
    let options = [ServerOptions::new(), ServerOptions::new().crash_safe_replica(version)];
    let Some([source, destination]) = unless_available(Server::start_two([version; 2], options).await) else { return };
    let mut recipe = Recipe::of("Two channels of one source");
    recipe.source("primary", 1, &source, false);
    let ports = ROUTES.map(|route| recipe.listen(route));
    let mut proxy = recipe.start().await;
    source.script(SCHEMA).await;
    destination.script(SCHEMA.split_once("USE").expect("databases come first").0).await;
    let (file, _) = source.binlog_end().await;
    for (name, port) in ROUTES.into_iter().zip(ports) {
        destination.follow_in(name, &Upstream::at(port), &Start::At(file.clone(), 4)).await;
        destination.start_replica_in(name).await;
    }
    for round in 0..ROUNDS {
        if round == 1 {
            let script = writes(0, round);
            let meanwhile = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                proxy.kill_and_restart().await;
            };
            tokio::join!(source.script(&script), meanwhile);
        } else {
            // Long enough that a replica that was ended would be back, with another thread.
            arrives(&source, round * 2 + 1, &destination, "shop.marker").await;
            // The other channel may come later.
            let waited = std::time::Instant::now();
            let before = loop {
                let dumps = dumps(&source).await;
                if dumps.len() == ROUTES.len() {
                    break dumps;
                }
                assert!(waited.elapsed() < LIMIT, "{dumps:?}, not a thread for each channel:\n{}", proxy.log());
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            source.script(&writes(0, round)).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(dumps(&source).await, before, "the same threads:\n{}", proxy.log());
        }
    }
    source
        .script(
            "CREATE TABLE stock.marker (n INT NOT NULL PRIMARY KEY) ENGINE=InnoDB; INSERT INTO stock.marker VALUES (1)",
        )
        .await;
    arrives(&source, 100, &destination, "shop.marker").await;
    has(&destination, 1, "stock.marker").await;
    let mapping = databases(&[["shop", "shop"], ["stock", "stock"]], &["shop.audit_"]);
    let findings = differences(&source, &destination, &mapping).await;
    assert!(findings.is_empty(), "{version:?}:\n{}", findings.join("\n"));
    assert!(proxy.terminate().success(), "SIGTERM ends the proxy cleanly:\n{}", proxy.log());
}

/// The channel's error, once it has one.
async fn refusal(destination: &Server, channel: &str) -> String {
    for _ in 0..600 {
        let status = destination.replica_status_in(channel).await;
        if !status.get("Last_IO_Error").is_empty() {
            return status.get("Last_IO_Error").to_owned();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the channel {channel} runs: {}", destination.replica_status_in(channel).await.summary());
}

/// Each route passes on every GTID, so two of them in one replica would take the content from each other.
#[tokio::test]
async fn mysql_57_two_channels_by_gtid_are_refused_and_one_can_take_the_place_of_the_other() {
    let version = Version::Mysql57;
    let options = ServerOptions::new().gtid(version);
    let options = [options.clone(), options.crash_safe_replica(version)];
    let Some([source, destination]) = unless_available(Server::start_two([version; 2], options).await) else { return };
    let mut recipe = Recipe::of("Two channels of one source");
    recipe.source("primary", 1, &source, false);
    let ports = ROUTES.map(|route| recipe.listen(route));
    let proxy = recipe.start().await;
    destination.script("SET sql_log_bin = 0; CREATE DATABASE shop CHARACTER SET utf8mb4").await;
    for (name, port) in ROUTES.into_iter().zip(ports) {
        destination.follow_in(name, &Upstream::at(port), &Start::AutoPosition).await;
    }
    source.script(SCHEMA).await;
    destination.start_replica_in("shop").await;
    arrives(&source, 1, &destination, "shop.marker").await;
    destination.start_replica_in("stock").await;
    let error = refusal(&destination, "stock").await;
    assert!(error.contains("RPX-3011") && error.contains("route `shop`"), "{error}\n{}", proxy.log());
    // The first goes on.
    arrives(&source, 2, &destination, "shop.marker").await;
    assert!(destination.replica_status_in("shop").await.runs());
    destination.script("STOP SLAVE FOR CHANNEL 'shop'").await;
    destination.script("START SLAVE FOR CHANNEL 'stock'").await;
    source.script("INSERT INTO shop.marker VALUES (3)").await;
    let executed = source.value("SELECT @@GLOBAL.gtid_executed").await;
    if let Err(error) = destination.reaches("SELECT @@GLOBAL.gtid_executed", &executed, LIMIT).await {
        panic!("{error}\n{}", proxy.log());
    }
}

#[tokio::test]
async fn mysql_57_two_channels_of_one_source() {
    two_channels(Version::Mysql57).await;
}

#[tokio::test]
async fn mariadb_1011_two_connections_of_one_source() {
    two_channels(Version::Mariadb1011).await;
}
