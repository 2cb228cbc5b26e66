//! What places a pod: affinity, tolerations, spread, gates.

use super::*;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

#[test]
fn node_affinity() {
    let term =
        |term: Value| json!({"spec.affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}});
    let at = format!("spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[0]");
    table().valid(&[
        ("numbers", term(json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["5"]}]}))),
        (
            "a node",
            term(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]})),
        ),
        (
            "a preference with any value",
            json!({"spec.affinity": {"nodeAffinity": {PREFERRED: [{"weight": 1, "preference":
                {"matchExpressions": [{"key": "a", "operator": "In", "values": ["-x"]}]}}]}}}),
        ),
    ]);
    table().invalid(&[
        (
            "no terms",
            json!({"spec.affinity": {"nodeAffinity": {REQUIRED: {}}}}),
            &[&format!("spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms: Required value: must have at least one node selector term")],
        ),
        (
            "values",
            term(json!({"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "a", "operator": "Exists", "values": ["x"]},
                {"key": "a", "operator": "Lt"}, {"key": "a", "operator": "Near"}]})),
            &[
                &format!("{at}.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
                &format!("{at}.matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
                &format!("{at}.matchExpressions[2].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"),
                &format!("{at}.matchExpressions[3].operator: Invalid value: \"Near\": not a valid selector operator"),
            ],
        ),
        (
            "no label's value",
            term(json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["-x"]}]})),
            &[&format!("{at}.matchExpressions[0].values[0]: Invalid value: \"-x\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')")],
        ),
        (
            "fields",
            term(json!({"matchFields": [{"key": "metadata.uid", "operator": "Exists"}]})),
            &[
                &format!("{at}.matchFields[0].operator: Invalid value: \"Exists\": not a valid selector operator"),
                &format!("{at}.matchFields[0].key: Invalid value: \"metadata.uid\": not a valid field selector key"),
            ],
        ),
        (
            "weight",
            json!({"spec.affinity": {"nodeAffinity": {PREFERRED: [{"weight": 101, "preference": {}}]}}}),
            &[&format!("spec.affinity.nodeAffinity.{PREFERRED}[0].weight: Invalid value: 101: must be in the range 1-100")],
        ),
    ]);
}

