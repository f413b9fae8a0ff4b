//! Configuration files: what is taken, and every mistake with its place and its exact words.

use std::fs;
use std::path::{Path, PathBuf};

use replproxy::config::{Config, ReplicaProfile, RouteTlsMode};
use replproxy::fault::Code;
use replproxy::pipeline::rules::{ExcludedOrigin, Selection};
use replproxy::source::TlsMode;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config").join(name)
}

/// Beside each `bad/x.toml` stands `x.txt` with what is said about it. `UPDATE_GOLDEN=1` writes them anew.
#[test]
fn every_mistake_is_reported_at_its_place_and_all_at_once() {
    let mut seen = 0;
    for entry in fs::read_dir(fixture("bad")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        seen += 1;
        let errors = Config::load(&path).expect_err(&path.display().to_string());
        let folder = format!("{}/", path.parent().unwrap().display());
        let found = format!("{} {}\n", errors.fault().code, errors.fault().code.title())
            + &errors.to_string().replace(&folder, "")
            + "\n";
        assert!(!found.contains("hunter2"), "a password in {found}");
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        assert_eq!(found, fs::read_to_string(&golden).unwrap_or_default(), "{}", path.display());
    }
    assert!(seen >= 15, "only {seen} files in fixtures/config/bad");
}

#[test]
fn a_file_that_is_not_there_says_so() {
    let errors = Config::load(&fixture("no-such-file.toml")).unwrap_err();
    assert_eq!(errors.fault().code, Code::ConfigurationUnreadable);
    assert!(errors.to_string().contains("no-such-file.toml: cannot be read: "), "{errors}");
}

#[test]
fn the_example_of_the_contract_means_what_it_says() {
    // Offline, because the environment variable of its password is not set here.
    let config = Config::load_offline(&fixture("good/contract.toml")).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((config.proxy.server_id, config.proxy.server_ids), (4_000_001, 64));
    assert_eq!(config.proxy.state_dir.as_deref(), Some(fixture("good/replproxy-state").as_path()));
    assert_eq!(config.proxy.admin.map(|admin| admin.to_string()).as_deref(), Some("127.0.0.1:8090"));
    let endpoint = &config.sources["primary"].endpoint;
    assert_eq!((endpoint.address(), endpoint.user.as_str()), ("127.0.0.1:3306".to_owned(), "repl"));
    assert_eq!((endpoint.tls, endpoint.connect_timeout.as_secs()), (TlsMode::Preferred, 90));
    let failover: Vec<String> = config.sources["primary"].failover.iter().map(|server| server.address()).collect();
    assert_eq!(failover, ["db2:3306", "db3:3306", "[::1]:3307", "[fe80::1]:3306"]);
    assert!(config.sources["primary"].failover.iter().all(|server| server.user == "repl"));
    let route = &config.routes["shop"];
    assert_eq!((route.source.as_str(), route.listen.to_string()), ("primary", "127.0.0.1:3307".to_owned()));
    assert_eq!(route.password.expose(), "secret");
    assert_eq!((route.tls.mode, route.replica), (RouteTlsMode::Preferred, ReplicaProfile::Auto));
    assert_eq!(
        route.rules.exclude_origins(),
        [ExcludedOrigin::ServerId(7), ExcludedOrigin::ServerUuid("a3f1c2d4-71ca-11e1-9e33-c80aa9429562".to_owned())]
    );
    let named = |database: &str, name: &str| match route.rules.table(database, name) {
        Selection::Selected { database, name } => format!("{database}.{name}"),
        Selection::NotSelected => "not selected".to_owned(),
    };
    assert_eq!(named("shop", "orders"), "shop_cn.orders");
    assert_eq!(named("shop", "audit_x"), "not selected");
    assert_eq!(named("crm", "customers"), "crm_cn.clients");
    assert!(!route.rules.is_transparent());
    assert!(config.source_of(route).is_some());
}

