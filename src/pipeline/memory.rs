//! What the rules made of tables and of transaction control that come again and again: a busy stream asks the rules once.
//!
//! Nothing here decides anything: what is remembered is what the rules said of the same bytes, and a new
//! FORMAT_DESCRIPTION, which says how bodies are laid out, starts an empty memory.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::binlog::{Event, EventType, TableMap};
use crate::ddl::Control;
use crate::fault::Code;

use super::rules::{RuleSet, Selection, name_fits};
use super::statement::{Opening, Outcome};
use super::stream::StreamError;

/// A source with more tables in use starts over from time to time. An entry takes at most some hundred bytes.
const MAX_TABLES: usize = 4096;
/// Sessions differ in their status variables; a busy source has few sorts of sessions.
const MAX_CONTROLS: usize = 8;
/// The longest body that is remembered: a BEGIN of a server has less than 200 bytes.
const MAX_BODY: usize = 512;
/// Where thread id and execution time of a QUERY end: what comes after them repeats.
const QUERY_CONSTANT_PART: usize = 8;

/// What the rules make of a table.
#[derive(Debug, Clone)]
pub(super) enum MappedTable {
    NotSelected,
    Unchanged,
    /// Both names as TABLE_MAP holds them: length, name, zero.
    Renamed(Vec<u8>),
}

/// A BEGIN, COMMIT or ROLLBACK, and what went out for it.
#[derive(Debug)]
struct KnownControl {
    /// The body without thread id and execution time.
    body: Bytes,
    /// The same part of what goes out; `None` where nothing changes.
    mapped: Option<Bytes>,
    control: Control,
    opening: Opening,
}

/// Two tables of the source whose rows go out under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedName {
    /// Both tables as `database.table`, sorted.
    pub tables: [String; 2],
}

/// What one stream remembers.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By both names as TABLE_MAP holds them.
    tables: HashMap<Box<[u8]>, MappedTable>,
    /// The first table of the source that came under a name, by both new names as TABLE_MAP holds them. Kept where entries can lead two
    /// tables to one name.
    comers: HashMap<Box<[u8]>, [String; 2]>,
    shared: Option<SharedName>,
    /// The newest first.
    controls: VecDeque<KnownControl>,
}

impl Memory {
    /// What the rules make of the table of a TABLE_MAP; `names` is the part of its body that holds both names.
    pub(super) fn table(
        &mut self,
        rules: &RuleSet,
        map: &TableMap<'_>,
        names: &[u8],
    ) -> Result<&MappedTable, StreamError> {
        if !self.tables.contains_key(names) {
            if self.tables.len() >= MAX_TABLES {
                self.tables.clear();
                self.comers.clear();
            }
            let mapped = ask(rules, map)?;
            match &mapped {
                MappedTable::Renamed(new) => self.comes_as(rules, map, new),
                MappedTable::Unchanged => self.comes_as(rules, map, names),
                MappedTable::NotSelected => {}
            }
            self.tables.insert(names.into(), mapped);
        }
        Ok(self.tables.get(names).unwrap_or(&MappedTable::NotSelected))
    }

    /// Notes under which name a table comes, and whether another one does.
    fn comes_as(&mut self, rules: &RuleSet, map: &TableMap<'_>, new: &[u8]) {
        if !rules.can_share_names() {
            return;
        }
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let table = [text(map.database), text(map.table)];
        match self.comers.get(new) {
            Some([database, name]) => {
                // One table can be spelled in several ways.
                if !(rules.same(database, &table[0]) && rules.same(name, &table[1])) {
                    let mut tables = [format!("{database}.{name}"), table.join(".")];
                    tables.sort();
                    self.shared = Some(SharedName { tables });
                }
            }
            None => {
                self.comers.insert(new.into(), table);
            }
        }
    }

    /// Two tables under one name that were met since the last call.
    pub(super) fn take_shared(&mut self) -> Option<SharedName> {
        self.shared.take()
    }

    /// What goes out for transaction control that has come before with the same bytes.
    pub(super) fn control(&self, event: &Event) -> Option<Outcome> {
        if event.event_type() != EventType::QUERY {
            return None;
        }
        let body = event.body();
        let constant = body.get(QUERY_CONSTANT_PART..)?;
        let known = self.controls.iter().find(|known| known.body == constant)?;
        let out = match &known.mapped {
            None => event.clone(),
            Some(mapped) => Event::build(*event.header(), &[&body[..QUERY_CONSTANT_PART], mapped], event.checksum()),
        };
        Some(Outcome {
            event: Some(out),
            control: Some(known.control),
            opening: known.opening,
            note: None,
            learned: None,
        })
    }

    /// Remembers what went out for transaction control that will come again.
    pub(super) fn keep_control(&mut self, event: &Event, outcome: &Outcome) {
        // XA statements name their transaction: they do not come again.
        let (Some(control @ (Control::Begin | Control::Commit | Control::Rollback)), Some(out)) =
            (outcome.control, &outcome.event)
        else {
            return;
        };
        let (before, after) = (event.body(), out.body());
        let (Some(before), Some(after)) = (before.get(QUERY_CONSTANT_PART..), after.get(QUERY_CONSTANT_PART..)) else {
            return;
        };
        if event.event_type() != EventType::QUERY || outcome.note.is_some() || before.len().max(after.len()) > MAX_BODY
        {
            return;
        }
        self.controls.truncate(MAX_CONTROLS - 1);
        let mapped = (before != after).then(|| Bytes::copy_from_slice(after));
        let body = Bytes::copy_from_slice(before);
        self.controls.push_front(KnownControl { body, mapped, control, opening: outcome.opening });
    }
}

