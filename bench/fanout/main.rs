//! Many replicas on one live tail: what each of them costs, and what those that are slow do to the others.
//!
//!     cargo bench --bench fanout -- [--only cost,slow] [--replicas 10,50] [--rounds 3] [--seconds 20] [--json FILE] [--proxy PROGRAM]
//!
//! `bench/README.md` explains the figures. The replicas are tasks of this process; the proxy and the forwarder that it is compared
//! with are processes of their own, so that the kernel says what each has used.

mod cost;
mod forwarder;
#[path = "../measure.rs"]
#[allow(dead_code, reason = "the other benches use the rest")]
mod measure;
mod slow;
// The tests' support starts servers; the bench needs a part of it.
#[allow(dead_code)]
#[path = "../../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::fleet::Version;
use support::process::{Process, free_port};
use support::server::{Server, ServerOptions};

/// How the program is started as the forwarder: port to listen at, port to lead to.
const FORWARDER: &str = "--forwarder";

struct Options {
    only: Vec<String>,
    /// Two numbers of replicas; the difference between them is what counts.
    replicas: [usize; 2],
    rounds: usize,
    /// How long each phase with and without slow replicas is.
    seconds: u64,
    json: Option<PathBuf>,
    proxy: PathBuf,
}

impl Options {
    fn read() -> Result<Self, String> {
        let mut options = Self {
            only: ["cost", "slow"].map(str::to_owned).to_vec(),
            replicas: [10, 50],
            rounds: 3,
            seconds: 20,
            json: None,
            proxy: PathBuf::from(env!("CARGO_BIN_EXE_replproxy")),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--bench" => {}
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--replicas" => {
                    let numbers: Result<Vec<usize>, _> = value()?.split(',').map(str::parse).collect();
                    let numbers = numbers.map_err(|_| "--replicas takes two numbers")?;
                    options.replicas = numbers.try_into().map_err(|_| "--replicas takes two numbers")?;
                }
                "--rounds" => options.rounds = value()?.parse().map_err(|_| "--rounds takes a number")?,
                "--seconds" => options.seconds = value()?.parse().map_err(|_| "--seconds takes a number")?,
                "--json" => options.json = Some(value()?.into()),
                "--proxy" => options.proxy = value()?.into(),
                other => return Err(format!("{other:?} is not an option of this bench")),
            }
        }
        Ok(options)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.iter().any(|only| only == part)
    }
}

/// What stands between the source and the replicas.
struct Way {
    name: &'static str,
    process: Process,
    port: u16,
    /// Where the proxy tells about itself.
    admin: Option<u16>,
}

impl Way {
    fn forwarder(source: u16, folder: &Path) -> Self {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe().expect("the bench is a program"));
        command.arg(FORWARDER).args([port.to_string(), source.to_string()]);
        let process = Process::spawn(&mut command, &folder.join("forwarder.log")).expect("the bench runs");
        Self { name: "forwarder", process, port, admin: None }.listening()
    }

    /// The proxy with one route; `rules` are its lines after the address.
    fn proxy(name: &'static str, program: &Path, source: u16, rules: &str, folder: &Path) -> Self {
        let [port, admin] = [free_port(), free_port()];
        let configuration = format!(
            "[proxy]\nserver_id = 4000001\nadmin = \"127.0.0.1:{admin}\"\n\
             [sources.primary]\nhost = \"127.0.0.1\"\nport = {source}\nuser = \"repl\"\npassword = \"secret\"\ntls = \"disabled\"\n\
             [routes.bench]\nsource = \"primary\"\nlisten = \"127.0.0.1:{port}\"\nuser = \"repl\"\npassword = \"secret\"\n{rules}"
        );
        let file = folder.join(format!("{name}.toml"));
        std::fs::write(&file, configuration).expect("the folder can be written");
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(&file);
        let process =
            Process::spawn(&mut command, &folder.join(format!("{name}.log"))).expect("the built program runs");
        Self { name, process, port, admin: Some(admin) }.listening()
    }

    fn listening(mut self) -> Self {
        self.process.listens_at(&[self.port]);
        self
    }

    /// Waits until all replicas of the proxy are on the live tail; those of a forwarder always are.
    async fn all_live(&self, replicas: usize) {
        let Some(admin) = self.admin else { return };
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            let status = replproxy::status::fetch(&format!("http://127.0.0.1:{admin}")).expect("the proxy answers");
            let live = status.replicas.iter().filter(|replica| replica.feed == "live").count();
            if live == replicas && status.routes[0].upstream_connections == 1 {
                return;
            }
            assert!(Instant::now() < limit, "{live} of {replicas} replicas are live:\n{}", self.process.output());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, listen, upstream] = &arguments[..]
        && mode == FORWARDER
    {
        let port = |text: &str| text.parse().expect("a port is a number");
        forwarder::run(port(listen), port(upstream));
        return ExitCode::SUCCESS;
    }
    measure::conduct(Options::read(), |options| options.json.as_deref(), measure_all)
}

async fn measure_all(options: &Options) -> Value {
    let folder = tempfile::Builder::new().prefix("fanout-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.expect("the target folder can be written");
    let mut report = json!({ "machine": measure::machine(), "command": std::env::args().skip(1).collect::<Vec<_>>() });
    let server_options = ServerOptions::new().arg("--max-binlog-size=1G").arg("--max-connections=500");
    let source = match Server::start(Version::Mysql97, server_options).await {
        Ok(source) => source,
        Err(reason) => {
            println!("no server to measure with: {reason}");
            return report;
        }
    };
    source.script(SCHEMA).await;
    if options.wants("cost") {
        report["cost"] = cost::measure(&source, options, folder.path()).await;
    }
    if options.wants("slow") {
        report["slow"] = slow::measure(&source, options, folder.path()).await;
    }
    report
}

const SCHEMA: &str = "
SET sql_log_bin = 0;
CREATE DATABASE bench;
USE bench;
CREATE TABLE seed (n INT PRIMARY KEY);
INSERT INTO seed VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
CREATE TABLE wide (id INT AUTO_INCREMENT PRIMARY KEY, n INT, payload VARCHAR(8000)) ENGINE=InnoDB;
CREATE TABLE narrow (id INT AUTO_INCREMENT PRIMARY KEY, n INT, payload VARCHAR(100)) ENGINE=InnoDB;
DELIMITER //
CREATE PROCEDURE small_transactions(amount INT)
BEGIN
  WHILE amount > 0 DO
    INSERT INTO narrow (n, payload) VALUES (amount, 'sixty characters or so, as a short row of a busy table has');
    SET amount = amount - 1;
  END WHILE;
END //
DELIMITER ;
";
