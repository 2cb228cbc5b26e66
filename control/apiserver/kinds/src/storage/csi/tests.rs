//! CSINodes and CSIDrivers, case by case.

use super::*;
use crate::testing::Table;

#[test]
fn nodes() {
    let driver =
        json!({"name": "x.y", "nodeID": "n", "topologyKeys": ["a.b/c"], "allocatable": {"count": 3}});
    let table = Table::of(&CsiNode, json!({"spec": {"drivers": [driver]}}));
    table.defaults(&[(json!({"spec": null}), json!({"spec.drivers": []}))]);
    table.columns(&["Name", "Drivers", "Age"]);
    table.rows(&[(json!({}), json!(["a", 1, "60m"]))]);
    table.invalid(&[
        (
            "a driver of nothing",
            json!({"spec.drivers[0]": {"name": "X", "allocatable": {"count": -1}}}),
            &[
                "spec.drivers[0].nodeID: Required value",
                "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            "a long id",
            json!({"spec.drivers[0].nodeID": "x".repeat(257)}),
            &[&format!(
                "spec.drivers[0].nodeID: Invalid value: \"{}\": must be 256 characters or less",
                "x".repeat(257)
            )],
        ),
        (
            "a driver twice",
            json!({"spec.drivers[1]": {"name": "x.y", "nodeID": "m"}}),
            &["spec.drivers[1].name: Duplicate value: \"x.y\""],
        ),
        (
            "a key twice",
            json!({"spec.drivers[0].topologyKeys": ["k", "k"]}),
            &["spec.drivers[0]: Duplicate value: \"k\""],
        ),
    ]);
    table.updates(&[
        ("the number of volumes", json!({"spec.drivers[0].allocatable.count": 5}), &[]),
        ("another driver", json!({"spec.drivers[1]": {"name": "z", "nodeID": "m"}}), &[]),
        (
            "the id",
            json!({"spec.drivers[0].nodeID": "m"}),
            &["spec.drivers: Invalid value: {\"name\":\"x.y\",\"nodeID\":\"m\",\"topologyKeys\":[\"a.b/c\"]}: field is immutable"],
        ),
    ]);
    assert!(!CsiNode.unconditional_update());
}

#[test]
fn drivers() {
    let table = Table::of(&CsiDriver, json!({}));
    table.defaults(&[(
        json!({}),
        json!({
            "spec.attachRequired": true,
            "spec.fsGroupPolicy": "ReadWriteOnceWithFSType",
            "spec.podInfoOnMount": false,
            "spec.requiresRepublish": false,
            "spec.seLinuxMount": false,
            "spec.storageCapacity": false,
            "spec.volumeLifecycleModes": ["Persistent"],
            "metadata.generation": null
        }),
    )]);
    table.columns(&[
        "Name",
        "AttachRequired",
        "PodInfoOnMount",
        "StorageCapacity",
        "TokenRequests",
        "RequiresRepublish",
        "Modes",
        "Age",
    ]);
    table.rows(&[
        (json!({}), json!(["a", true, false, false, "<unset>", false, "Persistent", "60m"])),
        (
            json!({"spec.tokenRequests": [{"audience": "x"}, {"audience": "y"}]}),
            json!(["a", true, false, false, "x,y", false, "Persistent", "60m"]),
        ),
    ]);
    table.invalid(&[
        (
            "the policy",
            json!({"spec.fsGroupPolicy": "Some"}),
            &["spec.fsGroupPolicy: Unsupported value: \"Some\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\""],
        ),
        (
            "the modes",
            json!({"spec.volumeLifecycleModes": ["Eternal"]}),
            &["spec.volumeLifecycleModes: Unsupported value: \"Eternal\": supported values: \"Persistent\", \"Ephemeral\""],
        ),
        (
            "tokens",
            json!({"spec.tokenRequests": [{"audience": "x", "expirationSeconds": 599}, {"audience": "x"}, {"audience": "y", "expirationSeconds": 4294967297_i64}]}),
            &[
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
                "spec.tokenRequests[1].audience: Duplicate value: \"x\"",
                "spec.tokenRequests[2].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
            ],
        ),
        (
            "a secret for no token",
            json!({"spec.serviceAccountTokenInSecrets": false, "spec.fsGroupPolicy": ""}),
            &[
                "spec.fsGroupPolicy: Unsupported value: \"\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
                "spec.serviceAccountTokenInSecrets: Invalid value: false: serviceAccountTokenInSecrets is set but no tokenRequests are specified",
            ],
        ),
        (
            "the period",
            json!({"spec.nodeAllocatableUpdatePeriodSeconds": 9}),
            &["spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds"],
        ),
    ]);
    table.updates(&[
        ("the tokens", json!({"spec.requiresRepublish": true}), &[]),
        (
            "what is fixed",
            json!({"spec.attachRequired": false, "spec.volumeLifecycleModes": ["Ephemeral"]}),
            &[
                "spec.attachedRequired: Invalid value: false: field is immutable",
                "spec.volumeLifecycleModes: Invalid value: [\"Ephemeral\"]: field is immutable",
            ],
        ),
    ]);
    for change in [json!({"spec.requiresRepublish": true}), json!({"spec.podInfoOnMount": true})] {
        let changed = crate::testing::patched(table.stored(), &change);
        let (new, _) = crate::testing::update(&CsiDriver, changed, table.stored());
        assert_eq!(new["metadata"]["generation"], 1, "{change}");
    }
}
