//! Streams of events for the bench of the core: made up by mix, and real files of the corpus.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use replproxy::binlog::{ChecksumAlgorithm, Event, EventType, FileReader, Header, Vendor};
use replproxy::pipeline::coordinates::FilePosition;
use replproxy::pipeline::rules::{ObjectRule, RuleSet, Template, parse_patterns};
use replproxy::pipeline::{MAX_LENGTH_BUFFER, Numbering, Stream, StreamOptions};

/// A FORMAT_DESCRIPTION of a real server (MySQL 5.7) begins every stream that is made up.
const RECORDED: &[u8] = include_bytes!("../fixtures/demo/binlog.000001");
/// Tables of the made-up streams; the filtering route keeps one of them.
const TABLES: u64 = 10;

/// The routes that every stream is measured with.
pub(crate) fn routes() -> Vec<(&'static str, Arc<RuleSet>)> {
    let pattern = |text: &str| parse_patterns(text).expect("the pattern is well formed").swap_remove(0);
    let rename = Template::new(pattern("*_2"), "*_2").expect("the rename is well formed");
    let renaming = ObjectRule::Database { pattern: pattern("*"), rename: Some(rename) };
    let filtering = ObjectRule::Table { database: pattern("*"), table: pattern("table_0"), rename: None };
    let rules = |rule| Arc::new(RuleSet::build(vec![rule], None, Vec::new()).expect("the rule is valid"));
    vec![
        ("transparent", Arc::new(RuleSet::transparent())),
        ("renaming", rules(renaming)),
        ("filter 90 %", rules(filtering)),
    ]
}

/// A pipeline for a replica with GTIDs, where positions need no pads.
pub(crate) fn pipeline(rules: &Arc<RuleSet>) -> Stream {
    let start = FilePosition { file: b"binlog.000001".to_vec(), position: 4 };
    let options = StreamOptions {
        numbering: Numbering::Source,
        replica: Vendor::MySql,
        start,
        checksum: ChecksumAlgorithm::None,
        length_buffer: MAX_LENGTH_BUFFER,
    };
    Stream::new(Arc::clone(rules), options)
}

/// Every stream with its name.
pub(crate) fn all() -> Vec<(String, Vec<Bytes>)> {
    let mut streams = vec![
        ("rows of 8 KB".to_owned(), made_up(2_000, |stream, number| stream.rows(number, 10, 8_000))),
        ("small transactions".to_owned(), made_up(20_000, |stream, number| stream.rows(number, 1, 100))),
        ("only DDL".to_owned(), made_up(10_000, |stream, number| stream.statement(number))),
    ];
    let corpus = std::env::var_os("REPLPROXY_CORPUS").map(PathBuf::from);
    let corpus = corpus.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"));
    for (name, file) in [
        ("corpus 5.5 sakila", "5.5.27-log__osheroff-mysql-bin.sakila.gz.binlog"),
        ("corpus 8.0 mixed", "8.0.17__mysqltest-data_wl13352_8017-binlog.000002.binlog"),
    ] {
        match std::fs::read(corpus.join("binlogs").join(file)) {
            Ok(bytes) => streams.push((name.to_owned(), read(&bytes))),
            Err(error) => println!("{file} of the corpus is passed over: {error}"),
        }
    }
    streams
}

fn read(bytes: &[u8]) -> Vec<Bytes> {
    let mut file = FileReader::new(bytes).expect("a binlog begins with its magic");
    let mut stream = Vec::new();
    // A corpus file may be cut at its end.
    while let Ok(Some(event)) = file.next_event() {
        stream.push(event.raw().clone());
    }
    stream
}

fn made_up(groups: u64, add: impl Fn(&mut MadeUp, u64)) -> Vec<Bytes> {
    let format = read(RECORDED).swap_remove(0);
    let mut stream = MadeUp { position: 4 + format.len() as u32, events: vec![format] };
    for number in 1..=groups {
        add(&mut stream, number);
    }
    stream.events
}

struct MadeUp {
    position: u32,
    events: Vec<Bytes>,
}

impl MadeUp {
    fn push(&mut self, event_type: EventType, body: &[&[u8]]) {
        let length: usize = 19 + body.iter().map(|part| part.len()).sum::<usize>() + 4;
        self.position = self.position.wrapping_add(length as u32);
        let header = Header {
            timestamp: 1_700_000_000,
            event_type,
            server_id: 1,
            event_length: 0,
            log_pos: self.position,
            flags: 0,
        };
        self.events.push(Event::build(header, body, ChecksumAlgorithm::Crc32).raw().clone());
    }

    fn gtid(&mut self, number: u64) {
        let mut body = vec![1];
        body.extend_from_slice(&[7; 16]);
        body.extend_from_slice(&number.to_le_bytes());
        body.push(2);
        body.extend_from_slice(&(number - 1).to_le_bytes());
        body.extend_from_slice(&number.to_le_bytes());
        self.push(EventType::GTID, &[&body]);
    }

    fn query(&mut self, sql: &str) {
        // Status variables as a server writes them: flags2, sql_mode, catalog, charset.
        let status: &[u8] = b"\x00\0\0\0\0\x01\0\0\x20\0\0\0\0\0\x06\x03std\x04\x2d\x00\x2d\x00\x08\x00";
        let mut head = vec![9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0];
        head.extend_from_slice(&(status.len() as u16).to_le_bytes());
        self.push(EventType::QUERY, &[&head, status, b"bench\0", sql.as_bytes()]);
    }

    /// A transaction that inserts into one table: so many rows events of about so many bytes.
    fn rows(&mut self, number: u64, events: usize, bytes: usize) {
        self.gtid(number);
        self.query("BEGIN");
        let table = number % TABLES;
        let mut id = [0; 6];
        id.copy_from_slice(&(100 + table).to_le_bytes()[..6]);
        let name = format!("table_{table}");
        // An INT and a VARCHAR(8000).
        self.push(
            EventType::TABLE_MAP,
            &[&id, &[1, 0, 5], b"bench\0", &[name.len() as u8], name.as_bytes(), &[0, 2, 3, 15, 2, 0x40, 0x1f, 2]],
        );
        for index in 1..=events {
            let text = vec![b'x'; bytes];
            let last = u8::from(index == events);
            self.push(
                EventType::WRITE_ROWS,
                &[&id, &[last, 0, 2, 0, 2, 3, 0], &(number as u32).to_le_bytes(), &(bytes as u16).to_le_bytes(), &text],
            );
        }
        self.push(EventType::XID, &[&number.to_le_bytes()]);
    }

    /// A DDL statement of the supported list.
    fn statement(&mut self, number: u64) {
        self.gtid(number);
        let table = number % TABLES;
        match number % 4 {
            0 => self.query(&format!(
                "CREATE TABLE `bench`.`table_{table}` (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, name VARCHAR(100) NOT NULL DEFAULT '', \
                 created TIMESTAMP NULL, amount DECIMAL(10,2) DEFAULT '0.00' COMMENT 'in euro', PRIMARY KEY (id), KEY by_name (name, created)) \
                 ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
            )),
            1 => self.query(&format!("ALTER TABLE table_{table} ADD COLUMN note TEXT, ADD INDEX by_amount (amount)")),
            2 => self.query(&format!("TRUNCATE TABLE bench.table_{table}")),
            _ => self.query(&format!("DROP TABLE IF EXISTS `table_{table}` /* generated by server */")),
        }
    }
}
