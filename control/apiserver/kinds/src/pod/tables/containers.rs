//! Containers: names, images, ports, environment, resources, probes, restart rules.

use super::*;

#[test]
fn containers_are_named_and_have_an_image() {
    let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    table().invalid(&[
        ("none", json!({"spec.containers": []}), &["spec.containers: Required value"]),
        (
            "nothing",
            json!({"spec.containers[0]": {}}),
            &["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"],
        ),
        (
            "bad name",
            json!({"spec.containers[0].name": "A"}),
            &[&format!("spec.containers[0].name: Invalid value: \"A\": {label}")],
        ),
        (
            "same name",
            json!({"spec.containers[1]": {"name": "c", "image": "i"}, "spec.initContainers": [{"name": "c", "image": "i"}]}),
            &[
                "spec.containers[1].name: Duplicate value: \"c\"",
                "spec.initContainers[0].name: Duplicate value: \"c\"",
            ],
        ),
        (
            "white space",
            json!({"spec.containers[0].image": " i"}),
            &["spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace"],
        ),
        (
            "policies",
            json!({"spec.containers[0].terminationMessagePolicy": "X", "spec.containers[0].imagePullPolicy": "Y"}),
            &[
                "spec.containers[0].terminationMessagePolicy: Unsupported value: \"X\": supported values: \"File\", \"FallbackToLogsOnError\"",
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Y\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            "ephemeral containers",
            json!({"spec.ephemeralContainers": [{"name": "e", "image": "i"}]}),
            &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        ),
    ]);
}

#[test]
fn container_defaults() {
    table().defaults(&[
        (
            json!({}),
            json!({"spec.containers[0].imagePullPolicy": "IfNotPresent",
                "spec.containers[0].terminationMessagePath": "/dev/termination-log",
                "spec.containers[0].terminationMessagePolicy": "File", "spec.containers[0].resources": {},
                "spec.enableServiceLinks": true, "status.qosClass": "BestEffort"}),
        ),
        (
            json!({"spec.hostNetwork": true, "spec.containers[0].ports": [{"containerPort": 80}]}),
            json!({"spec.containers[0].ports[0].hostPort": 80, "spec.containers[0].ports[0].protocol": "TCP"}),
        ),
        (
            json!({"spec.resources.limits.cpu": "2", "spec.containers[0].resources.requests.cpu": "1"}),
            json!({"spec.resources.requests.cpu": "1", "status.qosClass": "Burstable"}),
        ),
        (
            json!({"spec.resources.limits": {"cpu": "1", "memory": "1Gi"}}),
            json!({"spec.resources.requests": {"cpu": "1", "memory": "1Gi"}, "status.qosClass": "Guaranteed"}),
        ),
        (
            json!({"spec.containers[0].readinessProbe": {"grpc": {"port": 1}}}),
            json!({"spec.containers[0].readinessProbe": {"grpc": {"port": 1, "service": ""},
                "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}}),
        ),
    ]);
}

#[test]
fn ports() {
    let range = "must be between 1 and 65535, inclusive";
    table().invalid(&[
        (
            "numbers",
            json!({"spec.containers[0].ports": [{}, {"containerPort": 65536}, {"containerPort": 1, "hostPort": -1}]}),
            &[
                "spec.containers[0].ports[0].containerPort: Required value",
                &format!("spec.containers[0].ports[1].containerPort: Invalid value: 65536: {range}"),
                &format!("spec.containers[0].ports[2].hostPort: Invalid value: -1: {range}"),
            ],
        ),
        (
            "same name",
            json!({"spec.containers[0].ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}),
            &["spec.containers[0].ports[1].name: Duplicate value: \"a\""],
        ),
        (
            "same host port",
            json!({"spec.containers[0].ports": [{"containerPort": 1, "hostPort": 5}, {"containerPort": 2, "hostPort": 5}]}),
            &["spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//5\""],
        ),
        (
            "host network",
            json!({"spec.hostNetwork": true, "spec.containers[0].ports": [{"containerPort": 1, "hostPort": 5}]}),
            &[
                "spec.containers[0].ports[0].hostPort: Invalid value: 5: must match `containerPort` when `hostNetwork` is true",
            ],
        ),
    ]);
}

#[test]
fn environment() {
    let env = |env: Value| {
        json!({"spec.containers[0].env": [env],
        "spec.volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "s"}}]})
    };
    table().valid(&[
        ("any printable name", env(json!({"name": "a.b-c d", "value": "1"}))),
        ("field", env(json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIPs"}}}))),
        (
            "huge pages",
            env(json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.hugepages-2Mi", "divisor": "1Mi"}}})),
        ),
        (
            "file",
            env(json!({"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "a/b", "key": "K"}}})),
        ),
        ("all of a map", json!({"spec.containers[0].envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}]})),
    ]);
    table().invalid(&[
        (
            "equals sign",
            env(json!({"name": "a=b"})),
            &["spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='"],
        ),
        (
            "two sources",
            env(json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}, "secretKeyRef": {"name": "s", "key": "k"}}})),
            &["spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not have more than one field specified at a time"],
        ),
        (
            "resource",
            env(json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.disk", "divisor": "3"}}})),
            &["spec.containers[0].env[0].valueFrom.resourceFieldRef.resource: Unsupported value: \"limits.disk\": supported values: \"limits.cpu\", \"limits.ephemeral-storage\", \"limits.memory\", \"requests.cpu\", \"requests.ephemeral-storage\", \"requests.memory\""],
        ),
        (
            "divisor",
            env(json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "3"}}})),
            &["spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource"],
        ),
        (
            "file of another volume",
            env(json!({"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "s", "path": "../b"}}})),
            &[
                "spec.containers[0].env[0].valueFrom.fileKeyRef.key: Required value",
                "spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Invalid value: \"s\": referenced volume must be of type emptyDir",
                "spec.containers[0].env[0].valueFrom.fileKeyRef.path: Invalid value: \"../b\": must not contain '..'",
            ],
        ),
        (
            "from nowhere",
            json!({"spec.containers[0].envFrom": [{"secretRef": {}}]}),
            &["spec.containers[0].envFrom[0].secretRef.name: Required value"],
        ),
        (
            "from both",
            json!({"spec.containers[0].envFrom": [{"secretRef": {"name": "a"}, "configMapRef": {"name": "a"}}]}),
            &["spec.containers[0].envFrom: Invalid value: \"\": may not have more than one field specified at a time"],
        ),
    ]);
}

#[test]
fn resources() {
    let with = |resources: Value| json!({"spec.containers[0].resources": resources});
    let claims = |claims: Value| {
        json!({"spec.containers[0].resources.claims": claims,
        "spec.resourceClaims": [{"name": "a", "resourceClaimName": "x"}]})
    };
    table().valid(&[
        ("extended", with(json!({"limits": {"x.io/gpu": 2}}))),
        ("huge pages", with(json!({"limits": {"hugepages-2Mi": "4Mi", "cpu": "1"}}))),
        ("claims", claims(json!([{"name": "a", "request": "r"}, {"name": "a", "request": "s"}]))),
        ("overhead", json!({"spec.overhead": {"cpu": "1m"}, "spec.runtimeClassName": "r"})),
    ]);
    table().invalid(&[
        (
            "over the limit",
            with(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}})),
            &["spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
        ),
        (
            "negative",
            with(json!({"requests": {"cpu": "-1"}})),
            &["spec.containers[0].resources.requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
        ),
        (
            "names",
            with(json!({"requests": {"pods": "1", "thing": "1"}})),
            &[
                "spec.containers[0].resources.requests[pods]: Invalid value: \"pods\": must be a standard resource for containers",
                "spec.containers[0].resources.requests[thing]: Invalid value: \"thing\": must be a standard resource type or fully qualified",
                "spec.containers[0].resources.requests[thing]: Invalid value: \"thing\": must be a standard resource for containers",
            ],
        ),
        (
            "not extended",
            with(json!({"limits": {"requests.x.io/gpu": 1}, "requests": {"requests.x.io/gpu": 1}})),
            &["spec.containers[0].resources.limits[requests.x.io/gpu]: Invalid value: \"requests.x.io/gpu\": doesn't follow extended resource name standard",
                "spec.containers[0].resources.requests[requests.x.io/gpu]: Invalid value: \"requests.x.io/gpu\": doesn't follow extended resource name standard",
            ],
        ),
        (
            "extended without limit",
            with(json!({"requests": {"x.io/gpu": 1}})),
            &["spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"],
        ),
        (
            "parts of an extended one",
            with(json!({"limits": {"x.io/gpu": "500m"}})),
            &[
                "spec.containers[0].resources.limits[x.io/gpu]: Invalid value: \"500m\": must be an integer",
                "spec.containers[0].resources.requests[x.io/gpu]: Invalid value: \"500m\": must be an integer",
            ],
        ),
        (
            "huge pages",
            with(json!({"limits": {"hugepages-2Mi": "3Mi"}})),
            &[
                "spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                "spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                "spec.containers[0].resources: Forbidden: HugePages require cpu or memory",
            ],
        ),
        (
            "claims",
            claims(json!([{"name": "a"}, {"name": "a"}, {"name": "b"}])),
            &[
                "spec.containers[0].resources.claims[1]: Duplicate value: \"a\"",
                "spec.containers[0].resources.claims[2]: Not found: \"b\": must be one of the names in pod.spec.resourceClaims: a",
            ],
        ),
        (
            "overhead",
            json!({"spec.overhead": {"pods": "1"}}),
            &["spec.overhead.limits[pods]: Invalid value: \"pods\": must be a standard resource for containers"],
        ),
    ]);
}

#[test]
fn the_pod_as_a_whole_has_resources() {
    table().valid(&[(
        "room for all",
        json!({"spec.resources": {"requests": {"cpu": "2"}}, "spec.containers[0].resources.requests.cpu": "2",
            "spec.initContainers": [{"name": "i", "image": "i", "resources": {"requests": {"cpu": "2"}}}]}),
    )]);
    table().invalid(&[
        (
            "containers ask for more",
            json!({"spec.resources": {"requests": {"cpu": "2"}}, "spec.containers[0].resources.requests.cpu": "2",
                "spec.initContainers": [{"name": "i", "image": "i", "restartPolicy": "Always",
                    "resources": {"requests": {"cpu": "1"}}}]}),
            &["spec.resources.requests[cpu]: Invalid value: \"2\": must be greater than or equal to aggregate container requests of 3"],
        ),
        (
            "a container's limit",
            json!({"spec.resources": {"limits": {"cpu": "1"}}, "spec.containers[0].resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}}),
            &["spec.resources.containers[0][cpu].limits: Invalid value: \"2\": must be less than or equal to pod limits of 1"],
        ),
        (
            "other resources",
            json!({"spec.resources": {"requests": {"ephemeral-storage": "1"}, "claims": [{"name": "x"}]}}),
            &[
                "spec.resources.claims: Forbidden: claims cannot be set for Resources at pod-level",
                "spec.resources.requests[ephemeral-storage]: Unsupported value: \"ephemeral-storage\": supported values: \"cpu\", \"hugepages-\", \"memory\"",
                "spec.resources.claims[0]: Not found: \"x\": must be one of the names in pod.spec.resourceClaims which is empty",
            ],
        ),
    ]);
}

#[test]
fn probes_and_handlers() {
    let probe = |kind: &str, probe: Value| json!({format!("spec.containers[0].{kind}"): probe});
    table().valid(&[
        ("sleep of nothing", probe("lifecycle.preStop", json!({"sleep": {"seconds": 0}}))),
        ("a signal", json!({"spec.os": {"name": "linux"}, "spec.containers[0].lifecycle": {"stopSignal": "SIGRTMIN+15"}})),
        ("named port", probe("livenessProbe", json!({"tcpSocket": {"port": "http"}}))),
        (
            "sidecar",
            json!({"spec.initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always",
                "startupProbe": {"exec": {"command": ["a"]}}, "lifecycle": {"preStop": {"exec": {"command": ["a"]}}}}]}),
        ),
    ]);
    table().invalid(&[
        (
            "no handler",
            probe("startupProbe", json!({"successThreshold": 2})),
            &[
                "spec.containers[0].startupProbe: Required value: must specify a handler type",
                "spec.containers[0].startupProbe.successThreshold: Invalid value: 2: must be 1",
            ],
        ),
        (
            "http",
            probe("livenessProbe", json!({"httpGet": {"port": 0, "scheme": "FTP", "httpHeaders": [{"name": "a b", "value": ""}]}})),
            &[
                "spec.containers[0].livenessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.containers[0].livenessProbe.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\"",
                "spec.containers[0].livenessProbe.httpGet.httpHeaders: Invalid value: \"a b\": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')",
            ],
        ),
        (
            "grace of a readiness probe",
            probe("readinessProbe", json!({"exec": {"command": ["a"]}, "terminationGracePeriodSeconds": 0})),
            &[
                "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0",
                "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 0: must not be set for readinessProbes",
            ],
        ),
        (
            "a signal of no system",
            probe("lifecycle", json!({"stopSignal": "SIGUSR1"})),
            &["spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`"],
        ),
        (
            "a signal of another system",
            json!({"spec.os": {"name": "windows"}, "spec.containers[0].lifecycle": {"stopSignal": "SIGUSR1"}}),
            &["spec.containers[0].lifecycle.stopSignal: Unsupported value: \"SIGUSR1\": supported values: \"SIGKILL\", \"SIGTERM\""],
        ),
        (
            "long sleep",
            probe("lifecycle.postStart", json!({"sleep": {"seconds": 31}})),
            &["spec.containers[0].lifecycle.postStart.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"],
        ),
        (
            "empty command",
            probe("lifecycle.preStop", json!({"exec": {"command": []}, "sleep": {"seconds": 1}})),
            &[
                "spec.containers[0].lifecycle.preStop.exec.command: Required value",
                "spec.containers[0].lifecycle.preStop.sleep: Forbidden: may not specify more than 1 handler type",
            ],
        ),
        (
            "init container",
            json!({"spec.initContainers": [{"name": "s", "image": "i", "livenessProbe": {"exec": {"command": ["a"]}}}]}),
            &["spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"],
        ),
    ]);
}

#[test]
fn restart_rules_and_resize_policies() {
    let rule = |rule: Value| json!({"spec.containers[0].restartPolicy": "Never", "spec.containers[0].restartPolicyRules": [rule]});
    table().valid(&[
        ("own policy", json!({"spec.containers[0].restartPolicy": "OnFailure"})),
        ("all", rule(json!({"action": "RestartAllContainers", "exitCodes": {"operator": "NotIn", "values": [0]}}))),
        (
            "resize",
            json!({"spec.containers[0].resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}),
        ),
    ]);
    table().invalid(&[
        (
            "no policy",
            json!({"spec.containers[0].restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [3]}}]}),
            &["spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used"],
        ),
        (
            "action",
            rule(json!({"action": "DoNotRestart", "exitCodes": {"operator": "Equals", "values": [3]}})),
            &[
                "spec.containers[0].restartPolicyRules[0].action: Unsupported value: \"DoNotRestart\": supported values: \"Restart\", \"RestartAllContainers\"",
                "spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Equals\": supported values: \"In\", \"NotIn\"",
            ],
        ),
        (
            "policy",
            json!({"spec.initContainers": [{"name": "s", "image": "i", "restartPolicy": "X"}]}),
            &["spec.initContainers[0].restartPolicy: Unsupported value: \"X\": supported values: \"Always\", \"Never\", \"OnFailure\""],
        ),
        (
            "resize",
            json!({"spec.restartPolicy": "Never", "spec.containers[0].resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"},
                {"resourceName": "disk", "restartPolicy": "NotRequired"}]}),
            &[
                "spec.containers[0].resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'",
                "spec.containers[0].resizePolicy: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\"",
            ],
        ),
    ]);
}
