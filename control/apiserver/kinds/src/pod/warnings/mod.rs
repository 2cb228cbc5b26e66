//! Warnings about pods and pod templates: deprecated fields and settings that do not do what they seem to.
//!
//! Enters: a pod or a template and the path of its fields. Leaves: the texts of `Warning` headers. Called by the
//! strategies of pods and workloads. Authority: pkg/api/pod/warnings.go, in its order.

use serde_json::Value;
use xebec_api::field::Path;
use xebec_api::gotext::quote;
use xebec_api::names;

use super::profiles;
use crate::shared::access::{at, has, int, list, text};
use crate::shared::addresses::ip_warnings;
use crate::shared::meta;
use crate::shared::node_labels::{deprecation, expression_warnings};
use crate::shared::quantities::parse;
use crate::storage::claim::spec_warnings;

mod containers;
mod overlaps;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        r#"non-functional in v1.16+; use the "priorityClassName" field instead"#,
    ),
    ("security.alpha.kubernetes.io/sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        r#"non-functional in v1.11+; use the "sysctls" field instead"#,
    ),
];
const OLD_VOLUMES: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";

/// The warnings of a pod (at the empty path) or of a template.
pub fn of(holder: &Value, path: &Path) -> Vec<String> {
    let (spec, spec_path) = (at(holder, &["spec"]), path.child("spec"));
    let mut warnings = of_placement(spec, &spec_path);
    let annotations = path.child("metadata").child("annotations");
    for (key, message) in OLD_ANNOTATIONS {
        if meta::annotation(holder, key).is_some() {
            warnings.push(format!("{}: {message}", annotations.key(key)));
        }
    }
    warnings.extend(of_volumes(spec, &spec_path.child("volumes")));
    warnings.extend(overlaps::of(list(spec, &["volumes"])));
    warnings.extend(of_names(spec, &spec_path));
    for resource in ["memory", "ephemeral-storage"] {
        warnings.extend(fractional(at(spec, &["overhead"]), resource, &spec_path.child("overhead")));
    }
    warnings.extend(profiles::seccomp_pod_warning(holder, &annotations));
    warnings.extend(containers::of(holder, path));
    if int(spec, &["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
        warnings.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            spec_path.child("terminationGracePeriodSeconds")
        ));
    }
    warnings.extend(of_pod_affinity(spec, &spec_path.child("affinity")));
    let servers = spec_path.child("dnsConfig").child("nameservers");
    for (index, server) in list(spec, &["dnsConfig", "nameservers"]).iter().enumerate() {
        warnings.extend(ip_warnings(server.as_str().unwrap_or_default(), &servers.index(index)));
    }
    for (index, alias) in list(spec, &["hostAliases"]).iter().enumerate() {
        let path = spec_path.child("hostAliases").index(index).child("ip");
        warnings.extend(ip_warnings(text(alias, &["ip"]), &path));
    }
    warnings
}

/// The warning of an amount of bytes that is not whole.
pub fn fractional(amounts: &Value, resource: &str, path: &Path) -> Option<String> {
    let amount = parse(at(amounts, &[resource])).filter(|amount| amount.milli_value() % 1000 != 0)?;
    Some(format!(
        "{}: fractional byte value {} is invalid, must be an integer",
        path.key(resource),
        quote(&amount.to_string())
    ))
}

/// The warning of a name whose object's pods take it into their own names.
pub fn of_name(obj: &Value, used_in: &str) -> Option<String> {
    let messages = names::is_dns1123_label(meta::name(obj));
    (!messages.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {used_in}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        )
    })
}

fn of_placement(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, _) in crate::shared::access::entries(spec, &["nodeSelector"]) {
        if let Some(message) = deprecation(key) {
            warnings.push(format!("{}: {message}", path.child("nodeSelector").key(key)));
        }
    }
    let affinity = path.child("affinity").child("nodeAffinity");
    let terms = list(spec, &["affinity", "nodeAffinity", REQUIRED, "nodeSelectorTerms"]);
    for (index, term) in terms.iter().enumerate() {
        let path = affinity.child(REQUIRED).child("nodeSelectorTerms").index(index);
        warnings.extend(expression_warnings(term, false, &path));
    }
    // A preferred term may ask for labels that no node can have.
    for (index, term) in list(spec, &["affinity", "nodeAffinity", PREFERRED]).iter().enumerate() {
        let path = affinity.child(PREFERRED).index(index).child("preference");
        warnings.extend(expression_warnings(at(term, &["preference"]), true, &path));
    }
    for (index, constraint) in list(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(index);
        let key = text(constraint, &["topologyKey"]);
        if let Some(message) = deprecation(key) {
            warnings.push(format!("{}: {key} is {message}", path.child("topologyKey")));
        }
        if !has(constraint, &["labelSelector"]) {
            warnings.push(format!("{}: {NO_SELECTOR}", path.child("labelSelector")));
        }
    }
    warnings
}

fn of_pod_affinity(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = path.child(kind);
        for (index, term) in list(spec, &["affinity", kind, REQUIRED]).iter().enumerate() {
            if !has(term, &["labelSelector"]) {
                let path = path.child(REQUIRED).index(index).child("labelSelector");
                warnings.push(format!("{path}: {NO_SELECTOR}"));
            }
        }
        for (index, term) in list(spec, &["affinity", kind, PREFERRED]).iter().enumerate() {
            if !has(term, &["podAffinityTerm", "labelSelector"]) {
                let path = path.child(PREFERRED).index(index).child("podAffinityTerm").child("labelSelector");
                warnings.push(format!("{path}: {NO_SELECTOR}"));
            }
        }
    }
    warnings
}

fn of_volumes(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, volume) in list(spec, &["volumes"]).iter().enumerate() {
        let path = path.index(index);
        for (key, message) in OLD_VOLUMES.iter().filter(|(key, _)| has(volume, &[key])) {
            // Upstream spells this one differently in its warning.
            let shown = if *key == "storageos" { "storageOS" } else { key };
            warnings.push(format!("{}: {message}", path.child(shown)));
        }
        let claim = at(volume, &["ephemeral", "volumeClaimTemplate", "spec"]);
        let claim_path = path.child("ephemeral").child("volumeClaimTemplate").child("spec");
        warnings.extend(spec_warnings(claim, &claim_path));
    }
    warnings
}

/// The warnings of host aliases and pull secrets that are named twice or not at all.
fn of_names(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, field, what) in [("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")] {
        let all: Vec<&str> = list(spec, &[key]).iter().map(|item| text(item, &[field])).collect();
        for (index, name) in all.iter().enumerate().filter(|(index, name)| all[..*index].contains(name)) {
            let path = path.child(key).index(index).child(field);
            warnings.push(format!("{path}: duplicate {what} {}", quote(name)));
        }
    }
    for (index, secret) in list(spec, &["imagePullSecrets"]).iter().enumerate() {
        if text(secret, &["name"]).is_empty() {
            let path = path.child("imagePullSecrets").index(index).child("name");
            warnings.push(format!("{path}: invalid empty name \"\""));
        }
    }
    warnings
}

#[cfg(test)]
mod tests;
