//! Finalizers somebody else might choose too.

use serde_json::Value;
use xebec_api::names;
use xebec_kinds::shared::access::texts;

const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];

/// The warnings about finalizers an object has and `old` has not, sorted.
pub fn finalizer_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let of = |object: &Value| -> Vec<String> {
        texts(object, &["metadata", "finalizers"]).into_iter().map(str::to_owned).collect()
    };
    let before = old.map(of).unwrap_or_default();
    let mut added: Vec<String> = of(object).into_iter().filter(|name| !before.contains(name)).collect();
    added.sort();
    added.dedup();
    added.iter().flat_map(|name| warnings(name)).collect()
}

fn warnings(name: &str) -> Vec<String> {
    let quoted = xebec_api::gotext::quote(name);
    let mut messages = names::is_qualified_name(name);
    if !name.contains('/') && !STANDARD.contains(&name) {
        let with = if name.contains('.') { " including a path (/)" } else { "" };
        messages.push(format!(
            "prefer a domain-qualified finalizer name{with} to avoid accidental conflicts with other finalizer writers"
        ));
    }
    messages.into_iter().map(|message| format!("metadata.finalizers: {quoted}: {message}")).collect()
}
