//! Hostile text: nothing panics, and time grows with the length.

use std::time::{Duration, Instant};

use replproxy::ddl::{Context, MappedName, Statement, analyze, rewrite};

use crate::ddl_corpus::{context, statements};

/// A small generator, so that a failure's seed repeats it.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("it is below a usize")
    }
}

/// Analyses, checks what always holds, and rewrites every name.
fn survive(sql: &[u8], context: &Context<'_>) -> Statement {
    let statement = analyze(sql, context);
    let mut last = 0;
    for object in &statement.objects {
        assert!(object.span.end <= sql.len() && object.span.start <= object.span.end);
        assert!(object.span.start >= last, "objects are in the order of the text");
        last = object.span.start;
        assert!(object.inherits.is_none_or(|owner| owner < statement.objects.len()));
    }
    for item in &statement.items {
        assert!(item.span.end <= sql.len() && item.objects.iter().all(|&index| index < statement.objects.len()));
    }
    let same = |(object, found): (usize, &replproxy::ddl::Object)| MappedName {
        object,
        database: found.database.clone(),
        name: found.name.clone(),
    };
    let names: Vec<_> = statement.objects.iter().enumerate().map(same).collect();
    if statement.doubt.is_none() {
        let text = rewrite(sql, &statement, context, &names, context.default_database, None);
        assert_eq!(text.as_deref(), Ok(sql), "the identity mapping changes the text");
    }
    let longer: Vec<_> = names
        .into_iter()
        .map(|name| MappedName { database: name.database + "_x", name: name.name + "`\"_x", ..name })
        .collect();
    let _ = rewrite(sql, &statement, context, &longer, "elsewhere", Some(&[0]));
    statement
}

fn contexts() -> Vec<Context<'static>> {
    let plain = context(80_036, false);
    vec![
        plain,
        context(101_119, true),
        Context { sql_mode: (1 << 2) | (1 << 20), client_collation: 28, ..plain },
        Context { client_collation: 13, ..context(101_119, true) },
        Context { sql_mode: 1 << 9, client_collation: 8, ..context(101_119, true) },
    ]
}

#[test]
fn statements_cut_anywhere_are_no_panic() {
    let rows = statements();
    let contexts = contexts();
    for (number, row) in rows.iter().enumerate().step_by(61) {
        let sql = row["sql"].as_str().expect("every line has a statement").as_bytes();
        let context = &contexts[number % contexts.len()];
        let step = (sql.len() / 40).max(1);
        for length in (0..=sql.len()).step_by(step) {
            survive(&sql[..length], context);
            survive(&sql[length..], context);
        }
    }
}

#[test]
fn statements_with_bytes_changed_are_no_panic() {
    let rows = statements();
    let contexts = contexts();
    let mut random = Seeded(0x5EED_0001);
    for row in rows.iter().step_by(97) {
        let mut sql = row["sql"].as_str().expect("every line has a statement").as_bytes().to_vec();
        for _ in 0..4 {
            let at = random.below(sql.len().max(1));
            if let Some(byte) = sql.get_mut(at) {
                let bytes = b"`'\"(),;.*/\\\x81\xff@-# \n";
                *byte = bytes[random.below(bytes.len())];
            }
            survive(&sql, &contexts[random.below(contexts.len())]);
        }
    }
}

#[test]
fn random_words_and_bytes_are_no_panic() {
    let words: Vec<&str> = "SELECT FROM WITH RECURSIVE AS ( ) , . ; TABLE CREATE DROP ALTER RENAME TO INSERT INTO VALUES UPDATE SET \
        DELETE USING JOIN ON WHERE UNION ALL CASE WHEN THEN ELSE END BEGIN IF LOOP REPEAT UNTIL DECLARE CURSOR HANDLER FOR \
        PROCEDURE FUNCTION TRIGGER EVENT VIEW a b.c `d` `e`.`f` 'g' \"h\" @i @@j.k 1 0x1f 1t /* */ /*!50000 /*!99999 */ -- # \
        REFERENCES LIKE EXCHANGE PARTITION CONVERT START TRANSACTION ROW TYPE OF NEXT VALUE NEXTVAL SYSTEM_TIME AFTER EACH DO \
        CALL OR REPLACE TEMPORARY IF NOT EXISTS DEFINER = LATERAL JSON_TABLE DUAL { OJ } INDEX LOAD DATA * - + :="
        .split_whitespace()
        .collect();
    let contexts = contexts();
    let mut random = Seeded(0x5EED_0002);
    for round in 0..4_000 {
        let mut sql = Vec::new();
        for _ in 0..random.below(40) {
            if round % 5 == 0 {
                sql.push(u8::try_from(random.below(256)).expect("it is a byte"));
            } else {
                sql.extend_from_slice(words[random.below(words.len())].as_bytes());
                sql.push(if random.below(12) == 0 { b'\n' } else { b' ' });
            }
        }
        survive(&sql, &contexts[random.below(contexts.len())]);
    }
}

