//! One source and eight replicas of two versions, two on each of four routes, by GTID and by file and position.

use std::time::Duration;

use super::{ROUNDS, SCHEMA, agree, databases, has, without_holes, writes};
use crate::support::compare::{Mapping, differences};
use crate::support::fleet::Version;
use crate::support::pair::Mode;
use crate::support::recipe::Recipe;
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;

/// The routes, with the name of `shop` behind each.
const ROUTES: [(&str, &str); 4] =
    [("everything", "shop"), ("shop", "shop"), ("branch", "shop_of_the_branch"), ("archive", "shop")];

/// What a route leads to its replicas.
fn mapping(route: &str) -> Mapping {
    match route {
        "everything" => Mapping::identity(),
        "shop" => databases(&[["shop", "shop"]], &["shop.audit_"]),
        "branch" => databases(&[["shop", "shop_of_the_branch"]], &[]),
        _ => databases(&[["shop", "shop"]], &["shop.stays_"]),
    }
}

#[tokio::test]
async fn mysql_56_and_eight_replicas() {
    let options =
        |version| ServerOptions::new().gtid(version).crash_safe_replica(version).arg("--innodb-buffer-pool-size=16M");
    let mut wanted = vec![(Version::Mysql56, options(Version::Mysql56))];
    for _ in ROUTES {
        wanted.extend([Version::Mysql56, Version::Mysql57].map(|version| (version, options(version))));
    }
    let Some(servers) = unless_available(Server::start_many(wanted).await) else { return };
    let (source, replicas) = servers.split_first().expect("there are nine");
    let mut recipe = Recipe::of("One to many");
    recipe.source("primary", 1, source, false);
    let ports = ROUTES.map(|(route, _)| recipe.listen(route));
    let mut proxy = recipe.start().await;
    for (number, replica) in replicas.iter().enumerate() {
        let (route, shop) = ROUTES[number / 2];
        if route != "everything" {
            replica.script(&format!("SET sql_log_bin = 0; CREATE DATABASE {shop} CHARACTER SET utf8mb4")).await;
        }
        // The two of a route differ in how they keep their place, and neither version goes by one of them only.
        let mode = if (number / 2 + number) % 2 == 0 { Mode::AutoPosition } else { Mode::FilePosition };
        replica.follow(&Upstream::at(ports[number / 2]), &Start::at_the_end_of(source, mode).await).await;
        replica.start_replica().await;
    }
    source.script(SCHEMA).await;
    let old = "CREATE TABLE shop.stays_log (id INT NOT NULL PRIMARY KEY) ENGINE=InnoDB; INSERT INTO shop.stays_log VALUES (1), (2);
        CREATE TABLE shop.stays_old (id INT NOT NULL PRIMARY KEY) ENGINE=InnoDB; INSERT INTO shop.stays_old VALUES (1), (2), (3);";
    source.script(old).await;
    for round in 0..ROUNDS {
        let script = writes(0, round);
        let meanwhile = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            match round {
                1 => proxy.kill_and_restart().await,
                2 => drop(source.script("TRUNCATE TABLE shop.stays_log; DROP TABLE shop.stays_old; ALTER TABLE shop.orders ADD COLUMN paid INT NOT NULL DEFAULT 0").await),
                _ => {}
            }
        };
        tokio::join!(source.script(&script), meanwhile);
    }
    source.script("UPDATE shop.orders SET paid = 1 WHERE id % 3 = 0; INSERT INTO shop.marker VALUES (1)").await;
    for (number, replica) in replicas.iter().enumerate() {
        let (route, shop) = ROUTES[number / 2];
        has(replica, 1, &format!("{shop}.marker")).await;
        let findings = differences(source, replica, &mapping(route)).await;
        assert!(findings.is_empty(), "{route}, {:?}:\n{}", replica.version(), findings.join("\n"));
        without_holes(&agree("SELECT @@GLOBAL.gtid_executed", [source, replica]).await);
        let status = replica.replica_status().await;
        assert!(status.runs(), "{route}, {:?}:\n{}", replica.version(), status.summary());
        if route == "archive" {
            let kept = "SELECT (SELECT COUNT(*) FROM shop.stays_log) * 10 + (SELECT COUNT(*) FROM shop.stays_old)";
            assert_eq!(replica.value(kept).await, "23", "what the source removed stays in the archive");
        }
    }
    assert!(proxy.terminate().success(), "SIGTERM ends the proxy cleanly:\n{}", proxy.log());
}
