//! The shadow tables of gh-ost and pt-online-schema-change beside a table that a table rule selects.
//!
//! A table rule selects `t` only: if the tool's copy of it were skipped, the replica would have nothing to swap in at the end.
//! With `online_ddl = "stop"` the route stops where the shadow table is made: there the operator can still choose, and
//! nothing has been missed. With `forward` the shadow tables are selected as their table is, and there is nothing to look for.

use std::borrow::Cow;

use crate::ddl::{ObjectType, Role, Statement};
use crate::pipeline::rules::{DecidedBy, RuleSet, Shadow, ShadowRole};

use super::verdict::ObjectVerdict;

/// The shadow table and the table it belongs to, if a statement makes, alters or swaps in a shadow table.
pub(super) struct OnlineChange<'a> {
    pub(super) database: &'a str,
    pub(super) shadow: &'a str,
    pub(super) table: Cow<'a, str>,
}

/// Looks for the work of the two tools in a statement.
pub(super) fn find<'a>(
    rules: &RuleSet,
    statement: &'a Statement,
    objects: &[ObjectVerdict],
) -> Option<OnlineChange<'a>> {
    match statement.kind.0 {
        "create_table" | "alter_table" => {
            let target = statement.objects.iter().position(|object| object.role == Role::Target)?;
            let (change, role) = shadow_of(rules, statement, objects, target)?;
            let made = statement.kind.0 == "create_table" && !change.shadow.ends_with("_old");
            (made || role == ShadowRole::Copy).then_some(change)
        }
        "rename_table" => statement.items.iter().find_map(|item| {
            let [old, new] = item.objects[..] else { return None };
            let (change, role) = shadow_of(rules, statement, objects, old)?;
            let new = statement.objects.get(new)?;
            let same = |one: &str, other: &str| rules.compared(one) == rules.compared(other);
            let swapped_in = same(&new.name, &change.table) && same(&new.database, change.database);
            (role == ShadowRole::Copy && swapped_in).then_some(change)
        }),
        _ => None,
    }
}

/// The table that the object at `index` shadows: a table that a table rule selects, while no rule speaks of the shadow.
fn shadow_of<'a>(
    rules: &RuleSet,
    statement: &'a Statement,
    objects: &[ObjectVerdict],
    index: usize,
) -> Option<(OnlineChange<'a>, ShadowRole)> {
    let object = statement.objects.get(index)?;
    let unspoken = objects.get(index)?.decision.by == DecidedBy::Nothing;
    if object.object_type != ObjectType::Table || !unspoken {
        return None;
    }
    let Shadow { table, role, .. } = rules.shadow(&object.database, &object.name)?;
    Some((OnlineChange { database: &object.database, shadow: &object.name, table }, role))
}
