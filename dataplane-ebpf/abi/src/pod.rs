//! Pods of this node and their devices: where a packet from one to the other goes without the node's IP stack.

/// A pod of this node, by its address (IPv4 in mapped form).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalPod {
    /// Index of its device on the node.
    pub device: u32,
    /// Its own hardware address.
    pub mac: [u8; 6],
    /// The hardware address of its device on the node.
    pub node_mac: [u8; 6],
}

const _: () = assert!(size_of::<LocalPod>() == 16);
