//! Services of type LoadBalancer get addresses from pools and give them back.

use http::Method;
use serde_json::{Value, json};

use crate::cluster::{Cluster, condition, count};

const POOLS: &str = "/apis/network.xebec.dev/v1alpha1/loadbalancerpools";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const ALLOCATED: &str = "network.xebec.dev/AddressesAllocated";

const DEFINITION: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/loadbalancerpools.network.xebec.dev";

/// A cluster that serves the pools' kind, whose controllers have no more than their own rights.
async fn cluster() -> Cluster {
    let cluster = Cluster::with_controllers_in(&["system:authenticated"]).await;
    cluster.until("the pools' kind", POOLS, |list| count(list) == 0).await;
    cluster
}

fn pool(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "network.xebec.dev/v1alpha1", "kind": "LoadBalancerPool", "metadata": {"name": name}, "spec": spec})
}

fn balancer(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}})
}

fn addresses(service: &Value) -> Vec<&str> {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
    ingress.into_iter().flatten().filter_map(|entry| entry["ip"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_balancers_get_addresses_from_pools() {
    let cluster = cluster().await;
    cluster.create(SERVICES, balancer("first")).await;
    cluster.create(POOLS, pool("p", json!({"addresses": ["192.0.2.1-192.0.2.9"]}))).await;
    let one = format!("{SERVICES}/first");
    let given = cluster.until("an address", &one, |service| addresses(service) == ["192.0.2.1"]).await;
    assert_eq!(given["status"]["loadBalancer"]["ingress"], json!([{"ip": "192.0.2.1", "ipMode": "VIP"}]));
    assert_eq!(condition(&given, ALLOCATED)["message"], "assigned 192.0.2.1 from LoadBalancerPool p");
    assert!(given["metadata"]["finalizers"].is_null());
    let events =
        "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=first,reason=IPAllocated";
    let said = cluster.until("the event", events, |list| count(list) == 1).await;
    assert_eq!(said["items"][0]["type"], "Normal");

    // Many at once, more than there are addresses.
    let made = (0..12).map(|n| {
        let cluster = &cluster;
        async move { cluster.create(SERVICES, balancer(&format!("s{n}"))).await }
    });
    futures::future::join_all(made).await;
    let settled = |list: &Value| {
        let all = list["items"].as_array().unwrap().iter();
        all.filter(|s| s["spec"]["type"] == "LoadBalancer").all(|s| !condition(s, ALLOCATED).is_null())
    };
    let list = cluster.until("a word to each", SERVICES, settled).await;
    let mut found: Vec<&str> = list["items"].as_array().unwrap().iter().flat_map(addresses).collect();
    found.sort_unstable();
    assert_eq!(found.len(), 9, "{found:?}");
    found.dedup();
    assert_eq!(found.len(), 9, "no address twice");
    let at = format!("{POOLS}/p");
    let full = cluster.until("the count", &at, |pool| pool["status"]["used"] == 9).await;
    assert_eq!((&full["status"]["total"], &condition(&full, "Ready")["status"]), (&json!(9), &json!("True")));
    let failed = "/api/v1/namespaces/default/events?fieldSelector=type=Warning,reason=AllocationFailed";
    let warned = cluster.until("the warnings", failed, |list| count(list) == 4).await;
    assert_eq!(warned["items"][0]["message"], "no IPv4 address is free in LoadBalancerPool p");

    // Another type, and a deletion: both addresses go to those that wait. Then room for all.
    let plain = json!({"spec": {"type": "ClusterIP"}});
    cluster.send(Method::PATCH, &one, plain).await;
    let changed = |service: &Value| addresses(service).is_empty() && condition(service, ALLOCATED).is_null();
    cluster.until("the status cleared", &one, changed).await;
    cluster.send(Method::PATCH, &at, json!({"spec": {"addresses": ["192.0.2.0/27"]}})).await;
    let served = |list: &Value| list["items"].as_array().unwrap().iter().flat_map(addresses).count() == 12;
    cluster.until("all served", SERVICES, served).await;
    cluster
        .until("the new count", &at, |pool| pool["status"]["used"] == 12 && pool["status"]["total"] == 32)
        .await;
    cluster.delete(&at, "Background").await;
    let none = |list: &Value| list["items"].as_array().unwrap().iter().flat_map(addresses).count() == 0;
    cluster.until("all taken back", SERVICES, none).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_definition_comes_back_and_is_renewed() {
    let cluster = cluster().await;
    let first = cluster.get(DEFINITION).await;
    let one = format!("{SERVICES}/one");
    cluster.create(SERVICES, balancer("one")).await;
    let given = |service: &Value| addresses(service) == ["192.0.2.1"];
    cluster.create(POOLS, pool("p", json!({"addresses": ["192.0.2.1"]}))).await;
    cluster.until("an address", &one, given).await;

    // Deleted: the pools go with it, their addresses too. It comes back, without them.
    cluster.delete(DEFINITION, "Background").await;
    cluster.until("the address taken back", &one, |service| addresses(service).is_empty()).await;
    let again = |found: &Value| {
        found["metadata"]["uid"].is_string() && found["metadata"]["uid"] != first["metadata"]["uid"]
    };
    cluster.until("another definition", DEFINITION, again).await;
    cluster.until("the kind again", POOLS, |list| count(list) == 0).await;
    cluster.create(POOLS, pool("q", json!({"addresses": ["192.0.2.1"]}))).await;
    cluster.until("an address again", &one, given).await;

    // Of an older edition: what is ours is renewed, what is others' stays. So do the pools.
    let names = &first["spec"]["names"];
    let old = json!({
        "metadata": {"annotations": {"network.xebec.dev/edition": "0", "theirs": "x"}, "labels": {"theirs": "y"}},
        "spec": {"names": {"shortNames": ["other"], "categories": ["all"]}},
    });
    cluster.send(Method::PATCH, DEFINITION, old).await;
    let renewed = |found: &Value| found["metadata"]["annotations"]["network.xebec.dev/edition"] == "1";
    let found = cluster.until("the newer edition", DEFINITION, renewed).await;
    assert_eq!(found["metadata"]["annotations"]["theirs"], "x");
    assert_eq!(found["metadata"]["labels"], json!({"theirs": "y"}));
    assert_eq!(found["spec"]["names"]["shortNames"], names["shortNames"]);
    assert_eq!(found["spec"]["names"]["categories"], json!(["all"]), "what we do not say is theirs");
    assert_eq!(count(&cluster.get(POOLS).await), 1);
    assert!(given(&cluster.get(&one).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_pools_are_refused_naming_the_field() {
    let cluster = cluster().await;
    let format = "must be a network such as 192.0.2.0/28, a range such as 192.0.2.1-192.0.2.9, or an address";
    let order = "must be a range from the lower address to the higher one";
    let family = "must be a range from an address to one of the same family";
    for (spec, field, why) in [
        (json!({"addresses": ["192.0.2.1", "nonsense"]}), "spec.addresses[1]", format),
        (json!({"addresses": ["192.0.2.0/33"]}), "spec.addresses[0]", format),
        (json!({"addresses": ["192.0.2.1-2-3"]}), "spec.addresses[0]", format),
        (json!({"addresses": ["192.0.2.9-192.0.2.10", "192.0.2.10-192.0.2.9"]}), "spec.addresses[1]", order),
        (json!({"addresses": ["192.0.2.1-2001:db8::1"]}), "spec.addresses[0]", family),
        (json!({"addresses": ["192.0.2.1", "192.0.2.1"]}), "spec.addresses[1]", "Duplicate value"),
        (json!({"addresses": []}), "spec.addresses", "should have at least 1 items"),
        (json!({}), "spec.addresses", "Required value"),
        (
            json!({"addresses": ["192.0.2.1"], "serviceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
            "spec.serviceSelector.matchExpressions[0].values",
            "must be specified for the operators In and NotIn",
        ),
        (
            json!({"addresses": ["192.0.2.1"], "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}),
            "spec.namespaceSelector.matchExpressions[0].operator",
            "Unsupported value",
        ),
    ] {
        let answer = cluster.send(Method::POST, POOLS, pool("bad", spec.clone())).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert_eq!(answer["code"], 422, "{spec}: {answer}");
        assert!(message.contains(field) && message.contains(why), "{spec}: {message}");
        // Upstream's note that rules wait for a valid object is no mistake.
        let causes = answer["details"]["causes"].as_array().unwrap().iter();
        let own = |cause: &&Value| !cause["message"].as_str().unwrap().contains("were not checked");
        assert_eq!(causes.filter(own).count(), 1, "{spec}: one mistake, one message: {message}");
    }
    // What no rule can say, the condition says.
    let backwards = json!({"addresses": ["2001:db8::9-2001:db8::1", "2001:db8::20/127"]});
    cluster.create(POOLS, pool("six", backwards)).await;
    let judged = |pool: &Value| condition(pool, "Ready")["status"] == "False";
    let seen = cluster.until("the judgement", &format!("{POOLS}/six"), judged).await;
    let message = condition(&seen, "Ready")["message"].clone();
    assert!(
        message.as_str().unwrap().starts_with(
            "spec.addresses[0]: \"2001:db8::9-2001:db8::1\": the first address is after the last"
        ),
        "{message}"
    );
    assert_eq!(seen["status"]["total"], 2);
}
