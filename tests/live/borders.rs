//! Tables that come and go over the border of a selection by table, on real servers: online schema changes with the real
//! pt-online-schema-change, and names that the selection follows.

use crate::support::compare::{Mapping, differences};
use crate::support::fleet::schema_change::{self, SchemaChanger};
use crate::support::fleet::{Unavailable, Version};
use crate::support::process::free_port;
use crate::support::proxy::Proxy;
use crate::support::replica::{Start, Upstream};
use crate::support::server::{Server, ServerOptions};
use crate::support::unless_available;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// How the replica keeps its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    FilePosition,
    Gtid,
}

/// A source, a proxy and a replica for one route; the names have the lengths that they have at the source.
pub(super) struct Scene {
    pub(super) source: Server,
    pub(super) proxy: Proxy,
    pub(super) replica: Server,
    port: u16,
}

impl Scene {
    pub(super) async fn start(version: Version, mode: Mode, objects: &str, ddl: &str) -> Result<Scene, Unavailable> {
        let options = || match (mode, version.is_mariadb()) {
            (Mode::Gtid, false) => ServerOptions::new().gtid(version),
            _ => ServerOptions::new(),
        };
        let replica_options = options().crash_safe_replica(version);
        let [source, replica] = Server::start_two([version; 2], [options(), replica_options]).await?;
        let port = free_port();
        let configuration = format!(
            r#"
            [proxy]
            server_id = 4000001
            state_dir = "state"
            [sources.primary]
            host = "127.0.0.1"
            port = {}
            user = "repl"
            password = "secret"
            tls = "disabled"
            [routes.border]
            source = "primary"
            listen = "127.0.0.1:{port}"
            user = "repl"
            password = "secret"
            {objects}
            [routes.border.ddl]
            {ddl}
            "#,
            source.port()
        );
        let proxy = Proxy::start(&configuration, &[port]).await;
        replica.script("SET sql_log_bin = 0; CREATE DATABASE shpx; CREATE DATABASE shop").await;
        let start = match (mode, version.is_mariadb()) {
            (Mode::FilePosition, _) => {
                let (file, position) = source.binlog_end().await;
                Start::At(file, position)
            }
            (Mode::Gtid, false) => Start::AutoPosition,
            (Mode::Gtid, true) => Start::MariadbGtid(source.value("SELECT @@gtid_binlog_pos").await),
        };
        replica.follow(&Upstream::at(port), &start).await;
        replica.start_replica().await;
        Ok(Scene { source, proxy, replica, port })
    }

    /// Waits until the replica has a row that is written into `table` now, which it knows as `mapped`.
    pub(super) async fn catch_up(&self, table: &str, mapped: &str, id: u32) {
        self.source.script(&format!("INSERT INTO {table} (id, item) VALUES ({id}, 'last')")).await;
        let query = format!("SELECT COUNT(*) FROM {mapped} WHERE id = {id}");
        if let Err(error) = self.replica.reaches(&query, "1", LIMIT).await {
            panic!("{error}\nproxy:\n{}", self.proxy.log());
        }
    }
}

