//! The further servers of a source: whether they answer, and whether replicas could go on there.

use super::{Finding, Item, ServerIdBlock, Status};
use crate::{
    fault::Fault,
    source::{Client, Endpoint, SourceError, SourceFacts, Vendor},
};

/// One server of `failover` and what it said.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) address: String,
    pub(super) facts: Result<SourceFacts, Fault>,
}

/// Logs in to each of them.
pub(super) async fn observe_others(source_name: &str, servers: &[Endpoint]) -> Vec<Other> {
    let mut others = Vec::new();
    for server in servers {
        let facts = ask(server).await.map_err(|error| error.fault(source_name));
        others.push(Other { address: server.address(), facts });
    }
    others
}

async fn ask(server: &Endpoint) -> Result<SourceFacts, SourceError> {
    let mut client = Client::connect(server).await?;
    let facts = SourceFacts::read(&mut client).await?;
    client.quit().await;
    Ok(facts)
}

/// What keeps a server from taking over, and what only has to be known.
#[derive(Debug, Default)]
struct Remarks {
    failures: Vec<String>,
    warnings: Vec<String>,
}

/// One finding about all of them. `host` is what the first server of the source said, if it did.
pub(super) fn judge_others(host: Option<&SourceFacts>, others: &[Other], block: &ServerIdBlock) -> Finding {
    let mut remarks = Remarks::default();
    let mut ids: Vec<u32> = host.map(|facts| facts.server_id).into_iter().collect();
    for Other { address, facts } in others {
        match facts {
            Err(fault) => remarks.failures.push(format!("{address}: {}: {}", fault.code, fault.message)),
            Ok(facts) => {
                judge_one(address, facts, host, block, &mut remarks);
                if ids.contains(&facts.server_id) {
                    remarks
                        .failures
                        .push(format!("{address} has server id {}, as another server has", facts.server_id));
                }
                ids.push(facts.server_id);
            }
        }
    }
    let (status, mut said) = match (remarks.failures.is_empty(), remarks.warnings.is_empty()) {
        (true, true) => {
            let addresses: Vec<&str> = others.iter().map(|other| other.address.as_str()).collect();
            return Finding::pass(Item::Failover, format!("{} can take over", addresses.join(", ")));
        }
        (true, false) => (Status::Warn, Vec::new()),
        (false, _) => (Status::Fail, remarks.failures),
    };
    said.append(&mut remarks.warnings);
    let next = "mend the servers that are named, or take them out of `failover`";
    Finding { item: Item::Failover, status, found: said.join("; "), next_step: Some(next.to_owned()) }
}

fn judge_one(
    address: &str,
    facts: &SourceFacts,
    host: Option<&SourceFacts>,
    block: &ServerIdBlock,
    remarks: &mut Remarks,
) {
    if !facts.log_bin {
        remarks.failures.push(format!("{address} writes no binary log"));
    }
    let updates = ["log_slave_updates", "log_replica_updates"];
    if !updates.iter().any(|name| facts.is_on(name)) {
        remarks
            .failures
            .push(format!("{address} does not log what it replicates (log_slave_updates / log_replica_updates)"));
    }
    if facts.server_id == 0 || block.contains(&facts.server_id) {
        let (first, last) = (block.start, block.end.saturating_sub(1));
        remarks.failures.push(format!("{address} has server id {} (the proxy has {first} to {last})", facts.server_id));
    }
    let Some(host) = host else { return };
    if facts.version.vendor != host.version.vendor {
        remarks.failures.push(format!("{address} is {}, `host` is {}", facts.version.vendor, host.version.vendor));
    } else if facts.version.number / 100 != host.version.number / 100 {
        let (other, first) = (&facts.version.text, &host.version.text);
        remarks.warnings.push(format!(
            "{address} has version {other}, `host` has {first}: replicas connect anew when they change over"
        ));
    }
    if facts.lower_case_table_names != host.lower_case_table_names {
        let (other, first) = (facts.lower_case_table_names, host.lower_case_table_names);
        remarks.failures.push(format!("{address} has lower_case_table_names = {other}, `host` has {first}"));
    }
    if facts.server_uuid.is_some() && facts.server_uuid == host.server_uuid {
        remarks
            .failures
            .push(format!("{address} has the server uuid of `host`: a copied data directory, or the same server"));
    }
    match (host.gtid_mode, facts.gtid_mode) {
        (Some(first), Some(other)) if first != other => {
            let (first, other) = (first.as_str(), other.as_str());
            remarks.failures.push(format!("{address} has gtid_mode = {other}, `host` has {first}"));
        }
        (Some(mode), Some(_)) if mode.as_str() != "ON" => remarks
            .warnings
            .push(format!("gtid_mode is {}: replicas by file and position stay with `host`", mode.as_str())),
        (None, _) if host.version.vendor == Vendor::MySql => {
            remarks.warnings.push("`host` has no GTIDs: replicas by file and position stay with it".to_owned());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::binlog::ServerVersion;
    use crate::fault::Code;

    fn facts(version: &str, variables: &[(&str, &str)]) -> SourceFacts {
        let version = ServerVersion::parse(version).expect(version);
        let all = [
            ("log_bin", "ON"),
            ("log_slave_updates", "ON"),
            ("gtid_mode", "ON"),
            ("server_uuid", "a"),
            ("server_id", "1"),
        ];
        let variables = all.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        SourceFacts::of(version, variables.collect::<BTreeMap<_, _>>())
    }

    fn judged(other: Result<SourceFacts, Fault>) -> Finding {
        let host = facts("5.7.29", &[]);
        judge_others(Some(&host), &[Other { address: "db2:3306".to_owned(), facts: other }], &(100..164))
    }

    #[test]
    fn a_server_that_can_take_over_passes_and_each_reason_why_not_is_named() {
        let fine = [("server_id", "2"), ("server_uuid", "b")];
        let with = |more: &[(&str, &str)]| Ok(facts("5.7.33", &[&fine[..], more].concat()));
        assert_eq!(judged(with(&[])).status, Status::Pass);
        for (more, word) in [
            (("log_bin", "OFF"), "no binary log"),
            (("log_slave_updates", "OFF"), "log_slave_updates"),
            (("gtid_mode", "OFF"), "gtid_mode = OFF"),
            (("server_id", "101"), "server id 101"),
            (("server_id", "1"), "as another server has"),
            (("server_uuid", "a"), "server uuid of `host`"),
            (("lower_case_table_names", "1"), "lower_case_table_names = 1"),
        ] {
            let finding = judged(with(&[more]));
            assert_eq!(finding.status, Status::Fail, "{more:?}");
            assert!(finding.found.contains(word) && finding.found.contains("db2:3306"), "{finding:?}");
        }
        let gone = judged(Err(Fault::new(Code::SourceUnreachable, "refused")));
        assert!(gone.status == Status::Fail && gone.found.contains("RPX-2001"), "{gone:?}");
        let newer = judged(Ok(facts("8.0.36", &fine)));
        assert!(newer.status == Status::Warn && newer.found.contains("8.0.36"), "{newer:?}");
    }
}
