//! The cluster addresses of a Service and their families.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{has, text, texts};
use crate::shared::rules::{BAD_IP, is_ip, one_of};

/// Every error of `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy`.
pub fn validate_cluster_ips(spec: &Value, path: &Path) -> Vec<FieldError> {
    let ips = texts(spec, &["clusterIPs"]);
    let single = text(spec, &["clusterIP"]);
    let list_path = path.child("clusterIPs");
    let mut errors = Vec::new();
    if single.is_empty() && !ips.is_empty() {
        let detail = "must be empty when `clusterIPs` is not specified";
        errors.push(FieldError::required(&path.child("clusterIP"), detail));
    } else if let Some(first) = ips.first()
        && *first != single
    {
        let detail = "first value must match `clusterIP`";
        errors.push(FieldError::invalid(&list_path, &ips, detail));
    }
    if ips.len() > 2 {
        errors.push(FieldError::invalid(&list_path, &ips, "may only hold up to 2 values"));
    }
    for (index, ip) in ips.iter().enumerate() {
        let path = list_path.index(index);
        if *ip == "None" {
            if index > 0 || ips.len() > 1 {
                errors.push(FieldError::invalid(&path, ip, "may not be combined with other values"));
            }
        } else if !is_ip(ip) {
            errors.push(FieldError::invalid(&path, ip, BAD_IP));
        }
    }
    let families = texts(spec, &["ipFamilies"]);
    let mut seen = BTreeSet::new();
    for (index, family) in families.iter().enumerate() {
        let path = path.child("ipFamilies").index(index);
        if !["IPv4", "IPv6"].contains(family) {
            errors.push(FieldError::not_supported(&path, family, &["IPv4", "IPv6"]));
        }
        if !seen.insert(*family) {
            errors.push(FieldError::duplicate(&path, family));
        }
        if let Some(ip) = ips.get(index).filter(|ip| is_ip(ip))
            && (ip.contains(':') != (*family == "IPv6"))
        {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(FieldError::invalid(&list_path.index(index), ip, detail));
        }
    }
    if has(spec, &["ipFamilyPolicy"]) {
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        errors.extend(one_of(spec, "ipFamilyPolicy", &policies, path));
    }
    errors
}
