use serde_json::json;
use xebec_identity::User;

use super::*;
use crate::Request;
use crate::testing::{World, request};

const NODE: &str = "mynode";

fn kubelet() -> User {
    User::new("system:node:mynode", &["system:nodes"])
}

/// The refusal of a write by mynode's kubelet; empty when there is none.
fn refusal(world: &World, request: Request<'_>, object: &Value, old: Option<&Value>) -> String {
    let user = kubelet();
    let request = Request { user: &user, ..request };
    match check(&world.call(request, old), object) {
        Err(error) => error.message.split_once(": ").map_or(error.message.clone(), |(_, why)| why.to_owned()),
        Ok(questions) => questions.first().map(|q| q.refuse("no").message.clone()).unwrap_or_default(),
    }
}

fn mirror(owner: Value) -> Value {
    json!({"metadata": {"name": "p", "annotations": {"kubernetes.io/config.mirror": "h"}, "ownerReferences": owner},
        "spec": {"nodeName": NODE}})
}

fn own() -> Value {
    json!([{"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": "u", "controller": true}])
}

fn world() -> World {
    let world = World::default();
    world.put("", "nodes", json!({"metadata": {"name": NODE, "uid": "u"}}));
    world
}

#[test]
fn only_kubelets_are_restricted() {
    let world = world();
    let plain = request(Operation::Create, "", "pods", "ns", "p");
    assert!(check(&world.call(plain, None), &json!({})).unwrap().is_empty());
    let nameless = User::new("system:node:", &["system:nodes"]);
    let error = check(&world.call(Request { user: &nameless, ..plain }, None), &json!({})).unwrap_err();
    assert_eq!(error.message, "pods \"p\" is forbidden: could not determine node from user \"system:node:\"");
}

#[test]
fn mirror_pods() {
    let world = world();
    let create = request(Operation::Create, "", "pods", "ns", "p");
    let with = |pointer: &str, value: Value| {
        let mut pod = mirror(own());
        meta::set(&mut pod, pointer, value);
        pod
    };
    let mut blocking = own();
    blocking[0]["blockOwnerDeletion"] = json!(true);
    let mut other_uid = own();
    other_uid[0]["uid"] = json!("x");
    let mut no_controller = own();
    no_controller[0]["controller"] = json!(false);
    for (pod, why) in [
        (mirror(own()), ""),
        (
            json!({"spec": {"nodeName": NODE}}),
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"mynode\" can only create mirror pods",
        ),
        (
            with("/spec/nodeName", json!("x")),
            "node \"mynode\" can only create pods with spec.nodeName set to itself",
        ),
        (mirror(json!([])), "node \"mynode\" can only create pods with an owner reference set to itself"),
        (
            mirror(json!([own()[0], own()[0]])),
            "node \"mynode\" can only create pods with a single owner reference set to itself",
        ),
        (
            mirror(no_controller),
            "node \"mynode\" can only create pods with a controller owner reference set to itself",
        ),
        (mirror(blocking), "node \"mynode\" must not set blockOwnerDeletion on an owner reference"),
        (mirror(other_uid), "node mynode UID mismatch: expected x got u"),
        (
            with("/spec/serviceAccountName", json!("a")),
            "node \"mynode\" can not create pods that reference a service account",
        ),
        (
            with("/spec/volumes", json!([{"name": "v", "secret": {"secretName": "s"}}])),
            "node \"mynode\" can not create pods that reference secrets",
        ),
        (
            with("/spec/volumes", json!([{"name": "v", "configMap": {"name": "s"}}])),
            "node \"mynode\" can not create pods that reference configmaps",
        ),
        (
            with("/spec/volumes", json!([{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}])),
            "node \"mynode\" can not create pods that reference persistentvolumeclaims",
        ),
    ] {
        assert_eq!(refusal(&world, create, &pod, None), why);
    }
    let update = request(Operation::Update, "", "pods", "ns", "p");
    assert_eq!(
        refusal(&world, update, &mirror(own()), Some(&mirror(own()))),
        "unexpected operation \"UPDATE\", node \"mynode\" can only create and delete mirror pods"
    );
}

