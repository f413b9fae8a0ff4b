//! One replica's stream out of files, as a server would send it: artificial ROTATE, FORMAT_DESCRIPTION, events, the next file.

use std::fs::File;
use std::io::{Chain, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::files::{BinlogFile, file_fault, files, following, unreadable};
use super::known::{Known, until_reached};
use super::place::place;
use crate::binlog::{
    ChecksumAlgorithm, Event, EventType, FILE_MAGIC, FileError, FileReader, FormatDescription, Rotate, flags,
    for_mid_file,
};
use crate::fault::{Code, Fault};
use crate::pipeline::coordinates::FilePosition;
use crate::replica::boundary::Boundary;
use crate::replica::{BoxFuture, Feed, FeedState, ReplicaRequest};

/// So many bytes of events are put out at once.
const BATCH_BYTES: usize = 1 << 20;

/// How often the end of the last file is looked at for more.
const POLL: Duration = Duration::from_millis(200);

/// An event that is half there is being written; longer than this it is not.
const HALF_EVENT_PATIENCE: Duration = Duration::from_secs(10);

/// Where a file begins, after the magic.
pub(super) const FIRST_POSITION: u64 = FILE_MAGIC.len() as u64;

/// The place between two calls; moves to a blocking thread and back.
pub(super) struct FileFeed {
    at_boundary: bool,
    work: Work,
}

enum Work {
    Idle(Box<Reading>),
    Busy(JoinHandle<Batch>),
    /// A panic took the reading away.
    Gone,
}

/// What one turn on a blocking thread comes back with.
struct Batch {
    reading: Box<Reading>,
    events: Vec<Event>,
    outcome: Result<Outcome, Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    More,
    Nothing,
    End,
}

impl FileFeed {
    /// Finds the place that a replica asks for.
    pub(super) fn open(directory: &Path, request: &ReplicaRequest) -> Result<Self, Fault> {
        let reading = Reading::open(directory, request)?;
        Ok(Self { at_boundary: true, work: Work::Idle(Box::new(reading)) })
    }

    async fn fill(&mut self, out: &mut Vec<Event>) -> Result<FeedState, Fault> {
        loop {
            if let Work::Idle(_) = self.work {
                let Work::Idle(mut reading) = std::mem::replace(&mut self.work, Work::Gone) else {
                    return Err(gone());
                };
                self.work = Work::Busy(tokio::task::spawn_blocking(move || {
                    let mut events = Vec::new();
                    let outcome = reading.batch(&mut events);
                    Batch { reading, events, outcome }
                }));
            }
            let Work::Busy(handle) = &mut self.work else { return Err(gone()) };
            // Cancelled here, the handle stays and the next call waits for the same batch.
            let Ok(Batch { reading, mut events, outcome }) = handle.await else {
                self.work = Work::Gone;
                return Err(gone());
            };
            self.at_boundary = !reading.boundary.inside();
            self.work = Work::Idle(reading);
            out.append(&mut events);
            match outcome? {
                Outcome::End => return Ok(FeedState::EndOfStream),
                Outcome::Nothing if out.is_empty() => tokio::time::sleep(POLL).await,
                Outcome::More | Outcome::Nothing => return Ok(FeedState::More),
            }
        }
    }
}

fn gone() -> Fault {
    Fault::new(Code::Internal, "reading the files failed")
}

impl Feed for FileFeed {
    fn next<'a>(&'a mut self, out: &'a mut Vec<Event>) -> BoxFuture<'a, Result<FeedState, Fault>> {
        Box::pin(self.fill(out))
    }

    fn at_boundary(&self) -> bool {
        self.at_boundary
    }

    fn heartbeat_position(&self) -> Option<FilePosition> {
        None
    }
}

type Input = Chain<Cursor<Vec<u8>>, File>;

/// The state of reading.
struct Reading {
    directory: PathBuf,
    non_blocking: bool,
    checksum_aware: bool,
    agreed: ChecksumAlgorithm,
    known: Known,
    /// Inside a group that the replica has.
    leaving_out: bool,
    file: BinlogFile,
    input: FileReader<Input>,
    /// Offset in the file of the next event.
    offset: u64,
    /// Offset behind the last event of the file that was sent.
    sent: u64,
    /// The file's FORMAT_DESCRIPTION, for starting again at `offset` when the file has grown.
    format: Option<Event>,
    /// What is sent before the next event of the file.
    pending: Vec<Event>,
    /// The next file by this one's ROTATE.
    rotate_to: Option<String>,
    half_since: Option<Instant>,
    boundary: Boundary,
    sent_format: Option<FormatDescription>,
}

impl Reading {
    fn open(directory: &Path, request: &ReplicaRequest) -> Result<Self, Fault> {
        let all = files(directory)?;
        let (file, position, known) = place(&all, request)?;
        let input = from_start(&file)?;
        let mut reading = Self {
            directory: directory.to_owned(),
            non_blocking: request.non_blocking,
            checksum_aware: request.replica.checksum.is_some(),
            agreed: request.replica.checksum.unwrap_or_default(),
            known,
            leaving_out: false,
            file,
            input,
            offset: FIRST_POSITION,
            sent: FIRST_POSITION,
            format: None,
            pending: Vec::new(),
            rotate_to: None,
            half_since: None,
            boundary: Boundary::default(),
            sent_format: None,
        };
        reading.begin_file(position)?;
        Ok(reading)
    }

    /// Reads the FORMAT_DESCRIPTION and what lies before `position`, and prepares what a stream or a file begins with.
    fn begin_file(&mut self, position: u64) -> Result<(), Fault> {
        let path = self.file.path.clone();
        let fault = |error: &FileError| file_fault(&path, error);
        let first = self.input.next_event().map_err(|error| fault(&error))?;
        let Some(first) = first.filter(|event| event.event_type() == EventType::FORMAT_DESCRIPTION) else {
            return Err(unreadable(&path, &"the file has no FORMAT_DESCRIPTION"));
        };
        self.offset = self.input.offset();
        while self.offset < position {
            if self.input.next_event().map_err(|error| fault(&error))?.is_none() {
                break;
            }
            self.offset = self.input.offset();
        }
        let inside = position > FIRST_POSITION;
        if inside && self.offset != position {
            let message = format!(
                "Client requested master to start replication from impossible position: {}:{position} is no place between two \
                 events (the nearest after it is {})",
                self.file.name, self.offset
            );
            return Err(Fault::new(Code::ReplicaPosition, message));
        }
        let has_checksums = self.input.format().is_some_and(|format| format.checksum != ChecksumAlgorithm::None);
        if has_checksums && !self.checksum_aware {
            let message = format!(
                "Slave can not handle replication events with the checksum that master is configured to log: {} has CRC32",
                self.file.name
            );
            return Err(Fault::new(Code::ReplicaUnfit, message));
        }
        let checksum = match (&self.sent_format, self.input.format()) {
            (None, _) => self.agreed,
            (Some(before), _) => before.checksum,
        };
        let start = position.max(FIRST_POSITION);
        let rotate =
            Rotate { position: start, file: self.file.name.as_bytes() }.artificial(first.header().server_id, checksum);
        let skips = self.known.is_something();
        let sent = if inside {
            for_mid_file(&first, false)
        } else if skips {
            for_mid_file(&first, true)
        } else if first.header().flags & flags::BINLOG_IN_USE != 0 {
            first.with_header(|header| header.flags &= !flags::BINLOG_IN_USE)
        } else {
            first.clone()
        };
        self.format = Some(first);
        self.sent_format = self.input.format().cloned();
        self.rotate_to = None;
        self.sent = self.offset;
        self.pending = vec![rotate, sent];
        Ok(())
    }

    /// Puts out about a batch.
    fn batch(&mut self, out: &mut Vec<Event>) -> Result<Outcome, Fault> {
        let mut bytes = 0;
        out.append(&mut self.pending);
        while bytes < BATCH_BYTES {
            if self.known.has_all_it_wants() && !self.boundary.inside() {
                let (server_id, checksum) = self.until_event();
                out.push(until_reached(server_id, self.sent, checksum));
                return Ok(Outcome::End);
            }
            match self.input.next_event() {
                Ok(Some(event)) => {
                    self.half_since = None;
                    self.offset += event.raw().len() as u64;
                    bytes += event.raw().len();
                    self.take(event, out)?;
                }
                Ok(None) => return self.at_end(),
                Err(error @ FileError::Truncated { left, .. }) => {
                    // Asked in this order, as at an end.
                    let is_last = self.next_file()?.is_none();
                    if self.length()? > self.offset + left {
                        self.input = continued(&self.file, self.format.as_ref(), self.offset)?;
                        return Ok(Outcome::More);
                    }
                    if !is_last {
                        return Err(file_fault(&self.file.path, &error));
                    }
                    let since = *self.half_since.get_or_insert_with(Instant::now);
                    if self.non_blocking {
                        return Ok(Outcome::End);
                    }
                    if since.elapsed() > HALF_EVENT_PATIENCE {
                        let message = format!(
                            "{}: the last file ends inside the event at offset {}, and nothing is added to it",
                            self.file.path.display(),
                            self.offset
                        );
                        return Err(Fault::new(Code::EventDamaged, message));
                    }
                    self.input = continued(&self.file, self.format.as_ref(), self.offset)?;
                    return Ok(Outcome::Nothing);
                }
                Err(error) => return Err(file_fault(&self.file.path, &error)),
            }
        }
        Ok(Outcome::More)
    }

    /// Whose event it is that ends the stream, and how it ends itself.
    fn until_event(&self) -> (u32, ChecksumAlgorithm) {
        let server_id = self.format.as_ref().map_or(0, |format| format.header().server_id);
        (server_id, self.sent_format.as_ref().map_or(self.agreed, |format| format.checksum))
    }

    fn take(&mut self, event: Event, out: &mut Vec<Event>) -> Result<(), Fault> {
        match event.event_type() {
            EventType::ROTATE => {
                self.leaving_out = false;
                if let Ok(rotate) = Rotate::read(event.body()) {
                    self.rotate_to = Some(String::from_utf8_lossy(rotate.file).into_owned());
                }
            }
            EventType::STOP | EventType::MARIADB_GTID_LIST | EventType::BINLOG_CHECKPOINT => self.leaving_out = false,
            _ => {
                if let Some(leaves_out) = self.known.leaves_out(&event)? {
                    self.leaving_out = leaves_out;
                }
            }
        }
        if !self.leaving_out {
            self.boundary.passes(&event, self.sent_format.as_ref());
            self.sent = self.offset;
            out.push(event);
        }
        Ok(())
    }

    /// The file is at its end, for now: the next one, more of this one, or nothing.
    fn at_end(&mut self) -> Result<Outcome, Fault> {
        let next = self.next_file()?;
        // Asked in this order, because a file with another one behind it is complete: what was added since its end was read comes first.
        let length = self.length();
        if let Some(next) = next {
            if length.is_ok_and(|length| length > self.offset) {
                self.input = continued(&self.file, self.format.as_ref(), self.offset)?;
            } else {
                self.file = next;
                self.input = from_start(&self.file)?;
                self.begin_file(FIRST_POSITION)?;
            }
            return Ok(Outcome::More);
        }
        let length = length?;
        self.known.at_end()?;
        if self.non_blocking {
            return Ok(Outcome::End);
        }
        self.input = continued(&self.file, self.format.as_ref(), self.offset)?;
        if length < self.offset {
            let message = format!("{} was cut from {} to {length} bytes", self.file.path.display(), self.offset);
            return Err(Fault::new(Code::EventDamaged, message));
        }
        Ok(Outcome::Nothing)
    }

    /// How long the file is by now.
    fn length(&self) -> Result<u64, Fault> {
        let metadata = std::fs::metadata(&self.file.path).map_err(|error| unreadable(&self.file.path, &error))?;
        Ok(metadata.len())
    }

    fn next_file(&self) -> Result<Option<BinlogFile>, Fault> {
        following(&files(&self.directory)?, &self.file.name, self.rotate_to.as_deref())
    }
}

fn from_start(file: &BinlogFile) -> Result<FileReader<Input>, Fault> {
    let input = File::open(&file.path).map_err(|error| unreadable(&file.path, &error))?;
    FileReader::new(Cursor::new(Vec::new()).chain(input)).map_err(|error| file_fault(&file.path, &error))
}

/// Goes on at `offset` of a file that may have grown: its FORMAT_DESCRIPTION is read again from memory.
fn continued(file: &BinlogFile, format: Option<&Event>, offset: u64) -> Result<FileReader<Input>, Fault> {
    let mut head = FILE_MAGIC.to_vec();
    if let Some(format) = format {
        head.extend_from_slice(format.raw());
    }
    let mut input = File::open(&file.path).map_err(|error| unreadable(&file.path, &error))?;
    input.seek(SeekFrom::Start(offset)).map_err(|error| unreadable(&file.path, &error))?;
    let mut reader = FileReader::new(Cursor::new(head).chain(input)).map_err(|error| file_fault(&file.path, &error))?;
    reader.next_event().map_err(|error| file_fault(&file.path, &error))?;
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;

    use super::*;
    use crate::binlog::Header;
    use crate::replica::{ReplicaSession, ReplicaStart};

    fn event(event_type: EventType, body: &[&[u8]]) -> Event {
        let header = Header { timestamp: 0, event_type, server_id: 11, event_length: 0, log_pos: 0, flags: 0 };
        Event::build(header, body, ChecksumAlgorithm::None)
    }

    /// A FORMAT_DESCRIPTION of 5.7 without checksums.
    fn format() -> Event {
        let mut version = [0; 50];
        version[..6].copy_from_slice(b"5.7.29");
        event(EventType::FORMAT_DESCRIPTION, &[&[4, 0], &version, &[0; 4], &[19], &[0; 38], &[0], &[0; 4]])
    }

    /// How many bytes of rows each rows event has that comes until there is nothing more.
    fn rows_to_the_end(reading: &mut Reading) -> Vec<usize> {
        let mut out = Vec::new();
        while reading.batch(&mut out).expect("readable") != Outcome::Nothing {}
        out.retain(|event| event.event_type() == EventType::WRITE_ROWS);
        out.iter().map(|event| event.body().len()).collect()
    }

    /// The writer goes on between two looks at the last file: it adds to it, and begins the next one.
    #[test]
    fn what_is_added_behind_an_end_comes_before_the_next_file() {
        let rows = |length: usize| event(EventType::WRITE_ROWS, &[&[7; 99][..length]]);
        for half in [0, 30] {
            let folder = tempfile::tempdir().expect("a folder");
            let (first, second) = (folder.path().join("b.000001"), folder.path().join("b.000002"));
            let added = rows(60);
            fs::write(&first, [&FILE_MAGIC[..], format().raw(), rows(50).raw()].concat()).expect("written");
            let at = FilePosition { file: b"b.000001".to_vec(), position: FIRST_POSITION };
            let (replica, start) = (ReplicaSession::of_a_test(7), ReplicaStart::FilePosition(at.clone()));
            let request = ReplicaRequest { replica, start, receiver: at, flags: 0, non_blocking: false };
            let mut reading = Reading::open(folder.path(), &request).expect("files");
            assert_eq!(rows_to_the_end(&mut reading), [50]);
            let add = |bytes: &[u8]| {
                OpenOptions::new().append(true).open(&first).expect("there").write_all(bytes).expect("written");
            };
            add(&added.raw()[..half]);
            // What is read is the file of now.
            let old = tempfile::tempdir().expect("a folder");
            let as_it_is = BinlogFile { path: old.path().join("b.000001"), ..reading.file.clone() };
            fs::copy(&first, &as_it_is.path).expect("copied");
            reading.input = continued(&as_it_is, reading.format.as_ref(), reading.offset).expect("readable");
            add(&added.raw()[half..]);
            fs::write(&second, [&FILE_MAGIC[..], format().raw(), rows(70).raw()].concat()).expect("written");
            assert_eq!(rows_to_the_end(&mut reading), [60, 70], "{half} bytes were there");
        }
    }
}
