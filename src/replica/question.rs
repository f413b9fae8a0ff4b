//! Takes the text of a question apart: just enough of SQL to recognise what replicas and plain clients ask.
//!
//! Spellings differ in case, spaces and comments from version to version, so that the table of answers works on
//! [`Token`]s. Statements of the stream are never read here; that is the `ddl` module's work.

/// More tokens than any question has that the proxy answers; the rest of a longer text is not looked at.
const MAX_TOKENS: usize = 4096;

/// One word of a question with the place where it stands, so that column names can repeat the asker's spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    /// Offset of its first byte.
    pub(crate) start: usize,
    /// Offset behind its last byte.
    pub(crate) end: usize,
}

/// What a word is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A keyword or a bare name, in lower case.
    Word(String),
    /// A name in back quotes, as written.
    Name(String),
    /// A string in single or double quotes, escapes resolved.
    Text(String),
    /// Digits, perhaps with a point, sign excluded.
    Number(String),
    /// `@name`, in lower case.
    UserVariable(String),
    /// `@@name`, `@@global.name`, `@@session.name`, `@@local.name`: the name in lower case.
    SystemVariable {
        /// The variable.
        name: String,
        /// Whether the text says `global`.
        global: bool,
    },
    /// `:=`, or any single character that is none of the above.
    Mark(&'static str),
    /// A character that no question holds.
    Strange(char),
}

const MARKS: &[&str] = &[":=", "=", ",", ";", "(", ")", "*", ".", "-", "+", "<", ">", "!", "%", "/"];

/// The tokens of a text. Comments are skipped; `/*! … */` and `/*M! … */` are opened whatever their version says, as they hold
/// nothing but `SET` in what clients send.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = Scanner { text, offset: 0 };
    while tokens.len() < MAX_TOKENS {
        rest.skip_space_and_comments();
        let start = rest.offset;
        let Some(kind) = rest.token() else { break };
        tokens.push(Token { kind, start, end: rest.offset });
    }
    tokens
}

struct Scanner<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.offset..]
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\0');
            self.offset += rest.len() - trimmed.len();
            let skipped = if trimmed.starts_with("/*!") || trimmed.starts_with("/*M!") {
                let mark = if trimmed.starts_with("/*!") { 3 } else { 4 };
                mark + trimmed[mark..].bytes().take_while(u8::is_ascii_digit).count()
            } else if let Some(inside) = trimmed.strip_prefix("/*") {
                inside.find("*/").map_or(trimmed.len(), |at| at + 4)
            } else if trimmed.starts_with("*/") {
                2
            } else if trimmed.starts_with('#')
                || trimmed == "--"
                || trimmed.starts_with("--") && trimmed[2..].starts_with(char::is_whitespace)
            {
                trimmed.find('\n').map_or(trimmed.len(), |at| at + 1)
            } else {
                return;
            };
            self.offset += skipped;
        }
    }

    fn token(&mut self) -> Option<TokenKind> {
        let rest = self.rest();
        let first = rest.chars().next()?;
        Some(match first {
            '`' => TokenKind::Name(self.quoted('`', false)),
            '\'' | '"' => TokenKind::Text(self.quoted(first, true)),
            '@' => self.variable(),
            '0'..='9' => {
                let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'.').count();
                self.offset += length;
                TokenKind::Number(rest[..length].to_owned())
            }
            _ if is_name(first) => TokenKind::Word(self.name().to_ascii_lowercase()),
            _ => {
                if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
                    self.offset += mark.len();
                    TokenKind::Mark(mark)
                } else {
                    self.offset += first.len_utf8();
                    TokenKind::Strange(first)
                }
            }
        })
    }

    fn name(&mut self) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        self.offset += length;
        &rest[..length]
    }

    /// After `@`: a user variable, or with a second `@` a system variable.
    fn variable(&mut self) -> TokenKind {
        self.offset += 1;
        if !self.rest().starts_with('@') {
            let name = match self.rest().chars().next() {
                Some(quote @ ('`' | '\'' | '"')) => self.quoted(quote, quote != '`'),
                _ => self.name().to_owned(),
            };
            return TokenKind::UserVariable(name.to_ascii_lowercase());
        }
        self.offset += 1;
        let (mut global, mut name) = (false, self.system_name());
        while self.rest().trim_start().starts_with('.') {
            let gap = self.rest().len() - self.rest().trim_start().len();
            self.offset += gap + 1;
            self.skip_space_and_comments();
            global |= name == "global";
            let scope = matches!(name.as_str(), "global" | "session" | "local" | "persist" | "persist_only");
            let part = self.system_name();
            name = if scope { part } else { format!("{name}.{part}") };
            if part_is_missing(&name) {
                break;
            }
        }
        TokenKind::SystemVariable { name, global }
    }

    fn system_name(&mut self) -> String {
        if self.rest().starts_with('`') {
            self.quoted('`', false).to_ascii_lowercase()
        } else {
            self.name().to_ascii_lowercase()
        }
    }

    /// From the opening quote to the closing one or the text's end; a doubled quote stands for itself.
    fn quoted(&mut self, quote: char, escapes: bool) -> String {
        let mut value = String::new();
        let mut characters = self.rest().char_indices().skip(1).peekable();
        let mut length = self.rest().len();
        while let Some((at, character)) = characters.next() {
            if character == quote {
                if characters.peek().is_some_and(|&(_, next)| next == quote) {
                    characters.next();
                } else {
                    length = at + quote.len_utf8();
                    break;
                }
            } else if character == '\\' && escapes {
                if let Some((_, escaped)) = characters.next() {
                    match escaped {
                        'n' => value.push('\n'),
                        't' => value.push('\t'),
                        'r' => value.push('\r'),
                        '0' => value.push('\0'),
                        // In a pattern these keep their backslash: `\_` is a literal underscore.
                        '%' | '_' => value.extend(['\\', escaped]),
                        other => value.push(other),
                    }
                }
                continue;
            }
            value.push(character);
        }
        self.offset += length;
        value
    }
}

