//! The verdicts themselves: a statement with its names mapped, another one in its place, or none.

use std::sync::Arc;

use crate::ddl::{self, Class, Context, MappedName, ObjectType, rewrite};
use crate::pipeline::policy::definer;
use crate::pipeline::policy::verdict::{Action, Reason, Verdict};
use crate::pipeline::rules::{Definition, Learned, Selection, name_fits};

use super::targets::Passing;
use super::{Judge, judge};

impl Judge<'_> {
    /// The statement goes out with its names mapped.
    pub(super) fn goes_out(
        self,
        items: Option<&[usize]>,
        passing: &Passing,
        rule: String,
        partly: Option<(Reason, String)>,
    ) -> Verdict {
        let default_database = self.default_database();
        let mut names = Vec::with_capacity(self.objects.len());
        for (index, (object, verdict)) in self.statement.objects.iter().zip(&self.objects).enumerate() {
            let (database, name) = match (passing.followed.get(&index), &verdict.decision.selection) {
                (Some(table), _) => (table.new_database.clone(), table.new_name.clone()),
                (None, Selection::Selected { database, name }) => (database.clone(), name.clone()),
                (None, Selection::NotSelected) => {
                    let through = passing.scratch.get(&index).copied();
                    (self.unselected_database(index, through), object.name.clone())
                }
            };
            let fits = |new: &str, old: &str| new == old || name_fits(new);
            if !fits(&database, &object.database) || !fits(&name, &object.name) {
                let sentence =
                    format!("the new name {database}.{name} of {} is longer than 64 characters", self.name(index));
                return self.ends(Action::Stop, Reason::UnmappableName, &rule, sentence);
            }
            // A trigger is in its table's database. A server refuses all else; such a text is left as it is.
            let misplaced = object.object_type == ObjectType::Trigger
                && self
                    .statement
                    .objects
                    .iter()
                    .find(|other| other.object_type == ObjectType::Table)
                    .is_some_and(|table| table.database != object.database);
            if !misplaced {
                names.push(MappedName { object: index, database, name });
            }
        }
        let rewritten = match rewrite(self.sql, self.statement, self.context, &names, &default_database, items) {
            Ok(text) => {
                let text = (text != self.sql).then_some(text);
                let definer = &self.rules.policy().definer;
                definer::apply(definer, self.statement, self.sql, text.as_deref(), self.context).or(text)
            }
            Err(error) => {
                return self.ends(Action::Stop, Reason::UnmappableName, &rule, error.to_string());
            }
        };
        let (action, word, reason) = match (items, partly) {
            (Some(_), Some((word, sentence))) => (Action::Split, word, Some(sentence)),
            (_, Some((word, sentence))) => (Action::Forward, word, Some(sentence)),
            _ => (Action::Forward, Reason::Selected, None),
        };
        let learned = self.learned.map(Box::new);
        Verdict {
            action,
            word,
            rule,
            reason,
            rewritten,
            default_database,
            objects: self.objects,
            learned,
            status: None,
        }
    }

    /// Another statement goes out in place of this one, judged as if it stood here.
    pub(super) fn goes_out_instead(self, definition: &Definition, learned: Learned, sentence: String) -> Verdict {
        let context = Context {
            default_database: &definition.default_database,
            sql_mode: definition.sql_mode,
            client_collation: definition.client_collation,
            ..*self.context
        };
        let statement = ddl::analyze(&definition.sql, &context);
        let rules = self.rules.with_learned(Arc::new(learned));
        let verdict = judge(&rules, &statement, &definition.sql, &context);
        let goes_out = matches!(verdict.action, Action::Forward | Action::Split);
        let reason = match &verdict.reason {
            Some(why) if !goes_out => format!("{sentence}; but {why}"),
            _ => sentence,
        };
        Verdict {
            word: if goes_out { Reason::OnlineDdl } else { verdict.word },
            rule: if goes_out { "ddl.online_ddl".to_owned() } else { verdict.rule },
            reason: Some(reason),
            rewritten: goes_out.then(|| verdict.rewritten.unwrap_or_else(|| definition.sql.clone())),
            learned: verdict.learned.or_else(|| Some(Box::new((**rules.learned()).clone()))),
            status: (!definition.status.is_empty()).then(|| definition.status.clone()),
            action: verdict.action,
            default_database: verdict.default_database,
            objects: self.objects,
        }
    }

    /// The statement goes out as it is, under its default database's new name.
    pub(super) fn passes(self, word: Reason, rule: &str) -> Verdict {
        let database = self.context.default_database;
        let default_database =
            if self.rules.database_touched(database) { self.rules.default_database(database) } else { String::new() };
        Verdict {
            action: Action::Forward,
            word,
            rule: rule.to_owned(),
            reason: None,
            rewritten: None,
            default_database,
            objects: self.objects,
            learned: None,
            status: None,
        }
    }

    /// The statement does not go out.
    pub(super) fn ends(self, action: Action, word: Reason, rule: &str, sentence: String) -> Verdict {
        Verdict {
            action,
            word,
            rule: rule.to_owned(),
            reason: Some(sentence),
            rewritten: None,
            default_database: self.rules.default_database(self.context.default_database),
            objects: self.objects,
            // Where the route ends nothing is learned; only a schema change knows what holds behind its end.
            learned: self.learned.filter(|_| action != Action::Stop).map(Box::new),
            status: None,
        }
    }

    /// The database under which a name goes out that is not selected: that of the table that passes through it, or the new name of
    /// its own database where that is selected as a whole, or its own.
    fn unselected_database(&self, index: usize, passing: Option<usize>) -> String {
        let database = &self.statement.objects[index].database;
        let of_the_table = passing.and_then(|first| match &self.objects[first].decision.selection {
            Selection::Selected { database, .. } => Some(database.clone()),
            Selection::NotSelected => None,
        });
        of_the_table.or_else(|| self.rules.database(database)).unwrap_or_else(|| database.clone())
    }

    /// The default database at the replica. One of which nothing is selected is not named there without need: it is left away, unless
    /// the text needs it. (5.6, 5.7, 9.7 and MariaDB 10.11 apply statements whose default database they do not have.)
    fn default_database(&self) -> String {
        let database = self.context.default_database;
        if self.rules.database_touched(database) {
            return self.rules.default_database(database);
        }
        let needed =
            self.statement.class == Class::Unknown
                || self.statement.body_opaque
                || self.statement.objects.iter().any(|object| {
                    object.database_span.is_none() && object.inherits.is_none() && !object.column_qualifier
                });
        if needed { database.to_owned() } else { String::new() }
    }
}
