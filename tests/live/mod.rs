//! Tests against real servers.

mod borders;
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
mod raw;
mod reading;
mod refusals;
mod repointed;
mod resets;
mod semi_sync;
mod serve;
mod stuck;
mod tagged;
mod tail;
mod topologies;
mod until;
