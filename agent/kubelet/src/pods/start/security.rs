//! Security contexts. Enters: a pod and a container. Leaves: the CRI's security contexts (pure, upstream's rules).

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SecurityContext};
use xebec_cri::messages::{
    Capability, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, ProfileType, SeLinuxOption, SecurityProfile, SupplementalGroupsPolicy,
};

use crate::spec;

const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn of_pod(pod: &Pod) -> PodSecurityContext {
    spec::spec(pod).security_context.clone().unwrap_or_default()
}

fn namespaces(pod: &Pod, target: Option<&str>) -> NamespaceOption {
    let spec = spec::spec(pod);
    let mode = |node: Option<bool>, otherwise| {
        if node.unwrap_or(false) { NamespaceMode::Node } else { otherwise }
    };
    let shared = spec.share_process_namespace.unwrap_or(false);
    let mut pid = mode(spec.host_pid, if shared { NamespaceMode::Pod } else { NamespaceMode::Container });
    if target.is_some() {
        pid = NamespaceMode::Target;
    }
    NamespaceOption {
        network: mode(spec.host_network, NamespaceMode::Pod).into(),
        pid: pid.into(),
        ipc: mode(spec.host_ipc, NamespaceMode::Pod).into(),
        target_id: target.unwrap_or_default().to_owned(),
        userns_options: None,
    }
}

fn profile(kind: &str, localhost: Option<&String>) -> SecurityProfile {
    let kind = match kind {
        "RuntimeDefault" => ProfileType::RuntimeDefault,
        "Localhost" => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    SecurityProfile { profile_type: kind.into(), localhost_ref: localhost.cloned().unwrap_or_default() }
}

fn seccomp(pod: &PodSecurityContext, container: &SecurityContext) -> SecurityProfile {
    let chosen = container.seccomp_profile.as_ref().or(pod.seccomp_profile.as_ref());
    match chosen {
        Some(chosen) => profile(&chosen.type_, chosen.localhost_profile.as_ref()),
        None => profile("Unconfined", None),
    }
}

fn groups(pod: &PodSecurityContext) -> Vec<i64> {
    let own = pod.supplemental_groups.iter().flatten().copied();
    own.chain(pod.fs_group).collect()
}

fn policy(pod: &PodSecurityContext) -> SupplementalGroupsPolicy {
    match pod.supplemental_groups_policy.as_deref() {
        Some("Strict") => SupplementalGroupsPolicy::Strict,
        _ => SupplementalGroupsPolicy::Merge,
    }
}

fn value(id: Option<i64>) -> Option<Int64Value> {
    id.map(|value| Int64Value { value })
}

fn selinux(options: &k8s_openapi::api::core::v1::SELinuxOptions) -> SeLinuxOption {
    SeLinuxOption {
        user: options.user.clone().unwrap_or_default(),
        role: options.role.clone().unwrap_or_default(),
        r#type: options.type_.clone().unwrap_or_default(),
        level: options.level.clone().unwrap_or_default(),
    }
}

/// True if any container of the pod is privileged.
fn any_privileged(pod: &Pod) -> bool {
    spec::all(pod).iter().any(|(_, container)| {
        container.security_context.as_ref().and_then(|context| context.privileged).unwrap_or(false)
    })
}

/// The sandbox's security context.
pub fn sandbox(pod: &Pod) -> LinuxSandboxSecurityContext {
    let context = of_pod(pod);
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, None)),
        selinux_options: context.se_linux_options.as_ref().map(selinux),
        run_as_user: value(context.run_as_user),
        run_as_group: value(context.run_as_group.filter(|_| context.run_as_user.is_some())),
        supplemental_groups: groups(&context),
        supplemental_groups_policy: policy(&context).into(),
        privileged: any_privileged(pod),
        // the pause process always runs under the runtime's default profile, as upstream
        seccomp: Some(profile("RuntimeDefault", None)),
        ..LinuxSandboxSecurityContext::default()
    }
}

