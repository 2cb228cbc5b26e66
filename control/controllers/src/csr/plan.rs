//! What is to be done with a request, who may have which certificate, and when a request is over. Pure.
//!
//! Authority: `pkg/controller/certificates/{signer,approver,cleaner}`, `pkg/apis/certificates/helpers.go`.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::request::Parsed;

/// Client certificates for the API server.
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Client certificates of kubelets.
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Serving certificates of kubelets.
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Anything, without guarantees.
pub const LEGACY: &str = "kubernetes.io/legacy-unknown";

const SIGNERS: [&str; 4] = [CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY];
const NODE_GROUP: &str = "system:nodes";
const NODE_USER: &str = "system:node:";

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The next step of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// None of ours.
    Nothing,
    /// It may be approved without a person.
    Approve,
    /// It is approved and to be signed.
    Sign,
}

fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    let conditions = request.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// What to do with a request now.
pub fn next(request: &CertificateSigningRequest) -> Next {
    let is_issued = issued(request).is_some();
    let is_ours = SIGNERS.contains(&request.spec.signer_name.as_str());
    if is_issued || !is_ours || has(request, "Denied") || has(request, "Failed") {
        return Next::Nothing;
    }
    if has(request, "Approved") {
        return Next::Sign;
    }
    if request.spec.signer_name == KUBELET_CLIENT { Next::Approve } else { Next::Nothing }
}

/// A certificate that is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The usages asked for, all of which the signer allows.
    pub usages: Vec<String>,
    /// The lifetime asked for.
    pub lifetime: Option<Duration>,
}

/// What a signer says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signing {
    /// It may have it.
    Granted(Grant),
    /// It may not, for good, and why.
    Refused(String),
}

fn usages(spec: &CertificateSigningRequestSpec) -> BTreeSet<&str> {
    spec.usages.iter().flatten().map(String::as_str).collect()
}

/// Whether the usages are these, with or without key encipherment (which only RSA keys have a use for).
fn are_usages(spec: &CertificateSigningRequestSpec, wanted: [&str; 2]) -> bool {
    let mut own = usages(spec);
    own.remove("key encipherment");
    own == BTreeSet::from(wanted)
}

fn check_node_subject(parsed: &Parsed) -> Result<(), String> {
    if parsed.organizations != [NODE_GROUP] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    if !parsed.common_name.starts_with(NODE_USER) {
        return Err("subject common name does not begin with system:node:".to_owned());
    }
    Ok(())
}

/// Whether a kubelet may have it as its client certificate.
///
/// Authority: `ValidateKubeletClientCSR`.
pub fn check_kubelet_client(spec: &CertificateSigningRequestSpec, parsed: &Parsed) -> Result<(), String> {
    check_node_subject(parsed)?;
    for (is_given, what) in [
        (!parsed.dns_names.is_empty(), "DNS"),
        (!parsed.emails.is_empty(), "email"),
        (!parsed.ip_addresses.is_empty(), "IP"),
        (!parsed.uris.is_empty(), "URI"),
    ] {
        if is_given {
            return Err(format!("{what} subjectAltNames are not allowed"));
        }
    }
    if !are_usages(spec, ["digital signature", "client auth"]) {
        return Err("usages did not match [client auth digital signature]".to_owned());
    }
    Ok(())
}

/// Authority: `ValidateKubeletServingCSR`.
fn check_kubelet_serving(spec: &CertificateSigningRequestSpec, parsed: &Parsed) -> Result<(), String> {
    check_node_subject(parsed)?;
    if parsed.dns_names.is_empty() && parsed.ip_addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    if !parsed.emails.is_empty() {
        return Err("email subjectAltNames are not allowed".to_owned());
    }
    if !parsed.uris.is_empty() {
        return Err("URI subjectAltNames are not allowed".to_owned());
    }
    if !are_usages(spec, ["digital signature", "server auth"]) {
        return Err("usages did not match [digital signature server auth]".to_owned());
    }
    Ok(())
}

