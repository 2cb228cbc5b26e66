//! Tables of LimitRanges and ResourceQuotas.

use serde_json::{Value, json};

use crate::Strategy;
use crate::core::limit_range::LimitRange;
use crate::core::resource_quota::ResourceQuota;
use crate::testing::Table;

/// A patch that makes this the only limit.
fn limit(item: Value) -> Value {
    json!({"spec.limits": [item]})
}

#[test]
fn limit_ranges() {
    let table = Table::of(
        &LimitRange,
        json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": 2}, "min": {"memory": "1024Ki"}}]}}),
    );
    table.defaults(&[
        (
            json!({}),
            json!({"spec.limits[0].max.cpu": "2", "spec.limits[0].min.memory": "1Mi",
                "spec.limits[0].default": {"cpu": "2"}, "spec.limits[0].defaultRequest": {"cpu": "2", "memory": "1Mi"}}),
        ),
        (
            limit(json!({"type": "Container", "max": {"cpu": "3"}, "default": {"cpu": "2"}})),
            json!({"spec.limits[0].default.cpu": "2", "spec.limits[0].defaultRequest.cpu": "2"}),
        ),
        (limit(json!({"type": "Pod", "max": {"cpu": "3"}})), json!({"spec.limits[0].default": null})),
    ]);
    table.valid(&[
        ("nothing", json!({"spec": {}})),
        ("a claim", limit(json!({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}))),
        ("another's type", limit(json!({"type": "example.com/thing", "max": {"example.com/a": "1"}}))),
        (
            "a ratio",
            limit(json!({"type": "Pod", "min": {"cpu": "100m"}, "max": {"cpu": "400m"}, "maxLimitRequestRatio": {"cpu": "4"}})),
        ),
    ]);
    table.invalid(&[
        (
            "types",
            json!({"spec.limits": [{"type": "Pod"}, {"type": "Pod"}, {"type": "Thing"}]}),
            &[
                "spec.limits[1].type: Duplicate value: \"Pod\"",
                "spec.limits[2].type: Invalid value: \"Thing\": must be a standard limit type or fully qualified",
            ],
        ),
        (
            "a pod's defaults",
            limit(json!({"type": "Pod", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}})),
            &[
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                "spec.limits[0].defaultRequest: Forbidden: may not be specified when `type` is 'Pod'",
            ],
        ),
        (
            "names",
            limit(json!({"type": "Pod", "max": {"storage": "1"}, "min": {"x": "1"}, "maxLimitRequestRatio": {"requests.a/b": "1"}})),
            &[
                "spec.limits[0].max[storage]: Invalid value: \"storage\": must be a standard resource for containers",
                "spec.limits[0].min[x]: Invalid value: \"x\": must be a standard resource type or fully qualified",
                "spec.limits[0].min[x]: Invalid value: \"x\": must be a standard resource for containers",
                "spec.limits[0].maxLimitRequestRatio[requests.a/b]: Invalid value: \"requests.a/b\": doesn't follow extended resource name standard",
            ],
        ),
        (
            "a claim without storage",
            limit(json!({"type": "PersistentVolumeClaim", "max": {"cpu": "1"}})),
            &["spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided"],
        ),
        (
            "min over max",
            limit(json!({"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}})),
            &["spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"],
        ),
        (
            "defaults below min",
            limit(json!({"type": "Container", "min": {"cpu": "2"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}})),
            &[
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"1\": min value 2 is greater than default request value 1",
                "spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1",
            ],
        ),
        (
            "defaults over max",
            limit(json!({"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "3"}})),
            &[
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"3\": default request value 3 is greater than max value 1",
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"3\": default request value 3 is greater than default limit value 2",
                "spec.limits[0].default[cpu]: Invalid value: \"1\": default value 2 is greater than max value 1",
            ],
        ),
        (
            "ratios",
            limit(json!({"type": "Pod", "min": {"cpu": "100m"}, "max": {"cpu": "250m"}, "maxLimitRequestRatio": {"cpu": "3", "memory": "500m"}})),
            &[
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.500000",
                "spec.limits[0].maxLimitRequestRatio[memory]: Invalid value: \"500m\": ratio 500m is less than 1",
            ],
        ),
        (
            "what may not be overcommitted",
            limit(json!({"type": "Container", "default": {"example.com/gpu": "2"}, "defaultRequest": {"example.com/gpu": "1"},
                "maxLimitRequestRatio": {"example.com/gpu": "0"}})),
            &["spec.limits[0].maxLimitRequestRatio[example.com/gpu]: Invalid value: \"0\": ratio 0 is less than 1",
              "spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: \"1\": default value 2 must equal to defaultRequest value 1 in example.com/gpu"],
        ),
    ]);
    table.updates(&[("another bound", json!({"spec.limits[0].max.cpu": "4"}), &[])]);
    assert!(LimitRange.create_on_update());
    table.columns(&["Name", "Created At"]);
}

#[test]
fn resource_quotas() {
    let table = Table::of(&ResourceQuota, json!({"spec": {"hard": {"pods": 4, "limits.cpu": "2000m"}}}));
    table.defaults(&[(json!({}), json!({"spec.hard": {"pods": "4", "limits.cpu": "2"}, "status": {}}))]);
    table.valid(&[
        ("objects", json!({"spec.hard": {"count/jobs.batch": "3", "services.nodeports": "0", "requests.hugepages-2Mi": "4Mi"}})),
        ("devices", json!({"spec.hard": {"requests.example.com/gpu": "3"}})),
        ("a scope", json!({"spec.scopes": ["NotBestEffort", "Terminating"]})),
        (
            "priorities",
            json!({"spec.scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}),
        ),
    ]);
    let exists = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
    let matching = |requirement: Value| json!({"spec.scopeSelector": {"matchExpressions": [requirement]}});
    let path = "spec.scopeSelector.matchExpressions";
    table.invalid(&[
        (
            "names",
            json!({"spec.hard": {"storage": "1", "x": "1"}}),
            &[
                "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
                "spec.hard[x]: Invalid value: \"x\": must be a standard resource type or fully qualified",
                "spec.hard[x]: Invalid value: \"x\": must be a standard resource for quota",
            ],
        ),
        (
            "amounts",
            json!({"spec.hard": {"memory": "-1", "pods": "1500m"}}),
            &[
                "spec.hard[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
                "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
            ],
        ),
        ("a scope", json!({"spec.scopes": ["X"]}), &["spec.scopes: Invalid value: [\"X\"]: unsupported scope"]),
        (
            "a scope without the resource",
            json!({"spec.scopes": ["BestEffort"]}),
            &["spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"],
        ),
        (
            "scopes at odds",
            json!({"spec.scopes": ["Terminating", "NotTerminating"]}),
            &["spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\"]: conflicting scopes"],
        ),
        (
            "a plain scope's operator",
            matching(json!({"scopeName": "Terminating", "operator": "In", "values": ["x"]})),
            &[&format!("{path}.operator: Invalid value: \"In\": {exists}")],
        ),
        (
            "no values",
            matching(json!({"scopeName": "PriorityClass", "operator": "In"})),
            &[&format!("{path}.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")],
        ),
        (
            "values",
            matching(json!({"scopeName": "PriorityClass", "operator": "Exists", "values": ["x"]})),
            &[&format!("{path}.values: Invalid value: [\"x\"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")],
        ),
        (
            "neither",
            matching(json!({"scopeName": "X", "operator": "Near"})),
            &[
                &format!("{path}.scopeName: Invalid value: \"X\": unsupported scope"),
                &format!("{path}.operator: Invalid value: \"Near\": not a valid selector operator"),
            ],
        ),
    ]);
    table.updates(&[
        ("more", json!({"spec.hard.pods": "5"}), &[]),
        (
            "a scope",
            json!({"spec.scopes": ["Terminating"]}),
            &["spec.scopes: Invalid value: [\"Terminating\"]: field is immutable"],
        ),
    ]);
    table.updates_of(
        &json!({"spec.scopes": ["Terminating", "NotBestEffort"]}),
        &[("another order", json!({"spec.scopes": ["NotBestEffort", "Terminating"]}), &[])],
    );
    table.status(&[
        ("used", json!({"status": {"hard": {"pods": "4"}, "used": {"pods": "1"}}}), &[]),
        (
            "amounts",
            json!({"status": {"hard": {"x": "1"}, "used": {"pods": "-1"}}}),
            &[
                "status.hard[x]: Invalid value: \"x\": must be a standard resource type or fully qualified",
                "status.hard[x]: Invalid value: \"x\": must be a standard resource for quota",
                "status.used[pods]: Invalid value: \"-1\": must be greater than or equal to 0",
            ],
        ),
    ]);
    table.status_is_separate(&json!({"status.used": {"pods": "1"}}), &json!({"spec.hard.pods": "9"}));
    table.rows(&[(
        json!({"status": {"hard": {"limits.cpu": "2", "pods": "4"}, "used": {"pods": "1"}}}),
        json!(["a", "pods: 1/4", "limits.cpu: 0/2", "60m"]),
    )]);
}
