//! The judgement itself: the questions in their order. Each has a module of its own.

mod kind;
mod learning;
mod objects;
mod outcome;
mod reference;
mod targets;

use std::ops::Range;

use crate::ddl::{Class, Context, Kind, Object, ObjectType, Role, Statement, lexemes};
use crate::pipeline::rules::{DecidedBy, Learned, RuleSet};

use super::fold::{self, Fold};
use super::kinds::is_dml;
use super::online;
use super::settings::Choice;
use super::verdict::{Action, ObjectVerdict, Reason, Verdict};

use kind::KindVerdict;
use objects::decide;
use targets::{Passing, Targets};

/// Judges one statement by the objects that it names. Pure, and linear in their number.
pub fn judge(rules: &RuleSet, statement: &Statement, sql: &[u8], context: &Context<'_>) -> Verdict {
    if rules.passes_all_but_origins() {
        return Verdict {
            action: Action::Forward,
            word: Reason::Transparent,
            rule: "transparent".to_owned(),
            reason: None,
            rewritten: None,
            default_database: context.default_database.to_owned(),
            objects: Vec::new(),
            learned: None,
            status: None,
        };
    }
    let objects = decide(rules, statement);
    Judge { rules, statement, sql, context, objects, learned: None }.verdict()
}

/// What is learned from a statement that does not go out because of its origin: the source's tables have other names after it all the
/// same. An error says why the selection cannot follow.
pub fn effect(
    rules: &RuleSet,
    statement: &Statement,
    sql: &[u8],
    context: &Context<'_>,
) -> Result<Option<Learned>, String> {
    let objects = decide(rules, statement);
    let judge = Judge { rules, statement, sql, context, objects, learned: None };
    let moves = judge.moves();
    judge.followed_after(&moves)
}

struct Judge<'a> {
    rules: &'a RuleSet,
    statement: &'a Statement,
    sql: &'a [u8],
    context: &'a Context<'a>,
    objects: Vec<ObjectVerdict>,
    learned: Option<Learned>,
}

