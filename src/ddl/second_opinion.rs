//! sqlparser as a second reader of definitions: where it parses a statement and names a relation that the finder does
//! not have, nobody should trust the finder.
//!
//! It never decides what a statement is, and its tree is never printed: it loses comments, hints and spacing. Where it
//! does not parse (a quarter of real statements), that is no verdict. It does not open version comments, so a
//! statement with them is still judged by the rest of its text.

use std::any::TypeId;

use sqlparser::ast::{
    AlterTableOperation, ColumnOption, CreateTableLikeKind, ObjectName, Query, RenameTableNameKind, SetExpr,
    Statement as Parsed, TableConstraint, TableFactor, TableWithJoins,
};
use sqlparser::dialect::{Dialect, MySqlDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};

use super::lexer::{Lexer, Rules, TokenKind};
use super::objects::from::is_series;
use super::{Class, Context, Kind, ObjectType, Statement};

/// Longer statements are not read a second time: the reader takes about 100 ns a byte, and a replica waits.
const LONGEST: usize = 16 * 1024;
/// Statements with more operators are not read a second time: a chain of them is a tree as deep, which is dropped by
/// recursion on a stack of unknown size.
const MOST_OPERATORS: usize = 512;
/// How deep the reader may nest.
const DEEPEST: usize = 48;

/// The statement, or an unknown one where the second reader names a relation that it does not have.
pub(super) fn check(sql: &[u8], context: &Context<'_>, rules: Rules, mut statement: Statement) -> Statement {
    let readable = statement.class == Class::Supported
        && matches!(
            statement.kind.0,
            "create_table"
                | "alter_table"
                | "create_view"
                | "create_index"
                | "drop_index"
                | "drop_table"
                | "rename_table"
                | "truncate"
        );
    if !readable || sql.len() > LONGEST {
        return statement;
    }
    // The names to compare with were read in the session's character set, and so must these be.
    let Some(text) = rules.charset.decode(sql) else { return statement };
    if operators(sql, rules) > MOST_OPERATORS {
        return statement;
    }
    let dialect = Delegating {
        inner: MySqlDialect {},
        ansi_quotes: context.sql_mode & (1 << 2) != 0,
        no_backslash_escapes: context.sql_mode & (1 << 20) != 0,
    };
    let parsed = Parser::new(&dialect)
        .with_recursion_limit(DEEPEST)
        .try_with_sql(&text)
        .and_then(|mut parser| parser.parse_statements());
    let Ok(parsed) = parsed else { return statement };
    let [parsed] = parsed.as_slice() else { return statement };
    let mut relations = Relations::default();
    relations.statement(parsed);
    let strange = relations.found.iter().find(|name| !relations.is_known(name, &statement));
    if let Some(name) = strange {
        let spelled: Vec<&str> = parts(name).collect();
        statement.doubt =
            Some(format!("two readers of the statement disagree on whether it names {:?}", spelled.join(".")));
        statement.kind = Kind::UNKNOWN;
        statement.class = Class::Unknown;
    }
    statement
}

/// How many operators the text has, up to one more than [`MOST_OPERATORS`].
fn operators(sql: &[u8], rules: Rules) -> usize {
    let mut lexer = Lexer::new(sql, rules);
    let mut count = 0;
    while count <= MOST_OPERATORS {
        let token = lexer.next();
        count += match token.kind {
            TokenKind::End => break,
            TokenKind::Symbol(b',' | b'.' | b'(' | b')') => 0,
            TokenKind::Symbol(_) => 1,
            TokenKind::Word => {
                let word = sql.get(token.start..token.end).unwrap_or_default();
                let chains: [&[u8]; 14] = [
                    b"and",
                    b"or",
                    b"xor",
                    b"div",
                    b"mod",
                    b"union",
                    b"except",
                    b"intersect",
                    b"is",
                    b"like",
                    b"in",
                    b"between",
                    b"collate",
                    b"join",
                ];
                usize::from(chains.iter().any(|chain| chain.eq_ignore_ascii_case(word)))
            }
            _ => 0,
        };
    }
    count
}

/// The identifiers of a name.
fn parts(name: &ObjectName) -> impl Iterator<Item = &str> {
    name.0.iter().filter_map(|part| part.as_ident()).map(|ident| ident.value.as_str())
}

