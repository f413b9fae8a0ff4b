//! A server on which statements run twice: under their old names and under new ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use replproxy::ddl::{Context, Statement, analyze, rewrite};
use replproxy::source::{Client, ResultSet, SourceError};
use serde_json::Value;

use super::names::{Naming, is_system, quoted};
use super::needs::{Named, SetUp, Stub, complained_of, function, make_up, set_type};
use super::shown::World;
use crate::support::server::Server;

/// The default database of the old world.
const OLD: &str = "corpus_db";
/// How often the old world is mended before a statement counts as one that does not run.
const MOST_REPAIRS: usize = 14;

/// A statement of the corpus.
pub(super) struct Candidate<'a> {
    pub(super) id: &'a str,
    pub(super) kind: &'static str,
    pub(super) sql: &'a str,
    pub(super) path: &'a str,
}

/// What came of it.
pub(super) enum Outcome {
    /// It ran under both names, and the server shows the same.
    Equal,
    /// It does not run under its old names.
    NotRunnable(String),
    /// Its body is not read to the end: the policy `unknown` or `reference` decides.
    Opaque,
    /// It does not run under the new names, or the server shows something else.
    Differs(String),
}

/// A server error: number and text.
pub(super) type Refusal = (u16, String);

/// One server, one session.
pub(super) struct Lab<'a> {
    server: Server,
    client: Option<Client>,
    context: Context<'static>,
    /// Statements that create a table, by the file that they come from and the table's name.
    creations: HashMap<(&'a str, String), Vec<&'a str>>,
    system: BTreeSet<String>,
    /// The statement before made temporary tables.
    temporary_left: bool,
    /// A table's file is there without its table, and is in the way of every table of that name.
    spoilt: bool,
    /// How often the server got a new data directory.
    pub(super) anew: usize,
    /// The kind of the statement being examined.
    pub(super) kind: &'static str,
}

impl<'a> Lab<'a> {
    /// Opens the session and remembers what the corpus creates.
    pub(super) async fn open(server: Server, context: Context<'static>, rows: &'a [Value]) -> Self {
        let mut creations: HashMap<(&str, String), Vec<&str>> = HashMap::new();
        for row in rows {
            let sql = row["sql"].as_str().unwrap_or_default();
            let statement = analyze(sql.as_bytes(), &context);
            let creates = matches!(statement.kind.0, "create_table" | "create_view" | "create_sequence");
            if let Some(target) = statement.objects.first().filter(|_| creates && !statement.temporary) {
                let path = row["path"].as_str().unwrap_or_default();
                creations.entry((path, target.name.to_lowercase())).or_default().push(sql);
            }
        }
        let mut lab = Self {
            server,
            client: None,
            context,
            creations,
            system: BTreeSet::new(),
            temporary_left: false,
            spoilt: false,
            anew: 0,
            kind: "",
        };
        let databases = lab.run("SHOW DATABASES").await.expect("the server answers");
        lab.system = (0..databases.rows.len()).filter_map(|row| databases.text(row, 0)).collect();
        lab
    }

    async fn connect(&mut self) -> Client {
        if std::net::TcpStream::connect(("127.0.0.1", self.server.port())).is_err() {
            // Old servers fall over some statements of their own tests.
            self.server.restart().await;
        }
        let mut client = super::root(&self.server).await;
        let settings =
            ["SET NAMES utf8mb4", "SET sql_mode = ''", "SET foreign_key_checks = 0", "SET timestamp = 1600000000"];
        // What runs longer goes on at the server after the client has gone, and holds its tables.
        let limit = self.context.mariadb.then_some("SET max_statement_time = 20");
        for setting in settings.into_iter().chain(limit) {
            client.query(setting).await.expect("a setting is accepted");
        }
        client
    }

