//! The DML of a random history, in the many ways that it can be written.

use super::{History, Table, Type, filled};
use crate::support::fleet::Version;

/// Names that a statement gives to tables for itself: among them what the route's tables are called at the destination.
const ALIASES: [&str; 5] = ["a", "clients", "shop_cn", "storefront", "customers"];

impl History {
    fn assignments(&mut self, target: usize, qualifier: &str) -> String {
        let columns = self.tables[target].columns.clone();
        let mut list = Vec::new();
        let count = 1 + self.random.below(2);
        for _ in 0..count {
            let column = self.random.pick(&columns).clone();
            let name = self.identifier(&column.name);
            list.push(format!("{qualifier}{name} = {}", self.value_for(target, column.holds)));
        }
        list.join(", ")
    }

    pub(super) fn dml(&mut self) {
        let target = self.table(None);
        let statement = match self.random.below(13) {
            0..=3 => self.insert(target),
            4 => {
                let name = self.named(target);
                let assignments = self.assignments(target, "");
                let modulus = 2 + self.random.below(3);
                format!("UPDATE {name} SET {assignments} WHERE id % {modulus} = 1 ORDER BY id LIMIT 5")
            }
            5 => {
                let name = self.named(target);
                format!("DELETE FROM {name} WHERE id % 7 = {} ORDER BY id LIMIT 3", self.random.below(7))
            }
            6 => self.insert_select(target),
            7 => self.several(target, true),
            8 => self.several(target, false),
            9 => self.with_aliases(target),
            10 => self.upsert(target),
            11 => self.prepared(target),
            _ => {
                let insert = self.insert(target);
                format!("REPLACE{}", &insert["INSERT".len()..])
            }
        };
        self.say(&statement);
    }

    fn insert(&mut self, target: usize) -> String {
        let name = self.named(target);
        let columns = self.tables[target].columns.clone();
        let count = 1 + self.random.below(columns.len() as u64) as usize;
        let columns = &columns[..count];
        let names: Vec<String> = columns.iter().map(|column| self.identifier(&column.name)).collect();
        let rows: Vec<String> = (0..1 + self.random.below(3))
            .map(|_| {
                let values: Vec<String> = columns.iter().map(|column| self.value_for(target, column.holds)).collect();
                format!("({})", values.join(", "))
            })
            .collect();
        if self.tables[target].name == "child" {
            let parent = self.name("storefront", "parent");
            return format!("INSERT INTO {name} (c_int, parent) SELECT 1, MIN(id) FROM {parent}");
        }
        format!("INSERT INTO {name} ({}) VALUES {}", names.join(", "), rows.join(", "))
    }

    fn insert_select(&mut self, target: usize) -> String {
        let from = self.source_for(target);
        let (name, source) = (self.named(target), self.named(from));
        let pair = |table: &Table, holds: Type| {
            table.columns.iter().find(|column| column.holds == holds).map(|column| column.name.clone())
        };
        for holds in [Type::Text, Type::Int, Type::Double, Type::Time] {
            if self.tables[target].name != "child"
                && let Some(to) = pair(&self.tables[target], holds)
                && let Some(of) = pair(&self.tables[from], holds)
            {
                return format!(
                    "INSERT INTO {name} ({to}) SELECT {} FROM {source} ORDER BY id LIMIT 4",
                    filled(&of, holds)
                );
            }
        }
        self.insert(target)
    }

    /// A change of two tables in one statement.
    fn several(&mut self, first: usize, update: bool) -> String {
        let second = self.source_for(first);
        if first == second || self.tables[first].plain || self.tables[second].plain {
            return self.insert(first);
        }
        let (one, two) = (self.named(first), self.named(second));
        if update {
            // The order of a join is each server's own.
            let (left, right) = (self.assignments(first, "a."), self.assignments(second, "b."));
            let (left, right) = (left.replace("RAND()", "0.5"), right.replace("RAND()", "0.5"));
            return format!("UPDATE {one} AS a JOIN {two} b ON a.id = b.id SET {left}, {right} WHERE a.id < 9");
        }
        match self.random.below(3) {
            0 => format!("DELETE a, b FROM {one} AS a JOIN {two} AS b ON a.id = b.id WHERE a.id % 5 = 2"),
            1 => format!("DELETE FROM a USING {one} AS a JOIN {two} AS b ON a.id = b.id WHERE a.id % 5 = 3"),
            _ => {
                let (one, two) = (self.tables[first].clone(), self.tables[second].clone());
                let (one, two) =
                    (format!("`{}`.`{}`", one.database, one.name), format!("{}.`{}`", two.database, two.name));
                format!("DELETE {one} FROM {one}, {two} WHERE {one}.id = {two}.id AND {two}.id % 6 = 4")
            }
        }
    }

