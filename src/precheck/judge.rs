//! What the observations mean for a route.

use super::{Finding, Item, Observed, ServerIdBlock, Table, databases, names, outside};
use crate::{
    binlog::ChecksumAlgorithm,
    fault::Code,
    pipeline::rules::{ExcludedOrigin, ObjectRule, Pattern, RuleSet},
    source::{GtidMode, SourceError, SourceFacts, Vendor},
};

/// Names of objects in one sentence; more are counted.
const NAMES_SHOWN: usize = 5;

/// What the proxy calls itself where replicas register.
const OWN_HOST: &str = "replproxy";

/// There is no usable connection: one finding says why.
pub(super) fn no_connection(error: &SourceError, source_name: &str) -> Finding {
    let fault = error.fault(source_name);
    let item = match fault.code {
        Code::SourceRefusedLogin => Item::Login,
        Code::SourceTls | Code::ConfigurationInvalid | Code::ConfigurationUnreadable => Item::Tls,
        Code::SourceVersion => Item::Version,
        _ => Item::Reachable,
    };
    Finding::fail(item, format!("{}: {}", fault.code, fault.message), fault.next_step())
}

/// Judges every item but [`Item::Failover`], in the order of [`Item::ALL`].
pub fn judge(observed: &Observed, rules: &RuleSet, block: &ServerIdBlock) -> Vec<Finding> {
    let rules = &rules.for_lower_case_table_names(observed.facts.lower_case_table_names);
    Item::ALL
        .iter()
        .filter_map(|item| {
            Some(match item {
                Item::Failover => return None,
                Item::Reachable => Finding::pass(Item::Reachable, format!("{} answers", observed.address)),
                Item::Tls => Finding::pass(
                    Item::Tls,
                    if observed.secure { "the connection is encrypted" } else { "plain connection" },
                ),
                Item::Login => Finding::pass(Item::Login, "user and password are right"),
                Item::Version => version(observed),
                Item::ReplicationPrivileges => replication_privileges(observed),
                Item::SelectPrivileges => select_privileges(observed, rules),
                Item::LogBin => log_bin(observed),
                Item::BinlogFormat => binlog_format(observed, rules),
                Item::BinlogRowImage => binlog_row_image(observed),
                Item::BinlogChecksum => binlog_checksum(observed),
                Item::BinlogFilters => binlog_filters(observed, rules),
                Item::Compression => compression(observed),
                Item::ServerId => server_id(observed),
                Item::ServerIdClash => server_id_clash(observed, block),
                Item::GtidMode => gtid_mode(observed),
                Item::SemiSync => semi_sync(&observed.facts, observed.semi_sync_clients),
                Item::Origins => origins(observed, rules),
                Item::NameCase => names::name_case(observed, rules),
                Item::NewNames => names::new_names(observed, rules),
                Item::Objects => objects(observed, rules),
                Item::ReplicaDatabases => databases::judge(observed, rules),
                Item::Engines => engines(observed, rules),
                Item::ForeignKeys => outside::judge_foreign_keys(observed, rules),
                Item::ViewsTriggers => outside::judge_detours(observed, rules),
            })
        })
        .collect()
}

fn version(observed: &Observed) -> Finding {
    let version = &observed.facts.version;
    let found = format!("{} {}", version.vendor, version.text);
    let (oldest, newest) = match version.vendor {
        Vendor::MySql => (50100, 90799),
        Vendor::MariaDb => (100000, 110899),
    };
    if version.number < oldest {
        let next = "upgrade the source: MySQL 5.1 to 9.x and MariaDB 10.x and 11.x are supported";
        Finding::fail(Item::Version, found, next)
    } else if version.number > newest {
        let next = "try the route on a copy first: this version is newer than what was tested";
        Finding::warn(Item::Version, found, next)
    } else {
        Finding::pass(Item::Version, found)
    }
}

