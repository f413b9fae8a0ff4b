//! Statement format: values (INTVAR, RAND, USER_VAR) and the files of LOAD DATA go out with their statement or not at all.
//!
//! `fixtures/statements` holds what real servers wrote for `session.sql`; the corpus is looked at with the same eyes.

use std::sync::Arc;

use replproxy::binlog::{ChecksumAlgorithm, Event, EventType, ExecuteLoadQuery, FileReader, Header, Query, Vendor};
use replproxy::fault::Code;
use replproxy::pipeline::coordinates::{FIRST_POSITION, FilePosition};
use replproxy::pipeline::rules::RuleSet;
use replproxy::pipeline::{MAX_LOAD_BYTES, Numbering, Stop, Stream, StreamOptions};

use crate::corpus;
use crate::support::routes::rules;

const MYSQL: &[u8] = include_bytes!("../fixtures/statements/mysql-5.7.binlog");
const MARIADB: &[u8] = include_bytes!("../fixtures/statements/mariadb-10.11.binlog");

/// Neither `audit_*` nor anything of `hr`.
const SHORTER: &str = "objects = [{ database = \"shop\", rename = \"cn\" }, { exclude = \"shop.audit_*\" }]";
const LONGER: &str = "objects = [{ database = \"shop\", rename = \"shop_of_china\" }, { table = \"shop.orders\", \
    rename = \"shop_of_china.all the orders\" }, { exclude = \"shop.audit_*\" }]";

/// All of a file through a route, and where the receiver stood at the ends of groups beside where the source did.
fn render(
    events: &[Event],
    rules: &Arc<RuleSet>,
    numbering: Numbering,
) -> (Vec<Event>, Vec<[FilePosition; 2]>, Option<Stop>) {
    let start = FilePosition { file: b"bin.000001".to_vec(), position: FIRST_POSITION };
    let options = StreamOptions {
        numbering,
        replica: Vendor::MySql,
        start,
        length_buffer: 8 << 20,
        checksum: ChecksumAlgorithm::None,
    };
    let mut stream = Stream::new(Arc::clone(rules), options);
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    for event in events {
        match stream.push(event.raw().clone(), &mut out) {
            Ok(step) if step.boundary => {
                ends.push([stream.served_position().clone(), stream.source_position().clone()]);
            }
            Ok(_) => {}
            Err(stop) => return (out, ends, Some(stop)),
        }
    }
    (out, ends, None)
}

fn served(events: &[Event], rules: &Arc<RuleSet>) -> (Vec<Event>, Option<Stop>) {
    let (out, _, stop) = render(events, rules, Numbering::Served { fingerprint: None });
    (out, stop)
}

fn read(bytes: &[u8]) -> Vec<Event> {
    let mut reader = FileReader::new(bytes).expect("a binlog file");
    std::iter::from_fn(|| reader.next_event().expect("a good file")).collect()
}

/// Statements with the types of what came before them, one a line; values and blocks by their names.
fn listing(events: &[Event]) -> Vec<String> {
    let mut format = None;
    let mut lines = Vec::new();
    let mut before = String::new();
    for event in events {
        let text = match event.event_type() {
            EventType::FORMAT_DESCRIPTION => {
                format = replproxy::binlog::FormatDescription::read(event.raw().clone()).ok().map(|(_, format)| format);
                continue;
            }
            EventType::INTVAR
            | EventType::RAND
            | EventType::USER_VAR
            | EventType::BEGIN_LOAD_QUERY
            | EventType::APPEND_BLOCK
            | EventType::DELETE_FILE => {
                before += &format!("{} ", event.event_type());
                continue;
            }
            EventType::QUERY => {
                let query = Query::read(event.body(), format.as_ref().expect("a format")).expect("a statement");
                (query.database, query.sql)
            }
            EventType::EXECUTE_LOAD_QUERY => {
                let load = ExecuteLoadQuery::read(event.body()).expect("a statement");
                (load.query.database, load.query.sql)
            }
            _ => continue,
        };
        let (database, sql) = (String::from_utf8_lossy(text.0), String::from_utf8_lossy(text.1));
        if !matches!(&*sql, "BEGIN" | "COMMIT") {
            lines.push(format!("{before}[{database}] {sql}"));
        }
        before.clear();
    }
    assert_eq!(before, "", "values or blocks without their statement");
    lines
}

/// Whether any event holds the bytes.
fn holds(events: &[Event], bytes: &[u8]) -> bool {
    events.iter().any(|event| event.raw().windows(bytes.len()).any(|window| window == bytes))
}

