use super::*;
use crate::source::ServerVersion;

fn facts(version: &str, variables: &[(&str, &str)]) -> SourceFacts {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    SourceFacts::of(ServerVersion::parse(version).expect("a version"), variables)
}

fn mysql() -> SourceFacts {
    facts(
        "8.0.41",
        &[
            ("server_id", "11"),
            ("server_uuid", "3e11fa47-71ca-11e1-9e33-c80aa9429562"),
            ("gtid_mode", "ON"),
            ("binlog_checksum", "CRC32"),
            ("log_bin", "ON"),
            ("time_zone", "SYSTEM"),
            ("rpl_semi_sync_source_enabled", "ON"),
        ],
    )
}

fn mariadb() -> SourceFacts {
    facts("5.5.5-10.11.19-MariaDB", &[("server_id", "12"), ("gtid_domain_id", "0"), ("binlog_checksum", "NONE")])
}

/// An answer on one line: `OK`, rows with `|` and `/`, `ERR number`, `ASK statement`, `KILL id`, `HOSTS`.
fn line(answer: &Answer) -> String {
    match answer {
        Answer::Ok => "OK".to_owned(),
        Answer::Error { code, .. } => format!("ERR {code}"),
        Answer::Forward { sql, null_column: None } => format!("ASK {sql}"),
        Answer::Forward { sql, null_column: Some(_) } => format!("ASK {sql} OR NULL"),
        Answer::Kill(id) => format!("KILL {id}"),
        Answer::AttachedReplicas { .. } => "HOSTS".to_owned(),
        Answer::Rows(result) => {
            let value = |value: &Option<Bytes>| {
                value.as_ref().map_or("NULL".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
            };
            let row = |row: &Vec<Option<Bytes>>| row.iter().map(value).collect::<Vec<_>>().join("|");
            let rows: Vec<_> = result.rows.iter().map(row).collect();
            format!("{} column(s): {}", result.columns.len(), rows.join("/"))
        }
    }
}

/// Asks in one session, in order.
fn check(facts: &SourceFacts, dialogue: &[(&str, &str)]) {
    let mut asker = Asker { thread_id: 5, user: "repl".into(), host: "10.0.0.9".into(), ..Asker::default() };
    for (question, expected) in dialogue {
        assert_eq!(line(&answer(question, &mut asker, facts, 1_700_000_000)), *expected, "{question}");
    }
}

#[test]
fn a_5_6_replica_gets_what_it_asks_for() {
    check(
        &mysql(),
        &[
            ("SELECT UNIX_TIMESTAMP()", "1 column(s): 1700000000"),
            ("SHOW VARIABLES LIKE 'SERVER_ID'", "2 column(s): server_id|11"),
            ("SET @master_heartbeat_period= 1799999979520", "OK"),
            ("SET @master_binlog_checksum= @@global.binlog_checksum", "OK"),
            ("SELECT @master_binlog_checksum", "1 column(s): CRC32"),
            ("SELECT @@GLOBAL.GTID_MODE", "1 column(s): ON"),
            ("SHOW VARIABLES LIKE 'SERVER_UUID'", "2 column(s): server_uuid|3e11fa47-71ca-11e1-9e33-c80aa9429562"),
            ("SET @slave_uuid= '3e11fa47-71ca-11e1-9e33-c80aa9429563'", "OK"),
            ("SELECT @slave_uuid", "1 column(s): 3e11fa47-71ca-11e1-9e33-c80aa9429563"),
        ],
    );
}

#[test]
fn a_9_7_replica_gets_what_it_asks_for() {
    check(
        &mysql(),
        &[
            ("SELECT @@GLOBAL.SERVER_ID", "1 column(s): 11"),
            ("SET @master_heartbeat_period = 30000001024, @source_heartbeat_period = 30000001024", "OK"),
            (
                "SET @master_binlog_checksum = @@global.binlog_checksum, @source_binlog_checksum = @@global.binlog_checksum",
                "OK",
            ),
            ("SELECT @source_binlog_checksum", "1 column(s): CRC32"),
            ("SELECT @@GLOBAL.GTID_MODE", "1 column(s): ON"),
            ("SELECT @@GLOBAL.SERVER_UUID", "1 column(s): 3e11fa47-71ca-11e1-9e33-c80aa9429562"),
            ("SET @slave_uuid = 'a', @replica_uuid = 'b'", "OK"),
            ("SELECT @replica_uuid, @slave_uuid", "2 column(s): b|a"),
            ("SELECT @source_heartbeat_period", "1 column(s): 30000001024"),
        ],
    );
}

#[test]
fn a_mariadb_replica_gets_what_it_asks_for() {
    check(
        &mariadb(),
        &[
            ("SET NAMES latin1", "OK"),
            ("SET @master_binlog_checksum= @@global.binlog_checksum", "OK"),
            ("SELECT @master_binlog_checksum", "1 column(s): NONE"),
            ("SET @mariadb_slave_capability=4", "OK"),
            ("SELECT @mariadb_slave_capability", "1 column(s): 4"),
            ("SELECT binlog_gtid_pos('bin.000001',4)", "ASK SELECT binlog_gtid_pos('bin.000001',4) OR NULL"),
            ("SELECT @@GLOBAL.gtid_domain_id", "1 column(s): 0"),
            ("SELECT @@GLOBAL.GTID_MODE", "ERR 1193"),
            ("SET @slave_connect_state='0-1-5,1-2-77'", "OK"),
            ("SELECT @slave_connect_state", "1 column(s): 0-1-5,1-2-77"),
            ("SET skip_replication=1", "OK"),
        ],
    );
}

#[test]
fn replicas_are_offered_semi_synchronous_replication_where_the_source_has_it() {
    check(
        &mariadb(),
        &[
            ("SHOW VARIABLES LIKE 'rpl_semi_sync_master_enabled'", "2 column(s): "),
            ("SHOW VARIABLES LIKE '%semi_sync%'", "2 column(s): "),
            ("SELECT @@global.rpl_semi_sync_master_enabled", "ERR 1193"),
            ("SELECT @@global.rpl_semi_sync_source_enabled", "ERR 1193"),
        ],
    );
    check(
        &mysql().without_semi_sync(),
        &[
            ("SHOW VARIABLES LIKE '%semi_sync%'", "2 column(s): "),
            ("SELECT @@global.rpl_semi_sync_source_enabled", "ERR 1193"),
        ],
    );
    // Under either name: replicas ask for the one that they know.
    check(
        &mysql(),
        &[
            ("SHOW VARIABLES LIKE 'rpl_semi_sync_master_enabled'", "2 column(s): rpl_semi_sync_master_enabled|ON"),
            ("SELECT @@global.rpl_semi_sync_master_enabled", "1 column(s): 1"),
            ("SELECT @@global.rpl_semi_sync_source_enabled", "1 column(s): 1"),
        ],
    );
    // They ask for it also while it is off, so that it can be turned on at any time.
    let off = facts("5.5.5-10.11.19-MariaDB", &[("server_id", "12"), ("rpl_semi_sync_master_enabled", "OFF")]);
    check(
        &off,
        &[
            ("SHOW VARIABLES LIKE 'rpl_semi_sync_master_enabled'", "2 column(s): rpl_semi_sync_master_enabled|OFF"),
            ("SELECT @@global.rpl_semi_sync_source_enabled", "1 column(s): 0"),
        ],
    );
}

#[test]
fn spellings_do_not_matter() {
    check(
        &mysql(),
        &[
            ("  select\t@@Server_Id ; ", "1 column(s): 11"),
            ("/* a comment */ SELECT @@`server_id` LIMIT 1", "1 column(s): 11"),
            ("SELECT @@session.server_id AS id, @@version FROM dual", "2 column(s): 11|8.0.41"),
            (
                "SELECT VERSION(), CONNECTION_ID(), USER(), DATABASE(), -1, 'x', NULL",
                "7 column(s): 8.0.41|5|repl@10.0.0.9|NULL|-1|x|NULL",
            ),
            ("show global variables like 'log\\_bin'", "2 column(s): log_bin|ON"),
            (
                "SHOW VARIABLES WHERE Variable_name IN ('server_id', 'gtid_mode')",
                "2 column(s): gtid_mode|ON/server_id|11",
            ),
            ("SHOW VARIABLES WHERE `Variable_name` = 'server_id'", "2 column(s): server_id|11"),
            ("/*!40101 SET @a:=1, NAMES utf8, @b='2' */", "OK"),
            ("SELECT @a, @B, @c", "3 column(s): 1|2|NULL"),
            ("SET @x = @@global.no_such_variable", "ERR 1193"),
            ("SELECT @@time_zone", "1 column(s): SYSTEM"),
        ],
    );
}

#[test]
fn questions_for_the_source_are_put_in_the_source_s_own_words() {
    check(
        &mysql(),
        &[
            ("SHOW MASTER STATUS", "ASK SHOW MASTER STATUS"),
            ("SHOW BINARY LOG STATUS", "ASK SHOW MASTER STATUS"),
            ("SHOW MASTER LOGS", "ASK SHOW BINARY LOGS"),
            ("SHOW BINARY LOGS", "ASK SHOW BINARY LOGS"),
            ("SELECT @@global.gtid_executed", "ASK SELECT @@GLOBAL.gtid_executed"),
            ("SHOW VARIABLES LIKE 'gtid_purged'", "ASK SHOW GLOBAL VARIABLES LIKE 'gtid_purged'"),
            ("SELECT binlog_gtid_pos('a',4)", "ERR 1235"),
        ],
    );
    check(&facts("8.4.8", &[]), &[("SHOW MASTER STATUS", "ASK SHOW BINARY LOG STATUS")]);
    check(
        &mariadb(),
        &[
            ("SHOW BINLOG STATUS", "ASK SHOW MASTER STATUS"),
            ("SELECT binlog_gtid_pos('a\\'; DROP TABLE x; --',4)", "ERR 1235"),
        ],
    );
}

#[test]
fn kills_hosts_and_what_plain_clients_need() {
    check(
        &mysql(),
        &[
            ("KILL 77", "KILL 77"),
            ("kill connection 78;", "KILL 78"),
            ("KILL HARD QUERY 79", "KILL 79"),
            ("KILL 99999999999", "ERR 1094"),
            ("SHOW SLAVE HOSTS", "HOSTS"),
            ("SHOW REPLICAS", "HOSTS"),
            ("SHOW WARNINGS", "3 column(s): "),
            ("START TRANSACTION WITH CONSISTENT SNAPSHOT", "OK"),
            ("COMMIT", "OK"),
            ("USE shop", "OK"),
            ("SELECT DATABASE()", "1 column(s): shop"),
        ],
    );
}

#[test]
fn everything_else_is_an_error_that_shows_the_beginning() {
    let statements = [
        "SELECT * FROM mysql.user",
        "SELECT SLEEP(10)",
        "SELECT COUNT(*) FROM performance_schema.replication_group_members",
        "SELECT @@server_id; DROP TABLE t",
        "DROP TABLE t",
        "SHOW BINLOG EVENTS",
        "PURGE BINARY LOGS TO 'x'",
        "(SELECT 1)",
        "SELECT",
        "SELECT ,",
        "SET @a 1",
        "",
        "§",
    ];
    let mut asker = Asker::default();
    for statement in statements {
        let answer = answer(statement, &mut asker, &mysql(), 0);
        let Answer::Error { code, text } = answer else { panic!("{statement}: {answer:?}") };
        assert!([1235, 1064, 1065].contains(&code), "{statement}: {code}");
        let quoted_or_empty = text.contains(&quoted(statement));
        assert!(quoted_or_empty, "{statement}: {text}");
    }
    let long = format!("SELECT\n{}", "x".repeat(5000));
    let Answer::Error { text, .. } = answer(&long, &mut asker, &mysql(), 0) else { panic!("answered") };
    assert!(text.len() < 400 && text.contains("RPX-3007") && !text.contains('\n'), "{text}");
}
