//! What stands behind the server in tests.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::access::{AccessError, Attributes, User, Verdict};
use crate::stats::{ContainerStats, CpuStats, MemoryStats, NodeStats, PodReference, PodStats, Summary};
use crate::{
    Access, LogFile, LogOptions, LogSource, LogStream, PodSource, SourceError, Streaming, StreamingError,
    Streams,
};

/// Allows the API server's client everything, the scraper metrics only; knows the token "scraper".
#[derive(Default)]
pub struct Judge {
    pub asked: Mutex<Vec<(String, Attributes)>>,
}

#[async_trait]
impl Access for Judge {
    async fn authenticate(&self, token: &str) -> Result<Option<User>, AccessError> {
        match token {
            "scraper" => Ok(Some(User { name: token.to_owned(), ..User::default() })),
            "unknowable" => {
                Err(AccessError { operation: "review a token", cause: "no API server".to_owned() })
            }
            _ => Ok(None),
        }
    }

    async fn authorize(&self, user: &User, attributes: &Attributes) -> Result<Verdict, AccessError> {
        self.asked.lock().push((user.name.clone(), attributes.clone()));
        let master = user.name == "kube-apiserver-kubelet-client" && user.groups == ["masters"];
        if user.name == "unlucky" {
            return Err(AccessError { operation: "review access", cause: "no API server".to_owned() });
        }
        let scraper = user.name == "scraper" && attributes.subresource == "metrics";
        Ok(Verdict { allowed: master || scraper, reason: String::new() })
    }
}

/// One pod `default/web` with a running, a waiting and a restarted container.
pub struct Pods;

fn container(name: &str, state: Value, id: &str) -> Value {
    json!({ "name": name, "image": "i", "imageID": "sha256:i", "ready": true, "restartCount": 0, "state": state,
        "containerID": id })
}

fn at() -> Time {
    Time("2026-01-02T03:04:05Z".parse().unwrap())
}

#[async_trait]
impl PodSource for Pods {
    fn pods(&self) -> Vec<Arc<Pod>> {
        let mut restarted = container("twice", json!({ "running": {} }), "containerd://second");
        restarted["lastState"] =
            json!({ "terminated": { "exitCode": 1, "containerID": "containerd://first" } });
        let pod = json!({
            "metadata": { "name": "web", "namespace": "default", "uid": "u1" },
            "spec": { "containers": [{ "name": "app" }, { "name": "slow" }, { "name": "twice" }] },
            "status": { "containerStatuses": [
                container("app", json!({ "running": {} }), "containerd://app1"),
                container("slow", json!({ "waiting": { "reason": "ContainerCreating" } }), ""),
                restarted,
            ] },
        });
        vec![Arc::new(serde_json::from_value(pod).unwrap())]
    }

    fn sandbox_id(&self, uid: &str) -> Option<String> {
        (uid == "u1").then(|| "sandbox1".to_owned())
    }

    fn log_file(&self, uid: &str, container_id: &str) -> Option<LogFile> {
        Some(LogFile { path: format!("/logs/{uid}/{container_id}").into(), running: watch::channel(true).1 })
    }

    async fn summary(&self) -> Result<Summary, SourceError> {
        let cpu = Some(CpuStats {
            time: at(),
            usage_nano_cores: Some(7),
            usage_core_nano_seconds: Some(1_500_000_000),
        });
        let memory = Some(MemoryStats {
            time: at(),
            available_bytes: None,
            usage_bytes: Some(20),
            working_set_bytes: Some(10),
            rss_bytes: None,
            page_faults: None,
            major_page_faults: None,
        });
        let app = ContainerStats {
            name: "app".to_owned(),
            start_time: at(),
            cpu: cpu.clone(),
            memory: memory.clone(),
            rootfs: None,
            logs: None,
        };
        let pod_ref =
            PodReference { name: "web".to_owned(), namespace: "default".to_owned(), uid: "u1".to_owned() };
        Ok(Summary {
            node: NodeStats {
                node_name: "n1".to_owned(),
                start_time: at(),
                cpu: cpu.clone(),
                memory: memory.clone(),
                network: None,
                fs: None,
                runtime: None,
            },
            pods: vec![PodStats {
                pod_ref,
                start_time: at(),
                containers: vec![app],
                cpu,
                memory,
                network: None,
                ephemeral_storage: None,
            }],
        })
    }

    fn config(&self) -> Value {
        json!({ "maxPods": 110 })
    }
}

/// Gives two lines and remembers what was asked; the log of `first` cannot be read.
#[derive(Default)]
pub struct Lines {
    pub asked: Mutex<Vec<(String, LogOptions)>>,
}

#[async_trait]
impl LogSource for Lines {
    async fn open(
        &self,
        path: &Path,
        options: LogOptions,
        _: watch::Receiver<bool>,
    ) -> io::Result<LogStream> {
        let path = path.display().to_string();
        if path.ends_with("/first") {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no such file"));
        }
        self.asked.lock().push((path, options.clone()));
        let lines = futures::stream::iter([Ok(Bytes::from("one\n")), Ok(Bytes::from("two\n"))]);
        Ok(if options.follow { lines.chain(futures::stream::pending()).boxed() } else { lines.boxed() })
    }
}

/// Gives the URLs put into it, by container or sandbox id, and remembers what was asked.
#[derive(Default)]
pub struct Urls {
    pub urls: Mutex<BTreeMap<String, String>>,
    pub asked: Mutex<Vec<String>>,
}

impl Urls {
    pub fn put(&self, id: &str, url: impl Into<String>) {
        self.urls.lock().insert(id.to_owned(), url.into());
    }

    fn answer(&self, id: &str, asked: String) -> Result<String, StreamingError> {
        self.asked.lock().push(asked);
        let url = self.urls.lock().get(id).cloned();
        url.ok_or_else(|| StreamingError::NotFound(format!("rpc error: code = NotFound desc = {id}")))
    }
}

#[async_trait]
impl Streaming for Urls {
    async fn exec(&self, id: &str, command: Vec<String>, streams: Streams) -> Result<String, StreamingError> {
        self.answer(id, format!("exec {id} {command:?} {streams:?}"))
    }
    async fn attach(&self, id: &str, streams: Streams) -> Result<String, StreamingError> {
        self.answer(id, format!("attach {id} {streams:?}"))
    }
    async fn port_forward(&self, id: &str, ports: Vec<u16>) -> Result<String, StreamingError> {
        self.answer(id, format!("forward {id} {ports:?}"))
    }
    async fn run(&self, id: &str, command: Vec<String>) -> Result<Vec<u8>, StreamingError> {
        Ok(format!("{id} ran {command:?}").into_bytes())
    }
}