/// A container's security context; `target` is the container whose process namespace it joins.
pub fn container(pod: &Pod, container: &Container, target: Option<&str>) -> LinuxContainerSecurityContext {
    let (of_pod, own) = (of_pod(pod), container.security_context.clone().unwrap_or_default());
    let privileged = own.privileged.unwrap_or(false);
    let default_proc = own.proc_mount.as_deref().unwrap_or("Default") == "Default" && !privileged;
    let paths = |list: &[&str]| list.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
    let apparmor = own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref());
    LinuxContainerSecurityContext {
        capabilities: Some(capabilities(&own)),
        privileged,
        namespace_options: Some(namespaces(pod, target)),
        selinux_options: own.se_linux_options.as_ref().or(of_pod.se_linux_options.as_ref()).map(selinux),
        run_as_user: value(own.run_as_user.or(of_pod.run_as_user)),
        run_as_group: value(own.run_as_group.or(of_pod.run_as_group)),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: groups(&of_pod),
        supplemental_groups_policy: policy(&of_pod).into(),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: if default_proc { paths(&MASKED) } else { Vec::new() },
        readonly_paths: if default_proc { paths(&READ_ONLY) } else { Vec::new() },
        seccomp: Some(if privileged { profile("Unconfined", None) } else { seccomp(&of_pod, &own) }),
        apparmor: apparmor.map(|chosen| profile(&chosen.type_, chosen.localhost_profile.as_ref())),
        ..LinuxContainerSecurityContext::default()
    }
}

fn capabilities(context: &SecurityContext) -> Capability {
    let capabilities = context.capabilities.clone().unwrap_or_default();
    Capability {
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        add_ambient_capabilities: Vec::new(),
    }
}

/// Why a container that must not run as root would; `image_user` is what the image says (uid, name).
pub fn refuses_root(pod: &Pod, container: &Container, uid: Option<i64>, user: &str) -> Option<String> {
    let (of_pod, own) = (of_pod(pod), container.security_context.clone().unwrap_or_default());
    if !own.run_as_non_root.or(of_pod.run_as_non_root).unwrap_or(false) {
        return None;
    }
    let place = format!("(pod: \"{}\", container: {})", spec::long_name(pod), container.name);
    match own.run_as_user.or(of_pod.run_as_user) {
        Some(0) => Some(format!("container's runAsUser breaks non-root policy {place}")),
        Some(_) => None,
        None if uid == Some(0) || (uid.is_none() && user.is_empty()) => {
            Some(format!("container has runAsNonRoot and image will run as root {place}"))
        }
        None if uid.is_none() => Some(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {place}"
        )),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn the_containers_own_settings_win() {
        let pod = pod(json!({
            "securityContext": {"runAsUser": 1000, "fsGroup": 7, "supplementalGroups": [5]},
            "containers": [{"name": "c", "securityContext": {"runAsUser": 0, "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}],
        }));
        let context = container(&pod, &spec::mains(&pod)[0], None);
        assert_eq!(context.run_as_user.unwrap().value, 0);
        assert_eq!(context.supplemental_groups, [5, 7]);
        assert!(context.no_new_privs && !context.masked_paths.is_empty());
        assert_eq!(context.capabilities.unwrap().drop_capabilities, ["ALL"]);
    }

    #[test]
    fn a_privileged_container_sees_all_of_proc() {
        let pod = pod(json!({"hostNetwork": true, "hostPID": true,
            "containers": [{"name": "c", "securityContext": {"privileged": true}}]}));
        let context = container(&pod, &spec::mains(&pod)[0], None);
        assert!(context.privileged && context.masked_paths.is_empty() && context.readonly_paths.is_empty());
        let namespaces = context.namespace_options.unwrap();
        assert_eq!((namespaces.network(), namespaces.pid()), (NamespaceMode::Node, NamespaceMode::Node));
        assert!(sandbox(&pod).privileged);
    }

    #[test]
    fn run_as_non_root_is_checked_against_the_image() {
        let pod = pod(json!({"securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c"}]}));
        let main = &spec::mains(&pod)[0];
        assert!(refuses_root(&pod, main, Some(0), "").unwrap().contains("image will run as root"));
        assert!(refuses_root(&pod, main, None, "www").unwrap().contains("non-numeric user (www)"));
        assert_eq!(refuses_root(&pod, main, Some(101), ""), None);
    }
}
