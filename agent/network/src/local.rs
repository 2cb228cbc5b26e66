//! Addresses that the node itself answers on: the cluster DNS addresses on the loopback device.
//!
//! Enters: an address. Leaves: the address on `lo` as a /32 or /128, so that pods and host processes reach a server of this
//! very node under an address that is the same on every node.

use std::net::IpAddr;

use futures::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressScope, CacheInfo};

use crate::NetworkError;
use crate::link::{alone, netlink};

/// The loopback device's index in every network namespace.
const LOOPBACK: u32 = 1;

/// Valid for ever, preferred never.
fn deprecated() -> CacheInfo {
    let mut life = CacheInfo::default();
    life.ifa_valid = u32::MAX;
    life
}

/// Puts an address on the loopback device; it being there already is no error.
///
/// # Errors
/// [`NetworkError::Netlink`] when the kernel refuses it.
pub async fn add_local_address(address: impl Into<IpAddr>) -> Result<(), NetworkError> {
    let address = address.into();
    let doing = format!("add {address} to lo");
    let handle = netlink()?;
    let mut request = handle.address().add(LOOPBACK, address, alone(address).prefix_len()).replace();
    let message = request.message_mut();
    // Of the host, as 127.0.0.1 is: the kernel must not choose it as a source where a pod's device has no address. Nobody but
    // the DNS has it.
    message.header.scope = AddressScope::Host;
    if address.is_ipv6() {
        // The kernel works the scope of an IPv6 address out by itself: a deprecated one is no source it chooses, either.
        // The loopback device would do no duplicate address detection; nobody else is to be asked in any case.
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        message.attributes.push(AddressAttribute::CacheInfo(deprecated()));
    }
    request.execute().await.map_err(NetworkError::netlink(doing))
}

/// Takes an address off the loopback device; it not being there is no error.
///
/// # Errors
/// [`NetworkError::Netlink`] when the kernel refuses it.
pub async fn remove_local_address(address: impl Into<IpAddr>) -> Result<(), NetworkError> {
    let address = address.into();
    let handle = netlink()?;
    // The kernel names an IPv4 address as local, an IPv6 one as the address of its network.
    let named = [AddressAttribute::Local(address), AddressAttribute::Address(address)];
    let mut listed = handle.address().get().set_link_index_filter(LOOPBACK).execute();
    while let Some(found) =
        listed.try_next().await.map_err(NetworkError::netlink("list the addresses of lo"))?
    {
        let wanted = found.attributes.iter().any(|attribute| named.contains(attribute));
        if found.header.prefix_len == alone(address).prefix_len() && wanted {
            let request = handle.address().del(found);
            return request
                .execute()
                .await
                .map_err(NetworkError::netlink(format!("remove {address} from lo")));
        }
    }
    Ok(())
}
