//! The binary log as the servers' own `mysqlbinlog` reads it: through a transparent route it is the source's own, byte
//! for byte.

use crate::support::fleet::Version;
use crate::support::process::end_of;
use crate::support::server::Server;
use crate::support::sql::client;
use std::collections::BTreeMap;
use std::process::Stdio;

/// The files, by name, that the version's `mysqlbinlog` fetches from the port, beginning with the first one.
pub(super) async fn fetched_files(source: &Server, port: u16, tls: bool) -> BTreeMap<String, Vec<u8>> {
    fetched_from(source, port, tls, &["binlog.000001"]).await
}

/// The same from the file on that the arguments name.
pub(super) async fn fetched_from(
    source: &Server,
    port: u16,
    tls: bool,
    arguments: &[&str],
) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the folder can be written");
    let mysql = source.version() == Version::Mysql97;
    let mut command = client(source.version(), if mysql { "mysqlbinlog" } else { "mariadb-binlog" });
    command.args([
        "--no-defaults",
        "--read-from-remote-server",
        "--raw",
        "--to-last-log",
        "--host=127.0.0.1",
        "--user=repl",
        "--password=secret",
    ]);
    command.arg(format!("--port={port}")).args(arguments).current_dir(folder.path());
    if mysql {
        command.arg(if tls { "--ssl-mode=REQUIRED" } else { "--ssl-mode=DISABLED" });
    }
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).expect("the folder can be written");
    command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file can be shared")).stderr(file);
    let mut child = command.spawn().expect("mysqlbinlog runs");
    let status =
        tokio::task::spawn_blocking(move || child.wait()).await.expect("waiting does not panic").expect("it ends");
    assert!(status.success(), "mysqlbinlog: {status}, {}", end_of(&log));
    let names = std::fs::read_dir(folder.path())
        .expect("the folder can be read")
        .map(|entry| entry.expect("it can be read").path());
    let files = names.filter(|path| path != &log).map(|path| {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        (name, std::fs::read(&path).expect("the file can be read"))
    });
    files.collect()
}

/// Compares the files without printing them.
pub(super) fn assert_same(direct: &BTreeMap<String, Vec<u8>>, served: &BTreeMap<String, Vec<u8>>) {
    let sizes = |files: &BTreeMap<String, Vec<u8>>| {
        files.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect::<Vec<_>>()
    };
    assert_eq!(sizes(served), sizes(direct), "the files have the source's names and lengths");
    for (name, bytes) in direct {
        let first = bytes.iter().zip(&served[name]).position(|(a, b)| a != b);
        assert_eq!(first, None, "{name} differs at this offset");
    }
}
