//! apply in all its forms, diff, replace, patch and edit.

use super::{Step, edits, fails, ok};

/// Two objects of one set; pruning removes the second.
pub(super) const PRUNED: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: keep, labels: {set: a}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: drop, labels: {set: a}}
";

pub(super) const STEPS: &[Step] = &[
    ok("create -f dep.yaml", &["deployment.apps/web created"]),
    ok(
        "apply -f dep.yaml",
        &["deployment.apps/web configured", "missing the kubectl.kubernetes.io/last-applied-configuration"],
    ),
    ok("apply -f dep2.yaml", &["deployment.apps/web configured"]),
    ok("apply -f dep2.yaml", &["deployment.apps/web unchanged"]),
    ok("apply view-last-applied -f dep.yaml", &["replicas: 2"]),
    ok("apply set-last-applied -f dep.yaml", &["deployment.apps/web configured"]),
    ok("apply view-last-applied deploy/web -o json", &["\"replicas\": 1"]),
    edits(
        "apply edit-last-applied deploy/web",
        "sed -i -e s/replicas:.1/replicas:\\ 2/",
        &["deployment.apps/web edited"],
    ),
    ok("apply view-last-applied deploy/web", &["replicas: 2"]),
    ok("diff -f dep2.yaml", &["!replicas"]),
    // What client-side apply has set is taken over; what somebody else has set is not.
    ok(
        "patch deploy web --field-manager=other -p '{\"spec\":{\"replicas\":5}}'",
        &["deployment.apps/web patched"],
    ),
    fails("apply --server-side -f dep.yaml", &["conflict with \"other\" using apps/v1: .spec.replicas"]),
    ok("apply --server-side --force-conflicts -f dep.yaml", &["deployment.apps/web serverside-applied"]),
    ok(
        "apply --server-side --dry-run=server -f dep.yaml",
        &["deployment.apps/web serverside-applied (server dry run)"],
    ),
    fails("diff -f dep2.yaml", &["-  replicas: 1", "+  replicas: 2"]),
    fails("diff --server-side --force-conflicts -f dep2.yaml", &["-  replicas: 1", "+  replicas: 2"]),
    ok("get deploy web -o jsonpath={.spec.replicas}", &["1"]),
    ok("replace -f dep2.yaml", &["deployment.apps/web replaced"]),
    ok("replace --force -f dep.yaml", &["deployment.apps \"web\" deleted", "deployment.apps/web replaced"]),
    ok("apply -f prune.yaml", &["configmap/keep created", "configmap/drop created"]),
    ok("apply -f prune2.yaml --prune -l set=a", &["configmap/keep unchanged", "configmap/drop pruned"]),
    ok("get cm -l set=a -o name", &["configmap/keep", "!drop"]),
    ok("patch deploy web -p '{\"spec\":{\"replicas\":2}}'", &["deployment.apps/web patched"]),
    ok("patch deploy web -p '{\"spec\":{\"replicas\":2}}'", &["deployment.apps/web patched (no change)"]),
    ok("patch deploy web --type=merge -p '{\"spec\":{\"replicas\":1}}'", &["deployment.apps/web patched"]),
    ok(
        "patch deploy web --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":2}]'",
        &["patched"],
    ),
    ok(
        "patch deploy web --subresource=scale --type=merge -p '{\"spec\":{\"replicas\":1}}'",
        &["scale.autoscaling/web patched"],
    ),
    ok("get deploy web --subresource=scale", &["web"]),
    ok("get deploy web --subresource=scale -o jsonpath={.kind}/{.spec.replicas}", &["Scale/1"]),
    ok(
        "patch deploy web --subresource=status --type=merge -p '{\"status\":{\"replicas\":1}}'",
        &["deployment.apps/web patched"],
    ),
    fails(
        "patch deploy web -p '{\"spec\":{\"replicas\":-1}}'",
        &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
    ),
    fails(
        "patch deploy web --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/no/where\",\"value\":2}]'",
        &["The request is invalid"],
    ),
    fails("patch deploy web --type=merge -p '{\"spec\":[1]}'", &["Error from server (BadRequest)"]),
    edits("edit deploy web", "sed -i -e s/replicas:.1/replicas:\\ 2/", &["deployment.apps/web edited"]),
    edits("edit deploy web", "true", &["Edit cancelled, no changes made."]),
    edits("edit deploy web --subresource=status -o json", "true", &["no changes made"]),
    ok("get deploy web -o jsonpath={.spec.replicas}", &["2"]),
    ok("apply -k kust", &["deployment.apps/k-web created"]),
    ok("delete -k kust", &["deployment.apps \"k-web\" deleted"]),
];
