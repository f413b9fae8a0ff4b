//! The names that gh-ost and pt-online-schema-change give to the tables beside the one that they change.
//!
//! gh-ost copies `t` to `_t_gho`, keeps its log in `_t_ghc` and its own place in `_t_ghk`, and moves `t` to `_t_del`
//! (`_t_20260131235959_del` where it is told to stamp the name, `_t_rev_del` where it takes a change back); a longer name than 64
//! bytes loses the end of the table's name. pt-online-schema-change copies to `_t_new` and moves to `_t_old`, with more underscores in
//! front while a name is taken, and cuts what is longer than 64 off at the end. Its triggers are `pt_osc_DATABASE_TABLE_ins`, `_upd`
//! and `_del`, what is no word character as `_`, the part before the last word cut after 60.

use std::borrow::Cow;

use super::pattern::fold;
use super::{DecidedBy, Decision, MAX_NAME_CHARS, ObjectRule, RuleSet, Selection};

pub(super) mod excluded;

/// What a tool uses a table for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShadowRole {
    /// The copy with the new definition, which takes the table's name at the end.
    Copy,
    /// The tool's own log.
    Log,
    /// The table as it was, moved out of the way at the end.
    Old,
}

/// A table beside one that a table rule selects, and of which no rule speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow<'a> {
    /// The name of the table that it belongs to.
    pub table: Cow<'a, str>,
    /// What it is used for.
    pub role: ShadowRole,
    /// The table's new database.
    pub database: String,
    /// The shadow's own name at the replica: as its table is renamed, so is the shadow.
    pub name: String,
}

const SUFFIXES: [(&str, ShadowRole); 6] = [
    ("_gho", ShadowRole::Copy),
    ("_new", ShadowRole::Copy),
    ("_ghc", ShadowRole::Log),
    ("_ghk", ShadowRole::Log),
    ("_del", ShadowRole::Old),
    ("_old", ShadowRole::Old),
];

/// Digits in the time that gh-ost puts into the name of the old table.
const STAMP_DIGITS: usize = 14;

/// The longest beginning of a trigger's name that pt-online-schema-change makes, before `_ins`.
const TRIGGER_PREFIX_MAX: usize = 60;

/// The table that a name in this database shadows, if a table rule selects that.
pub(super) fn of<'a>(rules: &RuleSet, database: &str, name: &'a str) -> Option<Shadow<'a>> {
    match find(rules, database, name)? {
        Found::Of(shadow) => Some(shadow),
        Found::OfOneOf(_) => None,
    }
}

/// The tables or rules of which a name in this database may be the shadow, where that cannot be told.
pub(super) fn doubt(rules: &RuleSet, database: &str, name: &str) -> Option<Vec<String>> {
    match find(rules, database, name)? {
        Found::Of(_) => None,
        Found::OfOneOf(several) => Some(several),
    }
}

/// Whose shadow a name is.
enum Found<'a> {
    Of(Shadow<'a>),
    /// Tables and rules, as messages show them.
    OfOneOf(Vec<String>),
}

/// Whether no server has a table of this name. A text may hold any, and what follows looks at every underscore that a name begins with.
fn is_too_long(name: &str) -> bool {
    name.chars().nth(MAX_NAME_CHARS).is_some()
}

/// All that a name can be the shadow of: a name that is as long as a name can be may have been cut off, also where it reads as one
/// that was not.
fn find<'a>(rules: &RuleSet, database: &str, name: &'a str) -> Option<Found<'a>> {
    if is_too_long(name) {
        return None;
    }
    let mut found = whole(rules, database, name);
    let mut several = cut(rules, database, name, &mut found);
    if !found.is_empty() || !several.is_empty() {
        several.extend(excluded::others(rules, database, name));
    }
    match (found.len(), several.is_empty()) {
        (0, true) => None,
        (1, true) => found.pop().map(Found::Of),
        _ => {
            several.extend(found.into_iter().map(|shadow| shadow.table.into_owned()));
            several.sort();
            several.dedup();
            Some(Found::OfOneOf(several))
        }
    }
}