fn replication_privileges(observed: &Observed) -> Finding {
    const ITEM: Item = Item::ReplicationPrivileges;
    match &observed.grants {
        Err(refusal) => {
            Finding::warn(ITEM, format!("the source does not show its grants: {refusal}"), "check them by hand")
        }
        Ok(grants) if !grants.replication_slave() => Finding::fail(
            ITEM,
            "REPLICATION SLAVE is missing: the source will refuse the stream",
            "GRANT REPLICATION SLAVE ON *.* TO the account",
        ),
        Ok(grants) if !grants.replication_client() => Finding::warn(
            ITEM,
            "REPLICATION CLIENT is missing: SHOW MASTER STATUS and SHOW BINARY LOGS through the proxy will fail",
            "GRANT REPLICATION CLIENT ON *.* TO the account",
        ),
        Ok(_) => Finding::pass(ITEM, "REPLICATION SLAVE and REPLICATION CLIENT"),
    }
}

fn select_privileges(observed: &Observed, rules: &RuleSet) -> Finding {
    const ITEM: Item = Item::SelectPrivileges;
    let Ok(grants) = &observed.grants else {
        return Finding::warn(ITEM, "the source does not show its grants", "check them by hand");
    };
    let mut missing = Vec::new();
    for rule in rules.rules() {
        match rule {
            ObjectRule::Database { pattern, .. } => {
                let exact = pattern.exact().filter(|database| !grants.selects_database(database));
                missing.extend(exact.map(|database| format!("{database}.*")));
            }
            ObjectRule::Table { database, table, .. } => {
                if let (Some(database), Some(table)) = (database.exact(), table.exact())
                    && !grants.selects_table(&database, &table)
                {
                    missing.push(format!("{database}.{table}"));
                }
            }
            ObjectRule::ExcludeDatabase(_) | ObjectRule::ExcludeTable { .. } => {}
        }
    }
    if missing.is_empty() {
        return Finding::pass(ITEM, "what the route names can be read");
    }
    // The stream itself needs no SELECT.
    let found = format!("no SELECT on {}: the stream works, the check of objects does not", list(&missing));
    Finding::warn(ITEM, found, "GRANT SELECT on them to the account")
}

fn log_bin(observed: &Observed) -> Finding {
    if observed.facts.log_bin {
        Finding::pass(Item::LogBin, "on")
    } else {
        Finding::fail(Item::LogBin, "off: there is no stream", "start the source with log_bin and a server_id")
    }
}

fn binlog_format(observed: &Observed, rules: &RuleSet) -> Finding {
    const ITEM: Item = Item::BinlogFormat;
    let format = observed.facts.variable("binlog_format").unwrap_or("ROW").to_ascii_uppercase();
    let next = "SET GLOBAL binlog_format = ROW and let clients connect anew";
    match format.as_str() {
        "ROW" => Finding::pass(ITEM, format),
        _ if rules.is_transparent() => {
            Finding::pass(ITEM, format!("{format}; the route passes everything on as it is"))
        }
        "MIXED" => Finding::warn(
            ITEM,
            "MIXED: some changes come as statements, which may name objects that are not selected",
            next,
        ),
        _ => Finding::fail(
            ITEM,
            format!("{format}: changes come as statements, not as rows that can be selected by table"),
            next,
        ),
    }
}

fn binlog_row_image(observed: &Observed) -> Finding {
    const ITEM: Item = Item::BinlogRowImage;
    match observed.facts.variable("binlog_row_image") {
        None => Finding::pass(ITEM, "whole rows: this version knows nothing else"),
        Some(image) if image.eq_ignore_ascii_case("FULL") => Finding::pass(ITEM, image),
        Some(image) => Finding::warn(
            ITEM,
            format!("{image}: replicas find rows by their key only, and tables without one cannot be told apart"),
            "SET GLOBAL binlog_row_image = FULL, unless every selected table has a primary key on both sides",
        ),
    }
}

fn binlog_checksum(observed: &Observed) -> Finding {
    const ITEM: Item = Item::BinlogChecksum;
    match (observed.facts.knows_checksums, observed.facts.binlog_checksum) {
        (false, _) => Finding::pass(ITEM, "this version knows none"),
        (true, ChecksumAlgorithm::Crc32) => Finding::pass(ITEM, "CRC32"),
        (true, ChecksumAlgorithm::None) => Finding::warn(
            ITEM,
            "NONE: damage on the source's disk or on the way goes unnoticed",
            "SET GLOBAL binlog_checksum = CRC32",
        ),
    }
}

