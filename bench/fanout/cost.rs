//! CPU of one more replica that has caught up: the proxy's and a plain forwarder's, for the same writes of the same source.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use replproxy::source::Client;
use serde_json::{Value, json};

use super::measure::{cpu_seconds, median};
use super::support::thin::{Thin, endpoint};
use super::{Options, Server, Way};

/// What the source writes, as statements with a pause between two of them.
struct Workload {
    name: &'static str,
    statement: &'static str,
    /// Transactions of one statement.
    transactions: usize,
    statements: usize,
    pause: Duration,
}

const WORKLOADS: [Workload; 3] = [
    // Ten rows events of 8 KB each.
    Workload {
        name: "rows_of_8_kb",
        statement: "INSERT INTO bench.wide (n, payload) SELECT n, REPEAT(CHAR(97 + n % 26), 7950) FROM bench.seed",
        transactions: 1,
        statements: 400,
        pause: Duration::from_millis(8),
    },
    Workload {
        name: "small_transactions",
        statement: "INSERT INTO bench.narrow (n, payload) VALUES (7, 'sixty characters or so, as a short row of a busy table has')",
        transactions: 1,
        statements: 4000,
        pause: Duration::from_millis(1),
    },
    // As many as the source can write, for a moment.
    Workload {
        name: "small_transactions_in_bursts",
        statement: "CALL bench.small_transactions(400)",
        transactions: 400,
        statements: 100,
        pause: Duration::from_millis(100),
    },
];

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// CPU seconds.
    cpu: f64,
    /// Bytes of events that one replica received.
    bytes: u64,
}

pub(crate) async fn measure(source: &Server, options: &Options, folder: &Path) -> Value {
    let ways = [
        Way::forwarder(source.port(), folder),
        Way::proxy("transparent", &options.proxy, source.port(), "", folder),
        Way::proxy(
            "renaming",
            &options.proxy,
            source.port(),
            "[[routes.bench.objects]]\ndatabase = \"bench\"\nrename = \"bnch2\"\n",
            folder,
        ),
    ];
    let [few, many] = options.replicas;
    println!("CPU of each replica beyond {few}, up to {many}; medians of {} rounds:", options.rounds);
    let mut report = json!({ "replicas": options.replicas, "rounds": options.rounds });
    for workload in &WORKLOADS {
        let mut runs: BTreeMap<(usize, usize), Vec<Run>> = BTreeMap::new();
        for round in 0..options.rounds {
            for turn in 0..ways.len() {
                let index = (round + turn) % ways.len();
                for replicas in [few, many] {
                    let run = run(source, &ways[index], workload, replicas).await;
                    runs.entry((index, replicas)).or_default().push(run);
                }
            }
        }
        println!("  {}", workload.name);
        let mut of_forwarder = 0.0;
        for (index, way) in ways.iter().enumerate() {
            let cpu = |replicas| median(&runs[&(index, replicas)].iter().map(|run| run.cpu).collect::<Vec<_>>());
            let bytes = runs[&(index, many)][0].bytes;
            let each = (cpu(many) - cpu(few)) / (many - few) as f64;
            if index == 0 {
                of_forwarder = each;
            }
            let transactions = (workload.transactions * workload.statements) as f64;
            let (ratio, micros) = (each / of_forwarder, each * 1e6 / transactions);
            let per_gigabyte = each / (bytes as f64 / 1e9);
            println!(
                "    {:<12} {micros:>6.2} µs a transaction, {per_gigabyte:>6.2} s/GB, ratio {ratio:.2}   (all: {:.2} s with {few}, {:.2} s with {many})",
                way.name,
                cpu(few),
                cpu(many),
            );
            report[workload.name][way.name] = json!({
                "cpu_seconds": { few.to_string(): cpu(few), many.to_string(): cpu(many) },
                "bytes_a_replica": bytes, "transactions": transactions,
                "microseconds_a_transaction_and_replica": micros, "cpu_seconds_per_gb_and_replica": per_gigabyte,
                "ratio_to_forwarder": ratio,
            });
        }
    }
    report
}

/// Attaches replicas, lets the source write, and waits until all have all of it.
async fn run(source: &Server, way: &Way, workload: &Workload, replicas: usize) -> Run {
    let mut writer = Client::connect(&endpoint(source.port(), "root", "")).await.expect("root may log in");
    let at = source.binlog_end().await;
    let attaching = (0..replicas as u32).map(|number| {
        let mut replica = Thin::new(way.port, number, at.clone());
        tokio::spawn(async move {
            replica.attach().await;
            replica
        })
    });
    let mut attached = Vec::new();
    for replica in attaching.collect::<Vec<_>>() {
        attached.push(replica.await.expect("a replica does not panic"));
    }
    way.all_live(replicas).await;

    let transactions = workload.transactions * workload.statements;
    let before = cpu_seconds(way.process.id());
    let reading = attached.into_iter().map(|mut replica| {
        tokio::spawn(async move {
            replica.reach(transactions).await;
            replica
        })
    });
    let reading: Vec<_> = reading.collect();
    let mut due = Instant::now();
    for _ in 0..workload.statements {
        writer.query(workload.statement).await.expect("root may write");
        due += workload.pause;
        tokio::time::sleep_until(due.into()).await;
    }
    let mut received = Vec::new();
    for replica in reading {
        received.push(replica.await.expect("a replica does not panic"));
    }
    let cpu = cpu_seconds(way.process.id()) - before;
    let first = &received[0];
    for replica in &received {
        assert_eq!((replica.checksum, replica.bytes), (first.checksum, first.bytes), "replicas differ");
        assert_eq!(replica.connections, 1, "a replica had to connect anew:\n{}", way.process.output());
    }
    way.all_live(replicas).await;
    writer.quit().await;
    Run { cpu, bytes: first.bytes }
}
