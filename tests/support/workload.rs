//! The workload of `fixtures/live`: SQL files that run at a source in the order of their names, a session each.

use super::server::Server;
use std::path::Path;

/// One session's script.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// The file's name without its ending.
    pub(crate) name: String,
    /// The statements, in the client's own language (`DELIMITER` included).
    pub(crate) script: String,
}

/// The sessions for a server that the words describe, for example `mysql-5.7` and `gtid`.
pub(crate) fn sessions(words: &[&str]) -> Vec<Session> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/live/workload");
    let entries = std::fs::read_dir(&folder).expect("the workload's folder can be read");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("the workload's folder can be read").path()).collect();
    files.sort();
    let sessions = files.iter().filter_map(|file| {
        let text = std::fs::read_to_string(file).expect("the workload is text");
        let name = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        Some(Session { name, script: select(&text, words)? })
    });
    sessions.collect()
}

/// The parts of the text that are for these words; nothing when the whole file is for others.
fn select(text: &str, words: &[&str]) -> Option<String> {
    let wanted = |list: &str| list.split_whitespace().any(|word| words.contains(&word));
    if text.strip_prefix("-- only: ").is_some_and(|rest| !wanted(rest.lines().next().unwrap_or_default())) {
        return None;
    }
    let mut kept = String::new();
    let mut inside = true;
    for line in text.lines() {
        if let Some(list) = line.strip_prefix("-- [") {
            inside = wanted(list);
        } else if line == "-- ]" {
            inside = true;
        } else if inside {
            kept += line;
            kept.push('\n');
        }
    }
    Some(kept)
}

/// Runs the sessions at the source.
pub(crate) async fn run(source: &Server, sessions: &[Session]) {
    for session in sessions {
        if let Err(error) = source.try_script(&session.script).await {
            panic!("{}: {} fails: {error}", source.version().name(), session.name);
        }
    }
}

#[test]
fn parts_of_a_session_are_for_the_servers_that_they_name() {
    let text = "a\n-- [x y\nb\n-- ]\nc\n";
    assert_eq!(select(text, &["x"]).as_deref(), Some("a\nb\nc\n"));
    assert_eq!(select(text, &["z"]).as_deref(), Some("a\nc\n"));
    assert_eq!(select("-- only: x\na\n", &["z"]), None);
    assert_eq!(select("-- only: x\na\n", &["x"]).as_deref(), Some("-- only: x\na\n"));
}
