//! The next step for a definition's status.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_kinds::shared::access::{at, set, text};

use super::conditions::{self, Condition, find};
use super::naming::{TakenNames, claim};
use crate::definition::approval::{self, Approval};
use crate::definition::{self, Conversion, Definition, Names};
use crate::schema::structural_errors;

/// How long upstream waits between accepting the names and calling a definition established, so that every API server
/// has seen the names. A lone server may establish at once, as soon as it routes requests to the resource.
pub const ESTABLISH_DELAY: Duration = Duration::from_secs(5);

/// What to do about a definition.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing: the status says what is so.
    Nothing,
    /// Write this definition's status, then look again. When names have been given up or taken, look at the other
    /// definitions of the group too.
    Write(Box<Value>),
    /// Serve the resource's accepted names, then write this definition's status, which says it is established.
    Establish(Box<Value>),
}

/// The next step: names first, then what is wrong with it, then establishing. `taken` are the names of the others.
pub fn plan(crd: &Value, taken: &TakenNames, now: Timestamp) -> Step {
    let mut next = crd.clone();
    accept_names(&mut next, taken, now);
    note_schema(&mut next, now);
    note_approval(&mut next, now);
    if next != *crd {
        return Step::Write(Box::new(next));
    }
    establish(&mut next, now)
}

/// Whether requests for the resource are answered: its names are accepted, or were once.
pub fn is_served(crd: &Value) -> bool {
    super::is_true(crd, "NamesAccepted") || super::is_true(crd, "Established")
}

fn accept_names(crd: &mut Value, taken: &TakenNames, now: Timestamp) {
    let (wanted, accepted) = (at(crd, &["spec", "names"]), at(crd, &["status", "acceptedNames"]));
    if Names::read(wanted) == Names::read(accepted) && find(crd, "NamesAccepted").is_some() {
        return;
    }
    let claims = claim(crd, taken);
    if claims.accepted == *accepted && claims.names.is_set(crd) {
        return;
    }
    set(crd, &["status", "acceptedNames"], claims.accepted);
    claims.names.set(crd, now);
    if let Some(established) = claims.established {
        established.set(crd, now);
    }
}

fn note_schema(crd: &mut Value, now: Timestamp) {
    match non_structural(crd) {
        Some(condition) if !condition.is_set(crd) => condition.set(crd, now),
        Some(_) => {}
        None if find(crd, "NonStructuralSchema").is_some() => conditions::clear(crd, "NonStructuralSchema"),
        None => {}
    }
}

fn non_structural(crd: &Value) -> Option<Condition> {
    let definition = Definition::read(crd);
    let kind = "NonStructuralSchema";
    let mut errors = Vec::new();
    if definition.preserve_unknown {
        let path = Path::new("spec").child("preserveUnknownFields");
        errors.push(FieldError::invalid(&path, true, "must be false"));
    }
    for (at, version) in definition.versions.iter().enumerate() {
        let Some(schema) = version.schema.as_deref() else { continue };
        if let Some(reason) = schema.unsupported() {
            let message = format!("failed to check validation schema for version {}: {reason}", version.name);
            return Some(Condition::new(kind, "Unknown", "StructuralError", message));
        }
        let path = Path::new("spec").child("versions").index(at).child("schema").child("openAPIV3Schema");
        errors.extend(structural_errors(schema, &path));
    }
    let message = || xebec_api::gotext::aggregate(errors.iter().map(ToString::to_string));
    (!errors.is_empty()).then(|| Condition::new(kind, "True", "Violations", message()))
}

fn note_approval(crd: &mut Value, now: Timestamp) {
    if !approval::is_protected(text(crd, &["spec", "group"])) {
        return;
    }
    let (state, message) = approval::approval(crd);
    let (status, reason) = match state {
        Approval::Invalid => ("False", "InvalidAnnotation"),
        Approval::Missing => ("False", "MissingAnnotation"),
        Approval::Approved => ("True", "ApprovedAnnotation"),
        Approval::Bypassed => ("False", "UnapprovedAnnotation"),
    };
    let condition = Condition::new("KubernetesAPIApprovalPolicyConformant", status, reason, message);
    if !condition.is_set(crd) {
        condition.set(crd, now);
    }
}

fn establish(crd: &mut Value, now: Timestamp) -> Step {
    if !super::is_true(crd, "NamesAccepted") || super::is_true(crd, "Established") {
        return Step::Nothing;
    }
    if let Conversion::Webhook { client: Some(client), .. } = Definition::read(crd).conversion
        && !definition::is_ca_bundle(&client.ca_bundle)
    {
        let message = "The conversion webhook CABundle is invalid";
        let condition = Condition::new("Established", "False", "InvalidCABundle", message);
        if condition.is_set(crd) {
            return Step::Nothing;
        }
        condition.set(crd, now);
        return Step::Write(Box::new(crd.clone()));
    }
    let message = "the initial names have been accepted";
    Condition::new("Established", "True", "InitialNamesAccepted", message).set(crd, now);
    Step::Establish(Box::new(crd.clone()))
}
