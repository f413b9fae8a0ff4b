//! The log: lines on stderr, level by `--log` or `REPLPROXY_LOG`, and peer text made harmless.

use std::fmt::{self, Write as _};

use tracing_subscriber::EnvFilter;

/// How many characters of a peer's text go into one log line or status field.
const MAX_PEER_TEXT: usize = 512;

/// Text that came from a peer (names, statements, the words of a server), for logs and terminals: control characters,
/// direction overrides and line breaks are escaped, and what is longer than 512 characters is cut.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, character) in self.0.chars().enumerate() {
            if index == MAX_PEER_TEXT {
                return formatter.write_char('…');
            }
            let steers =
                matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if character.is_control() || steers {
                write!(formatter, "{}", character.escape_default())?;
            } else {
                formatter.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// The log level is not one that the log knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a log level: use error, warn, info, debug, trace, or `module=level` pairs with commas")]
pub struct LogLevelInvalid(pub String);

/// Sends log lines to stderr. `filter` is a level or a list of `module=level` pairs. A second call changes nothing.
pub fn init_logs(filter: &str) -> Result<(), LogLevelInvalid> {
    // The filter's own parser takes a misspelled level for a module's name and logs nothing at all.
    let known = |word: &str| word.parse::<tracing::level_filters::LevelFilter>().is_ok();
    if filter.split(',').any(|part| !part.contains(['=', '[']) && !known(part.trim())) {
        return Err(LogLevelInvalid(filter.to_owned()));
    }
    let filter = EnvFilter::builder().parse(filter).map_err(|_| LogLevelInvalid(filter.to_owned()))?;
    // Only tests start the log twice in a process; the first one wins.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_text_cannot_forge_a_log_line_or_steer_a_terminal() {
        let forged = "db\n2026-01-01 ERROR all lost \u{1b}[31m \u{202e}";
        let shown = Escaped(forged).to_string();
        assert!(!shown.chars().any(|character| character.is_control() || character == '\u{202e}'), "{shown:?}");
        assert!(shown.contains("\\n"));
    }

    #[test]
    fn long_peer_text_is_cut() {
        let shown = Escaped(&"x".repeat(MAX_PEER_TEXT * 2)).to_string();
        assert_eq!(shown.chars().count(), MAX_PEER_TEXT + 1);
        assert!(shown.ends_with('…'));
    }

    #[test]
    fn a_log_level_that_does_not_exist_is_refused() {
        assert!(init_logs("chatty").is_err());
        assert!(init_logs("info,replproxy=chatty").is_err());
    }
}
