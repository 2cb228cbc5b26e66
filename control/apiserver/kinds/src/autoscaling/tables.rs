//! Tables of HorizontalPodAutoscalers.

use serde_json::{Value, json};

use super::horizontal::HorizontalPodAutoscaler;
use crate::testing::Table;

fn table() -> Table<'static> {
    let target = json!({"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"});
    Table::of(&HorizontalPodAutoscaler, json!({"spec": {"maxReplicas": 3, "scaleTargetRef": target}}))
}

/// A patch that makes this the only metric.
fn metric(metric: Value) -> Value {
    json!({"spec.metrics": [metric]})
}

#[test]
fn autoscalers() {
    let table = table();
    let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    table.defaults(&[
        (json!({}), json!({"spec.minReplicas": 1, "spec.metrics": cpu, "spec.behavior": null, "status.desiredReplicas": 0})),
        (
            metric(json!({"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "Value", "value": 1500}}})),
            json!({"spec.metrics[0].external.target.value": "1500"}),
        ),
        (
            json!({"spec.behavior": {"scaleUp": {"tolerance": "0.05"}}}),
            json!({"spec.behavior.scaleUp.tolerance": "50m", "spec.behavior.scaleUp.selectPolicy": "Max"}),
        ),
        (
            json!({"spec.behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}),
            json!({
                "spec.behavior.scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                    {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]},
                "spec.behavior.scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max",
                    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
            }),
        ),
    ]);
    table.invalid(&[
        (
            "replicas",
            json!({"spec.minReplicas": 0, "spec.maxReplicas": 0}),
            &[
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                "spec.maxReplicas: Invalid value: 0: must be greater than 0",
                "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
            ],
        ),
        (
            "less than the least",
            json!({"spec.minReplicas": 5}),
            &["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"],
        ),
        (
            "no target",
            json!({"spec.scaleTargetRef": {"kind": "a/b"}}),
            &[
                "spec.scaleTargetRef.kind: Invalid value: \"a/b\": may not contain '/'",
                "spec.scaleTargetRef.name: Required value",
                "spec.scaleTargetRef.apiVersion: Invalid value: \"\": apiVersion must specify API group",
            ],
        ),
        (
            "a version of no group",
            json!({"spec.scaleTargetRef.apiVersion": "v1"}),
            &["spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group"],
        ),
        (
            "no version",
            json!({"spec.scaleTargetRef.apiVersion": "a/b/c"}),
            &["spec.scaleTargetRef.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"],
        ),
        ("a core kind", json!({"spec.scaleTargetRef.apiVersion": "v1", "spec.scaleTargetRef.kind": "ReplicationController"}), &[]),
        (
            "an object of no version",
            metric(json!({"type": "Object", "object": {"describedObject": {"kind": "K", "name": "n", "apiVersion": "a/b/c"}, "metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}})),
            &["spec.metrics[0].object.describedObject.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"],
        ),
        (
            "tolerances",
            json!({"spec.behavior": {"scaleUp": {"tolerance": "-1"}, "scaleDown": {"tolerance": "0"}}}),
            &["spec.behavior.scaleUp.tolerance: Invalid value: \"-1\": must be greater than or equal to 0"],
        ),
        (
            "behavior",
            json!({"spec.behavior": {
                "scaleUp": {"stabilizationWindowSeconds": -1, "selectPolicy": "X", "policies": []},
                "scaleDown": {"stabilizationWindowSeconds": 3601, "policies": [{"type": "X", "value": 0, "periodSeconds": 0}, {"type": "Pods", "value": 1, "periodSeconds": 1801}]},
            }}),
            &[
                "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: -1: must be greater than or equal to zero",
                "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"X\": supported values: \"Disabled\", \"Max\", \"Min\"",
                "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
                "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
                "spec.behavior.scaleDown.policies[0].type: Unsupported value: \"X\": supported values: \"Percent\", \"Pods\"",
                "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleDown.policies[1].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
            ],
        ),
    ]);
    table.updates(&[
        ("another target", json!({"spec.scaleTargetRef.name": "e", "spec.maxReplicas": 9}), &[]),
        (
            "to zero",
            json!({"spec.minReplicas": 0}),
            &[
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
            ],
        ),
    ]);
    let version = "spec.scaleTargetRef.apiVersion";
    table.updates_of(
        &json!({version: "v1"}),
        &[
            ("a target that was accepted", json!({"spec.scaleTargetRef.name": "e"}), &[]),
            (
                "a target of another kind",
                json!({"spec.scaleTargetRef.kind": "ReplicaSet"}),
                &[&format!("{version}: Invalid value: \"v1\": apiVersion must specify API group")],
            ),
        ],
    );
    let object = json!({"type": "Object", "object": {"describedObject": {"kind": "K", "name": "n", "apiVersion": "a/b/c"}, "metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}});
    table
        .updates_of(&metric(object), &[("an object that was accepted", json!({"spec.maxReplicas": 9}), &[])]);
    let external = json!({"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "1"}}});
    table.updates_of(
        &json!({"spec.minReplicas": 0, "spec.metrics": [external]}),
        &[("still from zero", json!({"spec.maxReplicas": 9}), &[])],
    );
    table.status(&[
        ("scaled", json!({"status.currentReplicas": 1, "status.desiredReplicas": 2}), &[]),
        (
            "negative",
            json!({"status.currentReplicas": -1, "status.desiredReplicas": -1}),
            &[
                "status.currentReplicas: Invalid value: -1: must be greater than or equal to 0",
                "status.desiredReplicas: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
    ]);
    table.columns(&["Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"]);
    let shown = |metrics: Value, current: Value, want: &str| {
        let patch = json!({"spec.metrics": metrics, "status.currentMetrics": current});
        (patch, json!(["a", "Deployment/d", want, "1", 3, 0, "60m"]))
    };
    let average = json!({"type": "AverageValue", "averageValue": "2"});
    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": average}});
    let container = json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": average}});
    let outside = json!({"type": "External", "external": {"metric": {"name": "m"}, "target": average}});
    table.rows(&[
        shown(cpu.clone(), json!(null), "cpu: <unknown>/80%"),
        shown(
            json!([pods, container]),
            json!([{"type": "Pods", "pods": {"current": {"averageValue": "1"}}}]),
            "1/2, cpu: <unknown>/2",
        ),
        shown(
            json!([outside, {"type": "X"}, pods]),
            json!([]),
            "<unknown>/2 (avg), <unknown type> + 1 more...",
        ),
    ]);
}

#[test]
fn metrics() {
    let table = table();
    let value = json!({"type": "Value", "value": "1"});
    let average = json!({"type": "AverageValue", "averageValue": "1"});
    table.valid(&[
        ("of an object", metric(json!({"type": "Object", "object": {"describedObject": {"kind": "K", "name": "n"}, "metric": {"name": "m"}, "target": value}}))),
        ("of pods", metric(json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": average}}))),
        ("of a container", metric(json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": average}}))),
    ]);
    let kinds = "supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"";
    let type_path = "spec.metrics[0].type";
    table.invalid(&[
        (
            "no type",
            metric(json!({})),
            &[
                &format!("{type_path}: Required value: must specify a metric source type"),
                &format!("{type_path}: Unsupported value: \"\": {kinds}"),
                &format!("{type_path}: Unsupported value: \"\": {kinds}"),
            ],
        ),
        (
            "no source",
            metric(json!({"type": "Pods"})),
            &["spec.metrics[0].pods: Required value: must populate information for the given metric source"],
        ),
        (
            "another source",
            metric(json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": average}, "external": {"metric": {"name": "m"}, "target": value}})),
            &["spec.metrics[0].external: Forbidden: must populate the given metric source only"],
        ),
        (
            "an object",
            metric(json!({"type": "Object", "object": {"metric": {"name": "a/b"}, "target": {"type": "X"}}})),
            &[
                "spec.metrics[0].object.describedObject.kind: Required value",
                "spec.metrics[0].object.describedObject.name: Required value",
                "spec.metrics[0].object.metric.name: Invalid value: \"a/b\": may not contain '/'",
                "spec.metrics[0].object.target.type: Invalid value: \"X\": must be either Utilization, Value, or AverageValue",
                "spec.metrics[0].object.target.averageValue: Required value: must set either a target value or averageValue",
            ],
        ),
        (
            "an external one",
            metric(json!({"type": "External", "external": {"target": {"type": "Value", "value": "0", "averageValue": "-1"}}})),
            &[
                "spec.metrics[0].external.metric.name: Required value: must specify a metric name",
                "spec.metrics[0].external.target.value: Invalid value: \"0\": must be positive",
                "spec.metrics[0].external.target.averageValue: Invalid value: \"-1\": must be positive",
                "spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target",
            ],
        ),
        (
            "an external one without target",
            metric(json!({"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "Value"}}})),
            &["spec.metrics[0].external.target.averageValue: Required value: must set either a target value for metric or a per-pod target"],
        ),
        (
            "pods",
            metric(json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": value}})),
            &["spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue"],
        ),
        (
            "a resource",
            metric(json!({"type": "Resource", "resource": {"target": {}}})),
            &[
                "spec.metrics[0].resource.name: Required value: must specify a resource name",
                "spec.metrics[0].resource.target.type: Required value: must specify a metric target type",
                "spec.metrics[0].resource.target.type: Invalid value: \"\": must be either Utilization, Value, or AverageValue",
                "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            ],
        ),
        (
            "a container",
            metric(json!({"type": "ContainerResource", "containerResource": {"name": "x", "container": "a.b", "target": {"type": "Utilization", "averageUtilization": 0, "averageValue": "1"}}})),
            &[
                "spec.metrics[0].containerResource.name: Invalid value: \"x\": must be a standard resource type or fully qualified",
                "spec.metrics[0].containerResource.name: Invalid value: \"x\": must be a standard resource for containers",
                "spec.metrics[0].containerResource.container: Invalid value: \"a.b\": must not contain dots",
                "spec.metrics[0].containerResource.target.averageUtilization: Invalid value: 0: must be greater than 0",
                "spec.metrics[0].containerResource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
            ],
        ),
    ]);
}
