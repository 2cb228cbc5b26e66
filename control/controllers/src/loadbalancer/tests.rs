use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use xebec_api::load_balancer::CONDITION;

use super::plan::{Known, Plan, plan};
use super::pool::{Pool, Range};
use super::request::ingress;

mod steps;

fn pool(name: &str, spec: Value) -> Pool {
    let object = json!({"apiVersion": "network.xebec.dev/v1alpha1", "kind": "LoadBalancerPool",
        "metadata": {"name": name}, "spec": spec});
    Pool::new(&serde_json::from_value(object).unwrap())
}

fn addresses(list: &[&str]) -> Value {
    json!({"addresses": list})
}

/// A load balancer of one family, created in the second `age`.
fn service(name: &str, age: u8, change: Value) -> Service {
    let mut value = json!({
        "metadata": {"name": name, "namespace": "d", "uid": name, "creationTimestamp": format!("2026-01-01T00:00:{:02}Z", age)},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"},
    });
    xebec_api::patch::merge_patch(&mut value, &change);
    serde_json::from_value(value).unwrap()
}

fn dual(policy: &str) -> Value {
    json!({"spec": {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": policy}})
}

/// The cluster, whose statuses are what the plans wrote.
#[derive(Default)]
struct Cluster {
    pools: Vec<Pool>,
    services: BTreeMap<String, Arc<Service>>,
    nodes: BTreeMap<IpAddr, String>,
}

impl Cluster {
    fn new(pools: Vec<Pool>) -> Self {
        Self { pools, ..Self::default() }
    }

    fn put(&mut self, service: Service) {
        self.services.insert(service.metadata.name.clone().unwrap(), Arc::new(service));
    }

    /// Changes a Service's spec and metadata, as its owner does.
    fn change(&mut self, name: &str, change: Value) {
        let mut value = serde_json::to_value(&*self.services[name]).unwrap();
        xebec_api::patch::merge_patch(&mut value, &change);
        self.put(serde_json::from_value(value).unwrap());
    }

    fn plan(&self) -> Plan {
        let services: Vec<_> = self.services.values().cloned().collect();
        let blue = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
        plan(&Known {
            pools: &self.pools,
            services: &services,
            namespaces: &BTreeMap::from([("d".to_owned(), blue)]),
            nodes: &self.nodes,
            now: Timestamp::UNIX_EPOCH,
        })
    }

    /// Plans and writes until nothing is left to write; returns what was said on the way.
    fn settle(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        for _ in 0..5 {
            let plan = self.plan();
            if plan.writes.is_empty() {
                return said;
            }
            for write in plan.writes {
                said.extend(write.note.map(|note| format!("{}: {}", note.reason, note.message)));
                self.put(write.service);
                self.check();
            }
        }
        panic!("never settles: {said:?}");
    }

    fn check(&self) {
        let mut seen = BTreeSet::new();
        for service in self.services.values() {
            for address in ingress(service).0 {
                assert!(seen.insert(address), "{address} twice");
            }
        }
    }

    fn of(&self, name: &str) -> String {
        let texts: Vec<String> = ingress(&self.services[name]).0.iter().map(ToString::to_string).collect();
        texts.join(",")
    }

    fn condition(&self, name: &str) -> Option<String> {
        let conditions = self.services[name].status.as_ref()?.conditions.as_ref()?;
        let one = conditions.iter().find(|one| one.type_ == CONDITION)?;
        Some(format!("{} {}", one.status, one.message))
    }
}

#[test]
fn texts_of_addresses() {
    for text in [
        "192.0.2.0/28",
        "192.0.2.7/28",
        "192.0.2.1-192.0.2.9",
        "192.0.2.1",
        "2001:db8::/64",
        "2001:db8::1-2001:db8::f",
        "::/0",
        "0.0.0.0/0",
    ] {
        assert!(Range::parse(text).is_ok(), "{text}");
    }
    for (text, why) in [
        ("nonsense", "not an address"),
        ("192.0.2.0/33", "prefix length"),
        ("192.0.2.9-192.0.2.1", "after the last"),
        ("2001:db8::f-2001:db8::1", "after the last"),
        ("192.0.2.1-2001:db8::1", "two families"),
        ("192.0.2.1-", "two addresses"),
    ] {
        let error = Range::parse(text).unwrap_err();
        assert!(error.contains(why) && error.contains(text), "{error}");
    }
    let both = pool("a", addresses(&["192.0.2.0/30", "192.0.2.2-192.0.2.5", "2001:db8::1", "wrong"]));
    assert_eq!(both.total(), 7, "what overlaps counts once");
    assert_eq!(both.problems.len(), 1);
    assert!(both.problems[0].starts_with("spec.addresses[3]: \"wrong\""), "{:?}", both.problems);
    assert_eq!(pool("a", addresses(&["::/0"])).total(), i64::MAX);
}

#[test]
fn the_oldest_first_and_what_is_given_stays() {
    let mut cluster = Cluster::new(vec![pool("a", addresses(&["192.0.2.1-192.0.2.2"]))]);
    cluster.put(service("young", 9, json!({})));
    cluster.put(service("old", 1, json!({})));
    assert_eq!(
        cluster.settle(),
        [
            "IPAllocated: assigned 192.0.2.1 from LoadBalancerPool a",
            "IPAllocated: assigned 192.0.2.2 from LoadBalancerPool a",
        ]
    );
    assert_eq!((cluster.of("old"), cluster.of("young")), ("192.0.2.1".into(), "192.0.2.2".into()));
    cluster.put(service("oldest", 0, json!({})));
    assert_eq!(cluster.settle(), ["AllocationFailed: no IPv4 address is free in LoadBalancerPool a"]);
    assert_eq!(cluster.of("old"), "192.0.2.1");
    // Another pool, whose name sorts before: nobody moves, the waiting one is served.
    cluster.pools.insert(0, pool("0", addresses(&["198.51.100.0/32"])));
    cluster.settle();
    assert_eq!((cluster.of("old"), cluster.of("oldest")), ("192.0.2.1".into(), "198.51.100.0".into()));
    assert_eq!(cluster.plan().used, BTreeMap::from([("0".to_owned(), 1), ("a".to_owned(), 2)]));
    // One is deleted: its address is free.
    cluster.services.remove("old");
    cluster.put(service("next", 20, json!({})));
    cluster.settle();
    assert_eq!(cluster.of("next"), "192.0.2.1");
}

#[test]
fn families_as_the_service_wants_them() {
    let mut cluster = Cluster::new(vec![pool("four", addresses(&["192.0.2.1-192.0.2.9"]))]);
    cluster.put(service("prefer", 1, dual("PreferDualStack")));
    cluster.put(service("require", 2, dual("RequireDualStack")));
    cluster.settle();
    assert_eq!((cluster.of("prefer"), cluster.of("require")), ("192.0.2.1".into(), String::new()));
    let no = "no LoadBalancerPool has IPv6 addresses for this Service";
    assert_eq!(
        cluster.condition("prefer").unwrap(),
        format!("True assigned 192.0.2.1 from LoadBalancerPool four; {no}")
    );
    assert_eq!(cluster.condition("require").unwrap(), format!("False {no}"));
    cluster.pools.push(pool("six", addresses(&["2001:db8::/64"])));
    cluster.settle();
    assert_eq!(cluster.of("prefer"), "192.0.2.1,2001:db8::");
    assert_eq!(cluster.of("require"), "192.0.2.2,2001:db8::1");
    // The second family goes when the Service drops it.
    cluster.change("prefer", json!({"spec": {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}}));
    cluster.settle();
    assert_eq!(cluster.of("prefer"), "192.0.2.1");
}

#[test]
fn requests_are_met_or_the_conflict_is_named() {
    let mut cluster = Cluster::new(vec![pool("a", addresses(&["192.0.2.0/28", "2001:db8::/64"]))]);
    cluster.nodes.insert("192.0.2.0".parse().unwrap(), "n1".to_owned());
    cluster.put(service("auto", 0, json!({})));
    cluster.put(service("field", 1, json!({"spec": {"loadBalancerIP": "192.0.2.1"}})));
    let both = json!({"metadata": {"annotations": {"network.xebec.dev/load-balancer-ips": "2001:db8::5, 192.0.2.6"}}});
    let mut want = dual("PreferDualStack");
    xebec_api::patch::merge_patch(&mut want, &both);
    cluster.put(service("both", 2, want));
    for (name, address) in [
        ("taken", "192.0.2.1"),
        ("node", "192.0.2.0"),
        ("outside", "198.51.100.1"),
        ("six", "2001:db8::9"),
        ("odd", "x"),
    ] {
        let annotation =
            json!({"metadata": {"annotations": {"network.xebec.dev/load-balancer-ips": address}}});
        cluster.put(service(name, 3, annotation));
    }
    cluster.put(service(
        "two",
        3,
        json!({"spec": {"loadBalancerIP": "192.0.2.3"},
        "metadata": {"annotations": {"network.xebec.dev/load-balancer-ips": "192.0.2.4"}}}),
    ));
    cluster.settle();
    assert_eq!(cluster.of("field"), "192.0.2.1", "before what asks for any, though younger");
    assert_eq!(cluster.of("auto"), "192.0.2.2", "not the node's");
    assert_eq!(cluster.of("both"), "192.0.2.6,2001:db8::5");
    for (name, why) in [
        ("taken", "requested address 192.0.2.1 is held by Service d/field"),
        ("node", "requested address 192.0.2.0 is held by node n1"),
        ("outside", "requested address 198.51.100.1 is in no LoadBalancerPool that serves this Service"),
        (
            "six",
            "annotation network.xebec.dev/load-balancer-ips \"2001:db8::9\": spec.ipFamilies has no IPv6",
        ),
        ("odd", "annotation network.xebec.dev/load-balancer-ips \"x\": not an IP address"),
        ("two", "spec.loadBalancerIP \"192.0.2.3\": 192.0.2.4 is requested, too; give one IPv4 address"),
    ] {
        assert_eq!(cluster.condition(name).unwrap(), format!("False {why}"));
        assert_eq!(cluster.of(name), "");
    }
    // Two that exchange their addresses both get them.
    cluster.change("field", json!({"spec": {"loadBalancerIP": "192.0.2.2"}}));
    cluster.change("auto", json!({"spec": {"loadBalancerIP": "192.0.2.1"}}));
    cluster.settle();
    assert_eq!((cluster.of("field"), cluster.of("auto")), ("192.0.2.2".into(), "192.0.2.1".into()));
}

#[test]
fn pools_choose_their_services() {
    let blue = json!({"matchLabels": {"team": "blue"}});
    let red = json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["red"]}]});
    let mut cluster = Cluster::new(vec![
        pool("a-all", addresses(&["192.0.2.0/28"])),
        pool(
            "b-web",
            json!({"addresses": ["198.51.100.0/28"], "serviceSelector": {"matchLabels": {"app": "web"}}, "namespaceSelector": blue}),
        ),
        pool("c-red", json!({"addresses": ["203.0.113.0/28"], "namespaceSelector": red})),
        pool("d-asked", json!({"addresses": ["203.0.113.128/28"], "autoAssign": false})),
    ]);
    cluster.put(service("web", 1, json!({"metadata": {"labels": {"app": "web"}}})));
    cluster.put(service("plain", 1, json!({})));
    for (name, pool) in [("asked", "d-asked"), ("wrong", "c-red")] {
        cluster.put(service(
            name,
            1,
            json!({"metadata": {"annotations": {"network.xebec.dev/load-balancer-pool": pool}}}),
        ));
    }
    cluster.put(service("address", 2, json!({"spec": {"loadBalancerIP": "203.0.113.130"}})));
    cluster.settle();
    assert_eq!(cluster.of("web"), "198.51.100.0");
    assert_eq!(cluster.of("plain"), "192.0.2.0");
    assert_eq!(cluster.of("asked"), "203.0.113.128");
    assert_eq!(cluster.of("address"), "203.0.113.130");
    assert_eq!(
        cluster.condition("wrong").unwrap(),
        "False LoadBalancerPool \"c-red\" has no IPv4 addresses for this Service"
    );
    // No longer of the pool's Services.
    cluster.change("web", json!({"metadata": {"labels": {"app": null}}}));
    cluster.settle();
    assert_eq!(cluster.of("web"), "192.0.2.1");
}

