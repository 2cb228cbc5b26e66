//! Tables of Endpoints.

use serde_json::json;

use crate::Strategy;
use crate::core::endpoints::Endpoints;
use crate::testing::{Table, patched};

#[test]
fn endpoints() {
    let table = Table::of(
        &Endpoints,
        json!({"subsets": [{"addresses": [{"ip": "10.0.0.1", "nodeName": "n", "hostname": "h"}],
            "ports": [{"port": 80}]}]}),
    );
    table.defaults(&[(json!({}), json!({"subsets[0].ports[0].protocol": "TCP"}))]);
    table.valid(&[
        ("nothing", json!({"subsets": null})),
        ("no ports", json!({"subsets[0].ports": null})),
        (
            "not ready",
            json!({"subsets[0].addresses": null, "subsets[0].notReadyAddresses": [{"ip": "fd00::1"}]}),
        ),
    ]);
    table.invalid(&[
        ("nobody", json!({"subsets": [{}]}), &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
        (
            "no address",
            json!({"subsets[0].addresses[0].ip": "x"}),
            &[
                "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address",
            ],
        ),
        (
            "special addresses",
            json!({"subsets[0].addresses": [{"ip": "0.0.0.0"}, {"ip": "127.0.0.1"}, {"ip": "169.254.1.1"}],
                "subsets[0].notReadyAddresses": [{"ip": "ff02::1"}]}),
            &[
                "subsets[0].addresses[0].ip: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)",
                "subsets[0].addresses[1].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                "subsets[0].addresses[2].ip: Invalid value: \"169.254.1.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
                "subsets[0].notReadyAddresses[0].ip: Invalid value: \"ff02::1\": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
            ],
        ),
        (
            "names",
            json!({"subsets[0].addresses[0].hostname": "a.b", "subsets[0].addresses[0].nodeName": ""}),
            &[
                "subsets[0].addresses[0].hostname: Invalid value: \"a.b\": must not contain dots",
                "subsets[0].addresses[0].nodeName: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            ],
        ),
        (
            "ports",
            json!({"subsets[0].ports": [{"port": 0, "protocol": "X"}, {"name": "a.b", "port": 1, "appProtocol": "-"}]}),
            &[
                "subsets[0].ports[0].name: Required value",
                "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "subsets[0].ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "subsets[0].ports[1].name: Invalid value: \"a.b\": must not contain dots",
                "subsets[0].ports[1].appProtocol: Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            ],
        ),
    ]);
    table.updates(&[("another node", json!({"subsets[0].addresses[0].nodeName": "m"}), &[])]);
    table.updates_of(
        &json!({"subsets": [{"addresses": [{"ip": "127.0.0.1"}]}]}),
        &[
            ("wrong since before", json!({"metadata.labels": {"a": "b"}}), &[]),
            (
                "one more",
                json!({"subsets[1]": {"addresses": [{"ip": "10.0.0.1"}]}}),
                &["subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"],
            ),
        ],
    );
    assert!(Endpoints.create_on_update());
    let long = patched(table.stored(), &json!({"subsets[0].notReadyAddresses": [{"ip": "FD00:0::1"}]}));
    assert_eq!(
        Endpoints.warnings(&long),
        [
            "subsets[0].notReadyAddresses[0].ip: IPv6 address \"FD00:0::1\" should be in RFC 5952 canonical format (\"fd00::1\")"
        ]
    );
    table.rows(&[
        (json!({}), json!(["a", "10.0.0.1:80", "60m"])),
        (json!({"subsets[0].addresses": null}), json!(["a", "", "60m"])),
        (json!({"subsets": null}), json!(["a", "<none>", "60m"])),
    ]);
    table.columns(&["Name", "Endpoints", "Age"]);
}