/// Runs the tool while the table is written to; the proxy dies in the middle of it, where that is asked for.
async fn change(scene: &mut Scene, tool: &SchemaChanger, arguments: &[&str], table: &str, first: u32, kill: bool) {
    let mut command = tool.command();
    command
        .args(["--execute", "--no-version-check", "--recursion-method=none", "--chunk-size=50", "--sleep=0.2"])
        .args(arguments)
        .arg(format!("h=127.0.0.1,P={},u=root,D=shop,t={table}", scene.source.port()));
    let running = tokio::task::spawn_blocking(move || command.output());
    let mut id = first;
    while !running.is_finished() {
        let statements = format!(
            "INSERT INTO shop.{table} (id, item) VALUES ({id}, 'new'); UPDATE shop.{table} SET item = 'changed' WHERE id = {}; \
             DELETE FROM shop.{table} WHERE id = {}",
            id % 400,
            (id * 7) % 400
        );
        // Between the halves of a swap the table is not there.
        let _ = scene.source.try_script(&statements).await;
        id += 1;
        if kill && id == first + 5 {
            scene.proxy.kill_and_restart().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let output = running.await.expect("the task ends").expect("perl runs");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && text.contains("Successfully altered"), "{text}");
    // On a busy machine the tool may be through before the clients are: less is tested then, and nothing is wrong.
    if id <= first + 5 {
        println!("the table was written to {} times only while the tool ran", id - first);
    }
}

async fn tables_are_changed_online(version: Version, mode: Mode, online_ddl: &str) {
    let tool = tokio::task::spawn_blocking(schema_change::obtain).await.expect("the task ends");
    let Some(tool) = unless_available(tool) else { return };
    let objects = r#"
        [[routes.border.objects]]
        table = "shop.plain"
        rename = "shpx.goods"
        [[routes.border.objects]]
        table = "shop.parts"
        "#;
    let started = Scene::start(version, mode, objects, &format!("online_ddl = \"{online_ddl}\"")).await;
    let Some(mut scene) = unless_available(started) else { return };
    let numbers = "(SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7)";
    scene
        .source
        .script(&format!(
            "CREATE DATABASE shop; USE shop;
             CREATE TABLE plain (id INT PRIMARY KEY AUTO_INCREMENT, item VARCHAR(20), KEY k (item));
             CREATE TABLE parts LIKE plain;
             CREATE TABLE children (id INT PRIMARY KEY, part INT, FOREIGN KEY (part) REFERENCES parts (id));
             INSERT INTO plain (id, item) SELECT 1 + a.n + 8 * b.n + 64 * c.n, CONCAT('row ', a.n) FROM {numbers} a, {numbers} b, {numbers} c;
             INSERT INTO parts SELECT * FROM plain; INSERT INTO children VALUES (1, 1);
             ANALYZE NO_WRITE_TO_BINLOG TABLE plain, parts"
        ))
        .await;
    let add = ["--alter", "ADD COLUMN qty INT NOT NULL DEFAULT 7, DROP KEY k, ADD KEY k2 (item, id)"];
    change(&mut scene, &tool, &add, "plain", 1000, true).await;
    scene.source.script("FLUSH LOGS").await;
    let modify = ["--alter", "MODIFY item VARCHAR(40) CHARACTER SET utf8mb4, ADD COLUMN note TEXT"];
    change(&mut scene, &tool, &modify, "plain", 3000, false).await;
    // With foreign keys on the table the copy takes its name after the table was dropped. The tool does so on MySQL up to 5.7 only.
    let method = if version.is_mariadb() { "rebuild_constraints" } else { "drop_swap" };
    let method = format!("--alter-foreign-keys-method={method}");
    let swap = [&*method, "--alter", "ADD COLUMN size INT DEFAULT 3"];
    change(&mut scene, &tool, &swap, "parts", 5000, true).await;
    scene.catch_up("shop.plain", "shpx.goods", 9000).await;
    let table = |from: &str, to: [&str; 2]| ["shop", from, to[0], to[1]].map(str::to_owned);
    let mapping = Mapping {
        tables: vec![table("plain", ["shpx", "goods"]), table("parts", ["shop", "parts"])],
        ..Mapping::default()
    };
    let status = scene.replica.replica_status().await;
    assert!(status.runs(), "{}", status.summary());
    // Triggers of the tool are gone with it, at both sides.
    let findings = differences(&scene.source, &scene.replica, &mapping).await;
    assert!(findings.is_empty(), "{version:?} {mode:?} {online_ddl}:\n{}", findings.join("\n"));
    let columns = scene.replica.value("SELECT GROUP_CONCAT(column_name ORDER BY ordinal_position) FROM information_schema.columns WHERE table_schema = 'shpx'").await;
    assert_eq!(columns, "id,item,qty,note");
    if mode == Mode::Gtid && !version.is_mariadb() {
        let executed = "SELECT @@GLOBAL.gtid_executed";
        assert_eq!(scene.replica.value(executed).await, scene.source.value(executed).await);
    }
}

#[tokio::test]
async fn the_tables_of_a_schema_change_follow_their_table_on_mysql_57() {
    tables_are_changed_online(Version::Mysql57, Mode::Gtid, "forward").await;
}

#[tokio::test]
async fn the_tables_of_a_schema_change_follow_their_table_on_mariadb() {
    tables_are_changed_online(Version::Mariadb1011, Mode::FilePosition, "forward").await;
}

#[tokio::test]
async fn a_schema_change_is_folded_into_one_alter_on_mysql_57() {
    tables_are_changed_online(Version::Mysql57, Mode::FilePosition, "fold").await;
}

#[tokio::test]
async fn a_schema_change_is_folded_into_one_alter_with_gtids() {
    tables_are_changed_online(Version::Mysql57, Mode::Gtid, "fold").await;
}

#[tokio::test]
async fn a_schema_change_is_folded_into_one_alter_on_mariadb() {
    tables_are_changed_online(Version::Mariadb1011, Mode::Gtid, "fold").await;
}

async fn a_renamed_table_is_followed(version: Version, mode: Mode) {
    let objects = r#"
        [[routes.border.objects]]
        table = "shop.plain"
        rename = "shpx.goods"
        "#;
    let started = Scene::start(version, mode, objects, "rename_out = \"follow\"").await;
    let Some(mut scene) = unless_available(started) else { return };
    scene
        .source
        .script(
            "CREATE DATABASE shop; CREATE TABLE shop.plain (id INT PRIMARY KEY, item VARCHAR(20));
             INSERT INTO shop.plain VALUES (1, 'before'); RENAME TABLE shop.plain TO shop.items;
             INSERT INTO shop.items VALUES (2, 'after')",
        )
        .await;
    scene.catch_up("shop.items", "shpx.items", 3).await;
    // What the next process knows, it knows from the folder: the RENAME is in a file that is not read again.
    scene.source.script("FLUSH LOGS").await;
    scene.catch_up("shop.items", "shpx.items", 4).await;
    scene.proxy.kill_and_restart().await;
    scene.catch_up("shop.items", "shpx.items", 5).await;
    // A second replica begins before the RENAME and sees the selection as it was there.
    scene.replica.stop_replica().await;
    let whole = "DROP DATABASE shpx; CREATE DATABASE shpx";
    let first = match (mode, version.is_mariadb()) {
        (Mode::FilePosition, _) => {
            scene.replica.script(&format!("SET sql_log_bin = 0; {whole}")).await;
            Start::At("binlog.000001".to_owned(), 4)
        }
        (Mode::Gtid, true) => {
            scene.replica.script(&format!("SET sql_log_bin = 0; {whole}")).await;
            Start::MariadbGtid(String::new())
        }
        (Mode::Gtid, false) => {
            scene.replica.script(&format!("SET sql_log_bin = 0; {whole}; RESET MASTER")).await;
            Start::AutoPosition
        }
    };
    scene.replica.follow(&Upstream::at(scene.port), &first).await;
    scene.replica.start_replica().await;
    scene.source.script("ALTER TABLE shop.items ADD COLUMN c INT; CREATE TABLE shop.plain (id INT PRIMARY KEY)").await;
    scene.catch_up("shop.items", "shpx.items", 6).await;
    let table = |from: &str, to: &str| ["shop", from, "shpx", to].map(str::to_owned);
    let mapping = Mapping { tables: vec![table("plain", "goods"), table("items", "items")], ..Mapping::default() };
    let findings = differences(&scene.source, &scene.replica, &mapping).await;
    assert!(findings.is_empty(), "{version:?} {mode:?}:\n{}", findings.join("\n"));
}

#[tokio::test]
async fn a_renamed_table_is_followed_by_file_and_position() {
    a_renamed_table_is_followed(Version::Mysql57, Mode::FilePosition).await;
}

#[tokio::test]
async fn a_renamed_table_is_followed_by_auto_position() {
    a_renamed_table_is_followed(Version::Mysql57, Mode::Gtid).await;
}

#[tokio::test]
async fn a_renamed_table_is_followed_on_mariadb() {
    a_renamed_table_is_followed(Version::Mariadb1011, Mode::Gtid).await;
}

#[tokio::test]
async fn what_is_defined_gets_the_routes_definer() {
    let objects = "[[routes.border.objects]]\ndatabase = \"shop\"";
    for version in [Version::Mysql57, Version::Mariadb1011] {
        let ddl = "unsupported = \"forward\"\nreference = \"forward\"\ndefiner = \"app@%\"";
        let started = Scene::start(version, Mode::FilePosition, objects, ddl).await;
        let Some(scene) = unless_available(started) else { return };
        scene
            .replica
            .script("SET sql_log_bin = 0; DROP DATABASE shop; GRANT ALL ON *.* TO app@'%' IDENTIFIED BY 'x'")
            .await;
        scene
            .source
            .script(
                "CREATE DATABASE shop; USE shop; CREATE TABLE plain (id INT PRIMARY KEY, item VARCHAR(20));
                 CREATE VIEW v AS SELECT * FROM plain; CREATE PROCEDURE p() SELECT 1; CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1;
                 CREATE TRIGGER tr BEFORE INSERT ON plain FOR EACH ROW SET NEW.item = 'x';
                 CREATE EVENT e ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1; ALTER EVENT e COMMENT 'c'; ALTER VIEW v AS SELECT id FROM plain",
            )
            .await;
        scene.catch_up("shop.plain", "shop.plain", 1).await;
        let definers = |server| {
            let query = "SELECT GROUP_CONCAT(DISTINCT definer), COUNT(*) FROM (
                SELECT definer FROM information_schema.views WHERE table_schema = 'shop'
                UNION ALL SELECT definer FROM information_schema.routines WHERE routine_schema = 'shop'
                UNION ALL SELECT definer FROM information_schema.triggers WHERE trigger_schema = 'shop'
                UNION ALL SELECT definer FROM information_schema.events WHERE event_schema = 'shop') d";
            Server::script(server, query)
        };
        assert_eq!(definers(&scene.source).await, [["root@127.0.0.1", "5"]], "{version:?}");
        assert_eq!(definers(&scene.replica).await, [["app@%", "5"]], "{version:?}");
    }
}

