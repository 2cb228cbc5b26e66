//! delete and wait.

use super::{Step, fails, ok};

pub(super) const STEPS: &[Step] = &[
    fails("delete pod r1", &["Error from server (NotFound): pods \"r1\" not found"]),
    fails(
        "delete pod r2 --grace-period=0 --force",
        &["Immediate deletion does not wait", "pods \"r2\" not found"],
    ),
    ok("delete pod r2 --ignore-not-found", &[]),
    // Pods nobody schedules go at once; see `pods` for those of a node.
    ok("create -f gated.yaml", &["pod/g1 created"]),
    fails(
        "wait --for=condition=Ready pod/g1 --timeout=1s",
        &["timed out waiting for the condition on pods/g1"],
    ),
    fails("wait --for=delete pod/g1 --timeout=1s", &["timed out waiting for the condition on pods/g1"]),
    fails(
        "wait --for=jsonpath={.status.phase}=Running pod/g1 --timeout=1s",
        &["timed out waiting for the condition on pods/g1"],
    ),
    ok("wait --for=jsonpath={.status.phase}=Pending pod/g1 --timeout=5s", &["pod/g1 condition met"]),
    fails("wait --for=create pod/zzz --timeout=1s", &["timed out waiting for the condition"]),
    ok("wait --for=create pod/g1 --timeout=5s", &["pod/g1 condition met"]),
    ok("delete pod g1 --now", &["pod \"g1\" deleted"]),
    ok("wait --for=delete pod/g1 --timeout=5s", &["!timed out"]),
    ok("create deployment d2 --image=nginx", &["created"]),
    ok("wait --for=jsonpath={.status.updatedReplicas}=1 deploy/d2 --timeout=20s", &["met"]),
    ok("delete deploy d2 --cascade=foreground --wait=false", &["deployment.apps \"d2\" deleted"]),
    ok("wait --for=delete deploy/d2 --timeout=20s", &[]),
    ok("get rs,pods -l app=d2", &["No resources found"]),
    ok("apply -f dep.yaml", &["created"]),
    ok("wait --for=jsonpath={.status.updatedReplicas}=1 deploy/web --timeout=20s", &["met"]),
    ok("delete deploy web --cascade=orphan", &["deployment.apps \"web\" deleted"]),
    ok("get rs -l app=web", &["web-"]),
    ok("delete rs -l app=web --cascade=background", &["deleted"]),
    ok("create configmap one", &["created"]),
    ok("create configmap two", &["created"]),
    ok("label cm one group=x", &["labeled"]),
    ok("delete cm one --dry-run=server", &["configmap \"one\" deleted", "(server dry run)"]),
    ok("delete cm -l group=x", &["configmap \"one\" deleted"]),
    ok("delete cm two --grace-period=1 --timeout=20s", &["configmap \"two\" deleted"]),
    ok("delete cm --field-selector metadata.name=none", &["No resources found"]),
    ok("delete pods --all --wait=false", &[]),
    ok("delete -f dep.yaml --ignore-not-found", &[]),
    fails(
        "delete ns kube-public --dry-run=server",
        &[
            "Error from server (Forbidden): namespaces \"kube-public\" is forbidden: this namespace may not be deleted",
        ],
    ),
    ok("create ns gone", &["created"]),
    ok("create configmap c -n gone", &["created"]),
    ok("delete ns gone --timeout=30s", &["namespace \"gone\" deleted"]),
    fails("get ns gone", &["NotFound"]),
];
