//! The walk over expressions and queries: which words are tables, which are aliases, which are columns.
//!
//! A stack of frames, one a parenthesis, holds where in a query the walk is. The same walk reads the rest of a
//! CREATE TABLE, an ALTER TABLE, a DML statement or a statement of a routine's body, since all of them are a few
//! clauses of their own around expressions and queries.

use super::{Chain, Name, Parser};
use crate::ddl::keyword::Keyword as K;
use crate::ddl::lexer::{Token, TokenKind};
use crate::ddl::{ObjectType, Role};

/// Parentheses nested deeper than this are refused: no server's stack takes them.
const DEEPEST_NESTING: usize = 65_536;
/// Columns that an UPDATE may assign.
pub(super) const MOST_ASSIGNMENTS: usize = 65_536;

/// Where in a query a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// An expression, or anything else that names no table by itself.
    Expression,
    /// Between SELECT and FROM.
    SelectList,
    /// A table comes next.
    ExpectTable,
    /// A table has been read.
    AfterTable,
    /// After ON or USING.
    JoinCondition,
    /// An assignment's column comes next.
    AssignColumn,
    /// After an assignment's column.
    AssignValue,
}

/// Whose clauses the walk knows besides expressions and queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    /// None.
    Plain,
    /// CREATE TABLE of this object.
    CreateTable(usize),
    /// ALTER TABLE of this object.
    AlterTable(usize),
    /// An index's columns: `a(10)` is no call.
    Index,
    /// The rows of an INSERT after VALUES, or its assignments after SET.
    Rows,
    /// UPDATE: SET begins its assignments.
    Update,
    /// Ends before UPDATE or DELETE that follow a WITH clause.
    With,
}

/// One parenthesis of a query, or the query itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) mode: Mode,
    /// Names are looked up from here.
    pub(super) scope: usize,
    /// The scope of the query expression in this frame, once there is one.
    pub(super) query: Option<usize>,
    /// A frame around this one has a query.
    in_query: bool,
    /// Nothing but the beginning of a query has been seen.
    fresh: bool,
    /// Nothing but the parentheses around a query comes before it: a set operation here is one of the whole query.
    leading: bool,
    /// CASE expressions that have not ended.
    cases: u32,
    /// The parenthesis holds the body of this common table expression; `true` when it may name itself.
    expression: Option<(Name, bool)>,
    /// The parenthesis begins what it stands in, and can hold a query that goes on behind it: `(SELECT …) ORDER BY t.a`.
    heads: bool,
    /// A set operation has been seen.
    set_operation: bool,
}

/// What a walk found besides objects.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Left sides of assignments, with the scope they are read in.
    pub(super) assigned: Vec<Chain>,
    /// The query is a set operation, not only one that is nested in it.
    pub(super) set_operation: bool,
    /// The scope of the base query, where common table expressions are known.
    pub(super) query: Option<usize>,
}