/// Readings of a name that holds the whole name of its table, one for each entry that selects the table.
fn whole<'a>(rules: &RuleSet, database: &str, name: &'a str) -> Vec<Shadow<'a>> {
    let mut found = Vec::new();
    let Some(inner) = name.strip_prefix('_') else { return found };
    let Some((suffix, role)) = SUFFIXES.into_iter().find(|(suffix, _)| inner.ends_with(suffix)) else { return found };
    let body = &inner[..inner.len() - suffix.len()];
    let marked = marked(body).filter(|_| suffix == "_del");
    let mut entries = Vec::new();
    for body in [Some(body), marked].into_iter().flatten() {
        // Only pt-online-schema-change puts more underscores in front. What may be part of the table's own name comes first.
        let underscores = body.len() - body.trim_start_matches('_').len();
        for more in 0..=(if is_gh_ost(suffix) { 0 } else { underscores }) {
            let table = &body[more..];
            let Some(Changed { entry, database, name: new }) = changed_table(rules, database, table) else { continue };
            if !entries.contains(&entry) {
                let (front, back) = (&name[..1 + more], &name[1 + more + table.len()..]);
                found.push(Shadow { table: table.into(), role, database, name: fitted(front, &new, back) });
            }
            // A followed table is an entry of its own.
            entries.extend(entry.is_some().then_some(entry));
        }
    }
    found
}

/// A way to read a name that was cut off: its first and its last part, and how much of it is of the table's name.
struct Reading<'a> {
    front: &'a str,
    beginning: &'a str,
    back: &'a str,
    role: ShadowRole,
    /// The whole of what follows a table's name, where the end of that was cut off and not the table's name.
    suffix: &'static str,
}

impl Reading<'_> {
    /// Whether the tools make the name out of this table's name.
    fn is_of(&self, table: &str, folded: bool) -> bool {
        let same = |one: &str, other: &str| one == other || (folded && fold(one) == fold(other));
        let full = self.front.len() + table.len() + self.back.len().max(self.suffix.len());
        full > MAX_NAME_CHARS
            && table.get(..self.beginning.len()).is_some_and(|beginning| same(beginning, self.beginning))
            && (self.suffix.is_empty() || table.len() == self.beginning.len() || self.back.is_empty())
    }
}

/// How a name of 64 bytes can have come about.
fn readings(name: &str) -> Vec<Reading<'_>> {
    let mut readings = Vec::new();
    let Some(inner) = name.strip_prefix('_').filter(|_| name.len() == MAX_NAME_CHARS) else { return readings };
    let gh_ost = SUFFIXES.into_iter().find(|(suffix, _)| is_gh_ost(suffix) && inner.ends_with(suffix));
    if let Some((suffix, role)) = gh_ost {
        let body = &inner[..inner.len() - suffix.len()];
        for body in [Some(body), marked(body).filter(|_| suffix == "_del")].into_iter().flatten() {
            let back = &name[1 + body.len()..];
            readings.push(Reading { front: &name[..1], beginning: body, back, role, suffix: "" });
        }
    }
    let underscores = name.len() - name.trim_start_matches('_').len();
    for front in 1..=underscores {
        for (suffix, role) in [("_new", ShadowRole::Copy), ("_old", ShadowRole::Old)] {
            for kept in 0..suffix.len() {
                if let Some(start) = name.strip_suffix(&suffix[..kept]).filter(|start| start.len() > front) {
                    let (back, role) = (&name[start.len()..], if kept < 2 { ShadowRole::Copy } else { role });
                    readings.push(Reading { front: &name[..front], beginning: &start[front..], back, role, suffix });
                }
            }
        }
    }
    readings
}

