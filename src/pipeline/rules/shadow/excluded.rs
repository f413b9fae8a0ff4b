//! Shadow tables of excluded tables. A database entry, or a table entry with wildcards, selects the name of the copy that a tool makes of an
//! excluded table: its rows are the rows that the exclusion is to keep back.

use super::{MAX_NAME_CHARS, RuleSet, SUFFIXES, is_too_long, marked, readings};
use crate::pipeline::rules::{ObjectRule, Pattern};

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

/// Excluded tables to which a name of 64 bytes may belong that also reads as the shadow of a selected one, as messages show them. An
/// exclusion with wildcards does not say that there is such a table.
pub(super) fn others(rules: &RuleSet, database: &str, name: &str) -> Vec<String> {
    let cut = fitting(rules, database, name).filter_map(Pattern::exact);
    let whole = exclusion(rules, database, name).filter(|(index, _)| {
        let is_exact = matches!(&rules.rules[*index], ObjectRule::ExcludeTable { table, .. } if table.is_exact());
        is_exact && name.len() == MAX_NAME_CHARS
    });
    cut.chain(whole.map(|(_, table)| table.to_owned())).map(|table| format!("{table} (excluded)")).collect()
}

/// The excluded tables, as their entries have them, of which one may be that of a shadow whose name the tools cut off.
pub(in super::super) fn doubt(rules: &RuleSet, database: &str, name: &str) -> Vec<String> {
    let mut tables: Vec<String> =
        fitting(rules, database, name).map(|table| format!("{database}.{}", table.canonical())).collect();
    tables.sort();
    tables.dedup();
    tables
}

/// The exclusions of tables from which the tools can make a name of 64 bytes.
fn fitting<'a>(rules: &'a RuleSet, database: &'a str, name: &'a str) -> impl Iterator<Item = &'a Pattern> {
    let readings = if rules.exclusions.is_empty() { Vec::new() } else { readings(name) };
    rules.exclusions.iter().filter_map(move |index| {
        let ObjectRule::ExcludeTable { database: databases, table } = &rules.rules[*index] else { return None };
        let fits = databases.matches(database, rules.folded)
            && readings.iter().any(|reading| match table.exact() {
                Some(table) => reading.is_of(&table, rules.folded),
                None => table.can_begin_with(reading.beginning, rules.folded),
            });
        fits.then_some(table)
    })
}
