//! The objects of the load, and the namespace they live in.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{JSON, Target};

/// A ConfigMap with `bytes` of data and, in `seq`, a number that watchers look for.
pub(crate) fn config_map(name: &str, sequence: u64, bytes: usize) -> Bytes {
    let pad = "x".repeat(bytes);
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"pad": pad, "seq": format!("{sequence:09}")}});
    Bytes::from(value.to_string())
}

/// A pod as a Deployment's would be; no scheduler takes it, so that nothing runs.
pub(crate) fn pod(name: &str, index: usize) -> Bytes {
    let app = format!("app-{}", index % 100);
    let container = |name: &str, port: u16| {
        json!({"name": name, "image": format!("registry.example/team/{name}:v1.{}", index % 50), "ports": [
            {"name": "http", "containerPort": port}, {"name": "metrics", "containerPort": port + 1}],
            "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LOG_LEVEL", "value": "info"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10}})
    };
    let value = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": app, "pod-template-hash": "5d4f8c7b9",
            "tier": if index.is_multiple_of(3) { "web" } else { "worker" }},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8081"}},
        "spec": {"schedulerName": "nobody", "containers": [container("server", 8080)],
            "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "web", "effect": "NoSchedule"}]}});
    Bytes::from(value.to_string())
}

/// A Deployment whose template changes with `round`; paused and without replicas, so that nothing runs.
pub(crate) fn deployment(name: &str, round: u64) -> Bytes {
    let value = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": {"round": round.to_string()}},
        "spec": {"replicas": 0, "paused": true, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [
                {"name": "server", "image": "registry.example/team/server:v1",
                 "ports": [{"name": "http", "containerPort": 8080}],
                 "env": [{"name": "ROUND", "value": round.to_string()}, {"name": "LOG_LEVEL", "value": "info"}],
                 "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}}}});
    Bytes::from(value.to_string())
}

/// Makes the namespace and its `default` ServiceAccount, without which no pod is admitted.
pub(crate) async fn prepare(target: &Target) -> Result<Value> {
    let mut client = target.client().await?;
    let name = &target.namespace;
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    client.create("/api/v1/namespaces", Bytes::from(body.to_string()), true).await?;
    let body = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let path = format!("/api/v1/namespaces/{name}/serviceaccounts");
    client.create(&path, Bytes::from(body.to_string()), true).await?;
    Ok(json!({"namespace": name}))
}

/// Deletes the ConfigMaps, pods, Deployments and the namespace of the load.
pub(crate) async fn clean(target: &Target) -> Result<Value> {
    let mut client = target.client().await?;
    let name = &target.namespace;
    let options = Bytes::from_static(b"{\"gracePeriodSeconds\":0}");
    for path in [
        format!("/api/v1/namespaces/{name}/configmaps"),
        format!("/api/v1/namespaces/{name}/pods"),
        format!("/apis/apps/v1/namespaces/{name}/deployments"),
        format!("/api/v1/namespaces/{name}"),
    ] {
        let answer = client.send(Method::DELETE, &path, JSON, options.clone()).await?;
        let status = answer.status();
        let body = http_body_util::BodyExt::collect(answer.into_body()).await?.to_bytes();
        if !status.is_success() && status != StatusCode::NOT_FOUND {
            return Err(anyhow::anyhow!("{}", String::from_utf8_lossy(&body)))
                .with_context(|| format!("DELETE {path}: {status}"));
        }
    }
    Ok(json!({"cleaned": name}))
}
