//! `check`: looks at a source before replicas depend on it, item by item, with what was found and what to do.
//!
//! Everything is asked first ([`observe`]) and judged then ([`judge`]), without a server.

mod databases;
mod failover;
mod grants;
mod judge;
mod names;
mod observe;
mod outside;
mod report;

use std::{collections::BTreeSet, ops::Range};

pub use databases::Defaults;
pub use grants::Grants;
pub use judge::judge;
pub use observe::{Observed, RegisteredReplica, Table, observe};
pub use outside::{Detour, ForeignKey};
pub use report::{Finding, Item, Report, Status};

use crate::{
    config::{Config, Route},
    fault::{Code, Fault},
};

/// Checks one route of a configuration against its source. Items in `ignored` do not fail.
pub async fn check(config: &Config, route: &Route, ignored: &BTreeSet<Item>) -> Result<Report, Fault> {
    let source = config.sources.get(&route.source).ok_or_else(|| {
        Fault::new(Code::ConfigurationInvalid, format!("route `{}` names no source that exists", route.name))
    })?;
    let block = config.proxy.server_id..config.proxy.server_id.saturating_add(config.proxy.server_ids);
    let observed = observe(&source.endpoint, &route.rules).await;
    let mut items = match &observed {
        Ok(observed) => judge(observed, &route.rules, &block),
        Err(error) => vec![judge::no_connection(error, &source.name)],
    };
    if !source.failover.is_empty() {
        let others = failover::observe_others(&source.name, &source.failover).await;
        let host = observed.as_ref().ok().map(|observed| &observed.facts);
        items.push(failover::judge_others(host, &others, &block));
    }
    for finding in &mut items {
        if finding.status != Status::Pass && ignored.contains(&finding.item) && !finding.item.is_needed_for_others() {
            finding.status = Status::Ignored;
        }
    }
    Ok(Report { route: route.name.clone(), source: source.name.clone(), address: source.endpoint.address(), items })
}

/// The server ids that the proxy registers with.
pub type ServerIdBlock = Range<u32>;