fn part_is_missing(name: &str) -> bool {
    name.is_empty() || name.ends_with('.')
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '$') || !character.is_ascii()
}

/// Whether `name` matches the pattern of a `LIKE`, without regard to case: `%` any run, `_` one character, `\` takes the next
/// as it is.
pub(crate) fn like(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.to_ascii_lowercase().chars().collect();
    let name: Vec<char> = name.to_ascii_lowercase().chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where the last `%` stands and what it has eaten so far: the only place to go back to.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let matched = match pattern.get(p) {
            Some('%') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some('_') => 1,
            Some('\\') if pattern.get(p + 1) == Some(&name[n]) => 2,
            Some(character) if *character == name[n] => 1,
            _ => 0,
        };
        if matched > 0 {
            p += matched;
            n += 1;
        } else if let Some((at, eaten)) = star {
            star = Some((at, eaten + 1));
            p = at + 1;
            n = eaten + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&character| character == '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        tokens(text).into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn variables_are_told_apart_in_every_spelling() {
        let system = |name: &str, global| TokenKind::SystemVariable { name: name.into(), global };
        assert_eq!(kinds("@@GLOBAL.Server_ID"), [system("server_id", true)]);
        assert_eq!(kinds("@@session . `sql_mode`"), [system("sql_mode", false)]);
        assert_eq!(kinds("@@version"), [system("version", false)]);
        assert_eq!(kinds("@Master_Heartbeat_Period"), [TokenKind::UserVariable("master_heartbeat_period".into())]);
        assert_eq!(kinds("@`x y`"), [TokenKind::UserVariable("x y".into())]);
    }

    #[test]
    fn strings_and_comments_do_not_leak() {
        let text = r#"SET /* a ' comment */ @a='it''s \'x\'', @b:="y""z" -- the end"#;
        assert_eq!(
            kinds(text),
            [
                TokenKind::Word("set".into()),
                TokenKind::UserVariable("a".into()),
                TokenKind::Mark("="),
                TokenKind::Text("it's 'x'".into()),
                TokenKind::Mark(","),
                TokenKind::UserVariable("b".into()),
                TokenKind::Mark(":="),
                TokenKind::Text("y\"z".into()),
            ]
        );
        assert_eq!(kinds("/*!40101 SET NAMES utf8 */").len(), 3);
    }

    #[test]
    fn any_text_ends() {
        for text in ["'", "\"\\", "`", "@", "@@", "@@.", "@@global.", "/*", "/*!", "--", "€§", "@'", "1e", "\\"] {
            tokens(text);
        }
    }

    #[test]
    fn like_follows_the_manual() {
        for (pattern, name, matches) in [
            ("SERVER_ID", "server_id", true),
            ("server\\_id", "server_id", true),
            ("server\\_id", "serverxid", false),
            ("%", "", true),
            ("%semi%master%", "rpl_semi_sync_master_enabled", true),
            ("version%", "version_comment", true),
            ("version", "version_comment", false),
            ("_ersion", "version", true),
            ("%a%b", "aab_ab", true),
            ("%a%b", "aab_a", false),
        ] {
            assert_eq!(like(pattern, name), matches, "{pattern} {name}");
        }
    }
}
