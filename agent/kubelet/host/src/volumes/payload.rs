//! The files of configMap, secret, downwardAPI and projected volumes, pure. Enters: the volume's source and fetched
//! objects. Leaves: relative path -> contents and mode.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret};

use super::VolumeError;
use crate::env::{field_value, resource_value};
use crate::qos::Amounts;

/// The mode of files whose volume names none.
pub(super) const DEFAULT_MODE: i32 = 0o644;

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub data: Vec<u8>,
    pub mode: u32,
    /// Its owner, where that is not root.
    pub uid: Option<u32>,
}

/// A volume's files by relative path.
pub(super) type Payload = BTreeMap<String, File>;

/// Where a pod's secrets and ConfigMaps are wanted.
pub(super) struct Wanted<'a> {
    pub name: &'a str,
    pub items: Option<&'a [KeyToPath]>,
    pub mode: i32,
    pub optional: bool,
}

fn mode_bits(mode: i32) -> u32 {
    mode.unsigned_abs() & 0o777
}

fn select(all: &BTreeMap<String, Vec<u8>>, wanted: &Wanted<'_>, kind: &str) -> Result<Payload, VolumeError> {
    let file = |data: &Vec<u8>, mode: i32| File { data: data.clone(), mode: mode_bits(mode), uid: None };
    let Some(items) = wanted.items.filter(|items| !items.is_empty()) else {
        return Ok(all.iter().map(|(key, data)| (key.clone(), file(data, wanted.mode))).collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match all.get(&item.key) {
            Some(data) => {
                payload.insert(item.path.clone(), file(data, item.mode.unwrap_or(wanted.mode)));
            }
            None if wanted.optional => {}
            None => {
                return Err(VolumeError::Key(format!("references non-existent {kind} key: {}", item.key)));
            }
        }
    }
    Ok(payload)
}

/// The files of a ConfigMap; `None` is a ConfigMap that does not exist.
pub(super) fn config_map(map: Option<&ConfigMap>, wanted: &Wanted<'_>) -> Result<Payload, VolumeError> {
    let mut all = BTreeMap::new();
    match map {
        Some(map) => {
            all.extend(map.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes())));
            all.extend(map.binary_data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone())));
        }
        None if wanted.optional => {}
        None => return Err(not_found("configmap", wanted.name)),
    }
    select(&all, wanted, "config")
}

/// The files of a Secret; `None` is a Secret that does not exist.
pub(super) fn secret(secret: Option<&Secret>, wanted: &Wanted<'_>) -> Result<Payload, VolumeError> {
    let mut all = BTreeMap::new();
    match secret {
        Some(secret) => {
            all.extend(secret.data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone())));
        }
        None if wanted.optional => {}
        None => return Err(not_found("secret", wanted.name)),
    }
    select(&all, wanted, "secret")
}

fn not_found(kind: &'static str, name: &str) -> VolumeError {
    super::SourceError::NotFound { kind, name: name.to_owned() }.into()
}

/// The files of a downwardAPI volume.
pub(super) fn downward(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    default_mode: i32,
    allocatable: &Amounts,
) -> Result<Payload, VolumeError> {
    let mut payload = Payload::new();
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            field_value(pod, &field.field_path)
        } else if let Some(resource) = &item.resource_field_ref {
            resource_value(pod, None, resource, allocatable)
        } else {
            continue;
        };
        let data = text.map_err(|e| VolumeError::Invalid(e.to_string()))?.into_bytes();
        let mode = mode_bits(item.mode.unwrap_or(default_mode));
        payload.insert(item.path.clone(), File { data, mode, uid: None });
    }
    Ok(payload)
}

/// Refuses paths that could leave the volume or collide with the writer's own names.
pub(super) fn check(payload: &Payload) -> Result<(), VolumeError> {
    let bad = |path: &String| {
        path.is_empty()
            || path.len() > 4096
            || path.starts_with('/')
            || path.starts_with("..")
            || path.contains('\0')
            || path.split('/').any(|part| part == ".." || part.is_empty() || part == "." || part.len() > 255)
    };
    match payload.keys().find(|path| bad(path)) {
        Some(path) => Err(VolumeError::Invalid(format!("invalid path: {path:?}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map() -> ConfigMap {
        serde_json::from_value(json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAE="}})).unwrap()
    }

    fn run(items: serde_json::Value, optional: bool) -> Result<Payload, VolumeError> {
        let items: Vec<KeyToPath> = serde_json::from_value(items).unwrap();
        let wanted = Wanted { name: "m", items: Some(&items), mode: 0o400, optional };
        config_map(Some(&map()), &wanted)
    }

    #[test]
    fn keys_items_and_modes() {
        let all = run(json!([]), false).unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((all["c"].data.as_slice(), all["c"].mode), (&[0u8, 1][..], 0o400));
        let some = run(json!([{"key": "a", "path": "x/y", "mode": 0o444}]), false).unwrap();
        assert_eq!((some.len(), some["x/y"].mode), (1, 0o444));
        let missing = json!([{"key": "no", "path": "x"}]);
        assert_eq!(
            run(missing.clone(), false).unwrap_err().to_string(),
            "references non-existent config key: no"
        );
        assert!(run(missing, true).unwrap().is_empty());
    }

    #[test]
    fn a_missing_object_is_an_error_unless_optional() {
        let mut wanted = Wanted { name: "m", items: None, mode: 0, optional: false };
        assert_eq!(config_map(None, &wanted).unwrap_err().to_string(), "configmap \"m\" not found");
        assert_eq!(secret(None, &wanted).unwrap_err().to_string(), "secret \"m\" not found");
        wanted.optional = true;
        assert!(secret(None, &wanted).unwrap().is_empty());
    }

    #[test]
    fn escaping_paths_are_refused() {
        let payload =
            |path: &str| Payload::from([(path.to_owned(), File { data: vec![], mode: 0, uid: None })]);
        for bad in ["", "/a", "..", "../a", "a/../b", "..data", "a//b", "a/.", "a\0"] {
            assert!(check(&payload(bad)).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b", ".hidden", "a..b", "a/..b"] {
            assert!(check(&payload(good)).is_ok(), "{good:?}");
        }
    }
}
