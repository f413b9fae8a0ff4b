//! INSERT, REPLACE, UPDATE, DELETE and LOAD DATA as text.

use super::walk::{Flavor, Mode};
use super::{Chain, LOOKAHEAD, Parser};
use crate::ddl::keyword::Keyword as K;
use crate::ddl::lexer::TokenKind;
use crate::ddl::{Kind, ObjectType, Role};

impl Parser<'_> {
    /// After INSERT or REPLACE.
    pub(in crate::ddl) fn insert(&mut self, values: Kind, select: Kind) {
        while matches!(self.word(), K::LOW_PRIORITY | K::DELAYED | K::HIGH_PRIORITY | K::IGNORE) {
            self.take();
        }
        self.accept(K::INTO);
        let Some(table) = self.named(ObjectType::Table, Role::Target, None) else { return };
        let scope = self.table_scope(table);
        if self.word() == K::PARTITION {
            self.take();
            self.skip_group();
        }
        let begins_query = |word| matches!(word, K::SELECT | K::WITH | K::TABLE | K::VALUES);
        if self.peek().is_symbol(b'(') && !begins_query(self.word_at(1)) && !self.peek_at(1).is_symbol(b'(') {
            self.columns(scope);
        }
        let parentheses = (0..LOOKAHEAD - 1).take_while(|&ahead| self.peek_at(ahead).is_symbol(b'(')).count();
        let first = self.word_at(parentheses);
        let (kind, flavor) = match first {
            K::VALUES | K::VALUE | K::SET if parentheses == 0 => {
                self.take();
                (values, Flavor::Rows)
            }
            // Rows in parentheses are rows, to both servers.
            K::VALUES => (values, Flavor::Plain),
            _ if parentheses > 0 || begins_query(first) => (select, Flavor::Plain),
            _ => {
                self.doubt_here("neither values nor a query follow the table");
                return;
            }
        };
        let walked = self.walk(Mode::Expression, scope, flavor);
        self.set_kind(if walked.set_operation { select } else { kind });
    }

    /// `(a, t.b, c)`: the columns of an INSERT.
    fn columns(&mut self, scope: usize) {
        self.take();
        while !self.at_end() && !self.accept_symbol(b')') {
            let Some(chain) = self.chain() else { return };
            match chain.parts {
                [Some(table), Some(_), None] => self.mention(scope, None, table),
                [Some(database), Some(table), Some(_)] => self.mention(scope, Some(database), table),
                _ => {}
            }
            if !self.accept_symbol(b',') && !self.peek().is_symbol(b')') {
                self.doubt_here("the list of columns is not understood");
                return;
            }
        }
    }

    /// After UPDATE; `scope` knows the common table expressions before it.
    pub(in crate::ddl) fn update(&mut self, scope: Option<usize>) {
        let verb_end = self.last_end;
        while matches!(self.word(), K::LOW_PRIORITY | K::IGNORE) {
            self.take();
        }
        let scope = self.open_scope(scope);
        self.hints(scope, verb_end);
        let walked = self.walk(Mode::ExpectTable, scope, Flavor::Update);
        if walked.assigned.is_empty() {
            self.doubt("UPDATE assigns nothing");
        }
        let multi = self.entry_count(scope) > 1;
        self.set_kind(Kind(if multi { "update_multi" } else { "update" }));
        let entries = self.entries(scope);
        // A column without its table can belong to any of them: then all are targets.
        let all = !multi || walked.assigned.iter().any(|chain| chain.length() == 1);
        let mut targets = Vec::new();
        if all {
            targets.extend(entries.iter().filter_map(|entry| entry.object));
        } else {
            let mut last: Option<(Option<super::Name>, super::Name)> = None;
            for chain in &walked.assigned {
                let (database, table) = match chain.parts {
                    [Some(table), Some(_), None] => (None, table),
                    [Some(database), Some(table), Some(_)] => (Some(database), table),
                    _ => continue,
                };
                if last.is_some_and(|(before, name)| {
                    before.is_some() == database.is_some() && database.is_none() && self.same(name, table)
                }) {
                    continue;
                }
                last = Some((database, table));
                match self.lookup(scope, database, table) {
                    Some(entry) => targets.extend(entry.object),
                    None => self.doubt("an assigned column names a table that is not in the statement"),
                }
            }
        }
        self.make_targets(&targets);
    }

    fn make_targets(&mut self, targets: &[usize]) {
        if self.in_body {
            return;
        }
        for &index in targets {
            if let Some(object) = self.objects.get_mut(index) {
                object.role = Role::Target;
            }
        }
    }

    /// After DELETE; `scope` knows the common table expressions before it.
    pub(in crate::ddl) fn delete(&mut self, scope: Option<usize>) {
        let verb_end = self.last_end;
        while matches!(self.word(), K::LOW_PRIORITY | K::QUICK | K::IGNORE)
            || (self.context.mariadb && self.word() == K::HISTORY && self.word_at(1) == K::FROM)
        {
            self.take();
        }
        let scope = self.open_scope(scope);
        self.hints(scope, verb_end);
        if !self.accept(K::FROM) {
            let Some(targets) = self.delete_list() else { return };
            if !self.accept(K::FROM) {
                self.doubt_here("DELETE lacks FROM");
                return;
            }
            return self.delete_multi(scope, &targets);
        }
        let Some(targets) = self.delete_list() else { return };
        if self.accept(K::USING) {
            return self.delete_multi(scope, &targets);
        }
        let [chain] = targets.as_slice() else {
            self.doubt_here("DELETE of several tables lacks USING");
            return;
        };
        let Some((database, name)) = chain.table().filter(|_| !chain.star) else {
            self.doubt("a table's name has more than two parts");
            return;
        };
        self.set_kind(Kind("delete"));
        let object = self.object(ObjectType::Table, database, name, Role::Target, None);
        let entry = self.add_entry(scope, Some(object), Some(name));
        self.after_table(Some(entry));
        self.walk(Mode::Expression, scope, Flavor::Plain);
    }

    fn delete_list(&mut self) -> Option<Vec<Chain>> {
        let mut targets = Vec::new();
        loop {
            targets.push(self.chain()?);
            if targets.len() > 256 {
                self.give_up("DELETE names more tables than any server allows");
                return None;
            }
            if !self.accept_symbol(b',') {
                return Some(targets);
            }
        }
    }

    fn delete_multi(&mut self, scope: usize, targets: &[Chain]) {
        self.set_kind(Kind("delete_multi"));
        self.walk(Mode::ExpectTable, scope, Flavor::Plain);
        let mut found = Vec::new();
        for chain in targets {
            let Some((database, name)) = chain.table() else {
                self.doubt("a table's name has more than two parts");
                continue;
            };
            match self.lookup_target(scope, database, name) {
                Some(entry) => {
                    found.extend(entry.object);
                    // A name that stands for the table itself is a mention of it; an alias is not.
                    if entry.alias.is_none() && entry.object.is_some() {
                        found.push(self.object(ObjectType::Table, database, name, Role::Target, None));
                    }
                }
                None => self.doubt("DELETE names a table that its FROM does not have"),
            }
        }
        self.make_targets(&found);
    }

    /// After LOAD.
    pub(in crate::ddl) fn load(&mut self) {
        self.set_kind(Kind("load"));
        while !self.at_end() && (self.word() != K::INTO || self.word_at(1) != K::TABLE) {
            self.take();
        }
        if self.peek().kind == TokenKind::End {
            self.doubt("LOAD names no table");
            return;
        }
        self.take();
        self.take();
        let Some(table) = self.named(ObjectType::Table, Role::Target, None) else { return };
        let scope = self.table_scope(table);
        self.walk(Mode::Expression, scope, Flavor::Plain);
    }

    /// Names the kind, unless this is a statement of a routine's body.
    pub(in crate::ddl) fn set_kind(&mut self, kind: Kind) {
        if !self.in_body {
            self.kind = kind;
        }
    }
}
