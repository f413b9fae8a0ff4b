//! What to decode, as it stands on the command line.

use std::{path::PathBuf, str::FromStr, time::Duration};

use crate::{
    secret::Secret,
    source::{Endpoint, TlsMode},
};

/// Where the first event of a file is.
const FILE_START: u64 = 4;
const DEFAULT_PORT: u16 = 3306;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A file of a source and a position in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name; empty for the first file that the source has, or the file at hand.
    pub file: String,
    /// Where an event begins.
    pub position: u64,
}

/// What is decoded.
#[derive(Debug, Clone)]
pub enum Target {
    /// A binlog file.
    File(PathBuf),
    /// A running source, and where to begin if the URL says so.
    Source(Box<Endpoint>, Option<Place>),
}

/// Why an argument cannot be read. Passwords are not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not the form of a URL.
    #[error("a source is written as mysql://user:password@host:port/FILE:POS; {0}")]
    Url(&'static str),
    /// Not a position.
    #[error("a position is written as FILE:POS, FILE or POS, with POS from 4 on: {0:?}")]
    Place(String),
}

impl FromStr for Place {
    type Err = TargetError;

    /// `FILE:POS`, `FILE` (its beginning), or `POS` in the file at hand.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let bad = || TargetError::Place(text.to_owned());
        let position =
            |digits: &str| digits.parse::<u64>().ok().filter(|&position| position >= FILE_START).ok_or_else(bad);
        if text.is_empty() {
            return Err(bad());
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self { file: String::new(), position: position(text)? });
        }
        match text.rsplit_once(':') {
            Some((file, digits)) => Ok(Self { file: file.to_owned(), position: position(digits)? }),
            None => Ok(Self { file: text.to_owned(), position: FILE_START }),
        }
    }
}

impl Place {
    /// The beginning of the first file.
    pub fn beginning() -> Self {
        Self { file: String::new(), position: FILE_START }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    /// `mysql://…` is a source, everything else a file. `?tls=MODE&tls_ca=FILE` may follow.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let Some(rest) = text.strip_prefix("mysql://") else { return Ok(Self::File(text.into())) };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may hold an `@` that is not escaped; a host cannot.
        let (account, rest) = rest.rsplit_once('@').ok_or(TargetError::Url("there is no `@`"))?;
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, password) = account.split_once(':').unwrap_or((account, ""));
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| TargetError::Url("the port is no number"))?)
            }
            _ => (address, DEFAULT_PORT),
        };
        if host.is_empty() || user.is_empty() {
            return Err(TargetError::Url("user or host is missing"));
        }
        let mut endpoint = Endpoint {
            host: host.to_owned(),
            port,
            user: unescaped(user)?,
            password: Secret::new(unescaped(password)?),
            tls: TlsMode::Preferred,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            connect_timeout: CONNECT_TIMEOUT,
        };
        for option in query.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("tls", mode)) => {
                    endpoint.tls = match mode {
                        "disabled" => TlsMode::Disabled,
                        "preferred" => TlsMode::Preferred,
                        "required" => TlsMode::Required,
                        "verify-ca" => TlsMode::VerifyCa,
                        "verify-identity" => TlsMode::VerifyIdentity,
                        _ => {
                            let modes = "tls is disabled, preferred, required, verify-ca or verify-identity";
                            return Err(TargetError::Url(modes));
                        }
                    }
                }
                Some(("tls_ca", file)) => endpoint.tls_ca = Some(unescaped(file)?.into()),
                _ => return Err(TargetError::Url("only tls and tls_ca may stand behind the `?`")),
            }
        }
        let place = if path.is_empty() { None } else { Some(path.parse()?) };
        Ok(Self::Source(Box::new(endpoint), place))
    }
}

/// Text with `%41` for bytes.
fn unescaped(text: &str) -> Result<String, TargetError> {
    const BAD: TargetError = TargetError::Url("a `%` has no two hex digits behind it, or the bytes are not UTF-8");
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(BAD)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| BAD)?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_err(|_| BAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let source = |text: &str| match text.parse::<Target>() {
            Ok(Target::Source(endpoint, place)) => Ok((
                format!("{}|{}|{}", endpoint.user, endpoint.password.expose(), endpoint.address()),
                endpoint.tls,
                place.map(|place| (place.file, place.position)),
            )),
            Ok(Target::File(path)) => panic!("{path:?}"),
            Err(error) => Err(error),
        };
        let preferred = TlsMode::Preferred;
        assert_eq!(source("mysql://r:p@h:1"), Ok(("r|p|h:1".to_owned(), preferred, None)));
        assert_eq!(
            source("mysql://r:p%40%3a@x@[::1]:1/binlog.000002:120?tls=verify-ca&tls_ca=/a"),
            Ok(("r|p@:@x|[::1]:1".to_owned(), TlsMode::VerifyCa, Some(("binlog.000002".to_owned(), 120))))
        );
        assert_eq!(
            source("mysql://r@h/binlog.000002"),
            Ok(("r||h:3306".to_owned(), preferred, Some(("binlog.000002".to_owned(), 4))))
        );
        for bad in
            ["mysql://h", "mysql://r:p@h:x", "mysql://r:p@", "mysql://r:%zz@h", "mysql://r@h/f:1", "mysql://r@h?x=1"]
        {
            let error = source(bad).expect_err(bad);
            assert!(!error.to_string().contains("zz"), "{error}");
        }
        assert!(matches!("dir/binlog.000001".parse(), Ok(Target::File(_))));
    }

    #[test]
    fn places_are_files_positions_or_both() {
        let place = |text: &str| text.parse::<Place>().ok().map(|place| (place.file, place.position));
        assert_eq!(place("120"), Some((String::new(), 120)));
        assert_eq!(place("a:b.1:4"), Some(("a:b.1".to_owned(), 4)));
        assert_eq!(place("b.000001"), Some(("b.000001".to_owned(), 4)));
        assert_eq!((place(""), place("3"), place("a:"), place("a:x")), (None, None, None, None));
    }
}
