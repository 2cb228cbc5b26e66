//! Policies of such pods: they are about endpoints, not about VIPs, whichever of both came first.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use xebec_dataplane::policy::Policies;
use xebec_policy::{Index, facts};
use xebec_rig::ask::{SILENCE, ask_tcp, ask_udp};
use xebec_rig::cluster::Cluster;
use xebec_rig::within;

use super::{FAR, GUEST, NEAR, agent, at, guest, pod, serve, servers};

#[test]
fn policies_are_about_endpoints() {
    for policies_first in [false, true] {
        let Some(cluster) = Cluster::new(2, 0, 1500) else { return };
        let [one, two] = &cluster.nodes[..] else { panic!("two nodes") };
        let (guest, near, far) = (guest(one), one.pod(2), two.pod(1));
        let _servers = [
            servers(&near, "A", ["10.244.1.2", "fd44:1::2"]),
            servers(&far, "B", ["10.244.2.1", "fd44:2::1"]),
        ];
        let mut agent = agent(one);
        let isolate = || {
            let mut index = Index::default();
            index.namespace("x", Some(BTreeMap::new()));
            for (name, app, addresses) in [
                ("guest", "guest", GUEST),
                ("near", "near", ["10.244.1.2", "fd44:1::2"]),
                ("far", "far", ["10.244.2.1", "fd44:2::1"]),
            ] {
                let facts = facts::pod(&serde_json::from_value(pod(name, app, addresses)).unwrap()).unwrap();
                index.pod(&("x".to_owned(), name.to_owned()), Some((Arc::new(facts), name == "guest")));
            }
            let policy = json!({
                "metadata": {"namespace": "x", "name": "p"},
                "spec": {
                    "podSelector": {"matchLabels": {"app": "guest"}}, "policyTypes": ["Ingress", "Egress"],
                    "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "near"}}}]}],
                },
            });
            let (facts, unreadable) = facts::policy(&serde_json::from_value(policy).unwrap());
            assert_eq!(unreadable, None);
            index.policy(&("x".to_owned(), "p".to_owned()), Some(Arc::new(facts)));
            index.update();
            within(&one.netns, || {
                let mut policies = Policies::install(&one.place().options).unwrap();
                let devices = [(("x".to_owned(), "guest".to_owned()), one.netns.device("pod1").0)].into();
                policies.apply(index.tables(), &devices).unwrap();
                policies
            })
        };
        let _policies = if policies_first {
            let policies = isolate();
            serve(&mut agent, one, &guest);
            policies
        } else {
            serve(&mut agent, one, &guest);
            isolate()
        };
        for family in [0, 1] {
            let own = GUEST[family];
            assert_eq!(ask_tcp(&guest, &at(NEAR[family], 80)), format!("A {own}"), "{policies_first}");
            assert_eq!(ask_udp(&guest, &at(NEAR[family], 80), 10), format!("A {own} 10"), "{policies_first}");
            assert_eq!(ask_tcp(&guest, &at(FAR[family], 80)), SILENCE, "{policies_first}");
            assert_eq!(ask_udp(&guest, &at(FAR[family], 80), 10), SILENCE, "{policies_first}");
        }
    }
}
