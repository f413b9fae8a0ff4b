//! The `status` command's side: one GET of `/status`.

use std::time::Duration;

use super::Status;

/// A proxy that takes longer than this to say how it is, is not well.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest status that is read: a few hundred routes and replicas take some hundred KiB.
const MAX_STATUS_BYTES: u64 = 64 * 1024 * 1024;

/// Why there is no status to show.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address is not an `http://` URL.
    #[error("{0:?} is not a URL of the admin listener, such as http://127.0.0.1:8090")]
    Url(String),
    /// Nobody answers there.
    #[error("{url} does not answer: {reason}")]
    Unreachable {
        /// The URL asked.
        url: String,
        /// The system's or the HTTP client's words.
        reason: String,
    },
    /// Somebody else answers there.
    #[error("{url} answers something that is not the status of replproxy: {reason}")]
    NotStatus {
        /// The URL asked.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Fetches the status from the admin listener at `admin` (`http://host:port` or `host:port`).
pub fn fetch(admin: &str) -> Result<Status, FetchError> {
    let base = if admin.contains("://") { admin.to_owned() } else { format!("http://{admin}") };
    if !base.starts_with("http://") || base.len() == "http://".len() || base.contains(char::is_whitespace) {
        return Err(FetchError::Url(admin.to_owned()));
    }
    let url = format!("{}/status", base.trim_end_matches('/'));
    // The admin listener is on this machine or network: a proxy from the environment would only get in the way.
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .proxy(None)
        .http_status_as_error(false)
        .build()
        .into();
    let unreachable = |error: ureq::Error| FetchError::Unreachable { url: url.clone(), reason: error.to_string() };
    let mut response = match agent.get(&url).header("accept", "application/json").call() {
        Err(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => return Err(FetchError::Url(admin.to_owned())),
        other => other.map_err(unreachable)?,
    };
    let not_status = |reason: String| FetchError::NotStatus { url: url.clone(), reason };
    if response.status() != 200 {
        return Err(not_status(format!("HTTP {}", response.status().as_u16())));
    }
    let body = response.body_mut().with_config().limit(MAX_STATUS_BYTES).read_to_string().map_err(unreachable)?;
    serde_json::from_str(&body).map_err(|error| not_status(error.to_string()))
}
