//! The body of a routine, trigger, event or compound statement: its statements' tables are references.
//!
//! Nothing here decides whether the whole is supported: what cannot be read only makes the body opaque. The body is
//! read flat, statement after statement; BEGIN, IF, LOOP and their like are passed over.

use super::walk::{Flavor, Mode};
use super::{Name, Parser};
use crate::ddl::keyword::Keyword as K;
use crate::ddl::lexer::TokenKind;
use crate::ddl::{ObjectType, Role};

/// Cursors of one body.
const MOST_CURSORS: usize = 1_024;
/// Variables of one body that are rows.
const MOST_ROWS: usize = 64;

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
        if matches!(self.word(), K::AS | K::IS) {
            // Declarations follow, or BEGIN at once.
            self.take();
        }
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
        if self.is_oracle() && self.begins_in_oracle() {
            return false;
        }
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
                if token.keyword == K::FOR && self.context.mariadb && self.peek().is_name() {
                    // `FOR r IN …`: a row of a cursor or a query.
                    let name = self.name_ahead();
                    self.remember_row(name);
                }
                if self.word() != K::WHEN {
                    self.header();
                }
                return false;
            }
            K::ELSEIF | K::WHEN => {
                self.take();
                self.header();
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
                if self.is_oracle() {
                    self.end_in_oracle();
                } else if !self.at_end() {
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
                self.called_procedure();
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
            _ if self.is_oracle() && self.is_bare_call() => {
                self.called_procedure();
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

    /// The condition of an IF, CASE, WHILE or FOR.
    fn header(&mut self) {
        self.header = true;
        self.plain();
        self.header = false;
    }

    /// What only Oracle's dialect has before a statement: `<<label>>`, DECLARE before a list of declarations, a cursor or a handler
    /// in that list, ELSIF and EXCEPTION; `true` where one was read.
    fn begins_in_oracle(&mut self) -> bool {
        let token = self.peek();
        if token.is_symbol(b'<') && self.peek_at(1).is_symbol(b'<') {
            for _ in 0..5 {
                self.take();
            }
            return true;
        }
        match token.keyword {
            K::DECLARE => {
                self.take();
                true
            }
            K::EXIT | K::CONTINUE | K::UNDO if self.word_at(1) == K::HANDLER => {
                self.error_handler();
                true
            }
            K::CURSOR if self.peek_at(1).is_name() => {
                self.take();
                let name = self.name_ahead();
                self.remember_cursor(name);
                self.take();
                if self.peek().is_symbol(b'(') {
                    self.skip_group();
                }
                if !self.accept(K::IS) {
                    self.accept(K::AS);
                }
                true
            }
            _ if self.is_text(token, "ELSIF") => {
                self.take();
                self.header();
                true
            }
            // EXCEPTION WHEN …, but not a variable of that name.
            _ if self.is_text(token, "EXCEPTION") && self.word_at(1) == K::WHEN => {
                self.take();
                true
            }
            _ if token.is_name() => {
                if self.word_at(1) == K::ROW || self.word_at(1) == K::TYPE {
                    let name = self.name_ahead();
                    self.remember_row(name);
                }
                false
            }
            _ => false,
        }
    }

    /// After END in Oracle's dialect: `END LOOP label`, `END label`, and `END name`, where the name has to be the routine's.
    fn end_in_oracle(&mut self) {
        if matches!(self.word(), K::IF | K::CASE | K::LOOP | K::WHILE | K::REPEAT | K::FOR) {
            self.take();
            if self.peek().is_name() {
                self.take();
            }
            return;
        }
        if !self.peek().is_name() {
            return;
        }
        let name = self.name_ahead();
        self.take();
        let after = if self.peek().is_symbol(b';') { self.peek_at(1) } else { self.peek() };
        let routine = self.body_of.filter(|_| after.kind == TokenKind::End).and_then(|owner| self.objects.get(owner));
        let Some((object_type, routine)) = routine.map(|routine| (routine.object_type, routine.name.clone())) else {
            return;
        };
        if matches!(object_type, ObjectType::Procedure | ObjectType::Function)
            && self.rules.charset.decode(&self.unquoted(name)).is_some_and(|text| text.eq_ignore_ascii_case(&routine))
        {
            self.object(object_type, None, name, Role::Reference, None);
        }
    }

    /// Whether a procedure is called without CALL, which Oracle's dialect allows: `p;`, `d.p;`, `p(1);`.
    fn is_bare_call(&mut self) -> bool {
        let token = self.peek();
        // Statements of one word, and those that a parenthesis may follow.
        let other =
            matches!(
                token.keyword,
                K::COMMIT | K::ROLLBACK | K::RAISE | K::RESIGNAL | K::LEAVE | K::ITERATE | K::SHUTDOWN | K::EXPLAIN
            ) || matches!(
                token.keyword,
                K::VALUES | K::VALUE | K::SET | K::DO | K::HELP | K::RESTART | K::ROW | K::RETURN
            ) || matches!(token.keyword, K::EXIT | K::CONTINUE | K::NULL | K::END | K::BEGIN | K::REPEAT | K::LOOP);
        if !token.is_name()
            || other
            || (token.kind == TokenKind::Word && crate::ddl::reserved::is_reserved_everywhere(self.text(token)))
        {
            return false;
        }
        let mut ahead = 1;
        while ahead < 5 && self.peek_at(ahead).is_symbol(b'.') && self.peek_at(ahead + 1).is_name() {
            ahead += 2;
        }
        let after = self.peek_at(ahead);
        after.is_symbol(b';') || after.is_symbol(b'(') || after.kind == TokenKind::End
    }

    /// The procedure of a CALL. MariaDB's can be one of a package: `d.package.procedure`.
    pub(in crate::ddl) fn called_procedure(&mut self) {
        let package = self.context.mariadb && self.peek_at(1).is_symbol(b'.') && self.peek_at(3).is_symbol(b'.');
        if !package {
            self.named(ObjectType::Procedure, Role::Reference, None);
        } else if let Some(super::Chain { parts: [database, Some(package), Some(_)], star: false }) = self.chain() {
            self.object(ObjectType::Package, database, package, Role::Reference, None);
        } else {
            self.doubt("a name has more parts than the grammar allows");
        }
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
        let handler = matches!(self.word(), K::EXIT | K::CONTINUE | K::UNDO) && self.word_at(1) == K::HANDLER;
        if !handler {
            self.refuse_reserved_in_body();
        }
        if matches!(self.word_at(1), K::HANDLER) {
            self.error_handler();
            return true;
        }
        if self.word_at(1) == K::CURSOR {
            let name = self.name_ahead();
            self.remember_cursor(name);
            self.take();
            self.take();
            if self.peek().is_symbol(b'(') {
                self.skip_group();
            }
            self.accept(K::FOR);
            return true;
        }
        self.rows_of_list();
        self.plain();
        false
    }

    /// `a, b ROW TYPE OF t`, `a ROW (x INT)`: the names, where they are of rows.
    fn rows_of_list(&mut self) {
        if !self.context.mariadb {
            return;
        }
        let first = self.rows.len();
        while self.peek().is_name() {
            let name = self.name_ahead();
            self.remember_row(name);
            self.take();
            if !self.accept_symbol(b',') {
                break;
            }
        }
        if self.word() != K::ROW && !self.is_type_of() {
            self.rows.truncate(first);
        }
    }

    /// `EXIT HANDLER FOR` and its conditions; the statement that follows them is read as the next one.
    fn error_handler(&mut self) {
        self.take();
        self.take();
        self.accept(K::FOR);
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

    /// The next token as a name, without taking it.
    pub(super) fn name_ahead(&mut self) -> Name {
        let token = self.peek();
        Name { start: token.start, end: token.end, quoted: token.kind == TokenKind::Quoted }
    }

    fn remember_cursor(&mut self, name: Name) {
        if self.cursors.len() < MOST_CURSORS {
            self.cursors.push(name);
        }
    }

    /// Notes a variable that can be a row.
    pub(super) fn remember_row(&mut self, name: Name) {
        if self.rows.len() < MOST_ROWS {
            self.rows.push(name);
        } else {
            self.body_opaque = true;
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
