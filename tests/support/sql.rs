//! SQL on real servers, through the servers' own client programs: what they read and show does not depend on ours.

use super::fleet::{self, Version};
use super::process::read;
use super::server::Server;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// A row as the client's batch mode prints it: tab, newline, NUL and backslash are escaped, NULL is the word.
pub(crate) type Row = Vec<String>;

/// What the client said that a statement failed with.
pub(crate) type SqlError = String;

impl Server {
    /// Runs a script in one session as root, up to the first statement that fails. Returns the rows of all its queries.
    pub(crate) async fn try_script(&self, script: &str) -> Result<Vec<Row>, SqlError> {
        let text = run(self.root(), ["--batch", "--skip-column-names"], script).await?;
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// Runs a script that has to succeed.
    pub(crate) async fn script(&self, script: &str) -> Vec<Row> {
        match self.try_script(script).await {
            Ok(rows) => rows,
            Err(error) => panic!("{} on port {}: {error}\n{}", self.version().name(), self.port(), cut(script)),
        }
    }

    /// The only value of the only row.
    pub(crate) async fn value(&self, query: &str) -> String {
        let rows = self.script(query).await;
        match &rows[..] {
            [row] if row.len() == 1 => row[0].clone(),
            _ => panic!("one value expected from {query}: {rows:?}"),
        }
    }

    /// The single row of a SHOW statement by column name; empty when there is no row.
    pub(crate) async fn columns(&self, query: &str) -> BTreeMap<String, String> {
        let text =
            run(self.root(), ["--batch", "--vertical"], query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        let columns = text.lines().filter_map(|line| {
            line.trim_start().split_once(": ").or_else(|| line.trim_start().strip_suffix(':').map(|name| (name, "")))
        });
        columns.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn root(&self) -> Command {
        let name = if self.version() == Version::Mysql97 { "mysql" } else { "mariadb" };
        let mut command = client(self.version(), name);
        command
            .arg("--no-defaults")
            .args(["--host=127.0.0.1", "--user=root", "--default-character-set=utf8mb4", "--comments"])
            .arg(format!("--port={}", self.port()));
        command
    }
}

/// A client program that can talk to the version: 9.7's own for 9.7, MariaDB's for the others (the packages of the old
/// versions have none, and the 9.7 client has forgotten their login).
pub(crate) fn client(version: Version, name: &str) -> Command {
    let version = if version == Version::Mysql97 { version } else { Version::Mariadb1011 };
    let installation = fleet::obtain(version).unwrap_or_else(|error| panic!("the client {name} is needed: {error}"));
    installation.client(name)
}

async fn run(mut command: Command, arguments: [&str; 2], script: &str) -> Result<String, SqlError> {
    let mut input = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).expect("the folder can be written");
    let output = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the folder can be written");
    let error = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the folder can be written");
    input
        .write_all(script.as_bytes())
        .and_then(|()| std::io::Seek::rewind(&mut input))
        .expect("the file can be written");
    command.args(arguments).stdin(Stdio::from(input)).stdout(reopen(output.path())).stderr(reopen(error.path()));
    let mut child = command.spawn().map_err(|error| format!("cannot run the client: {error}"))?;
    let status = tokio::task::spawn_blocking(move || child.wait())
        .await
        .expect("waiting does not panic")
        .map_err(|error| error.to_string())?;
    if status.success() { Ok(read(output.path())) } else { Err(read(error.path()).trim().to_owned()) }
}

fn reopen(path: &std::path::Path) -> File {
    File::options().write(true).open(path).expect("the file was just made")
}

/// The beginning of a long script.
fn cut(script: &str) -> String {
    script.chars().take(2000).collect()
}
