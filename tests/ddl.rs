//! Statements with what the analyser and the rewriter make of them, as data: `fixtures/ddl/*.txt`.
//!
//! A case is a title (`--- …`), options (`@mariadb @ansi_quotes …`), the statement (`| …`), and what comes of it: kind
//! and class (`= …`), every mention in `«»` (`: …`), the objects (`o …`), and the text under the file's mapping
//! (`> …`). `UPDATE_GOLDEN=1` writes what comes of it anew, for reading in the diff.

use std::fmt::Write as _;
use std::path::Path;

use replproxy::ddl::{Class, Context, MappedName, ObjectType, Role, Statement, analyze, rewrite};

/// One case of a fixture, with the results that the file has.
#[derive(Default)]
struct Case {
    title: String,
    options: Vec<String>,
    sql: Vec<String>,
    expected: String,
}

/// `map shop shop_cn` and `map crm.customers crm_cn.clients`.
#[derive(Default)]
struct Mapping(Vec<(String, String)>);

impl Mapping {
    fn find(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(from, _)| from == key).map(|(_, to)| to.as_str())
    }

    fn database(&self, database: &str) -> String {
        self.find(database).unwrap_or(database).to_owned()
    }

    fn name(&self, database: &str, name: &str) -> (String, String) {
        match self.find(&format!("{database}.{name}")).and_then(|to| to.split_once('.')) {
            Some((database, name)) => (database.to_owned(), name.to_owned()),
            None => (self.database(database), name.to_owned()),
        }
    }

    /// New names for every object, or the names that they have.
    fn of(&self, statement: &Statement) -> Vec<MappedName> {
        let mapped = |(object, found): (usize, &replproxy::ddl::Object)| {
            let (database, name) = if found.object_type == ObjectType::Database {
                (self.database(&found.database), String::new())
            } else {
                self.name(&found.database, &found.name)
            };
            MappedName { object, database, name }
        };
        statement.objects.iter().enumerate().map(mapped).collect()
    }
}

fn parse(text: &str) -> (String, Mapping, Vec<Case>) {
    let (mut head, mut mapping, mut cases) = (String::new(), Mapping::default(), Vec::<Case>::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("--- ") {
            cases.push(Case { title: title.to_owned(), ..Case::default() });
        } else if let Some(case) = cases.last_mut() {
            if line.starts_with('@') {
                case.options.extend(line.split_whitespace().map(str::to_owned));
            } else if let Some(sql) = line.strip_prefix('|') {
                case.sql.push(sql.strip_prefix(' ').unwrap_or(sql).to_owned());
            } else if !line.is_empty() {
                case.expected.push_str(line);
                case.expected.push('\n');
            }
        } else {
            if let Some((from, to)) = line.strip_prefix("map ").and_then(|pair| pair.split_once(' ')) {
                mapping.0.push((from.to_owned(), to.to_owned()));
            }
            head.push_str(line);
            head.push('\n');
        }
    }
    (head, mapping, cases)
}

/// The session of a case and its text in the session's character set.
fn session(case: &Case) -> (Context<'_>, Vec<u8>, &'static encoding_rs::Encoding) {
    let mut context =
        Context { default_database: "shop", sql_mode: 0, client_collation: 45, version: 80_036, mariadb: false };
    let mut encoding = encoding_rs::UTF_8;
    for option in &case.options {
        match option.as_str() {
            "@mysql56" => context.version = 50_624,
            "@mysql57" => context.version = 50_729,
            "@mysql97" => context.version = 90_704,
            "@mariadb" => (context.version, context.mariadb) = (101_119, true),
            "@mariadb114" => (context.version, context.mariadb) = (110_402, true),
            "@ansi_quotes" => context.sql_mode |= 1 << 2,
            "@no_backslash_escapes" => context.sql_mode |= 1 << 20,
            "@oracle" => context.sql_mode |= 1 << 9,
            "@gbk" => (context.client_collation, encoding) = (28, encoding_rs::GBK),
            "@sjis" => (context.client_collation, encoding) = (13, encoding_rs::SHIFT_JIS),
            "@latin1" => (context.client_collation, encoding) = (8, encoding_rs::WINDOWS_1252),
            other => match other.strip_prefix("@default=") {
                Some(database) => context.default_database = database,
                None if other.starts_with("@keep=") => {}
                None => panic!("{}: unknown option {other}", case.title),
            },
        }
    }
    let sql = case.sql.join("\n");
    let (bytes, _, lossy) = encoding.encode(&sql);
    assert!(!lossy, "{}: not in that character set", case.title);
    (context, bytes.into_owned(), encoding)
}

