//! Comparison of what two servers hold: every table's definition and full content, every view, routine, trigger and
//! event, under a mapping of names.

use super::fleet::Version;
use super::server::Server;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Databases of the server itself.
const OWN_DATABASES: &str = "'mysql','information_schema','performance_schema','sys'";

/// Values longer than this are compared by length and hash.
const INLINE_MAX: usize = 256;

/// Which objects of the source have to be at the destination, and under which names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapping {
    /// Whole databases: name at the source, name at the destination.
    pub(crate) databases: Vec<(String, String)>,
    /// Single tables: database and name at the source, database and name at the destination.
    pub(crate) tables: Vec<[String; 4]>,
    /// Beginnings of `database.table` names that are excluded.
    pub(crate) excluded: Vec<String>,
    /// Everything, under its own name, with triggers and events.
    pub(crate) everything: bool,
    /// Triggers too.
    pub(crate) triggers: bool,
}

impl Mapping {
    /// Everything under its own name.
    pub(crate) fn identity() -> Mapping {
        Mapping { everything: true, ..Mapping::default() }
    }

    /// The destination's name of a source's object.
    fn map(&self, database: &str, name: &str) -> Option<(String, String)> {
        if self.everything {
            return Some((database.to_owned(), name.to_owned()));
        }
        if self.excluded.iter().any(|excluded| format!("{database}.{name}").starts_with(excluded)) {
            return None;
        }
        let table = self.tables.iter().find(|[from, table, ..]| from == database && table == name);
        if let Some([_, _, database, name]) = table {
            return Some((database.clone(), name.clone()));
        }
        let (_, mapped) = self.databases.iter().find(|(from, _)| from == database)?;
        Some((mapped.clone(), name.to_owned()))
    }

    /// A definition's text under the mapped names, as far as it is qualified and quoted (SHOW CREATE always is).
    fn map_text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for [database, table, to_database, to_table] in &self.tables {
            text = text
                .replace(&format!("`{database}`.`{table}`"), &format!("{}.{}", quote(to_database), quote(to_table)));
        }
        for (database, mapped) in &self.databases {
            text = text.replace(&format!("`{database}`."), &format!("{}.", quote(mapped)));
        }
        text
    }
}

/// What a server holds.
#[derive(Debug, Default)]
struct Picture {
    objects: BTreeMap<(Kind, String, String), Object>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Table,
    View,
    Procedure,
    Function,
    Trigger,
    Event,
    Sequence,
}