#[test]
fn pods_of_others() {
    let world = world();
    let pod = |node: &str, labels: Value| json!({"metadata": {"name": "p", "namespace": "ns", "labels": labels}, "spec": {"nodeName": node}});
    let (mine, other) = (pod(NODE, json!({})), pod("other", json!({})));
    let delete = request(Operation::Delete, "", "pods", "ns", "p");
    assert_eq!(refusal(&world, delete, &Value::Null, Some(&mine)), "");
    assert_eq!(
        refusal(&world, delete, &Value::Null, Some(&other)),
        "node \"mynode\" can only delete pods with spec.nodeName set to itself"
    );
    let mut status = request(Operation::Update, "", "pods", "ns", "p");
    status.subresource = "status";
    assert_eq!(refusal(&world, status, &mine, Some(&mine)), "");
    assert_eq!(
        refusal(&world, status, &other, Some(&other)),
        "node \"mynode\" can only update pod status for pods with spec.nodeName set to itself"
    );
    assert_eq!(
        refusal(&world, status, &pod(NODE, json!({"a": "b"})), Some(&mine)),
        "node \"mynode\" cannot update labels through pod status"
    );
    let mut claims = mine.clone();
    claims["status"] = json!({"resourceClaimStatuses": [{"name": "c", "resourceClaimName": "x"}]});
    assert_eq!(
        refusal(&world, status, &claims, Some(&mine)),
        "node \"mynode\" cannot update resource claim statues"
    );
    status.subresource = "resize";
    assert_eq!(
        refusal(&world, status, &mine, Some(&mine)),
        "unexpected pod subresource \"resize\", only 'status' and 'eviction' are allowed"
    );
    world.put("", "pods", other);
    let mut evict = request(Operation::Create, "", "pods", "ns", "p");
    evict.subresource = "eviction";
    assert_eq!(
        refusal(&world, evict, &json!({"kind": "Eviction"}), None),
        "node mynode can only evict pods with spec.nodeName set to itself"
    );
}

#[test]
fn nodes() {
    let world = world();
    let node = |labels: Value, taints: Value| json!({"metadata": {"name": NODE, "labels": labels}, "spec": {"taints": taints}});
    let plain = node(json!({}), json!([]));
    let create = request(Operation::Create, "", "nodes", "", NODE);
    let update = request(Operation::Update, "", "nodes", "", NODE);
    assert_eq!(
        refusal(&world, create, &node(json!({"kubernetes.io/os": "linux"}), json!([{"key": "a"}])), None),
        ""
    );
    assert_eq!(
        refusal(
            &world,
            create,
            &node(json!({"foo.k8s.io/x": "", "kubernetes.io/role": ""}), json!([])),
            None
        ),
        "node \"mynode\" is not allowed to set the following labels: foo.k8s.io/x, kubernetes.io/role"
    );
    assert_eq!(
        refusal(&world, update, &node(json!({"kubernetes.io/role": ""}), json!([])), Some(&plain)),
        "is not allowed to modify labels: kubernetes.io/role"
    );
    assert_eq!(
        refusal(&world, update, &node(json!({}), json!([{"key": "a"}])), Some(&plain)),
        "node \"mynode\" is not allowed to modify taints"
    );
    let mut owned = plain.clone();
    owned["metadata"]["ownerReferences"] = json!([{"uid": "x"}]);
    assert_eq!(
        refusal(&world, update, &owned, Some(&plain)),
        "node \"mynode\" is not allowed to modify ownerReferences"
    );
    assert_eq!(
        refusal(&world, request(Operation::Update, "", "nodes", "", "other"), &plain, Some(&plain)),
        "node \"mynode\" is not allowed to modify node \"other\""
    );
}

#[test]
fn what_belongs_to_a_node() {
    let world = world();
    let lease = |namespace: &'static str, name: &'static str| {
        refusal(
            &world,
            request(Operation::Update, "coordination.k8s.io", "leases", namespace, name),
            &json!({}),
            None,
        )
    };
    assert_eq!(lease("kube-node-lease", NODE), "");
    let announcer: &'static str = Box::leak(format!("xebec-announcer-{NODE}").into_boxed_str());
    assert_eq!(lease("kube-system", announcer), "");
    for other in ["kube-scheduler", "xebec-announcer-x", NODE] {
        let refused = lease("kube-system", other);
        assert_eq!(refused, "can only access leases in the \"kube-node-lease\" system namespace", "{other}");
    }
    assert_eq!(lease("ns", NODE), "can only access leases in the \"kube-node-lease\" system namespace");
    assert_eq!(
        lease("kube-node-lease", "x"),
        "can only access node lease with the same name as the requesting node"
    );
    assert_eq!(
        refusal(&world, request(Operation::Create, "storage.k8s.io", "csinodes", "", "x"), &json!({}), None),
        "can only access CSINode with the same name as the requesting node"
    );
    let slice = |operation| request(operation, "resource.k8s.io", "resourceslices", "", "s");
    let of = |node: &str| json!({"spec": {"nodeName": node}});
    assert_eq!(refusal(&world, slice(Operation::Create), &of(NODE), None), "");
    assert_eq!(
        refusal(&world, slice(Operation::Create), &of("x"), None),
        "can only create ResourceSlice with the same NodeName as the requesting node"
    );
    assert_eq!(
        refusal(&world, slice(Operation::Delete), &Value::Null, Some(&of("x"))),
        "can only delete ResourceSlice with the same NodeName as the requesting node"
    );
    let claim =
        |capacity: &str, phase: &str| json!({"status": {"capacity": {"storage": capacity}, "phase": phase}});
    let mut status = request(Operation::Update, "", "persistentvolumeclaims", "ns", "c");
    assert_eq!(refusal(&world, status, &json!({}), None), "may only update PVC status");
    status.subresource = "status";
    assert_eq!(refusal(&world, status, &claim("2", "Bound"), Some(&claim("1", "Bound"))), "");
    assert_eq!(
        refusal(&world, status, &claim("1", "Lost"), Some(&claim("1", "Bound"))),
        "node \"mynode\" is not allowed to update fields other than status.quantity and status.conditions"
    );
}

