//! Online schema changes as one ALTER TABLE: the tools' work on the copy does not go out, and where the copy takes the table's name, the
//! ALTER that ran on the copy goes out for the table.
//!
//! gh-ost: CREATE TABLE `_t_gho` LIKE t, ALTER `_t_gho` (and one more that only sets AUTO_INCREMENT), rows, then
//! RENAME t TO `_t_del`, `_t_gho` TO t; or in two steps, each an ALTER … RENAME. pt-online-schema-change: CREATE TABLE `_t_new` (the text of
//! SHOW CREATE TABLE), ALTER, triggers, rows, then RENAME t TO `_t_old`, `_t_new` TO t; or DROP TABLE t and RENAME `_t_new` TO t.
//!
//! Only what leads to the same table at the replica is folded. All else stops the route, as early as it can be told.

mod alter;
mod words;

use crate::ddl::{Context, MappedName, Object, ObjectType, Role, Statement, lexemes, rewrite};
use crate::pipeline::rules::{
    DecidedBy, Definition, Learned, MAX_LEARNED, OnlineChange, RuleSet, Shadow, ShadowRole, TablePlace,
};

use super::kinds::is_dml;
use super::verdict::{ObjectVerdict, Reason};

/// The longest ALTER TABLE that is kept for the swap, in bytes.
const MAX_DEFINITION: usize = 1 << 20;

/// How the tools sign the statements by which they write to their copy.
const TOOLS: [&[u8]; 2] = [b"/* gh-ost ", b"/*pt-online-schema-change "];

/// What to do where a swap cannot be folded.
const BY_HAND: &str = "make the same change at the replica by hand and let it go on after this statement: at a position after it, or with \
                       GTIDs by an empty transaction in its place";

/// What becomes of a statement that has to do with an online schema change.
pub(super) enum Fold {
    /// It goes its own way, and this is learned from it.
    Pass(Learned),
    /// It does not go out.
    Skip(String, Option<Learned>),
    /// The route ends before it. Who goes on behind it has made the change by hand: this holds there.
    Stop(Reason, String, Option<Learned>),
    /// This goes out in its place.
    Instead(Definition, Learned, String),
}

/// Looks at a statement; `None` where it has nothing to do with a schema change. `moves` are the tables that it renames.
pub(super) fn judge(
    rules: &RuleSet,
    statement: &Statement,
    sql: &[u8],
    context: &Context<'_>,
    objects: &[ObjectVerdict],
    moves: &[(usize, usize)],
) -> Option<Fold> {
    let folder = Folder { rules, statement, sql, context, objects };
    if !moves.is_empty() {
        return folder.renames(moves);
    }
    let target = statement.objects.iter().position(|object| object.role == Role::Target)?;
    match statement.kind.0 {
        "create_table" => folder.creates(target),
        "alter_table" | "create_index" | "drop_index" | "truncate" => folder.changes(target),
        "drop_table" => folder.drops(),
        "drop_db" => folder.drops_database(target),
        kind if is_dml(kind) => folder.writes(),
        _ => None,
    }
}

struct Folder<'a> {
    rules: &'a RuleSet,
    statement: &'a Statement,
    sql: &'a [u8],
    context: &'a Context<'a>,
    objects: &'a [ObjectVerdict],
}

