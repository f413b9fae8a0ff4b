//! `check` against real servers: each item fails, warns or passes for the reason that it is there for.

use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    fleet::Version,
    server::{Server, ServerOptions},
    unless_available,
};

/// Runs `check` of a route with these objects against a server.
struct Check<'a> {
    port: u16,
    user: &'a str,
    password: &'a str,
    tls: &'a str,
    server_id: u32,
    objects: &'a str,
}

impl<'a> Check<'a> {
    fn of(server: &Server) -> Check<'a> {
        let objects = "[[routes.shop.objects]]\ndatabase = \"shop\"\nrename = \"shop_cn\"\n";
        Check { port: server.port(), user: "repl", password: "secret", tls: "preferred", server_id: 4_000_001, objects }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("replproxy.toml");
        let Self { port, user, password, tls, server_id, objects } = self;
        let text = format!(
            "[proxy]\nserver_id = {server_id}\n\
             [sources.primary]\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"{user}\"\npassword = \"{password}\"\ntls = \"{tls}\"\n\
             [routes.shop]\nsource = \"primary\"\nlisten = \"127.0.0.1:0\"\nuser = \"repl\"\npassword = \"secret\"\n{objects}"
        );
        std::fs::write(&path, text).expect("a file");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_replproxy"));
        command.arg("check").arg("--config").arg(path).args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        output.expect("the task ends").expect("the built program runs")
    }

    /// Status and text of each item, and the whole verdict, which has to agree with the exit status.
    async fn json(&self, arguments: &[&str]) -> (Vec<(String, String, String)>, bool) {
        let output = self.run(&[&["--format", "json"], arguments].concat()).await;
        let object: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!((&object["route"], &object["source"]), (&"shop".into(), &"primary".into()));
        let passed = object["passed"].as_bool().expect("a verdict");
        assert_eq!(output.status.code(), Some(i32::from(!passed)));
        let items = object["items"].as_array().expect("items").iter().map(|item| {
            let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
            assert_eq!(item["next_step"].is_null(), item["status"] == "pass", "{item}");
            (text("item"), text("status"), text("found"))
        });
        (items.collect(), passed)
    }

    /// The items that do not pass.
    async fn complaints(&self, arguments: &[&str]) -> Vec<(String, String, String)> {
        let (mut items, passed) = self.json(arguments).await;
        assert_eq!(passed, !items.iter().any(|(_, status, _)| status == "fail"));
        items.retain(|(_, status, _)| status != "pass");
        items
    }
}

fn names(complaints: &[(String, String, String)]) -> Vec<(&str, &str)> {
    complaints.iter().map(|(item, status, _)| (item.as_str(), status.as_str())).collect()
}

#[tokio::test]
async fn a_source_as_it_should_be_passes_in_every_version() {
    for version in [Version::Mysql56, Version::Mysql57, Version::Mysql97, Version::Mariadb1011] {
        let Some(server) = unless_available(Server::start(version, ServerOptions::new()).await) else { return };
        server
            .script("CREATE DATABASE shop; CREATE TABLE shop.a (id INT PRIMARY KEY); CREATE VIEW shop.v AS SELECT 1")
            .await;
        let check = Check::of(&server);
        assert_eq!(check.complaints(&[]).await, [], "{version:?}");
        let text = check.run(&["--route", "shop"]).await;
        let text = String::from_utf8(text.stdout).expect("UTF-8");
        assert!(text.contains("2 tables are selected") && text.contains("\npassed: "), "{text}");
        let made =
            server.value("SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'shop'");
        let made = format!(" COLLATE {};", made.await);
        assert!(
            text.contains("made by hand at replicas: CREATE DATABASE IF NOT EXISTS `shop_cn`") && text.contains(&made),
            "{text}"
        );
    }
}

