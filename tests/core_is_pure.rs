//! The core takes bytes and values and gives bytes and values: dependencies point one way.

use std::fs;
use std::path::{Path, PathBuf};

const CORE: [&str; 5] = ["wire", "binlog", "gtid", "ddl", "pipeline"];

/// What the core must not name: sockets, the runtime, the clock, the environment, the log.
const FORBIDDEN: [&str; 13] = [
    "tokio",
    "std::net",
    "std::fs",
    "std::env",
    "std::io::std",
    "std::thread",
    "std::process",
    "Instant",
    "SystemTime",
    "tracing",
    "metrics",
    "println!",
    "eprintln!",
];

/// The edges: whoever the core would name here would drag them in.
const EDGES: [&str; 10] = [
    "crate::source",
    "crate::replica",
    "crate::relay",
    "crate::config",
    "crate::cli",
    "crate::app",
    "crate::admin",
    "crate::telemetry",
    "crate::status",
    "crate::secret",
];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file without its comments (a comment may explain what the core leaves to others) and without its unit
/// tests, which by custom are the last item of a file and may read files.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = text.lines().position(|line| line == "#[cfg(test)]").unwrap_or(usize::MAX);
    text.lines().enumerate().take_while(move |(index, _)| *index < tests).filter_map(|(index, line)| {
        let code = line.split("//").next().unwrap_or_default();
        (!code.trim().is_empty()).then_some((index + 1, code))
    })
}

/// Whether `word` stands in `code` and is not a part of a longer name.
fn names(code: &str, word: &str) -> bool {
    let part_of_name = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word).any(|(start, _)| {
        !part_of_name(code[..start].chars().next_back())
            && (!word.ends_with(char::is_alphanumeric)
                || !part_of_name(code[start + word.len()..].chars().next())
                || word == "std::io::std")
    })
}

#[test]
fn the_core_names_no_socket_clock_environment_or_log() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for module in CORE {
        let folder = source.join(module);
        if folder.is_dir() {
            rust_files(&folder, &mut files);
        } else {
            assert!(module == "gtid", "src/{module} is gone: this test must follow it");
        }
    }
    assert!(files.len() > 5, "only {} files found", files.len());
    let mut offences = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in code(&text) {
            for word in FORBIDDEN.iter().chain(&EDGES).filter(|word| names(line, word)) {
                offences.push(format!("{}:{number}: {word}", file.display()));
            }
        }
    }
    assert!(offences.is_empty(), "the core must not name these:\n{}", offences.join("\n"));
}

#[test]
fn the_search_sees_uses_and_not_parts_of_names() {
    assert!(names("use tokio::net::TcpStream;", "tokio"));
    assert!(names("let now = Instant::now();", "Instant"));
    assert!(!names("let instant_of = Instantly;", "Instant"));
    assert!(names("std::io::stderr()", "std::io::std"));
}
