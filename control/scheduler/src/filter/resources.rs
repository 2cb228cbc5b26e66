//! Whether a node has what a pod requests. PURE.

use crate::pod::Resources;
use crate::snapshot::NodeEntry;

/// Upstream's reason for each resource that is short.
pub(super) fn lacking(requests: &Resources, node: &NodeEntry) -> Vec<String> {
    let of = |map: &Resources, name: &str| map.get(name).copied().unwrap_or(0);
    let free = |name: &str| of(&node.allocatable, name) - of(&node.requested, name);
    let mut reasons = Vec::new();
    if free("pods") < 1 {
        reasons.push("Too many pods".to_owned());
    }
    // cpu and memory first, then the others by name.
    let order = ["cpu", "memory", "ephemeral-storage"];
    let rest = requests.keys().map(String::as_str).filter(|name| !order.contains(name));
    for name in order.into_iter().chain(rest) {
        let wanted = of(requests, name);
        if wanted > 0 && wanted > free(name) {
            reasons.push(format!("Insufficient {name}"));
        }
    }
    reasons
}
