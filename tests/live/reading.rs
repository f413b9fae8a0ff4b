//! A renaming route as `mysqlbinlog` reads it: under the file names that `SHOW BINARY LOGS` gives, from the source's positions.

use crate::support::fleet::Version;
use crate::support::process::free_port;
use crate::support::proxy::Proxy;
use crate::support::server::{Server, ServerOptions};
use crate::support::sql::client;
use crate::support::unless_available;
use std::process::{Command, Output};

struct Reader {
    version: Version,
    port: u16,
}

impl Reader {
    async fn read(&self, arguments: &[String]) -> Output {
        let mysql = self.version == Version::Mysql97;
        let mut command = client(self.version, if mysql { "mysqlbinlog" } else { "mariadb-binlog" });
        command.args(["--no-defaults", "--host=127.0.0.1"]);
        if !arguments.iter().any(|argument| argument.starts_with("--read-from-remote")) {
            command.arg("--read-from-remote-server");
        }
        command.args(["--user=repl", "--password=secret"]).arg(format!("--port={}", self.port)).args(arguments);
        output(command).await
    }
}

async fn output(mut command: Command) -> Output {
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("waiting does not panic").expect("the program runs")
}

async fn read_by(version: Version) {
    let options = if version == Version::Mysql97 { ServerOptions::new().gtid(version) } else { ServerOptions::new() };
    let started = Server::start(version, options).await;
    let Some(source) = unless_available(started) else { return };
    source.script("CREATE DATABASE shop; CREATE DATABASE hidden; CREATE TABLE shop.one (a INT)").await;
    let (file, end) = source.binlog_end().await;
    source.script("CREATE TABLE shop.two (a INT)").await;
    let (port, admin) = (free_port(), free_port());
    let configuration = format!(
        "[proxy]\nserver_id = 4000001\nadmin = \"127.0.0.1:{admin}\"\n\
         [sources.s]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"repl\"\npassword = \"secret\"\n\
         [routes.r]\nsource = \"s\"\nlisten = \"127.0.0.1:{port}\"\nuser = \"repl\"\npassword = \"secret\"\n\
         [[routes.r.objects]]\ndatabase = \"shop\"\nrename = \"shop_of_another_name\"\n",
        source.port()
    );
    let mut proxy = Proxy::start(&configuration, &[port]).await;
    let reader = Reader { version, port };
    let read = async |arguments: &[String]| {
        let read = reader.read(arguments).await;
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        String::from_utf8_lossy(&read.stdout).into_owned()
    };

    let whole = read(std::slice::from_ref(&file)).await;
    assert!(
        whole.contains("TABLE shop_of_another_name.one") && whole.contains("TABLE shop_of_another_name.two"),
        "{whole}"
    );
    let rest = read(&[file.clone(), format!("--start-position={end}")]).await;
    assert!(!rest.contains("shop_of_another_name.one") && rest.contains("TABLE shop_of_another_name.two"), "{rest}");

    if version == Version::Mysql97 {
        // A file that is named, by GTID with nothing to leave out.
        source.script("FLUSH BINARY LOGS; CREATE TABLE shop.three (a INT)").await;
        let (next, _) = source.binlog_end().await;
        let by_gtid = "--read-from-remote-source=BINLOG-DUMP-GTIDS".to_owned();
        let all = read(&[next.clone(), by_gtid.clone()]).await;
        assert!(!all.contains("name.two") && all.contains("TABLE shop_of_another_name.three"), "{all}");
        // The same, with something to leave out: neither that nor what lies before the file.
        let executed = source.value("SELECT @@GLOBAL.gtid_executed").await;
        let (uuid, numbers) = executed.split_once(':').expect("a set");
        let three = numbers.rsplit('-').next().expect("an interval");
        source.script("CREATE TABLE shop.four (a INT)").await;
        let new = read(&[next, by_gtid, format!("--exclude-gtids={uuid}:{three}")]).await;
        assert!(["name.one", "name.two", "name.three"].iter().all(|old| !new.contains(old)), "{new}");
        assert!(new.contains("TABLE shop_of_another_name.four"), "{new}");
    }

    let beyond = reader.read(&[file.clone(), "--start-position=999999".to_owned()]).await;
    let said = String::from_utf8_lossy(&beyond.stderr).into_owned();
    assert!(!beyond.status.success() && said.contains("RPX-3005"), "{said}");

    // The databases' creation was left out once: what is rendered again to find a place is not counted again.
    let mut status = Command::new(env!("CARGO_BIN_EXE_replproxy"));
    status.args(["status", "--admin", &format!("http://127.0.0.1:{admin}")]);
    let status = String::from_utf8_lossy(&output(status).await.stdout).into_owned();
    assert!(status.contains("  1 skipped (unsupported)") && status.contains("  1 skipped (not_selected)"), "{status}");
    assert!(proxy.runs(), "the proxy stays up");
}

#[tokio::test]
async fn mysqlbinlog_reads_a_renaming_route() {
    read_by(Version::Mysql97).await;
}

#[tokio::test]
async fn mariadb_binlog_reads_a_renaming_route() {
    read_by(Version::Mariadb1011).await;
}
