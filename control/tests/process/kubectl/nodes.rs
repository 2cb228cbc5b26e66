//! cordon, uncordon, drain, taint, top and `debug` of a node.

use super::{Step, fails, ok};

/// Nobody stands behind it; the address is this machine's, where no kubelet listens on port 1.
pub(super) const NODE: &str = "apiVersion: v1
kind: Node
metadata: {name: n1}
status:
  addresses: [{type: InternalIP, address: 127.0.0.1}]
  daemonEndpoints: {kubeletEndpoint: {Port: 1}}
  capacity: {cpu: 4, memory: 8Gi, pods: 110}
  allocatable: {cpu: 4, memory: 8Gi, pods: 110}
";

pub(super) const STEPS: &[Step] = &[
    ok("create -f node.yaml", &["node/n1 created"]),
    ok("get nodes -o wide", &["n1", "127.0.0.1"]),
    ok("create -f pod.yaml", &["pod/p1 created"]),
    ok(
        "describe node n1",
        &["Name:               n1", "Non-terminated Pods:          (1 in total)", "127.0.0.1"],
    ),
    ok("cordon n1", &["node/n1 cordoned"]),
    ok("cordon n1", &["node/n1 already cordoned"]),
    ok("get node n1", &["SchedulingDisabled"]),
    ok("uncordon n1", &["node/n1 uncordoned"]),
    ok(
        "drain n1 --dry-run=server --force",
        &["node/n1 cordoned (server dry run)", "evicting pod nodes/p1 (server dry run)"],
    ),
    fails("drain n1", &["cannot delete Pods that declare no controller", "nodes/p1"]),
    ok("create pdb hold --selector=run=p1 --min-available=1", &["created"]),
    // What a disruption controller would have counted: the pod is not ready.
    ok(
        "patch pdb hold --subresource=status --type=merge -p '{\"status\":{\"observedGeneration\":1,\"disruptionsAllowed\":0,\"currentHealthy\":0,\"desiredHealthy\":1,\"expectedPods\":1}}'",
        &["poddisruptionbudget.policy/hold patched"],
    ),
    // A budget protects pods that run.
    ok(
        "patch pod p1 --subresource=status --type=merge -p '{\"status\":{\"phase\":\"Running\"}}'",
        &["pod/p1 patched"],
    ),
    fails(
        "drain n1 --ignore-daemonsets --force --timeout=1s --delete-emptydir-data",
        &["node/n1 already cordoned", "Cannot evict pod as it would violate the pod's disruption budget."],
    ),
    ok("delete pdb hold", &["deleted"]),
    // Deleted, the pod waits for a kubelet to end it.
    fails(
        "drain n1 --ignore-daemonsets --force --timeout=1s --delete-emptydir-data",
        &["node/n1 already cordoned", "evicting pod nodes/p1", "There are pending pods in node \"n1\""],
    ),
    ok("get pod p1", &["Terminating"]),
    ok("drain n1 --dry-run=client --force", &["node/n1 already cordoned (dry run)"]),
    ok("uncordon n1", &["node/n1 uncordoned"]),
    ok("taint node n1 a=b:NoSchedule", &["node/n1 tainted"]),
    fails("taint node n1 a=b:NoSchedule", &["already has a taint"]),
    fails("taint node n1 a=b:Sometimes", &["invalid taint effect: Sometimes"]),
    ok(
        "get node n1 -o jsonpath={.spec.taints}",
        &["{\"effect\":\"NoSchedule\",\"key\":\"a\",\"value\":\"b\"}"],
    ),
    ok("taint node n1 a-", &["node/n1 untainted"]),
    fails("top nodes", &["error: Metrics API not available"]),
    fails("top pods", &["error: Metrics API not available"]),
    ok("debug node/n1 --image=busybox -q --attach=false --profile=general", &[]),
    ok("get pods -o wide", &["node-debugger-n1-", "n1"]),
    ok("get --raw /api/v1/nodes/n1", &["\"kind\":\"Node\""]),
    fails("get --raw /api/v1/nodes/n1/proxy/healthz", &["Error from server"]),
    ok("delete pods --all --force --grace-period=0", &["pod \"p1\" force deleted"]),
];
