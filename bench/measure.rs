//! Medians, percentiles, what the kernel says of a process, and the report.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

/// Clock ticks a second in `/proc/PID/stat`: 100 on every Linux that Rust runs on (`getconf CLK_TCK`).
const TICKS_PER_SECOND: f64 = 100.0;

/// The middle value; 0 for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// The smallest value that at least `percent` of the values do not exceed; 0 for none.
pub(crate) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// CPU seconds (user and system) that a process has used; also of one that has ended and was not waited for yet.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The program's name stands in parentheses and may hold spaces; utime and stime are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ').collect()).unwrap_or_default();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// Whether a child has ended and waits to be waited for.
pub(crate) fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ").map(|(_, fields)| fields.starts_with('Z')))
        .unwrap_or(true)
}

/// The largest resident size that a process ever had, in MiB.
pub(crate) fn peak_memory_mib(pid: u32) -> f64 {
    status_kib(pid, "VmHWM:") / 1024.0
}

/// The resident size of a process, in MiB.
pub(crate) fn memory_mib(pid: u32) -> f64 {
    status_kib(pid, "VmRSS:") / 1024.0
}

fn status_kib(pid: u32, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0.0)
}

/// Machine and toolchain, for the report: a number without them means nothing.
pub(crate) fn machine() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    serde_json::json!({
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "load_before": load.split(' ').next().unwrap_or_default(),
        "replproxy": env!("CARGO_PKG_VERSION"),
    })
}

/// A bench with real servers, from its options to its report: into the file that the options name, else to standard output.
pub(crate) fn conduct<O>(
    options: Result<O, String>,
    file: impl Fn(&O) -> Option<&Path>,
    measure_all: impl AsyncFnOnce(&O) -> Value,
) -> ExitCode {
    let options = match options {
        Ok(options) => options,
        Err(mistake) => {
            eprintln!("error: {mistake}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let report = runtime.block_on(measure_all(&options));
    match file(&options) {
        Some(path) => write_report(&report, path),
        None => println!("{report:#}"),
    }
    ExitCode::SUCCESS
}

/// Writes a report for the next one to be compared with.
pub(crate) fn write_report(report: &Value, path: &Path) {
    fs::write(path, format!("{report:#}\n")).expect("the report can be written");
}

/// Seconds with a fraction.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
