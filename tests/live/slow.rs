//! Replicas that are slow, away or stuck cost the others nothing, and a stream that is far behind is nobody's live tail.
//!
//! What is compared is how far each has come when another one is there, so that a slow machine makes nothing fail.

use super::status_at;
use crate::support::fleet::Version;
use crate::support::link::Link;
use crate::support::process::free_port;
use crate::support::proxy::Proxy;
use crate::support::server::{Server, ServerOptions};
use crate::support::thin::Thin;
use crate::support::unless_available;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);
/// Bytes a second, so few that whatever else happens here is over before.
const THROTTLE: u64 = 200_000;
/// One transaction is a row of 100 KB.
const SCHEMA: &str =
    "CREATE DATABASE shop; CREATE TABLE shop.t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, v LONGTEXT)";
const ROW: &str = "INSERT INTO shop.t (v) VALUES (REPEAT('x', 100000));";

struct Stage {
    source: Server,
    proxy: Proxy,
    port: u16,
    admin: u16,
    /// Where the source's log ended when nothing had been written yet.
    start: (String, u64),
}

impl Stage {
    /// `upstream`: the proxy reaches its source over this link.
    async fn start(upstream: Option<&Link>) -> Option<Self> {
        let source = unless_available(Server::start(Version::Mysql57, ServerOptions::new()).await)?;
        source.script(SCHEMA).await;
        if let Some(link) = upstream {
            link.lead_to(source.port());
        }
        let [port, admin] = [free_port(), free_port()];
        let configuration = format!(
            "[proxy]\nserver_id = 4000001\nadmin = \"127.0.0.1:{admin}\"\n\
             [sources.s]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"repl\"\npassword = \"secret\"\ntls = \"disabled\"\n\
             [routes.r]\nsource = \"s\"\nlisten = \"127.0.0.1:{port}\"\nuser = \"repl\"\npassword = \"secret\"\n",
            upstream.map_or(source.port(), Link::port)
        );
        let proxy = Proxy::start(&configuration, &[port, admin]).await;
        let start = source.binlog_end().await;
        Some(Self { source, proxy, port, admin, start })
    }

    /// What the replicas with these numbers are served from, and how many streams the source serves.
    fn feeds<const N: usize>(&self, numbers: [u32; N]) -> ([String; N], u64) {
        let status = status_at(self.admin);
        let feed = |number: u32| {
            let replica = status.replicas.iter().find(|replica| replica.server_id == Thin::server_id(number));
            replica.map_or("away".to_owned(), |replica| replica.feed.clone())
        };
        (numbers.map(feed), status.routes[0].upstream_connections)
    }

    async fn until_feeds<const N: usize>(&self, numbers: [u32; N], expected: [&str; N], upstreams: u64) {
        let end = Instant::now() + LIMIT;
        loop {
            let (feeds, connections) = self.feeds(numbers);
            if feeds == expected && connections == upstreams {
                return;
            }
            assert!(Instant::now() < end, "{feeds:?}, {connections} streams\n{}", self.proxy.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn replicas_that_are_slow_away_or_stuck_do_not_slow_the_others() {
    let Some(stage) = Stage::start(None).await else { return };
    let links = [Link::listen().await, Link::listen().await];
    links.iter().for_each(|link| link.lead_to(stage.port));
    let new = |port, number| Thin::new(port, number, stage.start.clone());
    let mut well = [new(stage.port, 0), new(stage.port, 1)];
    let mut slow = [new(links[0].port(), 2), new(links[1].port(), 3), new(stage.port, 4)];
    for replica in well.iter_mut().chain(&mut slow) {
        replica.attach().await;
    }
    stage.until_feeds([0, 1, 2, 3, 4], ["live"; 5], 1).await;

    links[0].throttle(THROTTLE);
    links[1].hold(true);
    slow[2].leave();
    // 60 MB: more than the ring and all sockets on the way hold.
    const ROWS: usize = 600;
    let writes = ROW.repeat(ROWS);
    let [first, second] = &mut well;
    let [throttled, stuck, away] = &mut slow;
    tokio::join!(stage.source.script(&writes), async {
        // Those that are slow read as fast as they can.
        tokio::select! {
            _ = async { tokio::join!(first.reach(ROWS), second.reach(ROWS)) } => {}
            () = throttled.reach(ROWS) => panic!("the throttled one was faster:\n{}", stage.proxy.log()),
            () = stuck.reach(ROWS) => panic!("it was not stuck"),
        }
    });
    assert_eq!(well.each_ref().map(|replica| replica.connections), [1, 1], "{}", stage.proxy.log());
    // One of them may have to be waited for; that it had to come back would show in its connections.
    let both = async || stage.feeds([0, 1]).0 == ["live", "live"];
    let end = Instant::now() + LIMIT;
    while !both().await {
        assert!(Instant::now() < end, "{:?}\n{}", stage.feeds([0, 1]), stage.proxy.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    links.iter().for_each(Link::heal);
    tokio::join!(throttled.reach(ROWS), stuck.reach(ROWS), away.reach(ROWS));
    for replica in &slow {
        assert_eq!((replica.bytes, replica.checksum), (well[0].bytes, well[0].checksum), "a difference");
    }
    stage.until_feeds([0, 1, 2, 3, 4], ["live"; 5], 1).await;
}

#[tokio::test]
async fn a_stream_that_is_far_behind_on_a_slow_link_to_the_source_is_nobodys_tail() {
    let upstream = Link::listen().await;
    let Some(stage) = Stage::start(Some(&upstream)).await else { return };
    // Small ones: every now and then what has come ends with a whole one.
    const SMALL_ROW: &str = "INSERT INTO shop.t (v) VALUES (REPEAT('x', 300));\n";
    const ROWS: usize = 6000;
    stage.source.script(&SMALL_ROW.repeat(ROWS)).await;
    // The source has to be waited for all the time.
    upstream.throttle(THROTTLE / 2);
    let mut behind = Thin::new(stage.port, 0, stage.start.clone());
    behind.reach(ROWS / 5).await;
    // However long the one ahead takes.
    upstream.throttle(THROTTLE / 10);
    let mut ahead = Thin::new(stage.port, 1, stage.source.binlog_end().await);
    ahead.attach().await;
    tokio::select! {
        () = stage.until_feeds([0, 1], ["private", "live"], 2) => {}
        () = behind.reach(ROWS) => panic!("the one ahead waits for the one behind:\n{}", stage.proxy.log()),
    }
    upstream.heal();
    stage.source.script(ROW).await;
    tokio::join!(behind.reach(ROWS + 1), ahead.reach(1));
    stage.until_feeds([0, 1], ["live"; 2], 1).await;
}
