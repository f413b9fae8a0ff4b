//! `run` as a process: start, signals, reload, status. The source is `serve` over the demo's recorded binary log, so no
//! server is needed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use replproxy::binlog::EventType;
use replproxy::gtid::GtidSet;
use replproxy::source::{Client, DumpRequest, DumpStart, EventStream, Identity, SourceError};
use replproxy::status::{Status, fetch};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::process::{Process, free_port};
use crate::support::thin::endpoint;

/// Far more than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    folder: TempDir,
    process: Process,
}

impl Running {
    fn spawn(arguments: &[&str], files: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_replproxy"));
        command.args(arguments).current_dir(folder.path()).env_remove("REPLPROXY_LOG");
        let process = Process::spawn(&mut command, &folder.path().join("output")).unwrap();
        Self { folder, process }
    }

    fn run(configuration: &str) -> Self {
        Self::spawn(&["run", "--config", "replproxy.toml"], &[("replproxy.toml", configuration)])
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("replproxy.toml")
    }

    /// Waits for a port to listen, or says what the program said instead.
    fn listening(mut self, ports: &[u16]) -> Self {
        self.process.listens_at(ports);
        self
    }

    fn logs(&self, what: &str) {
        let limit = Instant::now() + PATIENCE;
        while !self.process.output().contains(what) {
            assert!(Instant::now() < limit, "{what:?} is not logged:\n{}", self.process.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn exit_code(&mut self) -> Option<i32> {
        assert!(self.process.ends_within(PATIENCE), "it does not end:\n{}", self.process.output());
        self.process.status().unwrap().code()
    }
}

/// The demo's recorded binary log behind `serve`.
fn recorded_source() -> (Running, u16) {
    let port = free_port();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo");
    let listen = format!("127.0.0.1:{port}");
    let arguments = ["serve", folder.to_str().unwrap(), "--listen", &listen, "--password", "secret", "--no-tls"];
    (Running::spawn(&arguments, &[]).listening(&[port]), port)
}

fn configuration(source: u16, admin: u16, routes: &[(&str, u16, &str)]) -> String {
    let mut text = format!(
        "[proxy]\nserver_id = 4000001\nadmin = \"127.0.0.1:{admin}\"\n\
         [sources.recorded]\nhost = \"127.0.0.1\"\nport = {source}\nuser = \"repl\"\npassword = \"secret\"\n"
    );
    for (name, listen, objects) in routes {
        text += &format!(
            "[routes.{name}]\nsource = \"recorded\"\nlisten = \"127.0.0.1:{listen}\"\nuser = \"repl\"\npassword = \"secret\"\n\
             tls = \"disabled\"\n{objects}\n"
        );
    }
    text
}

const TO_CN: &str = "[[routes.shop.objects]]\ndatabase = \"shop\"\nrename = \"shop_cn\"";
const TO_DE: &str = "[[routes.shop.objects]]\ndatabase = \"shop\"\nrename = \"shop_de\"";

async fn attach(port: u16) -> Result<EventStream, SourceError> {
    // A replica for each route: one and the same must not follow a source by GTID through two routes with different rules.
    let uuid = Uuid::from_u128(port.into());
    let identity = Identity { server_id: 77, uuid, host: "test".to_owned(), port: 0 };
    let start = DumpStart::GtidSet(Bytes::from(GtidSet::default().encode()));
    let request = DumpRequest { identity, heartbeat: Duration::from_secs(1), flags: 0, start, session: Vec::new() };
    Client::connect(&endpoint(port, "repl", "secret")).await?.start_dump(request).await
}

/// Reads until so many transactions have come, and returns every byte of it.
async fn transactions(stream: &mut EventStream, amount: usize) -> Vec<u8> {
    let mut seen = 0;
    let mut bytes = Vec::new();
    while seen < amount {
        let event = tokio::time::timeout(PATIENCE, stream.next()).await.expect("something arrives").unwrap().unwrap();
        seen += usize::from(EventType(event[4]) == EventType::GTID);
        bytes.extend_from_slice(&event);
    }
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn status(admin: u16) -> Status {
    fetch(&format!("http://127.0.0.1:{admin}")).unwrap()
}

fn http_get(port: u16, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn run_starts_and_answers_while_its_source_is_down_and_ends_with_0_at_sigterm() {
    let [source, admin, listen] = [free_port(), free_port(), free_port()];
    // Only the admin listener is probed: a connection to the route would make it ask its source.
    let mut proxy = Running::run(&configuration(source, admin, &[("shop", listen, TO_CN)])).listening(&[admin]);
    proxy.logs("listening on");
    assert!(http_get(admin, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(http_get(admin, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(http_get(admin, "/metrics").contains("replproxy_route_healthy{route=\"shop\"} 1"));
    assert!(http_get(admin, "/").contains("<title>replproxy: healthy</title>"));
    let status = status(admin);
    assert!(status.healthy && status.sources[0].last_contact.is_none());
    proxy.process.terminate();
    assert_eq!(proxy.exit_code(), Some(0));
}

#[tokio::test]
async fn a_source_that_is_down_makes_the_route_unhealthy_until_it_is_back() {
    let [admin, listen] = [free_port(), free_port()];
    let (mut source, port) = recorded_source();
    source.process.kill();
    let proxy = Running::run(&configuration(port, admin, &[("shop", listen, TO_CN)])).listening(&[listen]);
    assert!(attach(listen).await.is_err());
    let shown = status(admin);
    assert!(!shown.healthy);
    assert_eq!(shown.routes[0].last_error.as_ref().map(|error| error.code.as_str()), Some("RPX-2001"));
    let output = Command::new(env!("CARGO_BIN_EXE_replproxy"))
        .args(["status", "--admin", &format!("127.0.0.1:{admin}")])
        .output();
    assert_eq!(output.unwrap().status.code(), Some(1));

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo");
    let at = format!("127.0.0.1:{port}");
    let arguments = ["serve", folder.to_str().unwrap(), "--listen", &at, "--password", "secret", "--no-tls"];
    let _source = Running::spawn(&arguments, &[]).listening(&[port]);
    let mut stream = attach(listen).await.unwrap();
    transactions(&mut stream, 10).await;
    let shown = status(admin);
    assert!(shown.healthy, "{}", proxy.process.output());
    assert_eq!((shown.replicas.len(), shown.replicas[0].server_id), (1, 77));
    assert_eq!(shown.sources[0].version.as_deref(), Some("5.7.29-log"));
    let policed: Vec<&str> = shown.routes[0].statements.last.iter().map(|last| last.kind.as_str()).collect();
    assert!(policed.contains(&"create_trigger"), "{policed:?}");
}

#[test]
fn a_taken_address_ends_it_with_1_and_says_whose_it_is() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut proxy =
        Running::run(&configuration(1, free_port(), &[("shop", taken.local_addr().unwrap().port(), TO_CN)]));
    assert_eq!(proxy.exit_code(), Some(1));
    let output = proxy.process.output();
    assert!(output.contains("error: RPX-1004: route \"shop\" cannot listen on"), "{output}");
}

#[test]
fn a_bad_configuration_ends_it_with_2_and_all_mistakes() {
    let mut proxy = Running::run("[proxy]\nserver_idd = 1\n[routes.shop]\nsource = \"nobody\"\n");
    assert_eq!(proxy.exit_code(), Some(2));
    let output = proxy.process.output();
    assert!(output.contains("RPX-1001") && output.contains("server_idd") && output.contains("nobody"), "{output}");
}

#[tokio::test]
async fn an_idle_replica_does_not_keep_it_from_ending() {
    let (_source, port) = recorded_source();
    let [admin, listen] = [free_port(), free_port()];
    let mut proxy = Running::run(&configuration(port, admin, &[("shop", listen, TO_CN)])).listening(&[listen]);
    let mut stream = attach(listen).await.unwrap();
    transactions(&mut stream, 10).await;
    let begun = Instant::now();
    proxy.process.terminate();
    assert_eq!(proxy.exit_code(), Some(0), "{}", proxy.process.output());
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    proxy.logs("ended");
}

#[tokio::test]
async fn a_reload_gives_new_sessions_the_new_rules_and_ends_only_those_of_changed_routes() {
    let (_source, port) = recorded_source();
    let [admin, shop, same, added] = [free_port(), free_port(), free_port(), free_port()];
    let proxy = Running::run(&configuration(port, admin, &[("shop", shop, TO_CN), ("same", same, "")]))
        .listening(&[shop, same]);
    let mut changed = attach(shop).await.unwrap();
    assert!(holds(&transactions(&mut changed, 10).await, "shop_cn"));
    let mut untouched = attach(same).await.unwrap();
    transactions(&mut untouched, 10).await;

    let new = configuration(port, admin, &[("shop", shop, TO_DE), ("same", same, ""), ("added", added, "")]);
    std::fs::write(proxy.configuration(), new).unwrap();
    proxy.process.signal("HUP");
    let proxy = proxy.listening(&[added]);
    let ended = tokio::time::timeout(PATIENCE, async { while let Ok(Some(_)) = changed.next().await {} }).await;
    assert!(ended.is_ok(), "the changed route's session goes on:\n{}", proxy.process.output());
    let mut again = attach(shop).await.unwrap();
    let bytes = transactions(&mut again, 10).await;
    assert!(holds(&bytes, "shop_de") && !holds(&bytes, "shop_cn"));
    // Its heartbeats still come.
    let beat = tokio::time::timeout(PATIENCE, untouched.next()).await;
    assert!(matches!(beat, Err(_) | Ok(Ok(Some(_)))), "the unchanged route's session ended: {beat:?}");
    assert_eq!(status(admin).replicas.len(), 2);
}

#[tokio::test]
async fn a_reload_with_mistakes_keeps_everything_and_says_so() {
    let (_source, port) = recorded_source();
    let [admin, listen] = [free_port(), free_port()];
    let proxy = Running::run(&configuration(port, admin, &[("shop", listen, TO_CN)])).listening(&[listen]);
    let mut stream = attach(listen).await.unwrap();
    transactions(&mut stream, 10).await;
    let good = std::fs::read_to_string(proxy.configuration()).unwrap();
    std::fs::write(proxy.configuration(), good.replace("rename", "renam")).unwrap();
    proxy.process.signal("HUP");
    proxy.logs("the old configuration stays");
    let shown = status(admin);
    assert!(shown.reload_error.as_ref().is_some_and(|error| error.contains("renam")), "{:?}", shown.reload_error);
    assert_eq!(shown.replicas.len(), 1, "the session of a route that was not touched ended");

    std::fs::write(proxy.configuration(), good).unwrap();
    proxy.process.signal("HUP");
    let limit = Instant::now() + PATIENCE;
    while status(admin).reload_error.is_some() {
        assert!(Instant::now() < limit, "a good reload does not clear the error");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(http_get(admin, "/metrics").contains("replproxy_configuration_reloads_total{result=\"kept\"} 1"));
}
