//! The admin listener: `/metrics`, `/status`, `/healthz`, `/readyz`, and a plain page for people at `/`.
//!
//! Read-only and without login; it is bound to the address that the configuration says and to no other.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::status::{Status, render};

/// What the admin listener asks the rest of the process.
pub trait Observed: Send + Sync + 'static {
    /// The status at this moment.
    fn status(&self) -> Status;
    /// Whether every configured listener is bound and the process is not ending.
    fn ready(&self) -> bool;
}

struct Admin {
    observed: Arc<dyn Observed>,
    metrics: PrometheusHandle,
}

/// Serves until `shutdown` is done.
pub async fn serve(
    listener: TcpListener,
    observed: Arc<dyn Observed>,
    metrics: PrometheusHandle,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(observed, metrics)).with_graceful_shutdown(shutdown).await
}

fn router(observed: Arc<dyn Observed>, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(scrape))
        .route("/status", get(status))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .with_state(Arc::new(Admin { observed, metrics }))
}

/// The process is alive and answers. Whether its routes are well is for `/status`: restarting cures no source.
async fn healthy() -> &'static str {
    "ok\n"
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    if admin.observed.ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn status(State(admin): State<Arc<Admin>>) -> Json<Status> {
    Json(admin.observed.status())
}

async fn scrape(State(admin): State<Arc<Admin>>) -> Response {
    // Taking the picture brings the gauges (lag, health) up to date.
    let _ = admin.observed.status();
    admin.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], admin.metrics.render()).into_response()
}

async fn page(State(admin): State<Arc<Admin>>) -> Response {
    let status = admin.observed.status();
    let title = if status.healthy { "replproxy: healthy" } else { "replproxy: NOT HEALTHY" };
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"5\">\
         <title>{title}</title><h1>{title}</h1><pre>{}</pre>\
         <p><a href=\"/status\">status as JSON</a> · <a href=\"/metrics\">metrics</a></p></html>\n",
        escape_html(&render(&status))
    );
    // The page needs no script and no foreign content; names from peers are in it.
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, html).into_response()
}

fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_markup_from_peers_as_text() {
        assert_eq!(escape_html("<script>\"&\"</script>"), "&lt;script&gt;&quot;&amp;&quot;&lt;/script&gt;");
    }
}
