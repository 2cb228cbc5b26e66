//! The status of a claim: what was allocated, for whom, and what drivers say of the devices.

use serde_json::Value;
use xebec_api::field::{FieldError, Path};

use super::request::Names;
use super::rules::{
    LIST_MAX, validate_binding_conditions, validate_config, validate_object, validate_tolerations,
};
use super::{each, each_unique, formats, own_text};
use crate::pod::scheduling::validate_node_selector;
use crate::shared::access::{at, has, list, set, text};
use crate::shared::conditions;
use crate::shared::formats::{driver_name, interface_address, label};
use crate::shared::rules::{immutable, one_of, required};

const RESERVED_MAX: usize = 256;
const CONDITIONS_MAX: usize = 8;
const IPS_MAX: usize = 16;

/// A device as `driver/pool/device`, with the share's id if it has one.
fn device_id(device: &Value) -> String {
    let parts = ["driver", "pool", "device", "shareID"].map(|key| text(device, &[key]));
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

fn same_device(a: &Value, b: &Value) -> bool {
    ["driver", "pool", "device"].iter().all(|key| a.get(key) == b.get(key))
}

fn results(claim: &Value) -> &[Value] {
    list(claim, &["status", "allocation", "devices", "results"])
}

/// Forgets what drivers said of devices that were allocated and no longer are.
pub fn drop_deallocated(claim: &mut Value, old: &Value) {
    let gone = |device: &Value| {
        let within = |results: &[Value]| results.iter().any(|result| same_device(result, device));
        within(results(old)) && !within(results(claim))
    };
    let devices = list(claim, &["status", "devices"]);
    let kept: Vec<Value> = devices.iter().filter(|device| !gone(device)).cloned().collect();
    if kept.len() != devices.len() {
        set(claim, &["status", "devices"], Value::Array(kept));
    }
}

/// Every error of a status write.
pub fn validate(claim: &Value, old: &Value) -> Vec<FieldError> {
    let (status, path) = (at(claim, &["status"]), Path::new("status"));
    let names = Names::of(at(claim, &["spec"]));
    let reserved = list(status, &["reservedFor"]);
    let reserved_path = path.child("reservedFor");
    let uid = |consumer: &Value| text(consumer, &["uid"]).to_owned();
    let mut errors = each_unique(reserved, RESERVED_MAX, &reserved_path, uid, |consumer, path| {
        ["resource", "name", "uid"].iter().flat_map(|key| required(consumer, key, path)).collect()
    });
    let devices = list(status, &["devices"]);
    errors.extend(each_unique(devices, usize::MAX, &path.child("devices"), device_id, |device, path| {
        validate_device(device, results(claim), path)
    }));
    if !reserved.is_empty() {
        let before = list(old, &["status", "reservedFor"]);
        if !has(status, &["allocation"]) {
            let detail = "may not be specified when `allocated` is not set";
            errors.push(FieldError::forbidden(&reserved_path, detail));
        } else if has(claim, &["metadata", "deletionTimestamp"])
            && reserved.iter().any(|consumer| !before.contains(consumer))
        {
            let detail =
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.push(FieldError::forbidden(&reserved_path, detail));
        }
    }
    let (allocation, before) = (at(status, &["allocation"]), at(old, &["status", "allocation"]));
    let allocation_path = path.child("allocation");
    match (allocation.is_null(), before.is_null()) {
        (true, _) => {}
        (false, false) => errors.extend(immutable(allocation, before, &allocation_path)),
        (false, true) => errors.extend(validate_allocation(allocation, &names, &allocation_path)),
    }
    errors
}

fn validate_allocation(allocation: &Value, names: &Names<'_>, path: &Path) -> Vec<FieldError> {
    let devices_path = path.child("devices");
    let results = list(allocation, &["devices", "results"]);
    let mut errors = each(results, LIST_MAX, &devices_path.child("results"), |result, path| {
        let mut errors = names.validate(text(result, &["request"]), &path.child("request"));
        errors.extend(validate_identity(result, path));
        errors.extend(validate_binding_conditions(result, path));
        errors.extend(validate_tolerations(result, path));
        errors.extend(validate_share(result, path));
        errors
    });
    let configs = list(allocation, &["devices", "config"]);
    // Those of the classes and those of the claim.
    errors.extend(each(configs, 2 * LIST_MAX, &devices_path.child("config"), |config, path| {
        let mut errors = one_of(config, "source", &["FromClaim", "FromClass"], path);
        errors.extend(names.validate_all(config, path));
        errors.extend(validate_config(config, false, path));
        errors
    }));
    if has(allocation, &["nodeSelector"]) {
        let selector = at(allocation, &["nodeSelector"]);
        errors.extend(validate_node_selector(selector, &path.child("nodeSelector")));
    }
    errors
}

fn validate_identity(device: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = driver_name(text(device, &["driver"]), &path.child("driver"));
    errors.extend(formats::pool_name(text(device, &["pool"]), &path.child("pool")));
    errors.extend(label(text(device, &["device"]), &path.child("device")));
    errors
}

fn validate_share(device: &Value, path: &Path) -> Vec<FieldError> {
    at(device, &["shareID"]).as_str().map_or_else(Vec::new, |id| formats::uid(id, &path.child("shareID")))
}

fn validate_device(device: &Value, allocated: &[Value], path: &Path) -> Vec<FieldError> {
    let mut errors = validate_identity(device, path);
    errors.extend(validate_share(device, path));
    let id = device_id(device);
    if !allocated.iter().any(|result| device_id(result) == id) {
        errors.push(FieldError::invalid(path, id, "must be an allocated device in the claim"));
    }
    let found = list(device, &["conditions"]);
    let conditions_path = path.child("conditions");
    if found.len() > CONDITIONS_MAX {
        errors.push(FieldError::too_many(&conditions_path, found.len(), CONDITIONS_MAX));
    }
    errors.extend(conditions::validate(found, &conditions_path));
    if has(device, &["data"]) {
        errors.extend(validate_object(at(device, &["data"]), false, &path.child("data")));
    }
    errors.extend(validate_network(at(device, &["networkData"]), &path.child("networkData")));
    errors
}

fn validate_network(data: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, max) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if text(data, &[key]).len() > max {
            errors.push(FieldError::too_long(&path.child(key), max));
        }
    }
    errors.extend(each_unique(list(data, &["ips"]), IPS_MAX, &path.child("ips"), own_text, |ip, path| {
        interface_address(ip.as_str().unwrap_or_default(), path)
    }));
    errors
}
