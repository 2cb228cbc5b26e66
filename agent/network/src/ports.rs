//! Pods' host ports. Enters: what the runtime passes (`runtimeConfig.portMappings`, CNI conventions). Leaves: all of the
//! node's, to whoever lets them answer.

use std::net::IpAddr;

use futures::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize};

use crate::ipam::Reservation;

/// A port of the node that leads to a pod's. Names in small letters first, as the conventions have them, or as
/// containerd writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// The node's port; 0 asks for none.
    #[serde(alias = "HostPort")]
    pub host_port: u16,
    /// The pod's port.
    #[serde(alias = "ContainerPort")]
    pub container_port: u16,
    /// Transport.
    #[serde(default, alias = "Protocol")]
    pub protocol: Transport,
    /// At this address of the node only; at every one if absent.
    #[serde(
        default,
        rename = "hostIP",
        alias = "HostIP",
        deserialize_with = "address",
        skip_serializing_if = "Option::is_none"
    )]
    pub host_ip: Option<IpAddr>,
}

/// A transport, in small or large letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    #[default]
    #[serde(alias = "TCP")]
    Tcp,
    /// UDP.
    #[serde(alias = "UDP")]
    Udp,
    /// SCTP.
    #[serde(alias = "SCTP")]
    Sctp,
}

/// An address, or none for an empty text.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpAddr>, D::Error> {
    let text = Option::<String>::deserialize(from)?.unwrap_or_default();
    let parse =
        || text.parse().map_err(|_| serde::de::Error::custom(format!("hostIP {text:?} is no IP address")));
    if text.is_empty() { Ok(None) } else { parse().map(Some) }
}

/// Lets host ports answer.
pub trait HostPorts: Send + Sync {
    /// Replaces what answers by the ports of these pods, from this call on; what it returns waits until it is so, or says
    /// why it is not yet.
    fn publish(&self, pods: Vec<Reservation>) -> BoxFuture<'static, Result<(), String>>;
}