/// What repeats, between a head and a tail.
const SHAPES: [(&str, &str, &str); 26] = [
    ("CREATE VIEW v AS WITH RECURSIVE a AS (SELECT 1 FROM b", ", b", "), b AS (SELECT 1) SELECT 1"),
    ("CREATE VIEW v AS WITH RECURSIVE a AS (SELECT 1)", ", b AS (SELECT * FROM c)", " SELECT 1"),
    ("INSERT INTO t VALUES (1,'a')", ",(2,'it''s \\' b')", ""),
    ("INSERT INTO t VALUES ('", "x\\'", "')"),
    ("CREATE TABLE t (a INT) COMMENT '", "''", "'"),
    ("DROP TABLE t", ",d.t", ""),
    ("RENAME TABLE a TO b", ",`c` TO d.`e`", ""),
    ("CREATE TABLE t (a INT", ", b INT REFERENCES p (a)", ")"),
    ("CREATE VIEW v AS SELECT 1 FROM t", ", t a JOIN (d.u)", ""),
    ("CREATE VIEW v AS SELECT t.a", ", t.b, d.t.c", " FROM t"),
    ("CREATE VIEW v AS SELECT 1", " UNION SELECT a.b FROM a", ""),
    ("CREATE VIEW v AS SELECT ", "(", "1"),
    ("CREATE VIEW v AS SELECT ", "(SELECT ", "1"),
    ("CREATE VIEW v AS SELECT * FROM ", "(SELECT * FROM ", "t"),
    ("CREATE VIEW v AS SELECT * FROM ", "(", "t"),
    ("CREATE VIEW v AS ", "WITH a AS (", "SELECT 1"),
    ("CREATE VIEW v AS WITH a AS (SELECT 1)", ", b AS (SELECT * FROM c)", " SELECT 1"),
    ("CREATE VIEW v AS SELECT 1", "+1", ""),
    ("CREATE VIEW v AS SELECT 1", " DIV 1", ""),
    ("CREATE VIEW v AS SELECT ", "CASE WHEN 1 THEN ", "1"),
    ("CREATE PROCEDURE p() ", "BEGIN ", "END"),
    ("CREATE PROCEDURE p() BEGIN ", "UPDATE t, u SET t.a = 1, b = 2; ", "END"),
    ("UPDATE t, u SET t.a = 1", ", u.b = t.c", ""),
    ("DELETE t", ", u", " FROM t, u"),
    ("DROP TABLE t ", "/* ", "*/"),
    ("DROP TABLE ", "/*!50000 */ ", "t"),
];

fn build(shape: (&str, &str, &str), length: usize) -> Vec<u8> {
    let (head, middle, tail) = shape;
    let mut sql = Vec::with_capacity(length + 64);
    sql.extend_from_slice(head.as_bytes());
    while sql.len() < length {
        sql.extend_from_slice(middle.as_bytes());
    }
    sql.extend_from_slice(tail.as_bytes());
    sql
}

fn measured(sql: &[u8], context: &Context<'_>) -> Duration {
    let start = Instant::now();
    survive(sql, context);
    start.elapsed()
}

#[test]
fn time_grows_with_the_length_and_nesting_costs_no_stack() {
    let contexts = [context(80_036, false), context(101_119, true)];
    for shape in SHAPES {
        for context in &contexts {
            // Below and above every limit, and deep enough to fall through any recursion.
            for length in [1 << 10, 15 << 10, 60 << 10] {
                survive(&build(shape, length), context);
            }
        }
        let (short, long) = (build(shape, 128 << 10), build(shape, 1 << 20));
        let (few, many) = (measured(&short, &contexts[0]), measured(&long, &contexts[0]));
        // Eight times the length: far less than the 64 times of a square, whatever else the machine does.
        assert!(many < few * 24 + Duration::from_secs(5), "{shape:?}: {few:?} for 128 KiB, {many:?} for 1 MiB");
    }
}

#[test]
fn sixteen_mebibytes_are_read_in_seconds() {
    for shape in [SHAPES[2], SHAPES[3], SHAPES[11]] {
        let sql = build(shape, 16 << 20);
        let took = measured(&sql, &context(80_036, false));
        assert!(took < Duration::from_secs(30), "{shape:?}: {took:?}");
    }
}

#[test]
fn ten_thousand_parentheses_fit_a_small_stack() {
    // Worker threads of servers and programs have far more; a recursion by parenthesis needs megabytes.
    let small = std::thread::Builder::new().stack_size(512 << 10).spawn(|| {
        for (head, open, middle, close, tail) in [
            ("CREATE VIEW v AS SELECT ", "(", "1", ")", " FROM t"),
            ("CREATE VIEW v AS ", "(", "SELECT 1 FROM t", ")", ""),
            ("CREATE VIEW v AS SELECT * FROM ", "(", "t", ")", ""),
            ("CREATE TABLE t (a INT CHECK (", "(", "a > 1", ")", "))"),
            ("ALTER TABLE t ADD CHECK (", "(", "a > 1", ")", ")"),
            ("CREATE PROCEDURE p() SELECT ", "(", "1", ")", " FROM t"),
            ("INSERT INTO t SELECT ", "(", "1", ")", " FROM u"),
        ] {
            let sql = [head, &open.repeat(10_000), middle, &close.repeat(10_000), tail].concat();
            for context in contexts() {
                let statement = survive(sql.as_bytes(), &context);
                assert!(
                    statement.doubt.is_some() || statement.objects.iter().any(|object| object.name == "t"),
                    "{head}"
                );
            }
        }
    });
    small.expect("a thread can be had").join().expect("nothing overflows");
}
