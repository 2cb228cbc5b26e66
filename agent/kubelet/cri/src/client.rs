//! The CRI client over a unix socket. Enters: calls of [`Runtime`]. Leaves: gRPC to the runtime.
//!
//! One HTTP/2 connection, opened at the first call and again after it broke. Called through `Arc<dyn Runtime>`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::messages::*;
use crate::{CriError, Runtime};

/// Upstream's limit for one message of the runtime.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// Upstream's `runtimeRequestTimeout`.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a stream that is not implemented may take to say so.
const STREAM_PATIENCE: Duration = Duration::from_millis(300);
/// What a short, read-only call may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// A CRI v1 client; cheap to clone, all clones share one connection.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    socket: PathBuf,
}

impl Client {
    /// A client for the runtime listening at `socket`; connects at the first call and after each loss.
    ///
    /// Accepts a path or `unix:///path`. Must be called inside a tokio runtime.
    pub fn new(socket: impl AsRef<Path>) -> Self {
        let text = socket.as_ref().to_string_lossy();
        let path = PathBuf::from(text.strip_prefix("unix://").unwrap_or(&text));
        let target = path.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let target = target.clone();
            async move { UnixStream::connect(target).await.map(TokioIo::new) }
        });
        // the authority is never resolved: the connector always dials the socket
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Client { channel, socket: path }
    }

    /// The runtime's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn grpc(&self) -> tonic::client::Grpc<Channel> {
        tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    async fn call<Q, A>(&self, path: &'static str, request: Q, limit: Option<Duration>) -> Result<A, CriError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc();
        let work = async {
            grpc.ready().await.map_err(|error| CriError::Unavailable(self.explain(&error)))?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await;
            answer.map(|a| a.into_inner()).map_err(|status| self.failed(status))
        };
        match limit {
            None => work.await,
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                Err(CriError::DeadlineExceeded(format!("{path} took longer than {}s", limit.as_secs())))
            }),
        }
    }

    /// Opens a server stream. A Go server sends its headers with the first message, which may be long in coming: a
    /// call that has not failed within [`STREAM_PATIENCE`] counts as open.
    pub(crate) async fn streaming<Q, A>(
        &self,
        path: &'static str,
        request: Q,
    ) -> Result<BoxStream<'static, Result<A, Status>>, CriError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.map_err(|error| CriError::Unavailable(self.explain(&error)))?;
        let mut call = Box::pin(async move {
            let codec = ProstCodec::<Q, A>::default();
            grpc.server_streaming(Request::new(request), PathAndQuery::from_static(path), codec).await
        });
        match tokio::time::timeout(STREAM_PATIENCE, &mut call).await {
            Ok(answer) => Ok(answer.map_err(|status| self.failed(status))?.into_inner().boxed()),
            Err(_) => Ok(stream::once(call)
                .flat_map(|answer| match answer {
                    Ok(answer) => answer.into_inner().boxed(),
                    Err(status) => stream::once(async { Err(status) }).boxed(),
                })
                .boxed()),
        }
    }

    fn failed(&self, status: Status) -> CriError {
        match CriError::from(status) {
            CriError::Unavailable(message) => {
                CriError::Unavailable(format!("{message} ({})", self.socket.display()))
            }
            other => other,
        }
    }

    fn explain(&self, error: &dyn std::error::Error) -> String {
        let mut text = format!("connection to {}: {error}", self.socket.display());
        let mut cause = error.source();
        while let Some(inner) = cause {
            text.push_str(&format!(": {inner}"));
            cause = inner.source();
        }
        text
    }
}

fn missing(what: &str) -> CriError {
    CriError::Failed { code: "Internal", message: format!("the runtime answered without {what}") }
}

/// Success if the object of a stop or removal is gone already.
fn gone_is_done(result: Result<Empty, CriError>) -> Result<(), CriError> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

const CALL: Option<Duration> = Some(CALL_TIMEOUT);
const QUERY: Option<Duration> = Some(QUERY_TIMEOUT);

#[async_trait]
impl Runtime for Client {
    async fn version(&self) -> Result<VersionResponse, CriError> {
        let request = VersionRequest { version: "v1".into() };
        self.call("/runtime.v1.RuntimeService/Version", request, QUERY).await
    }

    async fn status(&self) -> Result<RuntimeStatus, CriError> {
        let request = StatusRequest { verbose: false };
        let answer: StatusResponse = self.call("/runtime.v1.RuntimeService/Status", request, QUERY).await?;
        answer.status.ok_or_else(|| missing("a status"))
    }

