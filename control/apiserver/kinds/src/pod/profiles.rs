//! The annotations that named seccomp and AppArmor profiles before there were fields for them.
//!
//! Authority: pkg/apis/core/validation (ValidateSeccompPodAnnotations, ValidateAppArmorPodAnnotations,
//! validateSeccompAnnotationsAndFields, validateAppArmorAnnotationsAndFieldsMatchOnCreate).

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};
use xebec_api::gotext;

use super::annotations::APP_ARMOR;
use super::security::validate_app_armor;
use super::volumes::descending_path;
use crate::shared::access::{at, has, list, list_mut, set, text};
use crate::shared::meta;

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const LOCAL: &str = "localhost/";
const RUNTIME: &str = "runtime/default";
/// The runtime's default under its oldest name, which seccomp alone knows.
const DOCKER: &str = "docker/default";
const UNCONFINED: &str = "unconfined";

/// The containers of a pod, each with its path.
pub fn containers<'a>(spec: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
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

/// The AppArmor profile an annotation stands for; none for one that says nothing known.
fn app_armor_of(annotation: &str) -> Option<Value> {
    match annotation.strip_prefix(LOCAL) {
        Some("") => None,
        Some(file) => Some(json!({"type": "Localhost", "localhostProfile": file})),
        None if annotation == UNCONFINED => Some(json!({"type": "Unconfined"})),
        None if annotation == RUNTIME => Some(json!({"type": "RuntimeDefault"})),
        None => None,
    }
}

/// Gives a new pod's containers the profiles that only annotations name, for nodes that read the fields.
///
/// Authority: upstream's applyAppArmorVersionSkew.
pub fn fields_from_annotations(pod: &mut Value) {
    if text(pod, &["spec", "os", "name"]) == "windows" {
        return;
    }
    let annotations = meta::map_at(pod, "annotations").clone();
    let own = at(pod, &["spec", "securityContext", "appArmorProfile"]).clone();
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        for container in list_mut(pod, &["spec", key]) {
            let annotation = annotations.get(&format!("{APP_ARMOR}{}", text(container, &["name"])));
            let named = annotation.and_then(Value::as_str).and_then(app_armor_of);
            let context = json!({ "appArmorProfile": named });
            let good = validate_app_armor(&context, &Path::root()).is_empty();
            let path = ["securityContext", "appArmorProfile"];
            if let Some(profile) = named.filter(|named| good && *named != own && !has(container, &path)) {
                set(container, &path, profile);
            }
        }
    }
}

const OLD_SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";

/// The warning of a pod's seccomp profile that only an annotation names.
pub fn seccomp_pod_warning(holder: &Value, annotations: &Path) -> Option<String> {
    let named = meta::annotation(holder, SECCOMP_POD).is_some();
    let field = has(holder, &["spec", "securityContext", "seccompProfile"]);
    (named && !field).then(|| format!("{}: {OLD_SECCOMP}", annotations.key(SECCOMP_POD)))
}

/// The same of a container.
pub fn seccomp_warning(holder: &Value, container: &Value, annotations: &Path) -> Option<String> {
    let key = format!("{SECCOMP}{}", text(container, &["name"]));
    let field = has(container, &["securityContext", "seccompProfile"]);
    (meta::annotation(holder, &key).is_some() && !field)
        .then(|| format!("{}: {OLD_SECCOMP}", annotations.key(&key)))
}

/// The warning of a container's AppArmor profile that only an annotation names, if the pod has another.
pub fn app_armor_warning(holder: &Value, container: &Value, annotations: &Path) -> Option<String> {
    let key = format!("{APP_ARMOR}{}", text(container, &["name"]));
    let annotation = meta::annotation(holder, &key)?;
    let own = at(holder, &["spec", "securityContext", "appArmorProfile"]);
    let same = !own.is_null() && app_armor_of(annotation).is_some_and(|named| named == *own);
    (!same && !has(container, &["securityContext", "appArmorProfile"])).then(|| {
        let use_field = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
        format!("{}: {use_field}", annotations.key(&key))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_only_an_annotation_names_becomes_a_field() {
        let mut pod = json!({
            "metadata": {"annotations": {
                "container.apparmor.security.beta.kubernetes.io/a": "localhost/p",
                "container.apparmor.security.beta.kubernetes.io/b": "runtime/default",
                "container.apparmor.security.beta.kubernetes.io/c": "unconfined",
                "container.apparmor.security.beta.kubernetes.io/d": "what",
            }},
            "spec": {
                "securityContext": {"appArmorProfile": {"type": "Unconfined"}},
                "initContainers": [{"name": "a"}],
                "containers": [
                    {"name": "b", "securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
                    {"name": "c"},
                    {"name": "d"},
                ],
            },
        });
        let before = pod.clone();
        fields_from_annotations(&mut pod);
        let profile = at(&pod["spec"]["initContainers"][0], &["securityContext", "appArmorProfile"]);
        assert_eq!(*profile, json!({"type": "Localhost", "localhostProfile": "p"}));
        assert_eq!(pod["spec"]["containers"], before["spec"]["containers"], "given, the pod's own, unknown");
        let mut other = before.clone();
        other["spec"]["os"] = json!({"name": "windows"});
        let unchanged = other.clone();
        fields_from_annotations(&mut other);
        assert_eq!(other, unchanged);
    }
}
