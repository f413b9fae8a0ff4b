//! Where in the files a replica begins.

use super::feed::FIRST_POSITION;
use super::files::{BinlogFile, file_fault, reader, unreadable};
use super::known::{Known, MariaDbStart, refused};
use crate::binlog::{Event, EventType, FileError};
use crate::fault::{Code, Fault};
use crate::gtid::{GtidSet, MariaDbGtidText, MariaDbPosition};
use crate::replica::{ReplicaRequest, ReplicaStart};

/// PREVIOUS_GTIDS and GTID_LIST are the second event of a file; MariaDB's START_ENCRYPTION may stand before it.
const EVENTS_BEFORE_STATE: usize = 3;

/// So much of the transactions that are missing is named.
const MISSING_LIMIT: usize = 1000;

/// The file and position to begin at, and what to leave out.
pub(super) fn place(all: &[BinlogFile], request: &ReplicaRequest) -> Result<(BinlogFile, u64, Known), Fault> {
    let position_fault = |message: String| Fault::new(Code::ReplicaPosition, message);
    let first = all.first().ok_or_else(|| position_fault("there is no binlog file any more".to_owned()))?;
    match &request.start {
        ReplicaStart::FilePosition(at) => {
            let name = String::from_utf8_lossy(&at.file);
            let file = if at.file.is_empty() { Some(first) } else { all.iter().find(|file| file.name == name) };
            let Some(file) = file else {
                return Err(position_fault(format!(
                    "Could not find first log file name in binary log index file: there is no {name:?}; the files are {:?} to {:?}",
                    first.name,
                    all.last().map_or("", |file| &file.name)
                )));
            };
            if at.position < FIRST_POSITION {
                return Err(position_fault(format!(
                    "Client requested master to start replication from impossible position: {name}:{}",
                    at.position
                )));
            }
            if at.position > file.length {
                return Err(position_fault(format!(
                    "Client requested master to start replication from position > file size: {name}:{} of {}",
                    at.position, file.length
                )));
            }
            Ok((file.clone(), at.position, Known::Nothing))
        }
        ReplicaStart::MySqlGtid(bytes) => {
            let set = GtidSet::decode(bytes).map_err(|error| position_fault(error.to_string()))?;
            mysql_place(all, set)
        }
        ReplicaStart::MariaDbGtid(state) => {
            let position: MariaDbPosition = state.parse().map_err(position_fault)?;
            mariadb_place(all, MariaDbStart::new(&position, &request.replica)?)
        }
    }
}

/// The newest file before which a MySQL replica has everything. A file that does not say what lies before it (a recording that ended right
/// behind its FORMAT_DESCRIPTION) is never that, unless nothing lies before it.
fn mysql_place(all: &[BinlogFile], set: GtidSet) -> Result<(BinlogFile, u64, Known), Fault> {
    let mut missing = GtidSet::default();
    for (index, file) in all.iter().enumerate().rev() {
        let event = state_event(file, EventType::PREVIOUS_GTIDS)?;
        let previous = match &event {
            Some(event) => GtidSet::decode(event.body())
                .map_err(|error| unreadable(&file.path, &format!("PREVIOUS_GTIDS: {error}")))?,
            None if index == 0 => GtidSet::default(),
            None => continue,
        };
        missing = previous.difference(&set);
        if missing == GtidSet::default() {
            return Ok((file.clone(), FIRST_POSITION, Known::MySql(set)));
        }
    }
    let mut missing = missing.to_string();
    missing.truncate(missing.floor_char_boundary(MISSING_LIMIT));
    Err(refused(format!(
        "The slave is connecting using CHANGE MASTER TO MASTER_AUTO_POSITION = 1, but the master has purged binary logs containing \
         GTIDs that the slave requires. The missing transactions are '{missing}'"
    )))
}

/// The same for a MariaDB replica, as `gtid_find_binlog_file` of its servers finds it.
fn mariadb_place(all: &[BinlogFile], mut start: MariaDbStart) -> Result<(BinlogFile, u64, Known), Fault> {
    let mut list = Vec::new();
    for (index, file) in all.iter().enumerate().rev() {
        list = match state_event(file, EventType::MARIADB_GTID_LIST)? {
            Some(event) => MariaDbGtidText::decode_list(event.body())
                .map_err(|error| unreadable(&file.path, &format!("GTID_LIST event {error}")))?,
            None if index == 0 => Vec::new(),
            None => continue,
        };
        if start.may_begin_behind(&list) {
            start.begin_behind(&list);
            return Ok((file.clone(), FIRST_POSITION, Known::MariaDb(start)));
        }
    }
    let words = "Could not find GTID state requested by slave in any binlog files. Probably the slave state is too old and required \
                 binlog files have been purged.";
    let mut begins: Vec<String> = list.iter().map(ToString::to_string).collect();
    begins.truncate(MISSING_LIMIT / 20);
    Err(refused(format!("{words} The files begin behind {}", begins.join(","))))
}

/// The event that tells what lies before the file, if the file has it.
fn state_event(file: &BinlogFile, event_type: EventType) -> Result<Option<Event>, Fault> {
    let mut reader = reader(file)?;
    for _ in 0..EVENTS_BEFORE_STATE {
        match reader.next_event() {
            Ok(Some(event)) if event.event_type() == event_type => return Ok(Some(event)),
            Ok(Some(_)) => {}
            Ok(None) | Err(FileError::Truncated { .. }) => return Ok(None),
            Err(error) => return Err(file_fault(&file.path, &error)),
        }
    }
    Ok(None)
}