/// Asks the rules about the table that a TABLE_MAP names.
fn ask(rules: &RuleSet, map: &TableMap<'_>) -> Result<MappedTable, StreamError> {
    let not_utf8 = |_| StreamError::NotUtf8(EventType::TABLE_MAP);
    let database = std::str::from_utf8(map.database).map_err(not_utf8)?;
    let table = std::str::from_utf8(map.table).map_err(not_utf8)?;
    let decision = rules.decide_table(database, table);
    // A route that begins while a schema change runs has not seen the statement that made the table.
    if decision.is_selected()
        && let Some(sentence) = rules.doubtful_excluded_shadow(database, table)
    {
        let (message, code) = (format!("{sentence} (rule ddl.online_ddl)"), Code::StatementStopped);
        return Err(StreamError::Stopped { message, code, behind: None });
    }
    Ok(match decision.selection {
        Selection::NotSelected => MappedTable::NotSelected,
        Selection::Selected { database: new_database, name } if new_database == database && name == table => {
            MappedTable::Unchanged
        }
        Selection::Selected { database: new_database, name } => {
            let mut names = counted_name(&new_database, database)?;
            names.extend_from_slice(&counted_name(&name, table)?);
            MappedTable::Renamed(names)
        }
    })
}

/// A name as TABLE_MAP holds it. A new one has to be a name that a server can have.
fn counted_name(name: &str, old: &str) -> Result<Vec<u8>, StreamError> {
    let too_long = || StreamError::NameTooLong(name.to_owned());
    if name != old && !name_fits(name) {
        return Err(too_long());
    }
    let length = u8::try_from(name.len()).map_err(|_| too_long())?;
    let mut bytes = Vec::with_capacity(name.len() + 2);
    bytes.push(length);
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::rules::tests::rules;

    #[test]
    fn a_new_name_that_no_server_can_have_does_not_go_out() {
        let rules = rules("table shop.* as shop.cn_*\ndb crm");
        for (database, name, fits) in [
            ("shop", "a".repeat(61), true),
            ("shop", "a".repeat(62), false),
            // The limit is in characters.
            ("shop", "\u{e9}".repeat(61), true),
            ("shop", "\u{e9}".repeat(62), false),
            // What has no other name passes as it is.
            ("crm", "a".repeat(65), true),
        ] {
            let map = TableMap {
                table_id: 1,
                flags: 0,
                database: database.as_bytes(),
                table: name.as_bytes(),
                names_offset: 0,
                columns_offset: 0,
            };
            let asked = ask(&rules, &map);
            assert_eq!(asked.is_ok(), fits, "{name}: {asked:?}");
        }
    }

    #[test]
    fn two_tables_under_one_name_are_noticed_once() {
        let table = |name: &'static str| -> (TableMap<'static>, Vec<u8>) {
            let (database, table) = name.split_once('.').unwrap();
            let names = [counted_name(database, database).unwrap(), counted_name(table, table).unwrap()].concat();
            let (database, table) = (database.as_bytes(), table.as_bytes());
            (TableMap { table_id: 1, flags: 0, database, table, names_offset: 0, columns_offset: 0 }, names)
        };
        for (objects, lower_case, tables, shared) in [
            (
                "db shop as cn\ntable crm.* as cn.x*",
                0,
                &["shop.xa", "crm.b", "shop.xa", "crm.a", "crm.a"][..],
                Some(["crm.a", "shop.xa"]),
            ),
            ("db shop as cn\ntable shop.a as cn.b", 0, &["shop.b", "shop.a"], Some(["shop.a", "shop.b"])),
            ("db shop as cn\ntable shop.a as cn.b\nnot shop.b", 0, &["shop.b", "shop.a"], None),
            ("db shop as cn\ndb crm", 0, &["shop.a", "crm.a"], None),
            ("db shop as cn\ntable crm.t as cn.t", 2, &["shop.A", "SHOP.A", "crm.t", "CRM.T"], None),
        ] {
            let rules = rules(objects).for_lower_case_table_names(lower_case);
            let mut memory = Memory::default();
            let mut met = Vec::new();
            for name in tables {
                let (map, names) = table(name);
                memory.table(&rules, &map, &names).unwrap();
                met.extend(memory.take_shared().map(|shared| shared.tables));
            }
            let expected: Vec<[String; 2]> = shared.iter().map(|pair| pair.map(str::to_owned)).collect();
            assert_eq!(met, expected, "{objects}");
        }
    }

    #[test]
    fn rows_that_may_be_an_excluded_tables_do_not_go_out() {
        let (long, short) = ("a".repeat(64), "b".repeat(59));
        let rules = rules(&format!("db shop\nnot shop.{long}\nnot shop.{short}\ntable shop._{}_del", "a".repeat(59)));
        for (name, goes_out) in [
            (format!("_{}_gho", &long[..59]), None),
            (format!("_{}", &long[..63]), None),
            (format!("_{}_del", &long[..59]), Some(true)),
            (format!("_{}_gho", &long[..58]), Some(true)),
            (format!("_{short}_gho"), Some(false)),
            (format!("_{}_gho", "c".repeat(59)), Some(true)),
        ] {
            let map = TableMap {
                table_id: 1,
                flags: 0,
                database: b"shop",
                table: name.as_bytes(),
                names_offset: 0,
                columns_offset: 0,
            };
            let asked = match ask(&rules, &map) {
                Ok(table) => Some(!matches!(table, MappedTable::NotSelected)),
                Err(error) => {
                    assert!(error.to_string().contains("which is excluded"), "{error}");
                    None
                }
            };
            assert_eq!(asked, goes_out, "{name}");
        }
    }
}
