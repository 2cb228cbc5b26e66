//! The variables of a container, in upstream's order: services, envFrom, env. Later ones win.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVarSource, Secret};

use super::downward::{env_field, resource_value};
use super::{Context, EnvError, expand};

/// Variables in the order they were first set, each with its last value.
#[derive(Default)]
struct Variables {
    order: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Variables {
    fn set(&mut self, name: &str, value: String) {
        if self.values.insert(name.to_owned(), value).is_none() {
            self.order.push(name.to_owned());
        }
    }
}

fn namespace<'a>(context: &Context<'a>) -> &'a str {
    context.pod.metadata.namespace.as_deref().unwrap_or_default()
}

fn secret_text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key))?;
    Some(String::from_utf8_lossy(&bytes.0).into_owned())
}

/// A name the kernel can carry: no `=` and no NUL, not empty (upstream's relaxed check, on by default in 1.34).
fn usable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=')
}

fn add_all(context: &Context<'_>, from: &EnvFromSource, out: &mut Variables) -> Result<(), EnvError> {
    let prefix = from.prefix.as_deref().unwrap_or_default();
    let mut put = |key: &str, value: String| {
        let name = format!("{prefix}{key}");
        if usable(&name) {
            out.set(&name, value);
        }
    };
    if let Some(reference) = &from.config_map_ref {
        match context.objects.config_maps.get(&reference.name) {
            Some(map) => {
                map.data.iter().flatten().for_each(|(key, value)| put(key, value.clone()));
            }
            None if reference.optional.unwrap_or(false) => {}
            None => return Err(EnvError::NotFound { kind: "configmap", name: reference.name.clone() }),
        }
    }
    if let Some(reference) = &from.secret_ref {
        match context.objects.secrets.get(&reference.name) {
            Some(secret) => {
                let entries = secret.data.iter().flatten();
                entries.for_each(|(key, value)| put(key, String::from_utf8_lossy(&value.0).into_owned()));
            }
            None if reference.optional.unwrap_or(false) => {}
            None => return Err(EnvError::NotFound { kind: "secret", name: reference.name.clone() }),
        }
    }
    Ok(())
}

/// A variable's value from elsewhere; `None` leaves the variable unset (an optional source that is not there).
fn value_from(
    context: &Context<'_>,
    container: &Container,
    name: &str,
    from: &EnvVarSource,
) -> Result<Option<String>, EnvError> {
    if let Some(reference) = &from.field_ref {
        return env_field(context, &reference.field_path).map(Some);
    }
    if let Some(reference) = &from.resource_field_ref {
        return resource_value(context.pod, Some(&container.name), reference, context.allocatable).map(Some);
    }
    let (kind, lower, key, object, optional, value) = if let Some(reference) = &from.config_map_key_ref {
        let map = context.objects.config_maps.get(&reference.name);
        let value = map.map(|m| m.data.as_ref().and_then(|d| d.get(&reference.key)).cloned());
        ("ConfigMap", "configmap", &reference.key, &reference.name, reference.optional, value)
    } else if let Some(reference) = &from.secret_key_ref {
        let value = context.objects.secrets.get(&reference.name).map(|s| secret_text(s, &reference.key));
        ("Secret", "secret", &reference.key, &reference.name, reference.optional, value)
    } else {
        return Err(EnvError::Source(name.to_owned()));
    };
    match value {
        Some(Some(text)) => Ok(Some(text)),
        _ if optional.unwrap_or(false) => Ok(None),
        None => Err(EnvError::NotFound { kind: lower, name: object.clone() }),
        Some(None) => Err(EnvError::NoKey {
            key: key.clone(),
            kind,
            namespace: namespace(context).to_owned(),
            name: object.clone(),
        }),
    }
}