fn binlog_filters(observed: &Observed, rules: &RuleSet) -> Finding {
    const ITEM: Item = Item::BinlogFilters;
    let (only, never) = match &observed.binlog_filters {
        Ok(filters) => filters,
        Err(refusal) => {
            let found = format!("the account may not see them: {refusal}");
            return Finding::warn(ITEM, found, "GRANT REPLICATION CLIENT ON *.* TO the account");
        }
    };
    if only.is_empty() && never.is_empty() {
        return Finding::pass(ITEM, "none: everything is logged");
    }
    let mut databases: Vec<String> = observed.databases.clone().unwrap_or_default();
    databases.retain(|database| rules.database_touched(database));
    let unlogged = |database: &String| never.contains(database) || !only.is_empty() && !only.contains(database);
    databases.retain(unlogged);
    if databases.is_empty() {
        return Finding::pass(ITEM, "binlog_do_db / binlog_ignore_db leave out nothing that is selected");
    }
    let found = format!("the source does not log {}, which the route selects", list(&databases));
    Finding::fail(ITEM, found, "remove binlog_do_db / binlog_ignore_db at the source, or the databases from the route")
}

fn compression(observed: &Observed) -> Finding {
    const ITEM: Item = Item::Compression;
    for (variable, what) in
        [("binlog_transaction_compression", "transactions"), ("log_bin_compress", "statements and rows")]
    {
        if observed.facts.is_on(variable) {
            let found = format!("{variable} is ON: {what} come compressed and are opened where rules look into them");
            return Finding::pass(ITEM, found);
        }
    }
    Finding::pass(ITEM, "none")
}

fn server_id(observed: &Observed) -> Finding {
    match observed.facts.server_id {
        0 => {
            let next = "SET GLOBAL server_id to a number that no other server has";
            Finding::fail(Item::ServerId, "0: the source serves no replicas", next)
        }
        id => Finding::pass(Item::ServerId, id.to_string()),
    }
}

fn server_id_clash(observed: &Observed, block: &ServerIdBlock) -> Finding {
    const ITEM: Item = Item::ServerIdClash;
    let (first, last) = (block.start, block.end.saturating_sub(1));
    let next = "choose another `server_id` in [proxy]: its block must be free in the whole topology";
    let own = observed.facts.server_id;
    if block.contains(&own) {
        let found = format!("the source's own id {own} is in the proxy's block {first} to {last}");
        return Finding::fail(ITEM, found, next);
    }
    let replicas = match &observed.replicas {
        Ok(replicas) => replicas,
        Err(_) => {
            let found = format!(
                "the source's id {own} is outside of {first} to {last}; its replicas are not shown to the account"
            );
            return Finding::pass(ITEM, found);
        }
    };
    let inside = || replicas.iter().filter(|replica| block.contains(&replica.server_id));
    if let Some(other) = inside().find(|replica| replica.host != OWN_HOST) {
        let host = if other.host.is_empty() { "without a host name" } else { &other.host };
        let found =
            format!("replica {} ({host}) of the source is in the proxy's block {first} to {last}", other.server_id);
        return Finding::fail(ITEM, found, next);
    }
    let streams = inside().count();
    let running = if streams > 0 { format!("; {streams} of them are a running proxy's") } else { String::new() };
    Finding::pass(ITEM, format!("none of {} replicas is in {first} to {last}{running}", replicas.len()))
}

fn gtid_mode(observed: &Observed) -> Finding {
    const ITEM: Item = Item::GtidMode;
    let facts = &observed.facts;
    match (facts.gtid_mode, facts.gtid_domain_id) {
        (_, Some(domain)) => Finding::pass(ITEM, format!("MariaDB GTIDs, domain {domain}; file and position as well")),
        (None, None) => Finding::pass(ITEM, "this version has none: file and position only"),
        (Some(GtidMode::On), _) => Finding::pass(ITEM, "ON: auto-position, file and position as well"),
        (Some(GtidMode::Off), _) => Finding::pass(ITEM, "OFF: file and position only"),
        (Some(mode), _) => Finding::warn(
            ITEM,
            format!("{}: transactions with and without GTID may come", mode.as_str()),
            "finish the change of gtid_mode before replicas with auto-position attach",
        ),
    }
}

