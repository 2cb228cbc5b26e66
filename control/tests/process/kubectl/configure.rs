//! label, annotate, set, taint-free: small changes of objects, and `describe` of every kind.

use super::{Step, fails, ok};

/// Kinds that no `create` command has a word for, to be described.
pub(super) const KINDS: &str = "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: claim}
spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: volume}
spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /srv}}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: none}
provisioner: none.local/none
---
apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec: {limits: [{type: Container, max: {cpu: 8}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: class}
spec: {controller: none.local/none}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: idle}
webhooks: []
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: set}
spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec: {replicas: 0, selector: {a: c}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: x}]}}}
";

pub(super) const STEPS: &[Step] = &[
    ok("apply -f dep.yaml", &["created"]),
    ok("label deploy web x=y", &["deployment.apps/web labeled"]),
    fails("label deploy web x=y2", &["'x' already has a value (y), and --overwrite is false"]),
    ok("label deploy web x=y2 --overwrite", &["deployment.apps/web labeled"]),
    ok("label deploy -l app=web z=1", &["deployment.apps/web labeled"]),
    ok("label deploy web --list", &["x=y2", "z=1"]),
    ok("label deploy web x-", &["deployment.apps/web unlabeled"]),
    fails("label deploy web a=b/c/d", &["a valid label must"]),
    ok("annotate deploy web x=y --overwrite", &["deployment.apps/web annotated"]),
    ok("annotate deploy --all note=n", &["deployment.apps/web annotated"]),
    ok("annotate deploy web note-", &["deployment.apps/web annotated"]),
    ok("set image deploy/web c=nginx:2", &["deployment.apps/web image updated"]),
    fails("set image deploy/web d=nginx:2", &["unable to find container named \"d\""]),
    ok("set env deploy/web A=B", &["deployment.apps/web env updated"]),
    ok("set env deploy/web --list", &["A=B"]),
    ok(
        "set resources deploy/web --limits=cpu=1 --requests=cpu=1",
        &["deployment.apps/web resource requirements updated"],
    ),
    fails(
        "set resources deploy/web --limits=cpu=1 --requests=cpu=2",
        &["must be less than or equal to cpu limit of 1"],
    ),
    ok("set sa deploy/web default", &["deployment.apps/web serviceaccount updated"]),
    ok(
        "get deploy web -o jsonpath={.spec.template.spec.containers[0].image},{.spec.template.spec.containers[0].env[0].value}",
        &["nginx:2,B"],
    ),
    ok("create service clusterip s --tcp=80:80", &["created"]),
    ok("set selector svc s app=web", &["service/s selector updated"]),
    ok("get svc s -o jsonpath={.spec.selector}", &["{\"app\":\"web\"}"]),
    ok("create role r --verb=get --resource=pods", &["created"]),
    ok("create rolebinding rb --role=r --user=u", &["created"]),
    ok(
        "set subject rolebinding rb --user=v --serviceaccount=configure:default",
        &["rolebinding.rbac.authorization.k8s.io/rb subjects updated"],
    ),
    // describe, each kind
    ok(
        "create -f webhook.yaml",
        &["persistentvolumeclaim/claim created", "replicationcontroller/old created"],
    ),
    ok("create secret generic sec --from-literal=a=b", &["created"]),
    ok("create sa robot", &["created"]),
    ok("create job j --image=x", &["created"]),
    ok("create cronjob cj --image=x --schedule='1 1 1 1 *'", &["created"]),
    ok("create ingress i --rule=a/b=s:80", &["created"]),
    ok("create pdb b --selector=a=b --min-available=1", &["created"]),
    ok("create quota q --hard=services=9", &["created"]),
    ok("autoscale deploy web --min=1 --max=3 --cpu=50%", &["autoscaled"]),
    ok(
        "describe deploy web",
        &["Name:                   web", "StrategyType:           RollingUpdate", "Image:      nginx:2"],
    ),
    ok("describe rs", &["Controlled By:  Deployment/web", "Name:         set"]),
    ok("describe rc old", &["Replicas:     0 current / 0 desired"]),
    ok("describe ns default", &["Status:       Active", "No resource quota."]),
    ok("describe ns configure", &["Resource Quotas", "Resource Limits"]),
    fails("describe svc web", &["Error from server (NotFound): services \"web\" not found"]),
    ok("describe svc s", &["Selector:                 app=web", "Port:                     80-80  80/TCP"]),
    ok("describe cm kube-root-ca.crt", &["ca.crt:"]),
    ok("describe secret sec", &["a:  1 bytes"]),
    ok("describe sa robot", &["Name:                robot"]),
    ok("describe job j", &["Parallelism:      1"]),
    ok("describe cj cj", &["Schedule:                      1 1 1 1 *"]),
    ok("describe ingress i", &["a", "s:80"]),
    ok("describe pdb b", &["Min available:  1"]),
    ok("describe quota q", &["services    1     9"]),
    ok("describe hpa web", &["Reference:", "Deployment/web"]),
    ok("describe pvc claim", &["StorageClass:  none"]),
    ok("describe pv volume", &["HostPath (bare host directory volume)"]),
    ok("describe sc none", &["Provisioner:           none.local/none"]),
    ok("describe limits limits", &["Container   cpu"]),
    ok("describe netpol closed", &["Allowing ingress traffic:"]),
    ok("describe ingressclass class", &["Controller:   none.local/none"]),
    ok("describe role r", &["pods       []                 []              [get]"]),
    ok("describe rolebinding rb", &["ServiceAccount  default  configure", "User"]),
    ok("describe clusterrole view", &["configmaps"]),
    ok("describe clusterrolebinding cluster-admin", &["Group  system:masters"]),
    ok("describe endpointslices -n default", &["Name:         kubernetes"]),
    ok("describe endpoints kubernetes -n default", &["Subsets:"]),
    ok("describe priorityclass system-node-critical", &["2000001000"]),
    ok("describe validatingwebhookconfiguration idle", &["Kind:         ValidatingWebhookConfiguration"]),
    ok("describe apiservice v1.apps", &["Version Priority:        15", "Available"]),
    ok("describe flowschema catch-all", &["catch-all"]),
    ok("describe prioritylevelconfiguration exempt", &["Exempt"]),
    ok("describe ipaddress", &["Parent"]),
    ok("describe servicecidr kubernetes", &["10.96.0.0/12"]),
    ok("delete pv volume", &["deleted"]),
    ok("delete sc none", &["deleted"]),
    ok("delete ingressclass class", &["deleted"]),
];