#[test]
fn signing_requests() {
    use crate::certificates::tests::signing_request;
    let world = world();
    let create = request(Operation::Create, "certificates.k8s.io", "certificatesigningrequests", "", "c");
    let signer = "kubernetes.io/kubelet-serving";
    assert_eq!(refusal(&world, create, &signing_request(signer, "system:node:mynode", &[]), None), "");
    assert_eq!(
        refusal(&world, create, &signing_request(signer, "system:node:other", &[]), None),
        "can only create a node CSR with CN=system:node:mynode"
    );
    assert_eq!(refusal(&world, create, &signing_request("example.com/s", "x", &[]), None), "");
}

#[test]
fn tokens() {
    let world = world();
    let volumes = json!([
        {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}},
            {"serviceAccountToken": {"path": "v", "audience": "vault"}}]}},
        {"name": "c", "csi": {"driver": "csi.example.com"}},
        {"name": "e", "ephemeral": {}},
    ]);
    let pod = |name: &str, node: &str| {
        json!({"metadata": {"name": name, "namespace": "ns", "uid": "u"},
            "spec": {"nodeName": node, "serviceAccountName": "sa", "volumes": volumes}})
    };
    world.put("", "pods", pod("p", NODE));
    world.put("", "pods", pod("far", "other"));
    let driver = |name: &str, audience: &str| json!({"metadata": {"name": name}, "spec": {"tokenRequests": [{"audience": audience}]}});
    world.put("storage.k8s.io", "csidrivers", driver("csi.example.com", "inline"));
    world.put("storage.k8s.io", "csidrivers", driver("block.example.com", "claimed"));
    world.put(
        "",
        "persistentvolumeclaims",
        json!({"metadata": {"name": "p-e", "namespace": "ns"}, "spec": {"volumeName": "pv"}}),
    );
    world.put(
        "",
        "persistentvolumes",
        json!({"metadata": {"name": "pv"}, "spec": {"csi": {"driver": "block.example.com"}}}),
    );
    let mut create = request(Operation::Create, "", "serviceaccounts", "ns", "sa");
    create.subresource = "token";
    let token = |name: &str, uid: &str, audiences: Value| {
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
        json!({"spec": {"audiences": audiences, "boundObjectRef": bound}})
    };
    for (ask, why) in [
        (token("p", "u", json!([])), ""),
        (token("p", "u", json!(["vault"])), ""),
        (token("p", "u", json!(["inline"])), ""),
        (token("p", "u", json!(["claimed"])), ""),
        (token("p", "u", json!(["a", "b"])), "node may only request 0 or 1 audiences"),
        (json!({"spec": {}}), "node requested token not bound to a pod"),
        (token("p", "", json!([])), "node requested token with a pod binding without a uid"),
        (
            token("p", "x", json!([])),
            "the UID in the bound object reference (x) does not match the UID in record. The object might have been \
             deleted and then recreated",
        ),
        (token("far", "u", json!([])), "node requested token bound to a pod scheduled on a different node"),
        (
            token("p", "u", json!(["other"])),
            "serviceaccounts \"sa\" is forbidden: audience \"other\" not found in pod spec volume, system:node:mynode is \
             not authorized to request tokens for this audience: no",
        ),
    ] {
        assert_eq!(refusal(&world, create, &ask, None), why);
    }
    let user = kubelet();
    let call = world.call(Request { user: &user, ..create }, None);
    let asked = &check(&call, &token("p", "u", json!(["other"]))).unwrap()[0].any_of[0];
    assert_eq!(
        (asked.verb.as_str(), asked.resource.as_str(), asked.name.as_str(), asked.namespace.as_str()),
        ("request-serviceaccounts-token-audience", "other", "sa", "ns")
    );
}
