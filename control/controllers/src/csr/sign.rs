//! Signing with the cluster's CA.
//!
//! Enters: a proven request and what it is granted. Leaves: a certificate (PEM). Subject and key are the request's own
//! bytes: rcgen keeps one value of each attribute only, and users may be in several groups. Everything else is rcgen's.
//!
//! Authority: `pkg/controller/certificates/{authority/policies.go,signer/signer.go}`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SigningKey as _,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::plan::Grant;
use super::request::Parsed;

/// Certificates start this long before now.
const BACKDATE: i64 = 300;
/// Lifetimes below this are counted from now, others from the start, in seconds (eight hours).
const SHORT: u64 = 8 * 3600;
/// The shortest lifetime, in seconds.
const SHORTEST: u64 = 600;

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The CA's certificate or key cannot be used.
    #[error("cluster signing CA: {0}")]
    Authority(String),
    /// A name has characters certificates do not allow.
    #[error("subjectAltName {0:?} is malformed")]
    Name(String),
    /// Making the certificate failed.
    #[error("signing: {0}")]
    Issue(#[from] rcgen::Error),
    /// What was made cannot be read again.
    #[error("signing: the certificate is malformed")]
    Form,
}

/// The CA that signs (`--cluster-signing-cert-file`, `--cluster-signing-key-file`).
#[derive(Clone)]
pub struct SigningAuthority {
    inner: Arc<Inner>,
    longest: Duration,
}

struct Inner {
    issuer: Issuer<'static, KeyPair>,
    not_after: i64,
}

impl std::fmt::Debug for SigningAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningAuthority").field("longest", &self.longest).finish_non_exhaustive()
    }
}

impl SigningAuthority {
    /// A CA from PEM text; `longest` is the longest lifetime of what it signs, and the one of requests that ask for
    /// none (`--cluster-signing-duration`).
    pub fn from_pem(cert: &str, key: &str, longest: Duration) -> Result<SigningAuthority, SigningError> {
        let bad = |reason: String| SigningError::Authority(reason);
        let der = CertificateDer::from_pem_slice(cert.as_bytes()).map_err(|error| bad(error.to_string()))?;
        let key = KeyPair::from_pem(key).map_err(|error| bad(error.to_string()))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| bad(error.to_string()))?;
        let not_after = parsed.validity().not_after.timestamp();
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| bad(error.to_string()))?;
        Ok(SigningAuthority { inner: Arc::new(Inner { issuer, not_after }), longest })
    }

    /// Start and end of what is granted, in seconds since 1970.
    fn validity(&self, wanted: Option<Duration>, now: i64) -> (i64, i64) {
        let longest = self.longest.as_secs();
        let seconds = wanted.map_or(longest, |wanted| wanted.as_secs().clamp(SHORTEST.min(longest), longest));
        let start = now - BACKDATE;
        let from = if seconds < SHORT { now } else { start };
        let end = from.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX));
        (start, end.min(self.inner.not_after))
    }

    /// Signs what is granted.
    pub fn sign(&self, request: &Parsed, grant: &Grant, now: Timestamp) -> Result<String, SigningError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names(request)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        for usage in &grant.usages {
            add_usage(&mut params, usage);
        }
        let (from, to) = self.validity(grant.lifetime, now.as_second());
        let at = |seconds: i64| {
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        };
        (params.not_before, params.not_after) = (at(from), at(to));
        // The stand-in's key and empty subject are replaced by the request's below.
        let template = params.signed_by(&KeyPair::generate()?, &self.inner.issuer)?;
        let signed = self.with_identity(template.der(), request)?;
        Ok(pem_of(&signed))
    }

    /// The template with the request's subject and key, signed anew.
    fn with_identity(&self, template: &[u8], request: &Parsed) -> Result<Vec<u8>, SigningError> {
        let (_, parsed) = X509Certificate::from_der(template).map_err(|_| SigningError::Form)?;
        let body = parsed.tbs_certificate.as_ref();
        let (subject, key) =
            (parsed.tbs_certificate.subject.as_raw(), parsed.tbs_certificate.subject_pki.raw);
        // The subject is followed by the key at once (RFC 5280 section 4.1).
        let together = [subject, key].concat();
        let content = content_of(body).ok_or(SigningError::Form)?;
        let at = find(content, &together).ok_or(SigningError::Form)?;
        let rest = &content[at + together.len()..];
        let content = [&content[..at], &request.subject, &request.key, rest].concat();
        let body = tlv(0x30, &content);
        let signature = self.inner.issuer.key().sign(&body)?;
        let algorithm = algorithm_of(template, parsed.tbs_certificate.as_ref()).ok_or(SigningError::Form)?;
        let bits = tlv(0x03, &[&[0], signature.as_slice()].concat());
        Ok(tlv(0x30, &[body, algorithm, bits].concat()))
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The length of a DER element's head, and of its content.
fn head(der: &[u8]) -> Option<(usize, usize)> {
    let first = *der.get(1)?;
    if first < 0x80 {
        return Some((2, usize::from(first)));
    }
    let count = usize::from(first & 0x7f);
    let bytes = der.get(2..2 + count)?;
    Some((2 + count, bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))))
}

