//! ServiceCIDRs and IPAddresses: the ranges and the addresses Services take theirs from.

use jiff::Timestamp;
use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use crate::shared::access::{at, drop_nulls, has, text, texts};
use crate::shared::addresses::sloppy_range;
use crate::shared::formats::{cidr, ip_address, path_segment, required_path_segment, subdomain};
use crate::shared::meta;
use crate::shared::rules::immutable;
use crate::table::{AGE, NAME, age, column, name};
use crate::{Column, Facts, NameRule, Strategy, generic};

static RANGE: Facts = Facts::cluster("networking.k8s.io", "ServiceCIDR", "servicecidrs").with_status();
static ADDRESS: Facts =
    Facts::cluster("networking.k8s.io", "IPAddress", "ipaddresses").with_name(NameRule::Own);
const RANGE_COLUMNS: &[Column] = &[
    NAME,
    column(
        "CIDRs",
        "string",
        "CIDRs defines the IP blocks in CIDR notation (e.g. \"192.168.0.0/24\" or \"2001:db8::/64\") from which to assign service cluster IPs. Max of two CIDRs is allowed, one of each IP family. This field is immutable.",
    ),
    AGE,
];
const ADDRESS_COLUMNS: &[Column] = &[
    NAME,
    column(
        "ParentRef",
        "string",
        "ParentRef references the resource that an IPAddress is attached to. An IPAddress must reference a parent object.",
    ),
    AGE,
];

/// The strategy of ServiceCIDRs.
pub struct ServiceCidr;
/// The strategy of IPAddresses.
pub struct IpAddress;

fn validate_ranges(obj: &Value) -> Vec<FieldError> {
    let cidrs = texts(obj, &["spec", "cidrs"]);
    let path = Path::new("spec").child("cidrs");
    // Upstream shows its internal struct.
    let refuse = |detail: &str| vec![FieldError::invalid(&path, json!({"CIDRs": cidrs}), detail)];
    if cidrs.is_empty() {
        return vec![FieldError::required(&path, "at least one CIDR required")];
    }
    if cidrs.len() > 2 {
        return refuse("may only hold up to 2 values");
    }
    let is_ipv4 = |range: &str| sloppy_range(range).map(|(address, _)| address.to_canonical().is_ipv4());
    if let [first, second] = cidrs[..]
        && !matches!((is_ipv4(first), is_ipv4(second)), (Some(first), Some(second)) if first != second)
    {
        return refuse(
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        );
    }
    cidrs.iter().enumerate().flat_map(|(index, range)| cidr(range, &path.index(index))).collect()
}

impl Strategy for ServiceCidr {
    fn facts(&self) -> &Facts {
        &RANGE
    }

