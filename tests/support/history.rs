//! Random histories of DDL and DML for the workload's route: `storefront` is selected as a whole but for `audit_*`, of
//! `crm_main` only `customers`, of `hr` nothing.
//!
//! A history is a list of sessions, each with a binlog format of its own. It only does what the route lets through or skips, and what
//! then becomes of the destination is known: the source's selected tables under their new names. Names that begin with `stays_`
//! are of objects that the source drops by statements which are skipped.

mod ddl;
mod dml;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::fleet::Version;
use super::random::Random;

/// How a session writes what it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Row,
    Statement,
    Mixed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Int,
    Text,
    Double,
    Time,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    holds: Type,
}

#[derive(Clone, Debug)]
struct Table {
    database: &'static str,
    name: String,
    /// Beside `id`.
    columns: Vec<Column>,
    /// Others depend on its name and columns: it is neither renamed nor dropped nor altered.
    pinned: bool,
    /// Not on InnoDB.
    plain: bool,
}

impl Table {
    fn is_selected(&self) -> bool {
        match self.database {
            "storefront" => !self.name.starts_with("audit_"),
            "crm_main" => self.name == "customers",
            _ => false,
        }
    }

    fn is_free(&self) -> bool {
        !self.pinned && self.database != "crm_main"
    }
}

/// Writes one history.
#[derive(Debug)]
pub(crate) struct History {
    random: Random,
    version: Version,
    gtid: bool,
    files: PathBuf,
    tables: Vec<Table>,
    views: Vec<String>,
    format: Format,
    database: &'static str,
    ansi: bool,
    /// Inside BEGIN and COMMIT.
    in_transaction: bool,
    temporary: bool,
    next: u64,
    script: String,
}

const DATABASES: [&str; 3] = ["storefront", "crm_main", "hr"];

impl History {
    /// The history of a seed, with a folder where the files for its LOAD DATA are written. `gtid` keeps to what GTID_MODE=ON allows.
    pub(crate) fn new(seed: u64, version: Version, gtid: bool, files: &Path) -> Self {
        Self {
            random: Random::new(seed),
            version,
            gtid,
            files: files.to_owned(),
            tables: Vec::new(),
            views: Vec::new(),
            format: Format::Row,
            database: "hr",
            ansi: false,
            in_transaction: false,
            temporary: false,
            next: 0,
            script: String::new(),
        }
    }

    /// The first session: databases and tables of every sort, and what is pinned.
    pub(crate) fn beginning(&mut self) -> String {
        self.begin_session();
        self.say("CREATE DATABASE storefront CHARACTER SET utf8mb4");
        self.say("CREATE DATABASE crm_main CHARACTER SET utf8mb4");
        self.say("CREATE DATABASE hr CHARACTER SET latin1");
        self.say("CREATE TABLE storefront.marker (n INT NOT NULL PRIMARY KEY)");
        self.say("CREATE TABLE storefront.trail (n INT, v VARCHAR(60) CHARACTER SET utf8mb4) ENGINE=InnoDB");
        self.say("CREATE TABLE storefront.large (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT) ENGINE=InnoDB");
        self.say("CREATE TABLE storefront.audit_large LIKE storefront.large");
        for database in ["storefront", "storefront", "storefront", "hr", "hr"] {
            self.create_table(database, false);
        }
        self.create_named("crm_main", "customers", true);
        self.create_named("crm_main", "others", true);
        for name in ["audit_log", "audit_rows"] {
            self.create_named("storefront", name, false);
        }
        for name in ["base", "parent"] {
            self.create_named("storefront", name, true);
        }
        self.say(
            "CREATE TABLE storefront.child (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, c_int INT, parent INT, \
             FOREIGN KEY (parent) REFERENCES storefront.parent (id) ON DELETE CASCADE) ENGINE=InnoDB",
        );
        self.tables.push(Table {
            database: "storefront",
            name: "child".to_owned(),
            columns: vec![Column { name: "c_int".to_owned(), holds: Type::Int }],
            pinned: true,
            plain: false,
        });
        self.say(
            "CREATE TRIGGER `storefront`.`base_trail` AFTER INSERT ON `storefront`.`base` FOR EACH ROW INSERT INTO `storefront`.`trail` VALUES (NEW.id, 'by trigger')",
        );
        self.say("CREATE FUNCTION `storefront`.`stays_size`(a INT) RETURNS INT READS SQL DATA DETERMINISTIC RETURN a + (SELECT COUNT(*) FROM `storefront`.`base`)");
        self.script += "DELIMITER //\n";
        self.script += "CREATE FUNCTION `storefront`.`stays_noted`(a INT) RETURNS INT MODIFIES SQL DATA DETERMINISTIC BEGIN INSERT INTO `storefront`.`trail` VALUES (a, 'by function'); RETURN a * 2; END//\n";
        self.script += "CREATE PROCEDURE `storefront`.`stays_work`(a INT, v VARCHAR(20)) BEGIN INSERT INTO `storefront`.`trail` VALUES (a, v); UPDATE `storefront`.`base` SET id = id WHERE id = a; END//\n";
        self.script += "DELIMITER ;\n";
        std::mem::take(&mut self.script)
    }

