//! The finder: reads a statement's tokens once, from left to right, and notes every name with its role and place.
//!
//! [`Parser`] holds what the parts share: the token window, the names found, the scopes of queries, and the doubt.
//! No part calls itself: nesting lives in explicit stacks with named limits, so hostile text costs memory that is
//! bounded and time that is linear.

mod body;
mod columns;
mod definitions;
mod dml;
pub(super) mod from;
mod hints;
mod scopes;
mod tables;
mod walk;

use std::ops::Range;

use super::keyword::Keyword;
use super::lexer::{Lexer, Problem, Rules, Token, TokenKind};
use super::{Class, Context, Control, DerivedName, Kind, ListItem, Object, ObjectType, Role, Statement};
use scopes::Scopes;

/// How many tokens a decision may look ahead.
const LOOKAHEAD: usize = 6;
/// Names longer than this are refused by every server.
const LONGEST_NAME: usize = 64;
/// `sql_mode` bit of ORACLE, which MariaDB acts on.
const MODE_ORACLE: u64 = 1 << 9;
/// Objects of one statement; more is not a statement that a person or a tool wrote.
const MOST_OBJECTS: usize = 65_536;

/// A name as written: its range with quotes, and whether it has quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) quoted: bool,
}

/// `a`, `a.b` or `a.b.c`, and whether `.*` follows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    parts: [Option<Name>; 3],
    star: bool,
}

impl Chain {
    /// The last name and the one before it: a table and its database.
    fn table(&self) -> Option<(Option<Name>, Name)> {
        match self.parts {
            [Some(name), None, None] => Some((None, name)),
            [Some(database), Some(name), None] => Some((Some(database), name)),
            _ => None,
        }
    }

    fn length(&self) -> usize {
        self.parts.iter().flatten().count()
    }
}

/// The reader of one statement.
pub(super) struct Parser<'a> {
    pub(super) sql: &'a [u8],
    pub(super) context: &'a Context<'a>,
    rules: Rules,
    lexer: Lexer<'a>,
    window: [Token; LOOKAHEAD],
    window_borders: [u32; LOOKAHEAD],
    filled: usize,
    /// Borders of version comments before the token that was taken last.
    borders: u32,
    /// End of the token that was taken last.
    pub(super) last_end: usize,
    /// Nothing more is read: the statement is beyond judging.
    ended: bool,
    pub(super) kind: Kind,
    pub(super) class: Option<Class>,
    pub(super) control: Option<Control>,
    pub(super) opens_transaction: bool,
    pub(super) temporary: bool,
    pub(super) definer: Option<Range<usize>>,
    pub(super) body_opaque: bool,
    pub(super) objects: Vec<Object>,
    derived: Vec<DerivedName>,
    items: Vec<ListItem>,
    doubt: Option<String>,
    scopes: Scopes,
    /// In the body of a routine, trigger or event, which belongs to this object.
    body_of: Option<usize>,
    in_body: bool,
    /// The walk is in the condition of an UNTIL, which END ends.
    until_end: bool,
    /// The condition of an IF, CASE, WHILE or FOR is being read, which THEN, DO or LOOP ends.
    header: bool,
    /// Cursors that the body declares.
    cursors: Vec<Name>,
    /// Variables and parameters that can be rows, so that `v.a` is a field of theirs.
    rows: Vec<Name>,
    /// For each object whether it turned out to be none: a common table expression named before it is written.
    dropped: Vec<bool>,
}

impl<'a> Parser<'a> {
    /// A reader at the start of `sql`.
    pub(super) fn new(sql: &'a [u8], context: &'a Context<'a>, rules: Rules) -> Self {
        let end = Token { kind: TokenKind::End, keyword: Keyword::NONE, start: 0, end: 0 };
        Self {
            sql,
            context,
            rules,
            lexer: Lexer::new(sql, rules),
            window: [end; LOOKAHEAD],
            window_borders: [0; LOOKAHEAD],
            filled: 0,
            borders: 0,
            last_end: 0,
            ended: false,
            kind: Kind::UNKNOWN,
            class: None,
            control: None,
            opens_transaction: false,
            temporary: false,
            definer: None,
            body_opaque: false,
            objects: Vec::new(),
            derived: Vec::new(),
            items: Vec::new(),
            doubt: None,
            scopes: Scopes::default(),
            body_of: None,
            in_body: false,
            until_end: false,
            header: false,
            cursors: Vec::new(),
            rows: Vec::new(),
            dropped: Vec::new(),
        }
    }

    /// The token `ahead` places on; 0 is the next one.
    pub(super) fn peek_at(&mut self, ahead: usize) -> Token {
        while self.filled <= ahead {
            let token = if self.ended {
                let at = self.sql.len();
                Token { kind: TokenKind::End, keyword: Keyword::NONE, start: at, end: at }
            } else {
                self.lexer.next()
            };
            self.window[self.filled] = token;
            self.window_borders[self.filled] = self.lexer.borders();
            self.filled += 1;
        }
        self.window[ahead]
    }

