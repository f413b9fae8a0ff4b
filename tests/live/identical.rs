//! Two proxies with one configuration serve the same bytes, in the source's coordinates and in their own, whatever happened to
//! one of them meanwhile.

use super::raw;
use crate::support::fleet::Version;
use crate::support::process::free_port;
use crate::support::proxy::Proxy;
use crate::support::server::{Server, ServerOptions};
use crate::support::{unless_available, workload};
use std::collections::BTreeMap;

/// Excluded tables, names that do not grow; and longer names.
const ROUTES: [(&str, &str, &str); 2] = [
    ("source", "shop_cn", "crm_main.clients"),
    ("served", "storefront_of_china", "`crm of china`.`clients and customers`"),
];

struct Served {
    proxy: Proxy,
    ports: [u16; 2],
}

impl Served {
    async fn start(source: &Server, tls: bool) -> Served {
        let ports = [free_port(), free_port()];
        let tls = if tls { "required" } else { "disabled" };
        let mut text = format!(
            "[proxy]\nserver_id = 4000001\n[sources.s]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"repl\"\npassword = \"secret\"\ntls = \"{tls}\"\n",
            source.port()
        );
        for ((name, storefront, customers), port) in ROUTES.iter().zip(ports) {
            text += &format!(
                "[routes.{name}]\nsource = \"s\"\nlisten = \"127.0.0.1:{port}\"\nuser = \"repl\"\npassword = \"secret\"\n\
                 [[routes.{name}.objects]]\ndatabase = \"storefront\"\nrename = \"{storefront}\"\n\
                 [[routes.{name}.objects]]\ntable = \"crm_main.customers\"\nrename = \"{customers}\"\n\
                 [[routes.{name}.objects]]\nexclude = \"storefront.audit_*\"\n"
            );
        }
        Served { proxy: Proxy::start(&text, &ports).await, ports }
    }

    /// The files of one route: as a program fetches them, and (MySQL) as a replica with a server id does, under the
    /// route's own names.
    async fn files(&self, source: &Server, route: usize, tls: bool) -> BTreeMap<String, Vec<u8>> {
        let mut files = raw::fetched_files(source, self.ports[route], tls).await;
        if source.version() == Version::Mysql97 {
            let mut first = "binlog.000001".to_owned();
            if ROUTES[route].0 == "served" {
                let log = self.proxy.log();
                let own = |rest: &&str| rest.get(8..).is_some_and(|rest| rest.starts_with(" route=served"));
                let rules = log.split("rules ").find(own).expect("the log names each route's rules");
                first = format!("binlog.rp{}.000001", &rules[..8]);
            }
            files.extend(
                raw::fetched_from(
                    source,
                    self.ports[route],
                    tls,
                    &["--connection-server-id=77", "--result-file=replica.", &first],
                )
                .await,
            );
        }
        files
    }
}

async fn the_same_bytes(version: Version) {
    let Some(source) = unless_available(Server::start(version, ServerOptions::new()).await) else { return };
    let tls = version == Version::Mysql97;
    let [mut first, second] = [Served::start(&source, tls).await, Served::start(&source, tls).await];
    // 9.7 has GTIDs unless it is told otherwise; here its files are read by position all the same.
    let sessions = workload::sessions(&[version.name(), if tls { "gtid" } else { "nogtid" }]);
    let (one, other) = sessions.split_at(sessions.len() / 2);
    workload::run(&source, one).await;
    source.script("FLUSH LOGS").await;
    let mut before = Vec::new();
    for route in 0..ROUTES.len() {
        before.push(first.files(&source, route, tls).await);
    }
    first.proxy.kill_and_restart().await;
    workload::run(&source, other).await;
    for (route, before) in before.iter().enumerate() {
        let [now, others] = [first.files(&source, route, tls).await, second.files(&source, route, tls).await];
        raw::assert_same(&now, &others);
        for (name, bytes) in before.iter().filter(|(name, _)| name.ends_with(".000001")) {
            assert!(now[name] == *bytes, "{name} is what it was before the restart");
        }
        assert!(now.values().map(Vec::len).sum::<usize>() > 100_000, "{:?}", now.keys());
        let own = now.keys().filter(|name| name.contains(".rp")).count();
        assert_eq!(own > 0, ROUTES[route].0 == "served" && version == Version::Mysql97, "{:?}", now.keys());
    }
}

#[tokio::test]
async fn mysql_97_file_and_position() {
    the_same_bytes(Version::Mysql97).await;
}

#[tokio::test]
async fn mariadb_1011_file_and_position() {
    the_same_bytes(Version::Mariadb1011).await;
}
