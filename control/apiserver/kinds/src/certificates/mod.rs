//! The certificates group: CertificateSigningRequests.

pub mod signing_request;
