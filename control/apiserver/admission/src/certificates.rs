//! CertificateApproval, CertificateSigning, CertificateSubjectRestriction, ClusterTrustBundleAttest.
//!
//! Who may approve, sign or attest is a question about the resource `signers` of certificates.k8s.io, by name or for a
//! whole domain (`kubernetes.io/*`). Authority: plugin/pkg/admission/certificates upstream.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use xebec_api::meta;
use xebec_api::status::ApiError;
use xebec_identity::Attributes;

use crate::{Call, Operation, Question};

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";

/// Why a certificate request cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// `spec.request` is no base64.
    #[error("spec.request is not base64")]
    Encoding,
    /// There is no PEM block in it.
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    Pem,
    /// The block is no PKCS#10 request.
    #[error("asn1: the block is no certificate request")]
    Contents,
}

/// Whom a certificate request is for.
pub(crate) struct Subject {
    /// The common name, empty if there is none.
    pub common_name: String,
    /// The organizations, which are groups to Kubernetes.
    pub organizations: Vec<String>,
}

impl Subject {
    /// Reads the subject of a CertificateSigningRequest.
    pub fn of(object: &Value) -> Result<Self, RequestError> {
        let pem =
            STANDARD.decode(meta::str_at(object, "/spec/request")).map_err(|_| RequestError::Encoding)?;
        let (_, block) = x509_parser::pem::parse_x509_pem(&pem).map_err(|_| RequestError::Pem)?;
        if block.label != "CERTIFICATE REQUEST" {
            return Err(RequestError::Pem);
        }
        let (_, request) = X509CertificationRequest::from_der(&block.contents)
            .map_err(|_: x509_parser::nom::Err<_>| RequestError::Contents)?;
        let subject = &request.certification_request_info.subject;
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            value.as_str().unwrap_or_default().to_owned()
        };
        Ok(Self {
            common_name: subject.iter_common_name().next().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
        })
    }
}

/// May the requester do `verb` for this signer, or for every signer of its domain?
fn about_signer(call: &Call<'_>, object: &Value, verb: &str, signer: &str, why: &str) -> Question {
    let ask = |name: &str| Attributes::resource(call.request.user, verb, GROUP, "signers", "", name);
    let domain = signer.split('/').next().unwrap_or_default();
    Question {
        any_of: vec![ask(signer), ask(&format!("{domain}/*"))],
        refusal: call.forbidden(object, format!("{why} {signer:?}")),
    }
}

/// Approving and denying.
pub(crate) fn approval(call: &Call<'_>, object: &Value) -> Vec<Question> {
    if !call.request.is(GROUP, REQUESTS, "approval") || call.request.operation != Operation::Update {
        return Vec::new();
    }
    let signer = meta::str_at(call.old.unwrap_or(object), "/spec/signerName");
    vec![about_signer(
        call,
        object,
        "approve",
        signer,
        "user not permitted to approve requests with signerName",
    )]
}

/// Issuing a certificate, or giving up on it.
pub(crate) fn signing(call: &Call<'_>, object: &Value) -> Vec<Question> {
    let Some(old) = call.old else { return Vec::new() };
    if !call.request.is(GROUP, REQUESTS, "status") || call.request.operation != Operation::Update {
        return Vec::new();
    }
    let same = |at: &str| {
        let (new, old) = (meta::at(object, at), meta::at(old, at));
        let empty = |v: &Value| v.is_null() || v.as_array().is_some_and(Vec::is_empty);
        new == old || (empty(new) && empty(old))
    };
    if same("/status/certificate") && same("/status/conditions") {
        return Vec::new();
    }
    let signer = meta::str_at(old, "/spec/signerName");
    vec![about_signer(call, object, "sign", signer, "user not permitted to sign requests with signerName")]
}

/// Nobody gets a client certificate that makes them a master.
pub(crate) fn subject_restriction(call: &Call<'_>, object: &Value) -> Result<(), ApiError> {
    const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
    let creates = call.request.is(GROUP, REQUESTS, "") && call.request.operation == Operation::Create;
    if !creates || meta::str_at(object, "/spec/signerName") != SIGNER {
        return Ok(());
    }
    let subject = Subject::of(object)
        .map_err(|error| call.forbidden(object, format!("failed to parse CSR: {error}")))?;
    if subject.organizations.iter().any(|group| group == xebec_identity::GROUP_MASTERS) {
        let why = format!("use of {SIGNER} signer with system:masters group is not allowed");
        return Err(call.forbidden(object, why));
    }
    Ok(())
}

