//! What is wrong with a pod, in upstream's words.

use serde_json::Value;
use xebec_api::meta;

/// One check that a pod does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// In short: `host namespaces`.
    pub reason: String,
    /// Where and what: `hostNetwork=true`.
    pub detail: String,
}

impl Violation {
    pub(super) fn new(reason: &str, detail: String) -> Self {
        Self { reason: reason.to_owned(), detail }
    }
}

/// `reason (detail), reason (detail)`.
pub fn details(violations: &[Violation]) -> String {
    let one = |v: &Violation| match v.detail.as_str() {
        "" => v.reason.clone(),
        detail => format!("{} ({detail})", v.reason),
    };
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `reason, reason`.
pub fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|v| v.reason.as_str()).collect::<Vec<_>>().join(", ")
}

/// Every container of a pod spec, in the order messages name them.
pub(super) fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["/initContainers", "/containers", "/ephemeralContainers"]
        .into_iter()
        .flat_map(move |list| meta::list_at(spec, list))
}

pub(super) fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `"a", "b"`.
pub(super) fn join_quoted<S: AsRef<str>>(items: &[S]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    format!("\"{}\"", items.join("\", \""))
}

/// `containers "a", "b"`.
pub(super) fn count_of<S: AsRef<str>>(one: &str, many: &str, names: &[S]) -> String {
    format!("{} {}", plural(one, many, names.len()), join_quoted(names))
}

/// Who sets something: `pod`, `container "a"`.
pub(super) fn setters(pod: bool, containers: &[&str]) -> Vec<String> {
    let mut setters = Vec::new();
    setters.extend(pod.then(|| "pod".to_owned()));
    if !containers.is_empty() {
        setters.push(count_of("container", "containers", containers));
    }
    setters
}
