//! The program as a user meets it: help, exit statuses, errors on stderr.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn replproxy(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_replproxy"))
        .args(arguments)
        .env_remove("REPLPROXY_LOG")
        .output()
        .expect("the built program runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("output is UTF-8")
}

#[test]
fn help_names_every_command_and_ends_with_0() {
    let output = replproxy(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = stdout(&output);
    for command in ["run", "check", "decode", "explain", "rewrite", "serve", "status", "demo"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in:\n{help}");
        let output = replproxy(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("Exit status"), "{command} --help does not say how it ends");
    }
}

#[test]
fn version_is_the_crates() {
    assert_eq!(stdout(&replproxy(&["--version"])), format!("replproxy {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_ends_with_2_and_an_error_line() {
    let wrong: [&[&str]; 5] = [
        &["frobnicate"],
        &["status", "--frob"],
        &["status", "--format", "xml"],
        &["status", "--admin", "not a url"],
        &["status", "--log", "loud"],
    ];
    for arguments in wrong {
        let output = replproxy(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).starts_with("error: "), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn status_without_a_proxy_fails_with_code_and_next_step() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = replproxy(&["status", "--admin", &format!("http://127.0.0.1:{port}")]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.starts_with("error: RPX-1005: ") && error.contains("(next: "), "{error}");
}

/// Answers one HTTP request with this body and returns the address.
fn answer_once(body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 4096]);
        let _ = write!(socket, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    });
    address
}

fn status_object(healthy: bool) -> Value {
    let error = |replica: Option<u32>| {
        json!({
            "replica_server_id": replica, "replica_uuid": null, "code": "RPX-2002", "message": "denied", "next": "look",
            "since": "2026-01-01T00:00:00Z", "at": "2026-01-01T00:01:00Z"
        })
    };
    let (errors, source_error) =
        if healthy { (json!([]), Value::Null) } else { (json!([error(Some(7))]), error(None)) };
    let mut status = json!({
        "version": "0.1.0", "started_at": "2026-01-01T00:00:00Z", "uptime_seconds": 61, "configuration": "replproxy.toml",
        "configured_at": "2026-01-01T00:00:00Z", "reload_error": null, "healthy": healthy,
        "routes": [{
            "name": "shop", "source": "primary", "listen": "127.0.0.1:3307", "rules_fingerprint": "5f3c9a12", "transparent": false,
            "healthy": healthy,
            "last_error": { "code": "RPX-4001", "origin": "configuration", "message": "CREATE\u{1b}[2J TRIGGER", "next": "look", "at": "2026-01-01T00:00:00Z" },
            "coordinates": { "mode": "source", "why": "names do not grow" },
            "events_received": 10, "bytes_received": 1000, "events_sent": 5, "bytes_sent": 500, "transactions_sent": 2, "attaches": 1,
            "replicas_attached": 0, "upstream_connections": 0, "lag_seconds": null,
            "statements": {
                "counted": [{ "action": "skip", "reason": "unsupported", "rule": "ddl.unsupported", "count": 1 }],
                "last": [{ "action": "skip", "rule": "ddl.unsupported", "reason": "unsupported", "kind": "create_trigger",
                           "file": "binlog.000001", "position": 4, "at": "2026-01-01T00:00:00Z" }]
            },
            "remembered": [],
            "left": [{ "server_id": 7, "uuid": null, "peer": "10.0.0.7:4000", "at": "2026-01-01T00:00:00Z", "place": {
                "file": "binlog.rp5f3c9a12.000001", "position": 900, "source_file": "binlog.000001", "source_position": 700, "server": "db2:3306" } }]
        }],
        "sources": [{ "name": "primary", "endpoint": "127.0.0.1:3306", "failover": ["db2:3306"], "in_use": "db2:3306", "last_contact": null, "version": null, "server_id": null, "server_uuid": null }],
        "replicas": []
    });
    // More fields than one call of the macro takes.
    status["routes"][0]["semi_sync_connections"] = json!(0);
    status["routes"][0]["acknowledgements"] = json!(0);
    status["sources"][0]["semi_sync"] = Value::Null;
    status["routes"][0]["errors"] = errors;
    status["sources"][0]["error"] = source_error;
    status
}

#[test]
fn status_of_a_healthy_proxy_ends_with_0_and_of_an_unhealthy_one_with_1() {
    for (healthy, code) in [(true, 0), (false, 1)] {
        let address = answer_once(status_object(healthy).to_string());
        let output = replproxy(&["status", "--admin", &address]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let text = stdout(&output);
        assert!(text.contains("route shop: primary → 127.0.0.1:3307"), "{text}");
        assert!(text.contains("RPX-4001") && text.contains("create_trigger skipped before binlog.000001:4"), "{text}");
        let place = "last whole transaction up to binlog.rp5f3c9a12.000001:900, which is binlog.000001:700 of db2:3306";
        assert!(text.contains(place), "{text}");
        assert!(text.contains("source primary at 127.0.0.1:3306 (failover db2:3306), NOW AT db2:3306"), "{text}");
        let first = "since 2026-01-01T00:00:00Z, last";
        for error in [
            format!("error of replica 7 {first} met"),
            format!("has not answered yet\n  does not answer {first} asked"),
        ] {
            assert_eq!(text.contains(&error), !healthy, "{text}");
        }
        assert!(!text.contains('\u{1b}'), "a peer's text steers the terminal: {text:?}");
    }
}

#[test]
fn status_as_json_is_the_object_that_the_proxy_serves() {
    let address = answer_once(status_object(true).to_string());
    let output = replproxy(&["status", "--admin", &address, "--format", "json"]);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), status_object(true));
}

