//! Online schema changes as gh-ost makes them, on real servers: its own statements in their order, with locks, sessions and a first try that
//! is given up. gh-ost itself is in none of the registries that the tests reach.

use std::time::Duration;

use replproxy::source::Client;

use super::borders::{Mode, Scene};
use super::exactness::root;
use crate::support::compare::{Mapping, differences};
use crate::support::fleet::Version;
use crate::support::unless_available;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs one statement in a session.
async fn run(client: &mut Client, sql: &str) {
    if let Err(error) = client.query(sql).await {
        panic!("{sql}: {error}");
    }
}

/// What the tool writes into its own log: a state, or its heartbeat.
async fn note(client: &mut Client, id: u32, hint: &str) {
    let note = format!(
        "insert /* gh-ost */\n\t\tinto\n\t\t\t`shop`.`_plain_ghc`\n\t\t\t(id, hint, value)\n\t\tvalues\n\t\t\t(NULLIF({id}, 0), '{hint}', 'v')\n\t\ton \
         duplicate key update\n\t\t\tlast_update=NOW(),\n\t\t\tvalue=VALUES(value)"
    );
    run(client, &note).await;
}

/// The tables that a run begins with.
async fn begin(client: &mut Client, alter: &str) {
    for sql in [
        "drop /* gh-ost */ table if exists `shop`.`_plain_gho`",
        "drop /* gh-ost */ table if exists `shop`.`_plain_del`",
        "drop /* gh-ost */ table if exists `shop`.`_plain_ghc`",
        "create /* gh-ost */ table `shop`.`_plain_ghc` (\n\t\t\tid bigint unsigned auto_increment,\n\t\t\tlast_update timestamp not null DEFAULT \
         CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,\n\t\t\thint varchar(64) charset ascii not null,\n\t\t\tvalue varchar(4096) charset ascii not \
         null,\n\t\t\tprimary key(id),\n\t\t\tunique key hint_uidx(hint)\n\t\t) auto_increment=256 comment='gh-ost-changelog'",
        "create /* gh-ost */ table `shop`.`_plain_gho` like `shop`.`plain`",
        &format!("alter /* gh-ost */ table `shop`.`_plain_gho` {alter}"),
        "alter /* gh-ost */ table `shop`.`_plain_gho` AUTO_INCREMENT=40",
    ] {
        run(client, sql).await;
    }
    note(client, 2, "state").await;
    note(client, 0, "state at 1").await;
    note(client, 1, "heartbeat").await;
}

/// Copies the rows, and what was written meanwhile.
async fn copy(client: &mut Client) {
    let rows = "insert /* gh-ost `shop`.`plain` */ ignore\n\t\tinto\n\t\t\t`shop`.`_plain_gho`\n\t\t\t(`id`, `item`)\n\t\t(\n\t\t\tselect `id`, `item`\n\t\t\tfrom\n\
                \t\t\t\t`shop`.`plain`\n\t\t\tforce index (`PRIMARY`)\n\t\t\twhere (((`id` > _binary'0') or ((`id` = _binary'0'))) and ((`id` < _binary'99') or ((`id` = \
                _binary'99'))))\n\t\t\tlock in share mode\n\t\t)";
    run(client, rows).await;
    run(client, "INSERT INTO shop.plain VALUES (30, 'meanwhile')").await;
    run(client, "replace /* gh-ost `shop`.`_plain_gho` */\n\t\tinto\n\t\t\t`shop`.`_plain_gho`\n\t\t\t\t(`id`, `item`)\n\t\tvalues\n\t\t\t(30, 'meanwhile')")
        .await;
    note(client, 1, "heartbeat").await;
}

