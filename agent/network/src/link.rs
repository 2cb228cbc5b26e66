//! Devices, addresses and routes. Enters: a pod's namespace and address. Leaves: a connected pod.
//!
//! Work inside the pod's namespace runs on a thread that entered it: a netlink socket belongs to the namespace in
//! which it was made, and a thread that entered another one never returns to the pool.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::NeighbourState;
use netlink_packet_route::route::{RouteAttribute, RouteMetric, RouteScope};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::rate::{Bandwidth, device};
use crate::{DEVICE_PREFIX, GATEWAY, NetworkError, TUNNEL_DEVICE};

/// The node's device of an owner: 15 bytes at most (IFNAMSIZ), the same each time (FNV-1a, 48 bits of it).
pub fn host_device(owner: &str) -> String {
    let hash = owner.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{DEVICE_PREFIX}{:012x}", hash >> 16)
}

/// Whether this is a name that [`host_device`] gives: other devices of ours begin alike.
pub(crate) fn is_pod_device(name: &str) -> bool {
    let digits = name.strip_prefix(DEVICE_PREFIX).unwrap_or_default();
    digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether the node has a device of this name.
pub(crate) fn exists(device: &str) -> bool {
    Path::new("/sys/class/net").join(device).exists() || rustix_index(device)
}

/// /sys may show another namespace's devices: the kernel's own answer decides.
fn rustix_index(device: &str) -> bool {
    let Ok(socket) =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
    else {
        return false;
    };
    rustix::net::netdevice::name_to_index(socket.as_fd(), device).is_ok()
}

/// Connects a namespace: the device pair, the address, the routes on both ends. Returns the pod's MAC address.
/// Whatever an earlier, interrupted call left behind is replaced. Nothing can pass before `admitted`, which is given the
/// index of the node's device and both hardware addresses (the pod's, the node's), is over, nor faster than `bandwidth`.
pub(crate) async fn connect<F: Future<Output = Result<(), NetworkError>>>(
    netns: &Path,
    owner: &str,
    ifname: &str,
    address: Ipv4Addr,
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
    handle
        .link()
        .add(LinkVeth::new(&device, &peer).build())
        .execute()
        .await
        .map_err(NetworkError::netlink(doing("create")))?;

    let host_end = find(&handle, &device).await?.ok_or_else(|| NetworkError::NoDevice(device.clone()))?;
    let pod_end = find(&handle, &peer).await?.ok_or_else(|| NetworkError::NoDevice(peer.clone()))?;
    let (host_mac, pod_mac) = (mac(&host_end), mac(&pod_end));
    let octets = |mac: &[u8]| mac.try_into().unwrap_or_default();
    admitted(host_end.header.index, [octets(&pod_mac), octets(&host_mac)]).await?;
    refuse_foreign_sources(&device);
    device::hold(&handle, owner, host_end.header.index, mtu, bandwidth).await?;
    let change =
        LinkUnspec::new_with_index(pod_end.header.index).setns_by_fd(namespace.as_raw_fd()).mtu(mtu).build();
    handle.link().set(change).execute().await.map_err(NetworkError::netlink(doing("move the peer of")))?;

    let (inside, name) = (pod_end.header.index, ifname.to_owned());
    in_namespace(namespace, netns, move |handle| async move {
        configure_pod(&handle, inside, &name, address, &host_mac, width).await
    })
    .await?;

    let index = host_end.header.index;
    let up = LinkUnspec::new_with_index(index).mtu(mtu).up().build();
    handle.link().set(up).execute().await.map_err(NetworkError::netlink(doing("bring up")))?;
    // A permanent neighbour saves the first packet's ARP exchange.
    handle
        .neighbours()
        .add(index, IpAddr::V4(address))
        .link_layer_address(&pod_mac)
        .state(NeighbourState::Permanent)
        .replace()
        .execute()
        .await
        .map_err(NetworkError::netlink(doing("add the neighbour on")))?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(address, 32)
        .output_interface(index)
        .scope(RouteScope::Link)
        .build();
    handle
        .route()
        .add(route)
        .replace()
        .execute()
        .await
        .map_err(NetworkError::netlink(doing("add the route to")))?;
    Ok(pod_mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
}

/// A pod sends under its own address only: policies know the sender of a packet by it.
fn refuse_foreign_sources(device: &str) {
    let path = format!("/proc/sys/net/ipv4/conf/{device}/rp_filter");
    if let Err(error) = std::fs::write(&path, "1") {
        tracing::warn!(%error, path, "pods can send under addresses of others");
    }
}

async fn configure_pod(
    handle: &Handle,
    index: u32,
    ifname: &str,
    address: Ipv4Addr,
    gateway_mac: &[u8],
    width: Option<u32>,
) -> Result<(), NetworkError> {
    let doing = |what: &str| format!("{what} {ifname} in the pod");
    let rename = LinkUnspec::new_with_index(index).name(ifname).build();
    handle.link().set(rename).execute().await.map_err(NetworkError::netlink(doing("name")))?;
    handle
        .address()
        .add(index, IpAddr::V4(address), 32)
        .replace()
        .execute()
        .await
        .map_err(NetworkError::netlink(doing("set the address of")))?;
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.map_err(NetworkError::netlink(doing("bring up")))?;
    handle
        .neighbours()
        .add(index, IpAddr::V4(GATEWAY))
        .link_layer_address(gateway_mac)
        .state(NeighbourState::Permanent)
        .replace()
        .execute()
        .await
        .map_err(NetworkError::netlink(doing("add the gateway's neighbour on")))?;
    let direct = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(GATEWAY, 32)
        .output_interface(index)
        .scope(RouteScope::Link)
        .build();
    handle
        .route()
        .add(direct)
        .replace()
        .execute()
        .await
        .map_err(NetworkError::netlink(doing("add the gateway's route on")))?;
    let mut default = RouteMessageBuilder::<Ipv4Addr>::new().gateway(GATEWAY).output_interface(index).build();
    default.attributes.extend(width.map(|width| RouteAttribute::Metrics(vec![RouteMetric::Mtu(width)])));
    handle
        .route()
        .add(default)
        .replace()
        .execute()
        .await
        .map_err(NetworkError::netlink(doing("add the default route on")))
}

/// Removes an owner's devices (both ends go together); none is no error.
pub(crate) async fn disconnect(owner: &str) -> Result<(), NetworkError> {
    let handle = netlink()?;
    remove(&handle, &host_device(owner)).await?;
    device::release(&handle, owner).await
}

/// Removes every pod's device on the node.
pub(crate) async fn remove_all() -> Result<(), NetworkError> {
    let handle = netlink()?;
    let links: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.map_err(NetworkError::netlink("list devices"))?;
    for name in links.iter().filter_map(name).filter(|name| is_pod_device(name)) {
        remove(&handle, name).await?;
    }
    device::remove_strays().await
}

pub(crate) async fn remove(handle: &Handle, device: &str) -> Result<(), NetworkError> {
    match find(handle, device).await? {
        Some(link) => remove_index(handle, link.header.index, device).await,
        None => Ok(()),
    }
}

/// Removes the device that had an index; its name is for errors.
pub(crate) async fn remove_index(handle: &Handle, index: u32, device: &str) -> Result<(), NetworkError> {
    match handle.link().del(index).execute().await {
        // Gone meanwhile: with its namespace, or by the other of two DELs.
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(()),
        result => result.map_err(NetworkError::netlink(format!("remove {device}"))),
    }
}

pub(crate) async fn find(handle: &Handle, device: &str) -> Result<Option<LinkMessage>, NetworkError> {
    match handle.link().get().match_name(device.to_owned()).execute().try_next().await {
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => Ok(None),
        result => result.map_err(NetworkError::netlink(format!("look up {device}"))),
    }
}

/// The MTU of the device that the default route leaves by; without a default route Ethernet's 1500.
pub(crate) async fn default_mtu(handle: &Handle) -> Result<u32, NetworkError> {
    let table = std::fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
    let device = table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let device = fields.next()?;
        (fields.next()? == "00000000").then(|| device.to_owned())
    });
    let Some(device) = device else { return Ok(1500) };
    let link = find(handle, &device).await?;
    let mtu = link.as_ref().and_then(mtu_of);
    Ok(mtu.unwrap_or(1500))
}

pub(crate) fn mtu_of(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

pub(crate) fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

pub(crate) fn mac(link: &LinkMessage) -> Vec<u8> {
    let address = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) => Some(address.clone()),
        _ => None,
    });
    address.unwrap_or_default()
}

pub(crate) fn netlink() -> Result<Handle, NetworkError> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(NetworkError::io("open", Path::new("a netlink socket")))?;
    tokio::spawn(connection);
    Ok(handle)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_fit_and_differ() {
        let name = host_device("0123456789abcdef eth0");
        assert_eq!(name.len(), 15);
        assert_eq!(name, host_device("0123456789abcdef eth0"));
        assert_ne!(name, host_device("0123456789abcdef eth1"));
        assert!(is_pod_device(&name));
        assert!(!is_pod_device("xebec-pods") && !is_pod_device("xebec-dsr") && !is_pod_device("eth0"));
    }
}
