//! Starting things: a sandbox, a container. Enters: a planned action. Leaves: calls of the runtime, Events, and a
//! result for the worker. `dns`, `hosts`, `security`, `config` are pure; `image` pulls, `handler` reads RuntimeClasses.

pub mod config;
pub mod dns;
pub mod handler;
pub mod hosts;
pub mod image;
pub mod security;

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use xebec_cri::CriError;
use xebec_cri::messages::{ContainerConfig, Mount, PodSandboxConfig};
use xebec_host::machine::read_resolv_conf;

use super::{Shared, hooks};
use crate::host::HostError;
use crate::record::{Kind, pod_reference};
use crate::spec;

/// Why a container could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// The waiting reason: `ErrImagePull`, `CreateContainerConfigError`, ...
    pub reason: String,
    /// For people.
    pub message: String,
    /// For an image that cannot be pulled: which.
    pub image: Option<String>,
}

impl StartError {
    fn new(reason: &str, message: impl ToString) -> Self {
        StartError { reason: reason.to_owned(), message: message.to_string(), image: None }
    }
}

/// A container to start.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Its pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// Its restart count.
    pub attempt: u32,
    /// The sandbox to start it in.
    pub sandbox: &'a str,
    /// The pod's addresses.
    pub ips: &'a [String],
    /// The id of the container whose process namespace an ephemeral container joins.
    pub target: Option<&'a str>,
}

impl Shared {
    pub(crate) fn event(
        &self,
        pod: &Pod,
        container: Option<&str>,
        kind: Kind,
        reason: &str,
        message: impl ToString,
    ) {
        self.recorder.record(pod_reference(pod, container), kind, reason, message.to_string());
    }

    /// The configuration of a pod's sandbox.
    async fn sandbox_config(&self, pod: &Pod, attempt: u32) -> Result<PodSandboxConfig, HostError> {
        let cgroup_parent = self.host.prepare(pod).await?;
        // a node without resolv.conf has no resolvers to pass on
        let node = read_resolv_conf(&self.config.resolv_conf.to_string_lossy()).unwrap_or_default();
        let dns = dns::config(pod, &self.config, &node);
        let logs = self.host.log_directory(pod);
        Ok(config::sandbox(pod, attempt, &self.config, dns, &logs, cgroup_parent))
    }

    /// Makes a sandbox; returns its id. A name held by an earlier life of the agent is freed first.
    pub async fn run_sandbox(&self, pod: &Pod, attempt: u32) -> Result<String, String> {
        let failed = |error: &dyn std::fmt::Display| {
            let message = format!("Failed to create pod sandbox: {error}");
            self.event(pod, None, Kind::Warning, "FailedCreatePodSandBox", &message);
            message
        };
        let config = self.sandbox_config(pod, attempt).await.map_err(|error| failed(&error))?;
        let spec = spec::spec(pod);
        let handler = self
            .handlers
            .of(spec.runtime_class_name.as_deref(), self.api.as_ref())
            .await
            .map_err(|why| failed(&why))?;
        let permit = self.start_gate.acquire().await.map_err(|error| failed(&error))?;
        let mut made = self.runtime.run_pod_sandbox(config.clone(), &handler).await;
        if let Err(CriError::NameReserved { id, .. }) = &made
            && !id.is_empty()
        {
            tracing::info!(
                pod = spec::long_name(pod),
                id,
                "removing the half-made sandbox that holds the name"
            );
            self.runtime.remove_pod_sandbox(id).await.map_err(|error| failed(&error))?;
            made = self.runtime.run_pod_sandbox(config, &handler).await;
        }
        drop(permit);
        let id = made.map_err(|error| failed(&error))?;
        self.index.insert(&id, spec::uid(pod));
        Ok(id)
    }

    /// Pulls the image if needed, creates and starts a container and runs its postStart hook; returns its id.
    pub async fn start_container(&self, start: Start<'_>) -> Result<String, StartError> {
        let Start { pod, container, .. } = start;
        let name = Some(container.name.as_str());
        let image = self.ensure_image(pod, container).await?;
        if let Some(refusal) = security::refuses_root(pod, container, image.uid, &image.user) {
            self.event(pod, name, Kind::Warning, "Failed", format!("Error: {refusal}"));
            return Err(StartError::new("CreateContainerConfigError", refusal));
        }
        let config = self.container_config(start, &image.id).await.map_err(|error| {
            self.event(pod, name, Kind::Warning, "Failed", format!("Error: {error}"));
            StartError::new("CreateContainerConfigError", error)
        })?;
        let log = self.host.log_directory(pod).join(&config.log_path);
        let permit = self.start_gate.acquire().await;
        let permit = permit.map_err(|error| StartError::new("CreateContainerError", error))?;
        let created = self.create(start, config).await;
        let id = created.map_err(|error| {
            self.event(pod, name, Kind::Warning, "Failed", format!("Error: {error}"));
            StartError::new("CreateContainerError", error)
        })?;
        self.index.insert(&id, spec::uid(pod));
        self.event(pod, name, Kind::Normal, "Created", "Container created");
        self.runtime.start_container(&id).await.map_err(|error| {
            self.event(pod, name, Kind::Warning, "Failed", format!("Error: {error}"));
            StartError::new("RunContainerError", error)
        })?;
        drop(permit);
        self.event(pod, name, Kind::Normal, "Started", "Container started");
        if let Err(error) = self.host.link_log(pod, &container.name, &id, &log).await {
            tracing::warn!(%error, container = container.name, "no link to the container's log");
        }
        self.post_start(start, &id).await?;
        Ok(id)
    }

