//! How a fault is told to a replica: the number that says whether it shall stop, and a text that fits into what it shows.

use super::handshake::err_packet;
use crate::fault::{Code, Fault};

/// How much of an error's text replicas show: MySQL 5.6 and MariaDB 320 bytes (`%-.320s`), MySQL 5.7 and later 512.
pub(crate) const SHORT_ERROR_TEXT: usize = 320;
pub(crate) const LONG_ERROR_TEXT: usize = 500;

/// With these words sources since MySQL 5.7 begin to name the transactions that are purged, at the end of a long text.
const MISSING: &str = "missing transactions are '";

/// With these words the rule follows that decided to stop, at the end of a text.
const RULE: &str = "(rule ";

/// The text of an error packet: code and message, cut so that the next step still fits where it can. A source's own words
/// come first, because people and programs know them.
pub(crate) fn error_text(fault: &Fault, limit: usize) -> String {
    if let Some(words) = &fault.source_words {
        let code = format!(" ({})", fault.code);
        let next = format!(" ({}, next: {})", fault.code, fault.next_step());
        let tail = if next.len() <= limit / 2 { next } else { code };
        return shorten(words, limit.saturating_sub(tail.len())) + &tail;
    }
    let next = format!(" (next: {})", fault.next_step());
    let head = format!("{}: {}", fault.code, fault.message);
    if head.len() + next.len() <= limit {
        return head + &next;
    }
    let room = limit.saturating_sub(next.len());
    // Half a message and the next step say more than a whole message without it, as long as there is half a message.
    if room >= limit / 2 { shorten(&head, room) + &next } else { head[..head.floor_char_boundary(limit)].to_owned() }
}

/// At most `room` bytes of a text. Which transactions are missing and which rule decided is kept, wherever the text says it.
fn shorten(text: &str, room: usize) -> String {
    const LEFT_OUT: &str = "… ";
    let cut = |text: &str, room: usize| {
        let end = text.floor_char_boundary(room.saturating_sub('…'.len_utf8()));
        format!("{}…", &text[..end])
    };
    let tail = text.find(MISSING).or_else(|| text.rfind(RULE)).map_or("", |at| &text[at..]);
    match tail.len() {
        _ if text.len() <= room => text.to_owned(),
        0 => cut(text, room),
        length => {
            let tail = if length > room / 2 { cut(tail, room / 2) } else { tail.to_owned() };
            let end = text.floor_char_boundary(room.saturating_sub(tail.len() + LEFT_OUT.len()));
            format!("{}{LEFT_OUT}{tail}", &text[..end])
        }
    }
}

/// `ER_MASTER_FATAL_ERROR_READING_BINLOG`: a replica stops for good and shows the text.
const FATAL: u16 = 1236;

/// The error number that tells a replica to stop (1236), or nothing where it shall come back by itself.
pub(crate) fn fatal_number(code: Code) -> Option<u16> {
    match code {
        Code::SourceRefusedDump
        | Code::SourcePrivileges
        | Code::SourceVersion
        | Code::SourceNotLogging
        | Code::ServerChanged
        | Code::EventDamaged
        | Code::ReplicaPosition
        | Code::ReplicaRulesChanged
        | Code::ReplicaUnfit
        | Code::ReplicaTwice
        | Code::ReplicaPartial
        | Code::PositionTooLarge
        | Code::ReplicaDuplicate
        | Code::ReplicaProtocol
        | Code::StatementStopped
        | Code::StatementUnknown
        | Code::StreamNotUnderstood
        | Code::NameUnmappable
        | Code::EventTooLarge
        | Code::LimitReached
        | Code::HistoryUnknown
        | Code::ConfigurationInvalid => Some(FATAL),
        _ => None,
    }
}

/// How errors are told to one replica.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ErrorStyle {
    /// How much of a text it shows (bytes).
    pub(crate) limit: usize,
    /// What a source says to a replica of a transparent route is passed on as it came, like its events.
    pub(crate) transparent: bool,
}

