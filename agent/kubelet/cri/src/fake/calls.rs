//! The calls of [`Runtime`] and [`RuntimeEvents`] on the runtime in memory.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::watch;

use super::{FakeRuntime, Held, not_found, selected};
use crate::messages::*;
use crate::{CriError, EventKind, EventStream, Runtime, RuntimeEvents};

#[async_trait]
impl RuntimeEvents for FakeRuntime {
    async fn subscribe(&self) -> Result<EventStream, CriError> {
        let stream = tokio_stream::wrappers::BroadcastStream::new(self.events.subscribe());
        let lost = || CriError::Unavailable("events were lost".to_owned());
        Ok(stream.map(move |item| item.map_err(|_| lost())).boxed())
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn version(&self) -> Result<VersionResponse, CriError> {
        Ok(VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "fake".into(),
            runtime_version: "1.0.0".into(),
            runtime_api_version: "v1".into(),
        })
    }

    async fn status(&self) -> Result<RuntimeStatus, CriError> {
        let ready = self.state.lock().network_ready;
        let condition = |kind: &str, status: bool, reason: &str, message: &str| RuntimeCondition {
            r#type: kind.into(),
            status,
            reason: reason.into(),
            message: message.into(),
        };
        let network = if ready {
            condition("NetworkReady", true, "", "")
        } else {
            let message = "Network plugin returns error: cni plugin not initialized";
            condition("NetworkReady", false, "NetworkPluginNotReady", message)
        };
        Ok(RuntimeStatus { conditions: vec![condition("RuntimeReady", true, "", ""), network] })
    }

    async fn cgroup_driver(&self) -> Result<Option<CgroupDriver>, CriError> {
        Ok(Some(CgroupDriver::Cgroupfs))
    }