fn check_client(spec: &CertificateSigningRequestSpec) -> Result<(), String> {
    let own = usages(spec);
    let allowed = ["digital signature", "key encipherment", "client auth"];
    if own.contains("client auth") && own.iter().all(|usage| allowed.contains(usage)) {
        return Ok(());
    }
    Err(format!(
        "usages {own:?} are incompatible with {CLIENT}: client auth, digital signature and key encipherment"
    ))
}

/// Whether the signer of a request grants it.
pub fn check(spec: &CertificateSigningRequestSpec, parsed: &Parsed) -> Signing {
    let checked = match spec.signer_name.as_str() {
        CLIENT => check_client(spec),
        KUBELET_CLIENT => check_kubelet_client(spec, parsed),
        KUBELET_SERVING => check_kubelet_serving(spec, parsed),
        LEGACY => Ok(()),
        other => Err(format!("{other} is none of the built-in signers")),
    };
    let checked = checked.and_then(|()| match usages(spec).iter().find(|usage| !KNOWN.contains(usage)) {
        Some(unknown) => Err(format!("unrecognized usage values: [{unknown:?}]")),
        None => Ok(()),
    });
    match checked {
        Err(reason) => Signing::Refused(reason),
        Ok(()) => Signing::Granted(Grant {
            usages: spec.usages.clone().unwrap_or_default(),
            lifetime: spec
                .expiration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
        }),
    }
}

/// Every usage that has a bit or an identifier in a certificate.
pub const KNOWN: [&str; 23] = [
    "signing",
    "digital signature",
    "content commitment",
    "key encipherment",
    "key agreement",
    "data encipherment",
    "cert sign",
    "crl sign",
    "encipher only",
    "decipher only",
    "any",
    "server auth",
    "client auth",
    "code signing",
    "email protection",
    "s/mime",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "timestamping",
    "ocsp signing",
    "microsoft sgc",
    "netscape sgc",
];

/// A way a request may be approved without a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The subresource of certificatesigningrequests the requester must be allowed to create.
    pub subresource: &'static str,
    /// What the approval says.
    pub message: &'static str,
}

/// The ways a request may be approved, in order; none for anything but a kubelet's client certificate.
pub fn approvals(spec: &CertificateSigningRequestSpec, parsed: &Parsed) -> Vec<Approval> {
    if spec.signer_name != KUBELET_CLIENT || check_kubelet_client(spec, parsed).is_err() {
        return Vec::new();
    }
    let own = Approval {
        subresource: "selfnodeclient",
        message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
    };
    let any = Approval {
        subresource: "nodeclient",
        message: "Auto approving kubelet client certificate after SubjectAccessReview.",
    };
    let is_own = spec.username.as_deref() == Some(parsed.common_name.as_str());
    if is_own { vec![own, any] } else { vec![any] }
}

fn issued(request: &CertificateSigningRequest) -> Option<&[u8]> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    (!certificate.0.is_empty()).then_some(certificate.0.as_slice())
}

fn is_expired(pem: &[u8], now: Timestamp) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(pem) else { return false };
    X509Certificate::from_der(&der)
        .is_ok_and(|(_, certificate)| certificate.validity().not_after.timestamp() < now.as_second())
}

/// Why a request may go; `None` while it is of use.
pub fn is_over(request: &CertificateSigningRequest, now: Timestamp) -> Option<&'static str> {
    let is_past =
        |at: Option<Timestamp>, limit: SignedDuration| at.is_some_and(|at| now.duration_since(at) > limit);
    let conditions =
        request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let certificate = issued(request);
    for condition in conditions {
        let at = condition.last_update_time.as_ref().map(|time| time.0);
        match (condition.type_.as_str(), certificate) {
            ("Approved", Some(pem)) if is_expired(pem, now) => return Some("its certificate has expired"),
            ("Approved", Some(_)) if is_past(at, HOUR) => return Some("issued an hour ago"),
            ("Approved", None) if is_past(at, DAY) => return Some("approved a day ago and not issued"),
            ("Denied", _) if is_past(at, HOUR) => return Some("denied an hour ago"),
            ("Failed", _) if is_past(at, HOUR) => return Some("failed an hour ago"),
            _ => {}
        }
    }
    let created = request.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (conditions.is_empty() && is_past(created, DAY)).then_some("nobody decided for a day")
}
