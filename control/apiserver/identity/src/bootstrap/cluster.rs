//! ClusterRoles of people, nodes and components, and their ClusterRoleBindings.

use serde_json::Value;

use super::Subject::{Group, ServiceAccount, User};
use super::{RoleText, Subject, binding, cluster_role, parse};

/// What every node may do besides its own objects and those of its pods.
///
/// Objects the node authorizer subdivides (secrets, pods, nodes, ...) are listed as upstream does, since the role
/// may be bound without that authorizer.
pub(super) const NODE: &str = "
    create authentication.k8s.io tokenreviews
    create authorization.k8s.io subjectaccessreviews,localsubjectaccessreviews
    get,list,watch core services
    create,get,list,watch core nodes
    update,patch core nodes/status
    update,patch core nodes
    create,update,patch core events
    get,list,watch core pods
    create,delete core pods
    update,patch core pods/status
    create core pods/eviction
    get,list,watch core secrets,configmaps
    get core persistentvolumeclaims,persistentvolumes
    get core endpoints
    create,get,list,watch certificates.k8s.io certificatesigningrequests
    get,create,update,patch,delete coordination.k8s.io leases
    get storage.k8s.io volumeattachments
    get,update,patch core persistentvolumeclaims/status
    create core serviceaccounts/token
    get core serviceaccounts
    get,watch,list storage.k8s.io csidrivers
    get,create,update,patch,delete storage.k8s.io csinodes
    get,list,watch node.k8s.io runtimeclasses
    get resource.k8s.io resourceclaims
    get,list,watch,create,update,patch,delete,deletecollection resource.k8s.io resourceslices
";

const ROLES: &[RoleText] = &[
    ("cluster-admin", "* * *\n* url *"),
    (
        "system:discovery",
        "get url /livez,/readyz,/healthz,/version,/version/,/openapi,/openapi/*,/api,/api/*,/apis,/apis/*",
    ),
    (
        "system:monitoring",
        "get url /metrics,/metrics/slis,/livez,/readyz,/healthz,/livez/*,/readyz/*,/healthz/*",
    ),
    (
        "system:basic-user",
        "create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews
         create authentication.k8s.io selfsubjectreviews",
    ),
    ("system:public-info-viewer", "get url /livez,/readyz,/healthz,/version,/version/"),
    (
        "system:heapster",
        "get,list,watch core events,pods,nodes,namespaces
         get,list,watch extensions deployments",
    ),
    ("system:node", NODE),
    (
        "system:node-problem-detector",
        "get core nodes
         patch core nodes/status
         create,update,patch core,events.k8s.io events",
    ),
    (
        "system:kubelet-api-admin",
        "get,list,watch core nodes
         proxy core nodes
         * core nodes/proxy,nodes/metrics,nodes/spec,nodes/stats,nodes/log,nodes/configz,nodes/healthz,nodes/pods",
    ),
    ("system:node-bootstrapper", "create,get,list,watch certificates.k8s.io certificatesigningrequests"),
    (
        "system:auth-delegator",
        "create authentication.k8s.io tokenreviews
         create authorization.k8s.io subjectaccessreviews",
    ),
    ("system:kube-aggregator", "get,list,watch core services,endpoints"),
    (
        "system:kube-controller-manager",
        "create,update,patch core,events.k8s.io events
         create coordination.k8s.io leases
         get,update coordination.k8s.io leases kube-controller-manager
         create core secrets,serviceaccounts
         delete core secrets
         get core namespaces,secrets,serviceaccounts,configmaps
         update core secrets,serviceaccounts
         create authentication.k8s.io tokenreviews
         create authorization.k8s.io subjectaccessreviews
         list,watch * *
         create core serviceaccounts/token",
    ),
    (
        "system:kube-dns",
        "list,watch core endpoints,services
         list,watch discovery.k8s.io endpointslices",
    ),
    (
        "system:persistent-volume-provisioner",
        "get,list,watch,create,delete core persistentvolumes
         get,list,watch,update core persistentvolumeclaims
         get,list,watch storage.k8s.io storageclasses
         watch core events
         create,update,patch core,events.k8s.io events",
    ),
    (
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        "create certificates.k8s.io certificatesigningrequests/nodeclient",
    ),
    (
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        "create certificates.k8s.io certificatesigningrequests/selfnodeclient",
    ),
    (
        "system:volume-scheduler",
        "get,list,watch,update,patch core persistentvolumes
         get,list,watch storage.k8s.io storageclasses
         get,list,watch,update,patch core persistentvolumeclaims",
    ),
    (
        "system:certificates.k8s.io:legacy-unknown-approver",
        "approve certificates.k8s.io signers kubernetes.io/legacy-unknown",
    ),
    (
        "system:certificates.k8s.io:kubelet-serving-approver",
        "approve certificates.k8s.io signers kubernetes.io/kubelet-serving",
    ),
    (
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        "approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client",
    ),
    (
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        "approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet",
    ),
    ("system:service-account-issuer-discovery", "get url /.well-known/openid-configuration,/openid/v1/jwks"),
    (
        "system:node-proxier",
        "list,watch core services,endpoints
         get,list,watch core nodes
         create,update,patch core,events.k8s.io events
         list,watch discovery.k8s.io endpointslices
         list,watch networking.k8s.io servicecidrs",
    ),
    (
        "system:kube-scheduler",
        "create,update,patch core,events.k8s.io events
         create coordination.k8s.io leases
         get,update coordination.k8s.io leases kube-scheduler
         get,list,watch core nodes
         get,list,watch,delete core pods
         create core pods/binding,bindings
         patch,update core pods/status
         get,list,watch core services,replicationcontrollers
         get,list,watch apps,extensions replicasets
         get,list,watch apps statefulsets
         get,list,watch policy poddisruptionbudgets
         get,list,watch core persistentvolumeclaims,persistentvolumes
         create authentication.k8s.io tokenreviews
         create authorization.k8s.io subjectaccessreviews
         get,list,watch storage.k8s.io csinodes
         get,list,watch core namespaces
         get,list,watch storage.k8s.io csidrivers
         get,list,watch storage.k8s.io csistoragecapacities
         get,list,watch storage.k8s.io volumeattachments
         get,list,watch resource.k8s.io deviceclasses
         get,list,watch,update,patch resource.k8s.io resourceclaims
         update,patch resource.k8s.io resourceclaims/status
         update,patch resource.k8s.io resourceclaims/binding
         get,list,watch resource.k8s.io resourceslices",
    ),
    // Xebec's own: the agent runs the service dataplane, network policies and the DNS server under its node's identity.
    // A policy's peers are pods of any node, so that their labels and addresses must be known on every one, as every
    // network plug-in that enforces policies has it; what pods refer to, and every write, stays with the node authorizer.
    (
        "xebec:agent",
        "list,watch core services,namespaces,pods
         get,list,watch core nodes
         list,watch discovery.k8s.io endpointslices
         list,watch networking.k8s.io servicecidrs,networkpolicies",
    ),
    // What the controller of LoadBalancerPools does, besides what every controller may, and the definition of its kind.
    (
        "xebec:load-balancer-controller",
        "update core services/status
         update network.xebec.dev loadbalancerpools/status
         create apiextensions.k8s.io customresourcedefinitions
         patch apiextensions.k8s.io customresourcedefinitions loadbalancerpools.network.xebec.dev",
    ),
];

