//! A real server in the role of a replica: pointed at a source or at the proxy, watched, waited for.

use super::fleet::Version;
use super::server::Server;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How a replica says where it wants to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// From this file and position.
    At(String, u64),
    /// MySQL's auto-position.
    AutoPosition,
    /// MariaDB's GTID position; the text is what `gtid_slave_pos` is set to.
    MariadbGtid(String),
}

/// Where and how a replica logs in.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    /// The port of 127.0.0.1.
    pub(crate) port: u16,
    /// The account.
    pub(crate) user: String,
    /// Its password.
    pub(crate) password: String,
    /// Whether TLS is asked for.
    pub(crate) tls: bool,
}

impl Upstream {
    /// The account `repl` at the port, without TLS.
    pub(crate) fn at(port: u16) -> Upstream {
        Upstream { port, user: "repl".to_owned(), password: "secret".to_owned(), tls: false }
    }

    /// The same with TLS.
    pub(crate) fn with_tls(self) -> Upstream {
        Upstream { tls: true, ..self }
    }
}

/// What SHOW SLAVE STATUS says, under its old column names in every version.
#[derive(Clone, Debug)]
pub(crate) struct Status(BTreeMap<String, String>);

impl Status {
    /// The value of a column; empty where the version does not have it.
    pub(crate) fn get(&self, column: &str) -> &str {
        self.0.get(column).map_or("", String::as_str)
    }

    /// Whether both threads run.
    pub(crate) fn runs(&self) -> bool {
        self.get("Slave_IO_Running") == "Yes" && self.get("Slave_SQL_Running") == "Yes"
    }

    /// The lines that tell what a replica does and why not.
    pub(crate) fn summary(&self) -> String {
        let columns = [
            "Slave_IO_State",
            "Slave_IO_Running",
            "Slave_SQL_Running",
            "Master_Log_File",
            "Read_Master_Log_Pos",
            "Relay_Master_Log_File",
            "Exec_Master_Log_Pos",
            "Last_IO_Errno",
            "Last_IO_Error",
            "Last_SQL_Errno",
            "Last_SQL_Error",
            "Retrieved_Gtid_Set",
            "Executed_Gtid_Set",
            "Gtid_IO_Pos",
        ];
        columns
            .iter()
            .filter(|column| !self.get(column).is_empty())
            .map(|column| format!("  {column}: {}\n", self.get(column)))
            .collect()
    }
}

