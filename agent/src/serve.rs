//! The kubelet's server on port 10250: its traits over the pod registry, the runtime and the cgroups.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use xebec_cri::Runtime;
use xebec_dataplane::MoreMetrics;
use xebec_dataplane::metrics::Text;
use xebec_host::cgroups::Cgroups;
use xebec_kubelet::{PodRegistry, PodView};
use xebec_kubelet_serve::stats::Summary;
use xebec_kubelet_serve::{
    FileLogs, KubeAccess, LogFile, Options, PodSource, RuntimeStreaming, Server, SourceError,
};
use xebec_program::Failure;

use crate::options::RunOptions;
use crate::stats;

/// How often a followed log asks whether its container still runs.
const LIVENESS: Duration = Duration::from_millis(200);

/// Takes the port.
pub(crate) async fn bind(options: &RunOptions) -> Result<Server, Failure> {
    let options = Options {
        address: SocketAddr::new(xebec_program::every_family(options.address), options.port),
        certificate: options.tls_cert_file.clone(),
        key: options.tls_private_key_file.clone(),
        client_ca: options.client_ca_file.clone(),
        node_name: options.node_name.clone(),
        log_directory: "/var/log".into(),
    };
    Server::bind(options).await.map_err(|error| Failure::part("kubelet server")(&error))
}

/// What the server answers from.
pub(crate) struct Source {
    pub(crate) registry: PodRegistry,
    pub(crate) cgroups: Cgroups,
    pub(crate) node_name: String,
    /// What this agent's other parts count and nobody else serves.
    pub(crate) more_metrics: MoreMetrics,
}

/// Answers until `stop`.
pub(crate) async fn run(
    server: Server,
    source: Source,
    runtime: Arc<dyn Runtime>,
    client: kube::Client,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let access = Arc::new(KubeAccess::new(client));
    server
        .serve(Arc::new(source), Arc::new(RuntimeStreaming(runtime)), Arc::new(FileLogs), access, stop)
        .await;
    Ok(())
}

impl Source {
    fn view(&self, uid: &str) -> Option<PodView> {
        self.registry.by_uid(uid)
    }
}

#[async_trait]
impl PodSource for Source {
    fn pods(&self) -> Vec<Arc<Pod>> {
        self.registry.all().into_iter().map(|view| view.pod).collect()
    }

    fn sandbox_id(&self, uid: &str) -> Option<String> {
        self.view(uid)?.sandbox().map(str::to_owned)
    }

    fn container_id(&self, pod: &Pod, container: &str) -> Option<String> {
        let view = self.view(pod.metadata.uid.as_deref()?)?;
        view.container(container).map(|instance| instance.id.clone())
    }

    fn log_file(&self, uid: &str, container_id: &str) -> Option<LogFile> {
        let view = self.view(uid)?;
        let instance = view.observed.containers.iter().find(|instance| instance.id == container_id)?;
        let (sender, running) = watch::channel(instance.running());
        if instance.running() {
            let (registry, uid, id) = (self.registry.clone(), uid.to_owned(), container_id.to_owned());
            tokio::spawn(async move {
                let runs = || {
                    let view = registry.by_uid(&uid);
                    view.is_some_and(|view| {
                        view.observed.containers.iter().any(|c| c.id == id && c.running())
                    })
                };
                while runs() {
                    tokio::select! {
                        () = sender.closed() => return,
                        () = tokio::time::sleep(LIVENESS) => {}
                    }
                }
                sender.send_replace(false);
            });
        }
        Some(LogFile { path: instance.log_path.clone().into(), running })
    }

    async fn summary(&self) -> Result<Summary, SourceError> {
        stats::summary(&self.node_name, &self.registry, &self.cgroups)
    }

    fn config(&self) -> Value {
        json!({"kubeletconfig": {"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1"}})
    }

    fn metrics(&self) -> String {
        let mut text = Text::default();
        (self.more_metrics.0)(&mut text);
        text.finish()
    }
}
