//! What is asked of the source: a handful of statements.

use std::collections::{BTreeMap, BTreeSet};

use super::Grants;
use super::databases::{self, Defaults};
use super::outside::{self, Detour, ForeignKey};
use crate::{
    pipeline::rules::{RuleSet, SYSTEM_SCHEMAS},
    source::{Client, Endpoint, ResultSet, SourceError, SourceFacts},
};

/// Databases in one statement.
pub(super) const BATCH: usize = 200;

/// A replica that the source knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredReplica {
    /// Its server id.
    pub server_id: u32,
    /// What it calls itself.
    pub host: String,
}

/// A table, as the account may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// Its engine; views have none.
    pub engine: Option<String>,
}

/// What a source said. What the account may not ask for is the server's refusal in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// `host:port`.
    pub address: String,
    /// Whether TLS protects the connection.
    pub secure: bool,
    /// Version and variables.
    pub facts: SourceFacts,
    /// The account's privileges.
    pub grants: Result<Grants, String>,
    /// SHOW REPLICAS.
    pub replicas: Result<Vec<RegisteredReplica>, String>,
    /// The source's `binlog_do_db` and `binlog_ignore_db`, as SHOW MASTER STATUS shows them.
    pub binlog_filters: Result<(Vec<String>, Vec<String>), String>,
    /// How many semi-synchronous replicas the source has, where it waits for them and says it.
    pub semi_sync_clients: Option<u32>,
    /// The databases that the account may see.
    pub databases: Result<Vec<String>, String>,
    /// What tables take from those of them that the route touches.
    pub defaults: Result<BTreeMap<String, Defaults>, String>,
    /// The tables of databases that the route touches; all that are not the server's own where it selects everything.
    pub tables: Result<Vec<Table>, String>,
    /// The foreign keys of selected tables on tables that are not selected.
    pub foreign_keys: Result<Vec<ForeignKey>, String>,
    /// Where changes are logged as statements: what may lead a statement from a table that is not selected to one that is.
    pub detours: Result<Vec<Detour>, String>,
}

/// Connects and asks. An error means that there is no usable connection.
pub async fn observe(endpoint: &Endpoint, rules: &RuleSet) -> Result<Observed, SourceError> {
    let mut client = Client::connect(endpoint).await?;
    let facts = SourceFacts::read(&mut client).await?;
    // Backslashes are then what names are escaped with, whatever the server's default says.
    client.query("SET SESSION sql_mode = '', sql_quote_show_create = 1").await?;
    let rules = rules.for_lower_case_table_names(facts.lower_case_table_names);
    let grants = words(grants(&mut client, &facts).await)?;
    let replicas = words(replicas(&mut client, &facts).await)?;
    let binlog_filters = words(binlog_filters(&mut client, &facts).await)?;
    let semi_sync_clients = match facts.semi_sync() {
        Some(true) => words(semi_sync_clients(&mut client).await)?.ok().flatten(),
        Some(false) | None => None,
    };
    let databases = words(names(&mut client).await)?;
    let (defaults, tables, foreign_keys) = match &databases {
        Ok(databases) => {
            let touched: BTreeSet<&String> = databases.iter().filter(|name| rules.database_touched(name)).collect();
            let touched: Vec<&String> = touched.into_iter().collect();
            let tables = words(tables(&mut client, &touched).await)?;
            let defaults = words(databases::defaults(&mut client, &touched).await)?;
            (defaults, tables, words(outside::foreign_keys(&mut client, &touched, &rules).await)?)
        }
        Err(refusal) => (Err(refusal.clone()), Err(refusal.clone()), Err(refusal.clone())),
    };
    let detours = words(outside::detours(&mut client, &facts, &rules).await)?;
    let observed = Observed {
        address: endpoint.address(),
        secure: client.is_secure(),
        facts,
        grants,
        replicas,
        binlog_filters,
        semi_sync_clients,
        databases,
        defaults,
        tables,
        foreign_keys,
        detours,
    };
    client.quit().await;
    Ok(observed)
}

/// The server's refusal of a statement is an observation; anything else ends the check.
fn words<T>(answer: Result<T, SourceError>) -> Result<Result<T, String>, SourceError> {
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(SourceError::Refused { message, .. }) => Ok(Err(message)),
        Err(error) => Err(error),
    }
}

