//! The lexer against the servers' own: texts of quotes, escapes, comments and characters of many bytes, made at random.
//!
//! Each text reads a table whose name stands at its end, after literals and comments that a wrong reading would run
//! over. The server answers with the name that it looked for, or refuses the text. What it looked for must be what the
//! analyser names. A failure prints the text and the session.

use std::collections::BTreeSet;

use replproxy::ddl::{Context, ObjectType, analyze};
use replproxy::source::{Client, SourceError};

use crate::ddl_hostile::Seeded;
use crate::support::fleet::Version;
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;

/// Texts of one session.
const TEXTS: usize = 400;

const MODES: [(&str, u64); 5] = [
    ("", 0),
    ("ANSI_QUOTES", 1 << 2),
    ("NO_BACKSLASH_ESCAPES", 1 << 20),
    ("ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT", (1 << 2) | (1 << 20) | 2),
    ("IGNORE_SPACE,PIPES_AS_CONCAT", 8 | 2),
];

/// Character sets of clients with the id of one of their collations, and characters in them: some end in a byte that is
/// a backslash, a backquote or a letter.
const CHARSETS: [(&str, u16, &[&[u8]]); 8] = [
    ("utf8mb4", 45, &["é".as_bytes(), "\u{4e2d}".as_bytes()]),
    ("latin1", 8, &[b"\xe9", b"\xbf", b"\xfe"]),
    ("gbk", 28, &[b"\xbf\x5c", b"\x81\x60", b"\x81\x7c", b"\xd6\xd0", b"\xd5\x5c"]),
    ("big5", 1, &[b"\xa5\x5c", b"\xae\x60", b"\xa4\xa4", b"\xb3\x5c"]),
    ("sjis", 13, &[b"\x83\x5c", b"\x83\x60", b"\x92\x86", b"\xb1", b"\x95\x5c"]),
    ("cp932", 95, &[b"\x83\x5c", b"\x95\x5c", b"\x92\x86", b"\xb1"]),
    ("gb18030", 248, &[b"\xbf\x5c", b"\x81\x60", b"\xd6\xd0", b"\x81\x30\x84\x36"]),
    ("cp1251", 51, &[b"\xe9", b"\xff", b"\xa0"]),
];

/// A literal, a comment or an alias, from pieces that are taken for something else if read wrongly.
fn piece(random: &mut Seeded, characters: &[&[u8]], text: &mut Vec<u8>) {
    let quotes: [&[u8]; 6] = [b"'", b"\"", b"`", b"'", b"/*", b"/*!"];
    let open = quotes[random.below(quotes.len())];
    match open {
        b"`" => text.extend_from_slice(b"1 AS "),
        b"/*" | b"/*!" => text.extend_from_slice(b"2 "),
        _ => {}
    }
    text.extend_from_slice(open);
    if open == b"/*!" {
        let versions: [&[u8]; 9] =
            [b"", b"40000", b"50700", b"80000", b"080000 ", b"0800001", b"90800", b"100100", b"999999"];
        text.extend_from_slice(versions[random.below(versions.len())]);
        text.extend_from_slice(b" + 3");
    }
    let inside: [&[u8]; 16] = [
        b"\\", b"\\", b"''", b"\"\"", b"``", b"a", b"z ", b"-- ", b"#", b"/*", b"%", b"\\'", b"\\\"", b"0", b".", b"; ",
    ];
    for _ in 0..random.below(5) {
        if random.below(2) == 0 {
            text.extend_from_slice(characters[random.below(characters.len())]);
        } else {
            text.extend_from_slice(inside[random.below(inside.len())]);
        }
    }
    match open {
        b"/*" | b"/*!" => text.extend_from_slice(b" */"),
        quote => text.extend_from_slice(quote),
    }
    if random.below(8) == 0 {
        text.extend_from_slice(b" -- '\n");
    }
}

fn name(random: &mut Seeded, characters: &[&[u8]], text: &mut Vec<u8>) {
    let quoted = random.below(2) == 0;
    if quoted {
        text.push(b'`');
    }
    text.extend_from_slice(b"q");
    for _ in 0..random.below(4) {
        if random.below(3) > 0 {
            text.extend_from_slice(characters[random.below(characters.len())]);
        } else {
            text.extend_from_slice(if quoted { b"` -'"[..].split_at(1).1 } else { b"_z" });
        }
    }
    if quoted {
        text.push(b'`');
    }
}

