use serde_json::{Value, json};

use super::super::{Attributes, Decision, selectors};
use super::{authorizer, request};
use crate::User;

fn world() -> Vec<Value> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a", "uid": "1"},
        "spec": {
            "nodeName": "n1", "serviceAccountName": "bot",
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}},
                        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "cm-env", "key": "k"}}}],
                "envFrom": [{"secretRef": {"name": "env-from"}}, {"configMapRef": {"name": "cm-env-from"}}],
            }],
            "initContainers": [{"envFrom": [{"secretRef": {"name": "init"}}]}],
            "volumes": [
                {"name": "s", "secret": {"secretName": "volume"}},
                {"name": "c", "configMap": {"name": "cm-volume"}},
                {"name": "t", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}},
                                                        {"secret": {"name": "projected"}}]}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}},
                {"name": "e", "ephemeral": {}},
            ],
            "resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu-claim"}],
        },
    });
    let mut elsewhere = pod.clone();
    elsewhere["metadata"] = json!({"name": "q", "namespace": "b", "uid": "2"});
    elsewhere["spec"]["nodeName"] = json!("n2");
    let mirror = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "m", "namespace": "a", "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "n1", "volumes": [{"name": "s", "secret": {"secretName": "stolen"}}]},
    });
    vec![
        pod,
        elsewhere,
        mirror,
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "claim", "namespace": "a"},
               "spec": {"volumeName": "pv"}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"},
               "spec": {"claimRef": {"namespace": "a", "name": "claim"},
                        "csi": {"nodeStageSecretRef": {"name": "stage", "namespace": "storage"},
                                "controllerPublishSecretRef": {"name": "controller", "namespace": "storage"}}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "other"},
               "spec": {"claimRef": {"namespace": "b", "name": "claim"}}}),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "va1"},
               "spec": {"nodeName": "n1"}}),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "va2"},
               "spec": {"nodeName": "n2"}}),
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "s1"},
               "spec": {"nodeName": "n1"}}),
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "s2"},
               "spec": {"nodeName": "n2"}}),
    ]
}

fn n1() -> User {
    User::new("system:node:n1", &["system:nodes", "system:authenticated"])
}

#[test]
fn a_node_may_reach_what_its_pods_refer_to() {
    let (_, authorizer) = authorizer(world());
    let allowed = "
        get secrets a pull
        get secrets a env
        get secrets a env-from
        get secrets a init
        list secrets a volume
        watch secrets a projected
        get secrets storage stage
        get configmaps a cm-env
        get configmaps a cm-env-from
        get configmaps a cm-volume
        watch configmaps a kube-root-ca.crt
        get persistentvolumeclaims a claim
        get persistentvolumeclaims a p-e
        patch persistentvolumeclaims/status a claim
        get persistentvolumes - pv
        get storage.k8s.io:volumeattachments - va1
        get resource.k8s.io:resourceclaims a gpu-claim
        create serviceaccounts/token a bot
        get serviceaccounts a bot
        get coordination.k8s.io:leases kube-node-lease n1
        create coordination.k8s.io:leases kube-node-lease -
        update coordination.k8s.io:leases kube-node-lease n1
        create storage.k8s.io:csinodes - -
        get storage.k8s.io:csinodes - n1
        create resource.k8s.io:resourceslices - -
        delete resource.k8s.io:resourceslices - s1
        create nodes - -
        get nodes - n1
        watch nodes - n1
        patch nodes/status - n1
        get pods a p
        get pods a m
        watch pods a p
        create pods a -
        delete pods a p
        patch pods/status a p
        create pods/eviction a p
        create events a -
        patch events a x
        list services - -
        create authentication.k8s.io:tokenreviews - -
        create authorization.k8s.io:subjectaccessreviews - -
        list node.k8s.io:runtimeclasses - -
        watch storage.k8s.io:csidrivers - -";
    for line in allowed.lines().filter(|line| !line.trim().is_empty()) {
        let decision = authorizer.decide_without_webhooks(&request(&n1(), line));
        assert!(decision.allowed(), "{line}: {decision:?}");
    }
}

