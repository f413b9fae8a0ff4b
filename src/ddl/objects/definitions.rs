//! CREATE, ALTER and DROP of views, routines, triggers, events, databases, sequences and packages.

use super::Parser;
use super::walk::{Flavor, Mode};
use crate::ddl::keyword::Keyword as K;
use crate::ddl::lexer::TokenKind;
use crate::ddl::{Kind, Object, ObjectType, Role};

impl Parser<'_> {
    /// After `VIEW` of a CREATE or ALTER.
    pub(in crate::ddl) fn view(&mut self) {
        self.skip_if_exists();
        if self.named(ObjectType::View, Role::Target, None).is_none() {
            return;
        }
        if self.peek().is_symbol(b'(') {
            self.skip_group();
        }
        if !self.accept(K::AS) || self.at_end() {
            self.doubt_here("the view has no query");
            return;
        }
        let scope = self.open_scope(None);
        let objects = self.objects.len();
        let first = self.peek();
        if !first.is_symbol(b'(') && !matches!(first.keyword, K::SELECT | K::WITH | K::VALUES | K::TABLE) {
            self.doubt_here("the view has no query");
        }
        self.walk(Mode::Expression, scope, Flavor::Plain);
        debug_assert!(self.objects.len() >= objects);
    }

    /// After `PROCEDURE` or `FUNCTION` of a CREATE.
    pub(in crate::ddl) fn create_routine(&mut self, object_type: ObjectType) {
        self.skip_if_exists();
        let before = self.objects.len();
        let Some(routine) = self.named(object_type, Role::Target, None) else { return };
        if object_type == ObjectType::Function && self.word() == K::RETURNS && self.is_loadable() {
            // A loadable function belongs to no database, so there is nothing to select or map.
            self.objects.truncate(before);
            self.set_kind(Kind("create_udf"));
            return self.rest();
        }
        if self.peek().is_symbol(b'(') {
            self.parameters(routine);
        } else if self.is_oracle() {
            // Oracle's syntax has no parentheses where there are no parameters.
        } else {
            self.doubt_here("the routine has no list of parameters");
            return;
        }
        self.characteristics(object_type == ObjectType::Function);
        self.body(Some(routine));
    }

    /// `(a INT, b TYPE OF t.c, …)`: types may be those of tables.
    fn parameters(&mut self, routine: usize) {
        self.take();
        self.body_of = Some(routine);
        let mut open = 1_u32;
        let mut last = None;
        while open > 0 && self.peek().kind != TokenKind::End {
            let row = self.is_type_of() || self.word() == K::ROW;
            if let Some(name) = last.filter(|_| row && self.context.mariadb) {
                self.remember_row(name);
            }
            if self.is_type_of() {
                self.type_of();
                continue;
            }
            last = Some(self.name_ahead()).filter(|_| self.peek().is_name());
            let token = self.take();
            if token.keyword == K::DEFAULT || (token.is_symbol(b':') && self.accept_symbol(b'=')) {
                self.body_opaque |= !self.is_plain_default();
            }
            match token.kind {
                TokenKind::Symbol(b'(') => open += 1,
                TokenKind::Symbol(b')') => open -= 1,
                // Oracle's `t1%ROWTYPE`, as in the body.
                TokenKind::Symbol(b'%') => self.body_opaque = true,
                _ => {}
            }
        }
        self.body_of = None;
        if open > 0 {
            self.doubt("a parenthesis is not closed");
        }
    }

    /// What follows DEFAULT in a list of parameters: a literal, and nothing after `COLLATE DEFAULT`. In MariaDB 11.8 it may be a query.
    fn is_plain_default(&mut self) -> bool {
        let signed = self.peek().is_symbol(b'-') || self.peek().is_symbol(b'+');
        let value = self.peek_at(usize::from(signed));
        let is_literal = matches!(value.kind, TokenKind::Number | TokenKind::String)
            || value.keyword == K::NULL
            || self.is_text(value, "TRUE")
            || self.is_text(value, "FALSE");
        let end = self.peek_at(if is_literal { usize::from(signed) + 1 } else { 0 });
        end.is_symbol(b',') || end.is_symbol(b')')
    }

    /// `RETURNS STRING SONAME 'file'`.
    fn is_loadable(&mut self) -> bool {
        self.word_at(2) == K::SONAME
    }

    /// What stands between a routine's parameters and its body.
    fn characteristics(&mut self, function: bool) {
        if function {
            if self.word() == K::RETURNS || (self.word() == K::RETURN && self.is_oracle()) {
                self.take();
                self.data_type();
            } else {
                self.doubt_here("the function returns nothing");
            }
        }
        loop {
            let token = self.peek();
            let takes = match token.keyword {
                K::COMMENT | K::LANGUAGE => 2,
                K::NOT => 2,
                K::NO => 2,
                K::SQL => 3,
                _ if self.is_text(token, "DETERMINISTIC") => 1,
                _ if self.is_text(token, "CONTAINS") => 2,
                _ if self.is_text(token, "READS") || self.is_text(token, "MODIFIES") => 3,
                _ if token.keyword == K::USING && self.peek_at(1).is_symbol(b'(') => {
                    self.take();
                    self.skip_group();
                    continue;
                }
                _ => return,
            };
            if token.keyword == K::LANGUAGE && self.word_at(1) != K::SQL {
                // JavaScript and its like: no SQL inside that could be read.
                self.body_opaque = true;
            }
            for _ in 0..takes {
                self.take();
            }
        }
    }

    /// A data type with its attributes.
    fn data_type(&mut self) {
        self.take();
        loop {
            let token = self.peek();
            if token.is_symbol(b'(') {
                self.skip_group();
            } else if matches!(token.keyword, K::CHARACTER | K::CHARSET) || self.is_text(token, "COLLATE") {
                self.take();
                self.accept(K::SET);
                self.take();
            } else if matches!(token.keyword, K::ZEROFILL | K::BINARY)
                || (self.context.mariadb && self.is_text(token, "COMPRESSED") && !self.peek_at(1).is_symbol(b':'))
                || [
                    "UNSIGNED",
                    "SIGNED",
                    "PRECISION",
                    "VARYING",
                    "VARCHAR",
                    "VARBINARY",
                    "ASCII",
                    "UNICODE",
                    "BYTE",
                    "CHAR",
                    "INT",
                ]
                .iter()
                .any(|word| self.is_text(token, word))
            {
                self.take();
            } else {
                return;
            }
        }
    }

    /// After `TRIGGER` of a CREATE.
    pub(in crate::ddl) fn create_trigger(&mut self) {
        self.skip_if_exists();
        let Some(trigger) = self.named(ObjectType::Trigger, Role::Target, None) else { return };
        if !self.accept(K::BEFORE) && !self.accept(K::AFTER) {
            self.doubt_here("the trigger has no time");
            return;
        }
        while !self.at_end() && self.word() != K::ON {
            self.take();
        }
        self.take();
        // The servers look for the table where the trigger is.
        if self.named(ObjectType::Table, Role::Reference, Some(trigger)).is_none() {
            return;
        }
        if !self.accept(K::FOR) || !self.accept(K::EACH) || !self.accept(K::ROW) {
            self.doubt_here("the trigger lacks FOR EACH ROW");
            return;
        }
        if matches!(self.word(), K::FOLLOWS | K::PRECEDES) {
            self.take();
            self.named(ObjectType::Trigger, Role::Reference, Some(trigger));
        }
        self.body(Some(trigger));
    }

    /// After `EVENT` of a CREATE or ALTER.
    pub(in crate::ddl) fn event(&mut self) {
        self.skip_if_exists();
        let Some(event) = self.named(ObjectType::Event, Role::Target, None) else { return };
        while !self.at_end() {
            match self.peek().kind {
                TokenKind::Symbol(b'(') => {
                    self.skip_group();
                    continue;
                }
                TokenKind::End => return,
                _ => {}
            }
            match self.take().keyword {
                K::DO => return self.body(Some(event)),
                K::RENAME if self.accept(K::TO) => {
                    self.named(ObjectType::Event, Role::Target, None);
                }
                _ => {}
            }
        }
    }

    /// One name after DROP, with IF EXISTS, and nothing after it.
    pub(in crate::ddl) fn drop_one(&mut self, object_type: ObjectType) {
        self.skip_if_exists();
        self.named(object_type, Role::Target, None);
        self.only_end();
    }

    /// One name, and whatever follows it.
    pub(in crate::ddl) fn one_and_rest(&mut self, object_type: ObjectType) {
        self.skip_if_exists();
        self.named(object_type, Role::Target, None);
        self.rest();
    }

    /// A list of tables that is only looked after or read, and whatever follows it.
    pub(in crate::ddl) fn list_and_rest(&mut self, role: Role) {
        loop {
            if self.named(ObjectType::Table, role, None).is_none() {
                return;
            }
            while !self.at_end() && !self.peek().is_symbol(b',') {
                if self.word() == K::HISTOGRAM {
                    // What follows are columns.
                    return self.rest();
                }
                if self.peek().is_symbol(b'(') {
                    self.skip_group();
                } else {
                    self.take();
                }
            }
            if !self.accept_symbol(b',') {
                return self.only_end();
            }
            // `LOCK TABLES t READ LOCAL, …` and `ANALYZE TABLE t UPDATE HISTOGRAM ON a, b`: only the first is a list.
            if !self.peek().is_name() && !self.peek().is_symbol(b'.') {
                return self.rest();
            }
        }
    }

    /// Reads on to the end without looking.
    pub(in crate::ddl) fn rest(&mut self) {
        while self.peek().kind != TokenKind::End {
            if self.peek().is_symbol(b';') {
                if self.in_body {
                    return;
                }
                if !self.at_end() {
                    self.give_up("several statements in one text");
                }
            }
            self.take();
        }
    }

    /// After `DATABASE` of a CREATE or DROP.
    pub(in crate::ddl) fn create_or_drop_database(&mut self) {
        self.skip_if_exists();
        self.database(Role::Target);
        self.rest();
    }

    /// After `DATABASE` of an ALTER, which may leave the name out.
    pub(in crate::ddl) fn alter_database(&mut self) {
        let token = self.peek();
        let option = token.kind == TokenKind::Word
            && (matches!(token.keyword, K::CHARACTER | K::CHARSET | K::DEFAULT | K::COMMENT)
                || self.is_text(token, "COLLATE")
                || self.is_text(token, "ENCRYPTION")
                || (token.keyword == K::READ && self.word_at(1) == K::ONLY));
        if option && !self.peek_at(1).is_symbol(b'.') {
            // The default database is meant: an object without a place in the text.
            let at = token.start;
            self.objects.push(Object {
                object_type: ObjectType::Database,
                database: self.context.default_database.to_owned(),
                name: String::new(),
                role: Role::Target,
                database_span: None,
                span: at..at,
                column_qualifier: false,
                inherits: None,
            });
        } else {
            self.database(Role::Target);
        }
        if self.word() == K::UPGRADE {
            self.set_kind(Kind("alter_db_upgrade"));
        }
        self.rest();
    }

    /// After `PACKAGE` of a CREATE: the name; the body is not read.
    pub(in crate::ddl) fn create_package(&mut self) {
        self.skip_if_exists();
        self.named(ObjectType::Package, Role::Target, None);
        self.body_opaque = true;
        self.discard();
    }

    /// Leaves the rest of the text unread.
    pub(in crate::ddl) fn discard(&mut self) {
        self.ended = true;
        self.filled = 0;
    }
}