async fn grants(client: &mut Client, facts: &SourceFacts) -> Result<Grants, SourceError> {
    let mut statement = "SHOW GRANTS FOR CURRENT_USER()".to_owned();
    if facts.version.is_mysql_since(80000) {
        // MySQL shows what roles give only when they are named.
        let roles = client.query("SELECT CURRENT_ROLE()").await?.single().unwrap_or_default();
        if !roles.is_empty() && !roles.eq_ignore_ascii_case("none") {
            statement.push_str(" USING ");
            statement.push_str(&roles);
        }
    }
    let answer = client.query(&statement).await?;
    let lines: Vec<String> = (0..answer.rows.len()).filter_map(|row| answer.text(row, 0)).collect();
    Ok(Grants::parse(lines.iter().map(String::as_str)))
}

async fn replicas(client: &mut Client, facts: &SourceFacts) -> Result<Vec<RegisteredReplica>, SourceError> {
    let statement = if facts.version.is_mysql_since(80022) { "SHOW REPLICAS" } else { "SHOW SLAVE HOSTS" };
    let answer = client.query(statement).await?;
    let column = |name| answer.column(name);
    let (Some(id), Some(host)) = (column("Server_Id"), column("Host")) else {
        return Ok(Vec::new());
    };
    Ok((0..answer.rows.len())
        .filter_map(|row| {
            let server_id = answer.text(row, id)?.parse().ok()?;
            Some(RegisteredReplica { server_id, host: answer.text(row, host).unwrap_or_default() })
        })
        .collect())
}

async fn binlog_filters(client: &mut Client, facts: &SourceFacts) -> Result<(Vec<String>, Vec<String>), SourceError> {
    let answer = client.query(facts.log_status_statement()).await?;
    let list = |name: &str| -> Vec<String> {
        let text = answer.column(name).and_then(|column| answer.text(0, column)).unwrap_or_default();
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    Ok((list("Binlog_Do_DB"), list("Binlog_Ignore_DB")))
}

async fn semi_sync_clients(client: &mut Client) -> Result<Option<u32>, SourceError> {
    let names = "'Rpl_semi_sync_source_clients', 'Rpl_semi_sync_master_clients'";
    let answer = client.query(&format!("SHOW GLOBAL STATUS WHERE Variable_name IN ({names})")).await?;
    Ok(answer.text(0, 1).and_then(|number| number.parse().ok()))
}

async fn names(client: &mut Client) -> Result<Vec<String>, SourceError> {
    let answer = client.query("SHOW DATABASES").await?;
    Ok((0..answer.rows.len())
        .filter_map(|row| answer.text(row, 0))
        .filter(|name| !SYSTEM_SCHEMAS.iter().any(|system| system.eq_ignore_ascii_case(name)))
        .collect())
}

async fn tables(client: &mut Client, databases: &[&String]) -> Result<Vec<Table>, SourceError> {
    let mut tables = Vec::new();
    for batch in databases.chunks(BATCH) {
        let list = batch.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",");
        let answer = client
            .query(&format!(
                "SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA IN ({list})"
            ))
            .await?;
        tables.extend((0..answer.rows.len()).filter_map(|row| table(&answer, row)));
    }
    Ok(tables)
}

fn table(answer: &ResultSet, row: usize) -> Option<Table> {
    Some(Table { database: answer.text(row, 0)?, name: answer.text(row, 1)?, engine: answer.text(row, 2) })
}

/// A text for a statement; backslashes escape in our session.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::source::ServerVersion;

    /// A source with these variables and tables (`database.table`), of which everything else is as it should be.
    pub(in crate::precheck) fn observed(version: &str, variables: &[(&str, &str)], tables: &[&str]) -> Observed {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let split = |table: &&str| {
            let (database, name) = table.split_once('.').expect("database.table");
            Table { database: database.to_owned(), name: name.to_owned(), engine: Some("InnoDB".to_owned()) }
        };
        let tables: Vec<Table> = tables.iter().map(split).collect();
        let databases: BTreeSet<String> = tables.iter().map(|table| table.database.clone()).collect();
        Observed {
            address: "127.0.0.1:3306".to_owned(),
            secure: true,
            facts: SourceFacts::of(ServerVersion::parse(version).expect("a version"), variables),
            grants: Ok(Grants::parse(["GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `r`@`%`"])),
            replicas: Ok(Vec::new()),
            binlog_filters: Ok((Vec::new(), Vec::new())),
            semi_sync_clients: None,
            databases: Ok(databases.into_iter().collect()),
            defaults: Ok(BTreeMap::new()),
            tables: Ok(tables),
            foreign_keys: Ok(Vec::new()),
            detours: Ok(Vec::new()),
        }
    }
}
