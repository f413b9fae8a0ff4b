//! What a server has in some databases, as it shows it.

use std::collections::BTreeMap;

use super::lab::Lab;
use super::names::quoted;

/// What a world holds: type and name of each object (as in the world), and how the server shows it.
pub(super) type World = BTreeMap<(&'static str, String, String), String>;

impl Lab<'_> {
    /// Everything in a database.
    pub(super) async fn show(&mut self, database: &str, world: &mut World) {
        let Ok(tables) = self.run(&format!("SHOW FULL TABLES FROM {}", quoted(database))).await else { return };
        if self.run(&format!("USE {}", quoted(database))).await.is_err() {
            return;
        }
        for row in 0..tables.rows.len() {
            let name = tables.text(row, 0).unwrap_or_default();
            let view = tables.text(row, 1).is_some_and(|kind| kind.contains("VIEW"));
            let question = format!("SHOW CREATE {} {}", if view { "VIEW" } else { "TABLE" }, quoted(&name));
            self.keep(world, "table", database, &name, &question, 1).await;
        }
        let named = [
            ("trigger", "TRIGGER", format!("SHOW TRIGGERS FROM {}", quoted(database)), "Trigger", 2),
            ("procedure", "PROCEDURE", format!("SHOW PROCEDURE STATUS WHERE Db = '{database}'"), "Name", 2),
            ("function", "FUNCTION", format!("SHOW FUNCTION STATUS WHERE Db = '{database}'"), "Name", 2),
            ("event", "EVENT", format!("SHOW EVENTS FROM {}", quoted(database)), "Name", 3),
        ];
        let tables_only = matches!(
            self.kind,
            "create_table"
                | "alter_table"
                | "create_view"
                | "create_index"
                | "drop_index"
                | "rename_table"
                | "truncate"
        );
        for (kind, word, list, column, value) in named {
            // The lists are slow, and most statements can only have changed tables.
            if tables_only {
                break;
            }
            let Ok(found) = self.run(&list).await else { continue };
            let Some(column) = found.column(column) else { continue };
            for row in 0..found.rows.len() {
                let name = found.text(row, column).unwrap_or_default();
                let question = format!("SHOW CREATE {word} {}", quoted(&name));
                self.keep(world, kind, database, &name, &question, value).await;
            }
        }
    }

    async fn keep(
        &mut self,
        world: &mut World,
        kind: &'static str,
        database: &str,
        name: &str,
        question: &str,
        column: usize,
    ) {
        let shown = match self.run(question).await {
            Ok(answer) => answer.text(0, column).unwrap_or_default(),
            Err((code, message)) => format!("error {code}: {message}"),
        };
        world.insert((kind, database.to_owned(), name.to_owned()), shown);
    }
}
