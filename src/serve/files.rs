//! The binlog files of a folder: which there are, in which order, and what they tell of the server that wrote them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::binlog::{
    ChecksumAlgorithm, ENCRYPTED_FILE_MAGIC, EventType, FILE_MAGIC, FileError, FileReader, FormatDescription, Gtid,
    MariaDbGtid, Vendor,
};
use crate::decode::file_code;
use crate::fault::{Code, Fault};
use crate::source::SourceFacts;

use super::known::refused;

/// How many events of a file are looked at for the first transaction. Before it are only FORMAT_DESCRIPTION, PREVIOUS_GTIDS
/// and the like.
const EVENTS_BEFORE_FIRST_GROUP: usize = 32;

/// One binlog file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BinlogFile {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) length: u64,
}

/// The files that begin as binlogs do or that nobody can look into, ordered by name and, where the name ends with a number, by that number
/// (`binlog.999999`, `binlog.1000000`).
pub(super) fn files(directory: &Path) -> Result<Vec<BinlogFile>, Fault> {
    let entries = fs::read_dir(directory).map_err(|error| unreadable(directory, &error))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(directory, &error))?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else { continue };
        if let Some(length) = binlog_length(&name, &path) {
            files.push(BinlogFile { name, path, length });
        }
    }
    files.sort_by(|left, right| order(&left.name).cmp(&order(&right.name)));
    Ok(files)
}

/// The length of a file that belongs to the stream. One that is encrypted, or that may not be opened and has the name of a binlog, does
/// too: what follows it must not go out as if it was not there.
fn binlog_length(name: &str, path: &Path) -> Option<u64> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let Ok(mut file) = File::open(path) else { return is_name_of_binlog(name).then_some(metadata.len()) };
    let mut magic = [0; 4];
    file.read_exact(&mut magic).ok()?;
    [FILE_MAGIC, ENCRYPTED_FILE_MAGIC].contains(&magic).then_some(metadata.len())
}

/// Whether a file that nobody can look into is taken for a binlog. A server that crashed leaves a `core.123456` beside them.
fn is_name_of_binlog(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(base, number)| {
        base != "core" && number.len() >= 6 && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Base name, number behind the last point, whole name.
fn order(name: &str) -> (&str, u64, &str) {
    match name.rsplit_once('.') {
        Some((base, number)) => match number.parse() {
            Ok(number) => (base, number, name),
            Err(_) => (name, 0, name),
        },
        None => (name, 0, name),
    }
}

/// The file after `name`: the one that its ROTATE names where that is there, else the next one of its own series, for files may have been
/// copied under other names. Their numbers stay: a file whose number the ROTATE does not name comes after one that is missing.
pub(super) fn following(
    files: &[BinlogFile],
    name: &str,
    rotate_to: Option<&str>,
) -> Result<Option<BinlogFile>, Fault> {
    if let Some(file) = rotate_to.and_then(|named| files.iter().find(|file| file.name == named)) {
        return Ok(Some(file.clone()));
    }
    let Some(next) = next_in_series(files, name) else { return Ok(None) };
    let named = rotate_to.map(|named| (named.to_owned(), order(named).1)).filter(|(_, number)| *number != 0);
    // A server that stopped or was killed wrote no ROTATE, and went on with the next number.
    let (named, number) = named.unwrap_or_else(|| ("the next file".to_owned(), order(name).1 + 1));
    if number == order(&next.name).1 {
        return Ok(Some(next.clone()));
    }
    let name_of_next = &next.name;
    Err(refused(format!(
        "could not find next log; {name} goes on in {named}, which is not there, but {name_of_next} is"
    )))
}

/// The file after `name` in its own series.
fn next_in_series<'a>(files: &'a [BinlogFile], name: &str) -> Option<&'a BinlogFile> {
    let (base, number, _) = order(name);
    files.iter().find(|file| {
        let (other_base, other_number, _) = order(&file.name);
        other_base == base && other_number > number
    })
}

pub(super) fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Fault {
    Fault::new(Code::FileUnreadable, format!("{}: {error}", path.display()))
}

pub(super) fn file_fault(path: &Path, error: &FileError) -> Fault {
    Fault::new(file_code(error), format!("{}: {error}", path.display()))
}

pub(super) fn reader(file: &BinlogFile) -> Result<FileReader<File>, Fault> {
    let input = File::open(&file.path).map_err(|error| unreadable(&file.path, &error))?;
    FileReader::new(input).map_err(|error| file_fault(&file.path, &error))
}

