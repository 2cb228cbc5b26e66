//! A pod that policies select, and pods of two other nodes: one node is behind the pod network's tunnel, the other beside.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use xebec_dataplane::addresses::ethernet_devices;
use xebec_dataplane::policy::Policies;
use xebec_policy::{Index, Name, facts};
use xebec_rig::ask::{SILENCE, ask_tcp, ask_udp, ping};
use xebec_rig::cluster::{Cluster, pod_address};
use xebec_rig::server::Server;
use xebec_rig::{NetNs, within};

use super::net::policy;
use crate::nodes::echoing;
use crate::nodes::tunnelled::dig;

const SERVER: &str = "10.244.2.1";

fn name(name: &str) -> Name {
    ("x".to_owned(), name.to_owned())
}

/// What the second node knows and does.
struct Agent<'a> {
    netns: &'a NetNs,
    index: Index,
    policies: Policies,
    devices: BTreeMap<Name, u32>,
}

impl Agent<'_> {
    /// A pod has this label and address.
    fn pod(&mut self, pod: &str, app: &str, address: &str) {
        let object = json!({
            "metadata": {"namespace": "x", "name": pod, "labels": {"app": app}},
            "spec": {"containers": [{"name": "c"}]},
            "status": {"podIPs": [{"ip": address}]},
        });
        let facts = facts::pod(&serde_json::from_value(object).unwrap()).unwrap();
        self.index.pod(&name(pod), Some((Arc::new(facts), address == SERVER)));
        self.step();
    }

    /// The only policy, if any: who of the pods may call the server.
    fn allow(&mut self, from: Option<Value>) {
        let policy = from.map(|from| {
            let of_server = json!({"matchLabels": {"app": "server"}});
            let spec =
                json!({"podSelector": of_server, "policyTypes": ["Ingress"], "ingress": [{"from": [from]}]});
            let (facts, unreadable) = facts::policy(&serde_json::from_value(policy("only", spec)).unwrap());
            assert_eq!(unreadable, None);
            Arc::new(facts)
        });
        self.index.policy(&name("only"), policy);
        self.step();
    }

    fn step(&mut self) {
        let changed = self.index.update();
        within(self.netns, || self.policies.step(self.index.tables(), &self.devices, &changed).unwrap());
    }
}

/// A line there and back on a connection.
fn is_open(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 6];
    stream.write_all(b"still?").and_then(|()| stream.read_exact(&mut answer)).is_ok() && &answer == b"still?"
}

#[test]
fn pods_of_other_nodes_are_known_by_their_own_addresses() {
    let Some(cluster) = Cluster::new(3, 0, 1500) else { return };
    let [one, two, three] = &cluster.nodes[..] else { panic!("three nodes") };
    let (server, tunnelled, stranger, beside) = (two.pod(1), one.pod(1), one.pod(2), three.pod(1));
    let _servers = [
        Server::seeing_tcp(&server, &format!("{SERVER}:80"), "S"),
        Server::seeing_udp(&server, &format!("{SERVER}:80"), "S"),
        echoing(&server, &format!("{SERVER}:81")),
    ];
    dig(one, two);
    dig(two, one);
    let policies = within(&two.netns, || Policies::install(&two.place().options).unwrap());
    let device = within(&two.netns, || {
        ethernet_devices().unwrap().into_iter().find(|device| device.name == "pod1").unwrap().index
    });
    let devices = BTreeMap::from([(name("server"), device)]);
    let mut agent = Agent { netns: &two.netns, index: Index::default(), policies, devices };
    agent.index.namespace("x", Some(BTreeMap::new()));
    let [first, second, third] = [pod_address(1, 1), pod_address(1, 2), pod_address(3, 1)];
    agent.pod("server", "server", SERVER);
    agent.pod("tunnelled", "friend", &first);
    agent.pod("stranger", "stranger", &second);
    agent.pod("beside", "friend", &third);
    let check = |netns: &NetNs, address: &str, may: bool| {
        let of = |yes: String| if may { yes } else { SILENCE.to_owned() };
        let to = format!("{SERVER}:80");
        assert_eq!(ask_tcp(netns, &to), of(format!("S {address}")), "{address}");
        assert_eq!(ask_udp(netns, &to, 10), of(format!("S {address} 10")), "{address}");
        assert_eq!(ping(netns, SERVER), of(format!("type 0 from {SERVER}")), "{address}");
    };
    let open = |netns: &NetNs| {
        let stream = within(netns, || TcpStream::connect(format!("{SERVER}:81")).unwrap());
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    };
    let mut streams = [open(&tunnelled), open(&beside)];
    assert!(streams.iter_mut().all(is_open));
    check(&stranger, &second, true);

    let pods = |app: &str| Some(json!({"podSelector": {"matchLabels": {"app": app}}}));
    agent.allow(pods("friend"));
    check(&tunnelled, &first, true);
    check(&beside, &third, true);
    check(&stranger, &second, false);
    // Connections that are older than the policy go on, and so does one under it when it is another.
    let mut later = open(&tunnelled);
    assert!(streams.iter_mut().all(is_open) && is_open(&mut later));
    agent.allow(Some(json!({"podSelector": {"matchExpressions":
        [{"key": "app", "operator": "NotIn", "values": ["stranger"]}]}})));
    assert!(streams.iter_mut().all(is_open) && is_open(&mut later));
    check(&stranger, &second, false);

    // The policy names others, or the pod behind the tunnel gets another label, and then its address is another's.
    agent.allow(pods("stranger"));
    check(&stranger, &second, true);
    check(&tunnelled, &first, false);
    agent.pod("tunnelled", "stranger", &first);
    check(&tunnelled, &first, true);
    agent.pod("tunnelled", "stranger", "10.244.1.9");
    check(&tunnelled, &first, false);
    agent.allow(None);
    check(&beside, &third, true);
}
