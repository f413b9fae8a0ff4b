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
mod resets;
mod serve;
mod topologies;
