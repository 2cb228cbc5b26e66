//! CertificateSigningRequests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, drop_nulls, has, int, list, set, text, texts};
use crate::table::{AGE, NAME, age, column, human_duration, name};
use crate::{Column, Context, Facts, NameRule, Strategy, generic};

static FACTS: Facts =
    Facts::cluster("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests")
        .with_status()
        .with_name(NameRule::Subdomain);
const COLUMNS: &[Column] = &[
    NAME,
    AGE,
    column("SignerName", "string", "The requested signer."),
    column("Requestor", "string", "Who made the request."),
    column("RequestedDuration", "string", "The requested duration of validity."),
    column("Condition", "string", "Conditions applied to the request."),
];
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The strategy of CertificateSigningRequests. The requestor's identity beyond the name (uid, groups, extra) is
/// the API server's to set.
pub struct CertificateSigningRequest;

impl Strategy for CertificateSigningRequest {
    fn facts(&self) -> &Facts {
        &FACTS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn prepare_for_create(&self, ctx: &Context<'_>, obj: &mut Value) {
        generic::prepare_for_create(&FACTS, obj);
        set(obj, &["spec", "username"], json!(ctx.user));
    }

    fn prepare_for_update(&self, _ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_update(&FACTS, obj, old);
        set(obj, &["spec"], at(old, &["spec"]).clone());
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&FACTS, obj);
        let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
        let request = text(spec, &["request"]);
        let decoded = STANDARD.decode(request).unwrap_or_default();
        if !decoded.starts_with(b"-----BEGIN CERTIFICATE REQUEST-----")
            && !decoded.starts_with(b"-----BEGIN NEW")
        {
            let detail = "PEM block type must be CERTIFICATE REQUEST";
            errors.push(FieldError::invalid(&path.child("request"), request, detail));
        }
        let usages = texts(spec, &["usages"]);
        if usages.is_empty() {
            errors.push(FieldError::required(&path.child("usages"), ""));
        }
        for (index, usage) in usages.iter().enumerate() {
            if !USAGES.contains(usage) {
                errors.push(FieldError::not_supported(&path.child("usages").index(index), usage, USAGES));
            }
            if usages[..index].contains(usage) {
                errors.push(FieldError::duplicate(&path.child("usages").index(index), usage));
            }
        }
        let signer = text(spec, &["signerName"]);
        let signer_path = path.child("signerName");
        match signer.split_once('/') {
            _ if signer.is_empty() => errors.push(FieldError::required(&signer_path, "")),
            Some((domain, name)) if domain.contains('.') && !name.is_empty() => {}
            _ => {
                let detail =
                    "must be a fully qualified domain and path of the form 'example.com/signer-name'";
                errors.push(FieldError::invalid(&signer_path, signer, detail));
            }
        }
        if let Some(seconds) = int(spec, &["expirationSeconds"]).filter(|seconds| *seconds < 600) {
            let detail = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, detail));
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        generic::validate_update(&FACTS, obj, old)
    }

    fn selectable_field_names(&self) -> &[&str] {
        &["spec.signerName"]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let duration = int(obj, &["spec", "expirationSeconds"]).map_or("<none>".to_owned(), human_duration);
        vec![
            name(obj),
            age(obj, now),
            json!(text(obj, &["spec", "signerName"])),
            json!(text(obj, &["spec", "username"])),
            json!(duration),
            json!(condition(obj)),
        ]
    }
}

fn condition(obj: &Value) -> String {
    let is = |kind: &str| list(obj, &["status", "conditions"]).iter().any(|c| text(c, &["type"]) == kind);
    let mut words = vec![if is("Denied") {
        "Denied"
    } else if is("Approved") {
        "Approved"
    } else {
        "Pending"
    }];
    if is("Failed") {
        words.push("Failed");
    }
    if has(obj, &["status", "certificate"]) {
        words.push("Issued");
    }
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    #[test]
    fn a_request_is_checked_and_shown() {
        let request = STANDARD.encode("-----BEGIN CERTIFICATE REQUEST-----\n");
        let spec = json!({"request": request, "signerName": "kubernetes.io/kubelet-serving", "usages": ["server auth"]});
        let (mut csr, errors) = create(&CertificateSigningRequest, json!({"spec": spec}));
        assert_eq!(errors, Vec::<String>::new());
        csr["status"] = json!({"conditions": [{"type": "Approved"}], "certificate": "x"});
        assert_eq!(
            CertificateSigningRequest.row(&csr, now())[3..],
            [json!("me"), json!("<none>"), json!("Approved,Issued")]
        );
        let errors = create(&CertificateSigningRequest, json!({"spec": {"request": request}})).1;
        assert_eq!(errors, ["spec.usages: Required value", "spec.signerName: Required value"]);
    }
}
