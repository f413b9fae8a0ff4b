//! What a statement needs before it runs, made up from what a server complains of.

use std::collections::{BTreeMap, BTreeSet};

use replproxy::ddl::{ObjectType, Statement};

use super::names::{is_system, quoted};

/// A made-up table, view or the like that a statement needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Stub {
    pub(super) columns: BTreeSet<String>,
    pub(super) keys: BTreeSet<String>,
    pub(super) column_type: Option<&'static str>,
    pub(super) view: bool,
    pub(super) sequence: bool,
    pub(super) partitioned: bool,
    pub(super) temporary: bool,
}

/// What a statement needs before it runs.
#[derive(Clone, Debug, Default)]
pub(super) struct SetUp<'a> {
    pub(super) databases: BTreeSet<String>,
    /// Statements from the same file, under their old names.
    pub(super) statements: Vec<&'a str>,
    pub(super) stubs: BTreeMap<(String, String), Stub>,
    /// Functions by database and name, and how many parameters they have.
    pub(super) functions: BTreeMap<(String, String), usize>,
    /// Triggers and events that the statement drops or changes.
    pub(super) named: BTreeSet<Named>,
}

/// A made-up trigger or event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    trigger: bool,
    pub(super) database: String,
    name: String,
}

impl Named {
    /// The table of every made-up trigger.
    pub(super) const TABLE: &'static str = "zz_triggered";

    /// The trigger or event that a statement names first.
    pub(super) fn first_of(statement: &Statement) -> Option<Self> {
        let object = statement.objects.first()?;
        let trigger = object.object_type == ObjectType::Trigger;
        (trigger || object.object_type == ObjectType::Event).then(|| Self {
            trigger,
            database: object.database.clone(),
            name: object.name.clone(),
        })
    }

    /// What makes it in a database, a trigger on this table.
    pub(super) fn statements(&self, database: &str, table: &str) -> Vec<String> {
        let (database, name, table) = (quoted(database), quoted(&self.name), quoted(table));
        if self.trigger {
            vec![
                format!("CREATE TABLE IF NOT EXISTS {database}.{table} (a INT)"),
                format!(
                    "CREATE TRIGGER {database}.{name} BEFORE INSERT ON {database}.{table} FOR EACH ROW SET @zz = 1"
                ),
            ]
        } else {
            vec![format!("CREATE EVENT {database}.{name} ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO SET @zz = 1")]
        }
    }
}

/// Takes made-up tables in place of those of the file, which do not fit.
pub(super) fn make_up(set_up: &mut SetUp<'_>, statement: &Statement) -> bool {
    if set_up.statements.is_empty() {
        return false;
    }
    set_up.statements.clear();
    // What the statement itself makes is not there before.
    let skipped = usize::from(statement.kind.0 == "create_table");
    let tables = statement.objects.iter().skip(skipped).filter(|object| object.object_type == ObjectType::Table);
    for table in tables.filter(|table| !is_system(&table.database)) {
        let columns = BTreeSet::from([format!("zz{}", set_up.stubs.len())]);
        let key = (table.database.clone(), table.name.clone());
        set_up.stubs.entry(key).or_insert(Stub { columns, ..Stub::default() });
    }
    true
}

/// A stored function with as many parameters.
pub(super) fn function(database: &str, name: &str, parameters: usize) -> String {
    let list: Vec<String> = (0..parameters).map(|number| format!("p{number} INT")).collect();
    format!(
        "CREATE FUNCTION {}.{}({}) RETURNS INT DETERMINISTIC RETURN 1",
        quoted(database),
        quoted(name),
        list.join(", ")
    )
}

/// Gives the columns of made-up tables another type.
pub(super) fn set_type(set_up: &mut SetUp<'_>, column_type: &'static str) -> bool {
    let mut changed = false;
    for stub in set_up.stubs.values_mut() {
        changed |= stub.column_type.replace(column_type) != Some(column_type);
    }
    changed
}

/// What a message complains of: its first word in quotes.
pub(super) fn complained_of(message: &str) -> &str {
    let message = message.trim_start_matches("Can't ");
    let quote = if message.find('`') < message.find('\'') && message.contains('`') || !message.contains('\'') {
        '`'
    } else {
        '\''
    };
    message.split(quote).nth(1).unwrap_or_default()
}
