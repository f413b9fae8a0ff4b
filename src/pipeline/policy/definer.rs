//! Another DEFINER for views, routines, triggers and events, or none.

use crate::ddl::{self, Context, Statement};

use super::settings::Definer;

/// Kinds of statements that can have a DEFINER. The servers log it, also where the user did not write it.
const KINDS: [&str; 8] = [
    "alter_event",
    "create_event",
    "create_function",
    "create_package",
    "create_package_body",
    "create_procedure",
    "create_trigger",
    "create_view",
];

/// The text that goes out with the route's DEFINER; `None` where nothing changes. `rewritten` is the text under its new names, where that is
/// another one.
pub(super) fn apply(
    definer: &Definer,
    statement: &Statement,
    sql: &[u8],
    rewritten: Option<&[u8]>,
    context: &Context<'_>,
) -> Option<Vec<u8>> {
    if *definer == Definer::Keep || !KINDS.contains(&statement.kind.0) {
        return None;
    }
    // Names before it (there are none today) would have moved it.
    let (text, place) = match rewritten {
        None => (sql, statement.definer.clone()?),
        Some(text) => (text, ddl::analyze(text, context).definer?),
    };
    let (front, old, back) = (text.get(..place.start)?, text.get(place.clone())?, text.get(place.end..)?);
    let new = match definer {
        Definer::Keep => return None,
        Definer::Strip if old.is_empty() => return None,
        Definer::Strip => return Some([front, back.trim_ascii_start()].concat()),
        Definer::Set(account) => format!("DEFINER={account}"),
    };
    let space: &[u8] = if old.is_empty() { b" " } else { b"" };
    let text_out = [front, new.as_bytes(), space, back].concat();
    (text_out != text).then_some(text_out)
}
