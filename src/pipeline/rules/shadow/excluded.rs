//! Shadow tables of excluded tables. A database entry, or a table entry with wildcards, selects the name of the copy that a tool makes of an
//! excluded table: its rows are the rows that the exclusion is to keep back.

use super::{RuleSet, SUFFIXES, is_too_long, marked, readings};
use crate::pipeline::rules::ObjectRule;

/// The exclusion of the table that a name shadows, and that table's name. A table that an entry names in full may have shadows of its
/// own, so the readings of a name end there.
pub(in super::super) fn exclusion<'a>(rules: &RuleSet, database: &str, name: &'a str) -> Option<(usize, &'a str)> {
    if rules.exclusions.is_empty() || is_too_long(name) {
        return None;
    }
    let inner = name.strip_prefix('_')?;
    let body = SUFFIXES.into_iter().find_map(|(suffix, _)| inner.strip_suffix(suffix))?;
    let marked = marked(body).filter(|_| inner.ends_with("_del"));
    for body in [Some(body), marked].into_iter().flatten() {
        let underscores = body.len() - body.trim_start_matches('_').len();
        for table in (0..=underscores).map(|more| &body[more..]).filter(|table| !table.is_empty()) {
            if let Some(index) = rules.exclusion(database, table, rules.folded) {
                return Some((index, table));
            }
            if rules.exact_table(database, table).is_some() {
                return None;
            }
        }
    }
    None
}

/// The excluded tables, as their entries have them, of which one may be that of a shadow whose name the tools cut off.
pub(in super::super) fn doubt(rules: &RuleSet, database: &str, name: &str) -> Vec<String> {
    if rules.exclusions.is_empty() {
        return Vec::new();
    }
    let readings = readings(name);
    let may_be = |index: &usize| {
        let ObjectRule::ExcludeTable { database: databases, table } = &rules.rules[*index] else { return None };
        let fits = databases.matches(database, rules.folded)
            && readings.iter().any(|reading| match table.exact() {
                Some(table) => reading.is_of(&table, rules.folded),
                None => table.can_begin_with(reading.beginning, rules.folded),
            });
        fits.then(|| format!("{database}.{}", table.canonical()))
    };
    let mut tables: Vec<String> = rules.exclusions.iter().filter_map(may_be).collect();
    tables.sort();
    tables.dedup();
    tables
}
