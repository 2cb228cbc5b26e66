//! Sources of volumes outside the pod, which pods and PersistentVolumes share.
//!
//! Authority: upstream's validateXxxVolumeSource functions of pkg/apis/core/validation.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};
use xebec_api::names;

use super::volumes::no_backsteps;
use crate::shared::access::{at, entries, flag, has, int, list, text};
use crate::shared::formats::driver_name;
use crate::shared::rules::{invalid_each, one_of_or_missing, required};

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Every error of a source whose rules are the same in a pod and in a PersistentVolume.
pub fn validate(key: &str, source: &Value, path: &Path) -> Vec<FieldError> {
    let all = |keys: &[&str]| keys.iter().flat_map(|key| required(source, key, path)).collect();
    match key {
        "hostPath" => host_path(source, path),
        "nfs" => {
            let mut errors: Vec<FieldError> = all(&["server", "path"]);
            let target = text(source, &["path"]);
            if !target.starts_with('/') {
                errors.push(FieldError::invalid(&path.child("path"), target, "must be an absolute path"));
            }
            errors
        }
        "csi" => csi(source, path),
        "iscsi" => iscsi(source, path),
        "fc" => fibre_channel(source, path),
        "gcePersistentDisk" => disk(source, "pdName", path),
        "awsElasticBlockStore" => disk(source, "volumeID", path),
        "glusterfs" => all(&["endpoints", "path"]),
        "flocker" => flocker(source, path),
        "rbd" => {
            let mut errors = not_empty(source, "monitors", path);
            errors.extend(required(source, "image", path));
            errors
        }
        "cephfs" => not_empty(source, "monitors", path),
        "cinder" => {
            let mut errors: Vec<FieldError> = all(&["volumeID"]);
            errors.extend(secret_name(source, path));
            errors
        }
        "quobyte" => quobyte(source, path),
        "flexVolume" => flex(source, path),
        "azureFile" => all(&["secretName", "shareName"]),
        "azureDisk" => azure_disk(source, path),
        "vsphereVolume" => all(&["volumePath"]),
        "photonPersistentDisk" => all(&["pdID"]),
        "portworxVolume" => all(&["volumeID"]),
        "scaleIO" => all(&["gateway", "system", "volumeName"]),
        "storageos" => storage_os(source, path),
        _ => Vec::new(),
    }
}

fn not_empty(source: &Value, key: &str, path: &Path) -> Vec<FieldError> {
    if list(source, &[key]).is_empty() {
        vec![FieldError::required(&path.child(key), "")]
    } else {
        Vec::new()
    }
}

fn secret_name(source: &Value, path: &Path) -> Vec<FieldError> {
    if has(source, &["secretRef"]) {
        required(at(source, &["secretRef"]), "name", &path.child("secretRef"))
    } else {
        Vec::new()
    }
}

fn in_range(source: &Value, key: &str, low: i64, path: &Path) -> Vec<FieldError> {
    match int(source, &[key]) {
        Some(number) if !(0..=255).contains(&number) => {
            let detail = format!("must be between {low} and 255, inclusive");
            vec![FieldError::invalid(&path.child(key), number, detail)]
        }
        _ => Vec::new(),
    }
}

fn host_path(source: &Value, path: &Path) -> Vec<FieldError> {
    let host = text(source, &["path"]);
    if host.is_empty() {
        return vec![FieldError::required(&path.child("path"), "")];
    }
    let mut errors = no_backsteps(host, &path.child("path"));
    errors.extend(one_of_or_missing(source, "type", HOST_PATH_TYPES, path));
    errors
}

fn csi(source: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = driver_name(text(source, &["driver"]), &path.child("driver"));
    if has(source, &["nodePublishSecretRef"]) {
        match text(source, &["nodePublishSecretRef", "name"]) {
            "" => {
                let path = path.child("nodePublishSecretRef").child("name");
                errors.push(FieldError::required(&path, ""));
            }
            name => errors.extend(invalid_each(&path.child("name"), name, names::is_dns1123_subdomain(name))),
        }
    }
    errors
}

fn disk(source: &Value, key: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = required(source, key, path);
    // The message says 1 although 0, the whole disk, is taken.
    errors.extend(in_range(source, "partition", 1, path));
    errors
}

fn iscsi(source: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = required(source, "targetPortal", path);
    errors.extend(required(source, "iqn", path));
    let (target, initiator) = (text(source, &["iqn"]), text(source, &["initiatorName"]));
    if let Some(detail) = initiator_problem(target).filter(|_| !target.is_empty()) {
        errors.push(FieldError::invalid(&path.child("iqn"), target, detail));
    }
    errors.extend(in_range(source, "lun", 0, path));
    let authenticated = flag(source, &["chapAuthDiscovery"]) || flag(source, &["chapAuthSession"]);
    if authenticated && !has(source, &["secretRef"]) {
        errors.push(FieldError::required(&path.child("secretRef"), ""));
    }
    if has(source, &["initiatorName"])
        && let Some(detail) = initiator_problem(initiator)
    {
        errors.push(FieldError::invalid(&path.child("initiatorname"), initiator, detail));
    }
    errors
}

