//! Addresses that the node itself answers on: the cluster DNS address on the loopback device.
//!
//! Enters: an address. Leaves: the address on `lo` as a /32, so that pods and host processes reach a server of this very
//! node under an address that is the same on every node.

use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressScope};

use crate::NetworkError;
use crate::link::netlink;

/// The loopback device's index in every network namespace.
const LOOPBACK: u32 = 1;

/// Puts an address on the loopback device; it being there already is no error.
///
/// # Errors
/// [`NetworkError::Netlink`] when the kernel refuses it.
pub async fn add_local_address(address: Ipv4Addr) -> Result<(), NetworkError> {
    let doing = format!("add {address} to lo");
    let handle = netlink()?;
    let mut request = handle.address().add(LOOPBACK, IpAddr::V4(address), 32).replace();
    // Of the host, as 127.0.0.1 is: the kernel must not choose it as a source where a pod's device has no address. Nobody but
    // the DNS has it.
    request.message_mut().header.scope = AddressScope::Host;
    request.execute().await.map_err(NetworkError::netlink(doing))
}

/// Takes an address off the loopback device; it not being there is no error.
///
/// # Errors
/// [`NetworkError::Netlink`] when the kernel refuses it.
pub async fn remove_local_address(address: Ipv4Addr) -> Result<(), NetworkError> {
    let handle = netlink()?;
    let wanted = AddressAttribute::Local(IpAddr::V4(address));
    let mut listed = handle.address().get().set_link_index_filter(LOOPBACK).execute();
    while let Some(found) =
        listed.try_next().await.map_err(NetworkError::netlink("list the addresses of lo"))?
    {
        if found.header.prefix_len == 32 && found.attributes.contains(&wanted) {
            let request = handle.address().del(found);
            return request
                .execute()
                .await
                .map_err(NetworkError::netlink(format!("remove {address} from lo")));
        }
    }
    Ok(())
}
