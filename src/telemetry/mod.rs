//! What the proxy tells about itself: every metric name and label, the log, and the live state behind `status`.
//!
//! The pure core returns verdicts and counts nothing. The edges report here once a batch, through handles that were
//! made once ([`RouteTelemetry`], [`SessionTelemetry`]). Row values, passwords and password hashes never come here.

mod logs;
pub mod names;
mod route;

pub use logs::{Escaped, LogLevelInvalid, init_logs};
pub use route::{
    Coordinates, KEPT_STATEMENTS, PolicedStatement, RoutePicture, RouteTelemetry, SessionIdentity, SessionPicture,
    SessionTelemetry, SourceContact, StatementAction,
};
