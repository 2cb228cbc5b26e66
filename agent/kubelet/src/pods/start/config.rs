//! The CRI configurations of sandboxes and containers (pure). Enters: a pod, a container, what the host resolved.
//! Leaves: messages for the runtime.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod};
use xebec_cri::messages::{
    ContainerConfig, ContainerMetadata, DnsConfig, ImageSpec, KeyValue, LinuxContainerConfig,
    LinuxContainerResources, LinuxPodSandboxConfig, Mount, PodSandboxConfig, PodSandboxMetadata, PortMapping,
    Protocol,
};
use xebec_host::env::expand_all;

use super::{hosts, security};
use crate::config::Config;
use crate::pods::labels;
use crate::spec;

/// The configuration of a sandbox.
pub fn sandbox(
    pod: &Pod,
    attempt: u32,
    config: &Config,
    dns: DnsConfig,
    log_directory: &Path,
    cgroup_parent: String,
) -> PodSandboxConfig {
    let spec = spec::spec(pod);
    let sysctls = spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    let sysctls = sysctls.into_iter().flatten().map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()));
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: spec::name(pod).to_owned(),
            uid: spec::uid(pod).to_owned(),
            namespace: spec::namespace(pod).to_owned(),
            attempt,
        }),
        hostname: hosts::sandbox_hostname(pod, &config.cluster_domain),
        log_directory: log_directory.to_string_lossy().into_owned(),
        dns_config: Some(dns),
        port_mappings: ports(pod),
        labels: labels::of_sandbox(pod),
        annotations: labels::sandbox_annotations(pod, &config.runtime_class_annotations),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent,
            security_context: Some(security::sandbox(pod)),
            sysctls: sysctls.collect(),
            overhead: None,
            resources: None,
        }),
    }
}

/// Every port with a hostPort; none on the node's network, where the process binds it itself.
fn ports(pod: &Pod) -> Vec<PortMapping> {
    if spec::on_host_network(pod) {
        return Vec::new();
    }
    let containers = spec::all(pod);
    let ports = containers.iter().flat_map(|(_, container)| container.ports.iter().flatten());
    ports
        .map(|port| PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            }
            .into(),
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

/// A read-write bind of one file.
pub fn file_mount(container_path: &str, host_path: &Path) -> Mount {
    Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.to_string_lossy().into_owned(),
        ..Mount::default()
    }
}

/// What a container's configuration is made of.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// The restart count.
    pub attempt: u32,
    /// The image's id.
    pub image: &'a str,
    /// Its variables, resolved.
    pub envs: Vec<(String, String)>,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// Its limits.
    pub resources: LinuxContainerResources,
    /// The container whose process namespace it joins.
    pub target: Option<&'a str>,
}

/// The configuration of a container.
pub fn container(parts: &Parts<'_>) -> ContainerConfig {
    let Parts { pod, container, attempt, .. } = *parts;
    let expand = |words: &Option<Vec<String>>| expand_all(words.as_deref().unwrap_or_default(), &parts.envs);
    let mut image = ImageSpec::of(parts.image);
    image.user_specified_image = container.image.clone().unwrap_or_default();
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt }),
        image: Some(image),
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: parts
            .envs
            .iter()
            .map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() })
            .collect(),
        mounts: parts.mounts.clone(),
        devices: Vec::new(),
        labels: labels::of_container(pod, container),
        annotations: labels::container_annotations(pod, container, attempt),
        log_path: format!("{}/{attempt}.log", container.name),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(LinuxContainerConfig {
            resources: Some(parts.resources.clone()),
            security_context: Some(security::container(pod, container, parts.target)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_runtime_class_may_add_an_annotation_to_those_that_lack_it() {
        let mut node = Config::new("n", "192.0.2.1");
        node.runtime_class_annotations =
            [("kata".to_owned(), ("x/path".to_owned(), "packet".to_owned()))].into();
        for (class, own, expected) in [
            (json!("kata"), json!({}), Some("packet")),
            (json!("kata"), json!({"x/path": "socket"}), Some("socket")),
            (json!("runc"), json!({}), None),
            (json!(null), json!({}), None),
        ] {
            let pod = json!({
                "metadata": {"name": "p", "annotations": own},
                "spec": {"runtimeClassName": class, "containers": [{"name": "c"}]},
            });
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let config = sandbox(&pod, 0, &node, DnsConfig::default(), Path::new("/logs"), String::new());
            assert_eq!(config.annotations.get("x/path").map(String::as_str), expected, "{class} {own}");
        }
    }

    #[test]
    fn names_follow_the_conventions() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "image": "i",
                "ports": [{"containerPort": 80, "hostPort": 8080}]}]},
        }))
        .unwrap();
        let node = Config::new("n", "192.0.2.1");
        let config = sandbox(&pod, 3, &node, DnsConfig::default(), Path::new("/logs"), "/kubepods".into());
        assert_eq!(config.metadata.unwrap().attempt, 3);
        assert_eq!(config.port_mappings[0].host_port, 8080);
        assert_eq!(config.labels["app"], "x");
        let main = &spec::mains(&pod)[0];
        let config = container(&Parts {
            pod: &pod,
            container: main,
            attempt: 2,
            image: "sha256:1",
            envs: vec![],
            mounts: vec![],
            resources: LinuxContainerResources::default(),
            target: None,
        });
        assert_eq!(config.log_path, "c/2.log");
        assert_eq!(config.labels[labels::CONTAINER_NAME], "c");
        assert_eq!(config.annotations[labels::RESTART_COUNT], "2");
    }
}
