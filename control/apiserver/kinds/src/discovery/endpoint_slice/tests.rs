//! Tables of EndpointSlices.

use super::*;
use crate::testing::Table;

fn table() -> Table<'static> {
    let endpoints =
        json!([{"addresses": ["10.0.0.1"], "nodeName": "n", "hostname": "h"}, {"addresses": ["10.0.0.2"]}]);
    Table::of(&EndpointSlice, json!({"addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 80}]}))
}

#[test]
fn only_v1beta1_writes_topology() {
    let endpoint =
        |host: &str| json!({"addresses": ["10.0.0.1"], "deprecatedTopology": {HOST: host, "rack": "r"}});
    let write = |version: &str, new: Value, old: Value| {
        let mut new = json!({"endpoints": new});
        let now = Timestamp::UNIX_EPOCH;
        let ctx = Context { version, ..Context::new("u", "default", now) };
        if old.is_null() {
            EndpointSlice.prepare_for_create(&ctx, &mut new);
        } else {
            EndpointSlice.prepare_for_update(&ctx, &mut new, &json!({"endpoints": old}));
        }
        new["endpoints"].take()
    };
    let bare = json!({"addresses": ["10.0.0.1"]});
    assert_eq!(write("v1beta1", json!([endpoint("n")]), Value::Null), json!([endpoint("n")]));
    assert_eq!(write("v1", json!([endpoint("n")]), Value::Null), json!([bare]));
    let old = json!([endpoint("n")]);
    assert_eq!(write("v1", old.clone(), old.clone()), old, "endpoints that do not change keep it");
    let added = json!([endpoint("n"), endpoint("new"), bare]);
    let named = json!({"addresses": ["10.0.0.1"], "nodeName": "n"});
    assert_eq!(write("v1", added.clone(), old.clone()), json!([named, bare, bare]));
    assert_eq!(write("v1beta1", added.clone(), old), added);
    let odd = json!([endpoint("No_Node")]);
    assert_eq!(write("v1", json!([endpoint("No_Node"), bare]), odd), json!([bare, bare]));
}

#[test]
fn slices() {
    let table = table();
    table.defaults(&[
        (
            json!({}),
            json!({"ports": [{"name": "", "port": 80, "protocol": "TCP"}], "metadata.generation": 1}),
        ),
        (json!({"ports[0].name": null}), json!({"ports[0].name": ""})),
    ]);
    table.valid(&[
        ("names", json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a.b.c"]}]})),
        ("hints", json!({"endpoints[0].hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "n"}]}})),
        ("all ports", json!({"ports[0].port": null})),
    ]);
    table.updates(&[
        ("another endpoint", json!({"endpoints[0].addresses": ["10.0.0.3"]}), &[]),
        (
            "another type",
            json!({"addressType": "FQDN", "endpoints": []}),
            &["addressType: Invalid value: \"FQDN\": field is immutable"],
        ),
    ]);
    table.generation(&[
        (json!({"ports[0].port": 81}), true),
        (json!({"metadata.labels": {"a": "b"}}), true),
        (json!({"ports[0].port": 81, "metadata.labels": {"a": "b"}}), true),
        (json!({"metadata.annotations": {"a": "b"}}), false),
    ]);
    let old = json!({"endpoints[0].addresses": ["010.0.0.1"]});
    table.updates_of(
        &old,
        &[
            ("endpoints that stay as they were", json!({"ports[0].port": 81}), &[]),
            (
                "one endpoint changes",
                json!({"endpoints[1].addresses": ["10.0.0.3"]}),
                &["endpoints[0].addresses[0]: Invalid value: \"010.0.0.1\": must not have leading 0s"],
            ),
        ],
    );
    table.columns(&["Name", "AddressType", "Ports", "Endpoints", "Age"]);
    table.rows(&[
        (json!({}), json!(["a", "IPv4", "80", "10.0.0.1,10.0.0.2", "60m"])),
        (
            json!({"ports[0].port": null, "endpoints": null}),
            json!(["a", "IPv4", "<unset>", "<unset>", "60m"]),
        ),
        (
            json!({"ports": [{"name": "web"}, {}, {"port": 1}, {"port": 2}], "endpoints": null}),
            json!(["a", "IPv4", "web,*,1 + 1 more...", "<unset>", "60m"]),
        ),
    ]);
}

#[test]
fn each_error_has_upstreams_words() {
    let table = table();
    let many = |count: usize, item: Value| Value::Array(vec![item; count]);
    let nodes: Vec<Value> = (0..9).map(|index| json!({"name": format!("n{index}")})).collect();
    let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    table.invalid(&[
        ("no type", json!({"addressType": null, "endpoints": []}), &["addressType: Required value"]),
        (
            "a type",
            json!({"addressType": "X", "endpoints": []}),
            &["addressType: Unsupported value: \"X\": supported values: \"FQDN\", \"IPv4\", \"IPv6\""],
        ),
        (
            "addresses",
            json!({"endpoints": [{"addresses": []}, {"addresses": ["127.0.0.1", "fd00::1", "x", "010.0.0.1"]}]}),
            &[
                "endpoints[0].addresses: Required value: must contain at least 1 address",
                "endpoints[1].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                "endpoints[1].addresses[1]: Invalid value: \"fd00::1\": must be an IPv4 address",
                "endpoints[1].addresses[2]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "endpoints[1].addresses[3]: Invalid value: \"010.0.0.1\": must not have leading 0s",
            ],
        ),
        (
            "addresses of the other family",
            json!({"addressType": "IPv6", "endpoints": [{"addresses": ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1"]}]}),
            &[
                "endpoints[0].addresses[0]: Invalid value: \"10.0.0.1\": must be an IPv6 address",
                "endpoints[0].addresses[1]: Invalid value: \"::ffff:10.0.0.1\": must not be an IPv4-mapped IPv6 address",
                "endpoints[0].addresses[2]: Invalid value: \"fe80::1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
            ],
        ),
        (
            "too many addresses",
            json!({"endpoints": [{"addresses": many(101, json!("10.0.0.1"))}]}),
            &["endpoints[0].addresses: Too many: 101: must have at most 100 items"],
        ),
        (
            "too many endpoints",
            json!({"endpoints": many(1001, json!({"addresses": ["10.0.0.1"]}))}),
            &["endpoints: Too many: 1001: must have at most 1000 items"],
        ),
        (
            "too many ports",
            json!({"ports": many(20_001, json!({"port": 1}))}),
            &["ports: Too many: 20001: must have at most 20000 items"],
        ),
        (
            "hints",
            json!({"endpoints[0].hints": {"forZones": [{"name": "z"}, {"name": "z"}], "forNodes": nodes}}),
            &[
                "endpoints[0].hints.forZones[1].name: Duplicate value: \"z\"",
                "endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items",
            ],
        ),
        (
            "too many zones hide the nodes",
            json!({"endpoints[0].hints": {"forZones": nodes, "forNodes": [{"name": "_"}]}}),
            &["endpoints[0].hints.forZones: Too many: 9: must have at most 8 items"],
        ),
        (
            "names",
            json!({"endpoints[0].hostname": "a.b"}),
            &["endpoints[0].hostname: Invalid value: \"a.b\": must not contain dots"],
        ),
        (
            "ports",
            json!({"ports": [{"name": "a.b", "port": 0, "protocol": "X"}, {"port": 1, "protocol": ""}, {"port": 2, "appProtocol": "-"}], "endpoints": [{}]}),
            &[
                "ports[0].name: Invalid value: \"a.b\": must not contain dots",
                "ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "ports[1].protocol: Unsupported value: \"\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "ports[2].name: Duplicate value: \"\"",
                &format!("ports[2].appProtocol: Invalid value: \"-\": {name}"),
                "endpoints[0].addresses: Required value: must contain at least 1 address",
            ],
        ),
    ]);
}

#[test]
fn odd_addresses_are_warned_of() {
    let table = table();
    let odd = json!({"addressType": "IPv6", "endpoints": [{"addresses": ["2001:DB8::1"]}]});
    let odd = crate::testing::patched(table.stored(), &odd);
    let text = "endpoints[0].addresses[0]: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")";
    assert_eq!(EndpointSlice.warnings(&odd), [text]);
    assert_eq!(EndpointSlice.update_warnings(&odd, table.stored()), [text]);
    let label = json!({"metadata.labels": {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}});
    assert_eq!(EndpointSlice.warnings(&crate::testing::patched(&odd, &label)), Vec::<String>::new());
    let names = json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a.b"]}]});
    assert_eq!(EndpointSlice.warnings(&names), ["spec.addressType: FQDN endpoints are deprecated"]);
    assert_eq!(EndpointSlice.update_warnings(&names, &names), Vec::<String>::new());
}
