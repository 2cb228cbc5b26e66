//! One ClusterRole per controller, bound to the service account of the same name in kube-system.

use serde_json::Value;

use super::{RoleText, Subject, binding, cluster_role, parse};

const PREFIX: &str = "system:controller:";

const EVENTS: &str = "create,update,patch core,events.k8s.io events";

/// Controllers that also write Events (the rule is added to each).
const WITH_EVENTS: &[RoleText] = &[
    (
        "attachdetach-controller",
        "list,watch core persistentvolumes,persistentvolumeclaims
         get,list,watch core nodes
         patch,update core nodes/status
         list,watch core pods
         get,create,delete,list,watch storage.k8s.io volumeattachments
         get,watch,list storage.k8s.io csidrivers
         get,watch,list storage.k8s.io csinodes",
    ),
    (
        "cronjob-controller",
        "get,list,watch,update batch cronjobs
         get,list,watch,create,update,delete,patch batch jobs
         update batch cronjobs/status
         update batch cronjobs/finalizers
         list,delete core pods",
    ),
    (
        "daemon-set-controller",
        "get,list,watch extensions,apps daemonsets
         update extensions,apps daemonsets/status
         update extensions,apps daemonsets/finalizers
         list,watch core nodes
         list,watch,create,delete,patch core pods
         create core pods/binding
         get,list,watch,create,delete,update,patch apps controllerrevisions",
    ),
    (
        "deployment-controller",
        "get,list,watch,update extensions,apps deployments
         update extensions,apps deployments/status
         update extensions,apps deployments/finalizers
         get,list,watch,create,update,patch,delete apps,extensions replicasets
         get,list,watch,update core pods",
    ),
    (
        "disruption-controller",
        "get,list,watch extensions,apps deployments
         get,list,watch apps,extensions replicasets
         get,list,watch core replicationcontrollers
         get,list,watch policy poddisruptionbudgets
         get,list,watch apps statefulsets
         update policy poddisruptionbudgets/status
         patch,update core pods/status
         get * */scale",
    ),
    (
        "endpoint-controller",
        "get,list,watch core services,pods
         get,list,create,update,delete core endpoints
         create core endpoints/restricted",
    ),
    (
        "endpointslice-controller",
        "get,list,watch core services,pods,nodes
         update core services/finalizers
         get,list,create,update,delete discovery.k8s.io endpointslices
         create discovery.k8s.io endpointslices/restricted",
    ),
    (
        "endpointslicemirroring-controller",
        "get,list,watch core services,endpoints
         update core services/finalizers
         update core endpoints/finalizers
         get,list,create,update,delete discovery.k8s.io endpointslices
         create discovery.k8s.io endpointslices/restricted",
    ),
    (
        "expand-controller",
        "get,list,watch,update,patch core persistentvolumes
         update,patch core persistentvolumeclaims/status
         get,list,watch core persistentvolumeclaims
         get,list,watch storage.k8s.io storageclasses
         get core services,endpoints
         get core secrets",
    ),
    (
        "ephemeral-volume-controller",
        "get,list,watch core pods
         update core pods/finalizers
         get,list,watch,create core persistentvolumeclaims",
    ),
    (
        "resource-claim-controller",
        "get,list,watch core pods
         update core pods/finalizers
         get,list,watch,create,delete resource.k8s.io resourceclaims
         update,patch resource.k8s.io resourceclaims,resourceclaims/status
         update,patch resource.k8s.io resourceclaims/binding
         update,patch core pods/status",
    ),
    (
        "device-taint-eviction-controller",
        "get,list,watch,delete core pods
         update,patch core pods/status
         get,list,watch resource.k8s.io resourceclaims
         get,list,watch resource.k8s.io resourceslices
         get,list,watch resource.k8s.io deviceclasses
         get,list,watch resource.k8s.io devicetaintrules",
    ),
    ("generic-garbage-collector", "get,list,watch,patch,update,delete * *"),
    (
        "horizontal-pod-autoscaler",
        "get,list,watch autoscaling horizontalpodautoscalers
         update autoscaling horizontalpodautoscalers/status
         get,update * */scale
         list core pods
         list metrics.k8s.io pods
         get,list custom.metrics.k8s.io *
         get,list external.metrics.k8s.io *",
    ),
    (
        "job-controller",
        "get,list,watch,update,patch batch jobs
         update batch jobs/status
         update batch jobs/finalizers
         list,watch,create,delete,patch core pods",
    ),
    (
        "node-controller",
        "get,list,update,delete,patch core nodes
         patch,update core nodes/status
         patch,update core pods/status
         list,get,delete core pods",
    ),
    (
        "persistent-volume-binder",
        "get,list,watch,update,create,delete core persistentvolumes
         update core persistentvolumes/status
         get,list,watch,update core persistentvolumeclaims
         update core persistentvolumeclaims/status
         list,watch,get,create,delete core pods
         get,list,watch storage.k8s.io storageclasses
         get,create,update,delete core endpoints
         get,create,delete core services
         get core secrets
         get,list core nodes
         watch core events",
    ),
    (
        "replicaset-controller",
        "get,list,watch,update apps,extensions replicasets
         update apps,extensions replicasets/status
         update apps,extensions replicasets/finalizers
         list,watch,patch,create,delete core pods",
    ),
    (
        "replication-controller",
        "get,list,watch,update core replicationcontrollers
         update core replicationcontrollers/status
         update core replicationcontrollers/finalizers
         list,watch,patch,create,delete core pods",
    ),
    (
        "resourcequota-controller",
        "list,watch * *
         update core resourcequotas/status",
    ),
    (
        "route-controller",
        "list,watch core nodes
         patch core nodes/status",
    ),
    ("service-account-controller", "create core serviceaccounts"),
    (
        "service-controller",
        "get,list,watch core services
         patch,update core services/status
         list,watch core nodes",
    ),
    (
        "service-cidrs-controller",
        "get,list,watch,patch,update networking.k8s.io servicecidrs
         patch,update networking.k8s.io servicecidrs/finalizers
         patch,update networking.k8s.io servicecidrs/status
         get,list,watch networking.k8s.io ipaddresses",
    ),
    (
        "statefulset-controller",
        "list,watch core pods
         get,list,watch apps statefulsets
         update apps statefulsets/status
         update apps statefulsets/finalizers
         get,create,delete,update,patch core pods
         get,create,delete,update,patch,list,watch apps controllerrevisions
         get,create core persistentvolumeclaims
         update,delete core persistentvolumeclaims",
    ),
    ("ttl-controller", "update,patch,list,watch core nodes"),
    (
        "certificate-controller",
        "get,list,watch,delete certificates.k8s.io certificatesigningrequests
         update certificates.k8s.io certificatesigningrequests/status,certificatesigningrequests/approval
         approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet
         sign certificates.k8s.io signers kubernetes.io/legacy-unknown,kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,kubernetes.io/kubelet-serving
         create authorization.k8s.io subjectaccessreviews",
    ),
    (
        "pvc-protection-controller",
        "get,list,watch,update core persistentvolumeclaims
         list,watch,get core pods",
    ),
    ("pv-protection-controller", "get,list,watch,update core persistentvolumes"),
    (
        "volumeattributesclass-protection-controller",
        "list,watch,get core persistentvolumeclaims
         list,watch,get core persistentvolumes
         get,list,watch,update storage.k8s.io volumeattributesclasses",
    ),
    ("ttl-after-finished-controller", "get,list,watch,delete batch jobs"),
    ("root-ca-cert-publisher", "create,update core configmaps"),
    (
        "validatingadmissionpolicy-status-controller",
        "get,list,watch admissionregistration.k8s.io validatingadmissionpolicies
         get,patch,update admissionregistration.k8s.io validatingadmissionpolicies/status",
    ),
    (
        "selinux-warning-controller",
        "get,list,watch core persistentvolumes,persistentvolumeclaims,pods
         get,list,watch storage.k8s.io csidrivers",
    ),
];

