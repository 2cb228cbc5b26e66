//! `admin`, `edit` and `view`, and the roles they are made of.

use serde_json::{Value, json};

use super::{RoleText, cluster_role, parse};
use crate::authz::Rule;

const TO_ADMIN: RoleText = (
    "system:aggregate-to-admin",
    "create authorization.k8s.io localsubjectaccessreviews
     create,delete,deletecollection,get,list,patch,update,watch rbac.authorization.k8s.io roles,rolebindings",
);

const TO_EDIT: RoleText = (
    "system:aggregate-to-edit",
    "get,list,watch core pods/attach,pods/proxy,pods/exec,pods/portforward,secrets,services/proxy
     impersonate core serviceaccounts
     create,update,patch,delete,deletecollection core pods,pods/attach,pods/proxy,pods/exec,pods/portforward
     create core pods/eviction
     create,update,patch,delete,deletecollection core replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/proxy,persistentvolumeclaims,configmaps,secrets,events
     create core serviceaccounts/token
     create,update,patch,delete,deletecollection apps statefulsets,statefulsets/scale,daemonsets,deployments,deployments/scale,deployments/rollback,replicasets,replicasets/scale
     create,update,patch,delete,deletecollection autoscaling horizontalpodautoscalers
     create,update,patch,delete,deletecollection batch jobs,cronjobs
     create,update,patch,delete,deletecollection extensions daemonsets,deployments,deployments/scale,deployments/rollback,ingresses,replicasets,replicasets/scale,replicationcontrollers/scale,networkpolicies
     create,update,patch,delete,deletecollection policy poddisruptionbudgets
     create,update,patch,delete,deletecollection networking.k8s.io networkpolicies,ingresses
     create,delete,deletecollection,get,list,patch,update,watch coordination.k8s.io leases
     create,update,patch,delete,deletecollection resource.k8s.io resourceclaims,resourceclaimtemplates",
);

const TO_VIEW: RoleText = (
    "system:aggregate-to-view",
    "get,list,watch core pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,configmaps
     get,list,watch core limitranges,resourcequotas,bindings,events,pods/status,resourcequotas/status,namespaces/status,replicationcontrollers/status,pods/log
     get,list,watch core namespaces
     get,list,watch discovery.k8s.io endpointslices
     get,list,watch apps controllerrevisions,statefulsets,statefulsets/status,statefulsets/scale,daemonsets,daemonsets/status,deployments,deployments/status,deployments/scale,replicasets,replicasets/status,replicasets/scale
     get,list,watch autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status
     get,list,watch batch jobs,cronjobs,cronjobs/status,jobs/status
     get,list,watch extensions daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale,networkpolicies
     get,list,watch policy poddisruptionbudgets,poddisruptionbudgets/status
     get,list,watch networking.k8s.io networkpolicies,ingresses,ingresses/status
     get,list,watch resource.k8s.io resourceclaims,resourceclaims/status,resourceclaimtemplates",
);

fn aggregation_label(target: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{target}")
}

/// A role that feeds the role `target`.
fn feeding(mut role: Value, target: &str) -> Value {
    role["metadata"]["labels"][aggregation_label(target)] = json!("true");
    role
}

/// A role made of all roles that feed it.
fn aggregating(name: &str, rules: &[Rule]) -> Value {
    let mut role = cluster_role(name, rules);
    let label = aggregation_label(name);
    role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    role
}

pub(super) fn roles() -> Vec<Value> {
    let [to_admin, to_edit, to_view] = [TO_ADMIN, TO_EDIT, TO_VIEW].map(|(_, text)| parse(text));
    let view = to_view.clone();
    // Each role also feeds the next stronger one, so its rules are contained in that one's.
    let edit = [to_edit.clone(), view.clone()].concat();
    let admin = [to_admin.clone(), edit.clone()].concat();
    vec![
        aggregating("admin", &admin),
        feeding(aggregating("edit", &edit), "admin"),
        feeding(aggregating("view", &view), "edit"),
        feeding(cluster_role(TO_ADMIN.0, &to_admin), "admin"),
        feeding(cluster_role(TO_EDIT.0, &to_edit), "edit"),
        feeding(cluster_role(TO_VIEW.0, &to_view), "view"),
    ]
}
