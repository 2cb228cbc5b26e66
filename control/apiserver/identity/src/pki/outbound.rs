//! TLS clients for servers the cluster does not own: extension API servers, webhooks, pods and services.
//!
//! Enters: whom to trust and which client certificate to show. Leaves: a `ClientConfig`. Called by the API server.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::tls::{ReloadingKey, TlsError, protocols, provider};

/// Where systems keep the authorities they trust; the first one that exists counts, as in Go's crypto/x509.
const SYSTEM: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whose word for a server's identity is taken.
#[derive(Clone, Debug)]
pub enum Trust {
    /// These authorities'.
    Roots(RootCertStore),
    /// The authorities' this machine trusts.
    System,
    /// The server's own: anyone can be in the middle. For whoever asks for `insecureSkipTLSVerify`, and for servers
    /// reached by an address nobody certifies (pods).
    Anyone,
}

/// A client that trusts `trust` and shows the certificate of `identity` (certificate, key), if given; renewed files
/// are read again without a restart.
pub fn client_config_trusting(
    trust: Trust,
    identity: Option<(&Path, &Path)>,
    alpn: &[&str],
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::Roots(roots) => builder.with_root_certificates(roots),
        Trust::System => builder.with_root_certificates(system_roots()),
        Trust::Anyone => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider())))
        }
    };
    let mut config = match identity {
        Some((cert, key)) => builder.with_client_cert_resolver(ReloadingKey::load(cert, key)?),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}

/// What the machine trusts; nothing where it keeps no list, so that every server is refused.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = SYSTEM.iter().find_map(|path| std::fs::read(path).ok()) {
        let certs = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
        roots.add_parsable_certificates(certs);
    }
    roots
}

/// Takes any certificate, but the handshake must still be signed with its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
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

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