impl Judge<'_> {
    fn verdict(mut self) -> Verdict {
        let statement = self.statement;
        if statement.class == Class::Transaction {
            return self.passes(Reason::Transaction, "transaction");
        }
        if statement.class == Class::Unknown || statement.kind == Kind::UNKNOWN {
            return self.unknown();
        }
        if let Some(doubt) = self.doubtful_shadow() {
            return self.ends(Action::Stop, Reason::OnlineDdl, "ddl.online_ddl", doubt);
        }
        if self.rules.learns() && !statement.temporary {
            let moves = self.moves();
            if self.rules.policy().online_ddl == Choice::Fold {
                match fold::judge(self.rules, statement, self.sql, self.context, &self.objects, &moves) {
                    Some(Fold::Pass(learned)) => self.learned = Some(learned),
                    Some(Fold::Skip(sentence, learned)) => {
                        self.learned = learned;
                        return self.ends(Action::Skip, Reason::OnlineDdl, "ddl.online_ddl", sentence);
                    }
                    Some(Fold::Stop(word, sentence, learned)) => {
                        let verdict = self.ends(Action::Stop, word, "ddl.online_ddl", sentence);
                        return Verdict { learned: learned.map(Box::new), ..verdict };
                    }
                    Some(Fold::Instead(definition, learned, sentence)) => {
                        return self.goes_out_instead(&definition, learned, sentence);
                    }
                    None => {}
                }
            }
            // What cannot be followed stops the route below, where the statement goes out.
            if let Ok(Some(mut learned)) = self.followed_after(&moves) {
                if let Some(folded) = self.learned.take() {
                    learned.changes = folded.changes;
                }
                self.learned = Some(learned);
            }
        }
        let targets: Vec<usize> = self.targets();
        let touched = targets.iter().any(|&index| self.objects[index].is_selected() || self.objects[index].partly);
        if !targets.is_empty() && !touched && !self.rules.selects_everything() {
            return self.not_selected(&targets);
        }
        let kind_rule = match self.kind_verdict() {
            KindVerdict::Forward(rule) => rule,
            KindVerdict::Not(Action::Skip, _, rule, sentence) if self.follows_more() => {
                let sentence = format!(
                    "it renames a selected table to a name that is not, and {sentence}: with the name unknown at the replica, its rows would go nowhere; \
                     rename the table there and select the new name"
                );
                return self.ends(Action::Stop, Reason::RenameOut, rule, sentence);
            }
            KindVerdict::Not(action, word, rule, sentence) => return self.ends(action, word, rule, sentence),
        };
        if targets.is_empty() && statement.class == Class::Supported && !self.rules.selects_everything() {
            let action = action_of(self.rules.policy().unknown);
            let sentence = "the objects that it changes were not found in its text".to_owned();
            return self.ends(action, Reason::Unknown, "ddl.unknown", sentence);
        }
        if let Some(change) = self.online_change() {
            return self.ends(Action::Stop, Reason::OnlineDdl, "ddl.online_ddl", change);
        }
        let mut passing = Passing::default();
        let agreement = self.agreement(&targets, &mut passing);
        let (items, partly) = match agreement {
            Targets::All => (None, None),
            Targets::Some(items, word, sentence) => (Some(items), Some((word, sentence))),
            Targets::Not(action, word, rule, sentence) => return self.ends(action, word, &rule, sentence),
        };
        if let Some((action, sentence)) = self.reference_problem() {
            return self.ends(action, Reason::Reference, "ddl.reference", sentence);
        }
        let rule = match targets.iter().find(|&&index| self.objects[index].is_selected()) {
            Some(&index) => self.objects[index].decision.by.to_string(),
            None if self.rules.selects_everything() => DecidedBy::NoObjects.to_string(),
            None => kind_rule.to_owned(),
        };
        self.goes_out(items.as_deref(), &passing, rule, partly)
    }

    /// A statement that does not go out calls a function of a database of the route: it may write what is selected. Only DML is looked at,
    /// which runs the functions that it names.
    fn calls_into_the_route(&self) -> Option<usize> {
        let is_called = |(object, verdict): (&Object, &ObjectVerdict)| {
            object.object_type == ObjectType::Function
                && (verdict.is_selected() || self.rules.database_touched(&object.database))
        };
        if !is_dml(self.statement.kind.0) {
            return None;
        }
        self.statement.objects.iter().zip(&self.objects).position(is_called)
    }

    /// A selected table with which a partition is exchanged. It is a reference in the text, but the statement changes it too, and no row
    /// event says so.
    fn exchanged(&self) -> Option<usize> {
        if self.statement.kind.0 != "alter_table" {
            return None;
        }
        let is_exchanged = |(object, verdict): (&Object, &ObjectVerdict)| {
            object.object_type == ObjectType::Table
                && object.role == Role::Reference
                && verdict.is_selected()
                && self.follows_with_table(object)
        };
        self.statement.objects.iter().zip(&self.objects).position(is_exchanged)
    }

    /// Whether the words before an object's name are WITH TABLE.
    fn follows_with_table(&self, object: &Object) -> bool {
        let start = object.database_span.as_ref().map_or(object.span.start, |span| span.start);
        let mut before = [0..0, 0..0];
        for token in lexemes(self.sql, self.context).take_while(|token| token.span.start < start) {
            before.rotate_left(1);
            before[1] = token.span;
        }
        let is = |span: &Range<usize>, word: &[u8]| {
            self.sql.get(span.clone()).is_some_and(|text| text.eq_ignore_ascii_case(word))
        };
        is(&before[0], b"WITH") && is(&before[1], b"TABLE")
    }

    fn unknown(self) -> Verdict {
        let doubt = self.statement.doubt.as_deref().unwrap_or("nobody can say what it is");
        let sentence = format!(
            "it could not be read with certainty: {doubt}; ddl.unknown = \"skip\" or \"forward\" lets the route go on"
        );
        match action_of(self.rules.policy().unknown) {
            Action::Forward => {
                let rule = "ddl.unknown".to_owned();
                self.goes_out(None, &Passing::default(), rule, Some((Reason::Unknown, sentence)))
            }
            action => self.ends(action, Reason::Unknown, "ddl.unknown", sentence),
        }
    }

    fn not_selected(self, targets: &[usize]) -> Verdict {
        if let Some(change) = self.online_change() {
            return self.ends(Action::Stop, Reason::OnlineDdl, "ddl.online_ddl", change);
        }
        let excluded =
            targets.iter().find(|&&index| matches!(self.objects[index].decision.by, DecidedBy::Exclusion(_)));
        let index = *excluded.unwrap_or(&targets[0]);
        if let Some(partner) = self.exchanged().filter(|_| matches!(self.kind_verdict(), KindVerdict::Forward(_))) {
            let sentence = format!(
                "it gives {}, which is selected, the rows of a partition of {}, which is not; select both or none, or bring these rows to the \
                 replica by hand and let the route go on after this statement",
                self.name(partner),
                self.name(index)
            );
            return self.ends(Action::Stop, Reason::MixedTargets, "mixed targets", sentence);
        }
        if let Some(function) = self.calls_into_the_route() {
            let sentence = format!(
                "it changes {}, which is not selected, but calls {}, which may change what is selected; ddl.unknown = \"skip\" says that it does not",
                self.name(index),
                self.name(function)
            );
            match action_of(self.rules.policy().unknown) {
                Action::Stop => return self.ends(Action::Stop, Reason::Unknown, "ddl.unknown", sentence),
                Action::Skip | Action::Forward | Action::Split => {}
            }
        }
        let (word, rule) = match self.objects[index].decision.by {
            by @ DecidedBy::Exclusion(_) => (Reason::Excluded, by.to_string()),
            by => (Reason::NotSelected, by.to_string()),
        };
        let object = &self.statement.objects[index];
        let sentence = match word {
            Reason::Excluded => match self.rules.excluded_shadow(&object.database, &object.name) {
                Some(table) if object.object_type == ObjectType::Table => format!(
                    "{} looks like the shadow table of an online schema change of {}.{table}, which is excluded; a table entry that names it \
                     in full selects it",
                    self.name(index),
                    object.database
                ),
                _ => format!("{} is excluded", self.name(index)),
            },
            _ => format!("no rule selects {}", self.name(index)),
        };
        self.ends(Action::Skip, word, &rule, sentence)
    }

    fn online_change(&self) -> Option<String> {
        if self.rules.policy().online_ddl != Choice::Stop {
            return None;
        }
        let change = online::find(self.rules, self.statement, &self.objects)?;
        Some(format!(
            "{0}.{1} looks like the shadow table of an online schema change of {0}.{2}, which a table rule selects: ddl.online_ddl = \
             \"forward\" lets the tool's tables follow their table. Or select the whole database, or exclude \"{0}.{1}\" if it is none, or stop the \
             tool and run the ALTER TABLE",
            change.database, change.shadow, change.table
        ))
    }

    /// A table that may be the shadow of one of several: the tools cut long names off, and add underscores. Where its rows may be those of an
    /// excluded table, changes of them are looked at too: the statement that made it may have been before the route began.
    fn doubtful_shadow(&self) -> Option<String> {
        let makes = matches!(self.statement.kind.0, "create_table" | "alter_table" | "rename_table");
        if self.statement.temporary || !(makes || is_dml(self.statement.kind.0)) {
            return None;
        }
        let (targets, objects) = (self.statement.objects.iter(), self.objects.iter());
        let mut targets = targets
            .zip(objects)
            .filter(|(object, _)| object.object_type == ObjectType::Table && object.role == Role::Target);
        let of_excluded = targets
            .clone()
            .filter(|(_, verdict)| verdict.is_selected())
            .find_map(|(object, _)| self.rules.doubtful_excluded_shadow(&object.database, &object.name));
        if of_excluded.is_some() || !makes {
            return of_excluded;
        }
        let (object, several) = targets.find_map(|(object, verdict)| {
            let looked_at = object.object_type == ObjectType::Table
                && object.role == Role::Target
                && verdict.decision.by == DecidedBy::Nothing;
            let several = looked_at.then(|| self.rules.doubtful_shadow(&object.database, &object.name)).flatten()?;
            Some((object, several))
        })?;
        Some(format!(
            "{0}.{1} has a name that gh-ost or pt-online-schema-change can have made for {2}: they cut long names off and put underscores \
             in front. Exclude \"{0}.{1}\" if it is no table of theirs, or select the one table of the change by its whole name and no \
             other that fits",
            object.database,
            object.name,
            several.join(" or ")
        ))
    }

    fn name(&self, index: usize) -> String {
        let object = &self.statement.objects[index];
        if object.object_type == ObjectType::Database {
            object.database.clone()
        } else if object.database.is_empty() {
            format!("{} (in no database: there is no default)", object.name)
        } else {
            format!("{}.{}", object.database, object.name)
        }
    }
}

fn action_of(choice: Choice) -> Action {
    match choice {
        Choice::Forward | Choice::Follow | Choice::Fold => Action::Forward,
        Choice::Skip => Action::Skip,
        Choice::Stop => Action::Stop,
    }
}
