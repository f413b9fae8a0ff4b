//! A panic is a defect: it is logged with its place, and it costs the task that had it, not the process.

use std::panic::PanicHookInfo;

use crate::telemetry::Escaped;

/// Logs panics instead of printing them.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let said = info.payload().downcast_ref::<&str>().copied();
        let said = said.or_else(|| info.payload().downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
        tracing::error!(%place, code = %crate::fault::Code::Internal, "panic: {}; please report it", Escaped(said));
    }));
}
