//! Tests against real servers.

mod direct;
mod interruptions;
mod pairs;
mod raw;
mod refusals;
