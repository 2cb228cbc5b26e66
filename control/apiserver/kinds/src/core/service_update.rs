//! What happens to a Service's allocated values when it is written again.
//!
//! Authority: upstream's normalizeClusterIPs, patchAllocatedValues, dropTypeDependentFields.

use serde_json::{Value, json};
use xebec_api::field::{FieldError, Path};

use super::service::{is_external, is_headless, kind, needs_cluster_ip, needs_node_port};
use crate::shared::access::{at, has, int, list, list_mut, remove, set, text, texts};

/// Makes `clusterIPs` follow a `clusterIP` given alone.
pub fn normalize_on_create(obj: &mut Value) {
    let single = text(obj, &["spec", "clusterIP"]).to_owned();
    if !single.is_empty() && list(obj, &["spec", "clusterIPs"]).is_empty() {
        set(obj, &["spec", "clusterIPs"], json!([single]));
    }
}

/// The same for an update: a client that knows only `clusterIP` leaves the old `clusterIPs` in place.
pub fn normalize_on_update(obj: &mut Value, old: &Value) {
    let single = text(obj, &["spec", "clusterIP"]).to_owned();
    let same_list = at(obj, &["spec", "clusterIPs"]) == at(old, &["spec", "clusterIPs"]);
    if single != text(old, &["spec", "clusterIP"]) && same_list {
        match single.as_str() {
            "" => remove(obj, &["spec", "clusterIPs"]),
            _ => {
                let rest = list(old, &["spec", "clusterIPs"]).iter().skip(1).cloned();
                let all: Vec<Value> = std::iter::once(json!(single)).chain(rest).collect();
                set(obj, &["spec", "clusterIPs"], Value::Array(all));
            }
        }
    }
    normalize_on_create(obj);
}

fn keep(obj: &mut Value, old: &Value, path: &[&str]) {
    if !has(obj, path) && has(old, path) {
        set(obj, path, at(old, path).clone());
    }
}

/// Takes allocated addresses and ports the new object leaves empty from the old one.
pub fn keep_allocated(obj: &mut Value, old: &Value) {
    if needs_cluster_ip(obj) && needs_cluster_ip(old) {
        if text(obj, &["spec", "clusterIP"]).is_empty() && list(obj, &["spec", "clusterIPs"]).is_empty() {
            remove(obj, &["spec", "clusterIP"]);
            keep(obj, old, &["spec", "clusterIP"]);
            remove(obj, &["spec", "clusterIPs"]);
            keep(obj, old, &["spec", "clusterIPs"]);
        }
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            keep(obj, old, &["spec", key]);
        }
    }
    if needs_node_port(obj) && needs_node_port(old) {
        let used: Vec<i64> =
            list(obj, &["spec", "ports"]).iter().filter_map(|port| int(port, &["nodePort"])).collect();
        let key = |port: &Value| (text(port, &["protocol"]).to_owned(), int(port, &["port"]));
        for port in list_mut(obj, &["spec", "ports"]) {
            if int(port, &["nodePort"]).unwrap_or(0) != 0 {
                continue;
            }
            let same = list(old, &["spec", "ports"]).iter().find(|before| key(before) == key(port));
            let number = same.and_then(|before| int(before, &["nodePort"])).unwrap_or(0);
            if number != 0 && !used.contains(&number) {
                set(port, &["nodePort"], json!(number));
            }
        }
    }
    if needs_health_check(obj) && needs_health_check(old) {
        keep(obj, old, &["spec", "healthCheckNodePort"]);
    }
}

/// True for load balancers that send to pods of the same node only: they ask each node whether it has any.
fn needs_health_check(service: &Value) -> bool {
    text(service, &["spec", "type"]) == "LoadBalancer"
        && text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

/// Drops what the old type needed and the new one does not, when the client left it as it was.
pub fn drop_unneeded(obj: &mut Value, old: &Value) {
    let same = |obj: &Value, path: &[&str]| at(obj, path) == at(old, path);
    if needs_cluster_ip(old) && !needs_cluster_ip(obj) && same(obj, &["spec", "clusterIPs"]) {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            remove(obj, &["spec", key]);
        }
    }
    let node_ports = |service: &Value| -> Vec<Option<i64>> {
        list(service, &["spec", "ports"]).iter().map(|port| int(port, &["nodePort"])).collect()
    };
    if needs_node_port(old) && !needs_node_port(obj) && node_ports(obj) == node_ports(old) {
        list_mut(obj, &["spec", "ports"]).for_each(|port| remove(port, &["nodePort"]));
    }
    if text(obj, &["spec", "type"]) != "LoadBalancer" && text(old, &["spec", "type"]) == "LoadBalancer" {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(obj, &["spec", key]) {
                remove(obj, &["spec", key]);
            }
        }
        set(obj, &["status", "loadBalancer"], json!({}));
    }
    let health = ["spec", "healthCheckNodePort"];
    if needs_health_check(old) && !needs_health_check(obj) && same(obj, &health) {
        remove(obj, &health);
    }
    if is_external(old) && !is_external(obj) && same(obj, &["spec", "externalTrafficPolicy"]) {
        remove(obj, &["spec", "externalTrafficPolicy"]);
    }
}