#[test]
fn pod_affinity() {
    let term = |term: Value| json!({"spec.affinity": {"podAffinity": {REQUIRED: [term]}}});
    let at = format!("spec.affinity.podAffinity.{REQUIRED}[0]");
    table().defaults(&[(
        term(json!({"topologyKey": "z", "labelSelector": {}, "matchLabelKeys": ["app", "none"]})),
        json!({format!("spec.affinity.podAffinity.{REQUIRED}[0].labelSelector"):
            {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a"]}]}}),
    )]);
    table().invalid(&[
        (
            "no topology",
            term(json!({"namespaces": ["A"]})),
            &[
                &format!("{at}.namespace: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"),
                &format!("{at}.topologyKey: Required value: can not be empty"),
                &format!("{at}.topologyKey: Invalid value: \"\": name part must be non-empty"),
                &format!("{at}.topologyKey: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"),
            ],
        ),
        (
            "keys without selector",
            term(json!({"topologyKey": "z", "mismatchLabelKeys": ["app"]})),
            &[&format!("{at}.mismatchLabelKeys: Forbidden: must not be specified when labelSelector is not set")],
        ),
        (
            "keys twice",
            term(json!({"topologyKey": "z", "labelSelector": {"matchLabels": {"app": "b"}}, "matchLabelKeys": ["app"]})),
            &[&format!("{at}[0]: Invalid value: \"app\": exists in both matchLabelKeys and labelSelector")],
        ),
        (
            "keys on both sides",
            term(json!({"topologyKey": "z", "labelSelector": {}, "matchLabelKeys": ["x"], "mismatchLabelKeys": ["x"]})),
            &[&format!("{at}.matchLabelKeys[0]: Invalid value: \"x\": exists in both matchLabelKeys and mismatchLabelKeys")],
        ),
    ]);
}

#[test]
fn tolerations() {
    let with = |toleration: Value| json!({"spec.tolerations": [toleration]});
    table().valid(&[
        ("everything", with(json!({"operator": "Exists"}))),
        (
            "for a while",
            with(json!({"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 5})),
        ),
    ]);
    table().invalid(&[
        (
            "no key",
            with(json!({"operator": "Equal"})),
            &["spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\""],
        ),
        (
            "a value too many",
            with(json!({"key": "a", "operator": "Exists", "value": "b"})),
            &["spec.tolerations[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'"],
        ),
        (
            "effect",
            with(json!({"key": "a", "effect": "Never", "tolerationSeconds": 5})),
            &[
                "spec.tolerations[0].effect: Invalid value: \"Never\": effect must be 'NoExecute' when `tolerationSeconds` is set",
                "spec.tolerations[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ],
        ),
        (
            "operator",
            with(json!({"key": "a", "operator": "Near"})),
            &["spec.tolerations[0].operator: Unsupported value: \"Near\": supported values: \"Equal\", \"Exists\""],
        ),
    ]);
}

#[test]
fn topology_spread() {
    let with = |more: Value| {
        let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}});
        for (key, value) in more.as_object().unwrap() {
            constraint[key] = value.clone();
        }
        constraint
    };
    let one = |more: Value| json!({"spec.topologySpreadConstraints": [with(more)]});
    table().valid(&[
        (
            "domains",
            one(json!({"minDomains": 2, "nodeAffinityPolicy": "Honor", "nodeTaintsPolicy": "Ignore"})),
        ),
        ("keys of the pod", one(json!({"matchLabelKeys": ["app"]}))),
    ]);
    table().invalid(&[
        (
            "nothing",
            json!({"spec.topologySpreadConstraints": [{}]}),
            &[
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
                "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
            ],
        ),
        (
            "domains",
            one(json!({"minDomains": 0, "whenUnsatisfiable": "ScheduleAnyway"})),
            &[
                "spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            ],
        ),
        (
            "policy",
            one(json!({"nodeAffinityPolicy": "X"})),
            &["spec.topologySpreadConstraints[0].nodeAffinityPolicy: Unsupported value: \"X\": supported values: \"Honor\", \"Ignore\""],
        ),
        (
            "twice",
            json!({"spec.topologySpreadConstraints": [with(json!({})), with(json!({"maxSkew": 2}))]}),
            &["spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{zone, DoNotSchedule}\""],
        ),
        (
            "keys",
            one(json!({"labelSelector": {"matchLabels": {"app": "b"}}, "matchLabelKeys": ["app"]})),
            &["spec.topologySpreadConstraints[0].matchLabelKeys[0]: Invalid value: \"app\": exists in both matchLabelKeys and labelSelector"],
        ),
    ]);
}

#[test]
fn gates() {
    let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    table().defaults(&[(
        json!({"spec.schedulingGates": [{"name": "a"}]}),
        json!({"status.conditions[0].reason": "SchedulingGated", "status.conditions[0].status": "False"}),
    )]);
    table().invalid(&[
        (
            "names",
            json!({"spec.schedulingGates": [{"name": "a"}, {"name": "a"}, {"name": "-"}]}),
            &[
                "spec.schedulingGates[1]: Duplicate value: \"a\"",
                &format!("spec.schedulingGates[2]: Invalid value: \"-\": {name}"),
            ],
        ),
        (
            "on a node",
            json!({"spec.schedulingGates": [{"name": "a"}], "spec.nodeName": "n"}),
            &["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
        ),
        (
            "readiness",
            json!({"spec.readinessGates": [{"conditionType": "-"}]}),
            &[&format!("spec.readinessGates[0].conditionType: Invalid value: \"-\": {name}")],
        ),
    ]);
}