fn content_of(der: &[u8]) -> Option<&[u8]> {
    let (head, length) = head(der)?;
    der.get(head..head + length)
}

/// The signature algorithm of a certificate: the element after its body.
fn algorithm_of(certificate: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let rest = content_of(certificate)?.get(body.len()..)?;
    let (head, length) = head(rest)?;
    rest.get(..head + length).map(<[u8]>::to_vec)
}

/// A DER element.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut element = vec![tag];
    if let Ok(short) = u8::try_from(length)
        && short < 0x80
    {
        element.push(short);
    } else {
        let bytes = length.to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let used = &bytes[zeros..];
        element.push(0x80 | u8::try_from(used.len()).unwrap_or(8));
        element.extend_from_slice(used);
    }
    element.extend_from_slice(content);
    element
}

fn pem_of(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

fn names(request: &Parsed) -> Result<Vec<SanType>, SigningError> {
    let mut names = Vec::new();
    let malformed = |name: &String| SigningError::Name(name.clone());
    for name in &request.dns_names {
        names.push(SanType::DnsName(name.as_str().try_into().map_err(|_| malformed(name))?));
    }
    for name in &request.emails {
        names.push(SanType::Rfc822Name(name.as_str().try_into().map_err(|_| malformed(name))?));
    }
    names.extend(request.ip_addresses.iter().copied().map(SanType::IpAddress));
    for name in &request.uris {
        names.push(SanType::URI(name.as_str().try_into().map_err(|_| malformed(name))?));
    }
    Ok(names)
}

fn add_usage(params: &mut CertificateParams, usage: &str) {
    use ExtendedKeyUsagePurpose as Extended;
    let bit = match usage {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        "cert sign" => KeyUsagePurpose::KeyCertSign,
        "crl sign" => KeyUsagePurpose::CrlSign,
        "encipher only" => KeyUsagePurpose::EncipherOnly,
        "decipher only" => KeyUsagePurpose::DecipherOnly,
        extended => {
            let purpose = match extended {
                "any" => Extended::Any,
                "server auth" => Extended::ServerAuth,
                "client auth" => Extended::ClientAuth,
                "code signing" => Extended::CodeSigning,
                "email protection" | "s/mime" => Extended::EmailProtection,
                "ipsec end system" => Extended::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 5]),
                "ipsec tunnel" => Extended::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 6]),
                "ipsec user" => Extended::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 7]),
                "timestamping" => Extended::TimeStamping,
                "ocsp signing" => Extended::OcspSigning,
                "microsoft sgc" => Extended::Other(vec![1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
                "netscape sgc" => Extended::Other(vec![2, 16, 840, 1, 113_730, 4, 1]),
                // The plan refuses what is not listed.
                _ => return,
            };
            if !params.extended_key_usages.contains(&purpose) {
                params.extended_key_usages.push(purpose);
            }
            return;
        }
    };
    if !params.key_usages.contains(&bit) {
        params.key_usages.push(bit);
    }
}