    /// One more session.
    pub(crate) fn session(&mut self) -> String {
        self.begin_session();
        for _ in 0..6 + self.random.below(14) {
            self.step();
        }
        std::mem::take(&mut self.script)
    }

    fn begin_session(&mut self) {
        self.format = *self.random.pick(&[Format::Row, Format::Statement, Format::Mixed, Format::Statement]);
        self.script = format!("SET SESSION binlog_format = {:?};\n", self.format).to_uppercase();
        let names = *self.random.pick(&["utf8mb4", "latin1", "utf8", "gbk"]);
        let _ = writeln!(self.script, "SET NAMES {names};");
        self.ansi = self.random.one_in(4);
        if self.ansi {
            self.script += "SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES');\n";
        }
        self.temporary = false;
        self.settings();
        self.script += "SET @number = 42, @word = 'of a variable';\n";
        self.database = "";
    }

    /// What else decides how a session's changes look in the log.
    fn settings(&mut self) {
        let choices: &[&str] = match self.version {
            Version::Mysql56 => &["SESSION binlog_rows_query_log_events = ON", "SESSION binlog_row_image = MINIMAL"],
            Version::Mysql57 => &[
                "SESSION binlog_rows_query_log_events = ON",
                "SESSION binlog_row_image = MINIMAL",
                "GLOBAL binlog_checksum = NONE",
                "GLOBAL binlog_checksum = CRC32",
            ],
            Version::Mysql97 => &[
                "SESSION binlog_rows_query_log_events = ON",
                "SESSION binlog_row_image = NOBLOB",
                "SESSION binlog_transaction_compression = ON",
                "SESSION binlog_transaction_compression = ON",
                "GLOBAL binlog_row_metadata = FULL",
                "SESSION gtid_next = 'AUTOMATIC:history'",
            ],
            Version::Mariadb1011 => &[
                "SESSION binlog_annotate_row_events = OFF",
                "SESSION binlog_row_image = MINIMAL",
                "GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 20",
                "GLOBAL log_bin_compress = OFF",
                "SESSION gtid_domain_id = 0",
            ],
        };
        if self.random.one_in(2) {
            let setting = *self.random.pick(choices);
            self.say(&format!("SET {setting}"));
        }
    }

