//! The error catalogue in `src/ERRORS.md` is the one in the code. `UPDATE=1 cargo test catalogue` writes it anew.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use replproxy::fault::Code;

const PREFACE: &str = "# Error catalogue

Every error that replproxy shows, in logs, in `status`, on the command line, and in a replica's `Last_IO_Error`, begins
with one of these codes. Codes are stable and never reused. *Who* says who has to act: the source (or the way to it), the
replica, the configuration, or the proxy and its machine. The message after the code says what was found and where.

A test compares this table with `src/fault.rs`; `UPDATE=1 cargo test catalogue` writes it anew.

| code | who | what | next step |
|---|---|---|---|
";

fn catalogue() -> String {
    let mut text = PREFACE.to_owned();
    for code in Code::ALL {
        writeln!(text, "| {code} | {} | {} | {} |", code.origin(), code.title(), code.next_step()).unwrap();
    }
    text
}

#[test]
fn the_error_catalogue_is_the_one_in_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ERRORS.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, catalogue()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == catalogue(), "src/ERRORS.md is not what src/fault.rs says: run `UPDATE=1 cargo test catalogue`");
}

#[test]
fn every_error_has_its_own_code_in_the_block_of_who_has_to_act() {
    let mut seen = HashSet::new();
    for code in Code::ALL {
        let text = code.as_str();
        assert!(seen.insert(text), "{text} is used twice");
        let digits = text.strip_prefix("RPX-").expect("codes begin with RPX-");
        assert!(digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_digit()), "{text}");
        assert!(!code.title().is_empty() && !code.next_step().is_empty(), "{text} leaves the operator alone");
    }
}

#[test]
fn the_readme_links_the_catalogue() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    assert!(readme.contains("(src/ERRORS.md)"));
}
