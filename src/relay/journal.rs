//! What a route has learned from statements, kept in memory and, with a `state_dir`, in a file.
//!
//! The file is written anew for each change, in one step, before anything of the statement goes out. Changes are rare: a RENAME
//! across the selection's border, or a statement of an online schema change.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::fault::{Code, Fault};
use crate::pipeline::history::{Behind, Entry, History, Journal, Place};
use crate::pipeline::rules::{Learned, TablePlace};
use crate::telemetry::{Remembered, RouteTelemetry};

/// What the file says of itself.
const FORM: u32 = 1;

/// The largest file that is read: the most entries of the longest statements are not more.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// The journal of one route.
pub struct RouteJournal {
    path: Option<PathBuf>,
    history: Mutex<History>,
    telemetry: Arc<RouteTelemetry>,
}

impl fmt::Debug for RouteJournal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RouteJournal").field("path", &self.path).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    form: u32,
    history: History,
}

impl RouteJournal {
    /// The journal of a route, read from `state_dir` where there is one.
    pub fn open(state_dir: Option<&Path>, telemetry: &Arc<RouteTelemetry>) -> Result<Self, Fault> {
        let telemetry = Arc::clone(telemetry);
        let Some(folder) = state_dir else { return Ok(Self { path: None, history: Mutex::default(), telemetry }) };
        let path = folder.join(format!("learned-{}.json", telemetry.route()));
        let fault = |error: io::Error| Fault::new(Code::FileUnreadable, format!("{}: {error}", path.display()));
        fs::create_dir_all(folder).map_err(fault)?;
        let history = read(&path).map_err(fault)?;
        telemetry.remembers(remembered(&history));
        Ok(Self { path: Some(path), history: Mutex::new(history), telemetry })
    }

    /// Whether it is kept in this folder, or nowhere.
    pub fn is_in(&self, state_dir: Option<&Path>) -> bool {
        self.path.as_deref().and_then(Path::parent) == state_dir
    }

    /// Whether it outlives the process.
    pub fn is_kept(&self) -> bool {
        self.path.is_some()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for RouteJournal {
    fn holds(&self, behind: &Behind, place: &Place) -> Result<Learned, String> {
        self.history().holds(behind, place)
    }

    fn remember(&self, entry: Entry) -> Result<(), String> {
        let mut history = self.history();
        let Some(path) = &self.path else {
            history.insert(entry);
            self.telemetry.remembers(remembered(&history));
            return Ok(());
        };
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        // The route's streams under its rules before a reload may have written meanwhile.
        let mut known = read(path).map_err(failed)?;
        if known.insert(entry) {
            write(path, &known).map_err(failed)?;
        }
        self.telemetry.remembers(remembered(&known));
        *history = known;
        Ok(())
    }
}

/// What holds at the newest place, for status.
fn remembered(history: &History) -> Vec<Remembered> {
    let Some(Entry { place, learned: Learned { followed, changes }, .. }) = history.newest() else { return Vec::new() };
    let since = place.to_string();
    let tables = followed.iter().map(|table| Remembered {
        what: "followed",
        source: format!("{}.{}", table.database, table.name),
        detail: format!("goes out as {}.{}", table.new_database, table.new_name),
        since: since.clone(),
    });
    let changes = changes.iter().map(|change| {
        let definition =
            if change.definition.is_some() { "its ALTER TABLE waits for the swap" } else { "no ALTER TABLE yet" };
        let detail = match (&change.spoiled, &change.table_place) {
            (Some(why), _) => format!("cannot be folded: {why}"),
            (None, TablePlace::InPlace) => format!("copy {}; {definition}", change.shadow),
            (None, TablePlace::MovedTo(name)) => {
                format!("copy {}; the table was moved to {name} and stays at the replica", change.shadow)
            }
            (None, TablePlace::Dropped) => {
                format!("copy {}; the table was dropped and stays at the replica", change.shadow)
            }
        };
        Remembered {
            what: "online_change",
            source: format!("{}.{}", change.database, change.table),
            detail,
            since: since.clone(),
        }
    });
    tables.chain(changes).collect()
}

fn read(path: &Path) -> io::Result<History> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            return Err(io::Error::other(format!("it is larger than {MAX_FILE_BYTES} bytes")));
        }
        Ok(_) => {}
    }
    let document: Document = serde_json::from_slice(&fs::read(path)?)?;
    if document.form != FORM {
        return Err(io::Error::other(format!("it has form {}, and this version reads {FORM}", document.form)));
    }
    Ok(document.history)
}

fn write(path: &Path, history: &History) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let document = serde_json::to_vec(&Document { form: FORM, history: history.clone() })?;
    file.write_all(&document)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::rules::FollowedTable;

    fn entry(position: u64) -> Entry {
        let name = |text: &str| text.to_owned();
        let table = FollowedTable {
            database: name("d"),
            name: format!("t{position}"),
            new_database: name("d"),
            new_name: name("t"),
        };
        let place = Place { created: 1, file: name("b.000001"), position };
        Entry { place, gtid: None, learned: Learned { followed: vec![table], changes: Vec::new() } }
    }

    fn open(folder: &Path, route: &str) -> Result<RouteJournal, Fault> {
        RouteJournal::open(Some(folder), &RouteTelemetry::new(route))
    }

    #[test]
    fn what_one_process_remembers_the_next_one_knows() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), "shop").unwrap();
        let second = open(folder.path(), "shop").unwrap();
        first.remember(entry(100)).unwrap();
        second.remember(entry(200)).unwrap();
        let third = open(folder.path(), "shop").unwrap();
        for position in [100, 200] {
            let entry = entry(position);
            assert_eq!(third.holds(&Behind::Position, &entry.place).unwrap(), entry.learned);
        }
        assert_eq!(third.telemetry.picture().remembered[0].source, "d.t200");
        assert!(open(folder.path(), "other").unwrap().telemetry.picture().remembered.is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("learned-shop.json"), "{").unwrap();
        let fault = open(folder.path(), "shop").unwrap_err();
        assert_eq!(fault.code, Code::FileUnreadable);
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("state");
        let journal = open(&place, "shop").unwrap();
        fs::remove_dir(&place).unwrap();
        assert!(journal.remember(entry(1)).is_err());
        assert!(journal.telemetry.picture().remembered.is_empty());
    }
}