    /// Runs one statement.
    pub(super) async fn run(&mut self, sql: &str) -> Result<ResultSet, Refusal> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => self.connect().await,
        };
        match client.query(sql).await {
            Ok(answer) => {
                self.client = Some(client);
                Ok(answer)
            }
            Err(SourceError::Refused { code, message, .. }) => {
                self.client = Some(client);
                // A refused statement can leave the file of a table that InnoDB does not know (5.7: a key of the name
                // FTS_DOC_ID_INDEX that does not fit). Table is there, and errno 184 of a rename: the same.
                self.spoilt |= code == 1813 || message.contains("(errno: 184");
                Err((code, message))
            }
            // A crash, or an answer that does not come: another connection for what follows.
            Err(error) => Err((0, error.to_string())),
        }
    }

    /// Drops every database that was made. What cannot be dropped would be there for the next statement too: then the
    /// server begins with a new data directory.
    async fn clear(&mut self) {
        for _ in 0..2 {
            let Ok(found) = self.run("SHOW DATABASES").await else { continue };
            let mut left = false;
            for row in 0..found.rows.len() {
                let name = found.text(row, 0).unwrap_or_default();
                if !self.system.contains(&name) {
                    left |= self.run(&format!("DROP DATABASE {}", quoted(&name))).await.is_err();
                }
            }
            if !left {
                return;
            }
        }
        self.begin_anew().await;
    }

    async fn begin_anew(&mut self) {
        self.client = None;
        self.server.start_over().await;
        self.spoilt = false;
        self.anew += 1;
    }

    /// Runs a statement under its old names, and under new ones in a world beside for each way of naming.
    pub(super) async fn examine(
        &mut self,
        candidate: &Candidate<'a>,
        namings: &[Naming],
    ) -> Vec<(&'static str, Outcome)> {
        self.kind = candidate.kind;
        let statement = analyze(candidate.sql.as_bytes(), &self.context);
        if statement.body_opaque {
            return vec![("", Outcome::Opaque)];
        }
        let outcomes = self.attempt(candidate, &statement, namings).await;
        if !self.spoilt {
            return outcomes;
        }
        self.begin_anew().await;
        let outcomes = self.attempt(candidate, &statement, namings).await;
        if self.spoilt {
            self.begin_anew().await;
        }
        outcomes
    }

    async fn attempt(
        &mut self,
        candidate: &Candidate<'a>,
        statement: &Statement,
        namings: &[Naming],
    ) -> Vec<(&'static str, Outcome)> {
        // Temporary tables go with their session.
        if std::mem::replace(&mut self.temporary_left, statement.temporary) {
            self.client = None;
        }
        self.clear().await;
        let set_up = match self.run_mended(candidate).await {
            Ok(set_up) => set_up,
            Err((code, message)) => return vec![("", Outcome::NotRunnable(format!("{code} {message}")))],
        };
        let mut databases: BTreeSet<String> = set_up.databases.clone();
        databases.extend(statement.objects.iter().map(|object| object.database.clone()));
        databases.retain(|database| !database.is_empty() && !is_system(database));
        databases.insert(OLD.to_owned());
        let before = self.world(&databases, statement, &Naming::identity()).await;
        let mut outcomes = Vec::new();
        for naming in namings {
            let outcome = match self.repeat(candidate.sql, &set_up, naming).await {
                Err(how) => Outcome::Differs(how),
                Ok(()) => {
                    let after = self.world(&databases, statement, naming).await;
                    compare(&before, &after, naming, &databases)
                }
            };
            outcomes.push((naming.title, outcome));
        }
        outcomes
    }

    /// What is in the databases under their new names, and the temporary table that a statement made.
    async fn world(&mut self, databases: &BTreeSet<String>, statement: &Statement, naming: &Naming) -> (World, String) {
        let mut world = World::new();
        for database in databases {
            self.show(&naming.database(database), &mut world).await;
        }
        let temporary = statement.objects.first().filter(|_| statement.temporary).map(|table| {
            let (database, name) = (naming.database(&table.database), naming.table(&table.database, &table.name));
            format!("SHOW CREATE TABLE {}.{}", quoted(&database), quoted(&name))
        });
        (world, self.shown_temporary(temporary).await)
    }

    async fn shown_temporary(&mut self, question: Option<String>) -> String {
        match question {
            Some(question) => match self.run(&question).await {
                Ok(answer) => answer.text(0, 1).unwrap_or_default(),
                Err((code, _)) => format!("error {code}"),
            },
            None => String::new(),
        }
    }

    /// The set-up under the new names, and the statement.
    async fn repeat(&mut self, sql: &str, set_up: &SetUp<'_>, naming: &Naming) -> Result<(), String> {
        let session = naming.session_database(OLD);
        let mut new_databases: BTreeSet<String> = set_up.databases.iter().map(|name| naming.database(name)).collect();
        new_databases.insert(naming.database(OLD));
        new_databases.insert(session.clone());
        for database in new_databases {
            let _ = self.run(&format!("CREATE DATABASE IF NOT EXISTS {}", quoted(&database))).await;
        }
        let place = format!("USE {}", quoted(&session));
        for statement in &set_up.statements {
            let text = self.renamed(statement, naming, &session)?;
            self.run(&place).await.map_err(|error| format!("{place}: {error:?}"))?;
            self.run(&text).await.map_err(|error| format!("set-up {text:?}: {error:?}"))?;
        }
        for ((database, name), parameters) in &set_up.functions {
            let sql = function(&naming.database(database), name, *parameters);
            self.run(&sql).await.map_err(|error| format!("set-up {sql:?}: {error:?}"))?;
        }
        for ((database, name), stub) in &set_up.stubs {
            let (database, name) = (naming.database(database), naming.table(database, name));
            self.create(&database, &name, stub).await.map_err(|error| format!("set-up: {error:?}"))?;
        }
        for named in &set_up.named {
            let (database, table) = (naming.database(&named.database), naming.table(&named.database, Named::TABLE));
            for sql in named.statements(&database, &table) {
                self.run(&sql).await.map_err(|error| format!("set-up {sql:?}: {error:?}"))?;
            }
        }
        let text = self.renamed(sql, naming, &session)?;
        self.run(&place).await.map_err(|error| format!("{place}: {error:?}"))?;
        self.run(&text).await.map(|_| ()).map_err(|error| format!("{error:?} for {text:?}"))
    }

    fn renamed(&self, sql: &str, naming: &Naming, session: &str) -> Result<String, String> {
        let statement = analyze(sql.as_bytes(), &self.context);
        let names = naming.names(&statement);
        let text = rewrite(sql.as_bytes(), &statement, &self.context, &names, session, None)
            .map_err(|error| format!("{sql:?}: {error}"))?;
        String::from_utf8(text).map_err(|error| error.to_string())
    }

    /// Runs a statement under its old names, with what it needs made up until it runs.
    async fn run_mended(&mut self, candidate: &Candidate<'a>) -> Result<SetUp<'a>, Refusal> {
        let mut set_up = SetUp::default();
        let mut tried: BTreeSet<&str> = BTreeSet::new();
        let mut last = (0, String::new());
        let _ = self.run(&format!("CREATE DATABASE {OLD}")).await;
        for _ in 0..MOST_REPAIRS {
            self.run(&format!("USE {OLD}")).await?;
            let Err(error) = self.run(candidate.sql).await else {
                if last.0 == 0 {
                    return Ok(set_up);
                }
                // A statement that failed may have done a part of its work: once more, from the beginning. A temporary
                // table goes with its session only.
                self.client = None;
                self.clear().await;
                self.build(&set_up).await?;
                self.run(&format!("USE {OLD}")).await?;
                return self.run(candidate.sql).await.map(|_| set_up);
            };
            if !self.mend(candidate, &error, &mut set_up, &mut tried).await {
                return Err(error);
            }
            last = error;
            if set_up.stubs.values().any(|stub| stub.temporary) {
                self.client = None;
            }
            self.clear().await;
            self.build(&set_up).await?;
        }
        Err(last)
    }

    async fn build(&mut self, set_up: &SetUp<'_>) -> Result<(), Refusal> {
        let _ = self.run(&format!("CREATE DATABASE IF NOT EXISTS {OLD}")).await;
        for database in &set_up.databases {
            self.run(&format!("CREATE DATABASE IF NOT EXISTS {}", quoted(database))).await?;
        }
        for statement in &set_up.statements {
            self.run(&format!("USE {OLD}")).await?;
            self.run(statement).await?;
        }
        for ((database, name), parameters) in &set_up.functions {
            self.run(&function(database, name, *parameters)).await?;
        }
        for ((database, name), stub) in &set_up.stubs {
            self.create(database, name, stub).await?;
        }
        for named in &set_up.named {
            for sql in named.statements(&named.database, Named::TABLE) {
                self.run(&sql).await?;
            }
        }
        Ok(())
    }

    async fn create(&mut self, database: &str, name: &str, stub: &Stub) -> Result<(), Refusal> {
        let (table, column_type) =
            (format!("{}.{}", quoted(database), quoted(name)), stub.column_type.unwrap_or("INT"));
        let sql = if stub.sequence {
            format!("CREATE SEQUENCE {table}")
        } else if stub.view {
            let columns: Vec<String> = stub.columns.iter().map(|column| format!("1 AS {}", quoted(column))).collect();
            format!("CREATE VIEW {table} AS SELECT {}", columns.join(", "))
        } else {
            let mut parts: Vec<String> =
                stub.columns.iter().map(|column| format!("{} {column_type}", quoted(column))).collect();
            let first = stub.columns.first().map(|column| quoted(column)).unwrap_or_default();
            parts.extend(stub.keys.iter().map(|key| format!("KEY {} ({first})", quoted(key))));
            let partitions = if stub.partitioned {
                format!(
                    " PARTITION BY RANGE ({first}) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))"
                )
            } else {
                String::new()
            };
            let temporary = if stub.temporary { "TEMPORARY " } else { "" };
            format!("CREATE {temporary}TABLE {table} ({}){partitions}", parts.join(", "))
        };
        self.run(&sql).await.map(|_| ())
    }

    /// Adds to the set-up what an error asks for; `false` if nothing is known against it.
    async fn mend(
        &mut self,
        candidate: &Candidate<'a>,
        (code, message): &Refusal,
        set_up: &mut SetUp<'a>,
        tried: &mut BTreeSet<&'a str>,
    ) -> bool {
        let first = complained_of(message);
        let column = first.rsplit('.').next().unwrap_or_default();
        match code {
            1049 => set_up.databases.insert(first.to_owned()),
            // RENAME of old servers: Can't find file: './d/t.frm'.
            1017 => {
                let missing = first.trim_start_matches("./").trim_end_matches(".frm").replacen('/', ".", 1);
                self.mend_table(candidate, *code, &missing, set_up, tried).await
            }
            1051 | 4092 => {
                let mut mended = false;
                for missing in first.split(',') {
                    mended |= self.mend_table(candidate, *code, missing, set_up, tried).await;
                }
                mended
            }
            1146 | 1109 | 4091 | 1824 => self.mend_table(candidate, *code, first, set_up, tried).await,
            // Without the database that a table is renamed into, InnoDB has errno 168.
            1025 => {
                let statement = analyze(candidate.sql.as_bytes(), &self.context);
                let before = set_up.databases.len();
                set_up.databases.extend(statement.objects.iter().map(|object| object.database.clone()));
                set_up.databases.len() > before
            }
            // What was made up is what the statement makes.
            1050 => {
                let name = column.to_lowercase();
                let before = set_up.stubs.len();
                set_up.stubs.retain(|(_, stub), _| stub.to_lowercase() != name);
                set_up.stubs.len() < before
            }
            1360 | 1539 => {
                let statement = analyze(candidate.sql.as_bytes(), &self.context);
                set_up.databases.extend(statement.objects.iter().map(|object| object.database.clone()));
                Named::first_of(&statement).is_some_and(|named| set_up.named.insert(named))
            }
            1305 => {
                let name = message.split(' ').nth(1).and_then(|name| name.rsplit_once('.'));
                let Some((database, name)) = name.filter(|(database, _)| !is_system(database)) else { return false };
                message.starts_with("FUNCTION")
                    && set_up.functions.insert((database.to_owned(), name.to_owned()), 0).is_none()
            }
            1318 => {
                let got = message.rsplit(' ').next().and_then(|got| got.parse().ok());
                let Some(function) = set_up.functions.values_mut().next_back() else { return false };
                got.is_some_and(|got| std::mem::replace(function, got) != got)
            }
            1054 | 1072 => {
                let mut added = make_up(set_up, &analyze(candidate.sql.as_bytes(), &self.context));
                for stub in set_up.stubs.values_mut() {
                    added |= stub.columns.insert(column.to_owned());
                }
                added
            }
            1052 | 1060 => {
                let made_up = make_up(set_up, &analyze(candidate.sql.as_bytes(), &self.context));
                let mut removed = false;
                for stub in set_up.stubs.values_mut().skip(1) {
                    removed |= stub.columns.remove(column);
                }
                made_up || removed
            }
            1091 => {
                let made_up = make_up(set_up, &analyze(candidate.sql.as_bytes(), &self.context));
                let Some(stub) = set_up.stubs.values_mut().next() else { return false };
                stub.columns.insert(first.to_owned()) || stub.keys.insert(first.to_owned()) || made_up
            }
            1176 => {
                let made_up = make_up(set_up, &analyze(candidate.sql.as_bytes(), &self.context));
                set_up.stubs.values_mut().any(|stub| stub.keys.insert(first.to_owned())) || made_up
            }
            1089 | 1283 | 1170 => {
                let made_up = make_up(set_up, &analyze(candidate.sql.as_bytes(), &self.context));
                set_type(set_up, "VARCHAR(100)") || made_up || (*code == 1089 && set_type(set_up, "TEXT"))
            }
            1687 | 1252 => set_type(set_up, "GEOMETRY NOT NULL"),
            1347 if !message.contains("BASE TABLE") => {
                set_up.stubs.values_mut().any(|stub| !std::mem::replace(&mut stub.view, true))
            }
            4089 => set_up.stubs.values_mut().any(|stub| !std::mem::replace(&mut stub.sequence, true)),
            1505 => set_up.stubs.values_mut().any(|stub| !std::mem::replace(&mut stub.partitioned, true)),
            _ => false,
        }
    }

    /// Adds a table that is missing: as the same file creates it, or made up.
    async fn mend_table(
        &mut self,
        candidate: &Candidate<'a>,
        code: u16,
        missing: &str,
        set_up: &mut SetUp<'a>,
        tried: &mut BTreeSet<&'a str>,
    ) -> bool {
        let (database, name) = missing.rsplit_once('.').unwrap_or((OLD, missing));
        if name.is_empty() || is_system(database) {
            return false;
        }
        set_up.databases.insert(database.to_owned());
        let creations = self.creations.get(&(candidate.path, name.to_lowercase())).cloned().unwrap_or_default();
        for creation in creations.into_iter().filter(|creation| *creation != candidate.sql) {
            if tried.len() >= 6 || !tried.insert(creation) || self.run(&format!("USE {OLD}")).await.is_err() {
                continue;
            }
            if self.run(creation).await.is_ok() {
                set_up.statements.push(creation);
                return true;
            }
        }
        let columns = BTreeSet::from([format!("zz{}", set_up.stubs.len())]);
        let (view, sequence) = (candidate.kind == "drop_view" || code == 4092, candidate.kind == "alter_sequence");
        let temporary = code == 1051 && analyze(candidate.sql.as_bytes(), &self.context).temporary;
        let stub = Stub { columns, view, sequence, temporary, ..Stub::default() };
        set_up.stubs.insert((database.to_owned(), name.to_owned()), stub).is_none()
    }
}

