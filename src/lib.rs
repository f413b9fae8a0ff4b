//! replproxy: a MySQL and MariaDB replication proxy. `src/ARCHITECTURE.md` is the map.

pub mod admin;
pub mod app;
pub mod binlog;
pub mod cli;
pub mod config;
pub mod ddl;
pub mod decode;
pub mod demo;
pub mod fault;
pub mod gtid;
pub mod pipeline;
pub mod precheck;
pub mod relay;
pub mod replica;
pub mod rewrite;
pub mod secret;
pub mod serve;
pub mod source;
pub mod status;
pub mod telemetry;
pub mod wire;
