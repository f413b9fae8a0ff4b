//! One test binary, a line per module: servers are fetched and started once.

mod catalogue;
mod cli;
mod config;
mod coordinates;
mod core_is_pure;
mod corpus;
mod ddl;
mod ddl_corpus;
mod ddl_hostile;
mod ddl_kinds;
mod decode;
mod explain;
mod hostile;
mod incident;
mod learning;
mod live;
mod origins;
mod passthrough;
mod policy;
mod precheck;
mod renamed;
mod replica;
mod run;
mod source;
mod statements;
mod support;