/// The proxy acknowledges nothing by itself: what is asked here is whether anybody does.
fn semi_sync(facts: &SourceFacts, clients: Option<u32>) -> Finding {
    const ITEM: Item = Item::SemiSync;
    let wanted = facts.semi_sync_replicas();
    match (facts.semi_sync(), clients) {
        (None, _) => Finding::pass(ITEM, "the source has none: replicas are asynchronous"),
        (Some(false), _) => Finding::pass(ITEM, "off: replicas are asynchronous until the source turns it on"),
        (Some(true), Some(clients)) if clients < wanted => Finding::warn(
            ITEM,
            format!(
                "on, but there are {clients} semi-synchronous replicas and commits wait for {wanted}: each waits in vain until the timeout, \
                 or the source has gone asynchronous"
            ),
            "turn it on at replicas too (README, Semi-synchronous) and start their I/O threads again, or turn it off at the source; the \
             proxy acknowledges only what a replica has acknowledged",
        ),
        (Some(true), Some(clients)) => {
            Finding::pass(ITEM, format!("on: commits wait for {wanted} of {clients} semi-synchronous replicas"))
        }
        (Some(true), None) => Finding::pass(ITEM, format!("on: commits wait for {wanted} replicas")),
    }
}

fn origins(observed: &Observed, rules: &RuleSet) -> Finding {
    const ITEM: Item = Item::Origins;
    if rules.exclude_origins().is_empty() {
        return Finding::pass(ITEM, "none are excluded");
    }
    let facts = &observed.facts;
    let own = rules.exclude_origins().iter().find_map(|origin| match origin {
        ExcludedOrigin::ServerId(id) => (*id == facts.server_id).then(|| id.to_string()),
        ExcludedOrigin::ServerUuid(uuid) => {
            facts.server_uuid.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(uuid)).then(|| uuid.clone())
        }
    });
    let has_uuids = rules.exclude_origins().iter().any(|origin| matches!(origin, ExcludedOrigin::ServerUuid(_)));
    if let Some(own) = own {
        let found =
            format!("exclude_origins holds {own}, which is the source itself: nothing that is written there goes out");
        return Finding::fail(
            ITEM,
            found,
            "name the servers behind the source, such as the other side of a two-way pair",
        );
    }
    if has_uuids && facts.gtid_mode != Some(GtidMode::On) {
        let found = "exclude_origins names servers by uuid, and only a GTID says the uuid: without gtid_mode = ON nothing is excluded";
        return Finding::fail(ITEM, found, "name them by server id, which every event has");
    }
    Finding::pass(ITEM, format!("{} are excluded, none of them the source itself", rules.exclude_origins().len()))
}

fn objects(observed: &Observed, rules: &RuleSet) -> Finding {
    const ITEM: Item = Item::Objects;
    let (databases, tables) = match (&observed.databases, &observed.tables) {
        (Ok(databases), Ok(tables)) => (databases, tables),
        (Err(refusal), _) | (_, Err(refusal)) => {
            return Finding::warn(ITEM, format!("they cannot be listed: {refusal}"), "GRANT SELECT to the account");
        }
    };
    if rules.selects_everything() {
        return Finding::pass(ITEM, format!("everything is selected: {} tables", tables.len()));
    }
    let folded = rules.is_folded();
    let has_database = |pattern: &Pattern| databases.iter().any(|database| pattern.matches(database, folded));
    let has_table = |database: &Pattern, table: &Pattern| {
        tables.iter().any(|found| database.matches(&found.database, folded) && table.matches(&found.name, folded))
    };
    let (mut missing, mut unmatched) = (Vec::new(), Vec::new());
    for rule in rules.rules() {
        match rule {
            ObjectRule::Database { pattern, .. } if has_database(pattern) => {}
            ObjectRule::Table { database, table, .. } if has_table(database, table) => {}
            ObjectRule::Database { pattern, .. } => match pattern.exact() {
                Some(database) => missing.push(format!("database {database}")),
                None => unmatched.push(pattern.to_string()),
            },
            ObjectRule::Table { database, table, .. } => match (database.exact(), table.exact()) {
                (Some(database), Some(table)) => missing.push(format!("table {database}.{table}")),
                _ => unmatched.push(format!("{database}.{table}")),
            },
            ObjectRule::ExcludeDatabase(_) | ObjectRule::ExcludeTable { .. } => {}
        }
    }
    let selected = tables.iter().filter(|table| is_selected(rules, table)).count();
    if !missing.is_empty() {
        let found = format!("{} does not exist, or the account may not see it", list(&missing));
        let next = "compare the names with the source (capitals count unless lower_case_table_names is set), create \
                    the object, or GRANT SELECT on it";
        return Finding::fail(ITEM, found, next);
    }
    if !unmatched.is_empty() {
        let found = format!("{} matches nothing yet; {selected} tables are selected", list(&unmatched));
        return Finding::warn(ITEM, found, "check the pattern, unless such objects are still to be created");
    }
    Finding::pass(ITEM, format!("{selected} tables are selected"))
}

