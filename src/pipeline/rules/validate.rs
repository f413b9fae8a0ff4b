//! Mistakes in rules that can be seen without any server.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::pattern::{Pattern, Template};
use super::{ObjectRule, RuleSet, Selection};

/// A mistake in the rules of a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleProblem {
    /// The entry of `objects` that is wrong; `None` for the route as a whole.
    pub rule: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

/// Everything that is wrong with the rules, in their order.
pub(super) fn problems(set: &RuleSet) -> Vec<RuleProblem> {
    let mut problems = Vec::new();
    let mut report = |rule: usize, message: String| problems.push(RuleProblem { rule: Some(rule), message });
    let mut objects: HashMap<String, usize> = HashMap::new();
    let mut targets: HashMap<String, (usize, String)> = HashMap::new();
    for (index, rule) in set.rules.iter().enumerate() {
        if let Some(message) = rename_problem(rule) {
            report(index, message);
            continue;
        }
        match objects.entry(object_of(rule)) {
            Entry::Occupied(earlier) => {
                report(index, format!("names the same as objects[{}], which wins: remove one of them", earlier.get()));
                continue;
            }
            Entry::Vacant(free) => free.insert(index),
        };
        // Only rules that name one thing each are compared: exact tables, and databases as a whole. A database rule beside a
        // table rule is no mistake by itself: `shop` as `shop_cn` beside `shop.a` as `shop_cn.b` is what one writes to
        // rename a table.
        let Some((source, target)) = whole_target(set, index) else { continue };
        match targets.entry(target) {
            Entry::Occupied(earlier) => {
                let (other, other_source) = earlier.get();
                if *other_source != source {
                    let target = earlier.key();
                    report(
                        index,
                        format!(
                            "leads {source} to {target}, where objects[{other}] already leads {other_source}: two sources \
                             would be mixed in one place"
                        ),
                    );
                }
            }
            Entry::Vacant(free) => {
                free.insert((index, source));
            }
        }
    }
    if !set.rules.is_empty() && set.rules.iter().all(|rule| rule.class().is_none()) {
        problems.push(RuleProblem {
            rule: None,
            message: "all objects are exclusions, so that nothing is selected: add what is selected, for example \
                      database = \"*\""
                .to_owned(),
        });
    }
    problems
}

fn rename_problem(rule: &ObjectRule) -> Option<String> {
    let (patterns, templates): (Vec<&Pattern>, Vec<&Template>) = match rule {
        ObjectRule::Database { pattern, rename: Some(template) } => (vec![pattern], vec![template]),
        ObjectRule::Table { database, table, rename: Some((new, name)) } => (vec![database, table], vec![new, name]),
        _ => return None,
    };
    let in_pattern: usize = patterns.iter().map(|pattern| pattern.runs()).sum();
    let in_rename: usize = templates.iter().map(|template| template.pattern().runs()).sum();
    if in_rename > in_pattern {
        return Some(format!(
            "rename has {in_rename} `*` and the pattern has {in_pattern}: each `*` in rename stands for what one `*` in the pattern matched"
        ));
    }
    if patterns.iter().any(|pattern| pattern.has_any()) {
        return Some(
            "a pattern with `?` cannot be renamed, because different names would become one: use `*`".to_owned(),
        );
    }
    if in_rename < in_pattern {
        return Some(format!(
            "the pattern has {in_pattern} `*` and rename has {in_rename}: different names would become one"
        ));
    }
    None
}

/// What a rule speaks of, as text.
fn object_of(rule: &ObjectRule) -> String {
    match rule {
        ObjectRule::Database { pattern, .. } => format!("{pattern}"),
        ObjectRule::Table { database, table, .. } => format!("{database}.{table}"),
        ObjectRule::ExcludeDatabase(pattern) => format!("not {pattern}"),
        ObjectRule::ExcludeTable { database, table } => format!("not {database}.{table}"),
    }
}

/// Source and target of a rule that names exactly one table or one whole database, both as text; `None` for globs and
/// for rules that exclusions take everything from.
fn whole_target(set: &RuleSet, index: usize) -> Option<(String, String)> {
    match &set.rules[index] {
        ObjectRule::Table { database, table, .. } => {
            let database = database.exact()?;
            if table.is_everything() {
                let new = set.database(&database)?;
                return Some((format!("{database}.*"), format!("{new}.*")));
            }
            let table = table.exact()?;
            match set.table(&database, &table) {
                Selection::Selected { database: new, name } => {
                    Some((format!("{database}.{table}"), format!("{new}.{name}")))
                }
                Selection::NotSelected => None,
            }
        }
        ObjectRule::Database { pattern, .. } => {
            let database = pattern.exact()?;
            let new = set.database(&database)?;
            Some((format!("{database}.*"), format!("{new}.*")))
        }
        ObjectRule::ExcludeDatabase(_) | ObjectRule::ExcludeTable { .. } => None,
    }
}