/// The environment of a container: `env` over `envFrom` over services, with `$(VAR)` expanded from what was set
/// before (upstream's `makeEnvironmentVariables`).
pub fn resolve(context: &Context<'_>, container: &Container) -> Result<Vec<(String, String)>, EnvError> {
    let mut out = Variables::default();
    for from in container.env_from.iter().flatten() {
        add_all(context, from, &mut out)?;
    }
    // Only what the container itself set, and services, can be referred to.
    for var in container.env.iter().flatten() {
        let value = match &var.value_from {
            Some(from) => match value_from(context, container, &var.name, from)? {
                Some(value) => value,
                None => continue,
            },
            None => expand(var.value.as_deref().unwrap_or_default(), |name| {
                let known = out.values.get(name).or_else(|| context.services.get(name));
                known.map(String::as_str)
            }),
        };
        out.set(&var.name, value);
    }
    let own: Vec<_> =
        out.order.into_iter().filter_map(|name| Some((name.clone(), out.values.remove(&name)?))).collect();
    let services = context.services.iter().filter(|(name, _)| !own.iter().any(|(known, _)| known == *name));
    let mut all: Vec<_> = services.map(|(name, value)| (name.clone(), value.clone())).collect();
    all.extend(own);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qos::Amounts;
    use crate::volumes::Objects;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    fn run(env: serde_json::Value, env_from: serde_json::Value) -> Result<Vec<(String, String)>, EnvError> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {"serviceAccountName": "robot", "containers": [{"name": "c", "env": env, "envFrom": env_from}]}
        }))
        .unwrap();
        let mut objects = Objects::default();
        let map = json!({"metadata": {"name": "m"}, "data": {"k": "v", "a=b": "dropped"}});
        objects.config_maps.insert(
            "m".into(),
            serde_json::from_value::<k8s_openapi::api::core::v1::ConfigMap>(map).unwrap().into(),
        );
        let secret = json!({"metadata": {"name": "s"}, "data": {"pw": "aHVudGVyMg=="}});
        objects.secrets.insert("s".into(), serde_json::from_value::<Secret>(secret).unwrap().into());
        let services = [("S_SERVICE_HOST".to_owned(), "10.96.0.2".to_owned())].into();
        let (pod_ips, host_ips) = (["10.244.0.5".to_owned(), "fd00::5".to_owned()], ["192.0.2.1".to_owned()]);
        let allocatable = Amounts::new();
        let context = Context {
            pod: &pod,
            node_name: "node-a",
            pod_ips: &pod_ips,
            host_ips: &host_ips,
            allocatable: &allocatable,
            objects: &objects,
            services: &services,
        };
        resolve(&context, &pod.spec.as_ref().unwrap().containers[0])
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn order_prefixes_and_expansion() {
        let env = json!([
            {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(S_SERVICE_HOST)-$(P_k)-$(LATER)"},
            {"name": "LATER", "value": "x"}, {"name": "A", "value": "2"}]);
        let from = json!([{"prefix": "P_", "configMapRef": {"name": "m"}}, {"secretRef": {"name": "s"}},
            {"configMapRef": {"name": "gone", "optional": true}}]);
        let want = [
            ("S_SERVICE_HOST", "10.96.0.2"),
            ("P_k", "v"),
            ("pw", "hunter2"),
            ("A", "2"),
            ("B", "1-10.96.0.2-v-$(LATER)"),
            ("LATER", "x"),
        ];
        assert_eq!(run(env, from).unwrap(), pairs(&want));
    }

    #[test]
    fn fields_and_keys() {
        let field =
            |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let env = json!([field("IP", "status.podIP"), field("IPS", "status.podIPs"), field("HOST", "status.hostIP"),
            field("NODE", "spec.nodeName"), field("SA", "spec.serviceAccountName"), field("S_SERVICE_HOST", "metadata.name"),
            {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
            {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pw"}}},
            {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "no", "optional": true}}}]);
        let want = [
            ("IP", "10.244.0.5"),
            ("IPS", "10.244.0.5,fd00::5"),
            ("HOST", "192.0.2.1"),
            ("NODE", "node-a"),
            ("SA", "robot"),
            ("S_SERVICE_HOST", "p"),
            ("K", "v"),
            ("PW", "hunter2"),
        ];
        assert_eq!(run(env, json!([])).unwrap(), pairs(&want));
    }

    #[test]
    fn errors_have_upstreams_texts() {
        let key = |source: &str, name: &str, key: &str| json!([{"name": "X", "valueFrom": {source: {"name": name, "key": key}}}]);
        let text = |env, from| run(env, from).unwrap_err().to_string();
        assert_eq!(text(key("configMapKeyRef", "x", "k"), json!([])), "configmap \"x\" not found");
        assert_eq!(text(key("configMapKeyRef", "m", "z"), json!([])), "couldn't find key z in ConfigMap n/m");
        assert_eq!(text(key("secretKeyRef", "x", "k"), json!([])), "secret \"x\" not found");
        assert_eq!(text(key("secretKeyRef", "s", "z"), json!([])), "couldn't find key z in Secret n/s");
        assert_eq!(text(json!([]), json!([{"secretRef": {"name": "x"}}])), "secret \"x\" not found");
        assert_eq!(text(json!([]), json!([{"configMapRef": {"name": "x"}}])), "configmap \"x\" not found");
    }
}
