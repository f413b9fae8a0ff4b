//! Initialised data directories, one per version: made once, copied for each instance.
//!
//! Each has `root` without a password (from this machine) and `repl` with the password `secret`, which has what a
//! replication account needs and nothing more.

use super::{Installation, Unavailable, Version, build, run};
use crate::support::process::{Process, end_of, free_port, greets};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ACCOUNTS: &[&str] = &[
    "GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;",
    "CREATE USER 'repl'@'%' IDENTIFIED BY 'secret';",
    "GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO 'repl'@'%';",
];

/// Makes the version's template unless it exists.
pub(super) fn prepare(installation: &Installation) -> Result<(), Unavailable> {
    build(&installation.template(), |data| {
        match installation.version {
            Version::Mysql56 => copy_packed(installation, data)?,
            Version::Mysql57 | Version::Mysql97 => {
                run(in_folder(installation, data).arg("--initialize-insecure"))?;
            }
            Version::Mariadb1011 => {
                feed(in_folder(installation, data).arg("--bootstrap"), &mariadb_system_tables(installation)?)?
            }
        }
        create_accounts(installation, data)?;
        // Each copy makes its own identity.
        for name in ["auto.cnf", "ibtmp1"] {
            let _ = fs::remove_file(data.join(name));
        }
        Ok(())
    })
}

fn in_folder(installation: &Installation, data: &Path) -> Command {
    let mut command = installation.server();
    // MySQL 8 and later write a binary log unless told otherwise: an instance's first file would be its second.
    command.arg(format!("--datadir={}", data.display())).args(["--innodb-use-native-aio=0", "--skip-log-bin"]);
    command
}

fn copy_packed(installation: &Installation, data: &Path) -> Result<(), Unavailable> {
    let packed = installation.base.join("data/mysql");
    run(Command::new("cp").args(["--recursive", "--dereference", "--no-target-directory"]).arg(packed).arg(data))
        .map(drop)
}

fn mariadb_system_tables(installation: &Installation) -> Result<String, Unavailable> {
    let mut script =
        "create database mysql;\nuse mysql;\nSET @auth_root_socket=NULL;\nSET @skip_auth_anonymous=1;\n".to_owned();
    for name in ["mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql"] {
        let path = installation.base.join("share/mysql").join(name);
        script += &fs::read_to_string(&path).map_err(|error| format!("cannot read {path:?}: {error}"))?;
    }
    Ok(script)
}

/// Creates the accounts from an init file, which a server runs before it answers anybody, and stops the server.
fn create_accounts(installation: &Installation, data: &Path) -> Result<(), Unavailable> {
    let old = installation.version == Version::Mysql56;
    let mut statements = vec!["SET sql_log_bin=0;"];
    if old {
        statements
            .push("DELETE FROM mysql.user WHERE user='' OR (user='root' AND host NOT IN ('localhost','127.0.0.1'));");
        statements.extend(["DELETE FROM mysql.db;", "FLUSH PRIVILEGES;", "DROP DATABASE IF EXISTS test;"]);
    } else {
        statements.push("CREATE USER IF NOT EXISTS 'root'@'127.0.0.1' IDENTIFIED BY '';");
    }
    statements.extend(ACCOUNTS);
    let script = data.with_file_name("accounts.sql");
    fs::write(&script, statements.join("\n") + "\n").map_err(|error| format!("cannot write {script:?}: {error}"))?;
    let log = data.with_file_name("error.log");
    let port = free_port();
    let mut command = in_folder(installation, data);
    command
        .arg(format!("--init-file={}", script.display()))
        .arg(format!("--log-error={}", log.display()))
        .arg(format!("--port={port}"))
        .args(["--bind-address=127.0.0.1", "--socket=accounts.sock", "--pid-file=accounts.pid"]);
    let mut server = Process::spawn(&mut command, &data.with_file_name("output"))?;
    let limit = Instant::now() + Duration::from_secs(60);
    while !greets(port) {
        if server.has_ended() || Instant::now() > limit {
            return Err(format!("{} did not start: {}", installation.version.name(), end_of(&log)));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    server.terminate();
    if !server.ends_within(Duration::from_secs(60)) {
        return Err(format!("{} did not stop: {}", installation.version.name(), end_of(&log)));
    }
    Ok(())
}

/// Runs the command with `text` as its standard input.
fn feed(command: &mut Command, text: &str) -> Result<(), Unavailable> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let mut input = child.stdin.take().ok_or("no standard input")?;
    input.write_all(text.as_bytes()).map_err(|error| format!("{command:?} did not read its input: {error}"))?;
    drop(input);
    let status = child.wait().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed ({status})")) }
}
