//! CREATE, ALTER, DROP, RENAME and TRUNCATE of tables, and CREATE and DROP of indexes.

use super::walk::{Flavor, Mode};
use super::{Name, Parser};
use crate::ddl::keyword::Keyword as K;
use crate::ddl::lexer::TokenKind;
use crate::ddl::{DerivedName, ListItem, ObjectType, Role};

impl Parser<'_> {
    /// After `CREATE [OR REPLACE] [TEMPORARY] TABLE`.
    pub(in crate::ddl) fn create_table(&mut self) {
        self.skip_if_exists();
        let Some(table) = self.named(ObjectType::Table, Role::Target, None) else { return };
        let parenthesised = self.peek().is_symbol(b'(') && self.word_at(1) == K::LIKE;
        if self.word() == K::LIKE || parenthesised {
            if parenthesised {
                self.take();
            }
            self.take();
            self.named(ObjectType::Table, Role::Reference, None);
            if parenthesised {
                self.expect_symbol(b')');
            }
        }
        let scope = self.table_scope(table);
        self.walk(Mode::Expression, scope, Flavor::CreateTable(table));
    }

    /// A scope that knows one table by its own name.
    pub(super) fn table_scope(&mut self, table: usize) -> usize {
        let scope = self.open_scope(None);
        let name = self.objects.get(table).map(|object| Name {
            start: object.span.start,
            end: object.span.end,
            quoted: matches!(self.sql.get(object.span.start), Some(b'`' | b'"')),
        });
        self.add_entry(scope, Some(table), name);
        scope
    }

    /// After `ALTER [ONLINE] [IGNORE] TABLE`.
    pub(in crate::ddl) fn alter_table(&mut self) {
        self.skip_if_exists();
        let Some(table) = self.named(ObjectType::Table, Role::Target, None) else { return };
        self.skip_wait();
        let scope = self.table_scope(table);
        let before = self.objects.len();
        self.walk(Mode::Expression, scope, Flavor::AlterTable(table));
        if !self.context.mariadb && self.context.version >= 80_000 {
            self.parents_follow(table, before);
        }
    }

    /// MySQL 8.0 and later look for an unqualified parent of a new foreign key in the database that RENAME moves the
    /// table to.
    fn parents_follow(&mut self, table: usize, before: usize) {
        let moved = (before..self.objects.len()).rev().find(|&index| {
            self.objects.get(index).is_some_and(|object| {
                object.object_type == ObjectType::Table && object.role == Role::Target && !object.column_qualifier
            })
        });
        let Some(target) = moved else { return };
        let Some(database) = self.objects.get(target).map(|object| object.database.clone()) else { return };
        for object in self.objects.iter_mut().skip(before).filter(|object| object.inherits == Some(table)) {
            object.database.clone_from(&database);
            object.inherits = Some(target);
        }
    }

    /// `WAIT n` and `NOWAIT`, where MariaDB has them.
    pub(super) fn skip_wait(&mut self) {
        if self.accept(K::WAIT) {
            self.take();
        } else {
            self.accept(K::NOWAIT);
        }
    }

    /// RENAME, EXCHANGE and CONVERT of an ALTER TABLE.
    pub(super) fn alter_clause(&mut self) {
        match self.take().keyword {
            K::RENAME => {
                if matches!(self.word(), K::COLUMN | K::INDEX | K::KEY) {
                    return;
                }
                if !self.accept(K::TO) && !self.accept(K::AS) {
                    self.accept_symbol(b'=');
                }
                self.named(ObjectType::Table, Role::Target, None);
            }
            K::EXCHANGE if self.word() == K::PARTITION => {
                self.take();
                self.name();
                if self.accept(K::WITH) && self.accept(K::TABLE) {
                    self.named(ObjectType::Table, Role::Reference, None);
                } else {
                    self.doubt_here("EXCHANGE PARTITION is not understood");
                }
            }
            K::CONVERT if self.word() == K::PARTITION => {
                self.take();
                self.name();
                if self.accept(K::TO) && self.accept(K::TABLE) {
                    self.named(ObjectType::Table, Role::Target, None);
                } else {
                    self.doubt_here("CONVERT PARTITION is not understood");
                }
            }
            K::CONVERT if self.word() == K::TABLE => {
                self.take();
                self.named(ObjectType::Table, Role::Target, None);
            }
            _ => {}
        }
    }

    /// After `DROP [TEMPORARY] TABLE`, or another DROP that takes a list of names.
    pub(in crate::ddl) fn drop_list(&mut self, object_type: ObjectType) {
        self.skip_if_exists();
        self.named_list(object_type);
        if !self.accept(K::RESTRICT) {
            self.accept(K::CASCADE);
        }
        self.skip_wait();
        if !self.at_end() {
            self.doubt_here("something follows the names");
        }
    }

    /// After `RENAME TABLE`.
    pub(in crate::ddl) fn rename_table(&mut self) {
        self.skip_if_exists();
        self.peek();
        let borders = self.next_borders();
        loop {
            let Some(old) = self.named(ObjectType::Table, Role::Target, None) else { return };
            self.skip_wait();
            if !self.accept(K::TO) {
                self.doubt_here("RENAME lacks TO");
                return;
            }
            let Some(new) = self.named(ObjectType::Table, Role::Target, None) else { return };
            let span = self.whole_span(old).start..self.whole_span(new).end;
            self.items.push(ListItem { span, objects: vec![old, new] });
            if !self.accept_symbol(b',') {
                break;
            }
        }
        self.forget_items_across(borders);
        self.only_end();
    }

    /// After `TRUNCATE`.
    pub(in crate::ddl) fn truncate(&mut self) {
        self.accept(K::TABLE);
        self.named(ObjectType::Table, Role::Target, None);
        self.skip_wait();
        // `DROP STORAGE`, `REUSE STORAGE`: Oracle's, without meaning here.
        let verb = self.peek();
        if self.is_oracle() && (verb.keyword == K::DROP || self.is_text(verb, "REUSE")) {
            self.take();
            let storage = self.take();
            if !self.is_text(storage, "STORAGE") {
                self.doubt("what follows the table is not understood");
            }
        }
        self.only_end();
    }

    /// After `CREATE … INDEX` or `DROP INDEX`: the index's name, then ON and the table.
    pub(in crate::ddl) fn index_of_table(&mut self) {
        self.skip_if_exists();
        if self.word() != K::ON || self.word_at(1) == K::ON {
            self.name();
        }
        // CREATE INDEX name USING BTREE ON t.
        if matches!(self.word(), K::USING | K::TYPE) {
            self.take();
            self.take();
        }
        if !self.accept(K::ON) {
            self.doubt_here("the index names no table");
            return;
        }
        let Some(table) = self.named(ObjectType::Table, Role::Target, None) else { return };
        self.skip_wait();
        let scope = self.table_scope(table);
        self.walk(Mode::Expression, scope, Flavor::Index);
    }

    /// Notes a name that follows the table's: what a server calls a foreign key or check that nobody named. The servers
    /// themselves go by the form, not by who wrote it, when they rename a table.
    pub(super) fn note_derived(&mut self, name: Name, table: usize) {
        let written = self.unquoted(name);
        let digits = written.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let stem = written.get(..written.len() - digits).unwrap_or_default();
        let Some(own) = stem.strip_suffix(b"_ibfk_").or_else(|| stem.strip_suffix(b"_chk_")) else { return };
        let follows =
            digits > 0
                && self.rules.charset.decode(own).is_some_and(|own| {
                    self.objects.get(table).is_some_and(|table| table.name.eq_ignore_ascii_case(&own))
                });
        if follows && !self.in_body() {
            let suffix = String::from_utf8_lossy(written.get(own.len()..).unwrap_or_default()).into_owned();
            self.derived.push(DerivedName { span: name.start..name.end, table, suffix });
        }
    }

    /// Doubts the statement unless nothing is left.
    pub(in crate::ddl) fn only_end(&mut self) {
        if !self.at_end() && self.peek().kind != TokenKind::End {
            self.doubt_here("something follows that the grammar does not have");
        }
    }
}
