//! A certificate authority: its certificate, and issuing leaf certificates with its key.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::leaf::{Issued, Leaf, Usage};
use super::{CA_DAYS, LEAF_DAYS, PkiError, files};

const DAY: i64 = 24 * 3600;
/// Certificates start this long before now, for clocks that are behind (kubeadm does the same).
const BACKDATE_SECONDS: i64 = 300;

/// A certificate authority that can sign.
pub struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// Sets the validity, in seconds since 1970.
fn set_validity(params: &mut CertificateParams, from: i64, to: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |seconds: i64| epoch + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    params.not_before = at(from);
    params.not_after = at(to);
}

fn named(name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(organization) = organization {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, name);
    subject
}

impl Authority {
    /// Reads `<stem>.crt` and `<stem>.key`, or makes them if both are absent.
    ///
    /// # Errors
    /// One of the two missing or unreadable: it is not replaced, since every certificate below it would be void.
    pub fn ensure(stem: &Path, name: &str, now: Timestamp) -> Result<Authority, PkiError> {
        let (cert_path, key_path) = (stem.with_extension("crt"), stem.with_extension("key"));
        match (files::read(&cert_path)?, files::read(&key_path)?) {
            (Some(cert), Some(key)) => Authority::from_pem(&cert, &key)
                .map_err(|reason| PkiError::Content { path: cert_path, reason }),
            (None, None) => {
                let (cert, key) = Authority::create(name, now)
                    .map_err(|source| PkiError::Issue { subject: name.to_owned(), source })?;
                files::write(&key_path, &key, 0o600)?;
                files::write(&cert_path, &cert, 0o644)?;
                Authority::from_pem(&cert, &key)
                    .map_err(|reason| PkiError::Content { path: cert_path, reason })
            }
            (Some(_), None) => Err(PkiError::Content {
                path: key_path,
                reason: "missing while its certificate exists; restore it, or remove the certificate too"
                    .to_owned(),
            }),
            (None, Some(_)) => Err(PkiError::Content {
                path: cert_path,
                reason: "missing while its key exists; restore it, or remove the key too".to_owned(),
            }),
        }
    }

    fn create(name: &str, now: Timestamp) -> Result<(String, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name = named(name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::KeyEncipherment,
        ];
        let now = now.as_second();
        set_validity(&mut params, now - BACKDATE_SECONDS, now + CA_DAYS * DAY);
        let certificate = params.self_signed(&key)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// An authority from PEM text.
    pub fn from_pem(cert: &str, key: &str) -> Result<Authority, String> {
        let der = CertificateDer::from_pem_slice(cert.as_bytes()).map_err(|e| e.to_string())?;
        let key = KeyPair::from_pem(key).map_err(|e| e.to_string())?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|e| e.to_string())?;
        Ok(Authority { pem: cert.to_owned(), der, issuer })
    }

    /// The certificate (PEM).
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate (DER).
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Issues a certificate with a new key, valid [`LEAF_DAYS`] from `now`.
    pub fn issue(&self, leaf: &Leaf, now: Timestamp) -> Result<Issued, PkiError> {
        self.try_issue(leaf, now)
            .map_err(|source| PkiError::Issue { subject: leaf.common_name.clone(), source })
    }

    fn try_issue(&self, leaf: &Leaf, now: Timestamp) -> Result<Issued, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&leaf.common_name, leaf.organization.as_deref());
        for name in &leaf.dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(leaf.ip_addresses.iter().copied().map(SanType::IpAddress));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = match leaf.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        };
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        let now = now.as_second();
        set_validity(&mut params, now - BACKDATE_SECONDS, now + LEAF_DAYS * DAY);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { cert_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}
