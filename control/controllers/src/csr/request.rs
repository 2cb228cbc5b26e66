//! What a request asks for: its subject, names and key, out of the PEM text.

use std::net::IpAddr;

use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

/// Why a request cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not one PEM block of a request.
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    Pem,
    /// Not a request.
    #[error("unable to parse csr")]
    Form,
    /// Not signed with the key it names.
    #[error("the signature of the request is not made with its key")]
    Signature,
    /// A name of a kind that no signer knows, or malformed.
    #[error("a subjectAltName is unreadable")]
    Name,
}

/// A request whose signature holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The subject (DER), taken over as it is.
    pub subject: Vec<u8>,
    /// The key (SubjectPublicKeyInfo, DER), likewise.
    pub key: Vec<u8>,
    /// The last common name.
    pub common_name: String,
    /// The organizations.
    pub organizations: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// Mail addresses.
    pub emails: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
}

impl Parsed {
    /// Reads and proves a request.
    pub fn read(pem: &[u8]) -> Result<Parsed, RequestError> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem).map_err(|_| RequestError::Pem)?;
        let (_, request) = X509CertificationRequest::from_der(&der).map_err(|_| RequestError::Form)?;
        request.verify_signature().map_err(|_| RequestError::Signature)?;
        let info = &request.certification_request_info;
        let text =
            |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().ok().map(str::to_owned);
        let mut parsed = Parsed {
            subject: info.subject.as_raw().to_vec(),
            key: info.subject_pki.raw.to_vec(),
            common_name: info.subject.iter_common_name().last().and_then(text).unwrap_or_default(),
            organizations: info.subject.iter_organization().filter_map(text).collect(),
            ..Parsed::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                for name in &names.general_names {
                    parsed.add(name)?;
                }
            }
        }
        Ok(parsed)
    }

    fn add(&mut self, name: &GeneralName<'_>) -> Result<(), RequestError> {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).to_owned()),
            GeneralName::URI(name) => self.uris.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let v6 = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                self.ip_addresses.push(v4.or_else(|_| v6()).map_err(|_| RequestError::Name)?);
            }
            _ => return Err(RequestError::Name),
        }
        Ok(())
    }
}