    /// The next token.
    pub(super) fn peek(&mut self) -> Token {
        self.peek_at(0)
    }

    /// The keyword of the next token.
    pub(super) fn word(&mut self) -> Keyword {
        self.peek_at(0).keyword
    }

    /// The keyword of a later token.
    pub(super) fn word_at(&mut self, ahead: usize) -> Keyword {
        self.peek_at(ahead).keyword
    }

    /// Takes the next token.
    pub(super) fn take(&mut self) -> Token {
        let token = self.peek_at(0);
        self.borders = self.window_borders[0];
        self.last_end = token.end;
        self.window.copy_within(1..self.filled, 0);
        self.window_borders.copy_within(1..self.filled, 0);
        self.filled -= 1;
        token
    }

    /// Takes the next token if it is this keyword.
    pub(super) fn accept(&mut self, keyword: Keyword) -> bool {
        let found = self.word() == keyword;
        if found {
            self.take();
        }
        found
    }

    /// Takes the next token if it is this punctuation.
    pub(super) fn accept_symbol(&mut self, byte: u8) -> bool {
        let found = self.peek().is_symbol(byte);
        if found {
            self.take();
        }
        found
    }

    /// Takes the next token if it is this punctuation, and doubts the statement if not.
    fn expect_symbol(&mut self, byte: u8) -> bool {
        let found = self.accept_symbol(byte);
        if !found {
            self.doubt_here("it lacks punctuation where the grammar has it");
        }
        found
    }

    /// Whether nothing is left but a semicolon.
    pub(super) fn at_end(&mut self) -> bool {
        match self.peek().kind {
            TokenKind::End => true,
            TokenKind::Symbol(b';') => self.in_body || self.peek_at(1).kind == TokenKind::End,
            _ => false,
        }
    }

