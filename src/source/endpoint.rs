//! Where a source is and how to log in there.

use std::{path::PathBuf, time::Duration};

use crate::secret::Secret;

/// What a connection asks of TLS. The names are those of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Never TLS.
    Disabled,
    /// TLS wherever the server offers it, with whatever certificate it has; plain only where it offers none. A server that
    /// offers TLS and fails at it is an error, never a reason to go on in the clear.
    #[default]
    Preferred,
    /// TLS or nothing; the certificate is not verified.
    Required,
    /// The certificate's chain has to end at `tls_ca`; names are not compared, because servers make certificates without any.
    VerifyCa,
    /// Chain and name. Without `tls_ca` the machine's own trust store counts.
    VerifyIdentity,
}

/// One server and the account to use there.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Name or address. IPv6 addresses with or without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Account name.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// What is asked of TLS.
    pub tls: TlsMode,
    /// PEM file with the certificates that are trusted.
    pub tls_ca: Option<PathBuf>,
    /// PEM file with our own certificate chain, for accounts that REQUIRE one.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the key of `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// For everything from the name's lookup to the end of the login.
    pub connect_timeout: Duration,
}

impl Endpoint {
    /// `host:port` as messages show it.
    pub fn address(&self) -> String {
        let host = self.bare_host();
        if host.contains(':') { format!("[{host}]:{}", self.port) } else { format!("{host}:{}", self.port) }
    }

    /// The host without the brackets of an IPv6 address.
    pub(super) fn bare_host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }
}
