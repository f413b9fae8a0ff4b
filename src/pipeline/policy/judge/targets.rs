//! Whether the targets of a statement agree, and what becomes of it where only some are selected: split, left out, or the end of the
//! route. A renamed table has two names, of which `rename_out` and `rename_in` speak.

use std::collections::HashMap;

use crate::ddl::{ObjectType, Role};
use crate::pipeline::policy::kinds::is_dml;
use crate::pipeline::policy::rename;
use crate::pipeline::policy::settings::Choice;
use crate::pipeline::policy::verdict::{Action, Reason};
use crate::pipeline::rules::FollowedTable;

use super::objects::is_called_for_effect;
use super::{Judge, action_of};

/// Names in a RENAME that no rule selects and that go out all the same.
#[derive(Default)]
pub(super) struct Passing {
    /// Names that a table passes through, each with the object whose new database it shares.
    pub(super) scratch: HashMap<usize, usize>,
    /// Names that the selection follows.
    pub(super) followed: HashMap<usize, FollowedTable>,
}

/// How the targets agree.
pub(super) enum Targets {
    /// All that is listed goes out.
    All,
    /// Only these elements go out, and why.
    Some(Vec<usize>, Reason, String),
    /// The statement does not go out.
    Not(Action, Reason, String, String),
}

