//! Direct server return: the way to other nodes.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap},
};
use xebec_abi::{Ip6, tunnel::Tunnel};

use super::F_NO_PREALLOC;

#[map]
static TUNNEL: Array<Tunnel> = Array::with_max_entries(1, 0);
/// The cluster's nodes, by every address that their packets may come from: who may send what arrives by the tunnel.
#[map]
pub static NODES: HashMap<Ip6, u32> = HashMap::with_max_entries(16_384, F_NO_PREALLOC);
/// The address of an endpoint's node, by the endpoint's: of Services with direct server return, endpoints of other nodes.
#[map]
pub static ENDPOINT_NODES: HashMap<Ip6, Ip6> = HashMap::with_max_entries(131_072, F_NO_PREALLOC);

/// The device, if there is one.
#[inline(always)]
pub fn tunnel() -> Option<Tunnel> {
    // SAFETY: eight bytes that user space replaces whole.
    TUNNEL.get(0).copied().filter(|tunnel| tunnel.device != 0)
}
