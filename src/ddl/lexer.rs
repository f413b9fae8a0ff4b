//! The byte lexer: tokens as ranges of the statement's text, nothing copied, nothing looked up twice.
//!
//! It follows the servers' own lexers (`sql_lex.cc` of both vendors) where a wrong boundary would hide or invent a
//! name: string and identifier quoting under the session's `sql_mode` and character set, the `--` rule, comments
//! that a version opens or skips, identifiers that start with digits, and words after a point, which are never
//! keywords. What the server would refuse (an open string or comment) is a [`Problem`].

use super::Context;
use super::charset::Charset;
use super::keyword::{Keyword, keyword};

/// `sql_mode` bit of ANSI_QUOTES.
const MODE_ANSI_QUOTES: u64 = 1 << 2;
/// `sql_mode` bit of NO_BACKSLASH_ESCAPES.
pub(super) const MODE_NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

/// What kind of token a range of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// An unquoted word: a keyword or a name.
    Word,
    /// A quoted name: backquotes, or double quotes under ANSI_QUOTES.
    Quoted,
    /// A string literal, with `N`, `X` or `B` before it.
    String,
    /// A number, hexadecimal or bit literal.
    Number,
    /// `@name`, `@'name'` or `@@name`, up to the first point.
    Variable,
    /// One byte of punctuation.
    Symbol(u8),
    /// The end of the text.
    End,
}

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// What it is.
    pub(super) kind: TokenKind,
    /// The keyword that a [`TokenKind::Word`] spells, or [`Keyword::NONE`].
    pub(super) keyword: Keyword,
    /// First byte.
    pub(super) start: usize,
    /// One past the last byte.
    pub(super) end: usize,
}

impl Token {
    /// Whether it is this punctuation.
    pub(super) fn is_symbol(self, byte: u8) -> bool {
        self.kind == TokenKind::Symbol(byte)
    }

    /// Whether it can be a name: any word or a quoted name.
    pub(super) fn is_name(self) -> bool {
        matches!(self.kind, TokenKind::Word | TokenKind::Quoted)
    }
}

/// Text that no server accepts: something that is opened and not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// A string literal without its end.
    String,
    /// A quoted name without its end.
    Name,
    /// A comment without its end.
    Comment,
}

/// How the session reads text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Character set of the text.
    pub(super) charset: Charset,
    ansi_quotes: bool,
    no_backslash_escapes: bool,
    version: u32,
    /// Whether MariaDB reads it.
    pub(super) mariadb: bool,
}

impl Rules {
    /// The rules of a session, with version comments as its own server opens them.
    pub(super) fn of(context: &Context<'_>) -> Self {
        Self::read_by(context, context.version, context.mariadb)
    }

    /// The rules of a session, with version comments as another server opens them.
    pub(super) fn read_by(context: &Context<'_>, version: u32, mariadb: bool) -> Self {
        Self {
            charset: Charset::of_collation(context.client_collation),
            ansi_quotes: context.sql_mode & MODE_ANSI_QUOTES != 0,
            no_backslash_escapes: context.sql_mode & MODE_NO_BACKSLASH_ESCAPES != 0,
            version,
            mariadb,
        }
    }
}

impl Rules {
    /// Whether a byte can be one of an unquoted name.
    fn is_word_byte(&self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || (byte >= 0x80 && !self.charset.is_space(byte))
    }
}

