//! GTID sets of MySQL (tagged too) and GTID positions of MariaDB: text, binary form and algebra.

mod event;
mod mariadb;
mod set;

pub use event::mysql_gtid;
pub use mariadb::{MariaDbGtidText, MariaDbPosition};
pub use set::{GtidSet, GtidSetError, Sid};
