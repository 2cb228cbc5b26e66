//! Tables of Services.

use serde_json::{Value, json};

use crate::core::service::Service;
use crate::testing::Table;

fn table() -> Table<'static> {
    let ports = json!([{"port": 80}]);
    Table::of(&Service, json!({"metadata": {"name": "s"}, "spec": {"ports": ports, "selector": {"a": "b"}}}))
}

const BAD_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

#[test]
fn defaults() {
    table().defaults(&[
        (
            json!({}),
            json!({"spec.type": "ClusterIP", "spec.sessionAffinity": "None", "spec.internalTrafficPolicy": "Cluster",
                "spec.externalTrafficPolicy": null, "spec.ports[0].protocol": "TCP", "spec.ports[0].targetPort": 80,
                "spec.ipFamilies": ["IPv4"], "spec.ipFamilyPolicy": "SingleStack", "status": {"loadBalancer": {}}}),
        ),
        (
            json!({"spec.type": "LoadBalancer"}),
            json!({"spec.allocateLoadBalancerNodePorts": true, "spec.externalTrafficPolicy": "Cluster"}),
        ),
        (json!({"spec.externalIPs": ["1.2.3.4"]}), json!({"spec.externalTrafficPolicy": "Cluster"})),
        (
            json!({"spec.sessionAffinity": "ClientIP"}),
            json!({"spec.sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}),
        ),
        (json!({"spec.clusterIP": "10.0.0.1"}), json!({"spec.clusterIPs": ["10.0.0.1"]})),
        (
            json!({"spec.clusterIP": "None", "spec.selector": null}),
            json!({"spec.ipFamilyPolicy": "RequireDualStack", "spec.ipFamilies": ["IPv4", "IPv6"]}),
        ),
        (
            json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}),
            json!({"spec.internalTrafficPolicy": null, "spec.ipFamilies": null}),
        ),
    ]);
}

#[test]
fn good_services() {
    table().valid(&[
        ("headless without ports", json!({"spec.clusterIP": "None", "spec.ports": null})),
        ("external name", json!({"spec": {"type": "ExternalName", "externalName": "a.b."}})),
        ("node port", json!({"spec.type": "NodePort", "spec.ports[0].nodePort": 30000})),
        ("balancer", json!({"spec.type": "LoadBalancer", "spec.loadBalancerClass": "x.io/a", "spec.loadBalancerSourceRanges": [" 10.0.0.0/8 "]})),
        ("local", json!({"spec.type": "LoadBalancer", "spec.externalTrafficPolicy": "Local"})),
        ("close", json!({"spec.trafficDistribution": "PreferSameZone"})),
        ("dual", json!({"spec.clusterIPs": ["10.0.0.1", "fd00::1"], "spec.clusterIP": "10.0.0.1", "spec.ipFamilyPolicy": "RequireDualStack"})),
    ]);
}

