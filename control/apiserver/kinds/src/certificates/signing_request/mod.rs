//! CertificateSigningRequests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::pem;
use super::request_status::{self, May};
use crate::shared::access::{at, drop_nulls, has, int, list, set, text, texts};
use crate::table::{AGE, NAME, age, column, human_duration, name};
use crate::{Column, Context, Facts, NameRule, Strategy, generic};

static FACTS: Facts =
    Facts::cluster("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests")
        .with_status()
        .with_name(NameRule::PathSegment);
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
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const SIGNER_MAX_BYTES: usize = 571;
const MIN_SECONDS: i64 = 600;

/// The strategy of CertificateSigningRequests. The requestor's identity beyond the name (uid, groups, extra) is
/// the API server's to set.
pub struct CertificateSigningRequest;

/// What is wrong with the request itself: it must be PKCS#10 in PEM, signed by its own key.
fn request_problem(request: &str) -> Option<&'static str> {
    let blocks = pem::blocks(&STANDARD.decode(request).unwrap_or_default());
    let Some(block) = blocks.first().filter(|block| block.label == "CERTIFICATE REQUEST") else {
        return Some("PEM block type must be CERTIFICATE REQUEST");
    };
    let Ok((rest, parsed)) = X509CertificationRequest::from_der(&block.bytes) else {
        return Some("x509: malformed certificate request");
    };
    if !rest.is_empty() {
        return Some("x509: trailing data");
    }
    parsed.verify_signature().err().map(|_| "x509: signature verification failed")
}

/// The errors of a signer's name: a domain and a path, `example.com/signer-name`.
pub fn validate_signer(signer: &str, path: &Path) -> Vec<FieldError> {
    let segments: Vec<&str> = signer.split('/').collect();
    let (domain, rest) = match segments.as_slice() {
        [""] => return vec![FieldError::required(path, "")],
        [domain, rest] => (*domain, *rest),
        _ => {
            let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            return vec![FieldError::invalid(path, signer, detail)];
        }
    };
    let mut errors = Vec::new();
    if domain.len() > 253 {
        errors.push(FieldError::too_long(path, 253));
    }
    errors.extend(validate_labels(domain, names::is_dns1123_label, path));
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, domain, detail));
    }
    errors.extend(validate_labels(rest, names::is_dns1123_subdomain, path));
    if signer.len() > SIGNER_MAX_BYTES {
        errors.push(FieldError::too_long(path, SIGNER_MAX_BYTES));
    }
    errors
}

/// The errors of the first bad label of a segment.
fn validate_labels(segment: &str, rule: crate::shared::rules::TextRule, path: &Path) -> Vec<FieldError> {
    let bad = segment.split('.').map(|label| (label, rule(label))).find(|(_, problems)| !problems.is_empty());
    let (label, problems) = bad.unwrap_or_default();
    let quoted = xebec_api::gotext::quote(label);
    let detail = |problem: String| format!("validating label {quoted}: {problem}");
    problems.into_iter().map(|problem| FieldError::invalid(path, segment, detail(problem))).collect()
}

/// Every error of a request; `old` is the stored one of an update, whose own breaches are tolerated.
fn validate_all(obj: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = generic::validate(&FACTS, obj);
    let (spec, path) = (at(obj, &["spec"]), Path::new("spec"));
    let request = text(spec, &["request"]);
    let problem = request_problem(request);
    errors.extend(problem.map(|problem| FieldError::invalid(&path.child("request"), request, problem)));
    let (usages, usages_path) = (texts(spec, &["usages"]), path.child("usages"));
    let before = old.map(|old| texts(old, &["spec", "usages"])).unwrap_or_default();
    if usages.is_empty() {
        errors.push(FieldError::required(&usages_path, ""));
    }
    let unknown = |usages: &[&str]| usages.iter().any(|usage| !USAGES.contains(usage));
    for (index, usage) in usages.iter().enumerate().filter(|_| !unknown(&before)) {
        if !USAGES.contains(usage) {
            errors.push(FieldError::not_supported(&usages_path.index(index), usage, USAGES));
        }
    }
    let repeated = |usages: &[&str], index: usize| usages[..index].contains(&usages[index]);
    let tolerated = (0..before.len()).any(|index| repeated(&before, index));
    for index in (0..usages.len()).filter(|index| !tolerated && repeated(&usages, *index)) {
        errors.push(FieldError::duplicate(&usages_path.index(index), usages[index]));
    }
    let (signer, signer_path) = (text(spec, &["signerName"]), path.child("signerName"));
    let legacy = old.is_some_and(|old| text(old, &["spec", "signerName"]) == LEGACY_SIGNER);
    if signer == LEGACY_SIGNER && !legacy {
        let detail = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid(&signer_path, signer, detail));
    } else {
        errors.extend(validate_signer(signer, &signer_path));
    }
    if let Some(seconds) = int(spec, &["expirationSeconds"]).filter(|seconds| *seconds < MIN_SECONDS) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, detail));
    }
    errors.extend(request_status::validate(obj, old));
    errors
}

fn validate_change(obj: &Value, old: &Value, may: May) -> Vec<FieldError> {
    let mut errors = validate_all(obj, Some(old));
    errors.extend(request_status::validate_change(obj, old, may));
    errors.extend(generic::validate_update(&FACTS, obj, old));
    errors
}

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
        validate_all(obj, None)
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        validate_change(obj, old, May::Nothing)
    }

    fn prepare_for_status_update(&self, ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        generic::prepare_for_status_update(&FACTS, obj, old);
        request_status::keep_approval(obj, old);
        request_status::date_conditions(ctx, obj, old);
    }

    fn validate_status_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        validate_change(obj, old, May::Issue)
    }

    fn prepare_for_subresource_update(&self, sub: &str, ctx: &Context<'_>, obj: &mut Value, old: &Value) {
        if sub == "approval" {
            request_status::approve(ctx, obj, old);
        }
    }

    fn validate_subresource_update(&self, sub: &str, obj: &Value, old: &Value) -> Vec<FieldError> {
        if sub == "approval" { validate_change(obj, old, May::Approve) } else { Vec::new() }
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
    let mut words = vec![match (is("Denied"), is("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
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
mod tests;
