//! Groups the Kubernetes community owns: a definition there must say who approved it.
//!
//! Authority: apiextensions-apiserver, pkg/apihelpers, and KEP-1111.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_kinds::shared::access::text;
use xebec_kinds::shared::meta;

/// The annotation.
pub const APPROVED_ANNOTATION: &str = "api-approved.kubernetes.io";

/// What the annotation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// Neither an address nor a reason.
    Invalid,
    /// The address of the approval.
    Approved,
    /// A reason why there is none.
    Bypassed,
    /// Nothing.
    Missing,
}

/// Whether a group is the community's.
pub fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|owner| group.strip_suffix(owner).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// What the definition's annotation says, and the reason in upstream's words.
pub fn approval(crd: &Value) -> (Approval, String) {
    let annotation = meta::annotation(crd, APPROVED_ANNOTATION).unwrap_or_default();
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    let must = format!("protected groups must have approval annotation {APPROVED_ANNOTATION:?}");
    let has_host = || {
        let (scheme, rest) = annotation.split_once("://")?;
        let host = rest.split(['/', '?']).next()?;
        let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        (named && !host.is_empty() && !annotation.contains(char::is_whitespace)).then_some(())
    };
    if annotation.is_empty() {
        (Approval::Missing, format!("{must}, {see}"))
    } else if annotation.starts_with("unapproved") {
        (Approval::Bypassed, format!("not approved: {}", xebec_api::gotext::quote(annotation)))
    } else if has_host().is_some() {
        (Approval::Approved, format!("approved in {annotation}"))
    } else {
        let detail = format!("{must} with either a URL or a reason starting with \"unapproved\", {see}");
        (Approval::Invalid, detail)
    }
}

/// The error of a definition in a protected group; an update that changes nothing about it has none.
pub(super) fn errors(crd: &Value, old: Option<&Value>) -> Vec<FieldError> {
    if !is_protected(text(crd, &["spec", "group"])) {
        return Vec::new();
    }
    let (state, reason) = approval(crd);
    if old.is_some_and(|old| approval(old).0 == state) {
        return Vec::new();
    }
    let path = Path::new("metadata").child("annotations").key(APPROVED_ANNOTATION);
    match state {
        Approval::Approved | Approval::Bypassed => Vec::new(),
        Approval::Missing => vec![FieldError::required(&path, reason)],
        Approval::Invalid => {
            let value = meta::annotation(crd, APPROVED_ANNOTATION).unwrap_or_default();
            vec![FieldError::invalid(&path, value, reason)]
        }
    }
}
