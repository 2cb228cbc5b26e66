//! What a write to a pod's status may say.
//!
//! Authority: upstream's ValidatePodStatusUpdate.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::annotations;
use crate::shared::access::{at, int, list, list_mut, set, text};
use crate::shared::addresses::validate_ip;
use crate::shared::rules::{immutable, invalid_each};

mod containers;
mod restarts;

const SYSTEM_CONDITIONS: &[&str] = &["PodScheduled", "Ready", "Initialized"];
const NOT_NEGATIVE: &str = "must be a non-negative integer";

/// Takes over the generations that a client leaves out: once seen, a generation stays seen (KEP-5067).
pub fn keep_observed_generations(obj: &mut Value, old: &Value) {
    keep_generation(obj, &["status", "observedGeneration"], int(old, &["status", "observedGeneration"]));
    // There may be several conditions of a type: each takes the next one's.
    let mut before: BTreeMap<&str, VecDeque<Option<i64>>> = BTreeMap::new();
    for condition in list(old, &["status", "conditions"]) {
        let generations = before.entry(text(condition, &["type"])).or_default();
        generations.push_back(int(condition, &["observedGeneration"]));
    }
    for condition in list_mut(obj, &["status", "conditions"]) {
        let generations = before.get_mut(text(condition, &["type"]));
        let generation = generations.and_then(VecDeque::pop_front).flatten();
        keep_generation(condition, &["observedGeneration"], generation);
    }
}

fn keep_generation(obj: &mut Value, path: &[&str], before: Option<i64>) {
    if let Some(before) = before.filter(|_| int(obj, path).unwrap_or(0) == 0) {
        set(obj, path, before.into());
    }
}

/// Every error of a write to a pod's status.
pub fn validate(obj: &Value, old: &Value) -> Vec<FieldError> {
    let (metadata, path) = (Path::new("metadata"), Path::new("status"));
    let mut errors = annotations::validate_update(obj, old, &metadata.child("annotations"));
    for (index, condition) in list(obj, &["status", "conditions"]).iter().enumerate() {
        let path = path.child("conditions").index(index);
        errors.extend(observed_generation(condition, &path));
        let kind = text(condition, &["type"]);
        if !SYSTEM_CONDITIONS.contains(&kind) {
            // Upstream spells the type as Go does.
            errors.extend(invalid_each(&path.child("Type"), kind, names::is_qualified_name(kind)));
        }
    }
    errors.extend(validate_nomination(obj, old, &path.child("nominatedNodeName")));
    errors.extend(observed_generation(at(obj, &["status"]), &path));
    let class = ["status", "qosClass"];
    errors.extend(immutable(at(obj, &class), at(old, &class), &path.child("qosClass")));
    errors.extend(restarts::validate(obj, old, &path));
    errors.extend(validate_claims(obj, &path.child("resourceClaimStatuses")));
    errors.extend(containers::validate_extended_claim(obj, &path.child("extendedResourceClaimStatus")));
    let known =
        |key: &str| -> Vec<&str> { list(old, &["status", key]).iter().map(|ip| text(ip, &["ip"])).collect() };
    errors.extend(validate_ips(list(obj, &["status", "podIPs"]), &known("podIPs"), &path.child("podIPs")));
    errors.extend(validate_host_ips(obj, &known("hostIPs"), &path.child("hostIPs")));
    errors.extend(containers::validate(obj, &path));
    errors
}

fn observed_generation(holder: &Value, path: &Path) -> Option<FieldError> {
    let generation = int(holder, &["observedGeneration"]).filter(|generation| *generation < 0)?;
    Some(FieldError::invalid(&path.child("observedGeneration"), generation, NOT_NEGATIVE))
}

/// Every error of the node a pod may get: none once it has one.
fn validate_nomination(obj: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let nominated = text(obj, &["status", "nominatedNodeName"]);
    if nominated.is_empty() || nominated == text(old, &["status", "nominatedNodeName"]) {
        return Vec::new();
    }
    let mut errors = invalid_each(path, nominated, names::is_dns1123_subdomain(nominated));
    if !text(old, &["spec", "nodeName"]).is_empty() {
        let detail = "may not be set on pods that are already bound to a node";
        errors.push(FieldError::forbidden(path, detail));
    }
    errors
}

fn validate_claims(obj: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let claims = list(obj, &["spec", "resourceClaims"]);
    let mut seen = BTreeSet::new();
    for (index, status) in list(obj, &["status", "resourceClaimStatuses"]).iter().enumerate() {
        let name = text(status, &["name"]);
        let path = path.index(index).child("name");
        if !claims.iter().any(|claim| text(claim, &["name"]) == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(&path, name, detail));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        if let Some(made) = at(status, &["resourceClaimName"]).as_str() {
            errors.extend(invalid_each(&path, made, names::is_dns1123_subdomain(made)));
        }
    }
    errors
}

fn validate_ips(ips: &[Value], known: &[&str], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let all: Vec<&str> = ips.iter().map(|ip| text(ip, &["ip"])).collect();
    for (index, ip) in all.iter().enumerate() {
        errors.extend(validate_ip(ip, known, &path.index(index)));
    }
    if all.len() > 1 {
        let six = |ip: &&&str| ip.contains(':');
        let dual = all.iter().any(|ip| six(&ip)) && !all.iter().all(|ip| six(&ip));
        if !dual || all.len() > 2 {
            let detail = "may specify no more than one IP for each IP family";
            errors.push(FieldError::invalid(path, ips, detail));
        }
        let mut seen = BTreeSet::new();
        for (index, _) in all.iter().enumerate().filter(|(_, ip)| !seen.insert(**ip)) {
            errors.push(FieldError::duplicate(&path.index(index), &ips[index]));
        }
    }
    errors
}

fn validate_host_ips(obj: &Value, known: &[&str], path: &Path) -> Vec<FieldError> {
    let ips = list(obj, &["status", "hostIPs"]);
    let Some(first) = ips.first().map(|ip| text(ip, &["ip"])) else { return Vec::new() };
    let mut errors = Vec::new();
    if first != text(obj, &["status", "hostIP"]) {
        errors.push(FieldError::invalid(&path.index(0).child("ip"), first, "must be equal to `hostIP`"));
    }
    errors.extend(validate_ips(ips, known, path));
    errors
}
