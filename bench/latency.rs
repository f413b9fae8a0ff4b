//! From commit to received: one writer, and three receivers that listen at the same time, so that every transaction is
//! measured on every way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use replproxy::binlog::EventType;
use replproxy::source::{Client, DumpRequest, DumpStart, Endpoint, Identity};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::Proxy;
use super::measure::percentile;
use super::support::thin::endpoint;

/// Transactions that are written and measured.
const TRANSACTIONS: usize = 3000;
/// Those at the beginning that do not count.
const WARM_UP: usize = 200;
/// Between two transactions: the ways must be idle, else it is throughput that is measured.
const PAUSE: Duration = Duration::from_millis(2);
/// A receiver that waits longer than this has lost something.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the writer and the receivers and prints a table.
pub(crate) async fn measure(source: u16, proxy: &Proxy) -> Value {
    let ways = [("direct", source), ("transparent", proxy.transparent), ("renaming", proxy.renaming)];
    let mut writer = Client::connect(&endpoint(source, "root", "")).await.expect("root may log in");
    let files = writer.query("SHOW BINARY LOGS").await.expect("root may ask");
    let last = files.rows.last().expect("the source writes a binary log");
    let cell = |index: usize| String::from_utf8_lossy(last[index].as_deref().unwrap_or_default()).into_owned();
    let (file, position) = (cell(0), cell(1).parse().expect("a size is a number"));

    let ready = Arc::new(Barrier::new(ways.len() + 1));
    let receivers: Vec<_> = ways
        .iter()
        .enumerate()
        .map(|(index, (_, port))| {
            let start = DumpStart::FilePosition { file: file.clone().into_bytes(), position };
            tokio::spawn(receive(endpoint(*port, "repl", "secret"), index as u32, start, Arc::clone(&ready)))
        })
        .collect();
    ready.wait().await;
    let mut sent = Vec::with_capacity(TRANSACTIONS);
    for number in 0..TRANSACTIONS {
        tokio::time::sleep(PAUSE).await;
        sent.push(Instant::now());
        writer.query(&format!("INSERT INTO bench.latency VALUES ({number})")).await.expect("root may write");
    }
    let mut received = Vec::new();
    for receiver in receivers {
        received.push(receiver.await.expect("a receiver does not panic"));
    }

    println!("latency from INSERT to received, {} transactions, µs:", TRANSACTIONS - WARM_UP);
    let mut report = json!({ "transactions": TRANSACTIONS - WARM_UP });
    let micros = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1e6;
    for ((way, _), arrivals) in ways.iter().zip(&received) {
        let totals: Vec<f64> = (WARM_UP..TRANSACTIONS).map(|n| micros(sent[n], arrivals[n])).collect();
        let added: Vec<f64> =
            (WARM_UP..TRANSACTIONS).map(|n| micros(sent[n], arrivals[n]) - micros(sent[n], received[0][n])).collect();
        let figures =
            [percentile(&totals, 50.0), percentile(&totals, 99.0), percentile(&added, 50.0), percentile(&added, 99.0)];
        println!(
            "  {way:<12} p50 {:>6.0}  p99 {:>6.0}   added p50 {:>5.0}  p99 {:>5.0}",
            figures[0], figures[1], figures[2], figures[3]
        );
        report[*way] = json!({ "p50_us": figures[0], "p99_us": figures[1], "added_p50_us": figures[2], "added_p99_us": figures[3] });
    }
    report
}

/// When each transaction's commit arrived.
async fn receive(endpoint: Endpoint, index: u32, start: DumpStart, ready: Arc<Barrier>) -> Vec<Instant> {
    let client = Client::connect(&endpoint).await.expect("the receiver may log in");
    let identity =
        Identity { server_id: 90_001 + index, uuid: uuid::Uuid::new_v4(), host: "latency".to_owned(), port: 0 };
    let request = DumpRequest { identity, heartbeat: Duration::from_secs(5), flags: 0, start, session: Vec::new() };
    let mut stream = client.start_dump(request).await.expect("the dump begins");
    let mut arrivals: Vec<Option<Instant>> = vec![None; TRANSACTIONS];
    let mut row = None;
    let mut missing = TRANSACTIONS;
    let mut waiting = Some(ready);
    while missing > 0 {
        let event = tokio::time::timeout(PATIENCE, stream.next()).await.expect("something arrives");
        let event = event.expect("the stream goes on").expect("the stream does not end");
        match EventType(event[4]) {
            // The only column is an INT: the last four bytes before the checksum.
            EventType::WRITE_ROWS => {
                let tail = &event[event.len() - 8..event.len() - 4];
                row = tail.try_into().ok().map(u32::from_le_bytes);
            }
            EventType::XID => {
                let now = Instant::now();
                if let Some(arrival) = row.take().and_then(|number| arrivals.get_mut(number as usize))
                    && arrival.is_none()
                {
                    *arrival = Some(now);
                    missing -= 1;
                }
            }
            EventType::FORMAT_DESCRIPTION => {
                if let Some(ready) = waiting.take() {
                    ready.wait().await;
                }
            }
            _ => {}
        }
    }
    arrivals.into_iter().map(|arrival| arrival.expect("none is missing")).collect()
}
