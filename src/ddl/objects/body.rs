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
        let oracle = self.is_oracle();
        if !oracle && matches!(self.word(), K::AS | K::IS) {
            return self.doubt("a body in Oracle's syntax in a session without that sql_mode");
        }
        self.in_body = true;
        self.body_of = owner;
        let mut blocks = 0_u32;
        while self.peek().kind != TokenKind::End && !self.ended {
            let complete = self.statement_of_body(&mut blocks);
            if complete && blocks == 0 && !oracle && self.peek().kind != TokenKind::End {
                self.give_up("several statements in one text");
            }
        }
        self.in_body = false;
        self.body_of = None;
        if blocks > 0 && !oracle {
            self.doubt("a block of the body is not closed");
        }
    }

    /// One statement, or one word of the structure around statements; `true` after a whole statement. `blocks` counts
    /// what END has yet to close.
    fn statement_of_body(&mut self, blocks: &mut u32) -> bool {
        let token = self.peek();
        let next = self.peek_at(1);
        // Oracle's labels are `<<label>>`, and `IF :NEW.a` is none.
        if token.is_name() && next.is_symbol(b':') && !self.peek_at(2).is_symbol(b'=') && !self.is_oracle() {
            self.refuse_reserved_in_body();
            self.take();
            self.take();
            return false;
        }
        let function = next.is_symbol(b'(');
        match token.keyword {
            K::BEGIN | K::REPEAT | K::LOOP => {
                self.take();
                *blocks += 1;
                if self.accept(K::NOT) {
                    self.accept(K::ATOMIC);
                }
                return false;
            }
            K::IF | K::CASE | K::WHILE | K::FOR => {
                self.take();
                *blocks += 1;
                if self.word() != K::WHEN {
                    self.plain();
                }
                return false;
            }
            K::ELSEIF | K::WHEN => {
                self.take();
                self.plain();
                return false;
            }
            K::UNTIL => {
                // No `;` stands between the condition and END REPEAT.
                self.take();
                self.until_end = true;
                self.plain();
                self.until_end = false;
                return false;
            }
            K::THEN | K::ELSE | K::DO => {
                self.take();
                return false;
            }
            K::END => {
                self.take();
                *blocks = blocks.saturating_sub(1);
                if !self.at_end() {
                    self.take();
                }
            }
            K::DECLARE => {
                if self.declare() {
                    return false;
                }
            }
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
            K::GRANT | K::REVOKE => self.skip_statement(),
            K::SHOW => {
                // SHOW CREATE TABLE and its like name tables, but change nothing and read no rows.
                self.body_opaque |= next.keyword == K::CREATE;
                self.skip_statement();
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
        if self.accept_symbol(b';') {
            return true;
        }
        // Whatever a statement left unread is passed over: END and the like come after a `;`.
        if self.peek().start == token.start && self.peek().kind != TokenKind::End {
            self.take();
            return false;
        }
        self.peek().kind == TokenKind::End
    }

    /// Passes over a statement that names nothing of interest.
    fn skip_statement(&mut self) {
        while !self.at_end() && self.peek().kind != TokenKind::End {
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

    /// DECLARE of a variable, condition, cursor or handler; `true` where a statement follows as a part of it.
    fn declare(&mut self) -> bool {
        self.take();
        // Oracle's DECLARE begins a list of declarations, which may be a cursor's.
        let handler = matches!(self.word(), K::EXIT | K::CONTINUE | K::UNDO) && self.word_at(1) == K::HANDLER;
        if !handler && !self.is_oracle() {
            self.refuse_reserved_in_body();
        }
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
                    return true;
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
            return true;
        }
        self.plain();
        false
    }

    /// Doubts the whole statement where a label or a variable is a reserved word: no server takes it.
    fn refuse_reserved_in_body(&mut self) {
        let token = self.peek();
        if token.kind == TokenKind::Word && crate::ddl::reserved::is_reserved_everywhere(self.text(token)) {
            self.doubt_whole("a reserved word stands where a name should");
        }
    }

    /// CREATE, ALTER, DROP or RENAME inside a body.
    fn definition_in_body(&mut self) {
        self.definition();
        // What follows the names is of no interest.
        self.skip_statement();
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