const BINDINGS: &[(&str, &str, &[Subject])] = &[
    ("cluster-admin", "cluster-admin", &[Group("system:masters")]),
    ("system:monitoring", "system:monitoring", &[Group("system:monitoring")]),
    ("system:discovery", "system:discovery", &[Group("system:authenticated")]),
    ("system:basic-user", "system:basic-user", &[Group("system:authenticated")]),
    (
        "system:public-info-viewer",
        "system:public-info-viewer",
        &[Group("system:authenticated"), Group("system:unauthenticated")],
    ),
    ("system:node-proxier", "system:node-proxier", &[User("system:kube-proxy")]),
    (
        "system:kube-controller-manager",
        "system:kube-controller-manager",
        &[User("system:kube-controller-manager")],
    ),
    ("system:kube-dns", "system:kube-dns", &[ServiceAccount("kube-system", "kube-dns")]),
    ("system:kube-scheduler", "system:kube-scheduler", &[User("system:kube-scheduler")]),
    ("system:volume-scheduler", "system:volume-scheduler", &[User("system:kube-scheduler")]),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        &[Group("system:serviceaccounts")],
    ),
    // Without subjects, as upstream: nodes get these rights from the node authorizer.
    ("system:node", "system:node", &[]),
    ("kubeadm:cluster-admins", "cluster-admin", &[Group("kubeadm:cluster-admins")]),
    // The API server's client certificate towards kubelets, which ask the API server whether it may.
    ("xebec:kubelet-api-admin", "system:kubelet-api-admin", &[User("kube-apiserver-kubelet-client")]),
    ("xebec:agent", "xebec:agent", &[Group("system:nodes")]),
    (
        "xebec:load-balancer-controller",
        "xebec:load-balancer-controller",
        &[User("system:kube-controller-manager")],
    ),
];

pub(super) fn roles() -> Vec<Value> {
    ROLES.iter().map(|(name, rules)| cluster_role(name, &parse(rules))).collect()
}

pub(super) fn bindings() -> Vec<Value> {
    let bindings = BINDINGS.iter();
    bindings.map(|(name, role, subjects)| binding(name, None, ("ClusterRole", role), subjects)).collect()
}