/// What the last file tells of its server; the first one may be of an older version. What no file tells is as a server of that
/// version has it by default.
pub(super) fn read_facts(directory: &Path) -> Result<SourceFacts, Fault> {
    let files = files(directory)?;
    let Some(last) = files.last() else {
        return Err(unreadable(directory, &"there is no binlog file in this folder"));
    };
    let mut beginning = Beginning::default();
    // The first transaction of any file tells whether there are GTIDs; the last file may still be empty.
    for file in files.iter().rev() {
        let of_this = Beginning::read(file)?;
        beginning.first_group = beginning.first_group.or(of_this.first_group);
        beginning.format = beginning.format.or(of_this.format);
        if beginning.first_group.is_some() {
            break;
        }
    }
    let Some((server_id, format)) = beginning.format else {
        return Err(unreadable(&last.path, &"the file does not say which server wrote it"));
    };
    let mut variables = BTreeMap::new();
    let mut set = |name: &str, value: String| variables.insert(name.to_owned(), value);
    set("server_id", server_id.to_string());
    set("log_bin", "ON".to_owned());
    set("version", format.server.text.clone());
    if format.has_checksum_trailer {
        let checksum = match format.checksum {
            ChecksumAlgorithm::None => "NONE",
            ChecksumAlgorithm::Crc32 => "CRC32",
        };
        set("binlog_checksum", checksum.to_owned());
    }
    match (format.server.vendor, beginning.first_group) {
        (Vendor::MariaDb, group) => {
            let domain = if let Some(FirstGroup::MariaDb { domain }) = group { domain } else { 0 };
            set("gtid_domain_id", domain.to_string());
        }
        (Vendor::MySql, group) if format.server.number >= 50_600 => {
            let (mode, uuid) = match group {
                Some(FirstGroup::MySql { sid }) => ("ON", Uuid::from_bytes(sid)),
                // Nobody else's, and the same whenever this folder is served.
                _ => ("OFF", Uuid::new_v5(&Uuid::NAMESPACE_OID, directory.as_os_str().as_encoded_bytes())),
            };
            set("gtid_mode", mode.to_owned());
            set("server_uuid", uuid.to_string());
        }
        _ => {}
    }
    Ok(SourceFacts::of(format.server, variables))
}

/// What a file's first events tell.
#[derive(Debug, Default)]
struct Beginning {
    format: Option<(u32, FormatDescription)>,
    first_group: Option<FirstGroup>,
}

#[derive(Debug, Clone, Copy)]
enum FirstGroup {
    /// With a MySQL GTID.
    MySql { sid: [u8; 16] },
    /// With a MariaDB GTID.
    MariaDb { domain: u32 },
    /// Without any.
    Anonymous,
}

impl Beginning {
    fn read(file: &BinlogFile) -> Result<Self, Fault> {
        let mut reader = reader(file)?;
        let mut beginning = Self::default();
        for _ in 0..EVENTS_BEFORE_FIRST_GROUP {
            let event = match reader.next_event() {
                Ok(Some(event)) => event,
                // What is wrong in a file is for the stream to tell, where it happens.
                Ok(None) | Err(_) => break,
            };
            beginning.first_group = match event.event_type() {
                EventType::FORMAT_DESCRIPTION => {
                    beginning.format = reader.format().cloned().map(|format| (event.header().server_id, format));
                    None
                }
                EventType::GTID => Gtid::read(event.body()).ok().map(|gtid| FirstGroup::MySql { sid: gtid.sid }),
                EventType::MARIADB_GTID => {
                    MariaDbGtid::read(event.body()).ok().map(|gtid| FirstGroup::MariaDb { domain: gtid.domain })
                }
                EventType::QUERY | EventType::ANONYMOUS_GTID => Some(FirstGroup::Anonymous),
                _ => None,
            };
            if beginning.first_group.is_some() {
                break;
            }
        }
        Ok(beginning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_and_encrypted_is_not_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = include_bytes!("../../fixtures/demo/binlog.000001");
        fs::write(folder.path().join("binlog.000001"), first).expect("a file");
        fs::write(folder.path().join("binlog.000002"), [&ENCRYPTED_FILE_MAGIC[..], &[1; 600]].concat())
            .expect("a file");
        fs::write(folder.path().join("binlog.index"), "./binlog.000001\n").expect("a file");
        let files = files(folder.path()).expect("a folder");
        let next = following(&files, "binlog.000001", Some("binlog.000002")).expect("nothing is missing");
        let fault = reader(&next.expect("the second file")).expect_err("encrypted");
        assert_eq!(fault.code, Code::FileEncrypted);
        assert!(fault.message.contains("binlog.000002"), "{fault}");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_known_by_its_name() {
        for (name, expected) in [
            ("binlog.000001", true),
            ("a.b.1000000", true),
            ("binlog.index", false),
            ("b.00001", false),
            ("core.123456", false),
        ] {
            assert_eq!(is_name_of_binlog(name), expected, "{name}");
        }
    }
}