/// What is wrong with an iSCSI name: RFC 3721's iqn, eui and naa forms.
fn initiator_problem(name: &str) -> Option<&'static str> {
    let alphanumeric = |rest: &str, count: usize| {
        // Upstream's expression takes any character where the dot is.
        rest.len() == count + 1 && rest[1..].bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let good = if let Some(rest) = name.strip_prefix("iqn") {
        is_iqn(rest)
    } else if let Some(rest) = name.strip_prefix("eui") {
        rest.is_ascii() && alphanumeric(rest, 16)
    } else if let Some(rest) = name.strip_prefix("naa") {
        rest.is_ascii() && alphanumeric(rest, 32)
    } else {
        return Some("must be valid format starting with iqn, eui, or naa");
    };
    (!good).then_some("must be valid format")
}

/// True for `.yyyy-mm.authority:unique`, the rest of an iqn.
fn is_iqn(rest: &str) -> bool {
    let Some((authority, unique)) = rest.split_once(':') else { return false };
    let bytes = authority.as_bytes();
    let digits = |range: &[u8]| range.iter().all(u8::is_ascii_digit);
    let dated = bytes.len() > 9
        && bytes[0] == b'.'
        && digits(&bytes[1..5])
        && bytes[5] == b'-'
        && digits(&bytes[6..8])
        && bytes[8] == b'.';
    dated
        && bytes[9..].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        && !unique.is_empty()
        && !unique.contains([',', ';', '*', '&', '$', '|'])
        && !unique.contains(char::is_whitespace)
}

/// The error of a volume whose name and portal are too long together to name a session.
pub fn portal_too_long(source: &Value, name: &str, path: &Path) -> Option<FieldError> {
    let length = name.len() + 1 + text(source, &["targetPortal"]).len();
    let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
    (has(source, &["initiatorName"]) && length > 64)
        .then(|| FieldError::invalid(&path.child("name"), name, detail))
}

fn fibre_channel(source: &Value, path: &Path) -> Vec<FieldError> {
    let (targets, ids) = (list(source, &["targetWWNs"]), list(source, &["wwids"]));
    let field = path.child("targetWWNs");
    let mut errors = Vec::new();
    if targets.is_empty() && ids.is_empty() {
        let detail = "must specify either targetWWNs or wwids, but not both";
        errors.push(FieldError::required(&field, detail));
    }
    if !targets.is_empty() && !ids.is_empty() {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(&field, targets, detail));
    }
    if !targets.is_empty() {
        if has(source, &["lun"]) {
            errors.extend(in_range(source, "lun", 0, path));
        } else {
            let detail = "lun is required if targetWWNs is specified";
            errors.push(FieldError::required(&path.child("lun"), detail));
        }
    }
    errors
}

fn flocker(source: &Value, path: &Path) -> Vec<FieldError> {
    let (name, uuid) = (text(source, &["datasetName"]), text(source, &["datasetUUID"]));
    let mut errors = Vec::new();
    if name.is_empty() && uuid.is_empty() {
        errors.push(FieldError::required(path, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !uuid.is_empty() {
        let detail = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(FieldError::invalid(path, "resource", detail));
    }
    if name.contains('/') {
        errors.push(FieldError::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
    errors
}

fn quobyte(source: &Value, path: &Path) -> Vec<FieldError> {
    let registry = text(source, &["registry"]);
    let pairs = "must be a host:port pair or multiple pairs separated by commas";
    let mut errors = Vec::new();
    if registry.is_empty() {
        errors.push(FieldError::required(&path.child("registry"), pairs));
    } else if text(source, &["tenant"]).len() >= 65 {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(&path.child("tenant"), detail));
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_port(pair)) {
            errors.push(FieldError::invalid(&path.child("registry"), registry, pairs));
        }
    }
    errors.extend(required(source, "volume", path));
    errors
}

fn is_host_port(pair: &str) -> bool {
    match (pair.rsplit_once(':'), pair.starts_with('[')) {
        (Some((host, _)), true) => host.ends_with(']'),
        (Some((host, _)), false) => !host.contains([':', '[', ']']),
        (None, _) => false,
    }
}

fn flex(source: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = required(source, "driver", path);
    for (key, _) in entries(source, &["options"]) {
        let namespace = key.split_once('/').map_or(key.as_str(), |(namespace, _)| namespace);
        let dotted = format!(".{}", namespace.to_lowercase());
        if dotted.ends_with(".kubernetes.io") || dotted.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(FieldError::invalid(&path.child("options").key(key), key, detail));
        }
    }
    errors
}

fn azure_disk(source: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = required(source, "diskName", path);
    errors.extend(required(source, "diskURI", path));
    errors.extend(one_of_or_missing(source, "cachingMode", &["None", "ReadOnly", "ReadWrite"], path));
    errors.extend(one_of_or_missing(source, "kind", &["Dedicated", "Managed", "Shared"], path));
    let uri = text(source, &["diskURI"]);
    let (start, form) = match at(source, &["kind"]).as_str() {
        Some("Managed") => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        Some(_) => {
            ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
        }
        None => return errors,
    };
    if !uri.starts_with(start) {
        errors.push(FieldError::not_supported(&path.child("diskURI"), uri, &[form]));
    }
    errors
}

fn storage_os(source: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = required(source, "volumeName", path);
    for key in ["volumeName", "volumeNamespace"] {
        let name = text(source, &[key]);
        if !name.is_empty() {
            errors.extend(invalid_each(&path.child(key), name, names::is_dns1123_label(name)));
        }
    }
    errors.extend(secret_name(source, path));
    errors
}
