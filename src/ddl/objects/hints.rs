//! Table names in optimizer hints: `SELECT /*+ NO_INDEX(t k) BNL(t@qb, u) */ …`.
//!
//! A hint names a table of its query without a database: by its alias, or by its name, which then is mapped as in `t.column`. A server
//! that does not know a name in a hint warns and goes on without the hint, but a view keeps the hints that were understood. MariaDB
//! before 12 and MySQL before 5.7 take hints for comments.

use super::{Name, Parser};
use crate::ddl::lexer::{Lexer, TokenKind};

/// Hints whose arguments are tables.
const OF_TABLES: [&[u8]; 17] = [
    b"BKA",
    b"BNL",
    b"DERIVED_CONDITION_PUSHDOWN",
    b"HASH_JOIN",
    b"JOIN_FIXED_ORDER",
    b"JOIN_ORDER",
    b"JOIN_PREFIX",
    b"JOIN_SUFFIX",
    b"MERGE",
    b"NO_BKA",
    b"NO_BNL",
    b"NO_DERIVED_CONDITION_PUSHDOWN",
    b"NO_HASH_JOIN",
    b"NO_MERGE",
    b"SPLIT_MATERIALIZED",
    b"NO_SPLIT_MATERIALIZED",
    b"DERIVED_MERGE",
];
/// Hints whose first argument is a table, and the others indexes.
const OF_INDEXES: [&[u8]; 18] = [
    b"GROUP_INDEX",
    b"INDEX",
    b"INDEX_MERGE",
    b"JOIN_INDEX",
    b"MRR",
    b"NO_GROUP_INDEX",
    b"NO_ICP",
    b"NO_INDEX",
    b"NO_INDEX_MERGE",
    b"NO_JOIN_INDEX",
    b"NO_MRR",
    b"NO_ORDER_INDEX",
    b"NO_RANGE_OPTIMIZATION",
    b"NO_ROWID_FILTER",
    b"NO_SKIP_SCAN",
    b"ORDER_INDEX",
    b"ROWID_FILTER",
    b"SKIP_SCAN",
];

impl Parser<'_> {
    /// Notes the tables of the hints that follow the verb of a query, which ends at `after`.
    pub(super) fn hints(&mut self, scope: usize, after: usize) {
        let oldest = if self.context.mariadb { 120_000 } else { 50_700 };
        let rest = self.sql.get(after..).unwrap_or_default();
        let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let Some(body) = rest.get(blank..).and_then(|rest| rest.strip_prefix(b"/*+")) else { return };
        if self.context.version < oldest {
            return;
        }
        let Some(length) = body.windows(2).position(|pair| pair == b"*/") else { return };
        let start = after + blank + 3;
        let mut lexer = Lexer::between(self.sql, self.rules, start, start + length);
        let mut hint = lexer.next();
        while hint.kind != TokenKind::End {
            let mut token = lexer.next();
            if !token.is_symbol(b'(') {
                hint = token;
                continue;
            }
            let word = self.sql.get(hint.start..hint.end).unwrap_or_default().to_ascii_uppercase();
            let (of_tables, of_index) = (OF_TABLES.contains(&&word[..]), OF_INDEXES.contains(&&word[..]));
            let mut tables = 0;
            token = lexer.next();
            while token.kind != TokenKind::End && !token.is_symbol(b')') {
                if token.is_name() {
                    tables += 1;
                    if of_tables || (of_index && tables == 1) {
                        let quoted = token.kind == TokenKind::Quoted;
                        self.mention(scope, None, Name { start: token.start, end: token.end, quoted });
                    }
                }
                token = lexer.next();
            }
            hint = lexer.next();
        }
    }
}
