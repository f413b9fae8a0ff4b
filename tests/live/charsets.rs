//! Statements in character sets whose characters end in bytes that are quotes or backslashes elsewhere, from a client through the
//! proxy to a replica: the names and the texts in them arrive.

use encoding_rs::{Encoding, GBK, SHIFT_JIS};
use replproxy::source::Client;

use super::borders::{Mode, Scene};
use super::exactness::root;
use crate::support::compare::{Mapping, differences};
use crate::support::fleet::Version;
use crate::support::unless_available;

/// Runs one statement in a session of this character set.
async fn run(client: &mut Client, encoding: &'static Encoding, sql: &str) {
    let (text, _, unmappable) = encoding.encode(sql);
    assert!(!unmappable, "{sql}");
    if let Err(error) = client.query_bytes(&text).await {
        panic!("{sql}: {error}");
    }
}

/// `database` and `table` have a character that ends in 0x5C, a backslash, in the client's character set.
async fn names_arrive(version: Version, names: &str, encoding: &'static Encoding, database: &str, table: &str) {
    let objects = format!("[[routes.border.objects]]\ndatabase = \"{database}\"\nrename = \"new_{database}\"\n");
    let started = Scene::start(version, Mode::FilePosition, &objects, "").await;
    let Some(scene) = unless_available(started) else { return };
    scene.replica.script(&format!("SET sql_log_bin = 0; CREATE DATABASE `new_{database}` CHARACTER SET utf8mb4")).await;
    // MySQL writes a view's name in UTF-8 into the statement that it logs, whatever the session's character set is: its own replicas
    // read another name, too.
    let view = if version.is_mariadb() { "VIEW" } else { "TABLE" };
    let mut client = root(&scene.source).await;
    client.query(&format!("SET NAMES {names}")).await.expect("the character set is known");
    for sql in [
        format!("CREATE DATABASE `{database}` CHARACTER SET utf8mb4"),
        format!(
            "CREATE TABLE `{database}`.`{table}` (id INT PRIMARY KEY, item VARCHAR(20)) COMMENT '{table}\\'{table}'"
        ),
        format!("USE `{database}`"),
        "SET SESSION binlog_format = 'STATEMENT'".to_owned(),
        format!("INSERT INTO {table} VALUES (1, '{table}'), (2, \"'{table}\") /* {table} */"),
        format!("UPDATE `{database}`.`{table}` SET item = CONCAT(item, '{table}') WHERE `{table}`.id = 1"),
        format!("CREATE {view} `{table}v` AS SELECT `{database}`.`{table}`.id AS `{table}` FROM `{table}`"),
        format!("ALTER TABLE {table} ADD COLUMN {table} INT DEFAULT 1"),
    ] {
        run(&mut client, encoding, &sql).await;
    }
    scene.catch_up(&format!("`{database}`.`{table}`"), &format!("`new_{database}`.`{table}`"), 9).await;
    let from_to = (database.to_owned(), format!("new_{database}"));
    let mapping = Mapping { databases: vec![from_to], ..Mapping::default() };
    let findings = differences(&scene.source, &scene.replica, &mapping).await;
    assert!(findings.is_empty(), "{version:?} {names}:\n{}", findings.join("\n"));
}

#[tokio::test]
async fn names_in_gbk_arrive_on_mysql_57() {
    names_arrive(Version::Mysql57, "gbk", GBK, "誠店", "訂誠").await;
}

#[tokio::test]
async fn names_in_sjis_arrive_on_mariadb() {
    names_arrive(Version::Mariadb1011, "sjis", SHIFT_JIS, "ソ店", "表").await;
}
