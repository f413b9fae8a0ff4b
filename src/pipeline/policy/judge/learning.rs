//! What a route that follows renamed tables learns from a statement.

use crate::ddl::{Role, lexemes};
use crate::pipeline::policy::rename;
use crate::pipeline::policy::settings::Choice;
use crate::pipeline::rules::Learned;

use super::Judge;

impl Judge<'_> {
    /// The tables that a statement renames, by the objects that mention their first and their last name.
    pub(super) fn moves(&self) -> Vec<(usize, usize)> {
        if self.statement.kind.0 == "rename_table" {
            let moves = rename::moves(self.rules, self.statement).map(|(moves, _)| moves).unwrap_or_default();
            return moves.iter().map(|step| (step.from, step.to)).collect();
        }
        self.renamed_by_alter(&self.targets()).into_iter().collect()
    }

    /// What is followed after the statement; `None` where that is no news, an error where the selection cannot follow.
    pub(super) fn followed_after(&self, moves: &[(usize, usize)]) -> Result<Option<Learned>, String> {
        if self.rules.policy().rename_out != Choice::Follow || self.statement.temporary {
            return Ok(None);
        }
        let mut learned = rename::after_moves(self.rules, self.statement, &self.objects, moves)?;
        if self.statement.kind.0 == "drop_table" {
            for object in self.statement.objects.iter().filter(|object| object.role == Role::Target) {
                rename::forget(self.rules, &mut learned, &object.database, &object.name);
            }
        }
        if self.drops_database() {
            for object in self.statement.objects.iter().filter(|object| object.role == Role::Target) {
                learned.followed.retain(|table| !self.rules.same(&table.database, &object.database));
            }
        }
        Ok((learned != **self.rules.learned()).then_some(learned))
    }

    /// Whether a database goes with all that is in it: by DROP DATABASE, or by MariaDB's CREATE OR REPLACE DATABASE.
    pub(super) fn drops_database(&self) -> bool {
        match self.statement.kind.0 {
            "drop_db" => true,
            "create_db" => {
                let words = lexemes(self.sql, self.context).filter_map(|token| self.sql.get(token.span));
                let beginning = words.take(3).map(<[u8]>::to_ascii_uppercase);
                beginning.eq([&b"CREATE"[..], b"OR", b"REPLACE"])
            }
            _ => false,
        }
    }

    /// Whether the selection learns a name from it.
    pub(super) fn follows_more(&self) -> bool {
        let known = &self.rules.learned().followed;
        self.learned.as_ref().is_some_and(|learned| learned.followed.iter().any(|table| !known.contains(table)))
    }
}