impl Server {
    /// Where the source's binary log ends now.
    pub(crate) async fn binlog_end(&self) -> (String, u64) {
        let statement =
            if self.version() == Version::Mysql97 { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
        let columns = self.columns(statement).await;
        let position = columns["Position"].parse().expect("a position is a number");
        (columns["File"].clone(), position)
    }

    /// Points the replica at its upstream, without starting it.
    pub(crate) async fn follow(&self, upstream: &Upstream, start: &Start) {
        self.follow_in("", upstream, start).await;
    }

    /// The same for one of several upstreams: a channel on MySQL, a named connection on MariaDB. The name `""` is the one that
    /// every replica has.
    pub(crate) async fn follow_in(&self, channel: &str, upstream: &Upstream, start: &Start) {
        let new = self.version() == Version::Mysql97;
        let word = if new { "SOURCE" } else { "MASTER" };
        let mut options = vec![
            format!("{word}_HOST='127.0.0.1'"),
            format!("{word}_PORT={}", upstream.port),
            format!("{word}_USER='{}'", upstream.user),
            format!("{word}_PASSWORD='{}'", upstream.password),
            format!("{word}_CONNECT_RETRY=1"),
            format!("{word}_HEARTBEAT_PERIOD=1"),
            format!("{word}_SSL={}", u8::from(upstream.tls)),
        ];
        match start {
            Start::At(file, position) => options.push(format!("{word}_LOG_FILE='{file}', {word}_LOG_POS={position}")),
            Start::AutoPosition => options.push(format!("{word}_AUTO_POSITION=1")),
            Start::MariadbGtid(position) => {
                self.script(&format!("SET GLOBAL gtid_slave_pos='{position}'")).await;
                options.push("MASTER_USE_GTID=slave_pos".to_owned());
            }
        }
        if self.version().is_mariadb() && !matches!(start, Start::MariadbGtid(_)) {
            options.push("MASTER_USE_GTID=no".to_owned());
        }
        if new {
            // After ten attempts it would give up, and a server or a proxy may take longer to start.
            options.push("SOURCE_RETRY_COUNT=86400".to_owned());
        }
        if new && !upstream.tls {
            options.push("GET_SOURCE_PUBLIC_KEY=1".to_owned());
        }
        let (named, for_channel) = self.channel(channel);
        let statement = if new { "CHANGE REPLICATION SOURCE" } else { "CHANGE MASTER" };
        self.script(&format!("{statement}{named} TO {}{for_channel}", options.join(", "))).await;
    }

    /// What names a channel: behind the statement's words on MariaDB, at its end on MySQL.
    fn channel(&self, name: &str) -> (String, String) {
        match name {
            "" => Default::default(),
            name if self.version().is_mariadb() => (format!(" '{name}'"), String::new()),
            name => (String::new(), format!(" FOR CHANNEL '{name}'")),
        }
    }

    /// Starts both threads.
    pub(crate) async fn start_replica(&self) {
        self.start_replica_in("").await;
    }

    /// Starts both threads of a channel.
    pub(crate) async fn start_replica_in(&self, channel: &str) {
        let (named, for_channel) = self.channel(channel);
        let word = if self.version() == Version::Mysql97 { "REPLICA" } else { "SLAVE" };
        self.script(&format!("START {word}{named}{for_channel}")).await;
    }

    /// Stops both threads.
    pub(crate) async fn stop_replica(&self) {
        self.script(if self.version() == Version::Mysql97 { "STOP REPLICA" } else { "STOP SLAVE" }).await;
    }

    /// The replica's status.
    pub(crate) async fn replica_status(&self) -> Status {
        self.replica_status_in("").await
    }

    /// The status of a channel.
    pub(crate) async fn replica_status_in(&self, channel: &str) -> Status {
        let (named, for_channel) = self.channel(channel);
        let word = if self.version() == Version::Mysql97 { "REPLICA" } else { "SLAVE" };
        let columns = self.columns(&format!("SHOW {word}{named} STATUS{for_channel}")).await;
        Status(
            columns
                .into_iter()
                .map(|(name, value)| (name.replace("Source", "Master").replace("Replica_", "Slave_"), value))
                .collect(),
        )
    }

    /// Waits until `query` has the value at this server; the error says what the replica's state was at the limit, or
    /// that it has stopped with an error before.
    pub(crate) async fn reaches(&self, query: &str, value: &str, limit: Duration) -> Result<(), String> {
        let end = Instant::now() + limit;
        loop {
            let seen = self.try_script(query).await.unwrap_or_default();
            if seen.first().and_then(|row| row.first()).is_some_and(|seen| seen == value) {
                return Ok(());
            }
            let status = self.replica_status().await;
            let stopped = status.get("Slave_SQL_Running") == "No" && !status.get("Last_SQL_Error").is_empty();
            if stopped || Instant::now() > end {
                return Err(format!(
                    "{} on port {}: {query} has not become {value} but is {seen:?}\n{}",
                    self.version().name(),
                    self.port(),
                    status.summary()
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the replica's IO thread shows an error that contains the text, and returns the error.
    pub(crate) async fn io_error(&self, text: &str, limit: Duration) -> String {
        let end = Instant::now() + limit;
        loop {
            let status = self.replica_status().await;
            let error = status.get("Last_IO_Error");
            if error.contains(text) {
                return error.to_owned();
            }
            assert!(
                Instant::now() < end,
                "no {text:?} in Last_IO_Error of {}:\n{}",
                self.version().name(),
                status.summary()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
