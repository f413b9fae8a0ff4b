//! A replica that takes no more bytes is cut after the time that the README names; meanwhile it costs no memory, others go on, and
//! it has lost nothing when it comes back.

use crate::support::fleet::Version;
use crate::support::link::Link;
use crate::support::process::free_port;
use crate::support::proxy::Proxy;
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);

/// README, "Limits".
const CUT_AFTER: Duration = Duration::from_secs(60);

/// What the source writes meanwhile: more than all sockets on the way hold.
const MIB: usize = 96;

/// Far below what is on its way, and above what the proxy needs with symbols and without optimisation.
const MEMORY_KIB: u64 = 64 << 10;

const COUNT: &str = "SELECT COUNT(*) FROM shop.t";

#[tokio::test]
async fn a_replica_that_stops_reading_is_cut_in_time_and_others_go_on() {
    let version = Version::Mysql57;
    // The stuck one hears nothing either, and would leave by itself.
    let patient = ServerOptions::new().arg("--slave-net-timeout=600");
    let started =
        Server::start_all([ServerOptions::new(), patient, ServerOptions::new()].map(|options| (version, options)))
            .await;
    let Some([source, stuck, other]) = unless_available(started) else { return };
    let port = free_port();
    let configuration = format!(
        "[proxy]\nserver_id = 4000001\n\
         [sources.s]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"repl\"\npassword = \"secret\"\ntls = \"disabled\"\n\
         [routes.r]\nsource = \"s\"\nlisten = \"127.0.0.1:{port}\"\nuser = \"repl\"\npassword = \"secret\"\n\
         [[routes.r.objects]]\ndatabase = \"shop\"\n",
        source.port()
    );
    let mut proxy = Proxy::start(&configuration, &[port]).await;
    let link = Link::listen().await;
    link.lead_to(port);
    for (replica, port) in [(&stuck, link.port()), (&other, port)] {
        replica.script("SET sql_log_bin = 0; CREATE DATABASE shop").await;
        replica.follow(&Upstream::at(port), &Start::At("binlog.000001".to_owned(), 4)).await;
        replica.start_replica().await;
    }
    source.script("CREATE DATABASE shop; CREATE TABLE shop.t (id INT NOT NULL PRIMARY KEY, v LONGTEXT)").await;
    for replica in [&stuck, &other] {
        replica.reaches(COUNT, "0", LIMIT).await.unwrap_or_else(|error| panic!("{error}"));
    }

    let held = Instant::now();
    link.hold(true);
    let rows = (1..=MIB).map(|id| format!("INSERT INTO shop.t VALUES ({id}, REPEAT('x', 1048576));"));
    source.script(&rows.collect::<String>()).await;
    other.reaches(COUNT, &MIB.to_string(), LIMIT).await.unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));
    assert!(
        !proxy.log().contains("took no byte"),
        "not yet, {:?} after it has stopped:\n{}",
        held.elapsed(),
        proxy.log()
    );
    // The one that is stuck is found in time; the other one goes on.
    while !proxy.log().contains("took no byte") {
        assert!(held.elapsed() < LIMIT + CUT_AFTER, "it is not cut:\n{}", proxy.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let cut = held.elapsed();
    assert!(cut >= CUT_AFTER && cut < CUT_AFTER + Duration::from_secs(30), "cut after {cut:?}");
    source.script("DELETE FROM shop.t WHERE id = 1").await;
    let left = (MIB - 1).to_string();
    other.reaches(COUNT, &left, LIMIT).await.unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));
    let has: usize = stuck.value(COUNT).await.parse().expect("a count is a number");
    assert!(has < MIB / 2, "it has not been stuck: {has} rows");
    let memory = proxy.peak_memory();
    assert!(memory < MEMORY_KIB, "{memory} KiB");

    link.heal();
    link.cut();
    stuck.reaches(COUNT, &left, LIMIT).await.unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));
    assert!(proxy.runs());
}