    /// The text of a token.
    pub(super) fn text(&self, token: Token) -> &'a [u8] {
        self.sql.get(token.start..token.end).unwrap_or_default()
    }

    /// Whether a token is this word, in any case; for words too rare for the table.
    pub(super) fn is_text(&self, token: Token, word: &str) -> bool {
        token.kind == TokenKind::Word && self.text(token).eq_ignore_ascii_case(word.as_bytes())
    }

    /// Notes why the statement is not certain. In a routine's body only the body is.
    pub(super) fn doubt(&mut self, reason: &str) {
        if self.in_body {
            self.body_opaque = true;
        } else if self.doubt.is_none() {
            self.doubt = Some(reason.to_owned());
        }
    }

    /// Notes a doubt with the place.
    pub(super) fn doubt_here(&mut self, reason: &str) {
        if self.in_body {
            self.body_opaque = true;
        } else if self.doubt.is_none() {
            let at = self.peek().start;
            self.doubt = Some(format!("{reason} (at byte {at})"));
        }
    }

    /// Notes a doubt that ends all reading: what follows would cost more than it tells.
    fn give_up(&mut self, reason: &str) {
        self.in_body = false;
        self.doubt(reason);
        self.ended = true;
        self.filled = 0;
    }

    /// `IF EXISTS` or `IF NOT EXISTS`, where present.
    pub(super) fn skip_if_exists(&mut self) {
        if self.word() == Keyword::IF && matches!(self.word_at(1), Keyword::NOT | Keyword::EXISTS) {
            self.take();
            self.accept(Keyword::NOT);
            self.accept(Keyword::EXISTS);
        }
    }

    /// Passes over a parenthesised group; the next token must be its opening.
    fn skip_group(&mut self) {
        if !self.accept_symbol(b'(') {
            return;
        }
        let mut open = 1_u32;
        while open > 0 {
            match self.take().kind {
                TokenKind::Symbol(b'(') => open += 1,
                TokenKind::Symbol(b')') => open -= 1,
                TokenKind::End => {
                    self.doubt("a parenthesis is not closed");
                    return;
                }
                _ => {}
            }
        }
    }

    /// One name.
    pub(super) fn name(&mut self) -> Option<Name> {
        let token = self.peek();
        if !token.is_name() {
            self.doubt_here("a name is missing");
            return None;
        }
        self.take();
        Some(Name { start: token.start, end: token.end, quoted: token.kind == TokenKind::Quoted })
    }

    /// A name with what qualifies it. A leading point (`.t`, an ODBC spelling) is passed over.
    pub(super) fn chain(&mut self) -> Option<Chain> {
        self.accept_symbol(b'.');
        let mut chain = Chain { parts: [Some(self.name()?), None, None], star: false };
        let mut length = 1;
        while self.peek().is_symbol(b'.') {
            let after = self.peek_at(1);
            if after.is_symbol(b'*') {
                self.take();
                self.take();
                chain.star = true;
                break;
            }
            if !after.is_name() {
                break;
            }
            self.take();
            let part = self.name()?;
            match chain.parts.get_mut(length) {
                Some(slot) => *slot = Some(part),
                None => {
                    self.doubt_here("a name has more than three parts");
                    return None;
                }
            }
            length += 1;
        }
        Some(chain)
    }

    /// The bytes of a name without its quotes.
    pub(super) fn unquoted(&self, name: Name) -> std::borrow::Cow<'a, [u8]> {
        let raw = self.sql.get(name.start..name.end).unwrap_or_default();
        if !name.quoted {
            return std::borrow::Cow::Borrowed(raw);
        }
        let Some((&quote, rest)) = raw.split_first() else { return std::borrow::Cow::Borrowed(raw) };
        let inner = rest.strip_suffix(&[quote]).unwrap_or(rest);
        if !inner.contains(&quote) {
            return std::borrow::Cow::Borrowed(inner);
        }
        // In gbk and its kin a trail byte can be a backquote, which is not doubled. MySQL goes character by character;
        // MariaDB takes it for the first of two quotes and loses the byte that follows.
        let mut bytes = Vec::with_capacity(inner.len());
        let mut at = 0;
        while let Some(&byte) = inner.get(at) {
            let length = self.rules.charset.length(inner.get(at..).unwrap_or_default());
            if length > 1 && !self.context.mariadb {
                bytes.extend_from_slice(inner.get(at..at + length).unwrap_or_default());
                at += length;
            } else {
                bytes.push(byte);
                at += if byte == quote { 2 } else { 1 };
            }
        }
        std::borrow::Cow::Owned(bytes)
    }

    fn decoded(&mut self, name: Name) -> String {
        let bytes = self.unquoted(name);
        let Some(text) = self.rules.charset.decode(&bytes) else {
            self.doubt("a name cannot be read in the character set of its session");
            return String::new();
        };
        if text.is_empty() || text.ends_with(' ') || text.contains('\0') {
            self.doubt("a name is empty or has characters that no server takes");
        }
        text
    }

    /// The database of a name that has none: its owner's, or the session's.
    fn default_database(&self, owner: Option<usize>) -> &str {
        match owner {
            Some(owner) => self.objects.get(owner).map_or("", |owner| &owner.database),
            None => self.context.default_database,
        }
    }

    /// Notes an object and gives its index. `owner` lends its database to a name that has none.
    pub(super) fn object(
        &mut self,
        object_type: ObjectType,
        database: Option<Name>,
        name: Name,
        role: Role,
        owner: Option<usize>,
    ) -> usize {
        if self.objects.len() >= MOST_OBJECTS {
            self.give_up("it names more objects than the proxy looks at");
        }
        let inherits = owner.or(self.body_of).filter(|_| database.is_none());
        let database_text = match database {
            Some(database) => self.decoded(database),
            None => self.default_database(inherits).to_owned(),
        };
        let name_text = self.decoded(name);
        // `#mysql50#` marks the name of a file from before MySQL 5.1, which can be longer.
        if name_text.chars().count() > LONGEST_NAME && !name_text.starts_with("#mysql50#") {
            self.doubt("a name is longer than any server takes");
        }
        if role == Role::Target && database_text.eq_ignore_ascii_case("information_schema") {
            self.doubt("no server changes INFORMATION_SCHEMA");
        }
        let object = Object {
            object_type,
            database: database_text,
            name: name_text,
            role: if self.in_body { Role::Reference } else { role },
            database_span: database.map(|database| database.start..database.end),
            span: name.start..name.end,
            column_qualifier: false,
            inherits,
        };
        self.objects.push(object);
        self.objects.len() - 1
    }

    /// A name with an optional database, noted as an object.
    pub(super) fn named(&mut self, object_type: ObjectType, role: Role, owner: Option<usize>) -> Option<usize> {
        self.refuse_reserved();
        let chain = self.chain()?;
        match chain.table() {
            Some((database, name)) if !chain.star => Some(self.object(object_type, database, name, role, owner)),
            _ => {
                self.doubt("a name has more parts than the grammar allows");
                None
            }
        }
    }

    /// Doubts the statement if the next token is a word that is reserved in every version: then it is no name.
    fn refuse_reserved(&mut self) {
        let token = self.peek();
        // `default.t`: a word before a point is a name.
        if token.kind == TokenKind::Word
            && !self.peek_at(1).is_symbol(b'.')
            && crate::ddl::reserved::is_reserved_everywhere(self.text(token))
        {
            self.doubt_here("a reserved word stands where a name should");
        }
    }

    /// A database's name, noted as an object.
    pub(super) fn database(&mut self, role: Role) {
        self.refuse_reserved();
        if let Some(name) = self.name() {
            self.database_named(name, if self.in_body { Role::Reference } else { role });
        }
    }

    /// Notes a database whose name was read.
    fn database_named(&mut self, name: Name, role: Role) {
        let database = self.decoded(name);
        self.objects.push(Object {
            object_type: ObjectType::Database,
            database,
            name: String::new(),
            role,
            database_span: Some(name.start..name.end),
            span: name.start..name.end,
            column_qualifier: false,
            inherits: None,
        });
    }

    /// A comma separated list of names, each an object and an element that can be split off.
    pub(super) fn named_list(&mut self, object_type: ObjectType) {
        let borders = self.next_borders();
        loop {
            let Some(index) = self.named(object_type, Role::Target, None) else { return };
            let span = self.whole_span(index);
            self.items.push(ListItem { span, objects: vec![index] });
            if !self.accept_symbol(b',') {
                break;
            }
        }
        self.forget_items_across(borders);
    }

    /// Whether the token that was taken last is inside of a version comment that counts.
    pub(super) fn in_version_comment(&self) -> bool {
        self.borders % 2 == 1
    }

    /// How many borders of version comments lie before the next token.
    fn next_borders(&mut self) -> u32 {
        self.peek();
        self.window_borders[0]
    }

    /// Forgets the elements of a list if a version comment begins or ends inside it: taking an element out could
    /// leave half a comment.
    fn forget_items_across(&mut self, borders: u32) {
        if self.borders != borders || self.in_body {
            self.items.clear();
        }
    }

    /// Whether a routine's body is being read.
    pub(super) fn in_body(&self) -> bool {
        self.in_body
    }

    /// From the first byte of an object's database to the last of its name.
    fn whole_span(&self, index: usize) -> std::ops::Range<usize> {
        self.objects.get(index).map_or(0..0, |object| {
            object.database_span.as_ref().map_or(object.span.start, |database| database.start)..object.span.end
        })
    }

    /// Puts the objects in the order of the text, without those that turned out to be none.
    fn put_in_order(&mut self) {
        let mut order: Vec<usize> =
            (0..self.objects.len()).filter(|&index| self.dropped.get(index) != Some(&true)).collect();
        order.sort_by_key(|&index| self.objects[index].span.start);
        let mut place = vec![None; self.objects.len()];
        for (new, &old) in order.iter().enumerate() {
            place[old] = Some(new);
        }
        let mut sorted: Vec<Object> = order.iter().map(|&index| self.objects[index].clone()).collect();
        for object in &mut sorted {
            object.inherits = object.inherits.and_then(|owner| place[owner]);
        }
        for name in &mut self.derived {
            // A target of a definition is never dropped.
            name.table = place.get(name.table).copied().flatten().unwrap_or_default();
        }
        for item in &mut self.items {
            item.objects = item.objects.iter().filter_map(|&index| place[index]).collect();
        }
        self.objects = sorted;
    }

    /// Notes a doubt of the whole statement, also from inside a body.
    fn doubt_whole(&mut self, reason: &str) {
        let in_body = std::mem::take(&mut self.in_body);
        self.doubt_here(reason);
        self.in_body = in_body;
    }

    /// Whether the session writes MariaDB's Oracle dialect.
    pub(super) fn is_oracle(&self) -> bool {
        self.context.mariadb && self.context.sql_mode & MODE_ORACLE != 0
    }

    /// What was found, in the order of the text.
    pub(super) fn finish(mut self) -> Statement {
        self.in_body = false;
        self.resolve_qualifiers();
        match self.lexer.problem() {
            Some(Problem::String) => self.doubt("a string is not closed"),
            Some(Problem::Name) => self.doubt("a quoted name is not closed"),
            Some(Problem::Comment) => self.doubt("a comment is not closed"),
            None => {}
        }
        if !self.dropped.is_empty() || !self.objects.is_sorted_by_key(|object| object.span.start) {
            self.put_in_order();
        }
        let aliases = self.aliases();
        let (kind, class) = match (&self.doubt, self.class) {
            (Some(_), _) => (Kind::UNKNOWN, Class::Unknown),
            (None, Some(class)) => (self.kind, class),
            (None, None) => (self.kind, super::kind::class_of(self.kind)),
        };
        if kind == Kind::UNKNOWN && self.doubt.is_none() {
            self.doubt = Some("its first words begin no statement that the proxy knows".to_owned());
        }
        Statement {
            kind,
            class,
            objects: self.objects,
            derived: self.derived,
            items: self.items,
            aliases,
            control: self.control,
            opens_transaction: self.opens_transaction,
            temporary: self.temporary,
            definer: self.definer,
            body_opaque: self.body_opaque,
            doubt: self.doubt,
        }
    }
}