/// The relations of a tree, where their place is certain; subqueries in expressions are left out.
#[derive(Default)]
struct Relations<'a> {
    found: Vec<&'a ObjectName>,
    expressions: Vec<&'a str>,
}

impl<'a> Relations<'a> {
    fn statement(&mut self, statement: &'a Parsed) {
        match statement {
            Parsed::CreateTable(create) => {
                self.found.push(&create.name);
                if let Some(CreateTableLikeKind::Plain(like) | CreateTableLikeKind::Parenthesized(like)) = &create.like
                {
                    self.found.push(&like.name);
                }
                self.constraints(&create.constraints);
                for column in &create.columns {
                    for option in &column.options {
                        if let ColumnOption::ForeignKey(key) = &option.option {
                            self.found.push(&key.foreign_table);
                        }
                    }
                }
                if let Some(query) = &create.query {
                    self.query(query);
                }
            }
            Parsed::CreateView(create) => {
                self.found.push(&create.name);
                self.query(&create.query);
            }
            Parsed::AlterView { name, query, .. } => {
                self.found.push(name);
                self.query(query);
            }
            Parsed::AlterTable(alter) => {
                self.found.push(&alter.name);
                for operation in &alter.operations {
                    match operation {
                        AlterTableOperation::AddConstraint { constraint, .. } => {
                            self.constraints(std::slice::from_ref(constraint));
                        }
                        AlterTableOperation::RenameTable {
                            table_name: RenameTableNameKind::As(name) | RenameTableNameKind::To(name),
                        } => self.found.push(name),
                        _ => {}
                    }
                }
            }
            Parsed::CreateIndex(create) => self.found.push(&create.table_name),
            Parsed::Truncate(truncate) => self.found.extend(truncate.table_names.iter().map(|table| &table.name)),
            Parsed::RenameTable(pairs) => {
                self.found.extend(pairs.iter().flat_map(|pair| [&pair.old_name, &pair.new_name]));
            }
            Parsed::Drop { object_type, names, table, .. } => {
                if matches!(object_type, sqlparser::ast::ObjectType::Table) {
                    self.found.extend(names);
                }
                self.found.extend(table);
            }
            _ => {}
        }
    }

    fn constraints(&mut self, constraints: &'a [TableConstraint]) {
        for constraint in constraints {
            if let TableConstraint::ForeignKey(key) = constraint {
                self.found.push(&key.foreign_table);
            }
        }
    }

    /// Every query below, with a stack of its own.
    fn query(&mut self, query: &'a Query) {
        let mut queries = vec![query];
        while let Some(query) = queries.pop() {
            if let Some(with) = &query.with {
                for expression in &with.cte_tables {
                    self.expressions.push(&expression.alias.name.value);
                    queries.push(&expression.query);
                }
            }
            let mut bodies = vec![query.body.as_ref()];
            while let Some(body) = bodies.pop() {
                match body {
                    SetExpr::Select(select) => self.tables(&select.from, &mut queries),
                    SetExpr::Query(inner) => queries.push(inner),
                    SetExpr::SetOperation { left, right, .. } => bodies.extend([left.as_ref(), right.as_ref()]),
                    _ => {}
                }
            }
        }
    }

    fn tables(&mut self, from: &'a [TableWithJoins], queries: &mut Vec<&'a Query>) {
        let mut tables: Vec<&TableWithJoins> = from.iter().collect();
        while let Some(table) = tables.pop() {
            for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
                match factor {
                    TableFactor::Table { name, args: None, .. } => self.found.push(name),
                    TableFactor::Derived { subquery, .. } => queries.push(subquery),
                    TableFactor::NestedJoin { table_with_joins, .. } => tables.push(table_with_joins),
                    _ => {}
                }
            }
        }
    }

    /// Whether the finder has a relation, or it is none.
    fn is_known(&self, name: &ObjectName, statement: &Statement) -> bool {
        let spelled: Vec<&str> = parts(name).collect();
        let (database, name) = match spelled.as_slice() {
            [name] => (None, *name),
            [database, name] => (Some(*database), *name),
            // A leading point (`.t`) and what is no name of two parts is beyond comparing.
            _ => return true,
        };
        if is_series(name) {
            return true;
        }
        if database.is_none()
            && (name.eq_ignore_ascii_case("dual")
                || self.expressions.iter().any(|expression| expression.eq_ignore_ascii_case(name)))
        {
            return true;
        }
        statement.objects.iter().any(|object| {
            object.object_type != ObjectType::Database
                && object.name.eq_ignore_ascii_case(name)
                && database.is_none_or(|database| object.database.eq_ignore_ascii_case(database))
        })
    }
}

