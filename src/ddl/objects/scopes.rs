//! What a name means inside a query: tables, their aliases, common table expressions, and the columns' qualifiers.

use super::{Name, Parser};
use crate::ddl::{Object, ObjectType, Role};

/// Queries nested deeper than this are refused by the servers, which allow 63.
const DEEPEST_QUERY: u32 = 255;
/// Table mentions and qualifiers that one statement may have.
const MOST_MENTIONS: usize = 65_536;
/// Tables that one query may join; the servers allow 61.
const MOST_TABLES: u32 = 256;
/// Common table expressions of one statement.
const MOST_EXPRESSIONS: usize = 256;
/// Comparisons of names in one statement: what keeps the time linear in its length.
const MOST_STEPS: u32 = 4_000_000;

/// The level of one query, or of one set of queries with its common table expressions.
#[derive(Debug, Clone, Copy)]
struct Scope {
    parent: Option<usize>,
    depth: u32,
    last_entry: Option<usize>,
    entries: u32,
    last_expression: Option<usize>,
    /// How many objects there were before it.
    first_object: usize,
}

/// A table of a query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    previous: Option<usize>,
    /// The object, unless it is a derived table or a common table expression.
    pub(super) object: Option<usize>,
    name: Option<Name>,
    pub(super) alias: Option<Name>,
}

/// A common table expression.
#[derive(Debug, Clone, Copy)]
struct Expression {
    previous: Option<usize>,
    name: Name,
}

/// `t.c`, `d.t.c`, `t.*`: a table named by a column, to be resolved when its query is read.
#[derive(Debug, Clone, Copy)]
struct Mention {
    scope: usize,
    database: Option<Name>,
    table: Name,
    /// A variable that is a row has this name.
    row: bool,
}

/// All scopes of a statement.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    scopes: Vec<Scope>,
    entries: Vec<Entry>,
    expressions: Vec<Expression>,
    mentions: Vec<Mention>,
    steps: u32,
}

