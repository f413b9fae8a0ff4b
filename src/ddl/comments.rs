//! Version comments and who executes them: `/*!50100 … */` and `/*M!100100 … */` hold code for some servers and none for
//! others.
//!
//! What counts is what the replica's server does, since that is where the statement runs next. Where the replica's
//! version is not known, a statement has to mean the same to every server that it could be.

use super::analyze::{analyze, find};
use super::lexer::Rules;
use super::{Class, Context, Kind, Statement};

/// The server that decides which version comments hold code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader {
    /// Whether it is MariaDB, which also opens `/*M!NNNNNN … */` and passes over `/*!50700 … */` to `/*!99999 … */`.
    pub mariadb: bool,
    /// Its version as a number, for example 50729, 90704 or 101119; `None` when it is not known.
    pub version: Option<u32>,
}

/// No replica is older: comments for this version and before it are code everywhere.
const OLDEST: u32 = 50_500;
/// Versions that nobody will run. Such comments hold code for no server.
const BEYOND_MYSQL: u32 = 99_000;
const BEYOND_MARIADB: u32 = 990_000;
/// Different versions that one statement's comments may name when the replica's version is not known.
const MOST_VERSIONS: usize = 8;

/// Kind, class and named objects of one statement as `replica` will execute it. Without version comments the same as
/// [`analyze`]. Where the replica's version is not known and decides what the statement names, the kind is `unknown`.
pub fn analyze_for(sql: &[u8], context: &Context<'_>, replica: Reader) -> Statement {
    let versions = match versions(sql) {
        Some(versions) if versions.is_empty() => return analyze(sql, context),
        versions => versions,
    };
    if let Some(version) = replica.version {
        let rules = Rules::read_by(context, version, replica.mariadb);
        return super::second_opinion::check(sql, context, rules, find(sql, context, rules));
    }
    let beyond = if replica.mariadb { BEYOND_MARIADB } else { BEYOND_MYSQL };
    let rules = Rules::read_by(context, OLDEST, replica.mariadb);
    let statement = find(sql, context, rules);
    let mut same = versions.is_some();
    for version in versions.into_iter().flatten().filter(|version| (OLDEST..beyond).contains(version)) {
        // MySQL reads six digits from 8.1 on, so that a version can mean another one before and after.
        for version in [version, version.max(80_100)] {
            same &= find(sql, context, Rules::read_by(context, version, replica.mariadb)) == statement;
        }
    }
    let mut statement = super::second_opinion::check(sql, context, rules, statement);
    if !same {
        statement.kind = Kind::UNKNOWN;
        statement.class = Class::Unknown;
        statement.doubt = Some(
            "what it names depends on a version comment and on the replica's version, which is not known".to_owned(),
        );
    }
    statement
}

/// The versions that comments name, each once; too many of them give `None`. Text that only looks like a comment may
/// be among them.
fn versions(sql: &[u8]) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    for (at, _) in sql.iter().enumerate().filter(|&(_, &byte)| byte == b'!') {
        let before = sql.get(..at).unwrap_or_default();
        if !before.ends_with(b"/*") && !before.ends_with(b"/*M") {
            continue;
        }
        let rest = sql.get(at + 1..).unwrap_or_default();
        let digits = rest.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        if digits < 5 {
            // Without a version it is code for everybody: the readings are compared, and are the same.
            push(&mut found, OLDEST);
        }
        for length in 5..=digits {
            let digits = rest.iter().take(length);
            push(&mut found, digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0')));
        }
        if found.len() > MOST_VERSIONS * 2 {
            return None;
        }
    }
    Some(found)
}

fn push(found: &mut Vec<u32>, version: u32) {
    if !found.contains(&version) {
        found.push(version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Context<'static> =
        Context { default_database: "d", sql_mode: 0, client_collation: 45, version: 50_729, mariadb: false };

    fn names(sql: &str, mariadb: bool, version: Option<u32>) -> String {
        let statement = analyze_for(sql.as_bytes(), &SESSION, Reader { mariadb, version });
        let names: Vec<&str> = statement.objects.iter().map(|object| object.name.as_str()).collect();
        format!("{} {}", statement.kind.0, names.join(","))
    }

    #[test]
    fn the_replica_decides_what_a_comment_holds() {
        let sql = "DROP TABLE a /*!80000 , b */";
        assert_eq!(names(sql, false, Some(50_729)), "drop_table a");
        assert_eq!(names(sql, false, Some(80_036)), "drop_table a,b");
        assert_eq!(names(sql, true, Some(101_119)), "drop_table a");
        assert_eq!(names(sql, true, None), "drop_table a");
        assert!(names(sql, false, None).starts_with("unknown"));
        let maria = "DROP TABLE a /*M!100100 , b */";
        assert_eq!(names(maria, true, Some(101_119)), "drop_table a,b");
        assert_eq!(names(maria, false, None), "drop_table a");
        assert!(names(maria, true, None).starts_with("unknown"));
    }

    #[test]
    fn comments_that_change_no_name_do_not_matter() {
        for sql in [
            "CREATE TABLE a (x INT /*!80023 INVISIBLE */) /*!50100 PARTITION BY HASH (x) */",
            "DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `a`",
            "CREATE /*M!100100 OR REPLACE */ TABLE a (x INT)",
            "CREATE /*! TABLE */ a (x INT)",
            "DROP TABLE a /*!99999 , b */",
            "DROP TABLE a /*!999999 , b */",
        ] {
            for mariadb in [false, true] {
                let kind = if sql.starts_with("DROP") { "drop_table" } else { "create_table" };
                assert_eq!(names(sql, mariadb, None), format!("{kind} a"), "{sql}");
            }
        }
    }

    #[test]
    fn more_versions_than_anybody_writes_are_not_read() {
        let comments: String = (0..40).map(|number| format!("/*!{} */", 80_000 + number)).collect();
        assert!(names(&format!("DROP TABLE a {comments}"), false, None).starts_with("unknown"));
        assert_eq!(names(&format!("DROP TABLE a {comments}"), false, Some(80_010)), "drop_table a");
    }
}