/// Whether both worlds hold the same, names mapped back.
fn compare(
    (before, old_temporary): &(World, String),
    (after, new_temporary): &(World, String),
    naming: &Naming,
    databases: &BTreeSet<String>,
) -> Outcome {
    let mut differences = Vec::new();
    let mut wanted = BTreeMap::new();
    for ((kind, database, name), shown) in before {
        let new_name = if *kind == "table" { naming.table(database, name) } else { name.clone() };
        wanted.insert((*kind, naming.database(database), new_name), shown);
    }
    let equal = |old: &str, new: &str| {
        (!naming.elsewhere && in_any_order(&naming.back(new)) == in_any_order(old))
            || (naming.elsewhere || old.contains(" VIEW "))
                && in_any_order(&naming.bare(old, databases))
                    == in_any_order(&naming.bare(&naming.back(new), databases))
    };
    for (key, shown) in &wanted {
        match after.get(key) {
            None => differences.push(format!("missing: {key:?}")),
            Some(new) if !equal(shown, new) => differences.push(format!("{key:?}: {shown:?}\n became {new:?}")),
            Some(new) => {
                let is_body = key.0 != "table";
                differences.extend(strange(new, naming, is_body).map(|what| format!("{key:?} {what}: {new:?}")));
            }
        }
    }
    let unwanted = after.keys().filter(|key| !wanted.contains_key(key));
    differences.extend(unwanted.map(|key| format!("not expected: {key:?}")));
    if !equal(old_temporary, new_temporary) {
        differences.push(format!("temporary: {old_temporary:?}\n became {new_temporary:?}"));
    }
    if differences.is_empty() { Outcome::Equal } else { Outcome::Differs(differences.join("\n")) }
}