impl Parser<'_> {
    /// Walks to the end of the statement. `scope` is what its names are looked up in.
    pub(super) fn walk(&mut self, mode: Mode, scope: usize, flavor: Flavor) -> Walked {
        let mut walked = Walked::default();
        let base = Frame {
            mode,
            scope,
            query: None,
            in_query: false,
            fresh: true,
            leading: true,
            cases: 0,
            expression: None,
            heads: false,
            set_operation: false,
        };
        let mut frames = vec![base];
        while let Some(&frame) = frames.last() {
            let token = self.peek();
            let outermost = frames.len() == 1;
            let mut next = Frame { fresh: false, ..frame };
            match token.kind {
                TokenKind::End => {
                    if !outermost {
                        self.doubt("a parenthesis is not closed");
                    }
                    break;
                }
                TokenKind::Symbol(b';') if self.in_body => {
                    if !outermost {
                        self.doubt("a parenthesis is not closed");
                    }
                    break;
                }
                TokenKind::Symbol(b';') => {
                    self.take();
                    if self.peek().kind != TokenKind::End {
                        self.give_up("several statements in one text");
                    }
                    continue;
                }
                TokenKind::Symbol(b'(') => {
                    self.take();
                    if frames.len() >= DEEPEST_NESTING {
                        self.give_up("parentheses are nested deeper than any server allows");
                        break;
                    }
                    if let Some(top) = frames.last_mut() {
                        *top = next;
                    }
                    let mode = if frame.mode == Mode::ExpectTable { Mode::ExpectTable } else { Mode::Expression };
                    frames.push(Frame {
                        mode,
                        scope: frame.scope,
                        query: None,
                        in_query: next.is_in_query(),
                        fresh: true,
                        leading: frame.leading && frame.fresh && flavor != Flavor::Rows,
                        cases: 0,
                        expression: None,
                        heads: frame.fresh && !frame.set_operation && flavor != Flavor::Rows,
                        set_operation: false,
                    });
                    continue;
                }
                TokenKind::Symbol(b')') => {
                    if outermost {
                        self.give_up("a parenthesis is closed that was not opened");
                        break;
                    }
                    self.take();
                    frames.pop();
                    if let Some((name, recursive)) = frame.expression {
                        let more = self.after_expression(&mut frames, name, recursive);
                        if !more && flavor == Flavor::With && frames.len() == 1 && self.word() != K::SELECT {
                            break;
                        }
                        continue;
                    }
                    if let Some(outer) = frames.last_mut().filter(|outer| outer.mode == Mode::ExpectTable) {
                        outer.mode = Mode::AfterTable;
                        let scope = outer.scope;
                        let entry = frame.query.map(|_| self.add_entry(scope, None, None));
                        self.after_table(entry);
                    } else if frame.heads && !frame.set_operation && frame.scope != scope && self.goes_on() {
                        // What follows names the tables of the one query in the parenthesis.
                        if let Some(outer) = frames.last_mut() {
                            outer.scope = frame.scope;
                        }
                    }
                    continue;
                }
                TokenKind::Symbol(b',') => {
                    self.take();
                    next.mode = match frame.mode {
                        Mode::AfterTable | Mode::JoinCondition => Mode::ExpectTable,
                        Mode::AssignValue => Mode::AssignColumn,
                        other => other,
                    };
                }
                TokenKind::Word | TokenKind::Quoted => {
                    if self.stops_in_body(outermost, frame.cases, token.keyword) {
                        break;
                    }
                    self.walk_word(token, &mut frames, flavor, &mut walked);
                    continue;
                }
                TokenKind::Variable => {
                    self.take();
                    // `@@global.name`: the parts after the points are no columns.
                    while self.peek().is_symbol(b'.') && self.peek_at(1).is_name() {
                        self.take();
                        self.take();
                    }
                }
                TokenKind::String | TokenKind::Number | TokenKind::Symbol(_) => {
                    if matches!(token.kind, TokenKind::Symbol(b'[' | b']')) {
                        // They enclose names under MariaDB's MSSQL, and nothing elsewhere.
                        self.doubt_here("names in brackets are not read");
                    } else if frame.mode == Mode::ExpectTable
                        && !matches!(token.kind, TokenKind::Symbol(b'{' | b'}' | b'.'))
                    {
                        self.doubt_here("a table's name is missing");
                    }
                    self.take();
                    // Oracle's `t1%ROWTYPE` names a table or a cursor: which of them takes a reading that is not done here.
                    if token.is_symbol(b'%') && self.in_body && self.is_oracle() && self.peek().is_name() {
                        self.body_opaque = true;
                    }
                }
            }
            if let Some(top) = frames.last_mut() {
                *top = next;
            }
        }
        walked.query = frames.first().and_then(|base| base.query);
        walked
    }

    /// Whether a query in parentheses that was just closed goes on with what can name its tables.
    fn goes_on(&mut self) -> bool {
        match self.word() {
            K::ORDER | K::LIMIT => true,
            K::ON => self.word_at(1) == K::DUPLICATE,
            _ => self.peek().is_symbol(b')'),
        }
    }

    /// One word or quoted name.
    fn walk_word(&mut self, token: Token, frames: &mut Vec<Frame>, flavor: Flavor, walked: &mut Walked) {
        let index = frames.len().saturating_sub(1);
        let Some(&frame) = frames.last() else { return };
        let mut next = Frame { fresh: false, ..frame };
        let mut inner = None;
        let in_tables = matches!(frame.mode, Mode::AfterTable | Mode::JoinCondition);
        let qualifies = self.peek_at(1).is_symbol(b'.') && !self.is_word_before_point(token);
        // A column that is assigned may have a name that is a keyword elsewhere, such as `end`.
        let is_column = qualifies || frame.mode == Mode::AssignColumn;
        let word = if is_column { K::NONE } else { token.keyword };
        let outermost = frames.len() == 1;
        let in_query = frame.is_in_query();
        match word {
            K::SELECT => {
                let verb = self.take();
                self.begin_query(&mut next);
                self.hints(next.scope, verb.end);
                next.mode = Mode::SelectList;
            }
            K::WITH if self.begins_expressions(&frame, outermost, flavor) => {
                self.take();
                let recursive = self.accept(K::RECURSIVE);
                let query = self.open_scope(Some(frame.scope));
                next.query = Some(query);
                next.scope = query;
                inner = self.open_expression(query, recursive);
            }
            K::TABLE if self.begins_table_statement(&frame, outermost, flavor) => {
                self.take();
                self.begin_query(&mut next);
                next.mode = Mode::ExpectTable;
            }
            K::VALUES if frame.fresh && (!outermost || frame.mode == Mode::ExpectTable) => {
                self.take();
                self.begin_query(&mut next);
                next.mode = Mode::Expression;
            }
            K::FROM => {
                self.take();
                if frame.mode == Mode::SelectList {
                    next.mode = Mode::ExpectTable;
                }
            }
            K::UNION if !matches!(flavor, Flavor::Plain | Flavor::Rows) && !in_query && self.is_merge_list() => {
                self.take();
                self.merge_list();
            }
            K::UNION | K::EXCEPT | K::INTERSECT | K::MINUS
                if (word != K::MINUS || (in_tables && self.is_oracle())) && self.has_clause(word) =>
            {
                self.take();
                next.set_operation = true;
                while matches!(self.word(), K::ALL | K::DISTINCT) {
                    self.take();
                }
                next.mode = Mode::Expression;
                next.fresh = true;
                walked.set_operation |= frame.leading;
                // A set operation inside `FROM ((SELECT …) UNION (SELECT …))` makes the parenthesis a derived table.
                if next.query.is_none() && !outermost {
                    next.query = Some(self.open_scope(Some(frame.scope)));
                }
            }
            K::JOIN | K::STRAIGHT_JOIN if in_tables => {
                self.take();
                next.mode = Mode::ExpectTable;
            }
            K::ON if in_tables => {
                self.take();
                let duplicate = self.word() == K::DUPLICATE && self.word_at(1) == K::KEY;
                next.mode = if duplicate { Mode::Expression } else { Mode::JoinCondition };
            }
            K::USING if in_tables => {
                self.take();
                next.mode = Mode::JoinCondition;
            }
            K::SET if flavor == Flavor::Update && outermost && in_tables => {
                self.take();
                next.mode = Mode::AssignColumn;
            }
            K::WHERE
            | K::GROUP
            | K::HAVING
            | K::ORDER
            | K::LIMIT
            | K::WINDOW
            | K::QUALIFY
            | K::PROCEDURE
            | K::LOCK
            | K::INTO
            | K::RETURNING
                if (in_tables || frame.mode == Mode::AssignValue) && self.has_clause(word) =>
            {
                self.take();
                next.mode = Mode::Expression;
            }
            K::CREATE | K::GRANT | K::REVOKE => {
                self.take();
                self.doubt("another statement begins inside it");
            }
            K::CASE => {
                self.take();
                next.cases += 1;
            }
            K::END if frame.mode != Mode::ExpectTable => {
                self.take();
                next.cases = next.cases.saturating_sub(1);
            }
            K::REFERENCES if !in_query && self.owner_of_clauses(flavor).is_some() => {
                self.take();
                let owner = self.owner_of_clauses(flavor);
                self.named(ObjectType::Table, Role::Reference, owner);
            }
            K::START if matches!(flavor, Flavor::CreateTable(_)) && outermost && self.word_at(1) == K::TRANSACTION => {
                self.take();
                self.take();
                self.opens_transaction |= !self.in_body;
            }
            K::AS | K::IGNORE | K::REPLACE if matches!(flavor, Flavor::CreateTable(_)) && outermost && !in_query => {
                self.take();
                next.fresh = true;
            }
            // What follows AS is an alias or a type, also where a parenthesis follows: `AS n(a, b)`, `AS CHAR(10)`.
            K::AS => {
                self.take();
                if self.peek().is_name() && !matches!(self.word(), K::SELECT | K::WITH | K::VALUES | K::TABLE) {
                    self.take();
                }
            }
            K::RENAME | K::EXCHANGE | K::CONVERT if matches!(flavor, Flavor::AlterTable(_)) && outermost => {
                self.alter_clause();
            }
            K::NEXT | K::PREVIOUS
                if self.context.mariadb && self.word_at(1) == K::VALUE && self.word_at(2) == K::FOR =>
            {
                self.take();
                self.take();
                self.take();
                self.named(ObjectType::Sequence, Role::Reference, None);
            }
            K::NEXTVAL | K::LASTVAL | K::SETVAL
                if self.context.mariadb && flavor != Flavor::Index && self.peek_at(1).is_symbol(b'(') =>
            {
                self.take();
                self.take();
                self.named(ObjectType::Sequence, Role::Reference, None);
                inner = Some(Frame::inside(&next));
            }
            K::ROW | K::TYPE if self.in_body && self.is_type_of() => self.type_of(),
            K::FOR if in_tables => {
                self.take();
                self.locking_clause(frame.scope);
                next.mode = Mode::Expression;
            }
            _ if frame.mode == Mode::ExpectTable => inner = self.table_factor(token, &mut next),
            _ => {
                let owner = match flavor {
                    _ if in_query || qualifies => None,
                    Flavor::CreateTable(owner) if frames.len() == 2 => Some(owner),
                    Flavor::AlterTable(owner) => Some(owner),
                    _ => None,
                };
                let calls = in_query || matches!(flavor, Flavor::Plain | Flavor::Rows | Flavor::Update | Flavor::With);
                self.column(&frame, &mut next, walked, calls);
                if let Some(owner) = owner {
                    self.name_of_key(token, owner);
                }
            }
        }
        if let Some(top) = frames.get_mut(index) {
            *top = next;
        }
        frames.extend(inner);
    }

    /// Enters a SELECT, TABLE or VALUES in a frame.
    fn begin_query(&mut self, frame: &mut Frame) {
        let query = match frame.query {
            Some(query) => query,
            None => self.open_scope(Some(frame.scope)),
        };
        frame.query = Some(query);
        frame.scope = self.open_scope(Some(query));
    }

    /// Whether WITH begins common table expressions here, and is not `WITH ROLLUP`, `WITH CHECK OPTION`, ….
    fn begins_expressions(&mut self, frame: &Frame, outermost: bool, flavor: Flavor) -> bool {
        match flavor {
            Flavor::AlterTable(_) if outermost => false,
            Flavor::CreateTable(_) if outermost => {
                frame.query.is_none()
                    && (self.word_at(1) == K::RECURSIVE
                        || (self.peek_at(1).is_name() && self.word_at(2) != K::VERSIONING && self.names_expression()))
            }
            // Not `JSON_DUALITY_OBJECT(WITH (INSERT) …)`.
            _ => {
                frame.fresh && self.peek_at(1).is_name() && (self.word_at(1) == K::RECURSIVE || self.names_expression())
            }
        }
    }

    /// Whether what follows WITH is `name AS` or `name (`.
    fn names_expression(&mut self) -> bool {
        self.word_at(2) == K::AS || self.peek_at(2).is_symbol(b'(')
    }

    /// Whether TABLE begins a `TABLE t` statement here.
    fn begins_table_statement(&mut self, frame: &Frame, outermost: bool, flavor: Flavor) -> bool {
        let possible = frame.fresh || (matches!(flavor, Flavor::CreateTable(_)) && outermost && frame.query.is_none());
        possible && self.peek_at(1).is_name()
    }

    /// `name [(columns)] AS (`, and the frame of what follows.
    fn open_expression(&mut self, query: usize, recursive: bool) -> Option<Frame> {
        let name = self.name()?;
        if self.peek().is_symbol(b'(') {
            self.skip_group();
        }
        if !self.accept(K::AS) || !self.expect_symbol(b'(') {
            self.doubt_here("a common table expression is not understood");
            return None;
        }
        if recursive {
            self.add_expression(query, name);
            if self.context.mariadb {
                self.forget_forward_mentions(query, name);
            }
        }
        Some(Frame {
            mode: Mode::Expression,
            scope: query,
            query: None,
            in_query: true,
            fresh: true,
            leading: false,
            cases: 0,
            expression: Some((name, recursive)),
            heads: false,
            set_operation: false,
        })
    }

    /// After the body of a common table expression: the next one if there is one.
    fn after_expression(&mut self, frames: &mut Vec<Frame>, name: Name, recursive: bool) -> bool {
        let Some(query) = frames.last().and_then(|frame| frame.query) else { return false };
        if !recursive {
            self.add_expression(query, name);
        }
        if self.word() == K::CYCLE {
            // MariaDB: CYCLE columns RESTRICT.
            while !matches!(self.take().kind, TokenKind::End) && self.word() != K::RESTRICT {}
            self.accept(K::RESTRICT);
        }
        if self.accept_symbol(b',') {
            let inner = self.open_expression(query, recursive);
            frames.extend(inner);
            return true;
        }
        if let Some(top) = frames.last_mut() {
            top.fresh = true;
        }
        false
    }

    /// The object whose clauses a flavour reads.
    fn owner_of_clauses(&self, flavor: Flavor) -> Option<usize> {
        match flavor {
            Flavor::CreateTable(owner) | Flavor::AlterTable(owner) => Some(owner),
            _ => None,
        }
    }

    /// Whether UNION here is the list of a MERGE table: `UNION=(t1, t2)`.
    fn is_merge_list(&mut self) -> bool {
        let open = usize::from(self.peek_at(1).is_symbol(b'=')) + 1;
        let first = self.peek_at(open + 1);
        self.peek_at(open).is_symbol(b'(')
            && (first.is_symbol(b')')
                || first.is_symbol(b'.')
                || (first.is_name() && !matches!(first.keyword, K::SELECT | K::WITH | K::VALUES | K::TABLE)))
    }

    fn merge_list(&mut self) {
        self.accept_symbol(b'=');
        self.accept_symbol(b'(');
        while !self.at_end() && !self.accept_symbol(b')') {
            if self.named(ObjectType::Table, Role::Reference, None).is_none() {
                return;
            }
            self.accept_symbol(b',');
        }
    }
}

impl Frame {
    /// A parenthesised expression inside `outer`.
    pub(super) fn inside(outer: &Frame) -> Self {
        let in_query = outer.is_in_query();
        Self {
            mode: Mode::Expression,
            query: None,
            in_query,
            fresh: false,
            leading: false,
            cases: 0,
            expression: None,
            heads: false,
            set_operation: false,
            ..*outer
        }
    }

    /// Whether what stands here is a part of a query, and not of a table's definition.
    fn is_in_query(&self) -> bool {
        self.in_query || self.query.is_some()
    }
}