impl<'a> Folder<'a> {
    /// The table that the object at `index` shadows, where no rule speaks of the object itself.
    fn shadow(&self, index: usize) -> Option<Shadow<'a>> {
        let object = self.statement.objects.get(index)?;
        let unspoken = self.objects.get(index)?.decision.by == DecidedBy::Nothing;
        (object.object_type == ObjectType::Table && unspoken)
            .then(|| self.rules.shadow(&object.database, &object.name))
            .flatten()
    }

    /// The same for a tool's copy.
    fn copy(&self, index: usize) -> Option<Shadow<'a>> {
        self.shadow(index).filter(|shadow| shadow.role == ShadowRole::Copy)
    }

    fn database(&self, index: usize) -> &'a str {
        &self.statement.objects[index].database
    }

    fn named(&self, index: usize) -> &'a str {
        &self.statement.objects[index].name
    }

    fn learned(&self) -> Learned {
        (**self.rules.learned()).clone()
    }

    /// The words without quotes from a place of the text on. Version comments are read for every server: what a word can do here is to
    /// stop a route.
    fn words(&self, from: usize) -> impl Iterator<Item = &'a [u8]> {
        let sql = self.sql;
        let context = Context { version: u32::MAX, ..*self.context };
        let found = lexemes(sql, &context).filter(move |token| token.bare && token.span.start >= from);
        found.filter_map(move |token| sql.get(token.span))
    }

    /// The words without quotes before the name of the object at `index`.
    fn words_before(&self, index: usize) -> impl Iterator<Item = &'a [u8]> {
        let object = &self.statement.objects[index];
        let start = object.database_span.as_ref().unwrap_or(&object.span).start;
        let sql = self.sql.get(..start).unwrap_or_default();
        let found = lexemes(sql, self.context).filter(|token| token.bare);
        found.filter_map(move |token| sql.get(token.span))
    }

    /// Whether a CREATE TABLE has the form that SHOW CREATE TABLE gives, of which pt-online-schema-change makes its copy.
    fn is_as_shown(&self, target: usize) -> bool {
        let rest = self.sql.get(self.statement.objects[target].span.end..).unwrap_or_default();
        let behind = |text: &'a [u8], words: &[u8]| {
            let at = text.windows(words.len()).position(|window| window == words)?;
            text.get(at + words.len()..)
        };
        rest.starts_with(b" (\n  `")
            && behind(rest, b"\n) ").is_some_and(|options| behind(options, b"ENGINE=").is_some())
    }

    /// Whether a statement that renames a table does nothing else to it.
    fn only_renames(&self, from: usize, to: usize) -> bool {
        if self.statement.kind.0 != "alter_table" {
            return true;
        }
        let (old, new) = (&self.statement.objects[from], &self.statement.objects[to]);
        let new_start = new.database_span.as_ref().unwrap_or(&new.span).start;
        let context = Context { version: u32::MAX, ..*self.context };
        let mut between = Vec::new();
        for token in lexemes(self.sql, &context).filter(|token| token.span.start >= old.span.end) {
            let text = self.sql.get(token.span.clone()).unwrap_or_default().to_ascii_uppercase();
            if token.span.end <= new_start {
                between.push(text);
            } else if token.span.start >= new.span.end && text != b";" {
                return false;
            }
        }
        let between: Vec<&[u8]> = between.iter().map(Vec::as_slice).collect();
        matches!(between[..], [b"RENAME"] | [b"RENAME", b"TO" | b"AS" | b"="])
    }

    /// The place of the change of a table in what is learned.
    fn change_of(&self, database: &str, table: &str) -> Option<usize> {
        let changes = &self.rules.learned().changes;
        changes
            .iter()
            .position(|change| self.rules.same(&change.table, table) && self.rules.same(&change.database, database))
    }

    /// The place of the change whose copy this is.
    fn change_by_copy(&self, database: &str, shadow: &str) -> Option<usize> {
        let changes = &self.rules.learned().changes;
        changes
            .iter()
            .position(|change| self.rules.same(&change.shadow, shadow) && self.rules.same(&change.database, database))
    }

    /// What is learned when the change at this place is another one.
    fn with(&self, place: usize, edit: impl FnOnce(&mut OnlineChange)) -> Learned {
        let mut learned = self.learned();
        edit(&mut learned.changes[place]);
        learned
    }

    fn without(&self, place: usize) -> Learned {
        let mut learned = self.learned();
        learned.changes.remove(place);
        learned
    }

    /// CREATE TABLE of a copy, or of a table whose change is at the point where it has no name.
    fn creates(&self, target: usize) -> Option<Fold> {
        let (database, name) = (self.database(target), self.named(target));
        if let Some(place) = self.change_of(database, name) {
            let change = &self.rules.learned().changes[place];
            return match change.table_place {
                TablePlace::InPlace => None,
                _ => Some(Fold::Stop(
                    Reason::OnlineDdl,
                    format!(
                        "it makes {database}.{name} anew, which was dropped or moved away while an online schema change ran, so that it \
                         was kept at the replica for the swap; drop it there, make the new one by hand and let the route go on after this statement"
                    ),
                    Some(self.without(place)),
                )),
            };
        }
        let shadow = self.copy(target)?;
        let table = &*shadow.table;
        let mut learned = self.learned();
        // What is left of an earlier change of the table, or with a copy of this name, is over: its end was made by hand, or it was
        // given up where the stream did not see it.
        learned.changes.retain(|change| {
            let is_other = !self.rules.same(&change.shadow, name) && !self.rules.same(&change.table, table);
            is_other || !self.rules.same(&change.database, database)
        });
        let mut references = self.statement.objects.iter().filter(|object| object.role == Role::Reference).peekable();
        let only_its_table = references.peek().is_some()
            && references
                .all(|object| self.rules.same(&object.name, table) && self.rules.same(&object.database, database));
        let has = |keyword: &str| self.words(0).any(|word| word.eq_ignore_ascii_case(keyword.as_bytes()));
        let (has_keys, is_like, selects) = (has("REFERENCES"), has("LIKE"), has("SELECT"));
        let no_references = !self.statement.objects.iter().any(|object| object.role == Role::Reference);
        if has_keys || selects || !(no_references || only_its_table && is_like) {
            return Some(Fold::Stop(
                Reason::OnlineDdl,
                format!(
                    "it makes a copy of {database}.{table} whose foreign keys have other names or which is made from another table, so the swap \
                     is no ALTER TABLE; set ddl.online_ddl = \"forward\" to let the tool's tables go out"
                ),
                Some(learned),
            ));
        }
        if no_references && !self.is_as_shown(target) {
            return Some(Fold::Stop(
                Reason::OnlineDdl,
                format!(
                    "it makes a copy of {database}.{table} that is neither LIKE the table nor what SHOW CREATE TABLE says of it, so the ALTER TABLE \
                     on it may not be all that the swap changes; set ddl.online_ddl = \"forward\" to let the tables go out, or exclude \
                     \"{database}.{name}\" if it is no copy"
                ),
                Some(learned),
            ));
        }
        if learned.changes.len() >= MAX_LEARNED {
            return Some(Fold::Stop(
                Reason::OnlineDdl,
                format!(
                    "more than {MAX_LEARNED} online schema changes would run: drop the copies that were left behind"
                ),
                None,
            ));
        }
        learned.changes.push(OnlineChange {
            database: database.to_owned(),
            table: table.to_owned(),
            shadow: name.to_owned(),
            definition: None,
            spoiled: None,
            table_place: TablePlace::InPlace,
        });
        Some(Fold::Skip(format!("it begins an online schema change of {database}.{table}"), Some(learned)))
    }

    /// A change of a table's definition or contents: of a copy, or of a table that has a copy.
    fn changes(&self, target: usize) -> Option<Fold> {
        let (database, name) = (self.database(target), self.named(target));
        if let Some(place) = self.change_of(database, name) {
            let what = format!("{} changed it after the copy was made", self.statement.kind.0);
            return Some(Fold::Pass(self.with(place, |change| change.spoiled = Some(what))));
        }
        let shadow = self.copy(target)?;
        // One that began before the stream did: the swap will tell.
        let place = self.change_by_copy(database, name)?;
        let change = &self.rules.learned().changes[place];
        let table = format!("{database}.{}", shadow.table);
        let why_spoiled = format!("a statement of kind {} on the copy", self.statement.kind.0);
        // Who lets it pass has a copy that no ALTER TABLE of the binlog gives.
        let passed_over = || self.with(place, |change| change.spoiled = Some(format!("{why_spoiled} was passed over")));
        let stop = |why: String| {
            Some(Fold::Stop(
                Reason::OnlineDdl,
                format!(
                    "it is part of an online schema change of {table}, and {why}. To let the tool's tables go out from here: create the copy at the \
                     replica (CREATE TABLE … LIKE the table) and set ddl.online_ddl = \"forward\""
                ),
                Some(passed_over()),
            ))
        };
        if self.statement.kind.0 != "alter_table" {
            return stop("only ALTER TABLE can be folded".to_owned());
        }
        let end = self.statement.objects[target].span.end;
        if change.definition.is_some() {
            let rest = String::from_utf8_lossy(self.sql.get(end..).unwrap_or_default()).trim().to_ascii_uppercase();
            let number =
                rest.strip_prefix("AUTO_INCREMENT").map(|rest| rest.trim_start().trim_start_matches('=').trim());
            if number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())) {
                // gh-ost takes the table's counter over, which the replica's table has already.
                return Some(Fold::Skip(format!("it sets the counter of the copy of {table}"), None));
            }
            return stop("it is the second ALTER TABLE, and two cannot always be made one".to_owned());
        }
        if self.sql.len() > MAX_DEFINITION {
            return stop(format!("it is longer than the {MAX_DEFINITION} bytes that are kept for the swap"));
        }
        let named_again = self.statement.objects.iter().enumerate().any(|(index, object)| {
            index != target && object.object_type == ObjectType::Table && self.rules.same(&object.name, name)
        });
        if named_again {
            return stop("it names the copy itself again, which has another name after the swap".to_owned());
        }
        if let Some(word) = self.words_before(target).find(|word| !is_alter_table(word)) {
            let word = String::from_utf8_lossy(word).to_ascii_uppercase();
            return stop(format!(
                "{word} in front of its name does to a table with rows what it does not do to the empty copy"
            ));
        }
        if let Some(why) = alter::refusal(self.sql, end, self.context) {
            return stop(why);
        }
        let definition = match self.retargeted(name, &shadow.table) {
            Ok(definition) => definition,
            Err(why) => return stop(why),
        };
        let learned = self.with(place, |change| change.definition = Some(definition));
        Some(Fold::Skip(format!("it goes out for {table} when the copy takes its name"), Some(learned)))
    }

    /// A statement that writes to a copy, where changes are logged as statements. The tools' own are told by their kind or by the tool's
    /// name in them; what somebody else changes in the copy no ALTER TABLE gives.
    fn writes(&self) -> Option<Fold> {
        let objects = &self.statement.objects;
        let is_copy = |object: &&Object| object.role == Role::Target && object.object_type == ObjectType::Table;
        let place =
            objects.iter().filter(is_copy).find_map(|object| self.change_by_copy(&object.database, &object.name))?;
        let change = &self.rules.learned().changes[place];
        let kind = self.statement.kind.0;
        let from_elsewhere = objects.iter().any(|object| {
            let is_own = self.rules.same(&object.name, &change.table) || self.rules.same(&object.name, &change.shadow);
            object.object_type == ObjectType::Table && !object.column_qualifier && !is_own
        });
        let is_copying = matches!(kind, "insert_select" | "replace" | "replace_select") && !from_elsewhere;
        let is_signed = TOOLS.iter().any(|tool| self.sql.windows(tool.len()).any(|window| window == *tool));
        if is_copying || is_signed || change.spoiled.is_some() {
            return None;
        }
        let what = format!("a statement of kind {kind} that is not the tool's changed the rows of the copy");
        Some(Fold::Pass(self.with(place, |change| change.spoiled = Some(what))))
    }

    /// The statement with the table in place of its copy.
    fn retargeted(&self, shadow: &str, table: &str) -> Result<Definition, String> {
        let names: Vec<MappedName> = self
            .statement
            .objects
            .iter()
            .enumerate()
            .filter(|(_, object)| self.rules.same(&object.name, shadow))
            .map(|(index, object)| MappedName {
                object: index,
                database: object.database.clone(),
                name: table.to_owned(),
            })
            .collect();
        let default_database = self.context.default_database;
        let sql = rewrite(self.sql, self.statement, self.context, &names, default_database, None)
            .map_err(|error| error.to_string())?;
        Ok(Definition {
            sql,
            default_database: default_database.to_owned(),
            sql_mode: self.context.sql_mode,
            client_collation: self.context.client_collation,
            status: Vec::new(),
        })
    }

    fn drops(&self) -> Option<Fold> {
        let targets = || {
            let is_target = |index: &usize| self.statement.objects[*index].role == Role::Target;
            (0..self.statement.objects.len()).filter(is_target)
        };
        let touched: Vec<(usize, usize, bool)> = targets()
            .filter_map(|index| {
                let (database, name) = (self.database(index), self.named(index));
                let of_table = self.change_of(database, name).map(|place| (index, place, false));
                of_table.or_else(|| self.change_by_copy(database, name).map(|place| (index, place, true)))
            })
            .collect();
        let (&(_, place, is_copy), alone) = (touched.first()?, targets().count() == 1);
        let change = &self.rules.learned().changes[place];
        let table = format!("{}.{}", change.database, change.table);
        if !alone {
            let mut learned = self.learned();
            let gone: Vec<usize> = touched.iter().map(|(_, place, _)| *place).collect();
            let mut at = 0;
            learned.changes.retain(|_| {
                at += 1;
                !gone.contains(&(at - 1))
            });
            // No tool drops several at once. Tables of this list that go out are gone at both sides, and so are their changes.
            if touched
                .iter()
                .any(|(_, place, _)| self.rules.learned().changes[*place].table_place != TablePlace::InPlace)
            {
                return Some(Fold::Stop(
                    Reason::OnlineDdl,
                    format!(
                        "it drops {table}, whose online schema change is between the two halves of its swap, among others; drop at the replica what \
                         it drops and let the route go on after this statement"
                    ),
                    Some(learned),
                ));
            }
            return Some(Fold::Pass(learned));
        }
        match (is_copy, &change.table_place) {
            (true, TablePlace::InPlace) => {
                Some(Fold::Skip(format!("the online schema change of {table} was given up"), Some(self.without(place))))
            }
            (true, TablePlace::Dropped) => match self.retargeted(&change.shadow, &change.table) {
                // The DROP of the table was no half of a swap: it goes out now.
                Ok(definition) => Some(Fold::Instead(
                    definition,
                    self.without(place),
                    format!("{table} was dropped before, and the copy that was to take its name is dropped, too"),
                )),
                Err(why) => Some(Fold::Stop(Reason::UnmappableName, why, Some(self.without(place)))),
            },
            (true, TablePlace::MovedTo(elsewhere)) => Some(Fold::Stop(
                Reason::RenameOut,
                format!(
                    "it drops the copy of {table}, which was moved to {elsewhere} for the swap and did not come back; rename the table at the \
                     replica or drop it, and let the route go on after this statement"
                ),
                Some(self.without(place)),
            )),
            (false, TablePlace::InPlace) if change.definition.is_some() => Some(Fold::Skip(
                format!("{table} stays at the replica until the copy takes its name or is dropped"),
                Some(self.with(place, |change| change.table_place = TablePlace::Dropped)),
            )),
            (false, TablePlace::InPlace) => Some(Fold::Pass(self.without(place))),
            (false, _) => Some(Fold::Stop(
                Reason::OnlineDdl,
                format!(
                    "it drops {table}, which is not there: a statement in between was not seen; drop the table at the replica and let the route \
                     go on after this statement"
                ),
                Some(self.without(place)),
            )),
        }
    }

    /// A database that is dropped takes the changes of its tables with it.
    fn drops_database(&self, target: usize) -> Option<Fold> {
        let mut learned = self.learned();
        learned.changes.retain(|change| !self.rules.same(&change.database, self.database(target)));
        (learned != **self.rules.learned()).then_some(Fold::Pass(learned))
    }

    fn renames(&self, moves: &[(usize, usize)]) -> Option<Fold> {
        // The copy that takes its table's name.
        let swap = moves.iter().find(|(from, to)| {
            self.copy(*from).is_some_and(|shadow| self.rules.same(&shadow.table, self.named(*to)))
                && self.rules.same(self.database(*from), self.database(*to))
        });
        match swap {
            Some(&(from, to)) => Some(self.swaps(from, to, moves)),
            None => self.moves_away(moves),
        }
    }

    fn swaps(&self, from: usize, to: usize, moves: &[(usize, usize)]) -> Fold {
        let (database, table) = (self.database(to), self.named(to));
        let full = format!("{database}.{table}");
        let Some(place) = self
            .change_by_copy(database, self.named(from))
            .filter(|place| self.change_of(database, table) == Some(*place))
        else {
            return Fold::Stop(
                Reason::HistoryUnknown,
                format!(
                    "it ends an online schema change of {full} whose beginning this stream has not seen; {BY_HAND}"
                ),
                None,
            );
        };
        let change = &self.rules.learned().changes[place];
        let Some(definition) = &change.definition else {
            return Fold::Stop(
                Reason::HistoryUnknown,
                format!("it ends an online schema change of {full} of which no ALTER TABLE was seen; {BY_HAND}"),
                Some(self.without(place)),
            );
        };
        if let Some(why) = &change.spoiled {
            return Fold::Stop(
                Reason::OnlineDdl,
                format!(
                    "it ends an online schema change of {full}, but {why}, so the ALTER TABLE alone leads elsewhere; {BY_HAND}"
                ),
                Some(self.without(place)),
            );
        }
        // The table itself moves away in the same statement, or did so before.
        let leaves = |(old, new): &&(usize, usize)| {
            self.rules.same(self.named(*old), table)
                && self.rules.same(self.database(*old), database)
                && !self.objects.get(*new).is_some_and(ObjectVerdict::is_selected)
                && self.rules.same(self.database(*new), database)
        };
        let leaving = moves.iter().filter(leaves).count();
        let expected = usize::from(change.table_place == TablePlace::InPlace);
        if leaving != expected || moves.len() != 1 + expected {
            return Fold::Stop(
                Reason::OnlineDdl,
                format!("it ends an online schema change of {full} and renames other tables, too; {BY_HAND}"),
                Some(self.without(place)),
            );
        }
        if !self.only_renames(from, to) {
            return Fold::Stop(
                Reason::OnlineDdl,
                format!("it ends an online schema change of {full} and changes more than the name; {BY_HAND}"),
                Some(self.without(place)),
            );
        }
        let why =
            format!("the online schema change of {full} ends here: its ALTER TABLE goes out in place of the swap");
        Fold::Instead(definition.clone(), self.without(place), why)
    }

    /// gh-ost --revert: the table as it was before takes its name again, with what was written since the swap.
    fn takes_back(&self, moves: &[(usize, usize)]) -> Option<Fold> {
        let &(_, to) = moves.iter().find(|&&(from, to)| {
            self.shadow(from)
                .is_some_and(|shadow| shadow.role == ShadowRole::Old && self.rules.same(&shadow.table, self.named(to)))
                && self.rules.same(self.database(from), self.database(to))
        })?;
        let why = format!(
            "it gives {}.{} the definition back that it had before an online schema change, which no ALTER TABLE of the stream says; alter the \
             table at the replica to what SHOW CREATE TABLE says of it at the source, and let it go on after this statement: at a position after \
             it, or with GTIDs by an empty transaction in its place",
            self.database(to),
            self.named(to)
        );
        Some(Fold::Stop(Reason::OnlineDdl, why, None))
    }

    /// The first half of a swap in two steps, or its undoing.
    fn moves_away(&self, moves: &[(usize, usize)]) -> Option<Fold> {
        let found = moves.iter().find_map(|&(from, to)| {
            let (database, old, new) = (self.database(from), self.named(from), self.named(to));
            if !self.rules.same(database, self.database(to)) {
                return self.change_of(database, old).map(|place| (place, from, to, false));
            }
            let back = self.change_of(database, new).filter(|place| {
                let change = &self.rules.learned().changes[*place];
                matches!(&change.table_place, TablePlace::MovedTo(name) if self.rules.same(name, old))
            });
            back.map(|place| (place, from, to, true))
                .or_else(|| self.change_of(database, old).map(|place| (place, from, to, false)))
                .or_else(|| self.change_by_copy(database, old).map(|place| (place, from, to, false)))
        });
        let Some((place, from, to, is_back)) = found else { return self.takes_back(moves) };
        let change = &self.rules.learned().changes[place];
        let full = format!("{}.{}", change.database, change.table);
        let is_table = self.rules.same(self.named(from), &change.table);
        let is_old = self
            .shadow(to)
            .is_some_and(|shadow| shadow.role == ShadowRole::Old && self.rules.same(&shadow.table, &change.table));
        let is_simple = moves.len() == 1 && self.only_renames(from, to);
        if is_back && is_simple {
            let learned = self.with(place, |change| change.table_place = TablePlace::InPlace);
            return Some(Fold::Skip(format!("{full} has its name again"), Some(learned)));
        }
        if is_table && is_old && is_simple && change.definition.is_some() && change.table_place == TablePlace::InPlace {
            let elsewhere = self.named(to).to_owned();
            let learned = self.with(place, |change| change.table_place = TablePlace::MovedTo(elsewhere));
            return Some(Fold::Skip(
                format!("{full} keeps its name at the replica until the copy takes it"),
                Some(learned),
            ));
        }
        // Something else than a swap: the change is nobody's any more.
        Some(match change.table_place {
            TablePlace::InPlace => Fold::Pass(self.without(place)),
            _ => Fold::Stop(
                Reason::OnlineDdl,
                format!(
                    "it renames tables of an online schema change of {full} that is between the two halves of its swap; give the tables at the \
                     replica the names and the definition that they have at the source after it, and let the route go on after this statement"
                ),
                Some(self.without(place)),
            ),
        })
    }
}

/// Whether a word stands in front of the name in every ALTER TABLE.
fn is_alter_table(word: &[u8]) -> bool {
    ["ALTER", "ONLINE", "TABLE", "IF", "EXISTS"].iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word))
}