#[test]
fn somebody_elses_answer_is_not_taken_for_a_status() {
    let address = answer_once("<html>welcome</html>".to_owned());
    let output = replproxy(&["status", "--admin", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("not the status of replproxy"), "{}", stderr(&output));
}

#[test]
fn a_route_that_is_not_in_the_configuration_is_wrong_usage_and_names_those_that_are() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/config/good/contract.toml");
    let output = replproxy(&["rewrite", "--config", config, "--route", "shopp", "in", "-"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no route \"shopp\"; it has: shop"), "{}", stderr(&output));
}

#[test]
fn a_bad_configuration_ends_with_2_and_all_its_mistakes() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/config/bad/unknown_keys.toml");
    let output = replproxy(&["rewrite", "--config", config, "--route", "shop", "in", "-"]);
    assert_eq!(output.status.code(), Some(2));
    let error = stderr(&output);
    assert!(error.starts_with("error: RPX-1001: ") && error.lines().count() > 2, "{error}");
}

#[test]
fn rewrite_never_writes_over_its_input() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/config/good/contract.toml");
    let path = file.path().to_str().unwrap();
    let output = replproxy(&["rewrite", "--config", config, "--route", "shop", path, path]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn rewrite_of_what_it_cannot_read_leaves_its_output_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/config/good/contract.toml");
    // A file of MySQL 4.1 begins with START_V3.
    let old = [&b"\xfebin"[..], &[0, 0, 0, 0, 1, 1, 0, 0, 0, 69, 0, 0, 0, 73, 0, 0, 0, 0, 0], &[0; 50]].concat();
    for (input, code) in
        [(b"no binlog".to_vec(), "RPX-2011"), (b"\xfebin\0\0\0".to_vec(), "RPX-2011"), (old, "RPX-2010")]
    {
        let (from, to, kept) = (folder.path().join("in"), folder.path().join("out"), folder.path().join("kept"));
        std::fs::write(&from, input).unwrap();
        std::fs::write(&kept, "precious").unwrap();
        for output in [&to, &kept] {
            let paths = [from.to_str().unwrap(), output.to_str().unwrap()];
            let output = replproxy(&["rewrite", "--config", config, "--route", "shop", paths[0], paths[1]]);
            assert_eq!(output.status.code(), Some(1));
            assert!(stderr(&output).contains(code), "{}", stderr(&output));
        }
        assert!(!to.exists());
        assert_eq!(std::fs::read(&kept).unwrap(), b"precious");
    }
}

#[test]
fn the_demo_shows_a_renamed_a_filtered_and_a_policed_statement_and_ends_with_0() {
    let output = replproxy(&["demo"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for shown in
        ["renamed by objects[0]", "filtered: exclude objects[1]", "create_trigger policed: skip", "drop_table split"]
    {
        assert!(text.contains(shown), "{shown} is not in:\n{text}");
    }
    assert!(text.contains("10 transactions left the source, 10 arrived"), "{text}");
    let hidden = text
        .lines()
        .filter(|line| line.starts_with("   replica"))
        .any(|line| line.contains("audit_") || line.contains("payroll"));
    assert!(!hidden, "what is excluded arrived:\n{text}");
}