    async fn cgroup_driver(&self) -> Result<Option<CgroupDriver>, CriError> {
        let path = "/runtime.v1.RuntimeService/RuntimeConfig";
        match self.call::<_, RuntimeConfigResponse>(path, RuntimeConfigRequest {}, QUERY).await {
            Ok(answer) => Ok(answer.linux.map(|linux| linux.cgroup_driver())),
            Err(CriError::Unimplemented(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn run_pod_sandbox(&self, config: PodSandboxConfig, handler: &str) -> Result<String, CriError> {
        let request = RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        // upstream doubles the limit here: the network plugin runs inside this call
        let limit = Some(CALL_TIMEOUT * 2);
        let answer: SandboxId = self.call("/runtime.v1.RuntimeService/RunPodSandbox", request, limit).await?;
        Ok(answer.pod_sandbox_id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = SandboxId { pod_sandbox_id: id.to_owned() };
        gone_is_done(self.call("/runtime.v1.RuntimeService/StopPodSandbox", request, CALL).await)
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = SandboxId { pod_sandbox_id: id.to_owned() };
        gone_is_done(self.call("/runtime.v1.RuntimeService/RemovePodSandbox", request, CALL).await)
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandboxStatus, CriError> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let answer: PodSandboxStatusResponse =
            self.call("/runtime.v1.RuntimeService/PodSandboxStatus", request, QUERY).await?;
        answer.status.ok_or_else(|| missing("a sandbox status"))
    }

    async fn list_pod_sandboxes(&self, filter: PodSandboxFilter) -> Result<Vec<PodSandbox>, CriError> {
        let request = ListPodSandboxRequest { filter: Some(filter) };
        let answer: ListPodSandboxResponse =
            self.call("/runtime.v1.RuntimeService/ListPodSandbox", request, QUERY).await?;
        Ok(answer.items)
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<String, CriError> {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let answer: ContainerId =
            self.call("/runtime.v1.RuntimeService/CreateContainer", request, CALL).await?;
        Ok(answer.container_id)
    }

    async fn start_container(&self, id: &str) -> Result<(), CriError> {
        let request = ContainerId { container_id: id.to_owned() };
        self.call::<_, Empty>("/runtime.v1.RuntimeService/StartContainer", request, CALL).await.map(drop)
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), CriError> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = StopContainerRequest { container_id: id.to_owned(), timeout };
        let limit = Some(grace.saturating_add(CALL_TIMEOUT));
        gone_is_done(self.call("/runtime.v1.RuntimeService/StopContainer", request, limit).await)
    }

    async fn remove_container(&self, id: &str) -> Result<(), CriError> {
        let request = ContainerId { container_id: id.to_owned() };
        gone_is_done(self.call("/runtime.v1.RuntimeService/RemoveContainer", request, CALL).await)
    }

    async fn list_containers(&self, filter: ContainerFilter) -> Result<Vec<Container>, CriError> {
        let request = ListContainersRequest { filter: Some(filter) };
        let answer: ListContainersResponse =
            self.call("/runtime.v1.RuntimeService/ListContainers", request, QUERY).await?;
        Ok(answer.containers)
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus, CriError> {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer: ContainerStatusResponse =
            self.call("/runtime.v1.RuntimeService/ContainerStatus", request, QUERY).await?;
        answer.status.ok_or_else(|| missing("a container status"))
    }

    async fn update_container_resources(
        &self,
        id: &str,
        resources: LinuxContainerResources,
    ) -> Result<(), CriError> {
        let path = "/runtime.v1.RuntimeService/UpdateContainerResources";
        let request = UpdateContainerResourcesRequest { container_id: id.to_owned(), linux: Some(resources) };
        self.call::<_, Empty>(path, request, CALL).await.map(drop)
    }

    async fn reopen_container_log(&self, id: &str) -> Result<(), CriError> {
        let request = ContainerId { container_id: id.to_owned() };
        self.call::<_, Empty>("/runtime.v1.RuntimeService/ReopenContainerLog", request, CALL).await.map(drop)
    }

    async fn exec_sync(
        &self,
        id: &str,
        cmd: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecSyncResponse, CriError> {
        let seconds = i64::try_from(timeout.as_secs_f64().ceil() as u64).unwrap_or(i64::MAX);
        let request = ExecSyncRequest { container_id: id.to_owned(), cmd, timeout: seconds };
        // the runtime enforces the timeout; ours only covers a runtime that does not answer
        let limit = (!timeout.is_zero()).then(|| timeout.saturating_add(CALL_TIMEOUT));
        self.call("/runtime.v1.RuntimeService/ExecSync", request, limit).await
    }

    async fn exec(&self, request: ExecRequest) -> Result<String, CriError> {
        let answer: StreamingUrl = self.call("/runtime.v1.RuntimeService/Exec", request, CALL).await?;
        Ok(answer.url)
    }

    async fn attach(&self, request: AttachRequest) -> Result<String, CriError> {
        let answer: StreamingUrl = self.call("/runtime.v1.RuntimeService/Attach", request, CALL).await?;
        Ok(answer.url)
    }

    async fn port_forward(&self, sandbox_id: &str, ports: Vec<i32>) -> Result<String, CriError> {
        let request = PortForwardRequest { pod_sandbox_id: sandbox_id.to_owned(), port: ports };
        let answer: StreamingUrl = self.call("/runtime.v1.RuntimeService/PortForward", request, CALL).await?;
        Ok(answer.url)
    }

    async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>, CriError> {
        let request = ImageStatusRequest { image: Some(image.clone()), verbose: false };
        let answer: ImageStatusResponse =
            self.call("/runtime.v1.ImageService/ImageStatus", request, QUERY).await?;
        Ok(answer.image.filter(|image| !image.id.is_empty()))
    }

    async fn list_images(&self) -> Result<Vec<Image>, CriError> {
        let request = ListImagesRequest { filter: None };
        let answer: ListImagesResponse =
            self.call("/runtime.v1.ImageService/ListImages", request, QUERY).await?;
        Ok(answer.images)
    }

    async fn pull_image(
        &self,
        image: ImageSpec,
        auth: Option<AuthConfig>,
        sandbox: Option<PodSandboxConfig>,
    ) -> Result<String, CriError> {
        let request = PullImageRequest { image: Some(image), auth, sandbox_config: sandbox };
        let answer: PullImageResponse =
            self.call("/runtime.v1.ImageService/PullImage", request, None).await?;
        Ok(answer.image_ref)
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<(), CriError> {
        let request = RemoveImageRequest { image: Some(image.clone()) };
        gone_is_done(self.call("/runtime.v1.ImageService/RemoveImage", request, CALL).await)
    }

    async fn image_fs_info(&self) -> Result<Vec<FilesystemUsage>, CriError> {
        let answer: ImageFsInfoResponse =
            self.call("/runtime.v1.ImageService/ImageFsInfo", Empty {}, QUERY).await?;
        Ok(answer.image_filesystems)
    }
}