#[test]
fn ports() {
    table().invalid(&[
        ("none", json!({"spec.ports": []}), &["spec.ports: Required value"]),
        (
            "names",
            json!({"spec.ports": [{"port": 1, "name": "a"}, {"port": 2}, {"port": 3, "name": "a"}]}),
            &["spec.ports[1].name: Required value", "spec.ports[2].name: Duplicate value: \"a\""],
        ),
        (
            "numbers",
            json!({"spec.ports[0]": {"port": 0, "targetPort": 70000, "protocol": "X"}}),
            &[
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            "same port",
            json!({"spec.ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]}),
            &["spec.ports[1]: Duplicate value: {\"port\":1,\"protocol\":\"TCP\",\"targetPort\":0}"],
        ),
        (
            "same node port",
            json!({"spec.type": "NodePort", "spec.ports": [{"port": 1, "name": "a", "nodePort": 30000}, {"port": 2, "name": "b", "nodePort": 30000}]}),
            &["spec.ports[1].nodePort: Duplicate value: 30000"],
        ),
        (
            "node port inside",
            json!({"spec.ports[0].nodePort": 30000}),
            &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
    ]);
}

#[test]
fn types_and_affinity() {
    let balancer = "may only be used when `type` is 'LoadBalancer'";
    table().invalid(&[
        (
            "type",
            json!({"spec.type": "Odd", "spec.internalTrafficPolicy": "Cluster"}),
            &["spec.type: Unsupported value: \"Odd\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\""],
        ),
        (
            "external name",
            json!({"spec": {"type": "ExternalName", "clusterIP": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}}),
            &[
                "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
                "spec.ipFamilies: Forbidden: may not be set for ExternalName services",
                "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services",
                "spec.externalName: Required value",
            ],
        ),
        (
            "headless balancer",
            json!({"spec.type": "LoadBalancer", "spec.clusterIP": "None"}),
            &["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services"],
        ),
        (
            "affinity",
            json!({"spec.sessionAffinity": "ClientIP", "spec.sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}),
            &["spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400"],
        ),
        (
            "affinity",
            json!({"spec.sessionAffinity": "X"}),
            &["spec.sessionAffinity: Unsupported value: \"X\": supported values: \"ClientIP\", \"None\""],
        ),
        (
            "fields of a balancer",
            json!({"spec.loadBalancerClass": "a", "spec.allocateLoadBalancerNodePorts": false, "spec.loadBalancerSourceRanges": ["x"]}),
            &[
                &format!("spec.LoadBalancerSourceRanges: Forbidden: {balancer}"),
                "spec.LoadBalancerSourceRanges[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                &format!("spec.allocateLoadBalancerNodePorts: Forbidden: {balancer}"),
                &format!("spec.loadBalancerClass: Forbidden: {balancer}"),
            ],
        ),
        (
            "traffic",
            json!({"spec.externalTrafficPolicy": "Local", "spec.healthCheckNodePort": 5, "spec.internalTrafficPolicy": "X", "spec.trafficDistribution": "Far"}),
            &[
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
                "spec.healthCheckNodePort: Invalid value: 5: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                "spec.internalTrafficPolicy: Unsupported value: \"X\": supported values: \"Cluster\", \"Local\"",
                "spec.trafficDistribution: Unsupported value: \"Far\": supported values: \"PreferClose\", \"PreferSameZone\", \"PreferSameNode\"",
            ],
        ),
    ]);
}

#[test]
fn addresses() {
    let ips = |ips: Value| json!({"spec.clusterIP": ips[0], "spec.clusterIPs": ips});
    table().invalid(&[
        ("no address", ips(json!(["x"])), &[&format!("spec.clusterIPs[0]: Invalid value: \"x\": {BAD_IP}")]),
        (
            "one family",
            ips(json!(["10.0.0.1", "10.0.0.2"])),
            &[
                "spec.ipFamilies[1]: Duplicate value: \"IPv4\"",
                "spec.clusterIPs: Invalid value: [\"10.0.0.1\",\"10.0.0.2\"]: may specify no more than one IP for each IP family",
            ],
        ),
        (
            "another first",
            json!({"spec.clusterIP": "10.0.0.1", "spec.clusterIPs": ["10.0.0.2"]}),
            &["spec.clusterIPs: Invalid value: [\"10.0.0.2\"]: first value must match `clusterIP`"],
        ),
        (
            "none and more",
            json!({"spec.clusterIP": "None", "spec.clusterIPs": ["None", "10.0.0.1"]}),
            &["spec.clusterIPs: Invalid value: [\"None\",\"10.0.0.1\"]: 'None' must be the first and only value"],
        ),
        (
            "families",
            json!({"spec.clusterIP": "10.0.0.1", "spec.ipFamilies": ["IPv6"], "spec.ipFamilyPolicy": "Both"}),
            &[
                "spec.ipFamilyPolicy: Unsupported value: \"Both\": supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"",
                "spec.clusterIPs[0]: Invalid value: \"10.0.0.1\": expected an IPv6 value as indicated by `ipFamilies[0]`",
            ],
        ),
        (
            "external addresses",
            json!({"spec.externalIPs": ["x", "127.0.0.1", "0.0.0.0"]}),
            &[
                &format!("spec.externalIPs[0]: Invalid value: \"x\": {BAD_IP}"),
                "spec.externalIPs[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                "spec.externalIPs[2]: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)",
            ],
        ),
    ]);
}

#[test]
fn updates_and_status() {
    let ip = json!({"spec.clusterIP": "10.0.0.1", "spec.clusterIPs": ["10.0.0.1"]});
    table().updates_of(
        &ip,
        &[
            ("labels", json!({"metadata.labels": {"x": "y"}}), &[]),
            (
                "address",
                json!({"spec.clusterIP": "10.0.0.2", "spec.clusterIPs": ["10.0.0.2"]}),
                &["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"],
            ),
            ("to external", json!({"spec.type": "ExternalName", "spec.externalName": "a"}), &[]),
            (
                "family",
                json!({"spec.ipFamilies": ["IPv6"]}),
                &[
                    "spec.ipFamilies[0]: Invalid value: [\"IPv6\"]: may not change once set",
                    "spec.clusterIPs[0]: Invalid value: \"10.0.0.1\": expected an IPv6 value as indicated by `ipFamilies[0]`",
                ],
            ),
        ],
    );
    let balancer = json!({"spec.type": "LoadBalancer", "spec.loadBalancerClass": "a", "spec.externalTrafficPolicy": "Local",
        "spec.healthCheckNodePort": 30001, "spec.allocateLoadBalancerNodePorts": true});
    table().updates_of(
        &balancer,
        &[
            (
                "class",
                json!({"spec.loadBalancerClass": "b"}),
                &["spec.loadBalancerClass: Invalid value: \"b\": may not change once set"],
            ),
            (
                "health",
                json!({"spec.healthCheckNodePort": 30002}),
                &["spec.healthCheckNodePort: Forbidden: field is immutable"],
            ),
            ("no balancer any more", json!({"spec.type": "NodePort"}), &[]),
        ],
    );
    table().status_of(
        &balancer,
        &[
            ("address", json!({"status.loadBalancer.ingress": [{"ip": "1.2.3.4"}, {"hostname": "a.b"}]}), &[]),
            (
                "bad",
                json!({"status.loadBalancer.ingress": [{"ip": "x", "ipMode": "Odd"}, {"hostname": "1.2.3.4", "ipMode": "VIP"}]}),
                &[
                    &format!("status.loadBalancer.ingress[0].ip: Invalid value: \"x\": {BAD_IP}"),
                    "status.loadBalancer.ingress[0].ipMode: Unsupported value: \"Odd\": supported values: \"Proxy\", \"VIP\"",
                    "status.loadBalancer.ingress[1].ipMode: Forbidden: may not be specified when `ip` is not set",
                    "status.loadBalancer.ingress[1].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
                ],
            ),
        ],
    );
    table().status(&[(
        "no balancer",
        json!({"status.loadBalancer.ingress": [{"ip": "1.2.3.4"}]}),
        &["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"],
    )]);
    table().status_is_separate(
        &json!({"status.loadBalancer": {"ingress": []}}),
        &json!({"spec.type": "NodePort"}),
    );
}

#[test]
fn rows_and_fields() {
    let table = table();
    table.columns(&["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector*"]);
    table.rows(&[(
        json!({"spec.clusterIP": "10.0.0.1"}),
        json!(["s", "ClusterIP", "10.0.0.1", "<none>", "80/TCP", "60m", "a=b"]),
    )]);
    table.selectable(&[("spec.clusterIP", ""), ("spec.type", "ClusterIP")]);
}