    /// A change through aliases, qualified columns, derived tables and common table expressions.
    fn with_aliases(&mut self, target: usize) -> String {
        let from = self.source_for(target);
        let (table, other) = (self.tables[target].clone(), self.tables[from].clone());
        let (name, source) = (self.named(target), self.named(from));
        let alias = *self.random.pick(&ALIASES);
        let column = self.random.pick(&table.columns).clone();
        let value = self.value_for(target, column.holds).replace("RAND()", "0.5");
        let full = format!("`{}`.`{}`", table.database, table.name);
        match self.random.below(7) {
            0 => format!("UPDATE {name} AS {alias} SET {alias}.{} = {value} WHERE {alias}.id % 3 = 1", column.name),
            1 => {
                format!("UPDATE {full} SET {full}.{} = {value} WHERE {full}.id % 4 = 1 ORDER BY {full}.id", column.name)
            }
            2 if from != target => format!(
                "UPDATE {name} AS {alias} SET {} = {value} WHERE EXISTS (SELECT 1 FROM {source} AS inside WHERE inside.id = {alias}.id + 1)",
                column.name
            ),
            3 if from != target && !table.plain && !other.plain => format!(
                "UPDATE {name} AS {alias} JOIN (SELECT id, COUNT(*) AS n FROM {source} GROUP BY id) AS counted USING (id) SET {alias}.{} = {value}",
                column.name
            ),
            4 if from != target => {
                format!(
                    "DELETE FROM {name} WHERE id IN (SELECT id + 3 FROM {source} AS {alias} WHERE {alias}.id % 9 = 4)"
                )
            }
            5 if from != target && !matches!(self.version, Version::Mysql56 | Version::Mysql57) => {
                // A common table expression hides the table of its name.
                let hidden = *self.random.pick(&["customers", "base", "picked"]);
                format!(
                    "UPDATE {name} SET {} = {value} WHERE id IN (WITH {hidden} AS (SELECT id FROM {source}) SELECT {hidden}.id FROM {hidden})",
                    column.name
                )
            }
            6 if table.name != "child" => {
                format!("INSERT INTO {name} SET {} = {value}", column.name)
            }
            _ => self.insert(target),
        }
    }

    /// INSERT … ON DUPLICATE KEY UPDATE.
    fn upsert(&mut self, target: usize) -> String {
        let table = self.tables[target].clone();
        if table.name == "child" {
            return self.insert(target);
        }
        let column = self.random.pick(&table.columns).clone();
        let (value, other) = (self.value_for(target, column.holds), self.value_for(target, column.holds));
        let (name, of) = (self.named(target), &column.name);
        let id = self.random.below(12) + 1;
        let update = match self.random.below(3) {
            0 => format!("{of} = VALUES({of})"),
            1 => format!("`{}`.`{}`.{of} = {other}", table.database, table.name),
            _ => format!("{of} = {other}"),
        };
        format!("INSERT INTO {name} (id, {of}) VALUES ({id}, {value}) ON DUPLICATE KEY UPDATE {update}")
    }

    /// By a prepared statement, which the log holds with its values.
    fn prepared(&mut self, target: usize) -> String {
        let table: &Table = &self.tables[target];
        let text = table.columns.iter().find(|column| column.holds == Type::Text).map(|column| column.name.clone());
        let (Some(column), false) = (text, table.name == "child") else { return self.insert(target) };
        let name = self.named(target).replace('\'', "''");
        let number = self.number();
        format!(
            "PREPARE p{number} FROM 'INSERT INTO {name} ({column}) VALUES (?), (?)';\nEXECUTE p{number} USING @word, @number;\nDEALLOCATE PREPARE p{number}"
        )
    }

    /// A transaction of megabytes on both sides.
    pub(super) fn large(&mut self) {
        self.script += "BEGIN;\n";
        for _ in 0..3 + self.random.below(6) {
            let table = *self.random.pick(&["large", "audit_large"]);
            let length = *self.random.pick(&[100, 70_000, 1_500_000, 4_000_000]);
            self.say(&format!("INSERT INTO storefront.{table} (v) VALUES (REPEAT('0123456789', {}))", length / 10));
        }
        self.script += "COMMIT;\n";
    }
}