#[test]
fn inline_tables_files_and_empty_passwords_are_taken() {
    let config = Config::load(&fixture("good/several_routes.toml")).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((config.proxy.server_id, config.proxy.server_ids), (4_000_001, 1000));
    assert_eq!(config.sources["db-1.eu"].endpoint.password.expose(), "from-file");
    assert_eq!(config.sources["db-1.eu"].endpoint.port, 3306);
    assert_eq!(config.sources["b"].endpoint.address(), "[::1]:3399");
    assert!(config.sources["b"].endpoint.password.is_empty());
    let one = &config.routes["one"];
    assert_eq!((one.listen.to_string(), one.replica), ("127.0.0.1:3307".to_owned(), ReplicaProfile::MariaDb(10, 11)));
    assert_eq!(one.tls.mode, RouteTlsMode::Required);
    assert_eq!(one.rules.rules().len(), 3);
    assert!(matches!(one.rules.table("my.db", "t1"), Selection::Selected { .. }));
    let two = &config.routes["two"];
    assert!(two.rules.selects_everything() && !two.rules.is_transparent());
    let kinds = |kinds: &std::collections::BTreeSet<String>| kinds.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(kinds(&two.rules.policy().allow), "create_db drop_view");
    assert_eq!(kinds(&two.rules.policy().deny), "truncate");
    // An empty `ddl` section is there: the route judges statements by the defaults.
    assert!(!config.routes["three"].rules.is_transparent());
    assert_eq!(config.routes["three"].listen.to_string(), "0.0.0.0:3308");
    let transparent = Config::load(&fixture("good/transparent.toml")).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(transparent.routes["shop"].rules.is_transparent());
}

#[test]
fn one_route_needs_no_secret_of_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let mut text = "[proxy]\nserver_id = 1\n".to_owned();
    for (name, port, password) in
        [("a", 3307, "password = \"x\""), ("b", 3308, "password_env = \"REPLPROXY_TEST_IS_NOT_SET\"")]
    {
        text += &format!(
            "[sources.{name}]\nhost = \"db\"\nuser = \"u\"\n{password}\n\
             [routes.{name}]\nsource = \"{name}\"\nlisten = \"127.0.0.1:{port}\"\nuser = \"u\"\n{password}\n"
        );
    }
    fs::write(&path, text).unwrap();
    let config = Config::load_for_route(&path, "a").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.routes["a"].password.expose(), "x");
    for load in [Config::load(&path), Config::load_for_route(&path, "b")] {
        let errors = load.unwrap_err();
        assert_eq!(errors.fault().code, Code::SecretMissing);
        assert_eq!(errors.to_string().lines().count(), 2, "{errors}");
    }
}

#[test]
fn routes_are_equal_where_a_reload_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let text = fs::read_to_string(fixture("good/contract.toml")).unwrap();
    let load = |text: &str| {
        fs::write(&path, text).unwrap();
        Config::load_offline(&path).unwrap_or_else(|errors| panic!("{errors}"))
    };
    let before = load(&text);
    assert_eq!(before, load(&format!("# a comment\n{text}\n\n")));
    for (from, to) in [
        ("\"secret\"", "\"other\""),
        ("shop_cn", "shop_de"),
        ("127.0.0.1:3307", "127.0.0.1:3309"),
        ("replica = \"auto\"", "replica = \"mysql-5.7\""),
        ("allow = []", "allow = [\"drop_view\"]"),
        ("[7, ", "[8, "),
    ] {
        let after = load(&text.replace(from, to));
        assert_ne!(before.routes["shop"], after.routes["shop"], "{from}");
        assert_eq!(before.sources, after.sources, "{from}");
    }
    assert_ne!(before.sources, load(&text.replace("port = 3306", "port = 3311")).sources);
    assert_ne!(before.sources, load(&text.replace("db2:3306", "db4:3306")).sources);
}

#[test]
fn the_example_in_the_reference_is_a_good_configuration() {
    let reference = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/REFERENCE.md")).unwrap();
    let blocks: Vec<&str> = reference
        .split("```toml\n")
        .skip(1)
        .map(|block| block.split_once("```").expect("a code block that ends").0)
        .collect();
    assert!(!blocks.is_empty());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reference.toml");
    fs::write(&path, blocks[0]).unwrap();
    Config::load_offline(&path).unwrap_or_else(|errors| panic!("{errors}"));
    // Every key that the reader knows is in the reference.
    for key in [
        "server_id",
        "server_ids",
        "state_dir",
        "admin",
        "host",
        "port",
        "user",
        "password",
        "password_env",
        "password_file",
        "tls",
        "tls_ca",
        "tls_cert",
        "tls_key",
        "connect_timeout",
        "source",
        "listen",
        "exclude_origins",
        "replica",
        "database",
        "table",
        "exclude",
        "rename",
        "supported",
        "unsupported",
        "unknown",
        "rename_out",
        "rename_in",
        "reference",
        "online_ddl",
        "definer",
        "allow",
        "deny",
    ] {
        assert!(reference.contains(&format!("`{key}`")), "{key} is not in the reference");
    }
}
