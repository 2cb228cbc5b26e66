//! The node's own pods.

use aya_ebpf::{macros::map, maps::HashMap};
use xebec_abi::{
    Ip6,
    pod::{LocalPod, OwnAddresses},
};

use super::F_NO_PREALLOC;

/// By address.
#[map]
pub static LOCAL_PODS: HashMap<Ip6, LocalPod> = HashMap::with_max_entries(4_096, F_NO_PREALLOC);
/// Pods that are served packet by packet: the index of the device, by the cookie of the network namespace.
#[map]
pub static PACKET_PODS: HashMap<u64, u32> = HashMap::with_max_entries(1_024, F_NO_PREALLOC);
/// What sockets send from, by the cookie of their network namespace: complete where a Service has loadBalancerSourceRanges.
#[map]
pub static NETNS_IPS: HashMap<u64, OwnAddresses> = HashMap::with_max_entries(4_096, F_NO_PREALLOC);