/// Adds the tables that are named in full and of which the end was cut off, or the end of the shadow's own name. What is left are the
/// rules with wildcards that such a table may match, as messages show them.
fn cut<'a>(rules: &RuleSet, database: &str, name: &'a str, found: &mut Vec<Shadow<'a>>) -> Vec<String> {
    let readings = readings(name);
    let mut globs = Vec::new();
    if readings.is_empty() {
        return globs;
    }
    let mut tables: Vec<String> = Vec::new();
    for rule in rules.table_rules_of(database) {
        let ObjectRule::Table { table, .. } = rule else { continue };
        match table.exact() {
            Some(table) => tables.push(table),
            None if readings.iter().any(|reading| table.can_begin_with(reading.beginning, rules.folded)) => {
                globs.push(format!("a table that matches {}", table.canonical()));
            }
            None => {}
        }
    }
    let followed = rules.learned.followed.iter().filter(|table| rules.same(&table.database, database));
    tables.extend(followed.map(|table| table.name.clone()));
    for table in tables {
        let Some(reading) = readings.iter().find(|reading| reading.is_of(&table, rules.folded)) else { continue };
        let Some(Changed { database, name: new, .. }) = changed_table(rules, database, &table) else { continue };
        let name = fitted(reading.front, &new, reading.back);
        if !found.iter().any(|shadow| shadow.table == table) {
            found.push(Shadow { table: table.into(), role: reading.role, database, name });
        }
    }
    globs
}

/// The shadow's name at the replica: what does not fit is cut off from the table's name.
fn fitted(front: &str, table: &str, back: &str) -> String {
    let room = MAX_NAME_CHARS.saturating_sub(front.chars().count() + back.chars().count());
    let end = table.char_indices().nth(room).map_or(table.len(), |(end, _)| end);
    format!("{front}{}{back}", &table[..end])
}

/// Where a table goes that a table rule selects, or that is followed.
struct Changed {
    /// The rule, or none for a table that is followed.
    entry: Option<usize>,
    database: String,
    name: String,
}

fn changed_table(rules: &RuleSet, database: &str, table: &str) -> Option<Changed> {
    if let Some(followed) = rules.followed(database, table) {
        return Some(Changed { entry: None, database: followed.new_database.clone(), name: followed.new_name.clone() });
    }
    match rules.decide_own_name(database, table) {
        Decision { selection: Selection::Selected { database, name }, by: DecidedBy::Rule(rule) }
            if !table.is_empty() && rules.is_table_rule(rule) =>
        {
            Some(Changed { entry: Some(rule), database, name })
        }
        _ => None,
    }
}

/// Whether gh-ost makes names with this end.
fn is_gh_ost(suffix: &str) -> bool {
    !matches!(suffix, "_new" | "_old")
}

/// What stands before `_20260131235959`, or before `_rev`, or before both.
fn marked(body: &str) -> Option<&str> {
    let plain = body.strip_suffix("_rev");
    let rest = plain.unwrap_or(body);
    let stamped = rest
        .rsplit_once('_')
        .filter(|(_, digits)| digits.len() == STAMP_DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit()));
    stamped.map(|(table, _)| table).or(plain)
}

/// What becomes of a trigger by which pt-online-schema-change keeps its copy of a table up to date that a table rule selects: it goes
/// where the table goes.
pub(super) fn trigger(rules: &RuleSet, database: &str, name: &str) -> Option<Decision> {
    let prefix = ["_ins", "_upd", "_del"].iter().find_map(|suffix| name.strip_suffix(suffix))?;
    let rest = prefix.strip_prefix("pt_osc_")?;
    let tables: Vec<String> = if prefix.len() >= TRIGGER_PREFIX_MAX {
        // Cut off: any table that such a name begins with.
        let exact = rules.table_rules_of(database).filter_map(|rule| match rule {
            ObjectRule::Table { table, .. } => table.exact(),
            _ => None,
        });
        exact.filter(|table| words(&format!("{database}_{table}")).starts_with(rest)).collect()
    } else {
        vec![rest.strip_prefix(&words(database))?.strip_prefix('_')?.to_owned()]
    };
    let mut databases = tables.iter().filter_map(|table| changed_table(rules, database, table)).map(|new| new.database);
    let database = databases.next()?;
    // Tables of one database may go to several.
    if databases.any(|other| other != database) {
        return None;
    }
    let selection = Selection::Selected { database, name: name.to_owned() };
    Some(Decision { selection, by: DecidedBy::Shadow })
}

/// A text as pt-online-schema-change has it in the names of triggers.
fn words(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_alphanumeric() || character == '_' { character } else { '_' })
        .collect()
}
