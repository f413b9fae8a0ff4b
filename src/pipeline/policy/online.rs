//! The shadow tables of gh-ost and pt-online-schema-change beside a table that a table rule selects.
//!
//! gh-ost copies `t` to `_t_gho`, keeps its log in `_t_ghc` and moves `t` to `_t_del`; pt-online-schema-change copies to `_t_new`
//! (with more underscores in front while the name is taken) and moves to `_t_old`. A table rule selects `t` only: if the copy
//! were skipped, the replica would have nothing to swap in at the end. So the route stops where the shadow table is made: there
//! the operator can still choose, and nothing has been missed.

use crate::ddl::{ObjectType, Role, Statement};
use crate::pipeline::rules::{DecidedBy, RuleSet};

use super::verdict::ObjectVerdict;

/// The shadow table and the table it belongs to, if a statement makes, alters or swaps in a shadow table.
pub(super) struct OnlineChange<'a> {
    pub(super) database: &'a str,
    pub(super) shadow: &'a str,
    pub(super) table: &'a str,
}

/// Looks for the work of the two tools in a statement.
pub(super) fn find<'a>(
    rules: &RuleSet,
    statement: &'a Statement,
    objects: &[ObjectVerdict],
) -> Option<OnlineChange<'a>> {
    let suffixes: &[&str] = match statement.kind.0 {
        "create_table" => &["_gho", "_ghc", "_del", "_new"],
        "alter_table" => &["_gho", "_new"],
        "rename_table" => {
            return statement.items.iter().find_map(|item| {
                let [old, new] = item.objects[..] else { return None };
                let change = shadow_of(rules, statement, objects, old, &["_gho", "_new"])?;
                let new = statement.objects.get(new)?;
                let same = |one: &str, other: &str| rules.compared(one) == rules.compared(other);
                (same(&new.name, change.table) && same(&new.database, change.database)).then_some(change)
            });
        }
        _ => return None,
    };
    let target = statement.objects.iter().position(|object| object.role == Role::Target)?;
    shadow_of(rules, statement, objects, target, suffixes)
}

/// The table that the object at `index` shadows: a table that a table rule selects, while no rule speaks of the shadow.
fn shadow_of<'a>(
    rules: &RuleSet,
    statement: &'a Statement,
    objects: &[ObjectVerdict],
    index: usize,
    suffixes: &[&str],
) -> Option<OnlineChange<'a>> {
    let object = statement.objects.get(index)?;
    let unspoken = objects.get(index)?.decision.by == DecidedBy::Nothing;
    if object.object_type != ObjectType::Table || !unspoken {
        return None;
    }
    let mut inner = object.name.strip_prefix('_')?;
    inner = suffixes.iter().find_map(|suffix| inner.strip_suffix(suffix))?;
    loop {
        if !inner.is_empty()
            && let DecidedBy::Rule(rule) = rules.decide_table(&object.database, inner).by
            && rules.is_table_rule(rule)
        {
            return Some(OnlineChange { database: &object.database, shadow: &object.name, table: inner });
        }
        inner = inner.strip_prefix('_')?;
    }
}
