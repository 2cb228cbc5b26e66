//! The cluster addresses of a Service and their families.
//!
//! Authority: upstream's ValidateServiceClusterIPsRelatedFields.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{has, text, texts};
use crate::shared::addresses::validate_ip;
use crate::shared::rules::one_of_given;

/// Every error of `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy`.
pub fn validate_cluster_ips(spec: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    if text(spec, &["type"]) == "ExternalName" {
        return Vec::new();
    }
    let ips = texts(spec, &["clusterIPs"]);
    let single = text(spec, &["clusterIP"]);
    let list_path = path.child("clusterIPs");
    let mut errors = Vec::new();
    match (single, ips.first()) {
        ("", Some(_)) => {
            let detail = "must be empty when `clusterIP` is not specified";
            errors.push(FieldError::invalid(&list_path, &ips, detail));
        }
        ("", None) => {}
        (_, None) => errors.push(FieldError::required(&list_path, "")),
        (single, Some(first)) if *first != single => {
            errors.push(FieldError::invalid(&list_path, &ips, "first value must match `clusterIP`"));
        }
        _ => {}
    }
    errors.extend(validate_families(spec, path));
    let (found, readable) = validate_list(&ips, &texts(old, &["clusterIPs"]), &list_path);
    errors.extend(found);
    if !readable {
        return errors;
    }
    if let [first, second] = ips[..]
        && first.contains(':') == second.contains(':')
    {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(&list_path, &ips, detail));
    }
    if ips != ["None"] {
        for (index, (ip, family)) in ips.iter().zip(texts(spec, &["ipFamilies"])).enumerate() {
            if ip.contains(':') != (family == "IPv6") && matches!(family, "IPv4" | "IPv6") {
                let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
                errors.push(FieldError::invalid(&list_path.index(index), ip, detail));
            }
        }
    }
    errors
}

fn validate_families(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, family) in texts(spec, &["ipFamilies"]).into_iter().enumerate() {
        let path = path.child("ipFamilies").index(index);
        if !["IPv4", "IPv6"].contains(&family) {
            errors.push(FieldError::not_supported(&path, family, &["IPv4", "IPv6"]));
        }
        if !seen.insert(family) {
            errors.push(FieldError::duplicate(&path, family));
        }
    }
    if has(spec, &["ipFamilyPolicy"]) {
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        errors.extend(one_of_given(spec, "ipFamilyPolicy", &policies, path));
    }
    errors
}

/// The errors of the addresses taken alone, and whether they can be compared with each other.
fn validate_list(ips: &[&str], known: &[&str], path: &Path) -> (Vec<FieldError>, bool) {
    let mut errors = Vec::new();
    let mut readable = true;
    for (index, ip) in ips.iter().enumerate() {
        if index == 0 && *ip == "None" {
            if ips.len() > 1 {
                readable = false;
                errors.push(FieldError::invalid(path, ips, "'None' must be the first and only value"));
            }
        } else {
            let found = validate_ip(ip, known, &path.index(index));
            readable &= found.is_empty();
            errors.extend(found);
        }
    }
    if ips.len() > 2 {
        errors.push(FieldError::invalid(path, ips, "may only hold up to 2 values"));
    }
    (errors, readable)
}
