//! The same names give the same bytes; new names give a statement of the same kind that names just the new ones, and
//! the old names in their place give a statement that names what the first one did.
#![no_main]

#[allow(dead_code, unused_imports, unreachable_pub, reason = "the crate's own module, of which a target uses a part")]
#[path = "../../../src/ddl/mod.rs"]
mod ddl;
mod input;

use ddl::{Class, Context, MappedName, ObjectType, Statement};

/// New names for all that can have one: a prefix where `new`, its removal where not.
fn names(statement: &Statement, prefix: &str, new: bool) -> Vec<MappedName> {
    let change = |name: &str| {
        if name.is_empty() {
            String::new()
        } else if new {
            format!("{prefix}{name}")
        } else {
            name.strip_prefix(prefix).unwrap_or(name).to_owned()
        }
    };
    let mapped = |(object, found): (usize, &ddl::Object)| {
        let table = matches!(found.object_type, ObjectType::Table | ObjectType::View | ObjectType::Sequence);
        let name = if table { change(&found.name) } else { found.name.clone() };
        MappedName { object, database: change(&found.database), name }
    };
    statement.objects.iter().enumerate().map(mapped).collect()
}

/// What a statement names, without places.
fn named(statement: &Statement) -> Vec<(ObjectType, String, String, ddl::Role)> {
    let mut named: Vec<_> = (statement.objects.iter())
        .filter(|object| !object.column_qualifier)
        .map(|object| (object.object_type, object.database.clone(), object.name.clone(), object.role))
        .collect();
    named.sort_by_key(|object| format!("{object:?}"));
    named
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((context, _, sql)) = input::session(data) else { return };
    let statement = ddl::analyze(sql, &context);
    if statement.class == Class::Unknown || statement.class == Class::Transaction {
        return;
    }
    let same = names(&statement, "", true);
    assert_eq!(ddl::rewrite(sql, &statement, &context, &same, context.default_database, None).as_deref(), Ok(sql));

    // What is not certain is not forwarded under other names, and long names are refused.
    let long = statement.objects.iter().any(|object| object.name.len() > 40 || object.database.len() > 40);
    if statement.body_opaque || long || statement.class != Class::Supported {
        return;
    }
    let new_default = if context.default_database.is_empty() { "" } else { "zq_shop" };
    let forth = names(&statement, "zq_", true);
    let Ok(text) = ddl::rewrite(sql, &statement, &context, &forth, new_default, None) else { return };
    let there = Context { default_database: new_default, ..context };
    let new = ddl::analyze(&text, &there);
    assert_eq!(new.kind, statement.kind, "{}", text.escape_ascii());
    let mut wanted = statement.clone();
    for (object, name) in wanted.objects.iter_mut().zip(forth) {
        (object.database, object.name) = (name.database, name.name);
    }
    assert_eq!(named(&new), named(&wanted), "{}", text.escape_ascii());

    let back = names(&new, "zq_", false);
    let Ok(text) = ddl::rewrite(&text, &new, &there, &back, context.default_database, None) else { return };
    let old = ddl::analyze(&text, &context);
    assert_eq!((old.kind, named(&old)), (statement.kind, named(&statement)), "{}", text.escape_ascii());
});
