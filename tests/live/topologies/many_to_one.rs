//! Two sources and one destination, which follows each of them in a channel (MySQL) or a named connection (MariaDB). One
//! database of both comes together in one, another one is kept apart under two names.

use std::time::Duration;

use super::{ROUNDS, SCHEMA, arrives, databases, passing_on, upstream, wants_tls, without_holes, writes};
use crate::support::compare::differences_of;
use crate::support::fleet::Version;
use crate::support::pair::Mode;
use crate::support::recipe::Recipe;
use crate::support::replica::Start;
use crate::support::server::Server;
use crate::support::unless_available;

const NAMES: [&str; 2] = ["east", "west"];

async fn many_to_one(version: Version, mode: Mode) {
    let options = |domain: u32| match mode {
        Mode::MariadbGtid => passing_on(version, mode).arg(format!("--gtid-domain-id={domain}")),
        _ => passing_on(version, mode),
    };
    let wanted = [1, 2, 3].map(|domain| (version, options(domain)));
    let Some([east, west, destination]) = unless_available(Server::start_all(wanted).await) else { return };
    let sources = [&east, &west];
    let mut recipe = Recipe::of("Many to one");
    for (name, source) in NAMES.into_iter().zip(sources) {
        recipe.source(name, 0, source, wants_tls(version));
    }
    let ports = NAMES.map(|name| recipe.listen(name));
    let mut proxy = recipe.start().await;
    let preparation = "SET sql_log_bin = 0; CREATE DATABASE shop CHARACTER SET utf8mb4; CREATE DATABASE stock_east CHARACTER SET utf8mb4;
        CREATE DATABASE stock_west CHARACTER SET utf8mb4;
        CREATE TABLE stock_west.items (id INT NOT NULL PRIMARY KEY, pieces INT NOT NULL) ENGINE=InnoDB;";
    destination.script(preparation).await;
    for (number, source) in sources.into_iter().enumerate() {
        let start = match mode {
            // Nothing has been written so far. The position is that of all connections together.
            Mode::MariadbGtid => Start::MariadbGtid(String::new()),
            _ => Start::at_the_end_of(source, mode).await,
        };
        destination.follow_in(NAMES[number], &upstream(version, ports[number]), &start).await;
    }
    for name in NAMES {
        destination.start_replica_in(name).await;
    }
    // A definition of what comes together is made in the east first, and flows from there.
    east.script(SCHEMA).await;
    arrives(&east, 1, &destination, "shop.marker").await;
    west.script(SCHEMA).await;
    for round in 0..ROUNDS {
        if round == 2 {
            let change = "ALTER TABLE shop.orders ADD COLUMN paid INT NOT NULL DEFAULT 0";
            east.script(change).await;
            arrives(&east, 2, &destination, "shop.marker").await;
            west.script(change).await;
        }
        let scripts = [writes(1, round), writes(2, round)];
        let meanwhile = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if round == 1 {
                proxy.kill_and_restart().await;
            }
        };
        tokio::join!(east.script(&scripts[0]), west.script(&scripts[1]), meanwhile);
    }
    arrives(&east, 10, &destination, "shop.marker").await;
    arrives(&west, 20, &destination, "shop.marker").await;
    let audit = &["shop.audit_"];
    let mappings = NAMES.map(|name| databases(&[["shop", "shop"], ["stock", &format!("stock_{name}")]], audit));
    let findings = differences_of(&[(&east, &mappings[0]), (&west, &mappings[1])], &destination).await;
    assert!(findings.is_empty(), "{version:?} {mode:?}:\n{}", findings.join("\n"));
    for name in NAMES {
        let status = destination.replica_status_in(name).await;
        assert!(status.runs(), "{version:?} {name}:\n{}", status.summary());
    }
    for source in sources {
        match mode {
            Mode::AutoPosition => {
                let executed = without_holes(&source.value("SELECT @@GLOBAL.gtid_executed").await);
                let applied = without_holes(&destination.value("SELECT @@GLOBAL.gtid_executed").await);
                assert!(applied.contains(&executed), "every GTID arrives: {executed} in {applied}");
            }
            _ => {
                let written = source.value("SELECT @@gtid_binlog_pos").await;
                let applied = destination.value("SELECT @@gtid_slave_pos").await;
                assert!(applied.split(',').any(|gtid| gtid == written), "every GTID arrives: {written} in {applied}");
            }
        }
    }
    assert!(proxy.terminate().success(), "SIGTERM ends the proxy cleanly:\n{}", proxy.log());
}

#[tokio::test]
async fn mysql_57_channels() {
    many_to_one(Version::Mysql57, Mode::AutoPosition).await;
}

#[tokio::test]
async fn mysql_97_channels() {
    many_to_one(Version::Mysql97, Mode::AutoPosition).await;
}

#[tokio::test]
async fn mariadb_1011_named_connections() {
    many_to_one(Version::Mariadb1011, Mode::MariadbGtid).await;
}