/// Publishing trust anchors in a signer's name.
pub(crate) fn trust_bundle(call: &Call<'_>, object: &Value) -> Vec<Question> {
    let writes = matches!(call.request.operation, Operation::Create | Operation::Update);
    let signer = meta::str_at(object, "/spec/signerName");
    let unchanged = call.old.is_some_and(|old| old["spec"] == object["spec"]);
    if !call.request.is(GROUP, "clustertrustbundles", "") || !writes || signer.is_empty() || unchanged {
        return Vec::new();
    }
    vec![about_signer(call, object, "attest", signer, "user not permitted to attest for signerName")]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{World, request};
    use serde_json::json;

    /// A CertificateSigningRequest with a real PKCS#10 body.
    pub(crate) fn signing_request(signer: &str, name: &str, organizations: &[&str]) -> Value {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        for organization in organizations {
            parameters.distinguished_name.push(rcgen::DnType::OrganizationName, *organization);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = parameters.serialize_request(&key).unwrap().pem().unwrap();
        json!({"metadata": {"name": "c"}, "spec": {"signerName": signer, "request": STANDARD.encode(pem)}})
    }

    fn names(questions: &[Question]) -> Vec<String> {
        let all = questions.iter().flat_map(|q| &q.any_of);
        all.map(|a| format!("{} {}.{} {}", a.verb, a.resource, a.group, a.name)).collect()
    }

    #[test]
    fn approving_and_signing_ask_about_the_signer() {
        let world = World::default();
        let old = json!({"metadata": {"name": "c"}, "spec": {"signerName": "example.com/s"}});
        let mut ask = request(Operation::Update, GROUP, REQUESTS, "", "c");
        ask.subresource = "approval";
        let questions = approval(&world.call(ask, Some(&old)), &old);
        assert_eq!(
            names(&questions),
            [
                "approve signers.certificates.k8s.io example.com/s",
                "approve signers.certificates.k8s.io example.com/*"
            ]
        );
        assert_eq!(
            questions[0].refuse("").message,
            "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: user not permitted to approve requests \
             with signerName \"example.com/s\""
        );
        ask.subresource = "status";
        let call = world.call(ask, Some(&old));
        assert!(signing(&call, &old).is_empty(), "nothing changes");
        let mut signed = old.clone();
        signed["status"] = json!({"certificate": "x"});
        assert_eq!(names(&signing(&call, &signed))[0], "sign signers.certificates.k8s.io example.com/s");
        assert!(
            signing(&call, &signed)[0]
                .refuse("")
                .message
                .ends_with("user not permitted to sign requests with signerName \"example.com/s\"")
        );
    }

    #[test]
    fn no_masters() {
        let world = World::default();
        let call = world.call(request(Operation::Create, GROUP, REQUESTS, "", "c"), None);
        let signer = "kubernetes.io/kube-apiserver-client";
        subject_restriction(&call, &signing_request(signer, "a", &["dev"])).unwrap();
        subject_restriction(&call, &signing_request("example.com/x", "a", &["system:masters"])).unwrap();
        let error =
            subject_restriction(&call, &signing_request(signer, "a", &["system:masters"])).unwrap_err();
        assert!(error.message.ends_with(
            "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
        ));
        let mut broken = signing_request(signer, "a", &[]);
        broken["spec"]["request"] = json!("!");
        assert!(subject_restriction(&call, &broken).unwrap_err().message.contains("failed to parse CSR:"));
    }

    #[test]
    fn trust_bundles() {
        let world = World::default();
        let call = world.call(request(Operation::Create, GROUP, "clustertrustbundles", "", "b"), None);
        let bundle = json!({"spec": {"signerName": "example.com/s"}});
        assert_eq!(
            names(&trust_bundle(&call, &bundle))[1],
            "attest signers.certificates.k8s.io example.com/*"
        );
        assert!(trust_bundle(&call, &json!({"spec": {}})).is_empty());
    }
}
