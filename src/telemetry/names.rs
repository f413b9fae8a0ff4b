//! Every metric name and label of the proxy, once, with unit and sentence.

use metrics::{Unit, describe_counter, describe_gauge};

/// Label: the route's name as in the configuration.
pub const LABEL_ROUTE: &str = "route";
/// Label: what was done with a statement: `skip`, `split` or `stop`.
pub const LABEL_ACTION: &str = "action";
/// Label: the configuration key that decided about a statement, for example `ddl.unsupported` or `objects`.
pub const LABEL_RULE: &str = "rule";
/// Label: why, in the same stable word as in `explain`, for example `not_selected` or `unsupported`.
pub const LABEL_REASON: &str = "reason";
/// Label: an error code of the catalogue, for example `RPX-2001`.
pub const LABEL_CODE: &str = "code";
/// Label: `kept` (the new configuration was bad) or `applied`.
pub const LABEL_RESULT: &str = "result";
/// Label: the version of the proxy.
pub const LABEL_VERSION: &str = "version";

/// Events read from sources.
pub const EVENTS_RECEIVED: &str = "replproxy_events_received_total";
/// Bytes of events read from sources.
pub const BYTES_RECEIVED: &str = "replproxy_received_bytes_total";
/// Events sent to replicas.
pub const EVENTS_SENT: &str = "replproxy_events_sent_total";
/// Bytes of events sent to replicas.
pub const BYTES_SENT: &str = "replproxy_sent_bytes_total";
/// Transactions sent to replicas, empty ones included.
pub const TRANSACTIONS: &str = "replproxy_transactions_total";
/// Statements that the policy did something about, each counted once however many replicas are served it.
pub const STATEMENTS: &str = "replproxy_statements_total";
/// Acknowledgements of semi-synchronous replicas that were passed on to the source.
pub const ACKNOWLEDGEMENTS: &str = "replproxy_acknowledgements_total";
/// Sessions that stream at this moment.
pub const REPLICAS: &str = "replproxy_replicas_attached";
/// Dumps that were opened since the start; grows with each reconnect of a replica.
pub const ATTACHES: &str = "replproxy_attaches_total";
/// How old the newest event was when it was sent, of the slowest replica; 0 while the source has nothing more.
pub const LAG: &str = "replproxy_lag_seconds";
/// Faults by code.
pub const ERRORS: &str = "replproxy_errors_total";
/// 1 while the route is healthy, else 0.
pub const HEALTHY: &str = "replproxy_route_healthy";
/// Reloads of the configuration.
pub const RELOADS: &str = "replproxy_configuration_reloads_total";
/// Start of the process.
pub const START_TIME: &str = "replproxy_start_time_seconds";
/// Always 1; the label says the version.
pub const BUILD_INFO: &str = "replproxy_build_info";

/// Gives every metric its unit and its sentence. Call once, after the recorder is installed.
pub fn describe() {
    describe_counter!(EVENTS_RECEIVED, Unit::Count, "Events read from sources for this route.");
    describe_counter!(BYTES_RECEIVED, Unit::Bytes, "Bytes of events read from sources for this route.");
    describe_counter!(EVENTS_SENT, Unit::Count, "Events sent to replicas of this route.");
    describe_counter!(BYTES_SENT, Unit::Bytes, "Bytes of events sent to replicas of this route.");
    describe_counter!(TRANSACTIONS, Unit::Count, "Transactions sent to replicas of this route, empty ones included.");
    describe_counter!(STATEMENTS, Unit::Count, "Statements that the route did not pass on as they were.");
    describe_counter!(
        ACKNOWLEDGEMENTS,
        Unit::Count,
        "Acknowledgements of semi-synchronous replicas passed on to the source."
    );
    describe_gauge!(REPLICAS, Unit::Count, "Replicas that stream from this route now.");
    describe_counter!(ATTACHES, Unit::Count, "Dumps opened by replicas of this route, reconnects included.");
    describe_gauge!(LAG, Unit::Seconds, "How old the newest event was when it was sent to the slowest replica.");
    describe_counter!(ERRORS, Unit::Count, "Faults of this route by code of the catalogue.");
    describe_gauge!(HEALTHY, Unit::Count, "1 while the route is healthy, 0 while its last error stands.");
    describe_counter!(
        RELOADS,
        Unit::Count,
        "Reloads of the configuration: applied, or kept because the new one is bad."
    );
    describe_gauge!(START_TIME, Unit::Seconds, "Start of the process in seconds since the epoch.");
    describe_gauge!(BUILD_INFO, Unit::Count, "Always 1; the label names the version.");
}
