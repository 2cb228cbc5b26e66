//! A pod's connection. Enters: its namespace and addresses. Leaves: a connected pod. Called by the server.
//!
//! Work inside the pod's namespace runs on a thread that entered it: a netlink socket belongs to the namespace in
//! which it was made, and a thread that entered another one never returns to the pool.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteMetric, RouteScope};
use rtnetlink::{Handle, LinkUnspec, LinkVeth};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::forwarding::parameter;
use crate::link::{
    add_address, add_neighbour, alone, by, default_mtu, find, host_device, mac, mtu_of, netlink, remove,
    route_to,
};
use crate::rate::{Bandwidth, device};
use crate::{DEVICE_PREFIX, IpNet, NetworkError, TUNNEL_DEVICE, gateway};

/// Connects a namespace: the device pair, the addresses, the routes on both ends. Returns the pod's MAC address.
/// Whatever an earlier, interrupted call left behind is replaced. Nothing can pass before `admitted`, which is given the
/// index of the node's device and both hardware addresses (the pod's, the node's), is over, nor faster than `bandwidth`.
pub(crate) async fn connect<F: Future<Output = Result<(), NetworkError>>>(
    netns: &Path,
    owner: &str,
    ifname: &str,
    addresses: &[IpAddr],
    bandwidth: &Bandwidth,
    admitted: impl FnOnce(u32, [[u8; 6]; 2]) -> F,
) -> Result<String, NetworkError> {
    let handle = netlink()?;
    let device = host_device(owner);
    let peer = format!("xp{}", &device[DEVICE_PREFIX.len()..]);
    remove(&handle, &device).await?;
    device::release(&handle, owner).await?;
    let namespace = File::open(netns).map_err(NetworkError::io("open", netns))?;
    let mtu = default_mtu(&handle).await?;
    // What is sent off the node may have to fit into the tunnel. Who was there before it learns that by losing a packet.
    let width = find(&handle, TUNNEL_DEVICE).await?.as_ref().and_then(mtu_of);
    let doing = |what: &str| format!("{what} {device}");
    let pair = LinkVeth::new(&device, &peer).build();
    handle.link().add(pair).execute().await.map_err(NetworkError::netlink(doing("create")))?;

    let host_end = find(&handle, &device).await?.ok_or_else(|| NetworkError::NoDevice(device.clone()))?;
    let pod_end = find(&handle, &peer).await?.ok_or_else(|| NetworkError::NoDevice(peer.clone()))?;
    let (host_mac, pod_mac) = (mac(&host_end), mac(&pod_end));
    let octets = |mac: &[u8]| mac.try_into().unwrap_or_default();
    admitted(host_end.header.index, [octets(&pod_mac), octets(&host_mac)]).await?;
    distrust(&device, addresses);
    device::hold(&handle, owner, host_end.header.index, mtu, bandwidth).await?;
    let change =
        LinkUnspec::new_with_index(pod_end.header.index).setns_by_fd(namespace.as_raw_fd()).mtu(mtu).build();
    handle.link().set(change).execute().await.map_err(NetworkError::netlink(doing("move the peer of")))?;

    let end = PodEnd {
        index: pod_end.header.index,
        name: ifname.to_owned(),
        addresses: addresses.to_vec(),
        gateway_mac: host_mac,
        width,
    };
    in_namespace(namespace, netns, move |handle| async move { end.configure(&handle).await }).await?;

    let index = host_end.header.index;
    let up = LinkUnspec::new_with_index(index).mtu(mtu).up().build();
    handle.link().set(up).execute().await.map_err(NetworkError::netlink(doing("bring up")))?;
    for address in addresses {
        // A permanent neighbour saves the first packet's question for it.
        let known = add_neighbour(&handle, index, *address, &pod_mac).await;
        known.map_err(NetworkError::netlink(doing("add the neighbour on")))?;
        let direct = route_to(alone(*address)).output_interface(index).scope(RouteScope::Link).build();
        add_route(&handle, direct).await.map_err(NetworkError::netlink(doing("add the route to")))?;
    }
    Ok(pod_mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
}

async fn add_route(handle: &Handle, route: RouteMessage) -> Result<(), rtnetlink::Error> {
    handle.route().add(route).replace().execute().await
}

/// A pod sends under its own addresses only: policies know the sender of a packet by them. For IPv6 the packet filter looks
/// (`masquerade`). Nor is a pod a router whose advertisements the node believes.
fn distrust(device: &str, addresses: &[IpAddr]) {
    if !parameter("ipv4", device, "rp_filter", "1") {
        tracing::warn!(device, "pods can send under addresses of others");
    }
    if addresses.iter().any(IpAddr::is_ipv6) {
        parameter("ipv6", device, "disable_ipv6", "0");
        // The node's end needs no address: the gateway's exists in the pod's eyes only.
        parameter("ipv6", device, "addr_gen_mode", "1");
    }
    parameter("ipv6", device, "accept_ra", "0");
}

/// The pod's end, once it is in the pod's namespace.
struct PodEnd {
    index: u32,
    name: String,
    addresses: Vec<IpAddr>,
    gateway_mac: Vec<u8>,
    /// The largest packet that the tunnel takes, if there is one.
    width: Option<u32>,
}

impl PodEnd {
    async fn configure(&self, handle: &Handle) -> Result<(), NetworkError> {
        let doing = |what: &str| format!("{what} {} in the pod", self.name);
        let rename = LinkUnspec::new_with_index(self.index).name(&self.name).build();
        handle.link().set(rename).execute().await.map_err(NetworkError::netlink(doing("name")))?;
        if self.addresses.iter().any(IpAddr::is_ipv6) {
            parameter("ipv6", &self.name, "disable_ipv6", "0");
        }
        for address in &self.addresses {
            let added = add_address(handle, self.index, *address).await;
            added.map_err(NetworkError::netlink(doing("set the address of")))?;
        }
        let up = LinkUnspec::new_with_index(self.index).up().build();
        handle.link().set(up).execute().await.map_err(NetworkError::netlink(doing("bring up")))?;
        for address in &self.addresses {
            self.route(handle, gateway(*address)).await?;
        }
        Ok(())
    }

    /// All that is elsewhere is behind the gateway.
    async fn route(&self, handle: &Handle, gateway: IpAddr) -> Result<(), NetworkError> {
        let doing = |what: &str| format!("{what} {} in the pod", self.name);
        let known = add_neighbour(handle, self.index, gateway, &self.gateway_mac).await;
        known.map_err(NetworkError::netlink(doing("add the gateway's neighbour on")))?;
        if gateway.is_ipv4() {
            let direct =
                route_to(alone(gateway)).output_interface(self.index).scope(RouteScope::Link).build();
            add_route(handle, direct)
                .await
                .map_err(NetworkError::netlink(doing("add the gateway's route on")))?;
        }
        let all =
            if gateway.is_ipv4() { IpNet::V4(Default::default()) } else { IpNet::V6(Default::default()) };
        let mut default = by(route_to(all), gateway).output_interface(self.index).build();
        let width = self.width.map(|width| RouteAttribute::Metrics(vec![RouteMetric::Mtu(width)]));
        default.attributes.extend(width);
        add_route(handle, default).await.map_err(NetworkError::netlink(doing("add the default route on")))
    }
}

/// Runs netlink work in a namespace, on a thread of its own that ends with it.
async fn in_namespace<F, Fut>(namespace: File, path: &Path, work: F) -> Result<(), NetworkError>
where
    F: FnOnce(Handle) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), NetworkError>>,
{
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let path: PathBuf = path.to_owned();
    std::thread::spawn(move || {
        let result = (|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| NetworkError::io("enter", &path)(error.into()))?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(NetworkError::io("start a runtime in", &path))?;
            runtime.block_on(async { work(netlink()?).await })
        })();
        // The receiver is gone only when the request was dropped.
        let _ = sender.send(result);
    });
    receiver
        .await
        .unwrap_or_else(|_| Err(NetworkError::BadRequest("the namespace thread ended early".to_owned())))
}
