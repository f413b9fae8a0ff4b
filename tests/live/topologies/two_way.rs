//! Two servers that follow each other through two routes of one proxy, with a database that has another name on the other side.

use std::time::Duration;

use replproxy::binlog::{FileReader, Rows};

use super::{LIMIT, agree, databases, passing_on, statuses, upstream, wants_tls, without_holes};
use crate::live::raw;
use crate::support::compare::differences;
use crate::support::fleet::Version;
use crate::support::pair::Mode;
use crate::support::proxy::Proxy;
use crate::support::recipe::Recipe;
use crate::support::replica::Start;
use crate::support::server::Server;
use crate::support::unless_available;

/// Transactions on each side, in so many rounds.
const WRITES: u32 = 1000;
const ROUNDS: u32 = 4;

/// One side's name of the renamed database.
fn shop(side: usize) -> &'static str {
    ["shop", "shop_cn"][side]
}

/// A round of one side's transactions. Numbers are odd on one side and even on the other, so that the sides do not write the same
/// rows at the same time.
fn writes(side: usize, round: u32) -> String {
    let shop = shop(side);
    let mut script = String::new();
    for number in 0..WRITES / ROUNDS {
        let id = (round * WRITES / ROUNDS + number) * 2 + u32::try_from(side).expect("there are two");
        script += &match number % 5 {
            0 => format!(
                "BEGIN; INSERT INTO {shop}.orders (id, note) VALUES ({id}, 'from {shop}'); INSERT INTO crm.clients VALUES ({id}, 1);
                 UPDATE crm.clients SET visits = visits + 1 WHERE id = {id}; COMMIT;\n"
            ),
            1 | 2 => format!("INSERT INTO {shop}.orders (id, note) VALUES ({id}, REPEAT('x', {number}));\n"),
            3 => format!("UPDATE {shop}.orders SET note = CONCAT(note, '!') WHERE id = {id} - 2;\n"),
            _ => format!("DELETE FROM {shop}.orders WHERE id = {id} - 4;\n"),
        };
    }
    script
}

/// Each side writes a row and sees the other's.
async fn meet(servers: [&Server; 2], marker: u32) {
    for (side, server) in servers.iter().enumerate() {
        server.script(&format!("INSERT INTO {}.marker VALUES ({marker}, {side})", shop(side))).await;
    }
    for (side, server) in servers.iter().enumerate() {
        let query = format!("SELECT COUNT(*) FROM {}.marker WHERE n = {marker}", shop(side));
        if let Err(error) = server.reaches(&query, "2", LIMIT).await {
            panic!("{error}\n{}", statuses(servers).await);
        }
    }
}

/// How many events with rows a stream has that were born on this side, and on the other one.
async fn births(servers: [&Server; 2], side: usize, port: u16) -> (usize, usize) {
    let version = servers[0].version();
    let (mut own, mut foreign) = (0, 0);
    for (name, bytes) in raw::fetched_files(servers[side], port, wants_tls(version)).await {
        let mut reader = FileReader::new(&bytes[..]).expect(&name);
        while let Some(event) = reader.next_event().expect(&name) {
            if Rows::is_rows(event.event_type()) {
                let counted =
                    if event.header().server_id == servers[side].server_id() { &mut own } else { &mut foreign };
                *counted += 1;
            }
        }
    }
    (own, foreign)
}

