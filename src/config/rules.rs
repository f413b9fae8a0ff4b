//! `[[routes.X.objects]]` and `[routes.X.ddl]`.

use std::collections::BTreeSet;

use crate::pipeline::policy::{
    Account, Choice, Definer, Policy, SUPPORTED_DDL, SUPPORTED_DML, UNSUPPORTED, canonical_kind, kind_aliases,
};
use crate::pipeline::rules::{ExcludedOrigin, ObjectRule, Pattern, RuleSet, Template, parse_patterns};

use super::problem::Problems;
use super::section::{Placed, Section, nearest, wrong_type};

/// The rules of a route; `None` if anything is wrong with them.
pub(super) fn read(
    section: &mut Section<'_, '_>,
    exclude_origins: Vec<ExcludedOrigin>,
    problems: &mut Problems<'_>,
) -> Option<RuleSet> {
    let before = problems.count();
    let mut rules = Vec::new();
    let mut spans = Vec::new();
    let entries = section.array("objects", problems);
    for (index, entry) in entries.iter().enumerate() {
        let Some(table) = entry.get_ref().as_table() else {
            problems.report(entry.span(), wrong_type("objects", "a list of tables", entry));
            continue;
        };
        let name = format!("objects[{index}] of {}", section.name);
        let mut object = Section::new(table, name, entry.span());
        // An entry that cannot be read leaves a gap in the numbers of the others; something that repeats nothing fills it.
        let rule = read_object(&mut object, problems).or_else(|| placeholder(index));
        object.finish(problems);
        rules.extend(rule);
        spans.push(entry.span());
    }
    let readable = problems.count() == before;
    let name = section.name.trim_end_matches(']').to_owned();
    let policy = section.table("ddl", format!("{name}.ddl]"), problems).map(|ddl| read_policy(ddl, problems));
    match RuleSet::build(rules, policy, exclude_origins) {
        Ok(rules) => (problems.count() == before).then_some(rules),
        Err(found) => {
            for problem in found {
                match problem.rule {
                    Some(index) => problems.report(
                        spans.get(index).cloned().unwrap_or_else(|| section.span.clone()),
                        format!("objects[{index}] of {}: {}", section.name, problem.message),
                    ),
                    None if readable => {
                        problems.report(section.span.clone(), format!("{}: {}", section.name, problem.message));
                    }
                    None => {}
                }
            }
            None
        }
    }
}

fn placeholder(index: usize) -> Option<ObjectRule> {
    Some(ObjectRule::ExcludeDatabase(parse_patterns(&format!("unreadable entry {index}")).ok()?.pop()?))
}

