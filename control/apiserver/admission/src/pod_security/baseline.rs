//! The checks of the baseline level: what lets a pod out of its container.

use std::collections::BTreeSet;

use serde_json::Value;
use xebec_api::gotext::quote;
use xebec_api::meta;

use super::text::{Violation, containers, count_of, join_quoted, plural, setters};

/// AppArmor: only the runtime's or a local profile, by field or by the old annotation.
pub(super) fn app_armor(metadata: &Value, spec: &Value) -> Option<Violation> {
    let profile = |holder: &Value| {
        let kind = holder["securityContext"].get("appArmorProfile").filter(|p| !p.is_null())?;
        let kind = meta::str_at(kind, "/type");
        (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| kind.to_owned())
    };
    let mut values = BTreeSet::new();
    let pod = profile(spec);
    values.extend(pod.clone());
    let mut bad = Vec::new();
    for container in containers(spec) {
        if let Some(value) = profile(container) {
            values.insert(value);
            bad.push(meta::str_at(container, "/name"));
        }
    }
    let mut setters = setters(pod.is_some(), &bad);
    let mut values: Vec<String> = values.into_iter().collect();
    let allowed =
        |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations: Vec<String> = meta::string_map_at(metadata, "/annotations")
        .iter()
        .filter(|(k, v)| k.starts_with("container.apparmor.security.beta.kubernetes.io/") && !allowed(v))
        .map(|(k, v)| format!("{k}={}", quote(v)))
        .collect();
    if !annotations.is_empty() {
        setters.push(plural("annotation", "annotations", annotations.len()).to_owned());
        values.extend(annotations);
    }
    if setters.is_empty() {
        return None;
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    let detail =
        format!("{} must not set AppArmor profile type to {}", setters.join(" and "), join_quoted(&values));
    Some(Violation::new(reason, detail))
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Capabilities beyond the runtimes' default set.
pub(super) fn capabilities(_: &Value, spec: &Value) -> Option<Violation> {
    let (mut bad, mut added) = (Vec::new(), BTreeSet::new());
    for container in containers(spec) {
        let list = meta::list_at(container, "/securityContext/capabilities/add");
        let beyond: Vec<&str> =
            list.iter().filter_map(Value::as_str).filter(|c| !DEFAULT_CAPABILITIES.contains(c)).collect();
        if !beyond.is_empty() {
            bad.push(meta::str_at(container, "/name"));
            added.extend(beyond);
        }
    }
    (!bad.is_empty()).then(|| {
        let added: Vec<&str> = added.into_iter().collect();
        let detail = format!(
            "{} must not include {} in securityContext.capabilities.add",
            count_of("container", "containers", &bad),
            join_quoted(&added)
        );
        Violation::new("non-default capabilities", detail)
    })
}

/// The host's network, process and IPC namespaces.
pub(super) fn host_namespaces(_: &Value, spec: &Value) -> Option<Violation> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"].iter().filter(|field| spec[**field] == true);
    let shared: Vec<String> = fields.map(|field| format!("{field}=true")).collect();
    (!shared.is_empty()).then(|| Violation::new("host namespaces", shared.join(", ")))
}

/// Directories of the host.
pub(super) fn host_path_volumes(_: &Value, spec: &Value) -> Option<Violation> {
    let volumes = meta::list_at(spec, "/volumes").iter();
    let bad: Vec<&str> = volumes
        .filter(|v| v.get("hostPath").is_some_and(|p| !p.is_null()))
        .map(|v| meta::str_at(v, "/name"))
        .collect();
    (!bad.is_empty()).then(|| Violation::new("hostPath volumes", count_of("volume", "volumes", &bad)))
}

/// Ports of the host.
pub(super) fn host_ports(_: &Value, spec: &Value) -> Option<Violation> {
    let (mut bad, mut ports) = (Vec::new(), BTreeSet::new());
    for container in containers(spec) {
        let all = meta::list_at(container, "/ports").iter().filter_map(|p| meta::int_at(p, "/hostPort"));
        let own: Vec<String> = all.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        if !own.is_empty() {
            bad.push(meta::str_at(container, "/name"));
            ports.extend(own);
        }
    }
    (!bad.is_empty()).then(|| {
        let ports: Vec<String> = ports.into_iter().collect();
        let detail = format!(
            "{} {} {} {}",
            count_of("container", "containers", &bad),
            plural("uses", "use", bad.len()),
            plural("hostPort", "hostPorts", ports.len()),
            ports.join(", ")
        );
        Violation::new("hostPort", detail)
    })
}

/// Probes and lifecycle hooks that reach for another host (since 1.34).
pub(super) fn probe_hosts(_: &Value, spec: &Value) -> Option<Violation> {
    const HANDLERS: [&str; 5] =
        ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
    let (mut bad, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for container in containers(spec) {
        for handler in HANDLERS {
            for action in ["httpGet", "tcpSocket"] {
                let host = meta::str_at(container, &format!("{handler}/{action}/host"));
                if !host.is_empty() {
                    bad.insert(meta::str_at(container, "/name"));
                    hosts.insert(host);
                }
            }
        }
    }
    let bad: Vec<&str> = bad.into_iter().collect();
    (!bad.is_empty()).then(|| {
        let hosts: Vec<&str> = hosts.into_iter().collect();
        let detail = format!(
            "{} {} {} {}",
            count_of("container", "containers", &bad),
            plural("uses", "use", bad.len()),
            plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len()),
            join_quoted(&hosts)
        );
        Violation::new("probe or lifecycle host", detail)
    })
}

/// Privileged containers.
pub(super) fn privileged(_: &Value, spec: &Value) -> Option<Violation> {
    let bad: Vec<&str> = containers(spec)
        .filter(|c| c["securityContext"]["privileged"] == true)
        .map(|c| meta::str_at(c, "/name"))
        .collect();
    (!bad.is_empty()).then(|| {
        let detail = format!(
            "{} must not set securityContext.privileged=true",
            count_of("container", "containers", &bad)
        );
        Violation::new("privileged", detail)
    })
}

/// An unmasked /proc.
pub(super) fn proc_mount(_: &Value, spec: &Value) -> Option<Violation> {
    let (mut bad, mut kinds) = (Vec::new(), BTreeSet::new());
    for container in containers(spec) {
        if let Some(kind) = container["securityContext"]["procMount"].as_str().filter(|k| *k != "Default") {
            bad.push(meta::str_at(container, "/name"));
            kinds.insert(kind);
        }
    }
    (!bad.is_empty()).then(|| {
        let kinds: Vec<&str> = kinds.into_iter().collect();
        let detail = format!(
            "{} must not set securityContext.procMount to {}",
            count_of("container", "containers", &bad),
            join_quoted(&kinds)
        );
        Violation::new("procMount", detail)
    })
}

/// SELinux: no other user or role, and only the types of containers.
pub(super) fn se_linux(spec: &Value, allowed: &[&str]) -> Option<Violation> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut violates = |holder: &Value| {
        let options = &holder["securityContext"]["seLinuxOptions"];
        let (kind, has) = (meta::str_at(options, "/type"), |at: &str| !meta::str_at(options, at).is_empty());
        let wrong_type = !allowed.contains(&kind);
        if wrong_type {
            types.insert(kind.to_owned());
        }
        user |= has("/user");
        role |= has("/role");
        wrong_type || has("/user") || has("/role")
    };
    let pod = violates(spec);
    let bad: Vec<&str> = containers(spec).filter(|c| violates(c)).map(|c| meta::str_at(c, "/name")).collect();
    let setters = setters(pod, &bad);
    if setters.is_empty() {
        return None;
    }
    let mut data = Vec::new();
    if !types.is_empty() {
        let types: Vec<String> = types.into_iter().collect();
        data.push(count_of("type", "types", &types));
    }
    data.extend(user.then(|| "user may not be set".to_owned()));
    data.extend(role.then(|| "role may not be set".to_owned()));
    let detail = format!(
        "{} set forbidden securityContext.seLinuxOptions: {}",
        setters.join(" and "),
        data.join("; ")
    );
    Some(Violation::new("seLinuxOptions", detail))
}

