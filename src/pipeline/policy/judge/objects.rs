//! What the rules say of each object that a statement names.

use crate::ddl::{Object, ObjectType, Statement};
use crate::pipeline::policy::verdict::ObjectVerdict;
use crate::pipeline::rules::{DecidedBy, Decision, RuleSet, Selection};

/// Whether an object is a stored function that a statement was logged for: the servers write SELECT and DO into a binlog for
/// what the functions in them change, in statement format, as `SELECT` of one call with the function's database.
pub(super) fn is_called_for_effect(statement: &Statement, object: &Object) -> bool {
    matches!(statement.kind.0, "select" | "do") && object.object_type == ObjectType::Function
}

/// What the rules say of each object.
pub(super) fn decide(rules: &RuleSet, statement: &Statement) -> Vec<ObjectVerdict> {
    // A trigger lives with its table, which CREATE TRIGGER names first after it.
    let trigger_table = (statement.kind.0 == "create_trigger")
        .then(|| statement.objects.iter().find(|object| object.object_type == ObjectType::Table))
        .flatten()
        .map(|table| rules.decide_table(&table.database, &table.name));
    statement
        .objects
        .iter()
        .map(|object| {
            if object.database.is_empty() && !rules.selects_everything() {
                return ObjectVerdict {
                    decision: Decision { selection: Selection::NotSelected, by: DecidedBy::Nothing },
                    partly: false,
                };
            }
            let tool_trigger = (object.object_type == ObjectType::Trigger)
                .then(|| rules.tool_trigger(&object.database, &object.name))
                .flatten();
            if let Some(decision) = tool_trigger {
                return ObjectVerdict { decision, partly: false };
            }
            let decision = match (&trigger_table, object.object_type) {
                (Some(table), ObjectType::Trigger) => Decision {
                    selection: match &table.selection {
                        Selection::Selected { database, .. } => {
                            Selection::Selected { database: database.clone(), name: object.name.clone() }
                        }
                        Selection::NotSelected => Selection::NotSelected,
                    },
                    by: table.by,
                },
                _ => rules.decide_object(object.object_type, &object.database, &object.name),
            };
            let partly = decision.by == DecidedBy::Nothing
                && trigger_table.is_none()
                && (matches!(object.object_type, ObjectType::Database | ObjectType::Trigger)
                    || is_called_for_effect(statement, object))
                && rules.database_touched(&object.database);
            ObjectVerdict { decision, partly }
        })
        .collect()
}