#[test]
fn what_others_serve_is_left_alone() {
    let mut cluster = Cluster::default();
    let theirs = |ip: &str| json!({"status": {"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"}]}}});
    cluster.put(service("a", 1, json!({})));
    cluster.put(service("metal", 1, theirs("192.0.2.1")));
    assert!(cluster.settle().is_empty() && cluster.condition("a").is_none(), "no pool, no word");
    cluster.pools.push(pool("p", addresses(&["198.51.100.0/30"])));
    cluster.put(service("classed", 1, json!({"spec": {"loadBalancerClass": "example.com/x"}})));
    cluster.put(service(
        "named",
        1,
        json!({"status": {"loadBalancer": {"ingress": [{"hostname": "x.example"}]}}}),
    ));
    let mut cloud = theirs("198.51.100.0");
    cloud["spec"] = json!({"loadBalancerClass": "example.com/x"});
    cluster.put(service("inside", 1, cloud));
    cluster.put(service("ours", 1, json!({"spec": {"loadBalancerClass": "xebec.dev/load-balancer"}})));
    cluster.put(service("adopted", 1, theirs("198.51.100.3")));
    cluster.settle();
    for (name, address) in [("a", "198.51.100.1"), ("ours", "198.51.100.2"), ("adopted", "198.51.100.3")] {
        assert_eq!(cluster.of(name), address);
        assert!(cluster.condition(name).unwrap().starts_with("True"), "{name}");
    }
    for (name, address) in
        [("metal", "192.0.2.1"), ("classed", ""), ("inside", "198.51.100.0"), ("named", "")]
    {
        assert_eq!((cluster.of(name), cluster.condition(name)), (address.to_owned(), None), "{name}");
    }
    // The last pool goes: so do our addresses, and nobody else's.
    cluster.pools.clear();
    cluster.settle();
    assert_eq!((cluster.of("a"), cluster.condition("a")), (String::new(), None));
    assert_eq!(cluster.of("metal"), "192.0.2.1");
}

