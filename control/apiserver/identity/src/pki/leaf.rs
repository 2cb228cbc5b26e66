//! Leaf certificates: what they should say, whether the ones on disk still do, and renewing them.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority::Authority;
use super::{PkiError, RENEW_BELOW_DAYS, files, tls};

/// Which end of a connection the certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Extended key usage clientAuth.
    Client,
    /// Extended key usage serverAuth.
    Server,
}

/// What a certificate should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Common name: the user's name for clients.
    pub common_name: String,
    /// Organization: the user's group for clients. At most one, which is what rcgen can write.
    pub organization: Option<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// Client or server.
    pub usage: Usage,
}

/// A certificate and its key (PEM).
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub cert_pem: String,
    /// The private key (PKCS#8).
    pub key_pem: String,
}

impl Leaf {
    /// A certificate for a name, without organization or alternative names.
    pub fn new(common_name: &str, usage: Usage) -> Leaf {
        Leaf {
            common_name: common_name.to_owned(),
            organization: None,
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            usage,
        }
    }

    /// Sets the organization.
    #[must_use]
    pub fn organization(mut self, organization: &str) -> Leaf {
        self.organization = Some(organization.to_owned());
        self
    }
}

/// Makes or renews `<stem>.crt` and `<stem>.key`; true if they were written.
pub(super) fn ensure(ca: &Authority, stem: &Path, leaf: &Leaf, now: Timestamp) -> Result<bool, PkiError> {
    let (cert_path, key_path) = (stem.with_extension("crt"), stem.with_extension("key"));
    let existing = (files::read(&cert_path)?, files::read(&key_path)?);
    let reason = match existing {
        (Some(cert_pem), Some(key_pem)) => match check(ca, &Issued { cert_pem, key_pem }, leaf, now) {
            Ok(()) => return Ok(false),
            Err(reason) => reason,
        },
        _ => "absent".to_owned(),
    };
    tracing::info!(certificate = %cert_path.display(), reason, "issuing certificate");
    let issued = ca.issue(leaf, now)?;
    // Whoever reloads between the two writes finds a pair that does not match and keeps the old one.
    files::write(&key_path, &issued.key_pem, 0o600)?;
    files::write(&cert_path, &issued.cert_pem, 0o644)?;
    Ok(true)
}

/// Whether peers accept the certificate for everything `leaf` says, now and until it would be renewed; the error
/// says why not.
///
/// It is asked as a peer would ask, through rustls' own verifiers, so chain, key usage, names and dates are judged
/// by the code that will judge them on the wire.
pub(super) fn check(ca: &Authority, issued: &Issued, leaf: &Leaf, now: Timestamp) -> Result<(), String> {
    let cert = CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).map_err(|e| e.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).map_err(|e| e.to_string())?;
    CertifiedKey::from_der(vec![cert.clone()], key, &tls::provider()).map_err(|e| e.to_string())?;
    let (_, parsed) = X509Certificate::from_der(&cert).map_err(|e| e.to_string())?;
    let names: Vec<_> = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).collect();
    let groups: Vec<_> = parsed.subject().iter_organization().filter_map(|name| name.as_str().ok()).collect();
    if names != [leaf.common_name.as_str()] || groups != leaf.organization.as_slice() {
        return Err(format!("subject is {}", parsed.subject()));
    }
    let renew = now.as_second() + RENEW_BELOW_DAYS * 24 * 3600;
    for (second, when) in [(now.as_second(), "now"), (renew, "in 30 days")] {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(second).unwrap_or(0)));
        accepted(ca, &cert, leaf, at).map_err(|e| format!("not accepted {when}: {e}"))?;
    }
    Ok(())
}

fn accepted(ca: &Authority, cert: &CertificateDer<'_>, leaf: &Leaf, at: UnixTime) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).map_err(|e| e.to_string())?;
    let roots = Arc::new(roots);
    if leaf.usage == Usage::Client {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, tls::provider());
        let verifier = verifier.build().map_err(|e| e.to_string())?;
        return verifier.verify_client_cert(cert, &[], at).map(drop).map_err(|e| e.to_string());
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, tls::provider());
    let verifier = verifier.build().map_err(|e| e.to_string())?;
    let addresses = leaf.ip_addresses.iter().map(|ip| ServerName::IpAddress((*ip).into()));
    let names =
        leaf.dns_names.iter().map(|name| ServerName::try_from(name.clone()).map_err(|e| e.to_string()));
    for name in addresses.map(Ok).chain(names) {
        verifier.verify_server_cert(cert, &[], &name?, &[], at).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Makes `<name>.key` and `<name>.pub` if the key is absent; writes the public half again if it does not match.
pub(super) fn ensure_key_pair(dir: &Path, name: &str) -> Result<(), PkiError> {
    let (key_path, public_path) = (dir.join(format!("{name}.key")), dir.join(format!("{name}.pub")));
    let key = match files::read(&key_path)? {
        Some(pem) => match KeyPair::from_pem(&pem) {
            Ok(key) => key,
            // kubeadm's RSA key (PKCS#1): usable by the signer, its public half is on disk already.
            Err(_) if files::read(&public_path)?.is_some() => return Ok(()),
            Err(error) => return Err(PkiError::Content { path: key_path, reason: error.to_string() }),
        },
        None => {
            let key =
                KeyPair::generate().map_err(|source| PkiError::Issue { subject: name.to_owned(), source })?;
            files::write(&key_path, &key.serialize_pem(), 0o600)?;
            key
        }
    };
    let existing = files::read(&public_path)?.unwrap_or_default();
    let public = key.public_key_pem();
    // Older keys may stand beside the current one while their tokens live.
    if !existing.contains(public.trim()) {
        files::write(&public_path, &public, 0o644)?;
    }
    Ok(())
}
