//! A session as people write it down: names of character sets and of `sql_mode`s.

use super::charset::Charset;

/// Names of `sql_mode` with their bits; modes that stand for several, as in the vendors' `sys_vars.cc`. The numbers are
/// those of status variable `Q_SQL_MODE_CODE`; 0 for a mode that changes nothing about how text is read.
const MODES: [(&str, u64); 37] = [
    ("REAL_AS_FLOAT", 1),
    ("PIPES_AS_CONCAT", 1 << 1),
    ("ANSI_QUOTES", 1 << 2),
    ("IGNORE_SPACE", 1 << 3),
    ("ORACLE", (1 << 9) | (1 << 3) | (1 << 2) | (1 << 1)),
    ("ANSI", (1 << 18) | (1 << 3) | (1 << 2) | (1 << 1) | 1),
    ("DB2", (1 << 11) | (1 << 3) | (1 << 2) | (1 << 1)),
    ("MAXDB", (1 << 12) | (1 << 3) | (1 << 2) | (1 << 1)),
    ("MSSQL", (1 << 10) | (1 << 3) | (1 << 2) | (1 << 1)),
    ("POSTGRESQL", (1 << 8) | (1 << 3) | (1 << 2) | (1 << 1)),
    ("NO_BACKSLASH_ESCAPES", 1 << 20),
    ("ALLOW_INVALID_DATES", 0),
    ("EMPTY_STRING_IS_NULL", 0),
    ("ERROR_FOR_DIVISION_BY_ZERO", 0),
    ("HIGH_NOT_PRECEDENCE", 0),
    ("IGNORE_BAD_TABLE_OPTIONS", 0),
    ("MYSQL323", 0),
    ("MYSQL40", 0),
    ("NO_AUTO_CREATE_USER", 0),
    ("NO_AUTO_VALUE_ON_ZERO", 0),
    ("NO_DIR_IN_CREATE", 0),
    ("NO_ENGINE_SUBSTITUTION", 0),
    ("NO_FIELD_OPTIONS", 0),
    ("NO_KEY_OPTIONS", 0),
    ("NO_TABLE_OPTIONS", 0),
    ("NO_UNSIGNED_SUBTRACTION", 0),
    ("NO_ZERO_DATE", 0),
    ("NO_ZERO_IN_DATE", 0),
    ("ONLY_FULL_GROUP_BY", 0),
    ("PAD_CHAR_TO_FULL_LENGTH", 0),
    ("SIMULTANEOUS_ASSIGNMENT", 0),
    ("STRICT_ALL_TABLES", 0),
    ("STRICT_TRANS_TABLES", 0),
    ("TIME_ROUND_FRACTIONAL", 0),
    ("TIME_TRUNCATE_FRACTIONAL", 0),
    ("TRADITIONAL", 0),
    ("DEFAULT", 0),
];

/// Character sets with the id of their default collation, which the vendors share.
const CHARSETS: [(&str, u16); 37] = [
    ("utf8mb4", 45),
    ("utf8mb3", 33),
    ("utf8", 33),
    ("latin1", 8),
    ("ascii", 11),
    ("binary", 63),
    ("gbk", 28),
    ("gb2312", 24),
    ("gb18030", 248),
    ("big5", 1),
    ("sjis", 13),
    ("cp932", 95),
    ("ujis", 12),
    ("eucjpms", 97),
    ("euckr", 19),
    ("latin2", 9),
    ("latin5", 30),
    ("latin7", 41),
    ("cp1250", 26),
    ("cp1251", 51),
    ("cp1256", 57),
    ("cp1257", 59),
    ("cp866", 36),
    ("koi8r", 7),
    ("koi8u", 22),
    ("greek", 25),
    ("hebrew", 16),
    ("tis620", 18),
    ("macroman", 39),
    ("macce", 38),
    ("dec8", 3),
    ("cp850", 4),
    ("cp852", 40),
    ("hp8", 6),
    ("swe7", 10),
    ("armscii8", 32),
    ("keybcs2", 37),
];

/// A `sql_mode` as the server shows it (`ANSI_QUOTES,NO_BACKSLASH_ESCAPES`) or as its number. The error names the mode that
/// no server has.
pub fn parse_sql_mode(text: &str) -> Result<u64, String> {
    if let Ok(number) = text.trim().parse() {
        return Ok(number);
    }
    let mut names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.try_fold(0, |sum, name| {
        let found = MODES.iter().find(|(mode, _)| mode.eq_ignore_ascii_case(name));
        found.map(|(_, bits)| sum | bits).ok_or_else(|| format!("no server has a sql_mode `{name}`"))
    })
}

/// The id of a collation of a character set, as [`super::Context::client_collation`] wants it.
pub fn parse_charset(name: &str) -> Result<u16, String> {
    let found = CHARSETS.iter().find(|(charset, _)| charset.eq_ignore_ascii_case(name.trim()));
    found.map(|&(_, id)| id).ok_or_else(|| format!("no session of a client has the character set `{name}`"))
}

/// A text in the character set of a collation; `None` where the set lacks one of its characters.
pub fn encode(collation: u16, text: &str) -> Option<Vec<u8>> {
    Charset::of_collation(collation).encode(text)
}

/// A text in the character set of a collation, for people: what cannot be read is shown as the replacement character.
pub fn decode(collation: u16, text: &[u8]) -> String {
    Charset::of_collation(collation).decode(text).unwrap_or_else(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_read_as_servers_show_them() {
        assert_eq!(parse_sql_mode(""), Ok(0));
        assert_eq!(parse_sql_mode("1436549152"), Ok(1_436_549_152));
        assert_eq!(parse_sql_mode("STRICT_TRANS_TABLES, ansi_quotes,NO_BACKSLASH_ESCAPES"), Ok((1 << 2) | (1 << 20)));
        assert!(parse_sql_mode("ANSI_QUOTE").is_err());
        assert_eq!(parse_charset("GBK"), Ok(28));
        assert!(parse_charset("utf16").is_err());
        assert_eq!(encode(28, "\u{7e17}").as_deref(), Some(&b"\xbf\x5c"[..]));
        assert_eq!(decode(28, b"\xbf\x5c"), "\u{7e17}");
    }
}
