//! Online schema changes as one ALTER TABLE: the tools' work on the copy does not go out, and where the copy takes the table's name, the
//! ALTER that ran on the copy goes out for the table.
//!
//! gh-ost: CREATE TABLE `_t_gho` LIKE t, ALTER `_t_gho` (and one more that only sets AUTO_INCREMENT), rows, then
//! RENAME t TO `_t_del`, `_t_gho` TO t; or in two steps, each an ALTER … RENAME. pt-online-schema-change: CREATE TABLE `_t_new` (the text of
//! SHOW CREATE TABLE), ALTER, triggers, rows, then RENAME t TO `_t_old`, `_t_new` TO t; or DROP TABLE t and RENAME `_t_new` TO t.
//!
//! Only what leads to the same table at the replica is folded. All else stops the route, as early as it can be told.

use crate::ddl::{Context, MappedName, ObjectType, Role, Statement, rewrite};
use crate::pipeline::rules::{
    DecidedBy, Definition, Learned, MAX_LEARNED, OnlineChange, RuleSet, Shadow, ShadowRole, TablePlace,
};

use super::verdict::{ObjectVerdict, Reason};

/// The longest ALTER TABLE that is kept for the swap, in bytes.
const MAX_DEFINITION: usize = 1 << 20;

/// What becomes of a statement that has to do with an online schema change.
pub(super) enum Fold {
    /// It goes its own way, and this is learned from it.
    Pass(Learned),
    /// It does not go out.
    Skip(String, Option<Learned>),
    /// The route ends before it.
    Stop(Reason, String),
    /// This goes out in its place.
    Instead(Definition, Learned, String),
}

