//! Tables of Ingresses and NetworkPolicies.

use serde_json::{Value, json};

use super::ingress::Ingress;
use super::network_policy::NetworkPolicy;
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
        ("nothing", json!({"spec": {}}), &["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"]),
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
            "no type",
            change("pathType", Value::Null),
            &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
        ),
        (
            "no port",
            change("backend.service.port", json!({})),
            &["spec.rules[0].http.paths[0].backend.service.port: Required value: port name or number is required"],
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
    table.rows(&[(json!({}), json!(["i", "x", "a.b", "", "80", "60m"]))]);
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
                "spec.egress[0].ports[0].endPort: Invalid value: 50: must be greater than or equal to `port`",
            ],
        ),
        (
            "named",
            port(json!({"port": "a", "endPort": 50})),
            &["spec.egress[0].ports[0].endPort: Invalid value: 50: may not be specified when `port` is non-numeric"],
        ),
        (
            "types",
            json!({"spec.policyTypes": ["X"]}),
            &["spec.policyTypes[0]: Unsupported value: \"X\": supported values: \"Ingress\", \"Egress\""],
        ),
    ]);
    table.generation(&[(json!({"spec.podSelector": {}}), true)]);
    table.rows(&[(json!({}), json!(["n", "a=b", "60m"]))]);
}
