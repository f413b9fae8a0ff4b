//! Instances of real servers, each with its own port and its own data directory in a temporary folder.

use super::fleet::{self, Installation, Unavailable, Version};
use super::process::{Process, end_of, free_port, greets};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Servers that run at one time. Some take 500 MB; most of them wait most of the time, also on two cores.
const SERVERS_MAX: usize = 6;
static RUNNING: Semaphore = Semaphore::const_new(SERVERS_MAX);

/// How long a start or a stop may take on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(90);

/// What a test wants of a server beyond the defaults: row format, a binary log named `binlog`, no GTIDs.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerOptions {
    args: Vec<String>,
    without_binlog: bool,
}

impl ServerOptions {
    /// The defaults.
    pub(crate) fn new() -> ServerOptions {
        ServerOptions::default()
    }

    /// One more option of the server's own.
    pub(crate) fn arg(mut self, arg: impl Into<String>) -> ServerOptions {
        self.args.push(arg.into());
        self
    }

    /// MySQL with GTID_MODE=ON.
    pub(crate) fn gtid(self, version: Version) -> ServerOptions {
        let updates = if version == Version::Mysql97 { "--log-replica-updates" } else { "--log-slave-updates" };
        self.arg("--gtid-mode=ON").arg("--enforce-gtid-consistency=ON").arg(updates)
    }

    /// No binary log.
    pub(crate) fn without_binlog(mut self) -> ServerOptions {
        self.without_binlog = true;
        self
    }

    /// A replica that goes on where it was after a kill: its place is in a table, and it asks again for what it had
    /// received but not applied.
    pub(crate) fn crash_safe_replica(self, version: Version) -> ServerOptions {
        let options = self.arg("--relay-log-recovery=1");
        match version {
            Version::Mysql56 | Version::Mysql57 => {
                options.arg("--relay-log-info-repository=TABLE").arg("--master-info-repository=TABLE")
            }
            _ => options,
        }
    }
}

/// A server. It is killed when dropped, and its folder removed unless the test has failed.
#[derive(Debug)]
pub(crate) struct Server {
    installation: Installation,
    options: ServerOptions,
    port: u16,
    server_id: u32,
    process: Option<Process>,
    folder: Option<TempDir>,
    /// Missing where a test has more servers than there are places, and all places.
    _permit: Option<SemaphorePermit<'static>>,
}

impl Server {
    /// Starts a server that answers, or says why the version cannot be had. Panics when a server that is there does
    /// not start.
    pub(crate) async fn start(version: Version, options: ServerOptions) -> Result<Server, Unavailable> {
        let permit = RUNNING.acquire().await.expect("the semaphore is never closed");
        Server::start_with(version, options, Some(permit)).await
    }

    /// Starts two servers, see [`Server::start_all`].
    pub(crate) async fn start_two(
        version: [Version; 2],
        options: [ServerOptions; 2],
    ) -> Result<[Server; 2], Unavailable> {
        let [first, second] = options;
        Server::start_all([(version[0], first), (version[1], second)]).await
    }

    /// Starts some servers. Their places are taken together, so that tests do not each hold one and wait for another.
    pub(crate) async fn start_all<const N: usize>(
        wanted: [(Version, ServerOptions); N],
    ) -> Result<[Server; N], Unavailable> {
        let servers = Server::start_many(wanted.into()).await?;
        Ok(servers.try_into().expect("as many as were asked for"))
    }

    /// The same for any number. More servers than there are places take all places and run alone.
    pub(crate) async fn start_many(wanted: Vec<(Version, ServerOptions)>) -> Result<Vec<Server>, Unavailable> {
        let count = u32::try_from(wanted.len().min(SERVERS_MAX)).expect("there are few places");
        let mut permits = RUNNING.acquire_many(count).await.expect("the semaphore is never closed");
        let mut servers = Vec::new();
        for (version, options) in wanted {
            servers.push(Server::start_with(version, options, permits.split(1)).await?);
        }
        Ok(servers)
    }

    async fn start_with(
        version: Version,
        options: ServerOptions,
        permit: Option<SemaphorePermit<'static>>,
    ) -> Result<Server, Unavailable> {
        let obtained = tokio::task::spawn_blocking(move || fleet::obtain(version)).await;
        let installation = obtained.map_err(|error| format!("fetching failed: {error}"))??;
        static NEXT_ID: AtomicU32 = AtomicU32::new(101);
        let folder = tempfile::Builder::new()
            .prefix(&format!("{}-", version.name()))
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .map_err(|error| format!("cannot create a folder: {error}"))?;
        let mut server = Server {
            installation,
            options,
            port: 0,
            server_id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            process: None,
            folder: Some(folder),
            _permit: permit,
        };
        std::fs::create_dir(server.path("tmp")).expect("the folder is new");
        server.run().await;
        Ok(server)
    }

