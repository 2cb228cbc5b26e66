//! Webhooks against a real server on loopback: what is sent, what follows from each answer.

mod calls;
mod mutating;
mod validating;

use serde_json::{Value, json};

use crate::testing::{Bench, Webhook};

/// One entry of a configuration: all writes of Deployments in apps/v1, changed by `extra`.
fn hook(name: &str, client: Value, extra: Value) -> Value {
    let mut hook = json!({
        "name": name, "clientConfig": client, "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "timeoutSeconds": 5, "failurePolicy": "Fail", "matchPolicy": "Equivalent",
        "rules": [{"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["*/*"]}],
    });
    for (field, value) in extra.as_object().into_iter().flatten() {
        hook[field] = value.clone();
    }
    hook
}

fn configure(bench: &Bench, kind: &str, name: &str, hooks: Vec<Value>) {
    bench.objects.add(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": hooks,
    }));
}

/// A bench with one validating webhook at the server.
fn validating(server: &Webhook, extra: Value) -> Bench {
    let bench = Bench::new();
    let hooks = vec![hook("x.example.com", server.url("/check"), extra)];
    configure(&bench, "ValidatingWebhookConfiguration", "c", hooks);
    bench
}

/// A bench with one mutating webhook at the server.
fn mutating(server: &Webhook, extra: Value) -> Bench {
    let bench = Bench::new();
    let hooks = vec![hook("x.example.com", server.url("/change"), extra)];
    configure(&bench, "MutatingWebhookConfiguration", "c", hooks);
    bench
}

/// A response that allows with a patch.
fn patching(operations: &Value) -> Value {
    use base64::Engine;
    let patch = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
    json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})
}
