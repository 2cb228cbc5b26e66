//! The certificates.k8s.io group.

mod pem;
mod request_status;
pub mod signing_request;
