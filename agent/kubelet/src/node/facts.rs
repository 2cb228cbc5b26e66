//! Asking machine and runtime for what the Node's status says. Enters: [`Machine`], the runtime. Leaves: [`Facts`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use xebec_cri::Runtime;

use super::status::Facts;
use crate::config::Config;

/// What the machine is and has.
#[async_trait]
pub trait Machine: Send + Sync + 'static {
    /// Capacity and allocatable by resource name, without `pods`.
    fn resources(&self) -> (BTreeMap<String, Quantity>, BTreeMap<String, Quantity>);
    /// Kernel, operating system, ids; the versions of agent and runtime are filled in by the caller.
    fn info(&self) -> NodeSystemInfo;
    /// Memory, disk and process ids are short now.
    async fn pressures(&self) -> (bool, bool, bool);
}

/// What the runtime says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeFacts {
    /// `containerd://1.6.20`; empty if it does not answer.
    pub version: String,
    /// Why it is not ready, one text each.
    pub not_ready: Vec<String>,
}

impl RuntimeFacts {
    /// Asks the runtime.
    pub async fn ask(runtime: &dyn Runtime) -> Self {
        let version = match runtime.version().await {
            Ok(version) => {
                let number = version.runtime_version.trim_start_matches('v');
                format!("{}://{number}", version.runtime_name)
            }
            Err(_) => String::new(),
        };
        let mut not_ready = Vec::new();
        match runtime.status().await {
            Ok(status) => {
                for (kind, what) in [("RuntimeReady", "runtime"), ("NetworkReady", "runtime network")] {
                    match status.condition(kind) {
                        Some(condition) if condition.status => {}
                        Some(condition) => not_ready.push(format!(
                            "container {what} not ready: {kind}=false reason:{} message:{}",
                            condition.reason, condition.message
                        )),
                        None => not_ready.push(format!("container {what} status unknown: no {kind}")),
                    }
                }
            }
            Err(error) => not_ready.push(format!("container runtime is down: {error}")),
        }
        RuntimeFacts { version, not_ready }
    }
}

/// Collects everything; what cannot be had shows as not ready, never as an error.
pub async fn collect(config: &Config, runtime: &dyn Runtime, machine: &dyn Machine) -> Facts {
    let of_runtime = RuntimeFacts::ask(runtime).await;
    let (mut capacity, mut allocatable) = machine.resources();
    for list in [&mut capacity, &mut allocatable] {
        list.insert("pods".to_owned(), Quantity(config.max_pods.to_string()));
    }
    let (memory_pressure, disk_pressure, pid_pressure) = machine.pressures().await;
    let mut info = machine.info();
    info.kubelet_version = config.version.clone();
    info.container_runtime_version = of_runtime.version;
    let images = runtime.list_images().await.unwrap_or_default();
    let images = images.into_iter().map(|image| {
        let names = image.repo_digests.into_iter().chain(image.repo_tags).collect();
        (names, i64::try_from(image.size).unwrap_or(i64::MAX))
    });
    Facts {
        ips: config.node_ips.clone(),
        hostname: config.hostname.clone(),
        capacity,
        allocatable,
        info,
        not_ready: of_runtime.not_ready,
        memory_pressure,
        disk_pressure,
        pid_pressure,
        images: images.filter(|(names, _): &(Vec<String>, i64)| !names.is_empty()).collect(),
        port: config.port,
    }
}

#[cfg(test)]
mod tests {
    use xebec_cri::fake::FakeRuntime;

    use super::*;

    #[tokio::test]
    async fn a_runtime_without_network_is_not_ready() {
        let runtime = FakeRuntime::new();
        let facts = RuntimeFacts::ask(runtime.as_ref()).await;
        assert_eq!(facts, RuntimeFacts { version: "fake://1.0.0".into(), not_ready: vec![] });
        runtime.set_network_ready(false);
        let facts = RuntimeFacts::ask(runtime.as_ref()).await;
        let expected = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                        message:Network plugin returns error: cni plugin not initialized";
        assert_eq!(facts.not_ready, [expected]);
    }
}
