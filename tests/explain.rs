//! `replproxy explain` as a user runs it: the documented JSON, stdin, exit statuses.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn config() -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good/contract.toml").display().to_string()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replproxy"));
    command.args(["explain", "--config", &config(), "--route", "shop"]).args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the built program runs")
}

fn explain(arguments: &[&str]) -> Value {
    let output = run(&[&["--format", "json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn the_object_of_the_contract_needs_no_secret_and_no_server() {
    let answer = explain(&["--database", "shop", "RENAME TABLE a TO b"]);
    let object = |name: &str, span: [usize; 2]| {
        json!({"type": "table", "database": "shop", "name": name, "role": "target", "selected": true,
               "mapped": ["shop_cn", name], "span": span, "database_span": null})
    };
    assert_eq!(
        answer,
        json!({"kind": "rename_table", "class": "supported", "objects": [object("a", [13, 14]), object("b", [18, 19])],
               "action": "forward", "rule": "objects[0]", "reason": null, "explanation": null,
               "rewritten": "RENAME TABLE a TO b", "default_database": "shop_cn"})
    );
}

#[test]
fn what_does_not_go_out_has_a_reason_and_no_text() {
    let answer = explain(&["DROP DATABASE `hr`"]);
    assert_eq!(
        answer["objects"],
        json!([{"type": "database", "database": "hr", "name": null, "role": "target", "selected": false, "mapped": null,
                "span": [14, 18], "database_span": [14, 18]}])
    );
    assert_eq!((&answer["action"], &answer["rule"]), (&json!("skip"), &json!("not selected")));
    assert_eq!((&answer["reason"], &answer["rewritten"]), (&json!("not_selected"), &Value::Null));
    let answer = explain(&["ALTER TABLE crm.customers RENAME crm.gone"]);
    assert_eq!((&answer["action"], &answer["rule"]), (&json!("stop"), &json!("ddl.rename_out")));
    assert!(answer["explanation"].as_str().unwrap().contains("ddl.rename_out = \"skip\""));
}

/// The supported list in the spellings that servers and people write; only the names change.
#[test]
fn each_supported_statement_is_rewritten_in_every_spelling() {
    let statements = [
        "ALTER TABLE {t} ADD COLUMN c INT",
        "CREATE TABLE {t} (id INT)",
        "CREATE INDEX i ON {t} (a)",
        "CREATE VIEW {t} AS SELECT 1",
        "ALTER VIEW {t} AS SELECT 1",
        "CREATE PROCEDURE {t}() SELECT 1",
        "CREATE FUNCTION {t}() RETURNS INT RETURN 1",
        "DROP INDEX i ON {t}",
        "DROP TABLE IF EXISTS {t}",
        "RENAME TABLE {t} TO {t}2",
        "TRUNCATE TABLE {t}",
        "INSERT INTO {t} VALUES ('shop.orders')",
        "REPLACE INTO {t} SET a = 1",
        "UPDATE {t} SET a = 'shop'",
        "DELETE FROM {t} WHERE a = 1 /* shop.orders */",
    ];
    let names = [
        ("shop.orders", "shop_cn.orders"),
        ("`shop`.`orders`", "`shop_cn`.`orders`"),
        ("shop . /* shop */ orders", "shop_cn . /* shop */ orders"),
        ("/*!40000 shop.orders */", "/*!40000 shop_cn.orders */"),
    ];
    let mut input = String::new();
    let mut expected = Vec::new();
    for statement in statements {
        for (old, new) in names {
            // A second name cannot be glued to a quoted one or to a comment.
            if statement.contains("{t}2") && !old.ends_with("rs") {
                continue;
            }
            for spelled in [statement.to_owned(), statement.to_lowercase(), format!("/* c */ {statement} -- end")] {
                input += &json!(spelled.replace("{t}", old)).to_string();
                input.push('\n');
                expected.push(spelled.replace("{t}", new));
            }
        }
    }
    let mut child = command(&["-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let answers: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), expected.len());
    for (answer, expected) in answers.iter().zip(&expected) {
        assert_eq!((&answer["action"], &answer["class"]), (&json!("forward"), &json!("supported")), "{answer}");
        assert_eq!(answer["rewritten"].as_str(), Some(expected.as_str()));
    }
}

/// A program that asks one statement at a time over a pipe gets each answer before it asks again.
#[test]
fn stdin_is_answered_line_by_line_and_survives_bad_lines() {
    let mut child = command(&["--database", "shop", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut ask = |line: &[u8]| -> Value {
        stdin.write_all(line).unwrap();
        stdin.write_all(b"\n").unwrap();
        let mut answer = String::new();
        stdout.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    assert_eq!(ask(br#""TRUNCATE orders""#)["kind"], "truncate");
    assert!(ask(b"TRUNCATE orders")["error"].is_string());
    assert!(ask(b"\"\xff\"")["error"].is_string());
    assert!(ask(br#"{"sql": 1}"#)["error"].is_string());
    let answer = ask(br#"{"sql": "TRUNCATE audit_1", "database": "shop"}"#);
    assert_eq!((&answer["action"], &answer["reason"]), (&json!("skip"), &json!("excluded")));
    assert_eq!(ask(br#"{"sql": "TRUNCATE t", "database": "hr"}"#)["objects"][0]["database"], "hr");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_source_version_decides_over_version_comments() {
    let sql = "/*!50700 DROP TABLE shop.a */";
    assert_eq!(explain(&[sql])["kind"], "drop_table");
    assert_eq!(explain(&["--source-version", "5.6.51", sql])["explanation"], "it holds nothing but comments");
    assert_eq!(explain(&["--source-version", "10.11.19", "CREATE SEQUENCE shop.s"])["kind"], "create_sequence");
}

#[test]
fn text_is_for_people() {
    let output = run(&["--database", "shop", "DROP TABLE a, audit_b"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "kind     drop_table (supported)\n",
        "objects  table shop.a, target at bytes 11..12: goes out as shop_cn.a (objects[0])\n",
        "         table shop.audit_b, target at bytes 14..21: does not go out (exclude objects[2])\n",
        "action   split by objects[0]\n",
        "reason   part_of_list: shop.audit_b is not selected and is left out of the list\n",
        "text     DROP TABLE a\n",
        "database shop_cn\n",
        "route    can make a transaction longer than it was: objects[0]: ",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &["--route", "other", "BEGIN"][..],
        &["--source-version", "new", "BEGIN"],
        &["--config", "none.toml", "BEGIN"],
        &[],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replproxy"));
        command.arg("explain");
        let config = config();
        if !arguments.contains(&"--config") {
            command.args(["--config", &config]);
        }
        if !arguments.contains(&"--route") {
            command.args(["--route", "shop"]);
        }
        let output = command.args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}
