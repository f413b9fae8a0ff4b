//! Tokens lie inside the text, one after the other, and every byte between two of them was passed over on purpose.
#![no_main]

#[allow(dead_code, unused_imports, unreachable_pub, reason = "the crate's own module, of which a target uses a part")]
#[path = "../../../src/ddl/mod.rs"]
mod ddl;
mod input;

use std::ops::Range;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((context, _, sql)) = input::session(data) else { return };
    let mut last = 0;
    for Range { start, end } in ddl::lexemes(sql, &context).map(|lexeme| lexeme.span) {
        assert!(last <= start && start < end && end <= sql.len(), "a token at {start}..{end} after {last}");
        last = end;
    }
});
