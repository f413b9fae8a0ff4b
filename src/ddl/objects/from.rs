//! The tables of a FROM clause: names, aliases, periods, index hints, locking clauses.

use super::walk::{Frame, Mode};
use super::{Name, Parser};
use crate::ddl::keyword::Keyword as K;
use crate::ddl::lexer::{Token, TokenKind};
use crate::ddl::{ObjectType, Role};

/// Words that cannot be an alias after a table.
fn follows_table(word: K) -> bool {
    matches!(
        word,
        K::ON
            | K::USING
            | K::JOIN
            | K::INNER
            | K::CROSS
            | K::LEFT
            | K::RIGHT
            | K::NATURAL
            | K::STRAIGHT_JOIN
            | K::OUTER
            | K::WHERE
            | K::GROUP
            | K::HAVING
            | K::ORDER
            | K::LIMIT
            | K::UNION
            | K::EXCEPT
            | K::INTERSECT
            | K::WINDOW
            | K::PROCEDURE
            | K::INTO
            | K::LOCK
            | K::FOR
            | K::SET
            | K::SELECT
            | K::VALUES
            | K::WITH
            | K::RETURNING
            | K::FETCH
            | K::THEN
            | K::LOOP
            | K::USE
            | K::FORCE
            | K::IGNORE
            | K::PARTITION
            | K::QUALIFY
            | K::READ
            | K::WRITE
            | K::AS
            | K::FROM
            | K::ELSE
            | K::TABLESAMPLE
            | K::KEY
            | K::INDEX
    )
}

/// Whether a name is one that MariaDB's SEQUENCE engine makes a table of numbers for: `seq_1_to_100`,
/// `seq_1_to_100_step_5`. Every database has all of them, so that it is no object.
pub(in crate::ddl) fn is_series(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((first, rest)) = name.strip_prefix("seq_").and_then(|rest| rest.split_once("_to_")) else {
        return false;
    };
    let (last, step) = rest.split_once("_step_").map_or((rest, None), |(last, step)| (last, Some(step)));
    number(first) && number(last) && step.is_none_or(number)
}