#[test]
fn a_node_may_not_reach_more() {
    let (_, authorizer) = authorizer(world());
    let unrelated = "no relationship found between node 'n1' and this object";
    let table = [
        ("get secrets b volume", unrelated),
        ("get secrets a other", unrelated),
        ("get secrets a stolen", unrelated),
        ("get secrets storage controller", unrelated),
        ("list secrets a -", "No Object name found"),
        ("list secrets - -", "can only read namespaced object of this type"),
        ("update secrets a volume", "can only read resources of this type"),
        ("get configmaps b cm-volume", unrelated),
        ("list persistentvolumeclaims a claim", "can only get individual resources of this type"),
        ("get persistentvolumeclaims b claim", unrelated),
        ("get persistentvolumes - other", unrelated),
        ("get storage.k8s.io:volumeattachments - va2", unrelated),
        ("get resource.k8s.io:resourceclaims b gpu-claim", unrelated),
        ("create serviceaccounts/token a admin", unrelated),
        ("create serviceaccounts/token b bot", unrelated),
        ("list serviceaccounts a -", "can only create tokens for individual service accounts"),
        (
            "get coordination.k8s.io:leases kube-node-lease n2",
            "can only access node lease with the same name as the requesting node",
        ),
        (
            "get coordination.k8s.io:leases kube-system n1",
            "can only access leases in the \"kube-node-lease\" system namespace",
        ),
        (
            "list coordination.k8s.io:leases kube-node-lease -",
            "can only get, create, update, patch, or delete a node lease",
        ),
        (
            "get storage.k8s.io:csinodes - n2",
            "can only access CSINode with the same name as the requesting node",
        ),
        ("get resource.k8s.io:resourceslices - s2", unrelated),
        (
            "list resource.k8s.io:resourceslices - -",
            "can only list/watch/deletecollection resourceslices with nodeName field selector",
        ),
        ("list nodes - -", "node 'n1' cannot read all nodes, only its own Node object"),
        ("get nodes - n2", "node 'n1' cannot read 'n2', only its own Node object"),
        ("delete nodes - n1", ""),
        ("get pods b q", unrelated),
        ("list pods - -", "can only list/watch pods with spec.nodeName field selector"),
        ("patch pods a p", ""),
        ("get pods/exec a p", ""),
        ("list apps:deployments a -", ""),
    ];
    for (line, reason) in table {
        let decision = authorizer.decide_without_webhooks(&request(&n1(), line));
        assert_eq!(decision, Decision::NoOpinion(reason.to_owned()), "{line}");
    }
}

#[test]
fn pods_are_listed_by_node() {
    let (_, authorizer) = authorizer(world());
    let listing = |selector: &str| Attributes {
        field_selector: selectors::fields(selector),
        ..request(&n1(), "watch pods - -")
    };
    for (selector, allowed) in [
        ("spec.nodeName=n1", true),
        ("spec.nodeName==n1", true),
        ("status.phase!=Failed,spec.nodeName=n1", true),
        ("spec.nodeName=n2", false),
        ("spec.nodeName!=n1", false),
        ("metadata.name=n1", false),
        (r"metadata.name=x\,spec.nodeName=n1", false),
        ("spec.nodeName=n1,nonsense", false),
    ] {
        assert_eq!(authorizer.decide_without_webhooks(&listing(selector)).allowed(), allowed, "{selector}");
    }
}

#[test]
fn a_pod_that_left_takes_its_secrets_along() {
    let (reader, authorizer) = authorizer(world());
    let secret = request(&n1(), "get secrets a volume");
    assert!(authorizer.decide_without_webhooks(&secret).allowed());
    reader.remove("Pod", "p");
    assert!(!authorizer.decide_without_webhooks(&secret).allowed());
}

#[test]
fn who_is_not_a_node_gets_nothing_from_here() {
    let (_, authorizer) = authorizer(world());
    let line = "get secrets a volume";
    for user in [
        User::new("system:node:n1", &["system:authenticated"]),
        User::new("n1", &["system:nodes"]),
        User::new("system:node:n2", &["system:nodes"]),
    ] {
        assert!(!authorizer.decide_without_webhooks(&request(&user, line)).allowed(), "{user:?}");
    }
    let nameless = User::new("system:node:", &["system:nodes"]);
    let decision = authorizer.decide_without_webhooks(&request(&nameless, line));
    assert_eq!(decision, Decision::NoOpinion(r#"unknown node for user "system:node:""#.to_owned()));
}

#[test]
fn the_agent_sees_what_its_services_and_policies_are_about_through_its_own_role() {
    let (_, authorizer) = authorizer([crate::bootstrap::objects(), world()].concat());
    for line in [
        "list services - -",
        "watch discovery.k8s.io:endpointslices - -",
        "list namespaces - -",
        "list pods - -",
        "watch pods - -",
        "list networking.k8s.io:networkpolicies - -",
        "list nodes - -",
        "watch nodes - -",
        "watch coordination.k8s.io:leases kube-system -",
        "create coordination.k8s.io:leases kube-system -",
        "patch coordination.k8s.io:leases kube-system xebec-announcer-n1",
        "delete coordination.k8s.io:leases kube-system xebec-announcer-n1",
    ] {
        assert!(authorizer.decide_without_webhooks(&request(&n1(), line)).allowed(), "{line}");
    }
    for line in [
        "list secrets - -",
        "list configmaps - -",
        "list discovery.k8s.io:endpointslices/status - -",
        "update networking.k8s.io:networkpolicies a p",
        "patch coordination.k8s.io:leases kube-system xebec-announcer-n2",
        "patch coordination.k8s.io:leases kube-system kube-scheduler",
        "watch coordination.k8s.io:leases - -",
    ] {
        assert!(!authorizer.decide_without_webhooks(&request(&n1(), line)).allowed(), "{line}");
    }
}
