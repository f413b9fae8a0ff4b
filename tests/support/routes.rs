//! Rules for tests, written as in a configuration.

use std::path::Path;
use std::sync::Arc;

use replproxy::config::Config;
use replproxy::pipeline::rules::RuleSet;

/// The rules of a route with these `objects` and `ddl` lines (TOML, inside `[routes.r]`).
pub(crate) fn rules(lines: &str) -> Arc<RuleSet> {
    let text = format!(
        "[proxy]\nserver_id = 4000001\n[sources.s]\nhost = \"127.0.0.1\"\nuser = \"u\"\npassword = \"\"\n\
         [routes.r]\nsource = \"s\"\nlisten = \"127.0.0.1:3307\"\nuser = \"u\"\npassword = \"\"\n{lines}\n"
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("route.toml");
    std::fs::write(&path, text).expect("a temporary file");
    let config = Config::load_offline(Path::new(&path)).unwrap_or_else(|errors| panic!("{errors}"));
    Arc::new(config.routes["r"].rules.clone())
}
