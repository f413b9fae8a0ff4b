//! A server behind a route that is itself the source of another route.

use std::time::Duration;

use super::{ROUNDS, SCHEMA, agree, arrives, databases, passing_on, upstream, wants_tls, without_holes, writes};
use crate::support::compare::differences;
use crate::support::fleet::Version;
use crate::support::pair::Mode;
use crate::support::recipe::Recipe;
use crate::support::replica::Start;
use crate::support::server::Server;
use crate::support::unless_available;

async fn cascade(version: Version, mode: Mode) {
    let wanted = [(); 3].map(|()| (version, passing_on(version, mode)));
    let Some([source, middle, last]) = unless_available(Server::start_all(wanted).await) else { return };
    let mut recipe = Recipe::of("Cascade");
    recipe.source("primary", 1, &source, wants_tls(version));
    recipe.source("middle", 2, &middle, wants_tls(version));
    let ports = [recipe.listen("to_middle"), recipe.listen("to_branch")];
    let mut proxy = recipe.start().await;
    middle.script("SET sql_log_bin = 0; CREATE DATABASE shop CHARACTER SET utf8mb4").await;
    last.script("SET sql_log_bin = 0; CREATE DATABASE shop_of_the_branch CHARACTER SET utf8mb4").await;
    for (upper, lower, port) in [(&source, &middle, ports[0]), (&middle, &last, ports[1])] {
        lower.follow(&upstream(version, port), &Start::at_the_end_of(upper, mode).await).await;
        lower.start_replica().await;
    }
    source.script(SCHEMA).await;
    for round in 0..ROUNDS {
        let script = writes(0, round);
        let meanwhile = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            match round {
                1 => proxy.kill_and_restart().await,
                2 => drop(
                    source
                        .script("ALTER TABLE shop.orders ADD COLUMN paid INT NOT NULL DEFAULT 0, ADD INDEX (note(20))")
                        .await,
                ),
                _ => {}
            }
        };
        tokio::join!(source.script(&script), meanwhile);
    }
    source.script("CREATE VIEW shop.paid AS SELECT id FROM shop.orders WHERE paid = 1; UPDATE shop.orders SET paid = 1 WHERE id % 3 = 0").await;
    arrives(&source, 1, &last, "shop_of_the_branch.marker").await;
    for (replica, name) in [(&middle, "shop"), (&last, "shop_of_the_branch")] {
        let findings = differences(&source, replica, &databases(&[["shop", name]], &["shop.audit_"])).await;
        assert!(findings.is_empty(), "{version:?} {mode:?} {name}:\n{}", findings.join("\n"));
        let status = replica.replica_status().await;
        assert!(status.runs(), "{version:?} {mode:?} {name}:\n{}", status.summary());
    }
    match mode {
        Mode::AutoPosition => {
            let executed = agree("SELECT @@GLOBAL.gtid_executed", [&source, &last]).await;
            assert_eq!(without_holes(&executed).split(',').count(), 1, "of the source alone: {executed}");
        }
        Mode::MariadbGtid => {
            let written = source.value("SELECT @@gtid_binlog_pos").await;
            assert_eq!(last.value("SELECT @@gtid_slave_pos").await, written, "every GTID arrives");
        }
        Mode::FilePosition => {}
    }
    assert!(proxy.terminate().success(), "SIGTERM ends the proxy cleanly:\n{}", proxy.log());
}

#[tokio::test]
async fn mysql_57_auto_position() {
    cascade(Version::Mysql57, Mode::AutoPosition).await;
}

#[tokio::test]
async fn mysql_57_file_and_position() {
    cascade(Version::Mysql57, Mode::FilePosition).await;
}

#[tokio::test]
async fn mariadb_1011_gtid() {
    cascade(Version::Mariadb1011, Mode::MariadbGtid).await;
}