#[derive(Debug, Default)]
struct Object {
    definition: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Compares the two servers; the result says what differs, one finding a line, and is empty when nothing does.
pub(crate) async fn differences(source: &Server, destination: &Server, mapping: &Mapping) -> Vec<String> {
    differences_of(&[(source, mapping)], destination).await
}

/// The same for a destination with several sources. A table that more than one of them leads to has the rows of all.
pub(crate) async fn differences_of(sources: &[(&Server, &Mapping)], destination: &Server) -> Vec<String> {
    let (mut expected, mut found) = (Picture::default(), take(destination).await);
    for (source, mapping) in sources {
        expect(&mut expected, take(source).await, mapping);
    }
    if sources.len() > 1 {
        // The order of rows that come from several servers is no server's.
        for object in expected.objects.values_mut().chain(found.objects.values_mut()) {
            object.rows.sort();
        }
    }
    let everything = sources.iter().all(|(_, mapping)| mapping.everything);
    let mut findings = Vec::new();
    let keys: BTreeSet<_> = expected.objects.keys().chain(found.objects.keys()).collect();
    for key @ (kind, database, name) in keys {
        let label = format!("{kind:?} {database}.{name}");
        match (expected.objects.get(key), found.objects.get(key)) {
            (Some(expected), Some(found)) => compare(&label, expected, found, &mut findings),
            (Some(_), None) => findings.push(format!("{label} is missing at the destination")),
            // What the source dropped by an unsupported statement stays.
            (None, _) if !everything && name.starts_with("stays_") => {}
            (None, _) => findings.push(format!("{label} must not be at the destination")),
        }
    }
    findings
}

/// Adds what of a source has to be at the destination.
fn expect(expected: &mut Picture, source: Picture, mapping: &Mapping) {
    for ((kind, database, name), mut object) in source.objects {
        let copied = mapping.everything
            || (mapping.triggers && kind == Kind::Trigger)
            || !matches!(kind, Kind::Trigger | Kind::Event | Kind::Sequence);
        if let Some((database, mapped)) = mapping.map(&database, &name).filter(|_| copied) {
            object.definition = mapping.map_text(&object.definition);
            if mapped != name {
                // The statement's own object is not qualified.
                object.definition = object.definition.replacen(&quote(&name), &quote(&mapped), 1);
            }
            match expected.objects.entry((kind, database, mapped)) {
                Entry::Vacant(place) => drop(place.insert(object)),
                Entry::Occupied(mut other) => other.get_mut().rows.append(&mut object.rows),
            }
        }
    }
}

fn compare(label: &str, expected: &Object, found: &Object, findings: &mut Vec<String>) {
    if expected.definition != found.definition {
        let lines = expected.definition.split("\\n").zip(found.definition.split("\\n")).find(|(a, b)| a != b);
        findings.push(match lines {
            Some((expected, found)) => {
                format!("{label}: the definition differs: expected {expected:?}, found {found:?}")
            }
            None => format!(
                "{label}: the definition differs: expected {:?}, found {:?}",
                expected.definition, found.definition
            ),
        });
    }
    if expected.rows == found.rows {
        return;
    }
    if expected.columns != found.columns {
        findings.push(format!("{label}: columns differ: expected {:?}, found {:?}", expected.columns, found.columns));
        return;
    }
    let changed = expected.rows.iter().zip(&found.rows).enumerate().find(|(_, (expected, found))| expected != found);
    let (expected_count, found_count) = (expected.rows.len(), found.rows.len());
    findings.push(match changed {
        Some((number, (expected_row, found_row))) => {
            let cells = expected.columns.iter().zip(expected_row.iter().zip(found_row));
            let cells: Vec<_> = cells.filter(|(_, (a, b))| a != b).map(|(name, (a, b))| format!("{name}: expected {a}, found {b}")).collect();
            format!("{label}: {expected_count} rows expected, {found_count} found; first difference in row {number}: {} (row: {expected_row:?})", cells.join("; "))
        }
        None => format!("{label}: {expected_count} rows expected, {found_count} found"),
    });
}

async fn take(server: &Server) -> Picture {
    let mut picture = Picture::default();
    let listing = format!(
        "SELECT table_type, table_schema, table_name FROM information_schema.tables WHERE table_schema NOT IN ({OWN_DATABASES});
         SELECT routine_type, routine_schema, routine_name FROM information_schema.routines WHERE routine_schema NOT IN ({OWN_DATABASES});
         SELECT 'TRIGGER', trigger_schema, trigger_name FROM information_schema.triggers WHERE trigger_schema NOT IN ({OWN_DATABASES});
         SELECT 'EVENT', event_schema, event_name FROM information_schema.events WHERE event_schema NOT IN ({OWN_DATABASES});"
    );
    for row in server.script(&listing).await {
        let [kind, database, name] = &row[..] else { panic!("three columns expected: {row:?}") };
        let kind = match kind.as_str() {
            "BASE TABLE" | "SYSTEM VERSIONED" => Kind::Table,
            "VIEW" => Kind::View,
            "PROCEDURE" => Kind::Procedure,
            "FUNCTION" => Kind::Function,
            "TRIGGER" => Kind::Trigger,
            "EVENT" => Kind::Event,
            "SEQUENCE" => Kind::Sequence,
            other => panic!("what is a {other}?"),
        };
        picture.objects.insert((kind, database.clone(), name.clone()), Object::default());
    }
    let mut columns: BTreeMap<(String, String), Vec<(String, String)>> = BTreeMap::new();
    let listing = format!(
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns WHERE table_schema NOT IN ({OWN_DATABASES}) ORDER BY 1, 2, ordinal_position"
    );
    for row in server.script(&listing).await {
        let [database, table, column, data_type] = &row[..] else { panic!("four columns expected: {row:?}") };
        columns.entry((database.clone(), table.clone())).or_default().push((column.clone(), data_type.to_lowercase()));
    }
    let mut script = String::new();
    for ((kind, database, name), object) in &mut picture.objects {
        let word = format!("{kind:?}").to_uppercase();
        let qualified = format!("{}.{}", quote(database), quote(name));
        script += &format!(
            "SELECT '#', '{word}', {}, {};\nSHOW CREATE {word} {qualified};\n",
            literal(database),
            literal(name)
        );
        if *kind == Kind::Table {
            let columns = columns.remove(&(database.clone(), name.clone())).unwrap_or_default();
            let values: Vec<_> =
                columns.iter().map(|(column, data_type)| shown(column, data_type, server.version())).collect();
            let order: Vec<_> = (1..=values.len()).map(|number| number.to_string()).collect();
            script += &format!("SELECT {} FROM {qualified} ORDER BY {};\n", values.join(", "), order.join(", "));
            object.columns = columns.into_iter().map(|(column, _)| column).collect();
        }
    }
    let mut current: Option<&mut Object> = None;
    let mut parts = 0;
    // The objects come in the order of the map, each begun by a line of its own.
    let mut objects = picture.objects.iter_mut();
    for row in server.script(&script).await {
        if row[0] == "#" && row.len() == 4 {
            current = objects.next().map(|(_, object)| object);
            parts = 0;
            continue;
        }
        let object = current.as_deref_mut().expect("a line of its own comes first");
        parts += 1;
        if parts == 1 {
            object.definition = definition(&row);
        } else {
            object.rows.push(row);
        }
    }
    picture
}

/// An expression that shows a column's value as text that has neither tabs nor newlines; NULL shows as the word.
fn shown(column: &str, data_type: &str, version: Version) -> String {
    let column = quote(column);
    match data_type {
        "bit" => format!("BIN({column} + 0)"),
        "vector" if version == Version::Mysql97 => format!("HEX(FROM_VECTOR({column}))"),
        "json" => long(&format!("CAST({column} AS CHAR)")),
        "char" | "varchar" | "binary" | "varbinary" | "tinytext" | "text" | "mediumtext" | "longtext" | "tinyblob"
        | "blob" | "mediumblob" | "longblob" | "enum" | "set" => long(&column),
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
        | "geometrycollection" | "geomcollection" => long(&column),
        _ => format!("CAST({column} AS CHAR)"),
    }
}

fn long(value: &str) -> String {
    format!(
        "IF(LENGTH({value}) > {INLINE_MAX}, CONCAT(LENGTH({value}), ' bytes, SHA-2 ', SHA2({value}, 256)), HEX({value}))"
    )
}

/// SHOW CREATE's columns without what differs for good reasons.
fn definition(row: &[String]) -> String {
    let text = row[1..].join(" | ");
    // The counter also counts what was rolled back.
    match text.split_once(" AUTO_INCREMENT=") {
        Some((before, after)) => format!("{before}{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit())),
        None => text,
    }
}

/// A name in backquotes.
pub(crate) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
