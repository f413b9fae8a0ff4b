//! The status as text for a terminal.

use std::fmt::Write as _;

use super::{PlaceStatus, RouteStatus, Status};
use crate::telemetry::Escaped;

/// A source that is away is an error of each of its replicas.
const SHOWN_ERRORS: usize = 8;

/// One screen for a small proxy: a line for each route, source and replica, and what is wrong below its route.
pub fn render(status: &Status) -> String {
    let mut text = String::new();
    let uptime = humantime::format_duration(std::time::Duration::from_secs(status.uptime_seconds));
    let health = if status.healthy { "healthy" } else { "NOT HEALTHY" };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "replproxy {}, up {uptime}, {}: {health}", status.version, Escaped(&status.configuration));
    if let Some(error) = &status.reload_error {
        let _ = writeln!(text, "the last reload kept the old configuration: {}", Escaped(error));
    }
    for route in &status.routes {
        text.push('\n');
        render_route(&mut text, route, status);
    }
    text.push('\n');
    for source in &status.sources {
        let _ = write!(text, "source {} at {}", source.name, source.endpoint);
        if !source.failover.is_empty() {
            let _ = write!(text, " (failover {})", source.failover.join(", "));
        }
        let _ = match &source.in_use {
            Some(server) if *server != source.endpoint => write!(text, ", NOW AT {server}: "),
            _ => write!(text, ": "),
        };
        let _ = match (&source.last_contact, &source.version, source.server_id) {
            (Some(at), Some(version), Some(id)) => {
                let semi_sync = source.semi_sync.as_deref().filter(|semi_sync| *semi_sync != "none");
                let semi_sync = semi_sync.map_or_else(String::new, |word| format!(", semi-synchronous {word}"));
                writeln!(text, "{}, server id {id}{semi_sync}, last contact {at}", Escaped(version))
            }
            _ if source.error.is_some() => writeln!(text, "has not answered yet"),
            _ => writeln!(text, "not contacted yet (that happens when a replica attaches)"),
        };
        if let Some(error) = &source.error {
            let _ = writeln!(
                text,
                "  does not answer since {}, last asked {}: {}: {}",
                error.since,
                error.at,
                error.code,
                Escaped(&error.message)
            );
            let _ = writeln!(text, "    next: {}", error.next);
        }
    }
    text
}

fn render_route(text: &mut String, route: &RouteStatus, status: &Status) {
    let health = if route.healthy { "healthy" } else { "NOT HEALTHY" };
    let _ = write!(text, "route {}: {} → {}, {health}", route.name, route.source, route.listen);
    if let Some(coordinates) = &route.coordinates {
        let _ = write!(text, ", {} coordinates ({})", coordinates.mode, coordinates.why);
    }
    let _ = writeln!(text, ", rules {}", route.rules_fingerprint);
    let _ = writeln!(
        text,
        "  {} events in, {} out, {} transactions, {} attached, {} attaches, {} source connections",
        route.events_received,
        route.events_sent,
        route.transactions_sent,
        route.replicas_attached,
        route.attaches,
        route.upstream_connections
    );
    render_errors(text, route);
    for counted in &route.statements.counted {
        let _ = writeln!(
            text,
            "  {} {} ({}) by {}",
            counted.count,
            done(&counted.action),
            Escaped(&counted.reason),
            Escaped(&counted.rule)
        );
    }
    for last in &route.statements.last {
        let _ = writeln!(
            text,
            "    {} {} before {}:{}: {}",
            last.kind,
            done(&last.action),
            Escaped(&last.file),
            last.position,
            Escaped(&last.reason)
        );
    }
    for remembered in &route.remembered {
        let what = if remembered.what == "followed" { "follows" } else { "online schema change of" };
        let _ = writeln!(
            text,
            "  {what} {}: {} (since {})",
            Escaped(&remembered.source),
            Escaped(&remembered.detail),
            Escaped(&remembered.since)
        );
    }
    for replica in status.replicas.iter().filter(|replica| replica.route == route.name) {
        let lag = replica.lag_seconds.map_or_else(|| "lag not known yet".to_owned(), |lag| format!("{lag} s behind"));
        let version = replica.version.as_deref().unwrap_or("version not told");
        let _ = writeln!(
            text,
            "  replica {} ({}) from {}: sent up to {}:{}, {lag}, {}, attached since {}",
            replica.server_id,
            Escaped(version),
            replica.peer,
            Escaped(&replica.file),
            replica.position,
            if replica.feed == "live" { "on the live tail" } else { "on a source connection of its own" },
            replica.attached_at
        );
        if let Some(semi_sync) = &replica.semi_sync {
            let passed_on = if route.semi_sync_connections > 0 { "passed on" } else { "NOT passed on" };
            let _ = writeln!(
                text,
                "    semi-synchronous: {} of {} acknowledgements came, {passed_on} to the source",
                semi_sync.acknowledged, semi_sync.asked
            );
        }
        if let Some(place) = &replica.whole {
            let _ = writeln!(text, "    last whole transaction {}", describe(place));
        }
        for warning in &replica.warnings {
            let _ = writeln!(text, "    WARNING: {}", Escaped(warning));
        }
    }
    for left in &route.left {
        let _ = writeln!(
            text,
            "  replica {} from {} left at {}: last whole transaction {}",
            left.server_id,
            left.peer,
            left.at,
            describe(&left.place)
        );
    }
}

/// What is wrong now, or was wrong last.
fn render_errors(text: &mut String, route: &RouteStatus) {
    for error in route.errors.iter().take(SHOWN_ERRORS) {
        let whose = error.replica_server_id.map(|id| format!(" of replica {id}")).unwrap_or_default();
        let last = if error.at == error.since { String::new() } else { format!(", last met {}", error.at) };
        let (since, code, message) = (&error.since, &error.code, Escaped(&error.message));
        let _ = writeln!(text, "  error{whose} since {since}{last}: {code}: {message}");
        let _ = writeln!(text, "    next: {}", error.next);
    }
    if let Some(more) = route.errors.len().checked_sub(SHOWN_ERRORS).filter(|more| *more > 0) {
        let _ = writeln!(text, "  and {more} errors more of other replicas");
    }
    if let Some(error) = &route.last_error
        && !route.errors.iter().any(|standing| (&standing.at, &standing.code) == (&error.at, &error.code))
    {
        let _ = writeln!(text, "  last error (over) at {}: {}: {}", error.at, error.code, Escaped(&error.message));
        let _ = writeln!(text, "    next: {}", error.next);
    }
}

/// One place in both numberings, where they differ.
fn describe(place: &PlaceStatus) -> String {
    let PlaceStatus { file, position, source_file, source_position, server } = place;
    let source = format!("{}:{source_position} of {server}", Escaped(source_file));
    if (file, position) == (source_file, source_position) || file.is_empty() {
        format!("up to {source}")
    } else {
        format!("up to {}:{position}, which is {source}", Escaped(file))
    }
}

fn done(action: &str) -> &str {
    match action {
        "skip" => "skipped",
        "split" => "split",
        "stop" => "stopped",
        other => other,
    }
}
