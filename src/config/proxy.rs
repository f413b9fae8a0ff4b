//! `[proxy]`.

use std::net::SocketAddr;

use super::problem::Problems;
use super::section::{Placed, Section};
use super::{OFFLINE_SERVER_ID, Proxy, Purpose, Surroundings};

/// How many server ids the proxy may use where the file does not say.
const DEFAULT_SERVER_IDS: u32 = 64;
/// The most that one proxy may use: every dump connection that is open at once has its own.
const MAX_SERVER_IDS: i64 = 65_536;

pub(super) fn read(
    root: &mut Section<'_, '_>,
    surroundings: &Surroundings<'_>,
    problems: &mut Problems<'_>,
) -> Option<Proxy> {
    let before = problems.count();
    let needs_id = surroundings.purpose == Purpose::Serve;
    let hint = "a number that no other server in the topology has, the first of `server_ids` (64) in a row";
    let Some(mut section) = root.table("proxy", "[proxy]".to_owned(), problems) else {
        if needs_id && problems.count() == before {
            problems.report_missing(0..0, format!("there is no [proxy] with `server_id`: {hint}"));
        }
        return (!needs_id && problems.count() == before).then_some(Proxy {
            server_id: OFFLINE_SERVER_ID,
            server_ids: DEFAULT_SERVER_IDS,
            state_dir: None,
            admin: None,
        });
    };
    if needs_id && !section.has("server_id") {
        problems.report_missing(section.span.clone(), format!("[proxy] has no `server_id`: {hint}"));
    }
    let server_id = section.number("server_id", 1..=i64::from(u32::MAX), problems);
    let server_ids = section.number("server_ids", 1..=MAX_SERVER_IDS, problems);
    let count = server_ids.as_ref().map_or(i64::from(DEFAULT_SERVER_IDS), |count| count.value);
    if let Some(first) = &server_id
        && first.value + count - 1 > i64::from(u32::MAX)
    {
        problems.report(
            first.span.clone(),
            format!(
                "`server_id` {} and `server_ids` {count} go beyond the largest server id, {}",
                first.value,
                u32::MAX
            ),
        );
    }
    let state_dir = section.text("state_dir", problems).and_then(|path| {
        if path.value.is_empty() {
            problems.report(path.span, "`state_dir` is empty: leave the key out to keep no state");
            return None;
        }
        Some(surroundings.path(&path.value))
    });
    let admin = section.text("admin", problems).and_then(|text| address("admin", &text, problems));
    section.finish(problems);
    (problems.count() == before).then_some(Proxy {
        server_id: server_id.map_or(OFFLINE_SERVER_ID, |id| u32::try_from(id.value).unwrap_or(OFFLINE_SERVER_ID)),
        server_ids: u32::try_from(count).unwrap_or(DEFAULT_SERVER_IDS),
        state_dir,
        admin: admin.map(|admin| admin.value),
    })
}

/// `127.0.0.1:3307`, `[::1]:3307`, `localhost:3307` (the IPv4 loopback) or `*:3307` (all IPv4 addresses).
pub(super) fn address(key: &str, text: &Placed<String>, problems: &mut Problems<'_>) -> Option<Placed<SocketAddr>> {
    let spelled = match text.value.rsplit_once(':') {
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        Some(("*" | "", port)) => format!("0.0.0.0:{port}"),
        _ => text.value.clone(),
    };
    match spelled.parse() {
        Ok(address) => Some(Placed { value: address, span: text.span.clone() }),
        Err(_) => {
            problems.report(
                text.span.clone(),
                format!("`{key}` is {:?} and has to be an address and a port, such as \"127.0.0.1:3307\"", text.value),
            );
            None
        }
    }
}
