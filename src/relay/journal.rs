//! What a route has learned from statements, kept in memory and, with a `state_dir`, in a file.
//!
//! The file is written anew for each change, in one step, before anything of the statement goes out. Changes are rare: a RENAME
//! across the selection's border, or a statement of an online schema change. Whoever waits for one lets the other tasks of its thread
//! go on at another.
//!
//! Beside it stands a count of the changes. A file that is gone, or that an old backup brought back, would leave tables out without
//! a sign: the route does not begin with one that has fewer changes than were counted.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::fault::{Code, Fault};
use crate::pipeline::history::{Behind, Entry, Held, History, Journal, Place, Statement};
use crate::pipeline::rules::{Learned, TablePlace};
use crate::telemetry::{Remembered, RouteTelemetry};

/// What the file says of itself.
const FORM: u32 = 1;

/// The largest file that is read: the most entries of the longest statements are not more.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// The journal of one route.
pub struct RouteJournal {
    path: Option<PathBuf>,
    /// Who writes holds this; who asks does not wait for the disk.
    writing: Mutex<()>,
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
        let Some(folder) = state_dir else {
            return Ok(Self { path: None, writing: Mutex::default(), history: Mutex::default(), telemetry });
        };
        let path = folder.join(format!("learned-{}.json", telemetry.route()));
        let fault = |error: io::Error| {
            let way_on = format!(
                "it holds which renamed tables the route follows and which online schema changes run: put its newest copy back. Where the copy that \
                 stands there is the newest one that is left, remove only {0}, and the route goes on with what it holds; to begin anew with what the \
                 entries of `objects` select, remove both. Replicas that have a RENAME behind them which is not in it then miss the table's rows",
                count_path(&path).display()
            );
            Fault::new(Code::FileUnreadable, format!("{}: {error}; {way_on}", path.display()))
        };
        fs::create_dir_all(folder).map_err(fault)?;
        let history = read(&path).map_err(fault)?;
        let counted = read_count(&count_path(&path)).map_err(fault)?;
        if history.changes() < counted {
            let what = if path.exists() { "it is older than it was" } else { "it is missing" };
            let changes = history.changes();
            return Err(fault(io::Error::other(format!(
                "{what}: {counted} changes were written, and it has {changes}"
            ))));
        }
        telemetry.remembers(remembered(&history));
        Ok(Self { path: Some(path), writing: Mutex::default(), history: Mutex::new(history), telemetry })
    }

    /// Whether nothing was learned.
    pub fn is_empty(&self) -> bool {
        self.history().changes() == 0
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
    fn holds(&self, behind: &Behind, place: &Place) -> Result<Held, String> {
        self.history().holds(behind, place)
    }

    fn remember(&self, entry: Entry, after: Option<&Statement>) -> Result<(), String> {
        aside(|| {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut known = self.history().clone();
            if let Some(path) = &self.path {
                let failed = |error: io::Error| format!("{}: {error}", path.display());
                // The route's streams under its rules before a reload may have written meanwhile. What somebody took away comes back.
                known.merge(read(path).map_err(failed)?);
                // So does its count: a file without it could be replaced by an old copy unseen.
                if known.insert(entry, after) || !path.exists() || !count_path(path).exists() {
                    write(path, &known).map_err(failed)?;
                }
            } else {
                known.insert(entry, after);
            }
            self.telemetry.remembers(remembered(&known));
            *self.history() = known;
            Ok(())
        })
    }
}

/// Does what takes long without holding up the other tasks of the thread, where the runtime has other threads.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
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

/// Where the changes of a journal are counted.
fn count_path(path: &Path) -> PathBuf {
    path.with_extension("count")
}