/// DEFINER out of the text: whom a replica takes then.
#[tokio::test]
async fn what_is_defined_without_a_definer_is_the_users_who_ran_it_or_nobodys() {
    let objects = "[[routes.border.objects]]\ndatabase = \"shop\"";
    for version in [Version::Mysql57, Version::Mariadb1011] {
        let ddl = "unsupported = \"forward\"\nreference = \"forward\"\ndefiner = \"strip\"";
        let started = Scene::start(version, Mode::FilePosition, objects, ddl).await;
        let Some(scene) = unless_available(started) else { return };
        scene.replica.script("SET sql_log_bin = 0; DROP DATABASE shop").await;
        let role =
            if version.is_mariadb() { "CREATE ROLE clerk; CREATE DEFINER=clerk VIEW w AS SELECT 1;" } else { "" };
        scene
            .source
            .script(&format!(
                "CREATE DATABASE shop; USE shop; CREATE TABLE plain (id INT PRIMARY KEY, item VARCHAR(20));
                 CREATE VIEW v AS SELECT * FROM plain; CREATE PROCEDURE p() SELECT 1;
                 CREATE DEFINER=`app`@`%` FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1;
                 CREATE TRIGGER tr BEFORE INSERT ON plain FOR EACH ROW SET NEW.item = 'x';
                 CREATE DEFINER=`app`@`%` EVENT e ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1; {role} ALTER VIEW v AS SELECT id FROM plain"
            ))
            .await;
        scene.catch_up("shop.plain", "shop.plain", 1).await;
        let query = "SELECT name, definer FROM (
            SELECT table_name name, definer FROM information_schema.views WHERE table_schema = 'shop'
            UNION ALL SELECT routine_name, definer FROM information_schema.routines WHERE routine_schema = 'shop'
            UNION ALL SELECT trigger_name, definer FROM information_schema.triggers WHERE trigger_schema = 'shop'
            UNION ALL SELECT event_name, definer FROM information_schema.events WHERE event_schema = 'shop') d ORDER BY name";
        let definers: Vec<String> = scene.replica.script(query).await.iter().map(|row| row.join(" ")).collect();
        let (nobody, of_events) = match version.is_mariadb() {
            true => ("@", "@"),
            false => ("root@127.0.0.1", "skip-grants user@skip-grants host"),
        };
        let mut expected = vec![
            format!("e {of_events}"),
            format!("f {nobody}"),
            "p root@127.0.0.1".to_owned(),
            "tr ".to_owned(),
            "v root@127.0.0.1".to_owned(),
        ];
        expected.extend(version.is_mariadb().then(|| "w @".to_owned()));
        assert_eq!(definers, expected, "{version:?}");
    }
}