    async fn create(&self, start: Start<'_>, config: ContainerConfig) -> Result<String, CriError> {
        // the runtime wants the sandbox's configuration again; the directories exist, so this cannot fail anew
        let sandbox = self
            .sandbox_config(start.pod, 0)
            .await
            .map_err(|error| CriError::Failed { code: "Internal", message: error.to_string() })?;
        match self.runtime.create_container(start.sandbox, config.clone(), sandbox.clone()).await {
            Err(CriError::NameReserved { id, .. }) if !id.is_empty() => {
                tracing::info!(id, "removing the half-made container that holds the name");
                self.runtime.remove_container(&id).await?;
                self.runtime.create_container(start.sandbox, config, sandbox).await
            }
            other => other,
        }
    }

    async fn container_config(&self, start: Start<'_>, image: &str) -> Result<ContainerConfig, HostError> {
        let Start { pod, container, ips, .. } = start;
        let envs = self.host.environment(pod, container, ips).await?;
        let mut mounts = self.host.mounts(pod, container, &envs).await?;
        let mounted = |mounts: &[Mount], path: &str| mounts.iter().any(|mount| mount.container_path == path);
        if !mounted(&mounts, "/etc/hosts") && !ips.is_empty() {
            let node = if spec::on_host_network(pod) {
                tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default()
            } else {
                String::new()
            };
            let text = hosts::file(pod, ips, &self.config.cluster_domain, &node);
            let path = self.host.write_file(pod, "", "etc-hosts", text.into_bytes()).await?;
            mounts.push(config::file_mount("/etc/hosts", &path));
        }
        let message_path = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
        if !message_path.is_empty() {
            let file = format!("termination-{}", start.attempt);
            let path = self.host.write_file(pod, &container.name, &file, Vec::new()).await?;
            mounts.push(config::file_mount(message_path, &path));
        }
        let resources = self.host.resources(pod, container);
        Ok(config::container(&config::Parts {
            pod,
            container,
            attempt: start.attempt,
            image,
            envs,
            mounts,
            resources,
            target: start.target,
        }))
    }

    async fn post_start(&self, start: Start<'_>, id: &str) -> Result<(), StartError> {
        let Start { pod, container, .. } = start;
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else { return Ok(()) };
        let ip = start.ips.first().map(String::as_str).unwrap_or_default();
        let result = hooks::run(self.runtime.as_ref(), pod, container, id, ip, hook).await;
        let Err(message) = result else { return Ok(()) };
        tracing::info!(container = container.name, message, "postStart failed");
        let name = Some(container.name.as_str());
        self.event(pod, name, Kind::Warning, "FailedPostStartHook", "PostStartHook failed");
        let killing = format!("FailedPostStartHook: container {} will be stopped", container.name);
        self.event(pod, name, Kind::Normal, "Killing", killing);
        if let Err(error) = self.runtime.stop_container(id, spec::grace(pod)).await {
            tracing::warn!(%error, id, "a container whose postStart failed could not be stopped");
        }
        Err(StartError::new("PostStartHookError", message))
    }

    /// Runs the preStop hook and stops a container; the hook and the process share `grace`, the process gets 2 s at
    /// least.
    pub async fn stop_container(
        &self,
        pod: &Pod,
        container: Option<&Container>,
        id: &str,
        ip: &str,
        grace: Duration,
    ) -> Result<(), CriError> {
        let begin = tokio::time::Instant::now();
        let hook = container.and_then(|c| c.lifecycle.as_ref()).and_then(|l| l.pre_stop.as_ref());
        if let (Some(container), Some(hook)) = (container, hook)
            && !grace.is_zero()
        {
            let work = hooks::run(self.runtime.as_ref(), pod, container, id, ip, hook);
            let result = tokio::time::timeout(grace, work).await;
            if let Ok(Err(message)) = result {
                tracing::info!(container = container.name, message, "preStop failed");
                let name = Some(container.name.as_str());
                self.event(pod, name, Kind::Warning, "FailedPreStopHook", "PreStopHook failed");
            }
        }
        let left = grace.saturating_sub(begin.elapsed()).max(Duration::from_secs(2));
        self.runtime.stop_container(id, left).await
    }
}
