//! Damaged and foreign files: a typed error or a good prefix, never a panic, never an event that was not there.

use std::sync::Arc;

use replproxy::binlog::{ChecksumAlgorithm, FileReader};
use replproxy::pipeline::rules::RuleSet;
use replproxy::rewrite::{Summary, rewrite};

use crate::corpus;
use crate::support::routes::rules;

/// Runs a file through a route. What came out must be readable, whatever happened to what went in.
fn run(name: &str, bytes: &[u8], rules: &Arc<RuleSet>) -> (Vec<u8>, Result<(), String>) {
    let (mut out, mut summary) = (Vec::new(), Summary::default());
    let ended = rewrite(bytes, b"bin.000001", Arc::clone(rules), &mut out, &mut summary);
    if !out.is_empty() {
        let mut reader = FileReader::new(&out[..]).unwrap_or_else(|error| panic!("{name}: the output: {error}"));
        while reader.next_event().unwrap_or_else(|error| panic!("{name}: the output: {error}")).is_some() {}
    }
    (out, ended.map_err(|error| error.to_string()))
}

fn routes() -> [Arc<RuleSet>; 2] {
    let everything_renamed =
        "objects = [{ database = \"*\", rename = \"renamed_*\" }]\nddl = { unknown = \"skip\", reference = \"skip\" }";
    [Arc::new(RuleSet::transparent()), rules(everything_renamed)]
}

#[test]
fn hostile_files_end_with_an_error_or_a_good_prefix() {
    for (name, bytes) in corpus::binlogs("hostile") {
        for rules in routes() {
            let (out, ended) = run(&name, &bytes, &rules);
            if rules.is_transparent() {
                assert!(bytes.starts_with(&out), "{name}: not a prefix ({ended:?})");
            }
        }
    }
}

#[test]
fn a_file_cut_anywhere_gives_its_whole_events_and_an_error() {
    for (name, bytes) in corpus::binlogs("").into_iter().chain(corpus::binlogs("reassembled")) {
        let ends = event_ends(&bytes);
        if ends.is_empty() {
            continue;
        }
        // Every length of small files; of large ones every length near the ends of events, and a sample.
        let step = bytes.len() / 150 + 1;
        let lengths = (0..bytes.len()).filter(|length| {
            length % step == 0 || (bytes.len() < 4_000 && ends.iter().any(|end| length.abs_diff(*end) < 2))
        });
        let transparent = Arc::new(RuleSet::transparent());
        for length in lengths {
            let (out, ended) = run(&name, &bytes[..length], &transparent);
            let good = ends.iter().rfind(|end| **end <= length).copied().unwrap_or(0);
            // A file without events is a file; of one that ends inside its first event nothing is written.
            let expected = if length == 4 { 4 } else { good };
            assert_eq!(out.len(), expected, "{name} cut at {length}");
            assert!(bytes.starts_with(&out), "{name} cut at {length}");
            assert_eq!(ended.is_ok(), length == expected && length >= 4, "{name} cut at {length}: {ended:?}");
        }
    }
}

/// Where the events of a good file end; empty for files that cannot be read to the end.
fn event_ends(bytes: &[u8]) -> Vec<usize> {
    let Ok(mut reader) = FileReader::new(bytes) else { return Vec::new() };
    let mut ends = Vec::new();
    loop {
        match reader.next_event() {
            Ok(Some(_)) => ends.push(reader.offset() as usize),
            Ok(None) => return ends,
            Err(_) => return Vec::new(),
        }
    }
}

#[test]
fn flipped_bits_never_panic_and_checksums_find_them() {
    let seed = std::env::var("REPLPROXY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_u64);
    println!("REPLPROXY_SEED={seed}");
    let mut state = seed | 1;
    let mut random = move |below: usize| {
        // xorshift64: enough to choose places, and the same everywhere.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let routes = routes();
    for (name, bytes) in corpus::binlogs("") {
        let Some(&first_end) = event_ends(&bytes).first().filter(|_| bytes.len() <= 200_000) else { continue };
        let checked = has_checksums(&bytes);
        for _ in 0..40 {
            let mut damaged = bytes.clone();
            let (place, bit) = (random(bytes.len()), random(8));
            damaged[place] ^= 1 << bit;
            for rules in &routes {
                let (_, ended) = run(&name, &damaged, rules);
                // The first event says whether there are checksums at all, by its version text.
                if checked && rules.is_transparent() && place >= first_end {
                    assert!(ended.is_err(), "{name}: bit {bit} of byte {place} went unnoticed");
                }
            }
        }
    }
}

fn has_checksums(bytes: &[u8]) -> bool {
    let Ok(mut reader) = FileReader::new(bytes) else { return false };
    let _ = reader.next_event();
    reader.format().is_some_and(|format| format.checksum == ChecksumAlgorithm::Crc32)
}