async fn two_way(version: Version, mode: Mode) {
    let options = [1, 2].map(|side| {
        let options = passing_on(version, mode);
        match mode {
            // Each side writes in a domain of its own.
            Mode::MariadbGtid => options.arg(format!("--gtid-domain-id={side}")).arg("--gtid-strict-mode=ON"),
            _ => options,
        }
    });
    let Some([a, b]) = unless_available(Server::start_two([version; 2], options).await) else { return };
    let servers = [&a, &b];
    let mut recipe = Recipe::of("Two-way");
    recipe.source("a", 1, &a, wants_tls(version));
    recipe.source("b", 2, &b, wants_tls(version));
    let ports = [recipe.listen("a_to_b"), recipe.listen("b_to_a")];
    let mut proxy = recipe.start().await;
    for (side, server) in servers.iter().enumerate() {
        server.script(&format!("SET sql_log_bin = 0; CREATE DATABASE {}; CREATE DATABASE crm", shop(side))).await;
    }
    for (side, server) in servers.iter().enumerate() {
        let start = match mode {
            // Nothing of either side has been written so far.
            Mode::MariadbGtid => Start::MariadbGtid(String::new()),
            _ => Start::at_the_end_of(servers[1 - side], mode).await,
        };
        server.follow(&upstream(version, ports[1 - side]), &start).await;
        server.start_replica().await;
    }
    // Definitions are made on one side only.
    let schema = "USE shop; CREATE TABLE orders (id INT NOT NULL PRIMARY KEY, note VARCHAR(300)) ENGINE=InnoDB;
        CREATE TABLE marker (n INT NOT NULL, side INT NOT NULL, PRIMARY KEY (n, side)) ENGINE=InnoDB;
        CREATE TABLE crm.clients (id INT NOT NULL PRIMARY KEY, visits INT NOT NULL) ENGINE=InnoDB;";
    a.script(schema).await;
    let created = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema IN ('shop_cn', 'crm')";
    if let Err(error) = b.reaches(created, "3", LIMIT).await {
        panic!("{error}\n{}", proxy.log());
    }
    work(servers, &mut proxy).await;
    // Nothing goes round: both logs are at rest.
    let ends = [a.binlog_end().await, b.binlog_end().await];
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!([a.binlog_end().await, b.binlog_end().await], ends, "the logs grow though nobody writes");
    let findings = differences(&a, &b, &databases(&[["shop", "shop_cn"], ["crm", "crm"]], &[])).await;
    assert!(findings.is_empty(), "{version:?} {mode:?}:\n{}", findings.join("\n"));
    for side in [0, 1] {
        assert!(servers[side].replica_status().await.runs(), "{}", statuses(servers).await);
        // Both logs hold the other side's rows; the routes give none of them back.
        let (own, foreign) = births(servers, side, servers[side].port()).await;
        assert!(own > 1000 && foreign > 1000, "{own} rows events of its own, {foreign} of the other side");
        assert_eq!(births(servers, side, ports[side]).await, (own, 0));
    }
    assert!(proxy.terminate().success(), "SIGTERM ends the proxy cleanly:\n{}", proxy.log());
}

/// Both sides write while the proxy dies and a definition changes; then each changes the other's rows.
async fn work(servers: [&Server; 2], proxy: &mut Proxy) {
    let [a, b] = servers;
    let local = "CREATE TABLE shop_cn.stays_here (id INT NOT NULL PRIMARY KEY) ENGINE=InnoDB";
    for round in 0..ROUNDS {
        let (one, other) = (writes(0, round), writes(1, round));
        let meanwhile = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            match round {
                1 => proxy.kill_and_restart().await,
                2 => drop(a.script("ALTER TABLE shop.orders ADD COLUMN paid INT NOT NULL DEFAULT 0").await),
                3 => drop(b.script(local).await),
                _ => {}
            }
        };
        tokio::join!(a.script(&one), b.script(&other), meanwhile);
    }
    meet(servers, 1).await;
    for (side, server) in servers.into_iter().enumerate() {
        let (shop, other) = (shop(side), 1 - side);
        let script = format!(
            "UPDATE {shop}.orders SET note = CONCAT('seen ', note), paid = 1 WHERE id % 2 = {other} AND id % 3 = 0;
             DELETE FROM crm.clients WHERE id % 2 = {other} AND id % 4 < 2;
             UPDATE {shop}.orders SET paid = 2 WHERE id % 2 = {other} AND id % 5 = 0;"
        );
        server.script(&script).await;
    }
    meet(servers, 2).await;
    let here = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'stays_here'";
    assert_eq!([a.value(here).await, b.value(here).await], ["0", "1"], "definitions flow in one direction");
    match a.version() {
        version if version.is_mariadb() => {
            let last = "SELECT REGEXP_SUBSTR(CONCAT(',', @@gtid_binlog_pos), '(?<=,)1-[0-9]+-[0-9]+')";
            agree(last, servers).await;
        }
        _ if a.value("SELECT @@GLOBAL.gtid_mode").await == "ON" => {
            let executed = agree("SELECT @@GLOBAL.gtid_executed", servers).await;
            assert_eq!(without_holes(&executed).split(',').count(), 2, "of both sides: {executed}");
        }
        _ => {}
    }
}

#[tokio::test]
async fn mysql_57_auto_position() {
    two_way(Version::Mysql57, Mode::AutoPosition).await;
}

#[tokio::test]
async fn mysql_57_file_and_position() {
    two_way(Version::Mysql57, Mode::FilePosition).await;
}

#[tokio::test]
async fn mysql_97_auto_position() {
    two_way(Version::Mysql97, Mode::AutoPosition).await;
}

#[tokio::test]
async fn mariadb_1011_gtid() {
    two_way(Version::Mariadb1011, Mode::MariadbGtid).await;
}
