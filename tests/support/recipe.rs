//! The configurations that the README shows, with the places and accounts of a test filled in: what a user copies is what
//! the tests run.

use super::process::free_port;
use super::proxy::Proxy;
use super::server::Server;
use toml::{Table, Value};

/// A configuration of the README.
#[derive(Debug)]
pub(crate) struct Recipe {
    configuration: Table,
    ports: Vec<u16>,
}

impl Recipe {
    /// The first configuration under the heading of the README.
    pub(crate) fn of(heading: &str) -> Recipe {
        let readme = include_str!("../../README.md");
        let (_, section) = readme.split_once(&format!("\n### {heading}\n")).expect("the README has the heading");
        let (_, block) = section.split_once("```toml\n").expect("a configuration is below the heading");
        let (text, _) = block.split_once("```").expect("the configuration ends");
        Recipe { configuration: text.parse().expect("the configuration is TOML"), ports: Vec::new() }
    }

    /// Puts a server of the test in the place of a source. `id` is the server id that the README gives it.
    pub(crate) fn source(&mut self, name: &str, id: i64, server: &Server, tls: bool) {
        let source = section(&mut self.configuration, "sources", name);
        set_login(source);
        source.insert("host".to_owned(), "127.0.0.1".into());
        source.insert("port".to_owned(), i64::from(server.port()).into());
        source.insert("tls".to_owned(), if tls { "required" } else { "disabled" }.into());
        let routes = self.configuration["routes"].as_table_mut().expect("routes are sections");
        let origins = routes.iter_mut().filter_map(|(_, route)| route.get_mut("exclude_origins")?.as_array_mut());
        for origin in origins.flatten().filter(|origin| **origin == Value::from(id)) {
            *origin = i64::from(server.server_id()).into();
        }
    }

    /// Gives a route a port of its own, and says which.
    pub(crate) fn listen(&mut self, route: &str) -> u16 {
        let port = free_port();
        let route = section(&mut self.configuration, "routes", route);
        set_login(route);
        route.insert("listen".to_owned(), format!("127.0.0.1:{port}").into());
        self.ports.push(port);
        port
    }

    /// The proxy with this configuration.
    pub(crate) async fn start(&self) -> Proxy {
        Proxy::start(&self.configuration.to_string(), &self.ports).await
    }
}

fn section<'a>(configuration: &'a mut Table, kind: &str, name: &str) -> &'a mut Table {
    let named = configuration.get_mut(kind).and_then(|sections| sections.get_mut(name));
    named.and_then(Value::as_table_mut).unwrap_or_else(|| panic!("the configuration has [{kind}.{name}]"))
}

/// As the fleet's accounts are.
fn set_login(section: &mut Table) {
    section.remove("password_env");
    section.insert("user".to_owned(), "repl".into());
    section.insert("password".to_owned(), "secret".into());
}
