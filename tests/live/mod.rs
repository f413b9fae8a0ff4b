//! Tests against real servers.

mod direct;
mod faults;
mod interruptions;
mod pairs;
mod raw;
mod reading;
mod refusals;
mod serve;
