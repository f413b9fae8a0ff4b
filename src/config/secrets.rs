//! `password`, `password_env` or `password_file`.

use crate::fault::Code;
use crate::secret::Secret;

use super::problem::Problems;
use super::section::Section;
use super::{Purpose, Surroundings};

/// The longest password file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The one password of a section. Offline it is empty, and only the keys are checked.
pub(super) fn read(
    section: &mut Section<'_, '_>,
    surroundings: &Surroundings<'_>,
    problems: &mut Problems<'_>,
) -> Option<Secret> {
    const KEYS: [&str; 3] = ["password", "password_env", "password_file"];
    let given: Vec<_> = KEYS.into_iter().filter_map(|key| Some((key, section.value(key)?.span()))).collect();
    let (key, span) = match &given[..] {
        [] => {
            problems.report_missing(
                section.span.clone(),
                format!(
                    "{} has no password: give one of `password_env`, `password_file` and `password` (\"\" for an account without)",
                    section.name
                ),
            );
            return None;
        }
        [one] => one.clone(),
        [_, second, ..] => {
            let names = given.iter().map(|(key, _)| format!("`{key}`")).collect::<Vec<_>>().join(" and ");
            problems.report(second.1.clone(), format!("{} has {names}: give one of them", section.name));
            return None;
        }
    };
    let text = section.text(key, problems)?.value;
    if key == "password" {
        return Some(Secret::new(text));
    }
    if text.is_empty() {
        problems.report(span, format!("`{key}` is empty"));
        return None;
    }
    if surroundings.purpose == Purpose::Offline {
        return Some(Secret::default());
    }
    if key == "password_env" {
        return match (surroundings.environment)(&text) {
            Some(value) => Some(Secret::new(value)),
            None => {
                problems.report_as(
                    Code::SecretMissing,
                    span,
                    format!("the environment variable {text:?} of `password_env` is not set, or not UTF-8"),
                );
                None
            }
        };
    }
    let path = surroundings.path(&text);
    match read_file(&path) {
        Ok(password) => Some(Secret::new(password)),
        Err(error) => {
            problems.report_as(
                Code::SecretMissing,
                span,
                format!("the file {} of `password_file` cannot be read: {error}", path.display()),
            );
            None
        }
    }
}

/// The file's text without the line end that editors put there.
fn read_file(path: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other("it is too large for a password"));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
