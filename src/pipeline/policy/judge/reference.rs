//! The objects that a statement names besides its targets, and texts that may name more than was found: `reference`.

use crate::ddl::Role;
use crate::pipeline::policy::verdict::Action;
use crate::pipeline::rules::Selection;

use super::{Judge, action_of};

/// Schemas that every server has with the same contents of its own: naming them is no reference to replicated data.
const ALWAYS_THERE: [&str; 2] = ["information_schema", "performance_schema"];

/// Kinds that can name objects which the finder does not look for: they go out as they are.
const NAMES_UNREAD: [&str; 10] = [
    "grant",
    "revoke",
    "flush",
    "import",
    "execute_immediate",
    "execute_sql",
    "prepare_sql",
    "create_library",
    "alter_library",
    "drop_library",
];

impl Judge<'_> {
    /// What `reference` says of the objects that the statement names besides its targets; `None` where there is nothing to say.
    pub(super) fn reference_problem(&self) -> Option<(Action, String)> {
        if self.rules.selects_everything() {
            return None;
        }
        let found = self.statement.objects.iter().zip(&self.objects).enumerate().find(|(_, (object, verdict))| {
            object.role == Role::Reference
                && !verdict.is_selected()
                && !ALWAYS_THERE.iter().any(|schema| schema.eq_ignore_ascii_case(&object.database))
        });
        let names_unread = NAMES_UNREAD.contains(&self.statement.kind.0) && self.rules.renames();
        let (mut sentence, way_on) = match found {
            Some((index, _)) => (
                format!("it names {}, which is not selected", self.name(index)),
                "; select it, or set ddl.reference = \"forward\" if it exists at the replica, or \"skip\"",
            ),
            None if (self.statement.body_opaque && !self.body_is_safe()) || names_unread => (
                "not all of its text is looked into for names, and names on this route are mapped or left out"
                    .to_owned(),
                "; look at it, and set ddl.reference = \"forward\" if it is right at the replica as it stands, or \"skip\"",
            ),
            None => return None,
        };
        match action_of(self.rules.policy().reference) {
            Action::Forward => None,
            Action::Stop => {
                sentence.push_str(way_on);
                Some((Action::Stop, sentence))
            }
            action => Some((action, sentence)),
        }
    }

    /// Whether what a body says in ways that cannot be read means the same at the replica: nothing of the route is renamed, and
    /// its own database is there as a whole.
    fn body_is_safe(&self) -> bool {
        let whole =
            self.statement.objects.iter().filter(|object| object.role == Role::Target).all(|object| {
                matches!(self.rules.decide_database(&object.database).selection, Selection::Selected { .. })
            });
        whole && !self.rules.renames()
    }
}
