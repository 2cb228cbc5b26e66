//! Reading: version, get, api-resources, api-versions, explain, cluster-info, events, and what never asks the server.

use super::{Step, fails, ok};

pub(super) const STEPS: &[Step] = &[
    ok("version", &["Client Version: v1.37", "Server Version: v1.36", "!WARNING"]),
    ok("version -o json", &["\"serverVersion\": {", "\"minor\": \"36\""]),
    // get
    ok("get ns", &["NAME              STATUS   AGE", "kube-node-lease   Active"]),
    ok("create configmap c1 --from-literal=a=1", &["configmap/c1 created"]),
    ok("create configmap c2 --from-literal=a=2", &["configmap/c2 created"]),
    ok("label cm c1 tier=front", &["configmap/c1 labeled"]),
    ok(
        "get cm c1 -o yaml",
        &["apiVersion: v1\ndata:\n  a: \"1\"\nkind: ConfigMap", "namespace: read", "!managedFields"],
    ),
    ok("get cm c1 -o yaml --show-managed-fields", &["manager: kubectl-create", "f:data"]),
    ok("get cm c1 -o json", &["\"kind\": \"ConfigMap\""]),
    ok("get cm -o json", &["\"kind\": \"List\""]),
    ok("get cm c1 c2 -o name", &["configmap/c1\nconfigmap/c2\n"]),
    ok("get cm c1 -o jsonpath={.data.a}", &["1"]),
    ok("get cm c1 -o go-template={{.data.a}}", &["1"]),
    ok(
        "get cm -o custom-columns=N:.metadata.name,A:.data.a",
        &["N                  A\nc1                 1\n"],
    ),
    ok("get cm -L tier", &["NAME               DATA   AGE   TIER"]),
    ok("get cm --show-labels", &["LABELS", "tier=front"]),
    ok("get cm -l tier=front -o name", &["configmap/c1", "!c2"]),
    ok("get cm -l 'tier notin (front)' -o name", &["configmap/c2", "!c1"]),
    ok("get cm --field-selector metadata.name=c2 -o name", &["configmap/c2", "!c1"]),
    fails("get cm --field-selector data.a=1", &["field label not supported: data.a"]),
    ok("get cm --sort-by=.data.a --no-headers", &["c1"]),
    ok("get cm --chunk-size=1 -o name", &["configmap/c1\nconfigmap/c2\nconfigmap/kube-root-ca.crt\n"]),
    ok("get cm -w --request-timeout=1s", &["NAME", "c1"]),
    ok("get cm --watch-only --request-timeout=1s", &["!c1"]),
    ok("get cm -w --output-watch-events --request-timeout=1s", &["EVENT", "ADDED"]),
    ok(
        "get rolebindings -A --watch --request-timeout=1s -o name",
        &["rolebinding.rbac.authorization.k8s.io/"],
    ),
    ok("get svc -A -o wide", &["SELECTOR", "10.96.0.1"]),
    ok(
        "get services,endpointslices -n default",
        &["service/kubernetes", "endpointslice.discovery.k8s.io/kubernetes"],
    ),
    ok("get all -n default", &["service/kubernetes"]),
    // The one definition that a cluster of ours begins with.
    ok("get crd", &["loadbalancerpools.network.xebec.dev"]),
    ok("get pods", &["No resources found in read namespace."]),
    ok("get pod/p1 --ignore-not-found", &["!p1"]),
    fails("get cm none", &["Error from server (NotFound): configmaps \"none\" not found"]),
    fails("get things", &["error: the server doesn't have a resource type \"things\""]),
    // The 1.20 server answered with unhealthy parts: it asked the scheduler's old port.
    ok(
        "get cs",
        &[
            "NAME     STATUS    MESSAGE   ERROR\netcd-0   Healthy   ok",
            "Warning: v1 ComponentStatus is deprecated in v1.19+",
        ],
    ),
    ok("get cs etcd-0 -o jsonpath={.conditions[0].type}", &["Healthy"]),
    ok("get events --sort-by=.lastTimestamp", &[]),
    ok("get --raw=/readyz?verbose", &["[+]ping ok", "readyz check passed"]),
    ok("get --raw /api/v1/namespaces/read/configmaps/c1 -v0", &["\"kind\":\"ConfigMap\""]),
    fails("get --raw /api/v1/namespaces/read/configmaps/none", &["Error from server (NotFound)"]),
    fails(
        "delete --raw /api/v1/namespaces/default/services/web",
        &["Error from server (NotFound): services \"web\" not found"],
    ),
    ok("delete --raw /api/v1/namespaces/read/configmaps/c2", &["\"status\":\"Success\""]),
    // discovery and schemas
    ok(
        "api-versions",
        &["admissionregistration.k8s.io/v1\n", "apps/v1\n", "batch/v1\n", "\nv1\n", "!policy/v1beta1"],
    ),
    ok("api-resources", &["NAME", "bindings", "deployments                         deploy", "apps/v1"]),
    ok("api-resources --verbs=list --cached=false", &["componentstatuses", "!subjectaccessreviews"]),
    ok("api-resources --namespaced=false -o name", &["nodes\n", "!pods"]),
    ok(
        "api-resources --api-group=apps -o wide --sort-by=kind",
        &["controllerrevisions", "VERBS", "!cronjobs"],
    ),
    ok("api-resources --categories=all -o name", &["deployments.apps", "!configmaps"]),
    ok(
        "explain pod.spec.containers",
        &["KIND:       Pod\nVERSION:    v1", "FIELD: containers <[]Container>", "imagePullPolicy"],
    ),
    ok(
        "explain pod --output=plaintext-openapiv2",
        &["KIND:     Pod", "apiVersion\t<string>", "spec\t<Object>"],
    ),
    ok("explain pod.spec", &["FIELD: spec <PodSpec>", "containers\t<[]Container> -required-"]),
    ok("explain deployment --recursive", &["GROUP:      apps", "matchLabels\t<map[string]string>"]),
    ok("explain cronjobs --api-version=batch/v1", &["KIND:       CronJob"]),
    ok("explain hpa --api-version=autoscaling/v1", &["VERSION:    v1"]),
    fails("explain pod.spec.nothing", &["field \"nothing\" does not exist"]),
    // cluster-info
    ok("cluster-info", &["Kubernetes control plane", "is running at", "cluster-info dump"]),
    ok("cluster-info dump --namespaces read", &["\"kind\": \"PodList\"", "\"kind\": \"NodeList\""]),
    ok("cluster-info dump --output-directory=dump", &["Cluster info dumped to dump"]),
    // events
    ok("events", &["No events found in read namespace."]),
    ok("events --for pod/p1", &["No events found in read namespace."]),
    ok("events -A --types=Normal", &[]),
    // What never asks the server.
    ok("kustomize kust", &["name: k-web", "replicas: 2"]),
    ok("completion bash", &["__start_kubectl"]),
    ok("options", &["--kubeconfig"]),
    fails("plugin list", &["unable to find any kubectl plugins"]),
    ok("config view", &["current-context:", "DATA+OMITTED"]),
    ok("config get-contexts", &["CURRENT"]),
    ok("config get-clusters", &["NAME"]),
    ok("config set-context other --namespace=x --kubeconfig=other.conf", &["Context \"other\" created."]),
    ok("config use-context other --kubeconfig=other.conf", &["Switched to context \"other\"."]),
    ok("config current-context --kubeconfig=other.conf", &["other"]),
    ok("config delete-context other --kubeconfig=other.conf", &["deleted context other"]),
];
