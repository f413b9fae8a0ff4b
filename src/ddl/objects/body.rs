//! The body of a routine, trigger, event or compound statement: its statements' tables are references.
//!
//! Nothing here decides whether the whole is supported: what cannot be read only makes the body opaque. The body is
//! read flat, statement after statement; BEGIN, IF, LOOP and their like are passed over.

use super::walk::{Flavor, Mode};
use super::{Name, Parser};
use crate::ddl::keyword::Keyword as K;
use crate::ddl::lexer::TokenKind;
use crate::ddl::{ObjectType, Role};

impl Parser<'_> {
    /// Reads a body to the end of the text. Unqualified names take the database of `owner`.
    pub(in crate::ddl) fn body(&mut self, owner: Option<usize>) {
        if self.in_body {
            // CREATE PROCEDURE inside a body: no server takes it.
            self.body_opaque = true;
            return;
        }
        if self.peek().kind == TokenKind::End {
            self.doubt("the body is missing");
            return;
        }
        if self.body_opaque {
            return self.discard();
        }
        self.in_body = true;
        self.body_of = owner;
        while self.peek().kind != TokenKind::End && !self.ended {
            self.statement_of_body();
        }
        self.in_body = false;
        self.body_of = None;
    }

    /// One statement, or one word of the structure around statements.
    fn statement_of_body(&mut self) {
        let token = self.peek();
        let next = self.peek_at(1);
        if token.is_name() && next.is_symbol(b':') && !self.peek_at(2).is_symbol(b'=') {
            self.take();
            self.take();
            return;
        }
        let function = next.is_symbol(b'(');
        match token.keyword {
            K::BEGIN
            | K::THEN
            | K::ELSE
            | K::DO
            | K::LOOP
            | K::REPEAT
            | K::IF
            | K::ELSEIF
            | K::WHILE
            | K::CASE
            | K::UNTIL => {
                self.take();
            }
            K::DECLARE => self.declare(),
            K::INSERT if !function => {
                self.take();
                self.insert(crate::ddl::Kind("insert"), crate::ddl::Kind("insert_select"));
            }
            K::REPLACE if !function => {
                self.take();
                self.insert(crate::ddl::Kind("replace"), crate::ddl::Kind("replace_select"));
            }
            K::UPDATE => {
                self.take();
                self.update(None);
            }
            K::DELETE => {
                self.take();
                self.delete(None);
            }
            K::WITH => self.with_statement(),
            K::LOAD => {
                self.take();
                self.load();
            }
            K::CALL => {
                self.take();
                self.named(ObjectType::Procedure, Role::Reference, None);
                self.plain();
            }
            K::TRUNCATE if !function => {
                self.take();
                self.truncate();
            }
            K::CREATE | K::ALTER | K::DROP | K::RENAME => self.definition_in_body(),
            K::LOCK => {
                self.take();
                if !self.accept(K::TABLES) {
                    self.accept(K::TABLE);
                }
                self.list_and_rest(Role::Reference);
            }
            K::ANALYZE | K::OPTIMIZE | K::REPAIR | K::CHECK | K::CHECKSUM
                if matches!(next.keyword, K::TABLE | K::TABLES) =>
            {
                self.take();
                self.take();
                self.list_and_rest(Role::Reference);
            }
            K::PREPARE => {
                // The text of a prepared statement is made at run time.
                self.body_opaque = true;
                self.plain();
            }
            K::EXECUTE => {
                self.body_opaque |= next.keyword == K::IMMEDIATE;
                self.plain();
            }
            _ => self.plain(),
        }
        // Whatever a statement left unread, up to its end.
        if self.accept_symbol(b';') {
            return;
        }
        if self.peek().start == token.start && self.peek().kind != TokenKind::End {
            self.take();
        }
    }

    /// A SELECT, or what else only reads, to its end.
    pub(in crate::ddl) fn plain(&mut self) {
        let scope = self.open_scope(None);
        self.walk(Mode::Expression, scope, Flavor::Plain);
    }

    /// `WITH … UPDATE`, `WITH … DELETE` or `WITH … SELECT`.
    pub(in crate::ddl) fn with_statement(&mut self) {
        let scope = self.open_scope(None);
        let walked = self.walk(Mode::Expression, scope, Flavor::With);
        match self.word() {
            K::UPDATE => {
                self.take();
                self.update(walked.query);
            }
            K::DELETE => {
                self.take();
                self.delete(walked.query);
            }
            _ => {
                self.walk(Mode::Expression, walked.query.unwrap_or(scope), Flavor::Plain);
            }
        }
    }

    /// DECLARE of a variable, condition, cursor or handler.
    fn declare(&mut self) {
        self.take();
        if matches!(self.word_at(1), K::HANDLER) {
            self.take();
            self.take();
            self.accept(K::FOR);
            // The conditions; the statement that follows them is read as the next one.
            loop {
                match self.word() {
                    K::NOT => {
                        self.take();
                        self.take();
                    }
                    K::SQLSTATE => {
                        self.take();
                        self.accept(K::VALUE);
                        self.take();
                    }
                    _ => {
                        self.take();
                    }
                }
                if !self.accept_symbol(b',') {
                    return;
                }
            }
        }
        if self.word_at(1) == K::CURSOR {
            if let Some(name) = self.name() {
                self.remember_cursor(name);
            }
            self.take();
            if self.peek().is_symbol(b'(') {
                self.skip_group();
            }
            self.accept(K::FOR);
            return;
        }
        self.plain();
    }

    /// CREATE, ALTER, DROP or RENAME inside a body.
    fn definition_in_body(&mut self) {
        self.definition();
        // What follows the names is of no interest.
        while !self.at_end() && self.peek().kind != TokenKind::End {
            self.take();
        }
    }

    fn remember_cursor(&mut self, name: Name) {
        if self.cursors.len() < 1_024 {
            self.cursors.push(name);
        }
    }

    /// Whether `TYPE OF` or `ROW TYPE OF` comes next.
    pub(super) fn is_type_of(&mut self) -> bool {
        match self.word() {
            K::TYPE => self.word_at(1) == K::OF,
            K::ROW => self.word_at(1) == K::TYPE && self.word_at(2) == K::OF,
            _ => false,
        }
    }

    /// `TYPE OF t.c`, `ROW TYPE OF t` (MariaDB): a table by way of its columns, or a cursor's row.
    pub(super) fn type_of(&mut self) {
        let row = self.accept(K::ROW);
        self.take();
        self.take();
        let Some(chain) = self.chain() else { return };
        let (database, table) = match (chain.parts, row) {
            ([Some(table), None, None], true) => (None, table),
            ([Some(database), Some(table), None], true) => (Some(database), table),
            ([Some(table), Some(_), None], false) => (None, table),
            ([Some(database), Some(table), Some(_)], false) => (Some(database), table),
            // `TYPE OF v`: another variable.
            _ => return,
        };
        let cursor = database.is_none()
            && self.cursors.iter().any(|&cursor| self.unquoted(cursor).eq_ignore_ascii_case(&self.unquoted(table)));
        if !cursor {
            self.object(ObjectType::Table, database, table, Role::Reference, None);
        }
    }
}
