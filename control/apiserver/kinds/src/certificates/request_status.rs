//! The status of a certificate request: who may add which condition, and when the certificate may be set.
//!
//! Authority: pkg/apis/certificates/validation. Approved and Denied belong to the approval subresource, Failed and
//! the certificate to the status; none of the three is ever taken back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};
use xebec_api::field::{FieldError, Path};
use xebec_api::time::format_rfc3339_seconds;

use super::pem;
use crate::Context;
use crate::shared::access::{at, default_text, has, list, list_mut, set, text};
use crate::shared::rules::one_of;

const APPROVAL: [&str; 2] = ["Approved", "Denied"];
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];

/// Which part of the status a write may change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// Nothing: a write of the object itself.
    Nothing,
    /// The Approved and Denied conditions.
    Approve,
    /// Everything else.
    Issue,
}

fn conditions(csr: &Value) -> &[Value] {
    list(csr, &["status", "conditions"])
}

fn of_type<'a>(csr: &'a Value, kind: &str) -> Vec<&'a Value> {
    conditions(csr).iter().filter(|condition| text(condition, &["type"]) == kind).collect()
}

/// Puts the Approved and Denied conditions of the stored request back where a status write has as many of them.
pub fn keep_approval(csr: &mut Value, old: &Value) {
    for kind in APPROVAL {
        let before: Vec<Value> = of_type(old, kind).into_iter().cloned().collect();
        if before.len() != of_type(csr, kind).len() {
            continue;
        }
        let now = list_mut(csr, &["status", "conditions"]).filter(|found| found["type"] == kind);
        now.zip(before).for_each(|(now, before)| *now = before);
    }
}

/// Dates the conditions that are not dated.
pub fn date_conditions(ctx: &Context<'_>, csr: &mut Value, old: &Value) {
    let now = format_rfc3339_seconds(ctx.now);
    for condition in list_mut(csr, &["status", "conditions"]).filter(|condition| condition.is_object()) {
        default_text(condition, &["lastUpdateTime"], &now);
        let same = |old: &&Value| ["type", "status"].iter().all(|key| old.get(key) == condition.get(key));
        let since = conditions(old).iter().find(same).map(|old| text(old, &["lastTransitionTime"]));
        let since = since.filter(|since| !since.is_empty()).unwrap_or(&now).to_owned();
        default_text(condition, &["lastTransitionTime"], &since);
    }
}

/// Takes all but the conditions from the stored request.
pub fn approve(ctx: &Context<'_>, csr: &mut Value, old: &Value) {
    let wanted = at(csr, &["status", "conditions"]).clone();
    set(csr, &["spec"], at(old, &["spec"]).clone());
    set(csr, &["status"], at(old, &["status"]).clone());
    if !wanted.is_null() {
        set(csr, &["status", "conditions"], wanted);
    }
    date_conditions(ctx, csr, old);
}

/// Every error of the status; `old` is the stored request of an update.
pub fn validate(csr: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let path = Path::new("status");
    let mut errors = validate_conditions(csr, old, &path.child("conditions"));
    let certificate = text(csr, &["status", "certificate"]);
    let before = old.map(|old| text(old, &["status", "certificate"]));
    let tolerated =
        before.is_some_and(|before| before == certificate || certificate_problem(before).is_some());
    if let Some(problem) = certificate_problem(certificate).filter(|_| !tolerated) {
        errors.push(FieldError::invalid(&path.child("certificate"), "<certificate data>", problem));
    }
    errors
}

fn validate_conditions(csr: &Value, old: Option<&Value>, path: &Path) -> Vec<FieldError> {
    // What the stored request already breaks is tolerated.
    let stored = |breaks: &dyn Fn(&[Value]) -> bool| old.is_some_and(|old| breaks(conditions(old)));
    let kind = |condition: &Value| text(condition, &["type"]).to_owned();
    let both = stored(&|found| APPROVAL.iter().all(|wanted| found.iter().any(|c| kind(c) == *wanted)));
    let twice = stored(&|found| {
        (0..found.len()).any(|index| found[..index].iter().any(|c| kind(c) == kind(&found[index])))
    });
    let nameless = stored(&|found| found.iter().any(|condition| kind(condition).is_empty()));
    let mut errors = Vec::new();
    for (index, condition) in conditions(csr).iter().enumerate() {
        let (path, kind) = (path.index(index), text(condition, &["type"]));
        let earlier = |wanted: &str| conditions(csr)[..index].iter().any(|c| text(c, &["type"]) == wanted);
        if kind.is_empty() && !nameless {
            errors.push(FieldError::required(&path.child("type"), ""));
        }
        let allowed: &[&str] = if FINAL.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        errors.extend(one_of(condition, "status", allowed, &path));
        let other = APPROVAL.iter().find(|other| APPROVAL.contains(&kind) && **other != kind);
        if !both && other.is_some_and(|other| earlier(other)) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(&path.child("type"), kind, detail));
        }
        if !twice && earlier(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
    }
    errors
}

/// Every error of changing the status from the stored one.
pub fn validate_change(csr: &Value, old: &Value, may: May) -> Vec<FieldError> {
    let path = Path::new("status").child("conditions");
    let mut errors = Vec::new();
    for kind in FINAL {
        if of_type(csr, kind).len() < of_type(old, kind).len() {
            let detail = format!("updates may not remove a condition of type \"{kind}\"");
            errors.push(FieldError::forbidden(&path, detail));
        }
    }
    for kind in APPROVAL.into_iter().filter(|_| may != May::Approve) {
        let (now, before) = (of_type(csr, kind), of_type(old, kind));
        let verb = match now.len().cmp(&before.len()) {
            std::cmp::Ordering::Greater => "add",
            std::cmp::Ordering::Equal if now != before => "modify",
            _ => continue,
        };
        let detail = format!("updates may not {verb} a condition of type \"{kind}\"");
        errors.push(FieldError::forbidden(&path, detail));
    }
    if text(csr, &["status", "certificate"]) != text(old, &["status", "certificate"]) {
        let detail = match (may == May::Issue, has(old, &["status", "certificate"])) {
            (false, _) => Some("updates may not set certificate content"),
            (true, true) => Some("updates may not modify existing certificate content"),
            (true, false) => None,
        };
        let path = Path::new("status").child("certificate");
        errors.extend(detail.map(|detail| FieldError::forbidden(&path, detail)));
    }
    errors
}

/// What is wrong with a certificate (base64 of PEM blocks); empty is fine.
fn certificate_problem(certificate: &str) -> Option<String> {
    if certificate.is_empty() {
        return None;
    }
    let blocks = pem::blocks(&STANDARD.decode(certificate).unwrap_or_default());
    if blocks.is_empty() {
        return Some("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    blocks.iter().find_map(|block| {
        if block.label != "CERTIFICATE" {
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        if block.has_headers {
            return Some("no PEM block headers are permitted".to_owned());
        }
        if block.bytes.is_empty() {
            return Some("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        X509Certificate::from_der(&block.bytes).err().map(|_| "x509: malformed certificate".to_owned())
    })
}