fn read_object(object: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Option<ObjectRule> {
    const KEYS: [&str; 3] = ["database", "table", "exclude"];
    let given: Vec<_> = KEYS.into_iter().filter_map(|key| Some((key, object.value(key)?.span()))).collect();
    let rename = object.text("rename", problems);
    let key = match &given[..] {
        [] => {
            problems.report_missing(
                object.span.clone(),
                format!("{} has none of `database`, `table` and `exclude`", object.name),
            );
            return None;
        }
        [(key, _)] => *key,
        [_, (_, span), ..] => {
            let names = given.iter().map(|(key, _)| format!("`{key}`")).collect::<Vec<_>>().join(" and ");
            problems.report(span.clone(), format!("{} has {names}: make an entry of each", object.name));
            return None;
        }
    };
    let text = object.text(key, problems)?;
    let patterns = patterns(&text, problems)?;
    match (key, two(patterns)) {
        ("database", (pattern, None)) => {
            let rename = match rename {
                None => None,
                Some(rename) => Some(database_template(&rename, problems)?),
            };
            Some(ObjectRule::Database { pattern, rename })
        }
        ("database", (_, Some(_))) => {
            problems.report(
                text.span,
                format!(
                    "`database` is {:?}: use `table` for a table, and backquotes for a database with a dot in its name",
                    text.value
                ),
            );
            None
        }
        ("table", (database, Some(table))) => {
            let rename = match rename {
                None => None,
                Some(rename) => Some(table_template(&rename, problems)?),
            };
            Some(ObjectRule::Table { database, table, rename })
        }
        ("table", (_, None)) => {
            problems.report(
                text.span,
                format!(
                    "`table` is {:?} and has to be `database.table`; a whole database is `database = …`",
                    text.value
                ),
            );
            None
        }
        (_, parts) => {
            if let Some(rename) = rename {
                problems.report(rename.span, "an exclusion has no `rename`".to_owned());
                return None;
            }
            Some(match parts {
                (database, None) => ObjectRule::ExcludeDatabase(database),
                (database, Some(table)) => ObjectRule::ExcludeTable { database, table },
            })
        }
    }
}

fn patterns(text: &Placed<String>, problems: &mut Problems<'_>) -> Option<Vec<Pattern>> {
    match parse_patterns(&text.value) {
        Ok(patterns) => Some(patterns),
        Err(error) => {
            problems.report(text.span.clone(), error.to_string());
            None
        }
    }
}

/// One or two parts; the parser gives no other number.
fn two(patterns: Vec<Pattern>) -> (Pattern, Option<Pattern>) {
    let mut parts = patterns.into_iter();
    let first = parts.next().expect("parse_patterns gives one or two patterns");
    (first, parts.next())
}

fn template(pattern: Pattern, text: &Placed<String>, problems: &mut Problems<'_>) -> Option<Template> {
    match Template::new(pattern, &text.value) {
        Ok(template) => Some(template),
        Err(error) => {
            problems.report(text.span.clone(), error.to_string());
            None
        }
    }
}

fn database_template(text: &Placed<String>, problems: &mut Problems<'_>) -> Option<Template> {
    match two(patterns(text, problems)?) {
        (database, None) => template(database, text, problems),
        _ => {
            problems.report(
                text.span.clone(),
                format!(
                    "`rename` of a database is {:?}: it names a database only, with backquotes if it has a dot",
                    text.value
                ),
            );
            None
        }
    }
}

fn table_template(text: &Placed<String>, problems: &mut Problems<'_>) -> Option<(Template, Template)> {
    match two(patterns(text, problems)?) {
        (database, Some(table)) => Some((template(database, text, problems)?, template(table, text, problems)?)),
        _ => {
            problems.report(
                text.span.clone(),
                format!("`rename` of a table is {:?} and has to be `database.table`", text.value),
            );
            None
        }
    }
}

const FORWARD: (&str, Choice) = ("forward", Choice::Forward);
const SKIP: (&str, Choice) = ("skip", Choice::Skip);
const STOP: (&str, Choice) = ("stop", Choice::Stop);

fn read_policy(mut ddl: Section<'_, '_>, problems: &mut Problems<'_>) -> Policy {
    let mut policy = Policy::default();
    let mut choice = |key, words: &[(&'static str, Choice)], into: &mut Choice| {
        if let Some(value) = ddl.word(key, words, &[], problems) {
            *into = value;
        }
    };
    choice("supported", &[FORWARD, SKIP], &mut policy.supported);
    choice("unsupported", &[SKIP, STOP, FORWARD], &mut policy.unsupported);
    choice("unknown", &[SKIP, STOP, FORWARD], &mut policy.unknown);
    choice("rename_out", &[STOP, SKIP, ("follow", Choice::Follow)], &mut policy.rename_out);
    choice("rename_in", &[STOP, SKIP], &mut policy.rename_in);
    choice("reference", &[STOP, SKIP, FORWARD], &mut policy.reference);
    choice("online_ddl", &[STOP, FORWARD, ("fold", Choice::Fold)], &mut policy.online_ddl);
    if let Some(text) = ddl.text("definer", problems) {
        match &*text.value {
            "keep" => policy.definer = Definer::Keep,
            "strip" => policy.definer = Definer::Strip,
            account => match Account::parse(account) {
                Some(account) => policy.definer = Definer::Set(account),
                None => problems.report(
                    text.span,
                    format!("`definer` is {account:?} and has to be \"keep\", \"strip\" or an account such as \"app@%\" (ASCII)"),
                ),
            },
        }
    }
    policy.allow = kinds(&mut ddl, "allow", problems);
    policy.deny = kinds(&mut ddl, "deny", problems);
    ddl.finish(problems);
    policy
}

/// The kinds of `allow` or `deny` under the server's names. What changes nothing (allowing a supported kind, denying
/// one that is not) is checked and left out.
fn kinds(ddl: &mut Section<'_, '_>, key: &'static str, problems: &mut Problems<'_>) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    for text in ddl.texts(key, problems) {
        let kind = canonical_kind(&text.value);
        let supported = SUPPORTED_DDL.contains(&kind);
        if SUPPORTED_DML.contains(&kind) {
            if key == "deny" {
                problems.report(
                    text.span,
                    format!("`deny` cannot hold {kind:?}: it speaks of DDL, and a row event does not say which statement made it"),
                );
            }
        } else if supported || UNSUPPORTED.contains(&kind) {
            if supported == (key == "deny") {
                kinds.insert(kind.to_owned());
            }
        } else {
            let known: Vec<&str> = SUPPORTED_DDL.iter().chain(UNSUPPORTED).copied().chain(kind_aliases()).collect();
            let hint = match nearest(&kind.to_ascii_lowercase(), &known) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "src/ddl/KINDS.md lists the kinds".to_owned(),
            };
            problems
                .report(text.span, format!("`{key}` holds {:?}, which is no kind of statement: {hint}", text.value));
        }
    }
    kinds
}
