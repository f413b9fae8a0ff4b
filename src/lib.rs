//! replproxy: a MySQL and MariaDB replication proxy. `src/ARCHITECTURE.md` is the map.

pub mod binlog;
pub mod ddl;
pub mod fault;
pub mod pipeline;
pub mod wire;
