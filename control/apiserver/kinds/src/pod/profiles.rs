//! The annotations that named seccomp and AppArmor profiles before there were fields for them.
//!
//! Authority: pkg/apis/core/validation (ValidateSeccompPodAnnotations, ValidateAppArmorPodAnnotations,
//! validateSeccompAnnotationsAndFields, validateAppArmorAnnotationsAndFieldsMatchOnCreate).

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::gotext;

use super::annotations::APP_ARMOR;
use super::volumes::descending_path;
use crate::shared::access::{at, has, list, text};
use crate::shared::meta;

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const LOCAL: &str = "localhost/";
const RUNTIME: &str = "runtime/default";
/// The runtime's default under its oldest name, which seccomp alone knows.
const DOCKER: &str = "docker/default";
const UNCONFINED: &str = "unconfined";

/// The containers of a pod, each with its path.
fn containers<'a>(spec: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
    let of = |key: &str| {
        let path = path.child(key);
        let indexed = list(spec, &[key]).iter().enumerate();
        indexed.map(|(index, container)| (container, path.index(index))).collect::<Vec<_>>()
    };
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(of).collect()
}

/// Every error of the annotations alone.
pub fn validate_annotations(obj: &Value, path: &Path) -> Vec<FieldError> {
    let given = meta::map_at(obj, "annotations").iter();
    let annotations: Vec<(&String, &str)> =
        given.filter_map(|(key, value)| Some((key, value.as_str()?))).collect();
    let mut errors = Vec::new();
    let is_seccomp = |key: &String| key == SECCOMP_POD || key.starts_with(SECCOMP);
    for (key, profile) in annotations.iter().filter(|(key, _)| is_seccomp(key)) {
        let path = path.child(key);
        if let Some(file) = profile.strip_prefix(LOCAL) {
            errors.extend(descending_path(file, &path));
        } else if ![RUNTIME, DOCKER, UNCONFINED].contains(profile) {
            errors.push(FieldError::invalid(&path, profile, "must be a valid seccomp profile"));
        }
    }
    let known = containers(at(obj, &["spec"]), path);
    for (key, profile) in &annotations {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        let path = path.key(key);
        if !known.iter().any(|(container, _)| text(container, &["name"]) == name) {
            errors.push(FieldError::invalid(&path, name, "container not found"));
        }
        if !["", RUNTIME, UNCONFINED].contains(profile) && !profile.starts_with(LOCAL) {
            let detail = format!("invalid AppArmor profile name: {}", gotext::quote(profile));
            errors.push(FieldError::invalid(&path, profile, detail));
        }
    }
    errors
}

/// The errors of fields that say something else than the annotations beside them.
pub fn validate_match(obj: &Value, path: &Path) -> Vec<FieldError> {
    let spec = at(obj, &["spec"]);
    let annotation = |prefix: &str, name: &str| meta::annotation(obj, &format!("{prefix}{name}"));
    let (seccomp, app_armor) =
        (["securityContext", "seccompProfile"], ["securityContext", "appArmorProfile"]);
    let below = |path: &Path, keys: [&str; 2]| path.child(keys[0]).child(keys[1]);
    let mut errors = Vec::new();
    errors.extend(differs(
        "seccomp",
        meta::annotation(obj, SECCOMP_POD),
        at(spec, &seccomp),
        &below(path, seccomp),
    ));
    let each = containers(spec, path);
    for (container, path) in &each {
        let named = annotation(SECCOMP, text(container, &["name"]));
        errors.extend(differs("seccomp", named, at(container, &seccomp), &below(path, seccomp)));
    }
    if text(spec, &["os", "name"]) == "windows" {
        return errors;
    }
    for (container, path) in &each {
        let named = annotation(APP_ARMOR, text(container, &["name"]));
        let own = if has(container, &app_armor) { *container } else { spec };
        errors.extend(differs("apparmor", named, at(own, &app_armor), &below(path, app_armor)));
    }
    errors
}

fn differs(what: &str, annotation: Option<&str>, profile: &Value, path: &Path) -> Option<FieldError> {
    let annotation = annotation?;
    let same = match text(profile, &["type"]) {
        "Unconfined" => annotation == UNCONFINED,
        "RuntimeDefault" => annotation == RUNTIME || (what == "seccomp" && annotation == DOCKER),
        "Localhost" => match annotation.strip_prefix(LOCAL) {
            None => false,
            Some(file) if at(profile, &["localhostProfile"]).as_str() == Some(file) => true,
            Some(_) => {
                let detail = format!("{what} profile in annotation and field must match");
                return Some(FieldError::forbidden(&path.child("localhostProfile"), detail));
            }
        },
        _ => true,
    };
    let detail = format!("{what} type in annotation and field must match");
    (!same).then(|| FieldError::forbidden(&path.child("type"), detail))
}
