//! Tests against real servers.

mod checksums;
mod direct;
mod exactness;
mod failover;
mod faults;
mod histories;
mod interruptions;
mod pairs;
mod raw;
mod reading;
mod refusals;
mod repointed;
mod resets;
mod serve;
mod topologies;
mod until;
