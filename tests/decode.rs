//! `decode` over real files and real servers.

use std::process::{Command, Output};

use replproxy::decode::{DecodeError, Described, decode_file};
use serde_json::Value;

use crate::corpus;
use crate::support::{
    fleet::Version,
    server::{Server, ServerOptions},
    unless_available,
};

fn decode(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_replproxy"))
        .arg("decode")
        .args(arguments)
        .output()
        .expect("the built program runs")
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn events(bytes: &[u8], with_rows: bool) -> (Vec<Described>, Result<u64, DecodeError>) {
    let mut events = Vec::new();
    let result = decode_file(bytes, "f", 4, with_rows, &mut |described| {
        events.push(described.clone());
        Ok(())
    });
    (events, result)
}

/// Files of before 5.0, and of a branch that permuted the type codes.
fn is_of_another_format(name: &str) -> bool {
    name.starts_with("4.") || name.contains("a_drop")
}

#[test]
fn every_good_file_is_decoded_from_the_first_byte_to_the_last() {
    for (name, bytes) in corpus::binlogs("") {
        if is_of_another_format(&name) {
            continue;
        }
        let (events, result) = events(&bytes, true);
        assert!(matches!(result, Ok(0)), "{name}: {result:?}");
        let mut position = 4;
        for event in events.iter().filter(|event| event.checksum != "in_payload") {
            assert_eq!(event.position, Some(position), "{name}");
            position += u64::from(event.size);
        }
        assert_eq!(position, bytes.len() as u64, "{name}");
    }
}

#[test]
fn damage_is_an_error_after_all_that_is_good_and_never_a_panic() {
    for part in ["hostile", "reassembled"] {
        for (_, bytes) in corpus::binlogs(part) {
            let _either = events(&bytes, true);
        }
    }
    // A file without checksums, so that damaged bodies come as far as they can.
    let files = corpus::binlogs("");
    for (name, bytes) in
        files.iter().filter(|(name, bytes)| bytes.len() < 20_000 && !is_of_another_format(name)).take(60)
    {
        let (whole, _) = events(bytes, true);
        for cut in (4..bytes.len()).step_by(7) {
            let (good, result) = events(&bytes[..cut], true);
            assert!(good.len() <= whole.len() && good[..] == whole[..good.len()], "{name} cut at {cut}");
            assert!(
                result.is_err() || whole.iter().any(|event| event.position == Some(cut as u64)),
                "{name} cut at {cut}"
            );
        }
        for at in (4..bytes.len()).step_by(5) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let _either = events(&damaged, true);
        }
    }
}

