//! The pure core alone: how many events and megabytes a second one CPU takes through a route, by mix of events.
//!
//!     cargo bench --bench core -- [--json FILE] [--seconds 1]
//!
//! Time is CPU time of this process, so that neighbours on the machine count for little. `bench/README.md` explains the
//! figures.

#[allow(dead_code)]
mod measure;
mod streams;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use replproxy::binlog::Event;
use replproxy::pipeline::rules::RuleSet;
use serde_json::{Value, json};

use measure::{cpu_seconds, machine, write_report};

fn main() {
    let mut seconds = 1.0;
    let mut json_path: Option<PathBuf> = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => seconds = arguments.next().and_then(|value| value.parse().ok()).unwrap_or(seconds),
            "--json" => json_path = arguments.next().map(PathBuf::from),
            _ => {}
        }
    }
    let mut report = json!({ "machine": machine() });
    println!("{:<22} {:<12} {:>12} {:>10} {:>10} {:>10}", "stream", "route", "events/s", "MB/s", "ns/event", "kept");
    for (stream_name, stream) in streams::all() {
        for (route_name, rules) in streams::routes() {
            let figures = measure_one(&stream, &rules, seconds);
            report[stream_name.as_str()][route_name] = figures;
        }
        if let Some(routes) = report[stream_name.as_str()].as_object() {
            for (route, figures) in routes {
                println!(
                    "{stream_name:<22} {route:<12} {:>12.0} {:>10.0} {:>10.0} {:>9.0}%",
                    figures["events_per_second"].as_f64().unwrap_or_default(),
                    figures["megabytes_per_second"].as_f64().unwrap_or_default(),
                    figures["nanoseconds_per_event"].as_f64().unwrap_or_default(),
                    figures["bytes_kept_percent"].as_f64().unwrap_or_default(),
                );
            }
        }
    }
    if let Some(path) = json_path {
        write_report(&report, &path);
    }
}

/// Pushes the stream through fresh pipelines until enough CPU time is used up.
fn measure_one(stream: &[Bytes], rules: &Arc<RuleSet>, seconds: f64) -> Value {
    let bytes_in: usize = stream.iter().map(Bytes::len).sum();
    let mut out: Vec<Event> = Vec::new();
    let mut bytes_out = 0_usize;
    let mut passes = 0_u32;
    let begun = cpu_seconds(std::process::id());
    let used = loop {
        let mut pipeline = streams::pipeline(rules);
        for raw in stream {
            if let Err(stop) = pipeline.push(raw.clone(), &mut out) {
                return json!({ "stops": stop.fault.to_string() });
            }
            // A session writes a batch and drops it.
            if out.len() >= 64 {
                bytes_out += out.drain(..).map(|event| event.raw().len()).sum::<usize>();
            }
        }
        bytes_out += out.drain(..).map(|event| event.raw().len()).sum::<usize>();
        passes += 1;
        let used = cpu_seconds(std::process::id()) - begun;
        if used >= seconds {
            break used;
        }
    };
    let passes = f64::from(passes);
    let events = stream.len() as f64 * passes;
    json!({
        "events_per_second": events / used,
        "megabytes_per_second": bytes_in as f64 * passes / 1e6 / used,
        "nanoseconds_per_event": used * 1e9 / events,
        "bytes_kept_percent": 100.0 * bytes_out as f64 / (bytes_in as f64 * passes),
        "events": stream.len(),
        "bytes": bytes_in,
    })
}
