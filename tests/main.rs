//! One test binary, a line per module: servers are fetched and started once.

mod catalogue;
mod config;
mod core_is_pure;
mod live;
mod support;