/// Reads tokens from left to right.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    rules: Rules,
    at: usize,
    /// Inside a version comment whose content counts.
    in_version_comment: bool,
    /// How many ends and beginnings of counting version comments were passed: two tokens with different counts have
    /// a comment's border between them, and a token with an odd one is inside of a comment.
    borders: u32,
    /// The last token was a point that a name's first byte follows.
    after_point: bool,
    problem: Option<Problem>,
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of `text`.
    pub(super) fn new(text: &'a [u8], rules: Rules) -> Self {
        Self { text, rules, at: 0, in_version_comment: false, borders: 0, after_point: false, problem: None }
    }

    /// A lexer of a part of the text, which begins and ends between two tokens.
    pub(super) fn between(text: &'a [u8], rules: Rules, start: usize, end: usize) -> Self {
        Self { at: start, ..Self::new(text.get(..end).unwrap_or(text), rules) }
    }

    /// The first thing that no server would accept, if there was one.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.problem
    }

    /// Whether a point and a name's first byte follow a token at once.
    pub(super) fn is_joined(&self, token: Token) -> bool {
        self.byte(token.end) == Some(b'.') && self.byte(token.end + 1).is_some_and(|byte| self.rules.is_word_byte(byte))
    }

    /// How many borders of version comments lie before the next token to be read.
    pub(super) fn borders(&self) -> u32 {
        self.borders
    }

    fn byte(&self, index: usize) -> Option<u8> {
        self.text.get(index).copied()
    }

    fn token(&self, kind: TokenKind, start: usize) -> Token {
        Token { kind, keyword: Keyword::NONE, start, end: self.at }
    }

    /// The next token; [`TokenKind::End`] for ever once the text is used up.
    pub(super) fn next(&mut self) -> Token {
        #[cfg(test)]
        let before = self.at;
        let token = self.read();
        #[cfg(test)]
        super::steps::count(self.at - before + 1);
        token
    }

    fn read(&mut self) -> Token {
        self.skip_blanks();
        let start = self.at;
        let Some(first) = self.byte(start) else {
            return self.token(TokenKind::End, start);
        };
        let after_point = std::mem::take(&mut self.after_point);
        match first {
            b'\'' => self.string(start, b'\''),
            b'"' if !self.rules.ansi_quotes => self.string(start, b'"'),
            b'"' | b'`' => self.quoted(start, first),
            b'@' => self.variable(start),
            b'0'..=b'9' if !after_point => self.number_or_word(start),
            b'.' => {
                let next = self.byte(start + 1);
                let last_is_name = start > 0
                    && self
                        .byte(start - 1)
                        .is_some_and(|byte| self.rules.is_word_byte(byte) || byte == b'`' || byte == b'"');
                if next.is_some_and(|byte| byte.is_ascii_digit()) && !last_is_name {
                    self.at += 1;
                    self.digits();
                    self.exponent();
                    return self.token(TokenKind::Number, start);
                }
                self.after_point = next.is_some_and(|byte| self.rules.is_word_byte(byte));
                self.at += 1;
                self.token(TokenKind::Symbol(b'.'), start)
            }
            _ if self.rules.is_word_byte(first) => {
                if !after_point && self.byte(start + 1) == Some(b'\'') && matches!(first | 0x20, b'n' | b'x' | b'b') {
                    self.at += 1;
                    return self.string(start, b'\'');
                }
                self.word(start, after_point)
            }
            _ => {
                self.at += 1;
                self.token(TokenKind::Symbol(first), start)
            }
        }
    }

    /// Passes over spaces and comments, and over the borders of version comments that count.
    fn skip_blanks(&mut self) {
        while let Some(byte) = self.byte(self.at) {
            match byte {
                _ if self.rules.charset.is_space(byte) => {
                    self.at += 1;
                    self.after_point = false;
                }
                b'#' => self.skip_line(),
                b'-' if self.byte(self.at + 1) == Some(b'-')
                    && self
                        .byte(self.at + 2)
                        .is_none_or(|third| self.rules.charset.is_space(third) || third.is_ascii_control()) =>
                {
                    self.skip_line();
                }
                b'*' if self.in_version_comment && self.byte(self.at + 1) == Some(b'/') => {
                    self.at += 2;
                    self.in_version_comment = false;
                    self.borders += 1;
                }
                b'/' if self.byte(self.at + 1) == Some(b'*') => {
                    self.after_point = false;
                    self.comment();
                }
                _ => return,
            }
        }
        if self.in_version_comment {
            self.problem.get_or_insert(Problem::Comment);
        }
    }

    fn skip_line(&mut self) {
        self.after_point = false;
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    }

    /// At `/*`: opens a version comment that counts, or passes over the whole comment.
    fn comment(&mut self) {
        let mark = if self.byte(self.at + 2) == Some(b'!') {
            Some(self.at + 3)
        } else if self.rules.mariadb && self.text.get(self.at + 2..self.at + 4) == Some(b"M!") {
            Some(self.at + 4)
        } else {
            None
        };
        // Whether the servers are inside a version comment is one bit: a second one opens too, and the first `*/` ends both.
        let Some(digits) = mark else {
            self.at += 2;
            self.skip_comment(false);
            return;
        };
        match self.version_at(digits) {
            Some((version, length)) => {
                let maria_form = digits == self.at + 4;
                let opened = version <= self.rules.version
                    && (!self.rules.mariadb || maria_form || !(50_700..=99_999).contains(&version));
                if opened {
                    self.at = digits + length;
                    self.open_version_comment();
                } else {
                    self.at = digits;
                    self.skip_comment(true);
                }
            }
            None => {
                self.at = digits;
                self.open_version_comment();
            }
        }
    }

    /// One that opens inside of another is two borders, so that an odd number of them is always inside.
    fn open_version_comment(&mut self) {
        self.borders += if self.in_version_comment { 2 } else { 1 };
        self.in_version_comment = true;
    }

    /// The version number at `at` and how many digits it has: five, or six where the server reads six.
    fn version_at(&self, at: usize) -> Option<(u32, usize)> {
        let digits = self.text.get(at..at + 5)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let five = digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        let sixth = self.byte(at + 5).filter(u8::is_ascii_digit);
        // MariaDB takes every sixth digit, MySQL since 8.1 only one that a space follows.
        let takes_six = self.rules.mariadb
            || (self.rules.version >= 80_100
                && self.byte(at + 6).is_some_and(|after| self.rules.charset.is_space(after)));
        Some(match sixth {
            Some(digit) if takes_six => (five * 10 + u32::from(digit - b'0'), 6),
            _ => (five, 5),
        })
    }

    /// Passes over the rest of a comment; in a version comment that is skipped, plain comments may be nested once.
    fn skip_comment(&mut self, nested: bool) {
        let mut inside = false;
        while let Some(byte) = self.byte(self.at) {
            let next = self.byte(self.at + 1);
            if byte == b'*' && next == Some(b'/') {
                self.at += 2;
                if !inside {
                    return;
                }
                inside = false;
            } else if nested && !inside && byte == b'/' && next == Some(b'*') {
                self.at += 2;
                inside = true;
            } else {
                self.at += 1;
            }
        }
        self.problem.get_or_insert(Problem::Comment);
    }

    /// A string literal; `self.at` is at its opening quote.
    fn string(&mut self, start: usize, quote: u8) -> Token {
        let backslash_escapes = !self.rules.no_backslash_escapes;
        self.enclosed(quote, backslash_escapes, Problem::String);
        self.token(TokenKind::String, start)
    }

    /// A quoted name; `self.at` is at its opening quote.
    fn quoted(&mut self, start: usize, quote: u8) -> Token {
        self.enclosed(quote, false, Problem::Name);
        self.token(TokenKind::Quoted, start)
    }

    /// Moves behind the closing quote, of which two stand for one inside; to the end of a text that has none.
    fn enclosed(&mut self, quote: u8, backslash_escapes: bool, unclosed: Problem) {
        self.at += 1;
        let pairs = self.rules.charset.has_ascii_trails();
        while let Some(byte) = self.byte(self.at) {
            if byte == quote {
                self.at += 1;
                if self.byte(self.at) != Some(quote) {
                    return;
                }
                self.at += 1;
            } else if byte == b'\\' && backslash_escapes {
                // It escapes one byte, also where that begins a character of two.
                self.at += 2;
            } else if pairs && byte >= 0x80 {
                self.at += self.rules.charset.length(self.text.get(self.at..).unwrap_or_default());
            } else {
                self.at += 1;
            }
        }
        self.at = self.text.len();
        self.problem.get_or_insert(unclosed);
    }

    fn variable(&mut self, start: usize) -> Token {
        self.at += 1;
        if self.byte(self.at) == Some(b'@') {
            self.at += 1;
        }
        match self.byte(self.at) {
            Some(b'`') => {
                self.quoted(start, b'`');
            }
            Some(b'"') if self.rules.ansi_quotes => {
                self.quoted(start, b'"');
            }
            Some(quote @ (b'\'' | b'"')) => {
                self.string(start, quote);
            }
            _ => {
                // User variables may have points in their names, system variables have them between theirs.
                let system = self.at - start == 2;
                while let Some(byte) = self.byte(self.at) {
                    if !self.rules.is_word_byte(byte) && (system || byte != b'.') {
                        break;
                    }
                    self.step_word();
                }
            }
        }
        self.token(TokenKind::Variable, start)
    }

    fn step_word(&mut self) {
        self.at += match self.byte(self.at) {
            Some(0x80..) => self.rules.charset.length(self.text.get(self.at..).unwrap_or_default()),
            _ => 1,
        };
    }

    fn word(&mut self, start: usize, after_point: bool) -> Token {
        while self.byte(self.at).is_some_and(|byte| self.rules.is_word_byte(byte)) {
            self.step_word();
        }
        let mut token = self.token(TokenKind::Word, start);
        // The servers take a word for a name where a point and a name's byte follow at once: `default.t`.
        let before_point = self.is_joined(token);
        if !after_point && !before_point {
            token.keyword = keyword(self.text.get(start..self.at).unwrap_or_default());
        }
        token
    }

    fn digits(&mut self) {
        while self.byte(self.at).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn exponent(&mut self) {
        if !matches!(self.byte(self.at), Some(b'e' | b'E')) {
            return;
        }
        let sign = usize::from(matches!(self.byte(self.at + 1), Some(b'+' | b'-')));
        if self.byte(self.at + 1 + sign).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1 + sign;
            self.digits();
        }
    }

    /// A token that starts with a digit: a number, or a name such as `1t`.
    fn number_or_word(&mut self, start: usize) -> Token {
        if self.byte(start) == Some(b'0') {
            let accepts: Option<fn(&u8) -> bool> = match self.byte(start + 1) {
                Some(b'x') => Some(u8::is_ascii_hexdigit),
                Some(b'b') => Some(|byte| matches!(byte, b'0' | b'1')),
                _ => None,
            };
            if let Some(accepts) = accepts {
                let rest = self.text.get(start + 2..).unwrap_or_default();
                let length = rest.iter().take_while(|byte| accepts(byte)).count();
                let ends = rest.get(length).is_none_or(|&byte| !self.rules.is_word_byte(byte));
                if length > 0 && ends {
                    self.at = start + 2 + length;
                    return self.token(TokenKind::Number, start);
                }
                return self.word(start, false);
            }
        }
        self.digits();
        match self.byte(self.at) {
            Some(byte) if self.rules.is_word_byte(byte) => {
                let before = self.at;
                self.exponent();
                if self.at == before { self.word(start, false) } else { self.token(TokenKind::Number, start) }
            }
            Some(b'.') => {
                self.at += 1;
                self.digits();
                self.exponent();
                self.token(TokenKind::Number, start)
            }
            _ => self.token(TokenKind::Number, start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(sql_mode: u64, client_collation: u16, version: u32, mariadb: bool) -> Context<'static> {
        Context { default_database: "", sql_mode, client_collation, version, mariadb }
    }

    /// The tokens of a text, one letter of their kind before each.
    fn tokens(text: &[u8], context: &Context<'_>) -> String {
        let mut lexer = Lexer::new(text, Rules::of(context));
        let mut out = Vec::new();
        loop {
            let token = lexer.next();
            let shown = String::from_utf8_lossy(&text[token.start..token.end]).into_owned();
            out.push(match token.kind {
                TokenKind::End => break,
                TokenKind::Word if token.keyword == Keyword::NONE => format!("w{shown}"),
                TokenKind::Word => format!("k{shown}"),
                TokenKind::Quoted => format!("q{shown}"),
                TokenKind::String => format!("s{shown}"),
                TokenKind::Number => format!("n{shown}"),
                TokenKind::Variable => format!("v{shown}"),
                TokenKind::Symbol(_) => shown,
            });
        }
        if let Some(problem) = lexer.problem() {
            out.push(format!("{problem:?}!"));
        }
        out.join(" ")
    }

    fn plain(text: &str) -> String {
        tokens(text.as_bytes(), &session(0, 45, 80_036, false))
    }

    #[test]
    fn names_numbers_and_points() {
        assert_eq!(
            plain("db.1t 1t 1e5 1e 1.5 .5 0x1F 0x1G 0b01 12 $a"),
            "wdb . w1t w1t n1e5 w1e n1.5 n.5 n0x1F w0x1G n0b01 n12 w$a"
        );
        assert_eq!(plain("select.select a . select t.*"), "wselect . wselect wa . kselect wt . *");
        assert_eq!(plain("@a.b @@global.x @'q r' @`b` u@h"), "v@a.b v@@global . wx v@'q r' v@`b` wu v@h");
        assert_eq!(plain("N'x' x'1f' _utf8'a' b'1'"), "sN'x' sx'1f' w_utf8 s'a' sb'1'");
    }

    #[test]
    fn quotes_follow_the_session() {
        assert_eq!(plain("'a''b' 'a\\'b' \"c\" `d``e`"), "s'a''b' s'a\\'b' s\"c\" q`d``e`");
        let strict = session((1 << 2) | (1 << 20), 45, 80_036, false);
        assert_eq!(tokens(b"'a\\' \"c\"", &strict), "s'a\\' q\"c\"");
        assert_eq!(plain("'a"), "s'a String!");
        assert_eq!(plain("`a"), "q`a Name!");
    }

    #[test]
    fn comments_and_the_versions_that_open_them() {
        assert_eq!(plain("a -- b\nc --d # e\nf /* g */ h"), "wa wc - - wd wf wh");
        assert_eq!(plain("/*!50100 a */ /*!99999 b */ /*! c */ /*+ d */ e"), "wa wc we");
        assert_eq!(plain("/*!50100 a /* b */ c */ d"), "wa wc wd");
        assert_eq!(plain("/*!99999 a /* b */ c */ d"), "wd");
        assert_eq!(plain("/*!50100 a"), "wa Comment!");
        assert_eq!(plain("/*M!100100 a */ b"), "wb");
        let maria = session(0, 45, 101_119, true);
        assert_eq!(
            tokens(b"/*!50700 a */ /*!50699 b */ /*!100100 c */ /*M!101200 d */ /*M!100100 e */", &maria),
            "wb wc we"
        );
        // Six digits before 8.1 are five and the beginning of the text, and so they are later without a space after.
        assert_eq!(plain("/*!080000 a */"), "n0 wa");
        assert_eq!(tokens(b"/*!080000 a */ /*!0800001a */", &session(0, 45, 90_704, false)), "wa w01a");
    }

    #[test]
    fn a_space_beyond_ascii_ends_a_word_where_the_set_has_one() {
        let cp866 = session(0, 36, 80_036, false);
        assert_eq!(tokens(b"a\xffb 1\xff\xff.c", &cp866), "wa wb n1 . wc");
        let dec8 = session(0, 3, 80_036, false);
        assert_eq!(tokens(b"from\xa0t --\xa0c", &dec8), "kfrom wt");
        let cp850 = session(0, 4, 80_036, false);
        assert_eq!(tokens(b"a\xffb\xa0", &cp850), "wa\u{fffd}b\u{fffd}");
    }

    #[test]
    fn trail_bytes_are_no_quotes() {
        let gbk = session(0, 28, 80_036, false);
        assert_eq!(tokens(b"'\xbf\x5c' a", &gbk).rsplit(' ').next(), Some("wa"));
        assert_eq!(tokens(b"`\x81\x60` a", &gbk).rsplit(' ').next(), Some("wa"));
        assert_eq!(tokens(b"'\xbf\x5c' a", &session(0, 45, 80_036, false)).rsplit(' ').next(), Some("String!"));
    }
}
