//! scale, autoscale, rollout of every kind that has one.

use super::{Step, fails, ok};

pub(super) const STATEFUL_SET: &str = "apiVersion: apps/v1
kind: StatefulSet
metadata: {name: st}
spec:
  serviceName: st
  replicas: 1
  selector: {matchLabels: {app: st}}
  template:
    metadata: {labels: {app: st}}
    spec: {containers: [{name: c, image: x}]}
";

pub(super) const DAEMON_SET: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ds}
spec:
  selector: {matchLabels: {app: ds}}
  template:
    metadata: {labels: {app: ds}}
    spec: {nodeSelector: {zone: nowhere}, containers: [{name: c, image: x}]}
";

pub(super) const AUTOSCALER: &str = "apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: old}
spec: {maxReplicas: 3, targetCPUUtilizationPercentage: 70, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
";

pub(super) const STEPS: &[Step] = &[
    ok("apply -f dep.yaml", &["created"]),
    ok("scale deploy web --replicas=3", &["deployment.apps/web scaled"]),
    ok("scale deploy web --current-replicas=3 --replicas=2", &["deployment.apps/web scaled"]),
    fails("scale deploy web --current-replicas=3 --replicas=2", &["Expected replicas to be 3, was 2"]),
    ok("scale deploy web --replicas=1", &["deployment.apps/web scaled"]),
    ok("scale -f dep.yaml --replicas=2", &["deployment.apps/web scaled"]),
    ok("scale deploy -l app=web --replicas=1", &["deployment.apps/web scaled"]),
    fails("scale deploy none --replicas=1", &["deployments.apps \"none\" not found"]),
    ok("get deploy web -o jsonpath={.spec.replicas}", &["1"]),
    ok("get deploy -w --request-timeout=1s", &["NAME   READY   UP-TO-DATE   AVAILABLE   AGE\nweb    0/1"]),
    ok("autoscale deploy web --min=1 --max=3", &["horizontalpodautoscaler.autoscaling/web autoscaled"]),
    fails("autoscale deploy web --min=1 --max=3", &["error: failed to create autoscaling/v2 HPA"]),
    ok(
        "autoscale deploy web --name=mem --max=3 --memory=70%",
        &["horizontalpodautoscaler.autoscaling/mem autoscaled"],
    ),
    ok("get hpa mem -o jsonpath={.apiVersion}/{.spec.metrics[0].resource.name}", &["autoscaling/v2/memory"]),
    ok("apply -f hpa.yaml", &["horizontalpodautoscaler.autoscaling/old created"]),
    ok(
        "get horizontalpodautoscalers.v1.autoscaling old -o jsonpath={.spec.targetCPUUtilizationPercentage}",
        &["70"],
    ),
    ok("get hpa", &["REFERENCE", "Deployment/web", "cpu: <unknown>/70%"]),
    ok("delete hpa --all", &["horizontalpodautoscaler.autoscaling \"web\" deleted"]),
    ok("wait --for=jsonpath={.status.observedGeneration} deploy/web --timeout=20s", &["condition met"]),
    fails(
        "rollout status deploy/web --timeout=1s",
        &["Waiting for deployment \"web\" rollout to finish", "timed out waiting for the condition"],
    ),
    ok("rollout status deploy/web --watch=false", &["Waiting for deployment"]),
    ok(
        "wait --for=jsonpath='{.metadata.annotations.deployment\\.kubernetes\\.io/revision}'=1 deploy/web --timeout=20s",
        &["condition met"],
    ),
    ok("rollout history deploy/web", &["deployment.apps/web", "REVISION  CHANGE-CAUSE\n1         <none>"]),
    ok(
        "rollout history deploy/web --revision=1",
        &["deployment.apps/web with revision #1", "Image:\tnginx:1"],
    ),
    ok("rollout restart deploy/web", &["deployment.apps/web restarted"]),
    ok("get deploy web -o yaml", &["kubectl.kubernetes.io/restartedAt"]),
    ok("rollout pause deploy/web", &["deployment.apps/web paused"]),
    fails("rollout pause deploy/web", &["deployments.apps \"web\" is already paused", "error"]),
    ok("rollout resume deploy/web", &["deployment.apps/web resumed"]),
    ok(
        "wait --for=jsonpath='{.metadata.annotations.deployment\\.kubernetes\\.io/revision}'=2 deploy/web --timeout=20s",
        &["condition met"],
    ),
    ok("rollout undo deploy/web --dry-run=server", &["deployment.apps/web rolled back (server dry run)"]),
    ok("rollout undo deploy/web", &["deployment.apps/web rolled back"]),
    ok(
        "wait --for=jsonpath='{.metadata.annotations.deployment\\.kubernetes\\.io/revision}'=3 deploy/web --timeout=20s",
        &["condition met"],
    ),
    ok("rollout undo deploy/web --to-revision=2", &["deployment.apps/web rolled back"]),
    fails("rollout undo deploy/web --to-revision=77", &["unable to find specified revision 77 in history"]),
    ok("set image deploy/web c=nginx:7", &["deployment.apps/web image updated"]),
    // Stateful sets and daemon sets are stored; no controller makes their revisions here.
    ok("apply -f sts.yaml", &["statefulset.apps/st created"]),
    ok("set image sts/st c=y", &["statefulset.apps/st image updated"]),
    ok("scale sts st --replicas=2", &["statefulset.apps/st scaled"]),
    ok("get sts st -o jsonpath={.spec.replicas},{.spec.template.spec.containers[0].image}", &["2,y"]),
    fails("rollout status sts/st --timeout=1s", &["timed out waiting for the condition"]),
    ok("rollout restart sts/st", &["statefulset.apps/st restarted"]),
    ok("apply -f ds.yaml", &["daemonset.apps/ds created"]),
    ok("rollout restart ds/ds", &["daemonset.apps/ds restarted"]),
    ok("describe sts st", &["Pods Status:"]),
    ok("describe ds ds", &["Node-Selector:  zone=nowhere"]),
    ok("delete ds ds", &["daemonset.apps \"ds\" deleted"]),
    ok("delete sts st", &["statefulset.apps \"st\" deleted"]),
];
