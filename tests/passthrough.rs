//! A transparent route passes every byte of every real file.

use std::sync::Arc;

use replproxy::pipeline::rules::RuleSet;
use replproxy::rewrite::{Summary, rewrite};

use crate::corpus;

/// Files before binlog version 4, which no supported server writes: refused by name, not passed on.
fn is_too_old(name: &str) -> bool {
    name.starts_with("4.")
}

#[test]
fn every_good_file_comes_out_byte_for_byte() {
    let mut wrong = Vec::new();
    for (name, bytes) in corpus::binlogs("").into_iter().filter(|(name, _)| !is_too_old(name)) {
        let (mut out, mut summary) = (Vec::new(), Summary::default());
        let ended = rewrite(&bytes[..], name.as_bytes(), Arc::new(RuleSet::transparent()), &mut out, &mut summary);
        if let Err(error) = ended {
            wrong.push(format!("{name}: {error}"));
        } else if out != bytes {
            wrong.push(format!("{name}: differs ({} bytes in, {} out)", bytes.len(), out.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_before_version_4_are_refused_with_their_version() {
    for (name, bytes) in corpus::binlogs("").into_iter().filter(|(name, _)| is_too_old(name)) {
        let mut out = Vec::new();
        let ended =
            rewrite(&bytes[..], name.as_bytes(), Arc::new(RuleSet::transparent()), &mut out, &mut Summary::default());
        let error = ended.expect_err(&name).to_string();
        assert!(error.contains("START_V3") || error.contains("not supported"), "{name}: {error}");
    }
}
