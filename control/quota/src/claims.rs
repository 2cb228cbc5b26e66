//! What claims use: persistent volume claims (storage) and resource claims (devices).

use serde_json::Value;
use xebec_api::meta;
use xebec_api::quantity::{Format, Quantity};

use crate::ResourceList;

const BY_STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
const BY_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// The most devices one claim can be given; what `allocationMode: All` counts as.
const MOST_DEVICES: i64 = 32;

const VOLUME: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];

pub(crate) fn counts_volume(name: &str) -> bool {
    let by_class = name.split_once(BY_STORAGE_CLASS).is_some_and(|(_, resource)| VOLUME.contains(&resource));
    name == "count/persistentvolumeclaims" || VOLUME.contains(&name) || by_class
}

/// The class of a claim: the annotation of old clients wins over the field.
pub(crate) fn storage_class(claim: &Value) -> &str {
    meta::annotation(claim, "volume.beta.kubernetes.io/storage-class")
        .unwrap_or_else(|| meta::str_at(claim, "/spec/storageClassName"))
}

/// Whole bytes: quotas count no fractions.
fn whole(amount: Quantity) -> Quantity {
    if amount.nano_value() % 1_000_000_000 == 0 {
        return amount;
    }
    let format = if amount.format() == Format::BinarySi { Format::BinarySi } else { Format::DecimalSi };
    Quantity::from_value(amount.value(), format)
}

fn storage(claim: &Value) -> Option<Quantity> {
    let wanted = whole(ResourceList::at(claim, "/spec/resources/requests").get("storage")?);
    let allocated = ResourceList::at(claim, "/status/allocatedResources").get("storage");
    Some(allocated.filter(|a| *a > wanted).map_or(wanted, whole))
}

pub(crate) fn volume_usage(claim: &Value) -> ResourceList {
    let class = storage_class(claim);
    let mut usage = ResourceList::new();
    usage.set_count("count/persistentvolumeclaims", 1);
    usage.set_count("persistentvolumeclaims", 1);
    if !class.is_empty() {
        usage.set_count(format!("{class}{BY_STORAGE_CLASS}persistentvolumeclaims"), 1);
    }
    if let Some(amount) = storage(claim) {
        usage.set("requests.storage", amount);
        if !class.is_empty() {
            usage.set(format!("{class}{BY_STORAGE_CLASS}requests.storage"), amount);
        }
    }
    usage
}

/// Whether a status write changes what a claim uses.
pub(crate) fn volume_status_matters(claim: &Value, old: &Value) -> bool {
    let size = |claim: &Value| ResourceList::at(claim, "/status/allocatedResources").get("storage");
    let class = |claim: &Value| {
        [
            meta::str_at(claim, "/status/currentVolumeAttributesClassName").to_owned(),
            meta::str_at(claim, "/status/modifyVolumeStatus/targetVolumeAttributesClassName").to_owned(),
        ]
    };
    size(claim) != size(old) || class(claim) != class(old)
}

pub(crate) fn counts_devices(name: &str) -> bool {
    name == "count/resourceclaims.resource.k8s.io" || name.ends_with(BY_DEVICE_CLASS)
}

/// How many devices one request may be given; none for modes of the future.
fn devices(request: &Value) -> (String, i64) {
    let count = match meta::str_at(request, "/allocationMode") {
        "All" => MOST_DEVICES,
        "ExactCount" | "" => meta::int_at(request, "/count").unwrap_or(1),
        _ => 0,
    };
    (format!("{}{BY_DEVICE_CLASS}", meta::str_at(request, "/deviceClassName")), count)
}

pub(crate) fn device_usage(claim: &Value) -> ResourceList {
    let mut usage = ResourceList::new();
    usage.set_count("count/resourceclaims.resource.k8s.io", 1);
    let amount = |count| Quantity::from_value(count, Format::DecimalSi);
    for request in meta::list_at(claim, "/spec/devices/requests") {
        let alternatives = meta::list_at(request, "/firstAvailable");
        // Of alternatives the worst case of each class counts.
        let mut worst = ResourceList::new();
        for alternative in alternatives {
            let (name, count) = devices(alternative);
            worst.max(&[(name, amount(count))].into_iter().collect());
        }
        usage.add(&worst);
        if let Some(exactly) = request.get("exactly").filter(|e| e.is_object()) {
            let (name, count) = devices(exactly);
            usage.increase(&name, amount(count));
        }
    }
    usage
}
