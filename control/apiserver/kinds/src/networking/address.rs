//! ServiceCIDRs and IPAddresses: the ranges and the addresses Services take theirs from.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, drop_nulls, text, texts};
use crate::shared::meta;
use crate::shared::rules::{BAD_CIDR, BAD_IP, immutable, is_cidr, is_ip, required};
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, NameRule, Strategy, generic};

static RANGE: Facts = Facts::cluster("networking.k8s.io", "ServiceCIDR", "servicecidrs").with_status();
static ADDRESS: Facts =
    Facts::cluster("networking.k8s.io", "IPAddress", "ipaddresses").with_name(NameRule::Own);
const RANGE_COLUMNS: &[Column] =
    &[NAME, column("CIDRs", "string", "The address ranges, one per family."), AGE];
const ADDRESS_COLUMNS: &[Column] =
    &[NAME, column("ParentRef", "string", "What the address belongs to."), AGE];

/// The strategy of ServiceCIDRs.
pub struct ServiceCidr;
/// The strategy of IPAddresses.
pub struct IpAddress;

impl Strategy for ServiceCidr {
    fn facts(&self) -> &Facts {
        &RANGE
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&RANGE, obj);
        let cidrs = texts(obj, &["spec", "cidrs"]);
        let path = Path::new("spec").child("cidrs");
        if cidrs.is_empty() {
            errors.push(FieldError::required(&path, "at least one CIDR required"));
        }
        for (index, cidr) in cidrs.iter().enumerate().filter(|(_, cidr)| !is_cidr(cidr)) {
            errors.push(FieldError::invalid(&path.index(index), cidr, BAD_CIDR));
        }
        let v6 = cidrs.iter().filter(|cidr| cidr.contains(':')).count();
        if cidrs.len() > 2 || (cidrs.len() == 2 && v6 != 1) {
            let detail = "may only hold up to 2 values, one for each IP family, IPv4 and IPv6";
            errors.push(FieldError::invalid(&path, &cidrs, detail));
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&RANGE, obj, old);
        let cidrs = |range| at(range, &["spec", "cidrs"]);
        errors.extend(immutable(cidrs(obj), cidrs(old), &Path::new("spec").child("cidrs")));
        errors
    }

    fn columns(&self) -> &[Column] {
        RANGE_COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![name(obj), json!(texts(obj, &["spec", "cidrs"]).join(",")), age(obj, now)]
    }
}

impl Strategy for IpAddress {
    fn facts(&self) -> &Facts {
        &ADDRESS
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&ADDRESS, obj);
        let address = meta::name(obj);
        if !address.is_empty() && !is_ip(address) {
            errors.push(FieldError::invalid(&Path::new("metadata").child("name"), address, BAD_IP));
        }
        let path = Path::new("spec").child("parentRef");
        match at(obj, &["spec", "parentRef"]) {
            Value::Null => errors.push(FieldError::required(&path, "")),
            parent => {
                errors.extend(required(parent, "resource", &path));
                errors.extend(required(parent, "name", &path));
            }
        }
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate_update(&ADDRESS, obj, old);
        let parent = |address| at(address, &["spec", "parentRef"]);
        errors.extend(immutable(parent(obj), parent(old), &Path::new("spec").child("parentRef")));
        errors
    }

    fn columns(&self) -> &[Column] {
        ADDRESS_COLUMNS
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let part = |key: &str| text(obj, &["spec", "parentRef", key]);
        let kind = match part("group") {
            "" => part("resource").to_owned(),
            group => format!("{}.{group}", part("resource")),
        };
        let parts = [kind.as_str(), part("namespace"), part("name")];
        let parent: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        vec![name(obj), json!(parent.join("/")), age(obj, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{create, now};

    #[test]
    fn ranges_and_addresses_are_checked() {
        assert_eq!(
            create(&ServiceCidr, json!({"spec": {"cidrs": ["10.96.0.0/12"]}})).1,
            Vec::<String>::new()
        );
        assert_eq!(
            create(&ServiceCidr, json!({"spec": {}})).1,
            ["spec.cidrs: Required value: at least one CIDR required"]
        );
        let address = json!({"metadata": {"name": "10.96.0.1"},
            "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "kubernetes"}}});
        let (obj, errors) = create(&IpAddress, address);
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(IpAddress.row(&obj, now())[1], "services/default/kubernetes");
    }
}