/// Every error of changed allocated values: addresses, families, balancer class, health check port.
pub fn validate_update(obj: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::new("spec");
    if needs_cluster_ip(obj) && needs_cluster_ip(old) {
        if !(is_headless(obj) && is_headless(old)) {
            errors.extend(validate_addresses(obj, old, &path));
        }
        if !is_headless(obj) && !is_headless(old) {
            errors.extend(validate_families(obj, old, &path));
        }
    }
    let balancers = [obj, old].iter().all(|service| kind(service) == "LoadBalancer");
    let class = |service: &Value| at(service, &["spec", "loadBalancerClass"]).clone();
    if balancers && class(obj) != class(old) {
        let path = path.child("loadBalancerClass");
        errors.push(FieldError::invalid(&path, class(obj), "may not change once set"));
    }
    let health = |service: &Value| int(service, &["spec", "healthCheckNodePort"]).unwrap_or(0);
    if needs_health_check(obj) && needs_health_check(old) && health(obj) != health(old) {
        errors.push(FieldError::forbidden(&path.child("healthCheckNodePort"), "field is immutable"));
    }
    errors
}

fn is_single(obj: &Value) -> bool {
    text(obj, &["spec", "ipFamilyPolicy"]) == "SingleStack"
}

/// A first address stays; a second may come and, with the policy saying so, go.
fn validate_addresses(obj: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let (now, before) = (texts(obj, &["spec", "clusterIPs"]), texts(old, &["spec", "clusterIPs"]));
    let list = path.child("clusterIPs");
    let changed = |index: usize| FieldError::invalid(&list.index(index), &now, "may not change once set");
    if now.len() == before.len() {
        return (0..now.len()).filter(|index| now[*index] != before[*index]).map(changed).collect();
    }
    let mut errors = Vec::new();
    if now.is_empty() {
        errors.push(FieldError::invalid(&list.index(0), &now, "primary clusterIP can not be unset"));
    }
    if let (Some(one), Some(other)) = (now.first(), before.first())
        && one != other
    {
        errors.push(changed(0));
    }
    if before.len() > now.len() && now.len() == 1 && !is_single(obj) {
        let detail = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        let policy = at(obj, &["spec", "ipFamilyPolicy"]);
        errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), policy, detail));
    }
    errors
}

/// The same for families. Upstream files each change under the first.
fn validate_families(obj: &Value, old: &Value, path: &Path) -> Vec<FieldError> {
    let (now, before) = (texts(obj, &["spec", "ipFamilies"]), texts(old, &["spec", "ipFamilies"]));
    let first = path.child("ipFamilies").index(0);
    let detail = "may not change once set";
    if now.len() == before.len() {
        let pairs = now.iter().zip(&before).filter(|(one, other)| one != other);
        return pairs.map(|_| FieldError::invalid(&first, &now, detail)).collect();
    }
    let mut errors = Vec::new();
    if let (Some(one), Some(other)) = (now.first(), before.first())
        && one != other
    {
        errors.push(FieldError::invalid(&first, texts(obj, &["spec", "clusterIPs"]), detail));
    }
    if before.len() > now.len() && now.len() == 1 && !is_single(obj) {
        let detail = "must be set to 'SingleStack' when releasing the secondary ipFamily";
        let policy = at(obj, &["spec", "ipFamilyPolicy"]);
        errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), policy, detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::super::service::Service;
    use crate::testing::{create, update};
    use serde_json::{Value, json};

    fn allocated() -> Value {
        let (mut service, _) =
            create(&Service, json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}}));
        service["spec"]["clusterIP"] = json!("10.96.0.9");
        service["spec"]["clusterIPs"] = json!(["10.96.0.9"]);
        service["spec"]["ports"][0]["nodePort"] = json!(30001);
        service
    }

    #[test]
    fn what_was_allocated_stays() {
        let old = allocated();
        let applied =
            json!({"metadata": old["metadata"], "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        let (new, errors) = update(&Service, applied, &old);
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(new["spec"], old["spec"]);
    }

    #[test]
    fn a_cluster_ip_is_set_once() {
        let old = allocated();
        let mut new = old.clone();
        new["spec"]["clusterIP"] = json!("10.96.0.10");
        assert_eq!(
            update(&Service, new, &old).1,
            ["spec.clusterIPs[0]: Invalid value: [\"10.96.0.10\"]: may not change once set"]
        );
    }

    #[test]
    fn another_type_gives_up_what_it_does_not_need() {
        let old = allocated();
        let mut new = old.clone();
        new["spec"]["type"] = json!("ExternalName");
        new["spec"]["externalName"] = json!("a.b");
        let (new, errors) = update(&Service, new, &old);
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(new["spec"].get("clusterIP"), None);
        assert_eq!(new["spec"]["ports"][0].get("nodePort"), None);
    }
}
