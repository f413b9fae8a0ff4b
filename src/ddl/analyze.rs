//! The way into the analyser, with a short cut for the statements that frame every transaction.

use super::lexer::Rules;
use super::objects::Parser;
use super::{Class, Context, Control, Kind, Statement};

/// Kind, class and named objects of one statement. Never panics, linear in the length of `sql`.
pub fn analyze(sql: &[u8], context: &Context<'_>) -> Statement {
    if let Some((kind, control)) = framing(sql) {
        return Statement {
            kind: Kind(kind),
            class: Class::Transaction,
            objects: Vec::new(),
            derived: Vec::new(),
            items: Vec::new(),
            aliases: Vec::new(),
            control: Some(control),
            opens_transaction: false,
            temporary: false,
            definer: None,
            body_opaque: false,
            doubt: None,
        };
    }
    let rules = Rules::of(context);
    super::second_opinion::check(sql, context, rules, find(sql, context, rules))
}

/// What the finder alone makes of a statement.
pub(super) fn find(sql: &[u8], context: &Context<'_>, rules: Rules) -> Statement {
    let mut parser = Parser::new(sql, context, rules);
    parser.statement();
    parser.finish()
}

/// Transaction control as the servers themselves write it into their logs; other spellings take the long way.
fn framing(sql: &[u8]) -> Option<(&'static str, Control)> {
    let rest_is_identifier = |rest: &[u8]| {
        rest.iter().all(|byte| matches!(byte, b'\'' | b',' | b'X' | b'x' | b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F'))
            && rest.iter().filter(|&&byte| byte == b'\'').count() % 2 == 0
            && !rest.is_empty()
    };
    match sql {
        b"BEGIN" => Some(("begin", Control::Begin)),
        b"COMMIT" => Some(("commit", Control::Commit)),
        b"ROLLBACK" => Some(("rollback", Control::Rollback)),
        [b'X', b'A', b' ', rest @ ..] => {
            let forms: [(&[u8], &str, Control); 5] = [
                (b"START ", "xa_start", Control::XaStart),
                (b"END ", "xa_end", Control::XaEnd),
                (b"PREPARE ", "xa_prepare", Control::XaPrepare),
                (b"COMMIT ", "xa_commit", Control::XaCommit),
                (b"ROLLBACK ", "xa_rollback", Control::XaRollback),
            ];
            forms.into_iter().find_map(|(verb, kind, control)| {
                let identifier = rest.strip_prefix(verb)?;
                rest_is_identifier(identifier).then_some((kind, control))
            })
        }
        _ => None,
    }
}
