//! The checks of the restricted level: what a hardened pod must say.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::meta;

use super::text::{Violation, containers, count_of, join_quoted, plural, setters};

fn is_windows(spec: &Value) -> bool {
    spec["os"]["name"] == "windows"
}

/// Whether the pod's users are not the host's, which takes the sting out of root (since 1.35).
pub(super) fn has_own_users(spec: &Value) -> bool {
    spec["hostUsers"] == false
}

/// Set-user-ID binaries may not raise privileges.
pub(super) fn privilege_escalation(spec: &Value, minor: u32) -> Option<Violation> {
    if minor >= 25 && is_windows(spec) {
        return None;
    }
    let bad: Vec<&str> = containers(spec)
        .filter(|c| c["securityContext"]["allowPrivilegeEscalation"] != false)
        .map(|c| meta::str_at(c, "/name"))
        .collect();
    (!bad.is_empty()).then(|| {
        let detail = format!(
            "{} must set securityContext.allowPrivilegeEscalation=false",
            count_of("container", "containers", &bad)
        );
        Violation::new("allowPrivilegeEscalation != false", detail)
    })
}

/// All capabilities dropped; only NET_BIND_SERVICE may come back.
pub(super) fn capabilities(spec: &Value, minor: u32) -> Option<Violation> {
    if minor >= 25 && is_windows(spec) {
        return None;
    }
    let (mut kept, mut adding, mut added) = (Vec::new(), Vec::new(), BTreeSet::new());
    for container in containers(spec) {
        let name = meta::str_at(container, "/name");
        let drop = meta::list_at(container, "/securityContext/capabilities/drop");
        if !drop.iter().any(|capability| capability == "ALL") {
            kept.push(name);
        }
        let add = meta::list_at(container, "/securityContext/capabilities/add").iter();
        let forbidden: Vec<&str> =
            add.filter_map(Value::as_str).filter(|c| *c != "NET_BIND_SERVICE").collect();
        if !forbidden.is_empty() {
            adding.push(name);
            added.extend(forbidden);
        }
    }
    let mut details = Vec::new();
    if !kept.is_empty() {
        let who = count_of("container", "containers", &kept);
        details.push(format!(r#"{who} must set securityContext.capabilities.drop=["ALL"]"#));
    }
    if !adding.is_empty() {
        let (who, added): (_, Vec<&str>) =
            (count_of("container", "containers", &adding), added.into_iter().collect());
        details.push(format!(
            "{who} must not include {} in securityContext.capabilities.add",
            join_quoted(&added)
        ));
    }
    (!details.is_empty()).then(|| Violation::new("unrestricted capabilities", details.join("; ")))
}

const ALLOWED_VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

const OTHER_VOLUMES: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

/// Only volumes that come through the API.
pub(super) fn volumes(_: &Value, spec: &Value) -> Option<Violation> {
    let has = |volume: &Value, kind: &str| volume.get(kind).is_some_and(|source| !source.is_null());
    let (mut bad, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in meta::list_at(spec, "/volumes") {
        if ALLOWED_VOLUMES.iter().any(|kind| has(volume, kind)) {
            continue;
        }
        bad.push(meta::str_at(volume, "/name"));
        kinds.insert(OTHER_VOLUMES.into_iter().find(|kind| has(volume, kind)).unwrap_or("unknown"));
    }
    (!bad.is_empty()).then(|| {
        let kinds: Vec<&str> = kinds.into_iter().collect();
        let detail = format!(
            "{} {} {} {}",
            count_of("volume", "volumes", &bad),
            plural("uses", "use", bad.len()),
            plural("restricted volume type", "restricted volume types", kinds.len()),
            join_quoted(&kinds)
        );
        Violation::new("restricted volume types", detail)
    })
}

/// Somebody must promise not to run as root.
pub(super) fn run_as_non_root(_: &Value, spec: &Value) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let said = |holder: &Value| holder["securityContext"]["runAsNonRoot"].as_bool();
    let pod = said(spec);
    let (mut explicit, mut implicit) = (Vec::new(), Vec::new());
    for container in containers(spec) {
        let name = meta::str_at(container, "/name");
        match said(container) {
            Some(false) => explicit.push(name),
            None if pod != Some(true) => implicit.push(name),
            _ => {}
        }
    }
    let setters = setters(pod == Some(false), &explicit);
    if !setters.is_empty() {
        let detail = format!("{} must not set securityContext.runAsNonRoot=false", setters.join(" and "));
        return Some(Violation::new(REASON, detail));
    }
    (!implicit.is_empty()).then(|| {
        let who = count_of("container", "containers", &implicit);
        Violation::new(REASON, format!("pod or {who} must set securityContext.runAsNonRoot=true"))
    })
}

/// Nobody may ask for root (since 1.23).
pub(super) fn run_as_user(_: &Value, spec: &Value) -> Option<Violation> {
    let root = |holder: &Value| holder["securityContext"]["runAsUser"] == 0;
    let bad: Vec<&str> = containers(spec).filter(|c| root(c)).map(|c| meta::str_at(c, "/name")).collect();
    let setters = setters(root(spec), &bad);
    (!setters.is_empty())
        .then(|| Violation::new("runAsUser=0", format!("{} must not set runAsUser=0", setters.join(" and "))))
}

/// What a pod says about seccomp.
pub(super) struct Seccomp {
    /// A profile that is neither the runtime's nor a local one.
    pub explicit: Option<Violation>,
    /// Containers for which nobody names a profile.
    implicit: Option<Violation>,
}

pub(super) fn seccomp_profiles(spec: &Value) -> Seccomp {
    let said = |holder: &Value| {
        let profile = holder["securityContext"].get("seccompProfile").filter(|p| !p.is_null())?;
        Some(meta::str_at(profile, "/type").to_owned())
    };
    let valid = |kind: &String| matches!(kind.as_str(), "RuntimeDefault" | "Localhost");
    let pod = said(spec);
    let (mut values, mut explicit, mut implicit) = (BTreeSet::new(), Vec::new(), Vec::new());
    values.extend(pod.clone().filter(|kind| !valid(kind)));
    let bad_pod = !values.is_empty();
    let covered = pod.as_ref().is_some_and(valid);
    for container in containers(spec) {
        let name = meta::str_at(container, "/name");
        match said(container) {
            Some(kind) if !valid(&kind) => {
                explicit.push(name);
                values.insert(kind);
            }
            None if !covered => implicit.push(name),
            _ => {}
        }
    }
    let setters = setters(bad_pod, &explicit);
    let values: Vec<String> = values.into_iter().collect();
    Seccomp {
        explicit: (!setters.is_empty()).then(|| {
            let detail = format!(
                "{} must not set securityContext.seccompProfile.type to {}",
                setters.join(" and "),
                join_quoted(&values)
            );
            Violation::new("seccompProfile", detail)
        }),
        implicit: (!implicit.is_empty()).then(|| {
            let who = count_of("container", "containers", &implicit);
            let detail = format!(
                r#"pod or {who} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost""#
            );
            Violation::new("seccompProfile", detail)
        }),
    }
}

/// A seccomp profile for every container (since 1.19).
pub(super) fn seccomp(spec: &Value, minor: u32) -> Option<Violation> {
    if minor >= 25 && is_windows(spec) {
        return None;
    }
    let profiles = seccomp_profiles(spec);
    profiles.explicit.or(profiles.implicit)
}
