//! Who is asked before a pod's link goes up, so that no packet passes before it can be judged.

use std::net::IpAddr;
use std::path::PathBuf;

use futures::future::BoxFuture;

/// A pod's network as it is about to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// Its addresses, one of a family, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// The index of its device on the node, which is there and down.
    pub index: u32,
    /// The hardware address of its own end, and of the node's.
    pub macs: [[u8; 6]; 2],
    /// It has a limit of bandwidth: its packets must pass the queues of the node's device, both ways.
    pub limited: bool,
    /// How it reaches Services.
    pub service_path: ServicePath,
    /// Its network namespace.
    pub netns: PathBuf,
}

/// How a pod reaches Services (annotation [`SERVICE_PATH`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServicePath {
    /// In the calls of its sockets.
    #[default]
    Socket,
    /// Packet by packet, at its device: for what calls no socket of this kernel, and for who is to see virtual IPs as they are.
    Packet,
}

/// The annotation of a pod that names its [`ServicePath`]: `socket` or `packet`.
pub const SERVICE_PATH: &str = "network.xebec.dev/service-path";

/// Decides when a pod may have its network.
pub trait Gate: Send + Sync {
    /// Returns once the pod's link may go up, or with the reason why it may not yet.
    fn admit(&self, attachment: Attachment) -> BoxFuture<'_, Result<(), String>>;
}