#[test]
fn values_and_files_go_out_with_their_statement_or_not_at_all() {
    for (server, bytes) in [("mysql-5.7", MYSQL), ("mariadb-10.11", MARIADB)] {
        let events = read(bytes);
        let (out, stop) = served(&events, &rules(LONGER));
        assert_eq!(stop, None, "{server}");
        assert!(holds(&events, b"secret row") && !holds(&out, b"secret row"), "{server}: rows of an excluded table");
        assert!(holds(&out, b"green tea"), "{server}");
        let lines = listing(&out);
        let expected = [
            "[shop_of_china] CREATE TABLE `all the orders` (id INT",
            "USER_VAR BEGIN_LOAD_QUERY USER_VAR [shop_of_china] LOAD DATA INFILE '/tmp/rp/orders.txt' INTO TABLE `all the orders`",
            "BEGIN_LOAD_QUERY [] LOAD DATA INFILE '/tmp/rp/orders.txt' REPLACE INTO TABLE `shop_of_china`.`all the orders`",
            "INTVAR RAND USER_VAR [] INSERT INTO shop_of_china.`all the orders` (item, quantity) VALUES (@factor, RAND() * 100)",
            "INTVAR BEGIN_LOAD_QUERY INTVAR [] LOAD DATA INFILE '/tmp/rp/orders.txt' INTO TABLE `shop_of_china`.`all the orders`",
            "INTVAR INTVAR [shop_of_china] INSERT INTO `all the orders` (item) VALUES (LAST_INSERT_ID())",
            "[shop_of_china] CREATE TEMPORARY TABLE recent AS SELECT * FROM `all the orders`",
            "INTVAR [shop_of_china] INSERT INTO `all the orders` (item) SELECT item FROM recent",
        ];
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{server}:\n{line}\n{expected}");
        }
        // What is left is the end of the session's temporary table.
        let rest = &lines[expected.len()..];
        assert_eq!(rest.len(), 1, "{server}: {rest:#?}");
        assert!(rest[0].starts_with("[shop_of_china] DROP ") && rest[0].contains("`recent`"), "{server}: {rest:#?}");
    }
}

#[test]
fn the_offsets_of_a_files_name_fit_the_mapped_text() {
    let mut seen = 0;
    for bytes in [MYSQL, MARIADB] {
        for event in served(&read(bytes), &rules(LONGER)).0 {
            if event.event_type() != EventType::EXECUTE_LOAD_QUERY {
                continue;
            }
            let load = ExecuteLoadQuery::read(event.body()).expect("a statement");
            let named = &load.query.sql[load.name_start as usize..load.name_end as usize];
            let named = String::from_utf8_lossy(named);
            assert!(
                named.starts_with("LOCAL INFILE '/tmp/rp/")
                    || named.starts_with("INFILE '/tmp/rp/")
                    || named.starts_with(" INFILE '/tmp/rp/"),
                "{named:?}"
            );
            assert!(named.ends_with(" INTO") || named.ends_with(" INTO "), "{named:?}");
            seen += 1;
        }
    }
    assert_eq!(seen, 6);
}

#[test]
fn a_receiver_stands_where_the_source_does_after_every_group() {
    for bytes in [MYSQL, MARIADB] {
        // No receiver counts the STOP at a file's end.
        let events: Vec<Event> =
            read(bytes).into_iter().filter(|event| event.event_type() != EventType::STOP).collect();
        let (_, ends, stop) = render(&events, &rules(SHORTER), Numbering::SourcePadded { replica_server_id: 7 });
        assert_eq!(stop, None);
        assert!(ends.len() > 10);
        for [served, source] in ends {
            assert_eq!(served.position, source.position);
        }
    }
}

fn event(event_type: EventType, body: &[u8]) -> Event {
    let header = Header { timestamp: 1, event_type, server_id: 1, event_length: 0, log_pos: 0, flags: 0 };
    Event::build(header, &[body], ChecksumAlgorithm::Crc32)
}

/// The FORMAT_DESCRIPTION of the recorded 5.7 and the first LOAD DATA of an unselected table: first block and statement.
fn parts() -> [Event; 3] {
    let events = read(MYSQL);
    let at = events.iter().position(|event| holds(std::slice::from_ref(event), b"secret row")).expect("a block");
    let execute = events[at..].iter().find(|event| event.event_type() == EventType::EXECUTE_LOAD_QUERY);
    [events[0].clone(), events[at].clone(), execute.expect("its statement").clone()]
}

