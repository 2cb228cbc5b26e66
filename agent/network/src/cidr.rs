//! Networks of pods' addresses. PURE. Enters: text, as options and Nodes have it. Leaves: networks of either family.

use std::net::IpAddr;
use std::ops::RangeInclusive;

pub use ipnet::IpNet;

use crate::NetworkError;

/// Reads a network; bits of its address behind the prefix do not matter.
///
/// # Errors
/// [`NetworkError::BadCidr`].
pub fn network(text: &str) -> Result<IpNet, NetworkError> {
    let read: Result<IpNet, _> = text.trim().parse();
    read.map(|network| network.trunc()).map_err(|_| NetworkError::BadCidr(text.to_owned()))
}

/// Reads what a node, or a cluster, has: one network, or one of each family. The first is of the primary family.
///
/// # Errors
/// [`NetworkError::BadCidr`]; [`NetworkError::Families`] for none, for two of a family, for more.
pub fn networks<T: AsRef<str>>(texts: &[T]) -> Result<Vec<IpNet>, NetworkError> {
    let all: Vec<IpNet> = texts.iter().map(|text| network(text.as_ref())).collect::<Result<_, _>>()?;
    match all.as_slice() {
        [_] => Ok(all),
        [one, other] if is_v6(one) != is_v6(other) => Ok(all),
        _ => Err(NetworkError::Families(all.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))),
    }
}

/// Whether two networks have an address in common.
pub(crate) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// Whether a network is one of IPv6.
pub(crate) fn is_v6(network: &IpNet) -> bool {
    matches!(network, IpNet::V6(_))
}

/// The addresses that pods may get, as numbers: of IPv4 all but the first and the last, which old programs take for the network
/// and the broadcast; of IPv6 all but the first, that of the network's routers (RFC 4291, 2.6.1). Of one or two addresses all.
pub(crate) fn hosts(network: &IpNet) -> RangeInclusive<u128> {
    let (first, last) = (number(network.network()), number(network.broadcast()));
    match network {
        _ if last - first < 2 => first..=last,
        IpNet::V4(_) => first + 1..=last - 1,
        IpNet::V6(_) => first + 1..=last,
    }
}

/// An address as a number.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of a number in a network's family.
pub(crate) fn address(network: &IpNet, number: u128) -> IpAddr {
    match network {
        IpNet::V4(_) => IpAddr::V4((number as u32).into()),
        IpNet::V6(_) => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(text: &str) -> (String, String) {
        let network = network(text).unwrap();
        let hosts = hosts(&network);
        (address(&network, *hosts.start()).to_string(), address(&network, *hosts.end()).to_string())
    }

    #[test]
    fn pods_get_all_but_the_addresses_of_the_network_itself() {
        let pair = |first: &str, last: &str| (first.to_owned(), last.to_owned());
        assert_eq!(ends("10.244.3.77/24"), pair("10.244.3.1", "10.244.3.254"));
        assert_eq!(ends("10.244.3.4/31"), pair("10.244.3.4", "10.244.3.5"));
        assert_eq!(ends("10.0.0.7/32"), pair("10.0.0.7", "10.0.0.7"));
        assert_eq!(ends("fd00:1:2:3::9/64"), pair("fd00:1:2:3::1", "fd00:1:2:3:ffff:ffff:ffff:ffff"));
        assert_eq!(ends("fd00::7/128"), pair("fd00::7", "fd00::7"));
    }

    #[test]
    fn networks_overlap_within_a_family() {
        let within = |one: &str, other: &str| overlap(&network(one).unwrap(), &network(other).unwrap());
        assert!(within("10.244.3.0/24", "10.244.3.128/25") && within("10.244.3.0/24", "10.0.0.0/8"));
        assert!(within("fd00::/48", "fd00:0:0:7::/64"));
        assert!(!within("10.244.3.0/24", "10.244.2.0/24") && !within("10.244.3.0/24", "10.244.4.0/22"));
        assert!(!within("0.0.0.0/0", "::/0"));
    }

    #[test]
    fn a_node_has_one_network_of_a_family() {
        let text = |all: Vec<IpNet>| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let read = |texts: &[&str]| networks(texts).map(text);
        let both = vec!["fd00::/64".to_owned(), "10.1.2.0/24".to_owned()];
        assert_eq!(read(&["fd00::5/64", " 10.1.2.3/24"]).unwrap(), both);
        assert_eq!(read(&["10.1.2.3/24"]).unwrap(), both[1..]);
        for (texts, said) in [
            (&[][..], "\"\": give one network, or one of IPv4 and one of IPv6"),
            (&["10.0.0.0/24", "10.0.1.0/24"], "\"10.0.0.0/24,10.0.1.0/24\": give one network"),
            (&["10.0.0.0/24", "fd00::/64", "fd01::/64"], "give one network"),
        ] {
            let error = read(texts).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        for text in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "10.0.0.0/-1"] {
            let error = read(&[text]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is not a network such as")), "{error}");
        }
    }
}