/// Engines whose tables do not hold their own data, or lose it, or log it twice; and why that matters.
const DOUBTFUL_ENGINES: [(&str, &str); 8] = [
    ("BLACKHOLE", "keeps no rows: the replica's table stays empty as well"),
    ("CONNECT", "has its data elsewhere: the replica's table would point there, too"),
    ("FEDERATED", "has its data at another server: the replica's table would change them a second time"),
    ("MEMORY", "is empty after a restart: the source then logs that, a replica that restarts does not"),
    ("MRG_MYISAM", "is made of other tables, which have to be selected as well"),
    ("NDBCLUSTER", "is logged by the cluster's own rules"),
    ("OQGRAPH", "shows another table's data"),
    ("SPIDER", "has its data at other servers: the replica's table would change them a second time"),
];

fn engines(observed: &Observed, rules: &RuleSet) -> Finding {
    const ITEM: Item = Item::Engines;
    let Ok(tables) = &observed.tables else {
        return Finding::warn(ITEM, "the tables cannot be listed", "GRANT SELECT to the account");
    };
    let mut found = Vec::new();
    for (engine, why) in DOUBTFUL_ENGINES {
        let of_engine = |table: &&Table| {
            table.engine.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(engine)) && is_selected(rules, table)
        };
        let names: Vec<String> =
            tables.iter().filter(of_engine).map(|table| format!("{}.{}", table.database, table.name)).collect();
        if !names.is_empty() {
            found.push(format!("{} ({engine} {why})", list(&names)));
        }
    }
    if found.is_empty() {
        Finding::pass(ITEM, "nothing unusual")
    } else {
        Finding::warn(ITEM, found.join("; "), "exclude these tables, or make sure that the replica's are what you want")
    }
}

fn is_selected(rules: &RuleSet, table: &Table) -> bool {
    rules.decide_table(&table.database, &table.name).is_selected()
}

/// The first few names, and how many more there are.
pub(super) fn list(names: &[String]) -> String {
    list_of(names, ", ", NAMES_SHOWN)
}

/// The first `most` of them, and how many more there are.
pub(super) fn list_of(texts: &[String], separator: &str, most: usize) -> String {
    let shown = texts.iter().take(most).cloned().collect::<Vec<_>>().join(separator);
    match texts.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{binlog::ServerVersion, precheck::Status};

    #[test]
    fn a_source_that_waits_for_more_semi_synchronous_replicas_than_it_has_is_told_of() {
        let source = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            SourceFacts::of(ServerVersion::parse("8.0.41").expect("a version"), variables.collect())
        };
        let on = ("rpl_semi_sync_source_enabled", "ON");
        let two = ("rpl_semi_sync_source_wait_for_replica_count", "2");
        for (facts, clients, status) in [
            (source(&[]), None, Status::Pass),
            (source(&[("rpl_semi_sync_source_enabled", "OFF")]), None, Status::Pass),
            (source(&[on]), Some(0), Status::Warn),
            (source(&[on]), Some(1), Status::Pass),
            (source(&[on, two]), Some(1), Status::Warn),
            (source(&[("rpl_semi_sync_master_enabled", "ON")]), Some(0), Status::Warn),
        ] {
            let finding = semi_sync(&facts, clients);
            assert_eq!(finding.status, status, "{finding:?}");
        }
    }
}
