//! Tests against real servers.

mod checksums;
mod direct;
mod exactness;
mod failover;
mod faults;
mod interruptions;
mod pairs;
mod raw;
mod reading;
mod refusals;
mod resets;
mod serve;
