//! How much work a statement is, in steps instead of seconds: bytes and tokens that the lexer has passed, and names put in place.
//!
//! On a busy machine a time says little; a step is the same everywhere. What reads a text again counts again.

use std::cell::Cell;

use super::lexer::Rules;
use super::{Context, MappedName, analyze::find, rewrite};

thread_local! {
    static STEPS: Cell<usize> = const { Cell::new(0) };
}

/// The lexer went on by so much.
pub(super) fn count(steps: usize) {
    STEPS.with(|all| all.set(all.get() + steps));
}

const SESSION: Context<'static> =
    Context { default_database: "shop", sql_mode: 0, client_collation: 45, version: 80_036, mariadb: false };

/// The steps of reading a statement and of giving every name a new one.
fn steps(sql: &[u8], context: &Context<'_>) -> usize {
    STEPS.with(|all| all.set(0));
    let statement = find(sql, context, Rules::of(context));
    let names: Vec<MappedName> = (statement.objects.iter().enumerate())
        .map(|(object, found)| MappedName {
            object,
            database: format!("{}_new", found.database),
            name: format!("{}_new", found.name),
        })
        .collect();
    if let Ok(text) = rewrite(sql, &statement, context, &names, "elsewhere", None) {
        count(text.len());
    }
    STEPS.with(Cell::get)
}

/// What repeats, between a head and a tail.
const SHAPES: [(&str, &str, &str); 18] = [
    ("INSERT INTO t VALUES (1,'a')", ",(2,'it''s \\' b')", ""),
    ("INSERT INTO t VALUES ('", "x\\'", "')"),
    ("DROP TABLE t", ",d.t", ""),
    ("RENAME TABLE a TO b", ",`c` TO d.`e`", ""),
    ("CREATE TABLE t (a INT", ", b INT REFERENCES p (a)", ")"),
    ("CREATE TABLE t (a INT", ", CONSTRAINT t_ibfk_1 FOREIGN KEY (a) REFERENCES d.p (a)", ")"),
    ("ALTER TABLE t ADD COLUMN a INT", ", ADD COLUMN b INT AFTER a", ""),
    ("CREATE VIEW v AS SELECT t.a", ", t.b, d.t.c", " FROM t"),
    ("CREATE VIEW v AS SELECT 1 FROM t", ", t a JOIN (d.u)", ""),
    ("CREATE VIEW v AS SELECT 1", " UNION SELECT a.b FROM a", ""),
    ("CREATE VIEW v AS WITH a AS (SELECT 1)", ", b AS (SELECT * FROM c)", " SELECT 1"),
    ("CREATE VIEW v AS SELECT * FROM ", "(SELECT * FROM ", "t"),
    ("CREATE VIEW v AS SELECT ", "CASE WHEN 1 THEN ", "1"),
    ("CREATE PROCEDURE p() ", "BEGIN ", "END"),
    ("CREATE PROCEDURE p() BEGIN ", "UPDATE t, u SET t.a = 1, b = 2; ", "END"),
    ("UPDATE t, u SET t.a = 1", ", u.b = t.c", ""),
    ("DROP TABLE t ", "/* ", "*/"),
    ("DROP TABLE ", "/*!50000 */ ", "t"),
];

#[test]
fn the_steps_grow_with_the_length() {
    let maria = Context { version: 101_119, mariadb: true, ..SESSION };
    for (head, middle, tail) in SHAPES {
        for context in [&SESSION, &maria] {
            let of = |repeated: usize| {
                let sql = [head, &middle.repeat(repeated), tail].concat();
                (steps(sql.as_bytes(), context), sql.len())
            };
            let ((few, short), (many, long)) = (of(500), of(8_000));
            assert!(few >= short, "{head}{middle}: {few} steps for {short} bytes: they are not counted");
            // Twice as many for each byte would be a second reading of the whole text; a square would be sixteen times as many.
            let (each_few, each_many) = (few as f64 / short as f64, many as f64 / long as f64);
            assert!(each_many < each_few * 1.5, "{head}{middle}: {each_few:.1} steps a byte, then {each_many:.1}");
            assert!(each_many < 12.0, "{head}{middle}: {each_many:.1} steps a byte");
        }
    }
}