    fn defaults(&self, obj: &mut Value) {
        drop_nulls(obj);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = generic::validate(&RANGE, obj);
        errors.extend(validate_ranges(obj));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(&RANGE, obj, old));
        let (now, before) = (texts(obj, &["spec", "cidrs"]), texts(old, &["spec", "cidrs"]));
        let path = Path::new("spec").child("cidrs");
        let fixed = "field is immutable";
        match (before.len(), now.len()) {
            // A second range may be added: one of the other family.
            (1, 2) | (1, 1) | (2, 2) | (0, 0) => {
                for (index, range) in now
                    .iter()
                    .enumerate()
                    .filter(|(at, range)| before.get(*at).is_some_and(|old| old != *range))
                {
                    errors.push(FieldError::invalid(&path.index(index), range, fixed));
                }
            }
            _ => errors.push(FieldError::invalid(&path, now, fixed)),
        }
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
        if !address.is_empty() {
            errors.extend(ip_address(address, &Path::new("metadata").child("name")));
        }
        let path = Path::new("spec").child("parentRef");
        let parent = at(obj, &["spec", "parentRef"]);
        if parent.is_null() {
            errors.push(FieldError::required(&path, ""));
            return errors;
        }
        // The core group is the empty one, so the group cannot be required.
        if !text(parent, &["group"]).is_empty() {
            errors.extend(subdomain(text(parent, &["group"]), &path.child("group")));
        }
        errors.extend(required_path_segment(parent, "resource", &path));
        errors.extend(required_path_segment(parent, "name", &path));
        errors.extend(path_segment(text(parent, &["namespace"]), &path.child("namespace")));
        errors
    }

    fn validate_update(&self, obj: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(obj);
        errors.extend(generic::validate_update(&ADDRESS, obj, old));
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
        let kind = kind.to_lowercase();
        let parent = match (has(obj, &["spec", "parentRef"]), part("namespace")) {
            (false, _) => "<none>".to_owned(),
            (true, "") => format!("{kind}/{}", part("name")),
            (true, namespace) => format!("{kind}/{namespace}/{}", part("name")),
        };
        vec![name(obj), json!(parent), age(obj, now)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn ranges() {
        let table = Table::of(&ServiceCidr, json!({"spec": {"cidrs": ["10.96.0.0/12"]}}));
        table.columns(&["Name", "CIDRs", "Age"]);
        table.rows(&[(
            json!({"spec.cidrs[1]": "2001:db8::/64"}),
            json!(["a", "10.96.0.0/12,2001:db8::/64", "60m"]),
        )]);
        table.valid(&[("both families", json!({"spec.cidrs": ["2001:db8::/64", "10.0.0.0/8"]}))]);
        table.invalid(&[
            ("none", json!({"spec": {}}), &["spec.cidrs: Required value: at least one CIDR required"]),
            (
                "three",
                json!({"spec.cidrs": ["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8"]}),
                &["spec.cidrs: Invalid value: {\"CIDRs\":[\"10.0.0.0/8\",\"11.0.0.0/8\",\"12.0.0.0/8\"]}: may only hold up to 2 values"],
            ),
            (
                "one family twice",
                json!({"spec.cidrs": ["10.0.0.0/8", "11.0.0.0/8"]}),
                &["spec.cidrs: Invalid value: {\"CIDRs\":[\"10.0.0.0/8\",\"11.0.0.0/8\"]}: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"],
            ),
            (
                "two, one unreadable",
                json!({"spec.cidrs": ["10.0.0.1/8", "x"]}),
                &["spec.cidrs: Invalid value: {\"CIDRs\":[\"10.0.0.1/8\",\"x\"]}: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"],
            ),
            (
                "no range",
                json!({"spec.cidrs": ["x"]}),
                &["spec.cidrs[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"],
            ),
            (
                "host bits",
                json!({"spec.cidrs": ["10.96.0.1/12"]}),
                &["spec.cidrs[0]: Invalid value: \"10.96.0.1/12\": must not have bits set beyond the prefix length"],
            ),
        ]);
        table.updates(&[
            ("a second family", json!({"spec.cidrs[1]": "2001:db8::/64"}), &[]),
            (
                "another range",
                json!({"spec.cidrs[0]": "10.0.0.0/8"}),
                &["spec.cidrs[0]: Invalid value: \"10.0.0.0/8\": field is immutable"],
            ),
        ]);
        let both = json!({"spec.cidrs[1]": "2001:db8::/64"});
        table.updates_of(
            &both,
            &[(
                "one taken away",
                json!({"spec.cidrs[1]": null}),
                &["spec.cidrs: Invalid value: [\"10.96.0.0/12\"]: field is immutable"],
            )],
        );
        table.status_is_separate(
            &json!({"status.conditions": []}),
            &json!({"spec.cidrs[1]": "2001:db8::/64"}),
        );
    }

    #[test]
    fn addresses() {
        let parent = json!({"resource": "Services", "namespace": "default", "name": "kubernetes"});
        let base = json!({"metadata": {"name": "10.96.0.1"}, "spec": {"parentRef": parent}});
        let table = Table::of(&IpAddress, base);
        table.columns(&["Name", "ParentRef", "Age"]);
        table.rows(&[
            (json!({}), json!(["10.96.0.1", "services/default/kubernetes", "60m"])),
            (
                json!({"spec.parentRef.group": "a.b", "spec.parentRef.namespace": null}),
                json!(["10.96.0.1", "services.a.b/kubernetes", "60m"]),
            ),
            (json!({"spec.parentRef": null}), json!(["10.96.0.1", "<none>", "60m"])),
        ]);
        table.invalid(&[
            (
                "no address",
                json!({"metadata.name": "x"}),
                &["metadata.name: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"],
            ),
            (
                "another form",
                json!({"metadata.name": "2001:DB8::1"}),
                &["metadata.name: Invalid value: \"2001:DB8::1\": must be in canonical form (\"2001:db8::1\")"],
            ),
            ("no parent", json!({"spec.parentRef": null}), &["spec.parentRef: Required value"]),
            (
                "a parent of nothing",
                json!({"spec.parentRef": {"group": "A", "namespace": "a/b"}}),
                &[
                    "spec.parentRef.group: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                    "spec.parentRef.resource: Required value",
                    "spec.parentRef.name: Required value",
                    "spec.parentRef.namespace: Invalid value: \"a/b\": may not contain '/'",
                ],
            ),
        ]);
        table.updates(&[(
            "another parent",
            json!({"spec.parentRef.name": "other"}),
            &["spec.parentRef: Invalid value: {\"name\":\"other\",\"namespace\":\"default\",\"resource\":\"Services\"}: field is immutable"],
        )]);
    }
}