/// The statement's text with every mention in `«»`.
fn marked(sql: &[u8], statement: &Statement) -> Vec<u8> {
    let mut spans: Vec<_> = statement
        .objects
        .iter()
        .flat_map(|object| {
            let database = object.database_span.clone().filter(|_| object.object_type != ObjectType::Database);
            [database, Some(object.span.clone())].into_iter().flatten()
        })
        .collect();
    spans.sort_by_key(|span| span.start);
    let (mut text, mut at) = (Vec::new(), 0);
    for span in spans {
        text.extend_from_slice(&sql[at..span.start]);
        text.extend_from_slice(b"\x01");
        text.extend_from_slice(&sql[span.clone()]);
        text.extend_from_slice(b"\x02");
        at = span.end;
    }
    text.extend_from_slice(&sql[at..]);
    text
}

fn lower<T: std::fmt::Debug>(value: T) -> String {
    format!("{value:?}").to_lowercase()
}

fn write_lines(out: &mut String, mark: char, text: &str) {
    for line in text.split('\n') {
        let _ = writeln!(out, "{}", format!("{mark} {line}").trim_end());
    }
}

/// What comes of a case, in the fixture's own form.
fn result(case: &Case, mapping: &Mapping) -> String {
    let (context, sql, encoding) = session(case);
    let statement = analyze(&sql, &context);
    let mut out = String::new();
    let _ = write!(out, "= {} {}", statement.kind.0, lower(statement.class));
    for (is, word) in [
        (statement.temporary, "temporary"),
        (statement.opens_transaction, "opens_transaction"),
        (statement.body_opaque, "body_opaque"),
    ] {
        if is {
            let _ = write!(out, " {word}");
        }
    }
    if let Some(control) = statement.control {
        let _ = write!(out, " control={}", lower(control));
    }
    if !statement.items.is_empty() {
        let _ = write!(out, " items={}", statement.items.len());
    }
    out.push('\n');
    if let Some(doubt) = &statement.doubt {
        let _ = writeln!(out, "? {doubt}");
    }
    let decode = |bytes: &[u8]| encoding.decode_without_bom_handling(bytes).0.into_owned();
    write_lines(&mut out, ':', &decode(&marked(&sql, &statement)).replace('\x01', "«").replace('\x02', "»"));
    for object in &statement.objects {
        let role = if object.role == Role::Target { "target" } else { "reference" };
        let name = if object.object_type == ObjectType::Database { String::new() } else { format!(".{}", object.name) };
        let qualifier = if object.column_qualifier { " qualifier" } else { "" };
        let inherits = object.inherits.map_or(String::new(), |owner| format!(" inherits={owner}"));
        let _ = writeln!(out, "o {role} {} {}{name}{qualifier}{inherits}", lower(object.object_type), object.database);
    }
    if statement.class == Class::Unknown {
        return out;
    }
    let identity =
        rewrite(&sql, &statement, &context, &Mapping::default().of(&statement), context.default_database, None);
    assert_eq!(identity.as_deref(), Ok(sql.as_slice()), "{}: the identity mapping changes the text", case.title);
    let kept = case.options.iter().find_map(|option| option.strip_prefix("@keep="));
    let kept: Option<Vec<usize>> =
        kept.map(|list| list.split(',').map(|index| index.parse().expect("an index")).collect());
    let default = mapping.database(context.default_database);
    match rewrite(&sql, &statement, &context, &mapping.of(&statement), &default, kept.as_deref()) {
        Ok(text) => write_lines(&mut out, '>', &decode(&text)),
        Err(error) => {
            let _ = writeln!(out, "! {error}");
        }
    }
    out
}

#[test]
fn every_statement_of_the_fixtures_is_read_and_rewritten_as_written_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ddl");
    let mut wrong = Vec::new();
    let mut count = 0;
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the fixtures are there")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "txt")) {
        let text = std::fs::read_to_string(path).expect("a fixture is text");
        let (mut golden, mapping, cases) = parse(&text);
        for case in &cases {
            count += 1;
            let found = result(case, &mapping);
            if found != case.expected {
                wrong.push(format!("{}: {}\nexpected\n{}found\n{found}", path.display(), case.title, case.expected));
            }
            let options = if case.options.is_empty() { String::new() } else { case.options.join(" ") + "\n" };
            let _ = write!(golden, "--- {}\n{options}", case.title);
            write_lines(&mut golden, '|', &case.sql.join("\n"));
            let _ = writeln!(golden, "{found}");
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, golden.trim_end().to_owned() + "\n").expect("a fixture can be written");
        }
    }
    assert!(count > 50, "{count} cases are too few: are the fixtures there?");
    assert!(wrong.is_empty() || std::env::var_os("UPDATE_GOLDEN").is_some(), "{}", wrong.join("\n"));
}
