//! Host ports of the pods on this node: from the pod network's reservations to the service dataplane.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use xebec_dataplane::hostports::AllPorts;
use xebec_dataplane::{HostPort, PodPorts, Protocol};
use xebec_network::ipam::{Reservation, reservations};
use xebec_network::{HostPorts, PortMapping, Transport};
use xebec_program::Failure;

/// How long a pod waits: the runtime then gives its network back and tries again.
const PATIENCE: Duration = Duration::from_secs(10);

/// The service dataplane's end, for the pod network.
pub(crate) struct ToDataplane(pub(crate) xebec_dataplane::HostPorts);

impl HostPorts for ToDataplane {
    fn publish(&self, pods: Vec<Reservation>) -> BoxFuture<'static, Result<(), String>> {
        let applied = self.0.set(all(pods));
        let told = |_| {
            format!(
                "its host ports are not in the kernel after {} s: the API server has not told of Services, or \
                 xebec-agent.log says what is in the way",
                PATIENCE.as_secs()
            )
        };
        async move { tokio::time::timeout(PATIENCE, applied).await.map_err(told) }.boxed()
    }
}

/// Those of pods that are there already, so that none is taken away while the agent starts.
pub(crate) fn of_node(ipam_dir: &Path) -> Result<xebec_dataplane::HostPorts, Failure> {
    let held = reservations(ipam_dir).map_err(|error| Failure::part("pod network")(&error))?;
    Ok(xebec_dataplane::HostPorts::new(all(held)))
}

fn all(pods: Vec<Reservation>) -> AllPorts {
    let with_ports = pods.into_iter().filter(|pod| !pod.ports.is_empty());
    with_ports.map(|pod| (pod.owner.clone(), of_pod(pod))).collect()
}

fn of_pod(pod: Reservation) -> PodPorts {
    let port = |address: IpAddr, mapping: &PortMapping| HostPort {
        host: mapping.host_ip,
        port: mapping.host_port,
        protocol: match mapping.protocol {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
            Transport::Sctp => Protocol::Sctp,
        },
        endpoint: (address, mapping.container_port).into(),
    };
    let at = |address: &IpAddr| pod.ports.iter().map(|mapping| port(*address, mapping)).collect::<Vec<_>>();
    PodPorts { ports: pod.addresses.iter().flat_map(at).collect(), pod: pod.pod, created: pod.created }
}