/// MySQL's dialect under a session's `sql_mode`, with comments that are comments.
#[derive(Debug)]
struct Delegating {
    inner: MySqlDialect,
    ansi_quotes: bool,
    no_backslash_escapes: bool,
}

macro_rules! delegate {
    ($($name:ident)*) => {
        $(fn $name(&self) -> bool {
            self.inner.$name()
        })*
    };
}

impl Dialect for Delegating {
    fn dialect(&self) -> TypeId {
        // The parser asks for MySQL by its type.
        self.inner.dialect()
    }

    fn is_identifier_start(&self, character: char) -> bool {
        self.inner.is_identifier_start(character)
    }

    fn is_identifier_part(&self, character: char) -> bool {
        self.inner.is_identifier_part(character)
    }

    fn is_delimited_identifier_start(&self, character: char) -> bool {
        character == '`' || (self.ansi_quotes && character == '"')
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.inner.identifier_quote_style(identifier)
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        !self.no_backslash_escapes
    }

    fn supports_multiline_comment_hints(&self) -> bool {
        // Its tokens inside `/*! … */` have wrong places, and it reads them whatever their version.
        false
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        expression: &sqlparser::ast::Expr,
        precedence: u8,
    ) -> Option<Result<sqlparser::ast::Expr, ParserError>> {
        self.inner.parse_infix(parser, expression, precedence)
    }

    fn parse_statement(&self, parser: &mut Parser<'_>) -> Option<Result<Parsed, ParserError>> {
        self.inner.parse_statement(parser)
    }

    fn is_table_factor_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser<'_>) -> bool {
        self.inner.is_table_factor_alias(explicit, keyword, parser)
    }

    delegate! {
        supports_string_literal_concatenation ignores_wildcard_escapes supports_numeric_prefix
        supports_bitwise_shift_operators require_interval_qualifier supports_limit_comma
        supports_create_table_select supports_insert_set supports_user_host_grantee supports_table_hints
        requires_single_line_comment_whitespace supports_match_against supports_select_modifiers supports_set_names
        supports_comma_separated_set_assignments supports_update_order_by supports_data_type_signed_suffix
        supports_cross_join_constraint supports_double_ampersand_operator supports_binary_kw_as_cast
        supports_comment_optimizer_hint supports_constraint_keyword_without_name supports_key_column_option
        supports_group_by_with_modifier supports_left_associative_joins_without_parens
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::analyze;

    const SESSION: Context<'static> =
        Context { default_database: "d", sql_mode: 0, client_collation: 45, version: 80_036, mariadb: false };

    #[test]
    fn a_relation_that_the_finder_lacks_makes_the_statement_unknown() {
        for sql in [
            "CREATE TABLE a LIKE b",
            "CREATE TABLE a (x INT REFERENCES b (y))",
            "CREATE VIEW v AS SELECT * FROM a JOIN (SELECT * FROM b) s",
            "ALTER TABLE a RENAME TO b",
            "DROP TABLE a, b",
            "RENAME TABLE a TO b",
        ] {
            let whole = analyze(sql.as_bytes(), &SESSION);
            assert_eq!(whole.class, Class::Supported, "{sql}");
            let mut poorer = whole.clone();
            poorer.objects.retain(|object| object.name != "b");
            let judged = check(sql.as_bytes(), &SESSION, Rules::of(&SESSION), poorer);
            assert_eq!((judged.class, judged.kind), (Class::Unknown, Kind::UNKNOWN), "{sql}");
            assert!(judged.doubt.is_some_and(|doubt| doubt.contains("\"b\"")), "{sql}");
            assert_eq!(check(sql.as_bytes(), &SESSION, Rules::of(&SESSION), whole.clone()), whole, "{sql}");
        }
    }

    #[test]
    fn expressions_and_dual_are_no_relations() {
        let sql = "CREATE VIEW v AS WITH c AS (SELECT 1 FROM dual) SELECT * FROM c";
        assert_eq!(analyze(sql.as_bytes(), &SESSION).class, Class::Supported);
    }
}
