//! The keys of `[routes.X.ddl]`.

use std::collections::BTreeSet;
use std::fmt;

/// What happens to a statement that a key speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Choice {
    /// It goes out.
    Forward,
    /// It does not go out; its GTID is still consumed.
    Skip,
    /// The route ends before it.
    Stop,
    /// It goes out, and the selection learns the new name. Of `rename_out` only.
    Follow,
    /// The work on a shadow table does not go out, and one ALTER TABLE does at the end. Of `online_ddl` only.
    Fold,
}

impl Choice {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Skip => "skip",
            Self::Stop => "stop",
            Self::Follow => "follow",
            Self::Fold => "fold",
        }
    }
}

/// What becomes of the DEFINER of views, routines, triggers and events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Definer {
    /// It goes out as it is.
    #[default]
    Keep,
    /// It does not go out.
    Strip,
    /// This account goes out instead.
    Set(Account),
}

/// An account as DEFINER names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    user: String,
    host: String,
}

/// The longest host name in an account.
const MAX_HOST: usize = 255;
/// The longest user name of any version (MariaDB's).
const MAX_USER: usize = 80;

impl Account {
    /// Reads `user@host`, each part as it is or in quotes; `None` where that is no account. Both are ASCII, so that every
    /// session's character set can express them.
    pub fn parse(text: &str) -> Option<Self> {
        let (user, host) = text.rsplit_once('@')?;
        let unquoted = |part: &str| {
            let part = part.trim();
            let inner = ['\'', '"', '`'].into_iter().find_map(|quote| part.strip_prefix(quote)?.strip_suffix(quote));
            inner.unwrap_or(part).to_owned()
        };
        let account = Self { user: unquoted(user), host: unquoted(host) };
        let fits = |part: &str, most: usize| {
            let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\'' | b'"' | b'`' | b'\\');
            !part.is_empty() && part.len() <= most && part.bytes().all(plain)
        };
        (fits(&account.user, MAX_USER) && fits(&account.host, MAX_HOST)).then_some(account)
    }
}

impl fmt::Display for Account {
    /// As the servers write it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`@`{}`", self.user, self.host)
    }
}

/// The policy of one route. [`Policy::default`] is what a route without a `ddl` section has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// DDL on the supported list: forward or skip.
    pub supported: Choice,
    /// Statements outside that list.
    pub unsupported: Choice,
    /// Statements that nobody can classify, or whose objects are not certain.
    pub unknown: Choice,
    /// RENAME of a selected table to a name that is not selected: stop, skip or follow.
    pub rename_out: Choice,
    /// RENAME of a table that is not selected to a selected name: stop or skip.
    pub rename_in: Choice,
    /// A kept statement that names an object that is not selected.
    pub reference: Choice,
    /// The shadow tables of gh-ost and pt-online-schema-change beside a table that is selected by a table rule: stop,
    /// forward or fold.
    pub online_ddl: Choice,
    /// The DEFINER of what is defined.
    pub definer: Definer,
    /// Kinds that are forwarded though they are not on the supported list.
    pub allow: BTreeSet<String>,
    /// Kinds that are skipped though they are on the supported list.
    pub deny: BTreeSet<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            supported: Choice::Forward,
            unsupported: Choice::Skip,
            unknown: Choice::Stop,
            rename_out: Choice::Stop,
            rename_in: Choice::Stop,
            reference: Choice::Stop,
            online_ddl: Choice::Stop,
            definer: Definer::Keep,
            allow: BTreeSet::new(),
            deny: BTreeSet::new(),
        }
    }
}