#[tokio::test]
async fn a_source_is_decoded_as_its_files_are_and_values_show_only_where_asked_for() {
    for version in [Version::Mysql56, Version::Mysql97, Version::Mariadb1011] {
        let Some(server) = unless_available(Server::start(version, ServerOptions::new()).await) else { return };
        server
            .script(
                "CREATE DATABASE d; CREATE TABLE d.t (a TINYINT UNSIGNED, b SMALLINT, c MEDIUMINT, d INT, e BIGINT, f FLOAT, g DOUBLE,
                   h DECIMAL(20,5), i DATE, j TIME(3), k DATETIME(6), l YEAR, m CHAR(200) CHARACTER SET utf8, n VARCHAR(300), o BLOB,
                   p ENUM('x','y'), q SET('x','y','z'), r BIT(10)) CHARACTER SET utf8;
                 INSERT INTO d.t VALUES (1, -2, -3, -4, -5, 1.5, -2.25, -12345678.90123, '2024-02-29', '-12:34:56.789',
                   '2024-02-29 23:59:58.123456', 2024, 'hidden-char', 'hidden-varchar', 'hidden-blob', 'y', 'x,z', b'1000000001'),
                   (NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
                 UPDATE d.t SET n = 'hidden-update' WHERE b = -2; DELETE FROM d.t;
                 SET SESSION binlog_format = 'STATEMENT'; INSERT INTO d.t (n) VALUES ('hidden-statement');
                 SET @v = 'hidden-variable'; INSERT INTO d.t (n) VALUES (@v);",
            )
            .await;
        let folder = server.value("SELECT @@datadir").await;
        let (name, _) = server.binlog_end().await;
        let file = format!("{}/{name}", folder.trim_end_matches('/'));
        let url = format!("mysql://repl:secret@127.0.0.1:{}/{name}:4", server.port());
        let run = |arguments: Vec<String>| async move {
            let run =
                tokio::task::spawn_blocking(move || decode(&arguments.iter().map(String::as_str).collect::<Vec<_>>()));
            run.await.expect("the task ends")
        };
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();

        for format in ["text", "json"] {
            for target in [&file, &url] {
                let output = run(words(&[target, "--format", format])).await;
                assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
                let text = String::from_utf8(output.stdout).expect("UTF-8");
                assert!(
                    text.contains("CREATE TABLE d.t") && (format == "text" || text.contains("ENUM('x','y')")),
                    "{text}"
                );
                assert!(!text.contains("hidden-") && !text.contains("12345678"), "{version:?}: {text}");
            }
        }

        let from_file = json_lines(&run(words(&[&file, "--rows", "--format", "json"])).await);
        let mut from_source = json_lines(&run(words(&[&url, "--rows", "--format", "json"])).await);
        assert_eq!(from_source.remove(0)["type"], "ROTATE");
        for (one, other) in from_file.iter().zip(&from_source).skip(1) {
            assert_eq!(one, other);
        }
        assert_eq!(from_file.len(), from_source.len(), "{version:?}");
        let images: Vec<Vec<&Value>> = from_file
            .iter()
            .filter_map(|event| event.get("rows"))
            .flat_map(|rows| rows.as_array().expect("a list"))
            .map(|row| {
                let image = row.get("before").or(row.get("after")).expect("an image");
                (1..=18).map(|column| &image[format!("@{column}")]).collect()
            })
            .collect();
        // MySQL 8.0.1 and later log which numbers have no sign.
        let expected: Value = serde_json::json!([
            1,
            -2,
            -3,
            -4,
            -5,
            1.5,
            -2.25,
            "-12345678.90123",
            "2024-02-29",
            "-12:34:56.789",
            "2024-02-29 23:59:58.123456",
            2024,
            "hidden-char",
            "hidden-varchar",
            "hidden-blob",
            2,
            5,
            "0x0201"
        ]);
        assert_eq!(images[0], expected.as_array().expect("a list").iter().collect::<Vec<_>>(), "{version:?}");
        assert!(images[1].iter().all(|value| value.is_null()));
        assert_eq!(images.len(), 2 + 1 + 2, "{version:?}");

        // From an event in the middle, and from where none begins.
        let middle = from_file[from_file.len() / 2]["position"].as_u64().expect("a position");
        let rest = run(words(&[&file, "--from", &format!("{name}:{middle}"), "--format", "json"])).await;
        assert_eq!(json_lines(&rest).len(), from_file.len() - from_file.len() / 2);
        let rest = run(words(&[&file, "--from", &(middle + 1).to_string()])).await;
        assert_eq!(rest.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&rest.stderr).contains("no event begins at"), "{rest:?}");
        let gone = run(words(&[&url.replace(&name, "binlog.000099")])).await;
        assert_eq!(gone.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&gone.stderr).contains("Could not find first log file"), "{gone:?}");
    }
}

#[test]
fn wrong_arguments_are_usage_errors_that_show_no_password() {
    for arguments in [
        &["mysql://repl:topsecret@h:x"][..],
        &["mysql://repl:topsecret@h/b.1:4", "--from", "b.1:4"],
        &["f", "--from", "g:4"],
    ] {
        let output = decode(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("topsecret"));
    }
    let missing = decode(&["/nonexistent/binlog.000001"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("RPX-5004"), "{missing:?}");
}