fn statement(random: &mut Seeded, characters: &[&[u8]]) -> Vec<u8> {
    let mut text = b"INSERT INTO sink SELECT ".to_vec();
    for number in 0..=random.below(3) {
        if number > 0 {
            text.extend_from_slice(b" , ");
        }
        piece(random, characters, &mut text);
    }
    text.extend_from_slice(b" FROM ");
    name(random, characters, &mut text);
    if random.below(3) == 0 {
        text.extend_from_slice(b" WHERE ");
        piece(random, characters, &mut text);
    }
    text
}

/// The name that a server looked for: `Table 'd.q' doesn't exist`.
fn looked_for(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("Table 'lexing.")?;
    rest.strip_suffix("' doesn't exist").or_else(|| rest.strip_suffix("' doesn't exist in engine"))
}

async fn the_server_reads_what_we_read(version: Version, number: u32, charsets: &[&str]) {
    let started = Server::start(version, ServerOptions::new().without_binlog()).await;
    let Some(server) = unless_available(started) else { return };
    let mut client: Client = super::exactness::root(&server).await;
    for sql in ["CREATE DATABASE lexing", "USE lexing", "CREATE TABLE sink (a TEXT)"] {
        client.query(sql).await.expect("the server takes the set-up");
    }
    let mut random = Seeded(0x5EED_0003);
    let (mut read, mut refused, mut wrong) = (0_usize, 0_usize, Vec::new());
    for (charset, client_collation, characters) in CHARSETS.iter().filter(|(name, ..)| charsets.contains(name)) {
        client.query(&format!("SET NAMES {charset}")).await.expect("the server has the character set");
        client.query("SET character_set_results = utf8").await.expect("results are UTF-8");
        for (mode, sql_mode) in MODES {
            client.query(&format!("SET sql_mode = '{mode}'")).await.expect("the server has the mode");
            let session = Context {
                default_database: "lexing",
                sql_mode,
                client_collation: *client_collation,
                version: number,
                mariadb: version.is_mariadb(),
            };
            for _ in 0..TEXTS {
                let text = statement(&mut random, characters);
                let found = analyze(&text, &session);
                let message = match client.query_bytes(&text).await {
                    Err(SourceError::Refused { code: 1146, message, .. }) => message,
                    Err(SourceError::Refused { .. }) | Ok(_) => {
                        refused += 1;
                        continue;
                    }
                    Err(error) => panic!("{error} for {text:x?}"),
                };
                let Some(name) = looked_for(&message) else { continue };
                read += 1;
                let tables = found.objects.iter().filter(|object| object.object_type == ObjectType::Table);
                let names: BTreeSet<&str> = tables.map(|object| object.name.as_str()).collect();
                if found.doubt.is_none() && !names.contains(name) {
                    let shown = text.escape_ascii().to_string();
                    wrong.push(format!("{charset} {mode:?}: {name:?} and not {names:?} in {shown}"));
                } else if found.doubt.is_some() {
                    let shown = text.escape_ascii().to_string();
                    wrong.push(format!("{charset} {mode:?}: {:?} for {name:?} in {shown}", found.doubt));
                }
            }
        }
    }
    println!("{}: {read} texts read, {refused} refused, {} read otherwise", version.name(), wrong.len());
    assert!(read > refused / 4, "too few texts were read to tell");
    let first = wrong[..wrong.len().min(12)].join("\n");
    assert!(wrong.is_empty(), "{} texts are read otherwise:\n{first}", wrong.len());
}

#[tokio::test]
async fn mysql_57() {
    let charsets = ["utf8mb4", "latin1", "gbk", "big5", "sjis", "cp932", "gb18030", "cp1251"];
    the_server_reads_what_we_read(Version::Mysql57, 50_729, &charsets).await;
}

#[tokio::test]
async fn mysql_97() {
    let charsets = ["utf8mb4", "latin1", "gbk", "big5", "sjis", "cp932", "gb18030", "cp1251"];
    the_server_reads_what_we_read(Version::Mysql97, 90_704, &charsets).await;
}

#[tokio::test]
async fn mariadb_1011() {
    let charsets = ["utf8mb4", "latin1", "gbk", "big5", "sjis", "cp932", "cp1251"];
    the_server_reads_what_we_read(Version::Mariadb1011, 101_119, &charsets).await;
}
