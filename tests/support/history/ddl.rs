//! The DDL of a random history.

use std::fmt::Write as _;

use super::{Column, History, Table, Type};
use crate::support::fleet::Version;

impl History {
    fn definition(&mut self) -> (String, Vec<Column>) {
        let mut columns = Vec::new();
        let mut text = "id INT NOT NULL AUTO_INCREMENT PRIMARY KEY".to_owned();
        for _ in 0..2 + self.random.below(3) {
            let (column, definition) = self.new_column();
            let _ = write!(text, ", {} {definition}", column.name);
            columns.push(column);
        }
        if self.random.one_in(4) {
            let _ = write!(text, ", KEY by_first ({}(5))", columns[0].name);
            if columns[0].holds != Type::Text {
                text.truncate(text.len() - "(5))".len());
                text.push(')');
            }
        }
        (text, columns)
    }

    fn new_column(&mut self) -> (Column, &'static str) {
        let number = self.number();
        let (holds, definition) = *self.random.pick(&[
            (Type::Int, "INT"),
            (Type::Int, "BIGINT DEFAULT 7"),
            (Type::Text, "VARCHAR(60)"),
            (Type::Text, "VARCHAR(60) CHARACTER SET latin1 COLLATE latin1_general_ci"),
            (Type::Text, "TEXT CHARACTER SET utf8mb4"),
            (Type::Text, "VARCHAR(80) CHARACTER SET utf8 NOT NULL DEFAULT 'of storefront.t1'"),
            (Type::Double, "DOUBLE"),
            (Type::Time, "DATETIME"),
        ]);
        let nullable = !definition.contains("NOT NULL");
        let holds = if nullable { holds } else { Type::Text };
        (Column { name: format!("c{number}"), holds }, definition)
    }

    pub(super) fn create_table(&mut self, database: &'static str, audit: bool) {
        let number = self.number();
        let name = match (audit, self.random.below(4)) {
            (true, _) => format!("audit_{number}"),
            (_, 0) => format!("t {number}-$"),
            _ => format!("t{number}"),
        };
        self.create_named(database, &name, false);
    }

    pub(super) fn create_named(&mut self, database: &'static str, name: &str, pinned: bool) {
        let (definition, columns) = self.definition();
        let plain = !pinned && !self.gtid && self.random.one_in(6);
        let mut options = if plain { " ENGINE=MyISAM" } else { " ENGINE=InnoDB" }.to_owned();
        options += *self.random.pick(&[
            "",
            " DEFAULT CHARSET=utf8mb4",
            " COMMENT='storefront.t1'",
            " DEFAULT CHARACTER SET latin1",
        ]);
        if self.random.one_in(6) && !pinned {
            options += " PARTITION BY HASH (id) PARTITIONS 3";
        }
        let full = self.name(database, name);
        let exists = if self.random.one_in(4) { "IF NOT EXISTS " } else { "" };
        self.say(&format!("CREATE TABLE {exists}{full} ({definition}){options}"));
        self.tables.push(Table { database, name: name.to_owned(), columns, pinned, plain });
    }

    pub(super) fn create(&mut self) {
        if self.random.one_in(2) {
            let database = *self.random.pick(&["storefront", "storefront", "hr"]);
            let audit = self.random.one_in(5) && database == "storefront";
            return self.create_table(database, audit);
        }
        let like = self.table(None);
        let selected = self.tables[like].is_selected();
        if self.tables[like].pinned {
            return self.dml();
        }
        let database = if selected { "storefront" } else { "hr" };
        let number = self.number();
        let name = format!("copy{number}");
        let (old, new) = (self.named(like), self.name(database, &name));
        let table = Table { database, name, pinned: false, ..self.tables[like].clone() };
        let as_select = self.random.one_in(2) && (!self.gtid || self.version == Version::Mysql97);
        if as_select {
            let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            let create = if self.version.is_mariadb() { "CREATE OR REPLACE TABLE" } else { "CREATE TABLE" };
            self.script += &format!(
                "{create} {new} (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB AS SELECT id, {} FROM {old};\n",
                names.join(", ")
            );
            self.tables.push(Table { plain: false, ..table });
        } else {
            self.say(&format!("CREATE TABLE {new} LIKE {old}"));
            self.tables.push(table);
        }
    }

    fn free_table(&mut self) -> Option<usize> {
        let free: Vec<usize> = (0..self.tables.len()).filter(|&index| self.tables[index].is_free()).collect();
        (free.len() > 6).then(|| *self.random.pick(&free))
    }

