//! Buckets on devices. Enters: a pod's device, its limits. Leaves: its packets wait their turn; for what it sends, on a device
//! beside its own that goes when it goes.

use futures::{StreamExt, TryStreamExt};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use rtnetlink::packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::{Handle, LinkIfb};

use super::{Bandwidth, Bucket};
use crate::link::{find, name, netlink, remove_index};
use crate::{DEVICE_PREFIX, NetworkError, host_device};

/// Not [`DEVICE_PREFIX`]: no pod is behind such a device.
const PREFIX: &str = "xi";
const TCA_OPTIONS: u16 = 2;
/// The handle of a device's ingress queue (linux/pkt_sched.h, `TC_H_INGRESS` without its minor).
const INGRESS: u32 = 0xffff_0000;
/// `ETH_P_ALL`.
const ALL_PROTOCOLS: u16 = 3;

/// The device where what an owner sends waits: 14 bytes, the same each time.
pub(crate) fn egress_device(owner: &str) -> String {
    beside(&host_device(owner))
}

fn beside(host_device: &str) -> String {
    format!("{PREFIX}{}", &host_device[DEVICE_PREFIX.len()..])
}

/// The node's device that a device of ours stands beside; `None` for others' devices.
fn owner_of(link: &LinkMessage) -> Option<String> {
    let is_ifb = |attribute: &LinkAttribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Ifb)),
        _ => false,
    };
    let hash = name(link)?.strip_prefix(PREFIX)?;
    let ours = hash.len() == 12 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    (ours && link.attributes.iter().any(is_ifb)).then(|| format!("{DEVICE_PREFIX}{hash}"))
}

/// Holds a pod to its limits, before its link goes up. `index` is that of its device on the node, fresh.
pub(crate) async fn hold(
    handle: &Handle,
    owner: &str,
    index: u32,
    mtu: u32,
    bandwidth: &Bandwidth,
) -> Result<(), NetworkError> {
    let doing = |what: &str| format!("{what} {}", host_device(owner));
    if let Some(limit) = &bandwidth.ingress {
        let fill = NetworkError::netlink(doing("limit what arrives by"));
        add_bucket(handle, index, &Bucket::new(limit, mtu)).await.map_err(fill)?;
    }
    let Some(limit) = &bandwidth.egress else { return Ok(()) };
    let device = egress_device(owner);
    let add = handle.link().add(LinkIfb::new(&device).mtu(mtu).up().build()).execute().await;
    add.map_err(NetworkError::netlink(format!("create {device}")))?;
    let made =
        find(handle, &device).await?.ok_or_else(|| NetworkError::NoDevice(device.clone()))?.header.index;
    let limited = add_bucket(handle, made, &Bucket::new(limit, mtu)).await;
    limited.map_err(NetworkError::netlink(format!("limit what leaves by {device}")))?;
    let redirected = redirect(handle, index, made).await;
    redirected.map_err(NetworkError::netlink(doing("redirect what leaves by")))
}

async fn add_bucket(handle: &Handle, index: u32, bucket: &Bucket) -> Result<(), rtnetlink::Error> {
    let mut message = TcMessage::with_index(index as i32);
    message.header.parent = TcHandle::ROOT;
    message.header.handle = TcHandle { major: 1, minor: 0 };
    message.attributes = vec![
        TcAttribute::Kind("tbf".to_owned()),
        TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, bucket.options())),
    ];
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let mut answers = handle.clone().request(request)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload {
            return Err(rtnetlink::Error::NetlinkError(error));
        }
    }
    Ok(())
}

/// Whatever arrives by a device leaves by another, and only then goes on as if it had just arrived.
async fn redirect(handle: &Handle, from: u32, to: u32) -> Result<(), rtnetlink::Error> {
    handle.qdisc().add(from as i32).ingress().execute().await?;
    let filter = handle.traffic_filter(from as i32).add().parent(INGRESS).priority(1);
    filter.protocol(ALL_PROTOCOLS.to_be()).redirect(to)?.execute().await
}

/// Removes an owner's device; none is no error.
pub(crate) async fn release(handle: &Handle, owner: &str) -> Result<(), NetworkError> {
    match find(handle, &egress_device(owner)).await? {
        Some(link) => remove_index(handle, link.header.index, &egress_device(owner)).await,
        None => Ok(()),
    }
}

/// Removes the devices beside none, whose pod's went with its namespace.
pub(crate) async fn remove_strays() -> Result<(), NetworkError> {
    let handle = netlink()?;
    let links: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.map_err(NetworkError::netlink("list devices"))?;
    for link in &links {
        // Asked now: a pod that came after the list was made has its own before the other.
        if let Some(owner) = owner_of(link)
            && find(&handle, &owner).await?.is_none()
        {
            remove_index(&handle, link.header.index, &beside(&owner)).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_stands_beside_the_pods_own() {
        let device = egress_device("0123456789abcdef eth0");
        assert_eq!(device.len(), 14);
        let link = |name: &str, kind: InfoKind| {
            let mut link = LinkMessage::default();
            link.attributes = vec![
                LinkAttribute::IfName(name.to_owned()),
                LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]),
            ];
            link
        };
        assert_eq!(owner_of(&link(&device, InfoKind::Ifb)), Some(host_device("0123456789abcdef eth0")));
        for other in [
            link(&device, InfoKind::Dummy),
            link("xi0", InfoKind::Ifb),
            link("ifb0", InfoKind::Ifb),
            link("xi0123456789ag", InfoKind::Ifb),
        ] {
            assert_eq!(owner_of(&other), None, "{other:?}");
        }
    }
}
