//! An input: two bytes that choose the session, then the statement.

use crate::ddl::{Context, Reader};

/// Collations of one client character set of each kind that the lexer tells apart.
const COLLATIONS: [u16; 8] = [45, 8, 28, 1, 13, 248, 63, 3];
/// Versions around the borders of what the servers read differently.
const SERVERS: [(u32, bool); 6] =
    [(50_624, false), (50_729, false), (80_036, false), (90_704, false), (101_119, true), (110_402, true)];

pub(crate) fn session(data: &[u8]) -> Option<(Context<'static>, Reader, &[u8])> {
    let (&[first, second], sql) = data.split_first_chunk()?;
    let mut sql_mode = 0;
    for (bit, mode) in [(1, 1 << 2), (2, 1 << 20), (4, 1 << 9), (8, 1 << 3)] {
        if first & bit != 0 {
            sql_mode |= mode;
        }
    }
    let (version, mariadb) = SERVERS[usize::from(first >> 4) % SERVERS.len()];
    let client_collation = COLLATIONS[usize::from(second & 7)];
    let default_database = if second & 8 == 0 { "shop" } else { "" };
    let context = Context { default_database, sql_mode, client_collation, version, mariadb };
    let (version, mariadb) = SERVERS[usize::from(second >> 5) % SERVERS.len()];
    Some((context, Reader { mariadb, version: (second & 16 != 0).then_some(version) }, sql))
}