impl Parser<'_> {
    /// A new scope inside `parent`.
    pub(super) fn open_scope(&mut self, parent: Option<usize>) -> usize {
        let depth = parent.and_then(|parent| self.scopes.scopes.get(parent)).map_or(0, |parent| parent.depth + 1);
        // A query takes two levels: one for its set operation and its WITH, one for its own tables.
        if depth > DEEPEST_QUERY * 2 {
            self.give_up("queries are nested deeper than any server allows");
        }
        if self.scopes.scopes.len() >= MOST_MENTIONS {
            self.give_up("it holds more queries than the proxy looks at");
        }
        let first_object = self.objects.len();
        self.scopes.scopes.push(Scope {
            parent,
            depth,
            last_entry: None,
            entries: 0,
            last_expression: None,
            first_object,
        });
        self.scopes.scopes.len() - 1
    }

    /// Adds a table to a scope and gives the entry's index.
    pub(super) fn add_entry(&mut self, scope: usize, object: Option<usize>, name: Option<Name>) -> usize {
        let index = self.scopes.entries.len();
        let mut too_many = index >= MOST_MENTIONS;
        if let Some(scope) = self.scopes.scopes.get_mut(scope) {
            self.scopes.entries.push(Entry { previous: scope.last_entry, object, name, alias: None });
            scope.last_entry = Some(index);
            scope.entries += 1;
            too_many |= scope.entries > MOST_TABLES;
        }
        if too_many {
            self.give_up("a query joins more tables than any server allows");
        }
        index
    }

    /// Gives an entry its alias.
    pub(super) fn set_alias(&mut self, entry: usize, alias: Name) {
        if let Some(entry) = self.scopes.entries.get_mut(entry) {
            entry.alias = Some(alias);
        }
    }

    /// How many tables a scope has.
    pub(super) fn entry_count(&self, scope: usize) -> u32 {
        self.scopes.scopes.get(scope).map_or(0, |scope| scope.entries)
    }

    /// The tables of one scope, the last one first.
    pub(super) fn entries(&self, scope: usize) -> Vec<Entry> {
        let mut found = Vec::new();
        let mut next = self.scopes.scopes.get(scope).and_then(|scope| scope.last_entry);
        while let Some(entry) = next.and_then(|index| self.scopes.entries.get(index)) {
            found.push(*entry);
            next = entry.previous;
        }
        found
    }

    /// Makes a common table expression known to a scope and all inside it.
    pub(super) fn add_expression(&mut self, scope: usize, name: Name) {
        let index = self.scopes.expressions.len();
        if index >= MOST_EXPRESSIONS {
            self.give_up("it holds more common table expressions than the proxy looks at");
            return;
        }
        if let Some(scope) = self.scopes.scopes.get_mut(scope) {
            self.scopes.expressions.push(Expression { previous: scope.last_expression, name });
            scope.last_expression = Some(index);
        }
    }

    /// MariaDB's WITH RECURSIVE takes names of expressions that come later in its list: what was taken for a table is
    /// none.
    pub(super) fn forget_forward_mentions(&mut self, scope: usize, name: Name) {
        let Some(first) = self.scopes.scopes.get(scope).map(|scope| scope.first_object) else { return };
        self.dropped.resize(self.objects.len(), false);
        for index in first..self.objects.len() {
            let Some(object) = self.objects.get(index) else { continue };
            if object.object_type != ObjectType::Table || object.database_span.is_some() || object.column_qualifier {
                continue;
            }
            let (start, end) = (object.span.start, object.span.end);
            let quoted = matches!(self.sql.get(start), Some(b'`' | b'"'));
            if self.same(Name { start, end, quoted }, name)
                && let Some(dropped) = self.dropped.get_mut(index)
            {
                *dropped = true;
            }
        }
        for entry in &mut self.scopes.entries {
            entry.object = entry.object.filter(|&object| self.dropped.get(object) != Some(&true));
        }
    }

    /// Whether an unqualified table name means a common table expression.
    pub(super) fn is_expression(&mut self, scope: usize, name: Name) -> bool {
        if self.scopes.expressions.is_empty() {
            return false;
        }
        let mut next_scope = Some(scope);
        while let Some(scope) = next_scope.and_then(|index| self.scopes.scopes.get(index).copied()) {
            self.scopes.steps += 1;
            let mut next = scope.last_expression;
            while let Some(expression) = next.and_then(|index| self.scopes.expressions.get(index).copied()) {
                self.scopes.steps += 1;
                if self.same(expression.name, name) {
                    return true;
                }
                next = expression.previous;
            }
            next_scope = scope.parent;
        }
        false
    }

    /// Whether two names are the same; letter case does not count, as on servers with `lower_case_table_names`.
    pub(super) fn same(&self, left: Name, right: Name) -> bool {
        self.unquoted(left).eq_ignore_ascii_case(&self.unquoted(right))
    }

    /// Notes that a column names its table.
    pub(super) fn mention(&mut self, scope: usize, database: Option<Name>, table: Name) {
        if self.scopes.mentions.len() >= MOST_MENTIONS {
            self.give_up("it names more columns with their tables than the proxy looks at");
            return;
        }
        let row = self.in_body && database.is_none() && self.rows.iter().any(|&row| self.same(row, table));
        self.scopes.mentions.push(Mention { scope, database, table, row });
    }

    /// The entry that a qualifier means, looking outwards from `scope`.
    pub(super) fn lookup(&mut self, scope: usize, database: Option<Name>, table: Name) -> Option<Entry> {
        let named = database.map(|database| self.decoded(database));
        let mut next_scope = Some(scope);
        while let Some(scope) = next_scope.and_then(|index| self.scopes.scopes.get(index).copied()) {
            self.scopes.steps += 1;
            let entry = self.entry_called(scope, table, |parser, entry| match entry.alias {
                Some(_) => named.is_none(),
                None => named.as_ref().is_none_or(|named| parser.is_of_database(entry, named)),
            });
            if entry.is_some() {
                return entry;
            }
            next_scope = scope.parent;
        }
        None
    }

    /// The entry of `scope` that the list of a DELETE of several tables means: an alias, or a table of the named or else the default
    /// database (`multi_delete_table_match`, `sql_parse.cc`).
    pub(super) fn lookup_target(&mut self, scope: usize, database: Option<Name>, table: Name) -> Option<Entry> {
        let of_alias = database.is_none();
        let database = match database {
            Some(database) => self.decoded(database),
            None => self.default_database(self.body_of).to_owned(),
        };
        let scope = self.scopes.scopes.get(scope).copied()?;
        self.entry_called(scope, table, |parser, entry| match entry.alias {
            Some(_) => of_alias,
            None => parser.is_of_database(entry, &database),
        })
    }

    /// The entry of `scope` that has this name and is a fitting one. Where the server tells `s` from `S` both can be there: then the one
    /// that is written alike.
    fn entry_called(&mut self, scope: Scope, table: Name, fits: impl Fn(&Self, &Entry) -> bool) -> Option<Entry> {
        let mut next = scope.last_entry;
        let mut but_for_case = None;
        while let Some(entry) = next.and_then(|index| self.scopes.entries.get(index).copied()) {
            self.scopes.steps += 1;
            if let Some(known) = entry.alias.or(entry.name).filter(|known| self.same(*known, table))
                && fits(self, &entry)
            {
                if self.unquoted(known) == self.unquoted(table) {
                    return Some(entry);
                }
                but_for_case = but_for_case.or(Some(entry));
            }
            next = entry.previous;
        }
        but_for_case
    }

    fn is_of_database(&self, entry: &Entry, database: &str) -> bool {
        let object = entry.object.and_then(|object| self.objects.get(object));
        object.is_some_and(|object| object.database.eq_ignore_ascii_case(database))
    }

    /// Every alias and every common table expression.
    pub(super) fn aliases(&mut self) -> Vec<String> {
        let names: Vec<Name> = (self.scopes.entries.iter().filter_map(|entry| entry.alias))
            .chain(self.scopes.expressions.iter().map(|expression| expression.name))
            .collect();
        names.into_iter().map(|name| self.decoded(name)).collect()
    }

    /// Turns every qualifier that means a table into an object; those that mean an alias are none.
    pub(super) fn resolve_qualifiers(&mut self) {
        for mention in std::mem::take(&mut self.scopes.mentions) {
            if self.scopes.steps > MOST_STEPS {
                self.give_up("resolving its names would take too long");
                return;
            }
            let entry = self.lookup(mention.scope, mention.database, mention.table);
            let table = match entry {
                Some(Entry { alias: None, object: Some(object), .. }) => self.objects.get(object).cloned(),
                Some(_) => continue,
                None => None,
            };
            if mention.row && table.is_some() {
                // Where the variable is known the server reads a field of it, and elsewhere in the body the table's column.
                self.body_opaque = true;
                continue;
            }
            // `d.t.c` names a table whatever the query reads; `t.c` that no table explains is a variable's field.
            let (database, role) = match (&table, mention.database) {
                (Some(table), _) => (table.database.clone(), table.role),
                (None, Some(database)) if self.is_series(mention.table) => {
                    self.database_named(database, Role::Reference);
                    continue;
                }
                (None, Some(database)) => (self.decoded(database), Role::Reference),
                (None, None) => continue,
            };
            let name = self.decoded(mention.table);
            self.objects.push(Object {
                object_type: table.as_ref().map_or(ObjectType::Table, |table| table.object_type),
                database,
                name,
                role,
                database_span: mention.database.map(|database| database.start..database.end),
                span: mention.table.start..mention.table.end,
                column_qualifier: true,
                inherits: None,
            });
        }
    }
}
