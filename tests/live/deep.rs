//! A replica in served coordinates that comes back deep in a large file: what the proxy reads of the source for that is a
//! small part of the file, counted by its own metrics, once it knows the file.
//!
//! `REPLPROXY_DEEP_MIB=300` makes the file larger; the times are printed.

use crate::support::fleet::Version;
use crate::support::process::free_port;
use crate::support::proxy::Proxy;
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;
use replproxy::telemetry::names::BYTES_RECEIVED;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(300);

/// Bytes that the proxy has read from its source.
fn received(admin: u16) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", admin)).expect("the admin listener answers");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("it takes a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers in UTF-8");
    let line = text.lines().find(|line| line.starts_with(BYTES_RECEIVED) && line.contains("route=\"r\""));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_replica_that_comes_back_deep_in_a_large_file_costs_little_of_it() {
    let options = || ServerOptions::new();
    let started = Server::start_two([Version::Mysql57; 2], [options(), options()]).await;
    let Some([source, replica]) = unless_available(started) else { return };
    let mib: u64 = std::env::var("REPLPROXY_DEEP_MIB").map_or(48, |text| text.parse().expect("a number"));
    let (port, admin) = (free_port(), free_port());
    let configuration = format!(
        "[proxy]\nserver_id = 4000001\nadmin = \"127.0.0.1:{admin}\"\n\
         [sources.s]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"repl\"\npassword = \"secret\"\ntls = \"disabled\"\n\
         [routes.r]\nsource = \"s\"\nlisten = \"127.0.0.1:{port}\"\nuser = \"repl\"\npassword = \"secret\"\n\
         [[routes.r.objects]]\ndatabase = \"shop\"\nrename = \"shop_of_another_name\"\n",
        source.port()
    );
    let mut proxy = Proxy::start(&configuration, &[port, admin]).await;
    replica.script("SET sql_log_bin = 0; CREATE DATABASE shop_of_another_name").await;
    replica.follow(&Upstream::at(port), &Start::At("binlog.000001".to_owned(), 4)).await;
    replica.start_replica().await;
    let schema = "CREATE DATABASE shop; CREATE TABLE shop.marker (n INT NOT NULL PRIMARY KEY); CREATE TABLE shop.t (v LONGTEXT) ENGINE=BLACKHOLE;";
    source.script(schema).await;
    let row = "INSERT INTO shop.t VALUES (REPEAT('x', 1048576));";
    source.script(&row.repeat(mib as usize)).await;
    let mut marker = 0;
    let mut arrive = async || {
        marker += 1;
        source.script(&format!("INSERT INTO shop.marker VALUES ({marker})")).await;
        let query = "SELECT MAX(n) FROM shop_of_another_name.marker";
        replica.reaches(query, &marker.to_string(), LIMIT).await.unwrap_or_else(|error| panic!("{error}"));
    };
    arrive().await;
    let file = source.binlog_end().await.1;
    assert!(file > mib << 20, "one file holds all: {file}");

    let mut comes_back = async || {
        replica.stop_replica().await;
        let (before, began) = (received(admin), Instant::now());
        replica.start_replica().await;
        arrive().await;
        let read = received(admin) - before;
        eprintln!("came back at {file} in {:?}: {read} bytes of the source were read", began.elapsed());
        read
    };
    let warm = comes_back().await;
    assert!(warm > 0 && warm < 3 << 20, "{warm} bytes of {file}");
    // A proxy that has just started does not know the file: that costs all of it, once.
    proxy.kill_and_restart().await;
    let cold = comes_back().await;
    assert!(cold > file - (8 << 20), "{cold} bytes of {file}");
    let again = comes_back().await;
    assert!(again < 3 << 20, "{again} bytes of {file}");
}
