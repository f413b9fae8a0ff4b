//! An event as a line.

use std::fmt;

use serde_json::Value;

use super::{Described, Row};
use crate::telemetry::Escaped;

/// Characters of a statement in a line; JSON has more.
const SQL_SHOWN: usize = 200;

impl fmt::Display for Described {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = self.position.map_or_else(|| "-".to_owned(), |position| position.to_string());
        let (event_type, size, server_id, checksum) = (&self.event_type, self.size, self.server_id, self.checksum);
        let indent = "  ".repeat(self.depth);
        write!(
            formatter,
            "{position:>10} {indent}{event_type:<20} size={size} server={server_id} checksum={checksum}"
        )?;
        if !self.flags.is_empty() {
            write!(formatter, " flags={}", self.flags.join("|"))?;
        }
        for (name, text) in [("gtid", &self.gtid), ("database", &self.database), ("table", &self.table)] {
            if let Some(text) = text {
                write!(formatter, " {name}={}", Escaped(text))?;
            }
        }
        for (name, value) in &self.detail {
            match value {
                Value::String(text) => write!(formatter, " {name}={}", Escaped(text))?,
                other => write!(formatter, " {name}={other}")?,
            }
        }
        if let Some(damage) = &self.damage {
            write!(formatter, " DAMAGED: {}", Escaped(damage))?;
        }
        match (&self.sql, self.sql_bytes) {
            (Some(sql), _) => {
                let shown: String = sql.chars().take(SQL_SHOWN).collect();
                let more = if shown.len() < sql.len() { "…" } else { "" };
                write!(formatter, " sql: {}{more}", Escaped(&shown))?;
            }
            (None, Some(length)) => write!(formatter, " sql_bytes={length}")?,
            (None, None) => {}
        }
        for row in self.rows.iter().flatten() {
            write!(formatter, "\n{:>10} {indent}  {row}", "")?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match (&self.before, &self.after) {
            (Some(_), Some(_)) => "update",
            (Some(_), None) => "delete",
            (None, _) => "insert",
        };
        write!(formatter, "{verb}")?;
        for (side, image) in [("before", &self.before), ("after", &self.after)] {
            let Some(image) = image else { continue };
            write!(formatter, " {side}")?;
            for (column, value) in image.columns() {
                // JSON's own quotes and escapes keep a value on its line.
                write!(formatter, " {}={value}", Escaped(column))?;
            }
        }
        Ok(())
    }
}
