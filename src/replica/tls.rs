//! TLS towards replicas: which connections must have it, and the certificate.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::compression::Compressed;
use crate::fault::{Code, Fault};

/// The files in `state_dir` that keep a generated certificate.
const CERTIFICATE_FILE: &str = "replica-tls-cert.pem";
const KEY_FILE: &str = "replica-tls-key.pem";

/// What a listener offers and asks of TLS.
#[derive(Debug, Clone)]
pub struct ServerTls {
    required: bool,
    config: Option<Arc<ServerConfig>>,
    certificate: Vec<u8>,
}

impl ServerTls {
    /// No TLS. MySQL 8.4 and later replicas then need `SOURCE_SSL = 0`.
    pub fn disabled() -> Self {
        Self { required: false, config: None, certificate: Vec::new() }
    }

    /// A certificate chain and its key from PEM files. With `required`, logins without TLS are refused.
    pub fn from_files(certificate: &Path, key: &Path, required: bool) -> Result<Self, Fault> {
        let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
            Fault::new(Code::ConfigurationUnreadable, format!("{}: {error}", path.display()))
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unreadable(certificate, &error))?;
        if chain.is_empty() {
            return Err(unreadable(certificate, &"there is no certificate in it"));
        }
        let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
        Self::build(chain, key_der, required).map_err(|error| unreadable(certificate, &error))
    }

    /// A self-signed certificate. With a `state_dir` it is made once and kept there, so that replicas that pin it go on; without
    /// one it lives as long as the process.
    pub fn generated(state_dir: Option<&Path>, required: bool) -> Result<Self, Fault> {
        let Some(directory) = state_dir else {
            let (certificate, key) = generate()?;
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(internal)?];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(internal)?;
            return Self::build(chain, key, required).map_err(internal);
        };
        let (certificate, key) = (directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE));
        if !certificate.exists() || !key.exists() {
            let (certificate_pem, key_pem) = generate()?;
            fs::create_dir_all(directory).map_err(|error| unwritable(directory, &error))?;
            write_private(&key, &key_pem)?;
            write_private(&certificate, &certificate_pem)?;
        }
        Self::from_files(&certificate, &key, required)
    }

    fn build(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        required: bool,
    ) -> Result<Self, rustls::Error> {
        let certificate = chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Self { required, config: Some(Arc::new(config)), certificate })
    }

    /// Whether logins without TLS are refused.
    pub(crate) fn is_required(&self) -> bool {
        self.required
    }

    /// The rustls configuration, unless TLS is off.
    pub(crate) fn config(&self) -> Option<&Arc<ServerConfig>> {
        self.config.as_ref()
    }

    /// The leaf certificate (DER).
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }
}

/// PEM texts of a new certificate and its key (ECDSA P-256).
fn generate() -> Result<(String, String), Fault> {
    let key = rcgen::KeyPair::generate().map_err(internal)?;
    let mut parameters = rcgen::CertificateParams::new(vec!["replproxy".to_owned()]).map_err(internal)?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "replproxy");
    let certificate = parameters.self_signed(&key).map_err(internal)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn internal(error: impl std::fmt::Display) -> Fault {
    Fault::new(Code::Internal, format!("making the TLS certificate: {error}"))
}

fn unwritable(path: &Path, error: &io::Error) -> Fault {
    Fault::new(Code::FileUnreadable, format!("{}: {error}", path.display()))
}

/// Writes a file that only its owner may read, in one step: a half-written one must not survive a crash.
fn write_private(path: &Path, text: &str) -> Result<(), Fault> {
    let directory = path.parent().unwrap_or(Path::new("."));
    tempfile::NamedTempFile::new_in(directory)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.persist(path).map_err(|error| error.error)
        })
        .map(drop)
        .map_err(|error| unwritable(path, &error))
}

/// A client's byte stream: before or after TLS, and compressed after the login where the client wants that.
#[derive(Debug)]
pub(crate) enum ClientStream<S> {
    /// As it came.
    Plain(S),
    /// Inside TLS.
    Tls(Box<TlsStream<S>>),
    /// In compressed frames.
    Compressed(Box<Compressed<Self>>),
}

impl<S> ClientStream<S> {
    /// Whether the packets are in frames that have numbers of their own.
    pub(crate) fn has_frames(&self) -> bool {
        matches!(self, Self::Compressed(_))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Compressed(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Compressed(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Compressed(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Compressed(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Compressed(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Compressed(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_certificate_is_kept_and_only_its_owner_may_read_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let first = ServerTls::generated(Some(directory.path()), true).expect("generated");
        let again = ServerTls::generated(Some(directory.path()), false).expect("read back");
        assert_eq!(first.certificate(), again.certificate());
        assert!(first.is_required() && !again.is_required());
        let other = ServerTls::generated(None, false).expect("in memory");
        assert_ne!(first.certificate(), other.certificate());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(directory.path().join(KEY_FILE)).expect("there").permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
    }

    #[test]
    fn a_file_that_holds_no_certificate_is_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("empty.pem");
        fs::write(&path, "nothing").expect("written");
        let fault = ServerTls::from_files(&path, &path, false).expect_err("no certificate");
        assert_eq!(fault.code, Code::ConfigurationUnreadable);
        assert!(fault.message.contains("empty.pem"), "{fault}");
    }
}
