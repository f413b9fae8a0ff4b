//! Whether rules can make a transaction longer than it was at the source.
//!
//! Four things can: another DEFINER, a new name that is longer than the old one, a new name that must be written in backquotes where the
//! old one need not, and a database that has to be written before a name that stood alone. All is decided from the
//! patterns, for the worst name that they match. Four cases are left to the numbering, which finds its way back by a ROTATE:
//!
//! * Compressed transactions and statements, where a name of the same length compresses to more bytes. They are compressed harder first, and
//!   that is nearly always enough.
//! * A table in statement text whose new name is also an alias or a common table expression of that statement gets its database written out.
//!   The catalog's 5 bytes make up for short ones.
//! * The ALTER TABLE that goes out in place of an online schema change's swap (`online_ddl = "fold"`): it can be longer, and is rare.
//! * A list that failed in part at the source and is split: it gets IF EXISTS.

use crate::ddl::can_go_bare;
use crate::pipeline::policy::{Choice, Definer};

use super::pattern::{Pattern, Template};
use super::{ObjectRule, RuleSet};

/// The first cause of growth, or `None` if nothing can grow.
pub(super) fn reason(rules: &RuleSet) -> Option<String> {
    let inclusions = rules.rules.iter().filter(|rule| rule.class().is_some()).count();
    for (index, rule) in rules.rules.iter().enumerate() {
        let cause = match rule {
            ObjectRule::Database { pattern, rename: Some(template) } => name_grows("database", pattern, template),
            ObjectRule::Table { database, table, rename } => rename
                .as_ref()
                .and_then(|(new, name)| {
                    name_grows("database", database, new).or_else(|| name_grows("table", table, name))
                })
                .or_else(|| qualifier_needed(rules, database, rename.as_ref().map(|(new, _)| new), inclusions)),
            _ => None,
        };
        if let Some(cause) = cause {
            return Some(format!("objects[{index}]: {cause}"));
        }
    }
    if let Definer::Set(account) = &rules.policy.definer {
        return Some(format!("ddl.definer {account} can be longer than the DEFINER of the source"));
    }
    if rules.lets_unselected_names_out() {
        let key = if rules.policy.reference == Choice::Forward { "ddl.reference" } else { "ddl.unknown" };
        for (index, rule) in rules.rules.iter().enumerate() {
            if let ObjectRule::Table { database, rename: Some((new, _)), .. } = rule
                && database.canonical() != new.pattern().canonical()
            {
                return Some(format!(
                    "objects[{index}] changes the database, and with {key} = \"forward\" names that are not selected get theirs written out"
                ));
            }
        }
    }
    None
}

/// Names are UTF-8 in row events and in the statement's character set in text. The worst case of both: an added
/// character outside ASCII counts four bytes, a removed one counts one.
fn name_grows(what: &str, pattern: &Pattern, template: &Template) -> Option<String> {
    let new = template.pattern();
    if pattern.canonical() == new.canonical() {
        return None;
    }
    if new.runs() != pattern.runs() {
        return Some(format!("the new {what} name {new} takes its text from elsewhere than {pattern}"));
    }
    let old_length = pattern.literals().count();
    let new_length: usize = new.literals().map(|character| if character.is_ascii() { 1 } else { 4 }).sum();
    if new_length > old_length {
        return Some(format!("the new {what} name {new} can be longer than {pattern}"));
    }
    // What a star matches may itself be a name that the rewriter quotes (beyond ASCII) and the source did not.
    let may_need_quotes = new.exact().is_none_or(|name| !can_go_bare(&name));
    let old_has_quotes = pattern.exact().is_some_and(|name| {
        name.chars().any(|character| {
            character.is_ascii() && !character.is_ascii_alphanumeric() && !matches!(character, '_' | '$')
        })
    });
    if may_need_quotes && !old_has_quotes && new_length + 2 > old_length {
        return Some(format!("the new {what} name {new} can need backquotes where {pattern} needs none"));
    }
    None
}

/// A table rule whose tables do not end up in what their default database becomes.
fn qualifier_needed(
    rules: &RuleSet,
    database: &Pattern,
    new_database: Option<&Template>,
    inclusions: usize,
) -> Option<String> {
    let Some(name) = database.exact() else {
        // A glob of databases: other rules may lead the default database elsewhere, so only a lone rule is certain.
        let changes = rules.rules.iter().any(|rule| match rule {
            ObjectRule::Database { pattern, rename: Some(template) } => {
                pattern.canonical() != template.pattern().canonical()
            }
            ObjectRule::Table { database, rename: Some((new, _)), .. } => {
                database.canonical() != new.pattern().canonical()
            }
            _ => false,
        });
        return (changes && inclusions > 1)
            .then(|| "tables of one database can go to different databases, and SQL text then names them".to_owned());
    };
    let new = match new_database {
        None => name.clone(),
        Some(template) => match template.pattern().exact() {
            Some(new) => new,
            None => {
                return Some(format!("the tables of {name} go to different databases, and SQL text then names them"));
            }
        },
    };
    let default = rules.default_database(&name);
    (default != new).then(|| {
        format!(
            "tables of {name} go to {new} while its other objects go to {default}: SQL text then names the database"
        )
    })
}
