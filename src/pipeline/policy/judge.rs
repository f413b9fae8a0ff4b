//! The judgement itself.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ddl::{self, Class, Context, Kind, MappedName, Object, ObjectType, Role, Statement, rewrite};
use crate::pipeline::rules::{DecidedBy, Decision, Definition, FollowedTable, Learned, RuleSet, Selection, name_fits};

use super::definer;
use super::fold::{self, Fold};
use super::kinds::is_dml;
use super::online;
use super::rename;
use super::settings::Choice;
use super::verdict::{Action, ObjectVerdict, Reason, Verdict};

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

/// Names in a RENAME that no rule selects and that go out all the same.
#[derive(Default)]
struct Passing {
    /// Names that a table passes through, each with the object whose new database it shares.
    scratch: HashMap<usize, usize>,
    /// Names that the selection follows.
    followed: HashMap<usize, FollowedTable>,
}

struct Judge<'a> {
    rules: &'a RuleSet,
    statement: &'a Statement,
    sql: &'a [u8],
    context: &'a Context<'a>,
    objects: Vec<ObjectVerdict>,
    learned: Option<Learned>,
}

/// Whether a kind goes out, by the class and the keys that speak of it.
enum KindVerdict {
    Forward(&'static str),
    Not(Action, Reason, &'static str, String),
}

/// How the targets agree.
enum Targets {
    /// All that is listed goes out.
    All,
    /// Only these elements go out, and why.
    Some(Vec<usize>, Reason, String),
    /// The statement does not go out.
    Not(Action, Reason, String, String),
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

    /// What decides. The stored functions of a statement that only calls are its targets.
    fn targets(&self) -> Vec<usize> {
        let is_target = |index: &usize| {
            let object = &self.statement.objects[*index];
            object.role == Role::Target || is_called_for_effect(self.statement, object)
        };
        (0..self.statement.objects.len()).filter(is_target).collect()
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
        let sentence = match word {
            Reason::Excluded => format!("{} is excluded", self.name(index)),
            _ => format!("no rule selects {}", self.name(index)),
        };
        self.ends(Action::Skip, word, &rule, sentence)
    }

    /// Whether the selection learns a name from it.
    fn follows_more(&self) -> bool {
        let known = &self.rules.learned().followed;
        self.learned.as_ref().is_some_and(|learned| learned.followed.iter().any(|table| !known.contains(table)))
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

    /// A table that may be the shadow of one of several: the tools cut long names off.
    fn doubtful_shadow(&self) -> Option<String> {
        if self.statement.temporary || !matches!(self.statement.kind.0, "create_table" | "alter_table" | "rename_table")
        {
            return None;
        }
        let (object, several) = self.statement.objects.iter().zip(&self.objects).find_map(|(object, verdict)| {
            let looked_at = object.object_type == ObjectType::Table
                && object.role == Role::Target
                && verdict.decision.by == DecidedBy::Nothing;
            let several = looked_at.then(|| self.rules.doubtful_shadow(&object.database, &object.name)).flatten()?;
            Some((object, several))
        })?;
        Some(format!(
            "{0}.{1} has a name that gh-ost and pt-online-schema-change cut off where it is too long, and may belong to {2}; exclude \
             \"{0}.{1}\" if it is no table of theirs, or select the one table of the change by its whole name and no other that begins so",
            object.database,
            object.name,
            several.join(" or ")
        ))
    }

    /// The trigger of an online schema change that goes out with its table.
    fn tool_trigger(&self) -> Option<Decision> {
        let trigger = self.statement.objects.iter().find(|object| object.object_type == ObjectType::Trigger)?;
        self.rules.tool_trigger(&trigger.database, &trigger.name)
    }

    /// What the keys say of the statement's kind.
    fn kind_verdict(&self) -> KindVerdict {
        let policy = self.rules.policy();
        let kind = self.statement.kind.0;
        // The servers count ALTER VIEW as a CREATE VIEW; users know two statements.
        let name = if kind == "create_view" && begins_with_alter(self.sql) { "alter_view" } else { kind };
        if policy.deny.contains(name) {
            let sentence = format!("ddl.deny holds {name}");
            return KindVerdict::Not(Action::Skip, Reason::Denied, "ddl.deny", sentence);
        }
        if self.statement.objects.iter().any(|object| is_called_for_effect(self.statement, object)) {
            return KindVerdict::Forward("ddl.supported");
        }
        let allowed = policy.allow.contains(name);
        // Where changes come as statements, the copy is kept up to date by the tool's triggers, at the replica too.
        if matches!(kind, "create_trigger" | "drop_trigger")
            && policy.supported == Choice::Forward
            && self.objects.iter().any(|object| object.is_selected() && object.decision.by == DecidedBy::Shadow)
            && self.tool_trigger().is_some()
        {
            return KindVerdict::Forward("ddl.online_ddl");
        }
        if self.statement.class == Class::Supported || allowed {
            // Temporary tables are in no two servers at once: in statement format they are a part of the DML around them.
            if policy.supported == Choice::Skip && !is_dml(kind) && !self.statement.temporary {
                let sentence = "ddl.supported = \"skip\": definitions do not go out on this route".to_owned();
                return KindVerdict::Not(Action::Skip, Reason::SupportedSkipped, "ddl.supported", sentence);
            }
            return KindVerdict::Forward(if allowed { "ddl.allow" } else { "ddl.supported" });
        }
        // Comments only. Nothing runs at the source, but a replica of another version may open a version comment in it.
        if kind == "empty_query" && !(self.rules.selects_everything() && policy.unsupported == Choice::Forward) {
            let sentence = "it holds nothing but comments".to_owned();
            return KindVerdict::Not(Action::Skip, Reason::Unsupported, "ddl.unsupported", sentence);
        }
        match action_of(policy.unsupported) {
            Action::Forward => KindVerdict::Forward("ddl.unsupported"),
            Action::Stop => KindVerdict::Not(
                Action::Stop,
                Reason::Unsupported,
                "ddl.unsupported",
                format!(
                    "statements of kind {kind} are not on the supported list; ddl.unsupported = \"skip\" leaves them out, ddl.allow = [\"{kind}\"] \
                     lets this kind pass"
                ),
            ),
            action => KindVerdict::Not(
                action,
                Reason::Unsupported,
                "ddl.unsupported",
                format!("statements of kind {kind} are not on the supported list"),
            ),
        }
    }

    /// Whether the targets are all selected, and what to do if they are not.
    fn agreement(&self, targets: &[usize], passing: &mut Passing) -> Targets {
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
                "it changes database {} as a whole, of which only some tables are selected; ddl.deny leaves statements of kind {} out",
                self.name(partly),
                statement.kind.0
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

    /// Old and new name of `ALTER TABLE … RENAME`. MariaDB's CONVERT PARTITION names a second table too, after the word TABLE.
    fn renamed_by_alter(&self, targets: &[usize]) -> Option<(usize, usize)> {
        let [old, new] = targets[..] else { return None };
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

    /// What `reference` says of the objects that the statement names besides its targets; `None` where there is nothing to say.
    fn reference_problem(&self) -> Option<(Action, String)> {
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

    /// The statement goes out with its names mapped.
    fn goes_out(
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
    fn goes_out_instead(self, definition: &Definition, learned: Learned, sentence: String) -> Verdict {
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

    /// The tables that a statement renames, by the objects that mention their first and their last name.
    fn moves(&self) -> Vec<(usize, usize)> {
        if self.statement.kind.0 == "rename_table" {
            let moves = rename::moves(self.rules, self.statement).map(|(moves, _)| moves).unwrap_or_default();
            return moves.iter().map(|step| (step.from, step.to)).collect();
        }
        self.renamed_by_alter(&self.targets()).into_iter().collect()
    }

    /// What is followed after the statement; `None` where that is no news, an error where the selection cannot follow.
    fn followed_after(&self, moves: &[(usize, usize)]) -> Result<Option<Learned>, String> {
        if self.rules.policy().rename_out != Choice::Follow || self.statement.temporary {
            return Ok(None);
        }
        let mut learned = rename::after_moves(self.rules, self.statement, &self.objects, moves)?;
        if self.statement.kind.0 == "drop_table" {
            for object in self.statement.objects.iter().filter(|object| object.role == Role::Target) {
                rename::forget(self.rules, &mut learned, &object.database, &object.name);
            }
        }
        Ok((learned != **self.rules.learned()).then_some(learned))
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

    /// The statement goes out as it is, under its default database's new name.
    fn passes(self, word: Reason, rule: &str) -> Verdict {
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
    fn ends(self, action: Action, word: Reason, rule: &str, sentence: String) -> Verdict {
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

/// Whether a statement begins with ALTER, comments and spaces aside.
fn begins_with_alter(sql: &[u8]) -> bool {
    let mut rest = sql.trim_ascii_start();
    while let Some(comment) = rest.strip_prefix(b"/*") {
        let Some(end) = comment.windows(2).position(|pair| pair == b"*/") else { return false };
        rest = comment[end + 2..].trim_ascii_start();
    }
    rest.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"ALTER"))
}

/// Whether an object is a stored function that a statement was logged for: the servers write SELECT and DO into a binlog for
/// what the functions in them change, in statement format, as `SELECT` of one call with the function's database.
fn is_called_for_effect(statement: &Statement, object: &Object) -> bool {
    matches!(statement.kind.0, "select" | "do") && object.object_type == ObjectType::Function
}

/// What the rules say of each object.
fn decide(rules: &RuleSet, statement: &Statement) -> Vec<ObjectVerdict> {
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