#[test]
fn a_file_that_is_too_long_to_wait_stops_the_route_or_is_forgotten_by_the_replica() {
    let [format, begin, execute] = parts();
    let id = &begin.body()[..4];
    let block = event(EventType::APPEND_BLOCK, &[id, &vec![b'x'; 8 << 20]].concat());
    let blocks = MAX_LOAD_BYTES / (8 << 20);
    let stream = |blocks: usize| {
        let middle = std::iter::repeat_n(block.clone(), blocks);
        [format.clone(), begin.clone()].into_iter().chain(middle).chain([execute.clone()]).collect::<Vec<_>>()
    };
    let types = |events: &[Event]| events.iter().map(Event::event_type).collect::<Vec<_>>();
    let (out, stop) = served(&stream(blocks - 1), &rules(SHORTER));
    assert_eq!((types(&out), stop), (vec![EventType::FORMAT_DESCRIPTION], None));

    let (out, stop) = served(&stream(blocks), &rules(SHORTER));
    let message = stop.expect("the route stops").fault.to_string();
    assert!(message.contains("RPX-5005") && message.contains("64 MiB") && message.contains("[\"load\"]"), "{message}");
    assert_eq!(types(&out), [EventType::FORMAT_DESCRIPTION]);

    let (out, stop) = served(&stream(blocks), &rules(&format!("{SHORTER}\nddl = {{ allow = [\"load\"] }}")));
    assert_eq!(stop, None);
    assert_eq!(out.len(), 2 + blocks + 1);
    assert_eq!(out.last().map(|event| (event.event_type(), event.body())), Some((EventType::DELETE_FILE, id)));
}

#[test]
fn a_load_that_failed_leaves_nothing() {
    let [format, begin, _] = parts();
    let delete = event(EventType::DELETE_FILE, &begin.body()[..4]);
    let (out, ends, stop) =
        render(&[format, begin, delete], &rules(SHORTER), Numbering::SourcePadded { replica_server_id: 7 });
    assert_eq!(stop, None);
    assert!(!holds(&out, b"secret row"));
    let [served, source] = ends.last().expect("the group has ended");
    assert_eq!(served, source);
}

#[test]
fn blocks_of_two_files_among_each_other_stop_the_route() {
    let [format, begin, execute] = parts();
    let mut other = begin.body().to_vec();
    other[0] ^= 0x40;
    let other = event(EventType::BEGIN_LOAD_QUERY, &other);
    let (out, stop) = served(&[format, begin, other, execute], &rules(SHORTER));
    let message = stop.expect("the route stops").fault.to_string();
    assert!(message.contains("RPX-4001") && message.contains("allow = [\"load\"]"), "{message}");
    assert!(!holds(&out, b"secret row"));
}

#[test]
fn no_value_of_the_corpus_goes_out_without_its_statement() {
    let routes = [
        "objects = [{ database = \"*\", rename = \"renamed_*\" }]",
        "objects = [{ database = \"*\" }, { exclude = \"*.t1\" }, { exclude = \"*.a*\" }]",
        "objects = [{ database = \"nothing_like_it\" }]",
    ];
    let ddl = "ddl = { unsupported = \"skip\", unknown = \"skip\", reference = \"skip\" }";
    let mut values = 0;
    for (name, bytes) in corpus::binlogs("") {
        if name.starts_with("4.") || name.contains("-a_drop") {
            continue;
        }
        let events = read(&bytes);
        for route in routes {
            let (out, stop) = served(&events, &rules(&format!("{route}\n{ddl}")));
            assert!(stop.is_none_or(|stop| stop.fault.to_string().contains("RPX-4001")), "{name}: {route}");
            let is_value =
                |event: &Event| matches!(event.event_type(), EventType::INTVAR | EventType::RAND | EventType::USER_VAR);
            values += out.iter().filter(|event| is_value(event)).count();
            for pair in out.windows(2).filter(|pair| is_value(&pair[0])) {
                let goes_on = is_value(&pair[1])
                    || matches!(
                        pair[1].event_type(),
                        EventType::QUERY
                            | EventType::QUERY_COMPRESSED
                            | EventType::EXECUTE_LOAD_QUERY
                            | EventType::BEGIN_LOAD_QUERY
                            | EventType::APPEND_BLOCK
                    );
                assert!(goes_on, "{name}: {route}: a {} after a value", pair[1].event_type());
            }
        }
    }
    println!("{values} values of the corpus went out");
}

/// A QUERY event without status variables.
fn query(database: &str, error_code: u16, sql: &str) -> Event {
    let length = u8::try_from(database.len()).expect("a short name");
    let front = [&[0; 8][..], &[length], &error_code.to_le_bytes(), &[0, 0]].concat();
    event(EventType::QUERY, &[&front, database.as_bytes(), &[0], sql.as_bytes()].concat())
}