/// How many changes were written; none where there is no count.
fn read_count(path: &Path) -> io::Result<u64> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
        Ok(text) => text.trim().parse().map_err(|_| io::Error::other(format!("{} holds no number", path.display()))),
    }
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
    let document = serde_json::to_vec(&Document { form: FORM, history: history.clone() })?;
    // The count never runs ahead of the file.
    for (path, content) in [(path, document), (&count_path(path), history.changes().to_string().into_bytes())] {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&content)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()?;
    }
    Ok(())
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
        first.remember(entry(100), None).unwrap();
        second.remember(entry(200), None).unwrap();
        let third = open(folder.path(), "shop").unwrap();
        for position in [100, 200] {
            let entry = entry(position);
            assert_eq!(third.holds(&Behind::Position, &entry.place).unwrap().learned, entry.learned);
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
    fn a_file_that_was_lost_or_is_an_old_copy_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("learned-shop.json");
        open(folder.path(), "shop").unwrap().remember(entry(1), None).unwrap();
        let old = fs::read(&path).unwrap();
        open(folder.path(), "shop").unwrap().remember(entry(2), None).unwrap();
        for lost in [None, Some(old)] {
            match &lost {
                None => fs::remove_file(&path).unwrap(),
                Some(old) => fs::write(&path, old).unwrap(),
            }
            let fault = open(folder.path(), "shop").unwrap_err();
            assert_eq!(fault.code, Code::FileUnreadable);
            for word in ["2 changes were written", "put its newest copy back", "remove only", "learned-shop.count"] {
                assert!(fault.to_string().contains(word), "{fault}");
            }
        }
        // The ways out: go on with what there is, or with nothing.
        fs::remove_file(path.with_extension("count")).unwrap();
        let kept = open(folder.path(), "shop").unwrap();
        assert_eq!(kept.holds(&Behind::Position, &entry(1).place).unwrap().learned, entry(1).learned);
        fs::remove_file(&path).unwrap();
        assert!(open(folder.path(), "shop").unwrap().is_empty());
    }

    #[test]
    fn a_count_that_is_taken_away_from_a_running_route_comes_back_when_a_statement_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("learned-shop.count");
        let journal = open(folder.path(), "shop").unwrap();
        journal.remember(entry(1), None).unwrap();
        fs::remove_file(&count).unwrap();
        journal.remember(entry(1), None).unwrap();
        assert_eq!(fs::read_to_string(&count).unwrap(), "1");
    }

    #[test]
    fn a_file_that_is_taken_away_from_a_running_route_comes_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path(), "shop").unwrap();
        journal.remember(entry(1), None).unwrap();
        fs::remove_file(folder.path().join("learned-shop.json")).unwrap();
        journal.remember(entry(2), None).unwrap();
        let next = open(folder.path(), "shop").unwrap();
        for position in [1, 2] {
            let entry = entry(position);
            assert_eq!(next.holds(&Behind::Position, &entry.place).unwrap().learned, entry.learned);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn who_waits_for_the_disk_holds_up_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Arc::new(open(folder.path(), "shop").unwrap());
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (locked, is_locked) = std::sync::mpsc::channel();
        let disk = std::thread::spawn({
            let journal = Arc::clone(&journal);
            move || {
                let _writing = journal.writing.lock().unwrap();
                locked.send(()).unwrap();
                released.recv().unwrap_err();
            }
        });
        is_locked.recv().unwrap();
        let waiting = tokio::spawn({
            let journal = Arc::clone(&journal);
            async move { journal.remember(entry(1), None) }
        });
        // The only thread has the task that waits, and goes on with others.
        for _ in 0..100 {
            tokio::spawn(async {}).await.unwrap();
        }
        assert!(journal.holds(&Behind::Position, &entry(1).place).unwrap().learned.is_empty());
        drop(release);
        disk.join().unwrap();
        waiting.await.unwrap().unwrap();
        assert!(!journal.is_empty());
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("state");
        let journal = open(&place, "shop").unwrap();
        fs::remove_dir(&place).unwrap();
        assert!(journal.remember(entry(1), None).is_err());
        assert!(journal.telemetry.picture().remembered.is_empty());
    }
}
