//! Pods of a node whose kubelet does not answer: every stream says so; pods are patched, copied, deleted all the same.

use super::{Step, fails, ok};

pub(super) const STEPS: &[Step] = &[
    ok("create -f pod.yaml", &["pod/p1 created"]),
    ok("get pods p1 -o jsonpath={.spec.nodeName}", &["n1"]),
    ok("get pods -A -o wide --field-selector spec.nodeName=n1", &["NOMINATED NODE", "p1"]),
    ok("get pods -o wide --v=0", &["READINESS GATES", "p1"]),
    ok("get --raw /api/v1/namespaces/pods/pods/p1 -v0", &["\"kind\":\"Pod\""]),
    ok(
        "describe pod p1",
        &[
            "Name:             p1",
            "Node:             n1/",
            "Status:           Pending",
            "QoS Class:                   BestEffort",
        ],
    ),
    fails("exec p1 -- ls", &["error dialing backend"]),
    fails("exec -it p1 -- sh", &["Unable to use a TTY", "error dialing backend"]),
    fails("attach p1", &["error dialing backend"]),
    fails("attach p1 -i", &["error dialing backend"]),
    fails("cp dep.yaml p1:x", &["error dialing backend"]),
    fails("logs p1", &["Get \"https://127.0.0.1:1/containerLogs/pods/p1/c\": dial tcp"]),
    fails(
        "--request-timeout=1s logs -f p1 --tail=5 --timestamps --since=5m",
        &["/containerLogs/pods/p1/c?follow=true&sinceSeconds=300&tailLines=5&timestamps=true"],
    ),
    fails("logs -l run=p1 --all-containers --prefix", &["/containerLogs/pods/p1/c?tailLines=10"]),
    fails("logs p1 -c none", &["container none is not valid for pod p1"]),
    fails(
        "port-forward pod/p1 18080:80",
        &["unable to forward port because pod is not running. Current status=Pending"],
    ),
    fails("port-forward svc/kubernetes 18081:443 -n default", &["Service is defined without a selector"]),
    fails(
        "debug p1 --image=busybox -q --profile=general --attach=false -c none --target=zzz",
        &["spec.ephemeralContainers[0].targetContainerName: Not found: \"zzz\""],
    ),
    ok("debug p1 --image=busybox -q --attach=false --profile=general", &[]),
    ok("get pod p1 -o jsonpath={.spec.ephemeralContainers[*].image}", &["busybox"]),
    ok("debug p1 --copy-to=p1d --image=busybox -q --attach=false --profile=general", &[]),
    ok("get pod p1d -o jsonpath={.spec.containers[*].image}", &["nginx busybox"]),
    ok(
        "patch pod p1 --subresource=status --type=merge -p '{\"status\":{\"phase\":\"Running\"}}'",
        &["pod/p1 patched"],
    ),
    ok("get pod p1", &["Running"]),
    fails("port-forward pod/p1 18080:80", &["error upgrading connection", "error dialing backend"]),
    ok(
        "patch pod p1 --subresource=resize --type=strategic -p '{\"spec\":{\"containers\":[{\"name\":\"c\"}]}}'",
        &["pod/p1 patched"],
    ),
    fails(
        "patch pod p1 -p '{\"spec\":{\"nodeName\":\"n2\"}}'",
        &["pod updates may not change fields other than"],
    ),
    ok("get pods --show-kind", &["pod/p1"]),
    ok("get events --field-selector involvedObject.name=none", &["No resources found in pods namespace."]),
    ok("wait --for=jsonpath={.status.phase}=Running pod/p1 --timeout=5s", &["condition met"]),
    ok("create -f pod2.yaml", &["pod/p2 created"]),
    // Ends when a kubelet has ended it, and none does.
    fails("delete pod p2 --now --timeout=1s", &["pod \"p2\" deleted", "timed out waiting for the condition"]),
    ok("delete pod p1 --grace-period=0 --force", &["pod \"p1\" force deleted"]),
    ok("delete pods --all --wait=false", &["pod \"p1d\" deleted", "pod \"p2\" deleted"]),
    ok("delete pods --all --force --grace-period=0", &["force deleted"]),
    ok("get pods", &["No resources found"]),
];