#[test]
fn a_list_that_failed_at_the_source_is_split_without_the_error_or_not_at_all() {
    const ROUTE: &str = "objects = [{ database = \"shop\", rename = \"cn\" }, { exclude = \"shop.audit_*\" }]\n\
        ddl = { allow = [\"drop_view\", \"drop_sequence\"] }";
    let generated = "/* generated by server */";
    for (server, bytes) in [("mysql-5.7", MYSQL), ("mariadb-10.11", MARIADB)] {
        let format = read(bytes).swap_remove(0);
        // What comes in, with its error; what goes out, with its error.
        for (error_code, sql, expected) in [
            (0, format!("DROP TABLE `a`,`audit_a` {generated}"), Some((0, format!("DROP TABLE `a` {generated}")))),
            (
                1051,
                format!("DROP TABLE `a`,`audit_a` {generated}"),
                Some((0, format!("DROP TABLE IF EXISTS `a` {generated}"))),
            ),
            (
                1051,
                format!("DROP TABLE `hr`.`a`,`shop`.`a`,`shop`.`b` {generated}"),
                Some((0, format!("DROP TABLE IF EXISTS `cn`.`a`,`cn`.`b` {generated}"))),
            ),
            (1051, "DROP VIEW v, hr.v".to_owned(), Some((0, "DROP VIEW IF EXISTS v".to_owned()))),
            (1347, "DROP VIEW hr.v, v".to_owned(), Some((0, "DROP VIEW IF EXISTS v".to_owned()))),
            (4092, "DROP VIEW v, hr.v".to_owned(), Some((0, "DROP VIEW IF EXISTS v".to_owned()))),
            (1051, "DROP TABLE IF EXISTS a, audit_a".to_owned(), Some((0, "DROP TABLE IF EXISTS a".to_owned()))),
            // All of it goes out, so the replica comes to the same end.
            (1051, format!("DROP TABLE `a`,`b` {generated}"), Some((1051, format!("DROP TABLE `a`,`b` {generated}")))),
            (1217, format!("DROP TABLE `a`,`b` {generated}"), Some((1217, format!("DROP TABLE `a`,`b` {generated}")))),
            (1217, format!("DROP TABLE `a`,`audit_a` {generated}"), None),
            (1451, format!("DROP TABLE `a`,`hr`.`a` {generated}"), None),
        ] {
            let (out, stop) = served(&[format.clone(), query("shop", error_code, &sql)], &rules(ROUTE));
            let Some((code, text)) = expected else {
                let message = stop.expect("the route stops").fault.to_string();
                assert!(message.contains("RPX-4001") && message.contains(&format!("error {error_code} ")), "{message}");
                assert_eq!(out.len(), 1, "{server}: {sql}");
                continue;
            };
            assert_eq!(stop, None, "{server}: {sql}");
            let (_, format) = replproxy::binlog::FormatDescription::read(out[0].raw().clone()).expect("a format");
            let last = Query::read(out.last().expect("a statement").body(), &format).expect("a statement");
            assert_eq!((last.error_code, &*String::from_utf8_lossy(last.sql)), (code, &*text), "{server}: {sql}");
            assert_eq!(last.database, b"cn", "{server}: {sql}");
        }
    }
}

/// A source's packets have no checksum of their own: what came through a bad cable or from a bad disk does not go out.
#[test]
fn an_event_whose_bytes_are_not_those_of_its_checksum_stops_the_stream() {
    let events = read(MYSQL);
    let at = events.iter().position(|event| event.event_type() == EventType::QUERY).expect("a statement");
    let mut bytes = events[at].raw().to_vec();
    bytes[30] ^= 4;
    for rules in [Arc::new(RuleSet::transparent()), rules(SHORTER)] {
        let start = FilePosition { file: b"bin.000001".to_vec(), position: FIRST_POSITION };
        let options = StreamOptions {
            numbering: Numbering::Source,
            replica: Vendor::MySql,
            start,
            length_buffer: 8 << 20,
            checksum: ChecksumAlgorithm::None,
        };
        let mut stream = Stream::new(rules, options);
        let mut out = Vec::new();
        for event in &events[..at] {
            stream.push(event.raw().clone(), &mut out).expect("good events");
        }
        out.clear();
        let stop = stream.push(bytes.clone().into(), &mut out).expect_err("it is damaged");
        assert!(stop.fault.code == Code::EventDamaged && out.is_empty(), "{} {out:?}", stop.fault);
    }
}
