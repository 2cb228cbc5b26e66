//! A namespace of one's own. Enters: a label. Leaves: a namespace with its service account, gone when dropped.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{Call, PATIENCE, kubectl, until};

/// A namespace that is deleted when dropped.
pub struct Namespace {
    /// Its name, unique over runs.
    pub name: String,
}

impl Namespace {
    /// Makes it and waits for its default service account, which pods need.
    ///
    /// # Errors
    /// kubectl's.
    pub fn create(label: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-{label}-{}-{count}", std::process::id());
        kubectl("create namespace").arg(&name).ok()?;
        let namespace = Self { name };
        namespace.kubectl("wait --for=create serviceaccount/default --timeout=60s").ok()?;
        Ok(namespace)
    }

    /// kubectl in this namespace; see [`kubectl`] for the words.
    pub fn kubectl(&self, line: &str) -> Call {
        // First, since words after `--` belong to a pod's command.
        kubectl(&format!("--namespace={}", self.name)).words(line)
    }

    /// `kubectl apply` of a manifest, or of several in an array, strictly validated.
    ///
    /// # Errors
    /// kubectl's.
    pub fn apply(&self, manifest: impl Into<Value>) -> Result<String> {
        let documents = match manifest.into() {
            Value::Array(list) => list.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n"),
            one => one.to_string(),
        };
        self.kubectl("apply --validate=strict -f -").stdin(documents).ok()
    }

    /// Applies a manifest that the server must refuse with this text.
    ///
    /// # Errors
    /// It was taken, or refused with other words.
    pub fn refuses(&self, manifest: impl Into<Value>, text: &str) -> Result<()> {
        self.kubectl("apply --validate=strict -f -").stdin(documents(manifest.into())).fails(text).map(drop)
    }

    /// An object (`kind/name`) as JSON.
    ///
    /// # Errors
    /// kubectl's.
    pub fn json(&self, object: &str) -> Result<Value> {
        let text = self.kubectl("get -o json").words(object).ok()?;
        serde_json::from_str(&text).with_context(|| format!("{object} is not JSON: {text}"))
    }

    /// One field of an object (`kind/name`), by JSONPath without braces; empty when it is not there.
    ///
    /// # Errors
    /// kubectl's.
    pub fn field(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl("get").words(object).arg(format!("-o=jsonpath={{{path}}}")).ok()
    }

    /// Waits until a field has this value.
    ///
    /// # Errors
    /// It has another one at the deadline, which is shown.
    pub fn until_field(&self, object: &str, path: &str, value: &str) -> Result<()> {
        until(&format!("{object} {path} = {value}"), PATIENCE, || {
            let now = self.field(object, path)?;
            anyhow::ensure!(now == value, "it is {now:?}");
            Ok(Some(()))
        })
    }

    /// Waits until a pod is Ready.
    ///
    /// # Errors
    /// It was not in time.
    pub fn ready(&self, pod: &str) -> Result<()> {
        self.kubectl("wait --for=condition=Ready --timeout=55s").arg(format!("pod/{pod}")).ok().map(drop)
    }

    /// Waits until a pod has ended with this phase (`Succeeded` or `Failed`), and returns its log.
    ///
    /// # Errors
    /// It did not end so in time.
    pub fn ended(&self, pod: &str, phase: &str) -> Result<String> {
        self.until_field(&format!("pod/{pod}"), ".status.phase", phase)?;
        self.kubectl("logs").arg(pod).ok()
    }

    /// Waits until a Deployment's rollout is complete.
    ///
    /// # Errors
    /// It was not in time.
    pub fn rolled_out(&self, deployment: &str) -> Result<()> {
        self.kubectl("rollout status --timeout=55s").arg(format!("deployment/{deployment}")).ok().map(drop)
    }

    /// Names of the pods with this label, in order of name.
    ///
    /// # Errors
    /// kubectl's.
    pub fn pods(&self, selector: &str) -> Result<Vec<String>> {
        let text = self.kubectl("get pods -o jsonpath={.items[*].metadata.name} -l").arg(selector).ok()?;
        let mut names: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Runs a command in a pod and returns its output.
    ///
    /// # Errors
    /// Its exit code is not 0.
    pub fn exec(&self, pod: &str, command: &str) -> Result<String> {
        self.kubectl("exec").arg(pod).arg("--").words(command).ok()
    }

    /// What the namespace looks like, for an error.
    pub(crate) fn picture(&self) -> String {
        let show = |line: &str| {
            self.kubectl(line)
                .run()
                .map_or_else(|error| error.to_string(), |output| output.stdout + &output.stderr)
        };
        format!("in namespace {}:\n{}{}", self.name, show("get all -o wide"), show("get events"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::env::var_os("XEBEC_KEEP").is_none() {
            // A failure here is the next test's to find; the test's own error must not be hidden.
            kubectl("delete namespace --wait=false").arg(&self.name).run().ok();
        }
    }
}

/// A `List` as separate documents, as most people write their manifests; the tests of `List` itself send it whole.
fn documents(manifest: Value) -> String {
    match manifest.get("items").and_then(Value::as_array).filter(|_| manifest["kind"] == "List") {
        Some(items) => items.iter().map(|item| format!("---\n{item}\n")).collect(),
        None => manifest.to_string(),
    }
}