/// Seccomp by annotation, before 1.19.
pub(super) fn seccomp_annotations(metadata: &Value, spec: &Value) -> Option<Violation> {
    let allowed = |value: &str| {
        matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
    };
    let annotations = meta::string_map_at(metadata, "/annotations");
    let of_containers = containers(spec)
        .map(|c| format!("container.seccomp.security.alpha.kubernetes.io/{}", meta::str_at(c, "/name")));
    let keys = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned()).chain(of_containers);
    let forbidden: BTreeSet<String> = keys
        .filter_map(|key| {
            let value = annotations.get(&key).filter(|value| !allowed(value))?;
            Some(format!("{key}={}", quote(value)))
        })
        .collect();
    (!forbidden.is_empty()).then(|| {
        let forbidden: Vec<String> = forbidden.into_iter().collect();
        let word = plural("annotation", "annotations", forbidden.len());
        Violation::new("seccompProfile", format!("forbidden {word} {}", forbidden.join(", ")))
    })
}

/// Seccomp switched off or unknown, since 1.19.
pub(super) fn seccomp(_: &Value, spec: &Value) -> Option<Violation> {
    super::restricted::seccomp_profiles(spec).explicit
}

/// Sysctls outside the safe set.
pub(super) fn sysctls(spec: &Value, minor: u32) -> Option<Violation> {
    let allowed = |name: &str| match name {
        "kernel.shm_rmid_forced"
        | "net.ipv4.ip_local_port_range"
        | "net.ipv4.tcp_syncookies"
        | "net.ipv4.ping_group_range"
        | "net.ipv4.ip_unprivileged_port_start" => true,
        "net.ipv4.ip_local_reserved_ports" => minor >= 27,
        "net.ipv4.tcp_keepalive_time"
        | "net.ipv4.tcp_fin_timeout"
        | "net.ipv4.tcp_keepalive_intvl"
        | "net.ipv4.tcp_keepalive_probes" => minor >= 29,
        "net.ipv4.tcp_rmem" | "net.ipv4.tcp_wmem" => minor >= 32,
        _ => false,
    };
    let all = meta::list_at(spec, "/securityContext/sysctls").iter().map(|s| meta::str_at(s, "/name"));
    let bad: Vec<&str> = all.filter(|name| !allowed(name)).collect();
    (!bad.is_empty()).then(|| Violation::new("forbidden sysctls", bad.join(", ")))
}

/// Windows containers in the host's own process space.
pub(super) fn windows_host_process(_: &Value, spec: &Value) -> Option<Violation> {
    let on_host = |holder: &Value| holder["securityContext"]["windowsOptions"]["hostProcess"] == true;
    let bad: Vec<&str> = containers(spec).filter(|c| on_host(c)).map(|c| meta::str_at(c, "/name")).collect();
    let setters = setters(on_host(spec), &bad);
    (!setters.is_empty()).then(|| {
        let detail =
            format!("{} must not set securityContext.windowsOptions.hostProcess=true", setters.join(" and "));
        Violation::new("hostProcess", detail)
    })
}
