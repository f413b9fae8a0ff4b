//! Tests against real servers.

mod borders;
mod charsets;
mod checksums;
mod deep;
mod direct;
mod exactness;
mod failover;
mod faults;
mod gh_ost;
mod histories;
mod identical;
mod idle;
mod interruptions;
mod lexing;
mod pairs;
mod partial;
mod raw;
mod reading;
mod refusals;
mod reload;
mod repointed;
mod resets;
mod semi_sync;
mod serve;
mod slow;
mod stuck;
mod tagged;
mod tail;
mod topologies;
mod until;

/// The status of the proxy with this admin port. One that is busy may take longer than the command waits.
fn status_at(admin: u16) -> replproxy::status::Status {
    let url = format!("http://127.0.0.1:{admin}");
    (0..5).find_map(|_| replproxy::status::fetch(&url).ok()).expect("the proxy answers")
}