/// What else would lead to other rows at the replica than at the source: values that a new column gets when rows are copied at the
/// source, and when the ALTER runs at the replica.
const MOMENTARY: [&str; 22] = [
    "AUTO_INCREMENT",
    "CONNECTION_ID",
    "CURDATE",
    "CURRENT_DATE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "CURTIME",
    "LAST_INSERT_ID",
    "LASTVAL",
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "NEXTVAL",
    "NOW",
    "RAND",
    "RANDOM_BYTES",
    "SERIAL",
    "SYSDATE",
    "TIMESTAMP",
    "UNIX_TIMESTAMP",
    "UTC_TIMESTAMP",
    "UUID",
    "UUID_SHORT",
];

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
                         was kept at the replica for the swap; drop it there and let the route go on after this statement"
                    ),
                )),
            };
        }
        let shadow = self.copy(target)?;
        let table = shadow.table;
        let mut references = self.statement.objects.iter().filter(|object| object.role == Role::Reference).peekable();
        let only_its_table = references.peek().is_some()
            && references
                .all(|object| self.rules.same(&object.name, table) && self.rules.same(&object.database, database));
        let has_keys = words(self.sql).any(|word| word.eq_ignore_ascii_case("REFERENCES"));
        let is_like = words(self.sql).any(|word| word.eq_ignore_ascii_case("LIKE"));
        let selects = words(self.sql).any(|word| word.eq_ignore_ascii_case("SELECT"));
        let no_references = !self.statement.objects.iter().any(|object| object.role == Role::Reference);
        if has_keys || selects || !(no_references || only_its_table && is_like) {
            return Some(Fold::Stop(
                Reason::OnlineDdl,
                format!(
                    "it makes a copy of {database}.{table} whose foreign keys have other names or which is made from another table, so the swap \
                     is no ALTER TABLE; set ddl.online_ddl = \"forward\" to let the tool's tables go out"
                ),
            ));
        }
        let mut learned = self.learned();
        if learned.changes.len() >= MAX_LEARNED {
            return Some(Fold::Stop(
                Reason::OnlineDdl,
                format!(
                    "more than {MAX_LEARNED} online schema changes would run: drop the copies that were left behind"
                ),
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
        let stop = |why: String| {
            Some(Fold::Stop(
                Reason::OnlineDdl,
                format!(
                    "it is part of an online schema change of {table}, and {why}. To let the tool's tables go out from here: create the copy at the \
                     replica (CREATE TABLE … LIKE the table) and set ddl.online_ddl = \"forward\""
                ),
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
        if let Some(word) = words(&self.sql[end.min(self.sql.len())..]).find(|word| is_momentary(word)) {
            return stop(format!(
                "what {word} gives differs between the copying at the source and an ALTER TABLE at the replica"
            ));
        }
        let definition = match self.retargeted(name, shadow.table) {
            Ok(definition) => definition,
            Err(why) => return stop(why),
        };
        let learned = self.with(place, |change| change.definition = Some(definition));
        Some(Fold::Skip(format!("it goes out for {table} when the copy takes its name"), Some(learned)))
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
            // No tool drops several at once. Tables of this list that go out are gone at both sides, and so are their changes.
            if touched
                .iter()
                .any(|(_, place, _)| self.rules.learned().changes[*place].table_place != TablePlace::InPlace)
            {
                return Some(Fold::Stop(
                    Reason::OnlineDdl,
                    format!(
                        "it drops {table}, whose online schema change is between the two halves of its swap, among others"
                    ),
                ));
            }
            let mut learned = self.learned();
            let gone: Vec<usize> = touched.iter().map(|(_, place, _)| *place).collect();
            let mut at = 0;
            learned.changes.retain(|_| {
                at += 1;
                !gone.contains(&(at - 1))
            });
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
                Err(why) => Some(Fold::Stop(Reason::UnmappableName, why)),
            },
            (true, TablePlace::MovedTo(elsewhere)) => Some(Fold::Stop(
                Reason::RenameOut,
                format!(
                    "it drops the copy of {table}, which was moved to {elsewhere} for the swap and did not come back; rename the table at the \
                     replica or drop it, and let the route go on after this statement"
                ),
            )),
            (false, TablePlace::InPlace) if change.definition.is_some() => Some(Fold::Skip(
                format!("{table} stays at the replica until the copy takes its name or is dropped"),
                Some(self.with(place, |change| change.table_place = TablePlace::Dropped)),
            )),
            (false, TablePlace::InPlace) => Some(Fold::Pass(self.without(place))),
            (false, _) => Some(Fold::Stop(
                Reason::OnlineDdl,
                format!("it drops {table}, which is not there: a statement in between was not seen"),
            )),
        }
    }

    fn renames(&self, moves: &[(usize, usize)]) -> Option<Fold> {
        // The copy that takes its table's name.
        let swap = moves.iter().find(|(from, to)| {
            self.copy(*from).is_some_and(|shadow| self.rules.same(shadow.table, self.named(*to)))
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
        let by_hand = "make the same change at the replica by hand and let it go on after this statement: at a position after it, or with \
                       GTIDs by an empty transaction in its place";
        let Some(place) = self
            .change_by_copy(database, self.named(from))
            .filter(|place| self.change_of(database, table) == Some(*place))
        else {
            return Fold::Stop(
                Reason::HistoryUnknown,
                format!(
                    "it ends an online schema change of {full} whose beginning this stream has not seen; {by_hand}"
                ),
            );
        };
        let change = &self.rules.learned().changes[place];
        let Some(definition) = &change.definition else {
            return Fold::Stop(
                Reason::HistoryUnknown,
                format!("it ends an online schema change of {full} of which no ALTER TABLE was seen; {by_hand}"),
            );
        };
        if let Some(why) = &change.spoiled {
            return Fold::Stop(
                Reason::OnlineDdl,
                format!(
                    "it ends an online schema change of {full}, but {why}, so the ALTER TABLE alone leads elsewhere; {by_hand}"
                ),
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
                format!("it ends an online schema change of {full} and renames other tables, too; {by_hand}"),
            );
        }
        let why =
            format!("the online schema change of {full} ends here: its ALTER TABLE goes out in place of the swap");
        Fold::Instead(definition.clone(), self.without(place), why)
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
        let (place, from, to, is_back) = found?;
        let change = &self.rules.learned().changes[place];
        let full = format!("{}.{}", change.database, change.table);
        let is_table = self.rules.same(self.named(from), &change.table);
        let is_old = self
            .shadow(to)
            .is_some_and(|shadow| shadow.role == ShadowRole::Old && self.rules.same(shadow.table, &change.table));
        if is_back && moves.len() == 1 {
            let learned = self.with(place, |change| change.table_place = TablePlace::InPlace);
            return Some(Fold::Skip(format!("{full} has its name again"), Some(learned)));
        }
        if is_table
            && is_old
            && moves.len() == 1
            && change.definition.is_some()
            && change.table_place == TablePlace::InPlace
        {
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
                    "it renames tables of an online schema change of {full} that is between the two halves of its swap"
                ),
            ),
        })
    }
}

fn is_momentary(word: &str) -> bool {
    MOMENTARY.iter().any(|momentary| momentary.eq_ignore_ascii_case(word))
}

/// The words of a text outside of quotes. A word in a comment counts: what it can do here is to stop a route.
fn words(sql: &[u8]) -> impl Iterator<Item = &str> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        loop {
            let &first = rest.first()?;
            if matches!(first, b'\'' | b'"' | b'`') {
                let mut at = 1;
                while let Some(&byte) = rest.get(at) {
                    at += 1;
                    if byte == b'\\' && first != b'`' {
                        at += 1;
                    } else if byte == first {
                        break;
                    }
                }
                rest = rest.get(at..).unwrap_or_default();
                continue;
            }
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
            let length = rest.iter().take_while(|byte| is_word(byte)).count();
            let (word, after) = rest.split_at(length.max(1));
            rest = after;
            if length > 0 {
                return Some(std::str::from_utf8(word).unwrap_or("?"));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_are_what_stands_outside_of_quotes() {
        let found: Vec<&str> = words(b"a `b c``d` 'it''s \\' x' \"q\" now() -- e").collect();
        assert_eq!(found, ["a", "now", "e"]);
        assert_eq!(words(b"'open").count(), 0);
    }
}