    /// A session that runs beside another one: both have temporary tables of the same name.
    pub(crate) fn bystander(&mut self) -> String {
        let number = self.number();
        let pause = "SELECT SLEEP(0.03);\n";
        let mut script = format!(
            "SET SESSION binlog_format = STATEMENT;\nUSE {};\nCREATE TEMPORARY TABLE storefront.passing (n INT);\n\
             CREATE TEMPORARY TABLE hr.passing (n INT);\n",
            self.random.pick(&DATABASES)
        );
        for part in 0..2 + self.random.below(4) {
            let _ = write!(
                script,
                "{pause}INSERT INTO storefront.passing VALUES ({number}), ({part});\nINSERT INTO hr.passing VALUES ({part});\n\
                 {pause}INSERT INTO storefront.trail SELECT n, 'by a bystander' FROM storefront.passing;\n"
            );
        }
        script
    }

    fn say(&mut self, statement: &str) {
        self.script.push_str(statement);
        self.script.push_str(";\n");
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether what a session changes is in the log as text.
    fn is_text(&self) -> bool {
        self.format != Format::Row
    }

    fn identifier(&mut self, name: &str) -> String {
        let bare = name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
        match self.random.below(4) {
            0 if self.ansi => format!("\"{name}\""),
            1 | 2 if bare => name.to_owned(),
            _ => format!("`{name}`"),
        }
    }

    /// A table's name as the session may write it.
    fn name(&mut self, database: &str, name: &str) -> String {
        let table = self.identifier(name);
        if database == self.database && !self.random.one_in(3) {
            return table;
        }
        let dot = *self.random.pick(&[".", ".", " . ", "./* storefront.t1 */"]);
        format!("{}{dot}{table}", self.identifier(database))
    }

    fn named(&mut self, index: usize) -> String {
        let (database, name) = (self.tables[index].database, self.tables[index].name.clone());
        self.name(database, &name)
    }

    /// A table for DML; `like` asks for one on the same side, and of the same engine.
    fn table(&mut self, like: Option<usize>) -> usize {
        loop {
            let index = self.random.below(self.tables.len() as u64) as usize;
            let table = &self.tables[index];
            let fits = like.is_none_or(|like| {
                let like = &self.tables[like];
                table.plain == like.plain && table.is_selected() == like.is_selected()
            });
            if fits && !(table.plain && self.in_transaction) {
                return index;
            }
        }
    }

    /// A table to read from for what goes to `target`: in text it has to be on the same side.
    fn source_for(&mut self, target: usize) -> usize {
        if self.is_text() { self.table(Some(target)) } else { self.table(None) }
    }

    fn step(&mut self) {
        if self.random.one_in(4) || self.database.is_empty() {
            self.database = *self.random.pick(&DATABASES);
            self.script += &format!("USE {};\n", self.database);
        }
        match self.random.below(21) {
            0..=6 => self.dml(),
            7 | 8 => self.transaction(),
            9 => self.load(),
            10 => self.temporary(),
            11 | 12 => self.create(),
            13 | 14 => self.alter(),
            15 => self.rename(),
            16 => self.drop(),
            17 => self.view(),
            18 => self.routines(),
            19 if self.random.one_in(4) => self.large(),
            _ => self.skipped(),
        }
    }

    fn value(&mut self, holds: Type) -> String {
        let number = self.number();
        let any = self.random.below(8);
        match (holds, any) {
            (Type::Int, 0) => "FLOOR(RAND() * 1000)".to_owned(),
            (Type::Int, 1) => "@number".to_owned(),
            (Type::Int, 2) => "LAST_INSERT_ID()".to_owned(),
            (Type::Int, 3) => format!("storefront.stays_size({number})"),
            (Type::Int, 4) => "NULL".to_owned(),
            (Type::Int, _) => number.to_string(),
            (Type::Text, 0) => "_latin1 x'E9F6'".to_owned(),
            (Type::Text, 1) => "@word".to_owned(),
            (Type::Text, 2) if self.format != Format::Statement => "UUID()".to_owned(),
            (Type::Text, 3) => format!("REPEAT('long ', {})", 1 + number % 12),
            (Type::Text, 4) => "'it''s `storefront`.t1; -- not a comment'".to_owned(),
            (Type::Text, 5) => "'hr.t1'".to_owned(),
            (Type::Text, _) => format!("'word {number}'"),
            (Type::Double, 0 | 1) => "RAND()".to_owned(),
            (Type::Double, _) => format!("{number}.25"),
            (Type::Time, 0 | 1) => "NOW()".to_owned(),
            (Type::Time, 2) => "NULL".to_owned(),
            (Type::Time, _) => format!("'2026-11-{:02} 08:00:00'", 1 + number % 28),
        }
    }

    /// The value for a table that is not selected: what it calls must not be of the route.
    fn value_for(&mut self, target: usize, holds: Type) -> String {
        let value = self.value(holds);
        if self.is_text() && !self.tables[target].is_selected() && value.contains("stays_") {
            return "1".to_owned();
        }
        value
    }

    fn transaction(&mut self) {
        let number = self.number();
        // MySQL refuses an XA PREPARE that follows statements which change no row.
        let xa = self.random.one_in(5) && !self.temporary && (!self.is_text() || self.version.is_mariadb());
        self.script += &if xa { format!("XA START 'x{number}';\n") } else { "BEGIN;\n".to_owned() };
        self.in_transaction = true;
        for part in 0..1 + self.random.below(4) {
            self.dml();
            if !xa && self.random.one_in(3) {
                self.say(&format!("SAVEPOINT s{part}"));
                self.dml();
                self.dml();
                if self.random.one_in(2) {
                    self.say(&format!("ROLLBACK TO SAVEPOINT s{part}"));
                    self.dml();
                }
            }
        }
        self.in_transaction = false;
        if xa {
            self.say(&format!("XA END 'x{number}'"));
            match self.random.below(3) {
                0 => self.say(&format!("XA COMMIT 'x{number}' ONE PHASE")),
                1 => self.say(&format!("XA PREPARE 'x{number}';\nXA COMMIT 'x{number}'")),
                _ => self.say(&format!("XA PREPARE 'x{number}';\nXA ROLLBACK 'x{number}'")),
            }
        } else {
            let end = *self.random.pick(&["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]);
            self.say(end);
        }
    }

    fn load(&mut self) {
        let target = self.table(None);
        let table = self.tables[target].clone();
        if table.name == "child" {
            return self.dml();
        }
        let number = self.number();
        let path = self.files.join(format!("load_{number}.txt"));
        let rows = if self.random.one_in(6) { 9_000 } else { 1 + self.random.below(20) };
        let column = self.random.pick(&table.columns).clone();
        let mut text = String::new();
        for row in 0..rows {
            let value = match column.holds {
                Type::Text => format!("row {row} of {number}"),
                Type::Time => "2026-01-02 03:04:05".to_owned(),
                _ => (number * 100 + row).to_string(),
            };
            let _ = writeln!(text, "{row}\t{value}");
        }
        std::fs::write(&path, text).expect("the folder can be written");
        let (name, path) = (self.named(target), path.display().to_string());
        let duplicates = *self.random.pick(&["", "REPLACE ", "IGNORE "]);
        let charset = *self.random.pick(&["", " CHARACTER SET latin1", " CHARACTER SET utf8"]);
        let set = if self.random.one_in(2) {
            format!("(@nothing, {})", column.name)
        } else {
            let value = self.value_for(target, column.holds);
            format!("(@nothing, @cell) SET {} = {value}", column.name)
        };
        self.say(&format!("LOAD DATA INFILE '{path}' {duplicates}INTO TABLE {name}{charset} {set}"));
    }

    /// A temporary table: of a name of its own, or of one that shadows a table.
    fn temporary(&mut self) {
        self.temporary = true;
        let number = self.number();
        let target = self.table(None);
        let selected = self.tables[target].is_selected();
        let database = if selected { "storefront" } else { "hr" };
        let shadowed = (0..self.tables.len()).find(|&index| {
            let table = &self.tables[index];
            index != target && table.database == database && table.is_free() && table.is_selected() == selected
        });
        let name = match shadowed {
            Some(index) if self.random.one_in(3) => self.tables[index].name.clone(),
            _ => format!("passing_{number}"),
        };
        let temporary = self.name(database, &name);
        let into = self.named(target);
        let column = self.tables[target].columns[0].clone();
        match self.random.below(2) {
            0 => {
                let of = match column.holds {
                    Type::Int => "INT",
                    Type::Text => "VARCHAR(60) CHARACTER SET utf8mb4",
                    Type::Double => "DOUBLE",
                    Type::Time => "DATETIME",
                };
                self.say(&format!("CREATE TEMPORARY TABLE {temporary} (id INT AUTO_INCREMENT PRIMARY KEY, v {of})"));
            }
            _ => {
                let from = self.table(Some(target));
                let (from, other) = (self.named(from), self.tables[from].columns[0].clone());
                if self.gtid || other.holds != column.holds {
                    return self.dml();
                }
                self.say(&format!("CREATE TEMPORARY TABLE {temporary} AS SELECT id, {} AS v FROM {from}", other.name));
            }
        }
        let value = self.value_for(target, column.holds);
        self.say(&format!("INSERT INTO {temporary} (id, v) VALUES (900 + {number}, {value})"));
        if self.random.one_in(2) {
            self.say(&format!("ALTER TABLE {temporary} ADD COLUMN w INT DEFAULT 3"));
        }
        if self.tables[target].name != "child" {
            self.say(&format!(
                "INSERT INTO {into} ({}) SELECT {} FROM {temporary} ORDER BY id",
                column.name,
                filled("v", column.holds)
            ));
        }
        // Else it goes with the session.
        if shadowed.is_some() || self.random.one_in(2) {
            self.say(&format!("DROP TEMPORARY TABLE {temporary}"));
        }
    }

    fn routines(&mut self) {
        let number = self.number();
        match self.random.below(5) {
            0 => self.say(&format!("CALL storefront.stays_work({number}, 'by call')")),
            1 => self.say(&format!("DO storefront.stays_noted({number})")),
            2 => self.say(&format!(
                "SELECT storefront.stays_noted(id) FROM storefront.base WHERE id < {number} ORDER BY id LIMIT 2"
            )),
            3 => self.say(&format!("SET @number = storefront.stays_noted({number})")),
            _ => self
                .say(&format!("INSERT INTO storefront.parent (id) VALUES (100000 * storefront.stays_noted({number}))")),
        }
    }

    /// What goes to no replica.
    fn skipped(&mut self) {
        let number = self.number();
        let statements = [
            format!("CREATE DATABASE more_{number};\nDROP DATABASE more_{number}"),
            "ANALYZE TABLE storefront.base".to_owned(),
            "OPTIMIZE TABLE storefront.parent".to_owned(),
            "FLUSH TABLES".to_owned(),
            "FLUSH LOGS".to_owned(),
            format!(
                "CREATE USER u{number}@localhost;\nGRANT SELECT ON storefront.* TO u{number}@localhost;\nDROP USER u{number}@localhost"
            ),
            format!("CREATE VIEW hr.v{number} AS SELECT id FROM storefront.base;\nDROP VIEW hr.v{number}"),
            format!(
                "CREATE EVENT storefront.e{number} ON SCHEDULE EVERY 1 YEAR DO DELETE FROM storefront.trail;\nDROP EVENT storefront.e{number}"
            ),
        ];
        let statement = self.random.pick(&statements).clone();
        self.say(&statement);
    }
}

/// A column's expression without NULL where a column may refuse it.
fn filled(column: &str, holds: Type) -> String {
    if holds == Type::Text { format!("COALESCE({column}, 'nothing')") } else { column.to_owned() }
}
