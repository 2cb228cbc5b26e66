//! Manifests that many tests share. Enters: a name and what differs. Leaves: JSON, which kubectl takes as YAML.

use serde_json::{Value, json};

/// The image with busybox's applets.
pub(crate) const BUSYBOX: &str = "xebec.local/busybox:1";
/// The image with `xebec-workload` and busybox.
pub(crate) const WORKLOAD: &str = "xebec.local/workload:1";

/// A pod manifest under construction.
#[derive(Debug, Clone)]
pub struct PodManifest(Value);

/// A pod with one container, `main`, that runs a shell script; it is killed a second after its deletion.
pub fn shell_pod(name: &str, script: &str) -> PodManifest {
    PodManifest(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": BUSYBOX, "command": ["/bin/sh", "-c", script]}],
        },
    }))
}

impl PodManifest {
    /// Merges fields into the container.
    pub fn container(mut self, fields: Value) -> Self {
        merge(&mut self.0["spec"]["containers"][0], fields);
        self
    }

    /// Merges fields into the spec.
    pub fn spec(mut self, fields: Value) -> Self {
        merge(&mut self.0["spec"], fields);
        self
    }

    /// Merges fields into the metadata.
    pub fn metadata(mut self, fields: Value) -> Self {
        merge(&mut self.0["metadata"], fields);
        self
    }

    /// The manifest.
    pub fn value(self) -> Value {
        self.0
    }

    /// The pod as a template, for a workload's manifest.
    pub fn template(self) -> Value {
        json!({"metadata": {"labels": self.0["metadata"]["labels"]}, "spec": self.0["spec"]})
    }
}

impl From<PodManifest> for Value {
    fn from(manifest: PodManifest) -> Self {
        manifest.0
    }
}

/// A Deployment of web servers that log every request, and a Service `name:80` in front of them.
pub fn web(name: &str, replicas: u32) -> Value {
    let labels = json!({"app": name});
    json!([
        {
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "labels": labels},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                    "name": "web", "image": WORKLOAD,
                    "command": ["/bin/xebec-workload", "serve", "--port", "8080", "--udp-port", "8081"],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
                }]},
            }},
        },
        {
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [
                {"name": "http", "port": 80, "targetPort": "http"},
                {"name": "echo", "port": 7, "targetPort": 8081, "protocol": "UDP"},
            ]},
        },
    ])
}

/// Objects merge field by field; anything else is replaced.
fn merge(into: &mut Value, fields: Value) {
    match (into, fields) {
        (Value::Object(into), Value::Object(fields)) => {
            for (key, value) in fields {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, value) => *into = value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_merge_into_their_place() {
        let pod = shell_pod("a", "true")
            .container(json!({"env": [{"name": "X", "value": "1"}]}))
            .spec(json!({"restartPolicy": "Never"}))
            .metadata(json!({"labels": {"tier": "x"}}))
            .value();
        assert_eq!(pod["metadata"]["labels"], json!({"app": "a", "tier": "x"}));
        assert_eq!(pod["spec"]["containers"][0]["image"], BUSYBOX);
        assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "X");
        assert_eq!(pod["spec"]["restartPolicy"], "Never");
    }
}