#[test]
fn a_service_that_leaves_gives_its_address_back() {
    let mut cluster = Cluster::new(vec![pool("p", addresses(&["192.0.2.1"]))]);
    cluster.put(service("a", 1, json!({})));
    cluster.put(service("b", 2, json!({})));
    cluster.settle();
    assert_eq!((cluster.of("a"), cluster.of("b")), ("192.0.2.1".into(), String::new()));
    // The API server clears the status of a Service of another type; the condition is ours to remove.
    cluster
        .change("a", json!({"spec": {"type": "ClusterIP"}, "status": {"loadBalancer": {"ingress": null}}}));
    cluster.settle();
    assert_eq!((cluster.condition("a"), cluster.of("b")), (None, "192.0.2.1".into()));
    let status = serde_json::to_value(&cluster.services["a"].status).unwrap();
    assert_eq!(status, json!({"loadBalancer": {}}), "as a Service that never had one");
    cluster.change("a", json!({"spec": {"type": "LoadBalancer"}}));
    cluster.change("b", json!({"metadata": {"deletionTimestamp": "2026-01-02T00:00:00Z"}}));
    cluster.settle();
    assert_eq!((cluster.of("a"), cluster.of("b")), ("192.0.2.1".into(), String::new()));
}

#[test]
fn an_address_that_two_have_is_the_elders() {
    let mut cluster = Cluster::new(vec![pool("p", addresses(&["192.0.2.0/30"]))]);
    let has = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}}});
    let services = [service("a", 5, has.clone()), service("b", 1, has)].map(Arc::new);
    cluster.services = services.into_iter().map(|s| (s.metadata.name.clone().unwrap(), s)).collect();
    for write in cluster.plan().writes {
        cluster.put(write.service);
    }
    assert_eq!((cluster.of("b"), cluster.of("a")), ("192.0.2.1".into(), "192.0.2.0".into()));
}