    async fn run_pod_sandbox(&self, config: PodSandboxConfig, handler: &str) -> Result<String, CriError> {
        let metadata = config.metadata.clone().unwrap_or_default();
        self.enter("RunPodSandbox", &metadata.name).await?;
        let created_at = self.nanos();
        let id = {
            let mut state = self.state.lock();
            let taken = state.sandboxes.values().find(|(s, _)| s.metadata.as_ref() == Some(&metadata));
            if let Some((holder, _)) = taken {
                let message = format!("name is reserved for \"{}\"", holder.id);
                return Err(CriError::NameReserved { id: holder.id.clone(), code: "Unknown", message });
            }
            let id = Self::fresh_id(&mut state, "s");
            let options = config.linux.as_ref().and_then(|l| l.security_context.as_ref());
            let options = options.and_then(|s| s.namespace_options.clone());
            let on_host = options.as_ref().is_some_and(|o| o.network() == NamespaceMode::Node);
            let ip = if on_host { String::new() } else { format!("10.244.0.{}", state.next % 250) };
            let status = PodSandboxStatus {
                id: id.clone(),
                metadata: Some(metadata),
                state: PodSandboxState::Ready.into(),
                created_at,
                network: Some(PodSandboxNetworkStatus { ip, additional_ips: vec![] }),
                linux: Some(LinuxPodSandboxStatus { namespaces: Some(Namespace { options }) }),
                labels: config.labels.clone(),
                annotations: config.annotations.clone(),
                runtime_handler: handler.to_owned(),
            };
            state.sandboxes.insert(id.clone(), (status, config));
            id
        };
        self.emit(&id, EventKind::Started);
        Ok(id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        self.enter("StopPodSandbox", "").await?;
        let inside: Vec<String> = {
            let mut state = self.state.lock();
            let Some((status, _)) = state.sandboxes.get_mut(id) else { return Ok(()) };
            status.state = PodSandboxState::NotReady.into();
            let inside = state.containers.iter().filter(|(_, held)| held.sandbox == id);
            inside.map(|(id, _)| id.clone()).collect()
        };
        for container in inside {
            self.end(&container, 137, "Error");
        }
        self.emit(id, EventKind::Stopped);
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        self.enter("RemovePodSandbox", "").await?;
        let mut state = self.state.lock();
        state.sandboxes.remove(id);
        state.containers.retain(|_, held| held.sandbox != id);
        drop(state);
        self.emit(id, EventKind::Deleted);
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandboxStatus, CriError> {
        let state = self.state.lock();
        state.sandboxes.get(id).map(|(status, _)| status.clone()).ok_or_else(|| not_found("sandbox", id))
    }

    async fn list_pod_sandboxes(&self, filter: PodSandboxFilter) -> Result<Vec<PodSandbox>, CriError> {
        let state = self.state.lock();
        let matching = state.sandboxes.values().map(|(status, _)| status).filter(|status| {
            (filter.id.is_empty() || filter.id == status.id)
                && filter.state.as_ref().is_none_or(|wanted| wanted.state == status.state)
                && selected(&filter.label_selector, &status.labels)
        });
        Ok(matching
            .map(|status| PodSandbox {
                id: status.id.clone(),
                metadata: status.metadata.clone(),
                state: status.state,
                created_at: status.created_at,
                labels: status.labels.clone(),
                annotations: status.annotations.clone(),
                runtime_handler: status.runtime_handler.clone(),
            })
            .collect())
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: ContainerConfig,
        _sandbox_config: PodSandboxConfig,
    ) -> Result<String, CriError> {
        let metadata = config.metadata.clone().unwrap_or_default();
        self.enter("CreateContainer", &metadata.name).await?;
        let created_at = self.nanos();
        let image = config.image.clone().unwrap_or_default();
        let mut state = self.state.lock();
        if !state.sandboxes.contains_key(sandbox_id) {
            return Err(not_found("sandbox", sandbox_id));
        }
        let taken = state
            .containers
            .values()
            .find(|held| held.sandbox == sandbox_id && held.status.metadata.as_ref() == Some(&metadata));
        if let Some(holder) = taken {
            let message = format!("name is reserved for \"{}\"", holder.status.id);
            return Err(CriError::NameReserved { id: holder.status.id.clone(), code: "Unknown", message });
        }
        let id = Self::fresh_id(&mut state, "c");
        let status = ContainerStatus {
            id: id.clone(),
            metadata: Some(metadata),
            state: ContainerState::ContainerCreated.into(),
            created_at,
            image_ref: image.image.clone(),
            image: Some(image),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            mounts: config.mounts.clone(),
            log_path: config.log_path.clone(),
            ..ContainerStatus::default()
        };
        let held = Held {
            status,
            sandbox: sandbox_id.to_owned(),
            config,
            ended: watch::Sender::new(false),
            process: false,
            exit: None,
        };
        state.containers.insert(id.clone(), held);
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<(), CriError> {
        let name = self.container_name(id);
        self.enter("StartContainer", &name).await?;
        let now = self.nanos();
        let (script, answer_after) = {
            let mut state = self.state.lock();
            let answer_after = state.answer_after;
            let held = state.containers.get_mut(id).ok_or_else(|| not_found("container", id))?;
            held.process = true;
            if answer_after.is_zero() {
                held.status.state = ContainerState::ContainerRunning.into();
                held.status.started_at = now;
            }
            (state.scripts.get(&name).copied().unwrap_or_default(), answer_after)
        };
        self.emit(id, EventKind::Started);
        if let (Some((after, code)), Some(me)) = (script.exits_after, self.me.upgrade()) {
            let id = id.to_owned();
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                me.end(&id, code, if code == 0 { "Completed" } else { "Error" });
            });
        }
        if answer_after.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(answer_after).await;
        let ended = {
            let mut state = self.state.lock();
            let held = state.containers.get_mut(id).ok_or_else(|| not_found("container", id))?;
            held.status.state = ContainerState::ContainerRunning.into();
            held.status.started_at = now;
            held.exit.is_some()
        };
        if ended {
            self.tell_exit(id);
        }
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), CriError> {
        let name = self.container_name(id);
        self.enter("StopContainer", &format!("{name} {}", grace.as_secs())).await?;
        let (mut ended, script) = {
            let state = self.state.lock();
            let Some(held) = state.containers.get(id) else { return Ok(()) };
            if held.status.state() != ContainerState::ContainerRunning {
                return Ok(());
            }
            (held.ended.subscribe(), state.scripts.get(&name).copied().unwrap_or_default())
        };
        let code = if script.stops_within <= grace { 143 } else { 137 };
        tokio::select! {
            () = tokio::time::sleep(script.stops_within.min(grace)) => {
                self.end(id, code, "Error");
            }
            _ = ended.wait_for(|ended| *ended) => {}
        }
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<(), CriError> {
        self.enter("RemoveContainer", &self.container_name(id)).await?;
        self.state.lock().containers.remove(id);
        self.emit(id, EventKind::Deleted);
        Ok(())
    }

    async fn list_containers(&self, filter: ContainerFilter) -> Result<Vec<Container>, CriError> {
        let state = self.state.lock();
        if state.lists_broken {
            return Err(CriError::Unavailable("the test broke it".to_owned()));
        }
        let matching = state.containers.values().filter(|held| {
            (filter.id.is_empty() || filter.id == held.status.id)
                && (filter.pod_sandbox_id.is_empty() || filter.pod_sandbox_id == held.sandbox)
                && filter.state.as_ref().is_none_or(|wanted| wanted.state == held.status.state)
                && selected(&filter.label_selector, &held.status.labels)
        });
        Ok(matching
            .map(|held| Container {
                id: held.status.id.clone(),
                pod_sandbox_id: held.sandbox.clone(),
                metadata: held.status.metadata.clone(),
                image: held.status.image.clone(),
                image_ref: held.status.image_ref.clone(),
                state: held.status.state,
                created_at: held.status.created_at,
                labels: held.status.labels.clone(),
                annotations: held.status.annotations.clone(),
                image_id: held.status.image_id.clone(),
            })
            .collect())
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus, CriError> {
        let state = self.state.lock();
        state.containers.get(id).map(|held| held.status.clone()).ok_or_else(|| not_found("container", id))
    }

    async fn update_container_resources(
        &self,
        id: &str,
        _resources: LinuxContainerResources,
    ) -> Result<(), CriError> {
        self.enter("UpdateContainerResources", &self.container_name(id)).await
    }

    async fn reopen_container_log(&self, id: &str) -> Result<(), CriError> {
        self.enter("ReopenContainerLog", &self.container_name(id)).await
    }

    async fn exec_sync(
        &self,
        id: &str,
        cmd: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecSyncResponse, CriError> {
        let name = self.container_name(id);
        let slow =
            self.state.lock().delays.get("ExecSync").is_some_and(|d| !timeout.is_zero() && *d > timeout);
        if slow {
            tokio::time::sleep(timeout).await;
            return Err(CriError::DeadlineExceeded(format!("timeout {timeout:?} exceeded")));
        }
        self.enter("ExecSync", &name).await?;
        let exec = self.state.lock().exec.clone();
        exec.map_or(Ok(ExecSyncResponse::default()), |script| script(&name, &cmd))
    }

    async fn exec(&self, request: ExecRequest) -> Result<String, CriError> {
        self.enter("Exec", &self.container_name(&request.container_id)).await?;
        Ok(format!("http://127.0.0.1:1/exec/{}", request.container_id))
    }

    async fn attach(&self, request: AttachRequest) -> Result<String, CriError> {
        self.enter("Attach", &self.container_name(&request.container_id)).await?;
        Ok(format!("http://127.0.0.1:1/attach/{}", request.container_id))
    }

    async fn port_forward(&self, sandbox_id: &str, _ports: Vec<i32>) -> Result<String, CriError> {
        self.enter("PortForward", sandbox_id).await?;
        Ok(format!("http://127.0.0.1:1/portforward/{sandbox_id}"))
    }

    async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>, CriError> {
        Ok(self.state.lock().images.get(&image.image).cloned())
    }

    async fn list_images(&self) -> Result<Vec<Image>, CriError> {
        Ok(self.state.lock().images.values().cloned().collect())
    }

    async fn pull_image(
        &self,
        image: ImageSpec,
        _auth: Option<AuthConfig>,
        _sandbox: Option<PodSandboxConfig>,
    ) -> Result<String, CriError> {
        self.enter("PullImage", &image.image).await?;
        let mut state = self.state.lock();
        if state.pullable.as_ref().is_some_and(|allowed| !allowed.contains(&image.image)) {
            return Err(CriError::NotFound(format!("failed to pull image \"{}\": not found", image.image)));
        }
        let id = format!("sha256:{}", image.image);
        let held =
            Image { id: id.clone(), repo_tags: vec![image.image.clone()], size: 1000, ..Image::default() };
        state.images.insert(image.image, held);
        Ok(id)
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<(), CriError> {
        self.enter("RemoveImage", &image.image).await?;
        self.state.lock().images.retain(|name, held| *name != image.image && held.id != image.image);
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>, CriError> {
        Ok(Vec::new())
    }
}