/// Servers log a DROP that did what it could, with the error of what it could not do. A replica compares that error with its own.
#[tokio::test]
async fn a_drop_that_failed_in_part_is_split_without_its_error() {
    let objects = "[[routes.border.objects]]\ndatabase = \"shop\"\nrename = \"shpx\"\n[[routes.border.objects]]\nexclude = \"shop.audit_*\"";
    for version in [Version::Mysql57, Version::Mariadb1011] {
        let started = Scene::start(version, Mode::FilePosition, objects, "allow = [\"drop_view\"]").await;
        let Some(scene) = unless_available(started) else { return };
        let tables = ["plain", "a", "b", "audit_a"].map(|name| {
            format!("CREATE TABLE shop.{name} (id INT PRIMARY KEY, item VARCHAR(20)); CREATE VIEW shop.v_{name} AS SELECT 1;")
        });
        scene.source.script(&format!("CREATE DATABASE shop; {}", tables.concat())).await;
        for (drop, error) in [
            ("TABLE shop.a, shop.audit_gone", "1051"),
            ("TABLE shop.gone, shop.b, shop.audit_a", "1051"),
            ("VIEW shop.v_a, shop.audit_gone", if version.is_mariadb() { "4092" } else { "1051" }),
            ("VIEW shop.audit_gone, shop.v_b, shop.plain", if version.is_mariadb() { "4092" } else { "1347" }),
        ] {
            let refused = scene.source.try_script(&format!("DROP {drop}")).await.expect_err("some of it is not there");
            assert!(refused.contains(error), "{version:?}: {drop}: {refused}");
        }
        scene.catch_up("shop.plain", "shpx.plain", 1).await;
        let (file, position) = scene.source.binlog_end().await;
        scene.replica.value(&format!("SELECT MASTER_POS_WAIT('{file}', {position}, 60)")).await;
        let status = scene.replica.replica_status().await;
        assert!(status.runs(), "{version:?}: {}\n{}", status.summary(), scene.proxy.log());
        let left = "SELECT GROUP_CONCAT(table_name ORDER BY table_name) FROM information_schema.tables WHERE table_schema = 'shpx'";
        assert_eq!(scene.replica.value(left).await, "plain,v_audit_a,v_plain", "{version:?}");
        // Text that became longer has not moved the replica's place.
        let applied = format!("{}:{}", status.get("Relay_Master_Log_File"), status.get("Exec_Master_Log_Pos"));
        assert_eq!(applied, format!("{file}:{position}"), "{version:?}");
    }
}