/// The cut-over: a sentry in the old table's place, a lock on both, the RENAME that waits for it. With `give_up` the RENAME does not
/// wait long enough, and the first session ends without its work.
async fn cut_over(scene: &Scene, client: &mut Client, give_up: bool) {
    let mut locking = root(&scene.source).await;
    run(&mut locking, "set /* gh-ost */ session lock_wait_timeout:=60").await;
    let sentry = "create /* gh-ost */ table `shop`.`_plain_del` (\n\t\t\tid int auto_increment primary key\n\t\t) engine=InnoDB comment='ghost-cut-over-sentry'";
    run(client, sentry).await;
    run(&mut locking, "lock /* gh-ost */ tables `shop`.`plain` write, `shop`.`_plain_del` write").await;
    let mut renaming = root(&scene.source).await;
    let wait = if give_up { 1 } else { 60 };
    run(&mut renaming, &format!("set /* gh-ost */ session lock_wait_timeout:={wait}")).await;
    let rename =
        "rename /* gh-ost */ table `shop`.`plain` to `shop`.`_plain_del`, `shop`.`_plain_gho` to `shop`.`plain`";
    let renamed = tokio::spawn(async move { renaming.query(rename).await });
    if give_up {
        assert!(renamed.await.expect("the task ends").is_err(), "the lock was to be in the way of the RENAME");
        run(&mut locking, "drop /* gh-ost */ table if exists `shop`.`_plain_del`").await;
        run(&mut locking, "unlock /* gh-ost */ tables").await;
        return;
    }
    let waits = "SELECT COUNT(*) > 0 FROM information_schema.processlist WHERE info LIKE 'rename %' AND state LIKE '%metadata lock%'";
    scene.source.reaches(waits, "1", LIMIT).await.expect("the RENAME waits for the lock");
    run(&mut locking, "drop /* gh-ost */ table if exists `shop`.`_plain_del`").await;
    run(&mut locking, "unlock /* gh-ost */ tables").await;
    renamed.await.expect("the task ends").expect("the tables are renamed");
}

async fn a_table_is_changed_by_gh_ost(version: Version, mode: Mode, online_ddl: &str) {
    let objects = "[[routes.border.objects]]\ntable = \"shop.plain\"\nrename = \"shpx.goods\"\n";
    let started = Scene::start(version, mode, objects, &format!("online_ddl = \"{online_ddl}\"")).await;
    let Some(scene) = unless_available(started) else { return };
    let mut client = root(&scene.source).await;
    for sql in [
        "CREATE DATABASE shop",
        "CREATE TABLE shop.plain (id INT PRIMARY KEY AUTO_INCREMENT, item VARCHAR(20), KEY k (item))",
        "INSERT INTO shop.plain VALUES (1, 'one'), (2, 'two'), (3, 'three')",
        "SET SESSION time_zone = '+00:00'",
    ] {
        run(&mut client, sql).await;
    }
    // A run that somebody ends leaves its tables; the next one is told to drop them.
    begin(&mut client, "add column first_try int").await;
    begin(&mut client, "add column qty int not null default 7, drop key k, add key k2 (item, id)").await;
    copy(&mut client).await;
    cut_over(&scene, &mut client, true).await;
    cut_over(&scene, &mut client, false).await;
    note(&mut client, 2, "state").await;
    run(&mut client, "drop /* gh-ost */ table if exists `shop`.`_plain_ghc`").await;
    run(&mut client, "drop /* gh-ost */ table if exists `shop`.`_plain_del`").await;
    scene.catch_up("shop.plain", "shpx.goods", 90).await;
    let names = ["shop", "plain", "shpx", "goods"].map(str::to_owned);
    let mapping = Mapping { tables: vec![names], ..Mapping::default() };
    let findings = differences(&scene.source, &scene.replica, &mapping).await;
    assert!(
        findings.is_empty(),
        "{version:?} {mode:?} {online_ddl}:\n{}\nproxy:\n{}",
        findings.join("\n"),
        scene.proxy.log()
    );
    let tables = "SELECT GROUP_CONCAT(table_name ORDER BY table_name) FROM information_schema.tables WHERE table_schema = 'shpx'";
    assert_eq!(scene.replica.value(tables).await, "goods");
}

#[tokio::test]
async fn gh_ost_is_folded_into_one_alter_on_mysql_97() {
    a_table_is_changed_by_gh_ost(Version::Mysql97, Mode::Gtid, "fold").await;
}

#[tokio::test]
async fn the_tables_of_gh_ost_follow_their_table_on_mysql_57() {
    a_table_is_changed_by_gh_ost(Version::Mysql57, Mode::FilePosition, "forward").await;
}
