//! `serve`: a server's own binlog files, copied while it runs, feed a replica that never meets that server.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::compare::{Mapping, differences};
use crate::support::fleet::Version;
use crate::support::process::{Process, free_port};
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::{unless_available, workload};

/// Longer than two of the replicas' heartbeat periods, which are a second.
const IDLE: Duration = Duration::from_secs(3);

async fn served(version: Version, gtid: bool) {
    let options = || if gtid { ServerOptions::new().gtid(version) } else { ServerOptions::new() };
    let started = Server::start_two([version; 2], [options(), options()]).await;
    let Some([source, replica]) = unless_available(started) else { return };
    source.script("FLUSH LOGS").await;
    let words = [version.name(), if gtid { "gtid" } else { "nogtid" }];
    workload::run(&source, &workload::sessions(&words)).await;
    source.script("FLUSH LOGS; INSERT INTO storefront.marker VALUES (1)").await;

    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the folder can be written");
    let files = folder.path().join("files");
    std::fs::create_dir(&files).expect("the folder is new");
    let data = source.value("SELECT @@datadir").await;
    for entry in std::fs::read_dir(Path::new(&data)).expect("the server's folder can be read") {
        let path = entry.expect("the server's folder can be read").path();
        let name = path.file_name().expect("a file has a name").to_owned();
        if name.to_string_lossy().starts_with("binlog.") {
            std::fs::copy(&path, files.join(name)).expect("the file can be copied");
        }
    }

    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_replproxy"));
    command.arg("serve").arg(&files).args(["--listen", &format!("127.0.0.1:{port}"), "--password", "secret"]);
    let mut serving = Process::spawn(&mut command, &folder.path().join("output")).expect("the built program runs");
    serving.listens_at(&[port]);
    let upstream = Upstream::at(port);
    let upstream = if version == Version::Mysql97 { upstream.with_tls() } else { upstream };
    let start = if gtid { Start::AutoPosition } else { Start::At("binlog.000001".to_owned(), 4) };
    replica.follow(&upstream, &start).await;
    replica.start_replica().await;
    let arrived = replica.reaches("SELECT MAX(n) FROM storefront.marker", "1", Duration::from_secs(60)).await;
    arrived.unwrap_or_else(|error| panic!("{error}\n{}", serving.output()));
    let findings = differences(&source, &replica, &Mapping::identity()).await;
    assert!(findings.is_empty(), "{}", findings.join("\n"));

    tokio::time::sleep(IDLE).await;
    let status = replica.replica_status().await;
    assert!(status.runs() && status.get("Last_IO_Error").is_empty(), "{}\n{}", status.summary(), serving.output());
    let output = serving.output();
    assert_eq!(output.matches("replica attached").count(), 1, "heartbeats keep the one connection:\n{output}");
    serving.terminate();
    assert!(serving.ends_within(Duration::from_secs(60)), "serve does not end:\n{}", serving.output());
}

#[tokio::test]
async fn mysql_56_reads_its_own_files_by_position() {
    served(Version::Mysql56, false).await;
}

#[tokio::test]
async fn mysql_57_reads_its_own_files_by_gtid() {
    served(Version::Mysql57, true).await;
}

#[tokio::test]
async fn mysql_97_reads_its_own_files_by_gtid_over_tls() {
    served(Version::Mysql97, true).await;
}

#[tokio::test]
async fn mariadb_reads_its_own_files_by_position() {
    served(Version::Mariadb1011, false).await;
}