/// What an account with SELECT sees of tables outside of the selection that reach into it, in every version.
#[tokio::test]
async fn what_reaches_into_the_selection_is_found() {
    for version in [Version::Mysql56, Version::Mysql57, Version::Mysql97, Version::Mariadb1011] {
        let Some(server) = unless_available(Server::start(version, ServerOptions::new()).await) else { return };
        server
            .script(
                "CREATE DATABASE shop; CREATE DATABASE other; CREATE TABLE other.parent (id INT PRIMARY KEY) ENGINE=InnoDB;
                 CREATE TABLE shop.child (id INT PRIMARY KEY, p INT, q INT, CONSTRAINT loud FOREIGN KEY (p) REFERENCES other.parent (id),
                     CONSTRAINT quiet FOREIGN KEY (q) REFERENCES other.parent (id) ON DELETE CASCADE ON UPDATE SET NULL) ENGINE=InnoDB;
                 CREATE TABLE shop.a (id INT PRIMARY KEY); CREATE TABLE other.a (id INT PRIMARY KEY);
                 CREATE VIEW other.writes AS SELECT id FROM shop.child; CREATE VIEW other.reads AS SELECT DISTINCT id FROM shop.child;
                 CREATE VIEW other.own AS SELECT id FROM other.parent;
                 CREATE TRIGGER other.tr AFTER INSERT ON other.parent FOR EACH ROW UPDATE shop.child SET p = NULL WHERE id = NEW.id;",
            )
            .await;
        let check = Check::of(&server);
        let logs_cascades = version == Version::Mysql97;
        let complaints = check.complaints(&[]).await;
        let expected = if logs_cascades { vec![] } else { vec![("foreign_keys", "warn")] };
        assert_eq!(names(&complaints), expected, "{version:?}: {complaints:?}");

        // `shop.a` and `other.a` under one name, and statements in the log.
        server.script("SET GLOBAL binlog_format = 'MIXED'").await;
        let objects = "[[routes.shop.objects]]\ndatabase = \"shop\"\nrename = \"shop_cn\"\n\
                       [[routes.shop.objects]]\ntable = \"other.a\"\nrename = \"shop_cn.a\"\n";
        let expected =
            [("binlog_format", "warn"), ("new_names", "fail"), ("foreign_keys", "warn"), ("views_triggers", "warn")];
        let complaints = Check { objects, ..Check::of(&server) }.complaints(&[]).await;
        assert_eq!(names(&complaints), expected, "{version:?}: {complaints:?}");
        assert!(
            complaints[1].2.ends_with("other.a, shop.a as shop_cn.a")
                || complaints[1].2.ends_with("shop.a, other.a as shop_cn.a")
        );
        assert!(
            complaints[2]
                .2
                .ends_with("shop.child by quiet (ON DELETE CASCADE ON UPDATE SET NULL, parent other.parent)"),
            "{version:?}: {complaints:?}"
        );
        let hidden = "(its text is not shown to the account)";
        assert!(
            complaints[3]
                .2
                .contains(&format!("view other.own {hidden}, view other.writes {hidden}; triggers are not shown")),
            "{version:?}: {complaints:?}"
        );

        // Who sees the texts knows which lead inside.
        let complaints = Check { objects, user: "root", password: "", ..Check::of(&server) }.complaints(&[]).await;
        assert_eq!(names(&complaints), expected, "{version:?}: {complaints:?}");
        assert!(complaints[3].2.ends_with("trigger other.tr, view other.writes"), "{version:?}: {complaints:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_source_is_found() {
    for version in [Version::Mysql57, Version::Mariadb1011] {
        let options = ServerOptions::new()
            .arg("--binlog-format=STATEMENT")
            .arg("--binlog-row-image=MINIMAL")
            .arg("--binlog-checksum=NONE")
            .arg("--binlog-ignore-db=shop");
        let Some(server) = unless_available(Server::start(version, options).await) else { return };
        server
            .script(
                "CREATE DATABASE shop; CREATE TABLE shop.m (a INT) ENGINE=MEMORY; CREATE DATABASE other;
                 CREATE TABLE other.m (a INT) ENGINE=MEMORY; CREATE USER 'weak'@'%' IDENTIFIED BY 'secret';
                 GRANT SELECT ON shop.* TO 'weak'@'%';",
            )
            .await;
        let expected = [
            ("binlog_format", "fail"),
            ("binlog_row_image", "warn"),
            ("binlog_checksum", "warn"),
            ("binlog_filters", "fail"),
            ("engines", "warn"),
            ("views_triggers", "warn"),
        ];
        let check = Check::of(&server);
        let complaints = check.complaints(&[]).await;
        assert_eq!(names(&complaints), expected, "{complaints:?}");
        assert!(complaints[4].2.starts_with("shop.m (MEMORY"), "{complaints:?}");

        let ignored = check.complaints(&["--ignore", "binlog_format", "--ignore", "binlog_filters"]).await;
        assert_eq!(ignored.iter().filter(|(_, status, _)| status == "ignored").count(), 2);

        // An account without privileges; a route with a missing table, one that may not be read, and an empty glob.
        let objects = "[[routes.shop.objects]]\ntable = \"other.m\"\n[[routes.shop.objects]]\ntable = \"shop.gone\"\n\
                       [[routes.shop.objects]]\ndatabase = \"x_*\"\n";
        let weak = Check { user: "weak", objects, server_id: server.server_id(), ..Check::of(&server) };
        let complaints = weak.complaints(&[]).await;
        let found = names(&complaints);
        for item in [
            ("replication_privileges", "fail"),
            ("select_privileges", "warn"),
            ("binlog_filters", "warn"),
            ("server_id_clash", "fail"),
            ("objects", "fail"),
        ] {
            assert!(found.contains(&item), "{item:?} is not in {complaints:?}");
        }
        let objects = complaints.iter().find(|(item, ..)| item == "objects").expect("there");
        assert!(objects.2.contains("other.m") && objects.2.contains("shop.gone"), "{objects:?}");
    }
}

#[tokio::test]
async fn no_connection_is_one_clear_failure() {
    let options = ServerOptions::new().without_binlog();
    let Some(server) = unless_available(Server::start(Version::Mysql57, options).await) else { return };
    server.script("CREATE DATABASE shop").await;
    let complaints = Check::of(&server).complaints(&[]).await;
    assert_eq!(names(&complaints), [("log_bin", "fail")], "{complaints:?}");

    let wrong = Check { password: "wrong", ..Check::of(&server) }.json(&[]).await.0;
    assert_eq!((wrong.len(), wrong[0].0.as_str(), wrong[0].1.as_str()), (1, "login", "fail"));
    assert!(wrong[0].2.contains("RPX-2002") && wrong[0].2.contains("Access denied"), "{wrong:?}");
    let identity = Check { tls: "verify-identity", ..Check::of(&server) }.json(&[]).await.0;
    assert_eq!((identity.len(), identity[0].0.as_str()), (1, "tls"));

    let check = Check::of(&server);
    for (arguments, text) in [
        (&["--ignore", "nonsense"][..], "there is no item `nonsense`"),
        (&["--ignore", "login"], "cannot be ignored"),
        (&["--route", "other"], "no route \"other\""),
    ] {
        let output = check.run(arguments).await;
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(text), "{output:?}");
    }
    drop(server);
    let gone = check.json(&[]).await.0;
    assert_eq!((gone.len(), gone[0].0.as_str(), gone[0].1.as_str()), (1, "reachable", "fail"));
}
