//! The socket that the CNI plugin calls. One JSON request per connection, ended by the client's half-close; one JSON
//! answer: `{"ok": <result>}` or `{"error": <CNI error>}`.

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::cni::{Command, Request};
use crate::ipam::Ipam;
use crate::{Attachment, Bandwidth, Hooks, NetworkError, Options, PortMapping, connect, link, rate};

/// A request is a few kilobytes; more than this is a mistake.
const MAX_REQUEST: u64 = 1 << 20;

/// Listens on the CNI socket.
pub struct Server {
    listener: UnixListener,
    node: Arc<Node>,
}

/// What a request is answered from.
struct Node {
    ipam: Ipam,
    hooks: Hooks,
    /// Held while all host ports are read and told, so that what is told last is the newest.
    telling: Mutex<()>,
}

impl Server {
    /// Takes over the socket's path; a leftover file of a killed agent is replaced.
    pub(crate) fn bind(options: &Options, ipam: Ipam, hooks: Hooks) -> Result<Self, NetworkError> {
        let path = &options.socket;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(NetworkError::io("create", folder))?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(NetworkError::io("replace", path)(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(NetworkError::io("listen on", path))?;
        // Whoever may write here may give any namespace an address: root only.
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .map_err(NetworkError::io("set the mode of", path))?;
        Ok(Self { listener, node: Arc::new(Node { ipam, hooks, telling: Mutex::new(()) }) })
    }

    /// Tells of the host ports of all pods there are.
    pub(crate) fn tell(&self) -> Result<(), NetworkError> {
        tell(&self.node, None).map(drop)
    }

    /// Answers every plugin that connects, until cancelled.
    pub async fn serve(self, cancel: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = cancel.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let node = self.node.clone();
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, &node).await {
                            tracing::warn!(%error, "CNI client went away");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a CNI client");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn converse(mut stream: UnixStream, node: &Node) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    (&mut stream).take(MAX_REQUEST).read_to_end(&mut bytes).await?;
    let answer = match serde_json::from_slice::<Request>(&bytes) {
        Ok(request) => answer(&request, node).await,
        Err(error) => {
            json!({"error": {"cniVersion": "1.0.0", "code": 6, "msg": format!("not a CNI request: {error}")}})
        }
    };
    stream.write_all(answer.to_string().as_bytes()).await?;
    stream.shutdown().await
}

#[tracing::instrument(skip_all, fields(command = request.command, container = request.container_id))]
async fn answer(request: &Request, node: &Node) -> Value {
    match handle(request, node).await {
        Ok(result) => json!({ "ok": result }),
        Err(error) => {
            tracing::warn!(%error, args = request.args, "CNI request failed");
            json!({"error": request.error(&error)})
        }
    }
}

async fn handle(request: &Request, node: &Node) -> Result<Value, NetworkError> {
    let owner = request.owner();
    let ipam = &node.ipam;
    match request.checked()? {
        Command::Add => {
            let ports = request.port_mappings()?;
            let bandwidth = request.bandwidth()?;
            match add(request, node, &owner, ports, bandwidth).await {
                Ok(result) => Ok(result),
                Err(error) => {
                    // The runtime answers a failed ADD with a DEL, but it may be killed before that.
                    link::disconnect(&owner).await.ok();
                    ipam.release(&owner)?;
                    drop(tell(node, None)?);
                    Err(error)
                }
            }
        }
        Command::Del => {
            // New connections end before the pod's network does; nobody waits for that.
            drop(tell(node, Some(&owner))?);
            link::disconnect(&owner).await?;
            ipam.release(&owner)?;
            Ok(Value::Null)
        }
        Command::Check => {
            let device = crate::host_device(&owner);
            let reserved = ipam.reservations()?.iter().any(|held| held.owner == owner);
            if !reserved || !link::exists(&device) {
                return Err(NetworkError::NoDevice(device));
            }
            let queue = rate::device::egress_device(&owner);
            if request.bandwidth()?.egress.is_some() && !link::exists(&queue) {
                return Err(NetworkError::NoDevice(queue));
            }
            Ok(Value::Null)
        }
        Command::Status => Ok(Value::Null),
        Command::Gc => {
            let Some(valid) = request.valid_attachments() else { return Ok(Value::Null) };
            for held in ipam.reservations()?.into_iter().filter(|held| !valid.contains(&held.owner)) {
                link::disconnect(&held.owner).await?;
                ipam.release(&held.owner)?;
            }
            rate::device::remove_strays().await?;
            drop(tell(node, None)?);
            Ok(Value::Null)
        }
    }
}

async fn add(
    request: &Request,
    node: &Node,
    owner: &str,
    ports: Vec<PortMapping>,
    bandwidth: Bandwidth,
) -> Result<Value, NetworkError> {
    let addresses = node.ipam.reserve(owner)?;
    let pod = request.pod().map(|(namespace, name)| format!("{namespace}/{name}")).unwrap_or_default();
    let maps_ports = !ports.is_empty();
    if let Some(primary) = addresses.first().filter(|_| maps_ports) {
        node.ipam.note(*primary, owner, pod.clone(), ports)?;
    }
    let netns = Path::new(&request.netns);
    let attachment = Attachment {
        addresses: addresses.clone(),
        limited: bandwidth.is_limited(),
        service_path: request.service_path()?,
        netns: netns.to_owned(),
        ..Attachment::default()
    };
    let admitted = |index, macs| admit(request, node, Attachment { index, macs, ..attachment });
    let mac = connect::connect(netns, owner, &request.ifname, &addresses, &bandwidth, admitted).await?;
    if maps_ports {
        tell(node, None)?.await.map_err(|why| NetworkError::NotAdmitted { pod, why })?;
    }
    Ok(request.result(&addresses, &mac))
}

/// Tells of all host ports, without those of an owner that goes; what is returned waits until they answer.
fn tell(node: &Node, without: Option<&str>) -> Result<BoxFuture<'static, Result<(), String>>, NetworkError> {
    let Some(host_ports) = &node.hooks.host_ports else { return Ok(std::future::ready(Ok(())).boxed()) };
    let _guard = node.telling.lock();
    let mut pods = node.ipam.reservations()?;
    pods.retain(|pod| !pod.ports.is_empty() && without != Some(pod.owner.as_str()));
    Ok(host_ports.publish(pods))
}

/// Asks the gate for a pod; without one, and for what is no pod, all is well.
async fn admit(request: &Request, node: &Node, mut attachment: Attachment) -> Result<(), NetworkError> {
    let (Some(gate), Some((namespace, name))) = (&node.hooks.gate, request.pod()) else { return Ok(()) };
    let pod = format!("{namespace}/{name}");
    (attachment.namespace, attachment.name) = (namespace.to_owned(), name.to_owned());
    gate.admit(attachment).await.map_err(|why| NetworkError::NotAdmitted { pod, why })
}
