//! A stable hash over rules in canonical form. Changing what goes into it changes the names of served files of every route
//! that serves its own coordinates, so its input has a version.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::pipeline::policy::Definer;

use super::pattern::fold;
use super::{ExcludedOrigin, ObjectRule, RuleSet};

/// The version of the canonical form.
const FORM: &str = "replproxy rules 1";

pub(super) fn of(rules: &RuleSet) -> [u8; 8] {
    let digest = Sha256::digest(canonical(rules).as_bytes());
    let mut fingerprint = [0; 8];
    fingerprint.copy_from_slice(&digest[..8]);
    fingerprint
}

/// The rules as text: entries that cannot change an outcome by their place are sorted, a rename to the same name is none.
fn canonical(rules: &RuleSet) -> String {
    let mut text = format!("{FORM}\nfolded {}\ntransparent {}\n", rules.folded, rules.is_transparent());
    let mut inclusions: [Vec<String>; 4] = Default::default();
    let mut exclusions = Vec::new();
    for rule in &rules.rules {
        let line = line_of(rule, rules.folded);
        match rule.class() {
            Some(class) => inclusions[usize::from(class)].push(line),
            None => exclusions.push(line),
        }
    }
    // Exact rules cannot overlap each other; globs can, and there the first one wins.
    inclusions[0].sort();
    inclusions[2].sort();
    exclusions.sort();
    exclusions.dedup();
    for line in inclusions.iter().flatten().chain(&exclusions) {
        let _ = writeln!(text, "{line}");
    }
    let policy = &rules.policy;
    for (key, choice) in [
        ("supported", policy.supported),
        ("unsupported", policy.unsupported),
        ("unknown", policy.unknown),
        ("rename_out", policy.rename_out),
        ("rename_in", policy.rename_in),
        ("reference", policy.reference),
        ("online_ddl", policy.online_ddl),
    ] {
        let _ = writeln!(text, "{key} {}", choice.as_str());
    }
    match &policy.definer {
        Definer::Keep => {}
        Definer::Strip => text.push_str("definer strip\n"),
        Definer::Set(account) => {
            let _ = writeln!(text, "definer {account}");
        }
    }
    for (key, kinds) in [("allow", &policy.allow), ("deny", &policy.deny)] {
        for kind in kinds {
            let _ = writeln!(text, "{key} {kind}");
        }
    }
    for origin in &rules.exclude_origins {
        let _ = match origin {
            ExcludedOrigin::ServerId(id) => writeln!(text, "origin id {id}"),
            ExcludedOrigin::ServerUuid(uuid) => writeln!(text, "origin uuid {uuid}"),
        };
    }
    text
}

fn line_of(rule: &ObjectRule, folded: bool) -> String {
    let name = |text: String| if folded { fold(&text) } else { text };
    // The names may hold any character but control characters, so a tab separates without doubt.
    let with_rename = |what: &str, from: Vec<String>, to: Option<Vec<String>>| match to {
        Some(to) if to != from => {
            format!("{what}\t{}\tas\t{}", from.into_iter().map(name).collect::<Vec<_>>().join("\t"), to.join("\t"))
        }
        _ => format!("{what}\t{}", from.into_iter().map(name).collect::<Vec<_>>().join("\t")),
    };
    match rule {
        ObjectRule::Database { pattern, rename } => with_rename(
            "database",
            vec![pattern.canonical()],
            rename.as_ref().map(|template| vec![template.pattern().canonical()]),
        ),
        ObjectRule::Table { database, table, rename } => with_rename(
            "table",
            vec![database.canonical(), table.canonical()],
            rename.as_ref().map(|(new, name)| vec![new.pattern().canonical(), name.pattern().canonical()]),
        ),
        ObjectRule::ExcludeDatabase(database) => with_rename("exclude", vec![database.canonical()], None),
        ObjectRule::ExcludeTable { database, table } => {
            with_rename("exclude", vec![database.canonical(), table.canonical()], None)
        }
    }
}