/// The payload of an error packet: 1236 where the replica shall stop, 1105 where it shall try again (replicas write
/// its text to their error log and connect anew).
pub(crate) fn fault_packet(fault: &Fault, style: ErrorStyle) -> Vec<u8> {
    let number = fatal_number(fault.code).unwrap_or(1105);
    let text = match &fault.source_words {
        Some(words) if style.transparent && !is_purged(words) => words.clone(),
        _ => error_text(fault, style.limit),
    };
    err_packet(number, Some(b"HY000"), &text)
}

/// Whether the source says that what the replica needs is there no more: then the replica's operator has to act, and hears how.
fn is_purged(words: &str) -> bool {
    words.contains("purged") || words.starts_with("Could not find first log file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sources_own_words_come_first_and_through_a_transparent_route_alone() {
        let fault = |words: &str| Fault::new(Code::SourceRefusedDump, "source `primary` …").with_source_words(words);
        let told = |fault: &Fault, transparent| {
            let packet = fault_packet(fault, ErrorStyle { limit: SHORT_ERROR_TEXT, transparent });
            // After 0xff, the number, `#` and the state.
            String::from_utf8(packet[9..].to_vec()).expect("UTF-8")
        };
        let truncated = fault("binlog truncated in the middle of event; consider out of disk space on master");
        assert_eq!(Some(&told(&truncated, true)), truncated.source_words.as_ref());
        for (fault, transparent) in [
            (&truncated, false),
            (&fault("Could not find first log file name in binary log index file"), true),
            (&fault("Cannot replicate because the source purged required binary logs."), true),
        ] {
            let (text, words) = (told(fault, transparent), fault.source_words.as_deref().expect("words"));
            assert!(text.starts_with(words) && text[words.len()..].starts_with(" (RPX-2006, next: "), "{text}");
        }
        let text = told(&fault(&"x".repeat(2 * SHORT_ERROR_TEXT)), false);
        assert!(text.len() <= SHORT_ERROR_TEXT && text.starts_with("xxx") && text.contains("… (RPX-2006"), "{text}");
    }

    fn refused(missing: &str) -> Fault {
        let words = format!(
            "{} The GTID set sent by the slave is '', and the missing transactions are '{missing}'.",
            "x".repeat(400)
        );
        Fault::new(
            Code::SourceRefusedDump,
            format!("source `primary` (db:3306) ended the stream: {words} (error 1236)"),
        )
        .with_source_words(words)
    }

    #[test]
    fn a_text_that_is_cut_keeps_the_rule_and_the_next_step() {
        let message = format!(
            "at b.000001:4 of the source: statement \"CREATE TABLE {}\": why (rule ddl.online_ddl)",
            "x".repeat(400)
        );
        for limit in [SHORT_ERROR_TEXT, LONG_ERROR_TEXT] {
            let text = error_text(&Fault::new(Code::StatementStopped, message.clone()), limit);
            assert!(text.len() <= limit && text.starts_with("RPX-4001: at b.000001:4 "), "{text}");
            assert!(text.contains("… (rule ddl.online_ddl) (next: ") && text.ends_with(')'), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_cut_keeps_the_missing_transactions_and_the_next_step() {
        let set = "ca153f24-e68f-11f1-8ee2-02fc00000001:1-3";
        let text = error_text(&refused(set), LONG_ERROR_TEXT);
        assert!(text.len() <= LONG_ERROR_TEXT && text.starts_with("xxx"), "{text}");
        assert!(text.contains(&format!("xx… missing transactions are '{set}'. (RPX-2006, next: ")), "{text}");
        let text = error_text(&refused(&format!("{set},").repeat(20)), LONG_ERROR_TEXT);
        assert!(
            text.len() <= LONG_ERROR_TEXT && text.contains(&format!("xx… missing transactions are '{set},{set}")),
            "{text}"
        );
    }

    #[test]
    fn a_text_that_is_cut_ends_before_the_next_step() {
        let fault = Fault::new(Code::SourceLost, "ä".repeat(400));
        let text = error_text(&fault, LONG_ERROR_TEXT);
        assert!(text.len() <= LONG_ERROR_TEXT && text.contains("ä… (next: "), "{text}");
    }
}
