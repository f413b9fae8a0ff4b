//! SQL text without the values that rows are made of.

use super::lexer::MODE_NO_BACKSLASH_ESCAPES;

/// First words of statements whose literals are definitions, not data.
const DEFINITIONS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "CREATE",
    "DROP",
    "FLUSH",
    "OPTIMIZE",
    "RELEASE",
    "RENAME",
    "REPAIR",
    "ROLLBACK",
    "SAVEPOINT",
    "START",
    "TRUNCATE",
    "USE",
    "XA",
];

/// Words that bring data, passwords or their hashes into a definition.
const DATA_WORDS: &[&str] =
    &["SELECT", "VALUES", "IDENTIFIED", "PASSWORD", "AUTHENTICATION", "CONNECTION", "OPTION_LIST", "SERVER"];

/// The statement with `?` for every text and number, unless it is a definition that holds none of somebody's data.
/// `sql_mode` says whether a backslash escapes, as in [`Context::sql_mode`](super::Context::sql_mode). Where the text is not UTF-8, a backslash may be half of
/// a character, and nothing is shown from the first text on.
pub fn masked(sql: &[u8], sql_mode: u64) -> String {
    let backslash_escapes = sql_mode & MODE_NO_BACKSLASH_ESCAPES == 0;
    let pieces = Pieces { text: sql, at: 0, backslash_escapes };
    let is_utf8 = std::str::from_utf8(sql).map_or_else(|error| error.error_len().is_none(), |_| true);
    let mut out: Vec<u8> = Vec::with_capacity(sql.len());
    let (mut first, mut has_data, mut has_literals) = (None, false, false);
    for piece in pieces {
        match piece {
            Piece::Literal(_) => {
                has_literals = true;
                out.push(b'?');
                if !is_utf8 {
                    return format!("{} …", String::from_utf8_lossy(&out));
                }
            }
            Piece::Word(word) => {
                let upper = String::from_utf8_lossy(word).to_ascii_uppercase();
                has_data |= DATA_WORDS.contains(&upper.as_str());
                first.get_or_insert(upper);
                out.extend_from_slice(word);
            }
            Piece::Comment(text) | Piece::Other(text) => out.extend_from_slice(text),
        }
    }
    let is_definition = first.is_none_or(|word| DEFINITIONS.contains(&word.as_str()));
    if is_definition && !has_data || !has_literals {
        return String::from_utf8_lossy(sql).into_owned();
    }
    String::from_utf8_lossy(&out).into_owned()
}

enum Piece<'a> {
    /// Text in quotes, a number, a hex or bit literal. A quote that is never closed runs to the end.
    Literal(&'a [u8]),
    Word(&'a [u8]),
    Comment(&'a [u8]),
    Other(&'a [u8]),
}

struct Pieces<'a> {
    text: &'a [u8],
    at: usize,
    backslash_escapes: bool,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
        let piece = match rest[0] {
            quote @ (b'\'' | b'"') => Piece::Literal(&rest[..quoted_length(rest, quote, self.backslash_escapes)]),
            b'`' => Piece::Other(&rest[..quoted_length(rest, b'`', false)]),
            b'#' => Piece::Comment(&rest[..line_length(rest)]),
            b'-' if rest.starts_with(b"-- ") => Piece::Comment(&rest[..line_length(rest)]),
            // What stands in a version comment is executed: only its borders are passed over.
            b'/' if rest.starts_with(b"/*!") || rest.starts_with(b"/*M!") => {
                let marker = if rest[2] == b'M' { 4 } else { 3 };
                let digits = rest[marker..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                Piece::Other(&rest[..marker + digits])
            }
            b'/' if rest.starts_with(b"/*") => {
                let end = rest.windows(2).skip(2).position(|pair| pair == b"*/").map_or(rest.len(), |at| at + 4);
                Piece::Comment(&rest[..end])
            }
            first if is_word(first) => {
                let length = rest.iter().take_while(|&&byte| is_word(byte)).count();
                let word = &rest[..length];
                if first.is_ascii_digit() { Piece::Literal(word) } else { Piece::Word(word) }
            }
            _ => Piece::Other(&rest[..1]),
        };
        self.at += match piece {
            Piece::Literal(text) | Piece::Word(text) | Piece::Comment(text) | Piece::Other(text) => text.len(),
        };
        Some(piece)
    }
}

fn line_length(text: &[u8]) -> usize {
    text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len())
}

fn quoted_length(text: &[u8], quote: u8, escapes: bool) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' if escapes => at += 2,
            byte if byte == quote && text.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_masked_and_definitions_stay() {
        for (sql, shown) in [
            (
                "INSERT INTO `a'b` VALUES (1, 'it''s', \"x\\\"y\", 0xff, NULL, -1.5e3)",
                "INSERT INTO `a'b` VALUES (?, ?, ?, ?, NULL, -?.?)",
            ),
            ("update t set a=b'01' where c = 'x", "update t set a=b? where c = ?"),
            ("CREATE TABLE t (a VARCHAR(10) DEFAULT 'x')", "CREATE TABLE t (a VARCHAR(10) DEFAULT 'x')"),
            ("CREATE TABLE t AS SELECT 'secret'", "CREATE TABLE t AS SELECT ?"),
            ("CREATE USER 'u'@'h' IDENTIFIED WITH p AS '*HASH'", "CREATE USER ?@? IDENTIFIED WITH p AS ?"),
            ("CREATE TABLE t (a INT) CONNECTION='mysql://u:p@h/d/t'", "CREATE TABLE t (a INT) CONNECTION=?"),
            ("/* from app */ BEGIN", "/* from app */ BEGIN"),
            ("/*!50003 SET @a = 'x' */", "/*!50003 SET @a = ? */"),
            (
                "REPLACE t1 SELECT col_1, `2`, 3 FROM t2 # 'c'\n, t3",
                "REPLACE t1 SELECT col_1, `2`, ? FROM t2 # 'c'\n, t3",
            ),
            ("", ""),
        ] {
            assert_eq!(masked(sql.as_bytes(), 0), shown);
        }
        assert_eq!(masked(b"INSERT t VALUES ('a\\', 'b')", MODE_NO_BACKSLASH_ESCAPES), "INSERT t VALUES (?, ?)");
        assert_eq!(masked(b"INSERT t VALUES ('\xbf\\', 'secret')", 0), "INSERT t VALUES (? …");
    }
}
