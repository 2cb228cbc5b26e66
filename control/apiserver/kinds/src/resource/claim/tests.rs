//! ResourceClaims, case by case.

use super::*;
use crate::testing::{Table, patched, update_status};

fn base() -> Value {
    json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}})
}

#[test]
fn defaults_and_table() {
    let table = Table::of(&ResourceClaim, base());
    table.defaults(&[
        (
            json!({"spec.devices.requests[0].exactly.tolerations": [{"key": "k"}]}),
            json!({
                "spec.devices.requests[0].exactly.allocationMode": "ExactCount",
                "spec.devices.requests[0].exactly.count": 1,
                "spec.devices.requests[0].exactly.tolerations[0].operator": "Equal"
            }),
        ),
        (
            json!({"spec.devices.requests[0]": {"name": "r", "firstAvailable": [{"name": "s", "deviceClassName": "c", "allocationMode": "All"}]}}),
            json!({
                "spec.devices.requests[0].firstAvailable[0].allocationMode": "All",
                "spec.devices.requests[0].firstAvailable[0].count": null
            }),
        ),
    ]);
    table.columns(&["Name", "State", "Age"]);
    table.rows(&[
        (json!({}), json!(["a", "pending", "60m"])),
        (json!({"status.allocation": {}}), json!(["a", "allocated", "60m"])),
        (
            json!({"status": {"allocation": {}, "reservedFor": [{}]}, "metadata.deletionTimestamp": "2026-01-01T00:00:00Z"}),
            json!(["a", "deleted,allocated,reserved", "60m"]),
        ),
    ]);
    table.status_is_separate(&json!({"status.allocation": {}}), &json!({"metadata.labels": {"a": "b"}}));
}

#[test]
fn requests_are_checked() {
    let table = Table::of(&ResourceClaim, base());
    let exactly = |key: &str, value: Value| json!({format!("spec.devices.requests[0].exactly.{key}"): value});
    table.valid(&[
        ("none", json!({"spec": {}})),
        ("all", json!({"spec.devices.requests[0].exactly.allocationMode": "All"})),
        ("tolerating", exactly("tolerations", json!([{"operator": "Exists", "effect": "None"}]))),
    ]);
    table.invalid(&[
        (
            "nothing asked",
            json!({"spec.devices.requests[0].exactly": null}),
            &["spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"],
        ),
        (
            "both ways",
            json!({"spec.devices.requests[0].firstAvailable": [{"name": "s", "deviceClassName": "c"}]}),
            &["spec.devices.requests[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"],
        ),
        ("no class", exactly("deviceClassName", json!("")), &["spec.devices.requests[0].exactly.deviceClassName: Required value"]),
        ("less than none", exactly("count", json!(-1)), &["spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero"]),
        (
            "all of three",
            json!({"spec.devices.requests[0].exactly": {"deviceClassName": "c", "allocationMode": "All", "count": 3}}),
            &["spec.devices.requests[0].exactly.count: Invalid value: 3: must not be specified when allocationMode is 'All'"],
        ),
        (
            "an unknown mode",
            exactly("allocationMode", json!("Some")),
            &["spec.devices.requests[0].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\""],
        ),
        (
            "a selector of nothing",
            exactly("selectors", json!([{}])),
            &["spec.devices.requests[0].exactly.selectors[0].cel: Required value"],
        ),
        (
            "a long selector",
            exactly("selectors", json!([{"cel": {"expression": "x".repeat(10 * 1024 + 1)}}])),
            &["spec.devices.requests[0].exactly.selectors[0].cel.expression: Too long: may not be more than 10240 bytes"],
        ),
        (
            "many selectors",
            exactly("selectors", json!(vec![json!({}); 33])),
            &["spec.devices.requests[0].exactly.selectors: Too many: 33: must have at most 32 items"],
        ),
        (
            "tolerations",
            exactly("tolerations", json!([{"operator": "Exists", "value": "v", "effect": "Maybe"}, {"operator": "Near"}])),
            &[
                "spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: \"v\": must be empty for operator `Exists`",
                "spec.devices.requests[0].exactly.tolerations[0].effect: Unsupported value: \"Maybe\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
                "spec.devices.requests[0].exactly.tolerations[1].operator: Unsupported value: \"Near\": supported values: \"Equal\", \"Exists\"",
            ],
        ),
        (
            "a name twice",
            json!({"spec.devices.requests[1]": base()["spec"]["devices"]["requests"][0]}),
            &["spec.devices.requests[1]: Duplicate value: \"r\""],
        ),
    ]);
}

