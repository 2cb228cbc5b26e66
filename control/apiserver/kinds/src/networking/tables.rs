//! Tables of Ingresses and NetworkPolicies.

use serde_json::{Value, json};

use super::ingress::Ingress;
use super::network_policy::NetworkPolicy;
use crate::Strategy;
use crate::testing::Table;

#[test]
fn ingresses() {
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let table = Table::of(
        &Ingress,
        json!({"metadata": {"name": "i"}, "spec": {"ingressClassName": "x", "rules": [{"host": "a.b",
            "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]}}),
    );
    let path = "spec.rules[0].http.paths[0]";
    let change = |key: &str, value: Value| json!({format!("{path}.{key}"): value});
    table.valid(&[
        ("default alone", json!({"spec": {"defaultBackend": backend}})),
        (
            "wildcard",
            json!({"spec.rules[0].host": "*.b", "spec.tls": [{"hosts": ["*.b"], "secretName": "s"}]}),
        ),
        ("both names of the class", json!({"metadata.annotations": {"kubernetes.io/ingress.class": "x"}})),
    ]);
    table.invalid(&[
        ("nothing", json!({"spec": {}}), &["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]),
        (
            "an address",
            json!({"spec.rules[0].host": "1.2.3.4"}),
            &["spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"],
        ),
        (
            "paths",
            change("path", json!("a")),
            &["spec.rules[0].http.paths[0].path: Invalid value: \"a\": must be an absolute path"],
        ),
        (
            "ambiguous paths",
            change("path", json!("/a//b/./../%2f%2F/..")),
            &[
                "spec.rules[0].http.paths[0].path: Invalid value: \"/a//b/./../%2f%2F/..\": must not contain '//'",
                "spec.rules[0].http.paths[0].path: Invalid value: \"/a//b/./../%2f%2F/..\": must not contain '/./'",
                "spec.rules[0].http.paths[0].path: Invalid value: \"/a//b/./../%2f%2F/..\": must not contain '/../'",
                "spec.rules[0].http.paths[0].path: Invalid value: \"/a//b/./../%2f%2F/..\": must not contain '%2f'",
                "spec.rules[0].http.paths[0].path: Invalid value: \"/a//b/./../%2f%2F/..\": must not contain '%2F'",
                "spec.rules[0].http.paths[0].path: Invalid value: \"/a//b/./../%2f%2F/..\": cannot end with '/..'",
            ],
        ),
        (
            "an end that goes nowhere",
            change("path", json!("/a/.")),
            &["spec.rules[0].http.paths[0].path: Invalid value: \"/a/.\": cannot end with '/.'"],
        ),
        (
            "another type",
            json!({"spec.rules[0].http.paths[0]": {"path": "a", "pathType": "", "backend": backend}}),
            &["spec.rules[0].http.paths[0].pathType: Unsupported value: \"\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\""],
        ),
        (
            "no type, and nothing else is looked at",
            json!({"spec.rules[0].http.paths[0]": {"path": "a"}}),
            &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
        ),
        (
            "no backend",
            change("backend", json!({})),
            &["spec.rules[0].http.paths[0].backend: Invalid value: \"\": resource or service backend is required"],
        ),
        (
            "two ports",
            change("backend.service.port.name", json!("web")),
            &["spec.rules[0].http.paths[0].backend: Invalid value: \"\": cannot set both port name & port number"],
        ),
        (
            "a resource of nothing",
            change("backend", json!({"resource": {"apiGroup": "A"}})),
            &[
                "spec.rules[0].http.paths[0].backend.resource.apiGroup: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                "spec.rules[0].http.paths[0].backend.resource.kind: Required value: kind is required",
                "spec.rules[0].http.paths[0].backend.resource.name: Required value: name is required",
            ],
        ),
        (
            "a resource in a path",
            change("backend", json!({"resource": {"kind": "a/b", "name": "x"}})),
            &["spec.rules[0].http.paths[0].backend.resource.kind: Invalid value: \"a/b\": may not contain '/'"],
        ),
        (
            "no type",
            change("pathType", Value::Null),
            &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
        ),
        (
            "no port",
            change("backend.service.port", json!({})),
            &["spec.rules[0].http.paths[0].backend: Required value: port name or number is required"],
        ),
        (
            "another class",
            json!({"metadata.annotations": {"kubernetes.io/ingress.class": "y"}}),
            &["annotations.kubernetes.io/ingress.class: Invalid value: \"y\": must match `ingressClassName` when both are specified"],
        ),
    ]);
    table.updates(&[(
        "another class",
        json!({"metadata.annotations": {"kubernetes.io/ingress.class": "y"}}),
        &[],
    )]);
    let wildcard = json!({"spec.rules[0].host": "*.b", "spec.rules[0].http.paths[0].path": "a", "spec.tls": [{"secretName": "A"}]});
    table.updates_of(
        &wildcard,
        &[
            ("old faults of wildcard rules and of secrets stay", json!({"spec.ingressClassName": "y"}), &[]),
            (
                "but not those of other rules",
                json!({"spec.rules[0].host": "a.b"}),
                &["spec.rules[0].http.paths[0].path: Invalid value: \"a\": must be an absolute path"],
            ),
        ],
    );
    table.generation(&[
        (json!({"spec.ingressClassName": "z"}), true),
        (json!({"metadata.labels": {"a": "b"}}), false),
    ]);
    table.status(&[
        ("an address", json!({"status.loadBalancer.ingress": [{"ip": "1.2.3.4"}]}), &[]),
        (
            "no address",
            json!({"status.loadBalancer.ingress": [{"ip": "x"}, {"hostname": "1.2.3.4"}]}),
            &[
                "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "status.loadBalancer.ingress[1].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
            ],
        ),
    ]);
    let hosts = |hosts: &[&str]| {
        let rules: Vec<Value> = hosts.iter().map(|host| json!({"host": host})).collect();
        json!({"spec.rules": rules, "spec.tls": [{}]})
    };
    table.rows(&[
        (json!({}), json!(["i", "x", "a.b", "", "80", "60m"])),
        (
            json!({"spec.ingressClassName": null, "metadata.annotations": {"kubernetes.io/ingress.class": "x"}}),
            json!(["i", "<none>", "a.b", "", "80", "60m"]),
        ),
        (hosts(&["", "a", "b", "c"]), json!(["i", "x", "a,b,c", "", "80, 443", "60m"])),
        (hosts(&["a", "b", "c", ""]), json!(["i", "x", "a,b,c + 1 more...", "", "80, 443", "60m"])),
        (hosts(&[""]), json!(["i", "x", "*", "", "80, 443", "60m"])),
    ]);
    let old = json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": {}});
    assert_eq!(
        Ingress.warnings(&old),
        [
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
        ]
    );
    assert!(Ingress.update_warnings(&old, &old).is_empty());
    let both = crate::testing::patched(&old, &json!({"spec.ingressClassName": "x"}));
    assert!(Ingress.warnings(&both).is_empty());
}

#[test]
fn network_policies() {
    let table = Table::of(
        &NetworkPolicy,
        json!({"metadata": {"name": "n"}, "spec": {"podSelector": {"matchLabels": {"a": "b"}}}}),
    );
    let peer = |peer: Value| json!({"spec.ingress": [{"from": [peer]}]});
    let port = |port: Value| json!({"spec.egress": [{"ports": [port]}]});
    table.defaults(&[
        (json!({}), json!({"spec.policyTypes": ["Ingress"]})),
        (
            port(json!({"port": 53})),
            json!({"spec.policyTypes": ["Ingress", "Egress"], "spec.egress[0].ports[0].protocol": "TCP"}),
        ),
    ]);
    table.valid(&[
        ("range", peer(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}))),
        ("ports", port(json!({"port": 100, "endPort": 200}))),
        ("both selectors", peer(json!({"podSelector": {}, "namespaceSelector": {}}))),
    ]);
    table.invalid(&[
        ("nobody", peer(json!({})), &["spec.ingress[0].from[0]: Required value: must specify a peer"]),
        (
            "too much",
            peer(json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16", "10.0.0.0/8", "x"]}})),
            &[
                "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
                "spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
                "spec.ingress[0].from[0].ipBlock.except[2]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
            ],
        ),
        (
            "ports",
            port(json!({"port": 100, "endPort": 50, "protocol": "X"})),
            &[
                "spec.egress[0].ports[0].protocol: Unsupported value: \"X\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
                "spec.egress[0].ports[0].endPort: Invalid value: 100: must be greater than or equal to `port`",
            ],
        ),
        (
            "named",
            port(json!({"port": "1", "endPort": 50})),
            &[
                "spec.egress[0].ports[0].endPort: Invalid value: 50: may not be specified when `port` is non-numeric",
                "spec.egress[0].ports[0].port: Invalid value: \"1\": must contain at least one letter (a-z)",
            ],
        ),
        (
            "an end without a port",
            port(json!({"endPort": 50, "protocol": ""})),
            &[
                "spec.egress[0].ports[0].protocol: Unsupported value: \"\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
                "spec.egress[0].ports[0].endPort: Invalid value: 50: may not be specified when `port` is not specified",
            ],
        ),
        (
            "types",
            json!({"spec.policyTypes": ["X"]}),
            &["spec.policyTypes[0]: Unsupported value: \"X\": supported values: \"Ingress\", \"Egress\""],
        ),
    ]);
    table.generation(&[(json!({"spec.podSelector": {}}), true)]);
    table.rows(&[(json!({}), json!(["n", "a=b", "60m"]))]);
    let odd = crate::testing::patched(
        table.stored(),
        &json!({"spec.egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.1/16"]}}]}]}),
    );
    let warning = "spec.egress[0].to[0].ipBlock.except[0]: CIDR value \"10.0.0.1/16\" is ambiguous in this context (should be \"10.0.0.0/16\" or \"10.0.0.1/32\"?)";
    assert_eq!(NetworkPolicy.warnings(&odd), [warning]);
}
