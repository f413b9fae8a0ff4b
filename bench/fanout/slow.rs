//! What replicas that are slow, away or stuck do to the others: from the commit until it is received, before and meanwhile.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use replproxy::source::Client;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::measure::percentile;
use super::support::thin::{Thin, endpoint};
use super::{Options, Server, Way};

/// Replicas that are well.
const WELL: u32 = 10;
/// What a throttled one reads a second.
const THROTTLE: f64 = 1e6;
/// One transaction: 80 KB in ten rows events, 5 MB a second in all.
const STATEMENT: &str = "INSERT INTO bench.wide (n, payload) SELECT n, REPEAT(CHAR(97 + n % 26), 7950) FROM bench.seed";
const PAUSE: Duration = Duration::from_millis(16);

/// When each transaction was sent to the source.
type Sent = Arc<Mutex<Vec<Instant>>>;

pub(crate) async fn measure(source: &Server, options: &Options, folder: &Path) -> Value {
    let way = Way::proxy("slow", &options.proxy, source.port(), "", folder);
    let mut writer = Client::connect(&endpoint(source.port(), "root", "")).await.expect("root may log in");
    let at = source.binlog_end().await;
    let phase = Duration::from_secs(options.seconds);
    let (say, phases) = watch::channel(Phase::Before);
    let sent = Sent::default();

    let new = |number| Thin::new(way.port, number, at.clone());
    let well: Vec<_> =
        (0..WELL).map(|number| tokio::spawn(listen(new(number), Arc::clone(&sent), phases.clone()))).collect();
    let troubled = [Trouble::Throttled, Trouble::Stopped, Trouble::Stuck];
    let slow: Vec<_> = (WELL..)
        .zip(troubled)
        .map(|(number, trouble)| tokio::spawn(suffer(new(number), trouble, phases.clone())))
        .collect();
    way.all_live(WELL as usize + troubled.len()).await;

    let mut transactions = write(&mut writer, &sent, phase).await;
    let first_meanwhile = transactions;
    say.send_replace(Phase::Meanwhile);
    transactions += write(&mut writer, &sent, phase).await;
    say.send_replace(Phase::After { transactions });

    let (mut before, mut meanwhile, mut checksum) = (Vec::new(), Vec::new(), None);
    for replica in well {
        let (replica, latencies) = join(replica).await;
        before.extend_from_slice(&latencies[..first_meanwhile]);
        meanwhile.extend_from_slice(&latencies[first_meanwhile..]);
        assert_eq!(*checksum.get_or_insert(replica.checksum), replica.checksum, "replicas differ");
        assert_eq!(replica.connections, 1, "a replica that is well had to connect anew:\n{}", way.process.output());
    }
    let mut report = json!({ "replicas": WELL, "seconds_each": options.seconds, "transactions": transactions });
    println!("latency from INSERT to received with {WELL} replicas that are well, µs:");
    for (name, latencies) in [("before", &before), ("meanwhile", &meanwhile)] {
        let [p50, p99, max] = [50.0, 99.0, 100.0].map(|percent| percentile(latencies, percent));
        println!("  {name:<10} p50 {p50:>7.0}  p99 {p99:>7.0}  max {max:>7.0}");
        report[name] = json!({ "p50_us": p50, "p99_us": p99, "max_us": max });
    }
    for (slow, trouble) in slow.into_iter().zip(troubled) {
        let Suffered { replica, behind } = join(slow).await;
        assert_eq!(Some(replica.checksum), checksum, "{trouble:?}: a difference");
        println!(
            "  {trouble:?}: {behind} transactions behind at the end of it, equal afterwards, {} connections",
            replica.connections
        );
        report[format!("{trouble:?}").to_lowercase()] = json!({ "behind": behind, "connections": replica.connections });
    }
    report
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Meanwhile,
    After { transactions: usize },
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// Reads a megabyte a second.
    Throttled,
    /// Leaves, and comes back afterwards.
    Stopped,
    /// Keeps its connection and reads nothing.
    Stuck,
}

async fn join<T>(task: JoinHandle<T>) -> T {
    task.await.expect("a replica does not panic")
}

/// Writes for a while. Gives back how many transactions that were.
async fn write(writer: &mut Client, sent: &Sent, phase: Duration) -> usize {
    let (end, mut due, mut count) = (Instant::now() + phase, Instant::now(), 0);
    while Instant::now() < end {
        sent.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        writer.query(STATEMENT).await.expect("root may write");
        count += 1;
        due += PAUSE;
        tokio::time::sleep_until(due.into()).await;
    }
    count
}

/// A replica that is well: how long each transaction took, in microseconds.
async fn listen(mut replica: Thin, sent: Sent, mut phases: watch::Receiver<Phase>) -> (Thin, Vec<f64>) {
    let mut latencies = Vec::new();
    loop {
        tokio::select! {
            biased;
            ended = replica.receive() => if ended {
                let sent = sent.lock().unwrap_or_else(PoisonError::into_inner)[latencies.len()];
                latencies.push(sent.elapsed().as_secs_f64() * 1e6);
            },
            _ = phases.changed() => {}
        }
        if let Phase::After { transactions } = *phases.borrow()
            && latencies.len() == transactions
        {
            return (replica, latencies);
        }
    }
}

struct Suffered {
    replica: Thin,
    /// How many transactions it lacked when its trouble was over.
    behind: usize,
}

async fn suffer(mut replica: Thin, trouble: Trouble, mut phases: watch::Receiver<Phase>) -> Suffered {
    let now = |phases: &watch::Receiver<Phase>| *phases.borrow();
    while now(&phases) == Phase::Before {
        tokio::select! {
            _ = replica.receive() => {}
            _ = phases.changed() => {}
        }
    }
    match trouble {
        Trouble::Throttled => {
            let (began, had) = (Instant::now(), replica.bytes);
            while now(&phases) == Phase::Meanwhile {
                if (replica.bytes - had) as f64 <= began.elapsed().as_secs_f64() * THROTTLE {
                    tokio::select! {
                        _ = replica.receive() => {}
                        _ = phases.changed() => {}
                    }
                } else {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        Trouble::Stopped | Trouble::Stuck => {
            if let Trouble::Stopped = trouble {
                replica.leave();
            }
            let over = phases.wait_for(|phase| *phase != Phase::Meanwhile).await;
            over.expect("the bench says when it is over");
        }
    }
    let Phase::After { transactions } = now(&phases) else { unreachable!("there is no other phase") };
    let behind = transactions - replica.transactions;
    replica.reach(transactions).await;
    Suffered { replica, behind }
}
