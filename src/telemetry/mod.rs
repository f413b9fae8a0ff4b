//! What the proxy tells about itself: every metric name and label, the log, and the live state behind `status`.
//!
//! The pure core returns verdicts and counts nothing. The edges report here once a batch, through handles that were
//! made once ([`RouteTelemetry`], [`SessionTelemetry`]). Row values, passwords and password hashes never come here.

mod logs;
pub mod names;
mod route;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

pub use logs::{Escaped, LogLevelInvalid, init_logs};
pub use route::{
    Coordinates, Departed, KEPT_DEPARTED, KEPT_STATEMENTS, PolicedStatement, Remembered, RoutePicture, RouteTelemetry,
    SessionIdentity, SessionPicture, SessionTelemetry, SourceContact, SourceTrouble, StandingPicture, StatementAction,
    Upstream, WholePlace,
};

/// Makes this process's metrics readable. Call it once, before anything that counts is made: what was made before counts
/// into nothing.
pub fn install_metrics() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    // Only a test process can have one already; then the first one goes on counting.
    let _ = metrics::set_global_recorder(recorder);
    handle
}
