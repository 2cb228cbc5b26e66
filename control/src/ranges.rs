//! The ranges of Services' addresses, and what has a fixed place in them: the Service `kubernetes` and the cluster DNS.
//!
//! Enters: options as text. Leaves: networks and addresses that fit together, or what is wrong with them and what would be
//! right. Called by [`crate::options`]. Pure.
//!
//! Authority: `cmd/kube-apiserver/app/options/validation.go`; the tenth address is kubeadm's `GetDNSIP`.

use std::net::IpAddr;

use ipnet::IpNet;
use xebec_program::Failure;

const OPTION: &str = "--service-cluster-ip-range";
const RIGHT: &str = "such as 10.96.0.0/12, or 10.96.0.0/12,fd00:10:96::/112 for both families";

/// How many bits of an IPv6 range may be left to Services, as upstream.
const SHORTEST_V6: u8 = 64;

/// One range, or one of each family, the primary family's first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceRanges(Vec<IpNet>);

fn wrong(option: &str, value: &str, problem: &str) -> Failure {
    Failure::Option(format!("{option} {value:?}: {problem}"))
}

impl ServiceRanges {
    /// Reads ranges that are separated by commas.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let refuse = |problem: &str| wrong(OPTION, text, &format!("{problem}, {RIGHT}"));
        let one = |part: &str| part.trim().parse().map(|network: IpNet| network.trunc());
        let networks = text.split(',').map(one).collect::<Result<Vec<IpNet>, _>>();
        let networks = networks.map_err(|_| refuse("must be a network"))?;
        match networks[..] {
            [_] | [IpNet::V4(_), IpNet::V6(_)] | [IpNet::V6(_), IpNet::V4(_)] => {}
            [_, _] => return Err(refuse("the two entries must be of different IP family")),
            _ => return Err(refuse("must not contain more than two entries")),
        }
        let large = |net: &IpNet| matches!(net, IpNet::V6(_)) && net.prefix_len() < SHORTEST_V6;
        if networks.iter().any(large) {
            let problem = format!("is too large; for 128-bit addresses, the mask must be >= {SHORTEST_V6}");
            return Err(refuse(&problem));
        }
        Ok(Self(networks))
    }

    /// Each as text.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// The first address of each: the primary one is the Service `kubernetes`'.
    pub(crate) fn firsts(&self) -> Vec<IpAddr> {
        self.nth(1)
    }

    fn nth(&self, n: u8) -> Vec<IpAddr> {
        let address = |net: &IpNet| match net.network() {
            IpAddr::V4(four) => IpAddr::from((four.to_bits() | u32::from(n)).to_be_bytes()),
            IpAddr::V6(six) => IpAddr::from((six.to_bits() | u128::from(n)).to_be_bytes()),
        };
        self.0.iter().map(address).collect()
    }

    /// The addresses of the cluster DNS, at most one of each range: the tenth of each if none are named.
    pub(crate) fn dns(&self, text: Option<&str>) -> Result<Vec<IpAddr>, Failure> {
        let option = "--cluster-dns";
        let shown = self.texts().join(",");
        let Some(text) = text else {
            let tenth = self.nth(10);
            let inside = tenth.iter().all(|address| self.0.iter().any(|net| net.contains(address)));
            let problem =
                format!("not given, and {OPTION} {shown} has no tenth address in each of its ranges");
            return inside.then_some(tenth).ok_or_else(|| wrong(option, "", &problem));
        };
        let refuse = |problem: &str| {
            let example = self.nth(10).iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            wrong(option, text, &format!("{problem} of {OPTION} {shown}, such as {example}"))
        };
        let one = |part: &str| part.trim().parse::<IpAddr>();
        let addresses = text.split(',').map(one).collect::<Result<Vec<_>, _>>();
        let addresses = addresses.map_err(|_| refuse("must be addresses"))?;
        let inside = |net: &IpNet| addresses.iter().filter(|address| net.contains(*address)).count();
        if self.0.iter().map(inside).sum::<usize>() != addresses.len() {
            return Err(refuse("must be inside the ranges"));
        }
        if self.0.iter().any(|net| inside(net) > 1) {
            return Err(refuse("must be at most one address of each of the ranges"));
        }
        Ok(addresses)
    }

    /// The Service `kubernetes` leads to the server's address: both are of one family.
    pub(crate) fn agree_with(&self, advertised: IpAddr) -> Result<(), Failure> {
        let family = |six: bool| if six { "IPv6" } else { "IPv4" };
        let primary = family(matches!(self.0.first(), Some(IpNet::V6(_))));
        let public = family(advertised.is_ipv6());
        if primary == public {
            return Ok(());
        }
        let text = advertised.to_string();
        let problem = format!(
            "service IP family {primary} must match public address family {public}: give an {primary} address, or \
             {OPTION} with an {public} range first"
        );
        Err(wrong("--advertise-address", &text, &problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(text: &str) -> ServiceRanges {
        ServiceRanges::parse(text).unwrap()
    }

    fn texts(addresses: &[IpAddr]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn places() {
        let both = ranges("10.96.0.0/12,fd00:10:96::/112");
        assert_eq!(texts(&both.firsts()), ["10.96.0.1", "fd00:10:96::1"]);
        assert_eq!(texts(&both.dns(None).unwrap()), ["10.96.0.10", "fd00:10:96::a"]);
        assert_eq!(texts(&both.dns(Some("fd00:10:96::a")).unwrap()), ["fd00:10:96::a"]);
        assert_eq!(ranges("10.96.0.7/12").texts(), ["10.96.0.0/12"]);
        assert_eq!(texts(&ranges("fd00::/112").firsts()), ["fd00::1"]);
        assert!(ranges("10.96.0.0/29").dns(Some("10.96.0.5")).is_ok());
    }

    #[test]
    fn bad_ranges_are_named() {
        for (text, says) in [
            ("", "must be a network"),
            ("10.96.0.0", "must be a network"),
            ("10.96.0.0/12,", "must be a network"),
            ("10.96.0.0/12,10.0.0.0/16", "different IP family"),
            ("10.96.0.0/12,fd00::/112,fd01::/112", "more than two entries"),
            ("fd00::/48", "the mask must be >= 64"),
        ] {
            let error = ServiceRanges::parse(text).unwrap_err().to_string();
            assert!(error.contains(OPTION) && error.contains(says) && error.contains("such as"), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let both = ranges("10.96.0.0/12,fd00:10:96::/112");
        for text in ["10.0.0.10", "10.96.0.10,x", "10.96.0.10,10.96.0.11", "fd01::a"] {
            let error = both.dns(Some(text)).unwrap_err().to_string();
            assert!(error.contains("--cluster-dns") && error.contains("10.96.0.10,fd00:10:96::a"), "{error}");
        }
        assert!(ranges("10.96.0.0/29").dns(None).is_err());
        assert!(both.agree_with("192.0.2.1".parse().unwrap()).is_ok());
        let error = both.agree_with("2001:db8::1".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("service IP family IPv4 must match public address family IPv6"), "{error}");
    }
}
