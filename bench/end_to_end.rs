//! End to end on real servers: throughput, CPU, memory and added latency, direct and through the proxy in one run.
//!
//!     cargo bench --bench end_to_end -- [--megabytes 400] [--rounds 5] [--only throughput,latency,memory] [--json FILE]
//!         [--proxy PROGRAM]
//!
//! `bench/README.md` explains the figures. Everything alternates within one run, because only ratios of one run mean
//! something on a machine with neighbours.

mod latency;
mod measure;
// The tests' support starts servers; the bench needs a part of it.
#[allow(dead_code)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use measure::{cpu_seconds, is_zombie, machine, median, peak_memory_mib, seconds};
use support::fleet::Version;
use support::process::{Process, free_port};
use support::server::{Server, ServerOptions};

/// A run of mysqlbinlog that takes longer than this hangs.
const DUMP_LIMIT: Duration = Duration::from_secs(600);

struct Options {
    megabytes: usize,
    rounds: usize,
    only: Vec<String>,
    json: Option<PathBuf>,
    /// The program to measure, for comparing builds; the one built with the bench by default.
    proxy: PathBuf,
}

impl Options {
    fn read() -> Result<Self, String> {
        let all = ["throughput", "latency", "memory"].map(str::to_owned).to_vec();
        let built = PathBuf::from(env!("CARGO_BIN_EXE_replproxy"));
        let mut options = Self { megabytes: 400, rounds: 5, only: all, json: None, proxy: built };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--bench" => {}
                "--megabytes" => options.megabytes = value()?.parse().map_err(|_| "--megabytes takes a number")?,
                "--rounds" => options.rounds = value()?.parse().map_err(|_| "--rounds takes a number")?,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
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

/// The proxy under test with a transparent and a renaming route.
pub(crate) struct Proxy {
    process: Process,
    pub(crate) transparent: u16,
    pub(crate) renaming: u16,
}

impl Proxy {
    fn start(program: &Path, source: u16, folder: &Path) -> Self {
        let (transparent, renaming) = (free_port(), free_port());
        let configuration = format!(
            "[proxy]\nserver_id = 4000001\n\
             [sources.primary]\nhost = \"127.0.0.1\"\nport = {source}\nuser = \"repl\"\npassword = \"secret\"\ntls = \"disabled\"\n\
             [routes.transparent]\nsource = \"primary\"\nlisten = \"127.0.0.1:{transparent}\"\nuser = \"repl\"\npassword = \"secret\"\n\
             [routes.renaming]\nsource = \"primary\"\nlisten = \"127.0.0.1:{renaming}\"\nuser = \"repl\"\npassword = \"secret\"\n\
             [[routes.renaming.objects]]\ndatabase = \"bench\"\nrename = \"bnch2\"\n"
        );
        std::fs::write(folder.join("replproxy.toml"), configuration).expect("the folder can be written");
        let mut command = std::process::Command::new(program);
        command.current_dir(folder).args(["run", "--config", "replproxy.toml"]);
        let mut process = Process::spawn(&mut command, &folder.join("proxy.log")).expect("the built program runs");
        process.listens_at(&[transparent, renaming]);
        Self { process, transparent, renaming }
    }

    fn id(&self) -> u32 {
        self.process.id()
    }
}

/// A binary log file of the source and what is in it.
struct Workload {
    name: &'static str,
    file: String,
    bytes: f64,
}

/// One mysqlbinlog run.
struct Dump {
    wall: f64,
    cpu_reader: f64,
    cpu_source: f64,
    cpu_proxy: f64,
}

fn main() -> ExitCode {
    measure::conduct(Options::read(), |options| options.json.as_deref(), measure_all)
}

async fn measure_all(options: &Options) -> Value {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.expect("the target folder can be written");
    let mut report = json!({ "machine": machine(), "command": std::env::args().skip(1).collect::<Vec<_>>() });
    let server_options = ServerOptions::new().arg("--max-binlog-size=1G");
    let source = match Server::start(Version::Mysql97, server_options).await {
        Ok(source) => source,
        Err(reason) => {
            println!("no server to measure with: {reason}");
            return report;
        }
    };
    let proxy = Proxy::start(&options.proxy, source.port(), folder.path());
    report["memory"] = json!({ "idle_mib": measure::memory_mib(proxy.id()) });
    source.script(SCHEMA).await;

    if options.wants("throughput") {
        let workloads = fill(&source, options.megabytes).await;
        println!("throughput, mysqlbinlog --read-from-remote-server --raw, medians of {} rounds:", options.rounds);
        let mut results = BTreeMap::new();
        for workload in &workloads {
            results.insert(workload.name, throughput(&source, &proxy, workload, options.rounds, folder.path()));
        }
        report["throughput"] = json!(results);
        report["memory"]["after_throughput_peak_mib"] = json!(peak_memory_mib(proxy.id()));
        println!("peak memory of the proxy so far: {:.1} MiB", peak_memory_mib(proxy.id()));
    }
    if options.wants("memory") {
        let workload = one_transaction(&source, 500).await;
        for (route, port) in [("transparent", proxy.transparent), ("renaming", proxy.renaming)] {
            dump(&source, Some(&proxy), port, &workload.file, folder.path());
            println!(
                "one transaction of {:.0} MB through the {route} route: peak memory of the proxy {:.1} MiB",
                workload.bytes / 1e6,
                peak_memory_mib(proxy.id())
            );
            report["memory"][format!("one_transaction_{route}_peak_mib")] = json!(peak_memory_mib(proxy.id()));
        }
        report["memory"]["one_transaction_bytes"] = json!(workload.bytes);
    }
    if options.wants("latency") {
        report["latency"] = latency::measure(source.port(), &proxy).await;
    }
    report
}

const SCHEMA: &str = "
SET sql_log_bin = 0;
CREATE DATABASE bench;
USE bench;
CREATE TABLE seed (n INT PRIMARY KEY);
INSERT INTO seed SELECT a.d + 10 * b.d + 100 * c.d FROM
  (SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9) a,
  (SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9) b,
  (SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9) c;
CREATE TABLE wide (id INT AUTO_INCREMENT PRIMARY KEY, n INT, payload VARCHAR(8000)) ENGINE=InnoDB;
CREATE TABLE narrow (id INT AUTO_INCREMENT PRIMARY KEY, n INT, payload VARCHAR(100)) ENGINE=InnoDB;
CREATE TABLE latency (id INT PRIMARY KEY) ENGINE=InnoDB;
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

/// Writes the workloads, each into a binary log file of its own.
async fn fill(source: &Server, megabytes: usize) -> Vec<Workload> {
    let mut workloads = Vec::new();
    source.script("FLUSH BINARY LOGS").await;
    let begun = current_file(source).await;
    let insert = "INSERT INTO bench.wide (n, payload) SELECT n, REPEAT(CHAR(97 + n % 26), 7950) FROM bench.seed;\n";
    source
        .script(&(insert.repeat(megabytes.div_ceil(8)) + "FLUSH BINARY LOGS; TRUNCATE bench.wide; FLUSH BINARY LOGS"))
        .await;
    workloads.push(workload(source, "large_rows", begun).await);

    let begun = current_file(source).await;
    // About 380 bytes of binary log each.
    let amount = megabytes * 1_000_000 / 4 / 380;
    source.script(&format!("CALL bench.small_transactions({amount}); FLUSH BINARY LOGS")).await;
    workloads.push(workload(source, "small_transactions", begun).await);
    workloads
}

/// One transaction of about so many megabytes in a file of its own.
async fn one_transaction(source: &Server, megabytes: usize) -> Workload {
    source.script("FLUSH BINARY LOGS").await;
    let begun = current_file(source).await;
    let factor = megabytes.div_ceil(8);
    source
        .script(&format!(
            "SET SESSION binlog_row_image = 'FULL';
             INSERT INTO bench.wide (n, payload) SELECT a.n, REPEAT('x', 7950) FROM bench.seed a, bench.seed b WHERE b.n < {factor};
             FLUSH BINARY LOGS"
        ))
        .await;
    workload(source, "one_transaction", begun).await
}

async fn current_file(source: &Server) -> String {
    let files = source.script("SHOW BINARY LOGS").await;
    files.last().expect("the source writes a binary log")[0].clone()
}

async fn workload(source: &Server, name: &'static str, file: String) -> Workload {
    let files = source.script("SHOW BINARY LOGS").await;
    let row = files.iter().find(|row| row[0] == file).expect("the file is listed");
    Workload { name, bytes: row[1].parse().expect("a size is a number"), file }
}

/// Direct, transparent and renaming in turn, in every round in another order.
fn throughput(source: &Server, proxy: &Proxy, workload: &Workload, rounds: usize, folder: &Path) -> Value {
    let ways = [("direct", source.port()), ("transparent", proxy.transparent), ("renaming", proxy.renaming)];
    let mut runs: BTreeMap<&str, Vec<Dump>> = BTreeMap::new();
    let file = |way: &str| folder.join(way).join(&workload.file);
    for round in 0..=rounds {
        for turn in 0..ways.len() {
            let (way, port) = ways[(round + turn) % ways.len()];
            let run = dump(source, (way != "direct").then_some(proxy), port, &workload.file, &folder.join(way));
            // The first round warms the caches up and shows that what is measured is right.
            if round > 0 {
                runs.entry(way).or_default().push(run);
            }
        }
        if round == 0 {
            let same = std::fs::read(file("direct")).ok() == std::fs::read(file("transparent")).ok();
            assert!(same, "the transparent route changed {}", workload.file);
            let sizes = [file("direct"), file("renaming")].map(|path| path.metadata().map_or(0, |data| data.len()));
            assert_eq!(sizes[0], sizes[1], "a renaming to the same length keeps the size of {}", workload.file);
        }
    }
    let middle = |way: &str, of: fn(&Dump) -> f64| median(&runs[way].iter().map(of).collect::<Vec<_>>());
    let gigabytes = workload.bytes / 1e9;
    let mut report = json!({ "bytes": workload.bytes, "file": workload.file });
    println!("  {} ({:.0} MB)", workload.name, workload.bytes / 1e6);
    for (way, _) in ways {
        let wall = middle(way, |run| run.wall);
        let ratio = middle("direct", |run| run.wall) / wall;
        let spread = {
            let walls: Vec<f64> = runs[way].iter().map(|run| run.wall).collect();
            [measure::percentile(&walls, 0.0), measure::percentile(&walls, 100.0)]
        };
        let cpu =
            [middle(way, |run| run.cpu_source), middle(way, |run| run.cpu_proxy), middle(way, |run| run.cpu_reader)]
                .map(|cpu| cpu / gigabytes);
        println!(
            "    {way:<12} {:>6.0} MB/s  ratio {ratio:.2}  CPU s/GB: source {:.2}, proxy {:.2}, mysqlbinlog {:.2}",
            workload.bytes / 1e6 / wall,
            cpu[0],
            cpu[1],
            cpu[2]
        );
        report[way] = json!({
            "seconds_median": wall, "seconds_min": spread[0], "seconds_max": spread[1],
            "megabytes_per_second": workload.bytes / 1e6 / wall, "ratio_to_direct": ratio,
            "cpu_seconds_per_gb": { "source": cpu[0], "proxy": cpu[1], "mysqlbinlog": cpu[2] },
        });
    }
    report
}

/// Copies one file with mysqlbinlog and measures every process that takes part.
fn dump(source: &Server, proxy: Option<&Proxy>, port: u16, file: &str, folder: &Path) -> Dump {
    std::fs::create_dir_all(folder).expect("the folder can be written");
    let mut command = source.installation().client("mysqlbinlog");
    command
        .args([
            "--no-defaults",
            "--read-from-remote-server",
            "--raw",
            "--host=127.0.0.1",
            "--user=repl",
            "--password=secret",
        ])
        .args(["--ssl-mode=DISABLED", "--get-server-public-key"])
        .arg(format!("--port={port}"))
        .arg(format!("--result-file={}/", folder.display()))
        .arg(file);
    let cpu = || (cpu_seconds(source.process_id()), proxy.map_or(0.0, |proxy| cpu_seconds(proxy.id())));
    let before = cpu();
    let begun = Instant::now();
    let mut process = Process::spawn(&mut command, &folder.join("mysqlbinlog.out")).expect("mysqlbinlog runs");
    while !is_zombie(process.id()) {
        assert!(begun.elapsed() < DUMP_LIMIT, "mysqlbinlog does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    let wall = seconds(begun.elapsed());
    let cpu_reader = cpu_seconds(process.id());
    let after = cpu();
    let status = process.status();
    assert!(
        status.is_some_and(|status| status.success()),
        "mysqlbinlog on port {port} ended with {status:?}:\n{}\n{}",
        process.output(),
        proxy.map(|proxy| proxy.process.output()).unwrap_or_default()
    );
    Dump { wall, cpu_reader, cpu_source: after.0 - before.0, cpu_proxy: after.1 - before.1 }
}
