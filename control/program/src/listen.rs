//! Where a server listens. Enters: an address of an option. Leaves: the one to bind to.

use std::net::{IpAddr, Ipv6Addr};

/// Whether sockets of IPv6 take IPv4, too: not there without IPv6.
const ONLY_V6: &str = "/proc/sys/net/ipv6/bindv6only";

/// The address to bind to. An unspecified one (0.0.0.0 or ::) means every address of both families, as in Go and so with
/// upstream's options: that is :: where a socket of IPv6 takes IPv4, too.
#[must_use]
pub fn every_family(address: IpAddr) -> IpAddr {
    of_both(address, std::fs::read_to_string(ONLY_V6).is_ok_and(|text| text.trim() == "0"))
}

fn of_both(address: IpAddr, takes_both: bool) -> IpAddr {
    if address.is_unspecified() && takes_both { Ipv6Addr::UNSPECIFIED.into() } else { address }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_is_both_families_where_a_socket_can() {
        let of = |text: &str, both| of_both(text.parse().unwrap(), both).to_string();
        assert_eq!(of("0.0.0.0", true), "::");
        assert_eq!(of("0.0.0.0", false), "0.0.0.0");
        assert_eq!(of("::", false), "::");
        assert_eq!(of("192.0.2.1", true), "192.0.2.1");
    }
}