#[test]
fn constraints_and_configs_are_checked() {
    let table = Table::of(&ResourceClaim, base());
    let opaque = json!({"driver": "x.y", "parameters": {"a": 1}});
    table.valid(&[
        (
            "a constraint",
            json!({"spec.devices.constraints": [{"requests": ["r"], "matchAttribute": "x.y/a"}]}),
        ),
        ("a configuration", json!({"spec.devices.config": [{"requests": ["r"], "opaque": opaque}]})),
    ]);
    let reference = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    table.invalid(&[
        (
            "a constraint of nothing",
            json!({"spec.devices.constraints": [{}]}),
            &["spec.devices.constraints[0]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set"],
        ),
        (
            "references",
            json!({"spec.devices.constraints": [{"requests": ["x", "r/s", "a/b/c"], "distinctAttribute": "x.y/a"}]}),
            &[
                &format!("spec.devices.constraints[0].requests[0]: Invalid value: \"x\": {reference}"),
                &format!("spec.devices.constraints[0].requests[1]: Invalid value: \"r/s\": {reference}"),
                &format!("spec.devices.constraints[0].requests[2]: Invalid value: \"a/b/c\": {reference}"),
            ],
        ),
        (
            "an attribute without a domain",
            json!({"spec.devices.constraints": [{"matchAttribute": "a"}]}),
            &["spec.devices.constraints[0].matchAttribute: Invalid value: \"a\": a fully qualified name must be a domain and a name separated by a slash"],
        ),
        ("a configuration of nothing", json!({"spec.devices.config": [{}]}), &["spec.devices.config[0].opaque: Required value"]),
        (
            "no parameters",
            json!({"spec.devices.config": [{"opaque": {"driver": "x.y"}}]}),
            &["spec.devices.config[0].opaque.parameters: Required value"],
        ),
        (
            "a list of parameters",
            json!({"spec.devices.config": [{"opaque": {"driver": "x.y", "parameters": [1]}}]}),
            &["spec.devices.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object"],
        ),
        (
            "large parameters",
            json!({"spec.devices.config": [{"opaque": {"driver": "x.y", "parameters": {"a": "x".repeat(10 * 1024)}}}]}),
            &["spec.devices.config[0].opaque.parameters: Too long: may not be more than 10240 bytes"],
        ),
    ]);
    table.updates(&[
        ("labels", json!({"metadata.labels": {"a": "b"}}), &[]),
        ("the spec", json!({"spec": {}}), &["spec: Invalid value: {}: field is immutable"]),
    ]);
}

fn allocation() -> Value {
    let result = json!({"request": "r", "driver": "x.y", "pool": "p", "device": "d"});
    json!({"devices": {"results": [result]}})
}

#[test]
fn allocations_are_checked() {
    let table = Table::of(&ResourceClaim, base());
    let pod = json!({"resource": "pods", "name": "p", "uid": "1"});
    table.status(&[
        ("allocated and reserved", json!({"status": {"allocation": allocation(), "reservedFor": [pod]}}), &[]),
        (
            "reserved alone",
            json!({"status": {"reservedFor": [{}]}}),
            &[
                "status.reservedFor[0].resource: Required value",
                "status.reservedFor[0].name: Required value",
                "status.reservedFor[0].uid: Required value",
                "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
            ],
        ),
        (
            "one consumer twice",
            json!({"status": {"allocation": allocation(), "reservedFor": [pod, pod]}}),
            &["status.reservedFor[1]: Duplicate value: \"1\""],
        ),
        (
            "a result",
            json!({"status.allocation": {"devices": {
                "results": [{"request": "r", "driver": "x.y", "device": "d", "shareID": "1", "bindingConditions": ["a"]}],
                "config": [{"source": "FromHeaven", "opaque": {"driver": "x.y", "parameters": {}}}]
            }}}),
            &[
                "status.allocation.devices.results[0].pool: Required value",
                "status.allocation.devices.results[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
                "status.allocation.devices.results[0].shareID: Invalid value: \"1\": error validating uid: invalid UUID length: 1",
                "status.allocation.devices.config[0].source: Unsupported value: \"FromHeaven\": supported values: \"FromClaim\", \"FromClass\"",
            ],
        ),
    ]);
    let allocated = json!({"status": {"allocation": allocation()}});
    table.status_of(
        &allocated,
        &[
            ("deallocated", json!({"status": {}}), &[]),
            (
                "changed",
                json!({"status.allocation": {}}),
                &["status.allocation: Invalid value: {}: field is immutable"],
            ),
        ],
    );
    let mut deleted = allocated;
    deleted["metadata.deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    table.status_of(&deleted, &[(
        "reserved too late",
        json!({"status.reservedFor": [pod]}),
        &["status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"],
    )]);
}

#[test]
fn device_statuses_are_checked() {
    let table = Table::of(&ResourceClaim, base());
    let with = |device: Value| json!({"status": {"allocation": allocation(), "devices": [device]}});
    let device = json!({"driver": "x.y", "pool": "p", "device": "d", "data": {"a": 1}, "networkData": {"ips": ["10.0.0.1/8"]}});
    table.status(&[
        ("one", with(device.clone()), &[]),
        (
            "another",
            with(patched(&device, &json!({"device": "e"}))),
            &["status.devices[0]: Invalid value: \"x.y/p/e\": must be an allocated device in the claim"],
        ),
        (
            "its data",
            with(patched(&device, &json!({"data": 3, "networkData": {"interfaceName": "x".repeat(257), "ips": ["10.0.0.1"]}}))),
            &[
                "status.devices[0].data: Invalid value: \"<value omitted>\": must be a valid JSON object",
                "status.devices[0].networkData.interfaceName: Too long: may not be more than 256 bytes",
                "status.devices[0].networkData.ips[0]: Invalid value: \"10.0.0.1\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
            ],
        ),
    ]);
    let old = patched(table.stored(), &with(device));
    let (new, errors) =
        update_status(&ResourceClaim, patched(&old, &json!({"status.allocation": null})), &old);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(new["status"]["devices"], json!([]), "what is deallocated is forgotten");
}

#[test]
fn expressions_are_handed_out_on_create() {
    let selector = json!([{"cel": {"expression": "true"}}]);
    let obj = patched(&base(), &json!({"spec.devices.requests[0].exactly.selectors": selector}));
    let found = ResourceClaim.expressions(&obj, None);
    assert_eq!(found[0].path.as_str(), "spec.devices.requests[0].exactly.selectors[0].cel.expression");
    assert_eq!(ResourceClaim.expressions(&obj, Some(&obj)), []);
}
