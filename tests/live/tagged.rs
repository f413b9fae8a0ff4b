//! GTIDs with tags: a renaming and filtering route serves the set that the source has, and `mysqlbinlog` selects by it as it does at
//! the source.

use crate::support::fleet::Version;
use crate::support::pair::{Kind, Mode, Pair, Route};
use crate::support::sql::client;
use crate::support::unless_available;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// The GTIDs of the groups, and the sets that the files begin with, that `mysqlbinlog` prints.
async fn printed(port: u16, arguments: Vec<String>) -> Vec<String> {
    let mut command = client(Version::Mysql97, "mysqlbinlog");
    command.args([
        "--no-defaults",
        "--read-from-remote-server",
        "--host=127.0.0.1",
        "--user=repl",
        "--password=secret",
    ]);
    command
        .args(["--ssl-mode=REQUIRED", "--to-last-log"])
        .arg(format!("--port={port}"))
        .args(arguments)
        .arg("binlog.000001");
    let run = tokio::task::spawn_blocking(move || command.output()).await;
    let output = run.expect("waiting does not panic").expect("mysqlbinlog runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut sets = Vec::new();
    let mut in_set = false;
    for line in text.lines() {
        if line.contains("Previous-GTIDs") {
            in_set = true;
        } else if in_set && line.starts_with("# ") && !line.starts_with("# at") {
            sets.push(line.to_owned());
        } else {
            in_set = false;
            if line.starts_with("SET @@SESSION.GTID_NEXT") {
                sets.push(line.split("/*!*/").next().unwrap_or(line).to_owned());
            }
        }
    }
    sets
}

#[tokio::test]
async fn tagged_gtids_and_previous_gtids_are_the_source_s() {
    let kind = Kind { version: Version::Mysql97, mode: Mode::AutoPosition, route: Route::Renamed, tls: true };
    let Some(mut pair) = unless_available(Pair::start(kind).await) else { return };
    let schema = "CREATE DATABASE storefront CHARACTER SET utf8mb4; USE storefront;
        CREATE TABLE marker (n INT NOT NULL PRIMARY KEY); CREATE TABLE audit_work (id INT NOT NULL, v TEXT);";
    pair.source.script(schema).await;
    let tagged = "SET gtid_next = 'AUTOMATIC:sales'; INSERT INTO storefront.marker VALUES (101); INSERT INTO storefront.audit_work VALUES (1, 'a');
        SET gtid_next = 'AUTOMATIC:returns'; INSERT INTO storefront.marker VALUES (102); CREATE DATABASE elsewhere;
        SET gtid_next = 'AUTOMATIC'; INSERT INTO storefront.audit_work VALUES (2, 'b'); DELETE FROM storefront.marker WHERE n > 100; FLUSH LOGS;";
    pair.source.script(tagged).await;
    // In the middle of it the replica comes back with a set that has tags.
    pair.replica.stop_replica().await;
    pair.source
        .script("SET gtid_next = 'AUTOMATIC:sales'; INSERT INTO storefront.audit_work VALUES (3, 'c'); FLUSH LOGS;")
        .await;
    pair.replica.start_replica().await;
    pair.catch_up(LIMIT).await;
    pair.assert_equal().await;
    let executed = pair.source.value("SELECT @@GLOBAL.gtid_executed").await;
    assert!(executed.contains(":sales:1-3") && executed.contains(":returns:1-2"), "{executed}");
    assert_eq!(pair.replica.value("SELECT @@GLOBAL.gtid_executed").await, executed);

    let uuid = pair.source.value("SELECT @@server_uuid").await;
    let choices = [
        vec![],
        vec![format!("--exclude-gtids={uuid}:sales:1-2")],
        vec![format!("--exclude-gtids={uuid}:2-4:returns:1")],
        vec![format!("--include-gtids={uuid}:1-3:sales:3")],
    ];
    for arguments in choices {
        let direct = printed(pair.source.port(), arguments.clone()).await;
        let served = printed(pair.port, arguments.clone()).await;
        assert!(direct.len() > 3, "{direct:#?}");
        assert_eq!(served, direct, "{arguments:?}");
    }
}
