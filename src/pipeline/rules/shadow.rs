//! The names that gh-ost and pt-online-schema-change give to the tables beside the one that they change.
//!
//! gh-ost copies `t` to `_t_gho`, keeps its log in `_t_ghc` and moves `t` to `_t_del` (`_t_20260131235959_del` where it is told to
//! stamp the name); pt-online-schema-change copies to `_t_new` and moves to `_t_old`, with more underscores in front while a
//! name is taken. Its triggers are `pt_osc_DATABASE_TABLE_ins`, `_upd` and `_del`, what is no word character as `_`.

use super::{DecidedBy, Decision, RuleSet, Selection};

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
    pub table: &'a str,
    /// What it is used for.
    pub role: ShadowRole,
    /// The table's new database.
    pub database: String,
    /// The shadow's own name at the replica: as its table is renamed, so is the shadow.
    pub name: String,
}

const SUFFIXES: [(&str, ShadowRole); 5] = [
    ("_gho", ShadowRole::Copy),
    ("_new", ShadowRole::Copy),
    ("_ghc", ShadowRole::Log),
    ("_del", ShadowRole::Old),
    ("_old", ShadowRole::Old),
];

/// Digits in the time that gh-ost puts into the name of the old table.
const STAMP_DIGITS: usize = 14;

/// The longest beginning of a trigger's name that pt-online-schema-change makes, before `_ins`.
const TRIGGER_PREFIX_MAX: usize = 60;

/// The table that a name in this database shadows, if a table rule selects that.
pub(super) fn of<'a>(rules: &RuleSet, database: &str, name: &'a str) -> Option<Shadow<'a>> {
    let inner = name.strip_prefix('_')?;
    let (suffix, role) = SUFFIXES.into_iter().find(|(suffix, _)| inner.ends_with(suffix))?;
    let body = inner.strip_suffix(suffix)?;
    let stamped = stamp(body).filter(|_| suffix == "_del");
    for body in [Some(body), stamped].into_iter().flatten() {
        let underscores = body.len() - body.trim_start_matches('_').len();
        // What may be part of the table's own name comes first.
        for more in 0..=underscores {
            let table = &body[more..];
            if let Some((database, new)) = changed_table(rules, database, table) {
                let (front, back) = (&name[..1 + more], &name[1 + more + table.len()..]);
                return Some(Shadow { table, role, database, name: format!("{front}{new}{back}") });
            }
        }
    }
    None
}

/// The new database and name of a table that a table rule selects, or that is followed.
fn changed_table(rules: &RuleSet, database: &str, table: &str) -> Option<(String, String)> {
    if let Some(followed) = rules.followed(database, table) {
        return Some((followed.new_database.clone(), followed.new_name.clone()));
    }
    match rules.decide_own_name(database, table) {
        Decision { selection: Selection::Selected { database, name }, by: DecidedBy::Rule(rule) }
            if !table.is_empty() && rules.is_table_rule(rule) =>
        {
            Some((database, name))
        }
        _ => None,
    }
}

/// What stands before `_20260131235959`.
fn stamp(body: &str) -> Option<&str> {
    let (table, digits) = body.rsplit_once('_')?;
    (digits.len() == STAMP_DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit())).then_some(table)
}

/// What becomes of a trigger by which pt-online-schema-change keeps its copy of a table up to date that a table rule selects: it goes
/// where the table goes.
pub(super) fn trigger(rules: &RuleSet, database: &str, name: &str) -> Option<Decision> {
    let prefix = ["_ins", "_upd", "_del"].iter().find_map(|suffix| name.strip_suffix(suffix))?;
    let words =
        |text: &str| text.chars().map(|character| if is_word(character) { character } else { '_' }).collect::<String>();
    let rest = prefix.strip_prefix("pt_osc_")?.strip_prefix(&words(database))?.strip_prefix('_')?;
    if prefix.len() >= TRIGGER_PREFIX_MAX {
        // Cut off: the table's name is not all there.
        return None;
    }
    let (database, _) = changed_table(rules, database, rest)?;
    let selection = Selection::Selected { database, name: name.to_owned() };
    Some(Decision { selection, by: DecidedBy::Shadow })
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