    pub(super) fn alter(&mut self) {
        let Some(mut index) = self.free_table() else { return self.create() };
        if self.random.one_in(5) {
            let customers = |table: &Table| table.database == "crm_main" && table.name == "customers";
            index = self.tables.iter().position(customers).expect("it is never dropped");
        }
        let name = self.named(index);
        let number = self.number();
        match self.random.below(10) {
            0 | 1 => {
                let (column, definition) = self.new_column();
                let place = *self.random.pick(&["", " FIRST", " AFTER id"]);
                self.say(&format!("ALTER TABLE {name} ADD COLUMN {} {definition}{place}", column.name));
                self.tables[index].columns.push(column);
            }
            2 if self.tables[index].columns.len() > 2 => {
                let column = self.tables[index].columns.pop().expect("there are more than two").name;
                self.say(&format!("ALTER TABLE {name} DROP COLUMN {column}"));
            }
            3 => {
                let column = self.tables[index].columns[0].clone();
                let length = if column.holds == Type::Text { "(6)" } else { "" };
                self.say(&format!("CREATE INDEX i{number} ON {name} ({}{length})", column.name));
                if self.random.one_in(2) {
                    self.say(&format!("DROP INDEX i{number} ON {name}"));
                }
            }
            8 => {
                let (column, definition) = self.new_column();
                self.say(&format!(
                    "ALTER TABLE {name} ADD COLUMN {} {definition}, ADD KEY m{number} (id), COMMENT 'two at once', ORDER BY id",
                    column.name
                ));
                self.tables[index].columns.push(column);
            }
            4 => self.say(&format!("ALTER TABLE {name} COMMENT = 'altered, as hr.t1'")),
            5 => self.say(&format!("ALTER TABLE {name} CONVERT TO CHARACTER SET utf8mb4")),
            6 => self.say(&format!("TRUNCATE TABLE {name}")),
            7 => {
                self.say(&format!("ALTER TABLE {name} ADD KEY k{number} (id), AUTO_INCREMENT = {}", 1000 + number * 50))
            }
            _ => {
                let column = self.tables[index].columns[0].clone();
                let new = format!("r{number}");
                let of = match column.holds {
                    Type::Int => "BIGINT",
                    Type::Text => "VARCHAR(90) CHARACTER SET utf8mb4",
                    Type::Double => "DOUBLE",
                    Type::Time => "DATETIME",
                };
                self.say(&format!("ALTER TABLE {name} CHANGE {} {new} {of}", column.name));
                self.tables[index].columns[0].name = new;
            }
        }
    }

    /// Inside the selection, and inside of what is not selected; one statement may do both.
    pub(super) fn rename(&mut self) {
        let Some(first) = self.free_table() else { return self.create() };
        let Some(second) = self.free_table() else { return self.create() };
        let number = self.number();
        let same = |one: &Table, two: &Table| one.database == two.database && one.is_selected() == two.is_selected();
        if first != second && same(&self.tables[first], &self.tables[second]) && self.random.one_in(2) {
            let (one, two) = (self.tables[first].name.clone(), self.tables[second].name.clone());
            let database = self.tables[first].database;
            let between = format!("{}swap_{number}", if one.starts_with("audit_") { "audit_" } else { "" });
            let pairs = [(&one, &between), (&two, &one), (&between, &two)];
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(old, new)| format!("{} TO {}", self.name(database, old), self.name(database, new)))
                .collect();
            self.say(&format!("RENAME TABLE {}", pairs.join(", ")));
            self.tables[first].name = two;
            self.tables[second].name = one;
            return;
        }
        let mut pairs = Vec::new();
        let indexes = if first == second { vec![first] } else { vec![first, second] };
        for (part, &index) in indexes.iter().enumerate() {
            let table = self.tables[index].clone();
            let prefix = if table.name.starts_with("audit_") { "audit_" } else { "" };
            let new = format!("{prefix}n{number}_{part}");
            let old = self.name(table.database, &table.name);
            pairs.push((old, self.name(table.database, &new)));
            self.tables[index].name = new;
        }
        if self.random.one_in(3) {
            for (old, new) in &pairs {
                let to = *self.random.pick(&["TO ", "AS ", ""]);
                self.script += &format!("ALTER TABLE {old} RENAME {to}{new};\n");
            }
            return;
        }
        let pairs: Vec<String> = pairs.iter().map(|(old, new)| format!("{old} TO {new}")).collect();
        self.say(&format!("RENAME TABLE {}", pairs.join(", ")));
    }

    pub(super) fn drop(&mut self) {
        let mut names = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            if let Some(index) = self.free_table() {
                names.push(self.named(index));
                self.tables.swap_remove(index);
            }
        }
        if names.is_empty() {
            return self.create();
        }
        let exists = if self.random.one_in(3) {
            names.push(self.name("storefront", "never_was"));
            "IF EXISTS "
        } else {
            ""
        };
        self.say(&format!("DROP TABLE {exists}{}", names.join(", ")));
    }

    /// Over tables that are pinned.
    pub(super) fn view(&mut self) {
        let number = self.number();
        if !self.views.is_empty() && self.random.one_in(3) {
            let name = self.random.pick(&self.views).clone();
            let full = self.name("storefront", &name);
            let verb = *self.random.pick(&["CREATE OR REPLACE", "ALTER"]);
            let parent = self.name("storefront", "parent");
            return self.say(&format!("{verb} VIEW {full} AS SELECT id, {number} AS n FROM {parent}"));
        }
        let name = format!("v{number}");
        let full = self.name("storefront", &name);
        let (base, parent) = (self.name("storefront", "base"), self.name("storefront", "parent"));
        let query = match self.random.below(4) {
            0 => format!("SELECT b.id, p.id AS other FROM {base} AS b LEFT JOIN {parent} p ON b.id = p.id"),
            1 => format!("SELECT id FROM {base} UNION ALL SELECT id FROM {parent}"),
            2 if !self.views.is_empty() => {
                let other = self.random.pick(&self.views).clone();
                let seen = self.name("storefront", &other);
                format!("SELECT seen.id FROM {base} AS x JOIN {seen} AS seen ON x.id = seen.id")
            }
            _ => "SELECT storefront.base.* FROM storefront.base WHERE id > (SELECT MIN(id) FROM storefront.parent)"
                .to_owned(),
        };
        if self.random.one_in(4) {
            let gone = self.name("storefront", &format!("stays_{name}"));
            self.say(&format!("CREATE VIEW {gone} AS {query};\nDROP VIEW {gone}"));
        } else {
            self.say(&format!("CREATE VIEW {full} AS {query}"));
            self.views.push(name);
        }
    }
}
