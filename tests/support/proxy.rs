//! The built program as a process.

use super::process::{Process, listens};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// `replproxy run` with a configuration of its own. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    folder: TempDir,
    ports: Vec<u16>,
    process: Process,
}

impl Proxy {
    /// Starts it and waits until it listens at the ports.
    pub(crate) async fn start(configuration: &str, ports: &[u16]) -> Proxy {
        let folder = tempfile::Builder::new()
            .prefix("proxy-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("the folder can be written");
        std::fs::write(folder.path().join("replproxy.toml"), configuration).expect("the folder can be written");
        let process = spawn(&folder);
        let mut proxy = Proxy { folder, ports: ports.to_vec(), process };
        proxy.wait_until_it_listens().await;
        proxy
    }

    /// Ends it at once and starts it again with the same configuration.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.kill();
        self.start_again().await;
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after that, with the same configuration.
    pub(crate) async fn start_again(&mut self) {
        self.process = spawn(&self.folder);
        self.wait_until_it_listens().await;
    }

    /// The same with another configuration.
    pub(crate) async fn start_again_with(&mut self, configuration: &str) {
        std::fs::write(self.folder.path().join("replproxy.toml"), configuration).expect("the folder can be written");
        self.start_again().await;
    }

    /// Replaces the configuration and has it read again, as an operator does: a file and a SIGHUP.
    pub(crate) fn reconfigure(&self, configuration: &str) {
        std::fs::write(self.folder.path().join("replproxy.toml"), configuration).expect("the folder can be written");
        self.process.signal("HUP");
    }

    /// Sends SIGTERM and returns how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.process.terminate();
        assert!(
            self.process.ends_within(Duration::from_secs(60)),
            "the proxy does not end within 60 s of SIGTERM:\n{}",
            self.log()
        );
        self.process.status().expect("it has ended")
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        !self.process.has_ended()
    }

    /// The most memory that it has had so far (KiB), as the kernel counts it.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().expect("the kernel counts the memory of a process")
    }

    /// Its process's number.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// All that it wrote on standard output and error.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// Waits until it has written the text.
    pub(crate) async fn logs(&self, text: &str, limit: Duration) {
        let end = Instant::now() + limit;
        while !self.log().contains(text) {
            assert!(Instant::now() < end, "no {text:?} in the log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn wait_until_it_listens(&mut self) {
        let limit = Instant::now() + Duration::from_secs(60);
        while !self.ports.iter().all(|&port| listens(port)) {
            assert!(self.runs() && Instant::now() < limit, "the proxy does not listen:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The configuration of one route: a database without its audit, under its own name or the one of the line `rename`.
pub(crate) fn storefront(source: u16, port: u16, admin: u16, rename: &str) -> String {
    format!(
        r#"
        [proxy]
        server_id = 4000001
        admin = "127.0.0.1:{admin}"
        [sources.primary]
        host = "127.0.0.1"
        port = {source}
        user = "repl"
        password = "secret"
        tls = "disabled"
        [routes.shop]
        source = "primary"
        listen = "127.0.0.1:{port}"
        user = "repl"
        password = "secret"
        [[routes.shop.objects]]
        database = "storefront"
        {rename}
        [[routes.shop.objects]]
        exclude = "storefront.audit_*"
        "#
    )
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("proxy:\n{}", self.log());
        }
    }
}

fn spawn(folder: &TempDir) -> Process {
    let configuration: PathBuf = folder.path().join("replproxy.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_replproxy"));
    command.current_dir(folder.path()).args(["run", "--config"]).arg(configuration);
    Process::spawn(&mut command, &folder.path().join("output")).expect("the built program runs")
}