const WITHOUT_EVENTS: &[RoleText] = &[
    (
        "clusterrole-aggregation-controller",
        "escalate,get,list,watch,update,patch rbac.authorization.k8s.io clusterroles",
    ),
    (
        "namespace-controller",
        "get,list,watch,delete core namespaces
         update core namespaces/finalize,namespaces/status
         get,list,delete,deletecollection * *",
    ),
    (
        "pod-garbage-collector",
        "list,watch,delete core pods
         get,list core nodes
         patch core pods/status",
    ),
    (
        "legacy-service-account-token-cleaner",
        "get core configmaps kube-apiserver-legacy-service-account-token-tracking
         patch,delete core secrets",
    ),
];

fn all() -> impl Iterator<Item = (&'static str, String)> {
    let with = WITH_EVENTS.iter().map(|(name, rules)| (*name, format!("{rules}\n{EVENTS}")));
    with.chain(WITHOUT_EVENTS.iter().map(|(name, rules)| (*name, (*rules).to_owned())))
}

pub(super) fn roles() -> Vec<Value> {
    all().map(|(name, rules)| cluster_role(&format!("{PREFIX}{name}"), &parse(&rules))).collect()
}

pub(super) fn bindings() -> Vec<Value> {
    all()
        .map(|(name, _)| {
            let role = format!("{PREFIX}{name}");
            binding(&role, None, ("ClusterRole", &role), &[Subject::ServiceAccount("kube-system", name)])
        })
        .collect()
}