impl Parser<'_> {
    /// `FOR UPDATE OF t1, t2`: the tables of a locking clause are named as columns name them.
    pub(super) fn locking_clause(&mut self, scope: usize) {
        // FOR UPDATE, FOR SHARE.
        if self.word_at(1) == K::OF {
            self.take();
        }
        if !self.accept(K::OF) {
            return;
        }
        while let Some((database, table)) = self.chain().and_then(|chain| chain.table()) {
            self.mention(scope, database, table);
            if !self.accept_symbol(b',') {
                return;
            }
        }
    }

    /// A table of a FROM clause, or of an UPDATE or DELETE.
    pub(super) fn table_factor(&mut self, token: Token, next: &mut Frame) -> Option<Frame> {
        match token.keyword {
            // Before a parenthesis only: MariaDB and MySQL before 8.0 do not know it.
            K::LATERAL if self.peek_at(1).is_symbol(b'(') => {
                self.take();
                return None;
            }
            // `{OJ t1 LEFT JOIN t2 ON …}`; elsewhere it is a name.
            K::OJ if self.last_end.checked_sub(1).and_then(|brace| self.sql.get(brace)) == Some(&b'{') => {
                self.take();
                return None;
            }
            K::DUAL if token.kind == TokenKind::Word && !self.peek_at(1).is_symbol(b'.') => {
                self.take();
                next.mode = Mode::AfterTable;
                return None;
            }
            _ => {}
        }
        self.refuse_reserved();
        let chain = self.chain()?;
        if self.peek().is_symbol(b'(') && token.kind == TokenKind::Word {
            // JSON_TABLE(…) and other table functions: columns inside, an alias after. A scope of its own makes the
            // end of the parenthesis treat it as a derived table.
            self.take();
            let mut inside = Frame::inside(next);
            inside.query = Some(next.scope);
            return Some(inside);
        }
        next.mode = Mode::AfterTable;
        let Some((database, name)) = chain.table() else {
            self.doubt_here("a table's name has more than two parts");
            return None;
        };
        let series = self.is_series(name);
        if let Some(database) = database.filter(|_| series) {
            self.database_named(database, Role::Reference);
        }
        let no_table = series || (database.is_none() && self.is_expression(next.scope, name));
        let entry = if no_table {
            self.add_entry(next.scope, None, Some(name))
        } else {
            let object = self.object(ObjectType::Table, database, name, Role::Reference, None);
            self.add_entry(next.scope, Some(object), Some(name))
        };
        self.after_table(Some(entry));
        None
    }

    pub(super) fn is_series(&self, name: Name) -> bool {
        self.context.mariadb && std::str::from_utf8(&self.unquoted(name)).is_ok_and(is_series)
    }

    /// What may follow a table: partitions, a period, an alias, index hints.
    pub(super) fn after_table(&mut self, entry: Option<usize>) {
        let mut named = false;
        loop {
            let token = self.peek();
            match token.keyword {
                K::PARTITION if self.peek_at(1).is_symbol(b'(') => {
                    self.take();
                    self.skip_group();
                }
                K::FOR if matches!(self.word_at(1), K::SYSTEM_TIME | K::PORTION) => self.skip_period(),
                K::USE | K::FORCE | K::IGNORE if matches!(self.word_at(1), K::INDEX | K::KEY) => {
                    while !self.at_end() && !self.peek().is_symbol(b'(') {
                        self.take();
                    }
                    self.skip_group();
                    // MySQL takes several lists after commas only between hints.
                    if self.peek().is_symbol(b',') && matches!(self.word_at(1), K::USE | K::FORCE | K::IGNORE) {
                        self.take();
                    }
                }
                K::AS if !named => {
                    self.take();
                    let alias = self.peek();
                    if alias.kind == TokenKind::String {
                        self.take();
                    } else if let Some(alias) = self.name()
                        && let Some(entry) = entry
                    {
                        self.set_alias(entry, alias);
                    }
                    named = true;
                    self.skip_alias_columns();
                }
                word if !named && token.is_name() && !self.is_clause(word) => {
                    if let Some(alias) = self.name()
                        && let Some(entry) = entry
                    {
                        self.set_alias(entry, alias);
                    }
                    named = true;
                    self.skip_alias_columns();
                }
                _ => return,
            }
        }
    }

    fn skip_alias_columns(&mut self) {
        if self.peek().is_symbol(b'(') {
            self.skip_group();
        }
    }

    /// Whether a word after a table goes on with the query and is not its alias.
    fn is_clause(&mut self, word: K) -> bool {
        let token = self.peek();
        (follows_table(word) && self.has_clause(word))
            || (token.kind == TokenKind::Word && crate::ddl::reserved::is_reserved_everywhere(self.text(token)))
            || match word {
                K::FULL => matches!(self.word_at(1), K::JOIN | K::OUTER),
                K::OFFSET => matches!(self.peek_at(1).kind, TokenKind::Number | TokenKind::Variable),
                K::MINUS if self.is_oracle() => {
                    matches!(self.word_at(1), K::SELECT | K::ALL | K::DISTINCT) || self.peek_at(1).is_symbol(b'(')
                }
                _ => false,
            }
    }

    /// Whether the server that wrote the statement has the clause or the operation that a word begins, or else reserves the word. To
    /// the others it is a name.
    pub(super) fn has_clause(&mut self, word: K) -> bool {
        let (mariadb, version) = (self.context.mariadb, self.context.version);
        // An unknown version has them all.
        let since = |mysql: u32, maria: u32| version == 0 || version >= if mariadb { maria } else { mysql };
        match word {
            K::RETURNING => mariadb,
            K::WINDOW => since(80_000, 100_200),
            K::EXCEPT => since(80_000, 100_300),
            K::INTERSECT => since(80_031, 100_300),
            // They came between 8.0 and 8.4. No clause goes on with any of these.
            K::QUALIFY | K::TABLESAMPLE if since(80_100, 120_000) => {
                let next = self.peek_at(1);
                !matches!(next.kind, TokenKind::End | TokenKind::Symbol(b',' | b')' | b';'))
                    && !matches!(next.keyword, K::JOIN | K::ON | K::USING | K::SET | K::WHERE)
            }
            K::QUALIFY | K::TABLESAMPLE => false,
            _ => true,
        }
    }

    /// A parenthesis in a period, which no server lets hold a query.
    fn skip_point_in_time(&mut self) {
        let mut open = 0_u32;
        loop {
            let token = self.take();
            match token.kind {
                TokenKind::Symbol(b'(') => open += 1,
                TokenKind::Symbol(b')') => open -= 1,
                TokenKind::End => return self.doubt("a parenthesis is not closed"),
                _ if token.keyword == K::SELECT => self.doubt("a query inside a period is not read"),
                _ => {}
            }
            if open == 0 {
                return;
            }
        }
    }

    /// `FOR SYSTEM_TIME …`, `FOR PORTION OF p FROM a TO b`: up to the alias or the next clause.
    fn skip_period(&mut self) {
        self.take();
        let portion = self.take().keyword == K::PORTION;
        loop {
            let token = self.peek();
            match token.keyword {
                K::AS if self.word_at(1) != K::OF => return,
                K::FROM | K::AS | K::FOR => {}
                K::SET if portion => return,
                word if follows_table(word) && self.has_clause(word) => return,
                _ => {}
            }
            match token.kind {
                TokenKind::Symbol(b'(') => self.skip_point_in_time(),
                TokenKind::Symbol(b',' | b')' | b';') | TokenKind::End => return,
                _ => {
                    self.take();
                }
            }
        }
    }
}
