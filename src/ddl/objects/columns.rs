//! Words of an expression: columns, calls of functions, and the names that keys and constraints have.

use super::walk::{Frame, MOST_ASSIGNMENTS, Mode, Walked};
use super::{Name, Parser};
use crate::ddl::keyword::Keyword as K;
use crate::ddl::lexer::{Token, TokenKind};
use crate::ddl::reserved::is_reserved_everywhere;
use crate::ddl::{ObjectType, Role};

impl Parser<'_> {
    /// Words that end a statement or a condition in a routine's body.
    pub(super) fn stops_in_body(&mut self, outermost: bool, cases: u32, word: K) -> bool {
        if !self.in_body || !outermost {
            return false;
        }
        match word {
            K::THEN | K::ELSE if cases > 0 => false,
            K::THEN | K::ELSE | K::LOOP | K::ELSEIF => {
                // In the middle of a statement they say that what came before was not understood: a column `end` in a CASE.
                self.body_opaque |= !self.header;
                true
            }
            // It is not reserved. After the condition of a WHILE a statement follows it, and after a name none does.
            K::DO => {
                let after = self.peek_at(1);
                let is_name = match after.kind {
                    TokenKind::Symbol(byte) => byte != b'(',
                    TokenKind::End => true,
                    _ => after.keyword == K::FROM,
                };
                self.body_opaque |= self.header == is_name;
                self.header
            }
            K::END => self.until_end && cases == 0,
            _ => false,
        }
    }

    /// Whether a word before a point is a keyword, and what follows it a name of the form `.t.a`. The servers take a word for a name
    /// where a point and a name's first byte follow at once.
    pub(super) fn is_word_before_point(&mut self, token: Token) -> bool {
        token.keyword == K::FROM
            || (token.kind == TokenKind::Word
                && !self.lexer.is_joined(token)
                && (is_reserved_everywhere(self.text(token))
                    || (token.keyword == K::RETURNING && self.context.mariadb)))
    }

    /// After a word of a table's definition: the name of a key or a constraint, if one follows. It is no column and no call, and one of
    /// a constraint can follow the table's name.
    pub(super) fn name_of_key(&mut self, word: Token, owner: usize) {
        if word.kind != TokenKind::Word {
            return;
        }
        let constraint = match word.keyword {
            K::KEY | K::INDEX | K::UNIQUE | K::FULLTEXT | K::SPATIAL => {
                if word.keyword != K::KEY && word.keyword != K::INDEX && matches!(self.word(), K::KEY | K::INDEX) {
                    self.take();
                }
                false
            }
            // CHECK (condition) has no name; DROP CHECK and ALTER CHECK have one.
            K::CHECK => true,
            _ if self.is_text(word, "CONSTRAINT") => true,
            _ if self.is_text(word, "FOREIGN") && self.accept(K::KEY) => true,
            _ => return,
        };
        self.skip_if_exists();
        let token = self.peek();
        if !token.is_name() || (token.kind == TokenKind::Word && is_reserved_everywhere(self.text(token))) {
            return;
        }
        if !constraint && !self.peek_at(1).is_symbol(b'(') {
            return;
        }
        let Some(name) = self.name() else { return };
        // The name of a UNIQUE is its key's.
        if constraint && self.word() != K::UNIQUE {
            self.note_derived(name, owner);
        }
    }

    /// `name(` in an expression: a stored function unless the server has one of that name. What is inside a version comment
    /// may be for another server than the one that wrote it.
    fn call(&mut self, name: Name) {
        let text = self.unquoted(name);
        let cursor = self.cursors.iter().any(|&cursor| self.same(cursor, name));
        let server = (!self.in_version_comment()).then_some(self.context);
        if !cursor && !crate::ddl::functions::is_built_in(&text, server) {
            self.object(ObjectType::Function, None, name, Role::Reference, None);
        }
    }

    /// A word in an expression: a column, a function, or nothing of interest.
    pub(super) fn column(&mut self, frame: &Frame, next: &mut Frame, walked: &mut Walked, calls: bool) {
        let assigned = frame.mode == Mode::AssignColumn;
        let token = self.peek();
        if !assigned && (!self.peek_at(1).is_symbol(b'.') || self.is_word_before_point(token)) {
            self.take();
            if calls && self.peek().is_symbol(b'(') {
                self.call(Name { start: token.start, end: token.end, quoted: token.kind == TokenKind::Quoted });
            }
            return;
        }
        let Some(chain) = self.chain() else {
            self.take();
            return;
        };
        if assigned {
            next.mode = Mode::AssignValue;
            if walked.assigned.len() >= MOST_ASSIGNMENTS {
                self.give_up("it assigns more columns than the proxy looks at");
            }
            walked.assigned.push(chain);
        }
        let (database, table) = match (chain.parts, chain.star) {
            ([Some(table), None, None], true) => (None, table),
            ([Some(database), Some(table), None], true) => (Some(database), table),
            ([Some(database), Some(function), None], false) if self.peek().is_symbol(b'(') => {
                self.object(ObjectType::Function, Some(database), function, Role::Reference, None);
                return;
            }
            ([Some(table), Some(_), None], false) => (None, table),
            ([Some(database), Some(table), Some(_)], false) if !self.peek().is_symbol(b'(') => (Some(database), table),
            ([Some(database), Some(package), Some(_)], false) => {
                self.object(ObjectType::Package, Some(database), package, Role::Reference, None);
                return;
            }
            _ => return,
        };
        if let ([Some(sequence), Some(part), None], true) = (chain.parts, self.is_oracle())
            && [&b"NEXTVAL"[..], b"CURRVAL"].iter().any(|word| self.unquoted(part).eq_ignore_ascii_case(word))
        {
            self.object(ObjectType::Sequence, None, sequence, Role::Reference, None);
            return;
        }
        if self.in_body && database.is_none() && !table.quoted {
            let text = self.unquoted(table);
            if text.eq_ignore_ascii_case(b"NEW") || text.eq_ignore_ascii_case(b"OLD") {
                return;
            }
        }
        self.mention(frame.scope, database, table);
    }
}
