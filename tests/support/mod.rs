//! Real servers for tests: the fleet of server programs, instances of them, the proxy's process, replicas, and the
//! comparison of a source's data with a destination's. `fleet` says where the programs come from.

pub(crate) mod compare;
pub(crate) mod fleet;
pub(crate) mod history;
pub(crate) mod link;
pub(crate) mod pair;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod recipe;
pub(crate) mod replica;
pub(crate) mod routes;
pub(crate) mod server;
pub(crate) mod sql;
pub(crate) mod thin;
pub(crate) mod workload;

/// The value, or nothing after a line that says why the test is skipped. With `REPLPROXY_REQUIRE_SERVERS=1` that is a failure.
pub(crate) fn unless_available<T>(started: Result<T, fleet::Unavailable>) -> Option<T> {
    match started {
        Ok(value) => Some(value),
        Err(reason) if std::env::var_os("REPLPROXY_REQUIRE_SERVERS").is_some_and(|value| value == "1") => {
            panic!("a server cannot be had: {reason}")
        }
        Err(reason) => {
            eprintln!("SKIPPED, a server cannot be had: {reason}");
            None
        }
    }
}
