//! Mistakes in rules that can be seen without any server.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::pattern::{Pattern, Template};
use super::{DecidedBy, ObjectRule, RuleSet, Selection, torn};

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
    problems.extend(glob_onto_whole(set));
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
    let mixing = mixing_separator(&patterns, &templates)?;
    Some(format!(
        "two `*` of rename have {mixing:?} between them, which can also be a part of what they stand for: different names would become one; \
         put them into different parts of the new name, or keep what stands between them in the pattern"
    ))
}

/// What stands between two `*` of a new name from which it cannot be told where the text of the first ends. In the pattern every `*` but the
/// last of a part takes as little as it can, so its text does not hold what follows it there.
fn mixing_separator(patterns: &[&Pattern], templates: &[&Template]) -> Option<String> {
    // For each `*` of the pattern: what stands between it and the next one in its part.
    let mut after: Vec<Option<String>> = Vec::new();
    for pattern in patterns.iter().filter(|pattern| pattern.runs() > 0) {
        after.extend(pattern.separators().into_iter().map(Some));
        after.push(None);
    }
    let mut stars = after.into_iter();
    for template in templates.iter().filter(|template| template.pattern().runs() > 0) {
        for separator in template.pattern().separators() {
            let told = stars.next().flatten().is_some_and(|old| {
                separator.starts_with(&old) || (old.chars().count() == 1 && separator.contains(&old))
            });
            if !told {
                return Some(separator);
            }
        }
        stars.next();
    }
    None
}

/// Databases that are named in full and lead to a name to which an entry with wildcards leads another database. An entry that renames nothing is
/// not looked at: `database = "*"` beside `shop` as `shop_cn` does not say that there is a `shop_cn` at the source.
fn glob_onto_whole(set: &RuleSet) -> Vec<RuleProblem> {
    let globs = set.rules.iter().enumerate().filter_map(|(index, rule)| match rule {
        ObjectRule::Database { pattern, rename: Some(template) } if !pattern.is_exact() => {
            Some((index, pattern, template))
        }
        ObjectRule::Table { database, table, rename: Some((template, name)) }
            if !database.is_exact() && table.is_everything() && name.pattern().is_everything() =>
        {
            Some((index, database, template))
        }
        _ => None,
    });
    let mut problems = Vec::new();
    for (glob, pattern, template) in globs.filter(|(_, pattern, template)| {
        // Where the numbers differ that is reported by itself.
        pattern.runs() == template.pattern().runs()
            && !pattern.has_any()
            && pattern.canonical() != template.pattern().canonical()
    }) {
        for (index, rule) in set.rules.iter().enumerate() {
            let source = match rule {
                ObjectRule::Database { pattern, .. } => pattern.exact(),
                ObjectRule::Table { database, table, .. } if table.is_everything() => database.exact(),
                _ => None,
            };
            let Some(source) = source else { continue };
            let Some(new) = set.database(&source) else { continue };
            let Some(other) = torn::origin_of(pattern, Some(template), &new).filter(|other| *other != source) else {
                continue;
            };
            let decision = set.decide_database(&other);
            if decision.by == DecidedBy::Rule(glob) && set.database(&other).as_deref() == Some(&*new) {
                problems.push(RuleProblem {
                    rule: Some(index),
                    message: format!(
                        "leads {source}.* to {new}.*, where objects[{glob}] leads {other}.*: two sources would be mixed in one place; \
                         exclude = \"{other}\" if there is none"
                    ),
                });
            }
        }
    }
    problems
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
