//! Small questions about a pod's specification. Enters: a Pod. Leaves: its parts, with upstream's defaults.

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

/// When containers of a pod are started again after they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whatever the exit code.
    Always,
    /// Only after a non-zero exit code.
    OnFailure,
    /// Not at all.
    Never,
}

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next starts.
    Init,
    /// An init container that keeps running beside the main ones (KEP-753).
    Sidecar,
    /// One of `spec.containers`.
    Main,
    /// Added to a running pod (`kubectl debug`); never restarted.
    Ephemeral,
}

/// The pod's UID; empty only for an object that no API server has seen.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The pod's name.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The pod's namespace.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// `name_namespace(uid)`, as upstream names a pod in messages.
pub fn long_name(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// The specification; a pod without one (never served by the API) counts as empty.
pub fn spec(pod: &Pod) -> Cow<'_, PodSpec> {
    pod.spec.as_ref().map_or_else(|| Cow::Owned(PodSpec::default()), Cow::Borrowed)
}

/// The pod's restart policy, `Always` by default.
pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    match pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()) {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

/// The pod's own grace period, 30 s by default.
pub fn grace(pod: &Pod) -> Duration {
    let seconds = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
    Duration::from_secs(seconds.max(0).unsigned_abs())
}

/// True if the pod shares the node's network.
pub fn on_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false)
}

/// What an init container is: a sidecar if it restarts always.
pub fn init_role(container: &Container) -> Role {
    if container.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init }
}

/// The init containers in order, with their role.
pub fn inits(pod: &Pod) -> impl DoubleEndedIterator<Item = (Role, &Container)> {
    let list = pod.spec.as_ref().and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    list.iter().map(|container| (init_role(container), container))
}

/// The main containers in order.
pub fn mains(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map(|s| s.containers.as_slice()).unwrap_or_default()
}

/// The ephemeral containers, as if they were ordinary ones.
pub fn ephemerals(pod: &Pod) -> Vec<Container> {
    let list = pod.spec.as_ref().and_then(|s| s.ephemeral_containers.as_deref()).unwrap_or_default();
    let convert = |container| serde_json::to_value(container).and_then(serde_json::from_value).ok();
    list.iter().filter_map(convert).collect()
}

/// Every container of the pod: init, main, ephemeral.
pub fn all(pod: &Pod) -> Vec<(Role, Cow<'_, Container>)> {
    let inits = inits(pod).map(|(role, c)| (role, Cow::Borrowed(c)));
    let mains = mains(pod).iter().map(|c| (Role::Main, Cow::Borrowed(c)));
    let ephemerals = ephemerals(pod).into_iter().map(|c| (Role::Ephemeral, Cow::Owned(c)));
    inits.chain(mains).chain(ephemerals).collect()
}

/// The container of this name, with its role.
pub fn find<'a>(pod: &'a Pod, name: &str) -> Option<(Role, Cow<'a, Container>)> {
    all(pod).into_iter().find(|(_, container)| container.name == name)
}

/// The path of a container's field for Events: `spec.containers{web}`.
pub fn field_path(pod: &Pod, name: &str) -> Option<String> {
    let list = match find(pod, name)?.0 {
        Role::Init | Role::Sidecar => "initContainers",
        Role::Main => "containers",
        Role::Ephemeral => "ephemeralContainers",
    };
    Some(format!("spec.{list}{{{name}}}"))
}

/// True once the API holds a final phase for the pod.
pub fn is_final(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The hash that tells whether a running container is still the one specified: FNV-1a of its name and image.
pub fn hash(container: &Container) -> String {
    let key = format!("{}\0{}", container.name, container.image.as_deref().unwrap_or_default());
    let hash =
        key.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_come_in_order_with_their_role() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {
                "initContainers": [{"name": "a"}, {"name": "b", "restartPolicy": "Always"}],
                "containers": [{"name": "c", "image": "x"}],
                "ephemeralContainers": [{"name": "d", "image": "busybox"}],
            }
        }))
        .unwrap();
        let roles: Vec<(Role, String)> = all(&pod).into_iter().map(|(r, c)| (r, c.name.clone())).collect();
        let expected = [(Role::Init, "a"), (Role::Sidecar, "b"), (Role::Main, "c"), (Role::Ephemeral, "d")];
        assert_eq!(roles, expected.map(|(r, n)| (r, n.to_owned())));
        assert_eq!(field_path(&pod, "b").as_deref(), Some("spec.initContainers{b}"));
        assert_eq!(long_name(&pod), "p_n(u)");
        assert_ne!(hash(&mains(&pod)[0]), hash(&Container { name: "c".into(), ..Container::default() }));
    }
}
