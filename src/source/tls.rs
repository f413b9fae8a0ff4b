//! TLS towards a source: which certificates are accepted in which mode.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{self, CryptoProvider},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};

use super::{Endpoint, SourceError, TlsMode};

/// The certificates of an `endpoint` and what to verify, made into a configuration for one connection.
pub(super) fn client_config(endpoint: &Endpoint) -> Result<Arc<ClientConfig>, SourceError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match endpoint.tls {
        TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required => Arc::new(AcceptAny(provider.clone())),
        TlsMode::VerifyCa => {
            let Some(path) = &endpoint.tls_ca else {
                return Err(invalid(
                    "tls = \"verify-ca\" needs tls_ca: without names to compare, any public certificate would do",
                ));
            };
            Arc::new(ChainOnly { roots: roots_of(path)?, provider: provider.clone() })
        }
        TlsMode::VerifyIdentity => {
            let roots = match &endpoint.tls_ca {
                Some(path) => roots_of(path)?,
                None => system_roots()?,
            };
            WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                .build()
                .map_err(|error| invalid(format!("tls_ca: {error}")))?
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(format!("TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match (&endpoint.tls_cert, &endpoint.tls_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let key_der = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|error| invalid(format!("no private key in {}: {error}", key.display())))?;
            builder
                .with_client_auth_cert(chain, key_der)
                .map_err(|error| invalid(format!("{} and {}: {error}", certificate.display(), key.display())))?
        }
        _ => return Err(invalid("tls_cert and tls_key belong together: one of them is missing")),
    };
    // A connection serves for hours and is rarely made again: nothing is gained by remembering sessions.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// The name that a certificate has to carry.
pub(super) fn server_name(endpoint: &Endpoint) -> Result<ServerName<'static>, SourceError> {
    ServerName::try_from(endpoint.bare_host().to_owned())
        .map_err(|_| invalid(format!("host `{}` is no name that a certificate can carry", endpoint.host)))
}

/// What a failed handshake means for whoever configured it.
pub(super) fn explain(error: &std::io::Error, mode: TlsMode) -> String {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let hint = match cause {
        Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "; certificates that servers make for themselves carry no host name: tls = \"verify-ca\" checks the chain alone"
            }
            CertificateError::UnknownIssuer => "; name its issuer's certificate in tls_ca",
            // What `openssl x509 -req` makes without an extension file, as in many guides.
            CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
                "; it is an X.509 v1 certificate, which cannot be verified: make one of version 3 (with extensions)"
            }
            _ => "",
        },
        Some(
            rustls::Error::AlertReceived(_) | rustls::Error::PeerIncompatible(_) | rustls::Error::InvalidMessage(_),
        )
        | None => {
            if mode == TlsMode::Preferred {
                "; the server may know only TLS 1.0 or 1.1 (MySQL 5.6 and older often do): tls = \"disabled\" connects without"
            } else {
                "; the server may know only TLS 1.0 or 1.1, which are not supported"
            }
        }
        Some(_) => "",
    };
    format!("{error}{hint}")
}

fn invalid(reason: impl Into<String>) -> SourceError {
    SourceError::Configuration { reason: reason.into(), unreadable: false }
}

fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    fs::read(path).map_err(|error| SourceError::Configuration {
        reason: format!("{}: {error}", path.display()),
        unreadable: true,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let bytes = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(invalid(format!("no certificate in {}", path.display()))),
        Err(error) => Err(invalid(format!("{}: {error}", path.display()))),
    }
}

fn roots_of(path: &Path) -> Result<Arc<RootCertStore>, SourceError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| invalid(format!("{}: {error}", path.display())))?;
    }
    Ok(Arc::new(roots))
}

fn system_roots() -> Result<Arc<RootCertStore>, SourceError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(invalid(
            "tls = \"verify-identity\" without tls_ca, and this machine's trust store is empty: set tls_ca",
        ));
    }
    Ok(Arc::new(roots))
}

/// `preferred` and `required`: encryption without knowing with whom.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    // Where any certificate will do, a proof that the peer has its key adds nothing, and asking for it would turn
    // away the X.509 v1 certificates that old servers have.
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `verify-ca`: the chain up to `tls_ca`, whatever the name.
#[derive(Debug)]
struct ChainOnly {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_server_with_old_tls_only_is_explained_with_the_way_out() {
        // As MySQL 5.6.24 answers.
        let error = io::Error::new(
            io::ErrorKind::InvalidData,
            rustls::Error::InvalidMessage(rustls::InvalidMessage::UnknownProtocolVersion),
        );
        assert!(explain(&error, TlsMode::Preferred).contains("tls = \"disabled\""));
        let hint = explain(&error, TlsMode::Required);
        assert!(hint.contains("1.0 or 1.1") && !hint.contains("disabled"), "{hint}");
    }
}