impl Judge<'_> {
    /// What decides. The stored functions of a statement that only calls are its targets.
    pub(super) fn targets(&self) -> Vec<usize> {
        let is_target = |index: &usize| {
            let object = &self.statement.objects[*index];
            object.role == Role::Target || is_called_for_effect(self.statement, object)
        };
        (0..self.statement.objects.len()).filter(is_target).collect()
    }

    /// Whether the targets are all selected, and what to do if they are not.
    pub(super) fn agreement(&self, targets: &[usize], passing: &mut Passing) -> Targets {
        let statement = self.statement;
        if statement.kind.0 == "rename_table"
            && let Some(outcome) = rename::judge(self.rules, statement, &self.objects)
        {
            return match outcome {
                rename::Outcome::Keep { items, scratch, followed, dropped } => {
                    *passing = Passing { scratch, followed };
                    match dropped {
                        None => Targets::All,
                        Some((word, sentence)) => Targets::Some(items, word, sentence),
                    }
                }
                rename::Outcome::Skip(word, sentence) => Targets::Not(Action::Skip, word, rule_of(word), sentence),
                rename::Outcome::Stop(word, sentence) => Targets::Not(Action::Stop, word, rule_of(word), sentence),
            };
        }
        if let Some(sentence) = self.torn_database(targets) {
            return Targets::Not(Action::Stop, Reason::MixedTargets, "mixed targets".to_owned(), sentence);
        }
        let Some(&outside) = targets.iter().find(|&&index| !self.objects[index].is_selected()) else {
            return Targets::All;
        };
        if let Some(&partly) = targets.iter().find(|&&index| self.objects[index].partly) {
            if statement.objects[partly].object_type == ObjectType::Trigger {
                let sentence = format!(
                    "the table of trigger {} is not in the text, and only some tables of its database are selected",
                    self.name(partly)
                );
                let action = match action_of(self.rules.policy().unknown) {
                    Action::Forward => return Targets::All,
                    action => action,
                };
                return Targets::Not(action, Reason::Unknown, "ddl.unknown".to_owned(), sentence);
            }
            if statement.objects[partly].object_type == ObjectType::Function {
                let sentence = format!(
                    "it calls {}, which may change any table, and only some tables of its database are selected",
                    self.name(partly)
                );
                return match action_of(self.rules.policy().unknown) {
                    Action::Forward => Targets::All,
                    action => Targets::Not(action, Reason::Unknown, "ddl.unknown".to_owned(), sentence),
                };
            }
            let sentence = format!(
                "it changes database {} as a whole, of which only some tables are selected; {}",
                self.name(partly),
                self.way_to_leave_out()
            );
            return Targets::Not(Action::Stop, Reason::MixedTargets, "mixed targets".to_owned(), sentence);
        }
        if let Some((old, new)) = self.renamed_by_alter(targets) {
            if self.objects[old].is_selected() && self.rules.policy().rename_out == Choice::Follow {
                let name_of = |index: usize| (&*statement.objects[index].database, &*statement.objects[index].name);
                return match self.rules.follow(name_of(old), name_of(new)) {
                    Ok(table) => {
                        passing.followed.insert(new, table);
                        Targets::All
                    }
                    Err(why) => {
                        let sentence = rename::not_followed(&self.name(old), &self.name(new), &why);
                        Targets::Not(Action::Stop, Reason::RenameOut, rule_of(Reason::RenameOut), sentence)
                    }
                };
            }
            return self.alter_across_the_border(old, new);
        }
        if !statement.items.is_empty() {
            let kept: Vec<usize> = statement
                .items
                .iter()
                .enumerate()
                .filter(|(_, item)| item.objects.iter().all(|&index| self.objects[index].is_selected()))
                .map(|(index, _)| index)
                .collect();
            let sentence = format!("{} is not selected and is left out of the list", self.name(outside));
            return Targets::Some(kept, Reason::PartOfList, sentence);
        }
        let inside = targets.iter().find(|&&index| self.objects[index].is_selected()).copied().unwrap_or(outside);
        let way_on = if is_dml(statement.kind.0) {
            "; with binlog_format=ROW at the source such statements need no splitting"
        } else {
            ""
        };
        let sentence = format!(
            "it changes {}, which is selected, and {}, which is not, and cannot be split{way_on}; select both or none",
            self.name(inside),
            self.name(outside)
        );
        Targets::Not(Action::Stop, Reason::MixedTargets, "mixed targets".to_owned(), sentence)
    }

    /// Why a database cannot be dropped that is selected as a whole: at the replica it has other tables.
    fn torn_database(&self, targets: &[usize]) -> Option<String> {
        if !self.drops_database() {
            return None;
        }
        let torn = |&index: &usize| {
            let database = &self.statement.objects[index].database;
            self.rules.torn_database(database).map(|why| (database, why))
        };
        let (database, why) = targets.iter().find_map(torn)?;
        Some(format!(
            "it drops database {database} as a whole, but {why}; drop at the replica what it drops at the source and let the route go on after \
             this statement, or leave it out: {}",
            self.way_to_leave_out()
        ))
    }

    /// How a kind outside the supported list is left out that goes out now.
    fn way_to_leave_out(&self) -> String {
        let kind = self.statement.kind.0;
        if self.rules.policy().allow.contains(kind) {
            format!("ddl.allow without {kind:?} leaves statements of kind {kind} out")
        } else {
            format!(
                "ddl.unsupported = \"skip\" leaves statements of kind {kind} out, with the other unsupported kinds that are to pass in ddl.allow"
            )
        }
    }

    /// Old and new name of `ALTER TABLE … RENAME`. MariaDB's CONVERT PARTITION names a second table too, after the word TABLE.
    pub(super) fn renamed_by_alter(&self, targets: &[usize]) -> Option<(usize, usize)> {
        // A column of an expression may stand behind the table's name.
        let is_name = |index: &&usize| !self.statement.objects[**index].column_qualifier;
        let mut names = targets.iter().filter(is_name).copied();
        let (Some(old), Some(new), None) = (names.next(), names.next(), names.next()) else { return None };
        if self.statement.kind.0 != "alter_table" {
            return None;
        }
        let object = &self.statement.objects[new];
        let start = object.database_span.as_ref().map_or(object.span.start, |span| span.start);
        let before = self.sql.get(..start)?.trim_ascii_end();
        let word_start = before.iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
        (!before[word_start..].eq_ignore_ascii_case(b"TABLE")).then_some((old, new))
    }

    fn alter_across_the_border(&self, old: usize, new: usize) -> Targets {
        let policy = self.rules.policy();
        let (word, choice, way_on) = if self.objects[old].is_selected() {
            (
                Reason::RenameOut,
                policy.rename_out,
                "select the new name, or set ddl.rename_out = \"skip\" to keep the table at the replica under its old name, or \"follow\" to let \
                 the selection learn the new one",
            )
        } else {
            (
                Reason::RenameIn,
                policy.rename_in,
                "copy the table to the replica under its new name by hand and set ddl.rename_in = \"skip\" to go on",
            )
        };
        let crossing = if word == Reason::RenameOut { ("is", "is not") } else { ("is not", "is") };
        let mut sentence = format!(
            "it renames {}, which {} selected, to {}, which {}",
            self.name(old),
            crossing.0,
            self.name(new),
            crossing.1
        );
        let action = action_of(choice);
        if action == Action::Stop {
            sentence = format!("{sentence}; {way_on}");
        }
        Targets::Not(action, word, rule_of(word), sentence)
    }
}

/// The key that speaks of a reason, as a rule.
fn rule_of(word: Reason) -> String {
    match word {
        Reason::RenameOut => "ddl.rename_out",
        Reason::RenameIn => "ddl.rename_in",
        Reason::NotSelected => "not selected",
        _ => "mixed targets",
    }
    .to_owned()
}
