//! One statement at a time: what reading it costs, and what judging and rewriting it costs on a route that renames everything.
//!
//!     cargo bench --bench ddl -- [--json FILE] [--every 1]
//!
//! The statements are those of the public corpus up to 4 KiB. Each is done five times, and the shortest time counts: what is
//! measured is the work, not what else the machine does meanwhile.

#[allow(dead_code)]
mod measure;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use flate2::read::GzDecoder;
use replproxy::config::Config;
use replproxy::ddl::{Context, analyze};
use replproxy::pipeline::policy::judge;
use replproxy::pipeline::rules::RuleSet;
use serde_json::{Value, json};

use measure::{machine, percentile, write_report};

/// The longest statement of which the issue speaks.
const LONGEST: usize = 4096;
const ROUNDS: usize = 5;

fn main() {
    let mut every = 1;
    let mut json_path: Option<PathBuf> = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--every" => every = arguments.next().and_then(|value| value.parse().ok()).unwrap_or(every).max(1),
            "--json" => json_path = arguments.next().map(PathBuf::from),
            _ => {}
        }
    }
    let Some(statements) = statements(every) else {
        println!("the public corpus is not here (REPLPROXY_CORPUS)");
        return;
    };
    let rules = rules();
    let (mut reading, mut all) = (Vec::new(), Vec::new());
    let mut by_kind: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut longest = (0.0, String::new());
    for (number, sql) in statements.iter().enumerate() {
        let mariadb = number % 2 == 0;
        let version = if mariadb { 101_119 } else { 90_704 };
        let context = Context { default_database: "corpus_db", sql_mode: 0, client_collation: 45, version, mariadb };
        let read = shortest(|| {
            std::hint::black_box(analyze(sql.as_bytes(), &context));
        });
        let whole = shortest(|| {
            let statement = analyze(sql.as_bytes(), &context);
            std::hint::black_box(judge(&rules, &statement, sql.as_bytes(), &context));
        });
        by_kind.entry(analyze(sql.as_bytes(), &context).kind.0).or_default().push(whole);
        reading.push(read);
        all.push(whole);
        if whole > longest.0 {
            longest = (whole, sql.chars().take(120).collect());
        }
    }
    let mut report = json!({ "machine": machine(), "statements": statements.len(), "unit": "microseconds" });
    println!("{:<24} {:>8} {:>8} {:>8} {:>8} {:>8}", "µs a statement", "number", "p50", "p90", "p99", "max");
    report["reading"] = line("reading", &reading);
    report["reading, judging, rewriting"] = line("reading, judging, rewriting", &all);
    for (kind, times) in by_kind.iter().filter(|(_, times)| times.len() * 100 >= statements.len()) {
        report[*kind] = line(kind, times);
    }
    println!("the longest: {:.0} µs: {}", longest.0, longest.1);
    if let Some(path) = json_path {
        write_report(&report, &path);
    }
}

/// Prints and gives the figures of some times in microseconds.
fn line(name: &str, times: &[f64]) -> Value {
    let [median, p90, p99, max] = [50.0, 90.0, 99.0, 100.0].map(|percent| percentile(times, percent));
    println!("{name:<24} {:>8} {median:>8.1} {p90:>8.1} {p99:>8.1} {max:>8.1}", times.len());
    let rounded = |value: f64| (value * 10.0).round() / 10.0;
    json!({ "number": times.len(), "p50": rounded(median), "p90": rounded(p90), "p99": rounded(p99), "max": rounded(max) })
}

/// The shortest of a few times, in microseconds.
fn shortest(work: impl Fn()) -> f64 {
    let time = |()| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_secs_f64() * 1e6
    };
    (0..ROUNDS).map(|_| time(())).fold(f64::INFINITY, f64::min)
}

/// Every database gets a new name.
fn rules() -> RuleSet {
    let text = "[sources.s]\nhost = \"h\"\nuser = \"u\"\npassword = \"\"\n\n[routes.r]\nsource = \"s\"\nlisten = \"127.0.0.1:3307\"\n\
                user = \"u\"\npassword = \"\"\n\n[[routes.r.objects]]\ntable = \"*.*\"\nrename = \"new_*.new_*\"\n\n[routes.r.ddl]\n\
                unsupported = \"forward\"\nreference = \"forward\"\n";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("route.toml");
    fs::write(&path, text).expect("it can be written");
    let mut config = Config::load_offline(&path).unwrap_or_else(|errors| panic!("{errors}"));
    config.routes.remove("r").expect("the route is in the text").rules
}

/// One in so many statements of the public corpus.
fn statements(every: usize) -> Option<Vec<String>> {
    let root = std::env::var_os("REPLPROXY_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"), PathBuf::from);
    let file = fs::File::open(root.join("ddl/public.jsonl.gz")).ok()?;
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).ok()?;
    let rows = text.lines().step_by(every).filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let texts = rows.filter_map(|row| row["sql"].as_str().map(str::to_owned));
    Some(texts.filter(|sql| sql.len() <= LONGEST).collect())
}