/// The lines of a definition, sorted: MySQL 9 shows constraints in the order of their names.
fn in_any_order(shown: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = shown.lines().map(|line| line.trim_end_matches(',')).collect();
    lines.sort_unstable();
    lines
}

/// What mapping back would hide: a parent that kept its name, a column or key that got a new one. Lines of a body begin with whatever
/// its author wrote there.
fn strange(shown: &str, naming: &Naming, is_body: bool) -> Option<String> {
    let new = format!("`{}", naming.prefix);
    for parent in shown.split(" REFERENCES ").skip(1) {
        let system = parent.starts_with("`mysql`");
        if parent.starts_with('`') && !parent.starts_with(&new) && !system {
            return Some(format!("has an old parent {:?}", parent.chars().take(40).collect::<String>()));
        }
    }
    for line in shown.lines().skip(1).filter(|_| !is_body) {
        let line = line.trim_start();
        let key = line.split_once("KEY ").map_or(line, |(_, key)| key);
        if line.contains("_ibfk_") {
            continue;
        }
        if line.starts_with(&new) || (line != key && key.starts_with(&new)) {
            return Some(format!("has a new name for a column or key in {line:?}"));
        }
    }
    None
}

#[test]
fn what_mapping_back_would_hide_is_seen() {
    let naming = Naming::plain();
    assert!(strange("CREATE TABLE `zqx_t` (\n  `a` int,\n  KEY `zqx_a` (`a`)\n)", &naming, false).is_some());
    assert!(strange("CREATE TABLE `zqx_t` (\n  `zqx_a` int\n)", &naming, false).is_some());
    assert!(strange("x\n CONSTRAINT `c` FOREIGN KEY (`a`) REFERENCES `p` (`a`)", &naming, true).is_some());
    assert!(strange("x\n CONSTRAINT `c` FOREIGN KEY (`a`) REFERENCES `zqx_p` (`a`)", &naming, false).is_none());
}