    /// The version.
    pub(crate) fn version(&self) -> Version {
        self.installation.version
    }

    /// The port of 127.0.0.1 that it listens at.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The server id.
    pub(crate) fn server_id(&self) -> u32 {
        self.server_id
    }

    /// The process, for what the kernel says of it.
    #[allow(dead_code, reason = "bench/end_to_end.rs uses it")]
    pub(crate) fn process_id(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    /// How its programs run.
    #[allow(dead_code, reason = "bench/end_to_end.rs uses it")]
    pub(crate) fn installation(&self) -> &Installation {
        &self.installation
    }

    /// The end of the server's error log.
    pub(crate) fn log(&self) -> String {
        end_of(&self.path("error.log"))
    }

    /// Sends the server a signal, for example `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().expect("the server runs").signal(name);
    }

    /// Stops it cleanly; the data stay.
    pub(crate) async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate();
            let limit = Instant::now() + START_LIMIT;
            while !process.has_ended() && Instant::now() < limit {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Kills it; the data stay as a crash leaves them.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again at the same port with the same data.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    /// Starts it again at the same port with a new data directory.
    pub(crate) async fn start_over(&mut self) {
        self.kill();
        self.lay_out();
        self.run().await;
    }

    /// Starts it again as it was, with one more option.
    pub(crate) async fn restart_with(&mut self, arg: &str) {
        self.options.args.push(arg.to_owned());
        self.restart().await;
    }

    /// A data directory that no server has run in: even a start that failed may have begun a binary log.
    fn lay_out(&self) {
        let data = self.path("data");
        let _ = std::fs::remove_dir_all(&data);
        let copied = Command::new("cp")
            .args(["--recursive", "--dereference", "--no-target-directory"])
            .arg(self.installation.template())
            .arg(&data)
            .status();
        assert!(copied.is_ok_and(|status| status.success()), "cannot copy the data directory");
    }

    async fn run(&mut self) {
        // Another process can take a free port before the server does: then a first start is tried again elsewhere.
        let attempts = if self.port == 0 { 3 } else { 1 };
        for _ in 0..attempts {
            if self.port == 0 {
                self.port = free_port();
                self.lay_out();
            }
            let mut process =
                Process::spawn(&mut self.command(), &self.path("output")).expect("the server's program runs");
            let limit = Instant::now() + START_LIMIT;
            while !process.has_ended() && Instant::now() < limit {
                if greets(self.port) {
                    self.process = Some(process);
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            if attempts > 1 {
                self.port = 0;
            }
        }
        panic!("{} did not start: {}\n{}", self.version().name(), self.log(), end_of(&self.path("output")));
    }

    fn command(&self) -> Command {
        let mut command = self.installation.server();
        // Paths that are relative are inside the data directory: a socket's path has room for 107 bytes only.
        command
            .arg(format!("--datadir={}", self.path("data").display()))
            .arg(format!("--tmpdir={}", self.path("tmp").display()))
            .arg(format!("--log-error={}", self.path("error.log").display()))
            .arg(format!("--port={}", self.port))
            .arg(format!("--server-id={}", self.server_id))
            .args(["--socket=server.sock", "--pid-file=server.pid", "--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args([
                "--innodb-buffer-pool-size=64M",
                "--innodb-flush-log-at-trx-commit=2",
                "--innodb-use-native-aio=0",
                "--sync-binlog=0",
            ])
            .args(["--performance-schema=OFF", "--max-allowed-packet=64M", "--binlog-format=ROW"])
            .arg(format!("--report-port={}", self.port));
        command.arg(if self.options.without_binlog { "--skip-log-bin" } else { "--log-bin=binlog" });
        match self.version() {
            // A row must fit into a tenth of the redo log.
            Version::Mysql56 | Version::Mysql57 => command.arg("--innodb-log-file-size=128M"),
            Version::Mysql97 => command.arg("--innodb-redo-log-capacity=64M"),
            Version::Mariadb1011 => &mut command,
        };
        command.args(&self.options.args);
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.as_ref().expect("the folder is kept until the server is dropped").path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            eprintln!("{} on port {}, server id {}: {log}", self.version().name(), self.port, self.server_id);
            self.process = None;
            if let Some(folder) = self.folder.take() {
                let kept = PathBuf::from(format!("{}.error.log", folder.path().display()));
                let _ = std::fs::copy(folder.path().join("error.log"), &kept);
                eprintln!("kept: {}", kept.display());
                // Data directories are large: they are left for a look only on demand.
                if std::env::var_os("REPLPROXY_KEEP_SERVERS").is_some() {
                    eprintln!("kept: {}", folder.keep().display());
                }
            }
        }
    }
}
